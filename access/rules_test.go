package access_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
)

// kind is a refusal's code, empty for none.
func kind(err error) string {
	if r := refusal.As(err); r != nil {
		return r.Code
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func person(id string, permissions ...access.Permission) access.Identity {
	return access.Identity{Actor: access.Actor{Kind: access.Human, ID: id}, Proof: access.Proof{Method: "passkey", Strong: true, Fresh: noon},
		Rights: access.Resolve([]access.Grant{{Role: "x"}}, func(string) (access.Role, bool) { return access.Role{Permissions: permissions}, true }, nil, noon)}
}

func TestDecide(t *testing.T) {
	waiting := access.Approval{ID: "a1", RequestedBy: "person:p1", State: access.ApprovalWaiting, ExpiresAt: noon.Add(time.Hour), Body: []byte("{}")}
	program := access.Identity{Actor: access.Actor{Kind: access.Client, ID: "c1"}, Proof: access.Proof{Program: true}}
	root := access.Identity{Actor: access.Actor{Kind: access.Client, ID: "admin"}, Proof: access.Proof{Program: true}, Rights: access.Root()}
	with := func(change func(*access.Approval)) access.Approval { a := waiting; change(&a); return a }
	for _, c := range []struct {
		name    string
		a       access.Approval
		by      access.Identity
		approve bool
		comment string
		want    string
	}{
		{"another approves", waiting, person("p2"), true, "seen", ""}, {"another rejects", waiting, person("p2"), false, "", ""},
		{"the requester approves", waiting, person("p1"), true, "", "own-request"}, {"the requester rejects", waiting, person("p1"), false, "", ""},
		{"a program approves", waiting, program, true, "", "not-a-person"}, {"a program rejects", waiting, program, false, "", "not-a-person"},
		{"the admin token approves", waiting, root, true, "", "not-a-person"}, {"the admin token rejects", waiting, root, false, "", ""},
		{"a program approves its own", with(func(a *access.Approval) { a.RequestedBy = "client:c1" }), program, true, "", "not-a-person"},
		{"at its end", with(func(a *access.Approval) { a.ExpiresAt = noon }), person("p2"), true, "", "approval-expired"},
		{"after its end", with(func(a *access.Approval) { a.ExpiresAt = noon.Add(-1) }), person("p2"), false, "", "approval-expired"},
		{"a long comment", waiting, person("p2"), true, strings.Repeat("a", 1025), "bad-comment"}, {"the longest comment", waiting, person("p2"), true, strings.Repeat("a", 1024), ""},
	} {
		got, err := c.a.Decide(c.by, c.approve, c.comment, noon)
		if kind(err) != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		want := c.a
		if c.want == "" {
			want.State, want.DecidedBy, want.DecidedAt, want.Comment = access.ApprovalRejected, c.by.Actor.String(), noon, c.comment
			if c.approve {
				want.State = access.ApprovalApproved
			}
		}
		if got.State != want.State || got.DecidedBy != want.DecidedBy || got.Comment != want.Comment || string(got.Body) != string(want.Body) {
			t.Errorf("%s: it became %+v", c.name, got)
		}
	}
	for _, state := range []access.ApprovalState{access.ApprovalApproved, access.ApprovalDone, access.ApprovalFailed, access.ApprovalRejected, access.ApprovalWithdrawn, access.ApprovalExpired} {
		a := with(func(a *access.Approval) { a.State = state })
		for _, approve := range []bool{true, false} {
			if _, err := a.Decide(person("p2"), approve, "", noon); kind(err) != "already-decided" {
				t.Errorf("deciding what is %s: %v", state, err)
			}
		}
		if _, err := a.Withdraw(access.Actor{Kind: access.Human, ID: "p1"}, noon); kind(err) != "cannot-withdraw" {
			t.Errorf("withdrawing what is %s: %v", state, err)
		}
	}
	for by, want := range map[access.Actor]string{{Kind: access.Human, ID: "p1"}: "", {Kind: access.Human, ID: "p2"}: "cannot-withdraw", {Kind: access.Client, ID: "p1"}: "cannot-withdraw"} {
		if got, err := waiting.Withdraw(by, noon); kind(err) != want || want == "" && got.State != access.ApprovalWithdrawn {
			t.Errorf("%s withdraws: %v, %s", by, err, got.State)
		}
	}
}

func TestConflict(t *testing.T) {
	duties := []access.Duty{{A: access.PolicyApply, B: access.ApprovalDecide}}
	roles := func(name string) (access.Role, bool) {
		r, ok := map[string]access.Role{"apply": {Name: "apply", Permissions: []access.Permission{access.PolicyApply}}, "decide": {Name: "decide", Permissions: []access.Permission{access.ApprovalDecide}},
			"both": {Name: "both", Permissions: []access.Permission{access.ApprovalDecide, access.PolicyApply}}, "admin": {Name: "admin", Permissions: permissionNames()}}[name]
		return r, ok
	}
	past := noon.Add(-time.Hour)
	part := access.Scope{Zones: []device.ZoneName{"north"}}
	for _, c := range []struct {
		name   string
		grants []access.Grant
		ok     bool
	}{
		{"nothing", nil, true}, {"one", []access.Grant{{Role: "apply"}}, true}, {"two roles", []access.Grant{{Role: "apply"}, {Role: "decide"}}, false}, {"one role with both", []access.Grant{{Role: "both"}}, false},
		{"one that ended", []access.Grant{{Role: "apply"}, {Role: "decide", ExpiresAt: past}}, true}, {"for a part of the fleet", []access.Grant{{Role: "apply", Scope: part}, {Role: "decide"}}, false},
		{"an administrator", []access.Grant{{Role: "admin"}}, true}, {"an administrator who also decides", []access.Grant{{Role: "admin"}, {Role: "decide"}}, true},
		{"an administrator with both", []access.Grant{{Role: "admin"}, {Role: "both"}}, false}, {"a role that is gone", []access.Grant{{Role: "gone"}, {Role: "apply"}}, true},
	} {
		d, ok := access.Conflict(duties, c.grants, roles, noon)
		if ok != c.ok || !ok && d != duties[0] {
			t.Errorf("%s: %v %t", c.name, d, ok)
		}
	}
	if _, ok := access.Conflict(nil, []access.Grant{{Role: "both"}}, roles, noon); !ok {
		t.Error("a conflict without duties")
	}
}

func TestSessionRules(t *testing.T) {
	r := access.DefaultSessionRules()
	for _, c := range []struct {
		created, seen time.Duration // ago
		privileged    bool
		ends          time.Duration // from now
	}{
		{0, 0, false, time.Hour}, {0, 0, true, 15 * time.Minute}, {11 * time.Hour, 0, true, 15 * time.Minute}, {11*time.Hour + 50*time.Minute, 0, true, 10 * time.Minute},
		{12 * time.Hour, 0, false, 0}, {2 * time.Hour, 90 * time.Minute, false, -30 * time.Minute}, {2 * time.Hour, 90 * time.Minute, true, -75 * time.Minute},
	} {
		got := r.Ends(access.SessionTimes{Created: noon.Add(-c.created), Seen: noon.Add(-c.seen), Privileged: c.privileged}).Sub(noon)
		if got != c.ends {
			t.Errorf("made %v ago, seen %v ago, privileged %t: ends in %v, want %v", c.created, c.seen, c.privileged, got, c.ends)
		}
	}
	r.IdlePrivileged = 2 * time.Hour // longer than for others: the shorter one holds
	if got := r.Ends(access.SessionTimes{Created: noon, Seen: noon, Privileged: true}).Sub(noon); got != time.Hour {
		t.Errorf("privileged sessions outlive others: %v", got)
	}
	id := person("p1")
	for age, want := range map[time.Duration]bool{0: false, 5 * time.Minute: false, 5*time.Minute + 1: true, 24 * time.Hour: true} {
		if got := id.NeedStepUp(5*time.Minute, noon.Add(age)); got != want {
			t.Errorf("a factor of %v ago: step-up %t", age, got)
		}
	}
	id.Proof.Fresh = time.Time{}
	if !id.NeedStepUp(5*time.Minute, noon) {
		t.Error("no factor at all counts as fresh")
	}
	if id.Proof.Program = true; id.NeedStepUp(5*time.Minute, noon) {
		t.Error("a program was asked for a factor")
	}
}

func TestDormancy(t *testing.T) {
	r := access.DefaultSessionRules()
	day := 24 * time.Hour
	for _, c := range []struct {
		name                     string
		p                        access.Person
		created, enabled, signed time.Duration // ago; 0: never
		want                     access.Dormancy
	}{
		{"used lately", access.Person{State: access.PersonActive}, 400 * day, 400 * day, day, access.Used},
		{"soon", access.Person{State: access.PersonActive}, 400 * day, 400 * day, 76 * day, access.Dozing},
		{"not yet soon", access.Person{State: access.PersonActive}, 400 * day, 400 * day, 76*day - 1, access.Used},
		{"too long", access.Person{State: access.PersonActive}, 400 * day, 400 * day, 90 * day, access.Dormant},
		{"almost", access.Person{State: access.PersonActive}, 400 * day, 400 * day, 90*day - 1, access.Dozing},
		{"never signed in", access.Person{State: access.PersonActive}, 91 * day, 0, 0, access.Dormant},
		{"enabled again yesterday", access.Person{State: access.PersonActive}, 400 * day, day, 200 * day, access.Used},
		{"for emergencies", access.Person{State: access.PersonActive, BreakGlass: true}, 400 * day, 400 * day, 400 * day, access.Used},
		{"disabled already", access.Person{State: access.PersonDisabled}, 400 * day, 400 * day, 400 * day, access.Used},
		{"invited", access.Person{State: access.PersonInvited}, 400 * day, 0, 0, access.Used},
	} {
		ago := func(d time.Duration) time.Time {
			if d == 0 {
				return time.Time{}
			}
			return noon.Add(-d)
		}
		c.p.CreatedAt, c.p.EnabledAt, c.p.SignedInAt = ago(c.created), ago(c.enabled), ago(c.signed)
		if got := r.Dormancy(c.p, noon); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		off := r
		off.Dormant = 0
		if off.Dormancy(c.p, noon) != access.Used {
			t.Errorf("%s: the rule is off", c.name)
		}
	}
}

func TestPermissionList(t *testing.T) {
	seen := map[access.Permission]bool{}
	admin, _ := access.Builtin(access.Admin)
	for _, i := range access.Permissions() {
		p := i.Permission
		noun, verb, ok := strings.Cut(string(p), ".")
		if seen[p] || !ok || noun != p.Noun() || noun == "" || verb == "" || i.Meaning == "" || !p.Known() || p.Info() != i || !admin.Has(p) {
			t.Errorf("%s: %+v", p, i)
		}
		seen[p] = true
		if p.Privileged() != (i.Effect != access.Read) {
			t.Errorf("%s: privileged %t", p, p.Privileged())
		}
		if verb == "read" && i.Effect == access.Change || verb != "read" && verb != "export" && verb != "tap" && i.Effect != access.Change {
			t.Errorf("%s has the effect %d", p, i.Effect)
		}
		if i.Scoped && !access.Permission(noun+".read").Known() && p != access.MessageTap {
			t.Errorf("%s can be scoped, and nothing tells who may see what it is about", p)
		}
	}
	if access.Own.Known() || access.Own.Info() != (access.Info{}) || access.Permission("").Known() {
		t.Error("what cannot be given is listed")
	}
	for _, r := range access.BuiltinRoles() {
		given := map[access.Permission]bool{}
		for _, p := range r.Permissions {
			if given[p] || !p.Known() {
				t.Errorf("the role %s has %s, which is unknown or there twice", r.Name, p)
			}
			given[p] = true
		}
		if !r.Builtin || r.Description == "" || kind(access.Role{Name: r.Name, Permissions: r.Permissions}.Validate()) != "role-builtin" {
			t.Errorf("the role %s is not as it should be", r.Name)
		}
	}
	list := access.BuiltinRoles()
	list[0].Permissions[0] = access.RoleWrite
	if r, _ := access.Builtin(list[0].Name); r.Has(access.RoleWrite) {
		t.Error("a caller changed a role that comes with Holdfast")
	}
}

// TestNobodyElseIsAdmin checks what only the role admin gives: to make people,
// programs and roles.
func TestNobodyElseIsAdmin(t *testing.T) {
	for _, r := range access.BuiltinRoles() {
		for _, p := range []access.Permission{access.RoleWrite, access.PersonWrite, access.ClientWrite} {
			if r.Has(p) != (r.Name == access.Admin) {
				t.Errorf("the role %s gives %s: %t", r.Name, p, r.Has(p))
			}
		}
		if (r.Name == "viewer") == r.Privileged() {
			t.Errorf("the role %s is privileged: %t", r.Name, r.Privileged())
		}
		for _, p := range r.Permissions {
			if (r.Name == "auditor" || r.Name == "viewer") && p.Info().Effect == access.Change {
				t.Errorf("the role %s changes something: %s", r.Name, p)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	long := strings.Repeat("a", 300)
	role := access.Role{Name: "lead", Permissions: []access.Permission{access.DeviceRead}}
	client := access.APIClient{Name: "export", Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Rate: 600}
	human := access.Person{Name: "ann@example.com", Display: "Ann Ö.", Mail: "ann@example.com"}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"role":                       {role.Validate(), ""},
		"role in capitals":           {access.Role{Name: "Lead", Permissions: role.Permissions}.Validate(), "bad-role-name"},
		"role without a name":        {access.Role{Permissions: role.Permissions}.Validate(), "bad-role-name"},
		"role with a newline":        {access.Role{Name: "lead\n", Permissions: role.Permissions}.Validate(), "bad-role-name"},
		"role with a long name":      {access.Role{Name: strings.Repeat("a", 64), Permissions: role.Permissions}.Validate(), "bad-role-name"},
		"role admin":                 {access.Role{Name: "admin", Permissions: role.Permissions}.Validate(), "role-builtin"},
		"role with a long text":      {access.Role{Name: "lead", Description: long, Permissions: role.Permissions}.Validate(), "bad-description"},
		"role without permissions":   {access.Role{Name: "lead"}.Validate(), "no-permissions"},
		"role with an unknown one":   {access.Role{Name: "lead", Permissions: []access.Permission{"device.destroy"}}.Validate(), "bad-permission"},
		"role with one twice":        {access.Role{Name: "lead", Permissions: []access.Permission{access.DeviceRead, access.DeviceRead}}.Validate(), "bad-permission"},
		"role with the own account":  {access.Role{Name: "lead", Permissions: []access.Permission{access.Own}}.Validate(), "bad-permission"},
		"client":                     {client.Validate(), ""},
		"client with a space":        {access.APIClient{Name: "a b"}.Validate(), "bad-client-name"},
		"client with a control":      {access.APIClient{Name: "a", Owner: "x\x1b[0m"}.Validate(), "bad-description"},
		"client with a long text":    {access.APIClient{Name: "a", Description: long}.Validate(), "bad-description"},
		"client with host bits":      {access.APIClient{Name: "a", Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}.Validate(), "bad-networks"},
		"client with no network":     {access.APIClient{Name: "a", Networks: []netip.Prefix{{}}}.Validate(), "bad-networks"},
		"client with many":           {access.APIClient{Name: "a", Networks: make([]netip.Prefix, 33)}.Validate(), "bad-networks"},
		"client with a negative":     {access.APIClient{Name: "a", Rate: -1}.Validate(), "bad-rate"},
		"client with a large rate":   {access.APIClient{Name: "a", Rate: 1_000_001}.Validate(), "bad-rate"},
		"person":                     {human.Validate(), ""},
		"person in capitals":         {access.Person{Name: "Ann"}.Validate(), "bad-name"},
		"person with a slash":        {access.Person{Name: "a/b"}.Validate(), "bad-name"},
		"person without a name":      {access.Person{}.Validate(), "bad-name"},
		"person with a newline":      {access.Person{Name: "ann\n"}.Validate(), "bad-name"},
		"person shown in two lines":  {access.Person{Name: "ann", Display: "a\nb"}.Validate(), "bad-display"},
		"person shown from the left": {access.Person{Name: "ann", Display: "a\u202eb"}.Validate(), "bad-display"},
		"person with bad UTF-8":      {access.Person{Name: "ann", Display: "\xff"}.Validate(), "bad-display"},
		"mail without @":             {access.Person{Name: "ann", Mail: "ann"}.Validate(), "bad-mail"},
		"mail of two":                {access.Person{Name: "ann", Mail: "a@b,c@d"}.Validate(), "bad-mail"},
		"mail with a header":         {access.Person{Name: "ann", Mail: "a@b\r\nBcc: c"}.Validate(), "bad-mail"},
		"long mail":                  {access.Person{Name: "ann", Mail: "a@" + long}.Validate(), "bad-mail"},
	} {
		if kind(c.err) != c.want {
			t.Errorf("%s: %v, want %q", name, c.err, c.want)
		}
	}
	for from, want := range map[string]bool{"192.0.2.7": true, "192.0.3.7": false, "::ffff:192.0.2.7": true, "2001:db8::1": false} {
		if got := client.Admits(netip.MustParseAddr(from)); got != want {
			t.Errorf("from %s: %t", from, got)
		}
	}
	if client.Admits(netip.Addr{}) || !(access.APIClient{}).Admits(netip.Addr{}) {
		t.Error("an unknown address is in no network, and matters only where there is one")
	}
	if got := access.PersonName("  Ann@Example.COM "); got != "ann@example.com" {
		t.Errorf("the name is %q", got)
	}
}

// TestOutOfScope holds the two ways of not finding to one form.
func TestOutOfScope(t *testing.T) {
	r := refusal.As(access.OutOfScope("device", "d1"))
	want := refusal.As(refusal.New(refusal.NotFound, "no-such-device", "list them to find its name", "there is no device %q", "d1"))
	if *r != *want {
		t.Errorf("%+v, want %+v", r, want)
	}
}
