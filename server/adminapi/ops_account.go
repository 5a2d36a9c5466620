package adminapi

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/refusal"
)

type ownSignIn struct {
	SignIn string `path:"signin" maxLength:"64" example:"q7mzk3a2bfxe9hgt"`
}

type passwordInput struct {
	Current string `json:"current,omitempty" maxLength:"1024" doc:"the present password; or a fresh factor takes its place"`
	Next    string `json:"next" maxLength:"1024"`
}

type passwordPost struct{ Body passwordInput }

type codeInput struct {
	Code string `json:"code" maxLength:"16" doc:"six digits of the authenticator app"`
}

type codePost struct{ Body codeInput }

type totpConfirm struct {
	Flow string `json:"flow" maxLength:"512" doc:"of the setup"`
	Code string `json:"code" maxLength:"16" doc:"six digits that the app shows"`
}

type totpPost struct{ Body totpConfirm }

type passkeyInput struct {
	Name   string         `json:"name" maxLength:"64" doc:"such as the name of the device"`
	Flow   string         `json:"flow" maxLength:"8192" doc:"of the challenge"`
	Answer map[string]any `json:"answer" doc:"the PublicKeyCredential as JSON (WebAuthn, section 5.1)"`
}

type passkeyPost struct{ Body passkeyInput }

type passkeyPath struct {
	ID string `path:"id" maxLength:"1400" doc:"base64url"`
}

type passkeyNaming struct {
	Name string `json:"name" maxLength:"64"`
}

type passkeyPut struct {
	ID   string `path:"id" maxLength:"1400" doc:"base64url"`
	Body passkeyNaming
}

// RecoveryCodes are shown this once.
type RecoveryCodes struct {
	Codes []string `json:"codes" doc:"each takes the place of a second factor once; they are never shown again"`
}

// owner is the person who calls, through a sign-in.
func owner(ctx context.Context) (access.PersonID, string, error) {
	id, err := identity(ctx)
	if err == nil && (id.Actor.Kind != access.Human || id.Session == "") {
		err = refusal.New(refusal.Forbidden, "not-a-person", "sign in as a person", "only a person who signed in has an account to look after")
	}
	return access.PersonID(id.Actor.ID), id.Session, err
}

// accountOperations adds what everybody may do with their own account.
func (a *api) accountOperations(people People, account Account) {
	a.ownAccount(people)
	a.ownSignIns(people)
	a.ownPassword(account)
	a.ownTOTP(account)
	a.ownPasskeys(account)
}

func (a *api) ownAccount(people People) {
	register(a, operation{id: "show-account", allow: access.Own, method: http.MethodGet, path: "/account", tag: "account", summary: "Show who you are",
		description: "The caller, its roles and permissions, and for a person what they sign in with.", response: exampleAccount},
		func(ctx context.Context, by access.Actor, _ *struct{}) (*body[OwnAccount], error) {
			id, err := identity(ctx)
			if err != nil {
				return nil, err
			}
			now := a.now()
			own := OwnAccount{Kind: by.Kind, ID: by.ID, Name: id.Name, Roles: present(id.Roles), Permissions: present(id.Rights.Held(now)), Privileged: id.Rights.Privileged(now),
				Method: id.Proof.Method, Strong: id.Proof.Strong, SignIn: id.Session}
			if !id.Proof.Program && !id.Proof.Fresh.IsZero() {
				own.FreshUntil = id.Proof.Fresh.Add(a.cfg.StepUp)
			}
			if by.Kind == access.Human {
				p, f, err := people.Person(ctx, access.PersonID(by.ID))
				if err != nil {
					return nil, err
				}
				f = a.viewFactors(ctx, p.ID, f)
				own.Person, own.Factors = &p, &f
			}
			return &body[OwnAccount]{own}, nil
		})
}

