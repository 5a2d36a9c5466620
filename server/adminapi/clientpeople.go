package adminapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/holdfast-iot/holdfast/access"
)

// People lists one page of people, by name.
func (c *Client) People(ctx context.Context, f PeopleFilter) (PersonList, error) {
	q := url.Values{}
	set(q, "state", string(f.State))
	set(q, "origin", f.Origin)
	set(q, "prefix", f.Prefix)
	set(q, "after", string(f.After))
	setInt(q, "limit", int64(f.Limit))
	return call[PersonList](ctx, c, http.MethodGet, "people", q, nil)
}

// Person shows a person and what they sign in with.
func (c *Client) Person(ctx context.Context, id access.PersonID) (PersonDetails, error) {
	return call[PersonDetails](ctx, c, http.MethodGet, join("people", string(id)), nil, nil)
}

// InvitePerson makes an account and the link that its person begins with.
func (c *Client) InvitePerson(ctx context.Context, in PersonInput) (Invited, error) {
	return call[Invited](ctx, c, http.MethodPost, "people", nil, in)
}

// ReinvitePerson removes all that a person signs in with and makes a new link.
func (c *Client) ReinvitePerson(ctx context.Context, id access.PersonID, reason string) (Invited, error) {
	return call[Invited](ctx, c, http.MethodPost, join("people", string(id), "reinvite"), nil, reasoned{reason})
}

// UpdatePerson writes every field of in; version is the one they were read with.
func (c *Client) UpdatePerson(ctx context.Context, id access.PersonID, version int64, in PersonInput) (access.Person, error) {
	return call[access.Person](ctx, c, http.MethodPut, join("people", string(id)), nil, personUpdate{version, in})
}

// DisablePerson ends all sign-ins of a person and lets none begin.
func (c *Client) DisablePerson(ctx context.Context, id access.PersonID, reason string) (access.Person, error) {
	return c.movePerson(ctx, id, "disable", reason)
}

// EnablePerson lets a disabled person sign in again.
func (c *Client) EnablePerson(ctx context.Context, id access.PersonID, reason string) (access.Person, error) {
	return c.movePerson(ctx, id, "enable", reason)
}

// ErasePerson replaces what is personal about a person; it cannot be undone.
func (c *Client) ErasePerson(ctx context.Context, id access.PersonID, reason string) (access.Person, error) {
	return c.movePerson(ctx, id, "erase", reason)
}

func (c *Client) movePerson(ctx context.Context, id access.PersonID, verb, reason string) (access.Person, error) {
	return call[access.Person](ctx, c, http.MethodPost, join("people", string(id), verb), nil, reasoned{reason})
}

// PersonSignIns lists a person's sign-ins.
func (c *Client) PersonSignIns(ctx context.Context, id access.PersonID) ([]SignIn, error) {
	l, err := call[list[SignIn]](ctx, c, http.MethodGet, join("people", string(id), "sign-ins"), nil, nil)
	return l.Items, err
}

// SignIns lists one page of who is signed in, newest first, from behind the id
// before on; limit 0 is 100.
func (c *Client) SignIns(ctx context.Context, before string, limit int) (SignInList, error) {
	q := url.Values{}
	set(q, "before", before)
	setInt(q, "limit", int64(limit))
	return call[SignInList](ctx, c, http.MethodGet, "sign-ins", q, nil)
}

// EndPersonSignIn ends one sign-in of a person.
func (c *Client) EndPersonSignIn(ctx context.Context, id access.PersonID, signIn string) error {
	_, err := call[empty](ctx, c, http.MethodDelete, join("people", string(id), "sign-ins", signIn), nil, nil)
	return err
}

// EndPersonSignIns signs a person out everywhere.
func (c *Client) EndPersonSignIns(ctx context.Context, id access.PersonID, reason string) error {
	q := url.Values{}
	set(q, "reason", reason)
	_, err := call[empty](ctx, c, http.MethodDelete, join("people", string(id), "sign-ins"), q, nil)
	return err
}

