// Package sentences says in words what the events of the audit log mean, with links
// to who and what they are about.
//
// It promises that every action that is written has words, that what an event holds
// is text whatever it contains, and that a link is made here and never read from an
// event. It trusts the API for the names of people: who may not see them is shown
// ids. Who can write events can make a sentence say something untrue, not something
// that leads elsewhere.
package sentences

import (
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// sort is what a piece of a sentence is.
type sort string

const (
	plain  sort = "plain"
	party  sort = "party" // who acted or is meant, with a link
	value  sort = "value" // a detail
	moment sort = "moment"
	quote  sort = "quote" // what somebody wrote
)

// Piece is a part of a sentence. Only href leads anywhere, and it is made here.
type Piece struct {
	sort sort
	text string
	hint string
	href string
	at   time.Time
}

// Sentence says what an event means.
type Sentence []Piece

// Known tells whether an action has words of its own.
func Known(action string) bool { return table[action] != "" }

// Of puts an event into words. An action that has none is shown by its
// fields.
func (n *Names) Of(e adminapi.Event) Sentence {
	text, ok := table[e.Action]
	if !ok {
		text = "{actor}: " + Words(e.Action)
		if e.Subject.ID != "" {
			text += " of {subject}"
		}
	}
	var s Sentence
	for text != "" {
		open := strings.IndexByte(text, '[')
		if open < 0 {
			s = append(s, n.fill(text, e, nil)...)
			break
		}
		end := open + strings.IndexByte(text[open:], ']')
		s = append(s, n.fill(text[:open], e, nil)...)
		missing := false
		if part := n.fill(text[open+1:end], e, &missing); !missing {
			s = append(s, part...)
		}
		text = text[end+1:]
	}
	return upper(append(s, because(e)...))
}

// because is the reason: of a refusal as the server wrote it, of an action as
// somebody typed it.
func because(e adminapi.Event) Sentence {
	typed := firstOf(e.Details["reason"], e.Details["comment"])
	switch {
	case e.Reason != "" && e.Outcome == "failed":
		return Sentence{{sort: plain, text: " – it failed: " + e.Reason}}
	case e.Reason != "":
		return Sentence{{sort: plain, text: " because " + e.Reason}}
	case typed != "":
		return Sentence{{sort: plain, text: " because "}, {sort: quote, text: typed}}
	}
	return nil
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// fill replaces the names in { } of a text. missing, if not nil, is told when a
// detail is not there.
func (n *Names) fill(text string, e adminapi.Event, missing *bool) (s Sentence) {
	for text != "" {
		before, rest, found := strings.Cut(text, "{")
		if before != "" {
			s = append(s, Piece{sort: plain, text: before})
		}
		if !found {
			break
		}
		name, after, _ := strings.Cut(rest, "}")
		s = append(s, n.piece(name, e, missing))
		text = after
	}
	return s
}

func (n *Names) piece(name string, e adminapi.Event, missing *bool) Piece {
	switch name {
	case "actor":
		return n.Party(e.Actor.Kind, e.Actor.ID)
	case "subject":
		return n.Party(e.Subject.Kind, e.Subject.ID)
	case "their":
		if e.Actor.Kind == e.Subject.Kind && e.Actor.ID == e.Subject.ID {
			return Piece{sort: plain, text: "their own"}
		}
		p := n.Party(e.Subject.Kind, e.Subject.ID)
		p.text += "’s"
		return p
	}
	key, form, _ := strings.Cut(name, ":")
	v := e.Details[key]
	if v == "" {
		if missing != nil {
			*missing = true
		}
		return Piece{sort: value, text: "–"}
	}
	switch form {
	case "person":
		kind, id, _ := strings.Cut(v, ":")
		return n.Party(kind, id)
	case "time":
		if at, err := time.Parse(time.RFC3339, v); err == nil {
			return Piece{sort: moment, text: v, at: at}
		}
	}
	switch key {
	case "operation":
		v = Words(v)
	case "methods", "method", "factor":
		v = factorWords(v)
	}
	return Piece{sort: value, text: v}
}

// factorWords names what people sign in with.
func factorWords(v string) string {
	list := strings.Split(v, ",")
	for i, m := range list {
		switch m {
		case "totp":
			list[i] = "authenticator app"
		case "recovery":
			list[i] = "recovery code"
		case "invite":
			list[i] = "invitation"
		default:
			list[i] = Words(m)
		}
	}
	return strings.Join(list, " and ")
}

// Words makes words of a name for machines.
func Words(s string) string {
	return strings.NewReplacer(".", " ", "_", " ", "-", " ").Replace(s)
}

func upper(s Sentence) Sentence {
	if len(s) > 0 && s[0].sort == plain {
		c, n := utf8.DecodeRuneInString(s[0].text)
		s[0].text = string(unicode.ToUpper(c)) + s[0].text[n:]
	}
	if len(s) > 0 && s[0].text == "somebody unknown" {
		s[0].text = "Somebody unknown"
	}
	return s
}

// Text is the sentence without anything but words.
func (s Sentence) Text() string {
	var b strings.Builder
	for _, p := range s {
		switch {
		case p.sort == quote:
			b.WriteString("“" + p.text + "”")
		case p.sort == moment:
			b.WriteString(p.at.UTC().Format("2006-01-02 15:04 UTC"))
		default:
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// Party is who acted or what was acted on, with the page about it.
func (n *Names) Party(kind, id string) Piece {
	p := Piece{sort: party, text: id}
	switch kind {
	case "":
		p.text = "somebody unknown"
		if id != "" {
			p.text = id
		}
	case string(access.Anonymous):
		p.text, p.hint = "somebody unknown", "Who asked presented nothing that proves who they are."
	case string(access.System):
		p.text, p.hint = "Holdfast", "A part of Holdfast: "+id
	case string(access.Human):
		p.text, p.hint = n.person(id)
		p.href = at("/access/people/", id)
	case string(access.Client):
		p.text, p.hint = n.client(id)
	case string(access.Device):
		p.href = at("/devices/", id)
	case "zone":
		p.href = at("/zones/", id)
	case "policy":
		p.href = at("/policy/versions/", id)
	case "type":
		p.href = at("/device-types/", id)
	case "approval":
		p.href = at("/access/approvals/", id)
	case "session":
		p.href = at("/messages/sessions/", id)
	case "ca":
		p.text, p.hint = shortened(id), id
	}
	if p.text == "" {
		p.text = "somebody unknown"
	}
	return p
}

// at is a path with an id in it, which may hold anything.
func at(prefix, id string) string { return prefix + url.PathEscape(id) }

func shortened(id string) string {
	if len(id) > 20 {
		return id[:12] + "…"
	}
	return id
}

// Icon is the icon of an action's group.
func Icon(action string) string {
	noun, _, _ := strings.Cut(action, ".")
	for _, n := range Groups {
		if n.Noun == noun {
			return n.Icon
		}
	}
	return "audit"
}

// Verbs are the known actions of a noun, in order.
func Verbs(noun string) (list []string) {
	for action := range table {
		if strings.HasPrefix(action, noun+".") {
			list = append(list, action)
		}
	}
	slices.Sort(list)
	return list
}
