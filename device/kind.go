package device

import (
	"time"

	"github.com/holdfast-iot/holdfast/refusal"
)

// TypeName names a device type; it is also the label in EST paths.
type TypeName string

// Validate accepts 1 to 64 characters of A-Z a-z 0-9 . _ -.
func (n TypeName) Validate() error { return checkName("device type", string(n), 64) }

// ZoneName names a zone (IEC 62443-3-2).
type ZoneName string

// Validate accepts 1 to 64 characters of A-Z a-z 0-9 . _ -.
func (n ZoneName) Validate() error { return checkName("zone", string(n), 64) }

// Stage is where a product stands: what is sold or deployed, not one device.
type Stage string

const (
	Prototype    Stage = "prototype"
	Develop      Stage = "develop"
	Deploy       Stage = "deploy"
	Operate      Stage = "operate"
	Decommission Stage = "decommission"
)

// Stages lists the product stages in order.
var Stages = []Stage{Prototype, Develop, Deploy, Operate, Decommission}

// rank is the position of a stage, -1 if it is none.
func (s Stage) rank() int {
	for i, x := range Stages {
		if s == x {
			return i
		}
	}
	return -1
}

// BeforeDeploy tells whether devices of a type at this stage must stay out of
// production zones.
func (s Stage) BeforeDeploy() bool { return s.rank() < Deploy.rank() }

// Approval says what happens to a valid enrolment request.
type Approval string

const (
	Auto   Approval = "auto"   // a valid credential is enough
	Manual Approval = "manual" // an operator looks at each first enrolment
)

// Type is a kind of device: what its certificates look like and how it enrols.
type Type struct {
	Name         TypeName      `json:"name"`
	Description  string        `json:"description,omitempty"`
	Profile      string        `json:"profile"`       // certificate profile: device or gateway
	KeyAlgorithm string        `json:"key_algorithm"` // asked for in csrattrs and used by serverkeygen: P-256, P-384 or Ed25519
	Stage        Stage         `json:"stage"`
	Validity     time.Duration `json:"validity"`      // of a device certificate
	Grace        time.Duration `json:"grace"`         // after expiry, in which renewal is still accepted
	Approval     Approval      `json:"approval"`      // of a first enrolment
	Anonymous    bool          `json:"anonymous"`     // may ask for approval without any credential
	ServerKeyGen bool          `json:"server_keygen"` // may have its key made by the server
	CreatedAt    time.Time     `json:"created_at"`
	UpdatedAt    time.Time     `json:"updated_at"`
	Version      int64         `json:"version"`
}

// Limits on a type's durations.
const (
	DefaultValidity = 90 * 24 * time.Hour
	MinValidity     = 10 * time.Second
	MaxValidity     = 10 * 366 * 24 * time.Hour
	MaxGrace        = 366 * 24 * time.Hour
)

// WithDefaults fills the fields left empty.
func (t Type) WithDefaults() Type {
	if t.Profile == "" {
		t.Profile = "device"
	}
	if t.KeyAlgorithm == "" {
		t.KeyAlgorithm = "P-256"
	}
	if t.Stage == "" {
		t.Stage = Prototype
	}
	if t.Validity == 0 {
		t.Validity = DefaultValidity
	}
	if t.Approval == "" {
		t.Approval = Auto
	}
	return t
}

// Validate checks every field of a type. A new type starts at Prototype or
// Develop: later stages are reached by CanMoveStage.
func (t *Type) Validate() error {
	bad := func(code, fix, detail string, args ...any) error {
		return refusal.New(refusal.Invalid, code, fix, "device type "+clip(string(t.Name))+": "+detail, args...)
	}
	if err := t.Name.Validate(); err != nil {
		return err
	}
	if err := checkText("description", t.Description, MaxNotes); err != nil {
		return err
	}
	switch {
	case t.Profile != "device" && t.Profile != "gateway":
		return bad("bad-profile", "use device or gateway", "%q is not a profile for devices", clip(t.Profile))
	case t.KeyAlgorithm != "P-256" && t.KeyAlgorithm != "P-384" && t.KeyAlgorithm != "Ed25519":
		return bad("bad-key-algorithm", "use P-256, P-384 or Ed25519", "%q is not a key algorithm", clip(t.KeyAlgorithm))
	case t.Stage.rank() < 0:
		return bad("bad-stage", "use prototype, develop, deploy, operate or decommission", "%q is not a product stage", clip(string(t.Stage)))
	case t.Validity < MinValidity || t.Validity > MaxValidity:
		return bad("bad-validity", "use 10s to 87840h", "the certificate validity %s is out of range", t.Validity)
	case t.Grace < 0 || t.Grace > MaxGrace:
		return bad("bad-grace", "use 0 to 8784h", "the grace time %s is out of range", t.Grace)
	case t.Approval != Auto && t.Approval != Manual:
		return bad("bad-approval", "use auto or manual", "%q is not an approval mode", clip(string(t.Approval)))
	case t.Anonymous && t.Approval != Manual:
		return bad("bad-approval", "set approval to manual, or anonymous to false", "anonymous enrolment needs manual approval")
	}
	return nil
}

