package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	algECDSASHA1   = "\x30\x09\x06\x07\x2a\x86\x48\xce\x3d\x04\x01"
	algECDSASHA256 = "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"
	algRSASHA1     = "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00"
	algRSAMD5      = "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04\x05\x00"
	algRSASHA256   = "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"
)

type weakList map[KeyID]bool

func (w weakList) Weak(id KeyID) bool { return w[id] }

func wantCode(t *testing.T, what, code string, err error) {
	t.Helper()
	var e *CSRError
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: %v, want %s", what, err, code)
		return
	}
	if e.Detail == "" || e.Fix == "" || !strings.Contains(e.Error(), e.Detail) {
		t.Errorf("%s: %+v leaves the sender without a reason or a way on", what, e)
	}
}

func TestParseCSR(t *testing.T) {
	rsaKey := must[*rsa.PrivateKey](t, "key")(rsa.GenerateKey(rand.Reader, 2048))
	p521 := must[*ecdsa.PrivateKey](t, "key")(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	keys := []crypto.Signer{rsaKey, p521}
	for _, alg := range []KeyAlg{P256, P384, Ed25519} {
		keys = append(keys, must[crypto.Signer](t, "key")(alg.GenerateKey(rand.Reader)))
	}
	uri, _ := url.Parse("spiffe://fleet.example/device/d1")
	for _, key := range keys {
		der := request(t, key, &x509.CertificateRequest{
			Subject:  pkix.Name{CommonName: "d1", SerialNumber: "SN-7"},
			DNSNames: []string{"d1.fleet.example"}, URIs: []*url.URL{uri}})
		c, err := ParseCSR(der, nil, weakList{})
		if err != nil {
			t.Fatalf("%T: %v", key, err)
		}
		id := must[KeyID](t, "key id")(KeyIDOf(key.Public()))
		if c.CommonName != "d1" || c.SerialNumber != "SN-7" || len(c.DNSNames) != 1 || len(c.URIs) != 1 || c.URIs[0] != uri.String() ||
			c.KeyID() != id || !sameKey(c.PublicKey(), key.Public()) || c.Challenge.Present() || !bytes.Equal(c.DER(), der) {
			t.Errorf("%T: read as %+v", key, *c)
		}
		for i := range der {
			der[i] = 0 // the CSR must not depend on the caller's bytes
		}
		if err := CheckRenewal(&x509.Certificate{RawSubject: c.subject, NotBefore: testNow, NotAfter: testNow}, c, testNow, 0); err == nil {
			t.Error("alternative names compared equal to none")
		}
	}
}

func TestParseCSRChallenge(t *testing.T) {
	key := must[crypto.Signer](t, "key")(P256.GenerateKey(rand.Reader))
	spki := spkiOf(t, key.Public())
	password := attribute{oidChallengePassword, utf8Value("tls-unique+value=")}
	c, err := ParseCSR(rawRequest(t, spki, cn("d1"), "", key, password))
	if err != nil {
		t.Fatal(err)
	}
	if !c.Challenge.Equal([]byte("tls-unique+value=")) || c.Challenge.Equal([]byte("other")) || !c.Challenge.Present() {
		t.Error("the challenge password was not read")
	}
	if (Challenge{}).Equal(nil) {
		t.Error("an absent challenge equals nothing")
	}
	secret, octets := "tls-unique+value=", fmt.Sprint([]byte("tls-unique+value="))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		for _, v := range []any{c, c.Challenge, &c.Challenge} {
			text := fmt.Sprintf(verb, v)
			if strings.Contains(text, secret) || strings.Contains(text, octets[1:len(octets)-1]) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s of %T shows the challenge: %s", verb, v, text)
			}
		}
	}
	two := func(b *cryptobyte.Builder) { utf8Value("a")(b); utf8Value("b")(b) }
	number := func(b *cryptobyte.Builder) { b.AddASN1Int64(1) }
	for name, attrs := range map[string][]attribute{
		"twice":      {password, password},
		"two values": {{oidChallengePassword, two}},
		"empty":      {{oidChallengePassword, utf8Value("")}},
		"long":       {{oidChallengePassword, utf8Value(strings.Repeat("x", 256))}},
		"number":     {{oidChallengePassword, number}},
		"no value":   {{oidChallengePassword, func(*cryptobyte.Builder) {}}},
	} {
		_, err := ParseCSR(rawRequest(t, spki, cn("d1"), "", key, attrs...))
		wantCode(t, name, CodeCSRMalformed, err)
	}
}

