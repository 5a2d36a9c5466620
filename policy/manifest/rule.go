package manifest

import (
	"fmt"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// Bounds on the texts of a rule.
const (
	maxWhen   = 4096 // bytes of an expression
	maxName   = 63
	maxFields = 256  // of a payload
	maxMarks  = 1000 // of a type
)

var nameText = regexp.MustCompile(`^[a-z0-9]([-._a-z0-9]*[a-z0-9])?$`)

// name reads the name of a document, rule, command or mark.
func (r *reader) name(n *yaml.Node) string {
	s, ok := r.text(n, maxName, false)
	if ok && !nameText.MatchString(s) {
		r.add(r.pos(n), "use a-z and 0-9, with - . _ in between", "`%s` is no name", clip(s))
		return ""
	}
	return s
}

// document reads what is common to the specs of one document.
type document struct {
	*reader
	Meta
	scope []string       // variables
	names map[string]Pos // of rules and commands so far
}

// place is where in a document a rule stands: it says what the rule can do.
type place struct {
	key, name string // as written, and the beginning of names that are made
	known     string // keys
}

// What a rule can say depends on its place: a denial has no conditions beside
// topics and when, because "deny unless" is read as its opposite too easily.
var (
	publishPlace   = place{"publish", "publish", "name topic topics qos retain when payload rate"}
	subscribePlace = place{"subscribe", "subscribe", "name topic topics qos shared when"}
	denyPublish    = place{"denyPublish", "deny-publish", "name topic topics when"}
	denySubscribe  = place{"denySubscribe", "deny-subscribe", "name topic topics when"}
)

func (p place) madeName(i int) string { return fmt.Sprintf("%s-%d", p.name, i+1) }

func (d *document) rules(n *yaml.Node, in place) []Rule {
	var out []Rule
	d.list(n, "`"+in.key+"`", func(i int, c *yaml.Node) {
		if rule, ok := d.rule(c, in, i); ok {
			out = append(out, rule)
		}
	})
	return out
}

func (d *document) rule(n *yaml.Node, in place, i int) (Rule, bool) {
	f, ok := d.fields(n, "a `"+in.key+"` rule", in.known)
	rule := Rule{Name: in.madeName(i), Pos: d.pos(n)}
	at := rule.Pos
	if f["name"] != nil {
		rule.Name, at = d.name(f["name"]), d.pos(f["name"])
	}
	d.once(rule.Name, at)
	one, many := f["topic"], f["topics"]
	switch {
	case one != nil && many != nil:
		d.add(d.pos(one), "keep one of them", "the rule has both `topic` and `topics`")
	case one != nil:
		if p, ok := d.topic(one, d.scope); ok {
			rule.Topics = []Pattern{p}
		}
	case many != nil:
		rule.Topics = d.patterns(many, "`topics`", func(c *yaml.Node) (Pattern, bool) { return d.topic(c, d.scope) })
	case ok:
		d.add(rule.Pos, "add topics, such as topics: [\"water/${device.id}/#\"]", "the rule has no `topics`")
	}
	if q, ok := d.integer(f["qos"], 0, 2); ok {
		v := int(q)
		rule.QoS = &v
	}
	rule.Retain, rule.Shared = d.boolean(f["retain"]), d.boolean(f["shared"])
	rule.When, rule.WhenPos = d.when(f["when"])
	if f["payload"] != nil {
		rule.Payload = d.payload(f["payload"])
	}
	rule.Rate = d.rate(f["rate"], false)
	return rule, true
}

// once records the name of a rule or command, which must be new.
func (d *document) once(name string, at Pos) {
	if name != "" {
		d.distinct(d.names, "name", name, at)
	}
}

func (r *reader) when(n *yaml.Node) (string, Pos) {
	s, ok := r.text(n, maxWhen, true)
	if !ok {
		return "", Pos{}
	}
	if s == "" {
		r.add(r.pos(n), "write a condition such as message.size < 512, or leave the key out", "`when` is empty")
	}
	return s, r.inside(n)
}

func (r *reader) rate(n *yaml.Node, command bool) Rate {
	if n == nil {
		return Rate{}
	}
	known := "messages burst bytes"
	if command {
		known = "messages burst"
	}
	f, ok := r.fields(n, "`rate`", known)
	rate := Rate{}
	if f["messages"] != nil {
		rate.Messages = r.perSecond(f["messages"], false)
	}
	if burst, ok := r.integer(f["burst"], 1, 1e6); ok {
		rate.Burst = int(burst)
	}
	if f["bytes"] != nil {
		rate.Bytes = r.perSecond(f["bytes"], true)
	}
	switch {
	case f["burst"] != nil && f["messages"] == nil:
		r.add(r.pos(f["burst"]), "add messages, such as messages: 10/s", "`burst` without `messages` bounds nothing")
	case ok && len(f) == 0:
		r.add(r.pos(n), "write messages or bytes, such as {messages: 10/s}, or leave the key out", "`rate` is empty")
	}
	return rate
}

// commands reads the commands of a device type.
func (d *document) commands(n *yaml.Node) []Command {
	var out []Command
	d.list(n, "`commands`", func(_ int, c *yaml.Node) {
		f, ok := d.fields(c, "a command", "name! topic! payload rate refuseIn when")
		if !ok {
			return
		}
		cmd := Command{Name: d.name(f["name"]), Pos: d.pos(c)}
		d.once(cmd.Name, d.pos(f["name"]))
		if p, ok := d.commandTopic(f["topic"]); ok {
			cmd.Topic = p
		}
		if f["payload"] != nil {
			cmd.Payload = d.payload(f["payload"])
		}
		cmd.Rate = d.rate(f["rate"], true)
		cmd.RefuseIn = d.refuseIn(f["refuseIn"])
		cmd.When, cmd.WhenPos = d.when(f["when"])
		out = append(out, cmd)
	})
	return out
}

// Conditions are what a command may be refused in.
var Conditions = []string{"quarantined", "retired", "registered", "pending", "maintenance"}

// refuseIn reads a list that may be empty: a command that is refused in no
// state is not one that says nothing about it.
func (d *document) refuseIn(n *yaml.Node) []string {
	if n == nil {
		return nil
	}
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		return []string{}
	}
	return d.texts(n, "`refuseIn`", func(c *yaml.Node) (string, bool) {
		s := d.word(c, "state or condition of a device", Conditions...)
		return s, s != ""
	})
}
