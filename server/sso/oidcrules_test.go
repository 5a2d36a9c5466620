package sso

import (
	"crypto"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/holdfast-iot/holdfast/refusal"
)

func TestUserInfo(t *testing.T) {
	h := newHostile(t)
	cfg := h.config()
	cfg.UserInfo, cfg.GroupsClaim = true, "realm.roles"
	lean := h.good(func(c map[string]any) { delete(c, "groups"); delete(c, "email") })
	h.userinfo = map[string]any{"sub": "u1", "email": "ada@example.org", "name": "Somebody Else", "realm": map[string]any{"roles": []string{"r1"}}, "amr": []string{"mfa"}, "sid": "x"}
	e, err := h.round(newOIDC(t, cfg), lean, nil)
	if err != nil || e.Mail != "ada@example.org" || e.Display != "Ada L" || !slices.Equal(e.Groups, []string{"r1"}) || e.SessionRef != "s1" {
		t.Errorf("%+v %v", e, err)
	}
	h.change(func() { h.userinfo = map[string]any{"sub": "u2", "email": "mallory@example.org"} })
	if _, err := h.round(newOIDC(t, cfg), lean, nil); !refusal.Is(err, CodeAnswer) {
		t.Errorf("userinfo of another person: %v", err)
	}
	h.change(func() { h.userinfo = []byte("x.y.z") })
	if _, err := h.round(newOIDC(t, cfg), lean, nil); !refusal.Is(err, CodeMisconfigured) {
		t.Errorf("userinfo that is not JSON: %v", err)
	}
	h.change(func() { h.userinfo = []byte(`{"x":"` + strings.Repeat("x", maxToken) + `"}`) })
	if _, err := h.round(newOIDC(t, cfg), lean, nil); err == nil {
		t.Error("endless userinfo was taken")
	}
}