func TestParseCSRRefusals(t *testing.T) {
	key := must[crypto.Signer](t, "key")(P256.GenerateKey(rand.Reader))
	other := must[crypto.Signer](t, "key")(P256.GenerateKey(rand.Reader))
	spki := spkiOf(t, key.Public())
	good := rawRequest(t, spki, cn("d1"), "", key)
	if _, err := ParseCSR(good); err != nil {
		t.Fatal(err)
	}
	rsaSPKI := spkiOf(t, &must[*rsa.PrivateKey](t, "key")(rsa.GenerateKey(rand.Reader, 2048)).PublicKey)
	extensions := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	san := func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidSubjectAltName)
			b.AddASN1(cbasn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddBytes([]byte("\x30\x03\x82\x01a")) })
		})
	}
	doubleSAN := func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { san(b); san(b) })
	}
	p224 := must[*ecdsa.PrivateKey](t, "key")(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	x25519 := append([]byte("\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00"), bytes.Repeat([]byte{9}, 32)...)
	damaged := bytes.Clone(good)
	damaged[len(damaged)-3] ^= 1
	cases := []struct {
		name, code string
		der        []byte
		weak       []WeakKeys
	}{
		{"too large", CodeCSRTooLarge, make([]byte, MaxCSR+1), nil},
		{"empty", CodeCSRMalformed, nil, nil},
		{"trailing bytes", CodeCSRMalformed, append(bytes.Clone(good), 0), nil},
		{"PEM", CodeCSRMalformed, EncodePEM("CERTIFICATE REQUEST", good), nil},
		{"cut off", CodeCSRMalformed, good[:len(good)-1], nil},
		{"two common names", CodeCSRMalformed, rawRequest(t, spki, cn("d1", "d2"), "", key), nil},
		{"two alternative names", CodeCSRMalformed, rawRequest(t, spki, cn("d1"), "", key, attribute{extensions, doubleSAN}), nil},
		{"damaged signature", CodeCSRBadSignature, damaged, nil},
		{"another key's signature", CodeCSRBadSignature, rawRequest(t, spki, cn("d1"), "", other), nil},
		{"unknown signature", CodeCSRBadSignature, rawRequest(t, spki, cn("d1"), "\x30\x05\x06\x03\x2b\x65\x71", nil), nil},
		{"ECDSA with SHA-1", CodeCSRWeakDigest, rawRequest(t, spki, cn("d1"), algECDSASHA1, nil), nil},
		{"RSA with SHA-1", CodeCSRWeakDigest, rawRequest(t, rsaSPKI, cn("d1"), algRSASHA1, nil), nil},
		{"RSA with MD5", CodeCSRWeakDigest, rawRequest(t, rsaSPKI, cn("d1"), algRSAMD5, nil), nil},
		{"listed key", CodeWeakKey, good, []WeakKeys{nil, weakList{must[KeyID](t, "id")(KeyIDOf(key.Public())): true}}},
		{"P-224", CodeUnsupportedKey, rawRequest(t, spkiOf(t, &p224.PublicKey), cn("d1"), algECDSASHA256, nil), nil},
		{"X25519", CodeUnsupportedKey, rawRequest(t, x25519, cn("d1"), algECDSASHA256, nil), nil},
		{"short RSA", CodeWeakKey, rawRequest(t, spkiOf(t, weakRSA(t, 1024, 65537)), cn("d1"), algRSASHA256, nil), nil},
		{"generator point", CodeWeakKey, rawRequest(t, spkiOf(t, knownECDSA(t, elliptic.P256(), 1)), cn("d1"), algECDSASHA256, nil), nil},
	}
	for _, c := range cases {
		_, err := ParseCSR(c.der, c.weak...)
		wantCode(t, c.name, c.code, err)
	}
}

func TestParseCSRFromOpenSSL(t *testing.T) {
	dir := t.TempDir()
	for _, alg := range [][]string{
		{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"}, {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"},
		{"-newkey", "ed25519"}, {"-newkey", "rsa:2048"}, {"-newkey", "rsa:3072", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"},
	} {
		out := filepath.Join(dir, "r.der")
		args := append([]string{"req", "-new", "-nodes", "-keyout", filepath.Join(dir, "k.pem"), "-out", out, "-outform", "DER",
			"-subj", "/CN=sensor-1/serialNumber=SN1", "-addext", "subjectAltName=DNS:sensor-1.fleet.example"}, alg...)
		openssl(t, args...)
		der, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		c, err := ParseCSR(der)
		if err != nil || c.CommonName != "sensor-1" || c.SerialNumber != "SN1" || len(c.DNSNames) != 1 {
			t.Errorf("%v: %v, %v", alg, c, err)
		}
	}
}

func FuzzParseCSR(f *testing.F) {
	key := must[crypto.Signer](f, "key")(Ed25519.GenerateKey(bytes.NewReader(bytes.Repeat([]byte{0x42, 0x17}, 16))))
	f.Add(rawRequest(f, spkiOf(f, key.Public()), cn("d1"), "", key, attribute{oidChallengePassword, utf8Value("x")}))
	block, _ := pem.Decode(must[[]byte](f, "vector")(os.ReadFile("testdata/issuing-request.pem")))
	f.Add(block.Bytes)
	modulus := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 2048), big.NewInt(1942289))
	f.Add(rawRequest(f, spkiOf(f, &rsa.PublicKey{N: modulus, E: 65537}), cn("d1"), algRSASHA256, nil))
	f.Add(rawRequest(f, spkiOf(f, knownECDSA(f, elliptic.P384(), 2)), cn("d1", "d2"), algECDSASHA256, nil))
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := ParseCSR(der)
		if err != nil {
			var e *CSRError
			if !errors.As(err, &e) || e.Code == "" || e.Fix == "" {
				t.Fatalf("refused without a code: %v", err)
			}
			return
		}
		if again, err := ParseCSR(c.DER()); err != nil || again.KeyID() != c.KeyID() || again.CommonName != c.CommonName {
			t.Fatalf("reads differently the second time: %v", err)
		}
		if c.KeyID().IsZero() || c.PublicKey() == nil {
			t.Fatal("a request without a key")
		}
	})
}
