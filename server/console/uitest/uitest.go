// Package uitest looks at pages of the console in a real browser: screenshots,
// accessibility checks, and whatever the browser complains of. It is for tests
// alone.
//
// It promises that a page which breaks the content security policy, throws, or
// asks another host for something fails its test. It trusts the Chromium that it
// finds in the path.
package uitest

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

//go:embed axe/axe.min.js
var axe string

// Browser is one browser with a server that it looks at.
type Browser struct {
	t      *testing.T
	URL    string // "https://localhost:port"
	ctx    context.Context
	mu     sync.Mutex
	faults []string // what the browser complained of; guarded by mu
}

// Open starts a browser and a TLS server for handler. Both end with the test.
func Open(t *testing.T, handler http.Handler) *Browser {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	return OpenURL(t, strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
}

// OpenURL starts a browser for a server that runs already.
func OpenURL(t *testing.T, url string) *Browser {
	t.Helper()
	base, stop := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(stop)
	alloc, stopAlloc := chromedp.NewExecAllocator(base, chromedp.Headless, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoSandbox, chromedp.IgnoreCertErrors, chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("hide-scrollbars", true), chromedp.UserDataDir(t.TempDir()))
	t.Cleanup(stopAlloc)
	ctx, stopTab := chromedp.NewContext(alloc)
	t.Cleanup(stopTab)
	b := &Browser{t: t, URL: url, ctx: ctx}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("starting the browser: %v", err)
	}
	b.watchRequests()
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == chromedp.ConsoleError {
				b.mu.Lock()
				b.faults = append(b.faults, m.Text+" ("+m.URL+")")
				b.mu.Unlock()
			}
		}
	}()
	return b
}

// watchRequests counts it as a fault when the page asks another host for something:
// nobody else is to learn who looks at what.
func (b *Browser) watchRequests() {
	b.t.Helper()
	err := chromedp.Listen(b.ctx, func(ev any) {
		sent, ok := ev.(*network.EventRequestWillBeSent)
		if !ok {
			return
		}
		to, err := url.Parse(sent.Request.URL)
		if err == nil && (to.Scheme+"://"+to.Host == b.URL || to.Scheme == "data" || to.Scheme == "blob" || to.Scheme == "about") {
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.faults = append(b.faults, "a request to another host: "+sent.Request.URL)
	})
	if err != nil {
		b.t.Fatalf("watching requests: %v", err)
	}
	b.Do(func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, network.Enable, network.EnableParams{})
		return chromedp.Void{}, err
	})
}

// Context is the tab's, for chromedp.Do and chromedp.Run.
func (b *Browser) Context() context.Context { return b.ctx }

// Do runs actions; an error ends the test.
func (b *Browser) Do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatalf("driving the browser: %v", err)
	}
}

// Faulty ends the test with a reason.
func (b *Browser) Faulty(why string) {
	b.t.Helper()
	b.t.Fatal(why)
}

// Go opens a path.
func (b *Browser) Go(path string) {
	b.t.Helper()
	b.Do(chromedp.Navigate(b.URL + path))
}

// Eval runs a script in the page, awaits what it returns, and reads it.
func Eval[T any](b *Browser, script string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("running a script in the page: %v", err)
	}
	return v
}

// Until waits until a script is true of the page, for at most 10 s.
func (b *Browser) Until(what, script string) {
	b.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; <-time.After(20 * time.Millisecond) {
		so, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](`(() => { try { return Boolean(`+script+`); } catch { return false; } })()`))
		if err == nil && so {
			return
		}
		if time.Now().After(end) {
			b.t.Fatalf("waiting until %s at %s", what, Eval[string](b, `location.href + "\n" + document.body.innerText.slice(0, 2000)`))
		}
	}
}

// Faults are what the browser complained of since the last call: breaches of the
// content security policy, exceptions, requests that failed.
func (b *Browser) Faults() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.faults
	b.faults = nil
	return list
}

// View sets the window's width and height in px and the theme: "light" or "dark".
func (b *Browser) View(width, height int64, theme string) {
	b.t.Helper()
	set := func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
		return chromedp.Void{}, err
	}
	b.Do(chromedp.EmulateViewport(width, height), set)
}