func (a *api) ownSignIns(people People) {
	const tag = "account"
	register(a, operation{id: "list-own-sign-ins", allow: access.Own, method: http.MethodGet, path: "/account/sign-ins", tag: tag, summary: "List your sign-ins",
		description: "Those that have not ended, newest first; the one of this request is marked.", response: list[SignIn]{[]SignIn{exampleSignIn}}},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[list[SignIn]], error) {
			id, _, err := owner(ctx)
			if err != nil {
				return nil, err
			}
			rows, err := people.SignIns(ctx, id)
			return items(rows, func(s SignIn) SignIn { return a.viewSignIn(ctx, id, s) }), err
		})
	register(a, operation{id: "end-own-sign-in", allow: access.Own, method: http.MethodDelete, path: "/account/sign-ins/{signin}", tag: tag, status: http.StatusNoContent, summary: "End one of your sign-ins",
		description: "It counts no more from the next request on. Ending your own is signing out."},
		func(ctx context.Context, by access.Actor, in *ownSignIn) (*none, error) {
			id, _, err := owner(ctx)
			if err == nil {
				err = people.EndSignIn(ctx, by, id, in.SignIn)
			}
			return nil, err
		})
	register(a, operation{id: "end-own-other-sign-ins", allow: access.Own, method: http.MethodDelete, path: "/account/sign-ins", tag: tag, status: http.StatusNoContent, summary: "Sign out everywhere else",
		description: "Ends all your sign-ins but the one of this request."},
		func(ctx context.Context, by access.Actor, _ *struct{}) (*none, error) {
			id, session, err := owner(ctx)
			if err == nil {
				err = people.EndSignIns(ctx, by, id, session, "")
			}
			return nil, err
		})
}

// own adds an operation of a person on their own account that answers nothing.
func own[I any](a *api, op operation, do func(ctx context.Context, by access.Actor, signIn string, in *I) error) {
	op.allow, op.tag, op.status = access.Own, "account", http.StatusNoContent
	register(a, op, func(ctx context.Context, by access.Actor, in *I) (*none, error) {
		_, signIn, err := owner(ctx)
		if err == nil {
			err = do(ctx, by, signIn, in)
		}
		return nil, err
	})
}

// ownGiving adds one that answers.
func ownGiving[I, O any](a *api, op operation, do func(ctx context.Context, by access.Actor, signIn string, in *I) (O, error)) {
	op.allow, op.tag = access.Own, "account"
	register(a, op, func(ctx context.Context, by access.Actor, in *I) (*body[O], error) {
		_, signIn, err := owner(ctx)
		if err != nil {
			return nil, err
		}
		out, err := do(ctx, by, signIn, in)
		return &body[O]{out}, err
	})
}

func (a *api) ownPassword(account Account) {
	own(a, operation{id: "change-own-password", method: http.MethodPost, path: "/account/password", summary: "Change your password",
		description: "Takes the present password, or a fresh factor. All your other sign-ins end. The password has to follow the rules of this installation.",
		request:     passwordInput{"the present one", "a long sentence that nobody else would say"}},
		func(ctx context.Context, by access.Actor, signIn string, in *passwordPost) error {
			return account.ChangePassword(ctx, by, signIn, password.New(in.Body.Current), password.New(in.Body.Next))
		})
	own(a, operation{id: "step-up", method: http.MethodPost, path: "/account/step-up", summary: "Prove again that it is you",
		description: "With a code of your authenticator app, on a command line. Operations that answer step-up-needed work for some minutes then. In a browser the console asks by itself.",
		request:     codeInput{"492039"}},
		func(ctx context.Context, by access.Actor, signIn string, in *codePost) error {
			return account.StepUp(ctx, by, signIn, in.Body.Code)
		})
	ownGiving(a, operation{id: "make-own-recovery-codes", method: http.MethodPost, path: "/account/recovery-codes", fresh: true, summary: "Make new recovery codes",
		description: "Ten codes, in place of all before them. The answer is the only place that they are ever shown in.", response: RecoveryCodes{[]string{"k7mz-q3a2-bfxe", "hgt4-u2nd-7c9w"}}},
		func(ctx context.Context, by access.Actor, signIn string, _ *struct{}) (RecoveryCodes, error) {
			codes, err := account.MakeRecoveryCodes(ctx, by, signIn)
			return RecoveryCodes{present(codes)}, err
		})
}

