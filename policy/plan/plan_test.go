package plan_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/policy/plan"
)

const plant = `apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: doser}
spec:
  publish:
    - name: telemetry
      topics: ["water/${device.zone}/${device.id}/telemetry"]
      qos: 1
      payload: {maxBytes: 512, closed: true, fields: [{path: /ml_per_min, type: number, required: true, min: 0, max: 50}]}
      rate: {messages: 10/s}
  subscribe:
    - name: commands
      topics: ["water/${device.zone}/${device.id}/cmd/#"]
  commands:
    - name: dose
      topic: "water/${device.zone}/${device.id}/cmd/dose"
      payload: {fields: [{path: /ml_per_min, type: number, required: true, min: 0, max: 50}]}
      rate: {messages: 6/min}
  marks: [{path: /operator, as: personal}]
  limits: {inflight: 20}
---
apiVersion: holdfast.dev/v1
kind: Zone
metadata: {name: north}
spec:
  publish: [{name: hello, topic: "hello/${device.id}", when: "message.size < 9"}]
---
apiVersion: holdfast.dev/v1
kind: Audience
metadata: {name: analyst}
spec: {sees: [{mark: personal, do: mask, keep: 2}]}
---
apiVersion: holdfast.dev/v1
kind: App
metadata: {name: scada}
spec:
  audience: analyst
  publish: [{name: command, topic: "water/+/+/cmd/#"}]
  subscribe: [{name: all, topic: "water/#"}]
---
apiVersion: holdfast.dev/v1
kind: MessagePolicy
metadata: {name: night}
spec:
  select: {zones: [north]}
  denyPublish: [{name: closed, topic: "hello/#", when: "now.getHours() < 6"}]
`