// Shot writes a picture of the page as it is to the folder that HOLDFAST_SHOTS
// names; without that it does nothing.
func (b *Browser) Shot(name string) {
	b.t.Helper()
	dir := os.Getenv("HOLDFAST_SHOTS")
	if dir == "" {
		return
	}
	data, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), data, 0o644)
	}
	if err != nil {
		b.t.Fatalf("taking a picture: %v", err)
	}
}

// Shots opens a path in light and dark on a phone, a laptop and a wide screen,
// takes pictures, and fails if anything is wider than the window.
func (b *Browser) Shots(name, path string) {
	b.t.Helper()
	for _, view := range []struct {
		width, height int64
		theme         string
	}{{390, 844, "light"}, {390, 844, "dark"}, {1280, 800, "light"}, {1280, 800, "dark"}, {1920, 1080, "light"}, {2560, 1300, "dark"}} {
		b.View(view.width, view.height, view.theme)
		b.Go(path)
		b.Ready()
		if wide := Eval[float64](b, `document.documentElement.scrollWidth`); wide > float64(view.width) {
			b.t.Errorf("%s is %v px wide in a window of %d", path, wide, view.width)
		}
		b.Shot(fmt.Sprintf("%s-%d-%s", name, view.width, view.theme))
	}
}

// Look opens a path once and judges it: no wider than the window from a phone to a
// wide screen, and without accessibility violations on a phone, with colours that
// can be told apart in light and dark. With HOLDFAST_SHOTS it takes pictures too.
func (b *Browser) Look(name, path string) {
	b.t.Helper()
	b.View(390, 844, "light")
	b.Go(path)
	b.Ready()
	b.Axe(path + " on a light phone")
	for _, width := range []int64{390, 768, 1920, 1280} {
		b.View(width, 844, "light")
		if wide := Eval[float64](b, `document.documentElement.scrollWidth`); wide > float64(width) {
			b.t.Errorf("%s is %v px wide in a window of %d", path, wide, width)
		}
	}
	// As who chose it has it, once it is drawn.
	Eval[bool](b, `new Promise((done) => { document.documentElement.dataset.theme = "dark"; setTimeout(() => done(true), 50); })`)
	b.axe(path+" in the dark", `{runOnly: {type: "rule", values: ["color-contrast"]}}`) // what the theme changes
	if os.Getenv("HOLDFAST_SHOTS") != "" {
		b.Shots(name, path)
	}
}

// Ready waits until fonts, charts and what was about to be drawn are there.
func (b *Browser) Ready() {
	b.t.Helper()
	Eval[bool](b, `new Promise((done) => {
		const end = Date.now() + 8000;
		const look = () => {
			const charts = [...document.querySelectorAll("[data-chart] .chart-host")];
			if (document.readyState === "complete" && charts.every((c) => c.querySelector("canvas")) || Date.now() > end) requestAnimationFrame(() => setTimeout(() => done(true), 30));
			else setTimeout(look, 20);
		};
		look();
	})`)
}

// Axe runs the accessibility checks of WCAG 2.2 A and AA and the best practices
// on the page as it is, and fails for each violation.
func (b *Browser) Axe(where string) {
	b.t.Helper()
	b.axe(where, `{runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}`)
}

// axe runs the checks that options choose.
func (b *Browser) axe(where, options string) {
	b.t.Helper()
	if !Eval[bool](b, `"axe" in window`) {
		Eval[bool](b, axe+"\n;true")
	}
	// Colours on their way from one theme to the other are not the ones to judge.
	Eval[bool](b, `new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() =>
		Promise.allSettled(document.getAnimations().filter((a) => a.effect.getComputedTiming().iterations !== Infinity).map((a) => a.finished)).then(() => done(true)))))`)
	found := Eval[string](b, `axe.run(document, `+options+`).then((r) =>
		JSON.stringify(r.violations.map((v) => ({id: v.id, help: v.help, nodes: v.nodes.map((n) => n.html.slice(0, 220) + " :: " + (n.any[0]?.message ?? n.all[0]?.message ?? "")).slice(0, 6)}))))`)
	var list []struct {
		ID, Help string
		Nodes    []string
	}
	if err := json.Unmarshal([]byte(found), &list); err != nil {
		b.t.Fatalf("reading what axe found: %v", err)
	}
	for _, v := range list {
		b.t.Errorf("%s: %s (%s)\n\t%s", where, v.Help, v.ID, strings.Join(v.Nodes, "\n\t"))
	}
}
