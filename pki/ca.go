package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"time"
)

// NewRoot makes a self-signed root for signer's key and returns it in DER. name becomes the common name (1 to 64
// characters). The root allows one level of issuing authorities below it. It starts MaxBackdate before now.
func NewRoot(rand io.Reader, signer crypto.Signer, name string, now time.Time, validity time.Duration) ([]byte, error) {
	key, err := checkNamedKey(signer, name)
	if err != nil {
		return nil, fmt.Errorf("making a root: %w", err)
	}
	serial, err := NewSerial(rand)
	if err != nil {
		return nil, fmt.Errorf("making a root: %w", err)
	}
	now = now.UTC().Truncate(time.Second)
	if validity < time.Hour {
		return nil, fmt.Errorf("making a root: a validity of %v is too short", validity)
	}
	sig, err := signatureFor(key.pub)
	if err != nil {
		return nil, fmt.Errorf("making a root: %w", err)
	}
	root := authority(name, serial, key, 1)
	root.NotBefore, root.NotAfter = now.Add(-MaxBackdate), now.Add(validity).Truncate(time.Second)
	root.SignatureAlgorithm = sig.alg
	der, err := x509.CreateCertificate(rand, root, root, key.pub, signer)
	if err != nil {
		return nil, fmt.Errorf("making a root: %w", err)
	}
	return der, nil
}

func checkNamedKey(signer crypto.Signer, name string) (CheckedKey, error) {
	if signer == nil {
		return CheckedKey{}, errors.New("the key is missing")
	}
	if err := validCommonName(name); err != nil {
		return CheckedKey{}, err
	}
	if _, err := signatureFor(signer.Public()); err != nil {
		return CheckedKey{}, err
	}
	return CheckKey(signer.Public())
}

func validCommonName(name string) error {
	if name == "" || len(name) > 64 || name[0] == ' ' || name[len(name)-1] == ' ' {
		return fmt.Errorf("the name %q is not 1 to 64 characters without spaces around it", name)
	}
	for _, c := range name {
		if c < 0x20 || c > 0x7e {
			return fmt.Errorf("the name %q has a character outside printable ASCII", name)
		}
	}
	return nil
}

func authority(name string, serial Serial, key CheckedKey, pathLen int) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          serial.BigInt(),
		Subject:               pkix.Name{CommonName: name},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		SubjectKeyId:          key.subjectKeyID(),
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLen:            pathLen,
		MaxPathLenZero:        pathLen == 0,
	}
}

// NewIssuingRequest makes the request (PKCS #10, DER) that an issuing authority's key sends to the root.
func NewIssuingRequest(rand io.Reader, signer crypto.Signer, name string) ([]byte, error) {
	key, err := checkNamedKey(signer, name)
	if err != nil {
		return nil, fmt.Errorf("requesting an issuing certificate: %w", err)
	}
	sig, err := signatureFor(key.pub)
	if err != nil {
		return nil, fmt.Errorf("requesting an issuing certificate: %w", err)
	}
	req := &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}, SignatureAlgorithm: sig.alg}
	der, err := x509.CreateCertificateRequest(rand, req, signer)
	if err != nil {
		return nil, fmt.Errorf("requesting an issuing certificate: %w", err)
	}
	return der, nil
}

// SignIssuing makes the certificate of an issuing authority: it may sign certificates of devices and revocation lists,
// and no further authority (path length 0). csr carries name and key; urls are the root's own. The result is DER, is
// verified before it is returned, and never outlives the root.
func SignIssuing(rand io.Reader, root *x509.Certificate, rootSigner crypto.Signer, csr *CSR, now time.Time, validity time.Duration, urls URLs) ([]byte, error) {
	der, err := signIssuing(rand, root, rootSigner, csr, now, validity, urls)
	if err != nil {
		return nil, fmt.Errorf("signing an issuing certificate: %w", err)
	}
	return der, nil
}

func signIssuing(rand io.Reader, root *x509.Certificate, rootSigner crypto.Signer, csr *CSR, now time.Time, validity time.Duration, urls URLs) ([]byte, error) {
	if err := checkAuthority(root, rootSigner); err != nil {
		return nil, err
	}
	if err := validCommonName(csr.CommonName); err != nil {
		return nil, err
	}
	if _, err := signatureFor(csr.Key.pub); err != nil {
		return nil, err
	}
	if sameKey(csr.Key.pub, root.PublicKey) {
		return nil, errors.New("the request carries the root's own key")
	}
	if err := urls.validate(); err != nil {
		return nil, err
	}
	serial, err := NewSerial(rand)
	if err != nil {
		return nil, err
	}
	cert := authority(csr.CommonName, serial, csr.Key, 0)
	if cert.NotBefore, cert.NotAfter, err = clampValidity(root, now, MaxBackdate, validity); err != nil {
		return nil, err
	}
	urls.apply(cert)
	if root.Subject.CommonName == csr.CommonName {
		return nil, errors.New("the request carries the root's own name")
	}
	return signCertificate(rand, cert, root, rootSigner, csr.Key)
}

// SignResponder makes the certificate of a delegated OCSP responder (RFC 6960 section 4.2.2.2): the purpose
// id-kp-OCSPSigning alone and id-pkix-ocsp-nocheck, so that nobody asks a responder about itself. Because clients will
// not check it for revocation, validity is at most 31 days. The result is DER.
func SignResponder(rand io.Reader, issuer *Issuer, pub crypto.PublicKey, name string, now time.Time, validity time.Duration) ([]byte, error) {
	der, err := signResponder(rand, issuer, pub, name, now, validity)
	if err != nil {
		return nil, fmt.Errorf("signing a responder's certificate: %w", err)
	}
	return der, nil
}

func signResponder(rand io.Reader, issuer *Issuer, pub crypto.PublicKey, name string, now time.Time, validity time.Duration) ([]byte, error) {
	if err := checkAuthority(issuer.Certificate, issuer.Signer); err != nil {
		return nil, err
	}
	if validity > 31*24*time.Hour {
		return nil, fmt.Errorf("a validity of %v is more than 31 days", validity)
	}
	if err := validCommonName(name); err != nil {
		return nil, err
	}
	if _, err := signatureFor(pub); err != nil {
		return nil, err
	}
	key, err := CheckKey(pub)
	if err != nil {
		return nil, err
	}
	if sameKey(pub, issuer.Certificate.PublicKey) {
		return nil, errors.New("the key is the authority's own")
	}
	serial, err := NewSerial(rand)
	if err != nil {
		return nil, err
	}
	cert := &x509.Certificate{
		SerialNumber:    serial.BigInt(),
		Subject:         pkix.Name{CommonName: name},
		KeyUsage:        x509.KeyUsageDigitalSignature,
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
		ExtraExtensions: []pkix.Extension{{Id: oidOCSPNoCheck, Value: []byte{0x05, 0x00}}},
	}
	if cert.NotBefore, cert.NotAfter, err = clampValidity(issuer.Certificate, now, MaxBackdate, validity); err != nil {
		return nil, err
	}
	return signCertificate(rand, cert, issuer.Certificate, issuer.Signer, key)
}

// isIssuedBy reports whether the names and key identifiers of cert and ca fit and ca's key signed cert.
func isIssuedBy(cert, ca *x509.Certificate) error {
	if !bytes.Equal(cert.RawIssuer, ca.RawSubject) {
		return errors.New("the certificate names another issuer")
	}
	return cert.CheckSignatureFrom(ca)
}
