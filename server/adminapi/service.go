// Package adminapi is what operators and their automation speak: JSON over HTTPS,
// described by OpenAPI 3.1, with problem documents (RFC 9457) for errors.
//
// It promises that every operation names who acts, that bodies and lists are
// bounded, and that no inner error text leaves the server. It decides nothing:
// it turns requests into calls of the interfaces below and values into JSON. It
// trusts the Authenticator for who calls; whoever could bypass that would be an
// administrator.
package adminapi

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
)

// Config is everything the API needs. All fields but Source are required.
type Config struct {
	Authenticate Authenticator
	Types        Types
	Zones        Zones
	Devices      Devices
	Enrolment    Enrolment
	Certificates Certificates
	Authority    Authority
	Audit        Audit
	Policies     Policies
	Apps         Apps
	Sessions     Sessions
	Tap          Tap
	Roles        Roles
	Clients      Clients
	People       People
	Account      Account
	Watch        Watch
	Status       func(ctx context.Context) (Status, error)
	// Source tells where a request came from; nil takes the address of the
	// connection. It must not believe a header that clients may set.
	Source func(*http.Request) netip.Addr
	// OnError is told of each error that became a 500, with the request id that
	// the caller was given.
	OnError func(requestID string, err error)
	Version string
	// Now is the clock; nil is the system's.
	Now func() time.Time
	// StepUp is how long a person's factor counts as fresh.
	StepUp time.Duration
	// Used is told of each permission that was used; nil: nobody is.
	Used func(access.Identity, access.Permission)
	// Limit takes one request from the allowance of who calls; nil: there is none.
	Limit func(access.Identity) Allowance
	// Approvals asks second people; nil: none is ever needed.
	Approvals Approvals
}

// Authenticator proves who calls. token is the bearer token as presented,
// source the caller's IP address. It returns a refusal of kind
// Unauthenticated when the token is not valid, or TooMany when the source has
// tried too often. Safe for concurrent use.
type Authenticator interface {
	Authenticate(ctx context.Context, token, source string) (access.Identity, error)
}

// Types manages device types. Errors are refusals (see package refusal) or
// storage faults. An update names the version it was made from; a version that
// is not the present one is refused with Conflict "changed-meanwhile".
type Types interface {
	CreateType(ctx context.Context, by access.Actor, t device.Type) (device.Type, error)
	Type(ctx context.Context, name device.TypeName) (device.Type, []device.SignOff, error)
	Types(ctx context.Context) ([]device.Type, error)
	UpdateType(ctx context.Context, by access.Actor, t device.Type) (device.Type, error) // all but name and stage
	MoveType(ctx context.Context, by access.Actor, name device.TypeName, to device.Stage, reason string) (device.Type, error)
	SignOff(ctx context.Context, by access.Actor, s device.SignOff) (device.SignOff, error)
}

// Zones manages zones.
type Zones interface {
	CreateZone(ctx context.Context, by access.Actor, z device.Zone) (device.Zone, error)
	Zone(ctx context.Context, name device.ZoneName) (device.Zone, error)
	Zones(ctx context.Context) ([]device.Zone, error)
	UpdateZone(ctx context.Context, by access.Actor, z device.Zone) (device.Zone, error)
}

// Devices manages the inventory. ImportDevices writes all rows in one
// transaction or none; rows that cannot be written come back as *ImportError.
// progress is called with rows done and may be nil. Devices does a bounded amount
// of work: a page of rare devices may be shorter than its limit, even empty, and
// have a next one; the last has none.
type Devices interface {
	CreateDevice(ctx context.Context, by access.Actor, d device.Device) (device.Device, error)
	Device(ctx context.Context, id device.ID) (device.Device, error)
	Devices(ctx context.Context, f device.Filter, p device.Page) (list []device.Device, next device.ID, err error)
	UpdateDevice(ctx context.Context, by access.Actor, d device.Device) (device.Device, error) // type, zone, owner, labels, serial, manufacturer, notes
	ChangeDevice(ctx context.Context, by access.Actor, id device.ID, m DeviceMove, reason string) (device.Device, error)
	SetMaintenance(ctx context.Context, by access.Actor, id device.ID, on bool, reason string) (device.Device, error)
	ImportDevices(ctx context.Context, by access.Actor, rows []ImportRow, progress func(done int)) error
}

// DeviceMove is one of the moves an operator may order: device.Quarantine,
// device.Release, device.Revoke or device.Retire. Anything else is refused.
type DeviceMove = device.Move

// ImportRow is a device to be created, with the line of the file it came from.
type ImportRow struct {
	Line   int
	Device device.Device
}

// ImportError lists the rows that stopped an import: nothing was written.
type ImportError struct{ Rows []RowError }

// RowError is one bad row or field. Line counts from 1, the header included; 0 is
// the whole file, or no file at all.
type RowError struct {
	Line  int    `json:"line,omitzero"`
	Field string `json:"field,omitempty"`
	Error string `json:"error"`
}

