package people

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/refusal"
)

func TestFirstAdmin(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	first, ok, err := h.FirstAdmin(ctx)
	h.ok(err)
	again, ok2, err := h.FirstAdmin(ctx)
	h.ok(err)
	if !ok || !ok2 || first.Secret.Reveal() == again.Secret.Reveal() || h.count("SELECT COUNT(*) FROM person") != 1 {
		t.Fatal("no fresh link at each start")
	}
	cookie, in, err := h.AcceptInvite(ctx, first.Secret, office)
	h.ok(err)
	h.stage(in, StageEnrol)
	for _, c := range []struct{ name, display, mail, code string }{{"not valid", "", "", "bad-name"}, {"boss", "a\nb", "", "bad-display"}, {"boss", "", "@@", "bad-mail"}} {
		_, err := h.Introduce(ctx, in, c.name, c.display, c.mail, office)
		h.is(err, c.code)
	}
	p, err := h.Introduce(ctx, in, "Boss", "The Boss", "boss@example.com", office)
	h.ok(err)
	if p.Name != "boss" || p.Shown() != "The Boss" {
		t.Fatalf("got %+v", p)
	}
	a := newAuthenticator()
	_, in = h.addKey(h.resume(cookie, office), a)
	h.stage(in, StageFull)
	rights, err := h.cfg.Rights(ctx, in.Person.ID)
	h.ok(err)
	if !rights.Has(access.RoleWrite, h.time()) {
		t.Fatal("the first person is no administrator")
	}
	if _, ok, err := h.FirstAdmin(ctx); ok || err != nil {
		t.Fatalf("a link for the first person again: %v", err)
	}
	_, _, err = h.AcceptInvite(ctx, again.Secret, office)
	h.is(err, "bad-link")
	_, err = h.Introduce(ctx, in, "other", "", "", office)
	h.is(err, "not-invited")
	_, link := h.invite("second")
	cookie, _, err = h.AcceptInvite(ctx, link.Secret, office)
	h.ok(err)
	_, err = h.Introduce(ctx, h.resume(cookie, office), "third", "", "", office)
	h.is(err, "name-fixed")
	p, err = h.Introduce(ctx, h.resume(cookie, office), "", "Number two", "", office)
	h.ok(err)
	if p.Display != "Number two" || p.Mail != "second@example.com" {
		t.Fatalf("got %+v", p)
	}
}

