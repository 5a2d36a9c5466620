// Package enroll decides how a thing with no identity gets one: it joins the
// inventory's rules with those of certificates.
//
// It promises that Decide grants only what the credential, the type, the zone
// and the device's state together allow, and that a token's secret is never
// kept: only its hash is. It trusts the facts it is given to be read in one
// moment; the store re-checks quota, state and key ownership when it commits,
// so that two requests racing with one token cannot both win.
package enroll

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
)

// TokenKind says how often a token may be used.
type TokenKind string

const (
	OneTime TokenKind = "one-time" // enrols one device
	Group   TokenKind = "group"    // enrols up to Quota devices
)

// Token is a permission to enrol, as stored: without its secret.
type Token struct {
	ID        string            `json:"id"`
	Hash      [32]byte          `json:"-"` // SHA-256 of the secret part
	Kind      TokenKind         `json:"kind"`
	Type      device.TypeName   `json:"type"`
	Zone      device.ZoneName   `json:"zone"`
	DeviceID  device.ID         `json:"device_id,omitempty"` // only this device, when set
	IDPrefix  string            `json:"id_prefix,omitempty"` // only ids that start so
	Labels    map[string]string `json:"labels,omitempty"`    // given to devices the token creates
	Approval  device.Approval   `json:"approval,omitempty"`  // stricter of this and the type's
	Quota     int               `json:"quota"`
	Used      int               `json:"used"`
	ExpiresAt time.Time         `json:"expires_at"`
	CreatedAt time.Time         `json:"created_at"`
	CreatedBy string            `json:"created_by"`
	Note      string            `json:"note,omitempty"`
	RevokedAt time.Time         `json:"revoked_at,omitzero"`
}

// Limits on tokens.
const (
	MaxQuota    = 1_000_000
	MaxTokenTTL = 366 * 24 * time.Hour
)

// Secret is a token's text as the device presents it. It cannot be printed,
// marshalled or compared with ==; Reveal is the one way to the text.
type Secret struct{ text []byte }

// NewSecret wraps text from a request or a generator.
func NewSecret(text string) Secret { return Secret{[]byte(text)} }

// Reveal returns the text, to be shown once to the operator who made it.
func (s Secret) Reveal() string { return string(s.text) }

// Empty tells whether there is no secret at all.
func (s Secret) Empty() bool { return len(s.text) == 0 }

func (Secret) String() string               { return "[secret]" }
func (Secret) GoString() string             { return "[secret]" }
func (Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, "[secret]") }
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// secretPrefix lets scanners find a token that leaked into a repository.
const secretPrefix = "hfe"

var code = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// NewToken makes a token's id and secret from 10 and 25 random bytes and fills
// them into t. The secret is "hfe_ID_SECRET".
func NewToken(random io.Reader, t Token) (Token, Secret, error) {
	var raw [35]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return t, Secret{}, fmt.Errorf("making a token: %w", err)
	}
	t.ID = code.EncodeToString(raw[:10])
	secret := code.EncodeToString(raw[10:])
	t.Hash = sha256.Sum256([]byte(secret))
	return t, NewSecret(secretPrefix + "_" + t.ID + "_" + secret), nil
}

// SplitSecret reads the token id out of a presented secret; ok is false when it
// has not the form of an enrolment token.
func SplitSecret(s Secret) (id string, hash [32]byte, ok bool) {
	if len(s.text) > 128 {
		return "", hash, false
	}
	parts := strings.Split(string(s.text), "_")
	if len(parts) != 3 || parts[0] != secretPrefix || len(parts[1]) != 16 || len(parts[2]) != 40 {
		return "", hash, false
	}
	return parts[1], sha256.Sum256([]byte(parts[2])), true
}

// Matches compares hashes in constant time.
func (t *Token) Matches(hash [32]byte) bool {
	return subtle.ConstantTimeCompare(t.Hash[:], hash[:]) == 1
}

// Validate checks a token that is to be created at now.
func (t *Token) Validate(now time.Time) error {
	bad := func(code, fix, detail string, args ...any) error {
		return refusal.New(refusal.Invalid, code, fix, detail, args...)
	}
	if err := t.Type.Validate(); err != nil {
		return err
	}
	if err := t.Zone.Validate(); err != nil {
		return err
	}
	switch {
	case t.Kind != OneTime && t.Kind != Group:
		return bad("bad-token-kind", "use one-time or group", "%q is not a token kind", t.Kind)
	case t.Kind == OneTime && t.Quota != 1:
		return bad("bad-quota", "use a group token for more than one device", "a one-time token has a quota of 1, not %d", t.Quota)
	case t.Quota < 1 || t.Quota > MaxQuota:
		return bad("bad-quota", fmt.Sprintf("use 1 to %d", MaxQuota), "the quota %d is out of range", t.Quota)
	case !t.ExpiresAt.After(now):
		return bad("bad-expiry", "choose a time to come", "the token would already be expired")
	case t.ExpiresAt.Sub(now) > MaxTokenTTL:
		return bad("bad-expiry", "use at most 8784h", "the token would live longer than a year")
	case t.Kind == Group && t.DeviceID != "":
		return bad("bad-token", "use a one-time token for one device, or an id prefix", "a group token cannot be bound to one device")
	case t.Approval != "" && t.Approval != device.Auto && t.Approval != device.Manual:
		return bad("bad-approval", "use auto or manual", "%q is not an approval mode", t.Approval)
	case len(t.Note) > device.MaxNotes || len(t.IDPrefix) > 64:
		return bad("too-long", "shorten it", "the note or id prefix is too long")
	}
	if t.DeviceID != "" {
		if _, err := device.ParseID(string(t.DeviceID)); err != nil {
			return err
		}
	}
	return device.ValidateLabels(t.Labels)
}

// usable tells why a token cannot enrol another device at now, or nil.
func (t *Token) usable(now time.Time) error {
	no := func(code, fix, detail string) error { return refusal.New(refusal.Forbidden, code, fix, "%s", detail) }
	switch {
	case !t.RevokedAt.IsZero():
		return no("token-revoked", "ask the operator for a new one", "the enrolment token was revoked")
	case !now.Before(t.ExpiresAt):
		return no("token-expired", "ask the operator for a new one", "the enrolment token has expired")
	case t.Used >= t.Quota && t.Kind == OneTime:
		return no("token-used", "ask the operator for a new one", "the one-time enrolment token was already used")
	case t.Used >= t.Quota:
		return no("token-quota", "ask the operator for a new token or a larger quota", "the enrolment token's quota is used up")
	}
	return nil
}
