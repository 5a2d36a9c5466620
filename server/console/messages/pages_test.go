package messages_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/messages"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
	"github.com/holdfast-iot/holdfast/test/house"
)

// The pages, with one fleet that lives for all of it.
func TestPages(t *testing.T) {
	h := house.Open(t, true)
	h.Settled(t)
	t.Run("show", func(t *testing.T) { show(t, h) })
	t.Run("hostile", func(t *testing.T) { hostile(t, h) })
	t.Run("address", func(t *testing.T) { inTheAddress(t, h) })
	t.Run("permissions", func(t *testing.T) { permissions(t, h) })
	t.Run("stream", func(t *testing.T) { stream(t, h) })
	t.Run("browser", func(t *testing.T) { browser(t, h) })
	t.Run("close", func(t *testing.T) { closing(t, h) })
}

func TestPagesOfAnEmptyHouse(t *testing.T) {
	h := house.Open(t, false)
	house.Shows(t, h.Pages(t, access.Root(), messages.Mount), map[string]string{
		"/messages/rates": "No messages in this time", "/messages/refused": "Nothing was refused lately", "/messages/sessions": "Nobody is connected", "/messages/tap": "Nothing to see yet"})
}

// When the API does not answer, each page says so and keeps its frame.
func TestPagesOfABrokenHouse(t *testing.T) {
	pages := house.Broken(access.Root(), messages.Mount)
	for _, path := range []string{"/messages/rates", "/messages/refused", "/messages/sessions", "/messages/sessions/x"} {
		code, body := house.Get(t, pages, path)
		if !strings.Contains(body, "The server stops") || strings.Contains(body, "Something went wrong") || code != 200 && code != 503 {
			t.Errorf("%s answers %d without saying what is wrong", path, code)
		}
	}
}

func show(t *testing.T, h *house.House) {
	pages := h.Pages(t, access.Root(), messages.Mount)
	h.Until(t, "something was counted", func() bool {
		_, body := house.Get(t, pages, "/messages/rates")
		return strings.Contains(body, `href="/messages/sessions?zone=riverside-plant"`)
	})
	house.Shows(t, pages, map[string]string{
		"/messages/rates?by=type": `href="/messages/sessions?type=pump-controller"`, "/messages/rates?by=none&window=1h": "Everything",
		"/messages/refused": "/policy/explain?action=", "/messages/refused?live=1": "Stop following",
		"/messages/sessions": `href="/messages/sessions/pump-plant-1"`, "/messages/sessions/pump-plant-1": "water/riverside-plant/pump-plant-1/cmd/start",
		"/messages/tap": "The audit log notes that you watched", "/messages/sessions?closed=pump-1": "/audit?subject=session%3Apump-1"})
	for path, want := range map[string]string{"/messages/rates/export?by=zone": "zone,riverside-plant,", "/messages/refused/export?kind=publish-refused": "publish-refused,device,"} {
		if code, body := house.Get(t, pages, path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s answers %d: %.200s", path, code, body)
		}
	}
	if code, _ := house.Get(t, pages, "/messages/sessions/nobody"); code != 404 {
		t.Errorf("a session that is not there answers %d", code)
	}
}

