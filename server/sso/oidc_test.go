package sso

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/holdfast-iot/holdfast/internal/outbound"
	"github.com/holdfast-iot/holdfast/refusal"
)

func newOIDC(t *testing.T, cfg OIDCConfig) *OIDC {
	t.Helper()
	p, err := NewOIDC(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOIDCSignsIn(t *testing.T) {
	h := newHostile(t)
	p := newOIDC(t, h.config())
	e, err := h.round(p, h.good(func(c map[string]any) {
		sum := sha256.Sum256([]byte("at-1"))
		c["at_hash"] = base64.RawURLEncoding.EncodeToString(sum[:16])
	}), nil)
	if err != nil {
		t.Fatal(err)
	}
	e.AuthTime = e.AuthTime.UTC()
	want := fmt.Sprintf("%+v", External{Provider: "corp", Subject: "u1", Name: "ada", Display: "Ada L", Mail: "ada@example.com", MailVerified: true,
		Groups: []string{"ops", "dev"}, AuthTime: e.AuthTime, Factors: true, SessionRef: "s1", ReturnTo: "/home"})
	if got := fmt.Sprintf("%+v", e); got != want || time.Since(e.AuthTime) > time.Minute {
		t.Errorf("%s\nnot %s", got, want)
	}
	if both := []Provider{p, newSAML(t, samlConfig(t))}; both[0].Name()+both[1].Name() != "corpcorp" || both[0].Label() != "Corp" || both[1].Label() != "Corp" {
		t.Error("a provider does not say what it is called")
	}
	if h.basicUser != "holdfast" || h.basicPass != "secret" || len(h.form.Get("code_verifier")) < 43 || h.form.Get("redirect_uri") != callback {
		t.Errorf("the token request: %s %v", h.basicUser, h.form)
	}
}

func TestBeginAsksForWhatItChecks(t *testing.T) {
	h := newHostile(t)
	cfg := h.config()
	cfg.ACRValues, cfg.MaxAge = []string{"gold", "silver"}, time.Hour
	to, kept, err := newOIDC(t, cfg).Begin(t.Context(), "//evil.example/")
	if err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(to)
	f, err := readFlow(kept, "corp", "oidc", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(f.Verifier))
	for k, v := range map[string]string{
		"response_type": "code", "client_id": "holdfast", "redirect_uri": callback, "scope": "openid profile email", "state": f.State, "nonce": f.Nonce,
		"code_challenge": base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method": "S256", "acr_values": "gold silver", "max_age": "3600",
	} {
		if u.Query().Get(k) != v {
			t.Errorf("%s is %q, not %q", k, u.Query().Get(k), v)
		}
	}
	if f.ReturnTo != "/" {
		t.Errorf("returns to %q", f.ReturnTo)
	}
	if f.State == f.Nonce || f.State == f.Verifier || len(f.State) < 43 {
		t.Error("state, nonce and verifier are not three secrets")
	}
}

// TestOIDCAttacks has the forged answers. Each would let somebody in as
// somebody else.
func TestOIDCAttacks(t *testing.T) {
	h := newHostile(t)
	k := keys()
	now := time.Now().Unix()
	edit := func(kv ...any) func(string) string {
		return h.good(func(c map[string]any) {
			for i := 0; i < len(kv); i += 2 {
				if kv[i+1] == nil {
					delete(c, kv[i].(string))
				} else {
					c[kv[i].(string)] = kv[i+1]
				}
			}
		})
	}
	signed := func(hd map[string]any, key any) func(string) string {
		return func(n string) string { return jwt(t, hd, h.claims(n), key) }
	}
	for _, c := range []struct {
		name, code string
		token      func(string) string
	}{
		{"alg none", CodeAnswer, signed(map[string]any{"alg": "none"}, nil)},
		{"alg None with a key name", CodeAnswer, signed(map[string]any{"alg": "None", "kid": "k1"}, nil)},
		{"no alg", CodeAnswer, signed(map[string]any{"kid": "k1"}, k.rsa)},
		{"no signature", CodeAnswer, func(n string) string {
			s := h.good(nil)(n)
			return s[:strings.LastIndex(s, ".")+1]
		}},
		{"HS256 with the public key", CodeAnswer, signed(map[string]any{"alg": "HS256", "kid": "k1"}, publicPEM(t, &k.rsa.PublicKey))},
		{"HS256 with the modulus", CodeAnswer, signed(map[string]any{"alg": "HS256", "kid": "k1"}, k.rsa.N.Bytes())},
		{"HS256 with the client secret", CodeAnswer, signed(map[string]any{"alg": "HS256"}, []byte("secret"))},
		{"another key", CodeAnswer, signed(rs256, k.rsa2)},
		{"another key inside the header", CodeAnswer, signed(header(map[string]any{"jwk": jwk(&k.rsa2.PublicKey, "k1", "RS256")}), k.rsa2)},
		{"an elliptic key under an RSA name", CodeAnswer, signed(map[string]any{"alg": "ES256", "kid": "k1"}, k.p256)},
		{"a key at an address of the attacker", CodeAnswer, signed(header(map[string]any{"jku": h.server.URL + "/evil"}), k.rsa2)},
		{"a critical header", CodeAnswer, signed(header(map[string]any{"crit": []string{"exp"}, "exp": 1}), k.rsa)},
		{"an unencoded payload", CodeAnswer, signed(header(map[string]any{"crit": []string{"b64"}, "b64": false}), k.rsa)},
		{"the type of an access token", CodeAnswer, signed(header(map[string]any{"typ": "at+jwt"}), k.rsa)},
		{"the type of a logout token", CodeAnswer, signed(header(map[string]any{"typ": "logout+jwt"}), k.rsa)},
		{"changed claims", CodeAnswer, func(n string) string {
			parts := strings.Split(h.good(nil)(n), ".")
			c := h.claims(n)
			c["sub"] = "admin"
			b, _ := json.Marshal(c)
			return parts[0] + "." + base64.RawURLEncoding.EncodeToString(b) + "." + parts[2]
		}},
		{"JSON serialization", CodeAnswer, func(n string) string {
			p := strings.Split(h.good(nil)(n), ".")
			return fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, p[1], p[0], p[2])
		}},
		{"not a token", CodeAnswer, func(string) string { return "a.b.c" }},
		{"a huge token", CodeAnswer, func(n string) string {
			return h.good(func(c map[string]any) { c["x"] = strings.Repeat("x", maxToken) })(n)
		}},
		{"another issuer", CodeAnswer, edit("iss", "https://evil.example")},
		{"the issuer with a slash", CodeAnswer, edit("iss", h.server.URL+"/")},
		{"no issuer", CodeAnswer, edit("iss", nil)},
		{"another audience", CodeAnswer, edit("aud", "other")},
		{"no audience", CodeAnswer, edit("aud", nil)},
		{"two audiences without azp", CodeAnswer, edit("aud", []string{"holdfast", "other"})},
		{"issued to another client", CodeAnswer, edit("aud", []string{"holdfast", "other"}, "azp", "other")},
		{"another azp", CodeAnswer, edit("azp", "other")},
		{"azp that is no text", CodeAnswer, edit("azp", []string{"holdfast"})},
		{"expired", CodeAnswer, edit("exp", now-5)},
		{"no expiry", CodeAnswer, edit("exp", nil)},
		{"not yet valid", CodeAnswer, edit("nbf", now+90)},
		{"nbf that is no time", CodeAnswer, edit("nbf", -1)},
		{"issued in the future", CodeAnswer, edit("iat", now+90)},
		{"issued long ago", CodeAnswer, edit("iat", now-3600)},
		{"no iat", CodeAnswer, edit("iat", nil)},
		{"another nonce", CodeAnswer, edit("nonce", "abc")},
		{"no nonce", CodeAnswer, edit("nonce", nil)},
		{"empty nonce", CodeAnswer, edit("nonce", "")},
		{"another access token", CodeAnswer, edit("at_hash", "AAAAAAAAAAAAAAAAAAAAAA")},
		{"no subject", CodeProfile, edit("sub", nil)},
		{"a subject that is no text", CodeAnswer, edit("sub", 17)},
		{"a long subject", CodeProfile, edit("sub", strings.Repeat("x", 257))},
		{"a subject with a zero", CodeProfile, edit("sub", "admin\x00x")},
		{"a subject with a space at the end", CodeProfile, edit("sub", "admin ")},
		{"too many groups", CodeProfile, edit("groups", slices.Collect(func(yield func(string) bool) {
			for i := range 1001 {
				if !yield(fmt.Sprint("g", i)) {
					return
				}
			}
		}))},
		{"a long group", CodeProfile, edit("groups", strings.Repeat("g", 257))},
		{"a group with a newline", CodeProfile, edit("groups", []string{"a\nadmins"})},
		{"groups that are no texts", CodeMisconfigured, edit("groups", []any{1, 2})},
		{"groups in an object", CodeMisconfigured, edit("groups", map[string]any{"a": true})},
		{"no ID token", CodeMisconfigured, func(string) string { return "" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newOIDC(t, h.config())
			e, err := h.round(p, c.token, nil)
			if !refusal.Is(err, c.code) {
				t.Errorf("%+v %v, not %s", e, err, c.code)
			}
			if e.Subject != "" {
				t.Errorf("an error came with %+v", e)
			}
			if r := refusal.As(err); r != nil && r != refusals[c.code] {
				t.Errorf("strangers learn %q", r.Error())
			}
		})
	}
}

// TestCallbackAttacks has what a browser can be made to bring.
func TestCallbackAttacks(t *testing.T) {
	h := newHostile(t)
	p := newOIDC(t, h.config())
	_, other, err := p.Begin(t.Context(), "/")
	if err != nil {
		t.Fatal(err)
	}
	of, _ := readFlow(other, "corp", "oidc", time.Now())
	for _, c := range []struct {
		name, code string
		query      func(url.Values)
	}{
		{"no state", CodeFlow, func(q url.Values) { q.Del("state") }},
		{"empty state", CodeFlow, func(q url.Values) { q.Set("state", "") }},
		{"the state of another sign-in", CodeFlow, func(q url.Values) { q.Set("state", of.State) }},
		{"two states", CodeAnswer, func(q url.Values) { q.Add("state", "x") }},
		{"two codes", CodeAnswer, func(q url.Values) { q.Add("code", "x") }},
		{"no code", CodeAnswer, func(q url.Values) { q.Del("code") }},
		{"another provider's answer", CodeAnswer, func(q url.Values) { q.Set("iss", "https://other.example") }},
		{"denied", CodeDenied, func(q url.Values) { q.Set("error", "access_denied") }},
		{"down", CodeUnavailable, func(q url.Values) { q.Set("error", "temporarily_unavailable") }},
		{"bad scope", CodeMisconfigured, func(q url.Values) { q.Set("error", "invalid_scope") }},
		{"an error with another state", CodeFlow, func(q url.Values) { q.Set("error", "access_denied"); q.Set("state", "x") }},
		{"a huge query", CodeAnswer, func(q url.Values) { q.Set("x", strings.Repeat("x", maxCallback)) }},
	} {
		if _, err := h.round(p, h.good(nil), c.query); !refusal.Is(err, c.code) {
			t.Errorf("%s: %v, not %s", c.name, err, c.code)
		}
	}
	if _, err := h.round(p, h.good(nil), func(q url.Values) { q.Set("iss", h.server.URL) }); err != nil {
		t.Errorf("the right iss: %v", err)
	}
	h.change(func() { h.doc["authorization_response_iss_parameter_supported"] = true })
	if _, err := h.round(newOIDC(t, h.config()), h.good(nil), nil); !refusal.Is(err, CodeAnswer) {
		t.Errorf("a provider that always sends iss did not: %v", err)
	}
	r := httptest.NewRequest("POST", callback+"?state="+of.State+"&code=c", nil)
	if _, err := p.Finish(t.Context(), other, r); !refusal.Is(err, CodeAnswer) {
		t.Errorf("by POST: %v", err)
	}
	r = httptest.NewRequest("GET", callback+"?state="+of.State+"&code=c", nil)
	for name, kept := range map[string][]byte{
		"none": nil, "empty": {}, "no JSON": []byte("{"), "huge": make([]byte, maxFlow+1),
		"of another provider":  []byte(swap(string(other), `"corp"`, `"corq"`)),
		"of the other kind":    []byte(swap(string(other), `"oidc"`, `"saml"`)),
		"of another issuer":    []byte(swap(string(other), h.server.URL, "https://old.example")),
		"without a state":      []byte(swap(string(other), of.State, "")),
		"with another timeout": []byte(swap(string(other), `"begun":"2`, `"begun":"1`)),
	} {
		if _, err := p.Finish(t.Context(), kept, r); !refusal.Is(err, CodeFlow) {
			t.Errorf("a kept value that is %s: %v", name, err)
		}
	}
	cfg := h.config()
	cfg.Now = func() time.Time { return time.Now().Add(flowLife + time.Second) }
	if _, err := newOIDC(t, cfg).Finish(t.Context(), other, r); !refusal.Is(err, CodeFlow) {
		t.Errorf("too late: %v", err)
	}
}

func TestAlgorithms(t *testing.T) {
	h := newHostile(t)
	k := keys()
	h.jwks = set(jwk(&k.rsa.PublicKey, "r", ""), jwk(&k.p256.PublicKey, "e2", ""), jwk(&k.p384.PublicKey, "e3", ""), jwk(k.ed.Public(), "ed", ""))
	for _, c := range []struct {
		alg, kid string
		key      any
		ok       bool
	}{
		{"RS256", "r", k.rsa, true}, {"PS256", "r", k.rsa, true}, {"ES256", "e2", k.p256, true}, {"ES384", "e3", k.p384, true}, {"EdDSA", "ed", k.ed, true},
		{"RS256", "", k.rsa, true}, {"ES256", "e3", k.p384, false}, {"ES384", "e2", k.p256, false}, {"RS512", "r", k.rsa, false}, {"RS256", "missing", k.rsa, false},
	} {
		_, err := h.round(newOIDC(t, h.config()), func(n string) string {
			return jwt(t, map[string]any{"alg": c.alg, "kid": c.kid}, h.claims(n), c.key)
		}, nil)
		if (err == nil) != c.ok {
			t.Errorf("%s with %q: %v", c.alg, c.kid, err)
		}
	}
	cfg := h.config()
	cfg.Algorithms = []string{"ES256"}
	if _, err := h.round(newOIDC(t, cfg), func(n string) string {
		return jwt(t, map[string]any{"alg": "RS256", "kid": "r"}, h.claims(n), k.rsa)
	}, nil); !refusal.Is(err, CodeAnswer) {
		t.Errorf("an algorithm that is not configured: %v", err)
	}
}

// TestKeySets has key sets that try to bring in a key that must not verify.
func TestKeySets(t *testing.T) {
	h := newHostile(t)
	k := keys()
	secret := []byte("0123456789abcdef0123456789abcdef")
	enc := jwk(&k.rsa.PublicKey, "k1", "RS256")
	enc.Use = "enc"
	many := make([]jose.JSONWebKey, maxKeys+1)
	for i := range many {
		many[i] = jwk(&k.rsa.PublicKey, "k1", "RS256")
	}
	for _, c := range []struct {
		name, code string
		set        any
		hd         map[string]any
		key        any
	}{
		{"a symmetric key", CodeAnswer, set(jwk(secret, "k1", "HS256")), map[string]any{"alg": "HS256", "kid": "k1"}, secret},
		{"a symmetric key beside a good one", CodeAnswer, set(jwk(secret, "k1", ""), jwk(&k.rsa2.PublicKey, "k2", "RS256")), map[string]any{"alg": "HS256", "kid": "k1"}, secret},
		{"a symmetric key for RS256", CodeAnswer, set(jwk(secret, "k1", "RS256"), jwk(&k.rsa2.PublicKey, "k2", "RS256")), rs256, secret},
		{"a private key", CodeMisconfigured, set(jwk(k.rsa, "k1", "RS256")), rs256, k.rsa},
		{"a weak key", CodeMisconfigured, set(jwk(&k.weak.PublicKey, "k1", "RS256")), rs256, k.weak},
		{"a key for encryption", CodeMisconfigured, set(enc), rs256, k.rsa},
		{"a key of another algorithm", CodeAnswer, set(jwk(&k.rsa.PublicKey, "k1", "PS256")), rs256, k.rsa},
		{"too many keys", CodeMisconfigured, set(many...), rs256, k.rsa},
		{"no keys", CodeMisconfigured, map[string]any{"keys": []any{}}, rs256, k.rsa},
		{"not JSON", CodeMisconfigured, []byte("<html>"), rs256, k.rsa},
		{"huge", CodeMisconfigured, []byte(`{"keys":[],"x":"` + strings.Repeat("x", maxKeySet) + `"}`), rs256, k.rsa},
	} {
		h.change(func() { h.jwks = c.set })
		_, err := h.round(newOIDC(t, h.config()), func(n string) string { return jwt(t, c.hd, h.claims(n), c.key) }, nil)
		if !refusal.Is(err, c.code) {
			t.Errorf("%s: %v, not %s", c.name, err, c.code)
		}
	}
}

// TestRotation changes the provider's key: the new one is found, the old one is
// forgotten, and unknown keys do not make us ask each time.
func TestRotation(t *testing.T) {
	h := newHostile(t)
	cfg := h.config()
	at := time.Now()
	cfg.Now = func() time.Time { return at }
	p := newOIDC(t, cfg)
	if _, err := h.round(p, h.good(nil), nil); err != nil {
		t.Fatal(err)
	}
	k2 := func(n string) string {
		return jwt(t, map[string]any{"alg": "RS256", "kid": "k2"}, h.claims(n), keys().rsa2)
	}
	h.change(func() { h.jwks = set(jwk(&keys().rsa2.PublicKey, "k2", "RS256")) })
	at = at.Add(11 * time.Second)
	if _, err := h.round(p, k2, nil); err != nil {
		t.Fatalf("a new key: %v", err)
	}
	if _, err := h.round(p, h.good(nil), nil); !refusal.Is(err, CodeAnswer) {
		t.Errorf("a withdrawn key: %v", err)
	}
	hits := h.keyHits
	for range 5 {
		h.round(p, h.good(nil), nil)
	}
	if h.keyHits != hits {
		t.Errorf("%d more requests for keys within the pause", h.keyHits-hits)
	}
	// The provider withdraws the key without a new one in use: the hour ends it.
	h.change(func() { h.jwks = set(jwk(&keys().rsa.PublicKey, "k9", "RS256")) })
	if _, err := h.round(p, k2, nil); err != nil {
		t.Fatal(err)
	}
	at = at.Add(time.Hour + time.Second)
	late := func(n string) string {
		c := h.claims(n)
		c["iat"], c["exp"] = at.Unix(), at.Unix()+60
		return jwt(t, map[string]any{"alg": "RS256", "kid": "k2"}, c, keys().rsa2)
	}
	if _, err := h.round(p, late, nil); !refusal.Is(err, CodeAnswer) {
		t.Errorf("a key that was withdrawn an hour ago: %v", err)
	}
}

// TestLazy starts while the provider is down, and lives through an outage.
func TestLazy(t *testing.T) {
	h := newHostile(t)
	cfg := h.config()
	at := time.Now()
	cfg.Now = func() time.Time { return at }
	p := newOIDC(t, cfg)
	doc := h.doc
	h.change(func() { h.doc = nil })
	if _, _, err := p.Begin(t.Context(), "/"); refusal.As(err) == nil {
		t.Errorf("a provider that is down: %v", err)
	}
	hits := h.docHits
	p.Begin(t.Context(), "/")
	if h.docHits != hits {
		t.Error("a provider that is down was asked at each sign-in")
	}
	h.change(func() { h.doc = doc })
	at = at.Add(10 * time.Second)
	if _, _, err := p.Begin(t.Context(), "/"); err != nil {
		t.Errorf("a provider that is back: %v", err)
	}
	h.server.Close()
	at = at.Add(2 * time.Hour)
	if _, _, err := p.Begin(t.Context(), "/"); err != nil {
		t.Errorf("an outage of two hours: %v", err)
	}
	at = at.Add(23 * time.Hour)
	if _, _, err := p.Begin(t.Context(), "/"); !refusal.Is(err, CodeUnavailable) {
		t.Errorf("an outage of a day: %v", err)
	}
}

func TestDiscoveryAttacks(t *testing.T) {
	h := newHostile(t)
	for _, c := range []struct {
		name, key, code string
		value           any
	}{
		{"another issuer", "issuer", CodeMisconfigured, "https://evil.example"},
		{"keys at the metadata service", "jwks_uri", CodeMisconfigured, "http://169.254.169.254/latest/meta-data"},
		{"keys at the metadata service by name", "jwks_uri", CodeMisconfigured, "http://metadata.google.internal/"},
		{"keys inside the network", "jwks_uri", CodeMisconfigured, "http://10.0.0.1/keys"},
		{"keys at a number", "jwks_uri", CodeMisconfigured, "http://2852039166/"},
		{"keys in a file", "jwks_uri", CodeMisconfigured, "file:///etc/passwd"},
		{"no keys", "jwks_uri", CodeMisconfigured, nil},
		{"tokens inside the network", "token_endpoint", CodeMisconfigured, "http://192.168.1.1/token"},
		{"tokens at another port", "token_endpoint", CodeMisconfigured, "http://127.0.0.1:22/token"},
		{"a script as the sign-in page", "authorization_endpoint", CodeMisconfigured, "javascript:alert(1)"},
		{"a user in the URL", "authorization_endpoint", CodeMisconfigured, "https://corp@evil.example/"},
		{"plain PKCE", "code_challenge_methods_supported", CodeMisconfigured, []string{"plain"}},
		{"HMAC only", "id_token_signing_alg_values_supported", CodeMisconfigured, []string{"HS256", "none"}},
		{"huge", "x", CodeMisconfigured, strings.Repeat("x", maxDiscovery)},
	} {
		old := h.doc[c.key]
		h.change(func() { h.doc[c.key] = c.value })
		_, err := h.round(newOIDC(t, h.config()), h.good(nil), nil)
		if !refusal.Is(err, c.code) {
			t.Errorf("%s: %v, not %s", c.name, err, c.code)
		}
		h.change(func() { h.doc[c.key] = old })
		if old == nil {
			h.change(func() { delete(h.doc, c.key) })
		}
	}
	cfg := h.config()
	strict, err := outbound.New(outbound.Policy{AllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Client = strict
	if _, _, err := newOIDC(t, cfg).Begin(t.Context(), "/"); !refusal.Is(err, CodeMisconfigured) || !errors.Is(err, outbound.ErrRefused) {
		t.Errorf("an issuer on this machine: %v", err)
	}
	cfg = h.config()
	cfg.AllowHTTP = false
	if _, err := NewOIDC(cfg); err == nil {
		t.Error("an issuer without TLS was taken")
	}
}
