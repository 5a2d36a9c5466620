package sso

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/holdfast-iot/holdfast/refusal"
)

const callback = "https://console.example/sign-in/oidc/corp/callback"

// realOP starts an OpenID provider that somebody else wrote.
func realOP(t *testing.T) string {
	t.Helper()
	var h http.Handler
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	t.Cleanup(s.Close)
	store := storage.NewStorageWithClients(storage.NewUserStore(s.URL), map[string]*storage.Client{
		"holdfast": storage.WebClient("holdfast", "s3cret/+ %&", callback),
		"other":    storage.WebClient("other", "other", callback),
	})
	h = exampleop.SetupServer(s.URL, store, slog.New(slog.NewTextHandler(io.Discard, nil)), false)
	return s.URL
}

// browser is a person at a browser: cookies, and no redirect followed to us.
func browser(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, Timeout: 10 * time.Second, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Hostname() == "console.example" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

var hidden = regexp.MustCompile(`name="id" value="([^"]*)"`)

// logIn goes to the provider, fills in its form and returns where it sends the
// browser back to.
func logIn(t *testing.T, to, user string) *url.URL {
	t.Helper()
	b := browser(t)
	resp, err := b.Get(to)
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	id := hidden.FindSubmatch(page)
	if id == nil {
		t.Fatalf("no form in the page: %s", page)
	}
	resp, err = b.PostForm(resp.Request.URL.String(), url.Values{"id": {string(id[1])}, "username": {user}, "password": {"verysecure"}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	back, err := resp.Location()
	if err != nil || !strings.HasPrefix(back.String(), callback) {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("the provider did not send the browser back: %d %s %v %s", resp.StatusCode, resp.Request.URL, err, body)
	}
	return back
}

func TestRealProvider(t *testing.T) {
	issuer := realOP(t)
	cfg := OIDCConfig{
		Name: "corp", Label: "Example Corp", Issuer: issuer, ClientID: "holdfast", ClientSecret: NewSecret("s3cret/+ %&"), RedirectURL: callback,
		UserInfo: true, AllowHTTP: true, Client: local(t),
	}
	p, err := NewOIDC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	to, kept, err := p.Begin(t.Context(), "/devices?zone=a")
	if err != nil {
		t.Fatal(err)
	}
	back := logIn(t, to, "test-user2")
	r := httptest.NewRequest("GET", back.String(), nil)
	e, err := p.Finish(t.Context(), kept, r)
	if err != nil {
		t.Fatal(err)
	}
	if e.Provider != "corp" || e.Subject != "id2" || e.Name != "test-user2" || e.Display != "Test User2" || e.Mail != "test-user2@zitadel.ch" || !e.MailVerified ||
		e.ReturnTo != "/devices?zone=a" || len(e.Groups) != 0 || e.Factors || time.Since(e.AuthTime) > time.Minute {
		t.Errorf("%+v", e)
	}
	if _, err := p.Finish(t.Context(), kept, r); !refusal.Is(err, CodeAnswer) {
		t.Errorf("the same code again: %v", err)
	}
	if out, err := p.LogoutURL(t.Context(), "https://console.example/"); err != nil || !strings.Contains(out, "client_id=holdfast") {
		t.Errorf("the way to sign out: %q %v", out, err)
	}

	// A code that the provider gave for another round trip does not fit this
	// one: PKCE and nonce tie it.
	to1, _, err := p.Begin(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	stolen := logIn(t, to1, "test-user2").Query().Get("code")
	_, kept2, err := p.Begin(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	f, err := readFlow(kept2, "corp", "oidc", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	injected := httptest.NewRequest("GET", callback+"?"+url.Values{"code": {stolen}, "state": {f.State}}.Encode(), nil)
	if _, err := p.Finish(t.Context(), kept2, injected); !refusal.Is(err, CodeAnswer) {
		t.Errorf("a code of another browser: %v", err)
	}
	cfg.ClientSecret = NewSecret("wrong")
	bad, err := NewOIDC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	to3, kept3, err := bad.Begin(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bad.Finish(t.Context(), kept3, httptest.NewRequest("GET", logIn(t, to3, "test-user2").String(), nil)); !refusal.Is(err, CodeMisconfigured) {
		t.Errorf("a wrong client secret: %v", err)
	}
}
