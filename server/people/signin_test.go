package people

import (
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

func TestInvitation(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	p, link := h.invite("maria")
	if p.State != access.PersonInvited || !strings.HasPrefix(link.Secret.Reveal(), "hfi_") || len(link.Secret.Reveal()) != 44 || !link.ExpiresAt.Equal(h.time().Add(24*time.Hour)) {
		t.Fatalf("got %+v, a link of %d bytes until %v", p, len(link.Secret.Reveal()), link.ExpiresAt)
	}
	_, _, err := h.Invite(ctx, admin, Invitation{Name: "Maria "})
	h.is(err, "person-exists")
	_, _, err = h.Invite(ctx, admin, Invitation{Name: "no spaces allowed"})
	h.is(err, "bad-name")
	_, _, err = h.Password(ctx, "maria", password.New(good), office)
	h.is(err, "wrong-password")
	for _, text := range []string{"", "hfi_", "hfi_aaaa", link.Secret.Reveal() + "a", strings.Repeat("hfi_", 1000), "hfs_" + link.Secret.Reveal()[4:]} {
		_, _, err := h.AcceptInvite(ctx, NewSecret(text), office)
		h.is(err, "bad-link")
	}

	// Two open it: until one has finished, both may; then only that one is left.
	first, in1, err := h.AcceptInvite(ctx, link.Secret, cafe)
	h.ok(err)
	m := h.join(link)
	_, _, err = h.Resume(ctx, first, cafe)
	h.is(err, "not-signed-in")
	_, _, err = h.AcceptInvite(ctx, link.Secret, office)
	h.is(err, "bad-link")
	_, _, err = h.SetPassword(ctx, in1, password.Secret{}, password.New(better), cafe)
	h.is(err, "sign-in-unfinished")
	if m.State != access.PersonActive || m.EnabledAt.IsZero() || !m.in.Strong || m.in.NewPlace || !slices.Equal(m.in.Methods, []string{ByInvite, ByTOTP}) {
		t.Fatalf("got %+v", m.in)
	}
	if m.Person.SignedInAt.IsZero() || h.count("SELECT COUNT(*) FROM ceremony") != 0 {
		t.Fatal("the link is still there")
	}

	_, late := h.invite("late")
	h.pass(24 * time.Hour)
	_, _, err = h.AcceptInvite(ctx, late.Secret, office)
	h.is(err, "bad-link")
	h.ok(h.Sweep(ctx))
}

func TestStages(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	h.role(m.ID, "operator")
	cookie, in, err := h.Password(ctx, "MARIA", password.New(good), office)
	h.ok(err)
	h.stage(in, StageFactor)
	in = h.resume(cookie, office)
	// At this stage nothing is possible but to prove a factor.
	for name, call := range map[string]func() error{
		"password": func() error {
			_, _, err := h.SetPassword(ctx, in, password.New(good), password.New(better), office)
			return err
		},
		"totp":    func() error { _, err := h.BeginTOTP(ctx, in); return err },
		"passkey": func() error { _, err := h.BeginAddPasskey(ctx, in); return err },
		"codes":   func() error { _, err := h.MakeRecoveryCodes(ctx, in, office); return err },
		"remove":  func() error { return h.RemoveTOTP(ctx, in, office) },
		"rename":  func() error { return h.RenamePasskey(ctx, in, "x", "y", office) },
		"step-up": func() error { _, _, err := h.StepUpPassword(ctx, in, password.New(good), office); return err },
		"sso": func() error {
			_, _, err := h.ProveExternal(ctx, in, External{Provider: "oidc:x", Subject: "y"}, office)
			return err
		},
	} {
		if err := call(); !refusal.Is(err, "sign-in-unfinished") {
			t.Errorf("%s: %v", name, err)
		}
	}
	full, in2, err := h.TOTP(ctx, in, h.code(m.secret), office)
	h.ok(err)
	h.stage(in2, StageFull)
	if _, _, err := h.Resume(ctx, cookie, office); !refusal.Is(err, "not-signed-in") {
		t.Fatalf("the cookie of the stage before counts: %v", err)
	}
	if in = h.resume(full, office); !in.Strong || in.ID != in2.ID || !slices.Equal(in.Methods, []string{ByPassword, ByTOTP}) {
		t.Fatalf("got %+v", in)
	}

	// The stages that are not full end by themselves.
	cookie, _, err = h.Password(ctx, "maria", password.New(good), office)
	h.ok(err)
	h.pass(factorTime)
	_, _, err = h.Resume(ctx, cookie, office)
	h.is(err, "not-signed-in")
}

// TestWeak is about somebody who has a password alone: enough to look, until a
// role asks for more.
func TestWeak(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	h.ok(h.RemoveTOTP(ctx, h.resume(m.cookie, office), office))
	cookie, in, err := h.Password(ctx, "maria", password.New(good), office)
	h.ok(err)
	h.stage(in, StageFull)
	if in.Strong {
		t.Fatal("a password alone counts as strong")
	}
	h.pass(6 * time.Minute)
	in = h.resume(cookie, office)
	_, err = h.BeginTOTP(ctx, in)
	h.is(err, "step-up-needed")
	_, _, err = h.StepUpPassword(ctx, in, password.New(better), office)
	h.is(err, "wrong-password")
	cookie, in, err = h.StepUpPassword(ctx, in, password.New(good), office)
	h.ok(err)
	_, err = h.BeginTOTP(ctx, in)
	h.ok(err)
	h.role(m.ID, "operator")
	in = h.resume(cookie, office)
	h.stage(in, StageEnrol)
	_, in, err = h.Password(ctx, "maria", password.New(good), office)
	h.ok(err)
	h.stage(in, StageEnrol)
	in2 := h.resume(cookie, office)
	var full SignIn
	h.setupTOTP(in2, func(flow, code string) error {
		_, full, err = h.ConfirmTOTP(ctx, in2, flow, code, office)
		return err
	})
	h.stage(full, StageFull)
	// The other one proved a password alone: it must not add another factor now.
	_, err = h.BeginAddPasskey(ctx, in)
	h.is(err, "changed-meanwhile")
	_, _, err = h.StepUpPassword(ctx, full, password.New(good), office)
	h.is(err, "second-factor-needed")
}

func TestResume(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	cookie, in := h.enter(m, office)
	writes := func() int { return h.count("SELECT COUNT(*) FROM audit_outbox") }
	before := writes()
	for range 5 {
		h.pass(50 * time.Second)
		h.resume(cookie, office)
	}
	if h.count("SELECT COUNT(*) FROM sign_in WHERE id = ? AND seen_at > ?", in.ID, in.SeenAt.UnixMicro()) != 1 || writes() != before {
		t.Fatal("being seen is not written, or is an event")
	}
	for _, text := range []string{"", "x", "hfs_", "hfs_" + strings.Repeat("a", 52), cookie.Reveal() + "a", strings.Repeat("hfs_", 100)} {
		_, _, err := h.Resume(ctx, NewSecret(text), office)
		h.is(err, "not-signed-in")
	}

	// After a quarter of an hour the cookie changes; the old one counts a little
	// longer and leads to the same new one, whose answer may have been lost.
	h.pass(rotateEvery)
	_, next, err := h.Resume(ctx, cookie, office)
	h.ok(err)
	if next.Empty() || next.Reveal() == cookie.Reveal() {
		t.Fatal("the cookie did not change")
	}
	_, again, err := h.Resume(ctx, cookie, office)
	h.ok(err)
	if again.Reveal() != next.Reveal() {
		t.Fatal("the same request got another cookie")
	}
	h.pass(grace + time.Second)
	_, _, err = h.Resume(ctx, cookie, office)
	h.is(err, "not-signed-in")
	in = h.resume(next, office)

	// Without a request it ends after an hour, and after half a day in any case.
	h.pass(time.Hour)
	_, _, err = h.Resume(ctx, next, office)
	h.is(err, "not-signed-in")
	cookie, in = h.enter(m, office)
	for began := h.time(); h.time().Sub(began) < 12*time.Hour-10*time.Minute; h.pass(9 * time.Minute) {
		if _, next, err := h.Resume(ctx, cookie, office); err != nil {
			t.Fatalf("after %v: %v", h.time().Sub(began), err)
		} else if !next.Empty() {
			cookie = next
		}
	}
	h.pass(10 * time.Minute)
	_, _, err = h.Resume(ctx, cookie, office)
	h.is(err, "not-signed-in")
	_ = in
}

func TestPrivilegedIdle(t *testing.T) {
	h := open(t)
	m := h.member("maria")
	h.role(m.ID, "operator")
	cookie, _ := h.enter(m, office)
	h.pass(14 * time.Minute)
	h.resume(cookie, office)
	h.pass(15 * time.Minute)
	_, _, err := h.Resume(t.Context(), cookie, office)
	h.is(err, "not-signed-in")
}

// TestRotationRace has many requests carry a cookie that is due: all go on, and
// all that were given a cookie were given the same.
func TestRotationRace(t *testing.T) {
	h := open(t)
	m := h.member("maria")
	cookie, _ := h.enter(m, office)
	h.pass(rotateEvery)
	var wg sync.WaitGroup
	var mu sync.Mutex
	given := map[string]int{}
	for range 20 {
		wg.Go(func() {
			_, next, err := h.Resume(t.Context(), cookie, office)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			given[next.Reveal()]++
		})
	}
	wg.Wait()
	if len(given) != 1 || given[""] > 0 {
		t.Fatalf("%d different cookies", len(given))
	}
	for text := range given {
		h.resume(NewSecret(text), office)
	}
}

func TestStepUp(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	cookie, in := h.enter(m, office)
	h.pass(6 * time.Minute)
	in = h.resume(cookie, office)
	for name, err := range map[string]error{
		"codes":  func() error { _, err := h.MakeRecoveryCodes(ctx, in, office); return err }(),
		"totp":   func() error { _, err := h.BeginTOTP(ctx, in); return err }(),
		"key":    func() error { _, err := h.BeginAddPasskey(ctx, in); return err }(),
		"remove": h.RemoveTOTP(ctx, in, office),
		"password": func() error {
			_, _, err := h.SetPassword(ctx, in, password.Secret{}, password.New(better), office)
			return err
		}(),
	} {
		if !refusal.Is(err, "step-up-needed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	next, up, err := h.TOTP(ctx, in, h.code(m.secret), office)
	h.ok(err)
	if next.Empty() || !up.FreshAt.Equal(h.time()) || up.ID != in.ID {
		t.Fatalf("got %+v", up)
	}
	// A request under way with the old cookie goes on, but is not fresh.
	old := h.resume(cookie, office)
	if !old.FreshAt.IsZero() {
		t.Fatal("the old cookie got what the new one proved")
	}
	_, err = h.MakeRecoveryCodes(ctx, old, office)
	h.is(err, "step-up-needed")
	codes, err := h.MakeRecoveryCodes(ctx, h.resume(next, office), office)
	h.ok(err)
	if len(codes) != 10 {
		t.Fatalf("%d codes", len(codes))
	}
}

func TestTOTP(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	begin := func() SignIn {
		cookie, _, err := h.Password(ctx, "maria", password.New(good), office)
		h.ok(err)
		return h.resume(cookie, office)
	}
	one, two := begin(), begin()
	code := h.code(m.secret)
	_, _, err := h.TOTP(ctx, one, code[:3]+" "+code[3:], office)
	h.ok(err)
	_, _, err = h.TOTP(ctx, two, code, office)
	h.is(err, "used-already")
	old, err := codeOf(m.secret, h.time().Unix()/30-1)
	h.ok(err)
	if _, _, err = h.TOTP(ctx, two, old, office); !refusal.Is(err, "used-already") && !refusal.Is(err, "wrong-code") {
		t.Fatalf("a code from before one that was used: %v", err)
	}
	h.pass(3 * totpStep)
	_, _, err = h.TOTP(ctx, two, code, office)
	h.is(err, "wrong-code")

	// Clocks may differ by a step.
	next, err := codeOf(m.secret, h.time().Unix()/30+1)
	h.ok(err)
	_, _, err = h.TOTP(ctx, two, next, office)
	h.ok(err)
	h.pass(5 * totpStep)
	for _, text := range []string{"", "0", strings.Repeat("1", 1<<16), "12345６"} {
		three := begin()
		_, _, err = h.TOTP(ctx, three, text, office)
		if !refusal.Is(err, "wrong-code") && !refusal.Is(err, "too-many-tries") {
			t.Errorf("%.10q: %v", text, err)
		}
		h.pass(10 * time.Minute)
	}
}

// TestTOTPRace has many requests spend one code: one does.
func TestTOTPRace(t *testing.T) {
	h := open(t)
	m := h.member("maria")
	var ins []SignIn
	for range 5 {
		cookie, _, err := h.Password(t.Context(), "maria", password.New(good), office)
		h.ok(err)
		ins = append(ins, h.resume(cookie, office))
	}
	code := h.code(m.secret)
	var won atomic.Int32
	var wg sync.WaitGroup
	for _, in := range ins {
		wg.Go(func() {
			if _, _, err := h.TOTP(t.Context(), in, code, office); err == nil {
				won.Add(1)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d sign-ins spent one code", won.Load())
	}
}

// TestTries guesses codes at the same time: five count, then the sign-in has
// ended, even for the right code.
func TestTries(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	cookie, _, err := h.Password(ctx, "maria", password.New(good), office)
	h.ok(err)
	in := h.resume(cookie, office)
	wrong := h.wrong(m.secret)
	h.noticed("")
	var wg sync.WaitGroup
	var looked atomic.Int32
	for range 40 {
		wg.Go(func() {
			if _, _, err := h.TOTP(ctx, in, wrong, office); refusal.Is(err, "wrong-code") {
				looked.Add(1)
			}
		})
	}
	wg.Wait()
	if looked.Load() > totpTries {
		t.Fatalf("%d codes were looked at", looked.Load())
	}
	for range totpTries {
		h.TOTP(ctx, in, wrong, cafe)
	}
	if _, _, err := h.TOTP(ctx, in, h.code(m.secret), cafe); err == nil {
		t.Fatal("the right code counted after the last try")
	}
	_, _, err = h.Resume(ctx, cookie, office)
	h.is(err, "not-signed-in")
	if n := h.noticed(NoticeFactorGuessed); n != 1 {
		t.Fatalf("%d notices", n)
	}
}

func TestRecoveryCodes(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	codes, err := h.MakeRecoveryCodes(ctx, h.resume(m.cookie, office), office)
	h.ok(err)
	h.noticed("")
	enter := func(code string, at Where) error {
		cookie, _, err := h.Password(ctx, "maria", password.New(good), at)
		h.ok(err)
		_, in, err := h.RecoveryCode(ctx, h.resume(cookie, at), code, at)
		if err == nil {
			h.stage(in, StageFull)
		}
		return err
	}
	h.ok(enter(strings.ToUpper(strings.ReplaceAll(codes[0], "-", " ")), office))
	if n := h.noticed(NoticeRecoveryUsed); n != 1 {
		t.Fatalf("%d notices", n)
	}
	h.is(enter(codes[0], office), "wrong-code")
	h.is(enter("aaaa-aaaa-aaaa", office), "wrong-code")
	for _, code := range codes[1:8] {
		h.ok(enter(code, office))
	}
	if n := h.noticed(NoticeRecoveryLow); n != 1 {
		t.Fatalf("%d notices of few codes", n)
	}
	f, err := h.Factors(ctx, m.ID)
	h.ok(err)
	if f.RecoveryCodes != 2 || !f.TOTP || !f.Password || !f.Second() {
		t.Fatalf("got %+v", f)
	}
	// New ones replace them; of another person they are nothing.
	cookie, _ := h.enter(m, office)
	in := h.resume(cookie, office)
	fresh, err := h.MakeRecoveryCodes(ctx, in, office)
	h.ok(err)
	h.is(enter(codes[9], office), "wrong-code")
	other := h.member("otto")
	cookie, _, err = h.Password(ctx, "otto", password.New(good), cafe)
	h.ok(err)
	_, _, err = h.RecoveryCode(ctx, h.resume(cookie, cafe), fresh[0], cafe)
	h.is(err, "wrong-code")
	_ = other
	if n := h.count("SELECT COUNT(*) FROM recovery_code WHERE hash = ?", []byte(fresh[0])); n != 0 {
		t.Fatal("a code is stored as it is")
	}
}

func TestNewPlace(t *testing.T) {
	h := open(t)
	m := h.member("maria")
	h.noticed("")
	near := Where{office.Source.Next(), strings.ReplaceAll(firefo, "140", "141")}
	for i, c := range []struct {
		at  Where
		new bool
	}{{office, false}, {near, false}, {cafe, true}, {cafe, false}, {Where{office.Source, chrome}, true}} {
		_, in := h.enter(m, c.at)
		if in.NewPlace != c.new || h.noticed(NoticeNewPlace) != map[bool]int{true: 1}[c.new] {
			t.Errorf("case %d: new place is %v", i, in.NewPlace)
		}
	}
	for agent, want := range map[string]string{firefo: "Firefox on Windows", chrome: "Chrome on Linux", "": "an unknown browser", "holdfast/1.0 (linux)": "holdfast on Linux",
		"curl/8": "curl", strings.Repeat("x", 1<<16) + "Linux": "an unknown browser"} {
		if got := Device(agent); got != want {
			t.Errorf("%.30q is %q, want %q", agent, got, want)
		}
	}
}

func TestBreakGlass(t *testing.T) {
	h := open(t)
	_, link, err := h.Invite(t.Context(), admin, Invitation{Name: "emergency", BreakGlass: true})
	h.ok(err)
	m := h.join(link)
	h.noticed("")
	h.enter(m, office)
	if h.noticed(NoticeBreakGlass) != 1 {
		t.Fatal("nobody was told")
	}
	h.pass(400 * 24 * time.Hour)
	h.ok(h.Sweep(t.Context()))
	h.enter(m, office)
}

func TestEnding(t *testing.T) {
	h := open(t)
	ctx := t.Context()
	m := h.member("maria")
	var cookies []Secret
	var ins []SignIn
	for _, at := range []Where{office, cafe, office, cafe} {
		c, in := h.enter(m, at)
		cookies, ins = append(cookies, c), append(ins, in)
	}
	list, err := h.SignIns(ctx, m.ID)
	h.ok(err)
	if len(list) != 5 || list[0].ID != ins[3].ID || list[0].Source != "198.51.100.4" {
		t.Fatalf("got %d: %+v", len(list), list)
	}
	alive := func() (s string) {
		for _, c := range cookies {
			_, _, err := h.Resume(ctx, c, office)
			s += map[bool]string{true: "1", false: "0"}[err == nil]
		}
		return s
	}
	h.told = 0
	h.ok(h.End(ctx, admin, m.ID, ins[1].ID))
	h.is(h.End(ctx, admin, m.ID, ins[1].ID), "no-such-sign-in")
	h.is(h.End(ctx, admin, "pother", ins[0].ID), "no-such-sign-in")
	if got := alive(); got != "1011" || h.told != 1 {
		t.Fatalf("alive are %s", got)
	}
	h.ok(h.EndAll(ctx, self(m.ID, office), m.ID, ins[2].ID, ""))
	if got := alive(); got != "0010" {
		t.Fatalf("alive are %s", got)
	}
	h.ok(h.SignOut(ctx, ins[2], office))
	h.ok(h.SignOut(ctx, ins[2], office))
	if got := alive(); got != "0000" {
		t.Fatalf("alive are %s", got)
	}
	h.is(h.EndAll(ctx, admin, "pnobody", "", ""), "no-such-person")
	if n := h.count("SELECT COUNT(*) FROM change WHERE kind = 'sign-in'"); n < 3 {
		t.Fatalf("other servers were told %d times", n)
	}
	h.pass(8 * 24 * time.Hour)
	h.ok(h.Sweep(ctx))
	if n := h.count("SELECT COUNT(*) FROM sign_in"); n != 0 {
		t.Fatalf("%d sign-ins are kept for ever", n)
	}
}

func TestSecrets(t *testing.T) {
	s := NewSecret("hunter2")
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x", s, s, s, s, s, s), s.LogValue().String(), fmt.Sprintf("%+v", Link{Secret: s})} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("printed: %s", text)
		}
	}
	if _, err := s.MarshalText(); err == nil {
		t.Error("it was marshalled")
	}
}
