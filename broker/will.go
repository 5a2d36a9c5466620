package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
)

// will is the message to publish when a client is lost (MQTT 5 section 3.1.2.5).
// It lies in the session's row, so that it is published also when this server dies.
type will struct {
	ID      string           `json:"id"` // so that it is published once
	From    policy.Principal `json:"from"`
	Client  string           `json:"client"`
	Delay   uint32           `json:"delay,omitempty"` // seconds
	Due     time.Time        `json:"due,omitzero"`    // set when the client was lost
	Message []byte           `json:"message"`         // as the log keeps it
	Topic   string           `json:"topic"`
}

// delayed is a will that waits for its time.
type delayed struct {
	will  *will
	timer *time.Timer
}

// takeWill decides about the will of CONNECT: what its client may not publish, its
// will may not say either.
func (s *session) takeWill(c *mqtt.Connect) error {
	if c.Will == nil {
		return nil
	}
	p := s.permit.Load()
	if c.Version == mqtt.V5 {
		if f, _ := c.Will.Props.Number(mqtt.PayloadFormat); f == 1 && !validText(c.Will.Payload) {
			return deny(mqtt.PayloadFormatInvalid, "the will is not the UTF-8 that its format indicator says")
		}
		if response, ok := c.Will.Props.Blob(mqtt.ResponseTopic); ok {
			if d := p.perms.Subscribe(string(response), 0); !d.Allowed {
				return deny(mqtt.NotAuthorized, "response topic of the will: %s", d.Error())
			}
		}
	}
	v := p.perms.Publish(c.Will.Topic)
	d := v.Check(policy.Message{Topic: c.Will.Topic, Payload: c.Will.Payload, QoS: byte(c.Will.QoS), Retain: c.Will.Retain, From: p.who}, s.b.now(), nil, s.b.cfg.Target)
	if !d.Allowed {
		s.b.report(Event{Kind: WillRefused, Principal: p.who, Client: s.id, Source: s.peer.Addr, Topic: c.Will.Topic, Rule: d.Rule, Detail: d.Error()})
		return deny(reason(d), "will: %s", d.Error())
	}
	m := &msglog.Message{Topic: c.Will.Topic, QoS: c.Will.QoS, Retain: c.Will.Retain, From: s.origin(), Payload: c.Will.Payload}
	w := &will{ID: uuid.NewString(), From: p.who, Client: s.id, Topic: m.Topic}
	if c.Version == mqtt.V5 {
		m.Expiry, m.HasExpiry = c.Will.Props.Number(mqtt.MessageExpiry)
		m.Props = forwarded(&c.Will.Props)
		w.Delay, _ = c.Will.Props.Number(mqtt.WillDelay)
	}
	w.Message = m.AppendTo(nil)
	s.will = w
	return nil
}

// lastWill is what to publish now or later, when a connection ended without a
// DISCONNECT. The row keeps it until it was published.
func (s *session) lastWill() *will {
	if s.will == nil {
		return nil
	}
	delay := s.will.Delay
	if !s.persist {
		delay = 0 // the session ends now, and the will with it
	} else if s.expiry != never {
		delay = min(delay, s.expiry) // MQTT-3.1.3-9
	}
	s.will.Due = s.b.now().Add(seconds(delay))
	return s.will
}

// leaveWill publishes the will of a session that ends, or sets its timer.
func (b *Broker) leaveWill(ctx context.Context, s *session, w *will) {
	wait := w.Due.Sub(b.now())
	if wait <= 0 {
		if err := b.publishWill(ctx, w); err != nil {
			b.log.Error("publishing a will", "client", w.Client, "err", err)
			return
		}
		s.mu.Lock()
		s.will = nil
		s.mu.Unlock()
		return
	}
	b.delay(w, wait)
}

func (b *Broker) delay(w *will, wait time.Duration) {
	d := &delayed{will: w}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return // the row has it: the next server publishes it
	}
	b.wills[w.Client] = d
	d.timer = time.AfterFunc(wait, func() { b.willDue(d) })
}

// willDue publishes a will when its delay is over and the client did not come back.
func (b *Broker) willDue(d *delayed) {
	unlock := b.lock(d.will.Client)
	defer unlock()
	b.mu.Lock()
	mine := b.wills[d.will.Client] == d && !b.closing
	if mine {
		delete(b.wills, d.will.Client)
	}
	b.mu.Unlock()
	if !mine {
		return
	}
	ctx, cancel := context.WithTimeout(b.life, endTimeout)
	defer cancel()
	if err := b.finishWill(ctx, d.will); err != nil {
		b.log.Error("publishing a delayed will", "client", d.will.Client, "err", err)
	}
}

