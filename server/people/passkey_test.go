package people

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/refusal"
)

// keyed is a person who has a passkey alone.
func (h *house) keyed(name string) (*authenticator, SignIn, Secret) {
	h.Helper()
	_, link := h.invite(name)
	cookie, _, err := h.AcceptInvite(h.Context(), link.Secret, office)
	h.ok(err)
	a := newAuthenticator()
	cookie, in := h.addKey(h.resume(cookie, office), a)
	h.stage(in, StageFull)
	return a, in, cookie
}

func TestPasskeyAlone(t *testing.T) {
	h := open(t)
	a, in, _ := h.keyed("maria")
	if in.Person.State != access.PersonActive || !in.Strong || !slices.Equal(in.Methods, []string{ByInvite, ByPasskey}) {
		t.Fatalf("got %+v", in)
	}
	h.role(in.Person.ID, access.Admin)
	c, err := h.BeginPasskey(t.Context())
	h.ok(err)
	if _, _, allowed := challengeOf(c.Options); len(allowed) != 0 || !strings.Contains(string(c.Options), `"userVerification":"required"`) {
		t.Fatalf("the options are %s", c.Options)
	}
	_, in, err = h.byKey(a, cafe)
	h.ok(err)
	h.stage(in, StageFull)
	if !in.Strong || in.Proof().Method != ByPasskey || !in.NewPlace {
		t.Fatalf("got %+v", in)
	}
	if n := h.count("SELECT COUNT(*) FROM passkey WHERE used_at > 0"); n != 1 {
		t.Fatal("the use was not recorded")
	}
	_, _, err = h.Password(t.Context(), "maria", password.New(""), office)
	h.is(err, "wrong-password")
}

func TestPasskeySecond(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	a := newAuthenticator()
	_, in := h.addKey(h.resume(m.cookie, office), a)
	h.stage(in, StageFull)
	if h.noticed(NoticeFactorAdded) != 1 {
		t.Fatal("nobody was told of the new passkey")
	}
	cookie, in, err := h.Password(ctx, "maria", password.New(good), office)
	h.ok(err)
	h.stage(in, StageFactor)
	in = h.resume(cookie, office)
	c, err := h.BeginProvePasskey(ctx, in)
	h.ok(err)
	if _, _, allowed := challengeOf(c.Options); !slices.Equal(allowed, []string{b64.EncodeToString(a.id)}) {
		t.Fatalf("allowed are %v", allowed)
	}
	a.noHandle = true
	answer := a.get(c.Options)
	next, full, err := h.ProvePasskey(ctx, in, c.Flow, answer, office)
	h.ok(err)
	h.stage(full, StageFull)
	_, _, err = h.ProvePasskey(ctx, full, c.Flow, answer, office)
	h.is(err, "used-already")

	// Step-up, and a challenge that belongs to another sign-in or purpose.
	h.pass(6 * time.Minute)
	full = h.resume(next, office)
	c, err = h.BeginProvePasskey(ctx, full)
	h.ok(err)
	_, other := h.enter(m, cafe)
	_, _, err = h.ProvePasskey(ctx, other, c.Flow, a.get(c.Options), cafe)
	h.is(err, "passkey-expired")
	_, _, err = h.Passkey(ctx, c.Flow, a.get(c.Options), office)
	h.is(err, "passkey-expired")
	_, _, err = h.AddPasskey(ctx, full, "x", c.Flow, a.create(c.Options), office)
	h.is(err, "passkey-expired")
	next, up, err := h.ProvePasskey(ctx, full, c.Flow, a.get(c.Options), office)
	h.ok(err)
	if !up.FreshAt.Equal(h.time()) || next.Empty() {
		t.Fatalf("got %+v", up)
	}
	d, err := h.BeginProvePasskey(ctx, up)
	h.ok(err)
	h.pass(ceremonyTime)
	_, _, err = h.ProvePasskey(ctx, h.resume(next, office), d.Flow, a.get(d.Options), office)
	h.is(err, "passkey-expired")
}

