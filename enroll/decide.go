package enroll

import (
	"crypto/x509"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/refusal"
)

// Request is an enrolment or renewal that parsed: its proof of possession holds
// and its credential was authenticated, not yet authorized.
type Request struct {
	Label        device.TypeName // from the path; empty when the credential names the type
	CSR          *pki.CSR
	TokenID      string            // from a token, with TokenHash
	TokenHash    [32]byte          // of the presented secret
	IDevID       *pki.IDevID       // from a manufacturer certificate of the type's anchors
	Current      *x509.Certificate // from one of our certificates, chain verified; renewal only
	ServerKeyGen bool
	Source       string // IP address
}

// Record is what the store knows of one certificate of a device.
type Record struct {
	Serial   pki.Serial
	KeyID    pki.KeyID
	Status   Status
	NotAfter time.Time
	TokenID  string
	DER      []byte
}

// Status of a certificate's record.
type Status string

const (
	Reserved  Status = "reserved"  // about to be signed; after a crash, never was
	Issued    Status = "issued"    // signed and committed
	Held      Status = "held"      // certificateHold while its device is quarantined
	Revoked   Status = "revoked"   // for good
	Abandoned Status = "abandoned" // reserved and never signed
)

// Facts is everything Decide needs, read in one go.
type Facts struct {
	Type         *device.Type   // nil: no such type
	Zone         *device.Zone   // the zone the device is or would be in
	Token        *Token         // nil: no such token
	Device       *device.Device // nil: not in the inventory
	KeyOwner     string         // "kind/id" that has used the request's key, or empty
	Certificates []Record       // of this device, issued or held, unexpired (or expired within the type's grace)
	Waiting      *Waiting       // newest of this device, undecided or approved
	WaitingCount int            // undecided requests of all devices
	MaxLive      int            // certificates a device may hold at once
}

// Outcome is what Decide grants.
type Outcome int

const (
	Issue  Outcome = iota + 1 // sign a certificate
	Wait                      // put it into the waiting room, or leave it there
	Replay                    // the same certificate again: the answer was lost
)

// Grant is a decision to act on. The store commits it only if the facts it
// rests on still hold.
type Grant struct {
	Outcome    Outcome
	Device     device.Device // as it is to be after the commit; Version is the one decided on
	Create     bool          // Device is new
	UseToken   string        // token whose use is counted
	Finish     string        // waiting request that this issue completes
	NewWaiting bool          // Wait: a waiting request is to be written
	Supersede  []pki.Serial  // certificates that this one replaces at once
	Replay     Record
	Validity   time.Duration
	Credential string // for the records: "token:…", "idevid:…", "certificate:…", "approval:…"
}

// Principal names the holder of a key across profiles: "device/d42".
func Principal(profile, id string) string { return profile + "/" + id }

// Decide judges a first enrolment (RFC 7030 section 4.2.1) or one after loss or
// revocation of the certificate.
func Decide(req *Request, facts *Facts, now time.Time) (*Grant, error) {
	if facts.Type == nil {
		return nil, refusal.New(refusal.NotFound, "no-such-type", "use a label that `holdfast type list` shows", "there is no device type %q", req.Label)
	}
	credential, err := authorize(req, facts, now)
	if err != nil {
		return nil, err
	}
	id, err := identify(req, facts)
	if err != nil {
		return nil, err
	}
	if err := checkKey(req, facts, id); err != nil {
		return nil, err
	}
	g := &Grant{Outcome: Issue, Validity: facts.Type.Validity, Credential: credential}
	if facts.Device == nil {
		err = g.create(req, facts, id, now)
	} else {
		err = g.admit(req, facts, now)
	}
	if err != nil || g.Outcome == Replay {
		return g, err
	}
	if req.TokenID != "" && (facts.Waiting == nil || facts.Waiting.KeyID != req.CSR.KeyID().String()) {
		if err := facts.Token.usable(now); err != nil {
			return nil, err
		}
		g.UseToken = req.TokenID
	}
	return g, g.hold(req, facts)
}

