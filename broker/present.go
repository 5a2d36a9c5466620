package broker

import (
	"sync"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/privacy"
)

// present decides whether the client may have a message now, and returns its
// payload as the client may see it.
func (s *session) present(p *permit, d *delivery) (payload []byte, ok bool) {
	if p.perms.ChecksDelivery() {
		if decision := s.mayReceive(p, d); !decision.Allowed {
			s.refused(Event{Kind: DeliveryRefused, Topic: d.m.Topic, Rule: decision.Rule, Detail: decision.Error()})
			return nil, false
		}
	}
	if d.m.From.Type == "" || !p.set.Marked(d.m.From.Type) {
		return d.m.Payload, true
	}
	payload, err := s.b.view(p.set, d.m, p.perms.Audience())
	if err != nil {
		s.refused(Event{Kind: ViewRefused, Topic: d.m.Topic, Detail: "the payload cannot be shown to this audience: " + err.Error()})
		return nil, false
	}
	return payload, true
}

// mayReceive asks policy about a delivery, where conditions or interlocks hold.
func (s *session) mayReceive(p *permit, d *delivery) policy.Decision {
	if s.out.permit != p.id || len(s.out.checks) >= maxTopics || s.out.checks == nil {
		s.out.checks, s.out.permit = map[string]*policy.Verdict{}, p.id
	}
	v := s.out.checks[d.m.Topic]
	if v == nil {
		v = p.perms.Receive(d.m.Topic)
		s.out.checks[d.m.Topic] = v
	}
	if v.Simple() {
		return policy.Decision{Allowed: true}
	}
	from := policy.Principal{Kind: d.m.From.Kind, ID: d.m.From.ID, Type: d.m.From.Type}
	msg := policy.Message{Topic: d.m.Topic, Payload: d.m.Payload, QoS: byte(d.m.QoS), Retain: d.retain, From: from}
	return v.Check(msg, s.b.now(), s.owner.state, s.b.cfg.Target)
}

// views are the compiled transforms, by device type and audience, of one policy.
type views struct {
	mu  sync.RWMutex
	set *policy.Set               // guarded by mu
	of  map[viewKey]*compiledView // guarded by mu
}

type viewKey struct{ deviceType, audience string }

type compiledView struct {
	whole bool
	view  *privacy.View
	err   error
}

func (v *views) get(set *policy.Set, key viewKey, hash privacy.HashKey) *compiledView {
	v.mu.RLock()
	c := v.of[key]
	same := v.set == set
	v.mu.RUnlock()
	if same && c != nil {
		return c
	}
	c = compileView(set, key, hash)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.set != set {
		v.set, v.of = set, map[viewKey]*compiledView{}
	}
	v.of[key] = c
	return c
}

func compileView(set *policy.Set, key viewKey, hash privacy.HashKey) *compiledView {
	fields, whole := set.View(key.deviceType, key.audience)
	if whole {
		return &compiledView{whole: true}
	}
	rules := make([]privacy.Rule, len(fields))
	for i, f := range fields {
		rules[i] = privacy.Rule{Path: f.Path, Do: privacy.Transform(f.Transform), Keep: f.Keep, Step: f.Step, Unit: f.Unit}
	}
	view, err := privacy.Compile(rules, hash)
	return &compiledView{view: view, err: err}
}

// view returns a message's payload as an audience sees it; it is made once per
// message and audience.
func (b *Broker) view(set *policy.Set, m *message, audience string) ([]byte, error) {
	c := b.views.get(set, viewKey{m.From.Type, audience}, b.cfg.HashKey)
	if c.whole {
		return m.Payload, nil
	}
	if c.err != nil {
		return nil, c.err
	}
	m.viewsMu.Lock()
	defer m.viewsMu.Unlock()
	for _, r := range m.views {
		if r.audience == audience && r.by == c {
			return r.payload, r.err
		}
	}
	r := rendered{audience: audience, by: c}
	r.payload, r.err = c.view.Apply(nil, m.Payload)
	m.views = append(m.views, r)
	return r.payload, r.err
}

// reason is the code that answers a refused PUBLISH.
func reason(d policy.Decision) mqtt.ReasonCode {
	switch d.Code {
	case policy.RateExceeded:
		return mqtt.QuotaExceeded
	case policy.PayloadInvalid, policy.Unreadable:
		return mqtt.PayloadFormatInvalid
	case policy.QoS, policy.RetainRefused, policy.NotAuthorized, policy.Condition, policy.Interlock:
		return mqtt.NotAuthorized
	}
	return mqtt.NotAuthorized
}
