package people

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlite"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

const (
	origin = "https://console.example.com:8443"
	rpID   = "console.example.com"
	firefo = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
	chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
	good   = "correct battery staple orange"
	better = "seventeen quiet herons at dawn"
)

// house is an installation with real SQLite, a clock that stands still, and all
// that was told and recorded.
type house struct {
	*testing.T
	*People
	store *sqlstore.Store
	db    string

	mu      sync.Mutex
	clock   time.Time
	roles   map[access.PersonID]string
	notices []Notice
	events  []audit.Event // written with changes
	refused []audit.Event
	told    int
	last    access.PersonID // the last administrator
	bad     map[string]error
}

// office and cafe are places.
var (
	office = Where{netip.MustParseAddr("192.0.2.17"), firefo}
	cafe   = Where{netip.MustParseAddr("198.51.100.4"), chrome}
)

func open(t testing.TB, change ...func(*Config)) *house {
	t.Helper()
	h := &house{clock: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC), roles: map[access.PersonID]string{}, bad: map[string]error{}}
	if tt, ok := t.(*testing.T); ok {
		h.T = tt
	}
	h.db = filepath.Join(t.TempDir(), "holdfast.db")
	var err error
	h.store, err = sqlite.Open(context.Background(), h.db, sqlstore.Faults{
		Unreported: func(write string) error { h.mu.Lock(); defer h.mu.Unlock(); return h.bad[write] },
		NotWritten: func(write string) error { h.mu.Lock(); defer h.mu.Unlock(); return h.bad["not "+write] },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.store.Close() })
	cfg := h.config()
	for _, fn := range change {
		fn(&cfg)
	}
	if h.People, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) config() Config {
	block, _ := aes.NewCipher(make([]byte, 32))
	aead, _ := cipher.NewGCM(block)
	rules := password.DefaultRules()
	return Config{Store: h.store, Random: rand.Reader, Now: h.time, Passwords: rules, Breached: password.Embedded(), Sessions: access.DefaultSessionRules(),
		Cost: password.Cost{Passes: 5, MemoryKiB: 7168, Threads: 1}, Hashes: 2, RPID: rpID, RPName: "Holdfast", Origins: []string{origin},
		Seal: func(plain, about []byte) ([]byte, error) {
			nonce := make([]byte, aead.NonceSize())
			rand.Read(nonce)
			return aead.Seal(nonce, nonce, plain, about), nil
		},
		Open: func(sealed, about []byte) ([]byte, error) {
			if len(sealed) < aead.NonceSize() {
				return nil, errors.New("cut short")
			}
			return aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], about)
		},
		Event: h.event, Refuse: func(_ context.Context, e audit.Event, why string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			e.Reason = why
			h.refused = append(h.refused, e)
		},
		Rights: func(_ context.Context, id access.PersonID) (access.Rights, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			var grants []access.Grant
			if r := h.roles[id]; r != "" {
				grants = append(grants, access.Grant{Role: r})
			}
			return access.Resolve(grants, access.Builtin, nil, h.clock), nil
		},
		IsLastAdmin: func(_ context.Context, id access.PersonID) (bool, error) { return id == h.last, nil },
		GrantAdmin: func(_ context.Context, id access.PersonID) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.roles[id] = access.Admin
			return nil
		},
		Alarm:    func(_ context.Context, n Notice) { h.mu.Lock(); defer h.mu.Unlock(); h.notices = append(h.notices, n) },
		Announce: func() { h.mu.Lock(); defer h.mu.Unlock(); h.told++ },
		Log:      slog.New(slog.DiscardHandler)}
}

func (h *house) time() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return h.clock }

func (h *house) pass(d time.Duration) { h.mu.Lock(); defer h.mu.Unlock(); h.clock = h.clock.Add(d) }

func (h *house) event(by access.Actor, action, kind, id string, details ...string) audit.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := audit.Event{ID: uuid.NewString(), Time: h.clock, Node: "n1", Actor: audit.Actor{Kind: string(by.Kind), ID: by.ID, Source: by.Source}, Action: action,
		Subject: audit.Subject{Kind: kind, ID: id}, Outcome: audit.Success, Details: map[string]string{}}
	for i := 0; i+1 < len(details); i += 2 {
		if details[i+1] != "" {
			e.Details[details[i]] = details[i+1]
		}
	}
	h.events = append(h.events, e)
	return e
}

func (h *house) role(id access.PersonID, role string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.roles[id] = role
}