// authorize checks that the credential opens this type at all. Quota is looked
// at later, because a device that repeats a request may have spent it itself.
func authorize(req *Request, facts *Facts, now time.Time) (string, error) {
	switch {
	case req.TokenID != "":
		t := facts.Token
		if t == nil || !t.Matches(req.TokenHash) {
			return "", refusal.New(refusal.Unauthenticated, "bad-token", "check that it was copied whole, or ask the operator for a new one", "the enrolment token is not valid")
		}
		if t.Type != facts.Type.Name {
			return "", refusal.New(refusal.Forbidden, "token-type", "enrol under /.well-known/est/"+string(t.Type), "the enrolment token is not for device type %s", facts.Type.Name)
		}
		if !t.RevokedAt.IsZero() || !now.Before(t.ExpiresAt) {
			return "", t.usable(now)
		}
		return "token:" + t.ID, nil
	case req.IDevID != nil:
		return "idevid:" + req.IDevID.SerialNumber, nil
	case facts.Type.Anonymous:
		return "none", nil
	}
	return "", refusal.New(refusal.Unauthenticated, "no-credential", "present an enrolment token or a manufacturer certificate", "device type %s enrols only with a credential", facts.Type.Name)
}

// identify finds which device this is; a credential bound to one wins over the
// name in the request, and the two must not differ.
func identify(req *Request, facts *Facts) (device.ID, error) {
	name := req.CSR.CommonName
	if req.IDevID != nil {
		if facts.Device == nil {
			return "", refusal.New(refusal.Forbidden, "unknown-serial", "register the device with this serial number first", "no device of type %s has the serial number %q", facts.Type.Name, req.IDevID.SerialNumber)
		}
		if name != "" && name != string(facts.Device.ID) && name != req.IDevID.SerialNumber {
			return "", refusal.New(refusal.Forbidden, "wrong-name", "put the device id or the serial number into the CSR's common name, or leave it empty", "the CSR names %.64q and this manufacturer certificate belongs to device %s", name, facts.Device.ID)
		}
		return facts.Device.ID, nil
	}
	if t := facts.Token; t != nil && t.DeviceID != "" {
		if name != "" && name != string(t.DeviceID) {
			return "", refusal.New(refusal.Forbidden, "wrong-name", "use the id the token was made for", "the CSR names %.64q and the enrolment token is for another device", name)
		}
		return t.DeviceID, nil
	}
	id, err := device.ParseID(name)
	if err != nil {
		return "", refusal.New(refusal.Invalid, "bad-name", "put the device id (1 to 64 of A-Z a-z 0-9 . _ -) into the CSR's common name", "the CSR's common name is not a device id")
	}
	if t := facts.Token; t != nil && len(t.IDPrefix) > 0 && (len(id) < len(t.IDPrefix) || string(id[:len(t.IDPrefix)]) != t.IDPrefix) {
		return "", refusal.New(refusal.Forbidden, "wrong-prefix", "use an id with the token's prefix", "the enrolment token is only for ids that start with %q", t.IDPrefix)
	}
	return id, nil
}

// checkKey refuses a key that another principal has ever used.
func checkKey(req *Request, facts *Facts, id device.ID) error {
	if facts.KeyOwner == "" || facts.KeyOwner == Principal(facts.Type.Profile, string(id)) || req.ServerKeyGen {
		return nil
	}
	return refusal.New(refusal.Forbidden, "key-reused", "make a new key pair on the device", "the CSR's key already belongs to another device")
}

// create decides on a device that the inventory does not have: only a token,
// which says type and zone, may add one.
func (g *Grant) create(req *Request, facts *Facts, id device.ID, now time.Time) error {
	if req.TokenID == "" {
		return refusal.New(refusal.Forbidden, "not-registered", "register it with `holdfast device create`", "device %s is not in the inventory", id)
	}
	if facts.Zone == nil {
		return refusal.New(refusal.Conflict, "no-such-zone", "ask the operator for a new token", "the enrolment token's zone does not exist")
	}
	if err := device.CanPlace(*facts.Type, *facts.Zone); err != nil {
		return err
	}
	g.Create = true
	g.Device = device.Device{ID: id, Type: facts.Type.Name, Zone: facts.Zone.Name, Labels: facts.Token.Labels,
		State: device.Registered, CreatedAt: now, UpdatedAt: now, Version: 1}
	return nil
}

