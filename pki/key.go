package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
)

// KeyID names a public key: the SHA-256 of its SubjectPublicKeyInfo in DER. The same key has the same KeyID wherever it
// appears, so reuse of a key is found by comparing KeyIDs.
type KeyID [32]byte

// KeyIDOf names a public key. It fails for key types that crypto/x509 cannot encode.
func KeyIDOf(pub crypto.PublicKey) (KeyID, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return KeyID{}, fmt.Errorf("naming a public key: %w", err)
	}
	return sha256.Sum256(spki), nil
}

// ParseKeyID reads the form that String writes: 64 hexadecimal digits.
func ParseKeyID(text string) (KeyID, error) {
	var k KeyID
	if len(text) != 2*len(k) {
		return KeyID{}, fmt.Errorf("parsing a key identifier: %d characters instead of 64 hexadecimal digits", len(text))
	}
	if _, err := hex.Decode(k[:], []byte(text)); err != nil {
		return KeyID{}, fmt.Errorf("parsing a key identifier: %w", err)
	}
	return k, nil
}

// IsZero reports whether k names no key.
func (k KeyID) IsZero() bool { return k == KeyID{} }

// String returns 64 lower-case hexadecimal digits.
func (k KeyID) String() string { return hex.EncodeToString(k[:]) }

// MarshalText returns the form of String.
func (k KeyID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, k[:]), nil }

// UnmarshalText accepts what ParseKeyID accepts.
func (k *KeyID) UnmarshalText(text []byte) error {
	v, err := ParseKeyID(string(text))
	if err != nil {
		return err
	}
	*k = v
	return nil
}

// KeyAlg is a kind of key that Holdfast generates for its own authorities and for serverkeygen.
type KeyAlg string

// The kinds of key. P256 is the default everywhere.
const (
	P256    KeyAlg = "P-256"
	P384    KeyAlg = "P-384"
	Ed25519 KeyAlg = "Ed25519"
)

// ParseKeyAlg reads a name as written in configuration: exactly one of the constants.
func ParseKeyAlg(text string) (KeyAlg, error) {
	switch a := KeyAlg(text); a {
	case P256, P384, Ed25519:
		return a, nil
	}
	return "", fmt.Errorf("parsing a key algorithm: %q is not one of P-256, P-384, Ed25519", text)
}

// GenerateKey makes a private key. Since Go 1.26 the standard library draws ECDSA keys from the operating system's
// generator whatever rand is; Ed25519 keys come from rand.
func (a KeyAlg) GenerateKey(rand io.Reader) (crypto.Signer, error) {
	switch a {
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand)
	case Ed25519:
		seed := make([]byte, ed25519.SeedSize)
		if _, err := io.ReadFull(rand, seed); err != nil {
			return nil, fmt.Errorf("generating an Ed25519 key: %w", err)
		}
		return ed25519.NewKeyFromSeed(seed), nil
	}
	return nil, fmt.Errorf("generating a key: %q is not a key algorithm", string(a))
}

// publicKey is what every public key of the standard library can do.
type publicKey interface{ Equal(crypto.PublicKey) bool }

func sameKey(a, b crypto.PublicKey) bool {
	k, ok := a.(publicKey)
	return ok && b != nil && k.Equal(b)
}
