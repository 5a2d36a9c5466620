package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// A payload begins with the publisher's number (2 bytes), the message's number from 1 on (8) and, for latency, when it
// was due, in nanoseconds since the epoch of the process (8).
func stamp(payload []byte, publisher int, number int64, due time.Duration) {
	binary.BigEndian.PutUint16(payload, uint16(publisher))
	binary.BigEndian.PutUint64(payload[2:], uint64(number))
	binary.BigEndian.PutUint64(payload[10:], uint64(due))
}

func readStamp(payload []byte) (publisher int, number int64, due time.Duration) {
	return int(binary.BigEndian.Uint16(payload)), int64(binary.BigEndian.Uint64(payload[2:])), time.Duration(binary.BigEndian.Uint64(payload[10:]))
}

// flow is one publisher in a closed loop: it sends while fewer than window of its messages are on their way, which they
// are until delivered and, at QoS 1, acknowledged. A broker is thus never asked for more than it gets through, and queues
// that overflow show as loss rather than as speed.
type flow struct {
	*session
	number int
	topic  []byte
	qos    mqtt.QoS
	fan    int64 // deliveries of each message
	window *atomic.Int64

	sent, acked, progress atomic.Int64 // progress: over all receivers, the numbers of the last messages that came
	given                 atomic.Int64 // messages up to this one are given up on
	wake                  chan struct{}
}