// TestPasskeyAttacks changes one thing of a good answer at a time: each is
// refused with the same words, and recorded.
func TestPasskeyAttacks(t *testing.T) {
	h := open(t)
	a, in, _ := h.keyed("maria")
	b, _, _ := h.keyed("otto")
	for name, c := range map[string]func(x *authenticator){
		"another origin": func(x *authenticator) { x.origin = "https://console.example.com.evil.example" },
		"plain http":     func(x *authenticator) { x.origin = "http://console.example.com:8443" },
		"another port":   func(x *authenticator) { x.origin = "https://console.example.com" },
		"another RP":     func(x *authenticator) { x.rpID = "example.com" },
		"not verified":   func(x *authenticator) { x.flags = 1 },
		"not present":    func(x *authenticator) { x.flags = 4 },
		"another type":   func(x *authenticator) { x.typ = "webauthn.create" },
		"another challenge": func(x *authenticator) {
			x.mangle = func(d map[string]any) { d["challenge"] = b64.EncodeToString(make([]byte, 32)) }
		},
		"cross-origin": func(x *authenticator) {
			x.mangle = func(d map[string]any) { d["crossOrigin"] = true; d["topOrigin"] = "https://evil.example" }
		},
		"a wrong signature":   func(x *authenticator) { x.spoil = true },
		"another key":         func(x *authenticator) { x.key = newAuthenticator().key },
		"nobody's handle":     func(x *authenticator) { x.handle = make([]byte, 32) },
		"another's handle":    func(x *authenticator) { x.handle = b.handle },
		"no handle":           func(x *authenticator) { x.noHandle = true },
		"an unknown id":       func(x *authenticator) { x.id = make([]byte, 32) },
		"another's id":        func(x *authenticator) { x.id = b.id },
		"backed up all of it": func(x *authenticator) { x.flags = 5 | 0x18 },
	} {
		x := *a
		c(&x)
		before := len(h.refused)
		_, _, err := h.byKey(&x, office)
		if want := badPasskey().Error(); err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
		if len(h.refused) != before+1 {
			t.Errorf("%s: %d refusals were recorded", name, len(h.refused)-before)
		}
	}
	for name, answer := range map[string]string{"nothing": "", "no JSON": "{", "null": "null", "large": `{"id":"` + strings.Repeat("A", maxAnswer) + `"}`, "deep": strings.Repeat("[", 10000)} {
		ch, err := h.BeginPasskey(t.Context())
		h.ok(err)
		_, _, err = h.Passkey(t.Context(), ch.Flow, []byte(answer), office)
		if err == nil || refusal.As(err) == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, flow := range []string{"", "AAAA", "!!!", strings.Repeat("A", maxFlow+1)} {
		_, _, err := h.Passkey(t.Context(), flow, []byte("{}"), office)
		if refusal.As(err) == nil || refusal.As(err).Kind != refusal.Unauthenticated {
			t.Errorf("%.10q: %v", flow, err)
		}
	}
	_, err := h.Disable(t.Context(), admin, in.Person.ID, "left")
	h.ok(err)
	_, _, err = h.byKey(a, office)
	h.is(err, "passkey-refused")
}

func TestPasskeyReplay(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	a, _, _ := h.keyed("maria")
	c, err := h.BeginPasskey(ctx)
	h.ok(err)
	answer := a.get(c.Options)
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, _, err := h.Passkey(ctx, c.Flow, answer, office); err == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("one answer signed in %d times", won.Load())
	}
	// Passkeys without a counter always say 0: the challenge alone stops a replay.
	a.count = ^uint32(0)
	b, _, _ := h.keyed("otto")
	b.count = ^uint32(0)
	c, err = h.BeginPasskey(ctx)
	h.ok(err)
	answer = b.get(c.Options)
	_, _, err = h.Passkey(ctx, c.Flow, answer, office)
	h.ok(err)
	_, _, err = h.Passkey(ctx, c.Flow, answer, office)
	h.is(err, "used-already")
}

