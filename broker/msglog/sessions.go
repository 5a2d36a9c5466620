package msglog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// expectHeader makes a write conditional on the subject's last sequence number.
const expectHeader = "Nats-Expected-Last-Subject-Sequence"

// Session returns a client's row and its revision; nil and 0 when there is none.
func (l *Log) Session(ctx context.Context, clientID string) (row []byte, rev uint64, err error) {
	row, rev, err = l.session(ctx, clientID)
	if row == nil {
		rev = 0
	}
	return row, rev, err
}

// session is Session, but returns the revision of what took a deleted row's place.
func (l *Log) session(ctx context.Context, clientID string) (row []byte, rev uint64, err error) {
	subject, err := sessionSubject(clientID)
	if err != nil {
		return nil, 0, err
	}
	s, err := l.getOne(ctx, sessionStream, getRequest{Last: subject})
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, err
	case len(s.data) == 0:
		return nil, s.seq, nil
	}
	return s.data, s.seq, nil
}

// sessionSubject makes one token of a client id.
func sessionSubject(clientID string) (string, error) {
	b := append(make([]byte, 0, len(sessionPrefix)+len(clientID)+16), sessionPrefix...)
	for i := range len(clientID) {
		if clientID[i] == '/' {
			b = append(b, "%2F"...)
		} else {
			b = appendByte(b, clientID[i])
		}
	}
	switch {
	case clientID == "":
		return "", errors.New("mapping a client id to a subject: it is empty")
	case len(b)-len(sessionPrefix) > MaxSubject:
		return "", fmt.Errorf("mapping a client id of %d bytes to a subject: it takes more than %d", len(clientID), MaxSubject)
	}
	return string(b), nil
}

// parseSession is the reverse of sessionSubject.
func parseSession(subject string) (string, error) {
	if len(subject) <= len(sessionPrefix) || subject[:len(sessionPrefix)] != sessionPrefix {
		return "", errors.New("reading the subject of a session: it is not one")
	}
	token := subject[len(sessionPrefix):]
	out := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		c := token[i]
		if c == '%' {
			var ok bool
			if c, ok = unescape(token[i:]); !ok && len(token) > i+2 && token[i:i+3] == "%2F" {
				c, ok = '/', true
			}
			if !ok {
				return "", errors.New("reading the subject of a session: it has a wrong escape")
			}
			i += 2
		} else if c == '/' || len(appendByte(nil, c)) != 1 {
			return "", fmt.Errorf("reading the subject of a session: byte %#02x cannot be in one", c)
		}
		out = append(out, c)
	}
	return string(out), nil
}

// SaveSession writes a client's row if its revision is still rev (0: there is
// none), for ttl (rounded up to seconds; 0: for ever). ErrConflict: someone else
// wrote it. After another error the row may have been written or not.
func (l *Log) SaveSession(ctx context.Context, clientID string, row []byte, rev uint64, ttl time.Duration) (newRev uint64, err error) {
	type result struct {
		rev uint64
		err error
	}
	c := make(chan result, 1)
	l.SaveSessionAsync(clientID, row, rev, ttl, func(rev uint64, err error) { c <- result{rev, err} })
	select {
	case r := <-c:
		return r.rev, r.err
	case <-ctx.Done():
		return 0, fmt.Errorf("saving a session: %w", ctx.Err())
	}
}

// SaveSessionAsync is SaveSession with the result in done, which must return soon
// and is called once, on another goroutine.
func (l *Log) SaveSessionAsync(clientID string, row []byte, rev uint64, ttl time.Duration, done func(newRev uint64, err error)) {
	if len(row) == 0 {
		go done(0, errors.New("saving a session: the row is empty"))
		return
	}
	l.write(clientID, row, rev, ttl, func(seq uint64, err error) {
		if rev != 0 || !errors.Is(err, ErrConflict) {
			done(seq, err)
			return
		}
		// What is there may be the trace of a deleted row.
		l.wg.Go(func() {
			old, trace, err := l.session(l.ctx, clientID)
			switch {
			case err != nil:
				done(0, err)
			case old != nil:
				done(0, ErrConflict)
			default:
				l.write(clientID, row, trace, ttl, done)
			}
		})
	})
}

// DeleteSession removes a client's row if its revision is still rev.
func (l *Log) DeleteSession(ctx context.Context, clientID string, rev uint64) error {
	if rev == 0 {
		return nil
	}
	c := make(chan error, 1)
	l.write(clientID, nil, rev, goneTTL, func(_ uint64, err error) { c <- err })
	select {
	case err := <-c:
		return err
	case <-ctx.Done():
		return fmt.Errorf("deleting a session: %w", ctx.Err())
	}
}

func (l *Log) write(clientID string, row []byte, rev uint64, life time.Duration, done func(uint64, error)) {
	subject, err := sessionSubject(clientID)
	if err != nil {
		go done(0, err)
		return
	}
	header := nats.Header{expectHeader: {strconv.FormatUint(rev, 10)}}
	if life > 0 {
		header[ttlHeader] = ttl(life)[ttlHeader]
	}
	l.saves.publishRaw(subject, header, row, func(seq uint64, _ bool, err error) {
		if !l.config.Clustered || !errors.Is(err, ErrConflict) {
			done(seq, err)
			return
		}
		l.wg.Go(func() {
			if seq, err := l.resolve(clientID, row, rev); !errors.Is(err, errNoAnswer) {
				done(seq, err)
			} else {
				l.write(clientID, row, rev, life, done) // what it conflicted with never came to be
			}
		})
	})
}

// resolve finds out what a conflict means: a write whose acknowledgement was lost,
// or is late after a change of the leader, is sent again and then conflicts with
// itself, perhaps before it can be read. errNoAnswer: the row is as before.
func (l *Log) resolve(clientID string, row []byte, rev uint64) (uint64, error) {
	for range 2 * readTries {
		have, at, err := l.session(l.ctx, clientID)
		switch {
		case err == nil && at > rev && bytes.Equal(have, row):
			return at, nil
		case err == nil && at != rev:
			return 0, ErrConflict
		}
		_ = l.pause(l.ctx)
		if l.ctx.Err() != nil {
			return 0, ErrClosed
		}
	}
	return 0, errNoAnswer
}

// Sessions yields all rows until yield returns false. A row that is written
// meanwhile may be yielded as it was, as it is, or not at all.
func (l *Log) Sessions(ctx context.Context, yield func(clientID string, row []byte, rev uint64) bool) error {
	_, err := l.page(ctx, sessionStream, sessionPrefix+">", func(s stored) bool {
		if len(s.data) == 0 {
			return true
		}
		id, err := parseSession(s.subject)
		if err != nil {
			l.log.Error("reading a session", "err", err)
			return true
		}
		return yield(id, s.data, s.seq)
	})
	return err
}
