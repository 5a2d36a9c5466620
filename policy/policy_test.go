package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// plant is the policy of most tests.
const plant = `
apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: pump}
spec:
  clientIds: ["${device.id}", "${device.id}/*"]
  publish:
    - {name: telemetry, topics: ["water/${device.zone}/${device.id}/telemetry"], qos: 1}
    - {name: status, topics: ["water/${device.zone}/${device.id}/status"], qos: 1, retain: true}
    - name: flow
      topics: ["water/${device.zone}/${device.id}/flow"]
      payload: {format: json, maxBytes: 256, closed: true, fields: [{path: /lpm, type: number, required: true, min: 0, max: 50}, {path: /mode, type: string, oneOf: [auto, hand]}]}
      rate: {messages: 2/s, burst: 2}
    - {name: night, topics: ["water/${device.zone}/${device.id}/night"], when: 'now.getHours() < 6 && message.size < 100'}
    - {name: broken, topics: ["water/${device.zone}/${device.id}/broken"], when: 'message.payload.on == true'}
    - {name: site, topics: ["site/${device.labels.site}/up"]}
    - {name: two-a, topics: [two], qos: 2}
    - {name: two-b, topics: [two], qos: 0, retain: true}
    - {name: either-a, topics: [either], payload: {format: json}, rate: {messages: 1/s}}
    - {name: either-b, topics: [either]}
  subscribe:
    - {name: commands, topics: ["water/${device.zone}/${device.id}/cmd/#"], qos: 1}
    - {name: news, topics: [news/+], shared: false}
  limits: {subscriptions: 7, rate: {messages: 5/s}}
  marks: [{path: /operator, as: personal}, {path: /lat, as: location}]
---
apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: doser}
spec:
  publish: [{name: telemetry, topics: ["water/${device.zone}/${device.id}/telemetry"]}]
  subscribe: [{name: commands, topics: ["water/${device.zone}/${device.id}/cmd/#"]}]
  commands:
    - name: dose
      topic: "water/${device.zone}/${device.id}/cmd/dose"
      payload: {format: json, closed: true, fields: [{path: /ml_per_min, type: number, required: true, min: 0, max: 50}]}
      rate: {messages: 6/min, burst: 1}
      when: 'target.zone == "north" || message.payload.ml_per_min < 5'
    - {name: stop, topic: "water/${device.zone}/${device.id}/cmd/stop", refuseIn: [retired]}
---
apiVersion: holdfast.dev/v1
kind: Zone
metadata: {name: north}
spec:
  publish: [{name: alarms, topics: ["alarm/north/${device.id}"]}]
---
apiVersion: holdfast.dev/v1
kind: App
metadata: {name: scada}
spec:
  audience: analyst
  publish: [{name: commands, topics: ["water/+/+/cmd/#"]}]
  subscribe: [{name: all, topics: ["water/#"]}, {name: mine, topics: ["app/${app.name}/in"], when: 'message.from.zone == "north"'}]
---
apiVersion: holdfast.dev/v1
kind: App
metadata: {name: tool}
spec: {clientIds: ["*"], audience: operator, publish: [{topics: ["#"]}], subscribe: [{topics: ["#"]}]}
---
apiVersion: holdfast.dev/v1
kind: MessagePolicy
metadata: {name: guard}
spec:
  denyPublish:
    - {name: secret, topics: ["secret/#"]}
    - {name: big, topics: ["alarm/#"], when: 'message.size > 10'}
    - {name: err, topics: ["site/#"], when: 'message.payload.bad == 1'}
  denySubscribe: [{name: secret-in, topics: ["secret/#"]}, {name: hidden, topics: ["water/+/+/hidden"], when: 'message.size > 3'}]
---
apiVersion: holdfast.dev/v1
kind: MessagePolicy
metadata: {name: gateways}
spec:
  select: {kinds: [gateway], labels: {role: edge}}
  publish: [{name: heartbeat, topics: ["gw/${gateway.id}/up"]}]
---
apiVersion: holdfast.dev/v1
kind: Audience
metadata: {name: analyst}
spec: {sees: [{mark: location, do: generalize, step: 0.01}]}
`

