package oauth

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/holdfast-iot/holdfast/access"
)

// answer is a token response (RFC 6749 section 5.1).
type answer struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope,omitempty"`
}

var errNoKey = errors.New("signing an access token: there is no signing key")

// issue makes an access token (RFC 9068 section 2). No scope means that the
// token is not narrowed: it carries none, and allows what its party holds when
// it is used.
func (s *Server) issue(c claims) (answer, string, error) {
	now := s.cfg.Now()
	key := s.keys.Load().signer(now, s.cfg.Life)
	if key == nil {
		return answer{}, "", errNoKey
	}
	c.Issuer, c.Audience, c.ID = s.cfg.Issuer, jwt.Audience{s.audience()}, randomText(20)
	c.IssuedAt, c.Before, c.Expires = dateOf(now), dateOf(now), dateOf(now.Add(s.cfg.Life))
	payload, err := json.Marshal(c)
	if err != nil {
		return answer{}, "", err
	}
	signed, err := key.signer.Sign(payload)
	if err != nil {
		return answer{}, "", err
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		return answer{}, "", err
	}
	a := answer{AccessToken: text, TokenType: "Bearer", ExpiresIn: int64(s.cfg.Life / time.Second)}
	if c.Scope != nil {
		a.Scope = *c.Scope
	}
	return a, c.ID, nil
}

// personClaims are those of a token for a command line.
func personClaims(in CLISignIn, scope *string) claims {
	c := claims{Subject: string(in.Person), Client: CLIClient, SignIn: in.ID, Scope: scope, Methods: references(in.Methods, in.Strong)}
	if !in.Fresh.IsZero() {
		c.AuthTime = dateOf(in.Fresh)
	}
	return c
}

// references are the names of RFC 8176 for how a person proved themselves. A
// method without one there keeps its own.
func references(methods []string, strong bool) (names []string) {
	rfc := map[string]string{"password": "pwd", "totp": "otp", "recovery-code": "otp", "passkey": "pop"}
	for _, m := range methods {
		if name, ok := rfc[m]; ok {
			m = name
		}
		if m != "" && m != "mfa" && !slices.Contains(names, m) {
			names = append(names, m)
		}
	}
	if strong {
		names = append(names, "mfa")
	}
	return names
}

// readScope reads a scope parameter: names of permissions, or nil if there is
// none.
func readScope(text string) (*string, error) {
	if text == "" {
		return nil, nil
	}
	var names []string
	for name := range strings.SplitSeq(text, " ") {
		if !access.Permission(name).Known() {
			return nil, no("invalid_scope", "a scope is not a permission, or is separated by more than one space")
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	joined := strings.Join(names, " ")
	return &joined, nil
}

// within tells whether a scope asks for nothing that another does not hold.
func within(scope, of *string) bool {
	if of == nil {
		return true
	}
	if scope == nil {
		return false
	}
	outer := strings.Fields(*of)
	for name := range strings.FieldsSeq(*scope) {
		if !slices.Contains(outer, name) {
			return false
		}
	}
	return true
}
