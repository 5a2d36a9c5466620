package storetest

import (
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

const provider = "oidc:test"

func testSCIM(t *testing.T, b Backend) {
	t.Run("People", func(t *testing.T) { testSCIMPeople(begin(t, b)) })
	t.Run("Groups", func(t *testing.T) { testSCIMGroups(begin(t, b)) })
	t.Run("Races", func(t *testing.T) { testSCIMRaces(begin(t, b)) })
	t.Run("LastAdmin", func(t *testing.T) { testSCIMLastAdmin(begin(t, b)) })
}

var scimWrites = []write{
	{method: "ChangeSCIMGroup", prepare: func(w *world) func(...audit.Event) error {
		p := w.provided("f-scim", start)
		c := sqlstore.SCIMChange{Was: "", Now: "1", Group: scimGroup("f-group", "Group"), Add: []access.PersonID{p.ID}, At: start,
			Grants: map[access.PersonID][]access.Grant{p.ID: {fromGroups("f-sg", p.ID, "viewer")}}}
		return func(ev ...audit.Event) error { return w.ChangeSCIMGroup(w.Context(), c, ev...) }
	}},
}

// provided is a person of the identity provider.
func (w *world) provided(id access.PersonID, at time.Time) access.Person {
	w.Helper()
	p := person(id)
	p.Origin, p.External, p.Mail, p.CreatedAt = provider, "ext-"+string(id), string(id)+"@Example.com", at
	w.ok(w.InsertPerson(w.Context(), p, handle(id), []sqlstore.PersonStep{sqlstore.KeepSCIM(false, false, at)}, w.event("person.provisioned", "person", string(id))))
	return p
}

func scimGroup(id, name string) sqlstore.SCIMGroup {
	return sqlstore.SCIMGroup{ID: id, Name: name, Folded: name, Version: 1, CreatedAt: start, UpdatedAt: start}
}

func fromGroups(id string, p access.PersonID, role string) access.Grant {
	return access.Grant{ID: id, Kind: access.ToPerson, Subject: string(p), Role: role, Origin: sqlstore.FromGroups, GrantedBy: "client:idp", GrantedAt: start}
}

func testSCIMPeople(w *world) {
	ctx := w.Context()
	one, two := w.provided("p1", start), w.provided("p2", start.Add(time.Second))
	w.person("local")
	yes, no := true, false
	for _, c := range []struct {
		by   []sqlstore.SCIMPersonBy
		want int
	}{
		{nil, 2}, {[]sqlstore.SCIMPersonBy{{Name: one.Name}}, 1}, {[]sqlstore.SCIMPersonBy{{Name: "name-local"}}, 0},
		{[]sqlstore.SCIMPersonBy{{Mail: "P1@example.COM"}, {External: two.External}}, 2}, {[]sqlstore.SCIMPersonBy{{ID: "p1", Active: &yes}}, 1},
		{[]sqlstore.SCIMPersonBy{{Active: &no}}, 0},
	} {
		list, total, err := w.SCIMPeople(ctx, provider, c.by, 0, 10)
		w.ok(err)
		w.same("found", []int{len(list), total}, []int{c.want, c.want})
	}
	list, total, err := w.SCIMPeople(ctx, provider, nil, 1, 1)
	w.ok(err)
	w.same("the second page", []any{list[0].ID, total}, []any{two.ID, 2})
	_, err = w.SCIMPerson(ctx, provider, "local")
	w.is(err, sqlstore.ErrNotFound)

	gone := one
	gone.State = access.PersonDisabled
	w.ok(w.step(gone, sqlstore.KeepSCIM(true, true, start.Add(time.Hour)), sqlstore.LeaveAll("", "1", start)))
	p, err := w.SCIMPerson(ctx, provider, one.ID)
	w.ok(err)
	w.same("a removed person", []any{p.Removed, p.Off, p.UpdatedAt}, []any{true, true, start.Add(time.Hour)})
	_, total, err = w.SCIMPeople(ctx, provider, nil, 0, 10)
	w.ok(err)
	w.same("people after one was removed", total, 1)
}

func testSCIMGroups(w *world) {
	ctx := w.Context()
	p := w.provided("p1", start)
	c := sqlstore.SCIMChange{Now: "1", Group: scimGroup("g1", "operators"), Add: []access.PersonID{p.ID}, At: start,
		Grants: map[access.PersonID][]access.Grant{p.ID: {fromGroups("x1", p.ID, "operator")}}}
	w.ok(w.ChangeSCIMGroup(ctx, c))
	g, members, err := w.SCIMGroup(ctx, "g1")
	w.ok(err)
	w.same("the group", []any{g, members}, []any{c.Group, c.Add})
	of, err := w.SCIMGroupsOf(ctx, p.ID)
	w.ok(err)
	w.same("groups of the member", of, []sqlstore.SCIMGroup{c.Group})

	other := sqlstore.SCIMChange{Was: "1", Now: "2", Group: scimGroup("g2", "operators"), At: start}
	w.is(w.ChangeSCIMGroup(ctx, other), sqlstore.ErrChanged) // the name is taken
	other.Group = scimGroup("g2", "viewers")
	w.ok(w.ChangeSCIMGroup(ctx, other))
	other.Was, other.Now, other.Group.Version, other.Group.Folded = "2", "3", 2, "operators"
	w.is(w.ChangeSCIMGroup(ctx, other), sqlstore.ErrChanged)

	c.Was, c.Now, c.Group.Version, c.Add, c.Remove, c.Delete = "2", "3", 2, nil, []access.PersonID{p.ID}, true
	c.Grants = map[access.PersonID][]access.Grant{p.ID: nil}
	w.ok(w.ChangeSCIMGroup(ctx, c))
	_, _, err = w.SCIMGroup(ctx, "g1")
	w.is(err, sqlstore.ErrNotFound)
	grants, err := w.Grants(ctx, access.ToPerson, string(p.ID))
	w.ok(err)
	w.same("roles without the group", len(grants), 0)
	list, err := w.SCIMGroups(ctx)
	w.ok(err)
	w.same("groups that are left", len(list), 1)
	state, err := w.SCIMState(ctx)
	w.ok(err)
	w.same("the state", state, "3")
}

// testSCIMRaces has ten change groups from one state: one of them does.
func testSCIMRaces(w *world) {
	errs := all(10, func(i int) error {
		id := string(rune('a' + i))
		return w.ChangeSCIMGroup(w.Context(), sqlstore.SCIMChange{Now: id, Group: scimGroup(id, id), At: start})
	})
	w.same("groups made", w.won(errs), 1)
}

func testSCIMLastAdmin(w *world) {
	ctx := w.Context()
	p := w.provided("p1", start)
	g := access.Grant{ID: "x1", Kind: access.ToPerson, Subject: string(p.ID), Role: access.Admin, Origin: sqlstore.FromGroups, GrantedBy: "client:idp", GrantedAt: start}
	c := sqlstore.SCIMChange{Now: "1", Group: scimGroup("g1", "admins"), Add: []access.PersonID{p.ID}, At: start, Grants: map[access.PersonID][]access.Grant{p.ID: {g}}}
	w.ok(w.ChangeSCIMGroup(ctx, c))
	c.Was, c.Now, c.Group.Version, c.Add, c.Remove = "1", "2", 2, nil, []access.PersonID{p.ID}
	c.Grants = map[access.PersonID][]access.Grant{p.ID: nil}
	w.unchanged(func() { w.is(w.ChangeSCIMGroup(ctx, c), sqlstore.ErrLastAdmin) })
}
