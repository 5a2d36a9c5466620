package devices_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

const hostile = `<script>alert("x")</script>' onload=x`

// fill makes a type, a zone and two devices, one with hostile texts in every field
// that takes them.
func (h *house) fill() {
	h.Helper()
	ctx := h.Context()
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	_, err := h.admin.CreateZone(ctx, "lab", adminapi.ZoneInput{Description: hostile})
	note(err)
	_, err = h.admin.CreateType(ctx, "sensor", "", adminapi.TypeInput{Description: hostile})
	note(err)
	_, err = h.admin.CreateDevice(ctx, "sensor-1", adminapi.DeviceInput{Type: "sensor", Zone: "lab", Owner: hostile, Serial: hostile, Manufacturer: hostile, Notes: hostile, Labels: map[string]string{"site": hostile}})
	note(err)
	_, err = h.admin.CreateDevice(ctx, "waiting", adminapi.DeviceInput{Type: "sensor", Zone: "lab", Labels: map[string]string{"site": "plant"}})
	note(err)
	_, _, err = h.admin.CreateToken(ctx, adminapi.TokenInput{Type: "sensor", Zone: "lab", Note: hostile})
	note(err)
	for _, err := range errs {
		if err != nil {
			h.Fatal(err)
		}
	}
}

func TestPagesOfAnEmptyHouse(t *testing.T) {
	pages := open(t, false).pages(access.Root())
	for path, want := range map[string]string{"/devices": "No devices yet", "/devices/tokens": "No enrolment tokens", "/devices/types": "No device types yet", "/devices/waiting": "Nobody waits",
		"/devices/enrol": "Make the token", "/devices/import": "What the file looks like", "/devices/new": "Register", "/device-types": "Make the type"} {
		if code, body := get(t, pages, path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s answers %d without %q", path, code, want)
		}
	}
	for _, path := range []string{"/devices/nobody", "/devices/nobody/topics", "/devices/nobody/quarantine", "/device-types/none", "/enrolment/tokens/none/revoke", "/enrolment/waiting/none/approve"} {
		if code, body := get(t, pages, path); code != 404 {
			t.Errorf("%s answers %d: %.200s", path, code, body)
		}
	}
}

// What people and devices wrote is text, in every place that shows it.
func TestHostileTexts(t *testing.T) {
	h := open(t, false)
	h.fill()
	pages := h.pages(access.Root())
	for _, path := range []string{"/devices?cols=id,owner,labels,serial,manufacturer,notes&label=" + url.QueryEscape("x="+hostile), "/devices?cols=id,owner,labels,serial,manufacturer,notes",
		"/devices?q=" + url.QueryEscape(hostile), "/devices/sensor-1", "/devices/sensor-1/edit", "/devices/sensor-1/explain?action=publish&topic=" + url.QueryEscape(hostile) + "&said=" + url.QueryEscape(hostile),
		"/devices/sensor-1?done=" + url.QueryEscape(hostile), "/devices/types", "/device-types/sensor", "/devices/tokens", "/devices/enrol?device_id=" + url.QueryEscape(hostile), "/devices/sensor-1/topics", "/devices/sensor-1/history"} {
		code, body := get(t, pages, path)
		if strings.Contains(body, `<script>alert`) || strings.Contains(body, `' onload=x`) || strings.Contains(body, `" onload`) {
			t.Errorf("%s shows what somebody wrote as markup", path)
		}
		if code >= 500 {
			t.Errorf("%s answers %d: %.300s", path, code, body)
		}
	}
}

// A device whose id is a word of the console's paths has its page too.
func TestDeviceNamedLikeAPage(t *testing.T) {
	h := open(t, false)
	h.fill()
	pages := h.pages(access.Root())
	if _, body := get(t, pages, "/devices"); !strings.Contains(body, `href="/device/waiting"`) {
		t.Error("the list does not lead to the device called waiting")
	}
	if code, body := get(t, pages, "/device/waiting"); code != 200 || !strings.Contains(body, "Not enrolled yet") {
		t.Errorf("its page answers %d", code)
	}
}

func TestFiltersAreInTheAddress(t *testing.T) {
	h := open(t, false)
	h.fill()
	pages := h.pages(access.Root())
	for query, found := range map[string]bool{"q=sens": true, "q=site%3Dplant": false, "label=site%3Dplant": false, "state=registered": true, "state=active": false, "owner=" + url.QueryEscape(hostile): true, "zone=lab&type=sensor": true, "zone=elsewhere": false} {
		_, body := get(t, pages, "/devices?"+query)
		if strings.Contains(body, `href="/devices/sensor-1"`) != found {
			t.Errorf("with %s, sensor-1 is found: %v", query, !found)
		}
		if !strings.Contains(body, "format=csv") {
			t.Errorf("with %s there is no export", query)
		}
	}
	if code, body := get(t, pages, "/devices/export?format=csv&q=sens"); code != 200 || !strings.Contains(body, "sensor-1") || strings.Contains(body, "\nwaiting,") {
		t.Errorf("the export answers %d: %s", code, body)
	}
	if code, body := get(t, pages, "/devices?label=broken"); code != 200 || !strings.Contains(body, "callout tone-bad") {
		t.Errorf("a filter that is no label answers %d without an explanation", code)
	}
}

