package oauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlite"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

const issuer = "https://holdfast.example.com"

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	here  = netip.MustParseAddr("192.0.2.7")
)

// world is a cluster: a database, clients and sign-ins, and a clock.
type world struct {
	testing.TB
	store   *sqlstore.Store
	clients *members
	signIns *sessions
	clock   func() time.Time
	moved   atomic.Int64 // how far the clock was moved
	refused refusals
	limit   atomic.Bool // requests are over the limit
	sealKey []byte
	events  atomic.Int64
}

func newWorld(t testing.TB) *world {
	return openWorld(t, filepath.Join(t.TempDir(), "holdfast.db"), sqlstore.Faults{})
}

func openWorld(t testing.TB, path string, faults sqlstore.Faults) *world {
	t.Helper()
	store, err := sqlite.Open(context.Background(), path, faults)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w := &world{TB: t, store: store, clients: &members{byID: map[string]Client{}}, signIns: &sessions{by: map[string]*session{}}, sealKey: make([]byte, 32)}
	w.clock = func() time.Time { return start.Add(time.Duration(w.moved.Load())) }
	return w
}

func (w *world) move(d time.Duration) { w.moved.Add(int64(d)) }

// config is one node's.
func (w *world) config() Config {
	aead, err := chacha20poly1305.NewX(w.sealKey)
	w.ok(err)
	return Config{
		Issuer: issuer, Store: w.store, Clients: w.clients, SignIns: w.signIns, Rights: w.clients.rights,
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
		Allow:  func(netip.Addr) bool { return !w.limit.Load() },
		Source: func(*http.Request) netip.Addr { return here },
		Event: func(by access.Actor, action, kind, id string, details ...string) audit.Event {
			e := audit.Event{ID: fmt.Sprintf("e%08d", w.events.Add(1)), Time: w.clock().Truncate(time.Microsecond), Node: "n1",
				Actor:  audit.Actor{Kind: string(by.Kind), ID: by.ID, Source: by.Source},
				Action: action, Subject: audit.Subject{Kind: kind, ID: id}, Outcome: audit.Success}
			for i := 0; i+1 < len(details); i += 2 {
				if e.Details == nil {
					e.Details = map[string]string{}
				}
				if details[i+1] != "" {
					e.Details[details[i]] = audit.Text(details[i+1], 1024)
				}
			}
			return e
		},
		Refuse: w.refused.add, Announce: func() {}, Now: w.clock, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

func (w *world) node() *Server {
	w.Helper()
	s, err := New(context.Background(), w.config())
	w.ok(err)
	return s
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// refusals keeps why something was refused.
type refusals struct {
	mu  sync.Mutex
	why []string
}

func (r *refusals) add(_ context.Context, e audit.Event, why string) {
	if _, err := audit.Encode(e); err != nil {
		panic(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why = append(r.why, why)
}

func (r *refusals) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.why) == 0 {
		return ""
	}
	return r.why[len(r.why)-1]
}

// members are the API clients.
type members struct {
	mu    sync.Mutex
	byID  map[string]Client
	down  bool
	asked int
}

func (m *members) put(c Client) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byID[c.ID] = c
}

func (m *members) ByID(_ context.Context, id string) (Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	c, ok := m.byID[id]
	switch {
	case m.down:
		return c, errors.New("the database is down")
	case !ok:
		return c, sqlstore.ErrNotFound
	}
	return c, nil
}

func (m *members) ByName(_ context.Context, name string) (Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.byID {
		if c.Name == name {
			return c, nil
		}
	}
	return Client{}, sqlstore.ErrNotFound
}

func (m *members) rights(_ context.Context, by access.Actor) (access.Rights, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := []access.Permission{access.DeviceRead, access.PolicyRead}
	if strings.HasPrefix(by.ID, "auditor") {
		list = append(list, access.ClientRead)
	}
	role := access.Role{Name: "r", Permissions: list}
	return access.Resolve([]access.Grant{{Role: "r"}}, func(string) (access.Role, bool) { return role, true }, nil, start), nil
}

// sessions are sign-ins of the command line, with the rules of SignIns.
type sessions struct {
	mu    sync.Mutex
	by    map[string]*session // by id
	count int
	fail  error
}

type session struct {
	CLISignIn
	secret string
	old    []string
	ended  bool
}

func (s *sessions) StartCLI(_ context.Context, c CLIStart) (enroll.Secret, CLISignIn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return enroll.Secret{}, CLISignIn{}, s.fail
	}
	s.count++
	in := &session{CLISignIn: CLISignIn{ID: fmt.Sprint("s", s.count), Person: c.Person, Fresh: c.Proof.Fresh, Methods: []string{c.Proof.Method}, Strong: c.Proof.Strong}}
	in.secret = "hfr_" + randomText(25)
	s.by[in.ID] = in
	return enroll.NewSecret(in.secret), in.CLISignIn, nil
}

func (s *sessions) RefreshCLI(_ context.Context, refresh enroll.Secret, _ netip.Addr) (enroll.Secret, CLISignIn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	no := refusal.New(refusal.Unauthenticated, "bad-refresh", "sign in again", "the refresh token is not valid")
	for _, in := range s.by {
		for _, old := range in.old {
			if old == refresh.Reveal() {
				in.ended = true
				return enroll.Secret{}, CLISignIn{}, no
			}
		}
		if in.secret == refresh.Reveal() && !in.ended {
			in.old, in.secret = append(in.old, in.secret), "hfr_"+randomText(25)
			return enroll.NewSecret(in.secret), in.CLISignIn, nil
		}
	}
	return enroll.Secret{}, CLISignIn{}, no
}

func (s *sessions) EndCLI(_ context.Context, refresh enroll.Secret, _ netip.Addr) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.by {
		if in.secret == refresh.Reveal() {
			in.ended = true
			return in.ID, nil
		}
	}
	return "", nil
}

