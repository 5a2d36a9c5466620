package browser

import (
	"crypto/tls"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// hostileText would run, or end an attribute, a tag or a script, wherever it was
// written into a page as it is.
const hostileText = `"'></td></script><script>hostile()</script><img src=x onerror=hostile()> {{7*7}} ${7*7} javascript:hostile()`

// admin acts with the administrator's token.
func (s *site) admin(t *testing.T) *adminapi.Client {
	t.Helper()
	token, err := os.ReadFile(s.ready.AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(tr.CloseIdleConnections)
	return &adminapi.Client{BaseURL: s.ready.API, Token: adminapi.NewBearer(strings.TrimSpace(string(token))), HTTP: &http.Client{Transport: tr}}
}

// hostile fills every field that takes free text with one that attacks its reader.
func (s *site) hostile(t *testing.T) {
	t.Helper()
	c := s.admin(t)
	ctx, x := t.Context(), hostileText
	labels := map[string]string{"site": "x"}
	device1 := adminapi.DeviceInput{Type: "hostile-type", Zone: "hostile-zone", Owner: x, Manufacturer: x, Notes: x, Serial: "<b>1", Labels: labels}
	for _, err := range []error{
		errOf(c.CreateZone(ctx, "hostile-zone", adminapi.ZoneInput{Description: x})),
		errOf(c.CreateType(ctx, "hostile-type", device.Prototype, adminapi.TypeInput{Description: x})),
		errOf(c.CreateDevice(ctx, "hostile-device", device1)),
		errOf(c.SetMaintenance(ctx, "hostile-device", true, x)),
		errOf(c.CreateRole(ctx, "hostile-role", adminapi.RoleInput{Description: x, Permissions: []access.Permission{access.DeviceRead}})),
		errOf(c.InvitePerson(ctx, adminapi.PersonInput{Name: "hostile", Display: x})),
		errOf(c.CreateAPIClient(ctx, "hostile-client", adminapi.ClientInput{Description: x, Owner: x})),
	} {
		if err != nil {
			t.Errorf("writing hostile texts: %v", err)
		}
	}
	if _, _, err := c.CreateToken(ctx, adminapi.TokenInput{Type: "hostile-type", Zone: "hostile-zone", Note: x}); err != nil {
		t.Errorf("writing hostile texts: %v", err)
	}
}

func errOf[T any](_ T, err error) error { return err }

// TestHostileTexts opens the pages that show what people wrote, in a browser that
// would run it: nothing runs, nothing breaks out, and the text is there to be read.
func TestHostileTexts(t *testing.T) {
	s := up(t, false)
	s.hostile(t)
	p := s.person(t)
	p.begin(s.ready.SignIn, hostileText)
	for _, path := range []string{"/", "/devices", "/devices/hostile-device", "/devices/hostile-device/history", "/devices/tokens", "/devices/types", "/device-types/hostile-type", "/device-types/hostile-type/edit",
		"/zones", "/zones/hostile-zone", "/access/people", "/access/roles", "/audit", "/account", "/account/sign-ins", "/devices?q=" + "%22%3E%3Cscript%3Ehostile()%3C/script%3E", "/audit?subject=%22%3E%3Cimg%20src=x%20onerror=hostile()%3E"} {
		p.Go(path)
		p.Ready()
		if uitest.Eval[bool](p.Browser, `Boolean(document.querySelector("img[src=x], [onerror], td script, main script:not([src]):not([type='application/json'])")) || document.documentElement.innerHTML.includes("<script>hostile")`) {
			t.Errorf("%s: a text became a part of the page", path)
		}
		p.clean(path) // "hostile is not defined" would stand here
	}
	p.Go("/devices/hostile-device")
	p.reads(`<script>hostile()</script>`)
	p.Axe("a page of hostile texts")
}
