package people

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Bounds on passkeys and what browsers send about them.
const (
	maxPasskeys     = 20       // of a person
	maxPasskeyName  = 64       // bytes
	maxAnswer       = 64 << 10 // of an authenticator, as JSON, in bytes
	maxFlow         = 8 << 10
	ceremonyTime    = 5 * time.Minute
	ceremonyTimeout = ceremonyTime - 30*time.Second // what browsers are told
)

// relyingParty is this installation as authenticators know it; nil without a
// host name.
func relyingParty(cfg Config) (*webauthn.WebAuthn, error) {
	if cfg.RPID == "" {
		return nil, nil
	}
	if _, err := netip.ParseAddr(cfg.RPID); err == nil {
		return nil, nil
	}
	limit := webauthn.TimeoutConfig{Timeout: ceremonyTimeout, TimeoutUVD: ceremonyTimeout}
	required := true
	return webauthn.New(&webauthn.Config{RPID: cfg.RPID, RPDisplayName: cfg.RPName, RPOrigins: cfg.Origins,
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: &required,
			UserVerification: protocol.VerificationRequired},
		Timeouts: webauthn.TimeoutsConfig{Login: limit, Registration: limit}})
}

// PasskeysWork tells whether passkeys can be used here at all: browsers have none
// for an address of numbers.
func (p *People) PasskeysWork() bool { return p.web != nil }

func noPasskeys() error {
	return refusal.New(refusal.Unavailable, "no-passkeys", "open the console by its host name", "passkeys do not work here: they belong to a host name")
}

// badPasskey is the one answer to a passkey that is not good, whatever is wrong.
func badPasskey() error {
	return refusal.New(refusal.Unauthenticated, "passkey-refused", "try again, or use another way to sign in", "this passkey was not accepted")
}

// Challenge is what a browser hands to an authenticator: Options for
// navigator.credentials.create or get, and Flow to be handed back with the
// answer. Flow is sealed: a challenge costs the server no memory and no write.
type Challenge struct {
	Options json.RawMessage `json:"options"`
	Flow    string          `json:"flow"`
}

// The purposes of a challenge. An answer to one is none to another.
const (
	toSignIn = "sign-in"
	toProve  = "prove"
	toEnrol  = "enrol"
)

// flow is what is sealed until the answer comes.
type flow struct {
	Purpose string               `json:"p"`
	SignIn  string               `json:"s,omitempty"` // id of the sign-in that asked
	Expires int64                `json:"e"`           // seconds since 1970
	Session webauthn.SessionData `json:"d"`
}

// holder is a person as package webauthn knows them.
type holder struct {
	person access.Person
	handle []byte
	rows   []sqlstore.Passkey
	keys   []webauthn.Credential
}

func (h *holder) WebAuthnID() []byte                         { return h.handle }
func (h *holder) WebAuthnName() string                       { return h.person.Name }
func (h *holder) WebAuthnDisplayName() string                { return h.person.Shown() }
func (h *holder) WebAuthnCredentials() []webauthn.Credential { return h.keys }

func (p *People) holder(ctx context.Context, person access.Person, proofs sqlstore.Proofs) (*holder, error) {
	rows, err := p.cfg.Store.Passkeys(ctx, person.ID)
	if err != nil {
		return nil, err
	}
	h := &holder{person: person, handle: proofs.Handle, rows: rows, keys: make([]webauthn.Credential, len(rows))}
	for i, row := range rows {
		if err := json.Unmarshal(row.Credential, &h.keys[i]); err != nil {
			return nil, fmt.Errorf("reading a passkey of %s: %w", person.ID, err)
		}
	}
	return h, nil
}

// challenge draws 32 random bytes.
func (p *People) challenge() (protocol.URLEncodedBase64, error) {
	c := make([]byte, 32)
	_, err := io.ReadFull(p.cfg.Random, c)
	return c, err
}

// sealFlow makes what the browser hands back.
func (p *People) sealFlow(purpose, signIn string, session *webauthn.SessionData, options any) (Challenge, error) {
	plain, err := json.Marshal(flow{purpose, signIn, p.now().Add(ceremonyTime).Unix(), *session})
	if err != nil {
		return Challenge{}, err
	}
	sealed, err := p.cfg.Seal(plain, []byte("passkey:"+purpose))
	if err != nil {
		return Challenge{}, err
	}
	text, err := json.Marshal(options)
	return Challenge{text, base64.RawURLEncoding.EncodeToString(sealed)}, err
}