// TestFirstAdminTogether starts several servers on one database.
func TestFirstAdminTogether(t *testing.T) {
	h := open(t)
	var wg sync.WaitGroup
	links := make([]Link, 5)
	for i := range links {
		wg.Go(func() {
			var err error
			if links[i], _, err = h.FirstAdmin(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := h.count("SELECT COUNT(*) FROM person"); n != 1 {
		t.Fatalf("%d first persons", n)
	}
	for _, l := range links {
		if _, err := h.Invited(t.Context(), l.Secret); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUpdate(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	p, _ := h.invite("maria")
	h.invite("otto")
	p.Name, p.Display, p.Mail = "Maria.Example", "Maria E.", "m@example.com"
	got, err := h.Update(ctx, admin, p)
	h.ok(err)
	if got.Name != "maria.example" || got.Version != p.Version+1 {
		t.Fatalf("got %+v", got)
	}
	_, err = h.Update(ctx, admin, p)
	h.is(err, "changed-meanwhile")
	p = got
	p.Name = "otto"
	_, err = h.Update(ctx, admin, p)
	h.is(err, "person-exists")
	p.Name, p.State, p.Origin = "maria", access.PersonActive, "oidc:evil" // only what may change does
	got, err = h.Update(ctx, admin, p)
	h.ok(err)
	if read, _ := h.Person(ctx, p.ID); read.State != access.PersonInvited || read.Origin != Local || read != got {
		t.Fatalf("got %+v", read)
	}
	_, err = h.Person(ctx, "pnobody")
	h.is(err, "no-such-person")
	_, err = h.Update(ctx, admin, access.Person{ID: "pnobody", Name: "x"})
	h.is(err, "no-such-person")
}

func TestMoves(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	cookie, _ := h.enter(m, office)
	h.last = m.ID
	for _, move := range []func() error{
		func() error { _, err := h.Disable(ctx, admin, m.ID, "x"); return err },
		func() error { _, err := h.Erase(ctx, admin, m.ID, "x"); return err },
	} {
		h.is(move(), "last-admin")
	}
	h.last = ""
	h.told = 0
	p, err := h.Disable(ctx, admin, m.ID, "left the company")
	h.ok(err)
	if p.State != access.PersonDisabled || p.Why != "left the company" || h.told != 1 {
		t.Fatalf("got %+v", p)
	}
	_, _, err = h.Resume(ctx, cookie, office)
	h.is(err, "not-signed-in")
	_, _, err = h.Password(ctx, "maria", password.New(good), office)
	h.is(err, "wrong-password")
	_, err = h.Disable(ctx, admin, m.ID, "x")
	h.is(err, "disabled-already")
	_, _, err = h.Reinvite(ctx, admin, m.ID, "x")
	h.is(err, "person-disabled")
	p, err = h.Enable(ctx, admin, m.ID, "came back")
	h.ok(err)
	if p.State != access.PersonActive || p.Why != "" {
		t.Fatalf("got %+v", p)
	}
	_, err = h.Enable(ctx, admin, m.ID, "x")
	h.is(err, "not-disabled")
	_, _, err = h.Resume(ctx, cookie, office)
	h.is(err, "not-signed-in")
	h.enter(m, office)

	// Disabled before the invitation was followed: invited again afterwards.
	q, link := h.invite("otto")
	_, err = h.Disable(ctx, admin, q.ID, "mistake")
	h.ok(err)
	_, _, err = h.AcceptInvite(ctx, link.Secret, office)
	h.is(err, "bad-link")
	q, err = h.Enable(ctx, admin, q.ID, "")
	h.ok(err)
	if q.State != access.PersonInvited {
		t.Fatalf("got %+v", q)
	}
}

func TestErase(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	cookie, _ := h.enter(m, office)
	h.addKey(h.resume(cookie, office), newAuthenticator())
	in := h.resume(cookie, office)
	_, err := h.MakeRecoveryCodes(ctx, in, office)
	h.ok(err)
	p, err := h.Erase(ctx, admin, m.ID, "asked for it")
	h.ok(err)
	if p.Name != string(m.ID) || p.Display+p.Mail+p.External != "" || p.State != access.PersonErased {
		t.Fatalf("got %+v", p)
	}
	for _, table := range []string{"passkey", "recovery_code", "person_old_password", "person_place", "sign_in", "ceremony"} {
		if n := h.count("SELECT COUNT(*) FROM "+table+" WHERE person = ?", string(m.ID)); n != 0 {
			t.Errorf("%s has %d rows", table, n)
		}
	}
	if n := h.count("SELECT COUNT(*) FROM person WHERE id = ? AND password = '' AND totp IS NULL", string(m.ID)); n != 1 {
		t.Error("proofs stayed")
	}
	for _, call := range []func() error{
		func() error { _, err := h.Erase(ctx, admin, m.ID, ""); return err },
		func() error { _, err := h.Enable(ctx, admin, m.ID, ""); return err },
		func() error { _, _, err := h.Reinvite(ctx, admin, m.ID, ""); return err },
		func() error { _, err := h.Update(ctx, admin, p); return err },
	} {
		h.is(call(), "no-such-person")
	}
	h.invite("maria") // the name is free again
	list, _, err := h.List(ctx, Filter{Limit: 10})
	h.ok(err)
	if len(list) != 1 || list[0].ID == m.ID {
		t.Fatalf("got %+v", list)
	}
	if list, _, err = h.List(ctx, Filter{State: access.PersonErased, Limit: 10}); err != nil || len(list) != 1 {
		t.Fatalf("got %+v, %v", list, err)
	}
	for _, e := range h.events { // no event says who they were
		if strings.Contains(strings.ToLower(fmt.Sprint(e.Actor.ID, e.Subject, e.Details, e.Reason)), "maria") {
			t.Errorf("personal data in %+v", e)
		}
	}
}

func TestReinvite(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	a := newAuthenticator()
	cookie, in := h.enter(m, office)
	h.addKey(in, a)
	codes, err := h.MakeRecoveryCodes(ctx, h.resume(cookie, office), office)
	h.ok(err)
	h.noticed("")
	p, link, err := h.Reinvite(ctx, admin, m.ID, "lost the phone")
	h.ok(err)
	if p.State != access.PersonInvited || h.noticed(NoticeReset) != 1 {
		t.Fatalf("got %+v", p)
	}
	_, _, err = h.Resume(ctx, cookie, office)
	h.is(err, "not-signed-in")
	_, _, err = h.byKey(a, office)
	h.is(err, "passkey-refused")
	_, _, err = h.Password(ctx, "maria", password.New(good), office)
	h.is(err, "wrong-password")
	f, err := h.Factors(ctx, m.ID)
	h.ok(err)
	if f.Password || f.TOTP || len(f.Passkeys) > 0 || f.RecoveryCodes > 0 || len(codes) != 10 {
		t.Fatalf("got %+v", f)
	}
	cookie, in, err = h.AcceptInvite(ctx, link.Secret, office)
	h.ok(err)
	_, _, err = h.SetPassword(ctx, in, password.Secret{}, password.New(good), office)
	h.is(err, password.CodeReused) // the password before is not forgotten
	in = h.resume(cookie, office)
	_, second, err := h.Reinvite(ctx, admin, m.ID, "again")
	h.ok(err)
	_, _, err = h.AcceptInvite(ctx, link.Secret, office)
	h.is(err, "bad-link")
	_, _, err = h.SetPassword(ctx, in, password.Secret{}, password.New(better), office)
	if err == nil {
		t.Fatal("a sign-in of the link before goes on")
	}
	_, err = h.Invited(ctx, second.Secret)
	h.ok(err)
}

func TestList(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	for _, name := range []string{"dora", "anna", "carl", "bert", "anton"} {
		h.invite(name)
	}
	_, _, err := h.External(ctx, External{Provider: "oidc:corp", Subject: "7", Name: "egon"}, office)
	h.ok(err)
	var names []string
	f := Filter{Limit: 2}
	for {
		list, next, err := h.List(ctx, f)
		h.ok(err)
		for _, p := range list {
			names = append(names, p.Name)
		}
		if f.After = next; next == "" {
			break
		}
	}
	if !slices.Equal(names, []string{"anna", "anton", "bert", "carl", "dora", "egon"}) {
		t.Fatalf("got %v", names)
	}
	for want, f := range map[int]Filter{2: {Prefix: "AN", Limit: 100}, 1: {Origin: "oidc:corp", Limit: 100}, 5: {State: access.PersonInvited, Limit: 5000}, 0: {Prefix: "an%", Limit: 0}} {
		if list, _, err := h.List(ctx, f); err != nil || len(list) != want {
			t.Errorf("%+v: %d, %v", f, len(list), err)
		}
	}
}

func TestDormant(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m, other := h.member("maria"), h.member("otto")
	boss := h.member("boss")
	h.last = boss.ID
	h.pass(80 * 24 * time.Hour)
	h.enter(other, office)
	h.noticed("")
	h.ok(h.Sweep(ctx))
	h.ok(h.Sweep(ctx))
	if n := h.noticed(NoticeDozing); n != 2 {
		t.Fatalf("%d notices", n)
	}
	dozing, err := h.Dozing(ctx)
	h.ok(err)
	if len(dozing) != 2 {
		t.Fatalf("dozing are %+v", dozing)
	}
	h.pass(10 * 24 * time.Hour)
	h.ok(h.Sweep(ctx))
	if n := h.noticed(NoticeDormant); n != 1 {
		t.Fatalf("%d notices", n)
	}
	for id, want := range map[access.PersonID]access.PersonState{m.ID: access.PersonDisabled, other.ID: access.PersonActive, boss.ID: access.PersonActive} {
		if p, _ := h.Person(ctx, id); p.State != want {
			t.Errorf("%s is %s, want %s", p.Name, p.State, want)
		}
	}
	_, err = h.Enable(ctx, admin, m.ID, "back from leave")
	h.ok(err)
	h.ok(h.Sweep(ctx))
	h.enter(m, office)
}

func TestExternal(t *testing.T) {
	var groups []string
	h := open(t)
	h.cfg.Groups = nil
	ctx := t.Context()
	h.member("maria") // a local account whose name the provider also has
	ext := External{Provider: "oidc:corp", Subject: "s-1", Name: "Maria", Display: "Maria from corp", Mail: "maria@corp.example", Strong: true, AuthTime: h.time(), Session: "sid-1"}
	cookie, in, err := h.External(ctx, ext, office)
	h.ok(err)
	h.stage(in, StageFull)
	if in.Person.Name != "maria+corp" || in.Person.Origin != "oidc:corp" || !in.Strong || in.Upstream != "sid-1" || in.Proof().Method != "oidc" {
		t.Fatalf("got %+v", in)
	}
	// The same person again, with another name there; and another person.
	ext.Name, ext.Display, ext.Mail = "mary", "Mary", "not a mail"
	_, again, err := h.External(ctx, ext, office)
	h.ok(err)
	if again.Person.ID != in.Person.ID || again.Person.Display != "Mary" || again.Person.Mail != "maria@corp.example" {
		t.Fatalf("got %+v", again.Person)
	}
	ext2 := ext
	ext2.Subject, ext2.Name = "s-2", "maria"
	_, in2, err := h.External(ctx, ext2, office)
	h.ok(err)
	if in2.Person.ID == in.Person.ID || in2.Person.Name != "maria+corp2" {
		t.Fatalf("got %+v", in2.Person)
	}
	other := ext
	other.Provider = "oidc:evil" // the same subject of another provider is somebody else
	_, in3, err := h.External(ctx, other, office)
	h.ok(err)
	if in3.Person.ID == in.Person.ID {
		t.Fatal("a provider named another's person")
	}
	for _, bad := range []External{{Provider: "oidc:corp", Name: "x"}, {Provider: "local", Subject: "x", Name: "x"}, {Provider: "", Subject: "x", Name: "x"}, {Provider: "oidc:corp", Subject: strings.Repeat("x", 513), Name: "x"}} {
		if _, _, err := h.External(ctx, bad, office); !refusal.Is(err, "bad-subject") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	_, _, err = h.External(ctx, External{Provider: "oidc:corp", Subject: "s-9", Name: "ütf"}, office)
	h.is(err, "bad-name")

	// Step-up at the provider.
	h.pass(6 * time.Minute)
	in = h.resume(cookie, office)
	stale := ext
	_, _, err = h.ProveExternal(ctx, in, stale, office)
	h.is(err, "not-fresh")
	ext2.AuthTime = h.time()
	_, _, err = h.ProveExternal(ctx, in, ext2, office)
	h.is(err, "somebody-else")
	ext.AuthTime, ext.Strong = h.time(), false
	_, _, err = h.ProveExternal(ctx, in, ext, office)
	h.is(err, "second-factor-needed")
	ext.AuthTime, ext.Strong = h.time().Add(time.Hour), true
	_, _, err = h.ProveExternal(ctx, in, ext, office)
	h.is(err, "not-fresh")
	ext.AuthTime = h.time()
	_, in, err = h.ProveExternal(ctx, in, ext, office)
	h.ok(err)
	if !in.FreshAt.Equal(h.time()) {
		t.Fatalf("got %+v", in)
	}
	// No password here, and no fallback to one.
	_, _, err = h.SetPassword(ctx, in, password.Secret{}, password.New(better), office)
	h.is(err, "not-local")
	_, _, err = h.Reinvite(ctx, admin, in.Person.ID, "x")
	h.is(err, "not-local")

	// A privileged person whose provider asked for one factor needs one here.
	h.role(in.Person.ID, "operator")
	ext.Strong = false
	_, weak, err := h.External(ctx, ext, office)
	h.ok(err)
	h.stage(weak, StageEnrol)
	a := newAuthenticator()
	_, weak = h.addKey(weak, a)
	h.stage(weak, StageFull)
	_, weak, err = h.External(ctx, ext, office)
	h.ok(err)
	h.stage(weak, StageFactor)

	_, err = h.Disable(ctx, admin, in.Person.ID, "left")
	h.ok(err)
	_, _, err = h.External(ctx, ext, office)
	h.is(err, "account-disabled")
	_ = groups
}

// TestExternalTogether signs one new person in many times at once.
func TestExternalTogether(t *testing.T) {
	h := open(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, _, err := h.External(t.Context(), External{Provider: "saml:corp", Subject: "1", Name: "x", Display: "X"}, office)
			if err != nil && !refusal.Is(err, "changed-meanwhile") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := h.count("SELECT COUNT(*) FROM person"); n != 1 {
		t.Fatalf("%d accounts", n)
	}
}

func TestCLI(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	h.role(m.ID, "operator")
	shell := Where{cafe.Source, "holdfast/1.0 (linux)"}
	_, _, err := h.StartCLI(ctx, m.ID, access.Proof{Method: ByPassword, Fresh: h.time()}, shell)
	h.is(err, "second-factor-needed")
	token, in, err := h.StartCLI(ctx, m.ID, m.in.Proof(), shell)
	h.ok(err)
	if in.Kind != CLI || !in.NewPlace || !strings.HasPrefix(token.Reveal(), "hfr_") {
		t.Fatalf("got %+v", in)
	}
	// A refresh token is no cookie, and a cookie no refresh token.
	_, _, err = h.Resume(ctx, token, office)
	h.is(err, "not-signed-in")
	_, _, err = h.RefreshCLI(ctx, m.cookie, office)
	h.is(err, "bad-refresh-token")
	first := token
	for range 3 {
		h.pass(time.Hour)
		var next SignIn
		token, next, err = h.RefreshCLI(ctx, token, shell)
		h.ok(err)
		if next.ID != in.ID {
			t.Fatal("another sign-in")
		}
	}
	got, err := h.SignedIn(ctx, in.ID)
	h.ok(err)
	// Step-up on a command line leaves the refresh token as it is.
	cookie, got, err := h.TOTP(ctx, got, h.code(m.secret), shell)
	h.ok(err)
	if !cookie.Empty() || !got.FreshAt.Equal(h.time()) {
		t.Fatalf("got %+v", got)
	}
	token, _, err = h.RefreshCLI(ctx, token, shell)
	h.ok(err)

	// Nobody who does not have it can end it by guessing.
	parts := strings.Split(token.Reveal(), "_")
	for _, text := range []string{"", "hfr_", "hfr__", "hfr_" + in.ID + "_x", "hfr_x_" + parts[2], strings.Repeat("hfr_", 100)} {
		_, _, err = h.RefreshCLI(ctx, NewSecret(text), office)
		h.is(err, "bad-refresh-token")
		id, err := h.EndCLI(ctx, NewSecret(text), office)
		if h.ok(err); id != "" {
			t.Fatalf("%q ended %s", text, id)
		}
	}
	_, err = h.SignedIn(ctx, in.ID)
	h.ok(err)
	// One that was used before ends it, and somebody hears of it.
	h.noticed("")
	_, _, err = h.RefreshCLI(ctx, first, office)
	h.is(err, "bad-refresh-token")
	if h.noticed(NoticeReused) != 1 {
		t.Fatal("nobody was told")
	}
	_, _, err = h.RefreshCLI(ctx, token, shell)
	h.is(err, "bad-refresh-token")
	_, err = h.SignedIn(ctx, in.ID)
	h.is(err, "not-signed-in")

	token, in, err = h.StartCLI(ctx, m.ID, m.in.Proof(), shell)
	h.ok(err)
	ended, err := h.EndCLI(ctx, token, shell)
	if h.ok(err); ended != in.ID {
		t.Fatalf("it ended %q", ended)
	}
	_, _, err = h.RefreshCLI(ctx, token, shell)
	h.is(err, "bad-refresh-token")
	token, _, err = h.StartCLI(ctx, m.ID, m.in.Proof(), shell)
	h.ok(err)
	h.pass(12 * time.Hour)
	_, _, err = h.RefreshCLI(ctx, token, shell)
	h.is(err, "bad-refresh-token")
	_, err = h.Disable(ctx, admin, m.ID, "x")
	h.ok(err)
	_, _, err = h.StartCLI(ctx, m.ID, m.in.Proof(), shell)
	h.is(err, "bad-refresh-token")
	_, _, err = h.StartCLI(ctx, "pnobody", m.in.Proof(), shell)
	h.is(err, "no-such-person")
}

// TestRefreshRace uses one refresh token many times at once: at most one goes on,
// and the sign-in has ended.
func TestRefreshRace(t *testing.T) {
	h := open(t)
	m := h.member("maria")
	token, in, err := h.StartCLI(t.Context(), m.ID, m.in.Proof(), office)
	h.ok(err)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { h.RefreshCLI(t.Context(), token, office) })
	}
	wg.Wait()
	_, err = h.SignedIn(t.Context(), in.ID)
	h.is(err, "not-signed-in")
}

// TestFaults fails each write twice, not written and written but reported failed:
// what was spent and not written can be tried again, what was written is not
// done twice.
func TestFaults(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	broken := errors.New("the disk is full")
	fail := func(name string, do func()) {
		h.mu.Lock()
		h.bad[name] = broken
		h.mu.Unlock()
		do()
		h.mu.Lock()
		delete(h.bad, name)
		h.mu.Unlock()
	}
	cookie, _, err := h.Password(ctx, "maria", password.New(good), office)
	h.ok(err)
	in, code := h.resume(cookie, office), h.code(m.secret)
	fail("not person.change", func() {
		if _, _, err := h.TOTP(ctx, in, code, office); !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
	})
	fail("person.change", func() {
		if _, _, err := h.TOTP(ctx, in, code, office); !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
	})
	if _, _, err = h.TOTP(ctx, in, code, office); !refusal.Is(err, "used-already") {
		t.Fatalf("the code was spent, and signed in again: %v", err)
	}
	_, _, err = h.Resume(ctx, cookie, office)
	h.is(err, "not-signed-in") // it has another cookie now, which nobody got
	h.pass(totpStep)
	cookie, in = h.enter(m, office)
	h.pass(rotateEvery)
	for _, name := range []string{"signin.rotate", "not signin.rotate"} {
		fail(name, func() {
			if _, _, err := h.Resume(ctx, cookie, office); !errors.Is(err, broken) {
				t.Fatalf("got %v", err)
			}
		})
		in = h.follow(&cookie, office) // its successor is found either way
		h.pass(rotateEvery - time.Minute)
		in = h.follow(&cookie, office)
		h.pass(time.Minute)
	}
	fail("person.change", func() {
		if _, err := h.Disable(ctx, admin, m.ID, "x"); !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
	})
	_, _, err = h.Resume(ctx, cookie, office)
	h.is(err, "not-signed-in")
	_ = in
}

func TestRun(t *testing.T) {
	h := open(t)
	done := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- h.People.Run(ctx) }()
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
