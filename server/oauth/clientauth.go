package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Ways in which a client proves itself (RFC 7591 section 2).
const (
	secretBasic   = "client_secret_basic"
	secretPost    = "client_secret_post"
	privateKeyJWT = "private_key_jwt"
	public        = "none"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// maxAssertionLife bounds how far ahead an assertion may end, which bounds how
// long its id is kept.
const maxAssertionLife = 10 * time.Minute

// proof is what a request presents for its client.
type proof struct {
	method    string
	id        string
	secret    enroll.Secret
	assertion string
}

// presented reads which one way of proof the request uses (RFC 6749 section
// 2.3: never more than one).
func presented(r *request) (p proof, err error) {
	ways := 0
	if name, password, ok := r.BasicAuth(); ok {
		id, err1 := url.QueryUnescape(name)
		secret, err2 := url.QueryUnescape(password)
		if err1 != nil || err2 != nil {
			return p, no("invalid_request", "the client id and secret have to be form-encoded before they go into the Authorization header")
		}
		p = proof{method: secretBasic, id: id, secret: enroll.NewSecret(secret)}
		ways++
	} else if r.Header.Get("Authorization") != "" {
		return p, &problem{status: http.StatusUnauthorized, code: "invalid_client", description: "use HTTP Basic, or no Authorization header", basic: true}
	}
	if r.form["client_secret"] != "" {
		p = proof{method: secretPost, id: r.form["client_id"], secret: r.form.secret("client_secret")}
		ways++
	}
	if r.form["client_assertion"] != "" || r.form["client_assertion_type"] != "" {
		if r.form["client_assertion_type"] != assertionType {
			return p, no("invalid_request", "the client_assertion_type is not %s", assertionType)
		}
		p = proof{method: privateKeyJWT, id: r.form["client_id"], assertion: r.form["client_assertion"]}
		ways++
	}
	switch {
	case ways > 1:
		return p, no("invalid_request", "prove the client in one way only")
	case ways == 0:
		p = proof{method: public, id: r.form["client_id"]}
	case r.form["client_id"] != "" && p.id != r.form["client_id"]:
		return p, no("invalid_request", "the request names two clients")
	}
	return p, nil
}

// caller is a client that was proven.
type caller struct {
	Client
	method string
	used   *assertionID // of private_key_jwt: not recorded yet
}

func (c caller) cli() bool { return c.method == public }

func (c caller) actor(source netip.Addr) access.Actor {
	return access.Actor{Kind: access.Client, ID: c.ID, Source: sourceText(source)}
}

func sourceText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// authenticate proves the client of a request. CLIClient needs no proof; what it
// may do rests on the device code or refresh secret that it brings. All others
// get the same answer, whatever was wrong; the reason goes to the audit log.
func (s *Server) authenticate(r *request) (caller, error) {
	p, err := presented(r)
	if err != nil {
		return caller{}, err
	}
	if p.method == secretBasic && p.id == CLIClient && p.secret.Empty() {
		p.method = public // a client id alone (RFC 6749 section 2.3.1)
	}
	if p.method == public && p.id == CLIClient {
		return caller{method: public, Client: Client{APIClient: access.APIClient{ID: CLIClient, Name: CLIClient}}}, nil
	}
	c, why, err := s.proveClient(r, p)
	if err != nil {
		return caller{}, fmt.Errorf("proving a client: %w", err)
	}
	if why != "" {
		anonymous := access.Actor{Kind: access.Anonymous, ID: "anonymous", Source: sourceText(r.source)}
		s.cfg.Refuse(r.Context(), s.cfg.Event(anonymous, "client.authentication_refused", "", "", "client_id", audit.Text(p.id, 128), "method", p.method), why)
		return caller{}, &problem{status: http.StatusUnauthorized, code: "invalid_client", description: "the client is not known, or its proof is not valid", basic: p.method == secretBasic}
	}
	return c, nil
}

// proveClient returns why the client is not proven, or an error if that cannot
// be known.
func (s *Server) proveClient(r *request, p proof) (c caller, why string, err error) {
	c.method = p.method
	var signed parsed
	if p.method == privateKeyJWT {
		if signed, err = parseToken(p.assertion, assertionAlgorithms); err != nil {
			return c, "the assertion cannot be read", nil
		}
		if p.id != "" && p.id != signed.claims.Subject {
			return c, "the assertion is of another client", nil
		}
		p.id = signed.claims.Subject
	}
	found := plausible(p.id)
	if found {
		c.Client, err = s.cfg.Clients.ByID(r.Context(), p.id)
		if errors.Is(err, sqlstore.ErrNotFound) {
			found, err = false, nil
		}
		if err != nil {
			return c, "", err
		}
	}
	switch p.method {
	case secretBasic, secretPost:
		if !c.secretIs(p.secret) {
			why = "the secret is wrong"
		}
	case privateKeyJWT:
		c.used, why = s.proveAssertion(c.Client, signed, r.url)
	default:
		why = "there is no proof"
	}
	switch {
	case !found:
		why = "there is no such client"
	case why != "":
	case c.Disabled:
		why = "the client is disabled"
	case !c.Admits(r.source):
		why = "the client may not call from this address"
	}
	if why == "" && c.used != nil {
		err = s.cfg.Store.UseJWT(r.Context(), "client-assertion", c.used.id, c.used.until)
		if errors.Is(err, sqlstore.ErrChanged) {
			why, err = "the assertion was used before", nil
		}
	}
	return c, why, err
}

// plausible tells whether a client id can be one. Databases do not take every
// byte.
func plausible(id string) bool {
	return len(id) > 0 && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// assertionID names an assertion that may be used once.
type assertionID struct {
	id    string
	until time.Time
}

// proveAssertion checks a client's JWT (RFC 7523 section 3). It has to be meant
// for the endpoint that it came to, or for the issuer as a whole.
func (s *Server) proveAssertion(c Client, p parsed, endpoint string) (used *assertionID, why string) {
	if p.typ != "" && p.typ != "jwt" && p.typ != "client-authentication+jwt" {
		return nil, "the assertion is another kind of JWT"
	}
	keys, err := publicKeys([]byte(c.JWKS), assertionAlgorithms)
	if err != nil {
		return nil, "the client has no keys"
	}
	key := match(keys, p.kid, p.algorithm)
	if key == nil || !p.verify(key) {
		return nil, "the assertion's signature is not of the client's keys"
	}
	now := s.cfg.Now()
	if at := p.claims.inTime(now, leeway); at != "" {
		return nil, "the assertion's times: " + string(at)
	}
	ends := p.claims.Expires.time()
	switch {
	case p.claims.Issuer != c.ID || p.claims.Subject != c.ID:
		return nil, "the assertion's iss and sub are not the client"
	case len(p.claims.Audience) != 1 || !p.claims.meant(s.cfg.Issuer, endpoint):
		return nil, "the assertion is meant for another place"
	case p.claims.ID == "":
		return nil, "the assertion has no jti"
	case ends.Sub(now) > maxAssertionLife+leeway:
		return nil, "the assertion lives too long"
	}
	return &assertionID{id: onceID(c.ID, p.claims.ID), until: ends.Add(2 * leeway)}, ""
}

// CheckClientKeys refuses a client's key set (access.APIClient.JWKS) that could
// not be used, or that holds anything but public keys.
func CheckClientKeys(text string) error {
	bad := func(detail string) error {
		return refusal.New(refusal.Invalid, "bad-jwks", "send a JSON Web Key Set with 1 to 10 public keys: EC P-256 or P-384, Ed25519, or RSA of at least 2048 bits, each with its own kid", "%s", detail)
	}
	if len(text) > 32<<10 {
		return bad("the key set is larger than 32 KiB")
	}
	all, err := rawKeys([]byte(text))
	if err != nil || len(all) > 10 {
		return bad("the key set is not a JSON Web Key Set, or has too many keys")
	}
	keys, err := publicKeys([]byte(text), assertionAlgorithms)
	if err != nil || len(keys) != len(all) {
		return bad("a key of the set is private, secret, too short or of a kind that is not used")
	}
	seen := map[string]bool{}
	for _, k := range keys {
		if seen[k.KeyID] || k.KeyID == "" && len(keys) > 1 || strings.TrimSpace(k.KeyID) != k.KeyID {
			return bad("two keys of the set cannot be told apart by their kid")
		}
		seen[k.KeyID] = true
	}
	return nil
}

// ClientAlgorithms are what clients may sign their assertions with.
func ClientAlgorithms() []string { return algorithmNames(assertionAlgorithms) }

func algorithmNames(list []jose.SignatureAlgorithm) (names []string) {
	for _, a := range list {
		names = append(names, string(a))
	}
	return names
}

// held tells whether a client holds a permission now.
func (s *Server) held(ctx context.Context, c caller, source netip.Addr) (access.Rights, error) {
	rights, err := s.cfg.Rights(ctx, c.actor(source))
	if err != nil {
		return rights, fmt.Errorf("asking for the rights of client %s: %w", c.ID, err)
	}
	return rights, nil
}
