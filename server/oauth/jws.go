package oauth

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"
)

// MaxToken bounds a token or assertion, in bytes.
const MaxToken = 8 << 10

// asymmetric are the algorithms that may be named for trusted issuers and for
// clients' assertions. "none" and those with shared keys are not among them, so
// that a public key is never used as a secret (RFC 8725 sections 3.1 and 3.2).
var asymmetric = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.PS256, jose.PS384, jose.PS512, jose.RS256, jose.RS384, jose.RS512}

// assertionAlgorithms may sign the assertions of clients.
var assertionAlgorithms = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.EdDSA, jose.PS256, jose.RS256}

// parsed is a token whose signature has not been verified.
type parsed struct {
	jws       *jose.JSONWebSignature
	algorithm jose.SignatureAlgorithm
	kid       string
	typ       string // lower case, without "application/"
	claims    claims
}

// claims are those of RFC 7519, RFC 9068 and OpenID Connect that are used. A
// name that comes twice makes the whole set invalid.
type claims struct {
	Issuer   string       `json:"iss"`
	Subject  string       `json:"sub"`
	Audience jwt.Audience `json:"aud"`
	Expires  *numericDate `json:"exp"`
	Before   *numericDate `json:"nbf,omitempty"`
	IssuedAt *numericDate `json:"iat,omitempty"`
	ID       string       `json:"jti,omitempty"`
	Client   string       `json:"client_id,omitempty"`
	Scope    *string      `json:"scope,omitempty"`
	SignIn   string       `json:"sid,omitempty"`
	AuthTime *numericDate `json:"auth_time,omitempty"`
	Methods  []string     `json:"amr,omitempty"`
}

// numericDate is in seconds since 1970 UTC (RFC 7519 section 2). A value outside
// of the years 1970 to 9999 is an error, so that none overflows into another.
type numericDate int64

func dateOf(t time.Time) *numericDate { d := numericDate(t.Unix()); return &d }

func (d *numericDate) time() time.Time {
	if d == nil {
		return time.Time{}
	}
	return time.Unix(int64(*d), 0).UTC()
}

func (d *numericDate) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || math.IsNaN(f) || f < 0 || f > 253402300799 {
		return errors.New("a date is not a number of seconds since 1970")
	}
	*d = numericDate(f)
	return nil
}

// compact tells whether text has the form of a signed JWT: three parts of
// base64url and nothing else.
func compact(text string) bool {
	dots := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == '.':
			dots++
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return dots == 2 && len(text) <= MaxToken
}

var errForm = errors.New("it is not a signed JWT in compact form, or it is too long")

// parseToken reads a token whose alg is one of algorithms. Nothing in it is
// proven: the caller chooses a key by it and then calls verify. The headers jwk,
// jku, x5c and x5u are never used.
func parseToken(text string, algorithms []jose.SignatureAlgorithm) (parsed, error) {
	var p parsed
	if !compact(text) {
		return p, errForm
	}
	jws, err := jose.ParseSignedCompact(text, algorithms)
	if err != nil {
		return p, err
	}
	h := jws.Signatures[0].Header
	p.jws, p.algorithm, p.kid = jws, jose.SignatureAlgorithm(h.Algorithm), h.KeyID
	if v, ok := h.ExtraHeaders[jose.HeaderType]; ok {
		typ, isText := v.(string)
		if !isText {
			return p, errors.New("its typ is not text")
		}
		p.typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &p.claims); err != nil {
		return p, err
	}
	if len(p.claims.Issuer) > 512 || len(p.claims.Subject) > 512 || len(p.claims.ID) > 256 || len(p.kid) > 256 || len(p.claims.Audience) > 16 {
		return p, errors.New("a claim is too long")
	}
	return p, nil
}

// verify checks the signature with a public key.
func (p parsed) verify(key any) bool {
	_, err := p.jws.Verify(key)
	return err == nil
}

// leeway is how far the clocks of two machines may differ.
const leeway = 30 * time.Second

// inTime checks exp, nbf and iat. exp has to be there, and is honoured late by
// at most late.
func (c claims) inTime(now time.Time, late time.Duration) Why {
	switch {
	case c.Expires == nil:
		return Malformed
	case !now.Before(c.Expires.time().Add(late)):
		return Expired
	case c.Before != nil && now.Add(leeway).Before(c.Before.time()):
		return NotYet
	case c.IssuedAt != nil && now.Add(leeway).Before(c.IssuedAt.time()):
		return NotYet
	}
	return ""
}

// meant tells whether the token is for one of these audiences.
func (c claims) meant(audiences ...string) bool {
	return slices.ContainsFunc(c.Audience, func(a string) bool { return slices.Contains(audiences, a) })
}
