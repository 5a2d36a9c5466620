package msglog

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	ackPrefix = "_HF.ACK."

	firstPause = 50 * time.Millisecond // before what failed is sent again
	longPause  = time.Second

	keepBuffer = 16 << 10 // bytes of a buffer that stays with its slot
	ackBatch   = 256      // acknowledgements handled under one lock
)

// entry is one message under way. Fields are guarded by pipeline.mu until it has
// left the ring.
type entry struct {
	subject, reply string
	data           []byte // owned by the slot of the ring
	header         nats.Header
	message        *Message // delivered live when embedded; nil: nothing to deliver
	done           func(seq uint64, dup bool, err error)
	sent, deadline time.Time
	unsent         bool
	resolved       bool

	seq uint64
	dup bool
	err error
}

// pipeline publishes to one stream, many messages at once, and calls their done
// in the order in which they came. When one fails for the moment, nothing new is
// sent until what is open has been sent again in order.
type pipeline struct {
	l      *Log
	prefix string // of acknowledgements
	acks   chan *nats.Msg
	sub    *nats.Subscription
	wake   chan struct{} // capacity 1: recover, or look at deadlines
	quit   chan struct{}
	loop   sync.WaitGroup
	ended  sync.Once

	mu         sync.Mutex
	room       sync.Cond
	ring       []entry // a power of two
	head, tail uint64  // absolute numbers, which acknowledgements carry
	bytes      int64
	recovering bool
	pause      time.Duration
	resume     time.Time // when to send again
	closed     bool
	finished   []entry // scratch of the loop
}

func (l *Log) newPipeline(name string, size int) (*pipeline, error) {
	n := 1
	for n < size {
		n *= 2
	}
	p := &pipeline{
		l: l, prefix: ackPrefix + name + "." + l.config.Node + "." + nats.NewInbox()[len("_INBOX."):] + ".",
		acks: make(chan *nats.Msg, 4*n+1024), wake: make(chan struct{}, 1), quit: make(chan struct{}),
		ring: make([]entry, n), pause: firstPause,
	}
	p.room.L = &p.mu
	var err error
	if p.sub, err = l.conn.ChanSubscribe(p.prefix+"*", p.acks); err != nil {
		return nil, fmt.Errorf("subscribing to acknowledgements: %w", err)
	}
	p.loop.Go(p.run)
	return p, nil
}

// publish queues a message, or nothing in its place when m is nil. It waits for
// room.
func (p *pipeline) publish(prefix, topic string, header nats.Header, m *Message, done func(uint64, bool, error)) {
	e, now := p.reserve(header, done)
	if e == nil {
		return
	}
	defer p.mu.Unlock()
	if m != nil {
		e.data = m.AppendTo(e.data)
	}
	if prefix == inPrefix && !p.l.config.Clustered {
		e.message = m
	}
	// Both subjects with one allocation.
	var stack [512]byte
	b := appendTopic(append(stack[:0], prefix...), topic)
	n := len(b)
	b = strconv.AppendUint(append(b, p.prefix...), p.tail, 36)
	subjects := string(b)
	e.subject, e.reply = subjects[:n], subjects[n:]
	p.commit(e, now, n-len(prefix) > MaxSubject)
}

// publishRaw queues bytes for a subject that is not too long. It waits for room.
func (p *pipeline) publishRaw(subject string, header nats.Header, data []byte, done func(uint64, bool, error)) {
	e, now := p.reserve(header, done)
	if e == nil {
		return
	}
	defer p.mu.Unlock()
	e.data = append(e.data, data...)
	e.subject, e.reply = subject, p.prefix+strconv.FormatUint(p.tail, 36)
	p.commit(e, now, false)
}

// reserve waits for room and returns the next entry with p.mu held; nil without
// it when the Log is closed, after calling done.
func (p *pipeline) reserve(header nats.Header, done func(uint64, bool, error)) (*entry, time.Time) {
	p.mu.Lock()
	for !p.closed && (p.tail-p.head >= uint64(len(p.ring)) || p.bytes > p.l.config.MaxPendingBytes) {
		p.room.Wait()
	}
	if p.closed {
		p.mu.Unlock()
		go done(0, false, ErrClosed) // never on the caller's goroutine: it may hold what done needs
		return nil, time.Time{}
	}
	now := time.Now()
	e := &p.ring[p.tail&uint64(len(p.ring)-1)]
	*e = entry{header: header, done: done, deadline: now.Add(p.l.config.AckTimeout), data: e.data[:0]}
	return e, now
}

// commit sends a reserved entry, or keeps it for later while others are sent
// again; p.mu is held.
func (p *pipeline) commit(e *entry, now time.Time, tooLong bool) {
	p.tail++
	p.bytes += int64(len(e.data))
	switch {
	case tooLong:
		e.resolved, e.err = true, ErrTopicTooLong
		p.nudge()
	case p.recovering:
		e.unsent = true
	default:
		p.send(e, now)
	}
}

// send publishes an entry; p.mu is held.
func (p *pipeline) send(e *entry, now time.Time) {
	var err error
	if e.header == nil {
		err = p.l.conn.PublishRequest(e.subject, e.reply, e.data)
	} else {
		err = p.l.conn.PublishMsg(&nats.Msg{Subject: e.subject, Reply: e.reply, Header: e.header, Data: e.data})
	}
	e.sent, e.unsent = now, false
	switch {
	case err == nil:
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		e.unsent = true
		p.recover(now)
	default:
		e.resolved, e.err = true, fmt.Errorf("handing a message to the bus: %w", err)
		p.nudge()
	}
}

