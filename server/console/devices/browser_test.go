package devices_test

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

// settled waits until the demo's fleet is enrolled and connected.
func (h *house) settled() {
	h.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		o, err := h.admin.Overview(h.Context())
		if err == nil && o.Devices != nil && o.Devices.ByState["active"] >= 24 && o.Sessions != nil && o.Sessions.ByKind["device"] >= 20 {
			refused, err := h.admin.Refusals(h.Context(), adminapi.RefusalFilter{Principal: "level-plant-3"})
			if err == nil && len(refused) > 0 {
				return
			}
		}
		if time.Now().After(end) {
			h.Fatal("the demo's fleet did not come up within 30 s")
		}
		<-time.After(100 * time.Millisecond)
	}
}

// Every page in a browser: nothing breaks the content security policy, nothing is
// wider than the window, and the accessibility checks find nothing.
func TestPagesInBrowser(t *testing.T) {
	h := open(t, true)
	h.settled()
	if _, err := h.admin.SetMaintenance(t.Context(), "valve-plant-1", true, "seal replaced, ticket 4713"); err != nil {
		t.Fatal(err)
	}
	b := uitest.Open(t, h.pages(access.Root()))
	token := "/devices/enrol?type=level-sensor&zone=riverside-plant&device_id=level-plant-9"
	for _, page := range []struct{ name, path string }{
		{"devices", "/devices"}, {"device", "/devices/pump-plant-1"}, {"device-refused", "/devices/level-plant-3"}, {"device-quarantined", "/devices/level-intake-2"},
		{"device-topics", "/devices/pump-plant-1/topics"}, {"device-history", "/devices/pump-plant-1/history"}, {"device-edit", "/devices/pump-plant-1/edit"},
		{"device-explain", "/devices/level-plant-2/explain?action=publish&topic=water/riverside-plant/pump-plant-1/telemetry&said=no+rule"}, {"device-maintenance", "/devices/valve-plant-1"},
		{"devices-nothing", "/devices?state=retired"}, {"waiting", "/devices/waiting?decision=all"}, {"tokens", "/devices/tokens"}, {"types", "/devices/types"}, {"type", "/device-types/pump-controller"},
		{"type-new", "/device-types"}, {"enrol", token}, {"import", "/devices/import"}, {"device-retire", "/devices/pump-plant-1/retire"}, {"register", "/devices/new"},
	} {
		b.Shots(page.name, page.path)
		for _, theme := range []string{"light", "dark"} {
			b.View(1280, 900, theme)
			b.Go(page.path)
			b.Ready()
			b.Axe(page.path + " in " + theme)
		}
	}
	b.View(390, 844, "light")
	b.Go("/devices/pump-plant-1")
	b.Ready()
	b.Axe("a device on a phone")

	b.View(1280, 900, "light")
	b.Go("/devices/pump-plant-1")
	b.Do(chromedp.Click(chromedp.CSS(`.page-actions a[href$="/quarantine"]`)), chromedp.WaitVisible(chromedp.CSS(`dialog#act-quarantine`)))
	b.Shot("dialog-quarantine")
	b.Axe("the dialog of a quarantine")
	b.Go(token)
	b.Do(chromedp.Click(chromedp.CSS(`#token [type=submit]`)), chromedp.WaitVisible(chromedp.CSS(`[data-testid="token"]`)))
	b.Shot("token-made")
	b.Axe("a token that was made")
	b.View(390, 844, "dark")
	b.Shot("token-made-390")
	b.View(1280, 900, "light")
	b.Go("/devices?type=level-sensor")
	b.Do(chromedp.Click(chromedp.CSS(`[data-tick-all]`)), chromedp.WaitVisible(chromedp.CSS(`[data-bulk]`)))
	b.Shot("ticked")
	b.Do(chromedp.Click(chromedp.CSS(`[data-bulk] button`)), chromedp.WaitVisible(chromedp.CSS(`dialog#many`)))
	b.Shot("dialog-many")
	b.Axe("the dialog for many")
	// /live is not served here: that it is asked for is the only fault.
	for _, f := range b.Faults() {
		if !strings.Contains(f, "/live") && !strings.Contains(f, "htmx:sse") {
			t.Error(f)
		}
	}
}

// The page of a device reaches from the refusal to the reason and to the action. That
// the log then names the person is seen where one is signed in: in test/browser.
func TestFromRefusalToAction(t *testing.T) {
	h := open(t, true)
	h.settled()
	b := uitest.Open(t, h.pages(access.Root()))
	b.View(1280, 900, "light")
	b.Go("/devices/level-plant-3")
	b.Do(chromedp.Click(chromedp.CSS(`[data-testid="refusal"] a.button`)), chromedp.WaitVisible(chromedp.CSS(`[data-testid="verdict"]`)))
	if n := uitest.Eval[int](b, `document.querySelectorAll('[data-testid="step"]').length`); n == 0 {
		t.Error("the explanation shows no step")
	}
	b.Go("/devices/level-plant-3/quarantine")
	b.Do(chromedp.SendKeys(chromedp.CSS(`textarea[name="reason"]`), "sends without an end"), chromedp.Click(chromedp.CSS(`form[action$="/quarantine"] [type=submit]`)), chromedp.WaitVisible(chromedp.CSS(`#identity`)))
	if d, err := h.admin.Device(t.Context(), "level-plant-3"); err != nil || d.State != device.Quarantined {
		t.Fatalf("it is %s, %v", d.State, err)
	}
}
