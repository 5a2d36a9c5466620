package reach_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/policy/reach"
)

// topics are all names of up to four levels over a small alphabet, which holds the
// ids, zones, types and names of the principals below.
var topics = func() (all []string) {
	last := []string{""}
	for depth := range 4 {
		var next []string
		for _, t := range last {
			for _, l := range []string{"a", "b", "x-a", "$s", "q"} {
				if depth > 0 {
					l = t + "/" + l
				}
				next = append(next, l)
			}
		}
		all, last = append(all, next...), next
	}
	return all
}()

var principals = func() (all []policy.Principal) {
	for _, kind := range []string{policy.Device, policy.Gateway} {
		for _, zone := range []string{"a", "b"} {
			ids := map[string][]string{policy.Device + "a": {"a", "x-a"}, policy.Device + "b": {"b"}, policy.Gateway + "a": {"q"}, policy.Gateway + "b": {"$s"}}
			typ := map[string]string{policy.Device: "a", policy.Gateway: "b"}[kind]
			for _, id := range ids[kind+zone] {
				all = append(all, policy.Principal{Kind: kind, ID: id, Type: typ, Zone: zone, State: "active", Labels: map[string]string{"k": zone}})
			}
		}
	}
	for _, name := range []string{"a", "b", "q", "x-a"} { // q and x-a have no document
		all = append(all, policy.Principal{Kind: policy.App, ID: name})
	}
	return all
}()

func nodeOf(p policy.Principal) string {
	switch {
	case p.Kind != policy.App:
		return p.Kind + ":" + p.Zone + "/" + p.Type
	case p.ID == "a" || p.ID == "b":
		return "app:" + p.ID
	}
	return reach.Outside
}

// drawn is a source of random manifests.
type drawn struct {
	*rapid.T
	rule *int // the number of the last rule
}

func (d drawn) one(name string, of ...string) string { return rapid.SampledFrom(of).Draw(d.T, name) }

func (d drawn) flip(name string, one int) bool { return rapid.IntRange(1, one).Draw(d.T, name) == 1 }

func (d drawn) pattern() manifest.Pattern {
	levels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "+", "+", "$s", "x-a", "q", "${device.id}", "${device.id}", "x-${device.id}", "${device.zone}",
		"${device.type}", "${device.labels.k}", "x-${device.labels.none}", "${gateway.id}", "${app.name}", "x-${app.name}", "${device.zone}${device.id}"}), 1, 4).Draw(d.T, "levels")
	if d.flip("open", 4) {
		levels[len(levels)-1] = "#"
	}
	return manifest.Pattern{Text: strings.Join(levels, "/")}
}

func (d drawn) rules(most int, when string) (out []manifest.Rule) {
	for range rapid.IntRange(0, most).Draw(d.T, "rules") {
		*d.rule++
		r := manifest.Rule{Name: fmt.Sprint("r", *d.rule), Topics: []manifest.Pattern{d.pattern()}}
		if d.flip("two topics", 3) {
			r.Topics = append(r.Topics, d.pattern())
		}
		if when != "" && d.flip("when", 4) {
			r.When = when
		}
		out = append(out, r)
	}
	return out
}

func (d drawn) grants() manifest.Grants {
	return manifest.Grants{Publish: d.rules(2, "message.size < 5"), Subscribe: d.rules(2, "message.size < 5")}
}

