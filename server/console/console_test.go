package console_test

import (
	"bufio"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/server/people"
)

func TestStrangersAreLedToTheSignIn(t *testing.T) {
	b := open(t).browser()
	b.to(b.do("GET", "/", nil), "/sign-in")
	b.to(b.do("GET", "/account?x=1", nil), "/sign-in?next=%2Faccount%3Fx%3D1")
	if res := b.do("GET", "/account", nil, "HX-Request", "true"); res.Header.Get("HX-Redirect") != "/sign-in" || res.StatusCode != 204 {
		t.Fatalf("htmx was not led to the sign-in page: %d %v", res.StatusCode, res.Header)
	}
	if res := b.do("POST", "/account/password", url.Values{"x": {"y"}}); res.Header.Get("Location") != "/sign-in" {
		t.Fatal("a stranger may post", res.StatusCode)
	}
}

func TestSignInByHTTP(t *testing.T) {
	h := open(t)
	app := h.member("grace")
	b := h.browser()

	wrong := b.do("POST", "/sign-in", url.Values{"name": {"grace"}, "password": {"wrong wrong wrong"}}, "HX-Request", "true", "HX-Source", "form#sign-in")
	unknown := b.do("POST", "/sign-in", url.Values{"name": {"nobody"}, "password": {"wrong wrong wrong"}}, "HX-Request", "true", "HX-Source", "form#sign-in")
	x, _ := io.ReadAll(wrong.Body)
	y, _ := io.ReadAll(unknown.Body)
	if wrong.StatusCode != 401 || string(x) != string(y) || unknown.StatusCode != 401 {
		t.Fatalf("a stranger learns who is there: %d %s\n%d %s", wrong.StatusCode, x, unknown.StatusCode, y)
	}

	res := b.do("POST", "/sign-in", url.Values{"name": {" Grace "}, "password": {secret}, "next": {"https://evil.example/"}})
	b.to(res, "/sign-in/factor")
	checkCookies(t, res)
	first := res.Cookies()[0].Value
	b.to(b.do("GET", "/account", nil), "/sign-in/factor") // half a sign-in is none
	if res := b.do("GET", "/live?f=x", nil); res.StatusCode != 401 {
		t.Fatal("half a sign-in is live", res.StatusCode)
	}
	h.pass(time.Minute)
	res = b.do("POST", "/sign-in/factor/code", url.Values{"code": {h.code(app)}, "next": {"//evil.example"}})
	b.to(res, "/")
	if checkCookies(t, res); res.Cookies()[0].Value == first {
		t.Fatal("the cookie did not change with the step")
	}
	page := b.do("GET", "/account", nil)
	body, _ := io.ReadAll(page.Body)
	if page.StatusCode != 200 || !strings.Contains(string(body), "Grace Hopper") {
		t.Fatalf("%d %s", page.StatusCode, body)
	}
	checkCookies(t, page)
	if res := b.do("GET", "/session", nil); res.StatusCode != 200 {
		t.Fatal("the sign-in is not seen", res.StatusCode)
	}
	b.to(b.do("POST", "/sign-out", url.Values{}), "/signed-out")
	b.to(b.do("GET", "/account", nil), "/sign-in?next=%2Faccount")
	if res := b.do("GET", "/session", nil); res.StatusCode != 401 {
		t.Fatal("a sign-in that was ended is seen", res.StatusCode)
	}
}

func checkCookies(t *testing.T, res *http.Response) {
	t.Helper()
	for _, c := range res.Cookies() {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode && c.SameSite != http.SameSiteStrictMode {
			t.Errorf("the cookie is %v", c)
		}
	}
}

// Looking without doing anything does not keep a sign-in alive.
func TestWatchingIsNoActivity(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.signIn("grace", h.member("grace"), "/account")
	b.do("GET", "/account", nil)
	for range 7 {
		h.pass(10 * time.Minute)
		b.do("GET", "/session", nil)
	}
	if res := b.do("GET", "/session", nil); res.StatusCode != 401 {
		t.Fatal("a page that was left open kept the sign-in alive", res.StatusCode)
	}
}

