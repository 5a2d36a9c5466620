package sso

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/holdfast-iot/holdfast/refusal"
)

// logoutLife is the greatest age of a logout token.
const logoutLife = 5 * time.Minute

// keeping is a key set that keeps the last error, which the verifier of the
// library turns into text.
type keeping struct {
	keySet
	err error
}

func (k *keeping) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	payload, err := k.keySet.VerifySignature(ctx, raw)
	k.err = err
	return payload, err
}

// verifier checks signature, issuer, audience and expiry.
func (p *OIDC) verifier(d discovered, types ...string) (*oidc.IDTokenVerifier, *keeping) {
	ks := &keeping{keySet: keySet{keys: d.keys, types: types}}
	for _, a := range p.cfg.Algorithms {
		ks.algs = append(ks.algs, jose.SignatureAlgorithm(a))
	}
	return oidc.NewVerifier(p.cfg.Issuer, ks, &oidc.Config{ClientID: p.cfg.ClientID, SupportedSigningAlgs: p.cfg.Algorithms, Now: p.cfg.Now}), ks
}

// verify checks an ID token (OpenID Connect Core section 3.1.3.7) and returns its
// claims.
func (p *OIDC) verify(ctx context.Context, d discovered, raw, nonce string) (*oidc.IDToken, map[string]any, error) {
	if len(raw) > maxToken {
		return nil, nil, fail(CodeAnswer, "the ID token is larger than %d bytes", maxToken)
	}
	v, ks := p.verifier(d, "jwt")
	id, err := v.Verify(ctx, raw)
	if refusal.As(ks.err) != nil {
		return nil, nil, ks.err
	}
	if err != nil {
		return nil, nil, fail(CodeAnswer, "checking the ID token: %w", err)
	}
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return nil, nil, fail(CodeAnswer, "reading the ID token: %v", err)
	}
	if err := p.checkToken(id, claims, nonce, p.cfg.Now()); err != nil {
		return nil, nil, err
	}
	return id, claims, nil
}

