package oauth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
)

const (
	grantClient  = "client_credentials"
	grantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
	grantRefresh = "refresh_token"
)

// token is the token endpoint.
func (s *Server) token(r *request) (any, error) {
	c, err := s.authenticate(r)
	if err != nil {
		return nil, err
	}
	if to := r.form["resource"]; to != "" && to != s.audience() {
		return nil, no("invalid_target", "tokens are made for %s only", s.audience())
	}
	grant := r.form["grant_type"]
	switch {
	case grant == "":
		return nil, no("invalid_request", "there is no grant_type")
	case grant != grantClient && grant != grantDevice && grant != grantRefresh:
		return nil, no("unsupported_grant_type", "use %s, %s or %s", grantClient, grantDevice, grantRefresh)
	case c.cli() != (grant != grantClient):
		return nil, no("unauthorized_client", "this client may not use this grant")
	case grant == grantClient:
		return s.clientToken(r, c)
	case grant == grantDevice:
		return s.redeem(r)
	}
	return s.refresh(r)
}

// clientToken serves client_credentials (RFC 6749 section 4.4).
func (s *Server) clientToken(r *request, c caller) (any, error) {
	scope, err := readScope(r.form["scope"])
	if err != nil {
		return nil, err
	}
	if scope != nil {
		rights, err := s.held(r.Context(), c, r.source)
		if err != nil {
			return nil, err
		}
		for name := range strings.FieldsSeq(*scope) {
			if !rights.Has(access.Permission(name), s.cfg.Now()) {
				return nil, no("invalid_scope", "the client does not hold %s", name)
			}
		}
	}
	a, id, err := s.issue(claims{Subject: c.ID, Client: c.ID, Scope: scope})
	if err != nil {
		return nil, err
	}
	// The token leaves only after its event is durable; a crash here issues none.
	event := s.cfg.Event(c.actor(r.source), "client.token_issued", "client", c.ID, "token", id, "method", c.method, "scope", a.Scope)
	if err := s.cfg.Store.AppendOutbox(r.Context(), event); err != nil {
		return nil, err
	}
	return a, nil
}

// A refresh token is the sign-in's secret, a dot, and the scope of the grant,
// sealed to that secret: nobody can take the narrowing off.
const maxRefresh = 4096

func scopeContext(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "oauth scope of " + hex.EncodeToString(sum[:])
}

func (s *Server) makeRefresh(secret enroll.Secret, scope *string) (string, error) {
	text, err := json.Marshal(scope)
	if err != nil {
		return "", err
	}
	sealed, err := s.cfg.Seal(text, scopeContext(secret.Reveal()))
	if err != nil {
		return "", fmt.Errorf("sealing a scope: %w", err)
	}
	return secret.Reveal() + "." + base64.RawURLEncoding.EncodeToString(sealed), nil
}

func (s *Server) readRefresh(token enroll.Secret) (secret enroll.Secret, scope *string, ok bool) {
	text := token.Reveal()
	dot := strings.LastIndexByte(text, '.')
	if len(text) > maxRefresh || dot <= 0 || strings.ContainsAny(text, "\r\n") {
		return secret, nil, false
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text[dot+1:])
	if err != nil {
		return secret, nil, false
	}
	plain, err := s.cfg.Open(sealed, scopeContext(text[:dot]))
	if err != nil || json.Unmarshal(plain, &scope) != nil {
		return secret, nil, false
	}
	return enroll.NewSecret(text[:dot]), scope, true
}

// refresh serves refresh_token (RFC 6749 section 6). Everything that can be
// refused is refused before the secret is replaced, which cannot be undone.
func (s *Server) refresh(r *request) (any, error) {
	bad := no("invalid_grant", "the refresh token is not valid: sign in again")
	secret, whole, ok := s.readRefresh(r.form.secret("refresh_token"))
	if !ok {
		return nil, bad
	}
	scope, err := readScope(r.form["scope"])
	if err != nil {
		return nil, err
	}
	if scope == nil {
		scope = whole
	}
	if !within(scope, whole) {
		return nil, no("invalid_scope", "the scope is wider than what was approved")
	}
	if s.keys.Load().signer(s.cfg.Now(), s.cfg.Life) == nil {
		return nil, errNoKey
	}
	next, in, err := s.cfg.SignIns.RefreshCLI(r.Context(), secret, r.source)
	if err != nil {
		return nil, denied(err, bad)
	}
	return s.cliAnswer(next, in, scope, whole)
}

func (s *Server) cliAnswer(secret enroll.Secret, in CLISignIn, scope, whole *string) (any, error) {
	a, _, err := s.issue(personClaims(in, scope))
	if err != nil {
		return nil, err
	}
	a.RefreshToken, err = s.makeRefresh(secret, whole)
	return a, err
}

// denied is what to answer when sign-ins say no: as said, unless they are busy
// or broken.
func denied(err, as error) error {
	f := refusal.As(err)
	if f == nil || f.Kind == refusal.Unavailable || f.Kind == refusal.TooMany {
		return err
	}
	var p *problem
	if errors.As(as, &p) {
		return p
	}
	return err
}
