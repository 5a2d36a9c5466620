package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// hardwareSAN makes a SubjectAltName of HardwareModuleNames, and a DNS name if dns is not empty.
func hardwareSAN(dns string, serials ...string) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, serial := range serials {
			b.AddASN1(tagExplicit0, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidHardwareModuleName)
				b.AddASN1(tagExplicit0, func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1})
						b.AddASN1OctetString([]byte(serial))
					})
				})
			})
		}
		if dns != "" {
			b.AddASN1(cbasn1.Tag(2).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(dns)) })
		}
	})
	return b.BytesOrPanic()
}

func TestVerifyIDevID(t *testing.T) {
	h := newHierarchy(t, P384, testNow)
	anchors := x509.NewCertPool()
	anchors.AddCert(h.root)
	key := must[crypto.Signer](t, "key")(P256.GenerateKey(rand.Reader))
	forever := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	san := func(critical bool, value []byte) []pkix.Extension {
		return []pkix.Extension{{Id: oidSubjectAltName, Critical: critical, Value: value}}
	}
	unknown := []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	twoSerials := []pkix.AttributeTypeAndValue{{Type: oidSubjectSerial, Value: "A"}, {Type: oidSubjectSerial, Value: "B"}}
	for _, c := range []struct {
		name, serial string
		subject      pkix.Name
		ext          []pkix.Extension
		pub          crypto.PublicKey
	}{
		{"serial in the subject", "SN-1", pkix.Name{SerialNumber: "SN-1"}, nil, key.Public()},
		{"hardware module", "HW-7", pkix.Name{CommonName: "x"}, san(true, hardwareSAN("", "HW-7")), key.Public()},
		{"binary serial", "00ff", pkix.Name{CommonName: "x"}, san(false, hardwareSAN("", "\x00\xff")), key.Public()},
		{"both", "SN-1", pkix.Name{SerialNumber: "SN-1"}, san(true, hardwareSAN("", "HW-7")), key.Public()},
		{"beside a DNS name", "HW-7", pkix.Name{CommonName: "x"}, san(true, hardwareSAN("a.example", "HW-7")), key.Public()},
		{"no serial", "", pkix.Name{CommonName: "x"}, nil, key.Public()},
		{"two serials", "", pkix.Name{ExtraNames: twoSerials}, nil, key.Public()},
		{"unprintable serial", "", pkix.Name{SerialNumber: "a\tb"}, nil, key.Public()},
		{"two modules", "", pkix.Name{CommonName: "x"}, san(true, hardwareSAN("", "A", "B")), key.Public()},
		{"empty module", "", pkix.Name{CommonName: "x"}, san(true, hardwareSAN("", "")), key.Public()},
		{"unknown critical extension", "", pkix.Name{SerialNumber: "SN-1"}, unknown, key.Public()},
		{"unknown other name", "", pkix.Name{SerialNumber: "SN-1"}, san(true, []byte("\x30\x09\xa0\x07\x06\x01\x2a\xa0\x02\x05\x00")), key.Public()},
		{"weak key", "", pkix.Name{SerialNumber: "SN-1"}, nil, weakRSA(t, 1024, 65537)},
	} {
		der := must[[]byte](t, c.name)(x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(5), Subject: c.subject,
			NotBefore: testNow.Add(-time.Hour), NotAfter: forever, ExtraExtensions: c.ext, KeyUsage: x509.KeyUsageDigitalSignature},
			h.issuer.Certificate, c.pub, h.issuer.Signer))
		leaf := parseCert(t, der)
		chain := []*x509.Certificate{leaf, h.issuer.Certificate}
		critical := len(leaf.UnhandledCriticalExtensions)
		id, err := VerifyIDevID(chain, anchors, testNow)
		if (err == nil) != (c.serial != "") || id.SerialNumber != c.serial {
			t.Errorf("%s: %+v, %v", c.name, id, err)
		}
		if len(leaf.UnhandledCriticalExtensions) != critical {
			t.Errorf("%s: the caller's certificate was changed", c.name)
		}
		if err == nil {
			anchor, _ := KeyIDOf(h.root.PublicKey)
			own, _ := KeyIDOf(c.pub)
			if id.AnchorKey != anchor || id.KeyID != own || id.Issuer != "CN=Fleet Issuing 1" {
				t.Errorf("%s: %+v", c.name, id)
			}
			if _, err := VerifyIDevID(chain, anchors, testNow.Add(-2*time.Hour)); err == nil {
				t.Errorf("%s: valid before its time", c.name)
			}
			if _, err := VerifyIDevID(chain[:1], anchors, testNow); err == nil {
				t.Errorf("%s: valid with a hole in the chain", c.name)
			}
			if _, err := VerifyIDevID(chain, x509.NewCertPool(), testNow); err == nil {
				t.Errorf("%s: valid without an anchor", c.name)
			}
		}
	}
	for name, chain := range map[string][]*x509.Certificate{"none": nil, "nil": {nil}, "authority": {h.issuer.Certificate},
		"long": {h.root, h.root, h.root, h.root, h.root, h.root, h.root, h.root, h.root}} {
		if _, err := VerifyIDevID(chain, anchors, testNow); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := VerifyIDevID([]*x509.Certificate{h.root}, nil, testNow); err == nil {
		t.Error("missing anchors fell back to the system's")
	}
}
