package policy

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// rule is one rule of a document, compiled; shared by all principals.
type rule struct {
	name    string // Kind/document/rule
	pos     manifest.Pos
	topics  []template
	qos     byte
	retain  bool
	shared  bool
	when    *expr
	payload *payloadRule
	rate    rate
}

// conditional tells whether the rule depends on more than topic, QoS and retain.
func (r *rule) conditional() bool { return r.when != nil || r.payload != nil || r.rate.any() }

// compiler collects problems on the way.
type compiler struct {
	set      *Set
	problems []Problem
	doc      string // Kind/name of the document at hand
	names    map[string]bool
}

// maxProblems bounds the list; nobody reads more at a time.
const maxProblems = 100

func (c *compiler) problem(pos manifest.Pos, text, fix string) {
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, Problem{Pos: pos, Text: text, Fix: fix})
	}
}

// Compile makes a Set of manifests. When there are problems, which are all that
// were found, at most 100, there is no Set.
func Compile(m *manifest.Set, cfg Config) (*Set, []Problem) {
	s := &Set{cfg: cfg, types: map[string]*document{}, zones: map[string]*document{}, apps: map[string]*document{},
		audiences: map[string]map[string]manifest.View{}, commands: commandIndex{}, rated: map[string]bool{}}
	c := &compiler{set: s}
	for i := range m.DeviceTypes {
		c.deviceType(&m.DeviceTypes[i])
	}
	for i := range m.Zones {
		z := &m.Zones[i]
		d := c.document(manifest.ZoneKind, &z.Meta, s.zones)
		c.grants(d, &z.Grants)
	}
	for i := range m.Apps {
		a := &m.Apps[i]
		d := c.document(manifest.AppKind, &a.Meta, s.apps)
		c.grants(d, &a.Grants)
		d.clientIDs, d.limits, d.audience = c.clientIDs(a.ClientIDs, false), a.Limits, a.Audience
	}
	for i := range m.Policies {
		p := &m.Policies[i]
		d := c.document(manifest.MessagePolicyKind, &p.Meta, nil)
		d.sel = p.Select
		c.grants(d, &p.Grants)
		d.denyPublish, d.denySubscribe = c.rules("denyPublish", p.DenyPublish, true), c.rules("denySubscribe", p.DenySubscribe, true)
		s.policies = append(s.policies, d)
	}
	for i := range m.Audiences {
		c.audience(&m.Audiences[i])
	}
	c.references(m)
	if len(c.problems) > 0 {
		return nil, c.problems
	}
	return s, nil
}

func (c *compiler) deviceType(t *manifest.DeviceType) {
	d := c.document(manifest.DeviceTypeKind, &t.Meta, c.set.types)
	c.grants(d, &t.Grants)
	d.clientIDs, d.limits, d.total = c.clientIDs(t.ClientIDs, true), t.Limits, t.Total
	for i, m := range t.Marks {
		if m.As == "" || m.Path != "" && m.Path[0] != '/' {
			c.problem(m.Pos, fmt.Sprintf("the mark %d of %s has no name or a path that is not a JSON pointer", i+1, c.doc), "write path: /operator/name and as: personal")
		}
	}
	d.marks = slices.Clone(t.Marks)
	for i := range t.Commands {
		c.command(t.Name, &t.Commands[i])
	}
}

// document begins a document; into is the map of its kind.
func (c *compiler) document(kind manifest.Kind, m *manifest.Meta, into map[string]*document) *document {
	c.doc = string(kind) + "/" + m.Name
	c.names = map[string]bool{}
	d := &document{kind: string(kind), name: m.Name}
	if m.Name == "" {
		c.problem(m.Pos, "a "+string(kind)+" has no name", "write metadata: {name: …}")
	}
	if into != nil {
		if into[m.Name] != nil {
			c.problem(m.Pos, "there are two of "+c.doc, "put their rules into one document")
		}
		into[m.Name] = d
	}
	return d
}

func (c *compiler) grants(d *document, g *manifest.Grants) {
	d.publish, d.subscribe = c.rules("publish", g.Publish, false), c.rules("subscribe", g.Subscribe, false)
}

