package access_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// Every page in a browser: nothing breaks the content security policy, nothing is
// wider than the window, and the accessibility checks find nothing.
func TestPagesInBrowser(t *testing.T) {
	h := open(t, access.Never)
	ctx := t.Context()
	for _, z := range []device.ZoneName{"intake", "riverside-plant"} {
		_, err := h.admin.CreateZone(ctx, z, adminapi.ZoneInput{})
		h.must(err)
	}
	_, err := h.admin.CreateType(ctx, "level-sensor", "", adminapi.TypeInput{})
	h.must(err)
	grace, err := h.admin.InvitePerson(ctx, adminapi.PersonInput{Name: "grace@example.com", Display: "Grace Hopper", Mail: "grace@example.com"})
	h.must(err)
	_, err = h.admin.CreateRole(ctx, "line-lead", adminapi.RoleInput{Description: "Leads a line: maintains and quarantines its devices.", Permissions: []access.Permission{access.DeviceRead, access.DeviceMaintain, access.DeviceQuarantine}})
	h.must(err)
	c, err := h.admin.CreateAPIClient(ctx, "inventory-export", adminapi.ClientInput{Owner: "platform team", Description: "Writes the inventory to the asset register each night."})
	h.must(err)
	none, err := h.admin.CreateAPIClient(ctx, "dashboard", adminapi.ClientInput{Owner: "control room"})
	h.must(err)
	for _, g := range []adminapi.GrantInput{{Kind: access.ToPerson, Subject: string(grace.Person.ID), Role: "line-lead", Scope: access.Scope{Zones: []device.ZoneName{"riverside-plant"}}, Reason: "night shift"},
		{Kind: access.ToPerson, Subject: string(grace.Person.ID), Role: "viewer", Reason: "night shift", ExpiresAt: time.Now().Add(90 * time.Hour)}, {Kind: access.ToClient, Subject: c.ID, Role: "viewer", Reason: "nightly export"}} {
		_, err = h.admin.Grant(ctx, g)
		h.must(err)
	}
	k, _, err := h.admin.CreateKey(ctx, c.ID, adminapi.KeyInput{Note: "asset register", Permissions: []access.Permission{access.DeviceRead}})
	h.must(err)
	_, _, err = h.admin.CreateKey(ctx, c.ID, adminapi.KeyInput{Note: "trial", ValidFor: adminapi.Duration(72 * time.Hour)})
	h.must(err)
	_, err = h.admin.CreateClientSecret(ctx, c.ID)
	h.must(err)
	b := uitest.Open(t, h.pages(access.Root()))
	person, client := "/access/people/"+string(grace.Person.ID), "/access/clients/"+c.ID
	for _, page := range []struct{ name, path string }{
		{"people", "/access/people"}, {"invite", "/access/people/invite"}, {"person", person}, {"person-erase", person + "/erase"}, {"clients", "/access/clients"}, {"client", client},
		{"client-empty", "/access/clients/" + none.ID}, {"client-new", "/access/clients/new"}, {"client-role", "/access/clients/" + none.ID + "/role"}, {"client-credential", client + "/credential"},
		{"client-edit", client + "/edit"}, {"key-rotate", client + "/keys/" + k.ID + "/rotate"}, {"roles", "/access/roles"}, {"role", "/access/roles/line-lead"}, {"role-edit", "/access/roles/line-lead/edit"},
		{"role-new", "/access/new-role?from=operator"}, {"unused", "/access/unused"}, {"approvals", "/access/approvals"},
		{"sign-ins", "/access/sign-ins"},
	} {
		b.Look(page.name, page.path)
	}
	b.Go(client + "/credential")
	b.Do(chromedp.Click(chromedp.CSS(`#key [type=submit]`)), chromedp.WaitVisible(chromedp.CSS(`[data-testid="secret"]`)))
	b.Shot("key-made")
	b.Axe("a key that was made")
	b.View(390, 844, "dark")
	b.Shot("key-made-390")
	if wide := uitest.Eval[float64](b, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("a key that was made is %v px wide on a phone", wide)
	}
	for _, f := range b.Faults() {
		if !strings.Contains(f, "/live") {
			t.Error(f)
		}
	}
}
