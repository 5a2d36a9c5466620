package access

import (
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/refusal"
)

// PersonID names a person for ever and says nothing about them: it is what the
// audit log keeps. "p" and 16 letters or digits.
type PersonID string

// PersonState is how an account stands.
type PersonState string

const (
	// PersonInvited accounts wait for their person to follow the one-time link.
	PersonInvited PersonState = "invited"
	// PersonActive accounts can sign in.
	PersonActive PersonState = "active"
	// PersonDisabled accounts cannot.
	PersonDisabled PersonState = "disabled"
	// PersonErased accounts have lost every personal field; the id stays.
	PersonErased PersonState = "erased"
)

// Person is an account of a human.
type Person struct {
	ID         PersonID    `json:"id"`
	Name       string      `json:"name" doc:"what they sign in with: lower case, often a mail address"`
	Display    string      `json:"display,omitempty" doc:"how they are shown"`
	Mail       string      `json:"mail,omitempty"`
	State      PersonState `json:"state" enum:"invited,active,disabled,erased"`
	Why        string      `json:"why,omitempty" doc:"why it is disabled"`
	Origin     string      `json:"origin" doc:"local, or the identity provider: oidc:NAME, saml:NAME, scim"`
	External   string      `json:"external,omitempty" doc:"their id there"`
	BreakGlass bool        `json:"break_glass,omitempty" doc:"for emergencies: each use raises an alarm"`
	CreatedAt  time.Time   `json:"created_at"`
	EnabledAt  time.Time   `json:"enabled_at,omitzero" doc:"when it last became active"`
	SignedInAt time.Time   `json:"signed_in_at,omitzero"`
	Version    int64       `json:"version" doc:"grows with each change; an update names the version it was made from"`
}

var personName = regexp.MustCompile(`^[a-z0-9][a-z0-9._@+-]{0,127}$`)

// PersonName brings a sign-in name into the one form that is stored: without
// space around it, in lower case.
func PersonName(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// Validate names the field at fault.
func (p Person) Validate() error {
	if !personName.MatchString(p.Name) {
		return refusal.New(refusal.Invalid, "bad-name", "use a mail address, or lower-case letters, digits and . _ @ + -, at most 128", "the name %.64q is not valid", p.Name)
	}
	if !shown(p.Display, 128) {
		return refusal.New(refusal.Invalid, "bad-display", "use at most 128 printable characters", "the display name is not valid")
	}
	if p.Mail != "" && (!shown(p.Mail, 254) || strings.Count(p.Mail, "@") != 1 || strings.ContainsAny(p.Mail, " <>\"(),;:\\")) {
		return refusal.New(refusal.Invalid, "bad-mail", "write it as name@example.com", "the mail address is not valid")
	}
	return nil
}

// Shown is how the person is called on pages: display name, else name.
func (p Person) Shown() string {
	if p.Display != "" {
		return p.Display
	}
	return p.Name
}

// shown tells whether s is printable text of at most limit bytes.
func shown(s string, limit int) bool {
	if len(s) > limit || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