func compile(t testing.TB, yaml string, cfg Config) *Set {
	t.Helper()
	m, problems := manifest.Load([]manifest.File{{Name: "plant.yaml", Data: []byte(yaml)}})
	if len(problems) > 0 {
		t.Fatalf("loading: %v", problems)
	}
	set, problems := Compile(m, cfg)
	if len(problems) > 0 {
		t.Fatalf("compiling: %v", problems)
	}
	return set
}

var (
	pump  = Principal{Kind: Device, ID: "pump-1", Type: "pump", Zone: "north", State: "active", Labels: map[string]string{"site": "s1"}}
	doser = Principal{Kind: Device, ID: "doser-1", Type: "doser", Zone: "north", State: "active"}
	scada = Principal{Kind: App, ID: "scada"}
	tool  = Principal{Kind: App, ID: "tool"}
	noon  = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
)

// inventory answers for targets.
func inventory(devices ...Principal) func(string) (Principal, bool) {
	return func(id string) (Principal, bool) {
		for _, d := range devices {
			if d.ID == id {
				return d, true
			}
		}
		return Principal{}, false
	}
}

func TestPublish(t *testing.T) {
	set := compile(t, plant, Config{PayloadMax: 1000})
	at := func(h int) time.Time { return time.Date(2026, 7, 1, h, 0, 0, 0, time.UTC) }
	with := func(p Principal, f func(*Principal)) Principal { f(&p); return p }
	gw := Principal{Kind: Gateway, ID: "gw-1", Zone: "north", State: "active", Labels: map[string]string{"role": "edge"}}
	for _, c := range []struct {
		name, topic, payload string
		who                  Principal
		qos                  byte
		retain               bool
		now                  time.Time
		code                 Code
		rule, detail         string
	}{
		{name: "granted", who: pump, topic: "water/north/pump-1/telemetry", qos: 1, rule: "DeviceType/pump/telemetry"},
		{name: "another's topic", who: pump, topic: "water/north/pump-2/telemetry", code: NotAuthorized, detail: "no rule lets device pump-1 publish to water/north/pump-2/telemetry"},
		{name: "default deny", who: pump, topic: "x", code: NotAuthorized},
		{name: "a wildcard is no topic", who: tool, topic: "a/+", code: NotAuthorized},
		{name: "a wildcard does not reach $", who: tool, topic: "$SYS/x", code: NotAuthorized},
		{name: "QoS", who: pump, topic: "water/north/pump-1/telemetry", qos: 2, code: QoS, rule: "DeviceType/pump/telemetry", detail: "QoS 2 is more"},
		{name: "retain", who: pump, topic: "water/north/pump-1/telemetry", retain: true, code: RetainRefused, rule: "DeviceType/pump/telemetry"},
		{name: "retain allowed", who: pump, topic: "water/north/pump-1/status", retain: true, rule: "DeviceType/pump/status"},
		{name: "QoS and retain of two rules are not combined", who: pump, topic: "two", qos: 2, retain: true, code: RetainRefused, rule: "DeviceType/pump/two-a"},
		{name: "second rule", who: pump, topic: "two", retain: true, rule: "DeviceType/pump/two-b"},
		{name: "payload", who: pump, topic: "water/north/pump-1/flow", payload: `{"lpm": 12.5, "mode": "auto"}`, rule: "DeviceType/pump/flow"},
		{name: "range", who: pump, topic: "water/north/pump-1/flow", payload: `{"lpm": 900}`, code: PayloadInvalid, rule: "DeviceType/pump/flow", detail: "/lpm is 900, more than 50"},
		{name: "missing field", who: pump, topic: "water/north/pump-1/flow", payload: `{}`, code: PayloadInvalid, detail: "/lpm is missing"},
		{name: "not JSON", who: pump, topic: "water/north/pump-1/flow", payload: `{`, code: Unreadable, detail: "not JSON"},
		{name: "server's limit", who: pump, topic: "water/north/pump-1/telemetry", payload: strings.Repeat("x", 1001), code: PayloadInvalid, detail: "1001 bytes"},
		{name: "night", who: pump, topic: "water/north/pump-1/night", now: at(3), rule: "DeviceType/pump/night"},
		{name: "day", who: pump, topic: "water/north/pump-1/night", now: at(12), code: Condition, detail: "is not met: now.getHours() < 6"},
		{name: "a condition that errs does not grant", who: pump, topic: "water/north/pump-1/broken", payload: "x", code: Condition, detail: "cannot be evaluated"},
		{name: "a condition over JSON", who: pump, topic: "water/north/pump-1/broken", payload: `{"on":true}`, rule: "DeviceType/pump/broken"},
		{name: "label", who: pump, topic: "site/s1/up", payload: `{"bad":0}`, rule: "DeviceType/pump/site"},
		{name: "a denial that errs denies", who: pump, topic: "site/s1/up", payload: `{}`, code: NotAuthorized, rule: "MessagePolicy/guard/err", detail: "cannot be evaluated"},
		{name: "missing label", who: with(pump, func(p *Principal) { p.Labels = nil }), topic: "site//up", code: NotAuthorized},
		{name: "label with a wildcard", who: with(pump, func(p *Principal) { p.Labels = map[string]string{"site": "+"} }), topic: "site/s1/up", code: NotAuthorized},
		{name: "zone document", who: pump, topic: "alarm/north/pump-1", payload: "fire", rule: "Zone/north/alarms"},
		{name: "conditional denial", who: pump, topic: "alarm/north/pump-1", payload: "fire in the hall", code: NotAuthorized, rule: "MessagePolicy/guard/big"},
		{name: "denial wins", who: tool, topic: "secret/plan", code: NotAuthorized, rule: "MessagePolicy/guard/secret"},
		{name: "other zone", who: with(pump, func(p *Principal) { p.Zone = "south" }), topic: "alarm/north/pump-1", code: NotAuthorized},
		{name: "gateway by label", who: gw, topic: "gw/gw-1/up", rule: "MessagePolicy/gateways/heartbeat"},
		{name: "gateway without label", who: with(gw, func(p *Principal) { p.Labels = nil }), topic: "gw/gw-1/up", code: NotAuthorized},
		{name: "quarantined", who: with(pump, func(p *Principal) { p.State = "quarantined" }), topic: "water/north/pump-1/telemetry", code: NotAuthorized, detail: "it is quarantined"},
		{name: "state not known", who: with(pump, func(p *Principal) { p.State = "" }), topic: "water/north/pump-1/telemetry", code: NotAuthorized},
		{name: "in maintenance", who: with(pump, func(p *Principal) { p.Maintenance = true }), topic: "water/north/pump-1/telemetry", rule: "DeviceType/pump/telemetry"},
		{name: "an app is no device of its name", who: Principal{Kind: App, ID: "pump-1", Type: "pump", Zone: "north"}, topic: "water/north/pump-1/telemetry", code: NotAuthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.now.IsZero() {
				c.now = noon
			}
			perms := set.For(c.who)
			m := Message{Topic: c.topic, Payload: []byte(c.payload), QoS: c.qos, Retain: c.retain}
			v := perms.Publish(c.topic)
			d := v.Check(m, c.now, NewState(nil), nil)
			if d.Allowed != (c.code == "") || d.Code != c.code || c.rule != "" && d.Rule != c.rule || !strings.Contains(d.Detail, c.detail) {
				t.Errorf("got %+v", d)
			}
			if !d.Allowed && (d.Detail == "" || d.Fix == "" && d.Code != Condition) {
				t.Errorf("a refusal without words: %+v", d)
			}
			if v.Fast(c.qos, c.retain, len(c.payload)) && !d.Allowed {
				t.Errorf("the fast way lets through what is refused: %+v", d)
			}
			e := set.Explain(c.who, Action{Publish: &m, Now: c.now})
			if e.Decision != d {
				t.Errorf("explained as %+v, decided as %+v", e.Decision, d)
			}
			deciding := 0
			for _, s := range e.Steps {
				if s.Deciding {
					deciding++
					if s.Rule != d.Rule {
						t.Errorf("%s is said to decide, not %s", s.Rule, d.Rule)
					}
				}
			}
			if want := 1; d.Rule != "" && d.Code != PayloadInvalid && deciding != want {
				t.Errorf("%d rules decide: %+v", deciding, e.Steps)
			}
		})
	}
}

