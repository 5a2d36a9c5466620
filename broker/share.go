package broker

// group is a shared subscription: its members on this node take turns (MQTT 5
// section 4.8.2).
type group struct {
	b       *Broker
	name    string          // $share/NAME/PATTERN
	members []*subscription // guarded by the broker's mu
	turn    int             // guarded by the broker's mu
	sub     *subscription   // the group's own place in the tree
}

// shared is a message of a group on its way to one member.
type shared struct {
	ack func(taken bool)
}

// settle tells the group whether the member took the message.
func (x *shared) settle(taken bool) { x.ack(taken) }

func (b *Broker) join(sub *subscription) {
	b.mu.Lock()
	g := b.groups[sub.filter]
	if g == nil {
		g = &group{b: b, name: sub.filter}
		g.sub = &subscription{to: g, filter: sub.filter, parsed: sub.parsed, qos: 1}
		b.groups[sub.filter] = g
		b.tree.Add(sub.parsed.Pattern, g.sub)
	}
	g.members = append(g.members, sub)
	sub.group = g
	b.mu.Unlock()
}

func (b *Broker) leave(sub *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := sub.group
	for i, m := range g.members {
		if m == sub {
			g.members = append(g.members[:i], g.members[i+1:]...)
			break
		}
	}
	if len(g.members) == 0 {
		delete(b.groups, g.name)
		b.tree.Remove(sub.parsed.Pattern, g.sub)
	}
}

// deliver gives a message to the member whose turn it is.
func (g *group) deliver(t *target, m *message) {
	g.b.mu.Lock()
	defer g.b.mu.Unlock()
	for range g.members {
		g.turn++
		sub := g.members[g.turn%len(g.members)]
		one := &target{to: sub.session, subs: []*subscription{sub}, qos: sub.qos, rap: sub.rap}
		if sub.ident != 0 {
			one.ids = []uint32{sub.ident}
		}
		if sub.session.offer(one, m) {
			return
		}
	}
}

// offer is deliver for a member of a group: false when the client has no room.
func (s *session) offer(t *target, m *message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.ending || s.fast.n >= s.b.opt.QueueMessages || s.fast.bytes >= s.b.opt.QueueBytes {
		return false
	}
	s.pushFast(delivery{m: m, to: t, retain: m.Retain && t.rap})
	return true
}
