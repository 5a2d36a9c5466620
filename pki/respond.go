package pki

import (
	"crypto"
	"crypto/sha1" // responder identifier by key (RFC 6960 section 4.2.1): fixed by the standard
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Status is the state of a certificate in an OCSP answer.
type Status uint8

// The states (RFC 6960 section 2.2).
const (
	StatusGood    Status = 0
	StatusRevoked Status = 1
	StatusUnknown Status = 2
)

// SingleStatus is the answer about one certificate.
type SingleStatus struct {
	ID         CertID
	Status     Status
	RevokedAt  time.Time // StatusRevoked only
	Reason     Reason    // StatusRevoked only
	ThisUpdate time.Time
	NextUpdate time.Time // zero: newer information is always available
}

// Responder signs OCSP answers for one issuer: with a delegated key or with the issuer's own. It is safe for concurrent
// use if its signer is.
type Responder struct {
	cert   *x509.Certificate
	signer crypto.Signer
	sig    signature
	keyID  [sha1.Size]byte
	issuer Hashes
	chain  []byte // certs field, empty if the issuer itself signs
}

// NewResponder joins a responder's certificate with its key and the issuer that it answers for. It makes one signature
// with the key and verifies it, so that a wrong key in a hardware module is found here.
func NewResponder(rand io.Reader, cert *x509.Certificate, signer crypto.Signer, issuer *x509.Certificate) (*Responder, error) {
	r, err := newResponder(rand, cert, signer, issuer)
	if err != nil {
		return nil, fmt.Errorf("opening an OCSP responder: %w", err)
	}
	return r, nil
}

func newResponder(rand io.Reader, cert *x509.Certificate, signer crypto.Signer, issuer *x509.Certificate) (*Responder, error) {
	if cert == nil || signer == nil || issuer == nil {
		return nil, errors.New("a certificate or the key is missing")
	}
	if !sameKey(cert.PublicKey, signer.Public()) {
		return nil, errors.New("the signing key is not the key of the certificate")
	}
	r := &Responder{cert: cert, signer: signer}
	if !cert.Equal(issuer) {
		if err := isIssuedBy(cert, issuer); err != nil {
			return nil, fmt.Errorf("the issuer did not sign the responder's certificate: %w", err)
		}
		if !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
			return nil, errors.New("the responder's certificate lacks the purpose OCSPSigning")
		}
		b := cryptobyte.NewBuilder(nil)
		b.AddASN1(tagExplicit0, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(cert.Raw) })
		})
		var err error
		if r.chain, err = b.Bytes(); err != nil {
			return nil, err
		}
	}
	var err error
	if r.sig, err = signatureFor(cert.PublicKey); err != nil {
		return nil, err
	}
	if r.issuer, err = IssuerHashes(issuer); err != nil {
		return nil, err
	}
	r.keyID = sha1.Sum(keyBits(cert.RawSubjectPublicKeyInfo))
	probe := []byte("holdfast: is this the key of the OCSP responder?")
	signed, err := r.sig.sign(rand, signer, probe)
	if err != nil {
		return nil, fmt.Errorf("trying the key: %w", err)
	}
	if err := cert.CheckSignature(r.sig.alg, probe, signed); err != nil {
		return nil, fmt.Errorf("trying the key: %w", err)
	}
	return r, nil
}

// Hashes are those of the issuer that the responder answers for.
func (r *Responder) Hashes() *Hashes { return &r.issuer }

// NotAfter is when the responder's certificate ends: no answer may claim to be fresh for longer.
func (r *Responder) NotAfter() time.Time { return r.cert.NotAfter }

// String names the responder without its key.
func (r *Responder) String() string { return "OCSP responder " + r.cert.Subject.String() }

// GoString is String: a signer may hold key material that no log may show.
func (r *Responder) GoString() string { return r.String() }

