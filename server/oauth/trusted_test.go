package oauth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/holdfast-iot/holdfast/access"
)

func ciIssuer(name string) TrustedIssuer {
	return TrustedIssuer{Issuer: name, Audience: "holdfast", Algorithms: []string{"ES256", "RS256"},
		Clients: map[string]string{"repo:acme/fleet:ref:refs/heads/main": "name-of-ci", "repo:acme/*:environment:test": "name-of-ci", "repo:*/fleet:environment:test": "name-of-other"}}
}

func (c *Config) withIssuers(list ...TrustedIssuer) { c.Issuers, c.Fetcher = list, http.DefaultClient }

// provider is another party that makes JWTs.
type provider struct {
	*httptest.Server
	mu      sync.Mutex
	keys    []jose.JSONWebKey
	down    bool
	issuer  string // in the discovery document
	fetches int    // of the key set
}

func newProvider(t *testing.T, keys ...jose.JSONWebKey) *provider {
	p := &provider{keys: keys}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case p.down:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/.well-known/openid-configuration":
			json.NewEncoder(w).Encode(map[string]string{"issuer": p.issuer, "jwks_uri": p.URL + "/keys"})
		case r.URL.Path == "/keys":
			p.fetches++
			json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: p.keys})
		}
	}))
	p.issuer = p.URL
	t.Cleanup(p.Close)
	return p
}

func (p *provider) set(change func()) { p.mu.Lock(); defer p.mu.Unlock(); change() }

func (p *provider) count() int { p.mu.Lock(); defer p.mu.Unlock(); return p.fetches }

// trusting is a node that trusts the provider.
func (w *world) trusting(p *provider, change func(*TrustedIssuer)) *Server {
	w.Helper()
	cfg := w.config()
	i := ciIssuer(p.URL)
	if change != nil {
		change(&i)
	}
	cfg.Issuers, cfg.Fetcher = []TrustedIssuer{i}, p.Client()
	s, err := New(w.Context(), cfg)
	w.ok(err)
	w.Cleanup(s.waitForFetches)
	return s
}

func (w *world) foreign(p *provider) map[string]any {
	now := w.clock().Unix()
	return map[string]any{"iss": p.URL, "sub": "repo:acme/fleet:ref:refs/heads/main", "aud": "holdfast", "iat": now, "exp": now + 300, "jti": randomText(9)}
}