func TestRates(t *testing.T) {
	set := compile(t, plant, Config{})
	st := NewState(nil)
	flow := set.For(pump).Publish("water/north/pump-1/flow")
	send := func(set *Set, at time.Duration) Code {
		return flow.Check(Message{Topic: "water/north/pump-1/flow", Payload: []byte(`{"lpm":1}`)}, noon.Add(at), st, nil).Code
	}
	for i, want := range []Code{"", "", RateExceeded, RateExceeded} {
		if got := send(set, 0); got != want {
			t.Errorf("message %d: %q, want %q", i+1, got, want)
		}
	}
	if got := send(set, 500*time.Millisecond); got != "" {
		t.Errorf("half a second later: %q", got)
	}
	if got := send(set, 0); got != RateExceeded {
		t.Errorf("a clock that goes back gave %q", got)
	}
	flow = compile(t, plant, Config{}).For(pump).Publish("water/north/pump-1/flow")
	if got := send(set, 0); got != RateExceeded {
		t.Errorf("a new policy refilled the bucket: %q", got)
	}
	// Only the rule that allows is charged: a payload that the first rule refuses passes by the second.
	either, st := set.For(pump).Publish("either"), NewState(nil)
	for i, c := range []struct{ payload, rule string }{{"x", "either-b"}, {"1", "either-a"}, {"1", "either-b"}} {
		d := either.Check(Message{Topic: "either", Payload: []byte(c.payload)}, noon, st, nil)
		if !d.Allowed || d.Rule != "DeviceType/pump/"+c.rule {
			t.Errorf("message %d: %+v", i+1, d)
		}
	}
}