// What clients and people wrote is text everywhere.
func hostile(t *testing.T, h *house.House) {
	q := url.QueryEscape(house.Hostile)
	house.Harmless(t, h.Pages(t, access.Root(), messages.Mount), "/messages/tap?filter="+q+"&from="+q+"&zone="+q+"&type="+q+"&as="+q, "/messages/refused?principal="+q+"&kind="+q+"&rule="+q+"&since="+q,
		"/messages/refused?live=1&principal="+q, "/messages/sessions?q="+q+"&type="+q+"&zone="+q, "/messages/sessions?closed="+q, "/messages/sessions/"+url.PathEscape(house.Hostile), "/messages/rates?window="+q+"&by="+q)
	fake := uitest.Pages(mounted(), access.Root(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		text := strings.ReplaceAll(house.Hostile, `"`, `\"`)
		body := `{"items":[{"time":"2026-01-01T00:00:00Z","last":"2026-01-01T00:00:00Z","kind":"T","action":"publish","principal":{"kind":"app","id":"T","type":"T","zone":"T"},"client":"T","address":"T","topic":"T","rule":"T","detail":"T","count":1,"node":"T"}]}`
		switch {
		case strings.HasSuffix(r.URL.Path, "/rates"):
			body = `{"window":"15m","by":"zone","from":"2026-01-01T00:00:00Z","step":5,"nodes":1,"series":[{"what":"zone","name":"T","in":[1,2],"out":[1,2],"refused":[1,2]}]}`
		case strings.Contains(r.URL.Path, "/sessions/"):
			body = `{"client_id":"T","kind":"T","id":"T","type":"T","zone":"T","node":"T","address":"T","transport":"T","version":"T","subscriptions":[{"filter":"T","rule":"T"}],"refusals":[{"time":"2026-01-01T00:00:00Z","action":"T","topic":"T","rule":"T","detail":"T"}]}`
		case strings.HasSuffix(r.URL.Path, "/sessions"):
			body = `{"items":[{"client_id":"T","kind":"T","id":"T","type":"T","zone":"T","node":"T","address":"T"}],"next":"T"}`
		case strings.HasSuffix(r.URL.Path, "/tap"):
			w.Header().Set("Content-Type", "application/x-ndjson")
			body = `{"tapping":"T"}` + "\n" + `{"time":"2026-01-01T00:00:00Z","topic":"T","from":{"kind":"T","id":"T","type":"T"},"payload":"eyI8c2NyaXB0PmFsZXJ0KDEpIjoiPHNjcmlwdD5hbGVydCgnIG9ubG9hZD14In0=","properties":[{"name":"T","value":"T"}],"marks":[{"path":"T","do":"T"}]}` +
				"\n" + `{"time":"2026-01-01T00:00:00Z","topic":"a","from":{},"payload":"PHNjcmlwdD5hbGVydCgxKQ==","properties":[],"marks":[]}` + "\n" + `{"time":"2026-01-01T00:00:00Z","topic":"a","from":{},"payload":"","hidden":"T","properties":[],"marks":[]}` + "\n" +
				`{"problem":{"status":422,"code":"T","detail":"T","fix":"T"}}` + "\n"
		}
		w.Write([]byte(strings.ReplaceAll(body, "T\"", text+"\"")))
	}))
	house.Harmless(t, fake, "/messages/refused", "/messages/refused?live=1", "/messages/sessions", "/messages/sessions/x", "/messages/sessions/x/close", "/messages/rates", "/messages/tap", "/messages/tap/stream?filter=%23")
	if _, body := house.Get(t, fake, "/messages/tap/stream?filter=%23"); strings.Count(body, `data-testid="tapped"`) != 3 || !strings.Contains(body, "event: problem") {
		t.Errorf("the stream has %s", body)
	}
}

// Filters and choices are in the address, and what is not offered is as if it were
// not there.
func inTheAddress(t *testing.T, h *house.House) {
	pages := h.Pages(t, access.Root(), messages.Mount)
	for path, found := range map[string]bool{"/messages/refused?principal=level-plant-3": true, "/messages/refused?principal=nobody": false, "/messages/refused?kind=malformed&principal=level-plant-3": false, "/messages/refused?since=1h&sort=-times": true,
		"/messages/refused?since=" + url.QueryEscape("-1h"): true} {
		if _, body := house.Get(t, pages, path); strings.Contains(body, `href="/devices/level-plant-3"`) != found {
			t.Errorf("with %s, it is found: %v", path, !found)
		}
	}
	house.Shows(t, pages, map[string]string{
		"/messages/tap?filter=water%2F%23&from=app%3Ascada&zone=riverside-plant&type=pump-controller": `data-stream="/messages/tap/stream?filter=water%2F%23&amp;from=app%3Ascada&amp;type=pump-controller&amp;zone=riverside-plant"`,
		"/messages/rates?by=type&window=6h": `href="/messages/rates?by=type&amp;window=24h"`, "/messages/rates?window=7y": `aria-current="true">15 min`,
		"/messages/refused?kind=publish-refused&principal=x": "/messages/refused/export?kind=publish-refused&amp;principal=x"})
}

