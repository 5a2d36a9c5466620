package broker

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
)

// subscription is one filter of one receiver.
type subscription struct {
	to      receiver // a session, a group or a tap
	session *session // whose it is; of a group's members too
	filter  string   // as subscribed, $share/NAME/ included
	parsed  mqtt.Filter
	qos     mqtt.QoS
	noLocal bool
	rap     bool // retain as published
	ident   uint32
	from    uint64 // messages up to this are older than the subscription
	rule    string // that allowed it
	group   *group
	gone    atomic.Bool
	heir    atomic.Pointer[subscription] // what took its place

	retaining bool            // its retained messages have not all been queued; guarded by session.mu
	fresh     map[string]bool // topics whose retained message came live meanwhile; guarded by session.mu
}

// maxFresh bounds the topics of a subscription's fresh; past it a message may come
// both live and as a retained one.
const maxFresh = 16_384

// noteLocked remembers, for the subscriptions whose retained messages are still
// being read, that a message was handed over live: what is retained for its topic
// is that message or an older one.
func (t *target) noteLocked(m *message) {
	for _, sub := range t.subs {
		if !sub.retaining || m.Seq > 0 && m.Seq <= sub.from || len(sub.fresh) >= maxFresh {
			continue
		}
		if sub.fresh == nil {
			sub.fresh = map[string]bool{}
		}
		sub.fresh[m.Topic] = true
	}
}

func newSubscription(s *session, o mqtt.Subscription, ident uint32) (*subscription, error) {
	f, err := mqtt.ParseFilter(o.Filter)
	if err != nil {
		return nil, err
	}
	return &subscription{to: s, session: s, filter: o.Filter, parsed: f, qos: o.QoS, noLocal: o.NoLocal, rap: o.RetainAsPublished, ident: ident}, nil
}

// attach makes a subscription receive messages.
func (b *Broker) attach(sub *subscription) {
	if err := b.msgs.Interest(sub.parsed.Pattern, true); err != nil {
		b.log.Error("subscribing on the message bus", "err", err)
	}
	if sub.parsed.Share != "" {
		b.join(sub)
		return
	}
	b.tree.Add(sub.parsed.Pattern, sub)
}

func (b *Broker) detach(sub *subscription) {
	if sub.gone.Swap(true) {
		return
	}
	if sub.parsed.Share != "" {
		b.leave(sub)
	} else {
		b.tree.Remove(sub.parsed.Pattern, sub)
	}
	if err := b.msgs.Interest(sub.parsed.Pattern, false); err != nil {
		b.log.Error("unsubscribing on the message bus", "err", err)
	}
}

func (s *session) addSub(sub *subscription) {
	if s.subs == nil {
		s.subs = map[string]*subscription{}
	}
	s.subs[sub.filter] = sub
}

// subscribe decides about each filter and answers with a code for each.
func (s *session) subscribe(p *mqtt.Subscribe) error {
	var ident uint32
	if len(p.Props.SubscriptionIDs) > 0 {
		ident = p.Props.SubscriptionIDs[0]
	}
	from, err := s.b.from(s.persist)
	codes := make([]mqtt.ReasonCode, len(p.Subscriptions))
	var retained []*subscription
	var reason string
	for i, o := range p.Subscriptions {
		if err != nil {
			codes[i], reason = mqtt.UnspecifiedError, "the subscription cannot be stored now: try again"
			continue
		}
		d := s.permitted(o)
		if !d.Allowed {
			codes[i], reason = subCode(s.version, d), d.Error()
			s.refused(Event{Kind: SubscribeRefused, Topic: o.Filter, Rule: d.Rule, Code: codes[i], Detail: d.Error()})
			continue
		}
		granted := o
		granted.QoS = min(o.QoS, mqtt.QoS(d.QoS))
		sub, bad := newSubscription(s, granted, ident)
		if bad != nil {
			codes[i] = subCode(s.version, policy.Decision{Code: policy.BadFilter})
			continue
		}
		if sub.parsed.Share != "" {
			if o.NoLocal {
				return &broken{mqtt.ProtocolError, "no local on a shared subscription"} // MQTT-3.8.3-4
			}
			sub.qos = min(sub.qos, 1)
			if err := s.b.openGroup(s, sub.parsed, sub.filter); err != nil {
				s.b.log.Error("opening a shared subscription", "client", s.id, "err", err)
				codes[i], reason = mqtt.UnspecifiedError, "the shared subscription cannot be opened now: try again"
				continue
			}
		}
		sub.from, sub.rule = from, d.Rule
		sub.retaining = sub.parsed.Share == "" && o.RetainHandling < 2
		existed := s.replace(sub)
		codes[i] = mqtt.ReasonCode(sub.qos)
		switch {
		case sub.retaining && existed && o.RetainHandling == 1:
			s.retainedQueued(sub)
		case sub.retaining:
			retained = append(retained, sub)
		}
	}
	answer := &mqtt.Suback{ID: p.ID, Codes: codes}
	if s.version == mqtt.V5 && reason != "" && s.problem {
		answer.Props.SetBlob(mqtt.ReasonString, []byte(reason))
	}
	s.whenSaved(func() {
		s.sendLocked(answer)
		s.todo = append(s.todo, retained...)
		s.feedLocked()
	})
	return nil
}

