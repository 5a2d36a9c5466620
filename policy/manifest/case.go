package manifest

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/mqtt"
	"go.yaml.in/yaml/v3"
)

// maxCases bounds the cases of one test.
const maxCases = 10_000

// test reads cases that must come out as written.
func (l *loader) test(d *document, f fields) {
	t := Test{Meta: d.Meta}
	d.list(f["cases"], "`cases`", func(i int, n *yaml.Node) {
		if i == maxCases {
			d.add(d.pos(n), "split the test", "there are more than %d cases", maxCases)
		}
		if i < maxCases {
			t.Cases = append(t.Cases, l.testCase(d, n))
		}
	})
	if f["cases"] != nil && len(t.Cases) == 0 {
		d.add(d.pos(f["cases"]), "add a case: it says who does what, and what is expected", "the test has no cases")
	}
	l.set.Tests = append(l.set.Tests, t)
}

var actions = []string{"publish", "receive", "subscribe", "connect"}

func (l *loader) testCase(d *document, n *yaml.Node) Case {
	f, _ := d.fields(n, "a case", "name! as! at publish receive subscribe connect target expect!")
	c := Case{Pos: d.pos(n)}
	if s, ok := d.text(f["name"], 200, false); ok {
		c.Name = s
		if s == "" {
			d.add(d.pos(f["name"]), "say what must be so", "the name of the case is empty")
		}
		d.distinct(d.names, "case", s, d.pos(f["name"]))
	}
	if f["as"] != nil {
		c.As = l.subject(d, f["as"])
	}
	c.At = d.instant(f["at"])
	l.action(d, f, &c)
	c.Target = d.targets(f["target"])
	if f["expect"] != nil {
		c.Allow, c.Rule = l.expect(d, f["expect"])
	}
	return c
}

func (l *loader) action(d *document, f fields, c *Case) {
	var given []string
	for _, a := range actions {
		if f[a] != nil {
			given = append(given, a)
		}
	}
	if len(given) != 1 {
		d.add(c.Pos, "write one of publish, receive, subscribe, connect", "the case has %d actions, not one", len(given))
	}
	if f["publish"] != nil {
		c.Publish = l.message(d, f["publish"], "`publish`", "topic! payload text base64 qos retain")
	}
	if f["receive"] != nil {
		c.Receive = l.message(d, f["receive"], "`receive`", "topic! payload text base64 qos retain from")
	}
	if s, ok := d.text(f["subscribe"], mqtt.MaxString, false); ok {
		if err := mqtt.ValidFilter(s); err != nil {
			d.add(d.pos(f["subscribe"]), "", "`%s` is no topic filter: %s", clip(s), sentence(err))
		}
		c.Subscribe = s
	}
	if s, ok := d.text(f["connect"], maxPattern, false); ok {
		if s == "" {
			d.add(d.pos(f["connect"]), "write the client id", "the client id is empty")
		}
		c.Connect = s
	}
}

// subject reads {device: ID, …}, {gateway: ID, …} or {app: NAME}.
func (l *loader) subject(d *document, n *yaml.Node) Subject {
	f, ok := d.fields(n, "a principal", "device gateway app type zone labels state maintenance")
	var s Subject
	for _, k := range principalKinds {
		if f[k] == nil {
			continue
		}
		if s.Kind != "" {
			d.add(d.pos(f[k]), "keep one of them", "somebody is both %s and %s", s.Kind, k)
		}
		s.Kind = k
	}
	switch s.Kind {
	case "":
		if ok {
			d.add(d.pos(n), "write {device: pump-1, type: pump, zone: north}, {gateway: …} or {app: scada}", "this says nobody")
		}
	case "app":
		s.ID = d.name(f["app"])
		if s.ID != "" {
			l.later = append(l.later, func() { l.refer(d.pos(f["app"]), AppKind, s.ID) })
		}
		for _, key := range []string{"type", "zone", "labels", "state", "maintenance"} {
			if f[key] != nil {
				d.add(d.pos(f[key]), "take it away", "an app has no `%s`", key)
			}
		}
	default:
		s.ID = d.inventory(f[s.Kind], validID)
		d.facts(f, &s)
	}
	return s
}

// facts reads what the inventory knows of a device or gateway.
func (r *reader) facts(f fields, s *Subject) {
	if f["type"] != nil {
		s.Type = r.inventory(f["type"], func(s string) error { return device.TypeName(s).Validate() })
	}
	if f["zone"] != nil {
		s.Zone = r.inventory(f["zone"], func(s string) error { return device.ZoneName(s).Validate() })
	}
	s.Labels = r.labels(f["labels"])
	if f["state"] != nil {
		var states []string
		for _, state := range device.States {
			states = append(states, string(state))
		}
		s.State = r.word(f["state"], "state of a device", states...)
	}
	if b := r.boolean(f["maintenance"]); b != nil {
		s.Maintenance = *b
	}
}

