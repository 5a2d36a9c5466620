package adminapi

import (
	"fmt"
	"io"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
)

// Duration is a length of time that JSON writes as Go does: "2160h0m0s". It
// reads every form time.ParseDuration does, "90m" or "2160h".
type Duration time.Duration

// String is the text of time.Duration.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes the form of time.Duration.String.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration accepts.
func (d *Duration) UnmarshalText(b []byte) error {
	if len(b) > 64 {
		return fmt.Errorf("reading a duration: it has %d bytes and 64 are allowed", len(b))
	}
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("reading a duration: %v", err)
	}
	*d = Duration(v)
	return nil
}

// Schema describes a Duration in OpenAPI: a string.
func (Duration) Schema(huma.Registry) *huma.Schema {
	limit := 64
	return &huma.Schema{Type: huma.TypeString, MaxLength: &limit, Examples: []any{"2160h"}, Description: "a length of time as Go writes it: 90m, 24h, 2160h"}
}

// Bearer is an API token's text. It cannot be printed, marshalled or compared
// with ==; only the Client sends it.
type Bearer struct{ text []byte }

// NewBearer wraps the text of an API token.
func NewBearer(text string) Bearer { return Bearer{[]byte(text)} }

// Empty tells whether there is no token at all.
func (b Bearer) Empty() bool { return len(b.text) == 0 }

func (Bearer) String() string               { return "[secret]" }
func (Bearer) GoString() string             { return "[secret]" }
func (Bearer) Format(f fmt.State, _ rune)   { io.WriteString(f, "[secret]") }
func (Bearer) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Type is a device type as JSON shows it: device.Type with durations as text.
type Type struct {
	Name         device.TypeName `json:"name"`
	Description  string          `json:"description,omitempty"`
	Profile      string          `json:"profile" enum:"device,gateway" doc:"certificate profile of its devices"`
	KeyAlgorithm string          `json:"key_algorithm" enum:"P-256,P-384,Ed25519"`
	Stage        device.Stage    `json:"stage" enum:"prototype,develop,deploy,operate,decommission"`
	Validity     Duration        `json:"validity" doc:"of a device certificate"`
	Grace        Duration        `json:"grace" doc:"after expiry, in which renewal is still accepted"`
	Approval     device.Approval `json:"approval" enum:"auto,manual" doc:"of a first enrolment"`
	Anonymous    bool            `json:"anonymous" doc:"may ask for approval without any credential"`
	ServerKeyGen bool            `json:"server_keygen" doc:"may have its key made by the server"`
	CreatedAt    time.Time       `json:"created_at"`
	UpdatedAt    time.Time       `json:"updated_at"`
	Version      int64           `json:"version" doc:"grows with each change; an update names the version it was made from"`
}

// Noun is the inventory's form of the type.
func (t Type) Noun() device.Type {
	return device.Type{Name: t.Name, Description: t.Description, Profile: t.Profile, KeyAlgorithm: t.KeyAlgorithm, Stage: t.Stage,
		Validity: time.Duration(t.Validity), Grace: time.Duration(t.Grace), Approval: t.Approval, Anonymous: t.Anonymous,
		ServerKeyGen: t.ServerKeyGen, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt, Version: t.Version}
}

func viewType(t device.Type) Type {
	return Type{Name: t.Name, Description: t.Description, Profile: t.Profile, KeyAlgorithm: t.KeyAlgorithm, Stage: t.Stage,
		Validity: Duration(t.Validity), Grace: Duration(t.Grace), Approval: t.Approval, Anonymous: t.Anonymous,
		ServerKeyGen: t.ServerKeyGen, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt, Version: t.Version}
}

// TypeDetails is a type with its sign-offs.
type TypeDetails struct {
	Type
	SignOffs []device.SignOff `json:"sign_offs"`
}

// TypeInput is what may be said of a type when it is created (empty fields take
// the defaults) or updated (all fields are written as given). The stage is
// moved by MoveType only.
type TypeInput struct {
	Description  string          `json:"description,omitempty"`
	Profile      string          `json:"profile,omitempty" doc:"device (default) or gateway"`
	KeyAlgorithm string          `json:"key_algorithm,omitempty" doc:"P-256 (default), P-384 or Ed25519"`
	Validity     Duration        `json:"validity,omitempty" doc:"of a device certificate, 10s to 87840h; default 2160h"`
	Grace        Duration        `json:"grace,omitempty" doc:"after expiry, in which renewal is still accepted, 0 to 8784h; default 0"`
	Approval     device.Approval `json:"approval,omitempty" doc:"of a first enrolment: auto (default) or manual"`
	Anonymous    bool            `json:"anonymous,omitempty" doc:"may ask for approval without any credential; needs manual approval"`
	ServerKeyGen bool            `json:"server_keygen,omitempty" doc:"may have its key made by the server"`
}