// TestRequirements has the rules that a configuration may add.
func TestRequirements(t *testing.T) {
	h := newHostile(t)
	now := time.Now().Unix()
	for _, c := range []struct {
		name string
		cfg  func(*OIDCConfig)
		edit func(map[string]any)
		ok   bool
	}{
		{"a claim", func(c *OIDCConfig) { c.Require = map[string]string{"hd": "example.com"} }, func(c map[string]any) { c["hd"] = "example.com" }, true},
		{"another value", func(c *OIDCConfig) { c.Require = map[string]string{"hd": "example.com"} }, func(c map[string]any) { c["hd"] = "example.com.evil" }, false},
		{"no such claim", func(c *OIDCConfig) { c.Require = map[string]string{"hd": "example.com"} }, nil, false},
		{"one of a list", func(c *OIDCConfig) { c.Require = map[string]string{"groups": "ops"} }, nil, true},
		{"a recent sign-in", func(c *OIDCConfig) { c.MaxAge = time.Minute }, nil, true},
		{"an old sign-in", func(c *OIDCConfig) { c.MaxAge = time.Minute }, func(c map[string]any) { c["auth_time"] = now - 300 }, false},
		{"an unknown age", func(c *OIDCConfig) { c.MaxAge = time.Minute }, func(c map[string]any) { delete(c, "auth_time") }, false},
		{"the context", func(c *OIDCConfig) { c.ACRValues = []string{"gold"} }, func(c map[string]any) { c["acr"] = "gold" }, true},
		{"another context", func(c *OIDCConfig) { c.ACRValues = []string{"gold"} }, func(c map[string]any) { c["acr"] = "lead" }, false},
		{"another subject claim", func(c *OIDCConfig) { c.SubjectClaim = "oid" }, func(c map[string]any) { c["oid"] = "u1" }, true},
		{"no such subject claim", func(c *OIDCConfig) { c.SubjectClaim = "oid" }, nil, false},
		{"names with dots", func(c *OIDCConfig) { c.GroupsClaim = "https://a.b/groups" }, func(c map[string]any) { c["https://a.b/groups"] = []string{"ops", "dev"} }, true},
		{"a path with dots", func(c *OIDCConfig) { c.GroupsClaim = "resource.x.y.roles" }, func(c map[string]any) {
			c["resource"] = map[string]any{"x.y": map[string]any{"roles": []string{"ops", "ops", "", "dev"}}}
		}, true},
	} {
		cfg := h.config()
		c.cfg(&cfg)
		e, err := h.round(newOIDC(t, cfg), h.good(c.edit), nil)
		if (err == nil) != c.ok || !c.ok && !refusal.Is(err, CodeProfile) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.ok && (e.Subject != "u1" || !slices.Equal(e.Groups, []string{"ops", "dev"})) {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
	e, err := h.round(newOIDC(t, h.config()), h.good(func(c map[string]any) {
		c["email_verified"], c["amr"], c["name"], c["email"] = "false", []string{"pwd"}, "Ada\u202e\x00 L", "not an address"
	}), nil)
	if err != nil || e.MailVerified || e.Factors || e.Display != "Ada L" || e.Mail != "" {
		t.Errorf("%+v %v", e, err)
	}
	cfg := h.config()
	cfg.MailClaim = "upn"
	if e, err := h.round(newOIDC(t, cfg), h.good(func(c map[string]any) { c["upn"] = "ceo@example.com" }), nil); err != nil || e.MailVerified || e.Mail != "ceo@example.com" {
		t.Errorf("email_verified vouched for another claim: %+v %v", e, err)
	}
}

func TestPrivateKeyJWT(t *testing.T) {
	h := newHostile(t)
	k := keys()
	for alg, key := range map[string]crypto.Signer{"RS256": k.rsa, "ES256": k.p256, "ES384": k.p384, "EdDSA": k.ed} {
		cfg := h.config()
		cfg.ClientSecret, cfg.ClientKey, cfg.ClientKeyID = Secret{}, key, "me"
		if _, err := h.round(newOIDC(t, cfg), h.good(nil), nil); err != nil {
			t.Fatal(err)
		}
		jws, err := jose.ParseSignedCompact(h.form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := jws.Verify(key.Public())
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		var c struct {
			Iss, Sub, Aud, Jti string
			Exp                int64
		}
		if err := json.Unmarshal(payload, &c); err != nil || c.Iss != "holdfast" || c.Sub != "holdfast" || c.Aud != h.server.URL || len(c.Jti) < 40 || c.Exp > time.Now().Unix()+61 {
			t.Errorf("%s: %s %v", alg, payload, err)
		}
		if h.basicUser != "" || h.form.Get("client_secret") != "" || h.form.Get("client_assertion_type") == "" {
			t.Errorf("%s: %v", alg, h.form)
		}
	}
	cfg := h.config()
	cfg.SecretInBody = true
	if _, err := h.round(newOIDC(t, cfg), h.good(nil), nil); err != nil || h.basicUser != "" || h.form.Get("client_secret") != "secret" {
		t.Errorf("the secret in the body: %v %v", h.form, err)
	}
}

func TestTokenEndpointErrors(t *testing.T) {
	h := newHostile(t)
	for _, c := range []struct {
		status int
		body   any
		code   string
	}{
		{400, map[string]string{"error": "invalid_grant", "error_description": "secret-in-body"}, CodeAnswer},
		{401, map[string]string{"error": "invalid_client", "error_description": "secret-in-body"}, CodeMisconfigured},
		{503, []byte("secret-in-body"), CodeUnavailable},
		{302, []byte("secret-in-body"), CodeMisconfigured},
		{200, []byte(`{"access_token":"` + strings.Repeat("x", 2<<20) + `"}`), CodeMisconfigured},
		{200, []byte("secret-in-body"), CodeMisconfigured},
	} {
		h.change(func() { h.token = func(url.Values) (int, any) { return c.status, c.body } })
		_, err := h.round(newOIDC(t, h.config()), nil, nil)
		if !refusal.Is(err, c.code) || strings.Contains(err.Error(), "secret-in-body") {
			t.Errorf("%d: %v, not %s", c.status, err, c.code)
		}
	}
}

func TestBackChannelLogout(t *testing.T) {
	h := newHostile(t)
	cfg := h.config()
	cfg.Seen = seenInMemory()
	p := newOIDC(t, cfg)
	now := time.Now().Unix()
	make := func(hd map[string]any, edit func(map[string]any)) string {
		c := map[string]any{"iss": h.server.URL, "aud": "holdfast", "iat": now, "exp": now + 120, "jti": token(), "sub": "u1", "sid": "s1",
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}
		if edit != nil {
			edit(c)
		}
		return jwt(t, hd, c, keys().rsa)
	}
	typed := header(map[string]any{"typ": "logout+jwt"})
	raw := make(typed, nil)
	if e, err := p.Logout(t.Context(), raw); err != nil || e != (Ended{Provider: "corp", Subject: "u1", SessionRef: "s1"}) {
		t.Fatalf("%+v %v", e, err)
	}
	if _, err := p.Logout(t.Context(), raw); !refusal.Is(err, CodeReplay) {
		t.Errorf("again: %v", err)
	}
	for name, bad := range map[string]string{
		"an ID token":      h.good(nil)("n"),
		"with a nonce":     make(typed, func(c map[string]any) { c["nonce"] = "n" }),
		"no event":         make(typed, func(c map[string]any) { delete(c, "events") }),
		"of another":       make(typed, func(c map[string]any) { c["iss"] = "https://evil.example" }),
		"for another":      make(typed, func(c map[string]any) { c["aud"] = "other" }),
		"old":              make(typed, func(c map[string]any) { c["iat"] = now - 3600 }),
		"expired":          make(typed, func(c map[string]any) { c["exp"] = now - 1 }),
		"about nobody":     make(typed, func(c map[string]any) { delete(c, "sub"); delete(c, "sid") }),
		"of another type":  make(header(map[string]any{"typ": "at+jwt"}), nil),
		"unsigned":         make(map[string]any{"alg": "none"}, nil),
		"huge":             strings.Repeat("x", maxToken+1),
		"with a long name": make(typed, func(c map[string]any) { c["sid"] = strings.Repeat("x", 300) }),
	} {
		if _, err := p.Logout(t.Context(), bad); !refusal.Is(err, CodeAnswer) {
			t.Errorf("a logout token that is %s: %v", name, err)
		}
	}
	if _, err := newOIDC(t, h.config()).Logout(t.Context(), make(typed, nil)); !refusal.Is(err, CodeMisconfigured) {
		t.Errorf("without a record: %v", err)
	}
}

func TestOIDCConfigMistakes(t *testing.T) {
	h := newHostile(t)
	for name, edit := range map[string]func(*OIDCConfig){
		"name":            func(c *OIDCConfig) { c.Name = "Corp!" },
		"label":           func(c *OIDCConfig) { c.Label = "" },
		"issuer":          func(c *OIDCConfig) { c.Issuer = "login.example.com" },
		"issuer query":    func(c *OIDCConfig) { c.Issuer += "?a=b" },
		"redirect":        func(c *OIDCConfig) { c.RedirectURL = "/callback" },
		"client":          func(c *OIDCConfig) { c.ClientID = "" },
		"secret and key":  func(c *OIDCConfig) { c.ClientKey = keys().rsa },
		"weak key":        func(c *OIDCConfig) { c.ClientSecret, c.ClientKey = Secret{}, keys().weak },
		"algorithm":       func(c *OIDCConfig) { c.Algorithms = []string{"HS256"} },
		"none":            func(c *OIDCConfig) { c.Algorithms = []string{"none"} },
		"no algorithm":    func(c *OIDCConfig) { c.Algorithms = []string{} },
		"scope":           func(c *OIDCConfig) { c.Scopes = []string{"a b"} },
		"age":             func(c *OIDCConfig) { c.MaxAge = time.Millisecond },
		"no HTTP client":  func(c *OIDCConfig) { c.Client = nil },
		"fragment":        func(c *OIDCConfig) { c.Issuer += "#x" },
		"user in the URL": func(c *OIDCConfig) { c.Issuer = "https://a@b.example" },
	} {
		cfg := h.config()
		edit(&cfg)
		if _, err := NewOIDC(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestSafeReturn(t *testing.T) {
	for in, want := range map[string]string{
		"/": "/", "/a/b?c=d&e=%2F#f": "/a/b?c=d&e=%2F#f", "/a//b": "/a//b",
		"": "/", "a": "/", "//evil": "/", "///evil": "/", "/\\evil": "/", "\\\\evil": "/", "https://evil": "/", "javascript:x": "/",
		"/\t/evil": "/", "/\n/evil": "/", " /a": "/", "/a\x00": "/", "/%5cevil": "/", "/%2f/evil": "/", "/é": "/", "/a%zz": "/",
		"/" + strings.Repeat("a", 2048): "/",
	} {
		if got := safeReturn(in); got != want {
			t.Errorf("%q becomes %q, not %q", in, got, want)
		}
	}
}

func TestSecretsStayInside(t *testing.T) {
	s := NewSecret("hunter2")
	if out := fmt.Sprintf("%v %+v %#v %s %d", s, s, s, s, OIDCConfig{ClientSecret: s}.ClientSecret); strings.Contains(out, "hunter2") {
		t.Error(out)
	}
	if _, err := json.Marshal(struct{ S Secret }{s}); err == nil {
		t.Error("a secret was marshalled")
	}
}

func FuzzKeySet(f *testing.F) {
	good, _ := json.Marshal(set(jwk(&keys().rsa.PublicKey, "k1", "RS256"), jwk(keys().ed.Public(), "e", "EdDSA")))
	f.Add(good)
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AA"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := parseKeys(data)
		if err != nil {
			return
		}
		for _, k := range found {
			if !k.IsPublic() || !strong(k.Key) {
				t.Fatalf("%T", k.Key)
			}
		}
	})
}

func FuzzFlow(f *testing.F) {
	data, _ := flow{Provider: "corp", Kind: "oidc", State: "s", Begun: time.Unix(1e9, 0)}.marshal()
	f.Add(data)
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fl, err := readFlow(data, "corp", "oidc", time.Unix(1e9, 0))
		if err == nil && (fl.State == "" || fl.Provider != "corp") {
			t.Fatal("an incomplete flow was taken")
		}
	})
}

// FuzzClaims reads claims of every shape: what comes out keeps to the bounds.
func FuzzClaims(f *testing.F) {
	p, err := NewOIDC(OIDCConfig{Name: "corp", Label: "Corp", Issuer: "https://idp.example", ClientID: "c", RedirectURL: callback, GroupsClaim: "a.b.c", Client: http.DefaultClient})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"sub":"u","name":"n","email":"a@b","email_verified":"true","a.b":{"c":["x","y"]},"auth_time":1e9,"amr":["mfa"],"sid":"s"}`))
	f.Add([]byte(`{"sub":"u","a":{"b.c":"x","b":{"c":[1]}},"auth_time":-1,"acr":7}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var claims map[string]any
		if json.Unmarshal(data, &claims) != nil {
			return
		}
		e, err := p.external(claims)
		if err != nil {
			if refusal.As(err) == nil {
				t.Fatalf("an error without a refusal: %v", err)
			}
			return
		}
		if e.Subject == "" || len(e.Subject) > MaxSubject || len(e.Groups) > MaxGroups || len(e.Name) > maxText || len(e.Display) > maxText || strings.ContainsAny(e.Display+e.Mail+e.Subject, "\n\x00") {
			t.Fatalf("%+v", e)
		}
	})
}

func FuzzDiscovery(f *testing.F) {
	p, err := NewOIDC(OIDCConfig{Name: "corp", Label: "Corp", Issuer: "https://idp.example", ClientID: "c", RedirectURL: callback, Client: http.DefaultClient})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"issuer":"https://idp.example","authorization_endpoint":"https://idp.example/a","token_endpoint":"https://idp.example/t","jwks_uri":"https://idp.example/k"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := p.readDiscovery(data)
		if err == nil && (!strings.HasPrefix(d.AuthURL, "https://") && !strings.HasPrefix(strings.ToLower(d.AuthURL), "https://") || d.KeysURL == "" || d.TokenURL == "") {
			t.Fatalf("%+v", d)
		}
	})
}