// ticket is a challenge that can be answered once.
type ticket struct {
	id    string
	until time.Time
}

func (t ticket) spend() sqlstore.PersonStep { return sqlstore.UseOnce("passkey", t.id, t.until) }

// openFlow checks what the browser handed back.
func (p *People) openFlow(purpose, signIn, text string) (webauthn.SessionData, ticket, error) {
	var f flow
	if len(text) > maxFlow {
		return f.Session, ticket{}, badPasskey()
	}
	sealed, err := base64.RawURLEncoding.DecodeString(text)
	var plain []byte
	if err == nil {
		plain, err = p.cfg.Open(sealed, []byte("passkey:"+purpose))
	}
	if err != nil || json.Unmarshal(plain, &f) != nil || f.Purpose != purpose || f.SignIn != signIn || f.Session.Challenge == "" || p.now().Unix() >= f.Expires {
		return f.Session, ticket{}, refusal.New(refusal.Unauthenticated, "passkey-expired", "try again", "this took too long, or belongs to another sign-in")
	}
	sum := sha256.Sum256([]byte(f.Session.Challenge))
	return f.Session, ticket{base64.RawURLEncoding.EncodeToString(sum[:]), time.Unix(f.Expires, 0)}, nil
}

// BeginPasskey asks for any passkey of anybody (a discoverable credential): for
// signing in without a name. It stores nothing.
func (p *People) BeginPasskey(context.Context) (Challenge, error) {
	if p.web == nil {
		return Challenge{}, noPasskeys()
	}
	c, err := p.challenge()
	if err != nil {
		return Challenge{}, err
	}
	options, session, err := p.web.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired), webauthn.WithChallenge(c))
	if err != nil {
		return Challenge{}, fmt.Errorf("asking for a passkey: %w", err)
	}
	return p.sealFlow(toSignIn, "", session, options)
}

// Passkey signs in with a passkey alone: it is something that the person has, and
// that checked who holds it.
func (p *People) Passkey(ctx context.Context, flow string, answer []byte, at Where) (Secret, SignIn, error) {
	none := func(err error) (Secret, SignIn, error) { return Secret{}, SignIn{}, err }
	if p.web == nil {
		return none(noPasskeys())
	}
	session, once, err := p.openFlow(toSignIn, "", flow)
	if err != nil {
		return none(err)
	}
	parsed, err := parseAssertion(answer)
	if err != nil {
		return none(p.refusedPasskey(ctx, stranger(at), "", err))
	}
	var h *holder
	var proofs sqlstore.Proofs
	var broken error // something of ours went wrong: not the passkey
	_, key, err := p.web.ValidatePasskeyLogin(func(_, handle []byte) (webauthn.User, error) {
		var person access.Person
		if person, proofs, broken = p.cfg.Store.PersonByHandle(ctx, handle); broken == nil {
			h, broken = p.holder(ctx, person, proofs)
		}
		if errors.Is(broken, sqlstore.ErrNotFound) {
			broken = nil
			return nil, sqlstore.ErrNotFound
		}
		return h, broken
	}, session, parsed)
	switch {
	case broken != nil:
		return none(broken)
	case err != nil || h == nil:
		return none(p.refusedPasskey(ctx, stranger(at), "", err))
	case h.person.State != access.PersonActive:
		return none(p.refusedPasskey(ctx, stranger(at), h.person.ID, errors.New("the account is not active")))
	case h.person.Origin != Local: // it is a second factor: who left the organisation must not have a way around it
		_ = p.refusedPasskey(ctx, stranger(at), h.person.ID, errors.New("the account signs in through "+h.person.Origin))
		return none(refusal.New(refusal.Forbidden, "sign-in-at-provider", "use the button of your organisation, then your passkey if you are asked for it", "this account signs in through its organisation"))
	}
	use, err := p.useKey(ctx, h, key, once, at)
	if err != nil {
		return none(err)
	}
	return p.advance(ctx, step{person: h.person, proofs: proofs, kind: Console, method: ByPasskey, strong: true, keep: true, at: at,
		spent: []sqlstore.PersonStep{once.spend(), use}})
}

