package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// TestProblems compiles what the loader may let through or a program may have built.
func TestProblems(t *testing.T) {
	pat := func(s string) manifest.Pattern {
		return manifest.Pattern{Text: s, Pos: manifest.Pos{File: "a.yaml", Line: 7, Column: 3}}
	}
	meta := manifest.Meta{Name: "pump"}
	pub := func(r manifest.Rule) manifest.Set {
		if r.Topics == nil {
			r.Topics = []manifest.Pattern{pat("a")}
		}
		return manifest.Set{DeviceTypes: []manifest.DeviceType{{Meta: meta, Grants: manifest.Grants{Publish: []manifest.Rule{r}}}}}
	}
	when := func(s string) manifest.Set {
		return pub(manifest.Rule{When: s, WhenPos: manifest.Pos{File: "a.yaml", Line: 9, Column: 11}})
	}
	pay := func(p manifest.Payload) manifest.Set { return pub(manifest.Rule{Payload: &p}) }
	field := func(f ...manifest.Field) manifest.Set { return pay(manifest.Payload{Format: manifest.JSON, Fields: f}) }
	cmd := func(c manifest.Command) manifest.Set {
		if c.Topic.Text == "" {
			c.Topic = pat("c/${device.id}")
		}
		c.Name = "go"
		return manifest.Set{DeviceTypes: []manifest.DeviceType{{Meta: meta, Commands: []manifest.Command{c}}}}
	}
	ids := func(s string) manifest.Set {
		return manifest.Set{DeviceTypes: []manifest.DeviceType{{Meta: meta, ClientIDs: []manifest.Pattern{pat(s)}}}}
	}
	one, two, three := 1.0, 2.0, 3
	for _, c := range []struct {
		set  manifest.Set
		want string
	}{
		{pub(manifest.Rule{Topics: []manifest.Pattern{pat("a/${devcie.id}")}}), "a.yaml:7:3: DeviceType/pump/publish-1: there is no variable ${devcie.id}: use ${device.id}"},
		{pub(manifest.Rule{Topics: []manifest.Pattern{pat("a/${device.id")}}), "has no closing brace"},
		{pub(manifest.Rule{Topics: []manifest.Pattern{pat("a/#/b")}}), "is not a topic filter"},
		{pub(manifest.Rule{Topics: []manifest.Pattern{pat("$share/g/a")}}), "shared subscription"},
		{pub(manifest.Rule{Topics: []manifest.Pattern{}}), "has no topics"},
		{pub(manifest.Rule{QoS: &three}), "qos is 3"},
		{pub(manifest.Rule{Rate: manifest.Rate{Messages: -1}}), "a rate is negative"},
		{pub(manifest.Rule{Rate: manifest.Rate{Burst: 3}}), "a burst without a rate"},
		{when("device.zoen == 'x'"), "a.yaml:9:17: in the condition at character 7: undefined field 'zoen': did you mean `zone`?"},
		{when("true &&\n  mesage.size > 3"), "a.yaml:10:13: in the condition at line 2, character 3: undeclared reference to 'mesage': did you mean `message`?"},
		{when("message.size"), "the condition gives int, not true or false"},
		{when("message.payload.on"), "gives dyn, not true or false"},
		{when("1 +"), "Syntax error"},
		{when("target.zone == 'x'"), "undeclared reference to 'target'"},
		{when("message.topic.matches('(')"), "cannot be prepared"},
		{when(strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200)), "in the condition"},
		{when("true" + strings.Repeat(" || true", 1000)), "in the condition"},
		{pay(manifest.Payload{Format: "xml"}), "is no format"},
		{pay(manifest.Payload{MinBytes: 3, MaxBytes: 2}), "cannot be"},
		{pay(manifest.Payload{Closed: true}), "not JSON"},
		{field(manifest.Field{Path: "a", Type: manifest.Number}), "is not a JSON pointer"},
		{field(manifest.Field{Path: "/a~2", Type: manifest.Number}), "is not a JSON pointer"},
		{field(manifest.Field{Path: "/a", Type: "float"}), "is no type"},
		{field(manifest.Field{Path: "/a", Type: manifest.Number, Min: &two, Max: &one}), "min above max"},
		{field(manifest.Field{Path: "/a", Type: manifest.Boolean, Min: &one}), "is a boolean and has min or max"},
		{field(manifest.Field{Path: "/a", Type: manifest.Number, OneOf: []string{"x"}}), "oneOf"},
		{field(manifest.Field{Path: "/a", Type: manifest.Number}, manifest.Field{Path: "/a", Type: manifest.String}), "described twice"},
		{field(make([]manifest.Field, 300)...), "300 fields"},
		{cmd(manifest.Command{Topic: pat("c/x-${device.id}")}), "does not say which device"},
		{cmd(manifest.Command{Topic: pat("c/${device.id}/+")}), "has a wildcard"},
		{cmd(manifest.Command{Topic: pat("c/${device.id}/${app.name}")}), "is no fact of the device"},
		{cmd(manifest.Command{RefuseIn: []string{"quarantine"}}), "use quarantined"},
		{ids("*"), "can be those of another"},
		{ids("${device.id}*"), "can be those of another"},
		{ids("${device.id}-*"), "can be those of another"},
		{ids("${device.id}${device.zone}"), "can be those of another"},
		{ids("x/${device.id}"), "can be those of another"},
		{manifest.Set{Zones: []manifest.Zone{{Meta: meta}, {Meta: meta}}}, "there are two of Zone/pump"},
		{manifest.Set{Apps: []manifest.App{{Meta: meta, Audience: "who"}}}, "which is not declared"},
		{manifest.Set{Audiences: []manifest.Audience{{Meta: meta, Sees: []manifest.View{{Mark: "m", Do: "blur"}}}}}, "is no transform"},
		{manifest.Set{DeviceTypes: []manifest.DeviceType{{Meta: meta, Grants: manifest.Grants{Subscribe: []manifest.Rule{{Topics: []manifest.Pattern{pat("a")}, Rate: manifest.Rate{Messages: 1}}}}}}}, "only rules that allow publishing"},
		{manifest.Set{DeviceTypes: []manifest.DeviceType{{Meta: meta, Grants: manifest.Grants{Publish: []manifest.Rule{{Name: "x", Topics: []manifest.Pattern{pat("a")}}}}, Commands: []manifest.Command{{Name: "x", Topic: pat("${device.id}")}}}}}, "two rules DeviceType/pump/x"},
	} {
		set, problems := Compile(&c.set, Config{})
		if set != nil || len(problems) == 0 || !strings.Contains(fmt.Sprint(problems), c.want) {
			t.Errorf("want %q\n got %v", c.want, problems)
		}
	}
	all := manifest.Set{}
	for range 200 {
		all.Zones = append(all.Zones, manifest.Zone{Meta: meta})
	}
	if _, problems := Compile(&all, Config{}); len(problems) != maxProblems {
		t.Errorf("%d problems, want %d", len(problems), maxProblems)
	}
}

