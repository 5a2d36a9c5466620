package adminapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
)

// memory keeps just enough to test what the edge does: forms, bounds, mapping
// and streams. The rules are tested with the real store.
type memory struct {
	mu      sync.Mutex
	types   map[device.TypeName]device.Type
	zones   map[device.ZoneName]device.Zone
	devices map[device.ID]device.Device
	offs    []device.SignOff
	tokens  []enroll.Token
	anchors []Anchor
	entries []AuditEntry
	by      []access.Actor
	calls   []string

	failList  int   // the page of a listing that fails, from 1
	pages     int   // listed
	importErr error // what an import ends with
	exportErr error
	errs      []error // told to OnError
	served    http.Handler
}

// handler is made once: describing the API takes longer than most requests.
func (m *memory) handler() http.Handler {
	if m.served == nil {
		m.served = Handler(m.config())
	}
	return m.served
}

const goodToken = "hfa_test"

var moment = time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)

func newMemory() *memory {
	return &memory{types: map[device.TypeName]device.Type{}, zones: map[device.ZoneName]device.Zone{}, devices: map[device.ID]device.Device{}}
}

func (m *memory) config() Config {
	return Config{Authenticate: m, Types: m, Zones: m, Devices: m, Enrolment: m, Certificates: m, Authority: m, Audit: m, Policies: m, Apps: m, Sessions: m, Tap: m, Version: "1.2.3",
		Status: func(context.Context) (Status, error) { return exampleStatus, nil },
		OnError: func(id string, err error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.errs = append(m.errs, fmt.Errorf("%s: %w", id, err))
		}}
}

func (m *memory) note(by access.Actor, format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.by = append(m.by, by)
	m.calls = append(m.calls, fmt.Sprintf(format, args...))
}

func missing(what string) error {
	return refusal.New(refusal.NotFound, "no-such-"+what, "list them", "there is no such %s", what)
}

func (m *memory) Authenticate(_ context.Context, token, source string) (access.Identity, error) {
	switch token {
	case goodToken:
		return access.Identity{Actor: access.Actor{Kind: access.Client, ID: "test", Source: source}, Rights: access.Root(), Proof: access.Proof{Program: true}}, nil
	case "flood":
		return access.Identity{}, refusal.New(refusal.TooMany, "too-many-tries", "wait", "too many wrong tokens")
	}
	return access.Identity{}, refusal.New(refusal.Unauthenticated, "bad-token", "use a valid token", "the token is not valid")
}

func (m *memory) CreateType(_ context.Context, by access.Actor, t device.Type) (device.Type, error) {
	m.note(by, "create type %s", t.Name)
	if _, ok := m.types[t.Name]; ok {
		return t, refusal.New(refusal.Conflict, "type-exists", "choose another name", "the type %s exists", t.Name)
	}
	t.Version, t.CreatedAt, t.UpdatedAt = 1, moment, moment
	m.types[t.Name] = t
	return t, nil
}

func (m *memory) Type(_ context.Context, name device.TypeName) (device.Type, []device.SignOff, error) {
	t, ok := m.types[name]
	if !ok {
		return t, nil, missing("type")
	}
	return t, m.offs, nil
}

func (m *memory) Types(context.Context) ([]device.Type, error) {
	return slices.Collect(maps.Values(m.types)), nil
}

func (m *memory) UpdateType(_ context.Context, by access.Actor, t device.Type) (device.Type, error) {
	old := m.types[t.Name]
	if t.Version != old.Version {
		return t, refusal.New(refusal.Conflict, "changed-meanwhile", "read it again", "the type was changed meanwhile")
	}
	t.Version, t.Stage = t.Version+1, old.Stage
	m.types[t.Name] = t
	return t, nil
}

func (m *memory) MoveType(_ context.Context, by access.Actor, name device.TypeName, to device.Stage, reason string) (device.Type, error) {
	m.note(by, "move %s to %s: %s", name, to, reason)
	t := m.types[name]
	t.Stage = to
	return t, nil
}

