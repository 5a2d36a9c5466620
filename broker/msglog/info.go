package msglog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// streamState is what a stream says of itself.
type streamState struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
}

// infoCache shares one request for the log's state among all who wait: each gets
// an answer to a request that began after they asked.
type infoCache struct {
	mu      sync.Mutex
	running bool
	waiting []chan infoResult // for the request after the running one
	log     streamState       // as of the last answer
	others  [2]streamState    // retained, sessions
}

type infoResult struct {
	state streamState
	err   error
}

// state asks the stream (clustered: its leader) for the log's state.
func (l *Log) state(ctx context.Context) (streamState, error) {
	c := make(chan infoResult, 1)
	l.info.mu.Lock()
	if l.ctx.Err() != nil {
		l.info.mu.Unlock()
		return streamState{}, ErrClosed
	}
	l.info.waiting = append(l.info.waiting, c)
	if !l.info.running {
		l.info.running = true
		l.wg.Go(l.askStates)
	}
	l.info.mu.Unlock()
	select {
	case r := <-c:
		return r.state, r.err
	case <-ctx.Done():
		return streamState{}, fmt.Errorf("asking for the state of the log: %w", ctx.Err())
	}
}

// askStates runs until nobody waits.
func (l *Log) askStates() {
	for {
		l.info.mu.Lock()
		waiting := l.info.waiting
		l.info.waiting = nil
		l.info.running = len(waiting) > 0
		l.info.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		state, err := l.refresh(l.ctx)
		for _, c := range waiting {
			c <- infoResult{state, err}
		}
	}
}

func (l *Log) refresh(ctx context.Context) (state streamState, err error) {
	for try := 1; try <= readTries; try++ {
		if state, err = l.askState(ctx, logStream); err == nil || ctx.Err() != nil {
			break
		}
		_ = l.pause(ctx)
	}
	if err != nil {
		return state, err
	}
	l.info.mu.Lock()
	l.info.log = state
	l.info.mu.Unlock()
	return state, nil
}

func (l *Log) askState(ctx context.Context, stream string) (streamState, error) {
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	m, err := l.conn.RequestWithContext(ctx, "$JS.API.STREAM.INFO."+stream, nil)
	if err != nil {
		return streamState{}, fmt.Errorf("asking for the state of %s: %w", stream, err)
	}
	var a struct {
		Error *apiError    `json:"error"`
		State *streamState `json:"state"`
	}
	err = json.Unmarshal(m.Data, &a)
	switch {
	case err != nil:
	case a.Error != nil:
		err = a.Error
	case a.State == nil:
		err = errors.New("the answer has no state")
	default:
		return *a.State, nil
	}
	return streamState{}, fmt.Errorf("asking for the state of %s: %w", stream, err)
}

// watchEvery is how often the numbers for metrics are renewed.
const watchEvery = 10 * time.Second

type health struct {
	mu  sync.Mutex
	err error
}

// watch keeps Stats, Healthy and Safe up to date.
func (l *Log) watch() {
	second, ticker := time.NewTicker(time.Second), time.NewTicker(watchEvery)
	defer second.Stop()
	defer ticker.Stop()
	l.wg.Go(l.look)
	for {
		select {
		case <-second.C:
			l.window.tick()
		case <-ticker.C:
			l.wg.Go(l.look)
		case <-l.ctx.Done():
			return
		}
	}
}

// look asks all streams for their state.
func (l *Log) look() {
	_, err := l.state(l.ctx)
	for i, name := range []string{retainedStream, sessionStream} {
		s, e := l.askState(l.ctx, name)
		if e == nil {
			l.info.mu.Lock()
			l.info.others[i] = s
			l.info.mu.Unlock()
		}
		err = errors.Join(err, e)
	}
	l.healthy.mu.Lock()
	l.healthy.err = err
	l.healthy.mu.Unlock()
}

// Healthy returns nil when the streams answered within the last seconds and
// nothing waits for half of AckTimeout, or says what is wrong.
func (l *Log) Healthy() error {
	if l.ctx.Err() != nil {
		return ErrClosed
	}
	if !l.conn.IsConnected() {
		return fmt.Errorf("checking the message log: the connection is %s", l.conn.Status())
	}
	for _, p := range []*pipeline{l.appends, l.retains, l.saves} {
		if p.waiting(now()) > l.config.AckTimeout/2 {
			return errors.New("checking the message log: a message waits too long for its acknowledgement")
		}
	}
	l.healthy.mu.Lock()
	defer l.healthy.mu.Unlock()
	return l.healthy.err
}

// Stats are numbers for metrics; those of the streams are up to 10 s old.
type Stats struct {
	Pending      int   // messages on their way to the log
	PendingBytes int64 // of them
	Messages     uint64
	Bytes        uint64
	FirstSeq     uint64
	LastSeq      uint64
	Retained     uint64 // messages
	RetainedSize uint64 // bytes
	Sessions     uint64 // rows
	SessionsSize uint64 // bytes
}

// Stats returns the numbers without asking anyone.
func (l *Log) Stats() Stats {
	s := Stats{}
	s.Pending, s.PendingBytes = l.appends.pending()
	l.info.mu.Lock()
	defer l.info.mu.Unlock()
	s.Messages, s.Bytes, s.FirstSeq, s.LastSeq = l.info.log.Messages, l.info.log.Bytes, l.info.log.FirstSeq, l.info.log.LastSeq
	s.Retained, s.RetainedSize = l.info.others[0].Messages, l.info.others[0].Bytes
	s.Sessions, s.SessionsSize = l.info.others[1].Messages, l.info.others[1].Bytes
	return s
}