// Account shows who the caller is and what they may do.
func (c *Client) Account(ctx context.Context) (OwnAccount, error) {
	return call[OwnAccount](ctx, c, http.MethodGet, "account", nil, nil)
}

// OwnSignIns lists the caller's sign-ins.
func (c *Client) OwnSignIns(ctx context.Context) ([]SignIn, error) {
	l, err := call[list[SignIn]](ctx, c, http.MethodGet, join("account", "sign-ins"), nil, nil)
	return l.Items, err
}

// EndOwnSignIn ends one of the caller's sign-ins.
func (c *Client) EndOwnSignIn(ctx context.Context, signIn string) error {
	return c.own(ctx, http.MethodDelete, join("account", "sign-ins", signIn), nil)
}

// EndOwnOtherSignIns ends all of the caller's sign-ins but the present one.
func (c *Client) EndOwnOtherSignIns(ctx context.Context) error {
	return c.own(ctx, http.MethodDelete, join("account", "sign-ins"), nil)
}

func (c *Client) own(ctx context.Context, method, path string, in any) error {
	_, err := call[empty](ctx, c, method, path, nil, in)
	return err
}

// StepUp proves the caller again, with a code of the authenticator app.
func (c *Client) StepUp(ctx context.Context, code string) error {
	return c.own(ctx, http.MethodPost, join("account", "step-up"), codeInput{code})
}

// ChangeOwnPassword replaces the caller's password; current may be empty while a
// factor is fresh.
func (c *Client) ChangeOwnPassword(ctx context.Context, current, next string) error {
	return c.own(ctx, http.MethodPost, join("account", "password"), passwordInput{current, next})
}

// BeginOwnTOTP makes the secret of an authenticator app.
func (c *Client) BeginOwnTOTP(ctx context.Context) (TOTPSetup, error) {
	return call[TOTPSetup](ctx, c, http.MethodPost, join("account", "totp", "begin"), nil, nil)
}

// ConfirmOwnTOTP keeps it, with the first code.
func (c *Client) ConfirmOwnTOTP(ctx context.Context, flow, code string) error {
	return c.own(ctx, http.MethodPost, join("account", "totp"), totpConfirm{flow, code})
}

// RemoveOwnTOTP forgets the authenticator app.
func (c *Client) RemoveOwnTOTP(ctx context.Context) error {
	return c.own(ctx, http.MethodDelete, join("account", "totp"), nil)
}

// BeginOwnPasskey asks for a new passkey.
func (c *Client) BeginOwnPasskey(ctx context.Context) (Challenge, error) {
	return call[Challenge](ctx, c, http.MethodPost, join("account", "passkeys", "begin"), nil, nil)
}

// AddOwnPasskey keeps a new passkey; answer is the PublicKeyCredential as JSON.
func (c *Client) AddOwnPasskey(ctx context.Context, name, flow string, answer json.RawMessage) error {
	in := passkeyInput{Name: name, Flow: flow}
	if err := json.Unmarshal(answer, &in.Answer); err != nil {
		return fmt.Errorf("reading the authenticator's answer: %w", err)
	}
	return c.own(ctx, http.MethodPost, join("account", "passkeys"), in)
}

// RenameOwnPasskey gives a passkey of the caller another name.
func (c *Client) RenameOwnPasskey(ctx context.Context, id, name string) error {
	return c.own(ctx, http.MethodPut, join("account", "passkeys", id), passkeyNaming{name})
}

// RemoveOwnPasskey forgets a passkey of the caller.
func (c *Client) RemoveOwnPasskey(ctx context.Context, id string) error {
	return c.own(ctx, http.MethodDelete, join("account", "passkeys", id), nil)
}

// MakeOwnRecoveryCodes replaces the caller's recovery codes.
func (c *Client) MakeOwnRecoveryCodes(ctx context.Context) ([]string, error) {
	v, err := call[RecoveryCodes](ctx, c, http.MethodPost, join("account", "recovery-codes"), nil, nil)
	return v.Codes, err
}