func (m *memory) SignOff(_ context.Context, by access.Actor, s device.SignOff) (device.SignOff, error) {
	s.ID, s.By, s.At = "so-1", by.String(), moment
	m.offs = append(m.offs, s)
	return s, nil
}

func (m *memory) CreateZone(_ context.Context, _ access.Actor, z device.Zone) (device.Zone, error) {
	z.Version = 1
	m.zones[z.Name] = z
	return z, nil
}

func (m *memory) Zone(_ context.Context, name device.ZoneName) (device.Zone, error) {
	z, ok := m.zones[name]
	if !ok {
		return z, missing("zone")
	}
	return z, nil
}

func (m *memory) Zones(context.Context) ([]device.Zone, error) {
	return slices.Collect(maps.Values(m.zones)), nil
}

func (m *memory) UpdateZone(_ context.Context, _ access.Actor, z device.Zone) (device.Zone, error) {
	z.Version++
	m.zones[z.Name] = z
	return z, nil
}

func (m *memory) CreateDevice(_ context.Context, by access.Actor, d device.Device) (device.Device, error) {
	m.note(by, "create device %s", d.ID)
	d.State, d.Version, d.CreatedAt, d.UpdatedAt = device.Registered, 1, moment, moment
	m.devices[d.ID] = d
	return d, nil
}

func (m *memory) Device(_ context.Context, id device.ID) (device.Device, error) {
	if id == "broken" {
		return device.Device{}, errors.New("disk on fire at /var/secret")
	}
	if id == "panic" {
		panic("deep inside: password hunter2")
	}
	d, ok := m.devices[id]
	if !ok {
		return d, missing("device")
	}
	return d, nil
}

func (m *memory) Devices(_ context.Context, f device.Filter, p device.Page) (page []device.Device, next device.ID, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pages++
	if m.pages == m.failList {
		return nil, "", errors.New("reading page: disk on fire")
	}
	for _, id := range slices.Sorted(maps.Keys(m.devices)) {
		d := m.devices[id]
		if id <= p.After || !strings.HasPrefix(string(id), f.IDPrefix) || f.Zone != "" && d.Zone != f.Zone || !subset(f.Labels, d.Labels) {
			continue
		}
		if len(page) == p.Limit {
			return page, page[len(page)-1].ID, nil
		}
		page = append(page, d)
	}
	return page, "", nil
}

