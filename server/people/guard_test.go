package people

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/refusal"
)

// TestNoEnumeration asks about every kind of account that there is, and about
// none: the same words, the same kinds of work, the same slow-down.
func TestNoEnumeration(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("active")
	h.invite("invited")
	off := h.member("disabled")
	_, err := h.Disable(ctx, admin, off.ID, "left")
	h.ok(err)
	h.keyed("keyed")
	gone := h.member("gone")
	_, err = h.Erase(ctx, admin, gone.ID, "left")
	h.ok(err)
	_, _, err = h.External(ctx, External{Provider: "oidc:corp", Subject: "1", Name: "external"}, office)
	h.ok(err)
	names := []string{"active", "invited", "disabled", "keyed", "gone", "external", "nobody", "", "not a name", strings.Repeat("x", 100000), string(gone.ID)}
	for round := range 30 {
		said := map[string][]string{}
		for i, name := range names {
			secret := better
			if name == "disabled" || name == "gone" || name == "invited" {
				secret = good // right, and of no use
			}
			from := Where{netip.MustParseAddr(fmt.Sprintf("203.0.113.%d", i)), firefo}
			before := len(h.refused)
			_, _, err := h.Password(ctx, name, password.New(secret), from)
			if err == nil {
				t.Fatalf("%.20q signed in", name)
			}
			said[err.Error()] = append(said[err.Error()], fmt.Sprintf("%.20s", name))
			if len(h.refused) != before+1 {
				t.Fatalf("%.20q: %d refusals were recorded", name, len(h.refused)-before)
			}
		}
		if len(said) != 1 {
			t.Fatalf("round %d: names can be told apart: %v", round, said)
		}
		h.pass(2 * time.Second)
	}
	for _, e := range h.refused {
		text := fmt.Sprint(e.Subject, e.Details, e.Reason)
		for _, name := range names[:6] {
			if strings.Contains(text, name) && name != "active" && name != "disabled" {
				t.Fatalf("a name is in the audit log: %s", text)
			}
		}
	}
	_ = m
}

// TestSameWork measures that an unknown name costs a hash as a known one does:
// without one it would take a hundredth of the time.
func TestSameWork(t *testing.T) {
	h := open(t)
	h.member("maria")
	took := func(name string) time.Duration {
		best := time.Hour
		for range 7 {
			h.pass(time.Hour)
			began := time.Now()
			h.Password(t.Context(), name, password.New(better), office)
			best = min(best, time.Since(began))
		}
		return best
	}
	known, unknown := took("maria"), took("nobody")
	if ratio := float64(known) / float64(unknown); ratio < 0.1 || ratio > 10 {
		t.Fatalf("a known name takes %v, an unknown one %v", known, unknown)
	}
}

// TestLockout has an attacker guess from very many addresses: the person still
// signs in from where they did before, and with a passkey from anywhere, while
// the attacker is slowed down to a try a minute.
func TestLockout(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	a := newAuthenticator()
	h.addKey(h.resume(m.cookie, office), a)
	h.noticed("")
	looked := 0
	for i := range 400 {
		from := Where{netip.AddrFrom4([4]byte{203, byte(i >> 8), byte(i), 9}), chrome}
		_, _, err := h.Password(ctx, "maria", password.New(fmt.Sprint("guess number ", i)), from)
		if refusal.Is(err, "wrong-password") {
			looked++
		} else if !refusal.Is(err, "too-many-tries") {
			t.Fatal(err)
		}
	}
	if looked > accountFree+5 {
		t.Fatalf("%d guesses were looked at", looked)
	}
	if h.noticed(NoticeGuessed) != 1 {
		t.Fatal("nobody was told, or too often")
	}
	_, _, err := h.Password(ctx, "maria", password.New(good), Where{netip.MustParseAddr("100.64.3.4"), chrome})
	h.is(err, "too-many-tries")
	near := Where{netip.MustParseAddr("192.0.2.200"), firefo} // another address of the office
	cookie, in, err := h.Password(ctx, "maria", password.New(good), near)
	h.ok(err)
	h.stage(in, StageFactor)
	_, _, err = h.TOTP(ctx, h.resume(cookie, near), h.code(m.secret), near)
	h.ok(err)
	_, in, err = h.byKey(a, cafe)
	h.ok(err)
	h.stage(in, StageFull)
	h.pass(3 * time.Hour)
	_, _, err = h.Password(ctx, "maria", password.New(good), Where{netip.MustParseAddr("100.64.3.4"), chrome})
	h.ok(err)
}

