package pki

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"time"
)

// MaxBackdate is how far before now a certificate may start, so that a device with a slow clock can use it at once.
const MaxBackdate = 5 * time.Minute

// URLs are the places a certificate points to, all of the authority that signs it. Empty ones are left out.
type URLs struct {
	OCSP      string // responder, authority information access (RFC 5280 section 4.2.2.1)
	CAIssuers string // certificate of the authority in DER, authority information access
	CRL       string // revocation list in DER, CRL distribution point (RFC 5280 section 4.2.1.13)
}

func (u URLs) validate() error {
	for _, s := range []string{u.OCSP, u.CAIssuers, u.CRL} {
		if s == "" {
			continue
		}
		p, err := url.Parse(s)
		if err != nil || p.Scheme != "http" && p.Scheme != "https" || p.Host == "" || len(s) > 512 {
			return fmt.Errorf("checking an authority's addresses: %q is not an http or https URL of at most 512 bytes", s)
		}
	}
	return nil
}

func (u URLs) apply(t *x509.Certificate) {
	if u.OCSP != "" {
		t.OCSPServer = []string{u.OCSP}
	}
	if u.CAIssuers != "" {
		t.IssuingCertificateURL = []string{u.CAIssuers}
	}
	if u.CRL != "" {
		t.CRLDistributionPoints = []string{u.CRL}
	}
}

// Issuer is an issuing authority with its key. It is safe for concurrent use if its signer is.
type Issuer struct {
	Certificate *x509.Certificate
	Signer      crypto.Signer
	URLs        URLs
}

// NewIssuer joins a certificate with its key, refusing a pair that does not belong together or cannot issue.
func NewIssuer(cert *x509.Certificate, signer crypto.Signer, urls URLs) (*Issuer, error) {
	if err := checkAuthority(cert, signer); err != nil {
		return nil, fmt.Errorf("opening an issuing authority: %w", err)
	}
	if err := urls.validate(); err != nil {
		return nil, err
	}
	return &Issuer{Certificate: cert, Signer: signer, URLs: urls}, nil
}

// String names the issuer without its key.
func (i Issuer) String() string {
	if i.Certificate == nil {
		return "issuer without certificate"
	}
	return "issuer " + i.Certificate.Subject.String()
}

// GoString is String: a signer may hold key material that no log may show.
func (i Issuer) GoString() string { return i.String() }

// Template is what is about to be signed. Its fields are what a reservation records before the key is used; only
// Issuer.Template makes one that Issue accepts.
type Template struct {
	Serial    Serial
	Subject   Subject
	KeyID     KeyID
	NotBefore time.Time // whole second, UTC
	NotAfter  time.Time // whole second, UTC, inclusive

	key    CheckedKey
	issuer KeyID
}

// Template decides the content of a certificate for key. It starts backdate before now (0 to MaxBackdate), never before
// the issuer's certificate, and ends validity after now or with the issuer's certificate, whichever is first. It fails
// for a bad subject or serial, a key that was not checked, or an issuer that is not valid at now.
func (i *Issuer) Template(serial Serial, subject Subject, key CheckedKey, now time.Time, backdate, validity time.Duration) (*Template, error) {
	if err := checkAuthority(i.Certificate, i.Signer); err != nil {
		return nil, fmt.Errorf("preparing a certificate: %w", err)
	}
	if err := subject.Validate(); err != nil {
		return nil, fmt.Errorf("preparing a certificate: %w", err)
	}
	if serial.IsZero() || serial[0]&0x80 != 0 {
		return nil, errors.New("preparing a certificate: the serial number is not between 1 and 2^127-1")
	}
	if key.pub == nil {
		return nil, errors.New("preparing a certificate: the key was not checked")
	}
	if sameKey(key.pub, i.Certificate.PublicKey) {
		return nil, errors.New("preparing a certificate: the key is the authority's own")
	}
	if backdate < 0 || backdate > MaxBackdate {
		return nil, fmt.Errorf("preparing a certificate: backdating by %v instead of 0 to %v", backdate, MaxBackdate)
	}
	notBefore, notAfter, err := clampValidity(i.Certificate, now, backdate, validity)
	if err != nil {
		return nil, fmt.Errorf("preparing a certificate: %w", err)
	}
	issuer, err := KeyIDOf(i.Certificate.PublicKey)
	if err != nil {
		return nil, err
	}
	return &Template{Serial: serial, Subject: subject, KeyID: key.id, NotBefore: notBefore, NotAfter: notAfter, key: key, issuer: issuer}, nil
}

