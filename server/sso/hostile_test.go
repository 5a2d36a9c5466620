package sso

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/holdfast-iot/holdfast/internal/outbound"
)

// local is a client that may reach this machine, and nothing else inside.
func local(t testing.TB) *http.Client {
	t.Helper()
	c, err := outbound.New(outbound.Policy{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// keys of the tests: made once, because RSA keys take long to make.
var keys = sync.OnceValue(func() (k struct {
	rsa, rsa2, weak *rsa.PrivateKey
	p256, p384      *ecdsa.PrivateKey
	ed              ed25519.PrivateKey
}) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.rsa2, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.weak, err = rsa.GenerateKey(rand.Reader, 1024)
	must(err)
	k.p256, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	k.p384, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(err)
	_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	return k
})

// hostile is a provider that answers whatever a test tells it to.
type hostile struct {
	t      *testing.T
	server *httptest.Server

	mu        sync.Mutex
	doc       map[string]any
	jwks      any
	keyHits   int
	docHits   int
	token     func(form url.Values) (int, any)
	userinfo  any
	form      url.Values
	basicUser string
	basicPass string
}

// change alters the provider between two requests.
func (h *hostile) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

func newHostile(t *testing.T) *hostile {
	h := &hostile{t: t}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if raw, ok := v.([]byte); ok {
			w.Write(raw)
			return
		}
		json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.docHits++
		answer(w, 200, h.doc)
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.keyHits++
		answer(w, 200, h.jwks)
	})
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		answer(w, 200, h.userinfo)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		h.mu.Lock()
		defer h.mu.Unlock()
		h.form = r.PostForm
		h.basicUser, h.basicPass, _ = r.BasicAuth()
		status, v := h.token(r.PostForm)
		answer(w, status, v)
	})
	h.server = httptest.NewServer(mux)
	t.Cleanup(h.server.Close)
	iss := h.server.URL
	h.doc = map[string]any{
		"issuer": iss, "authorization_endpoint": iss + "/auth", "token_endpoint": iss + "/token", "jwks_uri": iss + "/keys", "userinfo_endpoint": iss + "/userinfo",
	}
	h.jwks = set(jwk(&keys().rsa.PublicKey, "k1", "RS256"))
	return h
}

func (h *hostile) config() OIDCConfig {
	return OIDCConfig{
		Name: "corp", Label: "Corp", Issuer: h.server.URL, ClientID: "holdfast", ClientSecret: NewSecret("secret"), RedirectURL: callback,
		AllowHTTP: true, Client: local(h.t),
	}
}

func jwk(key any, kid, alg string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: alg, Use: "sig"}
}

func set(keys ...jose.JSONWebKey) any { return jose.JSONWebKeySet{Keys: keys} }

// claims are those of a good ID token.
func (h *hostile) claims(nonce string) map[string]any {
	now := time.Now().Unix()
	return map[string]any{
		"iss": h.server.URL, "sub": "u1", "aud": "holdfast", "exp": now + 300, "iat": now, "nonce": nonce,
		"preferred_username": "ada", "name": "Ada L", "email": "ada@example.com", "email_verified": true,
		"groups": []string{"ops", "dev"}, "amr": []string{"pwd", "mfa"}, "auth_time": now - 5, "sid": "s1",
	}
}

// jwt signs with any algorithm, also such as nobody should take.
func jwt(t testing.TB, header map[string]any, claims any, key any) string {
	t.Helper()
	enc := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := enc(header) + "." + enc(claims)
	var sig []byte
	var err error
	switch k := key.(type) {
	case nil:
	case []byte:
		m := hmac.New(sha256.New, k)
		m.Write([]byte(text))
		sig = m.Sum(nil)
	case *rsa.PrivateKey:
		sum := sha256.Sum256([]byte(text))
		if header["alg"] == "PS256" {
			sig, err = rsa.SignPSS(rand.Reader, k, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 32})
		} else {
			sig, err = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
		}
	case crypto.Signer:
		sig, err = sign(k, []byte(text))
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

var rs256 = map[string]any{"alg": "RS256", "kid": "k1"}

// round begins a sign-in, lets the provider make an ID token for it, and
// finishes. Query changes what the browser brings.
func (h *hostile) round(p *OIDC, idToken func(nonce string) string, query func(url.Values)) (External, error) {
	h.t.Helper()
	to, kept, err := p.Begin(h.t.Context(), "/home")
	if err != nil {
		return External{}, err
	}
	u, err := url.Parse(to)
	if err != nil {
		h.t.Fatal(err)
	}
	asked := u.Query()
	h.change(func() {
		if h.token == nil || idToken != nil {
			h.token = func(url.Values) (int, any) {
				return 200, map[string]any{"access_token": "at-1", "token_type": "Bearer", "expires_in": 60, "id_token": idToken(asked.Get("nonce"))}
			}
		}
	})
	q := url.Values{"code": {"c1"}, "state": {asked.Get("state")}}
	if query != nil {
		query(q)
	}
	return p.Finish(h.t.Context(), kept, httptest.NewRequest("GET", callback+"?"+q.Encode(), nil))
}

// good signs the good claims, changed by edit.
func (h *hostile) good(edit func(map[string]any)) func(string) string {
	return func(nonce string) string {
		c := h.claims(nonce)
		if edit != nil {
			edit(c)
		}
		return jwt(h.t, rs256, c, keys().rsa)
	}
}

// seenInMemory is a SeenFunc for one test.
func seenInMemory() SeenFunc {
	var mu sync.Mutex
	seen := map[string]bool{}
	return func(_ context.Context, id string, until time.Time) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		first := !seen[id]
		seen[id] = true
		return first && time.Until(until) < 24*time.Hour, nil
	}
}

func publicPEM(t *testing.T, key any) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// header is rs256 with changes.
func header(edit map[string]any) map[string]any {
	h := maps.Clone(rs256)
	maps.Copy(h, edit)
	return h
}

func swap(s, old, new string) string { return strings.Replace(s, old, new, 1) }
