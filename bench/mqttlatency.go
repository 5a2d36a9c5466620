package main

import (
	"context"
	"os"
	"syscall"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

const latencyRate = 5000 // messages a second, over all publishers

// latency sends 5,000 messages a second on a schedule over 50 publishers to 5 subscribers, each of which receives all of
// them, and measures from the moment a message was due.
func (l *clients) latency(ctx context.Context) (m measure, err error) {
	t := &traffic{clients: l}
	for i := range publishers {
		id := l.sensor(i)
		if err := t.publisher(ctx, id, "fleet/"+id.ID+"/data", 0, collectors); err != nil {
			return m, err
		}
	}
	flows := t.flows
	t.flows = nil // receivers have nobody to tell
	for i := range collectors {
		if err := t.receiver(ctx, l.collector(i), "fleet/+/data", 0); err != nil {
			return m, err
		}
	}
	t.flows = flows
	for _, r := range t.receivers {
		go func() { t.fail(r.receive()) }()
	}
	warm := pacer{flows: flows, warm: true}
	if err := warm.run(ctx, time.Second); err != nil {
		return m, err
	}
	if err := t.wait(ctx, time.Second/2); err != nil {
		return m, err
	}
	broker, own, before := cpu(t.PID), cpu(os.Getpid()), t.delivered()
	p := pacer{flows: flows}
	began := time.Now()
	if err := p.run(ctx, t.Length); err != nil {
		return m, err
	}
	m.Rate = float64(t.delivered()-before) / time.Since(began).Seconds()
	if err := t.drain(ctx, &m); err != nil {
		return m, err
	}
	n := time.Duration(max(1, t.delivered()-before))
	m.Broker, m.Own = (cpu(t.PID)-broker)/n, (cpu(os.Getpid())-own)/n
	var all histogram
	for _, r := range t.receivers {
		all.merge(r.times)
	}
	m.P50, m.P99, m.P999, m.Lag = all.quantile(.5), all.quantile(.99), all.quantile(.999), p.lag.quantile(.99)
	return m, nil
}

// pacer sends on schedule, from one goroutine, to the publishers in turn.
type pacer struct {
	flows []*flow
	warm  bool // send messages whose time nobody takes
	lag   histogram
}

func (p *pacer) run(ctx context.Context, length time.Duration) error {
	packet := &mqtt.Publish{Payload: make([]byte, payloadSize)}
	plan := pace{start: since() + time.Millisecond, each: time.Second / latencyRate}
	total := int64(length / plan.each)
	for sent := int64(0); sent < total; {
		if err := ctx.Err(); err != nil {
			return err
		}
		for owed := min(total, plan.owed(since())); sent < owed; sent++ {
			f := p.flows[sent%int64(len(p.flows))]
			packet.Topic = f.topic
			due := plan.due(sent)
			p.lag.add(since() - due)
			if p.warm {
				due = 0
			}
			stamp(packet.Payload, f.number, f.sent.Add(1), due)
			if err := f.send(packet); err != nil {
				return err
			}
		}
		if d := plan.due(sent) - since(); d > 0 {
			// The runtime's timers round up to a millisecond when nothing else is to do; the kernel's do not.
			rest := syscall.NsecToTimespec(int64(d))
			_ = syscall.Nanosleep(&rest, nil)
		}
	}
	return nil
}
