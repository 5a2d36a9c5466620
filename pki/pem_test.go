package pki

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestParseCertificatesPEM(t *testing.T) {
	h := newHierarchy(t, Ed25519, testNow)
	one := EncodeCertificatesPEM(h.root.Raw)
	for n, text := range map[int][]byte{1: one, 2: EncodeCertificatesPEM(h.issuer.Certificate.Raw, h.root.Raw),
		16: bytes.Repeat(append([]byte("# a comment\n"), one...), 16)} {
		certs, err := ParseCertificatesPEM(text)
		if err != nil || len(certs) != n || !certs[n-1].Equal(h.root) {
			t.Errorf("%d certificates: read %d, %v", n, len(certs), err)
		}
	}
	for name, text := range map[string][]byte{
		"empty": nil, "text": []byte("hello"), "large": bytes.Repeat([]byte{' '}, MaxPEM+1), "seventeen": bytes.Repeat(one, 17),
		"private key": append(bytes.Clone(one), EncodePEM("PRIVATE KEY", []byte("x"))...), "cut off": one[:len(one)-10],
		"second cut off": append(bytes.Clone(one), one[:100]...), "not DER": EncodePEM("CERTIFICATE", []byte("x")),
		"damaged": bytes.Replace(one, []byte("\nM"), []byte("\n!"), 1), "many beginnings": []byte(strings.Repeat("-----BEGIN ", 10000)),
	} {
		if certs, err := ParseCertificatesPEM(text); err == nil {
			t.Errorf("%s: read %d", name, len(certs))
		}
	}
}

func FuzzParsePEM(f *testing.F) {
	root := must[[]byte](f, "vector")(os.ReadFile("testdata/root.pem"))
	f.Add(root)
	f.Add(append(root, must[[]byte](f, "vector")(os.ReadFile("testdata/issuing.pem"))...))
	f.Add(EncodePEM("PRIVATE KEY", []byte("x")))
	f.Fuzz(func(t *testing.T, text []byte) {
		certs, err := ParseCertificatesPEM(text)
		if err != nil {
			return
		}
		var ders [][]byte
		for _, c := range certs {
			ders = append(ders, c.Raw)
		}
		again, err := ParseCertificatesPEM(EncodeCertificatesPEM(ders...))
		if err != nil || len(again) != len(certs) {
			t.Fatalf("%d certificates read back as %d, %v", len(certs), len(again), err)
		}
	})
}
