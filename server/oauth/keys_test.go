package oauth

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestRotation lets two nodes run for a year, one of them looking only now and
// then, and checks a token of each on the other at every step.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	_, secret := w.client("c1")
	a, b := w.node(), w.node()
	signers := map[string]time.Time{} // key id to when it was first published
	published := map[string]time.Time{}
	var old []string
	for step := range 365 * 2 {
		w.move(12 * time.Hour)
		w.ok(a.Upkeep(t.Context()))
		if step%3 == 0 {
			w.ok(b.Upkeep(t.Context()))
		}
		now := w.clock()
		for _, k := range a.published().Keys {
			if _, ok := published[k.KeyID]; !ok {
				published[k.KeyID] = now
			}
		}
		if n := len(a.published().Keys); n < 1 || n > 2 {
			t.Fatalf("at %v, %d keys are published", now, n)
		}
		for _, node := range []*Server{a, b} {
			token := w.clientToken(node, "c1", secret, "")
			p, err := parseToken(token, asymmetric)
			w.ok(err)
			if _, ok := signers[p.kid]; !ok {
				signers[p.kid] = now
				if ahead := now.Sub(published[p.kid]); len(signers) > 1 && ahead < aheadTime {
					t.Fatalf("a key signs %v after it was published", ahead)
				}
			}
			for _, other := range []*Server{a, b} {
				if _, err := other.Verify(t.Context(), token, here); err != nil {
					t.Fatalf("at %v: %v", now, err)
				}
			}
			old = append(old, token)
		}
		w.ok(w.store.SweepOAuth(t.Context(), now.Add(-sweptAfter)))
	}
	if len(signers) < 11 || len(signers) > 13 {
		t.Fatalf("%d keys signed in a year", len(signers))
	}
	w.why(a, old[0], UnknownKey)
	w.why(a, old[len(old)-3], Expired)
}