// nudge wakes the publisher if there is something for it to do.
func (f *flow) nudge() {
	if f.room() == 0 {
		return
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// room is how many messages may go out now: none until it is a quarter of the window, so that the load does not spend its
// time on writing them one by one.
func (f *flow) room() int64 {
	sent, window := f.sent.Load(), f.window.Load()
	waiting := sent - max(f.given.Load(), f.progress.Load()/f.fan)
	if f.qos > 0 {
		waiting = max(waiting, sent-f.acked.Load())
	}
	if n := window - waiting; n >= max(1, window/4) {
		return n
	}
	return 0
}

// patience is how long a publisher waits for deliveries that do not come before it counts them as lost.
const patience = 250 * time.Millisecond

// publish sends until stop is closed.
func (f *flow) publish(stop <-chan struct{}) error {
	p := &mqtt.Publish{QoS: f.qos, Topic: f.topic, Payload: make([]byte, payloadSize)}
	tick := time.NewTicker(patience)
	defer tick.Stop()
	for before := int64(-1); ; {
		select {
		case <-stop:
			return nil
		default:
		}
		n := f.room()
		for range n {
			number := f.sent.Add(1)
			stamp(p.Payload, f.number, number, 0)
			if f.qos > 0 {
				p.ID = uint16((number-1)%65535 + 1)
			}
			if err := f.w.WritePacket(p); err != nil {
				return err
			}
		}
		if n > 0 {
			if err := f.w.Flush(); err != nil {
				return err
			}
			continue
		}
		select {
		case <-stop:
			return nil
		case <-f.wake:
		case <-tick.C:
			now := f.progress.Load()
			if now == before {
				f.given.Store(f.sent.Load())
			}
			before = now
		}
	}
}

// acknowledged reads what the broker answers to a publisher.
func (f *flow) acknowledged() error {
	for n := int64(0); ; {
		p, err := f.r.ReadPacket()
		if err != nil {
			return err
		}
		if _, ok := p.(*mqtt.Puback); !ok {
			return fmt.Errorf("a publisher received %T", p)
		}
		if n++; !f.more() || n == 64 {
			f.acked.Add(n)
			f.nudge()
			n = 0
		}
	}
}

// receiver is a subscriber.
type receiver struct {
	*session
	flows []*flow // those it hears; nil in an open loop
	last  []int64 // number of the last message of each publisher
	times *histogram

	count, again, missed atomic.Int64 // missed: numbers that were left out
}

func newReceiver(s *session, flows []*flow) *receiver {
	return &receiver{session: s, flows: flows, last: make([]int64, publishers), times: &histogram{}}
}

// receive reads until the connection closes. After each batch it acknowledges, counts and tells the publishers.
func (r *receiver) receive() error {
	var touched []int
	var count, again, missed int64
	var ack mqtt.Puback
	seen := slices.Clone(r.last) // what the publishers know of
	for {
		p, err := r.r.ReadPacket()
		if err != nil {
			return err
		}
		m, ok := p.(*mqtt.Publish)
		if !ok || len(m.Payload) != payloadSize {
			return fmt.Errorf("a subscriber received %#v", p)
		}
		i, number, due := readStamp(m.Payload)
		if i >= publishers {
			return fmt.Errorf("a subscriber received a message of publisher %d", i)
		}
		if due > 0 {
			r.times.add(since() - due)
		}
		if number > r.last[i] {
			count, missed = count+1, missed+number-r.last[i]-1
			if r.last[i] == seen[i] {
				touched = append(touched, i)
			}
			r.last[i] = number
		} else {
			again++
		}
		if m.QoS > 0 {
			ack.ID = m.ID
			if err := r.w.WritePacket(&ack); err != nil {
				return err
			}
		}
		if r.more() && count+again < 64 {
			continue
		}
		if err := r.w.Flush(); err != nil {
			return err
		}
		r.count.Add(count)
		r.again.Add(again)
		r.missed.Add(missed)
		count, again, missed = 0, 0, 0
		for _, i := range touched {
			if r.flows != nil {
				r.flows[i].advance(r.last[i] - seen[i])
			}
			seen[i] = r.last[i]
		}
		touched = touched[:0]
	}
}

// advance tells a publisher of deliveries; with many receivers it is woken once for a message, not by each of them.
func (f *flow) advance(by int64) {
	now := f.progress.Add(by)
	if f.fan == 1 || now/f.fan != (now-by)/f.fan {
		f.nudge()
	}
}

// traffic is a load in progress.
type traffic struct {
	*clients
	flows     []*flow
	receivers []*receiver
	window    atomic.Int64
	stop      chan struct{}
}

// fanIn is 50 publishers to one subscriber.
func (l *clients) fanIn(ctx context.Context) (measure, error) {
	t := &traffic{clients: l, stop: make(chan struct{})}
	var qos mqtt.QoS
	windows := []int64{4, 20, 80}
	if l.Part == "qos1-fanin" {
		qos, windows = 1, []int64{20}
	}
	for i := range publishers {
		id := l.sensor(i)
		if err := t.publisher(ctx, id, "fleet/"+id.ID+"/data", qos, 1); err != nil {
			return measure{}, err
		}
	}
	if err := t.receiver(ctx, l.collector(0), "fleet/+/data", qos); err != nil {
		return measure{}, err
	}
	return t.measured(ctx, windows)
}

// fanOut is one publisher to 500 subscribers.
func (l *clients) fanOut(ctx context.Context) (measure, error) {
	t := &traffic{clients: l, stop: make(chan struct{})}
	if err := t.publisher(ctx, l.collector(0), "news/all", 0, listeners); err != nil {
		return measure{}, err
	}
	for i := range listeners {
		if err := t.receiver(ctx, l.sensor(i), "news/all", 0); err != nil {
			return measure{}, err
		}
	}
	return t.measured(ctx, []int64{1, 4, 16})
}

func (t *traffic) publisher(ctx context.Context, id *identity, topic string, qos mqtt.QoS, fan int64) error {
	s, err := t.connect(ctx, id, 16<<10)
	if err != nil {
		return err
	}
	t.flows = append(t.flows, &flow{session: s, number: len(t.flows), topic: []byte(topic), qos: qos, fan: fan, window: &t.window, wake: make(chan struct{}, 1)})
	return nil
}

func (t *traffic) receiver(ctx context.Context, id *identity, filter string, qos mqtt.QoS) error {
	s, err := t.connect(ctx, id, 64<<10)
	if err != nil {
		return err
	}
	t.receivers = append(t.receivers, newReceiver(s, t.flows))
	return s.subscribe(filter, qos)
}

// tolerated is the share of messages that may be lost at QoS 0: a broker is not ahead by dropping what it was given.
const tolerated = 0.001

// better says whether one trial is to be preferred to another: for what it delivers if both lose no more than is
// tolerated, else for what it does not lose.
func better(a, b *measure) bool {
	if max(a.loss(), b.loss()) <= tolerated {
		return a.Rate > b.Rate
	}
	return a.loss() < b.loss()
}

func (m *measure) loss() float64 { return float64(m.Lost) / float64(max(1, m.Sent)) }

// measured tries each window for a while and measures with the best.
func (t *traffic) measured(ctx context.Context, windows []int64) (m measure, err error) {
	for _, r := range t.receivers {
		go func() { t.fail(r.receive()) }()
	}
	t.window.Store(windows[0])
	for _, f := range t.flows {
		go func() { t.fail(f.acknowledged()) }()
		go func() { t.fail(f.publish(t.stop)) }()
	}
	var best measure
	for i, w := range windows {
		trial, err := t.sample(ctx, w, t.Length/6)
		if err != nil {
			return m, err
		}
		if i == 0 || better(&trial, &best) {
			best = trial
		}
	}
	if m, err = t.sample(ctx, int64(best.Window), t.Length); err != nil {
		return m, err
	}
	close(t.stop)
	if len(windows) == 1 { // nothing but this window was ever open: all that was sent can be accounted for
		err = t.drain(ctx, &m)
	}
	return m, err
}

// sample sets the window, waits until that has taken effect, and reads the counters over a while.
func (t *traffic) sample(ctx context.Context, window int64, length time.Duration) (m measure, err error) {
	t.window.Store(window)
	if err := t.wait(ctx, t.Length/12); err != nil {
		return m, err
	}
	began, broker, own, delivered, acked, missed := time.Now(), cpu(t.PID), cpu(os.Getpid()), t.delivered(), t.acked(), t.missed()
	if err := t.wait(ctx, length); err != nil {
		return m, err
	}
	took, delivered, acked := time.Since(began).Seconds(), t.delivered()-delivered, t.acked()-acked
	m.Rate, m.Acked, m.Window = float64(delivered)/took, float64(acked)/took, int(window)
	m.Lost = t.missed() - missed
	m.Sent = delivered + m.Lost
	for _, r := range t.receivers {
		m.Again += r.again.Load()
	}
	if delivered > 0 {
		m.Broker, m.Own = (cpu(t.PID)-broker)/time.Duration(delivered), (cpu(os.Getpid())-own)/time.Duration(delivered)
	}
	return m, nil
}

func (t *traffic) missed() (sum int64) {
	for _, r := range t.receivers {
		sum += r.missed.Load()
	}
	return sum
}

func (t *traffic) delivered() (sum int64) {
	for _, r := range t.receivers {
		sum += r.count.Load()
	}
	return sum
}

func (t *traffic) acked() (sum int64) {
	for _, f := range t.flows {
		sum += f.acked.Load()
	}
	return sum
}

// drain waits until everything has come or nothing comes any more, and counts what is missing.
func (t *traffic) drain(ctx context.Context, m *measure) error {
	quiet := time.Now()
	for last := int64(-1); time.Since(quiet) < time.Second; {
		if err := t.wait(ctx, 20*time.Millisecond); err != nil {
			return err
		}
		m.Sent, m.Again = 0, 0
		for _, f := range t.flows {
			m.Sent += f.sent.Load() * f.fan
		}
		for _, r := range t.receivers {
			m.Again += r.again.Load()
		}
		now := t.delivered()
		if m.Lost = m.Sent - now; m.Lost <= 0 {
			return nil
		}
		if now != last {
			last, quiet = now, time.Now()
		}
	}
	return nil
}
