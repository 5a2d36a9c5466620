package sso

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// OIDCConfig describes an OpenID Connect provider.
type OIDCConfig struct {
	// Name is a short name of 1 to 32 of a-z, 0-9 and hyphens; it is part of the
	// redirect URL and of each person's identity, so keep it.
	Name string
	// Label is what the sign-in button says, for example "Example Corp".
	Label string
	// Issuer is the provider's issuer URL exactly as its discovery document
	// writes it, for example "https://login.example.com/realms/corp".
	Issuer string
	// ClientID is the identifier that the provider gave to Holdfast.
	ClientID string
	// ClientSecret is the secret that goes with ClientID. Leave it empty for
	// ClientKey, or for a public client.
	ClientSecret Secret
	// SecretInBody sends the secret in the request's body (client_secret_post)
	// although the provider also takes it in the header.
	SecretInBody bool
	// ClientKey signs who Holdfast is (private_key_jwt), instead of a secret: RSA
	// of 2048 bits or more, ECDSA on P-256 or P-384, or Ed25519.
	ClientKey crypto.Signer
	// ClientKeyID is the name of ClientKey at the provider; may be empty.
	ClientKeyID string
	// ClientKeyAudience is whom the signed statement is for; empty means the
	// issuer. Entra ID wants its token endpoint here.
	ClientKeyAudience string
	// RedirectURL is where the provider sends the browser back to, as registered
	// there: "https://HOST/sign-in/oidc/NAME/callback".
	RedirectURL string
	// Scopes are what to ask for besides openid; nil means profile and email.
	Scopes []string
	// Algorithms are the signature algorithms taken: of RS256, PS256, ES256,
	// ES384 and EdDSA; nil means all of them.
	Algorithms []string
	// SubjectClaim is the claim that identifies a person for ever; empty means
	// sub. Entra ID's is oid.
	SubjectClaim string
	// NameClaim is the claim with the login name; empty means preferred_username.
	NameClaim string
	// DisplayClaim is the claim with the person's name; empty means name.
	DisplayClaim string
	// MailClaim is the claim with the mail address; empty means email.
	MailClaim string
	// GroupsClaim is the claim with the groups, a list or one text; a dot leads
	// into an object ("realm_access.roles"); empty means groups.
	GroupsClaim string
	// TrustMail takes mail addresses as verified although the provider does not
	// say so.
	TrustMail bool
	// Require names claims and the exact values that they must have or contain,
	// for example hd: example.com where a provider serves many organisations.
	Require map[string]string
	// MultiFactor are the values of amr or acr that mean that more than one factor was
	// used; nil means mfa (RFC 8176).
	MultiFactor []string
	// ACRValues are the authentication contexts to ask for (acr_values), best first.
	// The answer must then name one of them.
	ACRValues []string
	// MaxAge is how old the person's last showing of credentials at the provider may
	// be, 0 for any age; in whole seconds.
	MaxAge time.Duration
	// UserInfo also asks the provider's userinfo endpoint for claims that the ID
	// token lacks.
	UserInfo bool
	// AllowHTTP permits a provider without TLS: in a laboratory.
	AllowHTTP bool

	// Client fetches the provider's documents; internal/outbound makes it.
	Client *http.Client
	// Seen records used logout tokens; without it Logout refuses all of them.
	Seen SeenFunc
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// algorithms are the signature algorithms that can be taken. HMAC is not among
// them: its key would be the client secret, or a public key mistaken for it.
var algorithms = []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"}

// OIDC signs people in by OpenID Connect Core 1.0: authorization code flow with
// PKCE (RFC 7636, S256), state and nonce.
type OIDC struct {
	cfg  OIDCConfig
	disc *cached[discovered]
}

// NewOIDC checks a configuration. It does not speak to the provider, which may
// be down: the first Begin does.
func NewOIDC(cfg OIDCConfig) (*OIDC, error) {
	cfg.defaults()
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configuring the OpenID Connect provider %q: %w", cfg.Name, err)
	}
	p := &OIDC{cfg: cfg}
	p.disc = newCached(cfg.Now, p.discover)
	return p, nil
}