// Respond makes a successful OCSPResponse in DER (RFC 6960 section 4.2.1) about 1 to MaxOCSPCerts certificates of the
// responder's issuer. nonce is repeated if not empty; without one the response can be signed in advance and served
// until NextUpdate. Times are written to the second. The responder is named by its key, and its certificate is included
// if it is a delegated one.
func Respond(rand io.Reader, r *Responder, statuses []SingleStatus, nonce []byte, producedAt time.Time) ([]byte, error) {
	if len(statuses) == 0 || len(statuses) > MaxOCSPCerts || len(nonce) > MaxOCSPNonce {
		return nil, fmt.Errorf("answering an OCSP request: %d certificates and a nonce of %d octets", len(statuses), len(nonce))
	}
	data := make([]byte, 0, 128+160*len(statuses)+len(nonce))
	data, err := r.appendResponseData(data, statuses, nonce, producedAt)
	if err != nil {
		return nil, fmt.Errorf("answering an OCSP request: %w", err)
	}
	signed, err := r.sig.sign(rand, r.signer, data)
	if err != nil {
		return nil, fmt.Errorf("answering an OCSP request: signing: %w", err)
	}
	return r.wrap(data, signed), nil
}

// appendResponseData writes a ResponseData. Inner parts come first, so that every length is known when it is written.
func (r *Responder) appendResponseData(out []byte, statuses []SingleStatus, nonce []byte, producedAt time.Time) ([]byte, error) {
	var scratch [1536]byte
	list := scratch[:0]
	for i := range statuses {
		var err error
		if list, err = r.appendSingle(list, &statuses[i]); err != nil {
			return nil, err
		}
	}
	var extScratch [160]byte
	ext := extScratch[:0]
	if len(nonce) > 0 {
		ext = appendHeader(ext, 0x06, len(oidBytesNonce))
		ext = append(ext, oidBytesNonce...)
		ext = appendHeader(ext, 0x04, sizeOf(len(nonce)))
		ext = appendHeader(ext, 0x04, len(nonce))
		ext = append(ext, nonce...)
	}
	size := 2 + 2 + sha1.Size + 2 + len("20060102150405Z") + sizeOf(len(list))
	if len(ext) > 0 {
		size += sizeOf(sizeOf(sizeOf(len(ext))))
	}
	out = appendHeader(out, 0x30, size)
	out = append(out, 0xa2, 2+sha1.Size, 0x04, sha1.Size)
	out = append(out, r.keyID[:]...)
	out = appendGeneralizedTime(out, producedAt)
	out = appendHeader(out, 0x30, len(list))
	out = append(out, list...)
	if len(ext) > 0 {
		out = appendHeader(out, 0xa1, sizeOf(sizeOf(len(ext))))
		out = appendHeader(out, 0x30, sizeOf(len(ext)))
		out = appendHeader(out, 0x30, len(ext))
		out = append(out, ext...)
	}
	return out, nil
}

// appendSingle writes a SingleResponse, refusing to speak about certificates of another issuer.
func (r *Responder) appendSingle(out []byte, s *SingleStatus) ([]byte, error) {
	if !r.issuer.Match(s.ID) {
		return nil, errors.New("a certificate is not one of the responder's issuer")
	}
	if !s.NextUpdate.IsZero() && s.NextUpdate.Before(s.ThisUpdate) {
		return nil, fmt.Errorf("the next update about %s is before this one", s.ID.Serial)
	}
	var scratch [192]byte
	one := appendCertID(scratch[:0], &s.ID)
	switch s.Status {
	case StatusGood:
		one = append(one, 0x80, 0)
	case StatusRevoked:
		if !s.Reason.Valid() {
			return nil, fmt.Errorf("%s has %v, which is not one of RFC 5280", s.ID.Serial, s.Reason)
		}
		one = append(one, 0xa1, 17)
		at := len(one) - 1
		one = appendGeneralizedTime(one, s.RevokedAt)
		if s.Reason != Unspecified {
			one = append(one, 0xa0, 3, 0x0a, 1, byte(s.Reason))
			one[at] = 22
		}
	case StatusUnknown:
		one = append(one, 0x82, 0)
	default:
		return nil, fmt.Errorf("%s has the status %d, which does not exist", s.ID.Serial, s.Status)
	}
	one = appendGeneralizedTime(one, s.ThisUpdate)
	if !s.NextUpdate.IsZero() {
		one = append(one, 0xa0, 17)
		one = appendGeneralizedTime(one, s.NextUpdate)
	}
	out = appendHeader(out, 0x30, len(one))
	return append(out, one...), nil
}

