package console_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

const sessionCookie = "__Host-holdfast"

// cookieOf is the session cookie that an answer sets.
func cookieOf(res *http.Response) string {
	for _, c := range res.Cookies() {
		if c.Name == sessionCookie {
			return c.Value
		}
	}
	return ""
}

// TestNoFixation signs in with a cookie that somebody else chose: it is never taken
// up, and each step has a new one. What was good before a step is good for nothing
// after it.
func TestNoFixation(t *testing.T) {
	h := open(t)
	app := h.member("grace")
	attacker := h.browser()
	half := attacker.do("POST", "/sign-in", url.Values{"name": {"grace"}, "password": {secret}})
	planted := cookieOf(half) // of a sign-in that the attacker could not complete
	h.pass(time.Hour)
	for _, plant := range []string{planted, "chosen-by-somebody-else", "hfs_" + strings.Repeat("a", 52)} {
		b := h.browser()
		b.client.Jar = nil
		first := b.do("POST", "/sign-in", url.Values{"name": {"grace"}, "password": {secret}}, "Cookie", sessionCookie+"="+plant)
		one := cookieOf(first)
		if one == "" || one == plant {
			t.Fatalf("the first step goes on with the cookie %q that was planted: %d", one, first.StatusCode)
		}
		second := b.do("POST", "/sign-in/factor/code", url.Values{"code": {h.code(app)}}, "Cookie", sessionCookie+"="+one)
		two := cookieOf(second)
		if two == "" || two == one || two == plant {
			t.Fatalf("the second step goes on with the cookie of the first: %d", second.StatusCode)
		}
		for what, old := range map[string]string{"planted": plant, "half": one} {
			if res := b.do("GET", "/account", nil, "Cookie", sessionCookie+"="+old); res.StatusCode == 200 {
				t.Errorf("the cookie %s is signed in", what)
			}
		}
		if res := b.do("GET", "/account", nil, "Cookie", sessionCookie+"="+two); res.StatusCode != 200 {
			t.Fatal(res.StatusCode)
		}
		h.pass(time.Hour)
	}
}

// TestSignOutIsTheEnd: after it, no copy of a cookie is good for anything, pages are
// told to be forgotten, and ending the others ends all others.
func TestSignOutIsTheEnd(t *testing.T) {
	h := open(t)
	app := h.member("grace")
	var copies []string
	browsers := []*browser{h.browser(), h.browser(), h.browser()}
	base, _ := url.Parse(h.url)
	for _, b := range browsers {
		b.signIn("grace", app, "/account")
		for _, c := range b.client.Jar.Cookies(base) {
			if c.Name == sessionCookie {
				copies = append(copies, c.Value)
			}
		}
		b.pass(time.Minute)
	}
	stranger := h.browser()
	stranger.client.Jar = nil
	count := func() (n int) {
		for _, c := range copies {
			if res := stranger.do("GET", "/account", nil, "Cookie", sessionCookie+"="+c); res.StatusCode == 200 {
				n++
			}
		}
		return n
	}
	if count() != 3 {
		t.Fatal("the copies are not signed in to begin with", count())
	}
	browsers[0].to(browsers[0].do("POST", "/account/sign-ins/others/end", url.Values{}), "/account/sign-ins")
	if count() != 1 {
		t.Fatalf("%d sign-ins are left after the others were ended", count())
	}
	res := browsers[0].do("POST", "/sign-out", url.Values{})
	if d := res.Header.Get("Clear-Site-Data"); !strings.Contains(d, `"cache"`) || !slices.ContainsFunc(res.Cookies(), func(c *http.Cookie) bool { return c.Name == sessionCookie && c.MaxAge < 0 }) {
		t.Fatalf("signing out leaves things behind: %v", res.Header)
	}
	if count() != 0 {
		t.Fatal("a copy of a cookie outlives the sign-out")
	}
}

// TestAbsoluteEnd: somebody who never stops is signed out after half a day.
func TestAbsoluteEnd(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.signIn("grace", h.member("grace"), "/account")
	rules := access.DefaultSessionRules()
	for range rules.Absolute/(10*time.Minute) - 1 {
		h.pass(10 * time.Minute)
		if res := b.do("GET", "/account", nil); res.StatusCode != 200 {
			t.Fatal("the sign-in ended early", res.StatusCode)
		}
	}
	h.pass(11 * time.Minute)
	b.to(b.do("GET", "/account", nil), "/sign-in?next=%2Faccount")
}

// TestUnknownNamesTakeAsLong asks in turn for somebody who is there and somebody who
// is not, and compares medians: without the hash for unknown names theirs would be a
// small part of the other.
func TestUnknownNamesTakeAsLong(t *testing.T) {
	h := open(t)
	h.member("grace")
	b := h.browser()
	const rounds = 31
	took := map[string][]time.Duration{}
	for range rounds {
		for _, name := range []string{"grace", "nobody"} {
			h.pass(time.Hour)
			began := time.Now()
			if res := b.do("POST", "/sign-in", url.Values{"name": {name}, "password": {"wrong wrong wrong"}}); res.StatusCode != 401 {
				t.Fatal(res.StatusCode)
			}
			took[name] = append(took[name], time.Since(began))
		}
	}
	median := func(list []time.Duration) time.Duration { slices.Sort(list); return list[len(list)/2] }
	known, unknown := median(took["grace"]), median(took["nobody"])
	t.Logf("medians of %d: a known name %v, an unknown one %v", rounds, known, unknown)
	if ratio := float64(known) / float64(unknown); ratio < 0.6 || ratio > 1.7 {
		t.Fatalf("a known name takes %v, an unknown one %v", known, unknown)
	}
}

