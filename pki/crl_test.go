package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"
	"time"
)

func TestBuildCRL(t *testing.T) {
	for _, alg := range []KeyAlg{P256, P384, Ed25519} {
		h := newHierarchy(t, alg, testNow)
		entries := []Revoked{
			{Serial{0x7f, 15: 1}, time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC), Unspecified},
			{Serial{15: 0x80}, time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), KeyCompromise},
			{Serial{15: 3}, testNow, CertificateHold}, {Serial{15: 4}, testNow, AACompromise},
		}
		given := slices.Clone(entries)
		der := must[[]byte](t, "list")(BuildCRL(rand.Reader, h.issuer, big.NewInt(300), entries, testNow, testNow.Add(day)))
		if !slices.Equal(given, entries) {
			t.Error("the caller's entries were reordered")
		}
		crl := must[*x509.RevocationList](t, "list")(x509.ParseRevocationList(der))
		if err := crl.CheckSignatureFrom(h.issuer.Certificate); err != nil {
			t.Error(err)
		}
		if crl.Number.Int64() != 300 || !crl.ThisUpdate.Equal(testNow) || !crl.NextUpdate.Equal(testNow.Add(day)) || !bytes.Equal(crl.AuthorityKeyId, h.issuer.Certificate.SubjectKeyId) {
			t.Errorf("%s: fields are wrong", alg)
		}
		want := []Revoked{entries[2], entries[3], entries[1], entries[0]}
		for i, e := range crl.RevokedCertificateEntries {
			s, _ := serialFromInt(e.SerialNumber)
			if got := (Revoked{s, e.RevocationTime, Reason(e.ReasonCode)}); got != want[i] {
				t.Errorf("entry %d is %v, want %v", i, got, want[i])
			}
		}
		if len(crl.RevokedCertificateEntries) != len(want) {
			t.Errorf("%d entries", len(crl.RevokedCertificateEntries))
		}
	}
}

func TestBuildCRLRefusals(t *testing.T) {
	h := newHierarchy(t, Ed25519, testNow)
	one, next := big.NewInt(1), testNow.Add(day)
	good := Revoked{Serial{15: 1}, testNow, KeyCompromise}
	for name, try := range map[string]func() ([]byte, error){
		"twice": func() ([]byte, error) { return BuildCRL(nil, h.issuer, one, []Revoked{good, good}, testNow, next) },
		"reason 7": func() ([]byte, error) {
			return BuildCRL(nil, h.issuer, one, []Revoked{{good.Serial, testNow, 7}}, testNow, next)
		},
		"reason 8": func() ([]byte, error) {
			return BuildCRL(nil, h.issuer, one, []Revoked{{good.Serial, testNow, 8}}, testNow, next)
		},
		"no serial": func() ([]byte, error) { return BuildCRL(nil, h.issuer, one, []Revoked{{At: testNow}}, testNow, next) },
		"no time": func() ([]byte, error) {
			return BuildCRL(nil, h.issuer, one, []Revoked{{Serial: good.Serial}}, testNow, next)
		},
		"no number": func() ([]byte, error) { return BuildCRL(nil, h.issuer, nil, nil, testNow, next) },
		"zero":      func() ([]byte, error) { return BuildCRL(nil, h.issuer, new(big.Int), nil, testNow, next) },
		"long":      func() ([]byte, error) { return BuildCRL(nil, h.issuer, new(big.Int).Lsh(one, 159), nil, testNow, next) },
		"backwards": func() ([]byte, error) { return BuildCRL(nil, h.issuer, one, nil, testNow, testNow) },
	} {
		if _, err := try(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestReasonNames(t *testing.T) {
	for r, name := range reasonNames {
		if back, err := ParseReason(name); err != nil || back != r || r.String() != name {
			t.Errorf("%s reads back as %v, %v", name, back, err)
		}
	}
	if Reason(7).String() != "reason 7" {
		t.Error("reason 7 has a name")
	}
}

func manyRevoked(n int) []Revoked {
	entries := make([]Revoked, n)
	for i := range entries {
		s := Serial{0: byte(i*7) & 0x7f, 1: byte(i), 2: byte(i >> 8), 3: byte(i >> 16), 15: 1}
		entries[i] = Revoked{s, testNow, KeyCompromise}
	}
	return entries
}

func BenchmarkBuildCRL100k(b *testing.B) {
	h := newHierarchy(b, P256, testNow)
	entries := manyRevoked(100_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := BuildCRL(rand.Reader, h.issuer, big.NewInt(1), entries, testNow, testNow.Add(day)); err != nil {
			b.Fatal(err)
		}
	}
}
