package reach_test

import (
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/policy/reach"
)

var update = flag.Bool("update", false, "write the golden files")

const riverside = "../../examples/riverside-water"

// The example's map is the one in the golden file, which a person can read.
func TestRiverside(t *testing.T) {
	m, fleet := load(t)
	g := reach.Build(m, fleet, reach.Limits{})
	got := text(g)
	golden := filepath.Join("testdata", "riverside.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the map of the example is not as in %s; it is now:\n%s", golden, got)
	}
	if g.Cut || g.FlowsCut {
		t.Error("the map of the example is cut")
	}
}

// load reads the manifests and the inventory of the example.
func load(t testing.TB) (*manifest.Set, reach.Fleet) {
	t.Helper()
	paths, err := filepath.Glob(riverside + "/policy/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatal("there are no manifests", err)
	}
	var files []manifest.File
	for _, p := range paths {
		files = append(files, manifest.File{Name: filepath.Base(p), Data: read(t, p)})
	}
	m, problems := manifest.Load(files)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var fleet reach.Fleet
	var zones []struct {
		Name       string
		Production bool
		Level      int `json:"security_level"`
	}
	var types []struct{ Name, Profile string }
	for name, into := range map[string]any{"zones.json": &zones, "types.json": &types} {
		if err := json.Unmarshal(read(t, riverside+"/"+name), into); err != nil {
			t.Fatal(err)
		}
	}
	for _, z := range zones {
		fleet.Zones = append(fleet.Zones, reach.Zone{Name: z.Name, Production: z.Production, SecurityLevel: z.Level})
	}
	profile := map[string]string{}
	for _, x := range types {
		profile[x.Name] = x.Profile
	}
	rows, err := csv.NewReader(strings.NewReader(string(read(t, riverside+"/devices.csv")))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	at := map[string][2]string{}
	for _, row := range rows[1:] {
		fleet.Groups = append(fleet.Groups, reach.Group{Zone: row[2], Type: row[1], Profile: profile[row[1]], Count: 1})
		at[row[0]] = [2]string{row[2], row[1]}
	}
	fleet.Place = func(id string) (string, string, bool) {
		p, ok := at[id]
		return p[0], p[1], ok
	}
	return m, fleet
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// text writes a graph for people.
func text(g *reach.Graph) string {
	var b strings.Builder
	b.WriteString("NODES\n")
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "%s  count %d", n.ID, n.Count)
		if n.Kind == reach.ZoneNode {
			fmt.Fprintf(&b, " production %t level %d", n.Production, n.SecurityLevel)
		} else {
			fmt.Fprintf(&b, " sends %d receives %d", n.Sends, n.Receives)
		}
		b.WriteString("\n")
	}
	b.WriteString("\nFLOWS\n")
	for _, f := range g.Flows {
		fmt.Fprintf(&b, "%s -> %s  edges %d rules %d/%d%s\n", f.From, f.To, f.Edges, f.SendRules, f.ReceiveRules, flags(f.Command, f.Guarded, f.Conditional, f.OnlyItself))
	}
	b.WriteString("\nEDGES\n")
	for i := range g.Edges {
		e := &g.Edges[i]
		cross := ""
		if e.CrossesZones {
			cross = " crosses"
		}
		fmt.Fprintf(&b, "%s -> %s%s%s\n", e.From, e.To, flags(e.Command, e.Guarded, e.Conditional, e.OnlyItself), cross)
		for _, w := range e.Ways {
			fmt.Fprintf(&b, "    %s  %s %s:%d -> %s%s", w.Topic, w.Send.Name, w.Send.File, w.Send.Line, w.Receive.Name,
				flags(len(w.Interlocks) > 0, w.Guarded, w.Conditional, w.OnlyItself))
			for _, r := range w.Interlocks {
				b.WriteString(" [" + r.Name + "]")
			}
			for _, s := range w.Because {
				b.WriteString("; " + s)
			}
			b.WriteString("\n")
		}
		if e.More > 0 {
			fmt.Fprintf(&b, "    and %d more\n", e.More)
		}
	}
	b.WriteString("\nOBSERVATIONS\n")
	for _, o := range g.Observations {
		fmt.Fprintf(&b, "%s %s: %s\n    fix: %s\n", o.Kind, strings.Join(o.Nodes, " "), o.Text, o.Fix)
		for _, r := range o.Rules {
			fmt.Fprintf(&b, "    rule %s %s:%d\n", r.Name, r.File, r.Line)
		}
		for _, s := range o.Topics {
			fmt.Fprintf(&b, "    topic %s\n", s)
		}
	}
	return b.String()
}

func flags(command, guarded, conditional, itself bool) (s string) {
	for _, f := range []struct {
		on   bool
		name string
	}{{command, "command"}, {guarded, "guarded"}, {conditional, "conditional"}, {itself, "itself"}} {
		if f.on {
			s += " " + f.name
		}
	}
	return s
}

// Two types with one topic for all of their commands: what guards a command of
// the one does not guard it at the other.
const careless = `
apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: doser}
spec:
  subscribe: [{name: commands, topic: "w/${device.zone}/${device.id}/cmd/+"}]
  commands: [{name: dose, topic: "w/${device.zone}/${device.id}/cmd/dose", payload: {format: json, fields: [{path: /ml, type: number, required: true, max: 50}]}}]
---
apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: pump}
spec:
  subscribe: [{name: commands, topic: "w/${device.zone}/${device.id}/cmd/+"}]
  commands: [{name: start, topic: "w/${device.zone}/${device.id}/cmd/start", rate: {messages: 6/h, burst: 2}}]
---
apiVersion: holdfast.dev/v1
kind: App
metadata: {name: scada}
spec:
  publish: [{name: all, topics: ["w/+/+/cmd/dose", "w/+/+/cmd/start", "w/+/+/cmd/stop"]}]
`

// What the map calls unguarded does pass the policy: the pump's start reaches a
// doser.
func TestUnguardedIsTrue(t *testing.T) {
	m, problems := manifest.Load([]manifest.File{{Name: "careless.yaml", Data: []byte(careless)}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	set, problems := policy.Compile(m, policy.Config{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	g := reach.Build(m, reach.Fleet{Zones: []reach.Zone{{Name: "plant"}}, Groups: []reach.Group{{Zone: "plant", Type: "doser", Profile: "device", Count: 1}}}, reach.Limits{})
	open := map[string]bool{}
	for i := range g.Edges {
		for _, w := range g.Edges[i].Ways {
			if len(w.Interlocks) == 0 {
				open[w.Topic[strings.LastIndex(w.Topic, "/")+1:]] = true
			}
		}
	}
	doser := policy.Principal{Kind: policy.Device, ID: "d1", Type: "doser", Zone: "plant", State: "active"}
	target := func(string) (policy.Principal, bool) { return doser, true }
	for command, want := range map[string]bool{"start": true, "stop": true, "dose": false, "other": false} {
		topic := "w/plant/d1/cmd/" + command
		msg := policy.Message{Topic: topic, QoS: 0, Payload: []byte("{}")}
		sent := set.For(policy.Principal{Kind: policy.App, ID: "scada"}).Publish(topic).Check(msg, time.Unix(0, 0), nil, target)
		got := set.For(doser).Receive(topic).Check(msg, time.Unix(0, 0), nil, target)
		if (sent.Allowed && got.Allowed) != want {
			t.Errorf("%s: sent %v, received %v", topic, sent, got)
		}
		if open[command] != want {
			t.Errorf("%s: the map says %v, policy %v", topic, open[command], want)
		}
	}
}
