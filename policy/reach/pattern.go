package reach

import (
	"strings"
	"unicode/utf8"
)

// The variables whose value differs between the members of a node. Labels are
// labelHole with the name of the label behind it.
const (
	idHole    = "id"   // of a device or gateway; no two have the same
	nameHole  = "name" // of a program that no document declares; no two have the same
	labelHole = "label "
)

// part is a piece of a level: a text, or a hole, which stands for one character
// or more.
type part struct{ text, hole string }

// level is one level of a topic pattern.
type level struct {
	any        bool   // +
	text       string // without holes: the level
	parts      []part // with holes: all of it
	head, tail string // with holes: the text before the first and after the last
	only       string // with one hole: its variable
}

// filter is a topic pattern with the values that all members of a node share.
type filter struct {
	levels []level
	open   bool // # follows
}

// facts give the value of a variable: known for all members of a node, or a hole.
// Neither means that patterns with it match nothing.
type facts func(variable string) (value, hole string)

// bind puts facts into a pattern. It gives no filter when the pattern matches
// nothing; labels are those that members need.
func bind(pattern string, of facts) (f filter, labels []string, ok bool) {
	i := -1
	for text := range strings.SplitSeq(pattern, "/") {
		i++
		if text == "#" {
			f.open = true
			return f, labels, true
		}
		l := level{any: text == "+"}
		if !l.any {
			for rest := text; rest != ""; {
				lit, after, found := strings.Cut(rest, "${")
				l.add(part{text: lit})
				if !found {
					break
				}
				name, tail, _ := strings.Cut(after, "}")
				value, hole := of(name)
				begins := i == 0 && len(l.parts) == 0
				if hole == "" && (!usable(value) || begins && value[0] == '$') {
					return filter{}, nil, false
				}
				if label, is := strings.CutPrefix(hole, labelHole); is {
					labels = append(labels, label)
				}
				l.add(part{text: value, hole: hole})
				rest = tail
			}
			l.close()
		}
		f.levels = append(f.levels, l)
	}
	return f, labels, true
}

// add appends a piece, and joins texts.
func (l *level) add(p part) {
	if n := len(l.parts); p.hole == "" && n > 0 && l.parts[n-1].hole == "" {
		l.parts[n-1].text += p.text
	} else if p.hole != "" || p.text != "" {
		l.parts = append(l.parts, p)
	}
}

// close fills in what follows from the parts.
func (l *level) close() {
	holes := 0
	for _, p := range l.parts {
		if p.hole != "" {
			holes, l.only = holes+1, p.hole
		}
	}
	if holes == 0 {
		if len(l.parts) > 0 {
			l.text, l.parts = l.parts[0].text, nil
		}
		return
	}
	if holes > 1 {
		l.only = ""
	}
	l.head, l.tail = l.parts[0].text, l.parts[len(l.parts)-1].text
}

// usable tells whether a value can stand in a topic, as the policy sees it.
func usable(v string) bool {
	return v != "" && utf8.ValidString(v) && !strings.ContainsFunc(v, func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r < 0xa0 || r == '/' || r == '+' || r == '#'
	})
}

// dollar tells whether what the level stands for begins with $. A hole at the
// beginning of a pattern never does: the policy refuses such values there.
func (l *level) dollar() bool {
	return strings.HasPrefix(l.text, "$") || strings.HasPrefix(l.head, "$")
}

// meets tells whether some text is both a and b; first is for the first level of
// a topic, where wildcards do not stand for $ (MQTT-4.7.2-1). It is exact but for
// variables that occur twice.
func meets(a, b *level, first bool) bool {
	switch {
	case a.any || b.any:
		return !first || !a.dollar() && !b.dollar()
	case a.parts == nil && b.parts == nil:
		return a.text == b.text
	case a.parts == nil:
		return b.fits(a.text, first)
	case b.parts == nil:
		return a.fits(b.text, first)
	}
	if first && a.dollar() != b.dollar() {
		return false
	}
	return (strings.HasPrefix(a.head, b.head) || strings.HasPrefix(b.head, a.head)) &&
		(strings.HasSuffix(a.tail, b.tail) || strings.HasSuffix(b.tail, a.tail))
}

