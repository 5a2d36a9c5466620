package audit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// liar is a server that answers with another proof than the log's, if it was told to.
type liar struct {
	honest http.Handler
	proof  atomic.Pointer[[]byte]
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p := l.proof.Load(); p != nil && strings.HasSuffix(r.URL.Path, "/proof") {
		w.Header().Set("Content-Type", "application/json")
		w.Write(*p)
		return
	}
	l.honest.ServeHTTP(w, r)
}

// check presses the button and waits for what the browser makes of it.
func check(t *testing.T, b *uitest.Browser) (result string) {
	t.Helper()
	b.Do(chromedp.Click(chromedp.CSS(`[data-audit-verify]`)))
	for end := time.Now().Add(10 * time.Second); ; {
		if result = uitest.Eval[string](b, `document.querySelector("[data-audit-verify]").disabled ? "" : document.querySelector("[data-audit-check]").dataset.result ?? ""`); result != "" {
			return result
		}
		if time.Now().After(end) {
			t.Fatal("the check did not end")
		}
	}
}

// TestInBrowser looks at every page, and lets the browser check proofs that are right
// and proofs that are not.
func TestInBrowser(t *testing.T) {
	f := start(t)
	server := &liar{honest: f.pages()}
	b := uitest.Open(t, server)
	index := f.await("device.quarantined").Index
	entry := fmt.Sprintf("/audit/%d", index)
	for _, page := range []struct{ name, path string }{
		{"audit", "/audit"}, {"audit-filtered", "/audit?action=device.*&outcome=success&q=pump"}, {"audit-nothing", "/audit?q=never+written"}, {"audit-dense", "/audit?dense=1"}, {"audit-range", "/audit?range=custom"},
		{"audit-entry", entry}, {"audit-refused", fmt.Sprintf("/audit/%d", f.await("api.authentication_refused").Index)}, {"audit-log", "/audit/log"},
	} {
		b.Look(page.name, page.path)
	}

	b.View(1280, 900, "light")
	b.Go(entry)
	if result := check(t, b); result != "ok" {
		t.Fatalf("a true proof is %s: %s", result, uitest.Eval[string](b, `document.querySelector("[data-audit-check]").innerText`))
	}
	if n := uitest.Eval[int](b, `document.querySelectorAll('[data-testid="audit-steps"] [data-ok="true"]').length`); n < 5 {
		t.Errorf("the check shows %d steps", n)
	}
	if text := uitest.Eval[string](b, `document.querySelector("[data-audit-result]").innerText`); !strings.Contains(text, "is in the log, unchanged") {
		t.Errorf("a verified entry reads: %s", text)
	}
	b.Axe("a verified entry")
	b.Shot("audit-verified")
	if text := uitest.Eval[string](b, `document.querySelector("[data-audit-memory]").innerText`); !strings.Contains(text, "remembers the log") {
		t.Errorf("the browser does not remember: %s", text)
	}

	// The log grows; the browser sees that it only grew.
	if _, err := f.api.SetMaintenance(t.Context(), "pump-1", true, "seal"); err != nil {
		t.Fatal(err)
	}
	f.await("device.maintenance_begun")
	b.Go("/audit/log")
	if result := check(t, b); result != "ok" {
		t.Errorf("a log that only grew is %s: %s", result, uitest.Eval[string](b, `document.querySelector("[data-audit-check]").innerText`))
	}

	// A server that lies is found out, and no lie is remembered.
	w := httptest.NewRecorder()
	server.honest.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", entry+"/proof", nil))
	before := uitest.Eval[string](b, `localStorage.getItem("holdfast-audit")`)
	for i, proof := range append(tampered(t, w.Body.Bytes()), []byte("{}"), []byte("no proof")) {
		server.proof.Store(&proof)
		b.Go(entry)
		result := check(t, b)
		text := uitest.Eval[string](b, `document.querySelector("[data-audit-result]").innerText`)
		if result == "ok" || !strings.Contains(text, "Not verified") || strings.Contains(text, "unchanged") {
			t.Errorf("changed proof %d is %s: %s", i, result, text)
		}
		if !uitest.Eval[bool](b, `document.querySelector('[data-audit-result] [role="alert"]') !== null && document.querySelector('[data-testid="audit-steps"] [data-ok="false"] .audit-fault')?.innerText.length > 10`) {
			t.Errorf("changed proof %d: nobody is alarmed, or not told why", i)
		}
		if i == 0 {
			b.Axe("an entry that failed its check")
			b.Shot("audit-tampered")
		}
	}
	server.proof.Store(nil)
	if after := uitest.Eval[string](b, `localStorage.getItem("holdfast-audit")`); after != before {
		t.Error("the browser remembers what it found out to be wrong")
	}

	// What the browser remembers can be damaged, and be given up.
	uitest.Eval[bool](b, `(() => { const kept = JSON.parse(localStorage.getItem("holdfast-audit")); kept.checkpoint = kept.checkpoint.replace(/\n[0-9]+\n/, "\n3\n"); localStorage.setItem("holdfast-audit", JSON.stringify(kept)); return true; })()`)
	b.Go(entry)
	if result := check(t, b); result != "memory" {
		t.Errorf("a damaged memory is %s", result)
	}
	b.Do(chromedp.Click(chromedp.CSS(`[data-audit-forget]`)))
	if !uitest.Eval[bool](b, `localStorage.getItem("holdfast-audit") !== null && document.querySelector("[data-audit-forget]").innerText.includes("will not be found")`) {
		t.Error("forgetting does not ask once more, and say what is lost")
	}
	b.Do(chromedp.Click(chromedp.CSS(`[data-audit-forget]`)))
	if result := check(t, b); result != "ok" {
		t.Errorf("after forgetting, a true proof is %s", result)
	}
	for _, fault := range b.Faults() {
		if !strings.Contains(fault, "/live") && !strings.Contains(fault, "htmx:sse") {
			t.Error(fault)
		}
	}
}
