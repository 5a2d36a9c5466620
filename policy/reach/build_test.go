package reach_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/policy/reach"
)

// parse reads documents of which only kind, name and spec are written.
func parse(t testing.TB, docs string) *manifest.Set {
	t.Helper()
	var b strings.Builder
	for doc := range strings.SplitSeq(strings.TrimSpace(docs), "\n---\n") {
		head, spec, _ := strings.Cut(doc, "\n")
		kind, name, _ := strings.Cut(strings.TrimSpace(head), " ")
		b.WriteString("---\napiVersion: holdfast.dev/v1\nkind: " + kind + "\nmetadata: {name: " + name + "}\nspec:\n" + spec + "\n")
	}
	m, problems := manifest.Load([]manifest.File{{Name: "p.yaml", Data: []byte(b.String())}})
	if len(problems) > 0 {
		t.Fatalf("%v in\n%s", problems, b.String())
	}
	if _, problems := policy.Compile(m, policy.Config{}); len(problems) > 0 {
		t.Fatal(problems)
	}
	return m
}

// plant is two production zones and a test zone, with pumps, sensors and a gateway.
var plant = reach.Fleet{
	Zones: []reach.Zone{{Name: "north", Production: true, SecurityLevel: 1}, {Name: "south", Production: true, SecurityLevel: 3}, {Name: "bench", SecurityLevel: 1}, {Name: "empty"}},
	Groups: []reach.Group{{Zone: "north", Type: "pump", Count: 2}, {Zone: "south", Type: "pump", Count: 1}, {Zone: "north", Type: "sensor", Count: 5},
		{Zone: "bench", Type: "sensor", Count: 1}, {Zone: "south", Type: "box", Profile: "gateway", Count: 1}, {Zone: "north", Type: "pump", Profile: "device", Count: 1}},
	Place: func(id string) (string, string, bool) {
		switch id {
		case "pump-1":
			return "north", "pump", true
		case "box-1":
			return "south", "box", true
		}
		return "", "", false
	},
}

const types = `
DeviceType pump
  publish: [{name: out, topic: "w/${device.zone}/${device.id}/out"}]
  subscribe: [{name: cmd, topic: "w/${device.zone}/${device.id}/cmd/+"}]
  commands: [{name: go, topic: "w/${device.zone}/${device.id}/cmd/go"}]
---
DeviceType sensor
  publish: [{name: out, topic: "w/${device.zone}/${device.id}/out"}]
---
DeviceType box
  {}
---
`