// fits tells whether a level with holes can be a text: each hole takes a character
// or more, and the texts between are found from the left.
func (l *level) fits(text string, first bool) bool {
	if first && l.head == "" && strings.HasPrefix(text, "$") {
		return false
	}
	rest, ok := strings.CutPrefix(text, l.head)
	if !ok || !strings.HasSuffix(rest, l.tail) {
		return false
	}
	rest = rest[:len(rest)-len(l.tail)]
	hungry := false // a hole has taken nothing yet
	for i, p := range l.parts {
		switch {
		case p.hole != "":
			if hungry { // two holes side by side
				if rest == "" {
					return false
				}
				rest = rest[1:]
			}
			hungry = true
		case i > 0 && i < len(l.parts)-1:
			if rest == "" {
				return false
			}
			at := strings.Index(rest[1:], p.text)
			if at < 0 {
				return false
			}
			rest, hungry = rest[1+at+len(p.text):], false
		}
	}
	return !hungry || rest != ""
}

// overlap tells whether some topic is matched by both filters.
func overlap(a, b *filter) bool {
	n := min(len(a.levels), len(b.levels))
	for i := range n {
		if !meets(&a.levels[i], &b.levels[i], i == 0) {
			return false
		}
	}
	if n == 0 && (len(a.levels) > 0 && a.levels[0].dollar() || len(b.levels) > 0 && b.levels[0].dollar()) {
		return false // # alone against $…
	}
	return len(a.levels) == len(b.levels) || len(a.levels) == n && a.open || len(b.levels) == n && b.open
}

// common is the topics that two filters which overlap share: at each level what
// both say. A side that has ended, with #, says nothing.
type common struct {
	send, receive *filter
	n             int // levels
	open          bool
}

func shared(send, receive *filter) common {
	return common{send, receive, max(len(send.levels), len(receive.levels)), send.open && receive.open}
}

var whatever = level{any: true}

func (c *common) level(i int) (send, receive *level) {
	send, receive = &whatever, &whatever
	if i < len(c.send.levels) {
		send = &c.send.levels[i]
	}
	if i < len(c.receive.levels) {
		receive = &c.receive.levels[i]
	}
	return send, receive
}

// within tells whether every topic in common is matched by a third filter, whose
// holes are those of the receiver or of the sender.
func (c *common) within(f *filter, ofReceiver bool) bool {
	if first, second := c.level(0); (len(f.levels) == 0 || f.levels[0].any) && (first.dollar() || second.dollar()) {
		return false
	}
	for i := range f.levels {
		if i >= c.n {
			return false
		}
		want := &f.levels[i]
		s, r := c.level(i)
		own := s
		if ofReceiver {
			own = r
		}
		switch {
		case want.any:
		case want.parts == nil:
			if !s.is(want.text) && !r.is(want.text) {
				return false
			}
		case !same(want.parts, own.parts):
			return false
		}
	}
	return f.open || c.n == len(f.levels) && !c.open
}

func (l *level) is(text string) bool { return !l.any && l.parts == nil && l.text == text }

func same(a, b []part) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// needs is what the topics in common ask of the two members.
type needs struct {
	sender, receiver string // the id of a device or the name of an app; empty: any
	itself           bool   // both have the same id, so they are one
	never            bool   // a member would need two ids
}

func (c *common) needs() (n needs) {
	require := func(id *string, v string) {
		n.never = n.never || *id != "" && *id != v
		*id = v
	}
	for i := range min(len(c.send.levels), len(c.receive.levels)) {
		s, r := &c.send.levels[i], &c.receive.levels[i]
		switch {
		case s.only == idHole && r.only == idHole, s.only == nameHole && r.only == nameHole:
			n.itself = n.itself || s.head == r.head && s.tail == r.tail
		case (s.only == idHole || s.only == nameHole) && r.parts == nil && !r.any:
			require(&n.sender, r.text[len(s.head):len(r.text)-len(s.tail)])
		case (r.only == idHole || r.only == nameHole) && s.parts == nil && !s.any:
			require(&n.receiver, s.text[len(r.head):len(s.text)-len(r.tail)])
		}
	}
	return n
}

// String writes the topics for people: at each level the side that says more.
func (c *common) String() string {
	var b strings.Builder
	for i := range c.n {
		if i > 0 {
			b.WriteByte('/')
		}
		s, r := c.level(i)
		switch {
		case !s.any && s.parts == nil:
			b.WriteString(s.text)
		case !r.any && r.parts == nil:
			b.WriteString(r.text)
		case !r.any:
			r.write(&b, "receiver ")
		case !s.any:
			s.write(&b, "sender ")
		default:
			b.WriteByte('+')
		}
	}
	if c.open {
		if c.n > 0 {
			b.WriteByte('/')
		}
		b.WriteByte('#')
	}
	return b.String()
}

func (l *level) write(b *strings.Builder, whose string) {
	for _, p := range l.parts {
		if p.hole == "" {
			b.WriteString(p.text)
		} else {
			b.WriteString("{" + whose + p.hole + "}")
		}
	}
}
