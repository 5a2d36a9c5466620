package reach

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// offer is one topic pattern of a rule as some persons have it: with the same
// values, the same denials, the same reasons.
type offer struct {
	rule    *Rule
	pattern string // as the rule has it
	filter  filter
	because []string
	denials []*denial
	guards  []guard // receiving: commands of the receiver's type that can match
	people  []int   // indices into builder.people, rising
	met     bool    // some way goes from it, or to it, and not only to who sent it
}

// denial is one topic pattern of a rule that denies.
type denial struct {
	rule    *Rule
	filter  filter
	certain bool // it holds for every member and has no condition
	key     string
}

// guard is a command with its topic bound to a group: the id is that of the receiver.
type guard struct {
	rule   *Rule
	filter filter
	key    string
}

// document is what concerns a person.
type document struct {
	prefix  string // Kind/name/
	grants  *manifest.Grants
	policy  *manifest.MessagePolicy // nil: not one
	because []string
}

// documents lists what concerns p, in the order in which the policy tries rules.
func (b *builder) documents(p *person) (docs []document) {
	add := func(kind manifest.Kind, name string, g *manifest.Grants) {
		docs = append(docs, document{prefix: string(kind) + "/" + name + "/", grants: g})
	}
	if p.kind == policy.App {
		for i := range b.m.Apps {
			if a := &b.m.Apps[i]; a.Name == p.name {
				add(manifest.AppKind, a.Name, &a.Grants)
			}
		}
	} else {
		for i := range b.m.DeviceTypes {
			if t := &b.m.DeviceTypes[i]; t.Name == p.typ {
				add(manifest.DeviceTypeKind, t.Name, &t.Grants)
			}
		}
		for i := range b.m.Zones {
			if z := &b.m.Zones[i]; z.Name == p.zone {
				add(manifest.ZoneKind, z.Name, &z.Grants)
			}
		}
	}
	for i := range b.m.Policies {
		mp := &b.m.Policies[i]
		ok, ids, labels := b.chosen(&mp.Select, p)
		if !ok {
			continue
		}
		add(manifest.MessagePolicyKind, mp.Name, &mp.Grants)
		d := &docs[len(docs)-1]
		d.policy = mp
		if len(ids) > 0 {
			d.because = append(d.because, "MessagePolicy/"+mp.Name+" chooses "+some(ids)+" alone")
		}
		if len(labels) > 0 {
			d.because = append(d.because, "MessagePolicy/"+mp.Name+" chooses those labelled "+some(labels)+" alone")
		}
	}
	return docs
}

// some joins up to three texts, and says that there are more.
func some(items []string) string {
	if len(items) > 3 {
		return strings.Join(items[:3], ", ") + fmt.Sprintf(" and %d more", len(items)-3)
	}
	return strings.Join(items, ", ")
}

// offers binds the rules to everybody, and joins what comes out the same.
func (b *builder) offers() {
	for i, p := range b.people {
		docs := b.documents(p)
		var noSend, noReceive []*denial
		for _, d := range docs {
			if d.policy != nil {
				noSend = b.denials(noSend, p, &d, d.policy.DenyPublish)
				noReceive = b.denials(noReceive, p, &d, d.policy.DenySubscribe)
			}
		}
		guards := b.guardsOf(p)
		for _, d := range docs {
			for k := range d.grants.Publish {
				if !b.offer(i, &d, &d.grants.Publish[k], noSend, nil, &b.sending, false) {
					return
				}
				p.node.Sends++
			}
			for k := range d.grants.Subscribe {
				if !b.offer(i, &d, &d.grants.Subscribe[k], noReceive, guards, &b.hearing, true) {
					return
				}
				p.node.Receives++
			}
		}
	}
}

// rule makes the shared form of a rule.
func (b *builder) rule(prefix string, r *manifest.Rule) *Rule {
	out := b.rules[r]
	if out == nil {
		out = &Rule{Name: prefix + r.Name, File: r.Pos.File, Line: r.Pos.Line, When: r.When, Payload: r.Payload != nil, Rate: r.Rate != manifest.Rate{}}
		b.rules[r] = out
	}
	return out
}

