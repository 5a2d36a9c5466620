package ui

import (
	"context"
	"io"
	"regexp"
	"strings"
)

// FormProps are a form that changes something. It is posted with htmx when
// scripts run and by the browser when not; either way the handler ends with
// Done, Result, Redirect or an error.
type FormProps struct {
	ID       string // letters, digits and hyphens; errors of fields are found by it
	Action   string // a path of the console
	Upload   bool   // has files
	Class    string
	Autosave bool // sent whenever a field changes
}

// FieldProps are one labelled control of a form.
type FieldProps struct {
	Form  string // the form's ID
	Name  string
	Label string
	Hint  string // below: what to write, in a sentence
	Error string // what was wrong
	Value string

	Type         string // text when empty; of <input>
	Placeholder  string // an example, never the label
	Autocomplete string // off when empty
	Required     bool
	Optional     bool // says so beside the label
	ReadOnly     bool
	Focus        bool   // has the focus when the page opens
	Mono         bool   // for machines
	Max          int    // bytes; 256 when 0
	Pattern      string // the browser asks for it
	Wrong        string // said when the pattern does not match
	InputMode    string
	Rows         int    // of a text area
	Min, Top     string // of a number or a date
	Accept       string // of a file
	Webauthn     bool   // offers passkeys where the browser can
}

// Option is a choice.
type Option struct {
	Value, Label string
	Hint         string // of radio cards
	Disabled     bool
}

func (f FieldProps) id() string {
	if f.Form == "" {
		return "f-" + f.Name
	}
	return f.Form + "-" + f.Name
}

func (f FieldProps) kind() string {
	if f.Type == "" {
		return "text"
	}
	return f.Type
}

func (f FieldProps) complete() string {
	c := f.Autocomplete
	if c == "" {
		c = "off"
	}
	if f.Webauthn {
		c += " webauthn"
	}
	return c
}

func (f FieldProps) max() int {
	if f.Max == 0 {
		return 256
	}
	return f.Max
}

func (f FieldProps) rows() int {
	if f.Rows == 0 {
		return 3
	}
	return f.Rows
}

// described are the ids of what belongs to the control.
func (f FieldProps) described() string {
	ids := f.id() + "-error"
	if f.Hint != "" {
		ids = f.id() + "-hint " + ids
	}
	return ids
}

// Kind is what a button is for.
type Kind string

// The kinds of buttons: one Primary on a page or dialog at most; Danger for what
// cannot be taken back or cuts something off; Quiet inside rows.
const (
	Plain   Kind = ""
	Primary Kind = "primary"
	Danger  Kind = "danger"
	Quiet   Kind = "quiet"
)

func (k Kind) class() string {
	if k == Plain {
		return "button"
	}
	return "button button-" + string(k)
}

// Confirm is a dialog before an action: it says what will happen and asks for
// what is needed. It is shown at once by Request.Dialog, or placed on a page and
// opened by OpenButton.
type Confirm struct {
	ID           string
	Title        string // the question: "Quarantine pump-7?"
	Action       string // the path it posts to
	Verb         string // of the button: "Quarantine"
	Kind         Kind   // Danger or Primary
	Text         string // a sentence
	Consequences []string
	Undo         string // how to take it back; empty: it says that nobody can, when Type is set
	Reason       bool   // asks why; the field is "reason"
	Type         string // has to be typed to confirm; check with Request.Typed
	Hidden       map[string]string
	Body         Node // more fields
	SecondPerson bool // says that a second person may be asked
	open, page   bool
}

// Render writes the dialog.
func (c Confirm) Render(ctx context.Context, w io.Writer) error {
	return confirmView(c).Render(ctx, w)
}

// Typed tells whether a Confirm with Type was filled in rightly.
func (r *Request) Typed(want string) bool { return want != "" && r.Form("confirm") == want }

// exactly is a pattern that matches s only. The v flag of browsers takes more
// characters as special than Go does.
func exactly(s string) string {
	s = regexp.QuoteMeta(s)
	return strings.NewReplacer("-", `\x2d`, "/", `\/`, "&", `\x26`, "!", `\x21`, "#", `\x23`, "%", `\x25`, ",", `\x2c`, ":", `\x3a`, ";", `\x3b`, "<", `\x3c`, "=", `\x3d`, ">", `\x3e`, "@", `\x40`, "`", `\x60`, "~", `\x7e`).Replace(s)
}
