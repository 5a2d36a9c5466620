package overview_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/overview"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
	"github.com/holdfast-iot/holdfast/test/house"
)

// The page, with one fleet that lives for all of it.
func TestPage(t *testing.T) {
	h := house.Open(t, true)
	h.Settled(t)
	pages := h.Pages(t, access.Root(), overview.Mount)
	if _, err := h.Admin.ChangeDevice(t.Context(), "pump-plant-2", device.Quarantine, house.Hostile); err != nil {
		t.Fatal(err)
	}
	h.Until(t, "the sentence of what was done is there", func() bool {
		_, body := house.Get(t, pages, "/")
		return strings.Contains(body, `quarantined <a class="audit-party" href="/devices/pump-plant-2">`)
	})
	_, body := house.Get(t, pages, "/?window=1h&all=1")
	for _, want := range []string{`href="/devices"`, `href="/messages/sessions"`, `href="/messages/refused`, `href="/policy"`, `href="/devices/waiting"`, `href="/access/approvals"`, `href="/?all=1"`, `href="/?all=1&amp;window=6h"`, "are late", "Devices by state"} {
		if !strings.Contains(body, want) {
			t.Errorf("it has no %s", want)
		}
	}
	q := url.QueryEscape(house.Hostile)
	house.Harmless(t, pages, "/", "/?all=1", "/?window="+q+"&all="+q)
	permissions(t, h)
	b := uitest.Open(t, pages)
	b.Look("overview", "/")
	for _, f := range b.Faults() {
		// /live is not served here: that it is asked for is the only fault.
		if !strings.Contains(f, "/live") && !strings.Contains(f, "htmx:sse") {
			t.Error(f)
		}
	}
}

// What somebody may not see is not there; who may see nothing is told so, or led
// on.
func permissions(t *testing.T, h *house.House) {
	t.Helper()
	if _, body := house.Get(t, h.Pages(t, house.Only(access.Scope{}, access.StatusRead), overview.Mount), "/"); strings.Contains(body, "Latest in the audit log") || strings.Contains(body, "Messages a second") {
		t.Error("who may see the status alone is shown the audit log or rates")
	}
	if code, body := house.Get(t, h.Pages(t, house.Only(access.Scope{}), overview.Mount), "/"); code != 200 || !strings.Contains(body, "You have no role yet") {
		t.Errorf("who has no role is answered with %d", code)
	}
	w := httptest.NewRecorder()
	h.Pages(t, house.Only(access.Scope{}, access.AuditRead), overview.Mount).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if w.Header().Get("Location") != "/audit" {
		t.Errorf("who may read the audit log alone is led to %q", w.Header().Get("Location"))
	}
}

// An empty house shows how to begin, and what is done already.
func TestFirstSteps(t *testing.T) {
	h := house.Open(t, false)
	pages := h.Pages(t, access.Root(), overview.Mount)
	house.Shows(t, pages, map[string]string{"/": "Begin here"})
	if _, err := h.Admin.CreateZone(t.Context(), "lab", adminapi.ZoneInput{}); err != nil {
		t.Fatal(err)
	}
	house.Shows(t, pages, map[string]string{"/": "Done: 1 zone"})
}

// When the API does not answer, the page says so; when a part of it does not, the
// others are there.
func TestBroken(t *testing.T) {
	if code, body := house.Get(t, house.Broken(access.Root(), overview.Mount), "/"); code != 200 || !strings.Contains(body, "The server stops") {
		t.Errorf("it answers %d without saying what is wrong", code)
	}
	m := ui.NewMux()
	overview.Mount(m)
	pages := uitest.Pages(m, access.Root(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/overview") {
			text := strings.ReplaceAll(house.Hostile, `"`, `\"`)
			w.Write([]byte(strings.ReplaceAll(`{"devices":{"total":3,"by_state":{"active":3},"complete":true},"certificates":{"week":2,"month":3,"due":1,"complete":false,"first":[]},"policy":{"version":0},
				"refused":[{"rule":"T","kind":"T","count":7,"clients":1}],"attention":[{"severity":"high","title":"T","detail":"T","kind":"device","id":"T"},{"severity":"T","title":"T","detail":"","kind":"T","id":"T"}]}`, `T"`, text+`"`)))
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte(`{"status":503,"code":"stopping","detail":"the server stops"}`))
	}))
	code, body := house.Get(t, pages, "/")
	if code != 200 || !strings.Contains(body, "Devices by state") || !strings.Contains(body, "1 or more") || !strings.Contains(body, "nothing is allowed until one is applied") || !strings.Contains(body, "The server stops") {
		t.Errorf("it answers %d: %.2000s", code, body)
	}
	house.Inert(t, "/", body)
}