// clampValidity fits a validity into that of the issuing certificate.
func clampValidity(ca *x509.Certificate, now time.Time, backdate, validity time.Duration) (notBefore, notAfter time.Time, err error) {
	now = now.UTC().Truncate(time.Second)
	if validity < time.Second {
		return notBefore, notAfter, fmt.Errorf("a validity of %v is too short", validity)
	}
	if now.Before(ca.NotBefore) || now.After(ca.NotAfter) {
		return notBefore, notAfter, fmt.Errorf("the issuing certificate is not valid at %s", now.Format(time.RFC3339))
	}
	notBefore, notAfter = now.Add(-backdate), now.Add(validity).Truncate(time.Second)
	if notBefore.Before(ca.NotBefore) {
		notBefore = ca.NotBefore.UTC()
	}
	if notAfter.After(ca.NotAfter) {
		notAfter = ca.NotAfter.UTC()
	}
	return notBefore, notAfter, nil
}

// Issue signs a template made by this issuer and returns the certificate in DER. Before returning, the signature is
// verified with the issuer's public key and the content is compared with the template, so a signer with the wrong key
// or with faults yields an error and never a certificate.
func (i *Issuer) Issue(rand io.Reader, t *Template) ([]byte, error) {
	if t.key.pub == nil || t.KeyID != t.key.id {
		return nil, errors.New("issuing a certificate: the template was not made by Issuer.Template")
	}
	if id, err := KeyIDOf(i.Certificate.PublicKey); err != nil || id != t.issuer {
		return nil, errors.New("issuing a certificate: the template was made for another authority")
	}
	usage := x509.KeyUsageDigitalSignature
	// Beside clientAuth alone, RFC 5280 section 4.2.1.12 has no place for keyEncipherment.
	if _, ok := t.key.pub.(*rsa.PublicKey); ok && slices.Contains(t.Subject.Profile.purposes(), x509.ExtKeyUsageServerAuth) {
		usage |= x509.KeyUsageKeyEncipherment
	}
	cert := &x509.Certificate{
		Subject:     pkix.Name{CommonName: t.Subject.ID},
		KeyUsage:    usage,
		ExtKeyUsage: t.Subject.Profile.purposes(),
		URIs:        []*url.URL{t.Subject.uri()},
		DNSNames:    t.Subject.DNSNames,
	}
	for _, ip := range t.Subject.IPs {
		cert.IPAddresses = append(cert.IPAddresses, ip.Unmap().AsSlice())
	}
	cert.SerialNumber = t.Serial.BigInt()
	cert.NotBefore, cert.NotAfter = t.NotBefore, t.NotAfter
	i.URLs.apply(cert)
	der, err := signCertificate(rand, cert, i.Certificate, i.Signer, t.key)
	if err != nil {
		return nil, fmt.Errorf("issuing certificate %s: %w", t.Serial, err)
	}
	return der, nil
}

// signCertificate completes a template, signs it and checks the result.
func signCertificate(rand io.Reader, cert, ca *x509.Certificate, signer crypto.Signer, key CheckedKey) ([]byte, error) {
	if err := checkAuthority(ca, signer); err != nil {
		return nil, err
	}
	sig, err := signatureFor(ca.PublicKey)
	if err != nil {
		return nil, err
	}
	cert.SignatureAlgorithm = sig.alg
	cert.SubjectKeyId = key.subjectKeyID()
	cert.BasicConstraintsValid = true
	// CreateCertificate verifies the signature with ca.PublicKey before it returns: TestIssueRefusesFaultySigner
	// holds it to that.
	der, err := x509.CreateCertificate(rand, cert, ca, key.pub, signer)
	if err != nil {
		return nil, err
	}
	got, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading back the certificate: %w", err)
	}
	switch {
	case sha256.Sum256(got.RawSubjectPublicKeyInfo) != key.id:
		err = errors.New("the certificate carries another key than the request")
	case !bytes.Equal(got.RawIssuer, ca.RawSubject) || !bytes.Equal(got.AuthorityKeyId, ca.SubjectKeyId):
		err = errors.New("the certificate names another issuer")
	case got.SerialNumber.Cmp(cert.SerialNumber) != 0:
		err = errors.New("the certificate has another serial number")
	case got.NotAfter.After(ca.NotAfter):
		err = errors.New("the certificate outlives its issuer")
	}
	if err != nil {
		return nil, fmt.Errorf("reading back the certificate: %w", err)
	}
	return der, nil
}