func (c *compiler) rules(verb string, in []manifest.Rule, deny bool) (out []*rule) {
	for i := range in {
		out = append(out, c.rule(verb, i, &in[i], deny))
	}
	return out
}

func (c *compiler) rule(verb string, i int, in *manifest.Rule, deny bool) *rule {
	name := in.Name
	if name == "" {
		name = fmt.Sprintf("%s-%d", verb, i+1)
	}
	r := &rule{name: c.name(name, in.Pos), pos: in.Pos, qos: 2, shared: true}
	if in.QoS != nil {
		if *in.QoS < 0 || *in.QoS > 2 {
			c.problem(in.Pos, fmt.Sprintf("qos is %d", *in.QoS), "use 0, 1 or 2")
		}
		r.qos = byte(*in.QoS)
	}
	if in.Retain != nil {
		r.retain = *in.Retain
	}
	if in.Shared != nil {
		r.shared = *in.Shared
	}
	if len(in.Topics) == 0 {
		c.problem(in.Pos, r.name+" has no topics", "name at least one")
	}
	for _, p := range in.Topics {
		r.topics = append(r.topics, c.topic(p, r.name))
	}
	r.when = c.compileExpr(in.When, whenPos(in.WhenPos, in.Pos), false)
	if (deny || verb == "subscribe") && (in.Payload != nil || in.Rate != manifest.Rate{}) {
		c.problem(in.Pos, r.name+" has a payload or a rate, which only rules that allow publishing have", "use `when` to look at messages")
		return r
	}
	r.payload = c.compilePayload(in.Payload)
	r.rate = c.rate(in.Rate, in.Pos)
	if r.rate.any() {
		c.set.rated[r.name] = true
	}
	return r
}

// whenPos is where a condition begins, or its rule when that is not known.
func whenPos(when, rule manifest.Pos) manifest.Pos {
	if when.Line > 0 {
		return when
	}
	return rule
}

// name completes the name of a rule and sees that it is the only one.
func (c *compiler) name(name string, pos manifest.Pos) string {
	full := c.doc + "/" + name
	if c.names[full] {
		c.problem(pos, "there are two rules "+full, "give each its own name")
	}
	c.names[full] = true
	return full
}

// topic compiles a topic pattern.
func (c *compiler) topic(p manifest.Pattern, name string) template {
	t, text, fix := parseTemplate(p)
	if text != "" {
		c.problem(p.Pos, name+": "+text, fix)
		return t
	}
	f, err := mqtt.ParseFilter(t.sample())
	switch {
	case err != nil:
		c.problem(p.Pos, name+": "+quote(p.Text)+" is not a topic filter: "+clip(err.Error()), "write levels with / between them; + and # must be whole levels, # the last")
	case f.Share != "":
		c.problem(p.Pos, name+": "+quote(p.Text)+" names a shared subscription", "write the filter alone; `shared` says whether it may be shared")
	}
	return t
}

func (c *compiler) rate(in manifest.Rate, pos manifest.Pos) rate {
	bad := func(f float64) bool { return f < 0 || math.IsNaN(f) || math.IsInf(f, 0) }
	if bad(in.Messages) || bad(in.Bytes) || in.Burst < 0 {
		c.problem(pos, "a rate is negative or not a number", "write a rate such as 10/s")
	}
	if in.Burst > 0 && in.Messages == 0 {
		c.problem(pos, "there is a burst without a rate of messages", "add messages: 10/s")
	}
	return compileRate(in)
}

// clientIDs compiles patterns of client ids. One device must not be able to take
// another's: what comes before * has to tell them apart.
func (c *compiler) clientIDs(in []manifest.Pattern, inventory bool) (out []template) {
	for _, p := range in {
		t, text, fix := parseTemplate(p)
		if text != "" {
			c.problem(p.Pos, text, fix)
			continue
		}
		if inventory && !ownIDs(&t) {
			c.problem(p.Pos, "the client ids "+quote(p.Text)+" of one device can be those of another",
				"begin with ${device.id}, and put a character between it and what follows that ids do not have, as in ${device.id}/*")
		}
		out = append(out, t)
	}
	return out
}

