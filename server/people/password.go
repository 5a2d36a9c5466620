package people

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// wrongPassword is the one answer to a name and password that do not sign in,
// whatever is wrong: the name, the password, or the account.
func wrongPassword() error {
	return refusal.New(refusal.Unauthenticated, "wrong-password", "check both, or use a passkey", "the name and the password do not belong together")
}

// Password begins a sign-in with a name and password. Refusals: "wrong-password",
// "too-many-tries" and "busy", each the same for names that nobody has.
func (p *People) Password(ctx context.Context, name string, secret password.Secret, at Where) (Secret, SignIn, error) {
	name = access.PersonName(name)
	if len(name) > 128 {
		name = name[:128]
	}
	person, proofs, err := p.cfg.Store.PersonByName(ctx, name)
	if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
		return Secret{}, SignIn{}, err
	}
	refuse := func(why string) {
		p.cfg.Refuse(ctx, p.event(stranger(at), "person.sign_in_refused", person.ID, "method", ByPassword), why)
	}
	if wait := p.guard.try(name, at.Source, p.now(), func() bool { return p.familiar(ctx, person.ID, at) }); wait > 0 {
		refuse("too many tries")
		return Secret{}, SignIn{}, tooMany(wait)
	}
	var right, outdated bool
	var fresh string
	err = p.slots.hash(ctx, func() {
		right, outdated = p.cfg.Cost.Verify(proofs.Password, secret)
		if right && outdated {
			if fresh, err = password.Hash(p.cfg.Random, secret, p.cfg.Cost); err != nil {
				fresh = "" // the present form is still good
			}
		}
	})
	if err != nil {
		p.guard.right(name, at.Source)
		return Secret{}, SignIn{}, err
	}
	if !right || person.State != access.PersonActive {
		refuse("the name and the password do not belong together, or the account is not active")
		if person.State == access.PersonActive && p.guard.many(name, p.now()) {
			p.alarm(ctx, NoticeGuessed, person, at, "")
		}
		return Secret{}, SignIn{}, wrongPassword()
	}
	p.guard.right(name, at.Source)
	st := step{person: person, proofs: proofs, kind: Console, method: ByPassword, keep: true, at: at}
	if fresh != "" {
		st.spent = append(st.spent, sqlstore.Rehash(proofs.Password, fresh))
	}
	if !proofs.PasswordAt.IsZero() && refusal.Is(p.breached(secret), password.CodeBreached) {
		st.spent = append(st.spent, sqlstore.ExpirePassword())
		st.proofs.PasswordAt = time.Time{}
		st.events = append(st.events, p.event(self(person.ID, at), "person.password_expired", person.ID, "why", "it is known from breaches"))
	}
	return p.advance(ctx, st)
}

// familiar tells whether the person signed in from this network before.
func (p *People) familiar(ctx context.Context, id access.PersonID, at Where) bool {
	known, err := p.cfg.Store.KnownPlace(ctx, id, network(at.Source)+"|")
	return err == nil && known
}

// breached asks only whether the password is known to attackers.
func (p *People) breached(secret password.Secret) error {
	rules := p.cfg.Passwords
	rules.MinStrength, rules.History, rules.MinUpper, rules.MinLower, rules.MinDigits, rules.MinSymbols = 0, 0, 0, 0, 0, 0
	rules.MinLength = 8
	return password.Check(rules, secret, nil, p.cfg.Breached, nil)
}

// checkCurrent tells whether secret is the person's password; wrong ones count.
func (p *People) checkCurrent(ctx context.Context, person access.Person, proofs sqlstore.Proofs, secret password.Secret, at Where) error {
	if wait := p.guard.try(person.Name, at.Source, p.now(), func() bool { return true }); wait > 0 {
		return tooMany(wait)
	}
	var right bool
	if err := p.slots.hash(ctx, func() { right, _ = p.cfg.Cost.Verify(proofs.Password, secret) }); err != nil {
		return err
	}
	if !right {
		p.cfg.Refuse(ctx, p.event(self(person.ID, at), "person.proof_refused", person.ID, "method", ByPassword), "the password is wrong")
		return refusal.New(refusal.Unauthenticated, "wrong-password", "type your present password", "this is not your present password")
	}
	p.guard.right(person.Name, at.Source)
	return nil
}

