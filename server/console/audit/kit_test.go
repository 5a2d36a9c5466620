package audit_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/console/audit"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// fleet is a server with a short history, reached through its API.
type fleet struct {
	*testing.T
	api   *adminapi.Client
	token string
	grace access.Person
	cato  access.Person // erased
}

const hostile = `<script>alert("x")</script>'"&`

// start runs a server until the test ends and lets some things happen.
func start(t *testing.T) *fleet {
	t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.Node = t.TempDir(), "node-1"
	cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0"}
	s, err := server.NewWith(cfg.Complete(), slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})), server.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan server.Ready, 1), make(chan error, 1)
	go func() { done <- s.Run(ctx, func(r server.Ready) { ready <- r }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopping the server: %v", err)
		}
	})
	var r server.Ready
	select {
	case r = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	pem, err := os.ReadFile(r.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	token, err := os.ReadFile(r.AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{T: t, token: strings.TrimSpace(string(token)), api: &adminapi.Client{BaseURL: r.API, Token: adminapi.NewBearer(strings.TrimSpace(string(token))),
		HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}}}
	f.history()
	return f
}

func must[T any](f *fleet) func(T, error) T {
	return func(v T, err error) T {
		f.Helper()
		if err != nil {
			f.Fatal(err)
		}
		return v
	}
}

func (f *fleet) history() {
	ctx := f.Context()
	must[device.Zone](f)(f.api.CreateZone(ctx, "plant", adminapi.ZoneInput{}))
	must[adminapi.Type](f)(f.api.CreateType(ctx, "pump", device.Prototype, adminapi.TypeInput{}))
	for _, id := range []device.ID{"pump-1", "pump-2", "pump-3"} {
		must[device.Device](f)(f.api.CreateDevice(ctx, id, adminapi.DeviceInput{Type: "pump", Zone: "plant"}))
	}
	f.grace = must[adminapi.Invited](f)(f.api.InvitePerson(ctx, adminapi.PersonInput{Name: "grace@example.com", Display: "Grace <b>Hopper"})).Person
	f.cato = must[adminapi.Invited](f)(f.api.InvitePerson(ctx, adminapi.PersonInput{Name: "cato@example.com", Display: "Cato"})).Person
	must[access.Grant](f)(f.api.Grant(ctx, adminapi.GrantInput{Kind: access.ToPerson, Subject: string(f.grace.ID), Role: "auditor", Reason: "audits in May"}))
	must[access.Person](f)(f.api.ErasePerson(ctx, f.cato.ID, "left"))
	must[access.APIClient](f)(f.api.CreateAPIClient(ctx, "grafana", adminapi.ClientInput{Description: "dashboards"}))
	must[device.Device](f)(f.api.ChangeDevice(ctx, "pump-3", device.Quarantine, hostile))
	must[device.Device](f)(f.api.ChangeDevice(ctx, "pump-3", device.Release, "checked on site"))
	if _, err := (&adminapi.Client{BaseURL: f.api.BaseURL, Token: adminapi.NewBearer("wrong"), HTTP: f.api.HTTP}).Status(ctx); err == nil {
		f.Fatal("a wrong token was taken")
	}
	f.await("api.authentication_refused")
}

// await returns the newest entry of an action as soon as it is in the log.
func (f *fleet) await(action string) adminapi.Entry {
	f.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if l := must[adminapi.EntryList](f)(f.api.AuditEntries(f.Context(), adminapi.AuditFilter{Action: action, Limit: 1})); len(l.Items) == 1 {
			return l.Items[0]
		}
	}
	f.Fatalf("%s is not in the log", action)
	return adminapi.Entry{}
}

// forward is the server's API as a handler, for pages of somebody with rights.
func (f *fleet) forward(w http.ResponseWriter, r *http.Request) {
	to := r.Clone(r.Context())
	to.RequestURI, to.URL.Scheme, to.URL.Host, to.Host = "", "https", strings.TrimPrefix(f.api.BaseURL, "https://"), ""
	to.Header.Set("Authorization", "Bearer "+f.token)
	answer, err := f.api.HTTP.Do(to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	for k, v := range answer.Header {
		w.Header()[k] = v
	}
	w.WriteHeader(answer.StatusCode)
	io.Copy(w, answer.Body)
}

// pages serves the pages to somebody who holds permissions; none: all.
func (f *fleet) pages(permissions ...access.Permission) http.Handler {
	rights := access.Root()
	if len(permissions) > 0 {
		rights = access.Resolve([]access.Grant{{ID: "g1", Role: "test", GrantedAt: time.Now().Add(-time.Hour)}}, func(string) (access.Role, bool) {
			return access.Role{Name: "test", Permissions: permissions}, true
		}, nil, time.Now())
	}
	m := ui.NewMux()
	audit.Mount(m)
	return uitest.Pages(m, rights, http.HandlerFunc(f.forward))
}

// get asks for a page and returns status and text.
func get(t *testing.T, h http.Handler, path string) (int, string, http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code, w.Body.String(), w.Header()
}
