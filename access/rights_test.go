package access_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
)

// noon is when these tests happen.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var names = rapid.SampledFrom([]string{"a", "b", "c"})

func subset[T any](from []T) *rapid.Generator[[]T] {
	return rapid.Custom(func(t *rapid.T) []T {
		var out []T
		for _, v := range from {
			if rapid.Bool().Draw(t, "in") {
				out = append(out, v)
			}
		}
		return out
	})
}

func anyScope() *rapid.Generator[access.Scope] {
	return rapid.Custom(func(t *rapid.T) access.Scope {
		s := access.Scope{Zones: subset([]device.ZoneName{"a", "b", "c"}).Draw(t, "zones"), Types: subset([]device.TypeName{"a", "b", "c"}).Draw(t, "types")}
		for _, key := range subset([]string{"site", "line"}).Draw(t, "labels") {
			if s.Labels == nil {
				s.Labels = map[string][]string{}
			}
			s.Labels[key] = append(subset([]string{"x", "y"}).Draw(t, "values"), "z")
		}
		return s
	})
}

func anyObject() *rapid.Generator[access.Object] {
	return rapid.Custom(func(t *rapid.T) access.Object {
		o := access.Object{}
		if rapid.Bool().Draw(t, "placed") {
			o.Zone = device.ZoneName(names.Draw(t, "zone"))
		}
		if rapid.Bool().Draw(t, "typed") {
			o.Type = device.TypeName(names.Draw(t, "type"))
		}
		for _, key := range subset([]string{"site", "line"}).Draw(t, "labels") {
			if o.Labels == nil {
				o.Labels = map[string]string{}
			}
			o.Labels[key] = rapid.SampledFrom([]string{"x", "y", "z", "w"}).Draw(t, "value")
		}
		return o
	})
}

func permissionNames() (list []access.Permission) {
	for _, i := range access.Permissions() {
		list = append(list, i.Permission)
	}
	return list
}

// custom are some roles beside those that come with Holdfast.
var custom = map[string]access.Role{
	"lead":   {Name: "lead", Permissions: []access.Permission{access.DeviceRead, access.DeviceQuarantine, access.AuditRead, access.StatusRead}},
	"giver":  {Name: "giver", Permissions: []access.Permission{access.RoleWrite, access.DeviceWrite}},
	"forged": {Name: "forged", Permissions: []access.Permission{"device.destroy", access.Own, access.ZoneRead}},
}

func roles(name string) (access.Role, bool) {
	if r, ok := access.Builtin(name); ok {
		return r, true
	}
	r, ok := custom[name]
	return r, ok
}

func anyGrant() *rapid.Generator[access.Grant] {
	return rapid.Custom(func(t *rapid.T) access.Grant {
		g := access.Grant{Role: rapid.SampledFrom([]string{"viewer", "operator", "security-officer", "update-manager", "auditor", "admin", "lead", "giver", "forged", "gone"}).Draw(t, "role"),
			Scope: anyScope().Draw(t, "scope")}
		if rapid.Bool().Draw(t, "ends") {
			g.ExpiresAt = noon.Add(time.Duration(rapid.IntRange(-3, 3).Draw(t, "end")) * time.Hour)
		}
		return g
	})
}

// one says, from the documentation alone, whether a grant gives a permission for
// an object at a time.
func one(g access.Grant, p access.Permission, o access.Object, now time.Time) bool {
	r, ok := roles(g.Role)
	if !ok || !r.Has(p) || !p.Known() || !g.ExpiresAt.IsZero() && !now.Before(g.ExpiresAt) {
		return false
	}
	info := p.Info()
	if !info.Scoped {
		return g.Scope.All() || info.Effect == access.Read
	}
	return g.Scope.Covers(o)
}

