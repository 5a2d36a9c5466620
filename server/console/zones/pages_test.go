package zones_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
	"github.com/holdfast-iot/holdfast/server/console/zones"
	"github.com/holdfast-iot/holdfast/test/house"
)

// The pages, with one fleet that lives for all of it.
func TestPages(t *testing.T) {
	h := house.Open(t, true)
	h.Settled(t)
	house.Shows(t, h.Pages(t, access.Root(), zones.Mount), map[string]string{"/zones": "app scada may send it commands", "/zones/riverside-plant": "What may reach it from elsewhere", "/zones/riverside-plant/edit": `name="security_level"`})
	pages := h.Pages(t, house.Only(access.Scope{}, access.ZoneRead), zones.Mount)
	for _, path := range []string{"/zones", "/zones/riverside-plant"} {
		if _, body := house.Get(t, pages, path); strings.Contains(body, `href="/zones/new"`) || strings.Contains(body, `/edit"`) {
			t.Errorf("%s offers a change to who may only read", path)
		}
	}
	browser(t, h)
}

// A zone from its making to its change, with hostile words.
func TestZoneIsMadeAndChanged(t *testing.T) {
	h := house.Open(t, false)
	pages := h.Pages(t, access.Root(), zones.Mount)
	house.Shows(t, pages, map[string]string{"/zones": "No zones yet", "/zones/new": "Create zone"})
	res, body := house.Post(t, pages, "/zones/new", url.Values{"name": {"lab"}, "description": {house.Hostile}, "security_level": {"2"}})
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/zones/lab" {
		t.Fatalf("making a zone answers %d to %q: %.300s", res.StatusCode, res.Header.Get("Location"), body)
	}
	house.Harmless(t, pages, "/zones", "/zones/lab", "/zones/lab/edit", "/zones/"+url.PathEscape(house.Hostile), "/zones/"+url.PathEscape(house.Hostile)+"/edit")
	house.Shows(t, pages, map[string]string{"/zones": "No policy is in force", "/zones/lab": "No devices."})
	z, err := h.Admin.Zone(t.Context(), "lab")
	if err != nil || z.Description != house.Hostile || z.SecurityLevel != 2 || z.Production {
		t.Errorf("it is %+v, %v", z, err)
	}
	form := url.Values{"version": {"1"}, "description": {"the bench"}, "security_level": {"3"}}
	if res, _ := house.Post(t, pages, "/zones/lab/edit", form); res.StatusCode != http.StatusSeeOther {
		t.Errorf("changing it answers %d", res.StatusCode)
	}
	if res, _ := house.Post(t, pages, "/zones/lab/edit", form); res.StatusCode != http.StatusConflict {
		t.Errorf("changing what somebody else changed answers %d", res.StatusCode)
	}
	for _, level := range []string{"5", "-1", "x"} {
		if res, _ := house.Post(t, pages, "/zones/new", url.Values{"name": {"x"}, "security_level": {level}}); res.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("the security level %s is answered with %d", level, res.StatusCode)
		}
	}
	if res, _ := house.Post(t, pages, "/zones/new", url.Values{"name": {"Not A Name"}}); res.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a name that is none is answered with %d", res.StatusCode)
	}
	for _, path := range []string{"/zones/none", "/zones/none/edit"} {
		if code, _ := house.Get(t, pages, path); code != 404 {
			t.Errorf("%s answers %d", path, code)
		}
	}
}

func TestPagesOfABrokenHouse(t *testing.T) {
	pages := house.Broken(access.Root(), zones.Mount)
	for _, path := range []string{"/zones", "/zones/x", "/zones/x/edit"} {
		if code, body := house.Get(t, pages, path); code != 503 || !strings.Contains(body, "The server stops") {
			t.Errorf("%s answers %d without saying what is wrong", path, code)
		}
	}
}

func browser(t *testing.T, h *house.House) {
	b := uitest.Open(t, h.Pages(t, access.Root(), zones.Mount))
	for _, page := range []struct{ name, path string }{{"zones", "/zones"}, {"zone", "/zones/riverside-plant"}, {"zone-new", "/zones/new"}} {
		b.Look(page.name, page.path)
	}
	b.View(1280, 900, "light")
	b.Go("/zones")
	b.Until("the map is drawn", `document.querySelector("#zone-map[data-ready] canvas")`)
	b.Do(chromedp.Click(chromedp.CSS(`[data-words] summary`)))
	b.Until("its words are there", `document.querySelector("[data-words][open] li")`)
	b.Axe("the words of a zone")
	b.Shot("zones-words")
	for _, f := range b.Faults() {
		t.Error(f)
	}
}
