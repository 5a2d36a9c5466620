package adminapi

import (
	"context"
	"encoding/json"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
)

// PeopleFilter selects people, by name.
type PeopleFilter struct {
	State  access.PersonState // empty: all but those erased
	Origin string
	Prefix string          // of the name
	After  access.PersonID // the last one seen
	Limit  int             // 1 to 1000
}

// PersonInput describes an account.
type PersonInput struct {
	Name       string `json:"name" maxLength:"128" doc:"what they sign in with: lower case, often a mail address"`
	Display    string `json:"display,omitempty" maxLength:"128" doc:"how they are shown"`
	Mail       string `json:"mail,omitempty" maxLength:"254"`
	BreakGlass bool   `json:"break_glass,omitempty" doc:"for emergencies: each use raises an alarm, and it is never disabled for lack of use"`
}

// Invited is an account with the link that its person begins with.
type Invited struct {
	Person    access.Person `json:"person"`
	Link      string        `json:"link" doc:"for this person alone: who opens it becomes them. It is never shown again"`
	ExpiresAt time.Time     `json:"expires_at"`
}

// PersonFactors are what a person signs in with, without any secret.
type PersonFactors struct {
	Password      bool      `json:"password"`
	PasswordAt    time.Time `json:"password_at,omitzero" doc:"when it was set; absent: it has to be replaced at the next sign-in"`
	TOTP          bool      `json:"totp" doc:"an authenticator app"`
	Passkeys      []Passkey `json:"passkeys"`
	RecoveryCodes int       `json:"recovery_codes" doc:"that were not used"`
}

// Passkey is a passkey of a person.
type Passkey struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	UsedAt    time.Time `json:"used_at,omitzero"`
}

// SignIn is a person in front of a browser or a command line.
type SignIn struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind" enum:"console,cli"`
	Stage     string    `json:"stage" enum:"factor,enrol,password,full" doc:"full, or what it waits for"`
	Methods   []string  `json:"methods" doc:"what was proven, in its order"`
	Strong    bool      `json:"strong" doc:"a second factor, or one that resists phishing, was proven"`
	CreatedAt time.Time `json:"created_at"`
	SeenAt    time.Time `json:"seen_at"`
	FreshAt   time.Time `json:"fresh_at,omitzero" doc:"when a factor was last proven"`
	ExpiresAt time.Time `json:"expires_at" doc:"if nothing more happens"`
	Source    string    `json:"source,omitempty" doc:"network address"`
	Device    string    `json:"device,omitempty" doc:"such as: Firefox on Windows"`
	Own       bool      `json:"own,omitempty" doc:"this request belongs to it"`
}

// PersonSignIn is a sign-in, and whose it is.
type PersonSignIn struct {
	SignIn
	Person   access.PersonID `json:"person"`
	Name     string          `json:"name,omitempty" doc:"how the person is shown"`
	NewPlace bool            `json:"new_place,omitempty" doc:"it was their first from this network and kind of browser, and they had signed in from elsewhere before"`
}

// People manages accounts of people. Errors are as for Types. What is personal is
// left out afterwards for callers who may not see it.
type People interface {
	People(ctx context.Context, f PeopleFilter) (list []access.Person, next access.PersonID, err error)
	Person(ctx context.Context, id access.PersonID) (access.Person, PersonFactors, error)
	InvitePerson(ctx context.Context, by access.Actor, in PersonInput) (Invited, error)
	ReinvitePerson(ctx context.Context, by access.Actor, id access.PersonID, reason string) (Invited, error)
	UpdatePerson(ctx context.Context, by access.Actor, p access.Person) (access.Person, error) // name, display, mail, break-glass
	// MovePerson disables, enables (to active) or erases.
	MovePerson(ctx context.Context, by access.Actor, id access.PersonID, to access.PersonState, reason string) (access.Person, error)
	SignIns(ctx context.Context, id access.PersonID) ([]SignIn, error)
	// AllSignIns lists those of everybody, newest first, from behind an id on (empty: the newest).
	AllSignIns(ctx context.Context, before string, limit int) ([]PersonSignIn, error)
	EndSignIn(ctx context.Context, by access.Actor, id access.PersonID, signIn string) error
	EndSignIns(ctx context.Context, by access.Actor, id access.PersonID, but, reason string) error // all but one (empty: all)
}

// TOTPSetup is what an authenticator app has to be told.
type TOTPSetup struct {
	URI    string `json:"uri" doc:"otpauth URI, the content of the QR code"`
	Secret string `json:"secret" doc:"the same for typing"`
	SVG    string `json:"svg" doc:"the QR code"`
	Flow   string `json:"flow" doc:"to be sent back with the first code"`
}

// Challenge is what a browser hands to an authenticator.
type Challenge struct {
	Options map[string]any `json:"options" doc:"for navigator.credentials.create or get (WebAuthn)"`
	Flow    string         `json:"flow" doc:"to be sent back with the answer"`
}

// Account lets people look after what they sign in with. signIn is the id of the
// caller's sign-in; methods say by themselves where a fresh factor is needed
// (Forbidden "step-up-needed").
type Account interface {
	StepUp(ctx context.Context, by access.Actor, signIn, code string) error // of a command line: a browser gets a new cookie, from the console
	ChangePassword(ctx context.Context, by access.Actor, signIn string, current, next password.Secret) error
	BeginTOTP(ctx context.Context, signIn string) (TOTPSetup, error)
	ConfirmTOTP(ctx context.Context, by access.Actor, signIn, flow, code string) error
	RemoveTOTP(ctx context.Context, by access.Actor, signIn string) error
	BeginAddPasskey(ctx context.Context, signIn string) (options json.RawMessage, flow string, err error)
	AddPasskey(ctx context.Context, by access.Actor, signIn, name, flow string, answer []byte) error
	RenamePasskey(ctx context.Context, by access.Actor, signIn, id, name string) error
	RemovePasskey(ctx context.Context, by access.Actor, signIn, id string) error
	MakeRecoveryCodes(ctx context.Context, by access.Actor, signIn string) ([]string, error)
}

// OwnAccount is who calls, and what they may do.
type OwnAccount struct {
	Kind        access.Kind         `json:"kind" enum:"person,client"`
	ID          string              `json:"id"`
	Name        string              `json:"name"`
	Person      *access.Person      `json:"person,omitempty" doc:"absent for programs"`
	Factors     *PersonFactors      `json:"factors,omitempty" doc:"absent for programs"`
	Roles       []string            `json:"roles"`
	Permissions []access.Permission `json:"permissions" doc:"held for any part of the fleet"`
	Privileged  bool                `json:"privileged" doc:"any of them needs a second factor"`
	Method      string              `json:"method" doc:"how the caller was proven"`
	Strong      bool                `json:"strong" doc:"a second factor, or one that resists phishing, was proven"`
	FreshUntil  time.Time           `json:"fresh_until,omitzero" doc:"until then no step-up is needed"`
	SignIn      string              `json:"sign_in,omitempty" doc:"id of the sign-in that this request belongs to"`
}