func TestClone(t *testing.T) {
	h := open(t)
	a, _, _ := h.keyed("maria")
	clone := *a
	for range 2 {
		_, _, err := h.byKey(a, office)
		h.ok(err)
	}
	h.noticed("")
	_, _, err := h.byKey(&clone, cafe)
	h.is(err, "passkey-refused")
	if h.noticed(NoticeCloned) != 1 {
		t.Fatal("nobody was told")
	}
}

func TestAddPasskeyAttacks(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	in := h.resume(m.cookie, office)
	for name, change := range map[string]func(*authenticator){
		"another origin": func(x *authenticator) { x.origin = "https://evil.example" },
		"another RP":     func(x *authenticator) { x.rpID = "evil.example" },
		"not verified":   func(x *authenticator) { x.flags = 1 },
		"another type":   func(x *authenticator) { x.typ = "webauthn.get" },
	} {
		c, err := h.BeginAddPasskey(ctx, in)
		h.ok(err)
		x := newAuthenticator()
		change(x)
		if _, _, err = h.AddPasskey(ctx, in, "x", c.Flow, x.create(c.Options), office); !refusal.Is(err, "passkey-refused") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", 65), "a\nb", "a\u202eb", "\xff"} {
		if _, _, err := h.AddPasskey(ctx, in, name, "", nil, office); !refusal.Is(err, "bad-passkey-name") {
			t.Errorf("%q: %v", name, err)
		}
	}
	a := newAuthenticator()
	_, in = h.addKey(in, a)
	c, err := h.BeginAddPasskey(ctx, in)
	h.ok(err)
	_, _, err = h.AddPasskey(ctx, in, "twice", c.Flow, a.create(c.Options), office)
	h.is(err, "changed-meanwhile")
	// Another person's authenticator cannot be registered a second time either.
	o := h.resume(h.member("otto").cookie, office)
	c, err = h.BeginAddPasskey(ctx, o)
	h.ok(err)
	_, _, err = h.AddPasskey(ctx, o, "stolen id", c.Flow, a.create(c.Options), office)
	h.is(err, "changed-meanwhile")
	for i := 1; i < maxPasskeys; i++ {
		_, in = h.addKey(in, newAuthenticator())
	}
	_, err = h.BeginAddPasskey(ctx, in)
	h.is(err, "too-many-passkeys")
}

func TestFactorsOfOneself(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	a, in, cookie := h.keyed("maria")
	id := b64.EncodeToString(a.id)
	h.ok(h.RenamePasskey(ctx, in, id, "old laptop", office))
	h.is(h.RenamePasskey(ctx, in, "AAAA", "x", office), "no-such-passkey")
	h.is(h.RemovePasskey(ctx, in, "AAAA", office), "no-such-passkey")
	f, err := h.Factors(ctx, in.Person.ID)
	h.ok(err)
	if len(f.Passkeys) != 1 || f.Passkeys[0].Name != "old laptop" || f.Password || f.NoPasskeys {
		t.Fatalf("got %+v", f)
	}
	h.is(h.RemovePasskey(ctx, in, id, office), "last-factor") // the last way to sign in
	_, err = h.BeginTOTP(ctx, in)
	h.ok(err)
	_, _, err = h.SetPassword(ctx, in, password.Secret{}, password.New(good), office)
	h.ok(err)
	in = h.follow(&cookie, office)
	h.role(in.Person.ID, "operator")
	h.is(h.RemovePasskey(ctx, in, id, office), "last-factor") // a role needs it
	secret := h.setupTOTP(in, func(flow, code string) error {
		_, _, err := h.ConfirmTOTP(ctx, in, flow, code, office)
		return err
	})
	_ = secret
	codes, err := h.MakeRecoveryCodes(ctx, h.follow(&cookie, office), office)
	h.ok(err)
	h.noticed("")
	h.ok(h.RemovePasskey(ctx, in, id, office))
	if h.noticed(NoticeFactorRemoved) != 1 {
		t.Fatal("nobody was told")
	}
	_, _, err = h.byKey(a, office)
	h.is(err, "passkey-refused")
	h.is(h.RemoveTOTP(ctx, in, office), "last-factor")
	h.role(in.Person.ID, "")
	h.ok(h.RemoveTOTP(ctx, in, office))
	h.is(h.RemoveTOTP(ctx, in, office), "no-totp")
	if f, _ := h.Factors(ctx, in.Person.ID); f.RecoveryCodes != 0 || len(codes) != 10 {
		t.Fatal("recovery codes stayed without a second factor")
	}
	_, err = h.MakeRecoveryCodes(ctx, in, office)
	h.is(err, "no-second-factor")
}