func TestByteRate(t *testing.T) {
	var b bucket
	r := compileRate(manifest.Rate{Bytes: 100})
	if b.take(&r, 150, noon) != "" || b.take(&r, 51, noon) == "" || b.take(&r, 50, noon) != "" || b.take(&r, 150, noon.Add(time.Second)) == "" {
		t.Error("two seconds' worth at once and no more")
	}
	var o bucket
	m := compileRate(manifest.Rate{Messages: 1})
	o.take(&m, 0, noon)
	for i := range 100 { // times out of order refill nothing twice
		at := noon.Add(time.Duration(i%2) * 400 * time.Millisecond)
		if o.take(&m, 0, at) == "" {
			t.Fatalf("take %d passed", i)
		}
	}
	if o.take(&m, 0, noon.Add(-time.Hour)) == "" || o.take(&m, 0, noon.Add(-time.Hour+time.Second)) != "" {
		t.Error("a clock that was set back refilled at once, or stopped the bucket")
	}
	if why := b.take(&r, 201, noon.Add(time.Hour)); !strings.Contains(why, "100 bytes per second") {
		t.Errorf("a message above the burst passed: %q", why)
	}
}

func TestCommands(t *testing.T) {
	set := compile(t, plant, Config{})
	state := func(p Principal, state string, maintenance bool) Principal {
		p.State, p.Maintenance = state, maintenance
		return p
	}
	south := Principal{Kind: Device, ID: "doser-2", Type: "doser", Zone: "south", State: "enrolled"}
	const dose, safe = "water/north/doser-1/cmd/dose", `{"ml_per_min": 10}`
	for _, c := range []struct {
		name, topic, payload string
		target               func(string) (Principal, bool)
		code                 Code
		detail               string
	}{
		{name: "within its range", topic: dose, payload: safe, target: inventory(doser)},
		{name: "out of range", topic: dose, payload: `{"ml_per_min": 900}`, target: inventory(doser), code: Interlock, detail: "doser-1: /ml_per_min is 900, more than 50"},
		{name: "not JSON", topic: dose, payload: `900`, target: inventory(doser), code: Interlock},
		{name: "two values", topic: dose, payload: `{"ml_per_min": 1, "ml_per_min": 900}`, target: inventory(doser), code: Interlock},
		{name: "two values, escaped", topic: dose, payload: `{"ml_per_min": 1, "ml\u005fper_min": 900}`, target: inventory(doser), code: Interlock},
		{name: "target unknown", topic: dose, payload: safe, target: inventory(), code: Interlock, detail: "not known"},
		{name: "no inventory", topic: dose, payload: safe, code: Interlock},
		{name: "quarantined", topic: dose, payload: safe, target: inventory(state(doser, "quarantined", false)), code: Interlock, detail: "while it is quarantined"},
		{name: "retired", topic: dose, payload: safe, target: inventory(state(doser, "retired", false)), code: Interlock},
		{name: "state unknown", topic: dose, payload: safe, target: inventory(state(doser, "", false)), code: Interlock},
		{name: "in maintenance", topic: dose, payload: safe, target: inventory(state(doser, "active", true)), code: Interlock, detail: "while it is in maintenance"},
		{name: "stop works in maintenance", topic: "water/north/doser-1/cmd/stop", target: inventory(state(doser, "active", true))},
		{name: "stop of a retired one", topic: "water/north/doser-1/cmd/stop", target: inventory(state(doser, "retired", false)), code: Interlock},
		{name: "wrong zone", topic: "water/south/doser-1/cmd/dose", payload: safe, target: inventory(doser), code: Interlock, detail: "on another topic"},
		{name: "condition", topic: "water/south/doser-2/cmd/dose", payload: safe, target: inventory(south), code: Interlock, detail: "is not met"},
		{name: "condition met", topic: "water/south/doser-2/cmd/dose", payload: `{"ml_per_min": 4}`, target: inventory(south)},
		{name: "another type's device", topic: "water/north/pump-1/cmd/dose", payload: `whatever`, target: inventory(pump)},
		{name: "no command", topic: "water/north/doser-1/cmd/other", payload: `whatever`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := Message{Topic: c.topic, Payload: []byte(c.payload)}
			v := set.For(scada).Publish(c.topic)
			d := v.Check(m, noon, NewState(NewActuators(0)), c.target)
			if d.Allowed != (c.code == "") || d.Code != c.code || !strings.Contains(d.Detail, c.detail) {
				t.Errorf("got %+v", d)
			}
			if e := set.Explain(scada, Action{Publish: &m, Now: noon, Target: c.target}); e.Decision != d {
				t.Errorf("explained as %+v, decided as %+v", e.Decision, d)
			}
			// The same interlock holds where the device receives, whoever published.
			if to, ok := inventory(doser, south)(strings.Split(c.topic, "/")[2]); ok && c.detail != "on another topic" {
				if d := set.For(to).Receive(c.topic).Check(m, noon, NewState(NewActuators(0)), c.target); d.Allowed != (c.code == "") {
					t.Errorf("delivery: %+v", d)
				}
			}
			// An app that looks on moves nothing.
			if d := set.For(scada).Receive(c.topic).Check(m, noon, nil, nil); !d.Allowed {
				t.Errorf("an onlooker: %+v", d)
			}
		})
	}
}

