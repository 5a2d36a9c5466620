package oauth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
)

// TestClientCredentials uses a client and a verifier that others wrote.
func TestClientCredentials(t *testing.T) {
	w := newWorld(t)
	_, secret := w.client("c1")
	s := w.node()
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams, oauth2.AuthStyleAutoDetect} {
		cc := clientcredentials.Config{ClientID: "c1", ClientSecret: secret, TokenURL: web.URL + pathToken, Scopes: []string{"device.read"}, AuthStyle: style}
		token, err := cc.Token(t.Context())
		w.ok(err)
		c, err := s.Verify(t.Context(), token.AccessToken, here)
		w.ok(err)
		if c.Client != "c1" || token.TokenType != "Bearer" || token.RefreshToken != "" {
			t.Fatalf("the token is %+v, %+v", token, c)
		}
		keys := oidc.NewRemoteKeySet(t.Context(), web.URL+pathKeys)
		verifier := oidc.NewVerifier(issuer, keys, &oidc.Config{ClientID: issuer + "/api", SupportedSigningAlgs: []string{"ES256"}, Now: w.clock})
		got, err := verifier.Verify(t.Context(), token.AccessToken)
		w.ok(err)
		var more struct{ Scope, JTI string }
		w.ok(got.Claims(&more))
		if got.Subject != "c1" || more.Scope != "device.read" || more.JTI != c.ID {
			t.Fatalf("another verifier reads %+v %+v", got, more)
		}
	}
	_, err := (&clientcredentials.Config{ClientID: "c1", ClientSecret: secret + "x", TokenURL: web.URL + pathToken}).Token(t.Context())
	if e, ok := err.(*oauth2.RetrieveError); !ok || e.ErrorCode != "invalid_client" {
		t.Fatalf("a wrong secret gives %v", err)
	}
}

