package audit

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of an event, in bytes. A value over its limit is refused by [Encode], never shortened in silence: use [Text]
// on what a device or a person sent.
const (
	MaxLeaf        = 16 << 10 // the whole encoded event
	maxID          = 64
	MaxNode        = 255
	maxKind        = 32
	MaxActorID     = 512
	MaxSubjectID   = 512
	maxAction      = 64
	MaxReason      = 1024
	MaxRequest     = 128
	MaxDetails     = 64 // entries
	MaxDetailKey   = 32
	MaxDetailValue = 4096
)

// Outcome says how the action ended.
type Outcome string

// The outcomes: success is done, refused is a rule or a permission saying no, failed is something going wrong.
const (
	Success Outcome = "success"
	Refused Outcome = "refused"
	Failed  Outcome = "failed"
)

// Actor is who acted.
type Actor struct {
	Kind   string // system, token, user, device, …: [a-z_]{1,32}
	ID     string // 1 to 512 bytes
	Source string // the IP address the request came from, or "" when there was none
}

// Subject is what was acted on. Both fields may be empty when an action has no single subject.
type Subject struct {
	Kind string // device, certificate, zone, …: [a-z_]{0,32}
	ID   string // up to 512 bytes
}

// Event is one thing that happened. Text fields are valid UTF-8 without control, line-separating or
// direction-changing characters, so that no event can forge another line of a log or hide its end from a reader.
type Event struct {
	ID      string            // unique, given by the writer: 1 to 64 visible ASCII characters
	Time    time.Time         // when it was decided; kept in UTC to the microsecond; years 1970 to 9999
	Node    string            // the server that decided, up to 255 bytes
	Actor   Actor             //
	Action  string            // noun.verb: ^[a-z_]+(\.[a-z_]+)+$, up to 64 bytes
	Subject Subject           //
	Outcome Outcome           //
	Reason  string            // why it was refused or failed, up to 1024 bytes
	Request string            // the request it belongs to, up to 128 bytes
	Details map[string]string // up to 64 facts; keys [A-Za-z0-9_.-]{1,32}, values up to 4096 bytes; no secrets
}

// ErrEvent is wrapped by every error of [Encode] and [Decode].
var ErrEvent = errors.New("the event does not have the form of an audit event")

func badEvent(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrEvent)
}

// Encode returns the leaf of an event: JSON with fixed field order, sorted details, no insignificant space and no
// escapes but \" and \\. Equal events have equal leaves. The error wraps [ErrEvent] and names the field at fault.
func Encode(e Event) ([]byte, error) {
	if err := check(&e); err != nil {
		return nil, fmt.Errorf("encoding an event: %w", err)
	}
	// Most leaves fit here and are copied once to their exact length, which costs less than measuring first.
	var stack [1024]byte
	b := appendEvent(stack[:0], &e)
	if len(b) > MaxLeaf {
		return nil, fmt.Errorf("encoding an event: %w", badEvent("it takes %d bytes, more than %d", len(b), MaxLeaf))
	}
	return bytes.Clone(b), nil
}

func appendEvent(b []byte, e *Event) []byte {
	b = appendString(append(b, `{"id":`...), e.ID)
	b = appendTime(append(b, `,"time":"`...), e.Time)
	b = appendString(append(b, `","node":`...), e.Node)
	b = appendString(append(b, `,"actor":{"kind":`...), e.Actor.Kind)
	b = appendString(append(b, `,"id":`...), e.Actor.ID)
	b = appendString(append(b, `,"source":`...), e.Actor.Source)
	b = appendString(append(b, `},"action":`...), e.Action)
	b = appendString(append(b, `,"subject":{"kind":`...), e.Subject.Kind)
	b = appendString(append(b, `,"id":`...), e.Subject.ID)
	b = appendString(append(b, `},"outcome":`...), string(e.Outcome))
	b = appendString(append(b, `,"reason":`...), e.Reason)
	b = appendString(append(b, `,"request":`...), e.Request)
	b = append(b, `,"details":{`...)
	for i, k := range detailKeys(e.Details, make([]string, 0, 16)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, k), ':')
		b = appendString(b, e.Details[k])
	}
	return append(b, "}}"...)
}

// detailKeys returns the keys in order, in buf's array when they fit: most events have few, and they stay on the stack.
func detailKeys(details map[string]string, buf []string) []string {
	for k := range details {
		buf = append(buf, k)
	}
	slices.Sort(buf)
	return buf
}

// appendString quotes s, which has no control characters and is valid UTF-8.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == '"' || c == '\\' {
			b = append(append(b, s[from:i]...), '\\', c)
			from = i + 1
		}
	}
	return append(append(b, s[from:]...), '"')
}

