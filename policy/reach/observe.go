package reach

import (
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// The kinds of observations, the most urgent first.
const (
	AnybodyCommands = "anybody-commands" // a zone takes commands from programs without a document, or from all there is
	DevicesCommand  = "devices-command"  // devices of one zone may send commands to another
	Unguarded       = "unguarded"        // a type with commands may be sent others, which no interlock describes
	Upward          = "upward"           // from a lower to a higher security level without an interlock
	FromTest        = "from-test"        // from a zone that is not production to one that is
	Undeclared      = "undeclared"       // programs without an App document may send or receive
	NoApp           = "no-app"           // no app can receive anything from a zone
	NobodyReceives  = "nobody-receives"  // of a rule that lets send
	NobodySends     = "nobody-sends"     // of a rule that lets receive
	UnusedRule      = "unused-rule"      // no device, gateway or app has it
)

// Observation is something about the graph that a person should look at.
type Observation struct {
	Kind   string   `json:"kind"`
	Nodes  []string `json:"nodes,omitempty"`  // ids; of a flow: from, to
	Text   string   `json:"text"`             // a sentence
	Fix    string   `json:"fix"`              // what to do about it, a sentence
	Rules  []*Rule  `json:"rules,omitempty"`  // at most 8
	Topics []string `json:"topics,omitempty"` // at most 8
}

// Bounds on observations.
const (
	maxObservations = 500
	maxExamples     = 8 // of rules and topics in one
)

// examples are ways that show one observation, each once.
type examples []*Way

// notes collects while edges are made what observations need: edges keep only some
// of their ways.
type notes struct {
	commands  map[[2]string]*examples // from an end to a zone's node
	unguarded map[[2]string]*examples // from an end to a device type, by name
	upward    map[[2]string]*examples // between zones
	fromTest  map[[2]string]*examples
}

func newNotes() notes {
	return notes{map[[2]string]*examples{}, map[[2]string]*examples{}, map[[2]string]*examples{}, map[[2]string]*examples{}}
}

func (n *notes) note(w *Way, from, to *Node) {
	if to.Parent == "" {
		return
	}
	keep := func(m map[[2]string]*examples, from, to string) {
		e := m[[2]string{from, to}]
		if e == nil {
			e = &examples{}
			m[[2]string{from, to}] = e
		}
		if len(*e) < maxExamples && !slices.Contains(*e, w) {
			*e = append(*e, w)
		}
	}
	if len(w.Interlocks) > 0 {
		keep(n.commands, from.end(), to.Parent)
	}
	if w.commands && !w.Guarded {
		keep(n.unguarded, from.end(), to.Name)
	}
	if from.Parent == "" {
		return
	}
	if from.SecurityLevel < to.SecurityLevel && !w.Guarded {
		keep(n.upward, from.Parent, to.Parent)
	}
	if !from.Production && to.Production {
		keep(n.fromTest, from.Parent, to.Parent)
	}
}

// observe writes the observations. What is claimed to be missing is not claimed
// when something was cut.
func (b *builder) observe() {
	b.commanders()
	b.each(b.notes.unguarded, func(from, to string, e examples) Observation {
		return e.observation(Unguarded, []string{from}, whose(from)+" may send devices of the type "+to+" what none of its commands describes, where they listen for commands",
			"let DeviceType "+to+" subscribe to the topics of its own commands alone, or describe the rest as commands")
	})
	b.each(b.notes.upward, func(from, to string, e examples) Observation {
		a, z := b.zone(from), b.zone(to)
		return e.observation(Upward, []string{from, to}, "the zone "+a.Name+" with security level "+digit(a)+" may send to the zone "+z.Name+" with level "+digit(z)+", and no interlock holds",
			"narrow the rules, describe the messages as commands, or let an app stand between the zones")
	})
	b.each(b.notes.fromTest, func(from, to string, e examples) Observation {
		return e.observation(FromTest, []string{from, to}, "the zone "+b.zone(from).Name+", which is not production, may send to the zone "+b.zone(to).Name+", which is",
			"narrow the rules so that nothing leaves the test zone but to apps")
	})
	b.strangers()
	if !b.graph.FlowsCut {
		b.lonely()
		b.unmet(b.sending, NobodyReceives, "lets send what nobody else may receive", "add a subscribe rule for whoever should receive it, or take the rule away")
		b.unmet(b.hearing, NobodySends, "lets receive what nobody else may send", "add a publish rule for whoever should send it, or take the rule away")
		b.unused()
	}
	if more := len(b.graph.Observations) - maxObservations; more > 0 {
		b.graph.Observations, b.graph.More = b.graph.Observations[:maxObservations], more
	}
}

// whose names an end of the coarse map at the beginning of a sentence.
func whose(id string) string {
	kind, name, _ := strings.Cut(id, ":")
	switch kind {
	case ZoneNode:
		return "the zone " + name
	case AppNode:
		return "the app " + name
	}
	return "a program without an App document"
}

func digit(z *Node) string { return string(rune('0' + min(max(z.SecurityLevel, 0), 9))) }

func (b *builder) zone(id string) *Node {
	for i := range b.zones {
		if b.zones[i].ID == id {
			return &b.zones[i]
		}
	}
	return &Node{Name: id}
}

func (b *builder) add(o Observation) { b.graph.Observations = append(b.graph.Observations, o) }

func compareKeys(x, y [2]string) int { return slices.Compare(x[:], y[:]) }

func (b *builder) each(m map[[2]string]*examples, write func(from, to string, e examples) Observation) {
	for _, key := range slices.SortedFunc(maps.Keys(m), compareKeys) {
		b.add(write(key[0], key[1], *m[key]))
	}
}

// observation makes one of the ways that show it.
func (e examples) observation(kind string, nodes []string, text, fix string) Observation {
	o := Observation{Kind: kind, Nodes: nodes, Text: text, Fix: fix}
	for _, w := range e {
		for _, r := range []*Rule{w.Send, w.Receive} {
			if len(o.Rules) < maxExamples && !slices.Contains(o.Rules, r) {
				o.Rules = append(o.Rules, r)
			}
		}
		if len(o.Topics) < maxExamples && !slices.Contains(o.Topics, w.Topic) {
			o.Topics = append(o.Topics, w.Topic)
		}
	}
	return o
}

// commanders looks at who may send commands to each zone.
func (b *builder) commanders() {
	ends := map[string]bool{} // everybody who is there
	for _, p := range b.people {
		if !p.outside() {
			ends[p.node.end()] = true
		}
	}
	for i := range b.zones {
		zone := &b.zones[i]
		from := map[string]*examples{}
		for key, e := range b.notes.commands {
			if key[1] == zone.ID && key[0] != zone.ID {
				from[key[0]] = e
			}
		}
		all := len(ends) > 2 && ends[zone.ID]
		for end := range ends {
			all = all && (end == zone.ID || from[end] != nil)
		}
		switch {
		case from[Outside] != nil:
			b.add(from[Outside].observation(AnybodyCommands, []string{Outside, zone.ID}, "programs without an App document may send commands to the zone "+zone.Name,
				"choose who may send them with select, or grant them in App documents"))
		case all:
			var e examples
			for _, end := range slices.Sorted(maps.Keys(from)) {
				e = append(e, *from[end]...)
			}
			b.add(e.observation(AnybodyCommands, []string{zone.ID}, "every app and every other zone may send commands to the zone "+zone.Name,
				"grant commands only to the apps that need them"))
		}
		for _, end := range slices.Sorted(maps.Keys(from)) {
			if strings.HasPrefix(end, ZoneNode+":") {
				b.add(from[end].observation(DevicesCommand, []string{end, zone.ID}, "devices of the zone "+b.zone(end).Name+" may send commands to the zone "+zone.Name,
					"grant commands to apps alone, or deny them to devices with a MessagePolicy"))
			}
		}
	}
}

// strangers tells when programs without a document may do anything.
func (b *builder) strangers() {
	for _, p := range b.people {
		if !p.outside() || len(p.sends)+len(p.receives) == 0 {
			continue
		}
		o := Observation{Kind: Undeclared, Nodes: []string{Outside}, Text: "a program with a certificate or token but without an App document may send or receive",
			Fix: "write select with kinds in the MessagePolicy, and an App document for each program"}
		for _, of := range slices.Concat(p.sends, p.receives) {
			if len(o.Rules) < maxExamples && !slices.Contains(o.Rules, of.rule) {
				o.Rules = append(o.Rules, of.rule)
			}
		}
		b.add(o)
	}
}

// lonely finds zones that no app can hear.
func (b *builder) lonely() {
	heard := map[string]bool{}
	for key := range b.flows {
		if strings.HasPrefix(key[1], AppNode+":") || key[1] == Outside {
			heard[key[0]] = true
		}
	}
	populated := map[string]bool{}
	for _, p := range b.people {
		populated[p.node.Parent] = true
	}
	for i := range b.zones {
		if z := &b.zones[i]; populated[z.ID] && !heard[z.ID] {
			b.add(Observation{Kind: NoApp, Nodes: []string{z.ID}, Text: "no app may receive anything that the zone " + z.Name + " sends",
				Fix: "add a subscribe rule to an app, or leave it so if the zone is to be apart"})
		}
	}
}

// unmet finds rules of which no offer meets anybody else's, by document.
func (b *builder) unmet(offers []*offer, kind, text, fix string) {
	met := map[*Rule]bool{}
	for _, o := range offers {
		met[o.rule] = met[o.rule] || o.met
	}
	var names []string
	rules := map[string][]*Rule{}
	for _, o := range offers {
		if r := o.rule; !met[r] {
			met[r] = true
			name := documentOf(r)
			if rules[name] == nil {
				names = append(names, name)
			}
			rules[name] = append(rules[name], r)
		}
	}
	b.grouped(kind, names, rules, text, fix)
}

// unused finds rules that nobody has, by document.
func (b *builder) unused() {
	var names []string
	rules := map[string][]*Rule{}
	look := func(kind manifest.Kind, name string, lists ...[]manifest.Rule) {
		name = string(kind) + "/" + name
		for _, list := range lists {
			for i := range list {
				if b.used[&list[i]] {
					continue
				}
				if rules[name] == nil {
					names = append(names, name)
				}
				rules[name] = append(rules[name], b.rule(name+"/", &list[i]))
			}
		}
	}
	for i := range b.m.DeviceTypes {
		t := &b.m.DeviceTypes[i]
		look(manifest.DeviceTypeKind, t.Name, t.Publish, t.Subscribe)
	}
	for i := range b.m.Zones {
		z := &b.m.Zones[i]
		look(manifest.ZoneKind, z.Name, z.Publish, z.Subscribe)
	}
	for i := range b.m.Apps {
		a := &b.m.Apps[i]
		look(manifest.AppKind, a.Name, a.Publish, a.Subscribe)
	}
	for i := range b.m.Policies {
		p := &b.m.Policies[i]
		look(manifest.MessagePolicyKind, p.Name, p.Publish, p.Subscribe, p.DenyPublish, p.DenySubscribe)
	}
	b.grouped(UnusedRule, names, rules, "concerns no device, gateway or app that exists", "take it away, or correct the names in it")
}

func (b *builder) grouped(kind string, names []string, rules map[string][]*Rule, text, fix string) {
	for _, name := range names {
		list := rules[name]
		var short []string
		for _, r := range list {
			short = append(short, strings.TrimPrefix(r.Name, name+"/"))
		}
		subject := "the rule " + short[0] + " of " + name + " "
		if len(list) > 1 {
			subject = "each of the rules " + some(short) + " of " + name + " "
		}
		b.add(Observation{Kind: kind, Text: subject + text, Fix: fix, Rules: list[:min(len(list), maxExamples)]})
	}
}

// documentOf is Kind/name of the document of a rule. Names hold no slash.
func documentOf(r *Rule) string { return r.Name[:strings.LastIndexByte(r.Name, '/')] }