func TestStepUp(t *testing.T) {
	h := open(t)
	app := h.member("grace")
	b := h.browser()
	b.signIn("grace", app, "/account")
	h.pass(20 * time.Minute)
	htmx := []string{"HX-Request", "true", "HX-Source", "form#codes-form"}
	res := b.do("POST", "/account/recovery-codes", url.Values{}, htmx...)
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 403 || res.Header.Get("Holdfast-Step-Up") != "needed" || res.Header.Get("HX-Retarget") != "#dialogs" || !strings.Contains(string(body), `id="step-up"`) {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	if res := b.do("POST", "/step-up/code", url.Values{"code": {"000000"}}, "HX-Request", "true", "HX-Source", "form#step-up-code"); res.StatusCode/100 != 4 {
		t.Fatal("a wrong code was taken", res.StatusCode)
	}
	res = b.do("POST", "/step-up/code", url.Values{"code": {h.code(app)}}, htmx...)
	if res.StatusCode != 204 || res.Header.Get("Holdfast-Step-Up") != "done" || len(res.Cookies()) == 0 {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	res = b.do("POST", "/account/recovery-codes", url.Values{}, htmx...)
	body, _ = io.ReadAll(res.Body)
	if res.StatusCode != 200 || strings.Count(string(body), "<li>") < 10 {
		t.Fatalf("%d %s", res.StatusCode, body)
	}
}

func TestNobodyEndsSignInsOfOthers(t *testing.T) {
	h := open(t)
	a, c := h.browser(), h.browser()
	a.signIn("grace", h.member("grace"), "/account")
	c.signIn("alan", h.member("alan"), "/account")
	list, _, err := h.people.List(t.Context(), people.Filter{Limit: 100})
	must(h, err)
	for _, p := range list {
		if p.Name != "alan" {
			continue
		}
		ins, err := h.people.SignIns(t.Context(), p.ID)
		must(h, err)
		for _, in := range ins {
			if res := a.do("POST", "/account/sign-ins/"+in.ID+"/end", url.Values{}); res.StatusCode != 404 {
				t.Fatal("ending somebody else's sign-in answers", res.StatusCode)
			}
		}
	}
	if res := c.do("GET", "/account", nil); res.StatusCode != 200 {
		t.Fatal("somebody else's sign-in was ended", res.StatusCode)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	h := open(t)
	b := h.browser()
	if res := b.do("POST", "/sign-in", url.Values{"name": {strings.Repeat("x", 200<<10)}}); res.StatusCode/100 != 4 {
		t.Fatal(res.StatusCode)
	}
	b.signIn("grace", h.member("grace"), "/account")
	if res := b.do("POST", "/account/password", url.Values{"password": {strings.Repeat("x", 2<<20)}}); res.StatusCode != 413 {
		t.Fatal(res.StatusCode)
	}
	if res := b.do("GET", "/nothing/here", nil); res.StatusCode != 404 {
		t.Fatal(res.StatusCode)
	}
}

// stream opens a live stream of a fragment that exists, and returns its lines.
func (b *browser) stream(path string) (*http.Response, <-chan string) {
	b.Helper()
	res := b.do("GET", path, nil, "Accept", "text/event-stream")
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(res.Body); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return res, lines
}

func ends(t *testing.T, lines <-chan string, within time.Duration) (all string) {
	t.Helper()
	late := time.After(within)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return all
			}
			all += line + "\n"
		case <-late:
			t.Fatalf("the stream did not end within %v:\n%s", within, all)
		}
	}
}

func TestTheme(t *testing.T) {
	b := open(t).browser()
	res := b.do("POST", "/theme", url.Values{"theme": {"dark"}}, "Referer", b.url+"/sign-in?next=%2Fx")
	b.to(res, "/sign-in?next=%2Fx")
	body, _ := io.ReadAll(b.do("GET", "/sign-in", nil).Body)
	if !strings.Contains(string(body), `data-theme="dark"`) {
		t.Fatal("the page is not dark from its first byte")
	}
	b.to(b.do("POST", "/theme", url.Values{"theme": {"light"}}, "Referer", "https://evil.example/x"), "/")
	if res := b.do("POST", "/theme", url.Values{"theme": {`"><script>`}}); res.StatusCode != 422 {
		t.Fatal(res.StatusCode)
	}
}