// recover stops sending until everything open is sent again; p.mu is held.
func (p *pipeline) recover(now time.Time) {
	if p.recovering {
		return
	}
	p.recovering, p.resume = true, now.Add(p.pause)
	p.pause = min(2*p.pause, longPause)
	for i := p.head; i < p.tail; i++ {
		if e := &p.ring[i&uint64(len(p.ring)-1)]; !e.resolved {
			e.unsent = true
		}
	}
	p.nudge()
}

// kick has everything open sent again: acknowledgements may have been lost.
func (p *pipeline) kick() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head != p.tail {
		p.recover(time.Now())
	}
}

func (p *pipeline) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run handles acknowledgements and deadlines, and calls done and receive.
func (p *pipeline) run() {
	const tick = 25 * time.Millisecond
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	batch := make([]*nats.Msg, 0, ackBatch)
	for {
		batch = batch[:0]
		select {
		case m := <-p.acks:
			batch = append(batch, m)
		more:
			for len(batch) < ackBatch {
				select {
				case m := <-p.acks:
					batch = append(batch, m)
				default:
					break more
				}
			}
		case <-timer.C:
		case <-p.wake:
		case <-p.quit:
			p.finish(nil)
			return
		}
		if p.finish(batch) {
			timer.Reset(tick)
		} else {
			timer.Reset(time.Second / 4)
		}
		clear(batch)
	}
}

// finish takes acknowledgements in, delivers what they are about, sends again
// what is due, and calls done for the entries that are through. It returns true
// when it should be called again soon.
func (p *pipeline) finish(batch []*nats.Msg) (soon bool) {
	now := time.Now()
	late := false
	p.mu.Lock()
	for _, msg := range batch {
		e, a := p.take(msg, now)
		if e == nil {
			late = late || a.err == nil && a.seq > 0 && !a.dup
			continue
		}
		if m := e.message; m != nil && e.err == nil && !e.dup {
			// Receivers may take their time and look at this Log, but not append.
			m.Seq = e.seq
			p.l.known.Store(m.Seq)
			p.mu.Unlock()
			p.l.deliver(m)
			p.l.window.mark(m.Seq)
			p.l.position.Store(m.Seq)
			p.mu.Lock()
		}
	}
	p.overdue(now)
	if p.recovering && !now.Before(p.resume) {
		p.resend(now)
	}
	p.finished = p.finished[:0]
	for p.head < p.tail {
		e := &p.ring[p.head&uint64(len(p.ring)-1)]
		if !e.resolved {
			break
		}
		p.finished = append(p.finished, *e)
		p.bytes -= int64(len(e.data))
		buffer := e.data
		*e = entry{}
		if cap(buffer) <= keepBuffer {
			e.data = buffer
		}
		p.head++
	}
	if len(p.finished) > 0 {
		p.room.Broadcast()
	}
	soon = p.recovering
	p.mu.Unlock()
	for i := range p.finished {
		e := &p.finished[i]
		e.done(e.seq, e.dup, e.err)
		*e = entry{}
	}
	if late && p == p.l.appends && !p.l.config.Clustered {
		p.l.missed() // stored after we had given it up, or twice
	}
	return soon
}

// take finds the entry that an acknowledgement resolves; nil when it resolves
// none now. p.mu is held.
func (p *pipeline) take(msg *nats.Msg, now time.Time) (*entry, ack) {
	a := parseAck(msg)
	i, err := strconv.ParseUint(msg.Subject[len(p.prefix):], 36, 64)
	if err != nil || i < p.head || i >= p.tail {
		return nil, a
	}
	e := &p.ring[i&uint64(len(p.ring)-1)]
	if e.resolved {
		return nil, a
	}
	if a.again {
		if !e.unsent {
			p.recover(now)
		}
		return nil, a
	}
	p.pause = firstPause
	e.resolved, e.seq, e.dup, e.err = true, a.seq, a.dup, a.err
	return e, a
}

// overdue gives up what was tried for long enough, and sends again what nobody
// answered; p.mu is held.
func (p *pipeline) overdue(now time.Time) {
	for i := p.head; i < p.tail; i++ {
		e := &p.ring[i&uint64(len(p.ring)-1)]
		if e.resolved {
			continue
		}
		if now.After(e.deadline) || p.closed {
			e.resolved, e.err = true, ErrTimeout
			if p.closed {
				e.err = ErrClosed
			}
			continue
		}
		// Embedded, silence is a slow disk: asking again would store twice.
		if p.l.config.Clustered && !e.unsent && now.Sub(e.sent) > p.l.config.AckTimeout/4 {
			p.recover(now)
		}
		return // later ones have later deadlines
	}
}

// resend sends what is open in order; p.mu is held.
func (p *pipeline) resend(now time.Time) {
	p.recovering = false
	for i := p.head; i < p.tail && !p.recovering; i++ {
		if e := &p.ring[i&uint64(len(p.ring)-1)]; !e.resolved && e.unsent {
			p.send(e, now)
		}
	}
}

func (p *pipeline) close() {
	p.ended.Do(func() {
		p.mu.Lock()
		p.closed = true
		p.room.Broadcast()
		p.mu.Unlock()
		_ = p.sub.Unsubscribe() // the only error is that the connection has ended
		close(p.quit)
		p.loop.Wait()
	})
}

// waiting returns how long the oldest message has been under way.
func (p *pipeline) waiting(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.head == p.tail {
		return 0
	}
	return p.l.config.AckTimeout - p.ring[p.head&uint64(len(p.ring)-1)].deadline.Sub(now)
}

func (p *pipeline) pending() (messages int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(p.tail - p.head), p.bytes
}
