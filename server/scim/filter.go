package scim

import (
	"encoding/json"
	"strings"
)

// expr is a filter (RFC 7644 section 3.4.2.2): a comparison, or a connection of
// two. Names and operators are in lower case.
type expr struct {
	op          string // eq ne co sw ew pr gt ge lt le; and or not
	left, right *expr  // of and, or; not has left alone
	attr        attr
	value       any // string, bool, json.Number or nil
}

// attr names an attribute, or a part of one: emails[type eq "work"].value.
type attr struct {
	foreign bool // of another schema than the resource's own
	name    string
	where   *expr // which of several values
	sub     string
}

// lexer walks through a filter or a path.
type lexer struct {
	kind  string // of the fault
	rest  string
	terms int
	depth int
}

func (l *lexer) fault(detail string, args ...any) *fault { return bad(l.kind, detail, args...) }

// parseFilter reads a filter of at most maxFilter bytes and maxTerms comparisons.
func parseFilter(s string) (*expr, error) {
	l, err := newLexer(invalidFilter, s)
	if err != nil {
		return nil, err
	}
	e, err := l.or()
	if err == nil && l.rest != "" {
		err = l.fault("the filter goes on where it should end, at %s", clip(l.rest))
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

// parsePath reads the path of a PATCH operation (RFC 7644 section 3.5.2).
func parsePath(s string) (attr, error) {
	l, err := newLexer(invalidPath, s)
	if err != nil {
		return attr{}, err
	}
	a, err := l.attr()
	if err == nil && l.rest != "" {
		err = l.fault("the path goes on where it should end, at %s", clip(l.rest))
	}
	return a, err
}

func newLexer(kind, s string) (*lexer, error) {
	l := &lexer{kind: kind, rest: strings.Trim(s, " ")}
	if len(s) > maxFilter {
		return nil, l.fault("it is longer than %d bytes", maxFilter)
	}
	return l, nil
}

// take removes a symbol and the space after it.
func (l *lexer) take(symbol string) bool {
	rest, ok := strings.CutPrefix(l.rest, symbol)
	if ok {
		l.rest = strings.TrimLeft(rest, " ")
	}
	return ok
}

// word removes the letters, digits and signs that names and operators are of.
func (l *lexer) word(more string) string {
	n := 0
	for n < len(l.rest) && (isWord(l.rest[n]) || strings.IndexByte(more, l.rest[n]) >= 0) {
		n++
	}
	w := l.rest[:n]
	l.rest = l.rest[n:]
	return w
}

func isWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '$'
}

// keyword removes a whole word, in either case, and the space after it.
func (l *lexer) keyword(k string) bool {
	at := *l
	if !strings.EqualFold(l.word(""), k) {
		*l = at
		return false
	}
	l.take(" ")
	return true
}

func (l *lexer) or() (*expr, error)  { return l.chain("or", l.and) }
func (l *lexer) and() (*expr, error) { return l.chain("and", l.term) }

func (l *lexer) chain(op string, next func() (*expr, error)) (*expr, error) {
	e, err := next()
	for err == nil && l.keyword(op) {
		var right *expr
		right, err = next()
		e = &expr{op: op, left: e, right: right}
	}
	return e, err
}

func (l *lexer) term() (*expr, error) {
	not := false
	if at := *l; l.keyword("not") && strings.HasPrefix(l.rest, "(") {
		not = true
	} else {
		*l = at
	}
	if !l.take("(") {
		return l.comparison()
	}
	if l.depth++; l.depth > maxDepth {
		return nil, l.fault("it has brackets more than %d deep", maxDepth)
	}
	e, err := l.or()
	if err != nil {
		return nil, err
	}
	if !l.take(")") {
		return nil, l.fault("a closing bracket is missing at %s", clip(l.rest))
	}
	l.depth--
	if not {
		e = &expr{op: "not", left: e}
	}
	return e, nil
}

var comparisons = map[string]bool{"eq": true, "ne": true, "co": true, "sw": true, "ew": true, "gt": true, "ge": true, "lt": true, "le": true}

func (l *lexer) comparison() (*expr, error) {
	if l.terms++; l.terms > maxTerms {
		return nil, l.fault("it has more than %d comparisons", maxTerms)
	}
	a, err := l.attr()
	if err != nil {
		return nil, err
	}
	e := &expr{attr: a}
	l.take(" ")
	if a.where != nil && a.sub == "" && (l.rest == "" || l.rest[0] == ')' || l.rest[0] == ']' || l.next("and") || l.next("or")) {
		e.op = "pr" // emails[type eq "work"]: there is one
		return e, nil
	}
	switch e.op = strings.ToLower(l.word("")); {
	case e.op == "pr":
		l.take(" ")
		return e, nil
	case !comparisons[e.op]:
		return nil, l.fault("%s is no comparison: use eq", clip(e.op))
	}
	l.take(" ")
	if err := l.literal(e); err != nil {
		return nil, err
	}
	return e, nil
}

// next looks for a word without removing it.
func (l *lexer) next(k string) bool { at := *l; return at.keyword(k) }

// literal reads a string, number, true, false or null, in JSON's form.
func (l *lexer) literal(e *expr) error {
	n := 0
	if strings.HasPrefix(l.rest, `"`) {
		for n = 1; n < len(l.rest) && l.rest[n] != '"'; n++ {
			if l.rest[n] == '\\' {
				n++
			}
		}
		n = min(n+1, len(l.rest))
	} else {
		at := *l
		n = len(at.word("+."))
	}
	text := l.rest[:n]
	if low := strings.ToLower(text); low == "true" || low == "false" || low == "null" {
		text = low // Entra ID writes True
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&e.value); err != nil || d.InputOffset() != int64(len(text)) {
		return l.fault("%s is no value: write text in double quotation marks", clip(text))
	}
	l.rest = l.rest[n:]
	l.take(" ")
	return nil
}

// attr reads [URN:]name[filter].sub.
func (l *lexer) attr() (attr, error) {
	var a attr
	full := l.word(":.")
	if low := strings.ToLower(full); strings.HasPrefix(low, "urn:") {
		rest, own := cutSchema(low)
		if !own {
			// An attribute of an extension: nothing of it is kept, so what is inside
			// need not be understood, but has to end.
			a.foreign = true
			rest = "x"
		}
		full = rest
	}
	name, sub, dotted := strings.Cut(strings.ToLower(full), ".")
	a.name, a.sub = name, sub
	if strings.HasPrefix(l.rest, "[") && !dotted {
		if err := l.where(&a); err != nil {
			return attr{}, err
		}
	}
	if a.name == "" || !letter(a.name[0]) || dotted && a.sub == "" || strings.ContainsAny(a.sub+a.name, ".:") {
		return attr{}, l.fault("there is no attribute's name at %s", clip(full+l.rest))
	}
	return a, nil
}

func (l *lexer) where(a *attr) error {
	l.take("[")
	if l.depth++; l.depth > maxDepth {
		return l.fault("it has brackets more than %d deep", maxDepth)
	}
	e, err := l.or()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(l.rest, "]") {
		return l.fault("a closing bracket is missing at %s", clip(l.rest))
	}
	l.rest = l.rest[1:]
	l.depth--
	a.where = e
	if strings.HasPrefix(l.rest, ".") {
		l.rest = l.rest[1:]
		if a.sub = strings.ToLower(l.word("")); a.sub == "" {
			return l.fault("there is no attribute's name at %s", clip(l.rest))
		}
	}
	return nil
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' || c == '$' }

// cutSchema removes the URN of one of the two schemas that are kept; own is false
// for another's.
func cutSchema(low string) (rest string, own bool) {
	for _, urn := range []string{schemaUser, schemaGroup} {
		if rest, ok := strings.CutPrefix(low, strings.ToLower(urn)+":"); ok {
			return rest, true
		}
	}
	return low, false
}