// admit decides on a device that is in the inventory.
func (g *Grant) admit(req *Request, facts *Facts, now time.Time) error {
	d, t := *facts.Device, facts.Token
	if d.Type != facts.Type.Name {
		return refusal.New(refusal.Forbidden, "wrong-type", "enrol under the label of its type", "device %s is registered with another type", d.ID)
	}
	if t != nil && d.Zone != t.Zone {
		return refusal.New(refusal.Forbidden, "wrong-zone", "use a token for the device's zone", "device %s is registered in another zone than the token's", d.ID)
	}
	if d.State == device.Retired || d.State == device.Quarantined {
		return refusal.New(refusal.Forbidden, "device-"+string(d.State), "ask the operator", "device %s is %s", d.ID, d.State)
	}
	if facts.Zone != nil {
		if err := device.CanPlace(*facts.Type, *facts.Zone); err != nil {
			return err
		}
	}
	g.Device = d
	var live []pki.Serial
	for _, c := range facts.Certificates {
		if c.Status != Issued || !now.Before(c.NotAfter) {
			continue
		}
		if c.KeyID == req.CSR.KeyID() && !req.ServerKeyGen {
			g.Outcome, g.Replay = Replay, c
			return nil
		}
		live = append(live, c.Serial)
	}
	if len(live) > 0 && req.IDevID == nil && (t == nil || t.DeviceID != d.ID) {
		return refusal.New(refusal.Conflict, "already-enrolled", "renew with its certificate, revoke the device, or use a one-time token made for this device",
			"device %s already has a valid certificate for another key", d.ID)
	}
	g.Supersede = live
	return nil
}

// hold sends the request to the waiting room when an operator has to look, and
// lets it through once they have approved its key.
func (g *Grant) hold(req *Request, facts *Facts) error {
	manual := facts.Type.Approval == device.Manual || facts.Token != nil && facts.Token.Approval == device.Manual
	w, move := facts.Waiting, device.Enrol
	switch {
	case w != nil && w.KeyID != req.CSR.KeyID().String():
		return refusal.New(refusal.Conflict, "other-key-waiting", "ask the operator to reject the waiting request first", "device %s already waits for approval with another key", g.Device.ID)
	case w != nil && w.Decision == Undecided:
		g.Outcome = Wait
		return nil
	case w != nil:
		g.Finish, g.Credential = w.ID, g.Credential+" approval:"+w.ID
	case manual && facts.WaitingCount >= MaxWaiting:
		return refusal.New(refusal.TooMany, "waiting-room-full", "try again later", "too many enrolments wait for approval")
	case manual:
		g.Outcome, g.NewWaiting, move = Wait, true, device.Wait
		if len(g.Supersede) > 0 {
			return nil // it keeps its state and certificates until the approval
		}
	}
	next, err := device.Next(g.Device.State, move, true)
	g.Device.State = next
	return err
}

// DecideRenewal judges a renewal or rekey with the current certificate (RFC
// 7030 section 4.2.2): until it expires and for the type's grace time after.
func DecideRenewal(req *Request, facts *Facts, now time.Time) (*Grant, error) {
	d := facts.Device
	if d == nil || facts.Type == nil {
		return nil, refusal.New(refusal.Forbidden, "not-registered", "ask the operator to register the device", "this certificate's device is not in the inventory")
	}
	if req.Label != "" && req.Label != d.Type {
		return nil, refusal.New(refusal.Forbidden, "wrong-type", "renew under the label of its type, or without a label", "device %s is of another type than %q", d.ID, req.Label)
	}
	if d.State != device.Enrolled && d.State != device.Active {
		return nil, refusal.New(refusal.Forbidden, "device-"+string(d.State), "ask the operator", "device %s is %s", d.ID, d.State)
	}
	current, live, err := findCurrent(req, facts, now)
	if err != nil {
		return nil, err
	}
	if err := pki.CheckRenewal(req.Current, req.CSR, now, facts.Type.Grace); err != nil {
		return nil, renewalRefusal(err)
	}
	if err := checkKey(req, facts, d.ID); err != nil {
		return nil, err
	}
	if live >= facts.MaxLive {
		return nil, refusal.New(refusal.TooMany, "too-many-certificates", "renew less often: earlier certificates stay valid until they expire", "device %s already has %d valid certificates", d.ID, live)
	}
	g := &Grant{Outcome: Issue, Device: *d, Validity: facts.Type.Validity, Credential: "certificate:" + current.String()}
	g.Device.State, err = device.Next(d.State, device.Activate, true)
	return g, err
}

// findCurrent checks the presented certificate's record and counts the live ones.
func findCurrent(req *Request, facts *Facts, now time.Time) (current pki.Serial, live int, err error) {
	current, err = pki.SerialOf(req.Current)
	if err != nil {
		return current, 0, refusal.New(refusal.Unauthenticated, "bad-certificate", "enrol again with a token", "the client certificate was not issued here")
	}
	found := false
	for _, c := range facts.Certificates {
		if c.Serial == current && c.Status == Issued {
			found = true
		}
		if c.Status == Issued && now.Before(c.NotAfter) {
			live++
		}
	}
	if !found {
		return current, live, refusal.New(refusal.Forbidden, "certificate-not-valid", "enrol again with a token", "the client certificate is revoked, on hold or expired beyond the grace time")
	}
	return current, live, nil
}
