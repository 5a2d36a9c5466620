package signin

import (
	"net/http"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/people"
)

// joinPage is where a one-time link leads. It uses nothing up: programs that look
// at links in mail open them too.
func (k *Keeper) joinPage(s *step) error {
	token := s.Query("token")
	person, err := k.cfg.People.Invited(s.HTTP.Context(), people.NewSecret(token))
	if err != nil {
		return err
	}
	return s.Plain(http.StatusOK, "Welcome", joinView(token, person))
}

func (k *Keeper) join(s *step) error {
	return s.proven(k.cfg.People.AcceptInvite(s.HTTP.Context(), people.NewSecret(s.Form("token")), s.where))
}

// setupPage begins setting up an account: with the person's name, if they are new.
func (k *Keeper) setupPage(s *step) error {
	in, ok, err := s.at(people.StageEnrol)
	if !ok {
		return err
	}
	if in.Person.State != access.PersonInvited {
		return s.Redirect(s.with("/sign-in/setup/way"))
	}
	return s.Plain(http.StatusOK, "Your account", setupView(s.next, in.Person))
}

func (k *Keeper) introduce(s *step) error {
	in, ok, err := s.at(people.StageEnrol)
	if !ok {
		return err
	}
	name := access.PersonName(s.Form("name"))
	if name == in.Person.Name {
		name = ""
	}
	if _, err := k.cfg.People.Introduce(s.HTTP.Context(), in, name, s.Form("display"), s.Form("mail"), s.where); err != nil {
		return err
	}
	return s.Redirect(s.with("/sign-in/setup/way"))
}

// wayPage offers the ways to sign in from now on.
func (k *Keeper) wayPage(s *step) error {
	in, ok, err := s.at(people.StageEnrol)
	if !ok {
		return err
	}
	f, err := k.cfg.People.Factors(s.HTTP.Context(), in.Person.ID)
	if err != nil {
		return err
	}
	return s.Plain(http.StatusOK, "How to sign in", wayView(s.next, in.Person, f, k.cfg.People.PasskeysWork()))
}

func (k *Keeper) setupPasswordPage(s *step) error {
	in, ok, err := s.at(people.StageEnrol)
	if !ok {
		return err
	}
	return s.Plain(http.StatusOK, "Password", setupPasswordView(s.next, in.Person))
}

func (k *Keeper) setupPassword(s *step) error {
	in, ok, err := s.at(people.StageEnrol)
	if !ok {
		return err
	}
	if err := s.same(); err != nil {
		return err
	}
	secret, in, err := k.cfg.People.SetPassword(s.HTTP.Context(), in, password.New(""), password.New(s.RawForm("password")), s.where)
	if err != nil {
		return s.ended(err)
	}
	k.Keep(s.W, secret)
	if in.Stage == people.StageEnrol {
		return s.Redirect(s.with("/sign-in/setup/app"))
	}
	return s.goOn(in)
}

func (k *Keeper) appPage(s *step) error {
	in, ok, err := s.at(people.StageEnrol)
	if !ok {
		return err
	}
	setup, err := k.cfg.People.BeginTOTP(s.HTTP.Context(), in)
	if err != nil {
		return err
	}
	return s.Plain(http.StatusOK, "Authenticator app", appView(s.next, setup))
}

// app confirms the authenticator app and, if that was the last step, shows the
// recovery codes.
func (k *Keeper) app(s *step) error {
	in, ok, err := s.at(people.StageEnrol)
	if !ok {
		return err
	}
	secret, in, err := k.cfg.People.ConfirmTOTP(s.HTTP.Context(), in, s.Form("flow"), s.Form("code"), s.where)
	if err != nil {
		return s.ended(err)
	}
	k.Keep(s.W, secret)
	if in.Stage != people.StageFull {
		return s.goOn(in)
	}
	codes, err := k.cfg.People.MakeRecoveryCodes(s.HTTP.Context(), in, s.where)
	if err != nil {
		return err
	}
	return s.ResultPlain("Recovery codes", codesView(codes, s.next))
}

// addPasskeyBegin is for setting up an account and for one's own account later.
func (k *Keeper) addPasskeyBegin(s *step) error {
	if _, err := s.readAnswer(); err != nil {
		return err
	}
	in, ok, err := s.at(people.StageEnrol, people.StageFull)
	if !ok {
		return err
	}
	c, err := k.cfg.People.BeginAddPasskey(s.HTTP.Context(), in)
	if err != nil {
		return err
	}
	return s.answer(c)
}

func (k *Keeper) addPasskeyFinish(s *step) error {
	a, err := s.readAnswer()
	if err != nil {
		return err
	}
	in, ok, err := s.at(people.StageEnrol, people.StageFull)
	if !ok {
		return err
	}
	name := a.Name
	if name == "" {
		name = people.Device(s.HTTP.UserAgent())
	}
	secret, in, err := k.cfg.People.AddPasskey(s.HTTP.Context(), in, name, a.Flow, a.Credential, s.where)
	return s.provenJSON(secret, in, err)
}

var noProvider = refusal.New(refusal.NotFound, "no-such-provider", "go back to the sign-in page", "there is no such identity provider")