func load(t testing.TB, text string) *manifest.Set {
	t.Helper()
	m, problems := manifest.Load([]manifest.File{{Name: "a.yaml", Data: []byte(text)}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return m
}

func compiled(t testing.TB, m *manifest.Set) *policy.Set {
	t.Helper()
	s, problems := policy.Compile(m, policy.Config{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return s
}

func TestDiff(t *testing.T) {
	for _, c := range []struct {
		old, new        string // a replacement in plant
		doc             string
		detail          string
		widens, narrows bool
	}{
		{"messages: 10/s", "messages: 5/s", "DeviceType/doser", "publish telemetry: rate 10/s → 5/s", false, true},
		{"messages: 10/s", "messages: 600/min, burst: 3", "DeviceType/doser", "publish telemetry: rate burst one second's worth → 3", true, true},
		{`topics: ["water/${device.zone}/${device.id}/telemetry"]`, `topics: ["water/${device.zone}/${device.id}/telemetry", "x/${device.id}"]`,
			"DeviceType/doser", "publish telemetry: topics + x/${device.id}", true, false},
		{"- name: telemetry", "- name: readings", "DeviceType/doser", "publish − telemetry: water/${device.zone}/${device.id}/telemetry", true, true},
		{"      qos: 1\n", "", "DeviceType/doser", "publish telemetry: qos 1 → 2", true, false},
		{"qos: 1", "qos: 1\n      retain: true", "DeviceType/doser", "publish telemetry: retain false → true", true, false},
		{"qos: 1", "qos: 1\n      when: message.size > 2", "DeviceType/doser", "publish telemetry: when none → message.size > 2", false, true},
		{"maxBytes: 512", "maxBytes: 1KiB", "DeviceType/doser", "publish telemetry: payload maxBytes 512 → 1KiB", true, false},
		{"closed: true, ", "", "DeviceType/doser", "publish telemetry: payload closed true → false", true, false},
		{"max: 50}]}\n      rate: {messages: 10/s}", "max: 40}]}\n      rate: {messages: 10/s}", "DeviceType/doser",
			"publish telemetry: payload field /ml_per_min: max 50 → 40", false, true},
		{"closed: true, fields: [", "closed: true, fields: [{path: /n, type: integer}, ", "DeviceType/doser", "publish telemetry: payload field /n added", true, true},
		{"    - name: dose\n", "    - name: dose\n      refuseIn: [maintenance]\n", "DeviceType/doser", "command dose: refused in − quarantined", true, false},
		{"messages: 6/min", "messages: 3/min", "DeviceType/doser", "command dose: rate 6/min → 3/min", false, true},
		{"as: personal", "as: secret", "DeviceType/doser", "mark /operator personal → secret", true, true},
		{"  marks: [{path: /operator, as: personal}]\n", "", "DeviceType/doser", "mark /operator − personal", true, false},
		{"inflight: 20", "inflight: 30", "DeviceType/doser", "limits: inflight 20 → 30", true, false},
		{"  limits: {inflight: 20}\n", "", "DeviceType/doser", "limits: inflight 20 → default", true, true},
		{"  limits:", "  clientIds: ['${device.id}/*']\n  limits:", "DeviceType/doser", "client ids its own id → ${device.id}/*", true, true},
		{"  limits:", "  total: {connections: 3}\n  limits:", "DeviceType/doser", "total: connections unbounded → 3", false, true},
		{"keep: 2", "keep: 4", "Audience/analyst", "sees personal mask keep 2 → mask keep 4", true, false},
		{"{mark: personal, do: mask, keep: 2}", "", "Audience/analyst", "sees personal mask keep 2 → drop", false, true},
		{"audience: analyst", "audience: operator", "App/scada", "audience analyst → operator", true, false},
		{"zones: [north]", "kinds: [device]", "MessagePolicy/night", "select zones north → any", true, true},
		{"denyPublish:", "denySubscribe:", "MessagePolicy/night", "denyPublish − closed: hello/#", true, true},
		{"now.getHours() < 6", "now.getHours() < 7", "MessagePolicy/night", "denyPublish closed: when now.getHours() < 6 → now.getHours() < 7", true, true},
		{`, when: "now.getHours() < 6"`, "", "MessagePolicy/night", "denyPublish closed: when now.getHours() < 6 → none", false, true},
		{"metadata: {name: north}", "metadata: {name: north, description: cold}", "Zone/north", "description changed", false, false},
	} {
		text := strings.Replace(plant, c.old, c.new, 1)
		if text == plant {
			t.Fatalf("%q is not there", c.old)
		}
		changes := plan.Diff(load(t, plant), load(t, text))
		if len(changes) != 1 {
			t.Errorf("%s: %d changes: %v", c.detail, len(changes), changes)
			continue
		}
		got := changes[0]
		if string(got.Kind)+"/"+got.Name != c.doc || got.What != plan.Changed || !slices.Contains(got.Details, c.detail) {
			t.Errorf("got %+v, want %s: %s", got, c.doc, c.detail)
		}
		if got.Widens != c.widens || got.Narrows != c.narrows {
			t.Errorf("%s: widens %t, narrows %t", c.detail, got.Widens, got.Narrows)
		}
	}
}

func TestDiffWhole(t *testing.T) {
	m := load(t, plant)
	if changes := plan.Diff(m, load(t, string(m.YAML()))); len(changes) != 0 {
		t.Errorf("the same differs: %+v", changes)
	}
	added, removed := plan.Diff(&manifest.Set{}, m), plan.Diff(m, &manifest.Set{})
	if len(added) != 5 || len(removed) != 5 {
		t.Fatalf("%d added, %d removed", len(added), len(removed))
	}
	for i, a := range added {
		r := removed[i]
		if a.What != plan.Added || r.What != plan.Removed || a.Widens != r.Narrows || a.Narrows != r.Widens {
			t.Errorf("%+v and %+v are not opposites", a, r)
		}
	}
	if a := added[0]; !a.Widens || !a.Narrows { // a type with grants, and with an interlock that holds for others
		t.Errorf("a device type comes: %+v", a)
	}
}

const tests = `---
apiVersion: holdfast.dev/v1
kind: PolicyTest
metadata: {name: doser}
spec:
  cases:
    - name: a doser reports
      as: {device: doser-1, type: doser, zone: north}
      publish: {topic: water/north/doser-1/telemetry, payload: {ml_per_min: 20}, qos: 1}
      expect: {allow: DeviceType/doser/telemetry}
    - name: not for another
      as: {device: doser-1, type: doser, zone: north}
      publish: {topic: water/north/doser-2/telemetry, payload: {ml_per_min: 20}}
      expect: deny
    - name: too much chlorine
      as: {app: scada}
      publish: {topic: water/north/doser-1/cmd/dose, payload: {ml_per_min: 900}}
      target: {doser-1: {type: doser, zone: north}}
      expect: {deny: DeviceType/doser/dose}
    - name: a good dose
      as: {app: scada}
      publish: {topic: water/north/doser-1/cmd/dose, payload: {ml_per_min: 9}}
      target: {doser-1: {type: doser, zone: north}}
      expect: allow
    - name: not while somebody works on it
      as: {app: scada}
      publish: {topic: water/north/doser-1/cmd/dose, payload: {ml_per_min: 9}}
      target: {doser-1: {type: doser, zone: north, maintenance: true}}
      expect: {deny: DeviceType/doser/dose}
    - name: delivery is guarded too
      as: {device: doser-1, type: doser, zone: north}
      receive: {topic: water/north/doser-1/cmd/dose, payload: {ml_per_min: 51}, from: {app: scada}}
      expect: {deny: DeviceType/doser/dose}
    - name: closed at night
      as: {device: doser-1, type: doser, zone: north}
      at: 2026-01-01T03:00:00Z
      publish: {topic: hello/doser-1, text: hi}
      expect: {deny: MessagePolicy/night/closed}
    - name: open by day
      as: {device: doser-1, type: doser, zone: north}
      at: 2026-01-01T12:00:00Z
      publish: {topic: hello/doser-1, text: hi}
      expect: {allow: Zone/north/hello}
    - name: its own commands
      as: {device: doser-1, type: doser, zone: north}
      subscribe: water/north/doser-1/cmd/#
      expect: allow
    - name: not everybody's
      as: {device: doser-1, type: doser, zone: north}
      subscribe: water/#
      expect: deny
    - name: its own name
      as: {device: doser-1, type: doser, zone: north}
      connect: doser-2
      expect: deny
    - name: a quarantined one does nothing
      as: {device: doser-1, type: doser, zone: north, state: quarantined}
      connect: doser-1
      expect: deny
`

func TestTests(t *testing.T) {
	m := load(t, plant+tests)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	results := plan.Tests(compiled(t, m), m, now)
	if len(results) != 12 || plan.Failed(results) != 0 {
		for _, r := range results {
			t.Error(r)
		}
	}
	m.Tests[0].Cases[0].Allow = false
	m.Tests[0].Cases[2].Rule = "DeviceType/doser/telemetry"
	m.Tests[0].Cases[2].Allow = false
	results = plan.Tests(compiled(t, m), m, now)
	if plan.Failed(results) != 2 || results[0].Passed || results[2].Passed {
		t.Errorf("%d failed", plan.Failed(results))
	}
	const want = "got allow by DeviceType/doser/telemetry, want deny by DeviceType/doser/telemetry"
	if got := results[0].String(); !strings.HasSuffix(got, "doser/a doser reports: "+want) || !strings.HasPrefix(got, "a.yaml:") {
		t.Error(got)
	}
	if got := results[2].String(); !strings.Contains(got, "/ml_per_min is 900, more than 50") {
		t.Error(got)
	}
}

func TestAffected(t *testing.T) {
	old := load(t, plant)
	device := policy.Principal{Kind: policy.Device, ID: "doser-1", Type: "doser", Zone: "north", State: "active"}
	south := policy.Principal{Kind: policy.Device, ID: "pump-1", Type: "pump", Zone: "south", State: "active"}
	app := policy.Principal{Kind: policy.App, ID: "scada"}
	filters := []string{"water/north/doser-1/cmd/#", "never/allowed"}
	for _, c := range []struct {
		name, old, new string
		who            policy.Principal
		want           plan.Effect
	}{
		{"type", "messages: 10/s", "messages: 5/s", device, plan.Effect{Changed: true, By: []string{"DeviceType/doser"}}},
		{"other", "messages: 10/s", "messages: 5/s", south, plan.Effect{}},
		{"subscription", "/cmd/#\"]", "/cmd/dose\"]", device, plan.Effect{Changed: true, By: []string{"DeviceType/doser"}, Lost: filters[:1]}},
		{"zone", "message.size < 9", "message.size < 8", device, plan.Effect{Changed: true, By: []string{"Zone/north"}}},
		{"policy comes", "zones: [north]", "zones: [south]", south, plan.Effect{Changed: true, By: []string{"MessagePolicy/night"}}},
		{"policy goes", "zones: [north]", "zones: [south]", device, plan.Effect{Changed: true, By: []string{"MessagePolicy/night"}}},
		{"view", "keep: 2", "keep: 1", app, plan.Effect{Changed: true, By: []string{"Audience/analyst"}}},
		{"marks", "path: /operator,", "path: /boss,", app, plan.Effect{Changed: true, By: []string{"DeviceType/doser"}}},
	} {
		text := strings.Replace(plant, c.old, c.new, 1)
		if text == plant {
			t.Fatalf("%q is not there", c.old)
		}
		m := load(t, text)
		p := plan.New(old, m, compiled(t, old), compiled(t, m))
		if got := p.Affected(c.who, c.who.ID, filters); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
	m := load(t, strings.Replace(plant, "  limits:", "  clientIds: ['${device.id}/*']\n  limits:", 1))
	p := plan.New(old, m, compiled(t, old), compiled(t, m))
	if e := p.Affected(device, "doser-1", nil); !e.Gone || !strings.Contains(e.Why, "client id") {
		t.Errorf("got %+v", e)
	}
}