// Enrolment manages tokens, manufacturer anchors and the waiting room.
type Enrolment interface {
	CreateToken(ctx context.Context, by access.Actor, t enroll.Token) (enroll.Token, enroll.Secret, error)
	Tokens(ctx context.Context) ([]enroll.Token, error)
	RevokeToken(ctx context.Context, by access.Actor, id string) error
	AddAnchor(ctx context.Context, by access.Actor, t device.TypeName, pem []byte) ([]Anchor, error)
	Anchors(ctx context.Context, t device.TypeName) ([]Anchor, error)
	RemoveAnchor(ctx context.Context, by access.Actor, t device.TypeName, id string) error
	Waiting(ctx context.Context) ([]enroll.Waiting, error)
	DecideWaiting(ctx context.Context, by access.Actor, id string, approve bool, reason string) (enroll.Waiting, error)
}

// Anchor is a manufacturer's CA certificate that IDevIDs of a type chain to.
type Anchor struct {
	ID       string          `json:"id" doc:"SHA-256 of the certificate, hex"`
	Type     device.TypeName `json:"type"`
	Subject  string          `json:"subject"`
	NotAfter time.Time       `json:"not_after"`
	AddedAt  time.Time       `json:"added_at"`
}

// Certificate is a certificate's record.
type Certificate struct {
	Serial     string    `json:"serial" doc:"hex, 32 digits"`
	Profile    string    `json:"profile" enum:"device,gateway,app,server"`
	Principal  string    `json:"principal" doc:"device id, app name or server name"`
	SPIFFEID   string    `json:"spiffe_id"`
	KeyID      string    `json:"key_id" doc:"SHA-256 of the public key, hex"`
	Issuer     string    `json:"issuer" doc:"id of the issuing CA"`
	Status     string    `json:"status" enum:"reserved,issued,held,revoked,abandoned"`
	Reason     string    `json:"reason,omitempty" doc:"why revoked (RFC 5280 section 5.3.1)"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
	Credential string    `json:"credential,omitempty" doc:"what the request was authenticated by"`
	PEM        string    `json:"pem,omitempty"`
}

// CertificateFilter selects certificates, newest first.
type CertificateFilter struct {
	Principal, Profile, Status, KeyID string
	ExpiresBefore                     time.Time
	After                             string // serial of the last one seen
	Limit                             int    // 1 to 1000
}

// IssueRequest asks for an app or server certificate by an operator.
type IssueRequest struct {
	Profile  string // app or server
	ID       string
	CSR      []byte // DER or PEM
	DNSNames []string
	IPs      []string
	Validity time.Duration // 0: the profile's default
}

// Certificates manages certificates one by one.
type Certificates interface {
	Certificate(ctx context.Context, serial string) (Certificate, error)
	Certificates(ctx context.Context, f CertificateFilter) ([]Certificate, error)
	RevokeCertificate(ctx context.Context, by access.Actor, serial, reason string) (Certificate, error)
	IssueCertificate(ctx context.Context, by access.Actor, r IssueRequest) (Certificate, []string, error) // and the chain as PEM
}

// CA is a certificate authority of ours.
type CA struct {
	ID        string    `json:"id"`
	Role      string    `json:"role" enum:"root,issuing"`
	Status    string    `json:"status" enum:"active,retiring,expired"`
	Subject   string    `json:"subject"`
	Key       string    `json:"key" doc:"where the private key is"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	CRLURL    string    `json:"crl_url,omitempty"`
	PEM       string    `json:"pem"`
}

// Authority manages the CA hierarchy. The root key never reaches the server:
// BeginRotation makes an issuing key and returns its request, an operator signs
// it with the root key elsewhere, FinishRotation takes the certificate.
type Authority interface {
	CAs(ctx context.Context) ([]CA, error)
	BeginRotation(ctx context.Context, by access.Actor, algorithm string) (csrPEM string, err error)
	FinishRotation(ctx context.Context, by access.Actor, certificatePEM string) (CA, error)
	Bundle(ctx context.Context) (pem string, err error) // root and issuing certificates
}

// AuditEntry is a sequenced event.
type AuditEntry struct {
	Index int64       `json:"index"`
	Event audit.Event `json:"event"`
}

// AuditFilter selects entries, newest first.
type AuditFilter struct {
	Actor, Action, Subject string // exact; Action may end in ".*"
	Since, Until           time.Time
	Before                 int64 // index, exclusive; 0: from the newest
	Limit                  int   // 1 to 1000
}

// Audit reads the transparency log.
type Audit interface {
	Entries(ctx context.Context, f AuditFilter) ([]AuditEntry, error)
	Proof(ctx context.Context, index int64) (audit.Proof, error)
	Checkpoint(ctx context.Context) (signed []byte, verifierKey string, err error)
	Tile(ctx context.Context, path string) (data []byte, immutable bool, err error) // C2SP tlog-tiles
	Export(ctx context.Context, w io.Writer, format string) error                   // "log" (offline verification) or "ocsf"
	AuditState(ctx context.Context) (AuditState, error)
}

// Status is what `holdfast status` shows.
type Status struct {
	Version     string            `json:"version"`
	Node        string            `json:"node"`
	Started     time.Time         `json:"started"`
	Database    string            `json:"database" enum:"sqlite,postgres"`
	Messaging   string            `json:"messaging" enum:"embedded,cluster"`
	TrustDomain string            `json:"trust_domain"`
	Endpoints   map[string]string `json:"endpoints"`
	Devices     map[string]int64  `json:"devices" doc:"number by state"`
	AuditSize   int64             `json:"audit_size"`
	Policy      int64             `json:"policy" doc:"the active version; 0: none was applied, and nothing is allowed"`
	Warnings    []string          `json:"warnings"`
}