func TestEdges(t *testing.T) {
	for name, c := range map[string]struct {
		docs string
		want string // edges but those to the app all, or of it
	}{
		"an app commands": {`App all
  subscribe: [{name: s, topic: "w/#"}]
---
App ctl
  publish: [{name: p, topic: "w/+/+/cmd/go"}]`, "app:ctl>device:north/pump command guarded, app:ctl>device:south/pump command guarded"},
		"wider than the commands": {`App ctl
  publish: [{name: p, topic: "w/north/#"}]`, "app:ctl>device:north/pump command"},
		"one device by its id": {`App ctl
  publish: [{name: p, topic: "w/+/pump-1/cmd/go"}]`, "app:ctl>device:north/pump command guarded conditional"},
		"an id that nobody has": {`App ctl
  publish: [{name: p, topic: "w/+/pump-9/cmd/go"}]`, ""},
		"neighbours": {`MessagePolicy near
  select: {types: [sensor]}
  subscribe: [{name: s, topic: "w/${device.zone}/+/out"}]`,
			"device:bench/sensor>device:bench/sensor, device:north/pump>device:north/sensor, device:north/sensor>device:north/sensor"},
		"its own alone": {`MessagePolicy echo
  select: {types: [sensor]}
  subscribe: [{name: s, topic: "w/+/${device.id}/out"}]`,
			"device:bench/sensor>device:bench/sensor itself, device:north/sensor>device:north/sensor itself"},
		"chosen by id": {`MessagePolicy box
  select: {ids: [box-1, nobody]}
  subscribe: [{name: s, topic: "w/south/#"}]`, "device:south/pump>gateway:south/box conditional, device:south/pump>outside conditional"},
		"chosen by label": {`MessagePolicy box
  select: {kinds: [gateway], labels: {site: x}}
  subscribe: [{name: s, topic: "w/south/#"}]`, "device:south/pump>gateway:south/box conditional"},
		"chosen by label, which no app has": {`App ctl
  {}
---
MessagePolicy box
  select: {labels: {site: x}, ids: [ctl, box-1]}
  subscribe: [{name: s, topic: "w/south/#"}]`, "device:south/pump>gateway:south/box conditional"},
		"chosen by id, an app and a device": {`App ctl
  {}
---
MessagePolicy both
  select: {ids: [ctl, box-1]}
  subscribe: [{name: s, topic: "w/south/#"}]`, "device:south/pump>gateway:south/box conditional, device:south/pump>app:ctl, device:south/pump>outside conditional"},
		"the same rule, denied in one zone": {`App ctl
  publish: [{name: p, topic: "fixed"}]
---
MessagePolicy box
  select: {types: [pump]}
  subscribe: [{name: s, topic: "fixed"}]
---
MessagePolicy no
  select: {zones: [north]}
  denySubscribe: [{name: d, topic: "fixed"}]`, "app:ctl>device:south/pump"},
		"the same rule, for a type with commands and one without": {`App ctl
  publish: [{name: p, topic: "w/south/+/cmd/go"}]
---
MessagePolicy south
  select: {zones: [south]}
  subscribe: [{name: s, topic: "w/south/#"}]`,
			"device:south/pump>gateway:south/box, device:south/pump>device:south/pump, app:ctl>gateway:south/box, app:ctl>device:south/pump command"},
		"a label in the topic": {`MessagePolicy box
  select: {kinds: [gateway]}
  subscribe: [{name: s, topic: "w/${device.labels.site}/+/out"}]`,
			"device:bench/sensor>gateway:south/box conditional, device:north/pump>gateway:south/box conditional, device:north/sensor>gateway:south/box conditional, device:south/pump>gateway:south/box conditional"},
		"of gateways only": {`MessagePolicy box
  publish: [{name: p, topic: "w/south/${gateway.id}/cmd/go"}]
  subscribe: [{name: s, topic: "w/south/${gateway.id}/cmd/go"}]`, "gateway:south/box>gateway:south/box itself"},
		"denied": {`MessagePolicy no
  select: {kinds: [app]}
  denyPublish: [{name: d, topic: "w/+/+/cmd/#"}]
---
App ctl
  publish: [{name: p, topic: "w/+/+/cmd/go"}]`, ""},
		"denied in part": {`MessagePolicy no
  select: {kinds: [app]}
  denyPublish: [{name: d, topic: "w/north/+/cmd/stop"}]
---
App ctl
  publish: [{name: p, topic: "w/+/+/cmd/+"}]`, "app:ctl>device:north/pump command conditional, app:ctl>device:south/pump command"},
		"denied to the receiver": {`MessagePolicy no
  select: {zones: [north]}
  denySubscribe: [{name: d, topic: "w/+/${device.id}/cmd/#"}]
---
App ctl
  publish: [{name: p, topic: "w/+/+/cmd/go"}]`, "app:ctl>device:south/pump command guarded"},
		"denied under a condition": {`MessagePolicy no
  select: {zones: [north]}
  denySubscribe: [{name: d, topic: "w/#", when: "message.size > 5"}]
---
App ctl
  publish: [{name: p, topic: "w/+/+/cmd/go"}]`, "app:ctl>device:north/pump command guarded conditional, app:ctl>device:south/pump command guarded"},
		"denied to one of them": {`MessagePolicy no
  select: {ids: [pump-1]}
  denySubscribe: [{name: d, topic: "w/#"}]
---
App ctl
  publish: [{name: p, topic: "w/+/+/cmd/go"}]`, "app:ctl>device:north/pump command guarded conditional, app:ctl>device:south/pump command guarded"},
		"a condition of the rule": {`App ctl
  publish: [{name: p, topic: "w/south/+/cmd/go", when: "message.size < 5"}]`, "app:ctl>device:south/pump command guarded conditional"},
		"between apps": {`App all
  subscribe: [{name: s, topic: "apps/#"}]
---
MessagePolicy names
  select: {kinds: [app], ids: [all]}
  publish: [{name: p, topic: "apps/${app.name}"}]`, "app:all>app:all"},
		"programs without a document": {`MessagePolicy names
  select: {kinds: [app], ids: [stray]}
  publish: [{name: p, topic: "w/south/+/cmd/go"}]`, "outside>device:south/pump command guarded conditional"},
		"a name that no stray has": {`App ctl
  subscribe: [{name: s, topic: "x/ctl"}]
---
MessagePolicy names
  select: {kinds: [app]}
  publish: [{name: p, topic: "x/${app.name}"}]`, "app:ctl>app:ctl"},
	} {
		g := reach.Build(parse(t, types+c.docs), plant, reach.Limits{})
		var got []string
		for _, e := range g.Edges {
			if e.To != "app:all" || e.From == "app:all" {
				got = append(got, e.From+">"+e.To+flags(e.Command, e.Guarded, e.Conditional, e.OnlyItself))
			}
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, s, c.want)
		}
	}
}

