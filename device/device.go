// Package device is the inventory's noun: what a device, its type and its zone
// are, which states they move through, and which moves are legal.
//
// It promises that a value that passed Validate is well formed and that Next,
// CanPlace and CanMoveStage are the only judges of a transition. It trusts
// nothing from outside: every name is checked. Whoever could write rows behind
// its back could place an untested type in production or revive a retired
// device, so the store changes states only to what these functions returned.
package device

import (
	"sort"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/refusal"
)

// ID names a device for its whole life: 1 to 64 characters of A-Z a-z 0-9 . _ -
// (a SPIFFE path segment), not "." or ".." and not a word of the API's paths.
type ID string

// ParseID checks the characters and length of a device id.
func ParseID(s string) (ID, error) {
	if err := checkName("device id", s, 64); err != nil {
		return "", err
	}
	if s == "export" || s == "import" {
		return "", refusal.New(refusal.Invalid, "bad-name", "choose another", "the device id cannot be %q: the API uses that word", s)
	}
	return ID(s), nil
}

// Device is one row of the inventory.
type Device struct {
	ID           ID                `json:"id"`
	Type         TypeName          `json:"type"`
	Zone         ZoneName          `json:"zone"`
	Owner        string            `json:"owner,omitempty"`        // person or team answerable for it
	Serial       string            `json:"serial,omitempty"`       // the manufacturer's serial number; binds an IDevID
	Manufacturer string            `json:"manufacturer,omitempty"` // the manufacturer's name
	Notes        string            `json:"notes,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	State        State             `json:"state"`
	Maintenance  bool              `json:"maintenance,omitempty"` // somebody works on it: no command may reach it
	CreatedAt    time.Time         `json:"created_at"`
	UpdatedAt    time.Time         `json:"updated_at"`
	EnrolledAt   time.Time         `json:"enrolled_at,omitzero"` // last certificate issued
	SeenAt       time.Time         `json:"seen_at,omitzero"`     // first contact with its present certificate
	Version      int64             `json:"version"`              // grows with each change; for compare-and-set
}

// Bounds on the free fields of a device, in bytes.
const (
	MaxOwner = 128
	MaxField = 128
	MaxNotes = 2048
	MaxLabel = 128
	MaxTags  = 32
)

// Validate checks every field of a device against its bounds.
func (d *Device) Validate() error {
	if _, err := ParseID(string(d.ID)); err != nil {
		return err
	}
	if err := d.Type.Validate(); err != nil {
		return err
	}
	if err := d.Zone.Validate(); err != nil {
		return err
	}
	for _, f := range []struct {
		name, value string
		max         int
	}{{"owner", d.Owner, MaxOwner}, {"serial", d.Serial, MaxField}, {"manufacturer", d.Manufacturer, MaxField}, {"notes", d.Notes, MaxNotes}} {
		if err := checkText(f.name, f.value, f.max); err != nil {
			return err
		}
	}
	return ValidateLabels(d.Labels)
}

// ValidateLabels checks keys ([a-z][a-z0-9._-]{0,62}), values (at most MaxLabel
// bytes) and the number of labels (at most MaxTags).
func ValidateLabels(labels map[string]string) error {
	if len(labels) > MaxTags {
		return refusal.New(refusal.Invalid, "too-many-labels", "remove some labels", "there are %d labels and %d are allowed", len(labels), MaxTags)
	}
	for k, v := range labels {
		if !isLabelKey(k) {
			return refusal.New(refusal.Invalid, "bad-label", "use a letter a-z, then up to 62 of a-z 0-9 . _ -", "the label key %q is not valid", clip(k))
		}
		if err := checkText("label "+k, v, MaxLabel); err != nil {
			return err
		}
	}
	return nil
}

// ParseLabels reads "k=v;k=v" (semicolons or commas between pairs).
func ParseLabels(s string) (map[string]string, error) {
	labels := map[string]string{}
	for pair := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ';' || r == ',' }) {
		k, v, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok {
			return nil, refusal.New(refusal.Invalid, "bad-label", "write key=value pairs with ; between them", "the label %q has no =", clip(pair))
		}
		if _, twice := labels[k]; twice {
			return nil, refusal.New(refusal.Invalid, "bad-label", "name each key once", "the label key %q stands twice", clip(k))
		}
		labels[k] = v
	}
	if len(labels) == 0 {
		return nil, nil
	}
	return labels, ValidateLabels(labels)
}

// FormatLabels is the inverse of ParseLabels, sorted by key.
func FormatLabels(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for k, v := range labels {
		pairs = append(pairs, k+"="+v)
	}
	sort.Strings(pairs)
	return strings.Join(pairs, ";")
}

func isLabelKey(k string) bool {
	if k == "" || len(k) > 63 || k[0] < 'a' || k[0] > 'z' {
		return false
	}
	for i := range len(k) {
		c := k[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// checkName accepts 1 to limit characters of a SPIFFE path segment.
func checkName(what, s string, limit int) error {
	if s == "" {
		return refusal.New(refusal.Invalid, "bad-name", "give one", "the %s is empty", what)
	}
	if len(s) > limit {
		return refusal.New(refusal.Invalid, "bad-name", "shorten it", "the %s has %d characters and %d are allowed", what, len(s), limit)
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return refusal.New(refusal.Invalid, "bad-name", "use only A-Z a-z 0-9 . _ -", "the %s %q has a character that is not allowed", what, clip(s))
		}
	}
	if s == "." || s == ".." {
		return refusal.New(refusal.Invalid, "bad-name", "choose another", "the %s cannot be %q", what, s)
	}
	return nil
}

// checkText accepts UTF-8 without control characters (tab and newline are fine).
func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return refusal.New(refusal.Invalid, "too-long", "shorten it", "%s has %d bytes and %d are allowed", what, len(s), limit)
	}
	if !utf8.ValidString(s) {
		return refusal.New(refusal.Invalid, "bad-text", "save the text as UTF-8", "%s is not valid UTF-8", what)
	}
	for _, r := range s {
		if r < 0x20 && r != '\t' && r != '\n' || r >= 0x7f && r < 0xa0 {
			return refusal.New(refusal.Invalid, "bad-text", "remove it", "%s holds the control character U+%04X", what, r)
		}
	}
	return nil
}

// clip keeps a quoted piece of foreign text short enough for an error message.
func clip(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "?") + "…"
	}
	return s
}
