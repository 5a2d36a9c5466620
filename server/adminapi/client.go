package adminapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
)

// Client calls the API: one method for each operation. An answer that is not a
// success comes back as *Problem, in which the server says what is wrong and
// what to do; other errors mean that the server could not be reached or did not
// speak this protocol. Safe for concurrent use.
type Client struct {
	BaseURL string       // "https://host:port", without /api/v1
	Token   Bearer       // sent with every call
	HTTP    *http.Client // nil: http.DefaultClient
	reason  string       // sent with every request when not empty
}

// list is the form of every list in JSON.
type list[T any] struct {
	Items []T `json:"items"`
}

// reasoned is the body of operations that take a reason.
type reasoned struct {
	Reason string `json:"reason"`
}

// Status tells how the server is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "status", nil, nil)
}

// Types lists all device types by name.
func (c *Client) Types(ctx context.Context) ([]Type, error) {
	l, err := call[list[Type]](ctx, c, http.MethodGet, "types", nil, nil)
	return l.Items, err
}

// CreateType creates a device type; empty fields take their defaults. stage is
// prototype (also when empty) or develop.
func (c *Client) CreateType(ctx context.Context, name device.TypeName, stage device.Stage, in TypeInput) (Type, error) {
	return call[Type](ctx, c, http.MethodPost, "types", nil, typeCreate{Name: name, Stage: stage, TypeInput: in})
}

// Type shows a device type and its sign-offs.
func (c *Client) Type(ctx context.Context, name device.TypeName) (TypeDetails, error) {
	return call[TypeDetails](ctx, c, http.MethodGet, join("types", string(name)), nil, nil)
}

// UpdateType writes every field of in; version is the one they were read with.
func (c *Client) UpdateType(ctx context.Context, name device.TypeName, version int64, in TypeInput) (Type, error) {
	return call[Type](ctx, c, http.MethodPut, join("types", string(name)), nil, typeUpdate{Version: version, TypeInput: in})
}

// MoveType moves a type to another product stage.
func (c *Client) MoveType(ctx context.Context, name device.TypeName, to device.Stage, reason string) (Type, error) {
	return call[Type](ctx, c, http.MethodPost, join("types", string(name), "stage"), nil, stageMove{Stage: to, Reason: reason})
}

// SignOff records that a type may enter a stage (deploy or operate).
func (c *Client) SignOff(ctx context.Context, name device.TypeName, stage device.Stage, statement, evidence string) (device.SignOff, error) {
	return call[device.SignOff](ctx, c, http.MethodPost, join("types", string(name), "sign-offs"), nil,
		signOffInput{Stage: stage, Statement: statement, Evidence: evidence})
}

// Anchors lists the manufacturer CA certificates of a type.
func (c *Client) Anchors(ctx context.Context, name device.TypeName) ([]Anchor, error) {
	l, err := call[list[Anchor]](ctx, c, http.MethodGet, join("types", string(name), "anchors"), nil, nil)
	return l.Items, err
}

// AddAnchors adds the certificates of a PEM file, at most 256 KiB.
func (c *Client) AddAnchors(ctx context.Context, name device.TypeName, pem []byte) ([]Anchor, error) {
	l, err := callRaw[list[Anchor]](ctx, c, http.MethodPost, join("types", string(name), "anchors"), typePEM, pem)
	return l.Items, err
}

// RemoveAnchor removes a manufacturer CA certificate from a type.
func (c *Client) RemoveAnchor(ctx context.Context, name device.TypeName, id string) error {
	_, err := call[empty](ctx, c, http.MethodDelete, join("types", string(name), "anchors", id), nil, nil)
	return err
}

// Zones lists all zones by name.
func (c *Client) Zones(ctx context.Context) ([]device.Zone, error) {
	l, err := call[list[device.Zone]](ctx, c, http.MethodGet, "zones", nil, nil)
	return l.Items, err
}

// CreateZone creates a zone.
func (c *Client) CreateZone(ctx context.Context, name device.ZoneName, in ZoneInput) (device.Zone, error) {
	return call[device.Zone](ctx, c, http.MethodPost, "zones", nil, zoneCreate{Name: name, ZoneInput: in})
}

// Zone shows a zone.
func (c *Client) Zone(ctx context.Context, name device.ZoneName) (device.Zone, error) {
	return call[device.Zone](ctx, c, http.MethodGet, join("zones", string(name)), nil, nil)
}

// UpdateZone writes every field of in; version is the one they were read with.
func (c *Client) UpdateZone(ctx context.Context, name device.ZoneName, version int64, in ZoneInput) (device.Zone, error) {
	return call[device.Zone](ctx, c, http.MethodPut, join("zones", string(name)), nil, zoneUpdate{Version: version, ZoneInput: in})
}