// appendTime writes RFC 3339 in UTC with exactly six digits of the second.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	y, mo, d := t.Date()
	h, mi, s := t.Clock()
	us := t.Nanosecond() / 1000
	return append(b,
		byte('0'+y/1000), byte('0'+y/100%10), byte('0'+y/10%10), byte('0'+y%10), '-',
		byte('0'+mo/10), byte('0'+mo%10), '-', byte('0'+d/10), byte('0'+d%10), 'T',
		byte('0'+h/10), byte('0'+h%10), ':', byte('0'+mi/10), byte('0'+mi%10), ':', byte('0'+s/10), byte('0'+s%10), '.',
		byte('0'+us/100000), byte('0'+us/10000%10), byte('0'+us/1000%10), byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10), 'Z')
}

func check(e *Event) error {
	if y := e.Time.UTC().Year(); y < 1970 || y > 9999 {
		return badEvent("the time is in the year %d, outside 1970 to 9999", y)
	}
	switch {
	case !visible(e.ID, 1, maxID):
		return badEvent("the id is not 1 to %d visible ASCII characters", maxID)
	case !word(e.Actor.Kind, 1):
		return badEvent("the actor kind is not [a-z_]{1,%d}", maxKind)
	case !word(e.Subject.Kind, 0):
		return badEvent("the subject kind is not [a-z_]{0,%d}", maxKind)
	case !action(e.Action):
		return badEvent("the action is not noun.verb of [a-z_] in at most %d bytes", maxAction)
	case e.Outcome != Success && e.Outcome != Refused && e.Outcome != Failed:
		return badEvent("the outcome is not success, refused or failed")
	case len(e.Details) > MaxDetails:
		return badEvent("it has %d details, more than %d", len(e.Details), MaxDetails)
	}
	if e.Actor.Source != "" {
		if _, err := netip.ParseAddr(e.Actor.Source); err != nil || !visible(e.Actor.Source, 1, 64) {
			return badEvent("the actor source is not an IP address")
		}
	}
	if e.Actor.ID == "" {
		return badEvent("the actor id is empty")
	}
	if err := checkText("node", e.Node, MaxNode); err != nil {
		return err
	}
	if err := checkText("actor id", e.Actor.ID, MaxActorID); err != nil {
		return err
	}
	if err := checkText("subject id", e.Subject.ID, MaxSubjectID); err != nil {
		return err
	}
	if err := checkText("reason", e.Reason, MaxReason); err != nil {
		return err
	}
	if err := checkText("request", e.Request, MaxRequest); err != nil {
		return err
	}
	for k, v := range e.Details {
		if !detailKey(k) {
			return badEvent("a detail's key is not [A-Za-z0-9_.-]{1,%d}", MaxDetailKey)
		}
		if err := checkText(k, v, MaxDetailValue); err != nil {
			return err
		}
	}
	return nil
}

func checkText(field, s string, limit int) error {
	if len(s) > limit {
		return badEvent("the %s takes %d bytes, more than %d", field, len(s), limit)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c > 0x7e {
			return checkUnicode(field, s[i:])
		}
	}
	return nil
}

func checkUnicode(field, s string) error {
	if !utf8.ValidString(s) {
		return badEvent("the %s is not valid UTF-8", field)
	}
	if strings.ContainsFunc(s, unprintable) {
		return badEvent("the %s holds a control, line-separating or direction-changing character", field)
	}
	return nil
}

// unprintable reports the C0 and C1 controls, the line and paragraph separators, and the marks that change the
// direction of text: with any of them an entry can look like another one on a terminal or in a log file.
func unprintable(r rune) bool {
	return r < 0x20 || r >= 0x7f && r <= 0x9f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 ||
		r == 0x200e || r == 0x200f || r == 0x61c
}

// Text makes any string fit for a field of an event: what may not stand in an event becomes U+FFFD and the
// rest after limit bytes is cut at a character's edge.
func Text(s string, limit int) string {
	// A replacement can make the text grow threefold, so cut before and after: the first bounds the work.
	if len(s) > limit+utf8.UTFMax {
		s = s[:limit+utf8.UTFMax]
	}
	s = strings.Map(func(r rune) rune {
		if unprintable(r) {
			return utf8.RuneError
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

func visible(s string, low, high int) bool {
	if len(s) < low || len(s) > high {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func word(s string, low int) bool {
	if len(s) < low || len(s) > maxKind {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c != '_' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

func action(s string) bool {
	if len(s) > maxAction {
		return false
	}
	dots, run := 0, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.' && run > 0:
			dots, run = dots+1, 0
		case c == '_' || c >= 'a' && c <= 'z':
			run++
		default:
			return false
		}
	}
	return dots > 0 && run > 0
}

func detailKey(s string) bool {
	if len(s) == 0 || len(s) > MaxDetailKey {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}
