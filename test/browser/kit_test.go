package browser

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/holdfast-iot/holdfast/server"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// site is a running server.
type site struct {
	ready server.Ready
	story *story
}

// story is what the demo tells.
type story struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *story) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *story) has(words string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.text.String(), words)
}

// up starts a server that ends with the test.
func up(t *testing.T, demo bool) *site { return upWith(t, demo, func(*config.Config) {}) }

// upWith starts one whose configuration is changed before.
func upWith(t *testing.T, demo bool, change func(*config.Config)) *site {
	t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.Node, cfg.Demo = filepath.Join(t.TempDir(), "data"), "test", demo
	cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0", MQTTS: "127.0.0.1:0", WSS: "127.0.0.1:0"}
	change(&cfg)
	told := &story{}
	s, err := server.NewWith(cfg.Complete(), slog.New(slog.NewTextHandler(io.Discard, nil)), server.Options{Story: told})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan server.Ready, 1), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func(r server.Ready) { ready <- r }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	select {
	case r := <-ready:
		return &site{r, told}
	case err := <-ended:
		ended <- nil
		t.Fatalf("the server did not start: %v", err)
	}
	return nil
}

// person is somebody in front of a browser of their own.
type person struct {
	*uitest.Browser
	t *testing.T
}

func (s *site) person(t *testing.T) *person {
	t.Helper()
	p := &person{Browser: uitest.OpenURL(t, s.ready.Console), t: t}
	p.View(1280, 800, "light")
	return p
}

// passkeys plugs an authenticator into the browser that knows its user.
func (p *person) passkeys() {
	p.t.Helper()
	p.Do(func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		if _, err := cdp.Call(ctx, t, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return chromedp.Void{}, err
		}
		_, err := cdp.Call(ctx, t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true}})
		return chromedp.Void{}, err
	})
}

// wait waits until a script is true, and says what was on the page if it never is.
func (p *person) wait(what, script string) {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		ok, err := chromedp.Run(p.Context(), chromedp.Evaluate[bool](`(() => { try { return Boolean(`+script+`); } catch { return false; } })()`))
		if err == nil && ok {
			return
		}
		if time.Now().After(end) {
			text, _ := chromedp.Run(p.Context(), chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText.slice(0, 3000)`))
			p.t.Fatalf("waiting for %s: the page is %s", what, text)
		}
		chromedp.Do(p.Context(), chromedp.Sleep(50*time.Millisecond))
	}
}

// reads waits until the page has the words.
func (p *person) reads(words string) {
	p.t.Helper()
	p.wait(fmt.Sprintf("the words %q", words), fmt.Sprintf(`document.body.innerText.includes(%q)`, words))
}

// at waits until the page's path begins so.
func (p *person) at(path string) {
	p.t.Helper()
	p.wait("the page "+path, fmt.Sprintf(`document.readyState === "complete" && location.pathname.startsWith(%q)`, path))
}

// loaded is true when the page's scripts have run: before, a button that opens a
// dialog is the link that it is for browsers without scripts.
const loaded = `document.readyState === "complete" && `

// press clicks the visible link or button with these words, the last one of the
// page: a dialog's is after the page's own.
func (p *person) press(words string) {
	p.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll("a, button, summary, [role=tab]")].filter((e) => e.checkVisibility() && !e.disabled && ((e.getAttribute("aria-label") ?? "") === %q || e.innerText.trim() === %q)).at(-1)`, words, words)
	p.wait("something to press named "+words, loaded+find)
	uitest.Eval[bool](p.Browser, `(() => { const e = `+find+`; e.scrollIntoView({block: "center"}); e.click(); return true; })()`)
}

// fill types into a field by its id.
func (p *person) fill(id, text string) {
	p.t.Helper()
	selector := "#" + id
	p.wait("the field "+id, loaded+fmt.Sprintf(`document.querySelector(%q)?.checkVisibility()`, selector))
	uitest.Eval[bool](p.Browser, fmt.Sprintf(`(() => { const e = document.querySelector(%q); e.focus(); e.value = %q; e.dispatchEvent(new Event("input", {bubbles: true})); e.dispatchEvent(new Event("change", {bubbles: true})); return true; })()`, selector, text))
}

// fillNamed types into the last visible field of a name: for dialogs.
func (p *person) fillNamed(name, text string) {
	p.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll("[name=" + CSS.escape(%q) + "]")].filter((e) => e.checkVisibility()).at(-1)`, name)
	p.wait("a field named "+name, loaded+find)
	uitest.Eval[bool](p.Browser, fmt.Sprintf(`(() => { const e = %s; e.focus(); e.value = %q; e.dispatchEvent(new Event("input", {bubbles: true})); e.dispatchEvent(new Event("change", {bubbles: true})); return true; })()`, find, text))
}

// open follows a link to anywhere on the site.
func (p *person) open(url string) {
	p.t.Helper()
	p.Do(chromedp.Navigate(url))
}

// clean fails for what the browser complained of.
func (p *person) clean(where string) {
	p.t.Helper()
	for _, f := range p.Faults() {
		p.t.Errorf("%s: the browser complained: %s", where, f)
	}
}