func TestTokenRefusals(t *testing.T) {
	w := newWorld(t)
	_, secret := w.client("c1")
	disabled, _ := w.client("c2")
	disabled.Disabled, disabled.SecretHash = true, hashOf(secret)
	w.clients.put(disabled)
	elsewhere, _ := w.client("c3")
	elsewhere.Networks, elsewhere.SecretHash = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, hashOf(secret)
	w.clients.put(elsewhere)
	noSecret, _ := w.client("c4")
	noSecret.SecretHash = nil
	w.clients.put(noSecret)
	short, _ := w.client("c5")
	short.SecretHash = hashOf(secret)[:16]
	w.clients.put(short)
	s := w.node()
	form := func(pairs ...string) url.Values {
		f := url.Values{"grant_type": {grantClient}, "client_id": {"c1"}, "client_secret": {secret}}
		for i := 0; i < len(pairs); i += 2 {
			f.Set(pairs[i], pairs[i+1])
		}
		return f
	}
	basic := func(id, secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
	}
	for name, c := range map[string]struct {
		form    url.Values
		headers []string
		status  int
		code    string
		why     string // of the refusal in the audit log
	}{
		"no grant":          {form("grant_type", ""), nil, 400, "invalid_request", ""},
		"password grant":    {form("grant_type", "password"), nil, 400, "unsupported_grant_type", ""},
		"code grant":        {form("grant_type", "authorization_code"), nil, 400, "unsupported_grant_type", ""},
		"device grant":      {form("grant_type", grantDevice), nil, 400, "unauthorized_client", ""},
		"refresh grant":     {form("grant_type", grantRefresh), nil, 400, "unauthorized_client", ""},
		"CLI's grant":       {url.Values{"grant_type": {grantClient}, "client_id": {CLIClient}}, nil, 400, "unauthorized_client", ""},
		"CLI with secret":   {form("client_id", CLIClient), nil, 401, "invalid_client", "there is no such client"},
		"no proof":          {form("client_secret", ""), nil, 401, "invalid_client", "there is no proof"},
		"nobody":            {url.Values{"grant_type": {grantClient}}, nil, 401, "invalid_client", "there is no such client"},
		"wrong secret":      {form("client_secret", "hfc_x"), nil, 401, "invalid_client", "the secret is wrong"},
		"the hash itself":   {form("client_secret", string(hashOf(secret))), nil, 401, "invalid_client", "the secret is wrong"},
		"unknown":           {form("client_id", "c9"), nil, 401, "invalid_client", "there is no such client"},
		"disabled":          {form("client_id", "c2"), nil, 401, "invalid_client", "the client is disabled"},
		"wrong network":     {form("client_id", "c3"), nil, 401, "invalid_client", "the client may not call from this address"},
		"has no secret":     {form("client_id", "c4"), nil, 401, "invalid_client", "the secret is wrong"},
		"hash cut short":    {form("client_id", "c5"), nil, 401, "invalid_client", "the secret is wrong"},
		"long id":           {form("client_id", strings.Repeat("c", 200)), nil, 401, "invalid_client", "there is no such client"},
		"unprintable id":    {form("client_id", "c1\x00\x1b[0m"), nil, 401, "invalid_client", "there is no such client"},
		"two ways":          {form(), []string{"Authorization", basic("c1", secret)}, 400, "invalid_request", ""},
		"two clients":       {url.Values{"grant_type": {grantClient}, "client_id": {"c2"}}, []string{"Authorization", basic("c1", secret)}, 400, "invalid_request", ""},
		"basic, wrong":      {url.Values{"grant_type": {grantClient}}, []string{"Authorization", basic("c1", "x")}, 401, "invalid_client", "the secret is wrong"},
		"bearer":            {url.Values{"grant_type": {grantClient}}, []string{"Authorization", "Bearer x"}, 401, "invalid_client", ""},
		"scope not held":    {form("scope", "device.write"), nil, 400, "invalid_scope", ""},
		"scope unknown":     {form("scope", "everything"), nil, 400, "invalid_scope", ""},
		"scope injected":    {form("scope", "device.read  device.write"), nil, 400, "invalid_scope", ""},
		"other resource":    {form("resource", "https://other.example.com"), nil, 400, "invalid_target", ""},
		"JSON":              {form(), []string{"Content-Type", "application/json"}, 400, "invalid_request", ""},
		"multipart":         {form(), []string{"Content-Type", "multipart/form-data; boundary=x"}, 400, "invalid_request", ""},
		"parameter twice":   {url.Values{"grant_type": {grantClient, grantDevice}, "client_id": {"c1"}, "client_secret": {secret}}, nil, 400, "invalid_request", ""},
		"large":             {form("x", strings.Repeat("x", maxForm)), nil, 400, "invalid_request", ""},
		"wrong assertion":   {form("client_assertion_type", "urn:x", "client_assertion", "x"), nil, 400, "invalid_request", ""},
		"assertion garbage": {url.Values{"grant_type": {grantClient}, "client_assertion_type": {assertionType}, "client_assertion": {"x"}}, nil, 401, "invalid_client", "the assertion cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			w.refused.why = nil
			status, got, header := call(s, pathToken, c.form, c.headers...)
			if status != c.status || got["error"] != c.code {
				t.Fatalf("the answer is %d %v", status, got)
			}
			if header.Get("Cache-Control") != "no-store" || got["access_token"] != nil {
				t.Errorf("the header is %v", header)
			}
			if last := w.refused.last(); last != c.why {
				t.Errorf("the log says %q, want %q", last, c.why)
			}
			if c.code == "invalid_client" && c.why != "" && got["error_description"] != "the client is not known, or its proof is not valid" {
				t.Errorf("the answer tells more: %v", got)
			}
			if tried := strings.HasPrefix(strings.Join(c.headers, ""), "AuthorizationB"); (header.Get("WWW-Authenticate") != "") != (tried && status == 401) {
				t.Errorf("WWW-Authenticate is %q", header.Get("WWW-Authenticate"))
			}
		})
	}
	status, got, _ := call(s, pathToken+"?client_id=c1", form())
	w.code(status, got, 400, "invalid_request")
	w.limit.Store(true)
	status, got, header := call(s, pathToken, form())
	w.code(status, got, 429, "slow_down")
	if header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.limit.Store(false)
	w.clients.down = true
	status, got, _ = call(s, pathToken, form())
	w.code(status, got, 500, "server_error")
	if strings.Contains(got["error_description"].(string), "database") {
		t.Error("the answer shows an inner error")
	}
	w.clients.down = false
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, httptest.NewRequest(method, pathToken, nil))
		if rec.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s gives %d", method, rec.Code)
		}
	}
}