// What somebody may not do is not offered, and what they may not see is not shown.
func TestPermissionsHide(t *testing.T) {
	h := open(t, false)
	h.fill()
	reader := h.pages(only(access.Scope{}, access.DeviceRead))
	_, body := get(t, reader, "/devices/sensor-1")
	for _, absent := range []string{"/quarantine", "/retire", "/edit", "Live session", "Certificates", "Allowed topics", "/audit/", "New enrolment token"} {
		if strings.Contains(body, absent) {
			t.Errorf("a reader is shown %s", absent)
		}
	}
	if !strings.Contains(body, "as far as the device tells") {
		t.Error("a reader sees nothing of what happened")
	}
	_, body = get(t, reader, "/devices")
	for _, absent := range []string{"Enrol a device", "data-tick", "Waiting room", "Import"} {
		if strings.Contains(body, absent) {
			t.Errorf("a reader of the list is shown %s", absent)
		}
	}
	elsewhere := h.pages(only(access.Scope{Zones: []device.ZoneName{"elsewhere"}}, access.DeviceRead, access.DeviceQuarantine, access.DeviceWrite))
	if _, body := get(t, elsewhere, "/devices/sensor-1"); strings.Contains(body, "/quarantine") || strings.Contains(body, "/edit") {
		t.Error("somebody of another zone is offered what they may not do")
	}
}

// The life of a device through the pages, each step ending where its entry of the
// log is shown.
func TestActions(t *testing.T) {
	h := open(t, false)
	h.fill()
	pages := h.pages(access.Root())
	for _, step := range []struct {
		path  string
		form  url.Values
		done  string
		state device.State
	}{
		{"/devices/sensor-1/maintenance", url.Values{"on": {"yes"}, "reason": {"valve"}}, "device.maintenance_begun", device.Registered},
		{"/devices/sensor-1/maintenance", url.Values{"on": {"no"}, "reason": {"valve"}}, "device.maintenance_ended", device.Registered},
		{"/devices/sensor-1/quarantine", url.Values{"reason": {"odd"}}, "device.quarantined", device.Quarantined},
		{"/devices/sensor-1/release", url.Values{"reason": {"fine"}}, "device.released", device.Registered},
		{"/devices/sensor-1/retire", url.Values{"reason": {"old"}, "confirm": {"sensor-1"}}, "device.retired", device.Retired},
	} {
		if code, body := get(t, pages, step.path); code != 200 || !strings.Contains(body, "What will happen") || !strings.Contains(body, `name="reason"`) {
			t.Fatalf("%s asks nothing: %d", step.path, code)
		}
		res, body := post(t, pages, step.path, step.form)
		if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/devices/sensor-1?done="+step.done {
			t.Fatalf("%s answers %d %s: %.600s", step.path, res.StatusCode, res.Header.Get("Location"), body)
		}
		if d, err := h.admin.Device(t.Context(), "sensor-1"); err != nil || d.State != step.state {
			t.Fatalf("after %s it is %s, %v", step.path, d.State, err)
		}
		if code, _ := get(t, pages, res.Header.Get("Location")); code != 200 {
			t.Fatalf("the page after %s answers %d", step.path, code)
		}
	}
	if res, body := post(t, pages, "/devices/waiting/retire", url.Values{"reason": {"x"}, "confirm": {"other"}}); res.StatusCode != 422 || !strings.Contains(body, "nothing has happened") {
		t.Errorf("retiring without the typed name answers %d", res.StatusCode)
	}
}

