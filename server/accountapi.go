package server

import (
	"context"
	"encoding/json"
	"net/netip"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/people"
)

// accounts serves people and their accounts to the API.
type accounts struct{ s *Server }

// linkPath is where the console takes one-time links.
const linkPath = "/join?token="

func at(by access.Actor) people.Where {
	source, _ := netip.ParseAddr(by.Source)
	return people.Where{Source: source}
}

func (a accounts) invited(p access.Person, link people.Link, err error) (adminapi.Invited, error) {
	if err != nil {
		return adminapi.Invited{}, err
	}
	a.s.notifyInvited(p, link)
	return adminapi.Invited{Person: p, Link: a.s.linkURL(link), ExpiresAt: link.ExpiresAt}, nil
}

// linkURL is a one-time link as a person follows it.
func (s *Server) linkURL(link people.Link) string {
	return s.console() + linkPath + link.Secret.Reveal()
}

// People implements adminapi.People.
func (a accounts) People(ctx context.Context, f adminapi.PeopleFilter) ([]access.Person, access.PersonID, error) {
	return a.s.people.List(ctx, people.Filter{State: f.State, Origin: f.Origin, Prefix: f.Prefix, After: f.After, Limit: f.Limit})
}

// Person implements adminapi.People.
func (a accounts) Person(ctx context.Context, id access.PersonID) (access.Person, adminapi.PersonFactors, error) {
	p, err := a.s.people.Person(ctx, id)
	if err != nil {
		return p, adminapi.PersonFactors{}, err
	}
	f, err := a.s.people.Factors(ctx, id)
	view := adminapi.PersonFactors{Password: f.Password, PasswordAt: f.PasswordAt, TOTP: f.TOTP, RecoveryCodes: f.RecoveryCodes, Passkeys: []adminapi.Passkey{}}
	for _, k := range f.Passkeys {
		view.Passkeys = append(view.Passkeys, adminapi.Passkey(k))
	}
	return p, view, err
}

// InvitePerson implements adminapi.People.
func (a accounts) InvitePerson(ctx context.Context, by access.Actor, in adminapi.PersonInput) (adminapi.Invited, error) {
	return a.invited(a.s.people.Invite(ctx, by, people.Invitation(in)))
}

// ReinvitePerson implements adminapi.People.
func (a accounts) ReinvitePerson(ctx context.Context, by access.Actor, id access.PersonID, reason string) (adminapi.Invited, error) {
	return a.invited(a.s.people.Reinvite(ctx, by, id, reason))
}

// UpdatePerson implements adminapi.People.
func (a accounts) UpdatePerson(ctx context.Context, by access.Actor, p access.Person) (access.Person, error) {
	return a.s.people.Update(ctx, by, p)
}

// MovePerson implements adminapi.People.
func (a accounts) MovePerson(ctx context.Context, by access.Actor, id access.PersonID, to access.PersonState, reason string) (access.Person, error) {
	switch to {
	case access.PersonDisabled:
		return a.s.people.Disable(ctx, by, id, reason)
	case access.PersonActive:
		return a.s.people.Enable(ctx, by, id, reason)
	case access.PersonErased:
		return a.s.people.Erase(ctx, by, id, reason)
	}
	return access.Person{}, invalid("bad-state", "use disabled, active or erased", "an account cannot be made %.32q", string(to))
}

// SignIns implements adminapi.People.
func (a accounts) SignIns(ctx context.Context, id access.PersonID) ([]adminapi.SignIn, error) {
	list, err := a.s.people.SignIns(ctx, id)
	views := make([]adminapi.SignIn, len(list))
	for i, in := range list {
		views[i] = signInView(in)
	}
	return views, err
}

// AllSignIns implements adminapi.People.
func (a accounts) AllSignIns(ctx context.Context, before string, limit int) ([]adminapi.PersonSignIn, error) {
	list, err := a.s.people.AllSignIns(ctx, before, limit)
	views := make([]adminapi.PersonSignIn, len(list))
	for i, in := range list {
		views[i] = adminapi.PersonSignIn{SignIn: signInView(in.SignIn), Person: in.Person.ID, Name: in.Person.Shown(), NewPlace: in.NewPlace}
	}
	return views, err
}

func signInView(in people.SignIn) adminapi.SignIn {
	return adminapi.SignIn{ID: in.ID, Kind: string(in.Kind), Stage: string(in.Stage), Methods: in.Methods, Strong: in.Strong, CreatedAt: in.CreatedAt, SeenAt: in.SeenAt,
		FreshAt: in.FreshAt, ExpiresAt: in.ExpiresAt, Source: in.Source, Device: people.Device(in.Agent)}
}

