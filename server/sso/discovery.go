package sso

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/holdfast-iot/holdfast/internal/outbound"
)

// maxDiscovery bounds a discovery document, in bytes.
const maxDiscovery = 256 << 10

// discovered is what we use of a discovery document (OpenID Connect Discovery
// section 3), with the keys that it leads to.
type discovered struct {
	Issuer        string   `json:"issuer"`
	AuthURL       string   `json:"authorization_endpoint"`
	TokenURL      string   `json:"token_endpoint"`
	KeysURL       string   `json:"jwks_uri"`
	UserInfoURL   string   `json:"userinfo_endpoint"`
	EndSessionURL string   `json:"end_session_endpoint"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	IssInResponse bool     `json:"authorization_response_iss_parameter_supported"`

	keys *cached[[]jose.JSONWebKey]
}

// discover fetches the discovery document.
func (p *OIDC) discover(ctx context.Context) (discovered, error) {
	where := strings.TrimSuffix(p.cfg.Issuer, "/") + "/.well-known/openid-configuration"
	body, err := outbound.Fetch(ctx, p.cfg.Client, where, "application/json", maxDiscovery)
	if err != nil {
		return discovered{}, unreachable("reading the discovery document", err)
	}
	d, err := p.readDiscovery(body)
	if err != nil {
		return discovered{}, err
	}
	// The keys outlive the document that led to them, as long as it leads to
	// the same place: else each refresh would fetch them too.
	if p.disc.have && p.disc.val.KeysURL == d.KeysURL {
		d.keys = p.disc.val.keys
	} else {
		d.keys = newCached(p.cfg.Now, func(ctx context.Context) ([]jose.JSONWebKey, error) {
			return fetchKeys(ctx, p.cfg.Client, d.KeysURL)
		})
	}
	return d, nil
}

// readDiscovery checks a discovery document: it must be the issuer's own, and
// lead only to URLs with TLS. That those are not inside our network is checked
// by the client, when it connects.
func (p *OIDC) readDiscovery(body []byte) (discovered, error) {
	var d discovered
	if err := json.Unmarshal(body, &d); err != nil {
		return d, fail(CodeMisconfigured, "reading the discovery document: it is not JSON: %v", err)
	}
	if d.Issuer != p.cfg.Issuer {
		return d, fail(CodeMisconfigured, "the discovery document is of the issuer %q, the configuration names %q: they must be equal, to the last slash", clean(d.Issuer), p.cfg.Issuer)
	}
	needed := map[string]string{"authorization_endpoint": d.AuthURL, "token_endpoint": d.TokenURL, "jwks_uri": d.KeysURL}
	for what, u := range map[string]string{"userinfo_endpoint": d.UserInfoURL, "end_session_endpoint": d.EndSessionURL} {
		if u != "" {
			needed[what] = u
		}
	}
	for what, u := range needed {
		if err := checkURL(what, u, p.cfg.AllowHTTP); err != nil {
			return d, fail(CodeMisconfigured, "reading the discovery document: %w", err)
		}
	}
	if p.cfg.UserInfo && d.UserInfoURL == "" {
		return d, fail(CodeMisconfigured, "the configuration asks for userinfo, and the provider offers no such endpoint")
	}
	if len(d.Challenges) > 0 && !slices.Contains(d.Challenges, "S256") {
		return d, fail(CodeMisconfigured, "the provider does not offer PKCE with S256")
	}
	if len(d.Algorithms) > 0 && !slices.ContainsFunc(d.Algorithms, func(a string) bool { return slices.Contains(p.cfg.Algorithms, a) }) {
		return d, fail(CodeMisconfigured, "the provider signs with %s only, none of which is taken", clean(strings.Join(d.Algorithms, ", ")))
	}
	if len(d.AuthMethods) == 0 {
		d.AuthMethods = []string{"client_secret_basic"} // what an absent list means
	}
	return d, nil
}

// LogoutURL is where to send the browser to end the session at the provider
// too (OpenID Connect RP-Initiated Logout 1.0), and then to after, which must be
// registered there; after may be empty. It is "" where the provider offers none.
func (p *OIDC) LogoutURL(ctx context.Context, after string) (string, error) {
	d, err := p.disc.get(ctx)
	if err != nil || d.EndSessionURL == "" {
		return "", during("finding the way to sign out", p.cfg.Name, err)
	}
	u, err := url.Parse(d.EndSessionURL)
	if err != nil {
		return "", during("finding the way to sign out", p.cfg.Name, fail(CodeMisconfigured, "%w", err))
	}
	q := u.Query()
	q.Set("client_id", p.cfg.ClientID)
	if after != "" {
		q.Set("post_logout_redirect_uri", after)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}
