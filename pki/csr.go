package pki

import (
	"bytes"
	"crypto"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// MaxCSR is the largest certificate signing request that ParseCSR looks at, in bytes of DER.
const MaxCSR = 16 << 10

// The codes of CSRError. They are stable: clients and the guide refer to them.
const (
	CodeCSRTooLarge     = "csr-too-large"
	CodeCSRMalformed    = "csr-malformed"
	CodeCSRBadSignature = "csr-bad-signature"
	CodeCSRWeakDigest   = "csr-weak-digest"
	CodeWeakKey         = "weak-key"
	CodeUnsupportedKey  = "unsupported-key"
)

// CSRError says why a request or its key was refused, in words written for whoever sent it.
type CSRError struct {
	Code   string // one of the constants above
	Detail string // what is wrong
	Fix    string // what to do next
}

func (e *CSRError) Error() string {
	return "checking the certificate request: " + e.Detail + " (" + e.Code + ")"
}

func malformed(format string, args ...any) *CSRError {
	return &CSRError{CodeCSRMalformed, fmt.Sprintf(format, args...),
		"send one PKCS #10 request in DER, base64-encoded as RFC 7030 section 4.2.1 says"}
}

// CSR is a certificate signing request (PKCS #10, RFC 2986) whose sender has proved that it holds the private key and
// whose key passed CheckKey. What it asks to be named is only a wish: nothing here has been authorised.
type CSR struct {
	CommonName   string    // "" if absent
	SerialNumber string    // subject attribute serialNumber, "" if absent
	DNSNames     []string  // from the requested subject alternative name
	URIs         []string  // from the requested subject alternative name
	Challenge    Challenge // challengePassword (RFC 2985 section 5.4.1), used by RFC 7030 section 3.5
	Key          CheckedKey

	der     []byte
	subject []byte // Name in DER
	san     []byte // SubjectAltName in DER, nil if absent
}

// KeyID names the key that the request is for.
func (c *CSR) KeyID() KeyID { return c.Key.id }

// PublicKey is the key that the request is for: *ecdsa.PublicKey, ed25519.PublicKey or *rsa.PublicKey.
func (c *CSR) PublicKey() crypto.PublicKey { return c.Key.pub }

// DER returns a copy of the request as it came, to be kept while an operator decides. It contains the challenge
// password if there is one.
func (c *CSR) DER() []byte { return bytes.Clone(c.der) }

// String names the request without its content, which may hold a challenge password.
func (c *CSR) String() string { return "certificate request for key " + c.Key.id.String() }

// GoString is String.
func (c *CSR) GoString() string { return c.String() }

// Challenge is the challengePassword of a request. It cannot be printed or compared with ==.
type Challenge struct{ text []byte }

// Present reports whether the request had one.
func (c Challenge) Present() bool { return len(c.text) > 0 }

// Equal compares in constant time. An absent challenge equals nothing.
func (c Challenge) Equal(want []byte) bool {
	return len(c.text) > 0 && subtle.ConstantTimeCompare(c.text, want) == 1
}

// String hides the value.
func (c Challenge) String() string { return "[challenge]" }

// GoString hides the value.
func (c Challenge) GoString() string { return "[challenge]" }

// MarshalText hides the value.
func (c Challenge) MarshalText() ([]byte, error) { return []byte("[challenge]"), nil }

// ParseCSR reads a request in DER, verifies its signature (proof of possession) and checks its key against the strength
// rules of CheckKey and the given lists. Every refusal is a *CSRError. The key is checked before the signature, so that
// no effort goes into verifying with an unreasonable key.
func ParseCSR(der []byte, weak ...WeakKeys) (*CSR, error) {
	if len(der) > MaxCSR {
		return nil, &CSRError{CodeCSRTooLarge, fmt.Sprintf("the request has %d bytes, the limit is %d", len(der), MaxCSR),
			"send a request with fewer names and attributes"}
	}
	der = bytes.Clone(der) // the CSR keeps parts of it
	req, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, malformed("it is not a PKCS #10 request: %v", err)
	}
	if req.Version != 0 {
		return nil, malformed("its version is %d instead of 0 (RFC 2986 section 4.1)", req.Version)
	}
	if err := checkDigest(req.SignatureAlgorithm); err != nil {
		return nil, err
	}
	key, err := CheckKey(req.PublicKey, weak...)
	if err != nil {
		return nil, err
	}
	if err := req.CheckSignature(); err != nil {
		return nil, &CSRError{CodeCSRBadSignature, "its signature does not match its key",
			"sign the request with the private key that belongs to the public key in it"}
	}
	c := &CSR{CommonName: req.Subject.CommonName, SerialNumber: req.Subject.SerialNumber, DNSNames: req.DNSNames,
		Key: key, der: der, subject: req.RawSubject}
	for _, u := range req.URIs {
		c.URIs = append(c.URIs, u.String())
	}
	if err := c.readNames(req); err != nil {
		return nil, err
	}
	return c, nil
}

