package broker

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/mqtt"
)

// group is a shared subscription: its members on all nodes take turns (MQTT 5
// section 4.8.2). What was stored comes by way of the log's group of the same
// name, which gives each message to one node and again to one until a member
// acknowledged it; QoS 0 is shared out by the cluster's nodes among themselves.
// Granted is QoS 1 at most: exactly once would tie a message to one member.
type group struct {
	b       *Broker
	name    string // $share/NAME/PATTERN
	pattern string
	sub     *subscription             // the group's own place in the tree
	members atomic.Pointer[[]*member] // replaced under the broker's mu
	turn    atomic.Uint64
	wake    chan struct{} // capacity 1: a member has room, or is new
	log     atomic.Pointer[msglog.Group]
	end     context.CancelFunc // when the last member has left
}

// member is a subscription of a session in a group.
type member struct {
	sub *subscription
	to  *target
}

// shared is a message of a group on its way to one member.
type shared struct {
	g *group
	m *msglog.GroupMessage
}

// settle tells the group whether the member took the message, or nobody shall.
func (x *shared) settle(taken bool) {
	if taken {
		x.m.Ack()
	} else {
		x.m.Nak()
	}
	x.g.nudge()
}

// groupPause is how long to wait before another try to open a group.
const groupPause = time.Second

// openGroup makes a shared subscription begin in the log, before it is granted:
// what is published from then on reaches it.
func (b *Broker) openGroup(s *session, f mqtt.Filter, filter string) error {
	ctx, cancel := context.WithTimeout(b.life, endTimeout)
	defer cancel()
	if _, err := b.msgs.Group(ctx, filter, f.Pattern, s.groupLife); err != nil {
		return fmt.Errorf("opening %q: %w", filter, err)
	}
	return nil
}

// groupLife is how long a group lasts without anybody for the sake of a session
// that lasts so many seconds after its connection.
func (b *Broker) groupLife(expiry uint32) time.Duration {
	return seconds(expiry) + b.opt.GroupExpiry
}

// full tells whether there is no room for another group: each costs a consumer of
// the log.
func (b *Broker) full(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.groups[name] == nil && len(b.groups) >= b.opt.Groups
}

func (b *Broker) join(sub *subscription) {
	m := &member{sub: sub, to: &target{to: sub.session, subs: []*subscription{sub}, qos: sub.qos, rap: sub.rap}}
	if sub.ident != 0 {
		m.to.ids = []uint32{sub.ident}
	}
	life := sub.session.groupLife
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.groups[sub.filter]
	if g == nil {
		g = &group{b: b, name: sub.filter, pattern: sub.parsed.Pattern, wake: make(chan struct{}, 1)}
		g.sub = &subscription{to: g, filter: sub.filter, parsed: sub.parsed, qos: 1, rap: true}
		g.members.Store(&[]*member{})
		b.groups[sub.filter] = g
		b.tree.Add(sub.parsed.Pattern, g.sub)
		var ctx context.Context
		ctx, g.end = context.WithCancel(b.life)
		b.wg.Go(func() { g.run(ctx, life) })
	} else if log := g.log.Load(); log != nil {
		b.wg.Go(func() { g.keep(log, life) })
	}
	all := append(slices.Clone(*g.members.Load()), m)
	g.members.Store(&all)
	sub.group = g
	joined := append(sub.session.groups(), g)
	sub.session.joined.Store(&joined)
	g.announce(len(all))
	g.nudge()
}

func (g *group) keep(log *msglog.Group, life time.Duration) {
	ctx, cancel := context.WithTimeout(g.b.life, endTimeout)
	defer cancel()
	if err := log.Keep(ctx, life); err != nil && ctx.Err() == nil {
		g.b.log.Warn("prolonging a shared subscription", "filter", g.name, "err", err)
	}
}

func (b *Broker) leave(sub *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := sub.group
	if g == nil {
		return
	}
	all := slices.DeleteFunc(slices.Clone(*g.members.Load()), func(m *member) bool { return m.sub == sub })
	g.members.Store(&all)
	joined := sub.session.groups()
	if i := slices.Index(joined, g); i >= 0 { // once: a subscription may have taken the place of one of the same group
		joined = slices.Delete(joined, i, i+1)
		sub.session.joined.Store(&joined)
	}
	g.announce(len(all))
	if len(all) == 0 {
		delete(b.groups, g.name)
		b.tree.Remove(sub.parsed.Pattern, g.sub)
		g.end()
	}
}