func (a *api) ownTOTP(account Account) {
	ownGiving(a, operation{id: "begin-own-totp", method: http.MethodPost, path: "/account/totp/begin", fresh: true, summary: "Begin to set up an authenticator app",
		description: "A secret for the app, as text and as QR code. It counts only once the app's first code has confirmed it, within 15 minutes.", response: exampleTOTP},
		func(ctx context.Context, _ access.Actor, signIn string, _ *struct{}) (TOTPSetup, error) {
			return account.BeginTOTP(ctx, signIn)
		})
	own(a, operation{id: "confirm-own-totp", method: http.MethodPost, path: "/account/totp", fresh: true, summary: "Confirm an authenticator app",
		description: "With the flow of the setup and the code that the app shows. It takes the place of the app before.", request: totpConfirm{exampleTOTP.Flow, "492039"}},
		func(ctx context.Context, by access.Actor, signIn string, in *totpPost) error {
			return account.ConfirmTOTP(ctx, by, signIn, in.Body.Flow, in.Body.Code)
		})
	own(a, operation{id: "remove-own-totp", method: http.MethodDelete, path: "/account/totp", fresh: true, summary: "Remove your authenticator app",
		description: "Refused when it is the last second factor of somebody whose roles need one."},
		func(ctx context.Context, by access.Actor, signIn string, _ *struct{}) error {
			return account.RemoveTOTP(ctx, by, signIn)
		})
}

func (a *api) ownPasskeys(account Account) {
	ownGiving(a, operation{id: "begin-own-passkey", method: http.MethodPost, path: "/account/passkeys/begin", fresh: true, summary: "Begin to add a passkey",
		description: "Options for the browser's navigator.credentials.create. They are good for five minutes and one answer.", response: exampleChallenge},
		func(ctx context.Context, _ access.Actor, signIn string, _ *struct{}) (Challenge, error) {
			options, flow, err := account.BeginAddPasskey(ctx, signIn)
			c := Challenge{Flow: flow}
			if err == nil {
				err = json.Unmarshal(options, &c.Options)
			}
			return c, err
		})
	own(a, operation{id: "add-own-passkey", method: http.MethodPost, path: "/account/passkeys", fresh: true, summary: "Add a passkey",
		description: "With the flow of the challenge and what the authenticator answered.",
		request:     passkeyInput{"work laptop", exampleChallenge.Flow, map[string]any{"id": "AQIDBA", "rawId": "AQIDBA", "type": "public-key", "response": map[string]any{"clientDataJSON": "e30", "attestationObject": "o2M"}}}},
		func(ctx context.Context, by access.Actor, signIn string, in *passkeyPost) error {
			answer, err := json.Marshal(in.Body.Answer)
			if err != nil {
				return err
			}
			return account.AddPasskey(ctx, by, signIn, in.Body.Name, in.Body.Flow, answer)
		})
	own(a, operation{id: "rename-own-passkey", method: http.MethodPut, path: "/account/passkeys/{id}", summary: "Rename a passkey",
		description: "Gives it another name; it stays the same passkey.", request: passkeyNaming{"old laptop"}},
		func(ctx context.Context, by access.Actor, signIn string, in *passkeyPut) error {
			return account.RenamePasskey(ctx, by, signIn, in.ID, in.Body.Name)
		})
	own(a, operation{id: "remove-own-passkey", method: http.MethodDelete, path: "/account/passkeys/{id}", fresh: true, summary: "Remove a passkey",
		description: "Refused when it is the last second factor of somebody whose roles need one, or the last way to sign in."},
		func(ctx context.Context, by access.Actor, signIn string, in *passkeyPath) error {
			return account.RemovePasskey(ctx, by, signIn, in.ID)
		})
}
