package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"
)

type ocspExt struct {
	oid, value string
	critical   bool
}

// rawOCSPRequest makes a request of ready CertIDs and extensions.
func rawOCSPRequest(ids [][]byte, exts []ocspExt) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, id := range ids {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(id) })
				}
			})
			if exts == nil {
				return
			}
			b.AddASN1(cbasn1.Tag(2).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					for _, e := range exts {
						b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
							b.AddASN1(cbasn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(e.oid)) })
							if e.critical {
								b.AddASN1Boolean(true)
							}
							b.AddASN1OctetString([]byte(e.value))
						})
					}
				})
			})
		})
	})
	return b.BytesOrPanic()
}

func nonceExt(n int) []ocspExt {
	return []ocspExt{{oidBytesNonce, string(appendHeader(nil, 4, n)) + strings.Repeat("n", n), false}}
}

func TestParseOCSPRequest(t *testing.T) {
	h := newHierarchy(t, P256, testNow)
	hashes := must[Hashes](t, "hashes")(IssuerHashes(h.issuer.Certificate))
	leaf, _ := h.issue(t, subjectOf(Device), P256, testNow)
	serial := must[Serial](t, "serial")(SerialOf(leaf))
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		der := must[[]byte](t, "request")(ocsp.CreateRequest(leaf, h.issuer.Certificate, &ocsp.RequestOptions{Hash: hash}))
		req, err := ParseOCSPRequest(der)
		if err != nil || len(req.Certs) != 1 || !hashes.Match(req.Certs[0]) || req.Certs[0] != hashes.CertID(hash, serial) || req.Nonce != nil {
			t.Errorf("%v: %+v, %v", hash, req, err)
		}
	}
	other := must[Hashes](t, "hashes")(IssuerHashes(h.root))
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		if other.Match(hashes.CertID(hash, serial)) || hashes.Match(hashes.CertID(hash, Serial{})) {
			t.Error("a certificate of another issuer or without serial matched")
		}
	}
	der := must[[]byte](t, "request")(ocsp.CreateRequest(leaf, h.issuer.Certificate, &ocsp.RequestOptions{Hash: crypto.SHA512}))
	req, err := ParseOCSPRequest(der)
	if err != nil || hashes.Match(req.Certs[0]) || hashes.Match(hashes.CertID(crypto.SHA512, serial)) {
		t.Errorf("SHA-512: %+v, %v", req, err)
	}
	id := appendCertID(nil, &CertID{Hash: crypto.SHA1, Serial: serial})
	for _, n := range []int{1, 16, 32, 127, 128} {
		req, err := ParseOCSPRequest(rawOCSPRequest(slices.Repeat([][]byte{id}, 8), nonceExt(n)))
		if err != nil || len(req.Certs) != 8 || len(req.Nonce) != n {
			t.Errorf("nonce of %d: %+v, %v", n, req, err)
		}
	}
}

func TestParseOCSPRequestRefusals(t *testing.T) {
	id := appendCertID(nil, &CertID{Hash: crypto.SHA1, Serial: Serial{15: 1}})
	good := rawOCSPRequest([][]byte{id}, nonceExt(16))
	wrongLength := bytes.Clone(id)
	wrongLength = bytes.Replace(wrongLength, []byte(oidBytesSHA1), []byte("\x2b\x0e\x03\x02\x1b"), 1)
	if req, err := ParseOCSPRequest(rawOCSPRequest([][]byte{wrongLength}, nil)); err != nil || req.Certs[0].Hash != 0 {
		t.Error("an unknown hash is not an answerable request, but a well formed one")
	}
	for name, der := range map[string][]byte{
		"empty": nil, "large": make([]byte, MaxOCSPRequest+1), "trailing": append(bytes.Clone(good), 0), "cut off": good[:len(good)-1],
		"no certificates": rawOCSPRequest(nil, nil), "nine": rawOCSPRequest(slices.Repeat([][]byte{id}, 9), nil),
		"nonce of 0": rawOCSPRequest([][]byte{id}, nonceExt(0)), "nonce of 129": rawOCSPRequest([][]byte{id}, nonceExt(129)),
		"two nonces": rawOCSPRequest([][]byte{id}, append(nonceExt(8), nonceExt(8)...)),
		"bare nonce": rawOCSPRequest([][]byte{id}, []ocspExt{{oidBytesNonce, "nnnnnnnn", false}}),
		"critical":   rawOCSPRequest([][]byte{id}, []ocspExt{{"\x2a\x03", "", true}}),
	} {
		if req, err := ParseOCSPRequest(der); err == nil {
			t.Errorf("%s: %+v", name, req)
		}
	}
	if _, err := ParseOCSPRequest(rawOCSPRequest([][]byte{id}, []ocspExt{{"\x2a\x03", "", false}})); err != nil {
		t.Errorf("an extension that is not critical: %v", err)
	}
	huge := CertID{Hash: crypto.SHA1}
	raw := appendCertID(nil, &huge)
	raw = raw[:len(raw)-3]
	raw = append(raw, append([]byte{2, 17, 1}, make([]byte, 16)...)...)
	raw[1] += 16
	req, err := ParseOCSPRequest(rawOCSPRequest([][]byte{raw}, nil))
	if err != nil || !req.Certs[0].Serial.IsZero() {
		t.Errorf("a serial of 17 octets: %+v, %v", req, err)
	}
}

