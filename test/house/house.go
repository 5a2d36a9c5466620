// Package house is for tests of the console's pages: a real server on loopback, with
// the simulated fleet or empty, and pages in front of it for somebody with given
// rights.
//
// It promises that what pages show and do went through the server's own API, and
// that the server ends with the test. It trusts the test: the first administrator's
// token answers for whoever looks, so that what a page hides is judged by the rights
// that the test gives, and what the API refuses by the API's own tests.
package house

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// Hostile is a text that would run if it were shown as markup, in an attribute or in
// a script.
const Hostile = `<script>alert("x")</script>' onload=x "onerror="`

// House is a server.
type House struct {
	API   http.Handler // acts as the first administrator
	Ready server.Ready
	Admin *adminapi.Client
}

// Open starts a server that ends with the test; demo adds the simulated fleet.
func Open(t *testing.T, demo bool) *House {
	t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.Node, cfg.Demo = t.TempDir(), "test", demo
	cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0", MQTTS: "127.0.0.1:0", WSS: "127.0.0.1:0"}
	s, err := server.New(cfg.Complete(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan server.Ready, 1), make(chan error, 1)
	go func() { done <- s.Run(ctx, func(r server.Ready) { ready <- r }) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("stopping the server: %v", err)
		}
	})
	h := &House{}
	select {
	case h.Ready = <-ready:
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
	token, err := os.ReadFile(h.Ready.AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(h.Ready.API)
	if err != nil {
		t.Fatal(err)
	}
	bearer := strings.TrimSpace(string(token))
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the server of this test, on loopback
	t.Cleanup(transport.CloseIdleConnections)
	h.API = &httputil.ReverseProxy{Transport: transport, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Header.Set("Authorization", "Bearer "+bearer)
	}}
	h.Admin = &adminapi.Client{BaseURL: h.Ready.API, Token: adminapi.NewBearer(bearer), HTTP: &http.Client{Transport: transport}}
	return h
}

// Settled waits until the simulated fleet is enrolled and connected, and one of it
// was refused something.
func (h *House) Settled(t *testing.T) {
	t.Helper()
	h.Until(t, "the fleet is up", func() bool {
		o, err := h.Admin.Overview(t.Context())
		if err != nil || o.Devices == nil || o.Devices.ByState["active"] < 24 || o.Sessions == nil || o.Sessions.ByKind["device"] < 20 {
			return false
		}
		refused, err := h.Admin.Refusals(t.Context(), adminapi.RefusalFilter{Principal: "level-plant-3"})
		return err == nil && len(refused) > 0
	})
}

// Until asks until it is so, for at most 30 s.
func (h *House) Until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after 30 s it is not so that %s", what)
		}
	}
}

// Pages are what mount mounts for the first administrator, of whose rights pages see
// no more than the given ones.
func (h *House) Pages(t *testing.T, rights access.Rights, mount func(*ui.Mux)) http.Handler {
	t.Helper()
	me, err := h.Admin.Account(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := ui.NewMux()
	mount(m)
	return uitest.PagesAs(m, access.Identity{Actor: access.Actor{Kind: me.Kind, ID: me.ID}, Name: me.Name, Rights: rights}, h.API)
}

// Broken are pages whose API answers nothing but that it is not available.
func Broken(rights access.Rights, mount func(*ui.Mux)) http.Handler {
	m := ui.NewMux()
	mount(m)
	return uitest.Pages(m, rights, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write([]byte(`{"status":503,"code":"stopping","detail":"the server stops","fix":"try again in a moment"}`))
	}))
}

// Get reads a page.
func Get(t *testing.T, pages http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// Post sends a form as a browser without scripts does.
func Post(t *testing.T, pages http.Handler, path string, form url.Values) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

// Shows fails unless each page answers 200 with its text.
func Shows(t *testing.T, pages http.Handler, want map[string]string) {
	t.Helper()
	for path, text := range want {
		if code, body := Get(t, pages, path); code != http.StatusOK || !strings.Contains(body, text) {
			t.Errorf("%s answers %d without %q", path, code, text)
		}
	}
}

// Harmless fails if a page shows a text as markup, or something broke: Hostile must
// be text in every place.
func Harmless(t *testing.T, pages http.Handler, paths ...string) {
	t.Helper()
	for _, path := range paths {
		code, body := Get(t, pages, path)
		if code >= http.StatusInternalServerError {
			t.Errorf("%s answers %d: %.300s", path, code, body)
		}
		Inert(t, path, body)
	}
}

// Inert fails if something in a page could run or reach elsewhere.
func Inert(t *testing.T, where, body string) {
	t.Helper()
	for _, fault := range uitest.Inert(strings.NewReader(body)) {
		t.Errorf("%s shows what somebody wrote as markup: %s", where, fault)
	}
}

// Only are the rights of somebody who holds some permissions within a scope.
func Only(scope access.Scope, list ...access.Permission) access.Rights {
	role := access.Role{Name: "some", Permissions: list}
	grants := []access.Grant{{ID: "g", Role: "some", Scope: scope}}
	return access.Resolve(grants, func(string) (access.Role, bool) { return role, true }, nil, time.Now())
}