func TestTrustedIssuer(t *testing.T) {
	w := newWorld(t)
	w.client("ci")
	key, stranger := newECKey(t), newECKey(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	w.ok(err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	w.ok(err)
	p := newProvider(t, jwkOf(key), jose.JSONWebKey{Key: &rsaKey.PublicKey, KeyID: "r", Algorithm: "RS512"}, jose.JSONWebKey{Key: edKey.Public(), KeyID: "e"},
		jose.JSONWebKey{Key: []byte("a shared secret, which has no place here"), KeyID: "s"}, jose.JSONWebKey{Key: &stranger.PublicKey, KeyID: "enc", Use: "enc"})
	s := w.trusting(p, nil)
	header := map[string]any{"kid": "k", "typ": "JWT"}
	with := func(of map[string]any, name string, value any) map[string]any {
		of = maps.Clone(of)
		of[name] = value
		if value == nil {
			delete(of, name)
		}
		return of
	}
	g := w.foreign(p)
	own := func(h, c map[string]any) string { return sign(t, jose.ES256, key, h, c) }
	c, err := s.Verify(t.Context(), own(header, g), here)
	w.ok(err)
	if c.Kind != access.Client || c.Client != "ci" || c.Name != "name-of-ci" || c.Issuer != p.URL || c.Scope != nil || c.Person != "" {
		t.Fatalf("%+v", c)
	}
	if _, err := s.Verify(t.Context(), own(header, with(g, "aud", []string{"other", "holdfast"})), here); err != nil {
		t.Fatal(err)
	}
	now := w.clock().Unix()
	for name, c := range map[string]struct {
		token string
		why   Why
	}{
		"stranger's key":        {sign(t, jose.ES256, stranger, header, g), BadSignature},
		"key for encryption":    {sign(t, jose.ES256, stranger, with(header, "kid", "enc"), g), UnknownKey},
		"algorithm not named":   {sign(t, jose.EdDSA, edKey, with(header, "kid", "e"), g), BadAlgorithm},
		"algorithm of the key":  {sign(t, jose.RS256, rsaKey, with(header, "kid", "r"), g), UnknownKey},
		"algorithm for the kid": {sign(t, jose.RS256, rsaKey, header, g), UnknownKey},
		"HS256 with their key":  {sign(t, jose.HS256, []byte("a shared secret, which has no place here"), with(header, "kid", "s"), g), BadAlgorithm},
		"no kid":                {own(with(header, "kid", nil), g), UnknownKey},
		"a logout token":        {own(with(header, "typ", "logout+jwt"), g), WrongType},
		"other audience":        {own(header, with(g, "aud", "github")), WrongAudience},
		"our audience":          {own(header, with(g, "aud", issuer+"/api")), WrongAudience},
		"expired":               {own(header, with(g, "exp", now-31)), Expired},
		"not yet":               {own(header, with(g, "nbf", now+31)), NotYet},
		"old":                   {own(header, with(g, "iat", now-86400-31)), TooOld},
		"no iat":                {own(header, with(g, "iat", nil)), TooOld},
		"other branch":          {own(header, with(g, "sub", "repo:acme/fleet:ref:refs/heads/evil")), WrongSubject},
		"more behind":           {own(header, with(g, "sub", "repo:acme/fleet:ref:refs/heads/main/x")), WrongSubject},
		"newline behind":        {own(header, with(g, "sub", "repo:acme/fleet:ref:refs/heads/main\n")), WrongSubject},
		"star reaches too far":  {own(header, with(g, "sub", "repo:acme/evil:x:environment:test")), WrongSubject},
		"two clients":           {own(header, with(g, "sub", "repo:acme/fleet:environment:test")), WrongSubject},
		"client does not exist": {own(header, with(g, "sub", "repo:umbrella/fleet:environment:test")), UnknownClient},
		"star itself":           {own(header, with(g, "sub", "repo:acme/*:environment:test")), WrongSubject},
		"no subject":            {own(header, with(g, "sub", nil)), WrongSubject},
		"in our name":           {sign(t, jose.ES256, key, map[string]any{"kid": "k", "typ": "at+jwt"}, w.good(s)), UnknownKey},
		"as a person":           {own(header, with(with(g, "client_id", CLIClient), "sid", "s1")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if c.why != "" {
				rejects(t, s, c.token, c.why)
			} else if got, err := s.Verify(t.Context(), c.token, here); err != nil || got.Kind != access.Client || got.SignIn != "" {
				t.Fatalf("%+v %v", got, err)
			}
		})
	}
	if _, err := s.Verify(t.Context(), own(header, with(g, "sub", "repo:acme/pumps:environment:test")), here); err != nil {
		t.Fatalf("a subject of a pattern: %v", err)
	}
}

func TestTrustedReplay(t *testing.T) {
	w := newWorld(t)
	w.client("ci")
	key := newECKey(t)
	p := newProvider(t, jwkOf(key))
	once := func(i *TrustedIssuer) {
		i.ReplayCheck, i.JWKSURL, i.SubjectClaim, i.MaxAge = true, p.URL+"/keys", "who", time.Minute
	}
	a, b := w.trusting(p, once), w.trusting(p, once)
	header := map[string]any{"kid": "k"}
	make := func(change func(map[string]any)) string {
		c := w.foreign(p)
		c["who"], c["sub"] = c["sub"], "somebody"
		change(c)
		return sign(t, jose.ES256, key, header, c)
	}
	token := make(func(map[string]any) {})
	wins := 0
	for _, err := range atOnce(8, func(i int) error { _, err := []*Server{a, b}[i%2].Verify(t.Context(), token, here); return err }) {
		if err == nil {
			wins++
		}
	}
	if wins != 1 {
		t.Fatalf("%d of 8 uses of a token were accepted", wins)
	}
	w.why(a, token, Replayed)
	w.why(a, make(func(c map[string]any) { delete(c, "jti") }), Malformed)
	w.why(a, make(func(c map[string]any) { c["who"] = []string{"x"} }), Malformed)
	w.why(a, make(func(c map[string]any) { delete(c, "who") }), Malformed)
	w.why(a, make(func(c map[string]any) { c["iat"] = w.clock().Unix() - 91 }), TooOld)
}

// TestKeyFetches counts what strangers can make this server fetch.
func TestKeyFetches(t *testing.T) {
	w := newWorld(t)
	w.client("ci")
	key, next := newECKey(t), newECKey(t)
	p := newProvider(t, jwkOf(key))
	s := w.trusting(p, nil)
	token := func(kid string, k any) string {
		return sign(t, jose.ES256, k, map[string]any{"kid": kid}, w.foreign(p))
	}
	good := func(text string) {
		t.Helper()
		if _, err := s.Verify(t.Context(), text, here); err != nil {
			t.Fatal(err)
		}
	}
	stranger := newECKey(t)
	atOnce(20, func(i int) error {
		_, err := s.Verify(t.Context(), token(fmt.Sprint("x", i), stranger), here)
		return err
	})
	if n := p.count(); n != 1 {
		t.Fatalf("%d fetches for 20 made-up key ids at once", n)
	}
	for range 6 {
		w.move(10 * time.Second)
		w.why(s, token(randomKid(), stranger), UnknownKey)
	}
	s.waitForFetches()
	if n := p.count(); n != 2 {
		t.Fatalf("%d fetches in a minute of made-up key ids", n)
	}
	good(token("k", key))
	// A new key is found when it is used, a minute later at most.
	p.set(func() { p.keys = append(p.keys, jose.JSONWebKey{Key: &next.PublicKey, KeyID: "n"}) })
	w.move(time.Minute)
	good(token("n", next))
	// Keys serve on while the issuer is down, for a day.
	p.set(func() { p.down = true })
	for range 20 {
		w.move(time.Hour)
		good(token("k", key))
		s.waitForFetches()
	}
	w.move(5 * time.Hour)
	w.why(s, token("k", key), NoKeys)
	// Back again, with the old key withdrawn.
	p.set(func() { p.down, p.keys = false, p.keys[1:] })
	w.move(time.Minute)
	w.why(s, token("k", key), UnknownKey)
	good(token("n", next))
	// A document of somebody else, a key set that is none, or a large one.
	w.move(2 * staleFor)
	p.set(func() { p.issuer = "https://evil.example.com" })
	w.why(s, token("n", next), NoKeys)
	p.set(func() { p.issuer = p.URL; p.keys = nil })
	w.move(time.Minute)
	w.why(s, token("n", next), NoKeys)
	p.set(func() { p.keys = []jose.JSONWebKey{{Key: &next.PublicKey, KeyID: strings.Repeat("n", maxDocument)}} })
	w.move(time.Minute)
	w.why(s, token("n", next), NoKeys)
	p.set(func() {
		p.keys = []jose.JSONWebKey{{Key: &next.PublicKey, KeyID: "n"}, {Key: &stranger.PublicKey, KeyID: "n"}}
	})
	w.move(time.Minute)
	w.why(s, token("n", next), UnknownKey)
}

func FuzzKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","kid":"a"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := publicKeys(text, asymmetric)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys and %v", len(keys), err)
		}
		for _, k := range keys {
			if !k.IsPublic() || !k.Valid() {
				t.Fatal("a key that is not a valid public one was kept")
			}
		}
	})
}