func TestManyAtOnce(t *testing.T) {
	h := open(t, false)
	h.fill()
	pages := h.pages(access.Root())
	code, body := get(t, pages, "/devices/quarantine?id=sensor-1&id=waiting&id=waiting")
	if code != 200 || !strings.Contains(body, "Quarantine 2 devices") || strings.Contains(body, "second person may") {
		t.Errorf("the question answers %d", code)
	}
	res, body := post(t, pages, "/devices/quarantine", url.Values{"id": {"sensor-1", "waiting"}, "reason": {"odd"}})
	if res.StatusCode != 200 || !strings.Contains(body, "2 devices are in quarantine") || !strings.Contains(body, "/audit?") {
		t.Errorf("the move answers %d: %.600s", res.StatusCode, body)
	}
	if _, body = get(t, pages, "/devices/quarantine?id=sensor-1"); !strings.Contains(body, "cannot be done") {
		t.Error("the question does not say that a device is in quarantine already")
	}
	for _, query := range []string{"", "?id=..%2Fx", "?" + strings.Repeat("id=a&", 1001)} {
		if code, _ := get(t, pages, "/devices/quarantine"+query); code != 422 && code != 413 {
			t.Errorf("choosing %.20s answers %d", query, code)
		}
	}
}

// The secret is in one answer and in no other page, with commands that hold this
// server's own address and root.
func TestToken(t *testing.T) {
	h := open(t, false)
	h.fill()
	pages := h.pages(access.Root())
	res, body := post(t, pages, "/devices/enrol", url.Values{"kind": {"one-time"}, "type": {"sensor"}, "zone": {"lab"}, "device_id": {"sensor-9"}, "valid_for": {"1h"}})
	at := strings.Index(body, "hfe_")
	if res.StatusCode != 200 || at < 0 || !strings.Contains(body, h.ready.DeviceAPI+"/.well-known/est/sensor/simpleenroll") || !strings.Contains(body, "BEGIN CERTIFICATE") || !strings.Contains(body, "ID=sensor-9") || !strings.Contains(body, `class="qr"`) {
		t.Fatalf("making a token answers %d", res.StatusCode)
	}
	secret := body[at : at+strings.IndexAny(body[at:], "<\"& ")]
	if _, body := get(t, pages, "/devices/tokens"); strings.Contains(body, secret) {
		t.Error("the list shows the secret")
	}
	tokens, err := h.admin.Tokens(t.Context())
	if err != nil || tokens[0].DeviceID != "sensor-9" || tokens[0].ExpiresAt.Sub(tokens[0].CreatedAt).Round(time.Minute) != time.Hour || tokens[0].Kind != enroll.OneTime {
		t.Fatalf("the token is %+v, %v", tokens, err)
	}
	if res, _ := post(t, pages, "/enrolment/tokens/"+tokens[0].ID+"/revoke", nil); res.StatusCode != http.StatusSeeOther {
		t.Errorf("revoking it answers %d", res.StatusCode)
	}
	for _, wrong := range []url.Values{{"kind": {"group"}, "type": {"sensor"}, "zone": {"lab"}, "quota": {"many"}, "valid_for": {"1h"}}, {"type": {"none"}, "zone": {"lab"}, "valid_for": {"1h"}}, {"type": {"sensor"}, "zone": {"lab"}, "valid_for": {"soon"}}} {
		if res, _ := post(t, pages, "/devices/enrol", wrong); res.StatusCode < 400 || res.StatusCode >= 500 {
			t.Errorf("%v answers %d", wrong, res.StatusCode)
		}
	}
}

func TestTypes(t *testing.T) {
	h := open(t, false)
	h.fill()
	pages := h.pages(access.Root())
	steps := []struct {
		path string
		form url.Values
		code int
	}{
		{"/device-types", url.Values{"name": {"meter"}, "stage": {"develop"}, "profile": {"device"}, "key_algorithm": {"P-384"}, "validity": {"30d"}, "grace": {"12h"}, "approval": {"auto"}}, 303},
		{"/device-types", url.Values{"name": {"other"}, "stage": {"develop"}, "validity": {"a while"}}, 422},
		{"/device-types/meter/stage", url.Values{"to": {"deploy"}, "reason": {"release"}}, 409},
		{"/device-types/meter/sign-off", url.Values{"stage": {"deploy"}, "statement": {"Penetration test reviewed, nothing open"}}, 303},
		{"/device-types/meter/stage", url.Values{"to": {"deploy"}, "reason": {"release"}}, 303},
		{"/device-types/meter/stage", url.Values{"to": {"decommission"}, "reason": {"end"}, "confirm": {"wrong"}}, 422},
		{"/device-types/meter/edit", url.Values{"version": {"x"}, "validity": {"30d"}}, 422},
	}
	for _, s := range steps {
		if res, body := post(t, pages, s.path, s.form); res.StatusCode != s.code {
			t.Errorf("%s with %v answers %d, want %d: %.800s", s.path, s.form, res.StatusCode, s.code, body)
		}
	}
	if _, body := get(t, pages, "/device-types/meter"); !strings.Contains(body, "Penetration test reviewed") || !strings.Contains(body, "30 days") || !strings.Contains(body, "12 h") {
		t.Error("the page of the type does not say what was made")
	}
}