func (p *People) refusedPasskey(ctx context.Context, by access.Actor, id access.PersonID, why error) error {
	text := "the answer is not valid"
	if why != nil {
		text = why.Error()
	}
	p.cfg.Refuse(ctx, p.event(by, "person.sign_in_refused", id, "method", ByPasskey), text)
	return badPasskey()
}

// parseAssertion reads what an authenticator answered to a challenge.
func parseAssertion(answer []byte) (*protocol.ParsedCredentialAssertionData, error) {
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("the answer has %d bytes", len(answer))
	}
	return protocol.ParseCredentialRequestResponseBytes(answer)
}

// useKey is the step that moves the counter of a passkey on. One that went back
// in answer to a new challenge means that two devices have the key: it signs
// nobody in.
func (p *People) useKey(ctx context.Context, h *holder, key *webauthn.Credential, once ticket, at Where) (sqlstore.PersonStep, error) {
	id := base64.RawURLEncoding.EncodeToString(key.ID)
	if key.Authenticator.CloneWarning {
		first, err := p.cfg.Store.Once(ctx, "passkey", once.id, once.until)
		if err != nil {
			return nil, err
		}
		if !first {
			return nil, lost(sqlstore.ErrSpent)
		}
		p.alarm(ctx, NoticeCloned, h.person, at, "")
		return nil, p.refusedPasskey(ctx, self(h.person.ID, at), h.person.ID, errors.New("the passkey's counter went back: there may be a copy of it"))
	}
	for _, row := range h.rows {
		if row.ID == id {
			record, err := recordOf(key)
			return sqlstore.UsePasskey(id, row.Credential, record, p.now()), err
		}
	}
	return nil, badPasskey()
}

// recordOf is a passkey as it is stored: without the attestation, which was not
// asked for and would tell its model.
func recordOf(key *webauthn.Credential) ([]byte, error) {
	k := *key
	k.Attestation = webauthn.CredentialAttestation{}
	return json.Marshal(k)
}

// BeginProvePasskey asks for a passkey of the person of a sign-in: as second
// factor at StageFactor, as a fresh proof at StageFull.
func (p *People) BeginProvePasskey(ctx context.Context, in SignIn) (Challenge, error) {
	if p.web == nil {
		return Challenge{}, noPasskeys()
	}
	if in.Stage != StageFactor && in.Stage != StageFull {
		return Challenge{}, wrongStage(in.Stage)
	}
	person, proofs, err := p.cfg.Store.Person(ctx, in.Person.ID)
	if err != nil {
		return Challenge{}, err
	}
	h, err := p.holder(ctx, person, proofs)
	if err != nil {
		return Challenge{}, err
	}
	if len(h.keys) == 0 {
		return Challenge{}, refusal.New(refusal.Conflict, "no-passkey", "use another way", "this account has no passkey")
	}
	c, err := p.challenge()
	if err != nil {
		return Challenge{}, err
	}
	options, session, err := p.web.BeginLogin(h, webauthn.WithUserVerification(protocol.VerificationRequired), webauthn.WithChallenge(c))
	if err != nil {
		return Challenge{}, fmt.Errorf("asking for a passkey: %w", err)
	}
	return p.sealFlow(toProve, in.ID, session, options)
}

// ProvePasskey takes the answer to BeginProvePasskey.
func (p *People) ProvePasskey(ctx context.Context, in SignIn, flow string, answer []byte, at Where) (Secret, SignIn, error) {
	none := func(err error) (Secret, SignIn, error) { return Secret{}, SignIn{}, err }
	if p.web == nil {
		return none(noPasskeys())
	}
	if in.Stage != StageFactor && in.Stage != StageFull {
		return none(wrongStage(in.Stage))
	}
	session, once, err := p.openFlow(toProve, in.ID, flow)
	if err != nil {
		return none(err)
	}
	person, proofs, err := p.cfg.Store.Person(ctx, in.Person.ID)
	if err != nil {
		return none(err)
	}
	h, err := p.holder(ctx, person, proofs)
	if err != nil {
		return none(err)
	}
	parsed, err := parseAssertion(answer)
	var key *webauthn.Credential
	if err == nil {
		key, err = p.web.ValidateLogin(h, session, parsed)
	}
	if err != nil {
		return none(p.refusedPasskey(ctx, self(person.ID, at), person.ID, err))
	}
	use, err := p.useKey(ctx, h, key, once, at)
	if err != nil {
		return none(err)
	}
	st := p.going(in, person, proofs, at)
	st.method, st.strong, st.keep, st.spent = ByPasskey, true, true, []sqlstore.PersonStep{once.spend(), use}
	p.stepped(&st, in)
	return p.advance(ctx, st)
}

