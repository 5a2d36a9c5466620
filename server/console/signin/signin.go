package signin

import (
	"net/http"
	"strings"

	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/people"
)

// signInPage is the first page that people see.
func (k *Keeper) signInPage(s *step) error {
	if _, err := s.HTTP.Cookie(sessionCookie); err == nil && s.Query("again") == "" {
		if in, err := k.Resume(s.W, s.HTTP); err == nil {
			return s.goOn(in)
		}
	}
	if s.Query("again") != "" && s.next == "/" { // from the dialog that asks for a fresh proof
		if _, rest, ok := strings.Cut(s.HTTP.Referer(), "://"+s.HTTP.Host); ok {
			s.next = ui.LocalPath(rest, "/")
		}
	}
	status := http.StatusOK
	return s.Plain(status, "Sign in", signInView(signInData{Next: s.next, Ended: s.Query("ended") != "", Passkeys: k.cfg.People.PasskeysWork(), Providers: k.cfg.Providers}))
}

type signInData struct {
	Next      string
	Ended     bool
	Passkeys  bool
	Providers []Provider
}

func (k *Keeper) password(s *step) error {
	return s.proven(k.cfg.People.Password(s.HTTP.Context(), s.Form("name"), password.New(s.RawForm("password")), s.where))
}

func (k *Keeper) passkeyBegin(s *step) error {
	if !isJSON(s.HTTP) {
		return refusal.New(refusal.Invalid, "bad-answer", "try again", "the browser's answer could not be read")
	}
	c, err := k.cfg.People.BeginPasskey(s.HTTP.Context())
	if err != nil {
		return err
	}
	return s.answer(c)
}

func (k *Keeper) passkeyFinish(s *step) error {
	a, err := s.readAnswer()
	if err != nil {
		return err
	}
	secret, in, err := k.cfg.People.Passkey(s.HTTP.Context(), a.Flow, a.Credential, s.where)
	return s.provenJSON(secret, in, err)
}

// provenJSON is proven for the script.
func (s *step) provenJSON(secret people.Secret, in people.SignIn, err error) error {
	if err != nil {
		return s.ended(err)
	}
	s.k.Keep(s.W, secret)
	return s.answer(map[string]string{"next": s.onward(in)})
}

func (k *Keeper) factorPage(s *step) error {
	in, ok, err := s.at(people.StageFactor)
	if !ok {
		return err
	}
	f, err := k.cfg.People.Factors(s.HTTP.Context(), in.Person.ID)
	if err != nil {
		return err
	}
	return s.Plain(http.StatusOK, "Second factor", factorView(s.next, f, s.Query("way")))
}

func (k *Keeper) factorCode(s *step) error {
	in, ok, err := s.at(people.StageFactor)
	if !ok {
		return err
	}
	return s.proven(k.cfg.People.TOTP(s.HTTP.Context(), in, s.Form("code"), s.where))
}

func (k *Keeper) factorRecovery(s *step) error {
	in, ok, err := s.at(people.StageFactor)
	if !ok {
		return err
	}
	return s.proven(k.cfg.People.RecoveryCode(s.HTTP.Context(), in, s.Form("code"), s.where))
}

// provePasskeyBegin is for the second factor and for step-up.
func (k *Keeper) provePasskeyBegin(s *step) error {
	if _, err := s.readAnswer(); err != nil {
		return err
	}
	in, ok, err := s.at(people.StageFactor, people.StageFull)
	if !ok {
		return err
	}
	c, err := k.cfg.People.BeginProvePasskey(s.HTTP.Context(), in)
	if err != nil {
		return err
	}
	return s.answer(c)
}

func (k *Keeper) provePasskeyFinish(s *step) error { return k.provePasskey(s, people.StageFactor) }

func (k *Keeper) provePasskey(s *step, stage people.Stage) error {
	a, err := s.readAnswer()
	if err != nil {
		return err
	}
	in, ok, err := s.at(stage)
	if !ok {
		return err
	}
	secret, in, err := k.cfg.People.ProvePasskey(s.HTTP.Context(), in, a.Flow, a.Credential, s.where)
	return s.provenJSON(secret, in, err)
}

// stepUpPasskey is a fresh proof of who is signed in already.
func (k *Keeper) stepUpPasskey(s *step) error { return k.provePasskey(s, people.StageFull) }

func (k *Keeper) stepUpCode(s *step) error {
	in, ok, err := s.at(people.StageFull)
	if !ok {
		return err
	}
	secret, _, err := k.cfg.People.TOTP(s.HTTP.Context(), in, s.Form("code"), s.where)
	return s.steppedUp(secret, err)
}

func (k *Keeper) stepUpPassword(s *step) error {
	in, ok, err := s.at(people.StageFull)
	if !ok {
		return err
	}
	secret, _, err := k.cfg.People.StepUpPassword(s.HTTP.Context(), in, password.New(s.RawForm("password")), s.where)
	return s.steppedUp(secret, err)
}

// steppedUp tells the script to send again what asked for the proof.
func (s *step) steppedUp(secret people.Secret, err error) error {
	if err != nil {
		return s.ended(err)
	}
	s.k.Keep(s.W, secret)
	if !s.Partial() {
		return s.Done("Confirmed. Now do it again.", "/")
	}
	s.W.Header().Set("Holdfast-Step-Up", "done")
	s.W.WriteHeader(http.StatusNoContent)
	return nil
}

// replacePage asks for a new password where the old one may not be used any more.
func (k *Keeper) replacePage(s *step) error {
	if _, ok, err := s.at(people.StagePassword); !ok {
		return err
	}
	return s.Plain(http.StatusOK, "New password", replaceView(s.next))
}

func (k *Keeper) replace(s *step) error {
	in, ok, err := s.at(people.StagePassword)
	if !ok {
		return err
	}
	if err := s.same(); err != nil {
		return err
	}
	return s.proven(k.cfg.People.SetPassword(s.HTTP.Context(), in, password.New(""), password.New(s.RawForm("password")), s.where))
}

// same checks that a new password was typed twice alike.
func (s *step) same() error {
	if s.RawForm("password") != s.RawForm("again") {
		return refusal.New(refusal.Invalid, "not-the-same", "type the same password twice", "the two passwords are not the same")
	}
	return nil
}

// strength says how good a password is while it is typed, to who is setting one.
func (k *Keeper) strength(s *step) error {
	in, ok, err := s.at(people.StageEnrol, people.StagePassword, people.StageFull)
	if !ok {
		return err
	}
	text := s.RawForm("password")
	if text == "" {
		return s.Fragment(strengthView(-1, "", ""))
	}
	if len(text) > 1024 {
		text = text[:1024]
	}
	score, crack, hint := password.Strength(password.New(text), []string{in.Person.Name, in.Person.Display, in.Person.Mail})
	return s.Fragment(strengthView(score, crack, hint))
}

func (k *Keeper) signOut(s *step) error {
	if in, err := k.Resume(s.W, s.HTTP); err == nil {
		if err := k.cfg.People.SignOut(s.HTTP.Context(), in, s.where); err != nil {
			return err
		}
	}
	k.clear(s.W)
	s.W.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	return s.Redirect("/signed-out")
}

func (k *Keeper) signedOutPage(s *step) error {
	return s.Plain(http.StatusOK, "Signed out", signedOutView())
}