// checkToken checks what the library leaves to its callers.
func (p *OIDC) checkToken(id *oidc.IDToken, claims map[string]any, nonce string, now time.Time) error {
	if !same(id.Nonce, nonce) {
		return fail(CodeAnswer, "the ID token's nonce is not that of this sign-in")
	}
	azp, has := claims["azp"]
	if has && azp != p.cfg.ClientID || !has && len(id.Audience) > 1 {
		return fail(CodeAnswer, "the ID token was issued to another client, or for several audiences without saying to which (azp)")
	}
	if id.IssuedAt.IsZero() || id.IssuedAt.After(now.Add(skew)) || id.IssuedAt.Before(now.Add(-flowLife)) {
		return fail(CodeAnswer, "the ID token says that it was issued at %s; the server's clock says %s", id.IssuedAt.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if nbf, has := claims["nbf"]; has {
		if t, ok := moment(nbf); !ok || t.After(now.Add(skew)) {
			return fail(CodeAnswer, "the ID token is not valid yet")
		}
	}
	if p.cfg.MaxAge > 0 {
		t, ok := moment(claims["auth_time"])
		if !ok || t.Before(now.Add(-p.cfg.MaxAge-skew)) || t.After(now.Add(skew)) {
			return fail(CodeProfile, "the provider did not ask the person for credentials within %v, as it was told to", p.cfg.MaxAge)
		}
	}
	if acr, _ := claims["acr"].(string); len(p.cfg.ACRValues) > 0 && !slices.Contains(p.cfg.ACRValues, acr) {
		return fail(CodeProfile, "the person signed in with the context %q, none of those asked for", clean(acr))
	}
	return nil
}

// about are the claims about the event and the token, which only the ID token
// may make.
var about = []string{"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "nonce", "acr", "amr", "auth_time", "sid", "at_hash"}

// addUserInfo adds claims of the userinfo endpoint that the ID token lacks
// (OpenID Connect Core section 5.3). Its subject must be the ID token's: else an
// access token of somebody else was slipped in (section 5.3.4).
func (p *OIDC) addUserInfo(ctx context.Context, d discovered, tok *oauth2.Token, subject string, claims map[string]any) error {
	body, err := p.askUserInfo(ctx, d, tok)
	if err != nil {
		return err
	}
	var more map[string]any
	if err := json.Unmarshal(body, &more); err != nil {
		return fail(CodeMisconfigured, "reading the userinfo answer: it is not JSON: let the provider send it unsigned")
	}
	if sub, _ := more["sub"].(string); !same(sub, subject) {
		return fail(CodeAnswer, "the userinfo answer is about another person than the ID token")
	}
	maps.DeleteFunc(more, func(k string, _ any) bool {
		_, has := claims[k]
		return has || slices.Contains(about, k) || k == p.cfg.SubjectClaim
	})
	maps.Copy(claims, more)
	return nil
}

func (p *OIDC) askUserInfo(ctx context.Context, d discovered, tok *oauth2.Token) ([]byte, error) {
	if tok.Type() != "Bearer" {
		return nil, fail(CodeMisconfigured, "the provider's access tokens are of type %q, not bearer", clean(tok.TokenType))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.UserInfoURL, nil)
	if err != nil {
		return nil, fail(CodeMisconfigured, "asking for userinfo: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	tok.SetAuthHeader(req)
	body, status, err := fetchWith(p.cfg.Client, req, maxToken)
	if err != nil {
		return nil, unreachable("asking for userinfo", err)
	}
	if status != http.StatusOK {
		return nil, fail(CodeUnavailable, "asking for userinfo: the answer's status is %d", status)
	}
	return body, nil
}

// Ended is a session that the provider says is over.
type Ended struct {
	Provider   string
	Subject    string // "" means: whoever has SessionRef; else the sub claim
	SessionRef string // "" means: all sessions of Subject
}

// Logout checks a logout token, which the provider posts as logout_token
// (OpenID Connect Back-Channel Logout 1.0, section 2.6). Each is taken once.
// Subject is always the sub claim: where SubjectClaim is another, SessionRef is
// what finds the sessions.
func (p *OIDC) Logout(ctx context.Context, raw string) (Ended, error) {
	e, err := p.logout(ctx, raw)
	return e, during("signing out", p.cfg.Name, err)
}

func (p *OIDC) logout(ctx context.Context, raw string) (Ended, error) {
	if len(raw) > maxToken {
		return Ended{}, fail(CodeAnswer, "the logout token is larger than %d bytes", maxToken)
	}
	d, err := p.disc.get(ctx)
	if err != nil {
		return Ended{}, err
	}
	v, ks := p.verifier(d, "jwt", "logout+jwt")
	t, err := v.VerifyLogout(ctx, raw)
	if refusal.As(ks.err) != nil {
		return Ended{}, ks.err
	}
	if err != nil {
		return Ended{}, fail(CodeAnswer, "checking the logout token: %w", err)
	}
	now := p.cfg.Now()
	if t.IssuedAt.After(now.Add(skew)) || t.IssuedAt.Before(now.Add(-logoutLife)) {
		return Ended{}, fail(CodeAnswer, "the logout token was issued at %s, which is not now", t.IssuedAt.UTC().Format(time.RFC3339))
	}
	if len(t.Subject) > MaxSubject || len(t.SessionID) > MaxSubject || len(t.TokenID) > 4*MaxSubject {
		return Ended{}, fail(CodeAnswer, "an identifier in the logout token is too long")
	}
	if p.cfg.Seen == nil {
		return Ended{}, fail(CodeMisconfigured, "there is no record of used logout tokens")
	}
	first, err := p.cfg.Seen(ctx, once("logout", p.cfg.Name, t.TokenID), t.IssuedAt.Add(logoutLife+skew))
	if err != nil {
		return Ended{}, fail(CodeUnavailable, "recording the logout token: %w", err)
	}
	if !first {
		return Ended{}, fail(CodeReplay, "the logout token %q was used before", clean(t.TokenID))
	}
	return Ended{Provider: p.cfg.Name, Subject: t.Subject, SessionRef: t.SessionID}, nil
}
