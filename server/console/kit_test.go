package console_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pquerna/otp/totp"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console"
	"github.com/holdfast-iot/holdfast/server/people"
	"github.com/holdfast-iot/holdfast/server/store/sqlite"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// house is a console with real people in a real database, on a TLS server. Its
// clock is the true one plus what a test lets pass.
type house struct {
	*testing.T
	people  *people.People
	server  *httptest.Server
	url     string
	routes  []string // patterns of all that the console answers to
	closing chan struct{}
	log     bytes.Buffer
	mu      sync.Mutex
	ahead   time.Duration // guarded by mu
	admins  map[access.PersonID]bool
}

func (h *house) now() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return time.Now().Add(h.ahead) }

func (h *house) pass(d time.Duration) { h.mu.Lock(); defer h.mu.Unlock(); h.ahead += d }

func open(t *testing.T) *house {
	t.Helper()
	h := &house{T: t, closing: make(chan struct{}), admins: map[access.PersonID]bool{}}
	store, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "holdfast.db"), sqlstore.Faults{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	h.url = "https://localhost:" + port
	block, _ := aes.NewCipher(make([]byte, 32))
	aead, _ := cipher.NewGCM(block)
	seal := func(plain, about []byte) ([]byte, error) {
		nonce := make([]byte, aead.NonceSize())
		rand.Read(nonce)
		return aead.Seal(nonce, nonce, plain, about), nil
	}
	unseal := func(sealed, about []byte) ([]byte, error) {
		if len(sealed) < aead.NonceSize() {
			return nil, errors.New("cut short")
		}
		return aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], about)
	}
	rights := func(_ context.Context, id access.PersonID) (access.Rights, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		var grants []access.Grant
		if h.admins[id] {
			grants = append(grants, access.Grant{Role: access.Admin})
		}
		return access.Resolve(grants, access.Builtin, nil, time.Now()), nil
	}
	h.people, err = people.New(people.Config{Store: store, Random: rand.Reader, Now: h.now, Passwords: password.DefaultRules(), Breached: password.Embedded(),
		Sessions: access.DefaultSessionRules(), Cost: password.Cost{Passes: 5, MemoryKiB: 7168, Threads: 1}, Hashes: 2, RPID: "localhost", RPName: "Holdfast", Origins: []string{h.url},
		Seal: seal, Open: unseal, Rights: rights, IsLastAdmin: func(context.Context, access.PersonID) (bool, error) { return false, nil },
		Event: func(by access.Actor, action, kind, id string, _ ...string) audit.Event {
			return audit.Event{ID: uuid.NewString(), Time: h.now(), Node: "n1", Actor: audit.Actor{Kind: string(by.Kind), ID: by.ID, Source: by.Source}, Action: action,
				Subject: audit.Subject{Kind: kind, ID: id}, Outcome: audit.Success}
		},
		Refuse: func(context.Context, audit.Event, string) {}, Alarm: func(context.Context, people.Notice) {}, Announce: func() {},
		GrantAdmin: func(_ context.Context, id access.PersonID) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.admins[id] = true
			return nil
		}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := console.New(console.Config{People: h.people, Seal: seal, Open: unseal, Now: h.now, Log: slog.New(slog.NewTextHandler(&lockedLog{h: h}, nil)), Closing: h.closing,
		Version: "test", Place: "factory.example",
		API: func(context.Context, access.Identity) *adminapi.Client {
			return &adminapi.Client{BaseURL: "https://127.0.0.1:1", HTTP: &http.Client{Transport: nowhere{}}}
		},
		Identity: func(ctx context.Context, in people.SignIn, source string) (access.Identity, error) {
			r, err := rights(ctx, in.Person.ID)
			return access.Identity{Actor: access.Actor{Kind: access.Human, ID: string(in.Person.ID), Source: source}, Name: in.Person.Shown(), Rights: r, Proof: in.Proof(), Session: in.ID}, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	h.routes = handler.Routes()
	h.server = httptest.NewUnstartedServer(handler)
	h.server.Listener.Close()
	h.server.Listener = listener
	h.server.StartTLS()
	t.Cleanup(h.server.Close)
	return h
}

// nowhere is an API that cannot be reached: what a page makes of that is its own
// matter, and tested with a whole server.
type nowhere struct{}

// RoundTrip fails.
func (nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("there is no API here")
}

type lockedLog struct{ h *house }

func (l *lockedLog) Write(b []byte) (int, error) {
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	return l.h.log.Write(b)
}

// browser is an HTTP client with cookies that follows no redirect.
type browser struct {
	*house
	client *http.Client
}

func (h *house) browser() *browser {
	jar, _ := cookiejar.New(nil)
	c := *h.server.Client()
	t := c.Transport.(*http.Transport).Clone()
	t.TLSClientConfig.ServerName = "example.com"
	c.Transport, c.Jar = t, jar
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{h, &c}
}

func (b *browser) do(method, path string, form url.Values, headers ...string) *http.Response {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, b.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.client.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { res.Body.Close() })
	return res
}

// to fails the test unless the answer leads to a path.
func (b *browser) to(res *http.Response, path string) {
	b.Helper()
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != path {
		b.Fatalf("the answer is %d to %q, want %q", res.StatusCode, res.Header.Get("Location"), path)
	}
}

const secret = "seventeen quiet herons at dawn"

var here = people.Where{Source: netip.MustParseAddr("192.0.2.1"), Agent: "test"}

// member makes a person with a password and an authenticator app.
func (h *house) member(name string) (app string) {
	h.Helper()
	ctx := h.Context()
	_, link, err := h.people.Invite(ctx, access.Component("test"), people.Invitation{Name: name, Display: "Grace Hopper"})
	must(h, err)
	_, in, err := h.people.AcceptInvite(ctx, link.Secret, here)
	must(h, err)
	_, in, err = h.people.SetPassword(ctx, in, password.New(""), password.New(secret), here)
	must(h, err)
	setup, err := h.people.BeginTOTP(ctx, in)
	must(h, err)
	app = strings.ReplaceAll(setup.Secret, " ", "")
	_, _, err = h.people.ConfirmTOTP(ctx, in, setup.Flow, h.code(app), here)
	must(h, err)
	h.pass(time.Minute) // a code is good once
	return app
}

func (h *house) code(app string) string {
	h.Helper()
	c, err := totp.GenerateCode(app, h.now())
	must(h, err)
	return c
}

func must(h *house, err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// signIn signs a member in.
func (b *browser) signIn(name, app, next string) {
	b.Helper()
	res := b.do("POST", "/sign-in", url.Values{"name": {name}, "password": {secret}, "next": {next}})
	if !strings.HasPrefix(res.Header.Get("Location"), "/sign-in/factor") {
		b.Fatalf("the password led to %d %q", res.StatusCode, res.Header.Get("Location"))
	}
	b.pass(time.Minute)
	b.to(b.do("POST", "/sign-in/factor/code", url.Values{"code": {b.code(app)}, "next": {next}}), next)
}

// person finds a person by name.
func (h *house) person(name string) access.PersonID {
	h.Helper()
	list, _, err := h.people.List(h.Context(), people.Filter{Limit: 100})
	must(h, err)
	for _, p := range list {
		if p.Name == name {
			return p.ID
		}
	}
	h.Fatalf("there is no %s", name)
	return ""
}
