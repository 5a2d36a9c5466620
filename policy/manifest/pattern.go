package manifest

import (
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/mqtt"
	"go.yaml.in/yaml/v3"
)

// maxPattern is the longest topic pattern or client id pattern, in bytes.
const maxPattern = 1024

const labels = "device.labels."

// The variables that patterns of a kind of document may hold.
var (
	deviceVariables = []string{"device.id", "device.type", "device.zone", labels + "NAME", "gateway.id"}
	appVariables    = []string{"app.name"}
	allVariables    = slices.Concat(deviceVariables, appVariables)
	actuator        = deviceVariables[:4] // of the device that a command goes to
)

// part is a piece of a pattern: text as it stands, or the name of a variable.
type part struct {
	text     string
	variable bool
	at       int // byte offset
}

// split takes a pattern apart at ${ and }. ok is false when a ${ is not closed;
// then the last part begins with it.
func split(s string) (parts []part, ok bool) {
	at := 0
	for {
		before, rest, has := strings.Cut(s, "${")
		if before != "" {
			parts = append(parts, part{before, false, at})
		}
		if !has {
			return parts, true
		}
		at += len(before)
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return append(parts, part{"${" + rest, false, at}), false
		}
		parts = append(parts, part{name, true, at})
		at += len(name) + len("${}")
		s = after
	}
}

// pattern reads text with variables of scope.
func (r *reader) pattern(n *yaml.Node, what string, scope []string) (Pattern, []part, bool) {
	s, ok := r.text(n, maxPattern, false)
	if !ok {
		return Pattern{}, nil, false
	}
	p := Pattern{Text: s, Pos: r.inside(n)}
	at := func(offset int) Pos { return Pos{p.Pos.File, p.Pos.Line, p.Pos.Column + len([]rune(s[:offset]))} }
	if s == "" {
		r.add(p.Pos, "write one, or take the line away", "the %s is empty", what)
		return p, nil, false
	}
	parts, closed := split(s)
	if !closed {
		r.add(at(parts[len(parts)-1].at), "end the variable with }", "the %s has ${ without }", what)
		return p, nil, false
	}
	for _, part := range parts {
		if !part.variable || slices.Contains(scope, part.text) && !strings.HasPrefix(part.text, labels) {
			continue
		}
		if name, is := strings.CutPrefix(part.text, labels); is && slices.Contains(scope, labels+"NAME") {
			if err := device.ValidateLabels(map[string]string{name: ""}); err == nil {
				continue
			}
			r.add(at(part.at), "a label is a letter a-z, then up to 62 of a-z 0-9 . _ -", "the variable `${%s}` names no label", clip(part.text))
		} else {
			r.add(at(part.at), variableFix(part.text, scope), "unknown variable `${%s}` here", clip(part.text))
		}
		ok = false
	}
	return p, parts, ok
}

func variableFix(name string, scope []string) string {
	known := make([]string, len(scope))
	for i, v := range scope {
		known[i] = "${" + v + "}"
	}
	if label, is := cutNearPrefix(name); is && slices.Contains(scope, labels+"NAME") {
		return "did you mean `${" + labels + clip(label) + "}`?"
	}
	return didYouMean("${"+name+"}", known)
}

// cutNearPrefix recognises a label behind a misspelt device.labels.
func cutNearPrefix(name string) (label string, ok bool) {
	first, rest, _ := strings.Cut(name, ".")
	second, label, _ := strings.Cut(rest, ".")
	near := label != "" && nearest(first+"."+second+".", []string{labels}) != ""
	return label, near
}

// filled is the pattern with x for each variable.
func filled(parts []part) string {
	var b strings.Builder
	for _, p := range parts {
		if p.variable {
			b.WriteByte('x')
		} else {
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// topic reads a topic pattern: a topic filter once its variables are filled in.
func (r *reader) topic(n *yaml.Node, scope []string) (Pattern, bool) {
	p, parts, ok := r.pattern(n, "topic", scope)
	if !ok {
		return p, false
	}
	text := filled(parts)
	if text == "$share" || strings.HasPrefix(text, "$share/") {
		r.add(p.Pos, "write the topics alone: a rule for them holds for shared subscriptions too, unless it says shared: false", "`%s` is a shared subscription, not a topic", clip(p.Text))
		return p, false
	}
	if err := mqtt.ValidFilter(text); err != nil {
		r.add(p.Pos, "+ stands for one level alone, # for the rest at the end, such as water/+/pump-1/#", "`%s` is no topic filter: %s", clip(p.Text), sentence(err))
		return p, false
	}
	return p, true
}

// sentence is an error of the codec without the number of the rule.
func sentence(err error) string {
	s, _, _ := strings.Cut(err.Error(), " [")
	return s
}

// commandTopic reads the topic of a command: ${device.id} is one whole level,
// every other variable too, and there is no wildcard.
func (r *reader) commandTopic(n *yaml.Node) (Pattern, bool) {
	p, ok := r.topic(n, actuator)
	if !ok {
		return p, false
	}
	if strings.ContainsAny(p.Text, "+#") {
		r.add(p.Pos, "write the whole topic, with variables where it differs between devices", "the command topic `%s` has a wildcard", clip(p.Text))
		return p, false
	}
	ids := 0
	for level := range strings.SplitSeq(p.Text, "/") {
		switch {
		case level == "${device.id}":
			ids++
		case strings.Contains(level, "${") && (!strings.HasPrefix(level, "${") || strings.IndexByte(level, '}') != len(level)-1):
			r.add(p.Pos, "put / around the variable", "the level `%s` of the command topic mixes a variable with text", clip(level))
			return p, false
		}
	}
	if ids != 1 {
		r.add(p.Pos, "write it with one, such as water/${device.zone}/${device.id}/cmd/dose", "the command topic has %d levels that are `${device.id}`, not one", ids)
		return p, false
	}
	return p, true
}

// deviceClientID reads a client id pattern of a device type. It begins with the
// device's id and a character that no id has, so that no device can take the
// client id of another.
func (r *reader) deviceClientID(n *yaml.Node) (Pattern, bool) {
	p, parts, ok := r.pattern(n, "client id", deviceVariables)
	if !ok {
		return p, false
	}
	if first := parts[0]; !first.variable || first.text != "device.id" && first.text != "gateway.id" {
		r.add(p.Pos, "begin with the id, such as ${device.id} or ${device.id}/*", "the client id `%s` may be that of another device", clip(p.Text))
		return p, false
	}
	if len(parts) > 1 && (parts[1].variable || mayBeID(parts[1].text[0])) {
		r.add(p.Pos, "put a character after the id that no id has, such as ${device.id}/*", "the client id `%s` may be that of another device", clip(p.Text))
		return p, false
	}
	return p, true
}

// mayBeID tells whether a character can be part of a device id, or * that stands for one.
func mayBeID(c byte) bool {
	return c == '*' || c == '-' || c == '_' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (r *reader) appClientID(n *yaml.Node) (Pattern, bool) {
	p, _, ok := r.pattern(n, "client id", appVariables)
	return p, ok
}

// patterns reads a list of patterns, none twice.
func (r *reader) patterns(n *yaml.Node, what string, each func(*yaml.Node) (Pattern, bool)) []Pattern {
	var out []Pattern
	r.texts(n, what, func(c *yaml.Node) (string, bool) {
		p, ok := each(c)
		if ok && !slices.ContainsFunc(out, func(q Pattern) bool { return q.Text == p.Text }) {
			out = append(out, p)
		}
		return p.Text, ok
	})
	return out
}