// SetPassword gives the person of a sign-in another password and ends their other
// sign-ins. At StageFull it takes the present password, or a fresh factor where
// current is empty. Refusals of a password have the codes of package password.
func (p *People) SetPassword(ctx context.Context, in SignIn, current, next password.Secret, at Where) (Secret, SignIn, error) {
	person, proofs, err := p.cfg.Store.Person(ctx, in.Person.ID)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	if person.Origin != Local {
		return Secret{}, SignIn{}, refusal.New(refusal.Conflict, "not-local", "change it at your identity provider", "this account has no password here")
	}
	switch in.Stage {
	case StageFull:
		if !current.Empty() {
			err = p.checkCurrent(ctx, person, proofs, current, at)
		} else {
			err = p.fresh(in)
		}
		if err != nil {
			return Secret{}, SignIn{}, err
		}
	case StagePassword:
	case StageEnrol:
		if person.State != access.PersonInvited {
			return Secret{}, SignIn{}, wrongStage(in.Stage)
		}
	default:
		return Secret{}, SignIn{}, wrongStage(in.Stage)
	}
	stored, err := p.newPassword(ctx, person, proofs, next)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	now := p.now()
	st := p.going(in, person, proofs, at)
	st.replaced, st.proofs.Password, st.proofs.PasswordAt = true, stored, now
	st.spent = []sqlstore.PersonStep{sqlstore.SetPassword(stored, now, p.cfg.Passwords.History), sqlstore.EndOthers(in.ID, now), sqlstore.Tell(now)}
	st.events = append(st.events, p.event(self(person.ID, at), "person.password_changed", person.ID, "sign_in", in.ID))
	st.notices = []Notice{{NoticePasswordChanged, person, at.source(), at.agent(), now, ""}}
	st.tell = true
	return p.advance(ctx, st)
}

// newPassword checks a password against the rules and hashes it.
func (p *People) newPassword(ctx context.Context, person access.Person, proofs sqlstore.Proofs, next password.Secret) (stored string, err error) {
	history, err := p.cfg.Store.OldPasswords(ctx, person.ID, p.cfg.Passwords.History)
	if err != nil {
		return "", err
	}
	if proofs.Password != "" {
		history = append([]string{proofs.Password}, history...)
	}
	about := []string{person.Name, person.Display, person.Mail, "holdfast", p.cfg.RPName, p.cfg.RPID}
	var bad error
	err = p.slots.hash(ctx, func() {
		if bad = password.Check(p.cfg.Passwords, next, about, p.cfg.Breached, history); bad == nil {
			stored, bad = password.Hash(p.cfg.Random, next, p.cfg.Cost)
		}
	})
	return stored, errors.Join(err, bad)
}

// going is a step of a sign-in that exists.
func (p *People) going(in SignIn, person access.Person, proofs sqlstore.Proofs, at Where) step {
	row := in.row
	row.Stage = string(in.Stage)
	return step{person: person, proofs: proofs, was: &row, kind: in.Kind, at: at}
}

// fresh refuses unless a factor was proven lately.
func (p *People) fresh(in SignIn) error {
	if p.now().Sub(in.FreshAt) > p.cfg.Sessions.StepUp {
		return access.StepUp()
	}
	return nil
}

func wrongStage(s Stage) error {
	fix := map[Stage]string{StageFactor: "prove your second factor first", StageEnrol: "set up a second factor first", StagePassword: "choose a new password first"}[s]
	return refusal.New(refusal.Forbidden, "sign-in-unfinished", fix, "the sign-in is not far enough for this")
}
