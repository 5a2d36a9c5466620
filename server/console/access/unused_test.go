package access

import (
	"slices"
	"testing"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// The report names each role that is not used wholly, the most wasteful first, with
// the least role that has all that is used and nothing more than the present one.
func TestExcesses(t *testing.T) {
	roles := []access.Role{
		{Name: "all", Permissions: []access.Permission{access.DeviceRead, access.DeviceWrite, access.ZoneRead, access.ZoneWrite}},
		{Name: "read", Permissions: []access.Permission{access.DeviceRead, access.ZoneRead}},
		{Name: "devices", Permissions: []access.Permission{access.DeviceRead}},
		{Name: "other", Permissions: []access.Permission{access.DeviceRead, access.AuditRead}},
	}
	grants := []access.Grant{
		{ID: "g1", Kind: access.ToPerson, Subject: "p1", Role: "all", Origin: "manual"},
		{ID: "g2", Kind: access.ToPerson, Subject: "p2", Role: "read", Origin: "manual"},
		{ID: "g3", Kind: access.ToClient, Subject: "p1", Role: "all", Origin: "manual"},
		{ID: "g4", Kind: access.ToPerson, Subject: "p1", Role: "read", Origin: "scim"},
		{ID: "g5", Kind: access.ToPerson, Subject: "p3", Role: "read", Origin: "manual"},
		{ID: "g6", Kind: access.ToPerson, Subject: "p4", Role: "gone", Origin: "manual"},
	}
	idle := func(subject string, p access.Permission, last string, in ...string) adminapi.Unused {
		return adminapi.Unused{Kind: access.ToPerson, Subject: subject, Permission: p, Roles: in, LastUsed: last}
	}
	list := excesses(grants, roles, []adminapi.Unused{
		idle("p1", access.DeviceWrite, "2030-01-02", "all"), idle("p1", access.ZoneRead, "", "all", "read"), idle("p1", access.ZoneWrite, "2030-02-01", "all"),
		idle("p2", access.DeviceRead, "", "read"), idle("p2", access.ZoneRead, "", "read"), idle("p3", access.DeviceRead, "", "read"), idle("p4", access.DeviceRead, "", "gone"),
	})
	var got []string
	for _, e := range list {
		got = append(got, e.grant.ID+" "+e.smaller+" "+e.since)
	}
	// Of p2 nothing is used, so that the role is taken back; no role has only what p3 uses.
	if want := []string{"g1 devices 2030-02-01", "g2 devices ", "g5  "}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if list[0].used != 1 || list[1].used != 0 || list[0].without() != "/access/new-role?from=all&without=device.write,zone.read,zone.write" {
		t.Errorf("got %+v", list)
	}
}
