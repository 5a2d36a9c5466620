package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testRoles(t *testing.T, b Backend) {
	t.Run("Fields", func(t *testing.T) { testRoleFields(begin(t, b)) })
	t.Run("Grants", func(t *testing.T) { testGrants(begin(t, b)) })
	t.Run("Unreadable", func(t *testing.T) { testUnreadableScope(begin(t, b)) })
	t.Run("Delete", func(t *testing.T) { testRoleDeletedWhileGiven(begin(t, b)) })
	t.Run("Update", func(t *testing.T) { testRoleUpdateRace(begin(t, b)) })
	t.Run("LastAdmin", func(t *testing.T) { testLastAdmin(t, b) })
	t.Run("Origins", func(t *testing.T) { testGrantOrigins(begin(t, b)) })
	t.Run("Uses", func(t *testing.T) { testPermissionUses(begin(t, b)) })
}

func role(name string) access.Role {
	return access.Role{Name: name, Description: "a " + name, Permissions: []access.Permission{access.DeviceRead, access.DeviceQuarantine}, UpdatedAt: start, Version: 1}
}

// given is a grant of a role to a person, for everything and without an end.
func given(id, person, role string) access.Grant {
	return access.Grant{ID: id, Kind: access.ToPerson, Subject: person, Role: role, Origin: "manual", Reason: "night shift", GrantedBy: "client:admin", GrantedAt: start}
}

var roleWrites = []write{
	{method: "InsertRole", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.InsertRole(w.Context(), role("f-role"), ev...) }
	}},
	{method: "UpdateRole", prepare: func(w *world) func(...audit.Event) error {
		r := role("f-role")
		r.Description, r.Version, r.UpdatedAt = "changed", 2, start.Add(time.Second)
		return func(ev ...audit.Event) error { return w.UpdateRole(w.Context(), r, ev...) }
	}},
	{method: "InsertGrant", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error {
			return w.InsertGrant(w.Context(), given("f-g1", "f-p", "f-role"), true, ev...)
		}
	}},
	{method: "DeleteGrant", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error {
			return w.DeleteGrant(w.Context(), given("f-g1", "f-p", "f-role"), false, start, ev...)
		}
	}},
	{method: "DeleteRole", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.DeleteRole(w.Context(), "f-role", start, ev...) }
	}},
	{method: "ReplaceGrants", prepare: func(w *world) func(...audit.Event) error {
		g := given("f-g2", "f-p", "viewer")
		g.Origin = "oidc:f"
		return func(ev ...audit.Event) error {
			return w.ReplaceGrants(w.Context(), "f-p", g.Origin, []access.Grant{g}, start, ev...)
		}
	}},
	{method: "PutPermissionUses", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error {
			return w.PutPermissionUses(w.Context(), []sqlstore.PermissionUse{{Kind: access.ToPerson, Subject: "f-p", Permission: access.DeviceRead, Day: 7}})
		}
	}},
}

func testRoleFields(w *world) {
	ctx := w.Context()
	first, other := role("night"), role("day")
	w.ok(w.InsertRole(ctx, first, w.event("role.created", "role", "night")))
	w.ok(w.InsertRole(ctx, other))
	w.refused(func() error { return w.InsertRole(ctx, first, w.event("role.created", "role", "night")) })
	list, err := w.Roles(ctx)
	w.ok(err)
	w.same("roles by name", list, []access.Role{other, first})

	before, err := w.ChangeVersion(ctx)
	w.ok(err)
	first.Permissions, first.Version, first.UpdatedAt = []access.Permission{access.StatusRead}, 2, start.Add(time.Second)
	w.ok(w.UpdateRole(ctx, first, w.event("role.updated", "role", "night")))
	w.refused(func() error { return w.UpdateRole(ctx, first, w.event("role.updated", "role", "night")) })
	w.ok(w.DeleteRole(ctx, "day", start.Add(2*time.Second), w.event("role.deleted", "role", "day")))
	w.refused(func() error { return w.DeleteRole(ctx, "day", start) })
	changes, err := w.Changes(ctx, before)
	w.ok(err)
	w.same("what other nodes are told", changes, []sqlstore.Change{
		{Version: before + 1, Kind: sqlstore.ChangeAccess, Subject: "role/night", At: start.Add(time.Second)},
		{Version: before + 2, Kind: sqlstore.ChangeAccess, Subject: "role/day", At: start.Add(2 * time.Second)}})
	list, err = w.Roles(ctx)
	w.ok(err)
	w.same("what is left", list, []access.Role{first})
}