func TestObservations(t *testing.T) {
	for name, c := range map[string]struct {
		docs string
		want []string // kind and nodes
	}{
		"quiet": {`App all
  subscribe: [{name: s, topic: "w/#"}]
---
App ctl
  publish: [{name: p, topic: "w/+/+/cmd/go"}]`, nil},
		"no app": {`App ctl
  publish: [{name: p, topic: "w/+/+/cmd/go"}]
  subscribe: [{name: s, topic: "w/north/#"}]`, []string{"no-app zone:bench", "no-app zone:south"}},
		"unguarded": {`App ctl
  publish: [{name: p, topic: "w/south/+/cmd/stop"}]
  subscribe: [{name: s, topic: "w/#"}]`, []string{"unguarded app:ctl"}},
		"everybody commands": {`MessagePolicy wide
  publish: [{name: p, topic: "w/south/+/cmd/go"}]
  subscribe: [{name: s, topic: "w/+/+/out"}]`,
			[]string{"anybody-commands outside zone:south", "devices-command zone:bench zone:south", "devices-command zone:north zone:south",
				"from-test zone:bench zone:north", "from-test zone:bench zone:south", "undeclared outside", "upward zone:bench zone:south", "upward zone:north zone:south"}},
		"every app and zone commands": {`App ctl
  subscribe: [{name: s, topic: "w/#"}]
---
MessagePolicy devices
  select: {kinds: [device, gateway]}
  publish: [{name: p, topic: "w/south/+/cmd/go"}]
---
MessagePolicy apps
  select: {kinds: [app], ids: [ctl]}
  publish: [{name: p, topic: "w/south/+/cmd/go"}]`,
			[]string{"anybody-commands zone:south", "devices-command zone:bench zone:south", "devices-command zone:north zone:south", "from-test zone:bench zone:south"}},
		"unused": {`App all
  subscribe: [{name: s, topic: "w/#"}]
---
DeviceType lamp
  publish: [{name: a, topic: "w/x"}, {name: b, topic: "w/y"}]
---
Zone empty
  publish: [{name: c, topic: "w/z"}]
---
MessagePolicy nobody
  select: {types: [box], zones: [north]}
  denyPublish: [{name: d, topic: "w/z"}]
---
MessagePolicy devices
  select: {kinds: [device]}
  publish: [{name: e, topic: "w/${gateway.id}"}]`, []string{"nobody-sends", "unused-rule", "unused-rule", "unused-rule", "unused-rule"}},
	} {
		g := reach.Build(parse(t, types+c.docs), plant, reach.Limits{})
		var got []string
		for _, o := range g.Observations {
			got = append(got, strings.TrimSpace(o.Kind+" "+strings.Join(o.Nodes, " ")))
			if o.Text == "" || o.Fix == "" {
				t.Errorf("%s: %s has no text or no fix", name, o.Kind)
			}
			for _, id := range o.Nodes {
				if g.Node(id) == nil {
					t.Errorf("%s: %s names %s, which is no node", name, o.Kind, id)
				}
			}
		}
		// The command of pumps is not sent in some cases: only what the case is about counts.
		got = slices.DeleteFunc(got, func(s string) bool { return s == "nobody-sends" && !slices.Contains(c.want, s) })
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
	}
}

