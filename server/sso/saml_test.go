package sso

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	dsig "github.com/russellhaering/goxmldsig"

	"github.com/holdfast-iot/holdfast/refusal"
)

func TestSAMLSignsIn(t *testing.T) {
	ec := signing{key: keys().p256, cert: certs().ec, method: dsig.ECDSASHA256SignatureMethod, assertion: true}
	whole := byAssertion()
	whole.assertion, whole.response = false, true
	both := byAssertion()
	both.response = true
	strong := byAssertion()
	strong.method = dsig.RSASHA512SignatureMethod
	listed := byAssertion()
	listed.prefixes, listed.response = "xs", true
	for name, s := range map[string]signing{"a list of prefixes": listed, "assertion": byAssertion(), "response": whole, "both": both, "ECDSA": ec, "SHA-512": strong} {
		cfg := samlConfig(t)
		cfg.Metadata = idpMetadata(certs().evil, certs().ec, certs().idp)
		p := newSAML(t, cfg)
		kept, f := begun(t, p)
		r := post(s.apply(t, defaults(f.Request).xml()), f.State)
		e, err := p.Finish(t.Context(), kept, r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if e.Provider != "corp" || e.Subject != "user-1" || e.Name != "user-1" || e.Display != "Ada L" || e.Mail != "ada@example.com" || e.MailVerified || !e.Factors ||
			!slices.Equal(e.Groups, []string{"ops", "dev"}) || e.SessionRef != "idx-1" || e.ReturnTo != "/home" || time.Since(e.AuthTime) > time.Minute {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

// TestRequestIsSigned checks the redirect as a provider would.
func TestRequestIsSigned(t *testing.T) {
	k := keys()
	for method, key := range map[string]crypto.Signer{dsig.RSASHA256SignatureMethod: k.rsa, dsig.ECDSASHA256SignatureMethod: k.p256, dsig.ECDSASHA384SignatureMethod: k.p384} {
		cfg := samlConfig(t)
		cert, err := SelfSign(rand.Reader, key, "holdfast", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cfg.Key, cfg.Certificate = key, cert
		cfg.Fresh, cfg.Contexts = true, []string{"https://refeds.org/profile/mfa"}
		p := newSAML(t, cfg)
		to, kept, err := p.Begin(t.Context(), "/")
		if err != nil {
			t.Fatal(err)
		}
		u, _ := url.Parse(to)
		q := u.Query()
		if !strings.HasPrefix(to, idpLogin+"?tenant=7&SAMLRequest=") || q.Get("SigAlg") != method {
			t.Fatalf("%s", to)
		}
		signed := u.RawQuery[strings.Index(u.RawQuery, "SAMLRequest="):strings.Index(u.RawQuery, "&Signature=")]
		sig, err := base64.StdEncoding.DecodeString(q.Get("Signature"))
		if err != nil {
			t.Fatal(err)
		}
		alg := map[string]x509.SignatureAlgorithm{dsig.RSASHA256SignatureMethod: x509.SHA256WithRSA, dsig.ECDSASHA256SignatureMethod: x509.ECDSAWithSHA256, dsig.ECDSASHA384SignatureMethod: x509.ECDSAWithSHA384}[method]
		if strings.Contains(method, "ecdsa") {
			if sig, err = joined(sig); err != nil {
				t.Fatal(err)
			}
		}
		if err := cfg.Certificate.CheckSignature(alg, []byte(signed), sig); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		raw, _ := base64.StdEncoding.DecodeString(q.Get("SAMLRequest"))
		text, err := io.ReadAll(flate.NewReader(bytes.NewReader(raw)))
		if err != nil {
			t.Fatal(err)
		}
		root, err := parseXML(text, false)
		if err != nil {
			t.Fatal(err)
		}
		f, _ := readFlow(kept, "corp", "saml", time.Now())
		if attr(root, "ID") != f.Request || attr(root, "AssertionConsumerServiceURL") != acs || attr(root, "Destination") != idpLogin+"?tenant=7" || attr(root, "ForceAuthn") != "true" || q.Get("RelayState") != f.State {
			t.Errorf("%s", text)
		}
		if rac := children(root, nsProtocol, "RequestedAuthnContext"); len(rac) != 1 || len(children(rac[0], nsAssertion, "AuthnContextClassRef")) != 1 {
			t.Errorf("%s", text)
		}
	}
}

// TestSAMLAttacks has answers that the provider signed, but for something else.
func TestSAMLAttacks(t *testing.T) {
	now := time.Now().UTC()
	for _, c := range []struct {
		name, code string
		edit       func(*told)
	}{
		{"another audience", CodeAnswer, func(d *told) { d.audience = "https://other.example" }},
		{"no audience", CodeAnswer, func(d *told) { d.audience = "" }},
		{"a second audience restriction", CodeAnswer, func(d *told) {
			d.conditions = `<saml:AudienceRestriction><saml:Audience>https://other.example</saml:Audience></saml:AudienceRestriction>`
		}},
		{"another recipient", CodeAnswer, func(d *told) { d.recipient = "https://other.example/acs" }},
		{"no recipient", CodeAnswer, func(d *told) { d.recipient = "" }},
		{"another destination", CodeAnswer, func(d *told) { d.destination = "https://other.example/acs" }},
		{"another issuer", CodeAnswer, func(d *told) { d.issuer = "https://evil.example" }},
		{"no InResponseTo", CodeAnswer, func(d *told) { d.inResponseTo, d.confirmTo = "", "" }},
		{"no InResponseTo in the assertion", CodeAnswer, func(d *told) { d.confirmTo = "" }},
		{"no InResponseTo in the Response", CodeAnswer, func(d *told) { d.inResponseTo = "" }},
		{"another InResponseTo", CodeAnswer, func(d *told) { d.inResponseTo, d.confirmTo = "id-other", "id-other" }},
		{"another InResponseTo in the assertion", CodeAnswer, func(d *told) { d.confirmTo = "id-other" }},
		{"holder of key", CodeAnswer, func(d *told) { d.method = "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key" }},
		{"a confirmation without end", CodeAnswer, func(d *told) { d.confirmUntil = time.Time{} }},
		{"a confirmation that ended", CodeAnswer, func(d *told) { d.confirmUntil = now.Add(-2 * time.Minute) }},
		{"expired", CodeAnswer, func(d *told) { d.after = now.Add(-2 * time.Minute) }},
		{"not yet valid", CodeAnswer, func(d *told) { d.before = now.Add(2 * time.Minute) }},
		{"issued long ago", CodeAnswer, func(d *told) { d.issued = now.Add(-time.Hour) }},
		{"issued in the future", CodeAnswer, func(d *told) { d.issued = now.Add(time.Hour) }},
		{"signed in in the future", CodeAnswer, func(d *told) { d.authn = now.Add(time.Hour) }},
		{"an unknown condition", CodeAnswer, func(d *told) { d.conditions = `<saml:Condition/>` }},
		{"the provider says no", CodeDenied, func(d *told) { d.status = "urn:oasis:names:tc:SAML:2.0:status:Responder" }},
		{"two names", CodeAnswer, func(d *told) { d.subject = `<saml:NameID>a</saml:NameID><saml:NameID>b</saml:NameID>` }},
		{"an element in the name", CodeAnswer, func(d *told) { d.nameID = `admin<saml:b xmlns:saml="x"/>.evil` }},
		{"an encrypted name", CodeAnswer, func(d *told) { d.subject = `<saml:EncryptedID/>` }},
		{"no name", CodeProfile, func(d *told) { d.subject = ` ` }},
		{"a transient name", CodeMisconfigured, func(d *told) { d.format = formatTransient }},
		{"a long name", CodeProfile, func(d *told) { d.nameID = strings.Repeat("x", 257) }},
		{"too many groups", CodeProfile, func(d *told) {
			d.groups = nil
			for i := range 1001 {
				d.groups = append(d.groups, fmt.Sprint("g", i))
			}
		}},
		{"a long group", CodeProfile, func(d *told) { d.groups = []string{strings.Repeat("g", 257)} }},
		{"no ID", CodeAnswer, func(d *told) { d.assertion = "" }},
		{"one ID for two elements", CodeAnswer, func(d *told) { d.assertion = d.response }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newSAML(t, samlConfig(t))
			kept, f := begun(t, p)
			d := defaults(f.Request)
			c.edit(&d)
			e, err := p.Finish(t.Context(), kept, post(byAssertion().apply(t, d.xml()), f.State))
			if !refusal.Is(err, c.code) || e.Subject != "" {
				t.Errorf("%+v %v, not %s", e, err, c.code)
			}
			if r := refusal.As(err); r != nil && r != refusals[c.code] {
				t.Errorf("strangers learn %q", r.Error())
			}
		})
	}
}

// TestCommentsNeverSplitText has the attack on parsers that read the text
// before a comment, made by a person who may choose his own name.
func TestCommentsNeverSplitText(t *testing.T) {
	for _, name := range []string{"admin@example.com&lt;!----&gt;.evil", "admin@example.com<![CDATA[]]>.evil"} {
		p := newSAML(t, samlConfig(t))
		kept, f := begun(t, p)
		d := defaults(f.Request)
		d.nameID = name
		e, err := p.Finish(t.Context(), kept, post(byAssertion().apply(t, d.xml()), f.State))
		if err == nil && !strings.HasSuffix(e.Subject, ".evil") {
			t.Errorf("%s became %q", name, e.Subject)
		}
	}
}

// TestManyGroups signs in somebody who is in as many groups as may be.
func TestManyGroups(t *testing.T) {
	p := newSAML(t, samlConfig(t))
	kept, f := begun(t, p)
	d := defaults(f.Request)
	d.groups = nil
	for i := range MaxGroups {
		d.groups = append(d.groups, fmt.Sprintf("%0256d", i))
	}
	if e, err := p.Finish(t.Context(), kept, post(byAssertion().apply(t, d.xml()), f.State)); err != nil || len(e.Groups) != MaxGroups {
		t.Errorf("%d groups: %v", len(e.Groups), err)
	}
}

func TestSAMLRelayAndReplay(t *testing.T) {
	p := newSAML(t, samlConfig(t))
	kept, f := begun(t, p)
	text := byAssertion().apply(t, defaults(f.Request).xml())
	for name, relay := range map[string]string{"none": "", "another": token()} {
		if _, err := p.Finish(t.Context(), kept, post(text, relay)); !refusal.Is(err, CodeFlow) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, k := range map[string][]byte{"none": nil, "no JSON": []byte("{"), "of OpenID Connect": []byte(swap(string(kept), `"saml"`, `"oidc"`)), "of another": []byte(swap(string(kept), idpID, "https://old.example"))} {
		if _, err := p.Finish(t.Context(), k, post(text, f.State)); !refusal.Is(err, CodeFlow) {
			t.Errorf("a kept value that is %s: %v", name, err)
		}
	}
	if _, err := p.Finish(t.Context(), kept, post(text, f.State)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(t.Context(), kept, post(text, f.State)); !refusal.Is(err, CodeReplay) {
		t.Errorf("again: %v", err)
	}
	// The same assertion in an envelope of the attacker's, for another sign-in.
	kept2, f2 := begun(t, p)
	if _, err := p.Finish(t.Context(), kept2, post(strings.Replace(text, f.Request, f2.Request, 1), f2.State)); !refusal.Is(err, CodeAnswer) {
		t.Errorf("for another sign-in: %v", err)
	}
	cfg := samlConfig(t)
	cfg.Seen = func(context.Context, string, time.Time) (bool, error) {
		return true, errors.New("the database is down")
	}
	p = newSAML(t, cfg)
	kept, f = begun(t, p)
	if _, err := p.Finish(t.Context(), kept, post(byAssertion().apply(t, defaults(f.Request).xml()), f.State)); !refusal.Is(err, CodeUnavailable) {
		t.Errorf("without a database: %v", err)
	}
}

func TestUnsolicited(t *testing.T) {
	d := defaults("")
	text := byAssertion().apply(t, d.xml())
	if _, err := newSAML(t, samlConfig(t)).Finish(t.Context(), nil, post(text, "")); !refusal.Is(err, CodeFlow) {
		t.Errorf("by default: %v", err)
	}
	cfg := samlConfig(t)
	cfg.AllowUnsolicited = true
	p := newSAML(t, cfg)
	if e, err := p.Finish(t.Context(), nil, post(text, "https://evil.example")); err != nil || e.Subject != "user-1" || e.ReturnTo != "/" {
		t.Errorf("where it is allowed: %+v %v", e, err)
	}
	if _, err := p.Finish(t.Context(), nil, post(text, "")); !refusal.Is(err, CodeReplay) {
		t.Errorf("again: %v", err)
	}
	kept, f := begun(t, p)
	if _, err := p.Finish(t.Context(), kept, post(byAssertion().apply(t, defaults("").xml()), f.State)); !refusal.Is(err, CodeAnswer) {
		t.Errorf("an answer to nobody, in a sign-in: %v", err)
	}
	if _, err := p.Finish(t.Context(), nil, post(byAssertion().apply(t, defaults(f.Request).xml()), "")); !refusal.Is(err, CodeAnswer) {
		t.Errorf("an answer to a sign-in, without it: %v", err)
	}
}

func TestPostForms(t *testing.T) {
	p := newSAML(t, samlConfig(t))
	kept, f := begun(t, p)
	text := byAssertion().apply(t, defaults(f.Request).xml())
	b64 := base64.StdEncoding.EncodeToString([]byte(text))
	get := httptest.NewRequest("GET", acs+"?"+url.Values{"SAMLResponse": {b64}, "RelayState": {f.State}}.Encode(), nil)
	query := httptest.NewRequest("POST", acs+"?"+url.Values{"SAMLResponse": {b64}, "RelayState": {f.State}}.Encode(), nil)
	query.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	plain := post(text, f.State)
	plain.Header.Set("Content-Type", "text/plain")
	for name, r := range map[string]*http.Request{
		"GET": get, "in the query": query, "another type": plain,
		"two responses": postForm(url.Values{"SAMLResponse": {b64, b64}, "RelayState": {f.State}}),
		"two states":    postForm(url.Values{"SAMLResponse": {b64}, "RelayState": {f.State, "x"}}),
		"an artifact":   postForm(url.Values{"SAMLart": {"AAQ"}, "RelayState": {f.State}}),
		"no base64":     postForm(url.Values{"SAMLResponse": {"<xml>"}, "RelayState": {f.State}}),
		"huge":          post(strings.Repeat(" ", maxResponse+1), f.State),
		"huge body":     postForm(url.Values{"SAMLResponse": {b64}, "RelayState": {f.State}, "x": {strings.Repeat("x", 2*maxResponse)}}),
	} {
		if _, err := p.Finish(t.Context(), kept, r); !refusal.Is(err, CodeAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSAMLRequirements has the rules that a configuration may add.
func TestSAMLRequirements(t *testing.T) {
	for _, c := range []struct {
		name, code string
		cfg        func(*SAMLConfig)
		edit       func(*told)
	}{
		{"the attribute", "", func(c *SAMLConfig) { c.Require = map[string]string{"groups": "ops"} }, nil},
		{"no such value", CodeProfile, func(c *SAMLConfig) { c.Require = map[string]string{"groups": "admins"} }, nil},
		{"the context", "", func(c *SAMLConfig) { c.Contexts = []string{"https://refeds.org/profile/mfa"} }, nil},
		{"another context", CodeProfile, func(c *SAMLConfig) { c.Contexts = []string{"https://refeds.org/profile/mfa"} }, func(d *told) { d.context = "urn:password" }},
		{"fresh", "", func(c *SAMLConfig) { c.Fresh = true }, nil},
		{"not fresh", CodeProfile, func(c *SAMLConfig) { c.Fresh = true }, func(d *told) { d.authn = d.authn.Add(-time.Hour) }},
		{"a subject attribute", "", func(c *SAMLConfig) { c.SubjectAttribute, c.NameAttribute = "mail", "cn" }, func(d *told) { d.format = formatTransient }},
		{"no such subject attribute", CodeProfile, func(c *SAMLConfig) { c.SubjectAttribute = "uid" }, nil},
		{"a subject attribute with two values", CodeProfile, func(c *SAMLConfig) { c.SubjectAttribute = "groups" }, nil},
	} {
		cfg := samlConfig(t)
		c.cfg(&cfg)
		p := newSAML(t, cfg)
		kept, f := begun(t, p)
		d := defaults(f.Request)
		if c.edit != nil {
			c.edit(&d)
		}
		_, err := p.Finish(t.Context(), kept, post(byAssertion().apply(t, d.xml()), f.State))
		if c.code == "" && err != nil || c.code != "" && !refusal.Is(err, c.code) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestProviderMetadata(t *testing.T) {
	good := string(idpMetadata(certs().idp))
	if _, err := readMetadata([]byte(good), "", nil, false); err != nil {
		t.Fatal(err)
	}
	weak := selfSigned(t, keys().weak, time.Now(), time.Now().Add(time.Hour))
	ed := selfSigned(t, keys().ed, time.Now(), time.Now().Add(time.Hour))
	for name, text := range map[string]string{
		"empty": "", "no XML": "hello", "a type": `<!DOCTYPE x [<!ENTITY a "b">]>` + good,
		"no certificate":      string(idpMetadata()),
		"a weak certificate":  string(idpMetadata(weak)),
		"an unusable key":     string(idpMetadata(ed)),
		"no HTTPS":            strings.ReplaceAll(good, idpLogin, "http://idp.example/sso"),
		"a script":            strings.ReplaceAll(good, idpLogin, "javascript:alert(1)//"),
		"no redirect binding": strings.ReplaceAll(good, "HTTP-Redirect", "SOAP"),
		"no provider":         strings.ReplaceAll(good, "IDPSSODescriptor", "SPSSODescriptor"),
		"no entity":           strings.ReplaceAll(good, idpID, ""),
		"SAML 1":              strings.ReplaceAll(good, nsProtocol, "urn:oasis:names:tc:SAML:1.1:protocol"),
		"bad base64":          strings.ReplaceAll(good, "MII", "M I*I"),
		"two providers":       `<md:EntitiesDescriptor xmlns:md="` + nsMetadata + `">` + strings.Repeat(good[strings.Index(good, "<md:"):], 2) + `</md:EntitiesDescriptor>`,
		"deep":                strings.Repeat("<a>", 50) + strings.Repeat("</a>", 50),
	} {
		if _, err := readMetadata([]byte(text), "", nil, false); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	two := `<md:EntitiesDescriptor xmlns:md="` + nsMetadata + `">` + good[strings.Index(good, "<md:"):] +
		strings.ReplaceAll(good[strings.Index(good, "<md:"):], idpID, "https://second.example") + `</md:EntitiesDescriptor>`
	if d, err := readMetadata([]byte(two), "https://second.example", nil, false); err != nil || d.entityID != "https://second.example" {
		t.Errorf("one of two by name: %v", err)
	}
	sum := sha256.Sum256(certs().idp.Raw)
	if d, err := readMetadata(idpMetadata(certs().evil, certs().idp), "", []string{hex.EncodeToString(sum[:])}, false); err != nil || len(d.certs) != 1 || !d.certs[0].Equal(certs().idp) {
		t.Errorf("pinned: %v", err)
	}
}

// TestMetadataRotation fetches metadata, and finds the new certificate of a
// provider that changed it.
func TestMetadataRotation(t *testing.T) {
	doc := idpMetadata(certs().idp)
	hits := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { hits++; w.Write(doc) }))
	defer s.Close()
	at := time.Now()
	cfg := samlConfig(t)
	cfg.Metadata, cfg.MetadataURL, cfg.Client, cfg.AllowHTTP = nil, s.URL, local(t), true
	cfg.Now = func() time.Time { return at }
	p := newSAML(t, cfg)
	if hits != 0 {
		t.Error("the provider was asked before the first sign-in")
	}
	kept, f := begun(t, p)
	doc = idpMetadata(certs().evil)
	at = at.Add(11 * time.Second)
	s2 := byAssertion()
	s2.key, s2.cert = keys().rsa2, certs().evil
	if _, err := p.Finish(t.Context(), kept, post(s2.apply(t, defaults(f.Request).xml()), f.State)); err != nil {
		t.Errorf("a new certificate: %v", err)
	}
	kept, f = begun(t, p)
	if _, err := p.Finish(t.Context(), kept, post(byAssertion().apply(t, defaults(f.Request).xml()), f.State)); !refusal.Is(err, CodeAnswer) {
		t.Errorf("the old certificate: %v", err)
	}
	doc = bytes.Replace(idpMetadata(certs().idp), []byte("entityID="), []byte(`validUntil="2020-01-01T00:00:00Z" entityID=`), 1)
	at = at.Add(2 * time.Hour)
	if _, _, err := p.Begin(t.Context(), "/"); !refusal.Is(err, CodeMisconfigured) {
		t.Errorf("metadata that has ended: %v", err)
	}
	s.Close()
	if _, _, err := newSAML(t, cfg).Begin(t.Context(), "/"); !refusal.Is(err, CodeUnavailable) {
		t.Errorf("a provider that is down: %v", err)
	}
}

func TestSAMLConfigMistakes(t *testing.T) {
	for name, edit := range map[string]func(*SAMLConfig){
		"name": func(c *SAMLConfig) { c.Name = "" }, "label": func(c *SAMLConfig) { c.Label = "a\nb" },
		"no metadata":   func(c *SAMLConfig) { c.Metadata = nil },
		"both metadata": func(c *SAMLConfig) { c.MetadataURL = "https://idp.example" },
		"no client":     func(c *SAMLConfig) { c.Metadata, c.MetadataURL = nil, "https://idp.example" },
		"bad metadata":  func(c *SAMLConfig) { c.Metadata = []byte("<x/>") },
		"ended": func(c *SAMLConfig) {
			c.Metadata = []byte(swap(string(c.Metadata), "entityID", `validUntil="nonsense" entityID`))
		},
		"no TLS":      func(c *SAMLConfig) { c.ACSURL = "http://console.example/acs" },
		"entity":      func(c *SAMLConfig) { c.EntityID = "" },
		"no record":   func(c *SAMLConfig) { c.Seen = nil },
		"no key":      func(c *SAMLConfig) { c.Key = nil },
		"no cert":     func(c *SAMLConfig) { c.Certificate = nil },
		"another key": func(c *SAMLConfig) { c.Key = keys().rsa },
		"Ed25519":     func(c *SAMLConfig) { c.Key = keys().ed },
		"pin":         func(c *SAMLConfig) { c.Pins = []string{"abc"} },
		"another pin": func(c *SAMLConfig) { c.Pins = []string{strings.Repeat("ab", 32)} },
	} {
		cfg := samlConfig(t)
		edit(&cfg)
		if _, err := NewSAML(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