func testGrants(w *world) {
	ctx := w.Context()
	w.ok(w.InsertRole(ctx, role("night")))
	full := given("g1", "p1", "night")
	full.Scope = access.Scope{Zones: []device.ZoneName{"lab", "plant"}, Types: []device.TypeName{"meter"}, Labels: map[string][]string{"site": {"a", "b"}}}
	full.ExpiresAt = start.Add(time.Hour)
	plain := given("g2", "c1", "viewer")
	plain.Kind, plain.GrantedAt = access.ToClient, start.Add(time.Second)
	w.ok(w.InsertGrant(ctx, full, true, w.event("role.granted", "person", "p1")))
	w.ok(w.InsertGrant(ctx, plain, false))
	if w.InsertGrant(ctx, plain, false) == nil {
		w.Fatal("a grant's id was used twice")
	}
	w.refused(func() error {
		return w.InsertGrant(ctx, given("g3", "p1", "gone"), true, w.event("role.granted", "person", "p1"))
	})
	got, err := w.Grant(ctx, "g1")
	w.ok(err)
	w.same("the grant", got, full)
	_, err = w.Grant(ctx, "g9")
	w.is(err, sqlstore.ErrNotFound)
	for _, c := range []struct {
		kind    access.SubjectKind
		subject string
		want    []access.Grant
	}{
		{access.ToPerson, "p1", []access.Grant{full}}, {access.ToClient, "c1", []access.Grant{plain}},
		{access.ToClient, "p1", nil}, {access.ToPerson, "c1", nil}, {access.ToPerson, "", []access.Grant{full}},
		{access.ToClient, "", []access.Grant{plain}}, {"", "", []access.Grant{full, plain}},
	} {
		list, err := w.Grants(ctx, c.kind, c.subject)
		w.ok(err)
		w.same(fmt.Sprintf("grants of %q %q", c.kind, c.subject), list, c.want)
	}
	w.refused(func() error { return w.DeleteRole(ctx, "night", start, w.event("role.deleted", "role", "night")) })
	w.ok(w.DeleteGrant(ctx, full, false, start, w.event("role.taken_back", "person", "p1")))
	w.refused(func() error {
		return w.DeleteGrant(ctx, full, false, start, w.event("role.taken_back", "person", "p1"))
	})
	w.ok(w.DeleteRole(ctx, "night", start))
}

// testUnreadableScope spoils a scope in the database: reading fails, it does not
// become the whole fleet.
func testUnreadableScope(w *world) {
	ctx := w.Context()
	g := given("g1", "p1", "viewer")
	g.Scope = access.Scope{Zones: []device.ZoneName{"lab"}}
	w.ok(w.InsertGrant(ctx, g, false))
	w.exec(`UPDATE role_grant SET scope = '{"zones":'`)
	if _, err := w.Grant(ctx, "g1"); err == nil {
		w.Fatal("a scope that is cut off was read")
	}
	if list, err := w.Grants(ctx, access.ToPerson, "p1"); err == nil {
		w.Fatalf("a scope that is cut off was read: %v", list)
	}
}

func (w *world) exec(query string) {
	w.Helper()
	_, err := w.raw.ExecContext(w.Context(), query)
	w.ok(err)
}