// TestFirstKeys starts nodes at once on an empty database: they agree on a key.
func TestFirstKeys(t *testing.T) {
	w := newWorld(t)
	_, secret := w.client("c1")
	nodes := atOnce(4, func(int) *Server { s, err := New(context.Background(), w.config()); w.ok(err); return s })
	keys, err := w.store.TokenKeys(t.Context(), w.clock())
	w.ok(err)
	if len(keys) != 1 {
		t.Fatalf("there are %d keys", len(keys))
	}
	token := w.clientToken(nodes[0], "c1", secret, "")
	for _, s := range nodes {
		if _, err := s.Verify(t.Context(), token, here); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnknownKeyReads has a node meet a token of a key that it has not read, and
// then many made-up key ids.
func TestUnknownKeyReads(t *testing.T) {
	w := newWorld(t)
	_, secret := w.client("c1")
	a := w.node()
	w.move(keyLife) // a's key has ended
	b := w.node()
	token := w.clientToken(b, "c1", secret, "")
	if _, err := a.Verify(t.Context(), token, here); err != nil {
		t.Fatalf("a key made by another node: %v", err)
	}
	read := a.readAt
	w.move(5 * time.Second)
	stranger := newECKey(t)
	for range 100 {
		w.why(a, sign(t, "ES256", stranger, map[string]any{"kid": randomKid(), "typ": "at+jwt"}, w.good(a)), UnknownKey)
	}
	if !a.readAt.Equal(read) {
		t.Fatal("made-up key ids make the keys be read again and again")
	}
}

func randomKid() string { return randomText(40)[:43] }

// TestSealedKeys looks at what is stored, swaps it, and opens it with another
// key-encryption key.
func TestSealedKeys(t *testing.T) {
	w := newWorld(t)
	_, secret := w.client("c1")
	s := w.node()
	token := w.clientToken(s, "c1", secret, "")
	rows, err := w.store.TokenKeys(t.Context(), w.clock())
	w.ok(err)
	if strings.Contains(string(rows[0].Sealed), string(mustBytes(s.current().private))) {
		t.Fatal("the key lies open in the database")
	}
	swapped := rows[0]
	swapped.ID, swapped.CreatedAt = randomKid(), w.clock().Add(time.Second)
	w.ok(w.store.InsertTokenKey(t.Context(), swapped, rows[0].ID))
	if k := w.node().keys.Load().find(swapped.ID); k != nil {
		t.Fatal("a key under another id was taken")
	}
	w.sealKey[0]++
	fresh := w.node() // cannot open the old keys, and makes one of its own
	w.why(fresh, token, UnknownKey)
	if _, err := fresh.Verify(t.Context(), w.clientToken(fresh, "c1", secret, ""), here); err != nil {
		t.Fatal(err)
	}
}

// TestClockBack has a node's clock run behind the one that made the keys.
func TestClockBack(t *testing.T) {
	w := newWorld(t)
	_, secret := w.client("c1")
	s := w.node()
	token := w.clientToken(s, "c1", secret, "")
	w.move(-20 * time.Second)
	if _, err := w.node().Verify(t.Context(), token, here); err != nil {
		t.Fatalf("a clock 20 seconds behind: %v", err)
	}
	w.move(-20 * time.Second)
	w.why(w.node(), token, NotYet)
}

func TestConfig(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*Config){
		"issuer with a path":  func(c *Config) { c.Issuer += "/x" },
		"issuer with a slash": func(c *Config) { c.Issuer += "/" },
		"issuer in capitals":  func(c *Config) { c.Issuer = strings.ToUpper(c.Issuer) },
		"issuer without host": func(c *Config) { c.Issuer = "https://" },
		"long life":           func(c *Config) { c.Life = time.Hour },
		"short life":          func(c *Config) { c.Life = time.Second },
		"no store":            func(c *Config) { c.Store = nil },
		"issuers, no fetcher": func(c *Config) { c.Issuers = []TrustedIssuer{ciIssuer("https://ci.example.com")} },
		"an issuer twice":     func(c *Config) { c.withIssuers(ciIssuer("https://a.example"), ciIssuer("https://a.example")) },
		"itself as issuer":    func(c *Config) { c.withIssuers(ciIssuer(issuer)) },
		"issuer, no audience": func(c *Config) { i := ciIssuer("https://a.example"); i.Audience = ""; c.withIssuers(i) },
		"issuer with HS256": func(c *Config) {
			i := ciIssuer("https://a.example")
			i.Algorithms = []string{"HS256"}
			c.withIssuers(i)
		},
		"issuer with none": func(c *Config) { i := ciIssuer("https://a.example"); i.Algorithms = []string{"none"}; c.withIssuers(i) },
		"issuer for everybody": func(c *Config) {
			i := ciIssuer("https://a.example")
			i.Clients = map[string]string{"*": "x"}
			c.withIssuers(i)
		},
		"issuer for nobody": func(c *Config) { i := ciIssuer("https://a.example"); i.Clients = nil; c.withIssuers(i) },
		"issuer's keys a file": func(c *Config) {
			i := ciIssuer("https://a.example")
			i.JWKSURL = "file:///etc/passwd"
			c.withIssuers(i)
		},
	} {
		cfg := w.config()
		change(&cfg)
		if _, err := New(t.Context(), cfg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRunEnds(t *testing.T) {
	w := newWorld(t)
	s := w.node()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	cancel()
	w.ok(<-done)
}

func TestIntrospection(t *testing.T) {
	w := newWorld(t)
	_, mine := w.client("c1")
	_, theirs := w.client("c2")
	_, auditor := w.client("auditor")
	s := w.node()
	token := w.clientToken(s, "c1", mine, "device.read")
	ask := func(id, secret, token string) map[string]any {
		t.Helper()
		status, got, header := call(s, pathIntrospect, url.Values{"client_id": {id}, "client_secret": {secret}, "token": {token}})
		if status != 200 || header.Get("Cache-Control") != "no-store" {
			t.Fatal(status, got)
		}
		return got
	}
	for _, who := range [][2]string{{"c1", mine}, {"auditor", auditor}} {
		got := ask(who[0], who[1], token)
		if got["active"] != true || got["client_id"] != "c1" || got["scope"] != "device.read" || got["aud"] != issuer+"/api" || got["token_type"] != "Bearer" {
			t.Fatalf("%s sees %v", who[0], got)
		}
	}
	inactive := func(got map[string]any) {
		t.Helper()
		if len(got) != 1 || got["active"] != false {
			t.Fatalf("the answer is %v", got)
		}
	}
	inactive(ask("c2", theirs, token))
	for _, text := range []string{"x", token + "x", strings.Repeat("a", MaxToken+1)} {
		inactive(ask("c1", mine, text))
	}
	status, got, _ := call(s, pathIntrospect, url.Values{"token": {token}})
	w.code(status, got, 401, "invalid_client")
	status, got, _ = call(s, pathIntrospect, url.Values{"client_id": {CLIClient}, "token": {token}})
	w.code(status, got, 400, "unauthorized_client")
	status, got, _ = call(s, pathIntrospect, url.Values{"client_id": {"c1"}, "client_secret": {mine}})
	w.code(status, got, 400, "invalid_request")

	// Another client cannot revoke it; its own can, and may do so again.
	status, got, _ = call(s, pathRevoke, url.Values{"client_id": {"c2"}, "client_secret": {theirs}, "token": {token}})
	w.code(status, got, 400, "invalid_grant")
	status, got, _ = call(s, pathRevoke, url.Values{"client_id": {CLIClient}, "token": {token}})
	w.code(status, got, 400, "invalid_grant")
	if ask("c1", mine, token)["active"] != true {
		t.Fatal("it was revoked")
	}
	for range 2 {
		if status, got, _ = call(s, pathRevoke, url.Values{"client_id": {"c1"}, "client_secret": {mine}, "token": {token}, "token_type_hint": {"refresh_token"}}); status != 200 || got != nil {
			t.Fatal(status, got)
		}
	}
	inactive(ask("auditor", auditor, token))
	if status, _, _ = call(s, pathRevoke, url.Values{"client_id": {"c1"}, "client_secret": {mine}, "token": {"garbage"}}); status != 200 {
		t.Fatal("garbage cannot be revoked")
	}
}

func TestSignOut(t *testing.T) {
	w := newWorld(t)
	_, auditor := w.client("auditor")
	s := w.node()
	device, user := w.begin(s, "")
	w.ok(s.Approve(t.Context(), w.alice(), user))
	_, got := poll(s, device)
	token, refresh := got["access_token"].(string), got["refresh_token"].(string)
	_, seen, _ := call(s, pathIntrospect, url.Values{"client_id": {"auditor"}, "client_secret": {auditor}, "token": {token}})
	if seen["active"] != true || seen["sub"] != "palice0000000000" || seen["client_id"] != CLIClient {
		t.Fatal(seen)
	}
	if _, err := s.Verify(t.Context(), token, here); err != nil {
		t.Fatal(err)
	}
	// A program cannot end a person's sign-in with the refresh token either.
	call(s, pathRevoke, url.Values{"client_id": {"auditor"}, "client_secret": {auditor}, "token": {refresh}})
	if w.signIns.by["s1"].ended {
		t.Fatal("another client ended the sign-in")
	}
	if status, got, _ := call(s, pathRevoke, url.Values{"client_id": {CLIClient}, "token": {refresh}}); status != 200 {
		t.Fatal(got)
	}
	w.why(s, token, SignInEnded)
	status, got, _ := call(s, pathToken, refreshForm(refresh, ""))
	w.code(status, got, 400, "invalid_grant")
}