func TestCommandRates(t *testing.T) {
	set := compile(t, plant, Config{})
	acts := NewActuators(0)
	const dose = "water/north/doser-1/cmd/dose"
	m := Message{Topic: dose, Payload: []byte(`{"ml_per_min": 10}`)}
	a, b := NewState(acts), NewState(acts)
	if d := set.For(scada).Publish(dose).Check(m, noon, a, inventory(doser)); !d.Allowed {
		t.Fatalf("first: %+v", d)
	}
	d := set.For(tool).Publish(dose).Check(m, noon, b, inventory(doser))
	if d.Code != Interlock || d.Rule != "DeviceType/doser/dose" || !strings.Contains(d.Detail, "6 messages per minute") {
		t.Errorf("second, of another publisher: %+v", d)
	}
	if d := set.For(doser).Receive(dose).Check(m, noon, a, inventory(doser)); !d.Allowed {
		t.Errorf("delivery has a rate of its own: %+v", d)
	}
	if d := set.For(doser).Receive(dose).Check(m, noon, b, inventory(doser)); d.Code != Interlock {
		t.Errorf("second delivery: %+v", d)
	}
	bad := m
	bad.Payload = []byte(`{}`)
	set.For(tool).Publish(dose).Check(bad, noon.Add(10*time.Second), b, inventory(doser)) // charges nothing
	if d := set.For(tool).Publish(dose).Check(m, noon.Add(10*time.Second), b, inventory(doser)); !d.Allowed {
		t.Errorf("ten seconds later: %+v", d)
	}
	small := NewActuators(2)
	r := compileRate(manifest.Rate{Messages: 1})
	for _, id := range []string{"a", "b", "c"} {
		small.take(actuator{device: id}, &r, 0, noon)
	}
	if len(small.buckets) != 2 || small.recent.Len() != 2 || small.take(actuator{device: "c"}, &r, 0, noon) == "" {
		t.Error("the bound does not hold, or the newest gave way")
	}
}