func (c *OIDCConfig) defaults() {
	set := func(p *string, v string) {
		if *p == "" {
			*p = v
		}
	}
	set(&c.SubjectClaim, "sub")
	set(&c.NameClaim, "preferred_username")
	set(&c.DisplayClaim, "name")
	set(&c.MailClaim, "email")
	set(&c.GroupsClaim, "groups")
	set(&c.ClientKeyAudience, c.Issuer)
	if c.Scopes == nil {
		c.Scopes = []string{"profile", "email"}
	}
	if c.Algorithms == nil {
		c.Algorithms = algorithms
	}
	if c.MultiFactor == nil {
		c.MultiFactor = []string{"mfa"}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

func (c *OIDCConfig) check() error {
	if err := checkNames(c.Name, c.Label); err != nil {
		return err
	}
	if err := checkURL("issuer", c.Issuer, c.AllowHTTP); err != nil {
		return err
	}
	if strings.ContainsAny(c.Issuer, "?#") {
		return errors.New("the issuer has a query or a fragment")
	}
	if err := checkURL("redirect URL", c.RedirectURL, c.AllowHTTP); err != nil {
		return err
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(algorithms, a) {
			return fmt.Errorf("the algorithm %q is none of %s", a, strings.Join(algorithms, ", "))
		}
	}
	for _, s := range append(slices.Clone(c.Scopes), c.ACRValues...) {
		if s == "" || len(s) > 256 || strings.ContainsAny(s, " \t\r\n\"\\") {
			return fmt.Errorf("the scope or context %q is empty, too long or holds a space", s)
		}
	}
	switch {
	case c.ClientID == "" || clean(c.ClientID) != c.ClientID:
		return errors.New("the client id is empty or holds control characters")
	case c.ClientKey != nil && !c.ClientSecret.Empty():
		return errors.New("there is both a client secret and a client key: keep one")
	case c.MaxAge < 0 || c.MaxAge%time.Second != 0:
		return errors.New("the greatest age of a sign-in is not a whole number of seconds")
	case c.Client == nil:
		return errors.New("there is no HTTP client")
	case len(c.Algorithms) == 0:
		return errors.New("there is no signature algorithm to take")
	}
	if c.ClientKey != nil {
		_, err := algorithmOf(c.ClientKey.Public())
		return err
	}
	return nil
}

// checkURL checks an absolute URL of the configuration or of a document.
func checkURL(what, text string, allowHTTP bool) error {
	u, err := url.Parse(text)
	if err != nil || len(text) > 2048 || u.Host == "" || u.Opaque != "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !allowHTTP) {
		return fmt.Errorf("the %s %q is not an https:// URL", what, clean(text))
	}
	return nil
}

// Name is Provider's.
func (p *OIDC) Name() string { return p.cfg.Name }

// Label is Provider's.
func (p *OIDC) Label() string { return p.cfg.Label }

// Begin is Provider's. The redirect is an authentication request (OpenID
// Connect Core section 3.1.2.1).
func (p *OIDC) Begin(ctx context.Context, returnTo string) (string, []byte, error) {
	d, err := p.disc.get(ctx)
	if err != nil {
		return "", nil, during("beginning to sign in", p.cfg.Name, err)
	}
	f := flow{
		Provider: p.cfg.Name, Kind: "oidc", Peer: p.cfg.Issuer, State: token(), Nonce: token(), Verifier: oauth2.GenerateVerifier(),
		ReturnTo: safeReturn(returnTo), Begun: p.cfg.Now(),
	}
	opts := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(f.Verifier), oidc.Nonce(f.Nonce)}
	if len(p.cfg.ACRValues) > 0 {
		opts = append(opts, oauth2.SetAuthURLParam("acr_values", strings.Join(p.cfg.ACRValues, " ")))
	}
	if p.cfg.MaxAge > 0 {
		opts = append(opts, oauth2.SetAuthURLParam("max_age", strconv.FormatInt(int64(p.cfg.MaxAge/time.Second), 10)))
	}
	data, err := f.marshal()
	if err != nil {
		return "", nil, during("beginning to sign in", p.cfg.Name, fail(CodeFlow, "writing the state of the sign-in: %w", err))
	}
	return p.oauth(d).AuthCodeURL(f.State, opts...), data, nil
}

// oauth is the client's side of the code flow (RFC 6749 section 4.1).
func (p *OIDC) oauth(d discovered) *oauth2.Config {
	style := oauth2.AuthStyleInHeader
	if p.cfg.ClientSecret.Empty() || p.cfg.SecretInBody || !slices.Contains(d.AuthMethods, "client_secret_basic") {
		style = oauth2.AuthStyleInParams
	}
	return &oauth2.Config{
		ClientID:     p.cfg.ClientID,
		ClientSecret: p.cfg.ClientSecret.Reveal(),
		Endpoint:     oauth2.Endpoint{AuthURL: d.AuthURL, TokenURL: d.TokenURL, AuthStyle: style},
		RedirectURL:  p.cfg.RedirectURL,
		Scopes:       append([]string{oidc.ScopeOpenID}, p.cfg.Scopes...),
	}
}

// Finish is Provider's, for the request to RedirectURL (OpenID Connect Core
// sections 3.1.2.5 to 3.1.3.8, RFC 9207).
func (p *OIDC) Finish(ctx context.Context, kept []byte, r *http.Request) (External, error) {
	e, err := p.finish(ctx, kept, r)
	if err != nil {
		return External{}, during("signing in", p.cfg.Name, err)
	}
	return e, nil
}