// signInThere signs grace in with a browser.
func signInThere(h *house, b *uitest.Browser, app string) {
	b.Go("/sign-in?next=%2Faccount")
	b.Do(chromedp.SendKeys(chromedp.CSS("#sign-in-name"), "grace"), chromedp.SendKeys(chromedp.CSS("#sign-in-password"), secret), chromedp.Click(chromedp.CSS("#sign-in [type=submit]")))
	arrive(b, "/sign-in/factor", `#factor-code`)
	b.Do(chromedp.SendKeys(chromedp.CSS("#factor-code"), h.code(app)), chromedp.Click(chromedp.CSS("#factor [type=submit]")))
	arrive(b, "/account", `.tabs`)
}

// until waits for a script to be true, also while the page changes.
func until(b *uitest.Browser, script string) {
	for end := time.Now().Add(10 * time.Second); ; {
		if ok, err := chromedp.Run(b.Context(), chromedp.Evaluate[bool]("Boolean("+script+")")); err == nil && ok {
			return
		}
		if time.Now().After(end) {
			b.Faulty("it never came true that " + script + ": " + uitest.Eval[string](b, `location.href + " " + document.body.innerText.slice(0, 600)`))
		}
		chromedp.Do(b.Context(), chromedp.Sleep(30*time.Millisecond))
	}
}

// TestIdleInBrowser lets time pass on both sides: a minute before the end the page
// asks, staying works, and leaving alone ends at the sign-in page, which says why.
// Then nothing comes back with the browser's back button.
func TestIdleInBrowser(t *testing.T) {
	h := open(t)
	app := h.member("grace")
	b := uitest.OpenURL(t, h.url)
	b.View(1280, 800, "light")
	signInThere(h, b, app)
	later := func(d time.Duration) { // for the server and for the page
		h.pass(d)
		uitest.Eval[bool](b, `(() => { const now = Date.now; Date.now = () => now() + `+strconv.FormatInt(d.Milliseconds(), 10)+`; return true; })()`)
	}
	later(59*time.Minute + 20*time.Second)
	b.Do(chromedp.WaitVisible(chromedp.CSS("#idle[open] [data-idle-stay]")))
	page(b, "idle")
	b.Do(chromedp.Click(chromedp.CSS("[data-idle-stay]")))
	until(b, `!document.querySelector("#idle[open]")`)
	b.Go("/account")
	arrive(b, "/account", ".tabs")

	later(61 * time.Minute)
	arrive(b, "/sign-in", "#sign-in-name")
	page(b, "ended")
	if at := uitest.Eval[string](b, `location.search`); !strings.Contains(at, "next=%2Faccount") || !strings.Contains(at, "ended=1") {
		t.Errorf("the page leads to %s", at)
	}
	gone(b)

	h.pass(time.Minute)
	signInThere(h, b, app)
	b.Do(chromedp.Click(chromedp.CSS(".avatar")), chromedp.Click(chromedp.CSS(`#account-menu form button`)))
	arrive(b, "/signed-out", `a[href="/sign-in"]`)
	gone(b)
}

// gone goes back and sees that the page of before is not shown again.
func gone(b *uitest.Browser) {
	b.Do(chromedp.NavigateBack())
	until(b, `document.readyState === "complete" && !document.querySelector(".sidebar")`)
	if text := uitest.Eval[string](b, `document.body.innerText`); strings.Contains(text, "Grace Hopper") {
		b.Faulty("the back button shows what was there before the end")
	}
}

// TestOtherSitesInBrowser has pages of two other origins, one of them on the same
// host, try with a real browser and real cookies what a stranger would: to show the
// console in a frame, to post forms to it, to read it.
func TestOtherSitesInBrowser(t *testing.T) {
	h := open(t)
	app := h.member("grace")
	b := uitest.OpenURL(t, h.url)
	b.View(1280, 800, "light")
	signInThere(h, b, app)
	evil := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		switch r.URL.Path {
		case "/frame":
			w.Write([]byte(`<iframe id="f" src="` + h.url + `/account"></iframe>`))
		case "/post":
			w.Write([]byte(`<form id="f" method="post" action="` + h.url + `/sign-out"><input name="a"></form>`))
		}
	}))
	t.Cleanup(evil.Close)
	for _, origin := range []string{evil.URL, strings.Replace(evil.URL, "127.0.0.1", "localhost", 1)} {
		b.Faults()
		b.Do(chromedp.Navigate(origin + "/frame"))
		until(b, `document.readyState === "complete"`)
		if !slices.ContainsFunc(b.Faults(), func(f string) bool {
			return strings.Contains(f, "frame-ancestors") || strings.Contains(f, "Refused to display")
		}) {
			t.Errorf("a page of %s shows the console in a frame", origin)
		}
		read := uitest.Eval[string](b, `fetch("`+h.url+`/account", {credentials: "include"}).then((r) => r.text()).catch(() => "nothing")`)
		opaque := uitest.Eval[string](b, `fetch("`+h.url+`/sign-out", {method: "POST", mode: "no-cors", credentials: "include", body: "a=b", headers: {"Content-Type": "text/plain"}}).then((r) => r.type).catch(() => "nothing")`)
		if read != "nothing" || opaque != "nothing" && opaque != "opaque" {
			t.Errorf("a page of %s reads %q %q", origin, read, opaque)
		}
		b.Do(chromedp.Navigate(origin + "/post"))
		uitest.Eval[bool](b, `(document.getElementById("f").submit(), true)`)
		until(b, `document.body.innerText.includes("came from another site")`)
		b.Go("/account")
		arrive(b, "/account", ".tabs")
	}
}
