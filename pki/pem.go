package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Limits of a bundle of certificates.
const (
	MaxPEM             = 256 << 10 // bytes
	MaxPEMCertificates = 16
)

// ParseCertificatesPEM reads 1 to MaxPEMCertificates certificates from PEM (RFC 7468), in their order. Text before and
// between blocks is skipped. Any other kind of block is an error, above all a private key that strayed into the file,
// and so is a block that is cut off or damaged.
func ParseCertificatesPEM(text []byte) ([]*x509.Certificate, error) {
	if len(text) > MaxPEM {
		return nil, fmt.Errorf("reading certificates: %d bytes, the limit is %d", len(text), MaxPEM)
	}
	var certs []*x509.Certificate
	begun := bytes.Count(text, []byte("-----BEGIN "))
	if begun > MaxPEMCertificates {
		return nil, fmt.Errorf("reading certificates: more than %d", MaxPEMCertificates)
	}
	for rest := text; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("reading certificates: found a block %q, only CERTIFICATE may be there", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	if begun != len(certs) {
		return nil, fmt.Errorf("reading certificates: %d of %d blocks are damaged", begun-len(certs), begun)
	}
	if len(certs) == 0 {
		return nil, errors.New("reading certificates: there is no PEM block CERTIFICATE")
	}
	return certs, nil
}

// EncodePEM writes DER as one PEM block, such as "CERTIFICATE" or "X509 CRL".
func EncodePEM(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}

// EncodeCertificatesPEM writes certificates in DER as PEM, in their order.
func EncodeCertificatesPEM(ders ...[]byte) []byte {
	var out bytes.Buffer
	for _, der := range ders {
		out.Write(EncodePEM("CERTIFICATE", der))
	}
	return out.Bytes()
}
