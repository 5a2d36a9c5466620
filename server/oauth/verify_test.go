package oauth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/holdfast-iot/holdfast/access"
)

// good is the payload of a token that Verify takes.
func (w *world) good(s *Server) map[string]any {
	now := w.clock().Unix()
	return map[string]any{"iss": issuer, "sub": "c1", "client_id": "c1", "aud": issuer + "/api", "iat": now, "exp": now + 600, "jti": randomText(10)}
}

func (s *Server) current() *signingKey { return s.keys.Load().signer(s.cfg.Now(), s.cfg.Life) }

func TestVerifyAttacks(t *testing.T) {
	w := newWorld(t)
	w.client("c1")
	s := w.node()
	key := s.current()
	header := map[string]any{"kid": key.id, "typ": "at+jwt"}
	stranger := newECKey(t)
	der, err := x509.MarshalPKIXPublicKey(&key.private.PublicKey)
	w.ok(err)
	with := func(of map[string]any, pairs ...any) map[string]any {
		of = maps.Clone(of)
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i+1] == nil {
				delete(of, pairs[i].(string))
			} else {
				of[pairs[i].(string)] = pairs[i+1]
			}
		}
		return of
	}
	now := w.clock().Unix()
	b64 := base64.RawURLEncoding.EncodeToString
	unsigned := func(header string) string { // with no signature
		p, _ := json.Marshal(w.good(s))
		return b64([]byte(header)) + "." + b64(p) + "."
	}
	raw := func(payload string) string { return sign(t, jose.ES256, key.private, header, payload) }
	whole, _ := json.Marshal(w.good(s))
	twice := func(extra string) string { return strings.TrimSuffix(string(whole), "}") + "," + extra + "}" }
	public := func(k any) jose.JSONWebKey { return jose.JSONWebKey{Key: k, KeyID: key.id} }
	own := func(h map[string]any, p map[string]any) string { return sign(t, jose.ES256, key.private, h, p) }
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	w.ok(err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	w.ok(err)
	embedded := func() string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: stranger, KeyID: key.id}},
			(&jose.SignerOptions{EmbedJWK: true}).WithType("at+jwt").WithHeader("kid", key.id))
		w.ok(err)
		jws, err := signer.Sign(whole)
		w.ok(err)
		text, err := jws.CompactSerialize()
		w.ok(err)
		return text
	}
	g := w.good(s)

	for name, c := range map[string]struct {
		token string
		why   Why
	}{
		"empty":                      {"", Malformed},
		"words":                      {"hello", Malformed},
		"too long":                   {strings.Repeat("a", MaxToken+1), Malformed},
		"a valid one made too long":  {own(header, with(g, "x", strings.Repeat("a", MaxToken))), Malformed},
		"alg none":                   {unsigned(`{"alg":"none","typ":"at+jwt"}`), BadAlgorithm},
		"alg None":                   {unsigned(`{"alg":"None","typ":"at+jwt"}`), BadAlgorithm},
		"alg missing":                {unsigned(`{"typ":"at+jwt"}`), BadAlgorithm},
		"alg ES256, no signature":    {unsigned(`{"alg":"ES256","typ":"at+jwt","kid":"` + key.id + `"}`), BadSignature},
		"HS256 with the public DER":  {sign(t, jose.HS256, der, header, g), BadAlgorithm},
		"HS256 with the public PEM":  {sign(t, jose.HS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), header, g), BadAlgorithm},
		"EdDSA of a stranger":        {sign(t, jose.EdDSA, edKey, header, g), BadAlgorithm},
		"RS256 of a stranger":        {sign(t, jose.RS256, rsaKey, header, g), BadAlgorithm},
		"ES256 of a stranger":        {sign(t, jose.ES256, stranger, header, g), BadSignature},
		"stranger's key in jwk":      {embedded(), BadSignature},
		"jku":                        {sign(t, jose.ES256, stranger, with(header, "jku", "http://127.0.0.1:1/keys"), g), BadSignature},
		"x5u":                        {sign(t, jose.ES256, stranger, with(header, "x5u", "http://127.0.0.1:1/cert"), g), BadSignature},
		"crit":                       {sign(t, jose.ES256, key.private, with(header, "crit", []string{"x"}, "x", 1), g), BadSignature},
		"kid unknown":                {sign(t, jose.ES256, stranger, with(header, "kid", strings.Repeat("A", 43)), g), UnknownKey},
		"kid a path":                 {sign(t, jose.ES256, stranger, with(header, "kid", "../../../../dev/null"), g), UnknownKey},
		"kid SQL":                    {sign(t, jose.ES256, stranger, with(header, "kid", "x' UNION SELECT 'k"), g), UnknownKey},
		"kid missing":                {own(with(header, "kid", nil), g), UnknownKey},
		"kid long":                   {own(with(header, "kid", strings.Repeat("k", 300)), g), Malformed},
		"typ JWT":                    {own(with(header, "typ", "JWT"), g), WrongType},
		"typ missing":                {own(with(header, "typ", nil), g), WrongType},
		"typ a number":               {own(with(header, "typ", 1), g), Malformed},
		"iss of somebody":            {own(header, with(g, "iss", "https://evil.example.com")), UnknownIssuer},
		"iss with a slash":           {own(header, with(g, "iss", issuer+"/")), UnknownIssuer},
		"iss missing":                {own(header, with(g, "iss", nil)), UnknownIssuer},
		"aud of somebody":            {own(header, with(g, "aud", "https://evil.example.com")), WrongAudience},
		"aud is the issuer":          {own(header, with(g, "aud", issuer)), WrongAudience},
		"aud missing":                {own(header, with(g, "aud", nil)), WrongAudience},
		"aud an object":              {own(header, with(g, "aud", map[string]string{"a": "b"})), Malformed},
		"expired":                    {own(header, with(g, "exp", now)), Expired},
		"exp missing":                {own(header, with(g, "exp", nil)), Malformed},
		"exp text":                   {own(header, with(g, "exp", "soon")), Malformed},
		"exp huge":                   {raw(strings.Replace(string(whole), `"exp":`, `"exp":1e400,"x":`, 1)), Malformed},
		"exp overflows":              {raw(strings.Replace(string(whole), `"exp":`, `"exp":9223372036854775807,"x":`, 1)), Malformed},
		"exp negative":               {own(header, with(g, "exp", -1)), Malformed},
		"nbf ahead":                  {own(header, with(g, "nbf", now+60)), NotYet},
		"nbf overflows":              {raw(twice(`"nbf":9223372036854775807`)), Malformed},
		"iat ahead":                  {own(header, with(g, "iat", now+60)), NotYet},
		"iat missing":                {own(header, with(g, "iat", nil)), Malformed},
		"jti missing":                {own(header, with(g, "jti", nil)), Malformed},
		"sub is not the client":      {own(header, with(g, "sub", "palice0000000000")), Malformed},
		"CLI without sign-in":        {own(header, with(g, "client_id", CLIClient, "sub", CLIClient)), Malformed},
		"two sub":                    {raw(twice(`"sub":"c2"`)), Malformed},
		"two exp":                    {raw(twice(`"exp":99999999999`)), Malformed},
		"payload not JSON":           {raw("hello"), Malformed},
		"payload an array":           {raw("[]"), Malformed},
		"newline inside":             {own(header, g) + "\n", Malformed},
		"four parts":                 {own(header, g) + ".x", Malformed},
		"JSON serialization":         {`{"payload":"","protected":"","signature":""}`, Malformed},
		"client unknown":             {own(header, with(g, "sub", "c9", "client_id", "c9")), UnknownClient},
		"sign-in unknown":            {own(header, with(g, "sub", "palice", "client_id", CLIClient, "sid", "s9")), SignInEnded},
		"a person's with other sid":  {own(header, with(g, "sid", "s1")), Malformed},
		"another's key under our id": {sign(t, jose.ES256, public(stranger), map[string]any{"typ": "at+jwt"}, g), BadSignature},
	} {
		t.Run(name, func(t *testing.T) {
			rejects(t, s, c.token, c.why)
		})
	}
	if _, err := s.Verify(context.Background(), own(header, g), here); err != nil {
		t.Fatalf("the good token: %v", err)
	}
	// A changed signature, each byte of it.
	token := own(header, with(g, "jti", "other"))
	cut := strings.LastIndexByte(token, '.') + 1
	sig, _ := base64.RawURLEncoding.DecodeString(token[cut:])
	for i := range sig {
		sig[i] ^= 1
		w.why(s, token[:cut]+b64(sig), BadSignature)
		sig[i] ^= 1
	}
}

