package people

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// External is a person as an identity provider names them.
type External struct {
	Provider string // the origin of their account: oidc:NAME, saml:NAME or scim
	Subject  string // their id there, which never changes: 1 to 512 bytes
	Name     string // their login there
	Display  string
	Mail     string
	Groups   []string
	Strong   bool      // the provider asked for a second factor
	AuthTime time.Time // when it did; zero: unknown
	Session  string    // its own session, for signing out there
}

// method is how a sign-in through the provider is called: oidc or saml.
func (e External) method() string { m, _, _ := strings.Cut(e.Provider, ":"); return m }

// External signs in a person whom an identity provider named, and makes their
// account the first time. The proof is as fresh as the provider's. An account that is not of this provider is never
// taken over, whatever its name: the name gets an ending instead.
func (p *People) External(ctx context.Context, ext External, at Where) (Secret, SignIn, error) {
	person, err := p.Provision(ctx, access.Component(ext.Provider), ext)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	if person.State != access.PersonActive {
		p.cfg.Refuse(ctx, p.event(stranger(at), "person.sign_in_refused", person.ID, "method", ext.method()), "the account is not active")
		return Secret{}, SignIn{}, refusal.New(refusal.Forbidden, "account-disabled", "ask an administrator", "your account here is disabled")
	}
	_, proofs, err := p.cfg.Store.Person(ctx, person.ID)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	return p.advance(ctx, step{person: person, proofs: proofs, kind: Console, method: ext.method(), strong: ext.Strong, keep: true, upstream: ext.Session, elsewhere: &ext.AuthTime, at: at})
}

// ProveExternal makes the proof of a sign-in fresh whose person has just proven
// themselves to their identity provider again.
func (p *People) ProveExternal(ctx context.Context, in SignIn, ext External, at Where) (Secret, SignIn, error) {
	person, proofs, err := p.cfg.Store.Person(ctx, in.Person.ID)
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	now := p.now()
	switch {
	case in.Stage != StageFull:
		err = wrongStage(in.Stage)
	case person.Origin != ext.Provider || person.External == "" || person.External != ext.Subject:
		err = refusal.New(refusal.Unauthenticated, "somebody-else", "sign in there as yourself", "the identity provider named somebody else")
	case ext.AuthTime.IsZero() || now.Sub(ext.AuthTime) > p.cfg.Sessions.StepUp || ext.AuthTime.Sub(now) > time.Minute:
		err = refusal.New(refusal.Unauthenticated, "not-fresh", "sign in there again, or use a passkey", "the identity provider did not ask you again")
	case in.Strong && !ext.Strong:
		err = refusal.New(refusal.Unauthenticated, "second-factor-needed", "use your second factor there, or a passkey here", "the identity provider did not ask for a second factor")
	}
	if err == nil {
		err = p.learn(ctx, person, ext)
	}
	if err != nil {
		return Secret{}, SignIn{}, err
	}
	st := p.going(in, person, proofs, at)
	st.method, st.strong, st.keep, st.upstream, st.elsewhere = ext.method(), ext.Strong, true, ext.Session, &ext.AuthTime
	p.stepped(&st, in)
	return p.advance(ctx, st)
}

// Provision makes the account of a person whom an identity provider named, or
// brings what it says of them up to date.
func (p *People) Provision(ctx context.Context, by access.Actor, ext External) (access.Person, error) {
	if ext.Subject == "" || len(ext.Subject) > 512 || !strings.Contains("oidc saml scim", ext.method()) || ext.method() == "" {
		return access.Person{}, refusal.New(refusal.Invalid, "bad-subject", "look at what the identity provider sends", "the identity provider gave no usable id")
	}
	person, _, err := p.cfg.Store.PersonByExternal(ctx, ext.Provider, ext.Subject)
	switch {
	case errors.Is(err, sqlstore.ErrNotFound):
		person, err = p.adopt(ctx, by, ext)
	case err == nil:
		person, err = p.refresh(ctx, by, person, ext)
	}
	if err != nil {
		return person, err
	}
	return person, p.learn(ctx, person, ext)
}

// learn passes on the groups that the provider says an active person is in.
func (p *People) learn(ctx context.Context, person access.Person, ext External) error {
	if p.cfg.Groups == nil || person.State != access.PersonActive {
		return nil
	}
	if err := p.cfg.Groups(ctx, person.ID, ext.Provider, ext.Groups); err != nil {
		return fmt.Errorf("learning somebody's groups: %w", err)
	}
	return nil
}

// described puts what the provider says into a person; what is not valid here is
// left out.
func described(person access.Person, ext External) access.Person {
	try := person
	if try.Display = audit.Text(ext.Display, 128); try.Validate() == nil {
		person = try
	}
	try = person
	if try.Mail = ext.Mail; try.Validate() == nil {
		person = try
	}
	return person
}

// adopt makes an account under the first name that is free.
func (p *People) adopt(ctx context.Context, by access.Actor, ext External) (access.Person, error) {
	now := p.now()
	base := access.Person{State: access.PersonActive, Origin: ext.Provider, External: ext.Subject, EnabledAt: now}
	_, provider, _ := strings.Cut(ext.Provider, ":")
	var err error
	for _, name := range candidates(ext, provider) {
		person := base
		person.Name = name
		if person.Validate() != nil {
			continue
		}
		person, err = p.insert(ctx, described(person, ext), []sqlstore.PersonStep{}, func(id access.PersonID) []audit.Event {
			return []audit.Event{p.event(by, "person.provisioned", id, "origin", ext.Provider)}
		})
		if !refusal.Is(err, "person-exists") {
			return person, err
		}
		// The subject may have been what was taken: by a sign-in at the same time.
		if person, _, err := p.cfg.Store.PersonByExternal(ctx, ext.Provider, ext.Subject); err == nil {
			return person, nil
		}
	}
	if err == nil {
		err = refusal.New(refusal.Invalid, "bad-name", "look at what the identity provider sends as name and mail", "the identity provider gave no usable name")
	}
	return base, err
}

// candidates are names for a new account, the best first.
func candidates(ext External, provider string) (names []string) {
	for _, name := range []string{access.PersonName(ext.Name), access.PersonName(ext.Mail)} {
		if name == "" {
			continue
		}
		names = append(names, name, name+"+"+provider)
		for i := 2; i < 10; i++ {
			names = append(names, fmt.Sprintf("%s+%s%d", name, provider, i))
		}
	}
	return names
}

// refresh brings display name and mail up to date.
func (p *People) refresh(ctx context.Context, by access.Actor, person access.Person, ext External) (access.Person, error) {
	as := described(person, ext)
	if as == person || person.State != access.PersonActive {
		return person, nil
	}
	err := p.change(ctx, person, as, nil, p.event(by, "person.updated", person.ID, "display", changed(as.Display != person.Display), "mail", changed(as.Mail != person.Mail)))
	if refusal.Is(err, "changed-meanwhile") { // by a sign-in at the same time, most likely
		return p.Person(ctx, person.ID)
	}
	as.Version = person.Version + 1
	return as, err
}
