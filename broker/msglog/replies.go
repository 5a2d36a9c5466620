package msglog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	getPrefix = "_HF.GET."

	// replyTimeout is how long an answer of the bus may take; a read is tried
	// readTries times.
	replyTimeout = 3 * time.Second
	readTries    = 4
)

// replies hands the several answers to one request to whoever asked: one
// subscription for all requests, made before the first.
type replies struct {
	conn   *nats.Conn
	prefix string
	sub    *nats.Subscription

	mu      sync.Mutex
	next    uint64
	waiting map[string]chan *nats.Msg
}

func (r *replies) start(conn *nats.Conn, node string) (err error) {
	r.conn, r.prefix = conn, getPrefix+node+"."+nats.NewInbox()[len("_INBOX."):]+"."
	r.waiting = map[string]chan *nats.Msg{}
	r.sub, err = conn.Subscribe(r.prefix+"*", func(m *nats.Msg) {
		r.mu.Lock()
		c := r.waiting[m.Subject]
		r.mu.Unlock()
		select {
		case c <- m: // a nil channel takes nothing: the answer came too late
		default:
		}
	})
	if err != nil {
		return fmt.Errorf("subscribing to answers: %w", err)
	}
	if err := r.sub.SetPendingLimits(-1, -1); err != nil { // requests bound what they ask for
		return fmt.Errorf("subscribing to answers: %w", err)
	}
	return nil
}

func (r *replies) close() {
	if r.sub != nil {
		_ = r.sub.Unsubscribe() // the only error is that it has ended
	}
}

func (r *replies) ask(subject string, body []byte, most int) (answers chan *nats.Msg, end func(), err error) {
	answers = make(chan *nats.Msg, most)
	r.mu.Lock()
	r.next++
	reply := r.prefix + strconv.FormatUint(r.next, 36)
	r.waiting[reply] = answers
	r.mu.Unlock()
	end = func() {
		r.mu.Lock()
		delete(r.waiting, reply)
		r.mu.Unlock()
	}
	if err := r.conn.PublishRequest(subject, reply, body); err != nil {
		end()
		return nil, nil, err
	}
	return answers, end, nil
}

// stored is a message as a stream has it.
type stored struct {
	subject string
	seq     uint64
	header  nats.Header
	data    []byte
}

type getRequest struct {
	Seq      uint64 `json:"seq,omitempty"`
	Next     string `json:"next_by_subj,omitempty"`
	Last     string `json:"last_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

var errNoAnswer = errors.New("no answer from the message bus")

// getBatch reads from a stream the messages from seq on whose subject matches,
// up to batch or about most bytes; more says that others follow. Clustered, a
// replica answers that may be a moment behind.
func (l *Log) getBatch(ctx context.Context, stream string, seq uint64, subject string, batch, most int) (out []stored, more bool, err error) {
	body, err := json.Marshal(getRequest{Seq: max(1, seq), Next: subject, Batch: batch, MaxBytes: most})
	if err != nil {
		return nil, false, fmt.Errorf("reading %s: %w", stream, err)
	}
	for try := 1; ; try++ {
		out, more, err = l.tryBatch(ctx, stream, body, batch, seq)
		if err == nil || ctx.Err() != nil || l.ctx.Err() != nil || try == readTries {
			break
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading %s: %w", stream, err)
	}
	return out, more, nil
}

func (l *Log) tryBatch(ctx context.Context, stream string, body []byte, batch int, from uint64) (out []stored, more bool, err error) {
	answers, end, err := l.replies.ask("$JS.API.DIRECT.GET."+stream, body, batch+2)
	if err != nil {
		return nil, false, err
	}
	defer end()
	timer := time.NewTimer(replyTimeout)
	defer timer.Stop()
	for {
		select {
		case m := <-answers:
			switch status := m.Header.Get("Status"); status {
			case "":
				s, err := fromDirect(m)
				if err != nil {
					return nil, false, err
				}
				if s.seq < from {
					return nil, false, errors.New("the bus's answer goes back")
				}
				out, from = append(out, s), s.seq+1
			case "204": // the end of the batch
				return out, m.Header.Get("Nats-Num-Pending") != "0", nil
			case "404":
				return out, false, nil
			case "503":
				return nil, false, l.pause(ctx)
			default:
				return nil, false, fmt.Errorf("the bus answered with status %s", status)
			}
		case <-timer.C:
			if len(out) > 0 { // in order as far as they came
				return out, true, nil
			}
			return nil, false, errNoAnswer
		case <-ctx.Done():
			return nil, false, ctx.Err()
		case <-l.ctx.Done():
			return nil, false, ErrClosed
		}
	}
}

// pause waits before another try and returns the error for there being none.
func (l *Log) pause(ctx context.Context) error {
	t := time.NewTimer(replyTimeout / 10)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ctx.Done():
		return ErrClosed
	}
	return errNoAnswer
}

func fromDirect(m *nats.Msg) (stored, error) {
	seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
	if err != nil || seq == 0 {
		return stored{}, errors.New("the bus's answer has no sequence number")
	}
	return stored{m.Header.Get("Nats-Subject"), seq, m.Header, m.Data}, nil
}

// getOne reads one message: direct when embedded, otherwise from the stream's
// leader, so that it is the newest. ErrNotFound when there is none.
func (l *Log) getOne(ctx context.Context, stream string, req getRequest) (stored, error) {
	subject := "$JS.API.DIRECT.GET." + stream
	if l.config.Clustered {
		subject = "$JS.API.STREAM.MSG.GET." + stream
	}
	body, err := json.Marshal(req)
	if err != nil {
		return stored{}, fmt.Errorf("reading %s: %w", stream, err)
	}
	for try := 1; ; try++ {
		s, err := l.tryOne(ctx, subject, body)
		switch {
		case err == nil:
			return s, nil
		case errors.Is(err, ErrNotFound):
			return stored{}, fmt.Errorf("reading %s: %w", stream, ErrNotFound)
		case try == readTries || ctx.Err() != nil || l.ctx.Err() != nil:
			return stored{}, fmt.Errorf("reading %s: %w", stream, err)
		}
		if errors.Is(err, nats.ErrNoResponders) {
			_ = l.pause(ctx)
		}
	}
}

func (l *Log) tryOne(ctx context.Context, subject string, body []byte) (stored, error) {
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	m, err := l.conn.RequestWithContext(ctx, subject, body)
	if err != nil {
		return stored{}, err
	}
	if !l.config.Clustered {
		switch status := m.Header.Get("Status"); status {
		case "":
			return fromDirect(m)
		case "404":
			return stored{}, ErrNotFound
		default:
			return stored{}, fmt.Errorf("the bus answered with status %s", status)
		}
	}
	return fromLeader(m.Data)
}

const codeNoMessage = 10037

func fromLeader(data []byte) (stored, error) {
	var a struct {
		Error   *apiError `json:"error"`
		Message *struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Header  []byte `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return stored{}, fmt.Errorf("reading the bus's answer: %w", err)
	}
	switch {
	case a.Error != nil && a.Error.ErrCode == codeNoMessage:
		return stored{}, ErrNotFound
	case a.Error != nil:
		return stored{}, a.Error
	case a.Message == nil || a.Message.Seq == 0:
		return stored{}, errors.New("the bus's answer has no message")
	}
	s := stored{subject: a.Message.Subject, seq: a.Message.Seq, data: a.Message.Data}
	if len(a.Message.Header) > 0 {
		h, err := nats.DecodeHeadersMsg(a.Message.Header)
		if err != nil {
			return stored{}, fmt.Errorf("reading the bus's answer: %w", err)
		}
		s.header = h
	}
	return s, nil
}