func TestConditions(t *testing.T) {
	for expr, want := range map[string]string{
		"device.id == 'pump-1' && device.type == 'pump' && device.zone == 'north' && device.state == 'active' && !device.maintenance": "",
		"device.kind == 'device' && app.name == '' && device.labels.site == 's1' && !has(device.labels.x)":                            "",
		"message.topic == 'a/b' && message.levels[1] == 'b' && size(message.levels) == 2 && message.qos == 1 && message.retain":       "",
		"message.size == 17 && message.text.startsWith('{') && message.payload.a[1].b == 2 && message.payload.a[0] > 1":               "",
		"message.from.id == 'pump-1' && now.getFullYear() == 2026 && now < timestamp('2027-01-01T00:00:00Z')":                         "",
		"message.payload.a.all(x, has(x.b))": "is not met",
		"message.payload.zzz == 1":           "no such key",
		"device.labels.x == 'y'":             "no such key",
		"device == device && false":          "is not met",
		"Device{id: 'x'}.id == 'x'":          "cannot be evaluated",
		"message.text.size() > 100":          "is not met",
		"[0,1,2,3,4,5,6,7,8,9].all(a, [0,1,2,3,4,5,6,7,8,9].all(b, [0,1,2,3,4,5,6,7,8,9].all(c, [0,1,2,3,4,5,6,7,8,9].all(d, a + b + c + d < 100))))": "cost limit",
	} {
		yaml := "apiVersion: holdfast.dev/v1\nkind: DeviceType\nmetadata: {name: pump}\nspec:\n  publish:\n    - topics: [a/b]\n      retain: true\n      when: |\n        " + expr + "\n"
		m, problems := manifest.Load([]manifest.File{{Name: "c.yaml", Data: []byte(yaml)}})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		set, problems := Compile(m, Config{})
		if len(problems) > 0 {
			t.Errorf("%s: %v", expr, problems)
			continue
		}
		d := set.For(pump).Publish("a/b").Check(Message{Topic: "a/b", QoS: 1, Retain: true, Payload: []byte(`{"a":[2,{"b":2}]}`)}, noon, nil, nil)
		if d.Allowed != (want == "") || !strings.Contains(d.Detail, want) {
			t.Errorf("%s: %+v", expr, d)
		}
	}
}
