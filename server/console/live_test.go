package console_test

import (
	"io"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/server/console/ui"
)

var liveURL = regexp.MustCompile(`data-live-url="([^"]+)"`)

func (b *browser) livePage() string {
	b.Helper()
	body, _ := io.ReadAll(b.do("GET", "/test/live", nil).Body)
	m := liveURL.FindStringSubmatch(string(body))
	if m == nil {
		b.Fatalf("the page connects to nothing: %s", body)
	}
	return strings.ReplaceAll(m[1], "&amp;", "&")
}

func TestLiveEndsWithTheSignIn(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.signIn("grace", h.member("grace"), "/account")
	res, lines := b.stream(b.livePage())
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatal(res.StatusCode, res.Header)
	}
	var got []string
	for line := range lines {
		if got = append(got, line); strings.HasPrefix(line, "data: ") && strings.Contains(line, "hx-partial") {
			break
		}
	}
	b.do("POST", "/sign-out", url.Values{})
	rest := ends(t, lines, 5*time.Second)
	if !strings.Contains(rest, "event: bye\ndata: signed out") || strings.Count("\n"+strings.Join(got, "\n")+rest, "\nevent: bye") != 1 {
		t.Fatalf("%q then %q", got, rest)
	}
}

func TestLiveEndsWithTheServer(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.signIn("grace", h.member("grace"), "/account")
	_, lines := b.stream(b.livePage())
	close(h.closing)
	if rest := ends(t, lines, 5*time.Second); strings.Contains(rest, "bye") {
		t.Fatalf("the browser was told that it is signed out: %q", rest)
	}
}

func TestLiveIsBounded(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.signIn("grace", h.member("grace"), "/account")
	path := b.livePage()
	for i := range 13 {
		res, _ := b.stream(path)
		if want := map[bool]int{true: 200, false: 429}[i < 12]; res.StatusCode != want {
			t.Fatalf("stream %d: %d", i, res.StatusCode)
		}
	}
	for _, bad := range []string{"/live", "/live?f=nothing", "/live?f=test%2Ftick%3Fx%3D%251", "/live?" + strings.Repeat("f=test%2Ftick&", 17)} {
		if res := b.do("GET", bad, nil); res.StatusCode != 404 {
			t.Errorf("%s: %d", bad, res.StatusCode)
		}
	}
	once, _ := io.ReadAll(b.do("GET", path+"&once=1", nil).Body)
	if !strings.Contains(string(once), "hx-swap=\"innerMorph\"") {
		t.Fatalf("asking once answers %s", once)
	}
	ref := url.QueryEscape(ui.LiveRef{Name: "test/denied"}.String())
	if hidden, _ := io.ReadAll(b.do("GET", "/live?once=1&f="+ref, nil).Body); len(hidden) != 0 {
		t.Fatalf("a fragment that may not be seen: %s", hidden)
	}
}

func TestFaultsStayInside(t *testing.T) {
	h := open(t)
	b := h.browser()
	b.signIn("grace", h.member("grace"), "/account")
	for _, path := range []string{"/test/fault", "/test/panic"} {
		res := b.do("GET", path, nil)
		body, _ := io.ReadAll(res.Body)
		id := regexp.MustCompile(`Request <code>([0-9a-f]{16})</code>`).FindStringSubmatch(string(body))
		h.mu.Lock()
		logged := h.log.String()
		h.mu.Unlock()
		if res.StatusCode != 500 || strings.Contains(string(body), "secret") || id == nil || !strings.Contains(logged, id[1]) {
			t.Errorf("%s: %d, request %v", path, res.StatusCode, id)
		}
	}
	if res := b.do("GET", "/test/denied", nil); res.StatusCode != 403 {
		t.Fatal(res.StatusCode)
	}
}