// EndSignIn implements adminapi.People.
func (a accounts) EndSignIn(ctx context.Context, by access.Actor, id access.PersonID, signIn string) error {
	return a.s.people.End(ctx, by, id, signIn)
}

// EndSignIns implements adminapi.People.
func (a accounts) EndSignIns(ctx context.Context, by access.Actor, id access.PersonID, but, reason string) error {
	return a.s.people.EndAll(ctx, by, id, but, reason)
}

// own is the caller's sign-in on a command line. In a browser each step brings a
// new cookie, which only the console can set.
func (a accounts) own(ctx context.Context, id string) (people.SignIn, error) {
	in, err := a.s.people.SignedIn(ctx, id)
	if err == nil && in.Kind != people.CLI {
		err = refusal.New(refusal.Conflict, "use-the-console", "change it on your account page", "a browser looks after its account on the console's own page")
	}
	return in, err
}

// StepUp implements adminapi.Account.
func (a accounts) StepUp(ctx context.Context, by access.Actor, signIn, code string) error {
	in, err := a.own(ctx, signIn)
	if err == nil {
		_, _, err = a.s.people.TOTP(ctx, in, code, at(by))
	}
	return err
}

// ChangePassword implements adminapi.Account.
func (a accounts) ChangePassword(ctx context.Context, by access.Actor, signIn string, current, next password.Secret) error {
	in, err := a.own(ctx, signIn)
	if err == nil {
		_, _, err = a.s.people.SetPassword(ctx, in, current, next, at(by))
	}
	return err
}

// BeginTOTP implements adminapi.Account.
func (a accounts) BeginTOTP(ctx context.Context, signIn string) (adminapi.TOTPSetup, error) {
	in, err := a.own(ctx, signIn)
	if err != nil {
		return adminapi.TOTPSetup{}, err
	}
	t, err := a.s.people.BeginTOTP(ctx, in)
	return adminapi.TOTPSetup{URI: t.URI, Secret: t.Secret, SVG: t.SVG, Flow: t.Flow}, err
}

// ConfirmTOTP implements adminapi.Account.
func (a accounts) ConfirmTOTP(ctx context.Context, by access.Actor, signIn, flow, code string) error {
	in, err := a.own(ctx, signIn)
	if err == nil {
		_, _, err = a.s.people.ConfirmTOTP(ctx, in, flow, code, at(by))
	}
	return err
}

// RemoveTOTP implements adminapi.Account.
func (a accounts) RemoveTOTP(ctx context.Context, by access.Actor, signIn string) error {
	in, err := a.own(ctx, signIn)
	if err == nil {
		err = a.s.people.RemoveTOTP(ctx, in, at(by))
	}
	return err
}

// BeginAddPasskey implements adminapi.Account.
func (a accounts) BeginAddPasskey(ctx context.Context, signIn string) (json.RawMessage, string, error) {
	in, err := a.own(ctx, signIn)
	if err != nil {
		return nil, "", err
	}
	c, err := a.s.people.BeginAddPasskey(ctx, in)
	return c.Options, c.Flow, err
}

// AddPasskey implements adminapi.Account.
func (a accounts) AddPasskey(ctx context.Context, by access.Actor, signIn, name, flow string, answer []byte) error {
	in, err := a.own(ctx, signIn)
	if err == nil {
		_, _, err = a.s.people.AddPasskey(ctx, in, name, flow, answer, at(by))
	}
	return err
}

// RenamePasskey implements adminapi.Account.
func (a accounts) RenamePasskey(ctx context.Context, by access.Actor, signIn, id, name string) error {
	in, err := a.own(ctx, signIn)
	if err == nil {
		err = a.s.people.RenamePasskey(ctx, in, id, name, at(by))
	}
	return err
}

// RemovePasskey implements adminapi.Account.
func (a accounts) RemovePasskey(ctx context.Context, by access.Actor, signIn, id string) error {
	in, err := a.own(ctx, signIn)
	if err == nil {
		err = a.s.people.RemovePasskey(ctx, in, id, at(by))
	}
	return err
}

// MakeRecoveryCodes implements adminapi.Account.
func (a accounts) MakeRecoveryCodes(ctx context.Context, by access.Actor, signIn string) ([]string, error) {
	in, err := a.own(ctx, signIn)
	if err != nil {
		return nil, err
	}
	return a.s.people.MakeRecoveryCodes(ctx, in, at(by))
}