// TestBackOff guesses from one address, at one account and at many.
func TestBackOff(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	h.member("maria")
	evil := Where{netip.MustParseAddr("203.0.113.9"), chrome}
	looked := func(n int, name func(i int) string) (count int) {
		for i := range n {
			if _, _, err := h.Password(ctx, name(i), password.New(better), evil); refusal.Is(err, "wrong-password") {
				count++
			}
			h.pass(time.Second)
		}
		return count
	}
	if n := looked(120, func(int) string { return "maria" }); n > 14 {
		t.Errorf("%d guesses in two minutes", n)
	}
	h.pass(24 * time.Hour)
	if n := looked(300, func(i int) string { return fmt.Sprint("user", i) }); n > 75 {
		t.Errorf("%d accounts were tried in five minutes", n)
	}
	// Another address is not slowed down by this one.
	_, _, err := h.Password(ctx, "maria", password.New(good), office)
	h.ok(err)
	// At once, too.
	h.pass(24 * time.Hour)
	var at atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, _, err := h.Password(ctx, "maria", password.New(better), evil); refusal.Is(err, "wrong-password") {
				at.Add(1)
			}
		})
	}
	wg.Wait()
	if at.Load() > pairFree+1 {
		t.Errorf("%d guesses at the same time", at.Load())
	}
}

func TestGuardBounded(t *testing.T) {
	g := newGuard()
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for i := range 3 * maxCounters {
		g.try(fmt.Sprint("name", i), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now, func() bool { return false })
	}
	for _, c := range []counters{g.pairs, g.sources, g.accounts} {
		if len(c.byKey) != maxCounters || c.recent.Len() != maxCounters {
			t.Fatalf("%d counters are kept", len(c.byKey))
		}
	}
	if sourceKey(netip.MustParseAddr("2001:db8::1")) != sourceKey(netip.MustParseAddr("2001:db8::ffff:2")) || sourceKey(netip.MustParseAddr("::ffff:192.0.2.1")) != "192.0.2.1/32" {
		t.Error("sources are not told apart as they should")
	}
	if network(netip.Addr{}) != "unknown" || sourceKey(netip.Addr{}) == "" {
		t.Error("no address is no network")
	}
}

// TestBusy fills the queue of password hashes: the next is told so at once.
func TestBusy(t *testing.T) {
	s := newSlots(2)
	gate, began := make(chan struct{}), make(chan struct{}, 2)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { s.hash(context.Background(), func() { began <- struct{}{}; <-gate }) })
	}
	<-began
	<-began
	ctx, cancel := context.WithCancel(context.Background())
	for range maxQueue {
		s.queue <- struct{}{} // somebody who waits
	}
	if err := s.hash(ctx, func() {}); !refusal.Is(err, "busy") || refusal.As(err).Kind != refusal.Unavailable {
		t.Fatalf("got %v", err)
	}
	<-s.queue
	cancel()
	if err := s.hash(ctx, func() { t.Error("it ran") }); err == nil {
		t.Fatal("it did not wait for its turn")
	}
	close(gate)
	wg.Wait()
}

