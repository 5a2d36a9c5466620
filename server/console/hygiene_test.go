package console_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// route is something that the console answers to, with a path that matches it.
type route struct{ method, path, pattern string }

var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// all lists every route of the console, those of fixtures and of "everything else"
// included.
func (h *house) all() (list []route) {
	h.Helper()
	for _, pattern := range h.routes {
		method, path, ok := strings.Cut(pattern, " ")
		if !ok {
			method, path = http.MethodGet, pattern
		}
		path = wildcard.ReplaceAllString(strings.ReplaceAll(path, "{$}", ""), "x-1")
		list = append(list, route{method, path, pattern})
	}
	if len(list) < 100 {
		h.Fatalf("the console has only %d routes", len(list))
	}
	return list
}

func (b *browser) ask(r route, headers ...string) (*http.Response, string) {
	b.Helper()
	var form url.Values
	if r.method == http.MethodPost {
		form = url.Values{"a": {"b"}}
	}
	res := b.do(r.method, r.path, form, headers...)
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		res.Body.Close()
		return res, ""
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatalf("%s: %v", r.pattern, err)
	}
	return res, string(body)
}

// policyOf reads a content security policy.
func policyOf(res *http.Response) map[string]string {
	out := map[string]string{}
	for part := range strings.SplitSeq(res.Header.Get("Content-Security-Policy"), ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), " ")
		out[name] = value
	}
	return out
}

// TestEveryAnswerIsGuarded asks for every route, as a stranger and signed in: each
// answer forbids scripts and styles of elsewhere, frames and keeping; each cookie is
// bound to this host; each page is free of what the policy is there to stop.
func TestEveryAnswerIsGuarded(t *testing.T) {
	h := open(t)
	member := h.browser()
	member.signIn("grace", h.member("grace"), "/account")
	for who, b := range map[string]*browser{"stranger": h.browser(), "member": member} {
		for _, r := range h.all() {
			if r.path == "/sign-out" {
				continue // has a test of its own; the member is to stay
			}
			res, body := b.ask(r)
			csp := policyOf(res)
			for name, want := range map[string]string{"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'", "form-action": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'"} {
				if csp[name] != want {
					t.Errorf("%s, %s: %s is %q", who, r.pattern, name, csp[name])
				}
			}
			if len(res.Header.Values("Content-Security-Policy")) != 1 || strings.Contains(res.Header.Get("Content-Security-Policy"), "unsafe") {
				t.Errorf("%s, %s: %q", who, r.pattern, res.Header.Values("Content-Security-Policy"))
			}
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
				"Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store", "X-Frame-Options": "DENY"} {
				if res.Header.Get(name) != want {
					t.Errorf("%s, %s: %s is %q", who, r.pattern, name, res.Header.Get(name))
				}
			}
			if !strings.Contains(res.Header.Get("Permissions-Policy"), "camera=()") || res.Header.Get("Server") != "" || res.Header.Get("X-Powered-By") != "" {
				t.Errorf("%s, %s: %v", who, r.pattern, res.Header)
			}
			checkCookies(t, res)
			if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
				for _, fault := range uitest.Inert(strings.NewReader(body)) {
					t.Errorf("%s, %s: %s", who, r.pattern, fault)
				}
			}
			if strings.Contains(body, "goroutine ") || strings.Contains(body, "a secret of the inside") || strings.Contains(body, ".go:") {
				t.Errorf("%s, %s: the answer tells of the inside: %s", who, r.pattern, body)
			}
		}
	}
}

// TestStrangersSeeNothing asks for every route without a sign-in. What a stranger
// may see is listed; everything else leads to the sign-in page or refuses.
func TestStrangersSeeNothing(t *testing.T) {
	h := open(t)
	b := h.browser()
	open := []string{"GET /sign-in", "GET /signed-out", "POST /sign-in/passkey/begin"}
	for _, r := range h.all() {
		headers := []string{"Accept", "text/html"}
		if r.path == "/sign-in/passkey/begin" {
			headers = append(headers, "Content-Type", "application/json")
		}
		res, body := b.ask(r, headers...)
		switch {
		case slices.Contains(open, r.pattern):
			if res.StatusCode != 200 {
				t.Errorf("%s: %d", r.pattern, res.StatusCode)
			}
		case res.StatusCode == http.StatusSeeOther:
			if to := res.Header.Get("Location"); to != "/sign-in" && !strings.HasPrefix(to, "/sign-in?next=%2F") && to != "/signed-out" {
				t.Errorf("%s leads a stranger to %s", r.pattern, to)
			}
		case res.StatusCode/100 != 4:
			t.Errorf("%s answers a stranger with %d: %.300s", r.pattern, res.StatusCode, body)
		}
		if strings.Contains(body, "sidebar") || strings.Contains(body, "/devices") {
			t.Errorf("%s shows a stranger what is inside: %.300s", r.pattern, body)
		}
	}
}

