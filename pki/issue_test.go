package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestIssueProfiles(t *testing.T) {
	h := newHierarchy(t, P256, testNow)
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(h.root)
	between.AddCert(h.issuer.Certificate)
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	for p, want := range map[Profile][]x509.ExtKeyUsage{Device: both[:1], App: both[:1], Gateway: both, Server: both[1:]} {
		cert, key := h.issue(t, subjectOf(p), P256, testNow)
		if !slices.Equal(cert.ExtKeyUsage, want) || cert.KeyUsage != x509.KeyUsageDigitalSignature || cert.IsCA || !cert.BasicConstraintsValid {
			t.Errorf("%s: purposes %v, usage %v", p, cert.ExtKeyUsage, cert.KeyUsage)
		}
		if !sameKey(cert.PublicKey, key.Public()) || cert.Subject.CommonName != "unit-0001" || cert.OCSPServer[0] != testURLs.OCSP ||
			cert.IssuingCertificateURL[0] != testURLs.CAIssuers || cert.CRLDistributionPoints[0] != testURLs.CRL || len(cert.SubjectKeyId) != 20 {
			t.Errorf("%s: content is wrong", p)
		}
		if !cert.NotBefore.Equal(testNow.Add(-MaxBackdate)) || !cert.NotAfter.Equal(testNow.Add(90*day)) {
			t.Errorf("%s: valid from %s to %s", p, cert.NotBefore, cert.NotAfter)
		}
		profile, id, err := Identity(cert, "fleet.example")
		if err != nil || profile != p || id != "unit-0001" {
			t.Errorf("%s: identity %s %s, %v", p, profile, id, err)
		}
		for _, eku := range both {
			err := VerifyChain(cert, between, roots, testNow, eku)
			if (err == nil) != slices.Contains(want, eku) {
				t.Errorf("%s for purpose %v: %v", p, eku, err)
			}
		}
		if p == Server && (cert.VerifyHostname("console.fleet.example") != nil || cert.VerifyHostname("127.0.0.1") != nil || cert.VerifyHostname("2001:db8::1") != nil) {
			t.Error("the server's names are missing")
		}
	}
}

func TestRSAKeyUsage(t *testing.T) {
	h := newHierarchy(t, Ed25519, testNow)
	for p, want := range map[Profile]x509.KeyUsage{
		Server: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, Device: x509.KeyUsageDigitalSignature} {
		cert := parseCert(t, must[[]byte](t, "issuing")(h.issueFor(t, p, weakRSA(t, 2048, 65537))))
		if cert.KeyUsage != want {
			t.Errorf("%s: usage %v", p, cert.KeyUsage)
		}
	}
}

func TestIssueClampsToIssuer(t *testing.T) {
	h := newHierarchy(t, P256, testNow)
	key := must[CheckedKey](t, "key")(CheckKey(weakRSA(t, 2048, 65537)))
	tmpl := must[*Template](t, "template")(h.issuer.Template(newSerial(t), subjectOf(Device), key, testNow, MaxBackdate, 5000*day))
	if !tmpl.NotAfter.Equal(h.issuer.Certificate.NotAfter) {
		t.Errorf("ends %s, the issuer ends %s", tmpl.NotAfter, h.issuer.Certificate.NotAfter)
	}
	late := h.issuer.Certificate.NotAfter.Add(time.Second)
	if _, err := h.issuer.Template(newSerial(t), subjectOf(Device), key, late, 0, day); err == nil {
		t.Error("an ended authority issues")
	}
	if _, err := h.issuer.Template(newSerial(t), subjectOf(Device), key, testNow.Add(-time.Hour), 0, day); err == nil {
		t.Error("an authority issues before its time")
	}
}