func TestDecodeGET(t *testing.T) {
	for n := 100; n < 120; n++ { // every padding, and octets that become + and /
		der := append([]byte{0x30}, bytes.Repeat([]byte{0xfb, 0xff, 0xbf}, n)[:n]...)
		text := base64.StdEncoding.EncodeToString(der)
		for _, path := range []string{text, "/" + text, url.PathEscape(text), url.QueryEscape(text), strings.TrimRight(text, "=")} {
			got, err := DecodeGET(path)
			if err != nil || !bytes.Equal(got, der) {
				t.Errorf("%q: %x, %v", path, got, err)
			}
		}
	}
	for _, bad := range []string{"", "/", "%", "MA!", "MA\n", "M", strings.Repeat("A", 40000), strings.Repeat("A", 4*MaxOCSPRequest/3+8)} {
		if got, err := DecodeGET(bad); err == nil {
			t.Errorf("%.20q gave %d bytes", bad, len(got))
		}
	}
}

func responderFor(t testing.TB, h hierarchy, alg KeyAlg, now time.Time) *Responder {
	t.Helper()
	key := must[crypto.Signer](t, "key")(alg.GenerateKey(rand.Reader))
	cert := parseCert(t, must[[]byte](t, "responder")(SignResponder(rand.Reader, h.issuer, key.Public(), "Fleet OCSP", now, 7*day)))
	return must[*Responder](t, "responder")(NewResponder(rand.Reader, cert, key, h.issuer.Certificate))
}

func TestRespond(t *testing.T) {
	for _, alg := range []KeyAlg{P256, P384} { // x/crypto/ocsp does not know Ed25519: openssl checks that
		h := newHierarchy(t, alg, testNow)
		leaf, _ := h.issue(t, subjectOf(Device), P256, testNow)
		serial := must[Serial](t, "serial")(SerialOf(leaf))
		direct := must[*Responder](t, "responder")(NewResponder(rand.Reader, h.issuer.Certificate, h.issuer.Signer, h.issuer.Certificate))
		for name, r := range map[string]*Responder{"direct": direct, "delegated": responderFor(t, h, alg, testNow)} {
			for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
				id := r.Hashes().CertID(hash, serial)
				for _, s := range []SingleStatus{
					{ID: id, Status: StatusGood, ThisUpdate: testNow, NextUpdate: testNow.Add(time.Hour)},
					{ID: id, Status: StatusUnknown, ThisUpdate: testNow},
					{ID: id, Status: StatusRevoked, RevokedAt: testNow.Add(-time.Hour), Reason: CertificateHold, ThisUpdate: testNow},
					{ID: id, Status: StatusRevoked, RevokedAt: testNow.Add(-time.Hour), ThisUpdate: testNow, NextUpdate: testNow.Add(time.Hour)},
				} {
					checkResponse(t, fmt.Sprint(alg, name, hash, s.Status), h, leaf, r, s)
				}
			}
		}
	}
}

func checkResponse(t *testing.T, what string, h hierarchy, leaf *x509.Certificate, r *Responder, s SingleStatus) {
	t.Helper()
	for _, nonce := range [][]byte{nil, bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{8}, 128)} {
		der := must[[]byte](t, what)(Respond(rand.Reader, r, []SingleStatus{s}, nonce, testNow))
		got, err := ocsp.ParseResponseForCert(der, leaf, h.issuer.Certificate)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got.Status != int(s.Status) || got.SerialNumber.Cmp(leaf.SerialNumber) != 0 || !got.ProducedAt.Equal(testNow) ||
			!got.ThisUpdate.Equal(s.ThisUpdate) || !got.NextUpdate.Equal(s.NextUpdate) || got.RevocationReason != int(s.Reason) || !got.RevokedAt.Equal(s.RevokedAt) {
			t.Errorf("%s: %+v", what, got)
		}
		if bytes.Contains(der, []byte(oidBytesNonce)) != (nonce != nil) || nonce != nil && !bytes.Contains(der, nonce) {
			t.Errorf("%s: the nonce is not repeated", what)
		}
	}
}

