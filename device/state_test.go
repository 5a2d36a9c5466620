package device

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/refusal"
)

// TestTransitions states the whole table by hand: what is not in it is refused.
func TestTransitions(t *testing.T) {
	legal := map[State]string{
		Registered:  "wait>pending enrol>enrolled quarantine>quarantined revoke>registered retire>retired",
		Pending:     "wait>pending reject>registered enrol>enrolled quarantine>quarantined revoke>registered retire>retired",
		Enrolled:    "enrol>enrolled activate>active quarantine>quarantined revoke>registered retire>retired",
		Active:      "enrol>active activate>active quarantine>quarantined revoke>registered retire>retired",
		Quarantined: "release>enrolled revoke>quarantined retire>retired",
		Retired:     "",
	}
	for _, s := range States {
		want := map[Move]State{}
		for pair := range strings.FieldsSeq(legal[s]) {
			m, to, _ := strings.Cut(pair, ">")
			want[Move(m)] = State(to)
		}
		for _, m := range []Move{Wait, Reject, Enrol, Activate, Quarantine, Release, Revoke, Retire, "fly"} {
			got, err := Next(s, m, true)
			to, ok := want[m]
			if ok && (err != nil || got != to) {
				t.Errorf("%s, %s: %s, %v; want %s", s, m, got, err, to)
			}
			if !ok && (!refusal.Is(err, "illegal-transition") || got != s) {
				t.Errorf("%s, %s: %s, %v; want a refusal", s, m, got, err)
			}
		}
	}
	if got, err := Next(Quarantined, Release, false); err != nil || got != Registered {
		t.Errorf("releasing a device without certificates: %s, %v", got, err)
	}
}

func TestCanMoveStage(t *testing.T) {
	signed := func(s Stage, at time.Time) StageFacts {
		return StageFacts{SignOffs: []SignOff{{Stage: s, At: at}}}
	}
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	later := signed(Deploy, day)
	later.LastStepBackward = day
	for _, c := range []struct {
		from, to Stage
		facts    StageFacts
		want     string
	}{
		{Prototype, Develop, StageFacts{}, ""},
		{Prototype, Deploy, signed(Deploy, day), "stage-skipped"},
		{Develop, Deploy, StageFacts{}, "sign-off-missing"},
		{Develop, Deploy, signed(Operate, day), "sign-off-missing"},
		{Develop, Deploy, signed(Deploy, day), ""},
		{Develop, Deploy, later, "sign-off-missing"}, // signed before it was sent back
		{Deploy, Operate, signed(Operate, day), ""},
		{Operate, Deploy, StageFacts{InProduction: 5}, ""},
		{Operate, Develop, StageFacts{InProduction: 5}, "in-production"},
		{Operate, Develop, StageFacts{}, ""},
		{Prototype, Decommission, StageFacts{}, ""},
		{Decommission, Develop, StageFacts{}, "decommissioned"},
		{Deploy, Deploy, StageFacts{}, "same-stage"},
		{Deploy, "moon", StageFacts{}, "bad-stage"},
	} {
		err := CanMoveStage(Type{Name: "t", Stage: c.from}, c.to, c.facts)
		if c.want == "" && err != nil || c.want != "" && !refusal.Is(err, c.want) {
			t.Errorf("%s to %s: %v, want %q", c.from, c.to, err, c.want)
		}
	}
}

func TestCanPlace(t *testing.T) {
	for _, c := range []struct {
		stage      Stage
		production bool
		want       string
	}{
		{Prototype, false, ""}, {Prototype, true, "not-for-production"}, {Develop, true, "not-for-production"},
		{Deploy, true, ""}, {Operate, true, ""}, {Decommission, false, "decommissioned"}, {Decommission, true, "decommissioned"},
	} {
		err := CanPlace(Type{Name: "t", Stage: c.stage}, Zone{Name: "z", Production: c.production})
		if c.want == "" && err != nil || c.want != "" && !refusal.Is(err, c.want) {
			t.Errorf("%s in production %v: %v, want %q", c.stage, c.production, err, c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	good := func() Device { return Device{ID: "d1", Type: "t", Zone: "z"} }
	d := good()
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want   string
		change func(*Device)
	}{
		{"bad-name", func(d *Device) { d.ID = "" }},
		{"bad-name", func(d *Device) { d.ID = ".." }},
		{"bad-name", func(d *Device) { d.ID = "export" }},
		{"bad-name", func(d *Device) { d.ID = ID(strings.Repeat("x", 65)) }},
		{"bad-name", func(d *Device) { d.Type = "a/b" }},
		{"bad-name", func(d *Device) { d.Zone = "ü" }},
		{"too-long", func(d *Device) { d.Owner = strings.Repeat("x", MaxOwner+1) }},
		{"bad-text", func(d *Device) { d.Notes = "a\x00b" }},
		{"bad-text", func(d *Device) { d.Serial = "\xff" }},
		{"bad-label", func(d *Device) { d.Labels = map[string]string{"": "x"} }},
		{"too-many-labels", func(d *Device) {
			d.Labels = map[string]string{}
			for i := range MaxTags + 1 {
				d.Labels["k"+strings.Repeat("x", i)] = ""
			}
		}},
	} {
		d := good()
		c.change(&d)
		if err := d.Validate(); !refusal.Is(err, c.want) {
			t.Errorf("%s: %v", c.want, err)
		}
	}
}

func TestTypeValidate(t *testing.T) {
	for _, c := range []struct {
		want   string
		change func(*Type)
	}{
		{"", func(*Type) {}},
		{"bad-profile", func(x *Type) { x.Profile = "server" }},
		{"bad-key-algorithm", func(x *Type) { x.KeyAlgorithm = "RSA" }},
		{"bad-stage", func(x *Type) { x.Stage = "moon" }},
		{"bad-validity", func(x *Type) { x.Validity = time.Second }},
		{"bad-grace", func(x *Type) { x.Grace = -1 }},
		{"bad-approval", func(x *Type) { x.Approval = "maybe" }},
		{"bad-approval", func(x *Type) { x.Anonymous = true }}, // needs manual approval
	} {
		x := Type{Name: "t"}.WithDefaults()
		c.change(&x)
		err := x.Validate()
		if c.want == "" && err != nil || c.want != "" && !refusal.Is(err, c.want) {
			t.Errorf("%q: %v", c.want, err)
		}
	}
}