func TestTemplateRefusals(t *testing.T) {
	h := newHierarchy(t, P256, testNow)
	key := must[CheckedKey](t, "key")(CheckKey(weakRSA(t, 2048, 65537)))
	own := must[CheckedKey](t, "key")(CheckKey(h.issuer.Certificate.PublicKey))
	good := subjectOf(Device)
	for name, try := range map[string]func() (*Template, error){
		"no serial":     func() (*Template, error) { return h.issuer.Template(Serial{}, good, key, testNow, 0, day) },
		"negative":      func() (*Template, error) { return h.issuer.Template(Serial{0x80}, good, key, testNow, 0, day) },
		"no key":        func() (*Template, error) { return h.issuer.Template(Serial{1}, good, CheckedKey{}, testNow, 0, day) },
		"issuer's key":  func() (*Template, error) { return h.issuer.Template(Serial{1}, good, own, testNow, 0, day) },
		"backdated far": func() (*Template, error) { return h.issuer.Template(Serial{1}, good, key, testNow, time.Hour, day) },
		"postdated":     func() (*Template, error) { return h.issuer.Template(Serial{1}, good, key, testNow, -time.Hour, day) },
		"no time":       func() (*Template, error) { return h.issuer.Template(Serial{1}, good, key, testNow, 0, 0) },
		"bad subject":   func() (*Template, error) { return h.issuer.Template(Serial{1}, Subject{}, key, testNow, 0, day) },
	} {
		if _, err := try(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	tmpl := must[*Template](t, "template")(h.issuer.Template(Serial{1}, good, key, testNow, 0, day))
	if _, err := newHierarchy(t, P256, testNow).issuer.Issue(rand.Reader, tmpl); err == nil {
		t.Error("another authority used the template")
	}
	if _, err := h.issuer.Issue(rand.Reader, &Template{Serial: Serial{1}, Subject: good}); err == nil {
		t.Error("a template made by hand was used")
	}
}

// faultySigner says that it has one key and signs with another, or damages what it signs.
type faultySigner struct {
	says  crypto.PublicKey
	signs crypto.Signer
	flip  bool
}

func (f faultySigner) Public() crypto.PublicKey { return f.says }

func (f faultySigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	sig, err := f.signs.Sign(rand, digest, opts)
	if f.flip && err == nil {
		sig[len(sig)-1] ^= 1
	}
	return sig, err
}

func TestIssueRefusesFaultySigner(t *testing.T) {
	for _, alg := range []KeyAlg{P256, P384, Ed25519} {
		h := newHierarchy(t, alg, testNow)
		other := must[crypto.Signer](t, "key")(alg.GenerateKey(rand.Reader))
		if _, err := NewIssuer(h.issuer.Certificate, other, URLs{}); err == nil {
			t.Error("an authority was opened with another key")
		}
		for _, signer := range []crypto.Signer{
			faultySigner{h.issuer.Certificate.PublicKey, other, false}, faultySigner{h.issuer.Certificate.PublicKey, h.issuer.Signer, true}} {
			bad := hierarchy{h.root, signer, must[*Issuer](t, "issuer")(NewIssuer(h.issuer.Certificate, signer, URLs{}))}
			if _, err := bad.issueFor(t, Device, weakRSA(t, 2048, 65537)); err == nil {
				t.Error("a certificate with a wrong signature was handed out")
			}
			if _, err := BuildCRL(rand.Reader, bad.issuer, Serial{15: 1}.BigInt(), nil, testNow, testNow.Add(day)); err == nil {
				t.Error("a revocation list with a wrong signature was handed out")
			}
			if _, err := NewResponder(rand.Reader, h.issuer.Certificate, signer, h.issuer.Certificate); err == nil {
				t.Error("a responder with a wrong key was opened")
			}
			if _, err := NewRoot(rand.Reader, faultySigner{signer.Public(), other, true}, "Root", testNow, 10*day); err == nil {
				t.Error("a root with a wrong signature was handed out")
			}
		}
	}
}

func TestAuthorities(t *testing.T) {
	h := newHierarchy(t, P384, testNow)
	issuing := h.issuer.Certificate
	if !h.root.IsCA || h.root.MaxPathLen != 1 || !issuing.IsCA || issuing.MaxPathLen != 0 || !issuing.MaxPathLenZero ||
		issuing.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || h.root.SignatureAlgorithm != x509.ECDSAWithSHA384 {
		t.Error("the authorities have other powers than meant")
	}
	leaf, leafKey := h.issue(t, subjectOf(Device), P256, testNow)
	if _, err := NewIssuer(leaf, leafKey, URLs{}); err == nil {
		t.Error("a device became an authority")
	}
	if _, err := NewIssuer(issuing, h.issuer.Signer, URLs{CRL: "file:///etc/passwd"}); err == nil {
		t.Error("a file became a distribution point")
	}
	ownCSR := must[*CSR](t, "csr")(ParseCSR(must[[]byte](t, "request")(NewIssuingRequest(rand.Reader, h.rootSigner, "Mine"))))
	if _, err := SignIssuing(rand.Reader, h.root, h.rootSigner, ownCSR, testNow, day, URLs{}); err == nil {
		t.Error("the root's key became an issuing key")
	}
	key := must[crypto.Signer](t, "key")(P256.GenerateKey(rand.Reader))
	sameCN := must[*CSR](t, "csr")(ParseCSR(must[[]byte](t, "request")(NewIssuingRequest(rand.Reader, key, "Fleet Root"))))
	if _, err := SignIssuing(rand.Reader, h.root, h.rootSigner, sameCN, testNow, day, URLs{}); err == nil {
		t.Error("an issuing authority took the root's name")
	}
	if _, err := SignResponder(rand.Reader, h.issuer, key.Public(), "OCSP", testNow, 365*day); err == nil {
		t.Error("a responder that nobody checks lives for a year")
	}
	if _, err := SignResponder(rand.Reader, h.issuer, issuing.PublicKey, "OCSP", testNow, day); err == nil {
		t.Error("the authority's own key became a delegated one")
	}
	for _, name := range []string{"", " x", "a\nb", strings.Repeat("x", 65)} {
		if _, err := NewRoot(rand.Reader, key, name, testNow, 10*day); err == nil {
			t.Errorf("the root is named %q", name)
		}
	}
	if _, err := NewRoot(rand.Reader, key, "Root", testNow, time.Minute); err == nil {
		t.Error("a root lives for a minute")
	}
}

func TestIssuerHidesItsKey(t *testing.T) {
	h := newHierarchy(t, Ed25519, testNow)
	seed := fmt.Sprint(h.issuer.Signer)
	r := must[*Responder](t, "responder")(NewResponder(rand.Reader, h.issuer.Certificate, h.issuer.Signer, h.issuer.Certificate))
	for _, v := range []any{h.issuer, *h.issuer, r} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, seed[1:20]) || strings.Contains(text, "Signer") {
				t.Errorf("%s of %T: %s", verb, v, text)
			}
		}
	}
}