// ZoneInput is what may be said of a zone.
type ZoneInput struct {
	Description   string `json:"description,omitempty"`
	Production    bool   `json:"production,omitempty" doc:"refuses devices of types before the stage deploy"`
	SecurityLevel int    `json:"security_level,omitempty" doc:"target security level SL-T, 0 to 4 (IEC 62443-3-3)"`
}

// DeviceInput is what may be said of a device when it is created or updated.
type DeviceInput struct {
	Type         device.TypeName   `json:"type"`
	Zone         device.ZoneName   `json:"zone"`
	Owner        string            `json:"owner,omitempty" doc:"person or team answerable for it"`
	Serial       string            `json:"serial,omitempty" doc:"the manufacturer's serial number; binds an IDevID"`
	Manufacturer string            `json:"manufacturer,omitempty"`
	Notes        string            `json:"notes,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
}

// DeviceList is one page of devices.
type DeviceList struct {
	Items []device.Device `json:"items"`
	Next  device.ID       `json:"next,omitempty" doc:"give it as after to read on; absent on the last page"`
}

// TokenInput asks for an enrolment token.
type TokenInput struct {
	Kind      enroll.TokenKind  `json:"kind,omitempty" doc:"one-time (default) or group"`
	Type      device.TypeName   `json:"type"`
	Zone      device.ZoneName   `json:"zone"`
	DeviceID  device.ID         `json:"device_id,omitempty" doc:"only this device; one-time tokens only"`
	IDPrefix  string            `json:"id_prefix,omitempty" doc:"only ids that start so"`
	Labels    map[string]string `json:"labels,omitempty"`
	Approval  device.Approval   `json:"approval,omitempty"`
	Quota     int               `json:"quota,omitempty" doc:"devices it enrols, 1 to 1000000; default 1"`
	ValidFor  Duration          `json:"valid_for,omitempty" doc:"default 24h, at most 8784h; or give expires_at"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"`
	Note      string            `json:"note,omitempty"`
}

// CertificateList is one page of certificates, newest first.
type CertificateList struct {
	Items []Certificate `json:"items"`
	Next  string        `json:"next,omitempty" doc:"give it as after to read on; absent on the last page"`
}

// CertificateInput asks for an app or server certificate.
type CertificateInput struct {
	Profile  string   `json:"profile" doc:"app or server"`
	ID       string   `json:"id"`
	CSR      string   `json:"csr" doc:"PKCS #10 as PEM"`
	DNSNames []string `json:"dns_names,omitempty"`
	IPs      []string `json:"ips,omitempty"`
	Validity Duration `json:"validity,omitempty" doc:"default: the profile's"`
}

// IssuedCertificate is a new certificate with the certificates above it.
type IssuedCertificate struct {
	Certificate Certificate `json:"certificate"`
	Chain       []string    `json:"chain" doc:"PEM, issuing CA first"`
}

// Event is one thing that happened, as the log's leaf names its fields.
type Event struct {
	ID      string            `json:"id"`
	Time    time.Time         `json:"time"`
	Node    string            `json:"node" doc:"the server that decided"`
	Actor   EventActor        `json:"actor"`
	Action  string            `json:"action" doc:"noun.verb"`
	Subject EventSubject      `json:"subject"`
	Outcome string            `json:"outcome" enum:"success,refused,failed"`
	Reason  string            `json:"reason"`
	Request string            `json:"request" doc:"the request it belongs to"`
	Details map[string]string `json:"details"`
}

// EventActor is who acted.
type EventActor struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Source string `json:"source" doc:"IP address, empty when there was none"`
}

// EventSubject is what was acted on.
type EventSubject struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

// Entry is an event with its place in the log.
type Entry struct {
	Index int64 `json:"index"`
	Event Event `json:"event"`
}

// EntryList is one page of the log, newest first.
type EntryList struct {
	Items []Entry `json:"items"`
	Next  int64   `json:"next,omitempty" doc:"give it as before to read on; absent on the last page"`
}

// Checkpoint is the log's newest signed state (C2SP tlog-checkpoint).
type Checkpoint struct {
	Checkpoint  string `json:"checkpoint" doc:"the signed note"`
	VerifierKey string `json:"verifier_key" doc:"the log's public key (C2SP signed-note)"`
}

func viewEntry(e AuditEntry) Entry {
	v := e.Event
	return Entry{Index: e.Index, Event: Event{ID: v.ID, Time: v.Time, Node: v.Node,
		Actor:  EventActor{Kind: v.Actor.Kind, ID: v.Actor.ID, Source: v.Actor.Source},
		Action: v.Action, Subject: EventSubject{Kind: v.Subject.Kind, ID: v.Subject.ID},
		Outcome: string(v.Outcome), Reason: v.Reason, Request: v.Request, Details: v.Details}}
}
