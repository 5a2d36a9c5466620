package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/oauth"
	"github.com/holdfast-iot/holdfast/server/store/sqlite"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// TestMain lets tests start this program as processes of their own.
func TestMain(m *testing.M) {
	if os.Getenv("HOLDFAST_TEST_RUN") != "" {
		os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(m.Run())
}

// world is a server with the real authorization server, a person who may approve,
// and an API that answers with what the test says. Its clock is moved by waiting.
type world struct {
	hook atomic.Pointer[func(http.ResponseWriter, *http.Request) bool] // as before, for clients that are other processes
	testing.TB
	srv     *httptest.Server
	oauth   *oauth.Server
	signIns *cliSignIns
	moved   atomic.Int64
	home    string
	// before sees each request first; true means that it has answered.
	before func(w http.ResponseWriter, r *http.Request) bool
	// api answers what is neither OAuth nor the account.
	api http.HandlerFunc
	// onWait runs with the screen so far while a command waits.
	onWait func(screen string)
}

var beginning = time.Now()

func (w *world) now() time.Time { return beginning.Add(time.Duration(w.moved.Load())) }

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, signIns: &cliSignIns{by: map[string]*cliSignIn{}}, home: t.TempDir()}
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "holdfast.db"), sqlstore.Faults{})
	w.ok(err)
	t.Cleanup(func() { store.Close() })
	mux := http.NewServeMux()
	w.srv = httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if hook := w.hook.Load(); hook != nil && (*hook)(rw, r) || w.before != nil && w.before(rw, r) {
			return
		}
		mux.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.srv.Close)
	aead, err := chacha20poly1305.NewX(make([]byte, 32))
	w.ok(err)
	var events atomic.Int64
	w.oauth, err = oauth.New(t.Context(), oauth.Config{
		Issuer: w.srv.URL, Store: store, Clients: noClients{}, SignIns: w.signIns,
		Rights: func(context.Context, access.Actor) (access.Rights, error) { return access.Rights{}, nil },
		Seal: func(plain []byte, about string) ([]byte, error) {
			nonce := make([]byte, aead.NonceSize())
			rand.Read(nonce)
			return aead.Seal(nonce, nonce, plain, []byte(about)), nil
		},
		Open: func(sealed []byte, about string) ([]byte, error) {
			if len(sealed) < aead.NonceSize() {
				return nil, errors.New("cut short")
			}
			return aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(about))
		},
		Allow: func(netip.Addr) bool { return true }, Source: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.7") },
		Event: func(by access.Actor, action, kind, id string, _ ...string) audit.Event {
			return audit.Event{ID: fmt.Sprintf("e%08d", events.Add(1)), Time: w.now().UTC().Truncate(time.Microsecond), Node: "n1",
				Actor: audit.Actor{Kind: string(by.Kind), ID: by.ID}, Action: action, Subject: audit.Subject{Kind: kind, ID: id}, Outcome: audit.Success}
		},
		Refuse: func(context.Context, audit.Event, string) {}, Announce: func() {}, Now: w.now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	w.ok(err)
	mux.Handle("/oauth/", w.oauth.Handler())
	mux.HandleFunc("/api/v1/", w.serveAPI)
	return w
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// serveAPI takes access tokens as the server does.
func (w *world) serveAPI(rw http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	claims, err := w.oauth.Verify(r.Context(), token, netip.MustParseAddr("192.0.2.7"))
	if err != nil {
		problem(rw, 401, `{"status":401,"code":"bad-credential","detail":"the credential is not valid","fix":"sign in"}`)
		return
	}
	if r.URL.Path == "/api/v1/account" {
		_ = json.NewEncoder(rw).Encode(adminapi.OwnAccount{Kind: access.Human, ID: string(claims.Person), Name: "Alice", Roles: []string{"operator"}, SignIn: claims.SignIn})
		return
	}
	if w.api == nil {
		_, _ = io.WriteString(rw, `{"items":[]}`)
		return
	}
	w.api(rw, r)
}

// alice is a person in front of the console.
func (w *world) alice() access.Identity {
	return access.Identity{Actor: access.Actor{Kind: access.Human, ID: "palice0000000000x"}, Session: "console1", Proof: access.Proof{Method: "passkey", Fresh: w.now(), Strong: true}}
}

// shownUserCode finds the code on a screen.
func shownUserCode(screen string) string {
	_, rest, _ := strings.Cut(screen, "enter the code\n\n")
	return strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0])
}

// approves is onWait for a person who lets the command line in.
func (w *world) approves(screen string) {
	if code := shownUserCode(screen); code != "" && !strings.Contains(screen, "approved "+code) {
		if err := w.oauth.Approve(context.Background(), w.alice(), code); err != nil && refusal.As(err) == nil {
			w.Error(err)
		}
	}
}

func (w *world) env() []string { return []string{"HOME=" + w.home} }

// run runs the program with the world's clock; a wait moves it.
func (w *world) run(env []string, args ...string) result {
	w.Helper()
	var out, errs strings.Builder
	a := newApp(strings.NewReader(""), &out, &errs, append(w.env(), env...))
	a.now = w.now
	a.sleep = func(ctx context.Context, d time.Duration) error {
		w.moved.Add(int64(d))
		if w.onWait != nil {
			w.onWait(errs.String())
		}
		return ctx.Err()
	}
	code := a.execute(root(a), args)
	return result{code, out.String(), errs.String()}
}