// Devices lists one page of the devices that f selects, by id. A page without
// a limit has 100 devices.
func (c *Client) Devices(ctx context.Context, f device.Filter, p device.Page) (DeviceList, error) {
	q := filterQuery(f)
	set(q, "after", string(p.After))
	setInt(q, "limit", int64(p.Limit))
	return call[DeviceList](ctx, c, http.MethodGet, "devices", q, nil)
}

// CreateDevice registers a device.
func (c *Client) CreateDevice(ctx context.Context, id device.ID, in DeviceInput) (device.Device, error) {
	return call[device.Device](ctx, c, http.MethodPost, "devices", nil, deviceCreate{ID: id, DeviceInput: in})
}

// Device shows a device.
func (c *Client) Device(ctx context.Context, id device.ID) (device.Device, error) {
	return call[device.Device](ctx, c, http.MethodGet, join("devices", string(id)), nil, nil)
}

// UpdateDevice writes every field of in; version is the one they were read with.
func (c *Client) UpdateDevice(ctx context.Context, id device.ID, version int64, in DeviceInput) (device.Device, error) {
	return call[device.Device](ctx, c, http.MethodPut, join("devices", string(id)), nil, deviceUpdate{Version: version, DeviceInput: in})
}

// ChangeDevice quarantines, releases, revokes or retires a device.
func (c *Client) ChangeDevice(ctx context.Context, id device.ID, m DeviceMove, reason string) (device.Device, error) {
	return call[device.Device](ctx, c, http.MethodPost, join("devices", string(id), string(m)), nil, reasoned{reason})
}

// Tokens lists all enrolment tokens, without their secrets.
func (c *Client) Tokens(ctx context.Context) ([]enroll.Token, error) {
	l, err := call[list[enroll.Token]](ctx, c, http.MethodGet, "tokens", nil, nil)
	return l.Items, err
}

// CreateToken makes an enrolment token; its secret is never shown again.
func (c *Client) CreateToken(ctx context.Context, in TokenInput) (enroll.Token, enroll.Secret, error) {
	t, err := call[createdToken](ctx, c, http.MethodPost, "tokens", nil, in)
	return t.Token, enroll.NewSecret(t.Secret), err
}

// RevokeToken ends an enrolment token.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := call[empty](ctx, c, http.MethodPost, join("tokens", id, "revoke"), nil, nil)
	return err
}

// Waiting lists the enrolment requests in the waiting room.
func (c *Client) Waiting(ctx context.Context) ([]enroll.Waiting, error) {
	l, err := call[list[enroll.Waiting]](ctx, c, http.MethodGet, "waiting", nil, nil)
	return l.Items, err
}

// DecideWaiting approves or rejects a waiting enrolment.
func (c *Client) DecideWaiting(ctx context.Context, id string, approve bool, reason string) (enroll.Waiting, error) {
	verb := "reject"
	if approve {
		verb = "approve"
	}
	return call[enroll.Waiting](ctx, c, http.MethodPost, join("waiting", id, verb), nil, reasoned{reason})
}

// Certificates lists one page of the certificates that f selects, newest first.
func (c *Client) Certificates(ctx context.Context, f CertificateFilter) (CertificateList, error) {
	q := url.Values{}
	set(q, "principal", f.Principal)
	set(q, "profile", f.Profile)
	set(q, "status", f.Status)
	set(q, "key_id", f.KeyID)
	setTime(q, "expires_before", f.ExpiresBefore)
	set(q, "after", f.After)
	setInt(q, "limit", int64(f.Limit))
	return call[CertificateList](ctx, c, http.MethodGet, "certificates", q, nil)
}

// Certificate shows a certificate by its serial number in hex.
func (c *Client) Certificate(ctx context.Context, serial string) (Certificate, error) {
	return call[Certificate](ctx, c, http.MethodGet, join("certificates", serial), nil, nil)
}

// RevokeCertificate revokes one certificate; reason is a name of RFC 5280
// section 5.3.1 such as keyCompromise.
func (c *Client) RevokeCertificate(ctx context.Context, serial, reason string) (Certificate, error) {
	return call[Certificate](ctx, c, http.MethodPost, join("certificates", serial, "revoke"), nil, reasoned{reason})
}

// IssueCertificate issues an app or server certificate.
func (c *Client) IssueCertificate(ctx context.Context, in CertificateInput) (IssuedCertificate, error) {
	return call[IssuedCertificate](ctx, c, http.MethodPost, "certificates", nil, in)
}

// CAs lists our certificate authorities.
func (c *Client) CAs(ctx context.Context) ([]CA, error) {
	l, err := call[list[CA]](ctx, c, http.MethodGet, "cas", nil, nil)
	return l.Items, err
}

