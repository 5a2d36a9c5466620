package oauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Claims are what a verified token says.
type Claims struct {
	Issuer  string
	Subject string
	Kind    access.Kind // Human or Client
	// Client is the id of the API client, or CLIClient; Name is the API client's.
	Client string
	Name   string
	Person access.PersonID // of a Human
	// Scope narrows what the party holds to these permissions; nil: not at all.
	Scope []access.Permission
	// ID is the token's jti; it may be empty for a trusted issuer's.
	ID        string
	IssuedAt  time.Time
	ExpiresAt time.Time
	// Of a Human: the sign-in, when a factor was last proven, and which.
	SignIn   string
	AuthTime time.Time
	Methods  []string // RFC 8176 names
	Strong   bool
}

// Why says for the log what is wrong with a token.
type Why string

// What can be wrong with a token.
const (
	Malformed     Why = "malformed"
	BadAlgorithm  Why = "algorithm-not-allowed"
	UnknownIssuer Why = "unknown-issuer"
	UnknownKey    Why = "unknown-key"
	NoKeys        Why = "issuer-keys-unavailable"
	BadSignature  Why = "wrong-signature"
	WrongType     Why = "wrong-type"
	WrongAudience Why = "wrong-audience"
	Expired       Why = "expired"
	NotYet        Why = "not-yet-valid"
	TooOld        Why = "issued-too-long-ago"
	Replayed      Why = "used-before"
	Revoked       Why = "revoked"
	SignInEnded   Why = "sign-in-ended"
	UnknownClient Why = "unknown-or-disabled-client"
	WrongNetwork  Why = "wrong-network"
	WrongSubject  Why = "subject-has-no-client"
)

// Rejected is the error of a token that is not good. Its text is for the log;
// inside is the one refusal that all callers get.
type Rejected struct {
	Why    Why
	Issuer string // a known one; else empty
	detail error
}

// Error says what is wrong.
func (r *Rejected) Error() string {
	text := "verifying an access token: " + string(r.Why)
	if r.Issuer != "" {
		text += " (issuer " + r.Issuer + ")"
	}
	if r.detail != nil {
		text += fmt.Sprintf(": %.200v", r.detail)
	}
	return text
}

// Unwrap is the same refusal for all that can be wrong.
func (r *Rejected) Unwrap() error {
	return refusal.New(refusal.Unauthenticated, "bad-access-token", "get a new one from the authorization server", "the access token is not valid")
}

func rejected(why Why) error { return &Rejected{Why: why} }

// Verify proves an access token presented from an address. The error is a
// *Rejected if the token is not good, and any other if that cannot be known now.
func (s *Server) Verify(ctx context.Context, token string, source netip.Addr) (Claims, error) {
	if len(token) > MaxToken {
		return Claims{}, rejected(Malformed)
	}
	key := sha256.Sum256([]byte(token))
	now := s.cfg.Now()
	k, ok := s.remembered.get(key, now)
	if !ok {
		var err error
		if k, err = s.prove(ctx, token, now); err != nil {
			return Claims{}, err
		}
	}
	if s.revoked.has(k.ID) && k.own {
		return Claims{}, rejected(Revoked)
	}
	if !ok || now.Sub(k.checked) >= recheckEvery || now.Before(k.checked) {
		seen := s.remembered.seen()
		if err := s.recheck(ctx, &k); err != nil {
			s.remembered.drop(key)
			return Claims{}, err
		}
		k.checked = now
		if k.keep {
			s.remembered.put(key, k, seen)
		}
	}
	if k.Kind == access.Client && !(access.APIClient{Networks: k.networks}).Admits(source) {
		return Claims{}, rejected(WrongNetwork)
	}
	return k.Claims, nil
}

// prove checks everything that cannot change about a token.
func (s *Server) prove(ctx context.Context, token string, now time.Time) (known, error) {
	p, err := parseToken(token, asymmetric)
	if err != nil {
		why := Malformed
		if unexpected := (*jose.ErrUnexpectedSignatureAlgorithm)(nil); errors.As(err, &unexpected) {
			why = BadAlgorithm
		}
		return known{}, &Rejected{Why: why, detail: err}
	}
	if p.claims.Issuer == s.cfg.Issuer {
		c, err := s.proveOwn(ctx, p, now)
		return known{Claims: c, own: true, keep: true}, err
	}
	t := s.issuers[p.claims.Issuer]
	if t == nil {
		return known{}, rejected(UnknownIssuer)
	}
	return s.proveTrusted(ctx, t, p, now)
}

// proveOwn checks a token of this server (RFC 9068 section 4).
func (s *Server) proveOwn(ctx context.Context, p parsed, now time.Time) (Claims, error) {
	var none Claims
	if p.algorithm != jose.ES256 {
		return none, rejected(BadAlgorithm)
	}
	if p.typ != "at+jwt" {
		return none, rejected(WrongType)
	}
	key := s.ownKey(ctx, p.kid)
	if key == nil {
		return none, rejected(UnknownKey)
	}
	if !p.verify(&key.private.PublicKey) {
		return none, rejected(BadSignature)
	}
	c := p.claims
	if !c.meant(s.audience()) {
		return none, rejected(WrongAudience)
	}
	if c.ID == "" || c.IssuedAt == nil || c.Client == "" || c.Subject == "" {
		return none, rejected(Malformed)
	}
	if why := c.inTime(now, 0); why != "" {
		return none, rejected(why)
	}
	return ownClaims(c)
}

func ownClaims(c claims) (Claims, error) {
	out := Claims{Issuer: c.Issuer, Subject: c.Subject, Client: c.Client, ID: c.ID, IssuedAt: c.IssuedAt.time(), ExpiresAt: c.Expires.time(),
		SignIn: c.SignIn, AuthTime: c.AuthTime.time(), Methods: c.Methods, Strong: slices.Contains(c.Methods, "mfa")}
	if c.Scope != nil {
		out.Scope = []access.Permission{}
		for name := range strings.FieldsSeq(*c.Scope) {
			out.Scope = append(out.Scope, access.Permission(name))
		}
	}
	switch {
	case c.Client == CLIClient && c.SignIn != "":
		out.Kind, out.Person = access.Human, access.PersonID(c.Subject)
	case c.Client == c.Subject && c.SignIn == "" && c.Client != CLIClient:
		out.Kind = access.Client
	default:
		return Claims{}, rejected(Malformed)
	}
	return out, nil
}

// recheck asks whether the party behind a proven token is still welcome.
func (s *Server) recheck(ctx context.Context, k *known) error {
	if k.Kind == access.Human {
		alive, err := s.cfg.SignIns.AliveCLI(ctx, k.SignIn)
		if err != nil {
			return fmt.Errorf("verifying an access token: asking for its sign-in: %w", err)
		}
		if !alive {
			return rejected(SignInEnded)
		}
		return nil
	}
	var c Client
	var err error
	if k.own {
		c, err = s.cfg.Clients.ByID(ctx, k.Client)
	} else {
		c, err = s.cfg.Clients.ByName(ctx, k.Name)
	}
	switch {
	case errors.Is(err, sqlstore.ErrNotFound) || err == nil && c.Disabled:
		return rejected(UnknownClient)
	case err != nil:
		return fmt.Errorf("verifying an access token: asking for its client: %w", err)
	}
	k.Client, k.Name, k.networks = c.ID, c.Name, c.Networks
	return nil
}