func TestViews(t *testing.T) {
	m := parse(t, types+`App ctl
  publish: [{name: p, topics: ["w/+/+/cmd/go", "w/south/+/cmd/#"]}]
  subscribe: [{name: s, topic: "w/#"}]
---
MessagePolicy far
  select: {kinds: [gateway]}
  subscribe: [{name: s, topic: "w/+/+/out"}]`)
	g := reach.Build(m, plant, reach.Limits{})
	ends := func(edges []reach.Edge) (out []string) {
		for _, e := range edges {
			out = append(out, e.From+">"+e.To)
		}
		return out
	}
	if got, want := ends(g.Into("south")), []string{"device:bench/sensor>gateway:south/box", "device:north/pump>gateway:south/box",
		"device:north/sensor>gateway:south/box", "app:ctl>device:south/pump"}; !slices.Equal(got, want) {
		t.Errorf("into south: %q", got)
	}
	if got, want := ends(g.OutOf("south")), []string{"device:south/pump>app:ctl"}; !slices.Equal(got, want) {
		t.Errorf("out of south: %q", got)
	}
	between := g.Between("zone:north", "zone:south")
	if len(between) != 2 || !between[0].CrossesZones || g.Between("app:ctl", "zone:south")[0].CrossesZones {
		t.Errorf("between north and south: %q", ends(between))
	}
	for _, f := range g.Flows {
		if n := len(g.Between(f.From, f.To)); n != f.Edges || n == 0 {
			t.Errorf("the flow from %s to %s says %d edges and there are %d", f.From, f.To, f.Edges, n)
		}
		if f.From == "zone:north" && f.To == "zone:south" && (f.SendRules != 2 || f.ReceiveRules != 1) {
			t.Errorf("the flow from north to south has %d and %d rules", f.SendRules, f.ReceiveRules)
		}
	}
	if e := g.Between("app:ctl", "zone:south")[0]; !slices.Equal(e.Topics(), []string{"w/south/{receiver id}/cmd/go", "w/south/{receiver id}/cmd/+"}) ||
		e.Ways[0].Sent != "w/+/+/cmd/go" || e.Ways[0].Received != "w/${device.zone}/${device.id}/cmd/+" || e.Ways[0].Send.Line == 0 {
		t.Errorf("topics %q, first way %+v", e.Topics(), e.Ways[0])
	}
	if n := g.Node("device:north/pump"); n == nil || n.Count != 3 || n.Parent != "zone:north" || g.Node("zone:north").Count != 8 || g.Node("zone:none") != nil {
		t.Errorf("nodes: %+v", g.Nodes)
	}
	if _, err := json.Marshal(g); err != nil {
		t.Error(err)
	}
}

// An empty policy has a map too, with lists and not with nulls.
func TestNothing(t *testing.T) {
	g := reach.Build(&manifest.Set{}, reach.Fleet{}, reach.Limits{})
	text, err := json.Marshal(g)
	if err != nil || strings.Contains(string(text), "null") {
		t.Errorf("%s, %v", text, err)
	}
	g = reach.Build(&manifest.Set{}, reach.Fleet{Groups: []reach.Group{{Zone: "z", Type: "t"}}}, reach.Limits{})
	if len(g.Nodes) != 2 || g.Node("zone:z") == nil || len(g.Edges) != 0 {
		t.Errorf("%+v", g)
	}
}

