package policy

import (
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// scanner reads one JSON value (RFC 8259) and compares it with the fields of a
// rule on the way. It is stricter than the standard where two readers could see
// different values: names must not repeat in an object, numbers must be finite,
// surrogates must come in pairs, and nesting is at most maxDepth. It holds no copy
// of the payload. Used by one goroutine.
type scanner struct {
	rule    *payloadRule
	data    []byte // UTF-8
	pos     int
	names   [][]byte // names of the objects that are open
	scratch []byte   // the last text that had escapes
	seen    [maxFields]bool
	code    Code
	detail  string
}

// manyNames is where an object's names are kept in a map: comparing each with each
// would let a long payload cost its square.
const manyNames = 24

// maxExact is the greatest integer below which every integer is a float64 of its own.
const maxExact = 1 << 53

func (s *scanner) reset(r *payloadRule, data []byte) {
	if s.rule != nil {
		clear(s.seen[:len(s.rule.fields)])
	}
	clear(s.names[:cap(s.names)])
	s.rule, s.data, s.pos, s.names, s.code, s.detail = r, data, 0, s.names[:0], "", ""
	if cap(s.scratch) > 1<<16 {
		s.scratch = nil
	}
	if cap(s.names) > 1<<10 {
		s.names = nil
	}
}

// bad ends the scan: the payload is not JSON as described above.
func (s *scanner) bad(what string) bool {
	s.code, s.detail = Unreadable, "the payload is not JSON: "+what+" at byte "+strconv.Itoa(s.pos+1)
	return false
}

// refuse ends the scan: the payload is JSON but not as the rule says.
func (s *scanner) refuse(detail string) bool {
	s.code, s.detail = PayloadInvalid, detail
	return false
}

func (s *scanner) document() bool {
	if !s.value(s.rule.root, 0) {
		return false
	}
	s.space()
	if s.pos != len(s.data) {
		return s.bad("something follows the value")
	}
	return true
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek gives the next byte that is not white space, or 0.
func (s *scanner) peek() byte {
	s.space()
	if s.pos == len(s.data) {
		return 0
	}
	return s.data[s.pos]
}

// value reads a value at a place; n is nil where nothing is described.
func (s *scanner) value(n *node, depth int) bool {
	var f *fieldRule
	if n != nil && n.field >= 0 {
		f = &s.rule.fields[n.field]
		s.seen[n.field] = true
	}
	first := s.peek()
	if first != '{' && first != '[' && n != nil && len(n.children) > 0 && f == nil {
		return s.refuse(nameOf(n.path) + " is no object")
	}
	switch {
	case first == '{':
		return s.object(n, f, depth+1)
	case first == '[':
		return s.array(n, f, depth+1)
	case first == '"':
		return s.text(f)
	case first == '-' || first >= '0' && first <= '9':
		return s.number(f)
	}
	start := s.pos
	for _, word := range [...]string{"true", "false", "null"} {
		if len(s.data)-s.pos >= len(word) && string(s.data[s.pos:s.pos+len(word)]) == word {
			s.pos += len(word)
			if f != nil && (first == 'n' || f.typ != manifest.Boolean) {
				return s.mistyped(f, word)
			}
			return true
		}
	}
	s.pos = start
	if first == 0 && s.pos == len(s.data) {
		return s.bad("it ends where a value should be")
	}
	return s.bad("there is no value")
}

func (s *scanner) object(n *node, f *fieldRule, depth int) bool {
	if depth > maxDepth {
		return s.bad("it nests deeper than " + strconv.Itoa(maxDepth) + " levels")
	}
	if f != nil && f.typ != manifest.Object {
		return s.mistyped(f, "an object")
	}
	s.pos++
	base := len(s.names)
	var many map[string]struct{}
	for first := true; ; first = false {
		c := s.peek()
		if c == '}' && first {
			break
		}
		if c != '"' {
			return s.bad("there is no name of a member")
		}
		name, escaped, ok := s.str()
		if !ok {
			return false
		}
		if escaped {
			name = slices.Clone(name)
		}
		if many, ok = s.newName(base, name, many); !ok {
			return false
		}
		if s.peek() != ':' {
			return s.bad("there is no colon after a name")
		}
		s.pos++
		child, ok := s.member(n, name)
		if !ok || !s.value(child, depth) {
			return false
		}
		c = s.peek()
		if c == '}' {
			break
		}
		if c != ',' {
			return s.bad("there is no comma between members")
		}
		s.pos++
	}
	s.pos++
	s.names = s.names[:base]
	return true
}

// newName remembers a name of the innermost object, whose names begin at base.
func (s *scanner) newName(base int, name []byte, many map[string]struct{}) (map[string]struct{}, bool) {
	twice := false
	if many != nil {
		_, twice = many[string(name)]
		many[string(name)] = struct{}{}
	} else {
		for _, have := range s.names[base:] {
			twice = twice || string(have) == string(name)
		}
		s.names = append(s.names, name)
		if len(s.names)-base == manyNames {
			many = make(map[string]struct{}, 2*manyNames)
			for _, have := range s.names[base:] {
				many[string(have)] = struct{}{}
			}
		}
	}
	if twice {
		return many, s.bad("the name " + quote(string(name)) + " stands twice in an object, the second time")
	}
	return many, true
}

// member finds what is described about a member of an object. In a closed payload
// an object with described members has no others.
func (s *scanner) member(n *node, name []byte) (*node, bool) {
	if n == nil {
		return nil, true
	}
	child := n.children[string(name)]
	if child == nil && s.rule.closed && (len(n.children) > 0 || n.field < 0) {
		return nil, s.refuse(nameOf(n.path+"/"+escapeStep(string(name))) + " is not a field that is allowed")
	}
	return child, true
}

func (s *scanner) array(n *node, f *fieldRule, depth int) bool {
	if depth > maxDepth {
		return s.bad("it nests deeper than " + strconv.Itoa(maxDepth) + " levels")
	}
	if f != nil && f.typ != manifest.Array {
		return s.mistyped(f, "an array")
	}
	s.pos++
	count := 0
	for ; ; count++ {
		if s.peek() == ']' && count == 0 {
			break
		}
		var child *node
		if n != nil && (len(n.children) > 0 || n.field < 0) {
			var digits [20]byte
			var ok bool
			if child, ok = s.member(n, strconv.AppendInt(digits[:0], int64(count), 10)); !ok {
				return false
			}
		}
		if !s.value(child, depth) {
			return false
		}
		c := s.peek()
		if c == ']' {
			count++
			break
		}
		if c != ',' {
			return s.bad("there is no comma between elements")
		}
		s.pos++
	}
	s.pos++
	if f != nil {
		return s.bounds(f, float64(count), strconv.Itoa(count), " elements")
	}
	return true
}

func (s *scanner) text(f *fieldRule) bool {
	v, _, ok := s.str()
	if !ok || f == nil {
		return ok
	}
	if f.typ != manifest.String {
		return s.mistyped(f, quote(string(v)))
	}
	if n := float64(len(v)); n < f.min || n > f.max {
		return s.bounds(f, n, strconv.Itoa(len(v)), " bytes")
	}
	if len(f.oneOf) == 0 {
		return true
	}
	for _, want := range f.oneOf {
		if string(v) == want {
			return true
		}
	}
	return s.refuse(nameOf(f.path) + " is " + quote(string(v)) + ", not one of " + some(f.oneOf))
}

// str reads a string and gives its text, which is valid until the next string when
// it was escaped.
func (s *scanner) str() (text []byte, escaped, ok bool) {
	s.pos++
	start := s.pos
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; {
		case c == '"':
			text = s.data[start:s.pos]
			s.pos++
			return text, false, true
		case c == '\\':
			s.scratch = append(s.scratch[:0], s.data[start:s.pos]...)
			ok = s.unescape()
			return s.scratch, true, ok
		case c < 0x20:
			return nil, false, s.bad("there is a control character in a string")
		}
		s.pos++
	}
	return nil, false, s.bad("a string does not end")
}

// unescape reads on from the first escape of a string, into scratch.
func (s *scanner) unescape() bool {
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		switch {
		case c == '"':
			s.pos++
			return true
		case c < 0x20:
			return s.bad("there is a control character in a string")
		case c != '\\':
			s.scratch = append(s.scratch, c)
			s.pos++
			continue
		}
		if s.pos+1 == len(s.data) {
			return s.bad("a string does not end")
		}
		switch e := s.data[s.pos+1]; e {
		case '"', '\\', '/':
			s.scratch = append(s.scratch, e)
		case 'b':
			s.scratch = append(s.scratch, '\b')
		case 'f':
			s.scratch = append(s.scratch, '\f')
		case 'n':
			s.scratch = append(s.scratch, '\n')
		case 'r':
			s.scratch = append(s.scratch, '\r')
		case 't':
			s.scratch = append(s.scratch, '\t')
		case 'u':
			if !s.unicode() {
				return false
			}
			continue
		default:
			return s.bad("there is an unknown escape in a string")
		}
		s.pos += 2
	}
	return s.bad("a string does not end")
}