// What somebody may not do or see is not offered.
func permissions(t *testing.T, h *house.House) {
	pages := h.Pages(t, house.Only(access.Scope{}, access.SessionRead), messages.Mount)
	for _, path := range []string{"/messages/refused", "/messages/sessions", "/messages/sessions/pump-plant-1", "/messages/rates"} {
		_, body := house.Get(t, pages, path)
		for _, absent := range []string{"/messages/tap", "/close", "/policy/explain", `href="/devices/`, `href="/zones/`, `href="/audit`} {
			if strings.Contains(body, absent) {
				t.Errorf("%s offers %s", path, absent)
			}
		}
	}
	tapper := h.Pages(t, house.Only(access.Scope{}, access.MessageTap), messages.Mount)
	_, body := house.Get(t, tapper, "/messages/tap")
	if strings.Contains(body, `name="as"`) || !strings.Contains(body, "are left out for you") || strings.Contains(body, "/messages/rates") {
		t.Error("who may not see personal data is offered more than they get")
	}
	for rights, to := range map[access.Permission]string{access.MessageTap: "/messages/tap", access.SessionRead: "/messages/rates"} {
		w := httptest.NewRecorder()
		h.Pages(t, house.Only(access.Scope{}, rights), messages.Mount).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/messages", nil))
		if w.Header().Get("Location") != to {
			t.Errorf("with %s, /messages leads to %q", rights, w.Header().Get("Location"))
		}
	}
}

// The stream shows messages of the sender, zone and type that were asked for, says
// what is wrong, and is recorded.
func stream(t *testing.T, h *house.House) {
	read := func(query string, enough func(string) bool) string {
		t.Helper()
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		w := &untilEnough{ResponseRecorder: httptest.NewRecorder(), enough: enough, stop: stop}
		h.Pages(t, access.Root(), messages.Mount).ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/messages/tap/stream?"+query, nil))
		return w.Body.String()
	}
	for query, want := range map[string]string{"filter=water/%23&zone=riverside-plant": "water/riverside-plant/", "filter=%23&from=pump-plant-1": "water/riverside-plant/pump-plant-1/", "filter=%23&type=level-sensor": "/level-"} {
		body := read(query, func(s string) bool { return strings.Count(s, `data-testid="tapped"`) >= 3 })
		if !strings.Contains(body, "event: begun") || strings.Count(body, `data-testid="tapped"`) < 3 {
			t.Errorf("%s shows %.300s", query, body)
		}
		for _, part := range strings.Split(body, `<code class="msg-topic">`)[1:] {
			if topic, _, _ := strings.Cut(part, "<"); !strings.Contains(topic, want) {
				t.Errorf("%s shows %s", query, topic)
			}
		}
	}
	if body := read("filter=%23/x", func(string) bool { return false }); !strings.Contains(body, "event: problem") || !strings.Contains(body, "topic filter") {
		t.Errorf("a wrong filter is answered with %s", body)
	}
	h.Until(t, "watching was recorded", func() bool {
		l, err := h.Admin.AuditEntries(t.Context(), adminapi.AuditFilter{Action: "tap.ended", Limit: 10})
		return err == nil && len(l.Items) >= 3
	})
}

// untilEnough ends a request when its answer has enough.
type untilEnough struct {
	*httptest.ResponseRecorder
	enough func(string) bool
	stop   func()
}

func (w *untilEnough) Write(b []byte) (int, error) {
	n, err := w.ResponseRecorder.Write(b)
	if w.enough(w.Body.String()) {
		w.stop()
	}
	return n, err
}