// TestUnion checks that grants together give what some grant gives, and no more.
func TestUnion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grants := rapid.SliceOfN(anyGrant(), 0, 4).Draw(t, "grants")
		later := noon.Add(time.Duration(rapid.IntRange(0, 4).Draw(t, "later")) * time.Hour)
		r := access.Resolve(grants, roles, nil, noon)
		o := anyObject().Draw(t, "object")
		for _, p := range append(permissionNames(), "device.destroy", "") {
			want := slices.ContainsFunc(grants, func(g access.Grant) bool { return one(g, p, o, later) })
			if got := r.Covers(p, o, later); got != want {
				t.Fatalf("%s for %+v: covers %t, want %t", p, o, got, want)
			}
			all := slices.ContainsFunc(grants, func(g access.Grant) bool { return g.Scope.All() && one(g, p, access.Object{}, later) })
			if r.Everywhere(p, later) && !all && p.Info().Scoped {
				t.Fatalf("%s is held everywhere, and no grant gives it so", p)
			}
			if r.Covers(p, o, later) && !r.Has(p, later) || r.Everywhere(p, later) && !r.Covers(p, o, later) {
				t.Fatalf("%s: everywhere %t, covers %t, has %t", p, r.Everywhere(p, later), r.Covers(p, o, later), r.Has(p, later))
			}
			scopes, all := r.Scopes(p, later)
			if all != r.Everywhere(p, later) || !all && r.Covers(p, o, later) != slices.ContainsFunc(scopes, func(s access.Scope) bool { return s.Covers(o) }) {
				t.Fatalf("%s: its scopes %v, all %t, are not what it covers", p, scopes, all)
			}
			if slices.Contains(r.Held(later), p) != (r.Has(p, later) && p.Known()) {
				t.Fatalf("%s: held %v", p, r.Held(later))
			}
		}
		if r.IsRoot() {
			t.Fatal("grants made root")
		}
		privileged := slices.ContainsFunc(r.Held(later), access.Permission.Privileged)
		if r.Privileged(later) != privileged {
			t.Fatalf("privileged %t, want %t", r.Privileged(later), privileged)
		}
	})
}

// TestNarrowing checks that a token's permissions, a narrower scope, time and a
// grant less never give more.
func TestNarrowing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grants := rapid.SliceOfN(anyGrant(), 1, 4).Draw(t, "grants")
		full := access.Resolve(grants, roles, nil, noon)
		only := subset(permissionNames()).Draw(t, "only")
		if only == nil {
			only = []access.Permission{}
		}
		narrowed := slices.Clone(grants)
		i := rapid.IntRange(0, len(grants)-1).Draw(t, "which")
		extra := rapid.SampledFrom([]device.ZoneName{"a", "b"}).Draw(t, "zone")
		if len(narrowed[i].Scope.Zones) == 0 {
			narrowed[i].Scope.Zones = []device.ZoneName{extra}
		} else {
			narrowed[i].Scope.Zones = narrowed[i].Scope.Zones[:1]
		}
		later := noon.Add(time.Duration(rapid.IntRange(0, 4).Draw(t, "later")) * time.Hour)
		o := anyObject().Draw(t, "object")
		for _, p := range permissionNames() {
			has := full.Covers(p, o, noon)
			for name, less := range map[string]bool{
				"a token":          access.Resolve(grants, roles, only, noon).Covers(p, o, noon),
				"a narrower scope": access.Resolve(narrowed, roles, nil, noon).Covers(p, o, noon),
				"a grant less":     access.Resolve(grants[1:], roles, nil, noon).Covers(p, o, noon),
				"a later time":     full.Covers(p, o, later),
			} {
				if less && !has {
					t.Fatalf("%s: %s gave what there was not", p, name)
				}
			}
			if got := access.Resolve(grants, roles, only, noon).Covers(p, o, noon); got != (has && slices.Contains(only, p)) {
				t.Fatalf("%s: a token of %v has it: %t", p, only, got)
			}
		}
	})
}

