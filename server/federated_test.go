package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/internal/idptest"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
)

// federated is a running server whose people sign in elsewhere.
type federated struct {
	*running
	dir string
}

// federate starts a server with a file of providers; data is the folder of one
// before, or empty.
func federate(t *testing.T, data, providers string, change func(*config.Config)) *federated {
	t.Helper()
	dir := t.TempDir()
	cfg := config.Default()
	cfg.Data, cfg.Node = data, "test"
	if data == "" {
		cfg.Data = tempData(t)
	}
	cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0", MQTTS: "127.0.0.1:0", WSS: "127.0.0.1:0"}
	if providers != "" {
		cfg.Access.Providers = written(t, dir, "providers.yaml", providers)
	}
	if change != nil {
		change(&cfg)
	}
	return &federated{startWith(t, cfg, Options{}), dir}
}

func written(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// corp is a provider that Holdfast may reach although it is inside.
func corp(t *testing.T, o idptest.OIDC, more string) string {
	return fmt.Sprintf("allow_networks: [127.0.0.1/32]\nca_file: %s\noidc:\n  - name: corp\n    issuer: %s\n    client_id: %s\n    client_secret_file: %s\n    user_info: true\n    multi_factor: [pwd]\n%s",
		o.CAFile, o.URL, idptest.ClientID, written(t, t.TempDir(), "secret", idptest.Secret+"\n"), more)
}

const corpGroups = `    groups:
      - {group: plant-operators, role: operator, zones: [plant]}
      - {group: plant-auditors, role: auditor}
      - {group: night shift, role: night-watch}
`

// surfer is a browser without scripts.
type surfer struct {
	*http.Client
	t *testing.T
	f *federated
}

func (f *federated) surfer() *surfer {
	f.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	f.t.Cleanup(tr.CloseIdleConnections)
	return &surfer{&http.Client{Jar: jar, Transport: tr, Timeout: 20 * time.Second}, f.t.(*testing.T), f}
}

// page is an answer that was read.
type page struct {
	status int
	at     *url.URL
	text   string
	header http.Header
}

func (s *surfer) read(resp *http.Response, err error) page {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return page{resp.StatusCode, resp.Request.URL, string(text), resp.Header}
}

// here is an address of the console.
func (s *surfer) here(path string) string { return s.f.ready.Console + path }

func (s *surfer) visit(path string) page {
	s.t.Helper()
	return s.read(s.Get(s.here(path)))
}

// signedIn tells whether the console lets the browser in.
func (s *surfer) signedIn() bool {
	s.t.Helper()
	p := s.visit("/account")
	return p.status == http.StatusOK && p.at.Path == "/account"
}

// begin goes to the sign-in page of the provider.
func (s *surfer) begin(next string) page {
	s.t.Helper()
	p := s.visit("/sign-in/oidc/corp?" + url.Values{"next": {next}}.Encode())
	if !strings.Contains(p.at.Path, "/login/") {
		s.t.Fatalf("beginning led to %s: %d %s", p.at, p.status, p.text)
	}
	return p
}

// logIn fills in the provider's form.
func (s *surfer) logIn(form page) page {
	s.t.Helper()
	v := idptest.Form([]byte(form.text))
	v.Set("username", idptest.User)
	v.Set("password", idptest.Password)
	return s.read(s.PostForm(form.at.String(), v))
}

// stopBefore makes the browser stop at what a path of the console is asked for, and
// returns it.
func (s *surfer) stopBefore(path string) *url.URL {
	var stopped url.URL
	s.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == path {
			stopped = *r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	return &stopped
}

const callback = "/sign-in/oidc/corp/callback"

func (f *federated) registered(o idptest.OIDC) *federated {
	o.Register(f.ready.Console + callback)
	return f
}

// external finds the account of the provider's person.
func (f *federated) external(origin, subject string) access.Person {
	f.t.Helper()
	p, _, err := f.store.PersonByExternal(context.Background(), origin, subject)
	if err != nil {
		f.t.Fatal(err)
	}
	return p
}

func (f *federated) roles(id access.PersonID) (roles []string) {
	f.t.Helper()
	list, err := f.Server.Grants(context.Background(), access.ToPerson, string(id))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, g := range list {
		roles = append(roles, g.Origin+": "+g.Role+" for "+g.Scope.String())
	}
	slices.Sort(roles)
	return roles
}

// recorded fails unless the audit log has an event of an action with a detail.
func (f *federated) recorded(action, detail, value string) {
	f.t.Helper()
	f.sequenced()
	list, err := f.Entries(context.Background(), adminapi.AuditFilter{Action: action, Limit: 50})
	if err != nil {
		f.t.Fatal(err)
	}
	if !slices.ContainsFunc(list, func(e adminapi.AuditEntry) bool { return e.Event.Details[detail] == value }) {
		f.t.Errorf("no event %s with %s %s in %+v", action, detail, value, list)
	}
}

// logInAs signs in and wants to get to next.
func (s *surfer) logInAs(next string) {
	s.t.Helper()
	if p := s.logIn(s.begin(next)); p.at.Path != next {
		s.t.Fatalf("signing in led to %s: %d %s", p.at, p.status, p.text)
	}
}
