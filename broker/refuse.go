package broker

import (
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
)

// Refusal is one thing that a client was not allowed, for people who look at it.
type Refusal struct {
	Time   time.Time
	Kind   Kind
	Topic  string
	Rule   string
	Detail string
}

// maxRefusals is how many a session remembers.
const maxRefusals = 8

// refused counts and reports what a client was not allowed.
func (s *session) refused(e Event) {
	e.Principal, e.Client, e.Source = s.principal(), s.id, s.peer.Addr
	s.count.refused.Add(1)
	s.b.report(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.refusals) >= maxRefusals {
		s.refusals = append(s.refusals[:0], s.refusals[1:]...)
	}
	s.refusals = append(s.refusals, Refusal{Time: s.b.now(), Kind: e.Kind, Topic: e.Topic, Rule: e.Rule, Detail: e.Detail})
}

// refuse answers a PUBLISH that is not allowed (MQTT-3.3.5-2): a reason code at
// QoS 1 and 2; in MQTT 3.1.1, which has none, as the operator chose.
func (s *session) refuse(t *topic, p *mqtt.Publish, slot *pending, d policy.Decision) error {
	code := reason(d)
	kind := PublishRefused
	switch d.Code {
	case policy.Interlock:
		kind = CommandRefused
	case policy.RateExceeded:
		kind = RateRefused
	case policy.PayloadInvalid, policy.Unreadable:
		kind = PayloadRefused
	}
	s.refused(Event{Kind: kind, Topic: t.name, Rule: d.Rule, Code: code, Detail: d.Error()})
	if s.in.flood(s.b.now(), s.b.opt.FloodRefusals) {
		return &broken{mqtt.MessageRateTooHigh, "too many refused messages"}
	}
	if slot == nil {
		return nil // QoS 0: there is no answer
	}
	if s.version == mqtt.V311 && !s.b.opt.Drop311 {
		return &broken{mqtt.NotAuthorized, d.Error()}
	}
	s.mu.Lock()
	slot.code, slot.text = code, d.Error()
	s.mu.Unlock()
	s.stored(slot, nil)
	return nil
}

// floodWindow is the time within which refused messages are counted.
const floodWindow = 10 * time.Second

// flood counts a refused message, and reports whether there are too many.
func (in *inbound) flood(now time.Time, most int) bool {
	if now.Sub(in.refusedAt) > floodWindow {
		in.refusedAt, in.refused = now, 0
	}
	in.refused++
	return in.refused > most
}