func TestSubjectValidate(t *testing.T) {
	for name, change := range map[string]func(*Subject){
		"empty id":         func(s *Subject) { s.ID = "" },
		"long id":          func(s *Subject) { s.ID = strings.Repeat("a", 65) },
		"slash":            func(s *Subject) { s.ID = "a/b" },
		"dot":              func(s *Subject) { s.ID = "." },
		"dots":             func(s *Subject) { s.ID = ".." },
		"percent":          func(s *Subject) { s.ID = "a%2fb" },
		"accent":           func(s *Subject) { s.ID = "é" },
		"profile":          func(s *Subject) { s.Profile = "root" },
		"upper domain":     func(s *Subject) { s.TrustDomain = "Fleet.example" },
		"domain with port": func(s *Subject) { s.TrustDomain = "fleet.example:1" },
		"no domain":        func(s *Subject) { s.TrustDomain = "" },
		"device with DNS":  func(s *Subject) { s.Profile = Device },
		"wildcard":         func(s *Subject) { s.DNSNames = []string{"*.fleet.example"} },
		"many names":       func(s *Subject) { s.DNSNames = slices.Repeat([]string{"a"}, 101) },
		"zone":             func(s *Subject) { s.IPs = []netip.Addr{netip.MustParseAddr("fe80::1%eth0")} },
		"no address":       func(s *Subject) { s.IPs = []netip.Addr{{}} },
	} {
		s := subjectOf(Server)
		change(&s)
		if s.Validate() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for _, id := range []string{"a", "A.b_c-9", "...", strings.Repeat("z", 64)} {
		if err := ValidID(id); err != nil {
			t.Error(err)
		}
	}
	if got := subjectOf(Device).SPIFFE(); got != "spiffe://fleet.example/device/unit-0001" {
		t.Error(got)
	}
}

func withSAN(names string) *x509.Certificate {
	value := append([]byte{0x30, byte(len(names))}, names...)
	return &x509.Certificate{Extensions: []pkix.Extension{{Id: oidSubjectAltName, Value: value}}}
}

func uriName(s string) string { return string([]byte{0x86, byte(len(s))}) + s }

func TestIdentityIsStrict(t *testing.T) {
	const good = "spiffe://fleet.example/device/d1"
	if p, id, err := Identity(withSAN("\x82\x01a"+uriName(good)), "fleet.example"); err != nil || p != Device || id != "d1" {
		t.Error(p, id, err)
	}
	ca := withSAN(uriName(good))
	ca.IsCA = true
	for name, cert := range map[string]*x509.Certificate{
		"two URIs": withSAN(uriName(good) + uriName(good)), "no URI": withSAN("\x82\x01a"), "none": {}, "authority": ca,
		"cut off": withSAN("\x86\x40spiffe"), "upper scheme": withSAN(uriName("SPIFFE://fleet.example/device/d1")),
		"other domain": withSAN(uriName("spiffe://other.example/device/d1")), "longer domain": withSAN(uriName("spiffe://fleet.example.org/device/d1")),
		"port": withSAN(uriName("spiffe://fleet.example:1/device/d1")), "user": withSAN(uriName("spiffe://u@fleet.example/device/d1")),
		"query": withSAN(uriName(good + "?x")), "fragment": withSAN(uriName(good + "#x")), "escape": withSAN(uriName("spiffe://fleet.example/device/%64")),
		"more path": withSAN(uriName(good + "/x")), "slash": withSAN(uriName(good + "/")), "double": withSAN(uriName("spiffe://fleet.example//device/d1")),
		"profile": withSAN(uriName("spiffe://fleet.example/admin/d1")), "no id": withSAN(uriName("spiffe://fleet.example/device")), "nul": withSAN(uriName(good + "\x00")),
	} {
		if p, id, err := Identity(cert, "fleet.example"); err == nil {
			t.Errorf("%s: read as %s %s", name, p, id)
		}
	}
	if _, _, err := Identity(withSAN(uriName("spiffe:///device/d1")), ""); err == nil {
		t.Error("an empty trust domain matched")
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add([]byte("\x30\x22" + uriName("spiffe://fleet.example/device/d1")))
	f.Add([]byte("\x30\x25\x82\x01a" + uriName("spiffe://fleet.example/server/d1")))
	f.Fuzz(func(t *testing.T, san []byte) {
		cert := &x509.Certificate{Extensions: []pkix.Extension{{Id: oidSubjectAltName, Value: san}}}
		p, id, err := Identity(cert, "fleet.example")
		if err != nil {
			return
		}
		if err := (Subject{TrustDomain: "fleet.example", ID: id, Profile: p}).Validate(); err != nil {
			t.Fatalf("read an identity that could not be issued: %v", err)
		}
	})
}