// TestAddressOfNumbers is a console that has no name: everything but passkeys
// works, and who has passkeys cannot fall back to a password alone.
func TestAddressOfNumbers(t *testing.T) {
	for _, rp := range []string{"", "192.0.2.1", "::1"} {
		h := open(t, func(c *Config) { c.RPID = rp })
		m := h.member("maria")
		if h.PasskeysWork() {
			t.Fatalf("passkeys work at %q", rp)
		}
		_, err := h.BeginPasskey(t.Context())
		h.is(err, "no-passkeys")
		_, err = h.BeginAddPasskey(t.Context(), m.in)
		h.is(err, "no-passkeys")
		_, err = h.BeginProvePasskey(t.Context(), m.in)
		h.is(err, "no-passkeys")
		_, _, err = h.Passkey(t.Context(), "", nil, office)
		h.is(err, "no-passkeys")
	}
}

func TestQR(t *testing.T) {
	h := open(t)
	m := h.member("maria+x@example.com")
	s, err := h.BeginTOTP(t.Context(), h.resume(m.cookie, office))
	h.ok(err)
	if !bytes.HasPrefix(s.PNG, []byte("\x89PNG")) || !strings.HasPrefix(s.SVG, "<svg ") || strings.Contains(s.SVG, "style") {
		t.Fatal("the QR code is no picture")
	}
	if !strings.HasPrefix(s.URI, "otpauth://totp/Holdfast:maria+x@example.com?") || !strings.Contains(s.URI, "issuer=Holdfast") {
		t.Fatalf("the URI is %s", s.URI)
	}
	_, _, err = h.ConfirmTOTP(t.Context(), m.in, s.Flow, "000000", office)
	if !refusal.Is(err, "wrong-code") {
		t.Fatal(err)
	}
	for _, flow := range []string{"", "AAAA", strings.Repeat("A", 1<<16)} {
		_, _, err = h.ConfirmTOTP(t.Context(), m.in, flow, "000000", office)
		h.is(err, "setup-expired")
	}
	_, other := h.enter(m, cafe)
	_, _, err = h.ConfirmTOTP(t.Context(), other, s.Flow, "000000", office)
	h.is(err, "setup-expired")
	h.pass(setupTime)
	_, _, err = h.ConfirmTOTP(t.Context(), h.enterFresh(m), s.Flow, "000000", office)
	h.is(err, "setup-expired")
}

func (h *house) enterFresh(m *member) SignIn { _, in := h.enter(m, office); return in }

// FuzzPasskeyAnswer sends whatever a browser might to both ends that take an
// authenticator's answer. None is accepted, none panics.
func FuzzPasskeyAnswer(f *testing.F) {
	a := newAuthenticator()
	options := json.RawMessage(`{"publicKey":{"challenge":"` + b64.EncodeToString(make([]byte, 32)) + `","user":{"id":"` + b64.EncodeToString(make([]byte, 32)) + `"}}}`)
	f.Add(a.create(options))
	f.Add(a.get(options))
	f.Add([]byte("null"))
	f.Add([]byte(fmt.Sprintf(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","attestationObject":%q}}`, b64.EncodeToString([]byte{0xbf, 0xff}))))
	h := open(f)
	web := h.web
	h.T = nil
	f.Fuzz(func(t *testing.T, answer []byte) {
		ch, err := h.BeginPasskey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.Passkey(t.Context(), ch.Flow, answer, office); refusal.As(err) == nil {
			t.Fatalf("got %v", err)
		}
		x := &holder{handle: make([]byte, 32)}
		_, session, err := web.BeginRegistration(x)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.created(x, *session, answer); err == nil {
			t.Fatal("a passkey was made of nothing")
		}
	})
}
