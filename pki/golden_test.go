package pki

import (
	"bytes"
	"crypto"
	"flag"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

// TestGolden holds everything that the package writes to the octet. Ed25519 signatures are deterministic and all
// randomness comes from a seed, so another implementation can follow testdata/README.md and get the same octets.
func TestGolden(t *testing.T) {
	source := rand.NewChaCha8([32]byte([]byte("holdfast golden vectors, seed 01")))
	newKey := func() crypto.Signer { return must[crypto.Signer](t, "key")(Ed25519.GenerateKey(source)) }
	rootKey, issuingKey, leafKey, responderKey := newKey(), newKey(), newKey(), newKey()
	root := parseCert(t, golden(t, "root", "CERTIFICATE")(NewRoot(source, rootKey, "Fleet Root", testNow, 3650*day)))
	request := golden(t, "issuing-request", "CERTIFICATE REQUEST")(NewIssuingRequest(source, issuingKey, "Fleet Issuing 1"))
	csr := must[*CSR](t, "request")(ParseCSR(request))
	issuing := parseCert(t, golden(t, "issuing", "CERTIFICATE")(SignIssuing(source, root, rootKey, csr, testNow, 730*day,
		URLs{CRL: "http://pki.fleet.example/root.crl"})))
	issuer := must[*Issuer](t, "issuer")(NewIssuer(issuing, issuingKey, testURLs))
	key := must[CheckedKey](t, "key")(CheckKey(leafKey.Public()))
	for i, p := range []Profile{Device, Gateway, App, Server} {
		tmpl := must[*Template](t, "template")(issuer.Template(Serial{15: byte(i + 1)}, subjectOf(p), key, testNow, MaxBackdate, 90*day))
		golden(t, string(p), "CERTIFICATE")(issuer.Issue(source, tmpl))
	}
	golden(t, "crl", "X509 CRL")(BuildCRL(source, issuer, big.NewInt(7), []Revoked{
		{Serial{15: 2}, testNow, CertificateHold}, {Serial{15: 1}, testNow, Unspecified}}, testNow, testNow.Add(day)))
	responder := parseCert(t, golden(t, "responder", "CERTIFICATE")(SignResponder(source, issuer, responderKey.Public(), "Fleet OCSP", testNow, 7*day)))
	r := must[*Responder](t, "responder")(NewResponder(source, responder, responderKey, issuing))
	status := SingleStatus{ID: r.Hashes().CertID(crypto.SHA1, Serial{15: 3}), ThisUpdate: testNow, NextUpdate: testNow.Add(time.Hour)}
	golden(t, "ocsp-good", "OCSP RESPONSE")(Respond(source, r, []SingleStatus{status}, nil, testNow))
	status = SingleStatus{ID: r.Hashes().CertID(crypto.SHA256, Serial{15: 2}), Status: StatusRevoked, RevokedAt: testNow, Reason: CertificateHold, ThisUpdate: testNow}
	golden(t, "ocsp-revoked-nonce", "OCSP RESPONSE")(Respond(source, r, []SingleStatus{status}, []byte("0123456789abcdef"), testNow))
	for alg, name := range map[KeyAlg]string{P256: "csrattrs-p256", P384: "csrattrs-p384", Ed25519: "csrattrs-ed25519"} {
		golden(t, name, "CSR ATTRIBUTES")(CSRAttributes(alg), nil)
	}
}

// golden compares what was made with testdata/NAME.pem and returns it.
func golden(t *testing.T, name, label string) func([]byte, error) []byte {
	t.Helper()
	return func(der []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		path, text := filepath.Join("testdata", name+".pem"), EncodePEM(label, der)
		if *update {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(want, text) {
			t.Errorf("%s differs from its vector (%v):\n%s", name, err, text)
		}
		return der
	}
}