// finishWill publishes the will of a row if it is still there, and takes it out.
func (b *Broker) finishWill(ctx context.Context, w *will) error {
	r, rev, err := b.loadRow(ctx, w.Client)
	if err != nil {
		return err
	}
	if r == nil || r.Connected || r.Will == nil || r.Will.ID != w.ID {
		return nil
	}
	if err := b.publishWill(ctx, w); err != nil {
		return err
	}
	r.Will = nil
	if r.ended(b.now()) {
		return b.msgs.DeleteSession(ctx, w.Client, rev)
	}
	return b.writeRow(ctx, w.Client, r, rev)
}

// publishWill publishes a will once, if the policy of now allows it.
func (b *Broker) publishWill(ctx context.Context, w *will) error {
	m, err := msglog.Parse("in.will", w.Message)
	if err != nil {
		return fmt.Errorf("reading a will: %w", err)
	}
	m.Topic, m.Time = w.Topic, b.now().UnixMilli()
	set := b.cfg.Policy()
	v := set.For(b.factsNow(w.From)).Publish(w.Topic)
	d := v.Check(policy.Message{Topic: m.Topic, Payload: m.Payload, QoS: byte(m.QoS), Retain: m.Retain, From: w.From}, b.now(), nil, b.cfg.Target)
	if !d.Allowed {
		b.report(Event{Kind: WillRefused, Principal: w.From, Client: w.Client, Topic: w.Topic, Rule: d.Rule, Detail: d.Error()})
		return nil
	}
	if m.QoS == 0 {
		b.pass(m)
		return nil
	}
	done := make(chan error, 1)
	b.store(m, "will."+w.ID, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// factsNow is what is known about a device now; another principal is as it was.
func (b *Broker) factsNow(who policy.Principal) policy.Principal {
	if b.cfg.Target != nil && who.Kind != policy.App {
		if now, known := b.cfg.Target(who.ID); known {
			now.Kind = who.Kind // a gateway is in the inventory as devices are
			return now
		}
	}
	return who
}

// settleWill decides about the will that a client left when it comes back: it is
// dropped when the session goes on, published when the session ends with this
// (MQTT 5 section 3.1.2.5). One whose client was lost with a server is due anyway.
func (b *Broker) settleWill(ctx context.Context, id string, old *row, resumed bool) error {
	b.mu.Lock()
	if d := b.wills[id]; d != nil {
		d.timer.Stop()
		delete(b.wills, id)
	}
	b.mu.Unlock()
	if old == nil || old.Will == nil {
		return nil
	}
	delayed := old.Will.Delay > 0 && (old.Connected || b.now().Before(old.Will.Due))
	if resumed && delayed {
		return nil
	}
	return b.publishWill(ctx, old.Will)
}

// recover does what servers before this one left: wills of clients that were
// connected to a server that died, sessions that have ended.
func (b *Broker) recover(ctx context.Context) error {
	var due []string
	err := b.eachRow(ctx, func(id string, r *row, _ uint64) {
		if r.Connected && b.cfg.Cluster != nil && r.Node != b.cfg.Node {
			return // that server may be there: settleLeft finds out
		}
		if r.Connected || r.Will != nil || r.ended(b.now()) {
			due = append(due, id)
		}
	})
	if err != nil {
		return err
	}
	for _, id := range due {
		if err := b.settleRow(ctx, id, 0); err != nil && !errors.Is(err, msglog.ErrConflict) {
			return err
		}
	}
	return nil
}

// settleRow brings one row up to date, unless its client is connected somewhere or
// it is another than the one found (0: any).
func (b *Broker) settleRow(ctx context.Context, id string, found uint64) error {
	unlock := b.lock(id)
	defer unlock()
	if b.session(id) != nil || b.cfg.Cluster != nil && b.cfg.Cluster.Held(ctx, id) {
		return nil
	}
	r, rev, err := b.loadRow(ctx, id)
	if err != nil || r == nil || found != 0 && rev != found {
		return err
	}
	now := b.now()
	if r.Connected { // its server died
		r.Connected, r.Ends = false, now.Add(seconds(r.Expiry))
		if r.Will != nil {
			delay := r.Will.Delay
			if r.Expiry != never {
				delay = min(delay, r.Expiry)
			}
			r.Will.Due = now.Add(seconds(delay))
		}
	}
	if r.Will != nil {
		if wait := r.Will.Due.Sub(now); wait > 0 {
			b.delay(r.Will, wait)
		} else if err := b.publishWill(ctx, r.Will); err != nil {
			return err
		} else {
			r.Will = nil
		}
	}
	if r.ended(now) && r.Will == nil {
		return b.msgs.DeleteSession(ctx, id, rev)
	}
	return b.writeRow(ctx, id, r, rev)
}