// TestScope checks the words of Scope's documentation.
func TestScope(t *testing.T) {
	pump := access.Object{Zone: "north", Type: "pump", Labels: map[string]string{"site": "a", "line": "1"}}
	for _, c := range []struct {
		name  string
		scope access.Scope
		o     access.Object
		want  bool
	}{
		{"everything", access.Scope{}, pump, true}, {"everything, of nothing", access.Scope{}, access.Object{}, true},
		{"its zone", access.Scope{Zones: []device.ZoneName{"south", "north"}}, pump, true}, {"another zone", access.Scope{Zones: []device.ZoneName{"south"}}, pump, false},
		{"a zone that begins so", access.Scope{Zones: []device.ZoneName{"nort", "north-2"}}, pump, false}, {"a zone in capitals", access.Scope{Zones: []device.ZoneName{"North"}}, pump, false},
		{"its type", access.Scope{Types: []device.TypeName{"pump"}}, pump, true}, {"another type", access.Scope{Types: []device.TypeName{"valve"}}, pump, false},
		{"zone and type", access.Scope{Zones: []device.ZoneName{"north"}, Types: []device.TypeName{"pump"}}, pump, true},
		{"zone but not type", access.Scope{Zones: []device.ZoneName{"north"}, Types: []device.TypeName{"valve"}}, pump, false},
		{"a label", access.Scope{Labels: map[string][]string{"site": {"b", "a"}}}, pump, true}, {"another value", access.Scope{Labels: map[string][]string{"site": {"b"}}}, pump, false},
		{"both labels", access.Scope{Labels: map[string][]string{"site": {"a"}, "line": {"1"}}}, pump, true}, {"one of two labels", access.Scope{Labels: map[string][]string{"site": {"a"}, "line": {"2"}}}, pump, false},
		{"a label it does not have", access.Scope{Labels: map[string][]string{"hall": {""}}}, pump, false}, {"a label without values", access.Scope{Labels: map[string][]string{"site": {}}}, pump, false},
		{"a zone, of nothing", access.Scope{Zones: []device.ZoneName{"north"}}, access.Object{}, false}, {"a type, of nothing", access.Scope{Types: []device.TypeName{"pump"}}, access.Object{}, false},
		{"a label, of nothing", access.Scope{Labels: map[string][]string{"site": {"a"}}}, access.Object{}, false},
	} {
		if got := c.scope.Covers(c.o); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	long := string(make([]byte, 65))
	for _, bad := range []access.Scope{{Zones: []device.ZoneName{""}}, {Zones: []device.ZoneName{device.ZoneName(long)}}, {Zones: make([]device.ZoneName, 101)}, {Types: []device.TypeName{""}},
		{Types: []device.TypeName{device.TypeName(long)}}, {Labels: map[string][]string{"": {"a"}}}, {Labels: map[string][]string{"a": {}}}, {Labels: map[string][]string{long: {"a"}}},
		{Labels: map[string][]string{"a": make([]string, 101)}}} {
		if err := bad.Validate(); !refusal.Is(err, "bad-scope") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	for want, s := range map[string]access.Scope{"everything": {}, "zone north or south; type pump; label line=1; label site=a|b": {Zones: []device.ZoneName{"north", "south"}, Types: []device.TypeName{"pump"}, Labels: map[string][]string{"site": {"a", "b"}, "line": {"1"}}}} {
		if got := s.String(); got != want || s.Validate() != nil {
			t.Errorf("%q, want %q (%v)", got, want, s.Validate())
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s, o := anyScope().Draw(t, "scope"), anyObject().Draw(t, "object")
		if s.Validate() == nil && !s.All() && s.Covers(access.Object{}) {
			t.Fatalf("%v covers what has no zone, type or label", s)
		}
		wider := access.Scope{Zones: s.Zones, Types: s.Types}
		if s.Covers(o) && !wider.Covers(o) {
			t.Fatalf("%v covers %v and %v does not", s, o, wider)
		}
	})
}

// TestZeroRights checks that nothing gives nothing, and root everything.
func TestZeroRights(t *testing.T) {
	var none access.Rights
	for _, p := range permissionNames() {
		if none.Has(p, noon) || none.Covers(p, access.Object{}, noon) || none.Everywhere(p, noon) || !access.Root().Everywhere(p, noon) {
			t.Errorf("%s: the zero rights or root are wrong", p)
		}
	}
	if !none.Has(access.Own, noon) || none.Privileged(noon) || none.IsRoot() || none.Held(noon) != nil || !access.Root().Privileged(noon) {
		t.Error("the zero rights or root are wrong")
	}
	if (access.Grant{ExpiresAt: noon}).Live(noon) || !(access.Grant{ExpiresAt: noon.Add(1)}).Live(noon) || !(access.Grant{}).Live(noon) {
		t.Error("a grant counts until its end, and not at it")
	}
}