func TestRespondRefusals(t *testing.T) {
	h := newHierarchy(t, P256, testNow)
	r := responderFor(t, h, P256, testNow)
	good := SingleStatus{ID: r.Hashes().CertID(crypto.SHA1, Serial{15: 1}), ThisUpdate: testNow}
	foreign, status, reason, backwards := good, good, good, good
	foreign.ID.IssuerKey[0] ^= 1
	status.Status = 3
	reason.Status, reason.Reason = StatusRevoked, 7
	backwards.NextUpdate = testNow.Add(-time.Hour)
	for name, list := range map[string][]SingleStatus{"none": nil, "nine": slices.Repeat([]SingleStatus{good}, 9), "foreign": {foreign},
		"status": {status}, "reason": {reason}, "backwards": {backwards}} {
		if _, err := Respond(rand.Reader, r, list, nil, testNow); err == nil {
			t.Errorf("%s was answered", name)
		}
	}
	if _, err := Respond(rand.Reader, r, []SingleStatus{good}, make([]byte, 129), testNow); err == nil {
		t.Error("a long nonce was repeated")
	}
	leaf, key := h.issue(t, subjectOf(Device), P256, testNow)
	if _, err := NewResponder(rand.Reader, leaf, key, h.issuer.Certificate); err == nil {
		t.Error("a device answers for the authority")
	}
	if _, err := NewResponder(rand.Reader, h.issuer.Certificate, h.issuer.Signer, h.root); err == nil {
		t.Error("an authority answers for the one above it")
	}
	for e, want := range map[OCSPError]ocsp.ResponseStatus{OCSPMalformed: ocsp.Malformed, OCSPInternalError: ocsp.InternalError,
		OCSPTryLater: ocsp.TryLater, OCSPUnauthorized: ocsp.Unauthorized} {
		_, err := ocsp.ParseResponse(e.Response(), nil)
		if got, ok := err.(ocsp.ResponseError); !ok || got.Status != want {
			t.Errorf("%d: %v", e, err)
		}
	}
}

func FuzzParseOCSPRequest(f *testing.F) {
	id := appendCertID(nil, &CertID{Hash: crypto.SHA1, Serial: Serial{15: 1}})
	id256 := appendCertID(nil, &CertID{Hash: crypto.SHA256, Serial: Serial{0x7f}})
	f.Add(rawOCSPRequest([][]byte{id}, nil))
	f.Add(rawOCSPRequest([][]byte{id, id256}, nonceExt(32)))
	f.Fuzz(func(t *testing.T, der []byte) {
		req, err := ParseOCSPRequest(der)
		if err != nil {
			return
		}
		if len(req.Certs) == 0 || len(req.Certs) > MaxOCSPCerts || len(req.Nonce) > MaxOCSPNonce || req.Nonce != nil && len(req.Nonce) == 0 {
			t.Fatalf("out of bounds: %+v", req)
		}
		for _, id := range req.Certs {
			if id.Hash == 0 || id.Serial.IsZero() {
				continue
			}
			again, err := ParseOCSPRequest(rawOCSPRequest([][]byte{appendCertID(nil, &id)}, nil))
			if err != nil || again.Certs[0] != id {
				t.Fatalf("written as %+v, read as %+v, %v", id, again, err)
			}
		}
	})
}

func FuzzDecodeGET(f *testing.F) {
	f.Add("MEUwQzBBMD8wPTAJBgUrDgMCGgUABBQ%3D")
	f.Add("/MA==")
	f.Fuzz(func(t *testing.T, path string) {
		der, err := DecodeGET(path)
		if err != nil {
			return
		}
		again, err := DecodeGET("/" + url.PathEscape(base64.StdEncoding.EncodeToString(der)))
		if err != nil || !bytes.Equal(again, der) {
			t.Fatalf("%x reads back as %x, %v", der, again, err)
		}
	})
}

func BenchmarkParseOCSPRequest(b *testing.B) {
	der := rawOCSPRequest([][]byte{appendCertID(nil, &CertID{Hash: crypto.SHA1, Serial: Serial{0x41}})}, nonceExt(16))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseOCSPRequest(der); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRespond(b *testing.B) {
	h := newHierarchy(b, P256, testNow)
	r := responderFor(b, h, P256, testNow)
	list := []SingleStatus{{ID: r.Hashes().CertID(crypto.SHA1, Serial{15: 1}), ThisUpdate: testNow, NextUpdate: testNow.Add(time.Hour)}}
	nonce := make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Respond(rand.Reader, r, list, nonce, testNow); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	h := newHierarchy(b, P256, testNow)
	key := must[CheckedKey](b, "key")(CheckKey(knownECDSAPlain(b)))
	b.ReportAllocs()
	for b.Loop() {
		s, _ := NewSerial(rand.Reader)
		tmpl, err := h.issuer.Template(s, subjectOf(Device), key, testNow, MaxBackdate, 90*day)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := h.issuer.Issue(rand.Reader, tmpl); err != nil {
			b.Fatal(err)
		}
	}
}

func knownECDSAPlain(b testing.TB) crypto.PublicKey {
	return must[crypto.Signer](b, "key")(P256.GenerateKey(rand.Reader)).Public()
}

func BenchmarkParseCSR(b *testing.B) {
	for _, alg := range []KeyAlg{P256, Ed25519} {
		key := must[crypto.Signer](b, "key")(alg.GenerateKey(rand.Reader))
		der := must[[]byte](b, "request")(NewIssuingRequest(rand.Reader, key, "d1"))
		b.Run(string(alg), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseCSR(der); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	pub := weakRSA(b, 4096, 65537)
	b.Run("CheckKey RSA 4096", func(b *testing.B) {
		for b.Loop() {
			if _, err := CheckKey(pub); err != nil {
				b.Fatal(err)
			}
		}
	})
}
