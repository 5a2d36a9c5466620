package reach

import (
	"cmp"
	"maps"
	"slices"
)

// join compares what everybody may send with what everybody may receive.
func (b *builder) join() {
	first := map[string][]*offer{} // by the first level, where it is a text
	var open []*offer              // others
	for _, o := range b.hearing {
		if l := o.filter.levels; len(l) > 0 && !l[0].any && l[0].parts == nil {
			first[l[0].text] = append(first[l[0].text], o)
		} else {
			open = append(open, o)
		}
	}
	for _, s := range b.sending {
		lists := [][]*offer{open, b.hearing}
		if l := s.filter.levels; len(l) > 0 && !l[0].any && l[0].parts == nil {
			lists[1] = first[l[0].text]
		} else {
			lists[0] = nil
		}
		for _, list := range lists {
			if !b.step(len(list) / 8) { // most comparisons end at the second level
				return
			}
			for _, r := range list {
				if !overlap(&s.filter, &r.filter) {
					continue
				}
				if w := b.way(s, r); w != nil && !b.expand(w, s, r) {
					return
				}
			}
		}
	}
}

// way makes the way of two offers that overlap, or nil where denials or ids leave none.
func (b *builder) way(s, r *offer) *Way {
	c := shared(&s.filter, &r.filter)
	need := c.needs()
	if need.never {
		return nil
	}
	w := &Way{Topic: c.String(), Send: s.rule, Sent: s.pattern, Receive: r.rule, Received: r.pattern, OnlyItself: need.itself,
		sender: need.sender, receiver: need.receiver, commands: len(r.guards) > 0}
	w.Because = append(w.Because, s.because...)
	for _, reason := range r.because {
		if !slices.Contains(w.Because, reason) {
			w.Because = append(w.Because, reason)
		}
	}
	for _, side := range []struct {
		denials  []*denial
		receiver bool
	}{{s.denials, false}, {r.denials, true}} {
		for _, d := range side.denials {
			if d.certain && c.within(&d.filter, side.receiver) {
				return nil
			}
			if other := c.other(side.receiver); !overlap(other, &d.filter) {
				continue
			}
			reason := d.rule.Name + " denies part of it"
			if d.rule.When != "" {
				reason = d.rule.Name + " denies it when its condition holds"
			}
			if !slices.Contains(w.Because, reason) {
				w.Because = append(w.Because, reason)
			}
		}
	}
	if w.sender != "" {
		w.Because = append(w.Because, "only "+w.sender+" can send it")
	}
	if w.receiver != "" {
		w.Because = append(w.Because, "only "+w.receiver+" can receive it")
	}
	for _, g := range r.guards {
		if !overlap(&s.filter, &g.filter) {
			continue
		}
		toSender := shared(&s.filter, &g.filter)
		if n := toSender.needs(); n.itself && !need.itself || n.never {
			continue // a command to the sender
		}
		w.Interlocks = append(w.Interlocks, g.rule)
		w.Guarded = w.Guarded || c.within(&g.filter, true)
	}
	w.Conditional = s.rule.When != "" || r.rule.When != "" || len(w.Because) > 0
	return w
}

// other is the filter of the side that a denial does not belong to.
func (c *common) other(ofReceiver bool) *filter {
	if ofReceiver {
		return c.send
	}
	return c.receive
}

// expand puts a way into the edges of all who have its two ends; it tells whether
// work may go on.
func (b *builder) expand(w *Way, s, r *offer) bool {
	for _, from := range s.people {
		if w.sender != "" && !b.mayBe(b.people[from], w.sender) {
			continue
		}
		if !b.step(1 + len(r.people)) {
			return false
		}
		for _, to := range r.people {
			if w.OnlyItself && from != to || w.receiver != "" && !b.mayBe(b.people[to], w.receiver) {
				continue
			}
			if !w.OnlyItself {
				s.met, r.met = true, true
				b.notes.note(w, &b.people[from].node, &b.people[to].node)
			}
			b.edge(w, from, to)
			b.flow(w, &b.people[from].node, &b.people[to].node)
		}
	}
	return true
}

func (b *builder) edge(w *Way, from, to int) {
	key := [2]int{from, to}
	t := b.edges[key]
	if t == nil {
		if len(b.edges) >= b.limits.Edges {
			if b.graph.Cut = true; b.graph.CutWhy == "" {
				b.graph.CutWhy = "there are more edges than are shown: look at the flows between zones"
			}
			return
		}
		a, z := &b.people[from].node, &b.people[to].node
		t = &Edge{From: a.ID, To: z.ID, CrossesZones: a.Zone != z.Zone && a.Zone != "" && z.Zone != "", Guarded: true, Conditional: true, OnlyItself: true}
		b.edges[key] = t
		b.flowOf(a, z).Edges++
	}
	if len(t.Ways) < b.limits.Ways {
		t.Ways = append(t.Ways, w)
	} else {
		t.More++
	}
	t.Command = t.Command || len(w.Interlocks) > 0
	t.Guarded = t.Guarded && w.Guarded
	t.Conditional = t.Conditional && w.Conditional
	t.OnlyItself = t.OnlyItself && w.OnlyItself
}

func (b *builder) flowOf(from, to *Node) *Flow {
	key := [2]string{from.end(), to.end()}
	f := b.flows[key]
	if f == nil {
		f = &Flow{From: key[0], To: key[1], Guarded: true, Conditional: true, OnlyItself: true, send: map[*Rule]bool{}, receive: map[*Rule]bool{}}
		b.flows[key] = f
	}
	return f
}

func (b *builder) flow(w *Way, from, to *Node) {
	f := b.flowOf(from, to)
	f.send[w.Send], f.receive[w.Receive] = true, true
	f.Command = f.Command || len(w.Interlocks) > 0
	f.Guarded = f.Guarded && w.Guarded
	f.Conditional = f.Conditional && w.Conditional
	f.OnlyItself = f.OnlyItself && w.OnlyItself
}

// finish puts everything into order.
func (b *builder) finish() *Graph {
	g := b.graph
	g.Nodes, g.Flows, g.Observations = []Node{}, []Flow{}, []Observation{}
	groups := map[string][]Node{}
	var apps []Node
	for _, p := range b.people {
		switch {
		case p.node.Parent != "":
			groups[p.node.Parent] = append(groups[p.node.Parent], p.node)
		case !p.outside() || p.node.Sends+p.node.Receives > 0:
			apps = append(apps, p.node)
		}
	}
	for _, z := range b.zones {
		g.Nodes = append(append(g.Nodes, z), groups[z.ID]...)
	}
	g.Nodes = append(g.Nodes, apps...)
	compare := order(g.Nodes)
	g.Edges = make([]Edge, 0, len(b.edges))
	for _, key := range slices.SortedFunc(maps.Keys(b.edges), func(x, y [2]int) int { // people are in the order of nodes
		return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1]))
	}) {
		g.Edges = append(g.Edges, *b.edges[key])
	}
	for _, f := range b.flows {
		f.SendRules, f.ReceiveRules = len(f.send), len(f.receive)
		g.Flows = append(g.Flows, *f)
	}
	slices.SortFunc(g.Flows, func(x, y Flow) int { return cmp.Or(compare(x.From, y.From), compare(x.To, y.To)) })
	b.observe()
	return g
}