// from is where a new subscription's messages begin in the log. For a session
// that lasts it must be exact, also when this node heard nothing for a while.
func (b *Broker) from(exact bool) (uint64, error) {
	if !exact || b.cfg.Cluster == nil {
		return b.position.Load(), nil
	}
	ctx, cancel := context.WithTimeout(b.life, endTimeout)
	defer cancel()
	return b.msgs.Last(ctx)
}

// permitted decides about one filter.
func (s *session) permitted(o mqtt.Subscription) policy.Decision {
	d := s.permit.Load().perms.Subscribe(o.Filter, byte(o.QoS))
	if !d.Allowed {
		return d
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.subs[o.Filter]; !known && len(s.subs) >= s.in.subs {
		return policy.Decision{Code: policy.RateExceeded, Rule: "limits", Detail: "more subscriptions than the client may have", Fix: "use fewer filters"}
	}
	if strings.HasPrefix(o.Filter, "$share/") && s.b.full(o.Filter) {
		return policy.Decision{Code: policy.RateExceeded, Rule: "limits", Detail: "this server has as many shared subscriptions as it may", Fix: "join one that is there"}
	}
	return d
}

// subCode is the SUBACK code of a refusal.
func subCode(v mqtt.Version, d policy.Decision) mqtt.ReasonCode {
	switch {
	case v == mqtt.V311:
		return mqtt.UnspecifiedError // 0x80, the only failure it has
	case d.Code == policy.BadFilter:
		return mqtt.TopicFilterInvalid
	case d.Code == policy.RateExceeded:
		return mqtt.QuotaExceeded
	}
	return mqtt.NotAuthorized
}

// replace puts a subscription in the place of one with the same filter (MQTT-3.8.4-3).
func (s *session) replace(sub *subscription) (existed bool) {
	s.mu.Lock()
	old := s.subs[sub.filter]
	if old != nil {
		sub.from = old.from
	} else if s.behind {
		sub.from = max(sub.from, s.next) // older than the subscription; read already
	}
	s.made++
	s.addSub(sub)
	s.mu.Unlock()
	s.b.attach(sub)
	if old != nil {
		old.heir.Store(sub)
		s.b.detach(old)
	}
	return old != nil
}

// whenSaved runs then, with the lock held, when the session's row is up to date.
func (s *session) whenSaved(then func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.persist {
		then()
		return
	}
	s.saveLocked(func(err error) {
		if err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			then()
		}
	})
}

// unsubscribe ends subscriptions.
func (s *session) unsubscribe(p *mqtt.Unsubscribe) error {
	codes := make([]mqtt.ReasonCode, len(p.Filters))
	for i, f := range p.Filters {
		if !s.drop(f) {
			codes[i] = codeFor(s.version, mqtt.NoSubscriptionExisted)
		}
	}
	s.whenSaved(func() { s.sendLocked(&mqtt.Unsuback{ID: p.ID, Codes: codes}) })
	return nil
}

// drop ends one subscription; false when there was none.
func (s *session) drop(filter string) bool {
	s.mu.Lock()
	sub := s.subs[filter]
	delete(s.subs, filter)
	s.mu.Unlock()
	if sub == nil {
		return false
	}
	s.b.detach(sub)
	if sub.parsed.Share != "" {
		s.giveBack(sub)
	}
	return true
}