// targets reads the facts of devices that commands go to, by id.
func (r *reader) targets(n *yaml.Node) map[string]Subject {
	if n == nil || isNull(n) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		r.add(r.pos(n), "write {doser-1: {type: doser, zone: north}}", "expected devices with their facts, found %s", found(n))
		return nil
	}
	out := map[string]Subject{}
	r.pairs(n, func(key, value *yaml.Node) {
		f, ok := r.fields(value, "a target", "type zone labels state maintenance")
		if !ok || r.inventory(key, validID) == "" {
			return
		}
		s := Subject{Kind: "device", ID: key.Value}
		r.facts(f, &s)
		out[key.Value] = s
	})
	if len(out) == 0 {
		return nil
	}
	return out
}

func (r *reader) instant(n *yaml.Node) time.Time {
	const fix = "write it as 2026-03-29T02:30:00Z"
	s, ok := r.scalar(n, "a time", fix, "!!timestamp", "!!str")
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1 || t.Year() > 9998 {
		r.add(r.pos(n), fix, "`%s` is no time", clip(s))
		return time.Time{}
	}
	return t.UTC()
}

// message reads a message of a test.
func (l *loader) message(d *document, n *yaml.Node, what, known string) *TestMessage {
	f, _ := d.fields(n, what, known)
	m := &TestMessage{}
	if s, ok := d.text(f["topic"], mqtt.MaxString, false); ok {
		if err := mqtt.ValidTopic(s); err != nil {
			d.add(d.pos(f["topic"]), "write the whole topic, as the device does", "`%s` is no topic: %s", clip(s), sentence(err))
		}
		m.Topic = s
	}
	m.Payload = d.bytes(f)
	if q, ok := d.integer(f["qos"], 0, 2); ok {
		m.QoS = int(q)
	}
	if b := d.boolean(f["retain"]); b != nil {
		m.Retain = *b
	}
	if f["from"] != nil {
		from := l.subject(d, f["from"])
		m.From = &from
	}
	return m
}

// bytes reads a payload: a YAML value that becomes JSON, or text or base64 that
// becomes what it says.
func (r *reader) bytes(f fields) []byte {
	var given []*yaml.Node
	for _, key := range []string{"payload", "text", "base64"} {
		if f[key] != nil {
			given = append(given, f[key])
		}
	}
	if len(given) > 1 {
		r.add(r.pos(given[1]), "keep one of payload, text, base64", "the message has more than one payload")
	}
	if f["payload"] != nil {
		return r.json(nil, f["payload"])
	}
	if f["text"] != nil {
		s, ok := r.scalar(f["text"], "text", "put it in quotes", "!!str")
		if !ok || s == "" {
			return nil
		}
		return []byte(s)
	}
	s, ok := r.scalar(f["base64"], "base64", "put it in quotes", "!!str")
	if !ok {
		return nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		r.add(r.pos(f["base64"]), "use the alphabet with + and /, with = at the end", "`%s` is no base64", clip(s))
	}
	if len(b) == 0 {
		return nil
	}
	return b
}

// expect reads allow, deny, {allow: RULE} or {deny: RULE}.
func (l *loader) expect(d *document, n *yaml.Node) (allow bool, rule string) {
	if n.Kind != yaml.MappingNode {
		return d.word(n, "expectation", "allow", "deny") == "allow", ""
	}
	f, ok := d.fields(n, "`expect`", "allow deny")
	if ok && len(f) != 1 {
		d.add(d.pos(n), "write allow, deny, {allow: RULE} or {deny: RULE}", "`expect` has %d answers, not one", len(f))
		return false, ""
	}
	for key, value := range f {
		allow = key == "allow"
		rule, ok = d.text(value, 3*maxPattern, false)
		if ok {
			l.later = append(l.later, func() { l.referRule(d.pos(value), rule) })
		}
	}
	return allow, rule
}

// referRule checks that a rule exists.
func (l *loader) referRule(at Pos, rule string) {
	known := l.set.RuleNames()
	if slices.Contains(known, rule) {
		return
	}
	fix := "write Kind/name/rule, such as DeviceType/pump/telemetry"
	if near := nearest(rule, known); near != "" {
		fix = "did you mean `" + near + "`?"
	} else if i := strings.LastIndexByte(rule, '/'); i > 0 {
		for _, k := range known {
			if strings.HasSuffix(k, rule[i:]) {
				fix = "did you mean `" + k + "`?"
			}
		}
	}
	l.problems.add(at, fix, "there is no rule `%s`", clip(rule))
}