// caFile is the server's authority.
func (w *world) caFile() string {
	path := filepath.Join(w.TempDir(), "ca.pem")
	w.ok(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.srv.Certificate().Raw}), 0o644))
	return path
}

// logIn logs alice in and forgets the screen.
func (w *world) logIn(args ...string) {
	w.Helper()
	w.onWait = w.approves
	r := w.run(nil, append([]string{"login", "--server", w.srv.URL, "--ca", w.caFile()}, args...)...)
	w.onWait = nil
	if r.code != 0 {
		w.Fatalf("logging in: %d\n%s%s", r.code, r.out, r.err)
	}
}

func (w *world) profilesFile() string {
	return filepath.Join(w.home, ".config", "holdfast", "profiles.json")
}

func (w *world) stored() (s storedProfiles) {
	w.Helper()
	text, err := os.ReadFile(w.profilesFile())
	w.ok(err)
	w.ok(json.Unmarshal(text, &s))
	return s
}

// only is the one profile there is.
func (w *world) only() storedProfile {
	w.Helper()
	s := w.stored()
	for _, p := range s.Profiles {
		return p
	}
	w.Fatal("there is no profile")
	return storedProfile{}
}

// put writes the one profile back after change.
func (w *world) put(change func(*storedProfile)) {
	w.Helper()
	s := w.stored()
	for name, p := range s.Profiles {
		change(&p)
		s.Profiles[name] = p
	}
	text, err := json.Marshal(s)
	w.ok(err)
	w.ok(os.WriteFile(w.profilesFile(), text, 0o600))
}

type noClients struct{}

func (noClients) ByID(context.Context, string) (oauth.Client, error) {
	return oauth.Client{}, sqlstore.ErrNotFound
}
func (noClients) ByName(context.Context, string) (oauth.Client, error) {
	return oauth.Client{}, sqlstore.ErrNotFound
}

// cliSignIns are sign-ins in memory with the rules of oauth.SignIns: a secret
// works once, and one that comes twice ends the sign-in as stolen.
type cliSignIns struct {
	mu     sync.Mutex
	by     map[string]*cliSignIn
	starts int
	turns  int
	stolen int
}

type cliSignIn struct {
	oauth.CLISignIn
	secret string
	old    map[string]bool
	ended  bool
}

func (s *cliSignIns) find(secret string) *cliSignIn {
	for _, in := range s.by {
		if in.secret == secret || in.old[secret] {
			return in
		}
	}
	return nil
}

func (s *cliSignIns) StartCLI(_ context.Context, c oauth.CLIStart) (enroll.Secret, oauth.CLISignIn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starts++
	in := &cliSignIn{CLISignIn: oauth.CLISignIn{ID: fmt.Sprint("s", s.starts), Person: c.Person, Fresh: c.Proof.Fresh, Methods: []string{c.Proof.Method}, Strong: c.Proof.Strong}, old: map[string]bool{}}
	in.secret = "hfr_family_" + rand.Text()
	s.by[in.ID] = in
	return enroll.NewSecret(in.secret), in.CLISignIn, nil
}

func (s *cliSignIns) RefreshCLI(_ context.Context, secret enroll.Secret, _ netip.Addr) (enroll.Secret, oauth.CLISignIn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.find(secret.Reveal())
	no := refusal.New(refusal.Unauthenticated, "bad-refresh-token", "sign in again", "the refresh token is not valid")
	switch {
	case in == nil || in.ended:
		return enroll.Secret{}, oauth.CLISignIn{}, no
	case in.old[secret.Reveal()]:
		in.ended = true
		s.stolen++
		return enroll.Secret{}, oauth.CLISignIn{}, no
	}
	s.turns++
	in.old[in.secret], in.secret = true, "hfr_family_"+rand.Text()
	return enroll.NewSecret(in.secret), in.CLISignIn, nil
}

func (s *cliSignIns) EndCLI(_ context.Context, secret enroll.Secret, _ netip.Addr) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.find(secret.Reveal()); in != nil {
		in.ended = true
		return in.ID, nil
	}
	return "", nil
}

func (s *cliSignIns) AliveCLI(_ context.Context, id string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[id] != nil && !s.by[id].ended, nil
}

// state tells how many sign-ins there are, live ones, renewals and thefts.
func (s *cliSignIns) state() (all, live, turns, stolen int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.by {
		if !in.ended {
			live++
		}
	}
	return len(s.by), live, s.turns, s.stolen
}

// approveOn is a wait in which the person approves what the screen shows.
func (w *world) approveOn(c *terminal, approved *bool) func(context.Context, time.Duration) error {
	return func(ctx context.Context, d time.Duration) error {
		w.moved.Add(int64(d))
		screen := strings.NewReplacer(bold, "", reset, "").Replace(c.seen())
		if code := shownUserCode(screen); !*approved && len(code) == 9 {
			*approved = w.oauth.Approve(ctx, w.alice(), code) == nil
		}
		return ctx.Err()
	}
}
