// Package idptest gives tests identity providers that somebody else wrote, on
// loopback, by TLS.
//
// It promises that they end with the test, and that what they say about somebody's
// groups is what the test told them last. Their keys, passwords and certificates
// are of no worth.
package idptest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"html"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/crewjam/saml/samlidp"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	dsig "github.com/russellhaering/goxmldsig"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// What the OpenID provider knows us and its one person by. The SAML provider's
// person has the same password.
const (
	ClientID = "holdfast"
	Secret   = "s3cret/+ %&"
	User     = "test-user2"
	Subject  = "id2"
	Password = "verysecure"
)

// Provider is what both kinds have.
type Provider struct {
	URL    string
	CAFile string // authority of its certificate
	t      testing.TB
	client *http.Client

	mu     sync.Mutex
	h      http.Handler     // nil: it answers nothing but 503; guarded by mu
	down   bool             // guarded by mu
	groups []string         // guarded by mu
	users  *storage.Storage // guarded by mu
}

func start(t testing.TB) *Provider {
	t.Helper()
	p := &Provider{t: t}
	s := httptest.NewUnstartedServer(p)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	p.URL, p.client, p.CAFile = s.URL, s.Client(), filepath.Join(t.TempDir(), "idp.pem")
	p.ok(os.WriteFile(p.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
	return p
}

func (p *Provider) ok(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// ServeHTTP serves the provider, unless it is down.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	h := p.h
	if p.down {
		h = nil
	}
	p.mu.Unlock()
	if h == nil {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	h.ServeHTTP(w, r)
}

func (p *Provider) serve(h http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.h = h
}

// Down makes the provider answer 503, or serve again.
func (p *Provider) Down(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// OIDC is zitadel's example of an OpenID provider, with claims for groups.
type OIDC struct{ *Provider }

// NewOIDC starts a provider. It serves nobody before Register.
func NewOIDC(t testing.TB) OIDC { return OIDC{start(t)} }

// Groups are those that the person is in from now on.
func (o OIDC) Groups(groups ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.groups = groups
}

// Register makes us known under the address that browsers come back to.
func (o OIDC) Register(redirect string) {
	o.t.Helper()
	users := storage.NewStorageWithClients(storage.NewUserStore(o.URL), map[string]*storage.Client{ClientID: storage.WebClient(ClientID, Secret, redirect)})
	o.mu.Lock()
	o.users = users
	o.mu.Unlock()
	o.serve(exampleop.SetupServer(o.URL, grouped{users, o}, slog.New(slog.DiscardHandler), false))
}

// LogoutToken says that the session, or with an empty one the person, signed out.
func (o OIDC) LogoutToken(id, session string) string {
	o.t.Helper()
	o.mu.Lock()
	users := o.users
	o.mu.Unlock()
	key, err := users.SigningKey(context.Background())
	o.ok(err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: key.SignatureAlgorithm(), Key: key.Key()}, (&jose.SignerOptions{}).WithHeader("kid", key.ID()).WithType("logout+jwt"))
	o.ok(err)
	claims := map[string]any{"iss": o.URL, "aud": ClientID, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "jti": id, "sub": Subject,
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}
	if session != "" {
		claims["sid"] = session
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	o.ok(err)
	return token
}

// grouped says of people which groups they are in.
type grouped struct {
	*storage.Storage
	o OIDC
}

func (g grouped) add(u *oidc.UserInfo, err error) error {
	g.o.mu.Lock()
	defer g.o.mu.Unlock()
	u.AppendClaims("groups", g.o.groups)
	return err
}

// SetUserinfoFromRequest is op.CanSetUserinfoFromRequest's.
func (g grouped) SetUserinfoFromRequest(ctx context.Context, u *oidc.UserInfo, token op.IDTokenRequest, scopes []string) error {
	return g.add(u, g.Storage.SetUserinfoFromRequest(ctx, u, token, scopes))
}

// SetUserinfoFromToken is op.Storage's.
func (g grouped) SetUserinfoFromToken(ctx context.Context, u *oidc.UserInfo, tokenID, subject, origin string) error {
	return g.add(u, g.Storage.SetUserinfoFromToken(ctx, u, tokenID, subject, origin))
}

// SAML is crewjam's identity provider.
type SAML struct{ *Provider }

// Names of the attributes that it sends.
const (
	UID       = "urn:oid:0.9.2342.19200300.100.1.1"
	CN        = "urn:oid:2.5.4.3"
	GroupList = "urn:oid:1.3.6.1.4.1.5923.1.1.1.1"
)

// NewSAML starts a provider whose entity ID is EntityID.
func NewSAML(t testing.TB) SAML {
	s := SAML{start(t)}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	s.ok(err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "idp"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	s.ok(err)
	cert, err := x509.ParseCertificate(der)
	s.ok(err)
	u, err := url.Parse(s.URL)
	s.ok(err)
	idp, err := samlidp.New(samlidp.Options{URL: *u, Key: key, Certificate: cert, Store: &samlidp.MemoryStore{}, Logger: log.New(io.Discard, "", 0)})
	s.ok(err)
	idp.IDP.SignatureMethod = dsig.RSASHA256SignatureMethod
	s.serve(idp)
	return s
}

// EntityID is its name, and where its metadata is.
func (s SAML) EntityID() string { return s.URL + "/metadata" }

// SignInURL takes the posted name and password.
func (s SAML) SignInURL() string { return s.URL + "/sso" }

// Put makes the one person, in these groups.
func (s SAML) Put(groups ...string) {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"name": User, "password": Password, "groups": groups, "email": User + "@example.com", "common_name": "Test User2"})
	s.ok(err)
	s.put("/users/"+User, body)
}

// Register imports our metadata.
func (s SAML) Register(metadata []byte) { s.put("/services/holdfast", metadata) }

func (s SAML) put(path string, body []byte) {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodPut, s.URL+path, bytes.NewReader(body))
	s.ok(err)
	resp, err := s.client.Do(r)
	s.ok(err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		s.t.Fatalf("telling the identity provider %s: %d", path, resp.StatusCode)
	}
}

var hidden = regexp.MustCompile(`name="([A-Za-z]+)" value="([^"]*)"`)

// Form reads the values of a page's form.
func Form(page []byte) url.Values {
	v := url.Values{}
	for _, m := range hidden.FindAllSubmatch(page, -1) {
		v.Set(string(m[1]), html.UnescapeString(string(m[2])))
	}
	return v
}
