package broker

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
)

// PolicyChanged decides again about every session here, when Config.Policy
// returns another policy. Sessions that may not be any more are closed, those that
// may less lose the subscriptions that are not allowed.
func (b *Broker) PolicyChanged() {
	b.epoch.Add(1)
	set := b.cfg.Policy()
	for _, s := range b.connected() {
		s.reevaluate(set, s.principal())
	}
}

// FactsChanged asks Config.Facts again about the sessions that choose selects, and
// decides again about them.
func (b *Broker) FactsChanged(choose func(policy.Principal) bool) {
	b.epoch.Add(1)
	for _, s := range b.connected() {
		if choose(s.principal()) {
			s.recheck()
		}
	}
}

// recheck decides again about a session with the facts and the policy of now.
func (s *session) recheck() {
	ctx, cancel := context.WithTimeout(s.b.life, endTimeout)
	defer cancel()
	who, err := s.b.cfg.Facts(ctx, s.peer)
	if err != nil {
		s.expel(err.Error()) // also when it cannot be told: access fails closed
		return
	}
	s.reevaluate(s.b.cfg.Policy(), who)
}

func (s *session) reevaluate(set *policy.Set, who policy.Principal) {
	p := newPermit(set, who)
	s.permit.Store(p)
	s.b.mu.Lock()
	s.owner.own.set(p.perms.Limits())
	s.b.totalOf(s.owner, p)
	s.b.mu.Unlock()
	if d := p.perms.Connect(s.id); !d.Allowed {
		s.expel(d.Error())
		return
	}
	s.mu.Lock()
	filters := make([]*subscription, 0, len(s.subs))
	for _, sub := range s.subs {
		filters = append(filters, sub)
	}
	s.mu.Unlock()
	lost := false
	for _, sub := range filters {
		d := p.perms.Subscribe(sub.filter, byte(sub.qos))
		if d.Allowed {
			continue
		}
		lost = s.drop(sub.filter) || lost
		s.refused(Event{Kind: SubscriptionLost, Topic: sub.filter, Rule: d.Rule, Detail: d.Error()})
	}
	if lost {
		s.forgetUnmatched()
		s.whenSaved(func() {})
	}
}

// forgetUnmatched takes out of the queues what no subscription asks for any more.
func (s *session) forgetUnmatched() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range []*ring{&s.fast, &s.logged} {
		for range q.n {
			d := q.pop()
			if d.to == nil || d.to.live() {
				q.push(d)
				continue
			}
			if i := s.flightOf(d.id); d.id != 0 && i >= 0 {
				s.abandon(i, d.dup)
			}
			if d.share != nil {
				d.share.settle(false)
			}
			d.m.release()
		}
	}
}

// expel closes a session that may not be any more.
func (s *session) expel(why string) {
	s.refused(Event{Kind: SessionClosed, Code: mqtt.NotAuthorized, Detail: why})
	s.close(mqtt.NotAuthorized, why)
}

// CloseWhere closes the sessions here that choose selects, and returns how many.
func (b *Broker) CloseWhere(choose func(who policy.Principal, peer Peer) bool, code mqtt.ReasonCode, why string) (n int) {
	b.epoch.Add(1)
	for _, s := range b.connected() {
		if choose(s.principal(), s.peer) {
			s.refused(Event{Kind: SessionClosed, Code: code, Detail: why})
			s.close(code, why)
			n++
		}
	}
	return n
}

// Session is what can be told about one session.
type Session struct {
	ClientID  string
	Principal policy.Principal
	Connected bool
	Node      string
	Peer      Peer
	Version   mqtt.Version
	Since     time.Time // connected, or lost
	KeepAlive time.Duration
	Expiry    time.Duration
	Subs      []Subscription

	Queued, Inflight                           int
	InMessages, InBytes, OutMessages, OutBytes int64
	Refused, Dropped                           int64
	Refusals                                   []Refusal
}

// Subscription is one of a session's.
type Subscription struct {
	Filter string
	QoS    mqtt.QoS
	Rule   string // that allowed it
}

func (s *session) describe() Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := Session{
		ClientID: s.id, Principal: s.principal(), Connected: !s.over, Node: s.b.cfg.Node, Peer: s.peer, Version: s.version, Since: s.since,
		KeepAlive: time.Duration(s.in.keepAlive) * time.Second, Expiry: seconds(s.expiry), Queued: s.fast.n + s.logged.n, Inflight: len(s.flight),
		InMessages: s.count.inMessages.Load(), InBytes: s.count.inBytes.Load(), OutMessages: s.count.outMessages.Load(), OutBytes: s.count.outBytes.Load(),
		Refused: s.count.refused.Load(), Dropped: s.count.dropped.Load(), Refusals: slices.Clone(s.refusals),
	}
	for _, sub := range s.subs {
		d.Subs = append(d.Subs, Subscription{sub.filter, sub.qos, sub.rule})
	}
	slices.SortFunc(d.Subs, func(a, b Subscription) int { return compare(a.Filter, b.Filter) })
	return d
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Sessions describes the sessions connected here, by client id.
func (b *Broker) Sessions() []Session {
	var out []Session
	for _, s := range b.connected() {
		out = append(out, s.describe())
	}
	slices.SortFunc(out, func(a, b Session) int { return compare(a.ClientID, b.ClientID) })
	return out
}

// Connected visits who is connected here, with client id and what they listen to.
func (b *Broker) Connected(yield func(who policy.Principal, clientID string, filters []string)) {
	for _, s := range b.connected() {
		s.mu.Lock()
		filters := make([]string, 0, len(s.subs))
		for f := range s.subs {
			filters = append(filters, f)
		}
		s.mu.Unlock()
		slices.Sort(filters)
		yield(s.principal(), s.id, filters)
	}
}

// Session describes one session: connected here, or waiting in the log. Nil: there
// is none.
func (b *Broker) Session(ctx context.Context, id string) (*Session, error) {
	if s := b.session(id); s != nil {
		d := s.describe()
		return &d, nil
	}
	r, _, err := b.loadRow(ctx, id)
	if err != nil || r == nil || r.ended(b.now()) {
		return nil, err
	}
	d := &Session{ClientID: id, Node: r.Node, Connected: r.Connected, Expiry: seconds(r.Expiry), Inflight: len(r.Out)}
	for _, sub := range r.Subs {
		d.Subs = append(d.Subs, Subscription{Filter: sub.Filter, QoS: sub.QoS})
	}
	if kind, name, ok := cut(r.Owner); ok {
		d.Principal = policy.Principal{Kind: kind, ID: name}
	}
	return d, nil
}

func cut(owner string) (kind, id string, ok bool) {
	for i := range len(owner) {
		if owner[i] == '/' {
			return owner[:i], owner[i+1:], true
		}
	}
	return "", "", false
}

// EndSession closes a session and forgets it: its subscriptions, and the messages
// that wait for it. False when there is none, or another node has it connected.
func (b *Broker) EndSession(ctx context.Context, id string) (bool, error) {
	if s := b.session(id); s != nil {
		s.mu.Lock()
		s.persist, s.expiry = false, 0
		s.mu.Unlock()
		s.close(mqtt.AdministrativeAction, "an operator ended the session")
		select {
		case <-s.gone:
			return true, nil
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
	unlock := b.lock(id)
	defer unlock()
	r, rev, err := b.loadRow(ctx, id)
	if err != nil || r == nil || r.Connected {
		return false, err
	}
	return true, b.msgs.DeleteSession(ctx, id, rev)
}