// testRoleDeletedWhileGiven gives a role and deletes it at one moment, many
// times: never does somebody have a role that is gone.
func testRoleDeletedWhileGiven(w *world) {
	ctx := w.Context()
	for i := range 20 {
		name, id := fmt.Sprint("r", i), fmt.Sprint("g", i)
		w.ok(w.InsertRole(ctx, role(name)))
		errs := all(2, func(n int) error {
			if n == 0 {
				return w.InsertGrant(ctx, given(id, "p1", name), true, w.event("role.granted", "person", "p1"))
			}
			return w.DeleteRole(ctx, name, start, w.event("role.deleted", "role", name))
		})
		w.same("of giving and deleting", w.won(errs), 1)
		_, err := w.Grant(ctx, id)
		if errs[0] == nil {
			w.ok(err)
		} else {
			w.is(err, sqlstore.ErrNotFound)
		}
	}
	var n int
	w.ok(w.raw.QueryRowContext(ctx, `SELECT COUNT(*) FROM role_grant WHERE role NOT IN (SELECT name FROM role)`).Scan(&n))
	w.same("grants of roles that are gone", n, 0)
	w.same("events", w.events("role.granted")+w.events("role.deleted"), 20)
}

func testRoleUpdateRace(w *world) {
	ctx := w.Context()
	w.ok(w.InsertRole(ctx, role("night")))
	errs := all(8, func(i int) error {
		r := role("night")
		r.Description, r.Version = fmt.Sprint("by ", i), 2
		return w.UpdateRole(ctx, r, w.event("role.updated", "role", "night"))
	})
	w.same("updates of one version", w.won(errs), 1)
	w.same("events", w.events("role.updated"), 1)
}

// administrator adds an active person who is an administrator for good.
func (w *world) administrator(id string) access.Grant {
	w.Helper()
	w.ok(w.InsertPerson(w.Context(), access.Person{ID: access.PersonID(id), Name: id, State: access.PersonActive, Origin: "local", CreatedAt: start, EnabledAt: start, Version: 1}, []byte("handle of "+id), nil))
	g := given("g-"+id, id, access.Admin)
	w.ok(w.InsertGrant(w.Context(), g, false))
	return g
}

// testLastAdmin has administrators take each other's role at one moment: one of
// them stays. Grants that end, or are for a part of the fleet, do not count; nor
// do those of people who cannot sign in.
func testLastAdmin(t *testing.T, b Backend) {
	t.Run("EachOther", func(t *testing.T) {
		w := begin(t, b)
		for i := range 10 {
			one, two := w.administrator(fmt.Sprint("a", i)), w.administrator(fmt.Sprint("b", i))
			errs := all(2, func(n int) error {
				g := []access.Grant{one, two}[n]
				return w.DeleteGrant(t.Context(), g, false, start, w.event("role.taken_back", "person", g.Subject))
			})
			w.same("of two who take each other's role", w.won(errs), 1)
			left, err := w.OtherAdmins(t.Context(), "")
			w.ok(err)
			w.same("administrators left", left, 1)
			for n, g := range []access.Grant{one, two} {
				if errs[n] != nil {
					w.ok(w.DeleteGrant(t.Context(), g, true, start))
				}
			}
		}
		w.same("events", w.events("role.taken_back"), 10)
	})
	t.Run("Others", func(t *testing.T) {
		w := begin(t, b)
		ctx, g := t.Context(), w.administrator("a")
		ends, part := given("g1", "b", access.Admin), given("g2", "c", access.Admin)
		ends.ExpiresAt, part.Scope = start.Add(time.Hour), access.Scope{Zones: []device.ZoneName{"lab"}}
		for i, o := range []access.Grant{ends, part, given("g3", "d", access.Admin), given("g4", "e", "security-officer")} {
			state := access.PersonActive
			if o.Subject == "d" {
				state = access.PersonDisabled
			}
			w.ok(w.InsertPerson(ctx, access.Person{ID: access.PersonID(o.Subject), Name: o.Subject, State: state, Origin: "local", CreatedAt: start, Version: 1}, []byte{byte(i)}, nil))
			w.ok(w.InsertGrant(ctx, o, false))
		}
		w.ok(w.InsertGrant(ctx, access.Grant{ID: "g5", Kind: access.ToClient, Subject: "x", Role: access.Admin, Origin: "manual", GrantedBy: "client:admin", GrantedAt: start}, false))
		n, err := w.OtherAdmins(ctx, "a")
		w.ok(err)
		w.same("other administrators", n, 0)
		w.refused(func() error { return w.DeleteGrant(ctx, g, false, start, w.event("role.taken_back", "person", "a")) })
		w.administrator("f")
		w.ok(w.DeleteGrant(ctx, g, false, start))
	})
}