func (p *OIDC) finish(ctx context.Context, kept []byte, r *http.Request) (External, error) {
	f, err := readFlow(kept, p.cfg.Name, "oidc", p.cfg.Now())
	if err != nil {
		return External{}, err
	}
	if f.Peer != p.cfg.Issuer {
		return External{}, fail(CodeFlow, "the sign-in was begun with the issuer %q, which is no longer configured", f.Peer)
	}
	d, err := p.disc.get(ctx)
	if err != nil {
		return External{}, err
	}
	code, err := p.readCallback(f, d, r)
	if err != nil {
		return External{}, err
	}
	tok, err := p.exchange(ctx, d, f, code)
	if err != nil {
		return External{}, err
	}
	raw, _ := tok.Extra("id_token").(string)
	if raw == "" {
		return External{}, fail(CodeMisconfigured, "the token endpoint's answer holds no ID token: the scope openid is not granted to this client")
	}
	id, claims, err := p.verify(ctx, d, raw, f.Nonce)
	if err != nil {
		return External{}, err
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(tok.AccessToken); err != nil {
			return External{}, fail(CodeAnswer, "the access token does not belong to the ID token: %v", err)
		}
	}
	if p.cfg.UserInfo {
		if err := p.addUserInfo(ctx, d, tok, id.Subject, claims); err != nil {
			return External{}, err
		}
	}
	e, err := p.external(claims)
	e.ReturnTo = f.ReturnTo
	return e, err
}

// maxCallback bounds the query of the browser's return, in bytes.
const maxCallback = 16 << 10

// readCallback reads the authorization response (RFC 6749 section 4.1.2), and
// checks that it answers this flow and is from this issuer.
func (p *OIDC) readCallback(f flow, d discovered, r *http.Request) (code string, err error) {
	if r.Method != http.MethodGet || len(r.URL.RawQuery) > maxCallback {
		return "", fail(CodeAnswer, "the browser did not come back with a GET request of at most %d bytes", maxCallback)
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", fail(CodeAnswer, "the browser came back with a query that cannot be read")
	}
	for _, k := range []string{"state", "code", "iss", "error"} {
		if len(q[k]) > 1 {
			return "", fail(CodeAnswer, "the parameter %s is there more than once", k)
		}
	}
	if !same(q.Get("state"), f.State) {
		return "", fail(CodeFlow, "the state is not that of the sign-in under way")
	}
	if iss := q.Get("iss"); iss != p.cfg.Issuer && (iss != "" || d.IssInResponse) {
		return "", fail(CodeAnswer, "the answer is from the issuer %q, not from %q: another provider's answer was mixed in", clean(iss), p.cfg.Issuer)
	}
	if e := q.Get("error"); e != "" {
		return "", authorizationError(e, q.Get("error_description"))
	}
	if q.Get("code") == "" {
		return "", fail(CodeAnswer, "the answer holds neither a code nor an error")
	}
	return q.Get("code"), nil
}

// authorizationError sorts the errors of RFC 6749 section 4.1.2.1 and OpenID
// Connect Core section 3.1.2.6.
func authorizationError(code, description string) error {
	code, description = clean(code), clean(description)
	switch code {
	case "access_denied", "login_required", "interaction_required", "consent_required", "account_selection_required":
		return fail(CodeDenied, "the provider answered %q: %q", code, description)
	case "server_error", "temporarily_unavailable":
		return fail(CodeUnavailable, "the provider answered %q: %q", code, description)
	}
	return fail(CodeMisconfigured, "the provider answered %q: %q", code, description)
}

// exchange trades the code for tokens (OpenID Connect Core section 3.1.3).
func (p *OIDC) exchange(ctx context.Context, d discovered, f flow, code string) (*oauth2.Token, error) {
	opts := []oauth2.AuthCodeOption{oauth2.VerifierOption(f.Verifier)}
	if p.cfg.ClientKey != nil {
		assertion, err := clientAssertion(p.cfg.ClientKey, p.cfg.ClientKeyID, p.cfg.ClientID, p.cfg.ClientKeyAudience, p.cfg.Now())
		if err != nil {
			return nil, fail(CodeMisconfigured, "%w", err)
		}
		opts = append(opts, oauth2.SetAuthURLParam("client_assertion", assertion),
			oauth2.SetAuthURLParam("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"))
	}
	tok, err := p.oauth(d).Exchange(oidc.ClientContext(ctx, p.cfg.Client), code, opts...)
	if err == nil {
		return tok, nil
	}
	var re *oauth2.RetrieveError
	var lost *url.Error
	switch {
	case errors.As(err, &lost):
		return nil, unreachable("asking the token endpoint", err)
	case !errors.As(err, &re):
		return nil, fail(CodeMisconfigured, "reading the token endpoint's answer: %v", err)
	}
	// The answer's body may repeat secrets of the request: only its code is told.
	what, status := clean(re.ErrorCode), 0
	if re.Response != nil {
		status = re.Response.StatusCode
	}
	switch {
	case what == "invalid_grant":
		return nil, fail(CodeAnswer, "the token endpoint did not take the code: it was used before, is too old or is not ours")
	case status >= 500:
		return nil, fail(CodeUnavailable, "the token endpoint answered with status %d", status)
	}
	return nil, fail(CodeMisconfigured, "the token endpoint answered %q with status %d: check the client id, its secret or key, and the redirect URL", what, status)
}
