package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
)

// signature is the one signature scheme that goes with an authority's key: SHA-256 for P-256, SHA-384 for P-384, pure
// Ed25519 (RFC 5758, RFC 8410).
type signature struct {
	alg  x509.SignatureAlgorithm
	hash crypto.Hash // 0 for Ed25519
	id   string      // AlgorithmIdentifier in DER, parameters absent
}

func signatureFor(pub crypto.PublicKey) (signature, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return signature{x509.ECDSAWithSHA256, crypto.SHA256, "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"}, nil
		case elliptic.P384():
			return signature{x509.ECDSAWithSHA384, crypto.SHA384, "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03"}, nil
		}
	case ed25519.PublicKey:
		return signature{x509.PureEd25519, 0, "\x30\x05\x06\x03\x2b\x65\x70"}, nil
	}
	return signature{}, fmt.Errorf("choosing a signature algorithm: an authority's key is P-256, P-384 or Ed25519, not %T", pub)
}

// sign signs tbs with the scheme. It does not verify: callers that hand out long-lived objects do.
func (s signature) sign(rand io.Reader, signer crypto.Signer, tbs []byte) ([]byte, error) {
	return crypto.SignMessage(signer, rand, tbs, s.hash)
}

// checkAuthority makes sure that signer holds the key of cert and that cert may sign certificates.
func checkAuthority(cert *x509.Certificate, signer crypto.Signer) error {
	switch {
	case cert == nil || signer == nil:
		return errors.New("the certificate or the key is missing")
	case !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("the certificate is not one of a certificate authority")
	case len(cert.SubjectKeyId) == 0 || len(cert.RawSubject) <= 2:
		return errors.New("the certificate has no subject or no subject key identifier")
	case !sameKey(cert.PublicKey, signer.Public()):
		return errors.New("the signing key is not the key of the certificate")
	}
	_, err := signatureFor(cert.PublicKey)
	return err
}