func testGrantOrigins(w *world) {
	ctx := w.Context()
	manual, theirs := given("g1", "p1", "viewer"), given("g2", "p1", "operator")
	theirs.Origin = "oidc:corp"
	others := given("g3", "p2", "operator")
	others.Origin = "oidc:corp"
	for _, g := range []access.Grant{manual, theirs, others} {
		w.ok(w.InsertGrant(ctx, g, false))
	}
	now := given("g4", "p1", "auditor")
	now.Origin, now.GrantedAt = "oidc:corp", start.Add(time.Second)
	before, err := w.ChangeVersion(ctx)
	w.ok(err)
	w.ok(w.ReplaceGrants(ctx, "p1", "oidc:corp", []access.Grant{now}, start, w.event("role.mapped", "person", "p1")))
	list, err := w.Grants(ctx, "", "")
	w.ok(err)
	w.same("grants", list, []access.Grant{manual, others, now})
	changes, err := w.Changes(ctx, before)
	w.ok(err)
	w.same("what other nodes are told", changes, []sqlstore.Change{{Version: before + 1, Kind: sqlstore.ChangeAccess, Subject: "person/p1", At: start}})
	w.ok(w.ReplaceGrants(ctx, "p1", "oidc:corp", nil, start))
	list, err = w.Grants(ctx, access.ToPerson, "p1")
	w.ok(err)
	w.same("without groups", list, []access.Grant{manual})

	// Sign-ins of one person at many nodes at once leave one set behind. One that
	// meets another may fail, as a whole.
	all(6, func(i int) error {
		var set []access.Grant
		for _, r := range []string{"viewer", "operator"} {
			g := given(fmt.Sprint("n", i, r), "p1", r)
			g.Origin = "oidc:corp"
			set = append(set, g)
		}
		return w.ReplaceGrants(ctx, "p1", "oidc:corp", set, start)
	})
	list, err = w.Grants(ctx, access.ToPerson, "p1")
	w.ok(err)
	whole := map[string]int{}
	for _, g := range list {
		if g.Origin == "oidc:corp" {
			whole[g.ID[:2]]++
		}
	}
	for set, n := range whole {
		w.same("grants of the set "+set, n, 2)
	}
	if len(whole) == 0 {
		w.Fatal(errors.New("no set of grants is left"))
	}
}

func testPermissionUses(w *world) {
	ctx := w.Context()
	use := func(day int64) sqlstore.PermissionUse {
		return sqlstore.PermissionUse{Kind: access.ToClient, Subject: "c1", Permission: access.DeviceRead, Day: day}
	}
	for _, day := range []int64{5, 9, 7} { // an earlier day changes nothing
		w.ok(w.PutPermissionUses(ctx, []sqlstore.PermissionUse{use(day)}))
	}
	for _, err := range all(8, func(i int) error { return w.PutPermissionUses(ctx, []sqlstore.PermissionUse{use(int64(10 + i))}) }) {
		w.ok(err)
	}
	list, err := w.PermissionUses(ctx)
	w.ok(err)
	w.same("uses", list, []sqlstore.PermissionUse{use(17)})
}