// BeginRotation makes a new issuing key and returns the request to be signed
// with the root key. algorithm is P-256, P-384, Ed25519 or empty for the
// configured one.
func (c *Client) BeginRotation(ctx context.Context, algorithm string) (csrPEM string, err error) {
	r, err := call[rotation](ctx, c, http.MethodPost, join("cas", "rotations"), nil, rotationInput{Algorithm: algorithm})
	return r.CSR, err
}

// FinishRotation hands in the certificate that the root key signed.
func (c *Client) FinishRotation(ctx context.Context, certificatePEM []byte) (CA, error) {
	return callRaw[CA](ctx, c, http.MethodPost, join("cas", "rotations", "certificate"), typePEM, certificatePEM)
}

// Bundle returns the root and issuing certificates as PEM. It needs no token.
func (c *Client) Bundle(ctx context.Context) ([]byte, error) {
	return c.bytes(ctx, join("ca", "bundle.pem"))
}

// AuditEntries lists one page of the log, newest first.
func (c *Client) AuditEntries(ctx context.Context, f AuditFilter) (EntryList, error) {
	q := url.Values{}
	set(q, "actor", f.Actor)
	set(q, "action", f.Action)
	set(q, "subject", f.Subject)
	setTime(q, "since", f.Since)
	setTime(q, "until", f.Until)
	setInt(q, "before", f.Before)
	setInt(q, "limit", int64(f.Limit))
	return call[EntryList](ctx, c, http.MethodGet, join("audit", "entries"), q, nil)
}

// AuditEntry shows one entry of the log.
func (c *Client) AuditEntry(ctx context.Context, index int64) (Entry, error) {
	return call[Entry](ctx, c, http.MethodGet, join("audit", "entries", strconv.FormatInt(index, 10)), nil, nil)
}

// AuditProof returns the portable proof of one entry: the JSON of audit.Proof,
// byte for byte as the server wrote it.
func (c *Client) AuditProof(ctx context.Context, index int64) (json.RawMessage, error) {
	return c.bytes(ctx, join("audit", "entries", strconv.FormatInt(index, 10), "proof"))
}

// AuditCheckpoint returns the log's newest signed checkpoint and its public key.
func (c *Client) AuditCheckpoint(ctx context.Context) (Checkpoint, error) {
	return call[Checkpoint](ctx, c, http.MethodGet, join("audit", "checkpoint"), nil, nil)
}

// AuditFile returns a resource of the log in the form of C2SP tlog-tiles:
// "checkpoint", "tile/0/000" or "tile/entries/000".
func (c *Client) AuditFile(ctx context.Context, path string) ([]byte, error) {
	return c.bytes(ctx, "audit/log/"+path)
}

// ExportAudit writes the whole log to w as it arrives. format is "log" (for
// offline verification) or "ocsf" (JSON lines). An error after the first byte
// means that w holds a part only.
func (c *Client) ExportAudit(ctx context.Context, format string, w io.Writer) error {
	return c.copy(ctx, join("audit", "export"), url.Values{"format": {format}}, w)
}

// ExportDevices writes the devices that f selects to w as they arrive. format
// is csv, json or ndjson. An error after the first byte means that w holds a
// part only.
func (c *Client) ExportDevices(ctx context.Context, f device.Filter, format string, w io.Writer) error {
	q := filterQuery(f)
	q.Set("format", format)
	return c.copy(ctx, join("devices", "export"), q, w)
}

// ImportDevices creates all devices in body or none. contentType is text/csv,
// application/json or application/x-ndjson; progress may be nil. Rows that
// cannot be imported come back as *Problem with Errors (found while reading) or
// as *ImportError (found while writing); then nothing was imported. An answer
// that ends early is an error too, and then only the server knows: import again,
// ids that exist already are named.
func (c *Client) ImportDevices(ctx context.Context, body io.Reader, contentType string, progress func(ImportProgress)) (imported int, err error) {
	return c.importDevices(ctx, body, contentType, progress)
}

func filterQuery(f device.Filter) url.Values {
	q := url.Values{}
	set(q, "type", string(f.Type))
	set(q, "zone", string(f.Zone))
	set(q, "state", string(f.State))
	set(q, "owner", f.Owner)
	set(q, "serial", f.Serial)
	set(q, "id_prefix", f.IDPrefix)
	for k, v := range f.Labels {
		q.Add("label", k+"="+v)
	}
	return q
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func setInt(q url.Values, name string, value int64) {
	if value != 0 {
		q.Set(name, strconv.FormatInt(value, 10))
	}
}

func setTime(q url.Values, name string, value time.Time) {
	if !value.IsZero() {
		q.Set(name, value.UTC().Format(time.RFC3339Nano))
	}
}
