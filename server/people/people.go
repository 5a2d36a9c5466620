// Package people keeps the accounts of humans, what they prove themselves with,
// and their sign-ins.
//
// It promises that a stranger learns nothing about who has an account; that a
// secret which is used once is used once, whatever runs at the same time and on
// however many servers; that a sign-in's cookie changes whenever what it may do
// changes; that no number of wrong guesses keeps a person out who has a passkey
// or comes from where they signed in before; and that each change is one
// transaction with its audit event, which names people by their ids alone.
//
// It trusts its caller for the address a request came from and for what a role
// gives, and an identity provider for whom it names. Cookies, links, codes and
// refresh tokens are stored as SHA-256 of what they are, passwords as Argon2id,
// TOTP secrets sealed: whoever can read the database can be nobody, whoever can
// write it can be anybody, because accounts and passkeys are rows.
package people

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Config is everything that people need; what is not optional is required.
type Config struct {
	Store  *sqlstore.Store
	Random io.Reader        // cryptographic randomness
	Now    func() time.Time // the clock

	// Seal encrypts and authenticates; Open is its inverse and fails unless about
	// is the same. All servers of an installation share the key.
	Seal func(plain, about []byte) ([]byte, error)
	Open func(sealed, about []byte) ([]byte, error)

	Passwords password.Rules
	Breached  password.Filter
	Cost      password.Cost // zero: password.DefaultCost
	Hashes    int           // password hashes that run at once; 0: one for each processor. Each takes Cost.Memory.
	Sessions  access.SessionRules

	// RPID is the host name that passkeys belong to, RPName what they call the
	// place, Origins the pages they are used on ("https://host:port"). Without an
	// RPID nobody can use passkeys: browsers have none for an address of numbers.
	RPID    string
	RPName  string
	Origins []string

	// Event makes an audit event; details are pairs of name and value.
	Event func(by access.Actor, action, kind, id string, details ...string) audit.Event
	// Refuse records something that was refused, within a budget.
	Refuse func(ctx context.Context, e audit.Event, why string)
	// Rights are what a person may do now.
	Rights func(ctx context.Context, id access.PersonID) (access.Rights, error)
	// IsLastAdmin tells whether nobody could administer Holdfast without the person.
	IsLastAdmin func(ctx context.Context, id access.PersonID) (bool, error)
	// GrantAdmin gives the first person the role admin; again for one who has it
	// is no error.
	GrantAdmin func(ctx context.Context, id access.PersonID) error
	// Groups learns a person's groups at their identity provider, before their
	// rights are asked for. Optional.
	Groups func(ctx context.Context, id access.PersonID, origin string, groups []string) error
	// Alarm is told what a person, or who watches over them, should hear of. It
	// must not take long.
	Alarm func(ctx context.Context, n Notice)
	// Announce tells other servers that there are control events.
	Announce func()
	Log      *slog.Logger
}

// People is safe for concurrent use.
type People struct {
	cfg   Config
	web   *webauthn.WebAuthn // nil: no passkeys here
	guard *guard
	slots *slots
}

// New checks cfg.
func New(cfg Config) (*People, error) {
	if cfg.Cost == (password.Cost{}) {
		cfg.Cost = password.DefaultCost
	}
	if cfg.Hashes == 0 {
		cfg.Hashes = runtime.GOMAXPROCS(0)
	}
	if err := errors.Join(cfg.Passwords.Validate(), cfg.Cost.Validate()); err != nil {
		return nil, fmt.Errorf("setting up accounts: %w", err)
	}
	p := &People{cfg: cfg, guard: newGuard(), slots: newSlots(cfg.Hashes)}
	var err error
	if p.web, err = relyingParty(cfg); err != nil {
		return nil, fmt.Errorf("setting up passkeys: %w", err)
	}
	return p, nil
}

// Where is where a request came from.
type Where struct {
	Source netip.Addr
	Agent  string // the User-Agent header
}

func (w Where) source() string {
	if !w.Source.IsValid() {
		return ""
	}
	return w.Source.Unmap().String()
}

// agent is the User-Agent as it is stored and shown: printable, at most 256 bytes.
func (w Where) agent() string { return audit.Text(w.Agent, 256) }

// Secret is a cookie, link or token. It cannot be printed, marshalled or compared.
type Secret struct {
	_    [0]func() // makes == a compile error
	text string
}

// NewSecret wraps the text of a request.
func NewSecret(text string) Secret { return Secret{text: text} }

// Reveal is the text, for the one it belongs to.
func (s Secret) Reveal() string { return s.text }

// Empty tells whether there is none.
func (s Secret) Empty() bool { return s.text == "" }

