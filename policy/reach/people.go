package reach

import (
	"cmp"
	"maps"
	"slices"

	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// person is one node that sends and receives: what all its members share.
type person struct {
	node      Node
	kind      string // policy.Device, policy.Gateway or policy.App
	name      string // of a declared app; empty: it differs between members
	zone, typ string
	sends     []*offer
	receives  []*offer
}

// of gives the values of variables, as policy.Principal does.
func (p *person) of(variable string) (value, hole string) {
	inventory := p.kind != policy.App
	switch {
	case variable == "app.name" && !inventory && p.name == "":
		return "", nameHole
	case variable == "app.name" && !inventory:
		return p.name, ""
	case variable == "device.id" && inventory, variable == "gateway.id" && p.kind == policy.Gateway:
		return "", idHole
	case variable == "device.type" && inventory:
		return p.typ, ""
	case variable == "device.zone" && inventory:
		return p.zone, ""
	case len(variable) > len(labels) && variable[:len(labels)] == labels && inventory:
		return "", labelHole + variable[len(labels):]
	}
	return "", ""
}

const labels = "device.labels."

// builder is the work on one graph.
type builder struct {
	m      *manifest.Set
	fleet  *Fleet
	limits Limits
	zones  []Node
	people []*person
	apps   map[string]bool // that have a document

	steps    int
	places   map[string]place
	rules    map[*manifest.Rule]*Rule
	commands map[*manifest.Command]*Rule
	guards   map[[2]string][]guard // of the devices of a zone and type
	interned map[string]*offer
	sending  []*offer
	hearing  []*offer
	used     map[*manifest.Rule]bool // some person has it
	edges    map[[2]int]*Edge
	flows    map[[2]string]*Flow
	notes    notes
	graph    *Graph
}

type place struct {
	zone, typ string
	known     bool
}

func newBuilder(m *manifest.Set, fleet *Fleet, limits Limits) *builder {
	return &builder{m: m, fleet: fleet, limits: limits, apps: map[string]bool{}, places: map[string]place{},
		rules: map[*manifest.Rule]*Rule{}, commands: map[*manifest.Command]*Rule{}, guards: map[[2]string][]guard{}, interned: map[string]*offer{},
		used: map[*manifest.Rule]bool{}, edges: map[[2]int]*Edge{}, flows: map[[2]string]*Flow{}, notes: newNotes(), graph: &Graph{}}
}

// step counts work and tells whether there may be more.
func (b *builder) step(n int) bool {
	if b.steps += n; b.steps <= b.limits.Steps {
		return true
	}
	b.graph.Cut, b.graph.FlowsCut = true, true
	b.graph.CutWhy = "the policy and the fleet are too large to compare every rule with every other: paths may be missing"
	return false
}

// persons lists zones and whoever sends and receives, in the order of their names.
func (b *builder) persons() {
	zones := map[string]Node{}
	add := func(z Zone) {
		zones[z.Name] = Node{ID: ZoneNode + ":" + z.Name, Kind: ZoneNode, Name: z.Name, Zone: z.Name, Production: z.Production, SecurityLevel: z.SecurityLevel}
	}
	for _, g := range b.fleet.Groups {
		add(Zone{Name: g.Zone})
	}
	for _, z := range b.fleet.Zones {
		add(z)
	}
	groups := map[Group]int{}
	for _, g := range b.fleet.Groups {
		if g.Profile == "" {
			g.Profile = policy.Device
		}
		n := g.Count
		g.Count = 0
		groups[g] += n
	}
	for _, g := range slices.SortedFunc(maps.Keys(groups), compareGroups) {
		z := zones[g.Zone]
		z.Count += groups[g]
		zones[g.Zone] = z
		b.people = append(b.people, &person{kind: g.Profile, zone: g.Zone, typ: g.Type, node: Node{ID: g.Profile + ":" + g.Zone + "/" + g.Type, Kind: g.Profile,
			Name: g.Type, Zone: g.Zone, Parent: z.ID, Count: groups[g], Production: z.Production, SecurityLevel: z.SecurityLevel}})
	}
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		b.zones = append(b.zones, zones[name])
	}
	for i := range b.m.Apps {
		b.apps[b.m.Apps[i].Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(b.apps)) {
		b.people = append(b.people, &person{kind: policy.App, name: name, node: Node{ID: AppNode + ":" + name, Kind: AppNode, Name: name}})
	}
	b.people = append(b.people, &person{kind: policy.App, node: Node{ID: Outside, Kind: OutsideNode, Name: "programs without an App document"}})
}

func compareGroups(a, b Group) int {
	return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Profile, b.Profile))
}

// outside tells that p is the programs without a document.
func (p *person) outside() bool { return p.kind == policy.App && p.name == "" }

// mayBe tells whether a member of p can have an id, or a name.
func (b *builder) mayBe(p *person, id string) bool {
	switch {
	case p.outside():
		return !b.apps[id]
	case p.kind == policy.App:
		return p.name == id
	}
	at := b.place(id)
	return at.known && at.zone == p.zone && at.typ == p.typ || !at.known && at.zone == anywhere
}

// anywhere stands, with known false, for an id that was not looked up. No zone has a NUL in its name.
const anywhere = "\x00"

func (b *builder) place(id string) place {
	at, ok := b.places[id]
	if ok {
		return at
	}
	if at = (place{zone: anywhere}); b.fleet.Place != nil && len(b.places) < b.limits.Lookups {
		at.zone, at.typ, at.known = b.fleet.Place(id)
		if !at.known {
			at.zone = ""
		}
		b.places[id] = at
	}
	return at
}

// chosen tells whether a selector can choose members of p, and for which reasons
// not all of them.
func (b *builder) chosen(s *manifest.Selector, p *person) (ok bool, ids []string, labels []string) {
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	if !in(s.Kinds, p.kind) || !in(s.Types, p.typ) || !in(s.Zones, p.zone) || len(s.Labels) > 0 && p.kind == policy.App {
		return false, nil, nil
	}
	for _, id := range s.IDs {
		if b.mayBe(p, id) {
			ids = append(ids, id)
		}
	}
	if len(s.IDs) > 0 && len(ids) == 0 {
		return false, nil, nil
	}
	if p.kind == policy.App && p.name != "" {
		ids = nil // all there is of it
	}
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		labels = append(labels, k+"="+s.Labels[k])
	}
	return true, ids, labels
}
