package policy

import (
	"strings"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// part is a piece of a pattern: a text, or a variable.
type part struct {
	lit string
	v   string // "device.id" and so on; empty for a text
}

// template is a pattern with variables.
type template struct {
	text  string
	parts []part
	pos   manifest.Pos
}

// labelVar begins the variables that stand for a label.
const labelVar = "device.labels."

var variables = []string{"device.id", "device.type", "device.zone", "device.labels.NAME", "gateway.id", "app.name"}

// parseTemplate takes a pattern apart; text and fix say what is wrong with it.
func parseTemplate(p manifest.Pattern) (t template, text, fix string) {
	t = template{text: p.Text, pos: p.Pos}
	for rest := p.Text; rest != ""; {
		lit, after, found := strings.Cut(rest, "${")
		if lit != "" {
			t.parts = append(t.parts, part{lit: lit})
		}
		if !found {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return t, "the variable in " + quote(p.Text) + " has no closing brace", "write it as ${device.id}"
		}
		if !knownVariable(name) {
			return t, "there is no variable ${" + clip(name) + "}", "use ${" + nearest(name, variables) + "}"
		}
		t.parts = append(t.parts, part{v: name})
		rest = tail
	}
	return t, "", ""
}

func knownVariable(name string) bool {
	if label, ok := strings.CutPrefix(name, labelVar); ok {
		return label != "" && !strings.ContainsAny(label, "/+#{}$ ")
	}
	switch name {
	case "device.id", "device.type", "device.zone", "gateway.id", "app.name":
		return true
	}
	return false
}

// sample is the pattern with a letter for each variable.
func (t *template) sample() string {
	var b strings.Builder
	for _, p := range t.parts {
		if p.v != "" {
			b.WriteByte('x')
		} else {
			b.WriteString(p.lit)
		}
	}
	return b.String()
}

// value gives what a variable stands for; gateways have the values of devices too.
func (p *Principal) value(name string) string {
	if label, ok := strings.CutPrefix(name, labelVar); ok {
		return p.Labels[label]
	}
	switch {
	case name == "gateway.id" && p.Kind == Gateway, name == "app.name" && p.Kind == App, name == "device.id" && p.inInventory():
		return p.ID
	case name == "device.type" && p.inInventory():
		return p.Type
	case name == "device.zone" && p.inInventory():
		return p.Zone
	}
	return ""
}

// bind puts the values of a principal in place of the variables. When one has no
// usable value the pattern matches nothing, and why says so. A value must not be
// able to widen the pattern: no separator, no wildcard, no control character, and
// no $ where the standard gives it a meaning.
func (t *template) bind(p *Principal) (text, why string) {
	if len(t.parts) == 1 && t.parts[0].v == "" {
		return t.parts[0].lit, ""
	}
	var b strings.Builder
	for i, part := range t.parts {
		if part.v == "" {
			b.WriteString(part.lit)
			continue
		}
		v := p.value(part.v)
		switch {
		case v == "":
			return "", "${" + part.v + "} has no value for " + p.label()
		case !usable(v):
			return "", "the value of ${" + part.v + "} cannot stand in a topic"
		case i == 0 && v[0] == '$':
			return "", "the value of ${" + part.v + "} begins with $, which a first level must not"
		}
		b.WriteString(v)
	}
	return b.String(), ""
}

// usable tells whether a value can stand inside a topic level.
func usable(v string) bool {
	if !utf8.ValidString(v) {
		return false
	}
	for _, r := range v {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == '/' || r == '+' || r == '#' {
			return false
		}
	}
	return true
}

// levels takes a pattern apart at its separators. Values never hold one.
func (t *template) levels() (out [][]part) {
	cur := []part{}
	for _, p := range t.parts {
		if p.v != "" {
			cur = append(cur, p)
			continue
		}
		for i, lit := range strings.Split(p.lit, "/") {
			if i > 0 {
				out, cur = append(out, cur), []part{}
			}
			if lit != "" {
				cur = append(cur, part{lit: lit})
			}
		}
	}
	return append(out, cur)
}

// bound is one topic pattern of a rule with the values of a principal in it.
type bound struct {
	pattern string
	rule    *rule
}

// bind appends the patterns of rules that can match anything for a principal.
func bind(dst []bound, rules []*rule, p *Principal) []bound {
	for _, r := range rules {
		for i := range r.topics {
			if text, why := r.topics[i].bind(p); why == "" && mqtt.ValidFilter(text) == nil {
				dst = append(dst, bound{text, r})
			}
		}
	}
	return dst
}

// glob matches a client id with a pattern in which * stands for any text.
func glob(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, head)
	if !ok {
		return false
	}
	for {
		mid, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(s, mid)
		}
		i := strings.Index(s, mid)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(mid):], after
	}
}