// String, GoString, Format and LogValue say nothing of it; MarshalText refuses.
func (Secret) String() string               { return "[secret]" }
func (Secret) GoString() string             { return "[secret]" }
func (Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, "[secret]") }
func (Secret) LogValue() slog.Value         { return slog.StringValue("[secret]") }
func (Secret) MarshalText() ([]byte, error) { return nil, errors.New("marshalling a secret") }

var code32 = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// Prefixes let scanners find a secret that leaked.
const (
	cookiePrefix  = "hfs_"
	linkPrefix    = "hfi_"
	refreshPrefix = "hfr_"
)

// maxSecret bounds the secrets that are looked at, in bytes.
const maxSecret = 128

// random is n random bytes in letters and digits.
func (p *People) random(n int) (string, error) {
	raw := make([]byte, n)
	if _, err := io.ReadFull(p.cfg.Random, raw); err != nil {
		return "", fmt.Errorf("drawing random bytes: %w", err)
	}
	return code32.EncodeToString(raw), nil
}

// secret is a new one of n random bytes, with its hash.
func (p *People) secret(prefix string, n int) (Secret, [32]byte, error) {
	text, err := p.random(n)
	text = prefix + text
	return NewSecret(text), sha256.Sum256([]byte(text)), err
}

// hashOf is how a secret that was presented is found; ok is false for what
// cannot be one of ours.
func hashOf(s Secret, prefix string) (hash [32]byte, ok bool) {
	if len(s.text) > maxSecret || !strings.HasPrefix(s.text, prefix) {
		return hash, false
	}
	return sha256.Sum256([]byte(s.text)), true
}

func (p *People) now() time.Time { return p.cfg.Now().UTC().Truncate(time.Microsecond) }

// self is a person as the actor of what they do with their own account.
func self(id access.PersonID, at Where) access.Actor {
	return access.Actor{Kind: access.Human, ID: string(id), Source: at.source()}
}

func (p *People) event(by access.Actor, action string, id access.PersonID, details ...string) audit.Event {
	return p.cfg.Event(by, action, "person", string(id), details...)
}

func stranger(at Where) access.Actor {
	return access.Actor{Kind: access.Anonymous, ID: "anonymous", Source: at.source()}
}

// NoticeKind says what a notice is about.
type NoticeKind string

// The notices.
const (
	NoticeNewPlace        NoticeKind = "new-place"        // a sign-in from a network and browser never seen with this person
	NoticeBreakGlass      NoticeKind = "break-glass"      // an account for emergencies was used
	NoticeFactorAdded     NoticeKind = "factor-added"     // a passkey, an authenticator app or recovery codes
	NoticeFactorRemoved   NoticeKind = "factor-removed"   //
	NoticePasswordChanged NoticeKind = "password-changed" //
	NoticeReset           NoticeKind = "account-reset"    // an administrator removed all that they sign in with
	NoticeRecoveryUsed    NoticeKind = "recovery-used"    // detail: how many codes are left
	NoticeRecoveryLow     NoticeKind = "recovery-low"     // two or fewer are left
	NoticeCloned          NoticeKind = "passkey-cloned"   // its counter went back: two devices have it
	NoticeFactorGuessed   NoticeKind = "factor-guessed"   // somebody knows the password and guesses the second factor
	NoticeGuessed         NoticeKind = "password-guessed" // many wrong passwords from many places
	NoticeReused          NoticeKind = "refresh-reused"   // a refresh token was used twice: it was stolen, or its answer was lost
	NoticeDozing          NoticeKind = "dormant-soon"     // detail: when it will be disabled
	NoticeDormant         NoticeKind = "dormant-disabled" //
)

// Notice is something that a person, or who watches over them, should hear of.
type Notice struct {
	Kind   NoticeKind
	Person access.Person
	Source string // address, personal data
	Agent  string
	At     time.Time
	Detail string
}

func (p *People) alarm(ctx context.Context, kind NoticeKind, person access.Person, at Where, detail string) {
	p.cfg.Alarm(ctx, Notice{kind, person, at.source(), at.agent(), p.now(), detail})
}

func isChanged(err error) bool { return errors.Is(err, sqlstore.ErrChanged) }

// stale says of a lost race what to do.
func stale(err error) error {
	if isChanged(err) {
		return refusal.New(refusal.Conflict, "changed-meanwhile", "read it again and repeat the change", "the account was changed by somebody else meanwhile")
	}
	return err
}

func noPerson(err error, id access.PersonID) error {
	if errors.Is(err, sqlstore.ErrNotFound) {
		return refusal.New(refusal.NotFound, "no-such-person", "list people to find the id", "there is no person %.64q", string(id))
	}
	return err
}

// Run looks after the accounts until ctx ends: it forgets what expired, and
// disables accounts that nobody used.
func (p *People) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := p.Sweep(ctx); err != nil && ctx.Err() == nil {
			p.cfg.Log.Warn("looking after accounts", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
