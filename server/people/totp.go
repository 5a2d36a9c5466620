package people

import (
	"context"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// TOTP as every authenticator app knows it (RFC 6238): SHA-1, six digits, 30 s,
// and a step to either side for clocks that differ.
const (
	totpStep   = 30 * time.Second
	totpSecret = 20 // bytes (RFC 4226 section 4)
	totpTries  = 5  // per sign-in since one was right
	setupTime  = 15 * time.Minute
)

var totpEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// TOTPSetup is what an authenticator app has to be told, until it is confirmed.
type TOTPSetup struct {
	URI    string // otpauth://…, the content of the QR code
	Secret string // the same for typing, in groups of four
	SVG    string // the QR code, black on white, without fixed size
	PNG    []byte // the same, 8 pixels a module
	Flow   string // to be handed back with the first code; says nothing by itself
}

// codeOf is the code of one time step.
func codeOf(secret []byte, step int64) (string, error) {
	return hotp.GenerateCodeCustom(totpEncoding.EncodeToString(secret), uint64(step), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
}

// matching finds the time step around now that a code belongs to, looking at all
// of them whatever matches. The newest wins.
func matching(secret []byte, code string, now time.Time) (step int64, ok bool) {
	code = strings.Map(func(r rune) rune {
		if r == ' ' || r == '-' {
			return -1
		}
		return r
	}, code[:min(len(code), 16)])
	present := now.Unix() / int64(totpStep/time.Second)
	for _, at := range []int64{present - 1, present, present + 1} {
		want, err := codeOf(secret, at)
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			step, ok = at, true
		}
	}
	return step, ok
}

func (p *People) openTOTP(id access.PersonID, sealed []byte) ([]byte, error) {
	secret, err := p.cfg.Open(sealed, []byte("totp:"+string(id)))
	if err != nil {
		return nil, fmt.Errorf("opening the secret of an authenticator app: %w", err)
	}
	return secret, nil
}

// wrongCode is the answer to a code that is not the present one.
func wrongCode() error {
	return refusal.New(refusal.Unauthenticated, "wrong-code", "type the code that is shown now, and check the clock of the device that shows it", "the code is not right")
}

// TOTP proves the authenticator app: at StageFactor the sign-in goes on, at
// StageFull its proof is fresh again. Five wrong codes end the sign-in.
func (p *People) TOTP(ctx context.Context, in SignIn, code string, at Where) (Secret, SignIn, error) {
	return p.prove(ctx, in, ByTOTP, at, func(person access.Person, proofs sqlstore.Proofs) ([]sqlstore.PersonStep, error) {
		if len(proofs.TOTP) == 0 {
			return nil, wrongCode()
		}
		secret, err := p.openTOTP(person.ID, proofs.TOTP)
		if err != nil {
			return nil, err
		}
		step, ok := matching(secret, code, p.now())
		if !ok {
			return nil, wrongCode()
		}
		if step <= proofs.TOTPStep {
			return nil, lost(sqlstore.ErrSpent)
		}
		return []sqlstore.PersonStep{sqlstore.UseTOTP(step)}, nil
	})
}

// prove tries something that can be guessed: each try counts before it is looked
// at, and the last one ends the sign-in.
func (p *People) prove(ctx context.Context, in SignIn, method string, at Where, look func(access.Person, sqlstore.Proofs) ([]sqlstore.PersonStep, error)) (Secret, SignIn, error) {
	if in.Stage != StageFactor && in.Stage != StageFull {
		return Secret{}, SignIn{}, wrongStage(in.Stage)
	}
	account := "factor|" + string(in.Person.ID)
	if wait := p.guard.try(account, at.Source, p.now(), func() bool { return p.familiar(ctx, in.Person.ID, at) }); wait > 0 {
		return Secret{}, SignIn{}, tooMany(wait)
	}
	if err := p.cfg.Store.TrySignIn(ctx, in.ID, totpTries); isChanged(err) {
		return Secret{}, SignIn{}, notSignedIn()
	} else if err != nil {
		return Secret{}, SignIn{}, err
	}
	person, proofs, err := p.cfg.Store.Person(ctx, in.Person.ID)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	steps, err := look(person, proofs)
	if err != nil {
		p.missed(ctx, in, person, method, at, err)
		return Secret{}, SignIn{}, err
	}
	p.guard.right(account, at.Source)
	st := p.going(in, person, proofs, at)
	st.method, st.strong, st.keep, st.spent = method, true, true, steps
	p.stepped(&st, in)
	return p.advance(ctx, st)
}

// stepped makes a proof at StageFull a step-up.
func (p *People) stepped(st *step, in SignIn) {
	if in.Stage == StageFull {
		st.renewed = true
		st.events = append(st.events, p.event(self(in.Person.ID, st.at), "person.stepped_up", in.Person.ID, "method", st.method, "sign_in", in.ID))
	}
}

// missed records a second factor that was wrong, and ends the sign-in after the
// last try.
func (p *People) missed(ctx context.Context, in SignIn, person access.Person, method string, at Where, err error) {
	why := "something went wrong"
	if r := refusal.As(err); r != nil {
		why = r.Detail
	}
	by := self(person.ID, at)
	p.cfg.Refuse(ctx, p.event(by, "person.proof_refused", person.ID, "method", method, "sign_in", in.ID), why)
	row, _, rerr := p.cfg.Store.SignIn(ctx, in.ID)
	if rerr != nil || row.Tries < totpTries {
		return
	}
	rerr = p.cfg.Store.EndSignIn(ctx, person.ID, in.ID, p.now(), p.event(by, "person.sign_in_ended", person.ID, "sign_in", in.ID, "why", "too many wrong codes"))
	if rerr != nil {
		if !isChanged(rerr) {
			p.cfg.Log.Warn("ending a sign-in after wrong codes", "sign_in", in.ID, "err", rerr)
		}
		return
	}
	p.cfg.Announce()
	p.alarm(ctx, NoticeFactorGuessed, person, at, "")
}

// BeginTOTP makes the secret of an authenticator app. Nothing is stored before
// ConfirmTOTP.
func (p *People) BeginTOTP(ctx context.Context, in SignIn) (TOTPSetup, error) {
	person, _, err := p.mayEnrol(ctx, in)
	if err != nil {
		return TOTPSetup{}, err
	}
	plain := make([]byte, 8+totpSecret)
	binary.BigEndian.PutUint64(plain, uint64(p.now().Add(setupTime).Unix()))
	if _, err := io.ReadFull(p.cfg.Random, plain[8:]); err != nil {
		return TOTPSetup{}, err
	}
	sealed, err := p.cfg.Seal(plain, setupAbout(in))
	if err != nil {
		return TOTPSetup{}, err
	}
	s := TOTPSetup{Flow: base64.RawURLEncoding.EncodeToString(sealed)}
	text := totpEncoding.EncodeToString(plain[8:])
	query := url.Values{"secret": {text}, "issuer": {p.cfg.RPName}, "algorithm": {"SHA1"}, "digits": {"6"}, "period": {"30"}}
	s.URI = "otpauth://totp/" + url.PathEscape(p.cfg.RPName+":"+person.Name) + "?" + strings.ReplaceAll(query.Encode(), "+", "%20")
	for i := 0; i < len(text); i += 4 {
		s.Secret += " " + text[i:min(i+4, len(text))]
	}
	s.Secret = strings.TrimSpace(s.Secret)
	s.SVG, s.PNG, err = qrCode(s.URI)
	return s, err
}

// setupAbout binds a setup to the sign-in that began it.
func setupAbout(in SignIn) []byte {
	return []byte("totp-setup:" + string(in.Person.ID) + ":" + in.ID)
}

// ConfirmTOTP keeps the secret of flow once the app has shown the right code for
// it; it replaces the one before. At StageEnrol the sign-in goes on.
func (p *People) ConfirmTOTP(ctx context.Context, in SignIn, flow, code string, at Where) (Secret, SignIn, error) {
	person, proofs, err := p.mayEnrol(ctx, in)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	if proofs.Password == "" && person.Origin == Local {
		return Secret{}, SignIn{}, refusal.New(refusal.Conflict, "no-password", "choose a password first, or use a passkey", "an authenticator app goes with a password")
	}
	sealed, err := base64.RawURLEncoding.DecodeString(flow[:min(len(flow), 256)])
	var plain []byte
	if err == nil {
		plain, err = p.cfg.Open(sealed, setupAbout(in))
	}
	if err != nil || len(plain) != 8+totpSecret || !p.now().Before(time.Unix(int64(binary.BigEndian.Uint64(plain)), 0)) {
		return Secret{}, SignIn{}, refusal.New(refusal.Invalid, "setup-expired", "begin again with a new QR code", "this QR code is not valid any more")
	}
	now := p.now()
	account := "factor|" + string(person.ID)
	if wait := p.guard.try(account, at.Source, now, func() bool { return true }); wait > 0 {
		return Secret{}, SignIn{}, tooMany(wait)
	}
	step, ok := matching(plain[8:], code, now)
	if !ok {
		return Secret{}, SignIn{}, wrongCode()
	}
	p.guard.right(account, at.Source)
	kept, err := p.cfg.Seal(plain[8:], []byte("totp:"+string(person.ID)))
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	st := p.going(in, person, proofs, at)
	st.method, st.strong, st.enrolled = ByTOTP, true, true
	st.spent = []sqlstore.PersonStep{sqlstore.SetTOTP(kept, step)}
	p.added(&st, in, "totp", "")
	return p.advance(ctx, st)
}

// added adds what is told of a new factor.
func (p *People) added(st *step, in SignIn, factor, id string) {
	st.events = append(st.events, p.event(self(in.Person.ID, st.at), "person.factor_added", in.Person.ID, "factor", factor, "factor_id", id, "sign_in", in.ID))
	if st.person.State == access.PersonActive {
		st.notices = append(st.notices, Notice{NoticeFactorAdded, st.person, st.at.source(), st.at.agent(), p.now(), factor})
	}
}

// mayEnrol refuses to set up a factor unless the sign-in waits for one, or a
// factor is fresh.
func (p *People) mayEnrol(ctx context.Context, in SignIn) (access.Person, sqlstore.Proofs, error) {
	person, proofs, err := p.cfg.Store.Person(ctx, in.Person.ID)
	if err != nil {
		return person, proofs, err
	}
	switch in.Stage {
	case StageEnrol:
		// What was proven may be a password alone: it must not go on to add to an
		// account that has got a second factor meanwhile.
		second, err := p.hasSecond(ctx, person.ID, proofs)
		if err == nil && second {
			err = refusal.New(refusal.Conflict, "changed-meanwhile", "sign in again", "a second factor was set up meanwhile")
		}
		return person, proofs, err
	case StageFull:
		return person, proofs, p.fresh(in)
	}
	return person, proofs, wrongStage(in.Stage)
}