// unicode reads \uXXXX, or two of them that are one character.
func (s *scanner) unicode() bool {
	r := s.hex(s.pos)
	width := 6
	if utf16.IsSurrogate(r) {
		r = utf16.DecodeRune(r, s.hex(s.pos+6))
		width = 12
		if r == utf8.RuneError {
			return s.bad("there is half a surrogate pair")
		}
	}
	if r < 0 {
		return s.bad(`\u is not followed by four hexadecimal digits`)
	}
	s.scratch = utf8.AppendRune(s.scratch, r)
	s.pos += width
	return true
}

// hex reads \uXXXX at a position, or gives -1.
func (s *scanner) hex(at int) (r rune) {
	if len(s.data)-at < 6 || s.data[at] != '\\' || s.data[at+1] != 'u' {
		return -1
	}
	for _, c := range s.data[at+2 : at+6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return -1
		}
	}
	return r
}

func (s *scanner) number(f *fieldRule) bool {
	start := s.pos
	if s.data[s.pos] == '-' {
		s.pos++
	}
	leading := s.pos
	n := s.digits()
	if n == 0 || n > 1 && s.data[leading] == '0' {
		s.pos = start
		return s.bad("there is no number")
	}
	long := n > 300
	if s.pos < len(s.data) && s.data[s.pos] == '.' {
		s.pos++
		if s.digits() == 0 {
			return s.bad("a number has no digits after its point")
		}
	}
	if s.pos < len(s.data) && s.data[s.pos]|0x20 == 'e' {
		s.pos++
		if s.pos < len(s.data) && (s.data[s.pos] == '+' || s.data[s.pos] == '-') {
			s.pos++
		}
		if s.digits() == 0 {
			return s.bad("a number has no digits in its exponent")
		}
		long = true
	}
	if f == nil && !long {
		return true
	}
	text := s.data[start:s.pos]
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsInf(v, 0) {
		return s.bad("a number is too large")
	}
	switch {
	case f == nil:
		return true
	case f.typ == manifest.Integer && (v != math.Trunc(v) || math.Abs(v) > maxExact), f.typ != manifest.Integer && f.typ != manifest.Number:
		return s.mistyped(f, clip(string(text)))
	case v < f.min || v > f.max:
		return s.bounds(f, v, clip(string(text)), "")
	}
	return true
}

func (s *scanner) digits() (n int) {
	for s.pos < len(s.data) && s.data[s.pos] >= '0' && s.data[s.pos] <= '9' {
		s.pos++
		n++
	}
	return n
}
