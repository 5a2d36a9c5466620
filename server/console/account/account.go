// Package account is what people see of their own account: what they sign in
// with, and where they are signed in.
//
// It promises that nobody reaches anybody's account but their own: the account is
// never named in a request. It trusts package people for what may be changed, and
// for asking a fresh factor first.
package account

import (
	"context"
	"slices"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/console/signin"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/people"
)

// account is the handlers' engine.
type account struct {
	k *signin.Keeper
	p *people.People
}

// Mount adds the pages.
func Mount(m *ui.Mux, k *signin.Keeper) {
	a := account{k, k.People()}
	s := m.In("account")
	s.Page("GET /account", a.show)
	s.Page("GET /step-up", func(*ui.Request) error { return access.StepUp() })
	s.Page("POST /account/password", a.setPassword)
	s.Page("GET /account/password", a.passwordPage)
	s.Page("GET /account/app", a.appPage)
	s.Page("POST /account/app", a.confirmApp)
	s.Page("GET /account/app/remove", a.askRemoveApp)
	s.Page("POST /account/app/remove", a.removeApp)
	s.Page("GET /account/recovery-codes", a.askCodes)
	s.Page("POST /account/recovery-codes", a.makeCodes)
	s.Page("GET /account/passkeys/new", a.newPasskey)
	s.Page("GET /account/passkeys/{id}", a.askPasskey)
	s.Page("POST /account/passkeys/{id}/rename", a.renamePasskey)
	s.Page("GET /account/passkeys/{id}/remove", a.askRemovePasskey)
	s.Page("POST /account/passkeys/{id}/remove", a.removePasskey)
	s.Page("GET /account/sign-ins", a.signIns)
	s.Page("POST /account/sign-ins/{id}/end", a.end)
	s.Page("GET /account/sign-ins/others/end", a.askEndOthers)
	s.Page("POST /account/sign-ins/others/end", a.endOthers)
}

var crumbs = []ui.Link{{Text: "Your account", Href: "/account"}}

// in is the sign-in of the request, and where it came from.
func (a account) in(r *ui.Request) (people.SignIn, people.Where) {
	return signin.Of(r.HTTP), a.k.Where(r.HTTP)
}

func (a account) show(r *ui.Request) error {
	in, _ := a.in(r)
	f, err := a.p.Factors(r.Context(), in.Person.ID)
	if err != nil {
		return err
	}
	own, unread := r.API.OwnApprovals(r.Context()) // who looks after their factors need not wait for that
	asked := slices.DeleteFunc(own, func(a access.Approval) bool { return a.State != access.ApprovalWaiting })
	held := r.Identity.Rights.Held(r.Now)
	return r.Page(ui.Page{Title: "Your account", Tabs: tabs("")}, accountView(in, f, r.Identity.Roles, held, asked, unread))
}

func tabs(active string) []ui.Tab {
	return []ui.Tab{{Text: "Account", Href: "/account", Active: active == ""}, {Text: "Sign-ins", Href: "/account/sign-ins", Active: active == "sign-ins"}}
}

func (a account) passwordPage(r *ui.Request) error {
	in, _ := a.in(r)
	return r.Page(ui.Page{Title: "Change password", Narrow: true, Crumbs: crumbs}, passwordView(in))
}

func (a account) setPassword(r *ui.Request) error {
	in, at := a.in(r)
	if r.RawForm("password") != r.RawForm("again") {
		return refusal.New(refusal.Invalid, "not-the-same", "type the same password twice", "the two passwords are not the same")
	}
	secret, _, err := a.p.SetPassword(r.Context(), in, password.New(r.RawForm("current")), password.New(r.RawForm("password")), at)
	if err != nil {
		return shown(err)
	}
	a.k.Keep(r.W, secret)
	return r.Done("Your password is changed. You are signed out everywhere else.", "/account")
}

// shown keeps a wrong password from looking like a sign-in that ended.
func shown(err error) error {
	if ref := refusal.As(err); ref != nil && ref.Kind == refusal.Unauthenticated && ref.Code != "not-signed-in" {
		return refusal.New(refusal.Invalid, ref.Code, ref.Fix, "%s", ref.Detail)
	}
	return err
}

func (a account) appPage(r *ui.Request) error {
	in, _ := a.in(r)
	setup, err := a.p.BeginTOTP(r.Context(), in)
	if err != nil {
		return err
	}
	return r.Page(ui.Page{Title: "Authenticator app", Narrow: true, Crumbs: crumbs, Lead: "Scan this with the app. If you have one already, the new one replaces it."}, appView(setup))
}