func browser(t *testing.T, h *house.House) {
	b := uitest.Open(t, h.Pages(t, access.Root(), messages.Mount))
	for _, page := range []struct{ name, path string }{{"rates", "/messages/rates"}, {"rates-together", "/messages/rates?by=none&window=1h"}, {"tap", "/messages/tap"}, {"refused", "/messages/refused"}, {"refused-live", "/messages/refused?live=1"},
		{"sessions", "/messages/sessions"}, {"session", "/messages/sessions/pump-plant-1"}, {"session-close", "/messages/sessions/pump-plant-1/close"}} {
		b.Look(page.name, page.path)
	}
	b.View(1280, 900, "light")
	b.Go("/messages/tap?filter=water%2F%23")
	b.Do(chromedp.Click(chromedp.CSS(`[data-tap-start]`)), chromedp.WaitVisible(chromedp.CSS(`[data-testid="tapped"]`)))
	b.Until("five messages are there", `document.querySelectorAll('[data-testid="tapped"]').length >= 5`)
	b.Do(chromedp.Click(chromedp.CSS(`[data-testid="tapped"] summary`)))
	b.Until("it is open", `document.querySelector("details[open] .msg-payload, details[open] .msg-open")`)
	b.Until("new ones wait while one is read", `!document.querySelector("[data-tap-new]").hidden`)
	n := uitest.Eval[int](b, `document.querySelectorAll('[data-testid="tapped"]').length`)
	b.Shot("tap-running-1280-light")
	b.Axe("a tap that runs")
	b.View(390, 844, "dark")
	b.Shot("tap-running-390-dark")
	if wide := uitest.Eval[int](b, `document.documentElement.scrollWidth`); wide > 390 {
		t.Errorf("a tap that runs is %d px wide on a phone", wide)
	}
	b.View(1280, 900, "light")
	b.Do(chromedp.Click(chromedp.CSS(`[data-tap-new]`)))
	b.Until("what waited is shown", `document.querySelectorAll('[data-testid="tapped"]').length > `+strconv.Itoa(n)+` && !document.querySelector("details[open]")`)
	b.Do(chromedp.Click(chromedp.CSS(`[data-tap-stop]`)))
	b.Until("it says that it stopped", `document.querySelector("[data-tap-state]").textContent.startsWith("Stopped after") && !document.querySelector("[data-tap-start]").hidden`)
	b.Go("/messages/tap?filter=a%2F%23%2Fb")
	b.Do(chromedp.Click(chromedp.CSS(`[data-tap-start]`)))
	b.Until("it says what is wrong", `document.querySelector("[data-tap-problem]").textContent.includes("filter")`)
	b.Axe("a tap with a wrong filter")
	// /live is not served here: that it is asked for is the only fault.
	for _, f := range b.Faults() {
		if !strings.Contains(f, "/live") && !strings.Contains(f, "htmx:sse") {
			t.Error(f)
		}
	}
}

func closing(t *testing.T, h *house.House) {
	pages := h.Pages(t, access.Root(), messages.Mount)
	if code, body := house.Get(t, pages, "/messages/sessions/pump-plant-1/close"); code != 200 || !strings.Contains(body, "subscriptions end") {
		t.Errorf("the dialog answers %d", code)
	}
	res, _ := house.Post(t, pages, "/messages/sessions/pump-plant-1/close", url.Values{"reason": {"stuck, ticket 9"}})
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/messages/sessions?closed=pump-plant-1" {
		t.Errorf("it answers %d to %s", res.StatusCode, res.Header.Get("Location"))
	}
	h.Until(t, "it is in the log", func() bool {
		l, err := h.Admin.AuditEntries(t.Context(), adminapi.AuditFilter{Action: "session.closed", Limit: 10})
		return err == nil && len(l.Items) == 1 && l.Items[0].Event.Details["reason"] == "stuck, ticket 9"
	})
}

func mounted() *ui.Mux {
	m := ui.NewMux()
	messages.Mount(m)
	return m
}