// What a limit leaves out is said, and nothing is called missing then.
func TestCut(t *testing.T) {
	m := parse(t, types+`App ctl
  publish: [{name: p, topics: ["w/+/+/cmd/go", "w/south/+/cmd/#", "w/+/pump-1/cmd/stop"]}]
  subscribe: [{name: s, topic: "w/#"}]`)
	whole := reach.Build(m, plant, reach.Limits{})
	if whole.Cut || whole.FlowsCut || whole.CutWhy != "" {
		t.Fatal("the whole is cut:", whole.CutWhy)
	}
	few := reach.Build(m, plant, reach.Limits{Edges: 2})
	if len(few.Edges) != 2 || !few.Cut || few.FlowsCut || len(few.Flows) != len(whole.Flows) || few.CutWhy == "" {
		t.Errorf("two edges: %d edges, %d flows, %s", len(few.Edges), len(few.Flows), few.CutWhy)
	}
	for steps := 1; steps < 30; steps++ {
		g := reach.Build(m, plant, reach.Limits{Steps: steps})
		if !g.FlowsCut && len(g.Edges) != len(whole.Edges) || g.FlowsCut && (!g.Cut || g.CutWhy == "") {
			t.Errorf("%d steps: %d edges of %d, cut %t", steps, len(g.Edges), len(whole.Edges), g.FlowsCut)
		}
		for _, o := range g.Observations {
			if g.FlowsCut && slices.Contains([]string{reach.NoApp, reach.NobodyReceives, reach.NobodySends, reach.UnusedRule}, o.Kind) {
				t.Errorf("%d steps: it claims %s", steps, o.Text)
			}
		}
	}
	one := reach.Build(m, plant, reach.Limits{Ways: 1})
	if e := one.Between("app:ctl", "zone:south")[0]; len(e.Ways) != 1 || e.More != 1 || e.Guarded || one.Cut {
		t.Errorf("one way of each edge: %+v", e)
	}
	asked := 0
	fleet := plant
	fleet.Place = func(id string) (string, string, bool) { asked++; return plant.Place(id) }
	reach.Build(m, fleet, reach.Limits{})
	if asked != 1 {
		t.Errorf("the inventory was asked %d times for one id", asked)
	}
	fleet.Place = nil
	if n := len(reach.Build(m, fleet, reach.Limits{}).Between("app:ctl", "zone:south")[0].Ways); n != 3 {
		t.Errorf("without an inventory there are %d ways to the pumps of the south, want 3", n)
	}
}

// A rule that two types share brings commands to the one that has them.
func TestGuardsAreOfTheType(t *testing.T) {
	g := reach.Build(parse(t, types+`App ctl
  publish: [{name: p, topic: "w/north/pump-1/cmd/go"}]
---
MessagePolicy north
  select: {zones: [north]}
  subscribe: [{name: s, topic: "w/north/${device.id}/#"}]`), plant, reach.Limits{})
	for _, e := range g.Between("app:ctl", "zone:north") {
		if e.To != "device:north/pump" || len(e.Ways) != 2 || !e.Guarded {
			t.Errorf("%s with %d ways, guarded %t", e.To, len(e.Ways), e.Guarded)
		}
	}
	fleet := plant
	fleet.Place = nil // then a sensor may have the id, and no command
	guarded := map[string]bool{}
	for _, e := range reach.Build(parse(t, strings.Replace(types, "cmd/+", "none", 1)+`App ctl
  publish: [{name: p, topic: "w/north/+/cmd/go"}]
---
MessagePolicy north
  select: {zones: [north]}
  subscribe: [{name: s, topic: "w/north/${device.id}/#"}]`), fleet, reach.Limits{}).Edges {
		guarded[e.To] = e.Guarded
	}
	if len(guarded) != 2 || !guarded["device:north/pump"] || guarded["device:north/sensor"] {
		t.Errorf("guarded: %v", guarded)
	}
}