// SignOff is a recorded security decision that a type may enter a stage.
type SignOff struct {
	ID        string    `json:"id"`
	Type      TypeName  `json:"type"`
	Stage     Stage     `json:"stage"`
	By        string    `json:"by"` // who signed, as "kind:id"
	At        time.Time `json:"at"`
	Statement string    `json:"statement"`          // what was reviewed and accepted
	Evidence  string    `json:"evidence,omitempty"` // where the report is
}

// Validate checks that a sign-off says something and is for a gated stage.
func (s *SignOff) Validate() error {
	if !gated(s.Stage) {
		return refusal.New(refusal.Invalid, "bad-stage", "sign off deploy or operate", "the stage %q needs no sign-off", clip(string(s.Stage)))
	}
	if len(s.Statement) < 10 {
		return refusal.New(refusal.Invalid, "bad-statement", "say what was reviewed, in at least 10 characters", "the sign-off statement is too short")
	}
	if err := checkText("statement", s.Statement, MaxNotes); err != nil {
		return err
	}
	return checkText("evidence", s.Evidence, MaxNotes)
}

// gated stages need a sign-off.
func gated(s Stage) bool { return s == Deploy || s == Operate }

// StageFacts is what CanMoveStage needs to know.
type StageFacts struct {
	SignOffs         []SignOff // of this type
	InProduction     int       // devices of this type in production zones, retired ones not counted
	LastStepBackward time.Time // sign-offs older than this no longer count
}

// CanMoveStage judges a change of stage: forward one at a time (or to
// decommission from any), deploy and operate only with a sign-off for that
// stage newer than the last step back; backward freely unless devices stand in
// production; never out of decommission.
func CanMoveStage(t Type, to Stage, facts StageFacts) error {
	from, want := t.Stage.rank(), to.rank()
	switch {
	case want < 0:
		return refusal.New(refusal.Invalid, "bad-stage", "use prototype, develop, deploy, operate or decommission", "%q is not a product stage", clip(string(to)))
	case from == want:
		return refusal.New(refusal.Conflict, "same-stage", "nothing to do", "type %s is already at stage %s", t.Name, to)
	case t.Stage == Decommission:
		return refusal.New(refusal.Conflict, "decommissioned", "create a new type", "type %s is decommissioned", t.Name)
	case want > from+1 && to != Decommission:
		return refusal.New(refusal.Conflict, "stage-skipped", "move to "+string(Stages[from+1])+" first", "type %s cannot go from %s straight to %s", t.Name, t.Stage, to)
	case want < from && to.BeforeDeploy() && facts.InProduction > 0:
		return refusal.New(refusal.Conflict, "in-production", "move or retire these devices first", "type %s has %d devices in production zones", t.Name, facts.InProduction)
	}
	if want > from && gated(to) {
		for _, s := range facts.SignOffs {
			if s.Stage == to && s.At.After(facts.LastStepBackward) {
				return nil
			}
		}
		return refusal.New(refusal.Conflict, "sign-off-missing", "record one with `holdfast type sign-off`", "type %s has no security sign-off for stage %s", t.Name, to)
	}
	return nil
}

// Zone is a group of devices with common security requirements (IEC 62443-3-2).
type Zone struct {
	Name          ZoneName  `json:"name"`
	Description   string    `json:"description,omitempty"`
	Production    bool      `json:"production"`     // refuses types before deploy
	SecurityLevel int       `json:"security_level"` // target security level SL-T, 0 to 4 (IEC 62443-3-3)
	CreatedAt     time.Time `json:"created_at"`
	UpdatedAt     time.Time `json:"updated_at"`
	Version       int64     `json:"version"`
}

// Validate checks every field of a zone.
func (z *Zone) Validate() error {
	if err := z.Name.Validate(); err != nil {
		return err
	}
	if z.SecurityLevel < 0 || z.SecurityLevel > 4 {
		return refusal.New(refusal.Invalid, "bad-security-level", "use 0 to 4", "zone %s: the security level %d is out of range", z.Name, z.SecurityLevel)
	}
	return checkText("description", z.Description, MaxNotes)
}

// CanPlace judges whether a device of type t may stand in zone z.
func CanPlace(t Type, z Zone) error {
	if t.Stage == Decommission {
		return refusal.New(refusal.Conflict, "decommissioned", "use a type that is in service", "type %s is decommissioned and takes no devices", t.Name)
	}
	if z.Production && t.Stage.BeforeDeploy() {
		return refusal.New(refusal.Conflict, "not-for-production", "use a zone that is not production, or move the type to deploy after a security sign-off",
			"zone %s is production and type %s is only at stage %s", z.Name, t.Name, t.Stage)
	}
	return nil
}

// Before tells whether s comes before other in a product's life.
func (s Stage) Before(other Stage) bool { return s.rank() < other.rank() }