func (g *group) announce(members int) {
	if c := g.b.cfg.Cluster; c != nil {
		c.Share(g.name, members)
	}
}

// groups returns a copy of the groups that the session is in.
func (s *session) groups() []*group {
	if all := s.joined.Load(); all != nil {
		return slices.Clone(*all)
	}
	return nil
}

// freed tells the session's groups that it may have room again.
func (s *session) freed() {
	if all := s.joined.Load(); all != nil {
		for _, g := range *all {
			g.nudge()
		}
	}
}

func (g *group) nudge() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run hands the group's messages to members here until the last has left.
func (g *group) run(ctx context.Context, life time.Duration) {
	for ctx.Err() == nil {
		log, err := g.b.msgs.Group(ctx, g.name, g.pattern, life)
		if err == nil {
			g.log.Store(log)
			err = log.Run(ctx, g.wake, g.room, g.take)
		}
		if ctx.Err() != nil || err == nil {
			return
		}
		g.b.log.Error("reading a shared subscription", "filter", g.name, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(groupPause):
		}
	}
}

// room is how many messages the members take now.
func (g *group) room() (n int) {
	for _, m := range *g.members.Load() {
		n += m.sub.session.freeWindow()
	}
	return n
}

// freeWindow is how many more messages the session takes before its client
// acknowledges some.
func (s *session) freeWindow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.ending {
		return 0
	}
	return max(0, s.window-len(s.flight)-s.logged.n)
}

// take gives a stored message to the member whose turn it is; false when none has
// room.
func (g *group) take(stored *msglog.GroupMessage) bool {
	m := &message{Message: &stored.Message}
	x := &shared{g, stored}
	return g.inTurn(func(to *member) bool { return to.sub.session.offerLogged(to, m, x) })
}

// deliver gives a QoS 0 message to the member whose turn it is, unless another
// node does. Others come by way of the log.
func (g *group) deliver(_ *target, m *message) {
	if m.Seq > 0 {
		return
	}
	if c := g.b.cfg.Cluster; c != nil && !c.Mine(g.name, identity(m)) {
		return
	}
	if !g.inTurn(func(to *member) bool { return to.sub.session.offer(to, m) }) {
		g.b.stats.dropped.Add(1)
	}
}

func (g *group) inTurn(offer func(*member) bool) bool {
	all := *g.members.Load()
	for range all {
		if offer(all[g.turn.Add(1)%uint64(len(all))]) {
			return true
		}
	}
	return false
}

// identity is the same number for one QoS 0 message on all nodes.
func identity(m *message) uint64 {
	h := fnv.New64a()
	h.Write([]byte(m.Topic))
	h.Write([]byte(m.From.Client))
	var t [16]byte
	for i := range 8 {
		t[i], t[8+i] = byte(m.Time>>(8*i)), byte(len(m.Payload)>>(8*i))
	}
	h.Write(t[:])
	h.Write(m.Payload[:min(len(m.Payload), 1<<10)])
	n := h.Sum64()
	return n ^ n>>32 // its low bits alone are taken
}

// offer is deliver for a member of a group: false when the client has no room.
func (s *session) offer(to *member, m *message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.ending || to.sub.gone.Load() || s.fast.n >= s.b.opt.QueueMessages || s.fast.bytes >= s.b.opt.QueueBytes {
		return false
	}
	s.pushFast(delivery{m: m, to: to.to, retain: m.Retain && to.to.rap})
	return true
}

// offerLogged queues a stored message of a group, if the client's window takes it.
func (s *session) offerLogged(to *member, m *message, x *shared) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.ending || to.sub.gone.Load() || len(s.flight)+s.logged.n >= s.window {
		return false
	}
	s.logged.push(delivery{m: m, to: to.to, qos: min(m.QoS, to.to.qos), retain: m.Retain && to.to.rap, share: x})
	s.wakeLocked()
	return true
}

// giveBack returns what a group gave to the session and was not sent yet, when it
// leaves the group.
func (s *session) giveBack(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range s.logged.n {
		d := s.logged.pop()
		if d.share != nil && d.to.subs[0] == sub && d.id == 0 {
			d.share.settle(false)
			continue
		}
		s.logged.push(d)
	}
}

// askAgain has all groups ask for messages once more: a request may have been lost.
func (b *Broker) askAgain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.groups {
		if log := g.log.Load(); log != nil {
			log.Again()
			g.nudge()
		}
	}
}