// BeginAddPasskey asks an authenticator for a new passkey.
func (p *People) BeginAddPasskey(ctx context.Context, in SignIn) (Challenge, error) {
	if p.web == nil {
		return Challenge{}, noPasskeys()
	}
	person, proofs, err := p.mayEnrol(ctx, in)
	if err != nil {
		return Challenge{}, err
	}
	h, err := p.holder(ctx, person, proofs)
	if err != nil {
		return Challenge{}, err
	}
	if len(h.keys) >= maxPasskeys {
		return Challenge{}, tooManyPasskeys()
	}
	c, err := p.challenge()
	if err != nil {
		return Challenge{}, err
	}
	known := make([]protocol.CredentialDescriptor, len(h.keys))
	for i := range h.keys {
		known[i] = h.keys[i].Descriptor()
	}
	options, session, err := p.web.BeginRegistration(h, webauthn.WithExclusions(known),
		func(o *protocol.PublicKeyCredentialCreationOptions) error { o.Challenge = c; return nil })
	if err != nil {
		return Challenge{}, fmt.Errorf("asking for a new passkey: %w", err)
	}
	return p.sealFlow(toEnrol, in.ID, session, options)
}

func tooManyPasskeys() error {
	return refusal.New(refusal.Conflict, "too-many-passkeys", "remove one first", "an account has at most %d passkeys", maxPasskeys)
}

// AddPasskey keeps the passkey of the answer to BeginAddPasskey under a name that
// the person gives it. At StageEnrol the sign-in is full then.
func (p *People) AddPasskey(ctx context.Context, in SignIn, name, flow string, answer []byte, at Where) (Secret, SignIn, error) {
	none := func(err error) (Secret, SignIn, error) { return Secret{}, SignIn{}, err }
	if p.web == nil {
		return none(noPasskeys())
	}
	if err := passkeyName(name); err != nil {
		return none(err)
	}
	session, once, err := p.openFlow(toEnrol, in.ID, flow)
	if err != nil {
		return none(err)
	}
	person, proofs, err := p.mayEnrol(ctx, in)
	if err != nil {
		return none(err)
	}
	h, err := p.holder(ctx, person, proofs)
	if err != nil {
		return none(err)
	}
	if len(h.keys) >= maxPasskeys {
		return none(tooManyPasskeys())
	}
	key, err := p.created(h, session, answer)
	if err != nil {
		return none(p.refusedPasskey(ctx, self(person.ID, at), person.ID, err))
	}
	record, err := recordOf(key)
	if err != nil {
		return none(err)
	}
	row := sqlstore.Passkey{ID: base64.RawURLEncoding.EncodeToString(key.ID), Name: name, Credential: record, CreatedAt: p.now()}
	st := p.going(in, person, proofs, at)
	st.method, st.strong, st.enrolled = ByPasskey, true, true
	st.spent = []sqlstore.PersonStep{once.spend(), sqlstore.AddPasskey(row, maxPasskeys)}
	p.added(&st, in, "passkey", row.ID)
	return p.advance(ctx, st)
}

// created checks the answer of an authenticator that made a passkey.
func (p *People) created(h *holder, session webauthn.SessionData, answer []byte) (*webauthn.Credential, error) {
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("the answer has %d bytes", len(answer))
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return nil, err
	}
	return p.web.CreateCredential(h, session, parsed)
}

func passkeyName(name string) error {
	ok := name != "" && len(name) <= maxPasskeyName && utf8.ValidString(name)
	for _, r := range name {
		ok = ok && unicode.IsPrint(r)
	}
	if !ok {
		return refusal.New(refusal.Invalid, "bad-passkey-name", "use 1 to 64 printable characters, such as the name of the device", "the name of the passkey is not valid")
	}
	return nil
}