// denials binds rules that deny. One whose pattern has no value for a member
// matches nothing for it.
func (b *builder) denials(dst []*denial, p *person, d *document, rules []manifest.Rule) []*denial {
	for i := range rules {
		r := &rules[i]
		for k, t := range r.Topics {
			f, _, ok := bind(t.Text, p.of)
			if !ok {
				continue
			}
			b.used[r] = true
			// What a label's absence or a very long value makes of a pattern is no
			// concern: within asks for the same hole in the grant's pattern.
			dst = append(dst, &denial{rule: b.rule(d.prefix, r), filter: f, certain: r.When == "" && len(d.because) == 0,
				key: fmt.Sprintf("/%p/%d/%t%s", r, k, len(d.because) == 0, values(t.Text, p))})
		}
	}
	return dst
}

// guardsOf binds the commands of a group's type.
func (b *builder) guardsOf(p *person) []guard {
	if p.kind == policy.App {
		return nil
	}
	key := [2]string{p.zone, p.typ}
	if out, ok := b.guards[key]; ok {
		return out
	}
	var out []guard
	for i := range b.m.DeviceTypes {
		t := &b.m.DeviceTypes[i]
		if t.Name != p.typ {
			continue
		}
		for k := range t.Commands {
			c := &t.Commands[k]
			if b.commands[c] == nil {
				b.commands[c] = &Rule{Name: string(manifest.DeviceTypeKind) + "/" + t.Name + "/" + c.Name, File: c.Pos.File, Line: c.Pos.Line,
					When: c.When, Payload: c.Payload != nil, Rate: c.Rate != manifest.Rate{}}
			}
			if f, _, ok := bind(c.Topic.Text, p.of); ok {
				out = append(out, guard{b.commands[c], f, fmt.Sprintf("/%p%s", c, values(c.Topic.Text, p))})
			}
		}
	}
	b.guards[key] = out
	return out
}

// offer binds one rule to person i; it tells whether work may go on.
func (b *builder) offer(i int, d *document, r *manifest.Rule, denials []*denial, guards []guard, all *[]*offer, receive bool) bool {
	p := b.people[i]
	for k, t := range r.Topics {
		if !b.step(1 + (len(denials)+len(guards))/4) {
			return false
		}
		f, need, ok := bind(t.Text, p.of)
		if !ok {
			continue
		}
		b.used[r] = true
		o := &offer{rule: b.rule(d.prefix, r), pattern: t.Text, filter: f, because: d.because}
		var key strings.Builder
		fmt.Fprintf(&key, "%p/%d/%t/%s/%q", r, k, receive, values(t.Text, p), d.because)
		for _, x := range denials {
			if overlap(&f, &x.filter) {
				o.denials = append(o.denials, x)
				key.WriteString(x.key)
			}
		}
		for _, g := range guards {
			if overlap(&f, &g.filter) {
				o.guards = append(o.guards, g)
				key.WriteString(g.key)
			}
		}
		if old := b.interned[key.String()]; old != nil {
			o = old
		} else {
			if len(need) > 0 {
				o.because = append(slices.Clip(o.because), "it needs the label "+some(need))
			}
			b.interned[key.String()] = o
			*all = append(*all, o)
		}
		o.people = append(o.people, i)
		if receive {
			p.receives = append(p.receives, o)
		} else {
			p.sends = append(p.sends, o)
		}
	}
	return true
}

// values lists what p puts into the variables of a pattern: two persons with the
// same have the same filter.
func values(pattern string, p *person) string {
	var b strings.Builder
	for _, name := range []string{"device.id", "device.type", "device.zone", "gateway.id", "app.name", labels} {
		if strings.Contains(pattern, "${"+name) {
			value, hole := p.of(name)
			fmt.Fprintf(&b, "%q%q", value, hole)
		}
	}
	return b.String()
}
