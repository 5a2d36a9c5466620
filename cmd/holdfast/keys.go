package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/holdfast-iot/holdfast/internal/durable"
)

// newKey makes a private key of an algorithm as the configuration names it.
func newKey(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "P-256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "P-384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "Ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, &usageError{fmt.Sprintf("%q is not a key algorithm", algorithm), "use P-256, P-384 or Ed25519"}
}

// newKeyFile makes a key in a new file of mode 0600 (PKCS #8, RFC 5958).
func newKeyFile(path, algorithm string) (crypto.Signer, error) {
	key, err := newKey(algorithm)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	defer clear(der)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	defer clear(text)
	return key, durable.Create(path, text, 0o600)
}

// parseKey reads PKCS #8, or what openssl ecparam -genkey writes (RFC 5915).
// Errors do not repeat the text.
func parseKey(text []byte) (crypto.Signer, error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("there is no PEM block PRIVATE KEY")
		}
		text = rest
		switch block.Type {
		case "EC PRIVATE KEY":
			key, err := x509.ParseECPrivateKey(block.Bytes)
			if err != nil {
				return nil, errors.New("the EC private key is damaged")
			}
			return key, nil
		case "PRIVATE KEY":
			return parsePKCS8(block.Bytes)
		}
	}
}

func parsePKCS8(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("the private key is damaged, or of a kind that is not known here")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign")
	}
	return signer, nil
}

// newRequest makes a CSR (RFC 2986) for a key and a common name.
func newRequest(key crypto.Signer, name string) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	return der, nil
}

// readKeyFile reads a key that only its owner can read.
func readKeyFile(path string) (crypto.Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fixing("chmod 600 "+path, fmt.Errorf("reading the key: other users can read %s", path))
	}
	text, err := readSmall(path, 64<<10)
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	defer clear(text)
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("reading the key in %s: %w", path, err)
	}
	return key, nil
}