// ownIDs tells whether a pattern of client ids begins with the device's id and what
// follows cannot be taken for more of the id.
func ownIDs(t *template) bool {
	if len(t.parts) == 0 || t.parts[0].v != deviceID && t.parts[0].v != "gateway.id" {
		return false
	}
	if len(t.parts) == 1 {
		return true
	}
	lit := t.parts[1].lit
	return lit != "" && lit[0] != '*' && !strings.ContainsRune("._-", rune(lit[0])) &&
		!(lit[0] >= '0' && lit[0] <= '9' || lit[0] >= 'a' && lit[0] <= 'z' || lit[0] >= 'A' && lit[0] <= 'Z')
}

func (c *compiler) command(typ string, in *manifest.Command) {
	cmd := &command{name: c.name(in.Name, in.Pos), deviceType: typ, pos: in.Pos, refuseIn: stops}
	if in.RefuseIn != nil {
		cmd.refuseIn = slices.Clone(in.RefuseIn)
		for _, s := range in.RefuseIn {
			if !slices.Contains(stops, s) {
				c.problem(in.Pos, cmd.name+": "+quote(s)+" is no state that commands can be refused in", "use "+nearest(s, stops))
			}
		}
	}
	cmd.topic = c.topic(in.Topic, cmd.name)
	cmd.levels = cmd.topic.levels()
	whole := false
	var filter []string
	for _, parts := range cmd.levels {
		whole = whole || len(parts) == 1 && parts[0].v == deviceID
		level := ""
		for _, p := range parts {
			if p.v != "" {
				level = "+"
				break
			}
			level += p.lit
		}
		filter = append(filter, level)
	}
	cmd.filter = strings.Join(filter, "/")
	if !whole {
		c.problem(in.Topic.Pos, cmd.name+": the topic does not say which device", "put ${device.id} into it as a whole level")
	}
	if strings.ContainsAny(cmd.topic.sample(), "+#") {
		c.problem(in.Topic.Pos, cmd.name+": the topic has a wildcard", "write one topic per command")
	}
	for _, p := range cmd.topic.parts {
		if p.v == "app.name" || p.v == "gateway.id" {
			c.problem(in.Topic.Pos, cmd.name+": ${"+p.v+"} is no fact of the device", "use ${device.id}, ${device.zone}, ${device.type} or a label")
		}
	}
	cmd.payload = c.compilePayload(in.Payload)
	cmd.rate = c.rate(in.Rate, in.Pos)
	cmd.when = c.compileExpr(in.When, whenPos(in.WhenPos, in.Pos), true)
	c.set.commands.add(cmd)
}

func (c *compiler) audience(a *manifest.Audience) {
	if c.set.audiences[a.Name] != nil {
		c.problem(a.Pos, "there are two of Audience/"+a.Name, "put their views into one document")
	}
	views := map[string]manifest.View{}
	for _, v := range a.Sees {
		if _, twice := views[v.Mark]; twice {
			c.problem(v.Pos, "Audience/"+a.Name+" says twice what happens to "+quote(v.Mark), "keep one")
		}
		switch v.Do {
		case manifest.Whole, manifest.Masked, manifest.Hashed, manifest.Generalize, manifest.Dropped:
		default:
			c.problem(v.Pos, quote(string(v.Do))+" is no transform", "use whole, mask, hash, generalize or drop")
		}
		views[v.Mark] = v
	}
	c.set.audiences[a.Name] = views
}

// references checks that what documents name exists.
func (c *compiler) references(m *manifest.Set) {
	for _, a := range m.Apps {
		if _, ok := c.set.audiences[a.Audience]; !ok && a.Audience != "" && a.Audience != Operator {
			c.problem(a.Pos, "App/"+a.Name+" has the audience "+quote(a.Audience)+", which is not declared", "add an Audience of this name, or use operator")
		}
	}
}