func TestPasswordChange(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	_, other := h.enter(m, cafe)
	cookie, _ := h.enter(m, office)
	h.pass(10 * time.Minute)
	in := h.follow(&cookie, office)
	for _, c := range []struct{ next, code string }{{"short", password.CodeTooShort}, {"passwordpassword", ""}, {"maria maria maria", password.CodeGuessable}, {good, password.CodeReused}} {
		_, _, err := h.SetPassword(ctx, in, password.New(good), password.New(c.next), office)
		if c.code == "" && err != nil && refusal.As(err) != nil {
			continue
		}
		h.is(err, c.code)
	}
	_, _, err := h.SetPassword(ctx, in, password.New(better), password.New(better), office)
	h.is(err, "wrong-password")
	h.noticed("")
	_, _, err = h.SetPassword(ctx, in, password.New(good), password.New(better), office)
	h.ok(err)
	if h.noticed(NoticePasswordChanged) != 1 {
		t.Fatal("nobody was told")
	}
	if _, err := h.SignedIn(ctx, other.ID); !refusal.Is(err, "not-signed-in") {
		t.Fatalf("another sign-in lives on: %v", err)
	}
	before := cookie.Reveal()
	if in = h.follow(&cookie, office); cookie.Reveal() == before {
		t.Fatal("the cookie stayed the same")
	}
	_, _, err = h.Password(ctx, "maria", password.New(good), office)
	h.is(err, "wrong-password")
	_, _, err = h.SetPassword(ctx, in, password.New(better), password.New(good), office)
	h.is(err, password.CodeReused)
	h.ok(h.store.Close())
	if _, _, err = h.Password(ctx, "maria", password.New(better), office); err == nil || refusal.As(err) != nil {
		t.Fatalf("a broken database is told as %v", err)
	}
}

// TestPasswordAge is about passwords that have to go: too old, or known from
// breaches since.
func TestPasswordAge(t *testing.T) {
	h := open(t, func(c *Config) { c.Passwords.MaxAge = 30 * 24 * time.Hour })
	ctx := t.Context()
	m := h.member("maria")
	h.pass(31 * 24 * time.Hour)
	cookie, in, err := h.Password(ctx, "maria", password.New(good), office)
	h.ok(err)
	h.stage(in, StageFactor)
	cookie, in, err = h.TOTP(ctx, h.resume(cookie, office), h.code(m.secret), office)
	h.ok(err)
	h.stage(in, StagePassword)
	in = h.resume(cookie, office)
	if _, err = h.MakeRecoveryCodes(ctx, in, office); !refusal.Is(err, "sign-in-unfinished") {
		t.Fatal(err)
	}
	_, _, err = h.SetPassword(ctx, in, password.Secret{}, password.New(good), office)
	h.is(err, password.CodeReused)
	cookie, in, err = h.SetPassword(ctx, in, password.Secret{}, password.New(better), office)
	h.ok(err)
	h.stage(in, StageFull)
	h.resume(cookie, office)

	list, err := password.ReadList(strings.NewReader(better + "\n"))
	h.ok(err)
	cfg := h.config()
	cfg.Breached = list
	next, err := New(cfg)
	h.ok(err)
	cookie, in, err = next.Password(ctx, "maria", password.New(better), office)
	h.ok(err)
	h.stage(in, StageFactor)
	h.pass(totpStep)
	_, in, err = next.TOTP(ctx, h.resume(cookie, office), h.code(m.secret), office)
	h.ok(err)
	h.stage(in, StagePassword)

	// The next sign-in asks for it too, and a dearer hash is put in place quietly.
	cfg.Breached, cfg.Cost = password.Embedded(), password.Cost{Passes: 6, MemoryKiB: 7168, Threads: 1}
	dear, err := New(cfg)
	h.ok(err)
	cookie, _, err = dear.Password(ctx, "maria", password.New(better), office)
	h.ok(err)
	h.pass(totpStep)
	_, in, err = dear.TOTP(ctx, h.resume(cookie, office), h.code(m.secret), office)
	h.ok(err)
	h.stage(in, StagePassword)
	_, proofs, err := h.store.Person(ctx, m.ID)
	h.ok(err)
	if !strings.Contains(proofs.Password, "t=6") {
		t.Fatal("the password was not hashed again")
	}
	_ = access.Admin
}
