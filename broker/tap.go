package broker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/mqtt"
)

// tap is an operator who looks on.
type tap struct {
	b        *Broker
	audience string
	sub      *subscription
	queue    chan *message // messages that wait; when it is full, new ones are counted and dropped
	lost     atomic.Int64  // dropped and not told yet
}

// Tapped is a message that an operator sees.
type Tapped struct {
	Time    time.Time
	Topic   string
	QoS     mqtt.QoS
	Retain  bool
	From    msglog.Origin
	Props   *mqtt.Properties
	Payload []byte
	Hidden  string // why the payload cannot be shown to the audience; empty: it is
	Dropped int    // messages left out before this one, because there were too many
}

// tapQueue bounds the messages that wait for one tap.
const tapQueue = 1024

// Tap yields live messages of this node's sessions and of the log that match a
// filter, as an audience sees them, until ctx ends or yield returns an error.
func (b *Broker) Tap(ctx context.Context, filter, audience string, yield func(Tapped) error) error {
	parsed, err := mqtt.ParseFilter(filter)
	if err != nil {
		return err
	}
	t := &tap{b: b, audience: audience, queue: make(chan *message, tapQueue)}
	t.sub = &subscription{to: t, filter: filter, parsed: parsed, qos: 2, rap: true}
	if err := b.msgs.Interest(parsed.Pattern, true); err != nil {
		return err
	}
	defer b.msgs.Interest(parsed.Pattern, false)
	b.tree.Add(parsed.Pattern, t.sub)
	defer func() {
		t.sub.gone.Store(true)
		b.tree.Remove(parsed.Pattern, t.sub)
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.life.Done():
			return ErrClosed
		case m := <-t.queue:
			if err := yield(t.show(m)); err != nil {
				return err
			}
		}
	}
}

// deliver keeps a copy: the message may be of the pool.
func (t *tap) deliver(_ *target, m *message) {
	if m.pooled {
		own := *m.Message
		own.Payload = append([]byte(nil), m.Payload...)
		m = &message{Message: &own}
	}
	select {
	case t.queue <- m:
	default:
		t.lost.Add(1)
	}
}

func (t *tap) show(m *message) Tapped {
	out := Tapped{Time: time.UnixMilli(m.Time), Topic: m.Topic, QoS: m.QoS, Retain: m.Retain, From: m.From, Props: m.Props}
	out.Dropped = int(t.lost.Swap(0))
	set := t.b.cfg.Policy()
	out.Payload = m.Payload
	if m.From.Type != "" && set.Marked(m.From.Type) {
		var err error
		if out.Payload, err = t.b.view(set, m, t.audience); err != nil {
			out.Payload, out.Hidden = nil, err.Error()
		}
	}
	return out
}