func (s *sessions) AliveCLI(_ context.Context, id string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[id] != nil && !s.by[id].ended, nil
}

// alice is a person who just proved a passkey.
func (w *world) alice() access.Identity {
	return access.Identity{Actor: access.Actor{Kind: access.Human, ID: "palice0000000000", Source: "192.0.2.1"}, Session: "console1",
		Proof: access.Proof{Method: "passkey", Fresh: w.clock(), Strong: true}}
}

// client adds one with a secret.
func (w *world) client(id string) (c Client, secret string) {
	s, hash := NewClientSecret()
	c = Client{APIClient: access.APIClient{ID: id, Name: "name-of-" + id, HasSecret: true}, SecretHash: hash[:]}
	w.clients.put(c)
	return c, s.Reveal()
}

// call posts a form and decodes the answer.
func call(s *Server, path string, form url.Values, headers ...string) (int, map[string]any, http.Header) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, r)
	var out map[string]any
	json.Unmarshal(rec.Body.Bytes(), &out)
	return rec.Code, out, rec.Header()
}

// code fails the test unless the answer is an error of this kind.
func (w *world) code(status int, got map[string]any, wantStatus int, want string) {
	w.Helper()
	if status != wantStatus || got["error"] != want {
		w.Fatalf("the answer is %d %v, want %d %s", status, got, wantStatus, want)
	}
}

// clientToken gets one with a secret.
func (w *world) clientToken(s *Server, id, secret, scope string) string {
	w.Helper()
	status, got, _ := call(s, pathToken, url.Values{"grant_type": {grantClient}, "client_id": {id}, "client_secret": {secret}, "scope": {scope}})
	if status != 200 {
		w.Fatalf("getting a token: %d %v", status, got)
	}
	return got["access_token"].(string)
}

// why fails the test unless the token is rejected for a reason, with the one
// refusal.
func (w *world) why(s *Server, token string, want Why) {
	w.Helper()
	rejects(w.TB, s, token, want)
}

func rejects(t testing.TB, s *Server, token string, want Why) {
	t.Helper()
	_, err := s.Verify(context.Background(), token, here)
	var r *Rejected
	if !errors.As(err, &r) || r.Why != want {
		t.Fatalf("verifying gives %v, want %s", err, want)
	}
	if f := refusal.As(err); f == nil || f.Code != "bad-access-token" || f.Error() != refusal.As(rejected(Expired)).Error() {
		t.Fatalf("the refusal is not the uniform one: %v", f)
	}
}

// sign makes any JWT.
func sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any, header map[string]any, payload any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	for name, value := range header {
		options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	text, isText := payload.(string)
	if !isText {
		b, err := json.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	jws, err := signer.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func newECKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func hashOf(text string) []byte { h := sha256.Sum256([]byte(text)); return h[:] }

func jwkOf(k *ecdsa.PrivateKey) jose.JSONWebKey {
	return jose.JSONWebKey{Key: &k.PublicKey, KeyID: "k"}
}

// mustBytes is the secret scalar of a key.
func mustBytes(k *ecdsa.PrivateKey) []byte {
	b, err := k.Bytes()
	if err != nil {
		panic(err)
	}
	return b
}