// appendCertID writes a CertID; it is below 128 octets, so every length is one octet.
func appendCertID(out []byte, id *CertID) []byte {
	oid, size := oidBytesSHA1, 20
	if id.Hash == crypto.SHA256 {
		oid, size = oidBytesSHA256, 32
	}
	serial := id.Serial.integerOctets()
	alg := 2 + len(oid) + 2
	out = append(out, 0x30, byte(2+alg+2*(2+size)+2+len(serial)), 0x30, byte(alg), 0x06, byte(len(oid)))
	out = append(out, oid...)
	out = append(out, 0x05, 0, 0x04, byte(size))
	out = append(out, id.IssuerName[:size]...)
	out = append(out, 0x04, byte(size))
	out = append(out, id.IssuerKey[:size]...)
	out = append(out, 0x02, byte(len(serial)))
	return append(out, serial...)
}

// wrap writes the OCSPResponse around signed data.
func (r *Responder) wrap(data, signed []byte) []byte {
	const oidBasic = "\x2b\x06\x01\x05\x05\x07\x30\x01\x01"
	basic := len(data) + len(r.sig.id) + sizeOf(1+len(signed)) + len(r.chain)
	bytes := 2 + len(oidBasic) + sizeOf(sizeOf(basic))
	out := make([]byte, 0, 32+basic)
	out = appendHeader(out, 0x30, 3+sizeOf(sizeOf(bytes)))
	out = append(out, 0x0a, 1, 0) // successful
	out = appendHeader(out, 0xa0, sizeOf(bytes))
	out = appendHeader(out, 0x30, bytes)
	out = appendHeader(out, 0x06, len(oidBasic))
	out = append(out, oidBasic...)
	out = appendHeader(out, 0x04, sizeOf(basic))
	out = appendHeader(out, 0x30, basic)
	out = append(out, data...)
	out = append(out, r.sig.id...)
	out = appendHeader(out, 0x03, 1+len(signed))
	out = append(out, 0)
	out = append(out, signed...)
	return append(out, r.chain...)
}

// sizeOf is the size of a DER element with n octets of content and a tag of one octet.
func sizeOf(n int) int {
	switch {
	case n < 0x80:
		return 2 + n
	case n < 0x100:
		return 3 + n
	case n < 0x10000:
		return 4 + n
	}
	return 5 + n
}

// appendHeader writes tag and length of an element of less than 2^24 octets.
func appendHeader(out []byte, tag byte, n int) []byte {
	switch {
	case n < 0x80:
		return append(out, tag, byte(n))
	case n < 0x100:
		return append(out, tag, 0x81, byte(n))
	case n < 0x10000:
		return append(out, tag, 0x82, byte(n>>8), byte(n))
	}
	return append(out, tag, 0x83, byte(n>>16), byte(n>>8), byte(n))
}

// OCSPError is a response without an answer (OCSPResponseStatus, RFC 6960 section 4.2.1). They are not signed.
type OCSPError uint8

// The errors that Holdfast's responder gives.
const (
	OCSPMalformed     OCSPError = 1 // the request could not be parsed
	OCSPInternalError OCSPError = 2
	OCSPTryLater      OCSPError = 3
	OCSPUnauthorized  OCSPError = 6 // not a certificate of this responder's issuer (RFC 5019 section 2.2.3)
)

// Response returns the error as an OCSPResponse in DER. The caller owns the slice.
func (e OCSPError) Response() []byte { return []byte{0x30, 0x03, 0x0a, 0x01, byte(e)} }
