package people

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Factors are what a person proves themselves with.
type Factors struct {
	Password      bool
	PasswordAt    time.Time // zero: none, or it has to be replaced at the next sign-in
	TOTP          bool
	Passkeys      []Passkey
	RecoveryCodes int  // unused ones
	NoPasskeys    bool // passkeys do not work here
}

// Passkey is a passkey as it is shown.
type Passkey struct {
	ID        string
	Name      string
	CreatedAt time.Time
	UsedAt    time.Time
}

// Second tells whether there is a second factor.
func (f Factors) Second() bool { return f.TOTP || len(f.Passkeys) > 0 }

// Factors lists what a person proves themselves with.
func (p *People) Factors(ctx context.Context, id access.PersonID) (Factors, error) {
	_, proofs, err := p.cfg.Store.Person(ctx, id)
	if err != nil {
		return Factors{}, noPerson(err, id)
	}
	f := Factors{Password: proofs.Password != "", PasswordAt: proofs.PasswordAt, TOTP: len(proofs.TOTP) > 0, NoPasskeys: p.web == nil}
	rows, err := p.cfg.Store.Passkeys(ctx, id)
	if err != nil {
		return f, err
	}
	for _, k := range rows {
		f.Passkeys = append(f.Passkeys, Passkey{k.ID, k.Name, k.CreatedAt, k.UsedAt})
	}
	f.RecoveryCodes, _, err = p.cfg.Store.RecoveryCodes(ctx, id)
	return f, err
}

func noFactor() error {
	return refusal.New(refusal.Conflict, "no-second-factor", "set up a passkey or an authenticator app first", "this account has no second factor")
}

// change writes an account that was read as person, with steps and events.
func (p *People) change(ctx context.Context, person, as access.Person, steps []sqlstore.PersonStep, events ...audit.Event) error {
	as.Version = person.Version + 1
	return stale(p.cfg.Store.ChangePerson(ctx, person.Version, as, steps, events...))
}

// StepUpPassword makes the proof of a person fresh who has nothing but a password
// and holds no privileged permission.
func (p *People) StepUpPassword(ctx context.Context, in SignIn, secret password.Secret, at Where) (Secret, SignIn, error) {
	if in.Stage != StageFull {
		return Secret{}, SignIn{}, wrongStage(in.Stage)
	}
	person, proofs, err := p.cfg.Store.Person(ctx, in.Person.ID)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	second, err := p.hasSecond(ctx, person.ID, proofs)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	rights, err := p.cfg.Rights(ctx, person.ID)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	if second || rights.Privileged(p.now()) {
		return Secret{}, SignIn{}, refusal.New(refusal.Forbidden, "second-factor-needed", "use your passkey or authenticator app", "a password alone is not enough for this account")
	}
	if err := p.checkCurrent(ctx, person, proofs, secret, at); err != nil {
		return Secret{}, SignIn{}, err
	}
	st := p.going(in, person, proofs, at)
	st.method, st.keep = ByPassword, true
	p.stepped(&st, in)
	return p.advance(ctx, st)
}

// owner reads the person of a full sign-in with a fresh factor.
func (p *People) owner(ctx context.Context, in SignIn) (access.Person, sqlstore.Proofs, error) {
	if in.Stage != StageFull {
		return access.Person{}, sqlstore.Proofs{}, wrongStage(in.Stage)
	}
	if err := p.fresh(in); err != nil {
		return access.Person{}, sqlstore.Proofs{}, err
	}
	return p.cfg.Store.Person(ctx, in.Person.ID)
}

// RemoveTOTP forgets the authenticator app. It takes a fresh factor.
func (p *People) RemoveTOTP(ctx context.Context, in SignIn, at Where) error {
	person, proofs, err := p.owner(ctx, in)
	if err != nil {
		return err
	}
	if len(proofs.TOTP) == 0 {
		return refusal.New(refusal.NotFound, "no-totp", "nothing to do", "this account has no authenticator app")
	}
	keys, err := p.cfg.Store.Passkeys(ctx, person.ID)
	if err != nil {
		return err
	}
	proofs.TOTP = nil
	return p.remove(ctx, in, person, proofs, len(keys), "totp", "", at, sqlstore.SetTOTP(nil, proofs.TOTPStep))
}

// RemovePasskey forgets a passkey. It takes a fresh factor.
func (p *People) RemovePasskey(ctx context.Context, in SignIn, id string, at Where) error {
	person, proofs, err := p.owner(ctx, in)
	if err != nil {
		return err
	}
	keys, err := p.cfg.Store.Passkeys(ctx, person.ID)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k sqlstore.Passkey) bool { return k.ID == id }) {
		return noPasskey(id)
	}
	return p.remove(ctx, in, person, proofs, len(keys)-1, "passkey", id, at, sqlstore.RemovePasskey(id))
}

func noPasskey(id string) error {
	return refusal.New(refusal.NotFound, "no-such-passkey", "list them to find its id", "there is no passkey %.64q", id)
}

// remove takes a factor away unless the person could not sign in, or not well
// enough, with proofs and so many passkeys that are left.
func (p *People) remove(ctx context.Context, in SignIn, person access.Person, left sqlstore.Proofs, keys int, factor, id string, at Where, step sqlstore.PersonStep) error {
	rights, err := p.cfg.Rights(ctx, person.ID)
	if err != nil {
		return err
	}
	second := keys > 0 || len(left.TOTP) > 0
	if !second && rights.Privileged(p.now()) {
		return refusal.New(refusal.Conflict, "last-factor", "add another passkey or authenticator app first", "your roles need a second factor, and this is the last one")
	}
	if keys == 0 && left.Password == "" && person.Origin == Local {
		return refusal.New(refusal.Conflict, "last-factor", "choose a password or add another passkey first", "you could not sign in any more")
	}
	steps := []sqlstore.PersonStep{step}
	if !second {
		steps = append(steps, sqlstore.SetRecoveryCodes(nil))
	}
	if err := p.change(ctx, person, person, steps,
		p.event(self(person.ID, at), "person.factor_removed", person.ID, "factor", factor, "factor_id", id, "sign_in", in.ID)); err != nil {
		return err
	}
	p.alarm(ctx, NoticeFactorRemoved, person, at, factor)
	return nil
}

// RenamePasskey gives a passkey of the person another name.
func (p *People) RenamePasskey(ctx context.Context, in SignIn, id, name string, at Where) error {
	if in.Stage != StageFull {
		return wrongStage(in.Stage)
	}
	if err := passkeyName(name); err != nil {
		return err
	}
	person, _, err := p.cfg.Store.Person(ctx, in.Person.ID)
	if err != nil {
		return err
	}
	keys, err := p.cfg.Store.Passkeys(ctx, person.ID)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k sqlstore.Passkey) bool { return k.ID == id }) {
		return noPasskey(id)
	}
	return p.change(ctx, person, person, []sqlstore.PersonStep{sqlstore.RenamePasskey(id, name)},
		p.event(self(person.ID, at), "person.passkey_renamed", person.ID, "factor_id", id))
}