// TestOtherSitesChangeNothing posts to every route as a page of another site would,
// with the cookies of somebody who is signed in.
func TestOtherSitesChangeNothing(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.signIn("grace", h.member("grace"), "/account")
	posts := 0
	for _, r := range h.all() {
		if r.method != http.MethodPost {
			continue
		}
		posts++
		for _, headers := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"},
			{"Origin", strings.Replace(h.url, "localhost", "localhost.evil.example", 1)}, {"Sec-Fetch-Site", "cross-site", "Content-Type", "text/plain"}} {
			res, body := b.ask(r, headers...)
			if res.StatusCode != http.StatusForbidden || body != "This request came from another site. Open Holdfast and do it there.\n" || len(res.Cookies()) > 0 {
				t.Errorf("%s with %v: %d %s", r.pattern, headers, res.StatusCode, body)
			}
		}
	}
	if posts < 30 {
		t.Fatalf("only %d routes change anything", posts)
	}
	if res := b.do("GET", "/account", nil); res.StatusCode != 200 {
		t.Fatal("another site ended the sign-in", res.StatusCode)
	}
}

// TestOnlyTheirMethod: GET changes nothing, and no header or field makes it a POST.
func TestOnlyTheirMethod(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.signIn("grace", h.member("grace"), "/account")
	gets := http.NewServeMux()
	for _, pattern := range h.routes {
		if strings.HasPrefix(pattern, "GET ") {
			gets.Handle(pattern, http.NotFoundHandler())
		}
	}
	for _, r := range h.all() {
		for _, method := range []string{"PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND"} {
			if method == "CONNECT" { // its target is a host: Go's client cannot say it with a path
				continue
			}
			if res := b.do(method, r.path, nil); res.StatusCode != 405 && res.StatusCode != 404 {
				t.Errorf("%s %s: %d", method, r.path, res.StatusCode)
			}
		}
		if _, page := gets.Handler(httptest.NewRequest("GET", r.path, nil)); r.method == http.MethodPost && page == "" {
			for _, headers := range [][]string{nil, {"X-HTTP-Method-Override", "POST"}, {"X-Method-Override", "POST"}, {"X-HTTP-Method", "POST"}} {
				if res := b.do("GET", r.path+"?_method=POST", nil, headers...); res.StatusCode != 405 && res.StatusCode != 404 {
					t.Errorf("GET %s with %v: %d", r.path, headers, res.StatusCode)
				}
			}
		}
	}
	if res := b.do("GET", "/account", nil); res.StatusCode != 200 {
		t.Fatal("looking ended the sign-in", res.StatusCode)
	}
}

// flood is a body that says how much of it was read, while it is still being sent.
type flood struct {
	all  int64
	read atomic.Int64
}

func (f *flood) Read(p []byte) (int, error) {
	n := min(int64(len(p)), f.all-f.read.Load())
	if n <= 0 {
		return 0, io.EOF
	}
	for i := range p[:n] {
		p[i] = 'x'
	}
	f.read.Add(n)
	return int(n), nil
}