// keyed adds a client with keys for private_key_jwt.
func (w *world) keyed(id string, keys ...jose.JSONWebKey) {
	w.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	w.ok(err)
	w.ok(CheckClientKeys(string(set)))
	w.clients.put(Client{APIClient: access.APIClient{ID: id, Name: "n-" + id, JWKS: string(set)}})
}

func assertionForm(text string, pairs ...string) url.Values {
	f := url.Values{"grant_type": {grantClient}, "client_assertion_type": {assertionType}, "client_assertion": {text}}
	for i := 0; i < len(pairs); i += 2 {
		f.Set(pairs[i], pairs[i+1])
	}
	return f
}

func TestPrivateKeyJWT(t *testing.T) {
	w := newWorld(t)
	key, other := newECKey(t), newECKey(t)
	w.keyed("c1", jose.JSONWebKey{Key: &key.PublicKey, KeyID: "k1"})
	w.keyed("c2", jose.JSONWebKey{Key: &other.PublicKey, KeyID: "k1"})
	s, second := w.node(), w.node()
	now := w.clock().Unix()
	make := func(pairs ...any) string {
		c := map[string]any{"iss": "c1", "sub": "c1", "aud": issuer + pathToken, "exp": now + 60, "iat": now, "jti": randomText(10)}
		for i := 0; i < len(pairs); i += 2 {
			c[pairs[i].(string)] = pairs[i+1]
		}
		return sign(t, jose.ES256, key, map[string]any{"kid": "k1"}, c)
	}
	good := make()
	status, got, _ := call(s, pathToken, assertionForm(good, "client_id", "c1"))
	if status != 200 {
		t.Fatal(status, got, w.refused.last())
	}
	if status, got, _ = call(s, pathToken, assertionForm(make("aud", []string{issuer}))); status != 200 {
		t.Fatal(status, got, w.refused.last())
	}
	token := got["access_token"].(string)
	for name, c := range map[string]struct {
		form url.Values
		why  string
	}{
		"replayed":            {assertionForm(good), "the assertion was used before"},
		"for another server":  {assertionForm(make("aud", "https://other.example.com/token")), "the assertion is meant for another place"},
		"for introspection":   {assertionForm(make("aud", issuer+pathIntrospect)), "the assertion is meant for another place"},
		"for two places":      {assertionForm(make("aud", []string{issuer, "https://other.example.com"})), "the assertion is meant for another place"},
		"no audience":         {assertionForm(make("aud", []string{})), "the assertion is meant for another place"},
		"of another client":   {assertionForm(make("iss", "c2", "sub", "c2")), "the assertion's signature is not of the client's keys"},
		"iss is not sub":      {assertionForm(make("iss", "c2")), "the assertion's iss and sub are not the client"},
		"client_id differs":   {assertionForm(make(), "client_id", "c2"), "the assertion is of another client"},
		"expired":             {assertionForm(make("exp", now-31)), "the assertion's times: expired"},
		"not yet":             {assertionForm(make("nbf", now+61)), "the assertion's times: not-yet-valid"},
		"lives a day":         {assertionForm(make("exp", now+86400)), "the assertion lives too long"},
		"no jti":              {assertionForm(make("jti", "")), "the assertion has no jti"},
		"an access token":     {assertionForm(token), "the assertion is another kind of JWT"},
		"unknown client":      {assertionForm(make("iss", "c9", "sub", "c9")), "there is no such client"},
		"HS256 of public key": {assertionForm(sign(t, jose.HS256, []byte(strings.Repeat("x", 32)), nil, map[string]any{"sub": "c1"})), "the assertion cannot be read"},
		"none":                {assertionForm("eyJhbGciOiJub25lIn0.eyJzdWIiOiJjMSJ9."), "the assertion cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			w.refused.why = nil
			status, got, _ := call(second, pathToken, c.form)
			if status != 401 || got["error"] != "invalid_client" || w.refused.last() != c.why {
				t.Fatalf("%d %v, and the log says %q", status, got, w.refused.last())
			}
		})
	}
	// One assertion on two nodes at once works once.
	race, wins := make(), 0
	results := atOnce(8, func(i int) int {
		status, _, _ := call([]*Server{s, second}[i%2], pathToken, assertionForm(race))
		return status
	})
	for _, status := range results {
		if status == 200 {
			wins++
		}
	}
	if wins != 1 {
		t.Fatalf("%d of 8 uses of one assertion were accepted", wins)
	}
	// The id is kept as long as the assertion could be used.
	late := make("exp", now+60)
	if status, got, _ := call(s, pathToken, assertionForm(late)); status != 200 {
		t.Fatal(got)
	}
	w.move(85 * 1e9)
	w.ok(w.store.SweepOAuth(t.Context(), w.clock()))
	status, got, _ = call(s, pathToken, assertionForm(late))
	w.code(status, got, 401, "invalid_client")
}

