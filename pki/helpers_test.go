package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	testNow  = time.Date(2026, 11, 2, 10, 0, 0, 0, time.UTC)
	testURLs = URLs{OCSP: "http://pki.fleet.example/ocsp", CAIssuers: "http://pki.fleet.example/issuing.crt", CRL: "http://pki.fleet.example/issuing.crl"}
)

const day = 24 * time.Hour

// hierarchy is a root and an issuing authority with their keys.
type hierarchy struct {
	root       *x509.Certificate
	rootSigner crypto.Signer
	issuer     *Issuer
}

func must[T any](t testing.TB, what string) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return v
	}
}

func newHierarchy(t testing.TB, alg KeyAlg, now time.Time) hierarchy {
	t.Helper()
	rootKey := must[crypto.Signer](t, "root key")(alg.GenerateKey(rand.Reader))
	rootDER := must[[]byte](t, "root")(NewRoot(rand.Reader, rootKey, "Fleet Root", now, 3650*day))
	root := parseCert(t, rootDER)
	key := must[crypto.Signer](t, "issuing key")(alg.GenerateKey(rand.Reader))
	req := must[[]byte](t, "request")(NewIssuingRequest(rand.Reader, key, "Fleet Issuing 1"))
	csr := must[*CSR](t, "request")(ParseCSR(req))
	rootURLs := URLs{CAIssuers: "http://pki.fleet.example/root.crt", CRL: "http://pki.fleet.example/root.crl"}
	der := must[[]byte](t, "issuing")(SignIssuing(rand.Reader, root, rootKey, csr, now, 730*day, rootURLs))
	issuer := must[*Issuer](t, "issuer")(NewIssuer(parseCert(t, der), key, testURLs))
	return hierarchy{root, rootKey, issuer}
}

func parseCert(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	return must[*x509.Certificate](t, "parsing a certificate")(x509.ParseCertificate(der))
}

func subjectOf(p Profile) Subject {
	s := Subject{TrustDomain: "fleet.example", ID: "unit-0001", Profile: p}
	if p == Server {
		s.DNSNames = []string{"console.fleet.example", "localhost"}
		s.IPs = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("2001:db8::1")}
	}
	return s
}

func newSerial(t testing.TB) Serial {
	t.Helper()
	return must[Serial](t, "serial")(NewSerial(rand.Reader))
}

// issue makes a certificate of a profile for a fresh key.
func (h hierarchy) issue(t testing.TB, s Subject, alg KeyAlg, now time.Time) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	key := must[crypto.Signer](t, "key")(alg.GenerateKey(rand.Reader))
	checked := must[CheckedKey](t, "key")(CheckKey(key.Public()))
	tmpl := must[*Template](t, "template")(h.issuer.Template(newSerial(t), s, checked, now, MaxBackdate, 90*day))
	return parseCert(t, must[[]byte](t, "issuing")(h.issuer.Issue(rand.Reader, tmpl))), key
}

// request makes a CSR with the standard library.
func request(t testing.TB, key crypto.Signer, req *x509.CertificateRequest) []byte {
	t.Helper()
	return must[[]byte](t, "request")(x509.CreateCertificateRequest(rand.Reader, req, key))
}

type attribute struct {
	id    asn1.ObjectIdentifier
	value func(*cryptobyte.Builder) // content of the SET
}

// rawRequest makes a CSR field by field. With a nil signer the signature is garbage.
func rawRequest(t testing.TB, spki []byte, name pkix.RDNSequence, sigAlg string, signer crypto.Signer, attrs ...attribute) []byte {
	t.Helper()
	subject := must[[]byte](t, "subject")(asn1.Marshal(name))
	var info cryptobyte.Builder
	info.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		b.AddBytes(subject)
		b.AddBytes(spki)
		b.AddASN1(tagExplicit0, func(b *cryptobyte.Builder) {
			for _, a := range attrs {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(a.id)
					b.AddASN1(cbasn1.SET, a.value)
				})
			}
		})
	})
	tbs := info.BytesOrPanic()
	signed := bytes.Repeat([]byte{0x17}, 64)
	if signer != nil {
		sig := must[signature](t, "scheme")(signatureFor(signer.Public()))
		sigAlg = sig.id
		signed = must[[]byte](t, "signing")(sig.sign(rand.Reader, signer, tbs))
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes([]byte(sigAlg))
		b.AddASN1BitString(signed)
	})
	return b.BytesOrPanic()
}

func utf8Value(text string) func(*cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
	}
}

func cn(names ...string) pkix.RDNSequence {
	var s pkix.RDNSequence
	for _, n := range names {
		s = append(s, pkix.RelativeDistinguishedNameSET{{Type: oidCommonName, Value: n}})
	}
	return s
}

func spkiOf(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	return must[[]byte](t, "public key")(x509.MarshalPKIXPublicKey(pub))
}

func writeFile(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openssl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := opensslCommand(args...)
	if err != nil {
		t.Fatalf("openssl %v: %v\n%s", args, err, out)
	}
	return out
}

func opensslCommand(args ...string) (string, error) {
	out, err := exec.Command("openssl", args...).CombinedOutput()
	return string(out), err
}
