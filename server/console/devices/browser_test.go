package devices_test

import (
	"fmt"
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

// walk is a browser in front of a house.
type walk struct {
	*house
	*uitest.Browser
}

// until waits until a script is true of the page.
func (w walk) until(what, script string) {
	w.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		ok, err := chromedp.Run(w.Browser.Context(), chromedp.Evaluate[bool](`(() => { try { return Boolean(`+script+`); } catch { return false; } })()`))
		if err == nil && ok {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("waiting for %s at %s", what, uitest.Eval[string](w.Browser, `location.href + "\n" + document.body.innerText.slice(0, 2000)`))
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (w walk) is(what, script string) {
	w.Helper()
	if !uitest.Eval[bool](w.Browser, script) {
		w.Errorf("at %s: not so: %s", uitest.Eval[string](w.Browser, `location.href`), what)
	}
}

// keys presses keys, one after the other.
func (w walk) keys(names ...string) {
	w.Helper()
	for _, name := range names {
		w.Do(chromedp.KeyEvent(name))
	}
}

// The pages in a browser, with one fleet that lives for all of it.
func TestInBrowser(t *testing.T) {
	h := open(t, true)
	h.settled()
	if _, err := h.admin.SetMaintenance(t.Context(), "valve-plant-1", true, "seal replaced, ticket 4713"); err != nil {
		t.Fatal(err)
	}
	w := walk{h, uitest.Open(t, h.pages(access.Root()))}
	w.everyPage()
	w.dialogs()
	w.stateOfTheTable()
	w.keyboard()
	w.fromRefusalToProof()
	// /live is not served here: that it is asked for is the only fault.
	for _, f := range w.Faults() {
		if !strings.Contains(f, "/live") && !strings.Contains(f, "htmx:sse") {
			t.Error(f)
		}
	}
}

const enrolOne = "/devices/enrol?type=level-sensor&zone=riverside-plant&device_id=level-plant-9"

// everyPage: nothing breaks the content security policy, nothing is wider than the
// window, and the accessibility checks find nothing.
func (w walk) everyPage() {
	for _, page := range []struct{ name, path string }{
		{"devices", "/devices"}, {"device", "/devices/pump-plant-1"}, {"device-refused", "/devices/level-plant-3"}, {"device-quarantined", "/devices/level-intake-2"},
		{"device-topics", "/devices/pump-plant-1/topics"}, {"device-history", "/devices/pump-plant-1/history"}, {"device-edit", "/devices/pump-plant-1/edit"},
		{"device-explain", "/devices/level-plant-2/explain?action=publish&topic=water/riverside-plant/pump-plant-1/telemetry&said=no+rule"}, {"device-maintenance", "/devices/valve-plant-1"},
		{"devices-nothing", "/devices?state=retired"}, {"waiting", "/devices/waiting"}, {"tokens", "/devices/tokens"}, {"types", "/devices/types"}, {"type", "/device-types/pump-controller"},
		{"type-new", "/device-types"}, {"enrol", enrolOne}, {"import", "/devices/import"}, {"device-retire", "/devices/pump-plant-1/retire"}, {"register", "/devices/new"},
	} {
		w.Look(page.name, page.path)
	}
	list, err := w.admin.Certificates(w.house.Context(), adminapi.CertificateFilter{Principal: "pump-plant-1", Limit: 1})
	if err != nil || len(list.Items) == 0 {
		w.Fatalf("the pump has no certificate: %v", err)
	}
	w.Look("certificate", "/devices/pump-plant-1/certificates/"+list.Items[0].Serial)
}

func (w walk) dialogs() {
	w.View(1280, 900, "light")
	w.Go("/devices/pump-plant-1")
	w.Do(chromedp.Click(chromedp.CSS(`.page-actions a[href$="/quarantine"]`)), chromedp.WaitVisible(chromedp.CSS(`dialog#act-quarantine`)))
	w.Shot("dialog-quarantine")
	w.Axe("the dialog of a quarantine")
	w.Go(enrolOne)
	w.Do(chromedp.Click(chromedp.CSS(`#token [type=submit]`)), chromedp.WaitVisible(chromedp.CSS(`[data-testid="token"]`)))
	w.Shot("token-made")
	w.Axe("a token that was made")
	w.View(390, 844, "dark")
	w.Shot("token-made-390")
	w.View(1280, 900, "light")
	w.Go("/devices?type=level-sensor")
	w.Do(chromedp.Click(chromedp.CSS(`[data-tick-all]`)), chromedp.WaitVisible(chromedp.CSS(`[data-bulk]`)))
	w.Shot("ticked")
	w.Do(chromedp.Click(chromedp.CSS(`[data-bulk] button`)), chromedp.WaitVisible(chromedp.CSS(`dialog#many`)))
	w.Shot("dialog-many")
	w.Axe("the dialog for many")
}

// stateOfTheTable is in the address: what was chosen is there again after a reload
// and after going back, and goes into the exports.
func (w walk) stateOfTheTable() {
	w.Go("/devices")
	choose := func(id, value string) {
		uitest.Eval[bool](w.Browser, fmt.Sprintf(`(() => { const e = document.getElementById(%q); e.value = %q; e.dispatchEvent(new Event("change", {bubbles: true})); return true; })()`, id, value))
	}
	rows := `[...document.querySelectorAll("tr[data-row]")]`
	choose("devices-type", "level-sensor")
	w.until("the filter in the address", `location.search === "?type=level-sensor"`)
	choose("devices-zone", "riverside-plant")
	w.until("both filters in the address", `new URLSearchParams(location.search).get("zone") === "riverside-plant"`)
	w.until("the rows of both", rows+`.length > 0 && `+rows+`.every((r) => r.innerText.includes("level-sensor") && r.innerText.includes("riverside-plant"))`)
	w.Do(chromedp.Click(chromedp.CSS(`[popovertarget="devices-columns"]`)), chromedp.Click(chromedp.CSS(`#devices-columns input[value="serial"]`)))
	w.until("the column", `document.querySelector('#devices th:nth-child(n)') && [...document.querySelectorAll("#devices th")].some((h) => h.innerText.startsWith("Serial"))`)
	w.is("the choice of columns stays open", `document.querySelector("#devices-columns:popover-open")?.contains(document.activeElement)`)
	w.is("the column in the address", `new URLSearchParams(location.search).get("cols")?.split(",").includes("serial")`)
	address := uitest.Eval[string](w.Browser, `location.pathname + location.search`)
	w.Go(address)
	w.is("the filters after a reload", `document.getElementById("devices-type").value === "level-sensor" && document.getElementById("devices-zone").value === "riverside-plant"`)
	w.is("the column after a reload", `[...document.querySelectorAll("#devices th")].some((h) => h.innerText.startsWith("Serial"))`)
	w.is("exports of the same", `[...document.querySelectorAll('#devices a[href*="/devices/export"]')].length === 3 && [...document.querySelectorAll('#devices a[href*="/devices/export"]')].every((a) => a.href.includes("type=level-sensor") && a.href.includes("zone=riverside-plant"))`)
	w.Do(chromedp.Click(chromedp.CSS(`.chip-clear`)))
	w.until("no filter", `!location.search.includes("type=")`)
	uitest.Eval[bool](w.Browser, `(history.back(), true)`)
	w.until("the filters after going back", `document.getElementById("devices-type")?.value === "level-sensor"`)
}

// keyboard: everything is reached with Tab, in the order in which it is read; a
// dialog keeps the focus until Escape gives it back.
func (w walk) keyboard() {
	w.View(1280, 900, "light")
	w.Go("/devices/pump-plant-1")
	w.Ready()
	uitest.Eval[bool](w.Browser, `(document.activeElement.blur(), window.seen = [], true)`)
	for range 120 {
		w.keys("\t")
		if uitest.Eval[bool](w.Browser, `(() => { const e = document.activeElement; if (e === document.body || window.seen.includes(e)) return true; window.seen.push(e); return false; })()`) {
			break
		}
	}
	w.is("the first stop leads to the content", `window.seen[0].classList.contains("skip")`)
	w.is("stops are in the order of the page", `window.seen.every((e, i) => i === 0 || window.seen[i - 1].compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING)`)
	w.is("every stop is visible", `window.seen.slice(1).every((e) => e.checkVisibility() && e.getBoundingClientRect().width > 0)`)
	w.is("every control is a stop", `[...document.querySelectorAll("main a[href], main button, main summary")].filter((e) => e.checkVisibility() && !e.closest("[popover]")).every((e) => window.seen.includes(e))`)

	uitest.Eval[bool](w.Browser, `(document.querySelector('.page-actions a[href$="/quarantine"]').focus(), true)`)
	w.keys("\r")
	w.until("the dialog", `document.querySelector("dialog[open]#act-quarantine")`)
	w.is("the dialog has the focus", `document.querySelector("dialog[open]").contains(document.activeElement)`)
	for range 12 {
		w.keys("\t")
		w.is("Tab stays in the dialog", `document.activeElement === document.body || document.querySelector("dialog[open]").contains(document.activeElement)`)
	}
	w.keys("\x1b")
	w.until("the dialog gone", `!document.querySelector("dialog[open]")`)
	w.is("the focus is where it was", `document.activeElement.matches('.page-actions a[href$="/quarantine"]')`)

	uitest.Eval[bool](w.Browser, `(document.querySelector('[popovertarget="device-more"]').focus(), true)`)
	w.keys("\r")
	w.until("the menu", `document.querySelector("#device-more:popover-open")`)
	w.keys("\t")
	w.is("Tab goes into the menu", `document.querySelector("#device-more").contains(document.activeElement)`)
	w.keys("\x1b")
	w.until("the menu gone", `!document.querySelector(":popover-open")`)

	w.Go("/devices")
	w.keys("j", "j", "k")
	w.is("j and k go through the rows", `document.activeElement === document.querySelector("tr[data-row] .row-link")`)
	w.keys("/")
	w.is("a slash goes to the search", `document.activeElement.matches(".filter-search input")`)
	uitest.Eval[bool](w.Browser, `(document.activeElement.value = "", true)`) // the driver types the slash too, which a keyboard does not
	w.keys("pump")
	w.until("what was typed in the address", `location.search === "?q=pump"`)
	w.is("the search keeps the focus", `document.activeElement.matches(".filter-search input")`)
}

// fromRefusalToProof: the page of a device reaches from the refusal to the reason
// and to the proof.
func (w walk) fromRefusalToProof() {
	w.Go("/devices/level-plant-3")
	w.Do(chromedp.Click(chromedp.CSS(`[data-testid="refusal"] a.button`)), chromedp.WaitVisible(chromedp.CSS(`[data-testid="verdict"]`)))
	w.is("the explanation shows its steps", `document.querySelectorAll('[data-testid="step"]').length > 0`)
	w.Go("/devices/level-plant-3/quarantine")
	w.Do(chromedp.SendKeys(chromedp.CSS(`textarea[name="reason"]`), "sends without an end"), chromedp.Click(chromedp.CSS(`form[action$="/quarantine"] [type=submit]`)), chromedp.WaitVisible(chromedp.CSS(`#identity`)))
	if d, err := w.admin.Device(w.house.Context(), "level-plant-3"); err != nil || d.State != device.Quarantined {
		w.Fatalf("it is %s, %v", d.State, err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		w.Go("/devices/level-plant-3?done=device.quarantined")
		w.Ready()
		if uitest.Eval[int](w.Browser, `document.querySelectorAll('[data-testid="done"] a[href^="/audit/"]').length`) == 1 {
			break
		}
		if time.Now().After(end) {
			w.Fatal("the page does not lead to the entry of the log")
		}
	}
	w.Shot("done")
}