// atOnce runs fn n times at once.
func atOnce[T any](n int, fn func(i int) T) []T {
	out, done := make([]T, n), make(chan struct{})
	for i := range n {
		go func() { out[i] = fn(i); done <- struct{}{} }()
	}
	for range n {
		<-done
	}
	return out
}

func TestCheckClientKeys(t *testing.T) {
	ec := newECKey(t)
	set := func(keys ...jose.JSONWebKey) string {
		b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	ok := jose.JSONWebKey{Key: &ec.PublicKey, KeyID: "a"}
	if err := CheckClientKeys(set(ok)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "no keys": `{"keys":[]}`, "not JSON": "hello", "null": "null",
		"private":   set(jose.JSONWebKey{Key: ec, KeyID: "a"}),
		"symmetric": set(jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "a"}),
		"same kid":  set(ok, ok),
		"encrypts":  set(jose.JSONWebKey{Key: &ec.PublicKey, KeyID: "a", Use: "enc"}),
		"one bad":   set(ok, jose.JSONWebKey{Key: ec, KeyID: "b"}),
		"large":     set(ok) + strings.Repeat(" ", 40<<10),
		"small RSA": `{"keys":[{"kty":"RSA","n":"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbgBHod5pcM9H95GQRV3JDXboIRROSBigeC5yjU1hGzHHyXss8UDpre_kPgWJJh8FDDsjfQ","e":"AQAB","kid":"a"}]}`,
	} {
		if err := CheckClientKeys(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestMetadata(t *testing.T) {
	w := newWorld(t)
	s := w.node()
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest("GET", pathMetadata, nil))
	var doc map[string]any
	w.ok(json.Unmarshal(rec.Body.Bytes(), &doc))
	if doc["issuer"] != issuer || doc["token_endpoint"] != issuer+pathToken || doc["authorization_endpoint"] != nil || len(doc["response_types_supported"].([]any)) != 0 {
		t.Fatalf("the metadata is %v", doc)
	}
	rec = httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest("GET", pathKeys, nil))
	var set jose.JSONWebKeySet
	w.ok(json.Unmarshal(rec.Body.Bytes(), &set))
	if len(set.Keys) != 1 || !set.Keys[0].IsPublic() || set.Keys[0].Use != "sig" || set.Keys[0].Algorithm != "ES256" || strings.Contains(rec.Body.String(), `"d"`) {
		t.Fatalf("the key set is %s", rec.Body)
	}
}

// TestIssuanceIsRecorded finds the event of each token, and no token text in it.
func TestIssuanceIsRecorded(t *testing.T) {
	w := newWorld(t)
	_, secret := w.client("c1")
	s := w.node()
	token := w.clientToken(s, "c1", secret, "device.read")
	rows, err := w.store.OutboxRows(context.Background(), 100)
	w.ok(err)
	var actions []string
	for _, r := range rows {
		e, err := audit.Decode(r.Leaf)
		w.ok(err)
		actions = append(actions, e.Action)
		for _, v := range e.Details {
			if strings.Contains(v, secret) || strings.Contains(token, v) && len(v) > 40 {
				t.Errorf("the event %s holds a secret", e.Action)
			}
		}
	}
	if strings.Join(actions, " ") != "token_key.created client.token_issued" {
		t.Fatalf("the events are %v", actions)
	}
}

func FuzzForm(f *testing.F) {
	f.Add("grant_type=client_credentials&client_id=a")
	f.Add("a=1&a=2")
	f.Add("a;b=c&%zz")
	f.Fuzz(func(t *testing.T, body string) {
		got, err := parseForm(body)
		if err == nil && len(got) > maxParameters || err != nil && got != nil {
			t.Fatalf("%q gives %v, %v", body, got, err)
		}
		for _, v := range got {
			if v == "" {
				t.Fatal("an empty parameter was kept")
			}
		}
	})
}