// noticed tells how often a notice of a kind was given, and forgets all.
func (h *house) noticed(kind NoticeKind) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range h.notices {
		if x.Kind == kind {
			n++
		}
	}
	h.notices = nil
	return n
}

func (h *house) ok(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// is fails the test unless err is a refusal with this code.
func (h *house) is(err error, code string) {
	h.Helper()
	if !refusal.Is(err, code) {
		h.Fatalf("the error is %v, want %s", err, code)
	}
}

var admin = access.Actor{Kind: access.Human, ID: "pboss", Source: "192.0.2.1"}

// invite makes an account and opens its link.
func (h *house) invite(name string) (access.Person, Link) {
	h.Helper()
	p, link, err := h.Invite(h.Context(), admin, Invitation{Name: name, Display: strings.ToUpper(name), Mail: strings.Replace(name+"@example.com", "@example.com@", "@", 1)})
	h.ok(err)
	return p, link
}

// member is a person with a password and an authenticator app, signed in.
type member struct {
	access.Person
	secret []byte // of the authenticator app
	cookie Secret
	in     SignIn
}

func (h *house) member(name string) *member {
	h.Helper()
	_, link := h.invite(name)
	return h.join(link)
}

// join follows a link with a password and an authenticator app.
func (h *house) join(link Link) *member {
	h.Helper()
	ctx := h.Context()
	cookie, in, err := h.AcceptInvite(ctx, link.Secret, office)
	h.ok(err)
	h.stage(in, StageEnrol)
	cookie, in, err = h.SetPassword(ctx, h.resume(cookie, office), password.Secret{}, password.New(good), office)
	h.ok(err)
	h.stage(in, StageEnrol)
	m := &member{Person: in.Person}
	in = h.resume(cookie, office)
	m.secret = h.setupTOTP(in, func(flow, code string) error {
		m.cookie, m.in, err = h.ConfirmTOTP(ctx, in, flow, code, office)
		return err
	})
	h.stage(m.in, StageFull)
	m.Person = m.in.Person
	h.pass(totpStep) // the code that confirmed it is spent
	return m
}

func (h *house) setupTOTP(in SignIn, confirm func(flow, code string) error) []byte {
	h.Helper()
	setup, err := h.BeginTOTP(h.Context(), in)
	h.ok(err)
	secret, err := totpEncoding.DecodeString(strings.ReplaceAll(setup.Secret, " ", ""))
	h.ok(err)
	h.ok(confirm(setup.Flow, h.code(secret)))
	return secret
}

// code is what the app shows now.
func (h *house) code(secret []byte) string {
	c, err := codeOf(secret, h.time().Unix()/30)
	if err != nil {
		panic(err)
	}
	return c
}

// wrong is a code that is not right around now.
func (h *house) wrong(secret []byte) string {
	for i := range 1000 {
		c := fmt.Sprintf("%06d", i)
		if _, ok := matching(secret, c, h.time()); !ok {
			return c
		}
	}
	panic("no wrong code")
}

// follow resumes and keeps the new cookie, as a browser does.
func (h *house) follow(cookie *Secret, at Where) SignIn {
	h.Helper()
	in, next, err := h.Resume(h.Context(), *cookie, at)
	h.ok(err)
	if !next.Empty() {
		*cookie = next
	}
	return in
}

func (h *house) stage(in SignIn, want Stage) {
	h.Helper()
	if in.Stage != want {
		h.Fatalf("the sign-in is at stage %s, want %s", in.Stage, want)
	}
}

func (h *house) resume(cookie Secret, at Where) SignIn {
	h.Helper()
	in, _, err := h.Resume(h.Context(), cookie, at)
	h.ok(err)
	return in
}

// enter signs a member in with password and code.
func (h *house) enter(m *member, at Where) (Secret, SignIn) {
	h.Helper()
	cookie, in, err := h.Password(h.Context(), m.Name, password.New(good), at)
	h.ok(err)
	h.stage(in, StageFactor)
	cookie, in, err = h.TOTP(h.Context(), h.resume(cookie, at), h.code(m.secret), at)
	h.ok(err)
	h.stage(in, StageFull)
	h.pass(totpStep)
	return cookie, in
}

// count runs a query that gives a number.
func (h *house) count(query string, args ...any) (n int) {
	h.Helper()
	db, err := sql.Open("sqlite", "file:"+h.db)
	h.ok(err)
	defer db.Close()
	h.ok(db.QueryRow(query, args...).Scan(&n))
	return n
}
