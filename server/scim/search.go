package scim

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
)

// matches multiplies a filter on users out into an "or" of "and"s. An empty list
// is a filter that nobody fits.
func matches(e *expr) ([]Match, error) {
	switch e.op {
	case "not":
		return nil, bad(invalidFilter, "users cannot be searched by what they are not: use eq, and, or")
	case "and", "or":
		left, err := matches(e.left)
		if err != nil {
			return nil, err
		}
		right, err := matches(e.right)
		if err != nil {
			return nil, err
		}
		list := append(left[:len(left):len(left)], right...)
		if e.op == "and" {
			list = both(left, right)
		}
		if len(list) > maxTerms {
			return nil, bad(invalidFilter, "the filter has more than %d alternatives", maxTerms)
		}
		return list, nil
	}
	return comparisonOf(e)
}

func both(left, right []Match) []Match {
	var list []Match
	for _, a := range left {
		for _, b := range right {
			if m, ok := a.and(b); ok {
				list = append(list, m)
			}
		}
	}
	return list
}

// and joins two matches; ok is false when nobody can fit both.
func (m Match) and(o Match) (Match, bool) {
	for _, p := range [][2]*string{{&m.ID, &o.ID}, {&m.UserName, &o.UserName}, {&m.ExternalID, &o.ExternalID}} {
		if *p[0] == "" {
			*p[0] = *p[1]
		} else if *p[1] != "" && *p[0] != *p[1] {
			return m, false
		}
	}
	switch {
	case m.Mail == "":
		m.Mail = o.Mail
	case o.Mail != "" && !strings.EqualFold(m.Mail, o.Mail):
		return m, false
	}
	switch {
	case m.Active == nil:
		m.Active = o.Active
	case o.Active != nil && *m.Active != *o.Active:
		return m, false
	}
	return m, true
}

// comparisonOf turns one comparison into a match. A value that no user can have
// is a match for nobody: it is not handed on.
func comparisonOf(e *expr) ([]Match, error) {
	name := e.attr.name
	if e.attr.sub != "" {
		name += "." + e.attr.sub
	}
	switch {
	case e.attr.foreign || e.attr.where != nil && !(name == "emails.value" && primaryMail(e.attr.where)):
		return nil, unsearchable(name)
	case e.op == "pr" && (name == "id" || name == "username" || name == "active"):
		return []Match{{}}, nil
	case name == "active" && (e.op == "eq" || e.op == "ne"):
		active, err := boolean(e.value)
		if err != nil {
			return nil, bad(invalidFilter, "active is true or false")
		}
		active = active == (e.op == "eq")
		return []Match{{Active: &active}}, nil
	case e.op != "eq":
		return nil, unsearchable(name)
	}
	text, isText := e.value.(string)
	if !isText && e.value != nil {
		return nil, bad(invalidFilter, "the value for %s is not text in double quotation marks", clip(name))
	}
	m, ok := Match{}, false
	switch name {
	case "id":
		m.ID, ok = text, validID(text)
	case "username":
		m.UserName = access.PersonName(text)
		ok = access.Person{Name: m.UserName}.Validate() == nil
	case "externalid":
		m.ExternalID, ok = text, text != "" && printable(text, 256)
	case "emails", "emails.value":
		m.Mail, ok = text, text != "" && printable(text, 254)
	default:
		return nil, unsearchable(name)
	}
	if !ok {
		return nil, nil
	}
	return []Match{m}, nil
}

// primaryMail tells whether [type eq "work"] or the like fits the one address
// that is kept.
func primaryMail(where *expr) bool {
	return where.holds(emailAs(email{kind: "work", primary: true}))
}

func unsearchable(name string) error {
	return bad(invalidFilter, "users can be searched by userName, externalId, id, active and emails with eq, and, or; not so by %s", clip(name))
}

// validID tells whether s has the form of an id.
func validID(s string) bool {
	for i := range len(s) {
		if !isWord(s[i]) || s[i] == '$' {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 64
}

// boolean reads true and false, also as the strings that Entra ID sends.
func boolean(v any) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		switch strings.ToLower(v) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	}
	return false, fmt.Errorf("reading true or false: it is neither")
}

// reader gives a resource's value for an attribute: string, bool, []string or
// nil; fold tells that upper and lower case are the same in it.
type reader func(a attr) (value any, fold bool)

// holds decides a filter for one resource.
func (e *expr) holds(get reader) bool {
	switch e.op {
	case "and":
		return e.left.holds(get) && e.right.holds(get)
	case "or":
		return e.left.holds(get) || e.right.holds(get)
	case "not":
		return !e.left.holds(get)
	}
	got, fold := get(e.attr)
	switch got := got.(type) {
	case bool:
		want, err := boolean(e.value)
		return e.op == "pr" || err == nil && (e.op == "eq" && got == want || e.op == "ne" && got != want)
	case string:
		return compareText(e.op, got, e.value, fold)
	case []string:
		for _, one := range got {
			if compareText(e.op, one, e.value, fold) {
				return true
			}
		}
	case nil:
		return e.op == "ne" && e.value != nil || e.op == "eq" && e.value == nil
	}
	return false
}

func compareText(op, got string, value any, fold bool) bool {
	want, ok := value.(string)
	if n, isNumber := value.(json.Number); isNumber {
		want, ok = n.String(), true
	}
	if fold {
		got, want = strings.ToLower(got), strings.ToLower(want)
	}
	switch op {
	case "pr":
		return got != ""
	case "ne":
		return !ok || got != want
	case "eq":
		return ok && got == want
	case "co":
		return ok && strings.Contains(got, want)
	case "sw":
		return ok && strings.HasPrefix(got, want)
	case "ew":
		return ok && strings.HasSuffix(got, want)
	}
	return false // an order is asked of nothing that is kept
}