func subset(some, all map[string]string) bool {
	for k, v := range some {
		if got, ok := all[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func (m *memory) UpdateDevice(_ context.Context, _ access.Actor, d device.Device) (device.Device, error) {
	if d.Version != m.devices[d.ID].Version {
		return d, refusal.New(refusal.Conflict, "changed-meanwhile", "read it again", "the device was changed meanwhile")
	}
	d.State, d.Version = m.devices[d.ID].State, d.Version+1
	m.devices[d.ID] = d
	return d, nil
}

func (m *memory) ChangeDevice(_ context.Context, by access.Actor, id device.ID, move DeviceMove, reason string) (device.Device, error) {
	m.note(by, "%s %s: %s", move, id, reason)
	return m.devices[id], nil
}

func (m *memory) ImportDevices(_ context.Context, by access.Actor, rows []ImportRow, progress func(int)) error {
	m.note(by, "import %d", len(rows))
	for i := range rows {
		progress(i + 1)
	}
	if m.importErr != nil {
		return m.importErr
	}
	for _, r := range rows {
		m.devices[r.Device.ID] = r.Device
	}
	return nil
}

func (m *memory) CreateToken(_ context.Context, _ access.Actor, t enroll.Token) (enroll.Token, enroll.Secret, error) {
	t, secret, err := enroll.NewToken(strings.NewReader(strings.Repeat("x", 35)), t)
	t.CreatedAt = moment
	m.tokens = append(m.tokens, t)
	return t, secret, err
}

func (m *memory) Tokens(context.Context) ([]enroll.Token, error) { return m.tokens, nil }

func (m *memory) RevokeToken(_ context.Context, by access.Actor, id string) error {
	m.note(by, "revoke token %s", id)
	return nil
}

func (m *memory) AddAnchor(_ context.Context, by access.Actor, t device.TypeName, pem []byte) ([]Anchor, error) {
	m.note(by, "add anchors %d", len(pem))
	m.anchors = append(m.anchors, exampleAnchor)
	return m.anchors, nil
}

func (m *memory) Anchors(context.Context, device.TypeName) ([]Anchor, error) { return m.anchors, nil }

func (m *memory) RemoveAnchor(_ context.Context, by access.Actor, t device.TypeName, id string) error {
	m.note(by, "remove anchor %s of %s", id, t)
	return nil
}

func (m *memory) Waiting(context.Context) ([]enroll.Waiting, error) {
	return []enroll.Waiting{exampleWaiting}, nil
}

func (m *memory) DecideWaiting(_ context.Context, by access.Actor, id string, approve bool, reason string) (enroll.Waiting, error) {
	m.note(by, "decide %s %v: %s", id, approve, reason)
	return exampleWaiting, nil
}

func (m *memory) Certificate(_ context.Context, serial string) (Certificate, error) {
	return exampleCertificate, nil
}

func (m *memory) Certificates(_ context.Context, f CertificateFilter) ([]Certificate, error) {
	m.note(access.Actor{}, "certificates %+v", f)
	return slices.Repeat([]Certificate{exampleCertificate}, f.Limit), nil
}

func (m *memory) RevokeCertificate(_ context.Context, by access.Actor, serial, reason string) (Certificate, error) {
	m.note(by, "revoke certificate %s: %s", serial, reason)
	return exampleCertificate, nil
}

func (m *memory) IssueCertificate(_ context.Context, by access.Actor, r IssueRequest) (Certificate, []string, error) {
	m.note(by, "issue %s %s %d %v %v %s", r.Profile, r.ID, len(r.CSR), r.DNSNames, r.IPs, r.Validity)
	return exampleCertificate, []string{examplePEM}, nil
}

func (m *memory) CAs(context.Context) ([]CA, error) { return []CA{exampleCA}, nil }

func (m *memory) BeginRotation(_ context.Context, by access.Actor, algorithm string) (string, error) {
	m.note(by, "rotate %q", algorithm)
	return exampleCSR, nil
}

func (m *memory) FinishRotation(_ context.Context, by access.Actor, pem string) (CA, error) {
	m.note(by, "finish %d", len(pem))
	return exampleCA, nil
}

func (m *memory) Bundle(context.Context) (string, error) { return examplePEM, nil }

func (m *memory) Entries(_ context.Context, f AuditFilter) ([]AuditEntry, error) {
	var page []AuditEntry
	for _, e := range slices.Backward(m.entries) {
		if (f.Before == 0 || e.Index < f.Before) && len(page) < f.Limit {
			page = append(page, e)
		}
	}
	return page, nil
}

func (m *memory) Proof(_ context.Context, index int64) (audit.Proof, error) {
	leaf, err := audit.Encode(m.entries[index].Event)
	return audit.Proof{Index: index, Leaf: leaf, Checkpoint: []byte(exampleCheckpoint)}, err
}

func (m *memory) Checkpoint(context.Context) ([]byte, string, error) {
	return []byte(exampleCheckpoint), "key", nil
}

func (m *memory) Tile(_ context.Context, path string) ([]byte, bool, error) {
	if path != "tile/0/000" {
		return nil, false, missing("tile")
	}
	return []byte("tile bytes"), true, nil
}

func (m *memory) Export(_ context.Context, w io.Writer, format string) error {
	if m.exportErr != nil && format == "log" {
		return m.exportErr
	}
	if _, err := io.WriteString(w, format+"\n"); err != nil {
		return err
	}
	return m.exportErr
}

func (m *memory) AuditState(context.Context) (AuditState, error) {
	return exampleAuditState, nil
}
