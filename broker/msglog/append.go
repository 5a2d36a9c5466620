package msglog

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

// Append stores a message. done is called exactly once, in the order of the
// Append calls, with its sequence number; it must return soon and not call
// Append. The message's Seq is set before. A dedupe id that the log has seen
// within the last 10 minutes stores nothing again: dup is true and seq that of the
// first (clustered, after a lost acknowledgement the first itself may be told
// dup). An error says that the message was not acknowledged within AckTimeout,
// which is no proof that it was not stored. Append waits while too much is under
// way; it must not be called from receive or done.
func (l *Log) Append(m *Message, dedupe string, done func(seq uint64, dup bool, err error)) {
	var header nats.Header
	if dedupe != "" {
		header = nats.Header{nats.MsgIdHdr: {dedupe}}
	}
	l.appends.publish(inPrefix, m.Topic, header, m, done)
}

// Cast sends a QoS 0 message to the other nodes that are interested; embedded
// there are none. It may be lost without a word.
func (l *Log) Cast(m *Message) {
	if !l.config.Clustered {
		return
	}
	subject, err := topicSubject(outPrefix, m.Topic)
	if err == nil {
		err = l.conn.Publish(subject, m.appendTo(make([]byte, 0, 128+len(m.Payload)), l.config.Node, l.casts.Add(1)))
	}
	if err != nil {
		l.log.Debug("casting a message", "err", err)
	}
}

// Last returns the sequence number of the newest message in the log, as its
// stream says after the call began.
func (l *Log) Last(ctx context.Context) (uint64, error) {
	state, err := l.state(ctx)
	return state.LastSeq, err
}

// First returns the sequence number of the oldest message that retention has
// left; one more than Last when there is none.
func (l *Log) First(ctx context.Context) (uint64, error) {
	state, err := l.state(ctx)
	return state.FirstSeq, err
}

// Get returns one message. ErrNotFound: retention removed it, or it never was.
func (l *Log) Get(ctx context.Context, seq uint64) (*Message, error) {
	s, err := l.getOne(ctx, logStream, getRequest{Seq: seq})
	if err != nil {
		return nil, err
	}
	return s.message()
}

func (s stored) message() (*Message, error) {
	m, err := Parse(s.subject, s.data)
	if err != nil {
		return nil, err
	}
	m.Seq = s.seq
	return m, nil
}

// now is the clock, for expiry of what was read.
func now() time.Time { return time.Now() }