func TestSubscribe(t *testing.T) {
	set := compile(t, plant, Config{})
	for _, c := range []struct {
		who            Principal
		filter         string
		code           Code
		qos            byte
		detail, reason string
	}{
		{who: pump, filter: "water/north/pump-1/cmd/#", qos: 1},
		{who: pump, filter: "water/north/pump-1/cmd", qos: 1},
		{who: pump, filter: "water/north/+/cmd/#", code: NotAuthorized, detail: "water/north/pump-2/cmd is not allowed"},
		{who: pump, filter: "#", code: NotAuthorized},
		{who: pump, filter: "news/+", qos: 2},
		{who: pump, filter: "news/#", code: NotAuthorized, detail: "news is not allowed"},
		{who: pump, filter: "$share/g/news/a", code: NotAuthorized},
		{who: pump, filter: "$share/g/water/north/pump-1/cmd/x", qos: 1},
		{who: scada, filter: "water/#", qos: 2},
		{who: scada, filter: "app/scada/in", qos: 2},
		{who: tool, filter: "a/#", qos: 2},
		{who: tool, filter: "#", code: NotAuthorized, detail: "secret"},
		{who: tool, filter: "$SYS/#", code: NotAuthorized},
		{who: tool, filter: "+/plan", code: NotAuthorized, detail: "secret/plan is denied by MessagePolicy/guard/secret-in"},
		{who: tool, filter: "a/#/b", code: BadFilter},
		{who: tool, filter: "", code: BadFilter},
	} {
		d := set.For(c.who).Subscribe(c.filter, 2)
		if d.Allowed != (c.code == "") || d.Code != c.code || !strings.Contains(d.Detail, c.detail) || d.QoS != c.qos {
			t.Errorf("%s subscribing to %q: %+v", c.who.ID, c.filter, d)
		}
		if e := set.Explain(c.who, Action{Subscribe: c.filter, QoS: 2}); c.filter != "" && e.Decision != d {
			t.Errorf("%q is explained as %+v", c.filter, e.Decision)
		}
	}
}