func (d drawn) set() *manifest.Set {
	m := &manifest.Set{}
	for _, name := range []string{"a", "b"} {
		t := manifest.DeviceType{Meta: manifest.Meta{Name: name}, Grants: d.grants()}
		if d.flip("commands", 2) {
			t.Commands = []manifest.Command{{Name: "go", Topic: manifest.Pattern{Text: d.one("command", "a/${device.id}", "${device.id}/b", "${device.zone}/${device.id}/a")}}}
		}
		m.DeviceTypes = append(m.DeviceTypes, t)
		m.Zones = append(m.Zones, manifest.Zone{Meta: manifest.Meta{Name: name}, Grants: d.grants()})
		m.Apps = append(m.Apps, manifest.App{Meta: manifest.Meta{Name: name}, Grants: d.grants()})
	}
	for i := range rapid.IntRange(0, 3).Draw(d.T, "policies") {
		p := manifest.MessagePolicy{Meta: manifest.Meta{Name: "p" + string(rune('0'+i))}, DenyPublish: d.rules(1, "message.size < 5"), DenySubscribe: d.rules(1, "message.size < 5")}
		if d.flip("grants", 2) {
			p.Grants = d.grants()
		}
		for _, f := range []struct {
			to *[]string
			of []string
		}{{&p.Select.Kinds, []string{"device", "gateway", "app"}}, {&p.Select.Types, []string{"a", "b"}}, {&p.Select.Zones, []string{"a", "b"}}, {&p.Select.IDs, []string{"a", "b", "x-a", "q"}}} {
			if d.flip("selects", 4) {
				*f.to = rapid.SliceOfNDistinct(rapid.SampledFrom(f.of), 1, 2, rapid.ID).Draw(d.T, "selected")
			}
		}
		if d.flip("labels", 5) {
			p.Select.Labels = map[string]string{"k": d.one("label", "a", "b")}
		}
		m.Policies = append(m.Policies, p)
	}
	return m
}

func (d drawn) fleet() reach.Fleet {
	f := reach.Fleet{}
	at := map[string][2]string{}
	for _, p := range principals {
		if p.Kind != policy.App {
			f.Groups = append(f.Groups, reach.Group{Zone: p.Zone, Type: p.Type, Profile: p.Kind, Count: 1})
			at[p.ID] = [2]string{p.Zone, p.Type}
		}
	}
	if d.flip("places", 2) {
		f.Place = func(id string) (string, string, bool) { p, ok := at[id]; return p[0], p[1], ok }
	}
	return f
}

// Whatever the compiled policy lets pass from one to another is in the graph, and
// what the graph calls guarded meets an interlock.
func TestNoPathIsMissed(t *testing.T) {
	paths, edges := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		d := drawn{t, new(int)}
		m := d.set()
		set, problems := policy.Compile(m, policy.Config{})
		if len(problems) > 0 {
			t.Fatalf("%v", problems)
		}
		g := reach.Build(m, d.fleet(), reach.Limits{})
		if g.Cut || g.FlowsCut {
			t.Fatal("a small graph is cut")
		}
		edge := map[[2]string]*reach.Edge{}
		for i := range g.Edges {
			edge[[2]string{g.Edges[i].From, g.Edges[i].To}] = &g.Edges[i]
		}
		real := map[[2]string]bool{}
		type delivery struct {
			topic  string
			simple bool
		}
		hears := make([][]delivery, len(principals))
		for i, to := range principals {
			receiver := set.For(to)
			for _, topic := range topics {
				if v := receiver.Receive(topic); v.Allowed {
					hears[i] = append(hears[i], delivery{topic, v.Simple()})
				}
			}
		}
		for _, from := range principals {
			sender := set.For(from)
			sends := map[string]bool{}
			for _, topic := range topics {
				sends[topic] = sender.Publish(topic).Allowed
			}
			for i, to := range principals {
				key := [2]string{nodeOf(from), nodeOf(to)}
				for _, v := range hears[i] {
					if !sends[v.topic] {
						continue
					}
					real[key] = true
					e := edge[key]
					switch {
					case e == nil:
						t.Fatalf("%v may send %q to %v, and there is no edge", from, v.topic, to)
					case e.Guarded && v.simple:
						t.Fatalf("%v may send %q to %v with no interlock, and the edge is guarded", from, v.topic, to)
					case e.OnlyItself && (from.ID != to.ID || from.Kind != to.Kind):
						t.Fatalf("%v may send %q to %v, and the edge is to itself", from, v.topic, to)
					}
				}
			}
		}
		paths, edges = paths+len(real), edges+len(g.Edges)
	})
	if paths == 0 || edges > 2*paths {
		t.Errorf("%d edges for %d paths: too many that no topic takes", edges, paths)
	}
	t.Logf("%d edges, of which %d have a path among the principals of the test", edges, paths)
}