// TestEveryBodyIsBounded sends 64 MB to every route that takes a form: the server
// reads no more than the route's bound and a little, and does nothing.
func TestEveryBodyIsBounded(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.signIn("grace", h.member("grace"), "/account")
	h.admins[h.person("grace")] = true
	const all = 64 << 20
	for _, r := range h.all() {
		if r.method != http.MethodPost || r.path == "/sign-out" {
			continue
		}
		body := &flood{all: all}
		req, _ := http.NewRequestWithContext(t.Context(), r.method, b.url+r.path, io.MultiReader(strings.NewReader("a="), body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := b.client.Do(req)
		if err != nil { // the server hung up while it was sent to
			if body.read.Load() == all {
				t.Errorf("%s took all of it and said %v", r.pattern, err)
			}
			continue
		}
		res.Body.Close()
		if r.path == "/session" && res.StatusCode == 200 {
			continue // it takes no form, and does not look at the body
		}
		if body.read.Load() == all || res.StatusCode/100 == 2 || res.StatusCode/100 == 5 {
			t.Errorf("%s read %d bytes and says %d", r.pattern, body.read.Load(), res.StatusCode)
		}
	}
	if res := b.do("GET", "/account", nil); res.StatusCode != 200 {
		t.Fatal(res.StatusCode)
	}
}

// elsewhere are ways to write an address that browsers take for another host, or
// for a script.
var elsewhere = []string{"https://evil.example/", "//evil.example", "///evil.example", `/\evil.example`, `\\evil.example`, `/\/evil.example`, "/\t/evil.example", "/\n/evil.example", "javascript:alert(1)", "data:text/html,x",
	"https:evil.example", "http:/evil.example", "/%09/evil.example\r\nSet-Cookie: a=b", "@evil.example", ".evil.example", "evil.example", "//localhost@evil.example", "/..//evil.example", "%2F%2Fevil.example", "/\u2028//evil.example"}

// TestNobodyIsLedAway signs in with every bad address to go on to.
func TestNobodyIsLedAway(t *testing.T) {
	h := open(t)
	app := h.member("grace")
	stays := func(what string, res *http.Response) {
		t.Helper()
		for _, name := range []string{"Location", "HX-Redirect"} {
			to := res.Header.Get(name)
			base, _ := url.Parse(h.url)
			u, err := base.Parse(to)
			if to == "" {
				continue
			}
			if err != nil || u.Host != base.Host || u.Scheme != "https" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
				t.Errorf("%s leads to %q", what, to)
			}
		}
	}
	b := h.browser()
	for _, next := range elsewhere {
		q := url.Values{"next": {next}}.Encode()
		stays("the sign-in page", b.do("GET", "/sign-in?"+q, nil))
		if !strings.ContainsAny(next, "\n\r") {
			stays("the choice of colours", b.do("POST", "/theme", url.Values{"theme": {"dark"}}, "Referer", next))
			stays("the choice of colours", b.do("POST", "/theme", url.Values{"theme": {"dark"}}, "Referer", h.url+next))
		}
	}
	for _, next := range elsewhere {
		b := h.browser()
		h.pass(time.Hour)
		stays("the password", b.do("POST", "/sign-in", url.Values{"name": {"grace"}, "password": {secret}, "next": {next}}))
		stays("the code", b.do("POST", "/sign-in/factor/code", url.Values{"code": {b.code(app)}, "next": {next}}))
		stays("the sign-in page", b.do("GET", "/sign-in?"+url.Values{"next": {next}}.Encode(), nil))
	}
}

// TestHostIsNotBelieved asks for every route under another name: no answer repeats
// it, so that neither a cache nor a link in a message can be poisoned with it.
func TestHostIsNotBelieved(t *testing.T) {
	h := open(t)
	member := h.browser()
	member.signIn("grace", h.member("grace"), "/account")
	for _, b := range []*browser{h.browser(), member} {
		for _, r := range h.all() {
			if r.method != http.MethodGet {
				continue
			}
			req, _ := http.NewRequestWithContext(t.Context(), "GET", b.url+r.path, nil)
			req.Host = "evil.example"
			for _, name := range []string{"X-Forwarded-Host", "X-Host", "Forwarded", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Proto", "X-Forwarded-Prefix"} {
				req.Header.Set(name, "evil.example")
			}
			res, err := b.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var body []byte
			if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
				body, _ = io.ReadAll(res.Body)
			}
			res.Body.Close()
			if bytes.Contains(body, []byte("evil.example")) || strings.Contains(fmt.Sprint(res.Header), "evil.example") {
				t.Errorf("%s repeats the host it was asked under: %v %.300s", r.pattern, res.Header, body)
			}
		}
	}
}

// TestFilesOnly asks for what is not a file of the console in every way in which
// a path can be written.
func TestFilesOnly(t *testing.T) {
	h := open(t)
	page, _ := io.ReadAll(h.browser().do("GET", "/sign-in", nil).Body)
	sheet := regexp.MustCompile(`/assets/[0-9a-f]+/app\.css`).Find(page)
	if sheet == nil {
		t.Fatalf("the sign-in page has no sheet: %s", page)
	}
	dir := strings.TrimSuffix(string(sheet), "app.css")
	address := strings.TrimPrefix(h.url, "https://")
	for _, path := range []string{dir + "../../../../etc/passwd", dir + "..%2f..%2f..%2fetc%2fpasswd", dir + "%2e%2e/%2e%2e/go.mod", dir + "js", dir + "js/", dir + "", dir + "assets.go", dir + "css/base.css", dir + "vendor/README.md",
		dir + "js/app.js%00.css", dir + "js//app.js", dir + "./app.css", dir + "app.css/", dir + `..\..\etc\passwd`, "/assets/", "/assets/x/../../etc/passwd", "/assets/0000000000000000/app.css", "//etc/passwd", "/..%5c..%5cetc/passwd"} {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, address)
		answer, _ := io.ReadAll(conn)
		conn.Close()
		status := strings.SplitN(string(answer), "\r\n", 2)[0]
		if !strings.Contains(status, " 404 ") && !strings.Contains(status, " 400 ") && !strings.Contains(status, " 301 ") && !strings.Contains(status, " 307 ") && !strings.Contains(status, " 303 ") || bytes.Contains(answer, []byte("root:")) || bytes.Contains(answer, []byte("package assets")) {
			t.Errorf("%s: %.300s", path, answer)
		}
	}
}