func TestVerifySaysWhatTheTokenIs(t *testing.T) {
	w := newWorld(t)
	_, secret := w.client("c1")
	s := w.node()
	c, err := s.Verify(context.Background(), w.clientToken(s, "c1", secret, "device.read"), here)
	w.ok(err)
	if c.Kind != access.Client || c.Client != "c1" || c.Name != "name-of-c1" || len(c.Scope) != 1 || c.Scope[0] != access.DeviceRead || c.Person != "" ||
		!c.ExpiresAt.Equal(start.Add(DefaultLife)) {
		t.Fatalf("the claims are %+v", c)
	}
	c, err = s.Verify(context.Background(), w.clientToken(s, "c1", secret, ""), here)
	w.ok(err)
	if c.Scope != nil {
		t.Fatalf("a token without scope is narrowed to %v", c.Scope)
	}
}

// TestVerifyForgets changes what is behind a token that was proven.
func TestVerifyForgets(t *testing.T) {
	w := newWorld(t)
	client, secret := w.client("c1")
	s, other := w.node(), w.node()
	token := w.clientToken(s, "c1", secret, "")
	good := func() {
		t.Helper()
		if _, err := s.Verify(context.Background(), token, here); err != nil {
			t.Fatal(err)
		}
	}
	good()
	before := w.clients.asked
	good()
	if w.clients.asked != before {
		t.Error("a remembered token asked for its client again")
	}
	client.Disabled = true
	w.clients.put(client)
	good() // within the ten seconds
	s.Forget("c1")
	w.why(s, token, UnknownClient)
	client.Disabled = false
	w.clients.put(client)
	good()
	client.Disabled = true
	w.clients.put(client)
	w.move(recheckEvery)
	w.why(s, token, UnknownClient)
	client.Disabled, client.Networks = false, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	w.clients.put(client)
	w.why(s, token, WrongNetwork)
	if _, err := s.Verify(context.Background(), token, netip.MustParseAddr("198.51.100.9")); err != nil {
		t.Fatal(err)
	}
	w.why(s, token, WrongNetwork) // remembered, and still only from there
	client.Networks = nil
	w.clients.put(client)
	s.Forget("c1")

	// What cannot be known is an error, and no rejection.
	w.clients.down = true
	w.move(recheckEvery)
	if _, err := s.Verify(context.Background(), token, here); err == nil || strings.Contains(err.Error(), string(UnknownClient)) {
		t.Fatalf("with the database down: %v", err)
	}
	w.clients.down = false
	good()

	// Revoked here; the other node learns it from the control event, or in time.
	c, err := other.Verify(context.Background(), token, here)
	w.ok(err)
	status, got, _ := call(s, pathRevoke, url.Values{"client_id": {"c1"}, "client_secret": {secret}, "token": {token}})
	if status != 200 {
		t.Fatal(status, got)
	}
	w.why(s, token, Revoked)
	if _, err := other.Verify(context.Background(), token, here); err != nil {
		t.Fatal(err)
	}
	other.Revoked(c.ID)
	w.why(other, token, Revoked)
	third := w.node()
	w.why(third, token, Revoked)
	w.move(2 * DefaultLife)
	w.why(third, token, Expired)
	w.ok(third.Upkeep(context.Background()))
}

