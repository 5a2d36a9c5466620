package pki

import (
	"crypto"
	"crypto/rand"
	"math/big"
	"testing"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

func rfcLints(t *testing.T) lint.Registry {
	t.Helper()
	return must[lint.Registry](t, "lint registry")(lint.GlobalRegistry().Filter(lint.FilterOptions{
		IncludeSources: lint.SourceList{lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC8813},
	}))
}

func report(t *testing.T, what string, set *zlint.ResultSet) {
	t.Helper()
	if len(set.Results) < 5 {
		t.Errorf("%s: only %d lints ran", what, len(set.Results))
	}
	for name, r := range set.Results {
		if r.Status >= lint.Notice {
			t.Errorf("%s: %s: %s %s", what, name, r.Status, r.Details)
		}
	}
}

func lintCert(t *testing.T, what string, der []byte) {
	t.Helper()
	cert := must[*zx509.Certificate](t, what)(zx509.ParseCertificate(der))
	report(t, what, zlint.LintCertificateEx(cert, rfcLints(t)))
}

func TestLint(t *testing.T) {
	rsaKey := weakRSA(t, 2048, 65537)
	for _, alg := range []KeyAlg{P256, P384, Ed25519} {
		h := newHierarchy(t, alg, testNow)
		lintCert(t, string(alg)+" root", h.root.Raw)
		lintCert(t, string(alg)+" issuing", h.issuer.Certificate.Raw)
		for _, p := range []Profile{Device, Gateway, App, Server} {
			cert, _ := h.issue(t, subjectOf(p), alg, testNow)
			lintCert(t, string(alg)+" "+string(p), cert.Raw)
			lintCert(t, string(alg)+" RSA "+string(p), must[[]byte](t, "issuing")(h.issueFor(t, p, rsaKey)))
		}
		key := must[crypto.Signer](t, "key")(alg.GenerateKey(rand.Reader))
		responder := must[[]byte](t, "responder")(SignResponder(rand.Reader, h.issuer, key.Public(), "Fleet OCSP", testNow, 7*day))
		lintCert(t, string(alg)+" responder", responder)
		for name, entries := range map[string][]Revoked{"empty list": nil, "list": {
			{newSerial(t), testNow, Unspecified}, {newSerial(t), testNow, CertificateHold}, {newSerial(t), testNow, KeyCompromise}}} {
			der := must[[]byte](t, "list")(BuildCRL(rand.Reader, h.issuer, big.NewInt(7), entries, testNow, testNow.Add(day)))
			crl := must[*zx509.RevocationList](t, "list")(zx509.ParseRevocationList(der))
			report(t, string(alg)+" "+name, zlint.LintRevocationListEx(crl, rfcLints(t)))
		}
	}
}

func (h hierarchy) issueFor(t *testing.T, p Profile, pub crypto.PublicKey) ([]byte, error) {
	checked := must[CheckedKey](t, "key")(CheckKey(pub))
	tmpl := must[*Template](t, "template")(h.issuer.Template(newSerial(t), subjectOf(p), checked, testNow, MaxBackdate, 90*day))
	return h.issuer.Issue(rand.Reader, tmpl)
}
