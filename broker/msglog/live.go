package msglog

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

const (
	// liveQueue is how many messages may wait for receive. When it is full, the
	// bus's client drops messages and says so through OnReconnect.
	liveQueue = 16_384
	// leaderReads is how many reads of this node may be at the stream's leader at once.
	leaderReads = 16
	// castNodes bounds how many nodes' counters are remembered.
	castNodes = 1024

	electedSubject = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED." + logStream
)

// live receives what the cluster's other nodes and the log's RePublish send. All
// subscriptions share one channel, so that the connection's order is kept.
type live struct {
	l       *Log
	in      chan *nats.Msg
	leader  chan struct{} // a place for each read at the leader
	elected *nats.Subscription
	alarm   chan struct{} // capacity 1: call missed
	loop    sync.WaitGroup

	mu    sync.Mutex
	wants map[string]*want // by subject

	casts map[string]uint64 // of the loop: last counter by node
}

// want is the interest in one subject.
type want struct {
	count int           // guarded by live.mu
	ready chan struct{} // closed when since and err are set
	sub   *nats.Subscription
	since uint64 // what is newer has been received by sub
	err   error
}

func (l *Log) startLive() (err error) {
	v := &live{
		l: l, in: make(chan *nats.Msg, liveQueue), leader: make(chan struct{}, leaderReads),
		alarm: make(chan struct{}, 1), wants: map[string]*want{}, casts: map[string]uint64{},
	}
	if v.elected, err = l.conn.Subscribe(electedSubject, func(*nats.Msg) { v.suspect() }); err != nil {
		return fmt.Errorf("subscribing to changes of the leader: %w", err)
	}
	l.live = v
	v.loop.Go(v.run)
	v.loop.Go(func() {
		for {
			select {
			case <-v.alarm:
				l.missed()
			case <-l.ctx.Done():
				return
			}
		}
	})
	return nil
}

func (v *live) close() {
	_ = v.elected.Unsubscribe() // the only error is that it has ended
	v.mu.Lock()
	wants := v.wants
	v.wants = map[string]*want{}
	v.mu.Unlock()
	for _, w := range wants {
		<-w.ready
		if w.sub != nil {
			_ = w.sub.Unsubscribe()
		}
	}
	v.loop.Wait()
}

// suspect has missed called; several at once count as one.
func (v *live) suspect() {
	select {
	case v.alarm <- struct{}{}:
	default:
	}
}

func (v *live) run() {
	for {
		select {
		case m := <-v.in:
			v.receive(m)
		case <-v.l.ctx.Done():
			return
		}
	}
}

func (v *live) receive(msg *nats.Msg) {
	m, node, counter, err := parse(msg.Subject, msg.Data)
	if err != nil {
		v.l.log.Warn("reading a message from another node", "err", err)
		return
	}
	if node != "" {
		v.receiveCast(m, node, counter)
		return
	}
	seq, err := strconv.ParseUint(header(msg, "Nats-Sequence"), 10, 64)
	if err != nil || seq == 0 || header(msg, "Nats-Stream") != logStream {
		v.l.log.Warn("reading a message from another node: it is neither cast nor from the log")
		return
	}
	previous, _ := strconv.ParseUint(header(msg, "Nats-Last-Sequence"), 10, 64)
	if !v.l.window.next(seq) {
		if !v.l.window.has(seq) {
			v.suspect() // it comes after its turn, from a leader that is one no longer
		}
		return
	}
	if previous > v.since(msg.Sub) && v.l.window.lacks(previous) {
		v.suspect()
	}
	m.Seq = seq
	v.l.known.Store(seq)
	v.l.deliver(m)
	v.l.window.mark(seq)
	v.l.position.Store(seq)
}

// header is Header.Get without its canonical spelling: what NATS itself writes.
func header(m *nats.Msg, key string) string {
	if v := m.Header[key]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// since returns from where on a subject's messages must have been received.
func (v *live) since(sub *nats.Subscription) uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	if sub == nil {
		return ^uint64(0)
	}
	w := v.wants[sub.Subject]
	if w == nil || w.sub != sub {
		return ^uint64(0)
	}
	select {
	case <-w.ready:
		return w.since
	default:
		return ^uint64(0)
	}
}

func (v *live) receiveCast(m *Message, node string, counter uint64) {
	if node == v.l.config.Node || counter <= v.casts[node] {
		return // our own, or it came by another subscription
	}
	if len(v.casts) >= castNodes {
		clear(v.casts)
	}
	v.casts[node] = counter
	v.l.deliver(m)
}

// Interest says that messages which match a filter are wanted live, or no longer;
// each on needs its off. It returns when whatever is stored from then on arrives,
// or when missed will tell. Nothing to do when embedded.
func (l *Log) Interest(filter string, on bool) error {
	if l.live == nil {
		return nil
	}
	for _, subject := range interestSubjects(filter) {
		if !on {
			l.live.release(subject)
		} else if err := l.live.want(subject); err != nil {
			return err
		}
	}
	return nil
}

func (v *live) want(subject string) error {
	v.mu.Lock()
	w := v.wants[subject]
	if w != nil {
		w.count++
		v.mu.Unlock()
		<-w.ready
		return w.err
	}
	w = &want{count: 1, ready: make(chan struct{})}
	v.wants[subject] = w
	sub, err := v.l.conn.ChanSubscribe(subject, v.in)
	if err == nil {
		w.sub = sub
	} else {
		delete(v.wants, subject)
		w.err = fmt.Errorf("subscribing to the messages of other nodes: %w", err)
	}
	v.mu.Unlock()
	if err == nil {
		w.since = v.barrier()
	}
	close(w.ready)
	return w.err
}

func (v *live) release(subject string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.wants[subject]
	if w == nil {
		return
	}
	if w.count--; w.count == 0 {
		delete(v.wants, subject)
		if w.sub != nil {
			_ = w.sub.Unsubscribe() // the only error is that it has ended
		}
	}
}

// barrier waits until the log's leader has our subscriptions, and returns the
// newest sequence number of then. A message that expects a sequence number which
// cannot be is refused by the leader without being stored; and it goes the way
// that the subscriptions went before it.
func (v *live) barrier() uint64 {
	ctx, cancel := context.WithTimeout(v.l.ctx, replyTimeout)
	defer cancel()
	probe := &nats.Msg{Subject: inPrefix + "%", Header: nats.Header{nats.ExpectedLastSeqHdr: {strconv.FormatUint(1<<62, 10)}}}
	m, err := v.l.conn.RequestMsgWithContext(ctx, probe)
	if err == nil {
		a := parseAckText(m.Data)
		if _, number, ok := strings.Cut(a, "wrong last sequence: "); ok {
			if seq, err := strconv.ParseUint(number, 10, 64); err == nil {
				return seq
			}
		}
		if state, err := v.l.state(ctx); err == nil { // something else is under way there
			return state.LastSeq
		}
	}
	v.l.log.Debug("subscribing to the messages of other nodes", "err", err)
	v.suspect()
	return ^uint64(0)
}