func checkDigest(alg x509.SignatureAlgorithm) error {
	switch alg {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		return &CSRError{CodeCSRWeakDigest, fmt.Sprintf("it is signed with %s", alg), "sign the request with SHA-256 or better"}
	case x509.UnknownSignatureAlgorithm, x509.DSAWithSHA256:
		return &CSRError{CodeCSRBadSignature, "its signature algorithm is not supported",
			"sign with ECDSA or RSA and SHA-256, SHA-384 or SHA-512, or with Ed25519"}
	}
	return nil
}

// readNames refuses names that could be read in two ways, and finds the attributes that crypto/x509 skips.
func (c *CSR) readNames(req *x509.CertificateRequest) error {
	for _, id := range []asn1.ObjectIdentifier{oidCommonName, oidSubjectSerial} {
		n := 0
		for _, a := range req.Subject.Names {
			if a.Type.Equal(id) {
				n++
			}
		}
		if n > 1 {
			return malformed("its subject has %d attributes %s", n, id)
		}
	}
	for _, e := range req.Extensions {
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		if c.san != nil {
			return malformed("it has more than one subject alternative name extension")
		}
		c.san = e.Value
	}
	text, err := challengeOf(req.RawTBSCertificateRequest)
	if err != nil {
		return malformed("%v", err)
	}
	c.Challenge = Challenge{text}
	return nil
}

// challengeOf finds the challengePassword among the attributes of a CertificationRequestInfo (RFC 2986 section 4.1).
func challengeOf(info []byte) ([]byte, error) {
	bad := errors.New("its attributes are malformed")
	in := cryptobyte.String(info)
	var seq, attrs cryptobyte.String
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !seq.SkipASN1(cbasn1.INTEGER) || !seq.SkipASN1(cbasn1.SEQUENCE) || !seq.SkipASN1(cbasn1.SEQUENCE) {
		return nil, bad
	}
	var present bool
	if !seq.ReadOptionalASN1(&attrs, &present, cbasn1.Tag(0).ContextSpecific().Constructed()) {
		return nil, bad
	}
	var found []byte
	for !attrs.Empty() {
		var attr, values, text cryptobyte.String
		var id asn1.ObjectIdentifier
		var tag cbasn1.Tag
		if !attrs.ReadASN1(&attr, cbasn1.SEQUENCE) || !attr.ReadASN1ObjectIdentifier(&id) || !attr.ReadASN1(&values, cbasn1.SET) {
			return nil, bad
		}
		if !id.Equal(oidChallengePassword) {
			continue
		}
		if found != nil || !values.ReadAnyASN1(&text, &tag) || !values.Empty() || len(text) == 0 || len(text) > 255 {
			return nil, errors.New("its challenge password is not one string of 1 to 255 bytes")
		}
		switch tag {
		case cbasn1.UTF8String, cbasn1.PrintableString, cbasn1.IA5String, cbasn1.T61String:
			found = bytes.Clone(text)
		default:
			return nil, errors.New("its challenge password is not a printable or UTF-8 string")
		}
	}
	return found, nil
}
