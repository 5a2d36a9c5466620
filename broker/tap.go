package broker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/privacy"
)

// Tap is an operator who looks on.
type Tap struct {
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
	Hidden  string         // why the payload cannot be shown to the audience; empty: it is
	Marks   []privacy.Mark // what of the payload the audience does not see as it was sent, at most maxTapMarks
	More    bool           // there are more of them
	Dropped int            // messages left out before this one, because there were too many
}

// maxTapMarks bounds how many fields of a message are named that were rewritten.
const maxTapMarks = 64

// tapQueue bounds the messages that wait for one tap.
const tapQueue = 1024

// Tap begins to gather live messages that match a filter, for an audience: those
// of this node's clients, and of the log. Run shows them and ends it.
func (b *Broker) Tap(filter, audience string) (*Tap, error) {
	parsed, err := mqtt.ParseFilter(filter)
	if err != nil {
		return nil, err
	}
	t := &Tap{b: b, audience: audience, queue: make(chan *message, tapQueue)}
	t.sub = &subscription{to: t, filter: filter, parsed: parsed, qos: 2, rap: true}
	if err := b.msgs.Interest(parsed.Pattern, true); err != nil {
		return nil, err
	}
	b.tree.Add(parsed.Pattern, t.sub)
	return t, nil
}

// Run yields what is gathered until ctx ends or the broker closes.
func (t *Tap) Run(ctx context.Context, yield func(Tapped)) {
	defer t.end()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.b.life.Done():
			return
		case m := <-t.queue:
			yield(t.show(m))
		}
	}
}

func (t *Tap) end() {
	t.sub.gone.Store(true)
	t.b.tree.Remove(t.sub.parsed.Pattern, t.sub)
	if err := t.b.msgs.Interest(t.sub.parsed.Pattern, false); err != nil {
		t.b.log.Error("unsubscribing on the message bus", "err", err)
	}
}

// deliver keeps a copy: the message may be of the pool.
func (t *Tap) deliver(_ *target, m *message) {
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

func (t *Tap) show(m *message) Tapped {
	out := Tapped{Time: time.UnixMilli(m.Time), Topic: m.Topic, QoS: m.QoS, Retain: m.Retain, From: m.From, Props: m.Props}
	out.Dropped = int(t.lost.Swap(0))
	set := t.b.cfg.Policy()
	out.Payload = m.Payload
	if m.From.Type != "" && set.Marked(m.From.Type) {
		var err error
		if out.Payload, err = t.b.view(set, m, t.audience); err != nil {
			out.Payload, out.Hidden = nil, err.Error()
			return out
		}
		if c := t.b.views.get(set, viewKey{m.From.Type, t.audience}, t.b.cfg.HashKey); !c.whole {
			out.Marks, out.More = c.view.Marks(m.Payload, maxTapMarks)
		}
	}
	return out
}
