package ui

import (
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/a-h/templ"
)

// Node is anything that can be shown.
type Node = templ.Component

// Plain answers with a page without navigation, for who is not signed in wholly.
func (r *Request) Plain(status int, title string, body Node) error {
	r.takeFlash()
	return r.write(status, plain(r, title, body))
}

// ends is when the sign-in ends, for the script that warns before.
func (r *Request) ends() string {
	if r.Session.Ends.IsZero() {
		return ""
	}
	return r.Session.Ends.UTC().Format(time.RFC3339)
}

func otherTheme(t Theme) Theme {
	if t == Dark {
		return Light
	}
	return Dark
}

// initials are one or two letters of a name.
func initials(name string) string {
	var out []rune
	for _, word := range strings.FieldsFunc(name, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) }) {
		c, _ := utf8.DecodeRuneInString(word)
		if out = append(out, unicode.ToUpper(c)); len(out) == 2 {
			break
		}
	}
	if len(out) == 0 {
		return "?"
	}
	return string(out)
}

// ThemeCookie holds the theme. Scripts may write it: it decides nothing but
// colours.
const ThemeCookie = "__Host-holdfast-theme"

// ThemeOf reads the theme that a request asks for.
func ThemeOf(r *http.Request) Theme {
	c, err := r.Cookie(ThemeCookie)
	if err != nil {
		return Auto
	}
	switch t := Theme(c.Value); t {
	case Light, Dark:
		return t
	}
	return Auto
}