func TestUpkeepLearnsOfRevocations(t *testing.T) {
	w := newWorld(t)
	_, secret := w.client("c1")
	a, b := w.node(), w.node()
	token := w.clientToken(a, "c1", secret, "")
	if _, err := b.Verify(context.Background(), token, here); err != nil {
		t.Fatal(err)
	}
	call(a, pathRevoke, url.Values{"client_id": {"c1"}, "client_secret": {secret}, "token": {token}})
	w.ok(b.Upkeep(context.Background()))
	w.why(b, token, Revoked)
}

func FuzzVerify(f *testing.F) {
	w := newWorld(f)
	w.client("c1")
	s := w.node()
	key := s.current()
	header := map[string]any{"kid": key.id, "typ": "at+jwt"}
	good := sign(f, jose.ES256, key.private, header, w.good(s))
	f.Add(good)
	f.Add(sign(f, jose.HS256, make([]byte, 32), header, w.good(s)))
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		c, err := s.Verify(context.Background(), token, here)
		if err == nil && (c.Client != "c1" || token == "") {
			t.Fatalf("accepted %q as %+v", token, c)
		}
	})
}

// FuzzClaims puts any payload under a right signature.
func FuzzClaims(f *testing.F) {
	w := newWorld(f)
	w.client("c1")
	s := w.node()
	key := s.current()
	header := map[string]any{"kid": key.id, "typ": "at+jwt"}
	b, _ := json.Marshal(w.good(s))
	f.Add(string(b))
	f.Add(`{"iss":"` + issuer + `","exp":1e999}`)
	f.Add(`{"aud":["a",1]}`)
	f.Fuzz(func(t *testing.T, payload string) {
		c, err := s.Verify(context.Background(), sign(t, jose.ES256, key.private, header, payload), here)
		if err == nil && (c.Subject == "" || c.ID == "" || c.Issuer != issuer || !c.ExpiresAt.After(start)) {
			t.Fatalf("accepted %q as %+v", payload, c)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	_, secret := w.client("c1")
	s := w.node()
	token := w.clientToken(s, "c1", secret, "device.read policy.read")
	b.Run("First", func(b *testing.B) {
		for b.Loop() {
			s.remembered.drop([32]byte(hashOf(token)))
			if _, err := s.Verify(context.Background(), token, here); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Remembered", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Verify(context.Background(), token, here); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Garbage", func(b *testing.B) {
		bad := token[:len(token)-4] + "AAAA"
		for b.Loop() {
			if _, err := s.Verify(context.Background(), bad, here); err == nil {
				b.Fatal("accepted")
			}
		}
	})
	b.Run("Issue", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := s.issue(claims{Subject: "c1", Client: "c1"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func TestRememberedIsBounded(t *testing.T) {
	var r remembered
	for i := range maxRemembered + 100 {
		r.put([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, known{}, 0)
	}
	if len(r.tokens) != maxRemembered {
		t.Fatalf("%d tokens are remembered", len(r.tokens))
	}
	r.forgot++ // a client changed while a token was being proven
	r.drop([32]byte{1})
	good := known{Claims: Claims{ExpiresAt: start.Add(time.Hour)}}
	r.put([32]byte{1}, good, 0)
	if _, ok := r.get([32]byte{1}, start); ok {
		t.Fatal("what was asked before a change was kept")
	}
	r.put([32]byte{1}, good, 1)
	if _, ok := r.get([32]byte{1}, start); !ok {
		t.Fatal("nothing is kept after a change")
	}
}
