package pki

import (
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOpenSSL lets another implementation judge everything that leaves the package.
func TestOpenSSL(t *testing.T) {
	now := time.Now() // openssl ocsp has no option for another time
	for _, alg := range []KeyAlg{P256, P384, Ed25519} {
		t.Run(string(alg), func(t *testing.T) {
			dir := t.TempDir()
			h := newHierarchy(t, alg, now)
			root := writeFile(t, dir, "root.pem", EncodeCertificatesPEM(h.root.Raw))
			issuing := writeFile(t, dir, "issuing.pem", EncodeCertificatesPEM(h.issuer.Certificate.Raw))
			leaf, _ := h.issue(t, subjectOf(Device), alg, now)
			revoked, _ := h.issue(t, subjectOf(Server), alg, now)
			leafFile := writeFile(t, dir, "leaf.pem", EncodeCertificatesPEM(leaf.Raw))
			revokedFile := writeFile(t, dir, "revoked.pem", EncodeCertificatesPEM(revoked.Raw))
			serial := must[Serial](t, "serial")(SerialOf(revoked))

			rootIssuer := must[*Issuer](t, "root")(NewIssuer(h.root, h.rootSigner, URLs{}))
			rootCRL := must[[]byte](t, "list")(BuildCRL(rand.Reader, rootIssuer, big.NewInt(1), nil, now, now.Add(day)))
			crl := must[[]byte](t, "list")(BuildCRL(rand.Reader, h.issuer, big.NewInt(2), []Revoked{{serial, now, KeyCompromise}}, now, now.Add(day)))
			crls := writeFile(t, dir, "crls.pem", append(EncodePEM("X509 CRL", rootCRL), EncodePEM("X509 CRL", crl)...))
			crlFile := writeFile(t, dir, "crl.der", crl)
			if out := openssl(t, "crl", "-inform", "DER", "-in", crlFile, "-noout", "-text", "-CAfile", issuing); !strings.Contains(out, "Key Compromise") || !strings.Contains(out, "verify OK") {
				t.Error(out)
			}
			verify := []string{"verify", "-x509_strict", "-crl_check_all", "-CAfile", root, "-untrusted", issuing, "-CRLfile", crls}
			openssl(t, append(verify, "-purpose", "sslclient", leafFile)...)
			if out := opensslFails(t, append(verify, revokedFile)...); !strings.Contains(out, "revoked") {
				t.Error(out)
			}
			openssl(t, "verify", "-x509_strict", "-CAfile", root, "-untrusted", issuing, "-purpose", "sslserver", "-verify_hostname", "console.fleet.example", revokedFile)
			openssl(t, "verify", "-x509_strict", "-CAfile", root, "-untrusted", issuing, "-purpose", "sslserver", "-verify_ip", "127.0.0.1", revokedFile)
			opensslFails(t, "verify", "-CAfile", root, "-untrusted", issuing, "-purpose", "sslserver", leafFile)
			if out := openssl(t, "x509", "-in", leafFile, "-noout", "-text"); !strings.Contains(out, "URI:spiffe://fleet.example/device/unit-0001") || !strings.Contains(out, testURLs.OCSP) {
				t.Error(out)
			}
			checkOpenSSLOCSP(t, dir, alg, h, leaf, revoked, now)
		})
	}
}

func opensslFails(t *testing.T, args ...string) string {
	t.Helper()
	out, err := opensslCommand(args...)
	if err == nil {
		t.Errorf("openssl %v succeeded:\n%s", args, out)
	}
	return out
}

func checkOpenSSLOCSP(t *testing.T, dir string, alg KeyAlg, h hierarchy, leaf, revoked *x509.Certificate, now time.Time) {
	t.Helper()
	file := func(name string) string { return filepath.Join(dir, name) }
	direct := must[*Responder](t, "responder")(NewResponder(rand.Reader, h.issuer.Certificate, h.issuer.Signer, h.issuer.Certificate))
	for name, r := range map[string]*Responder{"direct": direct, "delegated": responderFor(t, h, alg, now)} {
		for _, hash := range []string{"-sha1", "-sha256"} {
			openssl(t, "ocsp", "-issuer", file("issuing.pem"), hash, "-cert", file("leaf.pem"), hash, "-cert", file("revoked.pem"), "-reqout", file("req.der"))
			der := must[[]byte](t, "request")(os.ReadFile(file("req.der")))
			req := must[OCSPRequest](t, "request")(ParseOCSPRequest(der))
			var list []SingleStatus
			for _, id := range req.Certs {
				s := SingleStatus{ID: id, ThisUpdate: now, NextUpdate: now.Add(time.Hour)}
				if id.Serial == must[Serial](t, "serial")(SerialOf(revoked)) {
					s.Status, s.RevokedAt, s.Reason = StatusRevoked, now, CertificateHold
				}
				list = append(list, s)
			}
			if len(list) != 2 || len(req.Nonce) == 0 {
				t.Fatalf("%s: read %d certificates and a nonce of %d", name, len(list), len(req.Nonce))
			}
			writeFile(t, dir, "resp.der", must[[]byte](t, "response")(Respond(rand.Reader, r, list, req.Nonce, now)))
			out := openssl(t, "ocsp", "-no_nonce", "-reqin", file("req.der"), "-respin", file("resp.der"), "-issuer", file("issuing.pem"),
				hash, "-cert", file("leaf.pem"), hash, "-cert", file("revoked.pem"), "-CAfile", file("root.pem"), "-verify_other", file("issuing.pem"))
			if !strings.Contains(out, "Response verify OK") || !strings.Contains(out, "leaf.pem: good") || !strings.Contains(out, "revoked.pem: revoked") ||
				!strings.Contains(out, "certificateHold") || strings.Contains(strings.ToUpper(out), "WARNING") {
				t.Errorf("%s %s: %s", name, hash, out)
			}
		}
	}
}

func TestCSRAttributes(t *testing.T) {
	dir := t.TempDir()
	for alg, want := range map[KeyAlg][]string{
		P256: {"id-ecPublicKey", "prime256v1", "ecdsa-with-SHA256"}, P384: {"id-ecPublicKey", "secp384r1", "ecdsa-with-SHA384"}, Ed25519: {"ED25519"}} {
		out := openssl(t, "asn1parse", "-inform", "DER", "-in", writeFile(t, dir, "a.der", CSRAttributes(alg)))
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s lacks %s:\n%s", alg, w, out)
			}
		}
	}
}
