package msglog

import (
	"context"
	"strconv"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/nats-io/nats.go"
)

const (
	ttlHeader = "Nats-TTL"
	// goneTTL is how long the empty message stays that takes the place of one that
	// was removed: JetStream's shortest.
	goneTTL = time.Second
)

// SetRetained makes m its topic's retained message until its expiry, or with an
// empty payload removes the topic's. done is called exactly once, in the order of
// the SetRetained calls; it must return soon and not call SetRetained. SetRetained
// waits while too much is under way.
func (l *Log) SetRetained(m *Message, done func(error)) {
	finish := func(_ uint64, _ bool, err error) { done(err) }
	switch {
	case len(m.Payload) == 0 || m.HasExpiry && m.Expiry == 0:
		l.retains.publish(retainedPrefix, m.Topic, ttl(goneTTL), nil, finish)
	case m.HasExpiry:
		left := time.Duration(m.Expiry)*time.Second - now().Sub(time.UnixMilli(m.Time))
		l.retains.publish(retainedPrefix, m.Topic, ttl(left), m, finish)
	default:
		l.retains.publish(retainedPrefix, m.Topic, nil, m, finish)
	}
}

// ttl makes the header; JetStream counts whole seconds, from one on.
func ttl(d time.Duration) nats.Header {
	seconds := max(1, int64((d+time.Second-1)/time.Second))
	return nats.Header{ttlHeader: {strconv.FormatInt(seconds, 10)}}
}

// Retained yields the retained messages that match a filter and have not
// expired, with Retained set, in no order that means anything, until yield returns
// false. One that is replaced meanwhile may be yielded as it was, as it is, or not
// at all; whoever subscribed before gets the new one live. Clustered, a replica
// answers that may be a moment behind.
func (l *Log) Retained(ctx context.Context, filter string, yield func(*Message) bool) error {
	for _, subject := range filterSubjects(retainedPrefix, filter) {
		more, err := l.page(ctx, retainedStream, subject, func(s stored) bool {
			if len(s.data) == 0 {
				return true
			}
			m, err := s.message()
			if err != nil {
				l.log.Error("reading a retained message", "err", err)
				return true
			}
			if !mqtt.Match(filter, m.Topic) || m.Expired(now()) {
				return true
			}
			m.Seq, m.Retained = 0, true
			return yield(m)
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// page yields what a stream has of a subject as of the call: what is stored
// meanwhile is not read, so that it ends. more is false when yield ended it.
func (l *Log) page(ctx context.Context, stream, subject string, yield func(stored) bool) (more bool, err error) {
	end := uint64(0)
	for next := uint64(1); ; {
		batch, more, err := l.getBatch(ctx, stream, next, subject, 256, 1<<20)
		if err != nil {
			return false, err
		}
		if more && end == 0 {
			state, err := l.askState(ctx, stream)
			if err != nil {
				return false, err
			}
			end = state.LastSeq
		}
		for _, s := range batch {
			if end > 0 && s.seq > end {
				return true, nil
			}
			if !yield(s) {
				return false, nil
			}
			next = s.seq + 1
		}
		if len(batch) == 0 || !more {
			return true, nil
		}
	}
}