func TestDelivery(t *testing.T) {
	set := compile(t, plant, Config{})
	if !set.For(doser).ChecksDelivery() || !set.For(scada).ChecksDelivery() {
		t.Error("a doser has commands and scada a condition: both need a look at each delivery")
	}
	plain := compile(t, "apiVersion: holdfast.dev/v1\nkind: App\nmetadata: {name: a}\nspec: {subscribe: [{topics: ['#']}]}\n", Config{})
	if plain.For(Principal{Kind: App, ID: "a"}).ChecksDelivery() {
		t.Error("nothing here depends on a message")
	}
	in := set.For(scada).Receive("app/scada/in")
	if d := in.Check(Message{From: pump}, noon, nil, nil); !d.Allowed || in.Simple() {
		t.Errorf("from the north: %+v", d)
	}
	if d := in.Check(Message{From: scada}, noon, nil, nil); d.Code != Condition {
		t.Errorf("from an app: %+v", d)
	}
	hidden := set.For(scada).Receive("water/north/x/hidden")
	if d := hidden.Check(Message{Payload: []byte("long")}, noon, nil, nil); d.Rule != "MessagePolicy/guard/hidden" {
		t.Errorf("a denial with a condition: %+v", d)
	}
	if d := hidden.Check(Message{Payload: []byte("ok")}, noon, nil, nil); !d.Allowed {
		t.Errorf("a denial whose condition is false: %+v", d)
	}
	if v := set.For(scada).Receive("elsewhere"); v.Allowed || !strings.Contains(v.Refusal().Detail, "subscribe to elsewhere") {
		t.Errorf("without a rule: %+v", v.Refusal())
	}
}

func TestConnect(t *testing.T) {
	set := compile(t, plant, Config{})
	stopped := pump
	stopped.State = "retired"
	for _, c := range []struct {
		who  Principal
		id   string
		code Code
	}{
		{pump, "pump-1", ""}, {pump, "pump-1/", ""}, {pump, "pump-1/a/b", ""}, {pump, "pump-10", ClientID}, {pump, "pump-2", ClientID}, {pump, "", ClientID},
		{doser, "doser-1", ""}, {doser, "doser-1/x", ClientID}, {stopped, "pump-1", NotAuthorized},
		{scada, "scada", ""}, {scada, "scada/7", ""}, {scada, "scada7", ClientID}, {tool, "anything", ""}, {Principal{Kind: App, ID: "nobody"}, "nobody", NotAuthorized},
		{Principal{Kind: "server", ID: "s"}, "s", NotAuthorized},
	} {
		d := set.For(c.who).Connect(c.id)
		if d.Allowed != (c.code == "") || d.Code != c.code {
			t.Errorf("%s as %q: %+v", c.who.label(), c.id, d)
		}
		if e := set.Explain(c.who, Action{Connect: c.id}); e.Decision != d {
			t.Errorf("%s as %q is explained as %+v", c.who.label(), c.id, e.Decision)
		}
	}
	for _, c := range []struct {
		pattern, id string
		want        bool
	}{{"*", "", true}, {"a*", "a", true}, {"a*b", "ab", true}, {"a*b", "aXb", true}, {"a*b", "a", false}, {"a*a", "a", false}, {"*x*y", "axxbyy", true}, {"*x*y", "ayx", false}, {"a", "ab", false}} {
		if glob(c.pattern, c.id) != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.id, !c.want)
		}
	}
}

func TestViewsAndLimits(t *testing.T) {
	set := compile(t, plant, Config{Defaults: Limits{Subscriptions: 20, Inflight: 10, Rate: manifest.Rate{Messages: 100, Burst: 50, Bytes: 1000}}})
	for _, c := range []struct {
		typ, audience string
		whole         bool
		do            []string
	}{
		{"doser", "", true, nil}, {"pump", Operator, true, nil}, {"pump", "", false, []string{"drop", "drop"}}, {"pump", "stranger", false, []string{"drop", "drop"}},
		{"pump", "analyst", false, []string{"drop", "generalize"}},
	} {
		rules, whole := set.View(c.typ, c.audience)
		var do []string
		for _, r := range rules {
			do = append(do, r.Transform)
		}
		if whole != c.whole || strings.Join(do, " ") != strings.Join(c.do, " ") {
			t.Errorf("%s sees of %s: %v %v", c.audience, c.typ, do, whole)
		}
	}
	if !set.Marked("pump") || set.Marked("doser") || set.For(scada).Audience() != "analyst" {
		t.Error("marks or audience")
	}
	want := Limits{Subscriptions: 7, Inflight: 10, Rate: manifest.Rate{Messages: 5, Bytes: 1000}}
	if got := set.For(pump).Limits(); got != want {
		t.Errorf("limits %+v", got)
	}
}
