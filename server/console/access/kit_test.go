package access_test

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
	pages "github.com/holdfast-iot/holdfast/server/console/access"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// house is a real server, and the pages in front of it.
type house struct {
	*testing.T
	api   http.Handler // acts as the first administrator
	ready server.Ready
	admin *adminapi.Client
}

// open starts a server with all listeners on loopback.
func open(t *testing.T, twoPerson access.TwoPerson) *house {
	t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.Node, cfg.Access.TwoPerson = t.TempDir(), "test", string(twoPerson)
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
	h := &house{T: t}
	select {
	case h.ready = <-ready:
	case err := <-done:
		done <- err
		t.Fatal(err)
	}
	token, err := os.ReadFile(h.ready.AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	target, _ := url.Parse(h.ready.API)
	bearer := strings.TrimSpace(string(token))
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the server of this test, on loopback
	t.Cleanup(transport.CloseIdleConnections)
	h.api = &httputil.ReverseProxy{Transport: transport, Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Header.Set("Authorization", "Bearer "+bearer)
	}}
	h.admin = &adminapi.Client{BaseURL: h.ready.API, Token: adminapi.NewBearer(bearer), HTTP: &http.Client{Transport: transport}}
	return h
}

// pages are the console's pages of this package for somebody with rights.
func (h *house) pages(rights access.Rights) http.Handler {
	m := ui.NewMux()
	pages.Mount(m)
	return uitest.Pages(m, rights, h.api)
}

// get reads a page.
func get(t *testing.T, pages http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
	return w.Code, w.Body.String()
}

// post sends a form as a browser without scripts does.
func post(t *testing.T, pages http.Handler, path string, form url.Values) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	pages.ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

// only are the rights of somebody who holds some permissions.
func only(list ...access.Permission) access.Rights {
	role := access.Role{Name: "some", Permissions: list}
	grants := []access.Grant{{ID: "g", Role: "some"}}
	return access.Resolve(grants, func(string) (access.Role, bool) { return role, true }, nil, time.Now())
}

// must fails the test for errors of preparations.
func (h *house) must(errs ...error) {
	h.Helper()
	for _, err := range errs {
		if err != nil {
			h.Fatal(err)
		}
	}
}