func (a account) confirmApp(r *ui.Request) error {
	in, at := a.in(r)
	secret, in, err := a.p.ConfirmTOTP(r.Context(), in, r.Form("flow"), r.Form("code"), at)
	if err != nil {
		return shown(err)
	}
	a.k.Keep(r.W, secret)
	f, err := a.p.Factors(r.Context(), in.Person.ID)
	if err != nil || f.RecoveryCodes > 0 {
		return r.Done("Your authenticator app is set up.", "/account")
	}
	return a.show10(r, in, at)
}

func (a account) askRemoveApp(r *ui.Request) error {
	return r.Dialog(ui.Confirm{ID: "remove-app", Title: "Remove the authenticator app?", Action: "/account/app/remove", Verb: "Remove", Kind: ui.Danger,
		Consequences: []string{"Its codes do not work any more.", "You need a passkey to sign in, if your role asks for a second factor."}, Undo: "You can set up an app again at any time."})
}

func (a account) removeApp(r *ui.Request) error {
	in, at := a.in(r)
	if err := a.p.RemoveTOTP(r.Context(), in, at); err != nil {
		return err
	}
	return r.Done("The authenticator app is removed.", "/account")
}

func (a account) askCodes(r *ui.Request) error {
	return r.Dialog(ui.Confirm{ID: "codes", Title: "Make new recovery codes?", Action: "/account/recovery-codes", Verb: "Make ten codes", Kind: ui.Primary,
		Consequences: []string{"Ten new codes are shown once.", "All codes that you have kept so far stop working."}})
}

func (a account) makeCodes(r *ui.Request) error {
	in, at := a.in(r)
	return a.show10(r, in, at)
}

func (a account) show10(r *ui.Request, in people.SignIn, at people.Where) error {
	codes, err := a.p.MakeRecoveryCodes(r.Context(), in, at)
	if err != nil {
		return err
	}
	return r.Result(ui.Page{Title: "Recovery codes", Narrow: true, Crumbs: crumbs, Lead: "Each works once in place of your authenticator app. They are never shown again."}, codesView(codes))
}

func (a account) newPasskey(r *ui.Request) error {
	return r.Page(ui.Page{Title: "Add a passkey", Narrow: true, Crumbs: crumbs, Lead: "Your fingerprint, face or security key instead of a password."}, newPasskeyView(people.Device(r.HTTP.UserAgent())))
}

// passkey finds one of the person's own.
func (a account) passkey(ctx context.Context, in people.SignIn, id string) (people.Passkey, error) {
	f, err := a.p.Factors(ctx, in.Person.ID)
	if err != nil {
		return people.Passkey{}, err
	}
	i := slices.IndexFunc(f.Passkeys, func(p people.Passkey) bool { return p.ID == id })
	if i < 0 {
		return people.Passkey{}, ui.NotFound()
	}
	return f.Passkeys[i], nil
}

func (a account) askPasskey(r *ui.Request) error {
	in, _ := a.in(r)
	p, err := a.passkey(r.Context(), in, r.Value("id"))
	if err != nil {
		return err
	}
	return r.Dialog(ui.Confirm{ID: "passkey", Title: "Name of this passkey", Action: passkeyPath(p.ID, "rename"), Verb: "Save", Kind: ui.Primary,
		Body: ui.Field(ui.FieldProps{Form: "passkey-form", Name: "name", Label: "Name", Value: p.Name, Max: 64, Required: true, Focus: true})})
}

func (a account) renamePasskey(r *ui.Request) error {
	in, at := a.in(r)
	if err := a.p.RenamePasskey(r.Context(), in, r.Value("id"), r.Form("name"), at); err != nil {
		return err
	}
	return r.Done("The passkey is renamed.", "/account")
}

func (a account) askRemovePasskey(r *ui.Request) error {
	in, _ := a.in(r)
	p, err := a.passkey(r.Context(), in, r.Value("id"))
	if err != nil {
		return err
	}
	return r.Dialog(ui.Confirm{ID: "remove-passkey", Title: "Remove the passkey " + p.Name + "?", Action: passkeyPath(p.ID, "remove"), Verb: "Remove", Kind: ui.Danger,
		Consequences: []string{"Nobody can sign in with it any more.", "The device it is on keeps it until you delete it there."}})
}

func (a account) removePasskey(r *ui.Request) error {
	in, at := a.in(r)
	if err := a.p.RemovePasskey(r.Context(), in, r.Value("id"), at); err != nil {
		return err
	}
	return r.Done("The passkey is removed.", "/account")
}
