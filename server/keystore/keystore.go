// Package keystore keeps the private keys that a server signs with while it is
// online: in sealed files, in a TPM 2.0, or in a separate signer program that
// talks to a PKCS#11 token.
//
// It promises that a key whose Create returned is durable, that a name never
// silently changes its key, and that no key and no key-encryption key can be
// printed, logged or marshalled by accident. Signatures made outside this
// process (TPM, signer program) are checked against the public key before they
// are returned, so that a faulty or lying device cannot hand out bad ones.
//
// It trusts the operating system's file permissions, the random source of
// crypto/rand, and whoever holds the key-encryption key. Whoever can write in a
// store's folder can delete a key, or put back an older key of the same name
// that was sealed with the same key-encryption key: callers that know which
// public key to expect (from a certificate) must compare it after Open. Whoever
// can answer on the signer's socket path can choose the public key that Open
// returns: the same comparison catches that. Whoever can open the TPM device
// and read the folder of a TPM store can sign, but not take the key away.
package keystore

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"errors"
	"fmt"
	"regexp"
)

// Store creates and finds private keys by name. All methods may be called
// concurrently, also by several processes on the same store. A Store that holds
// a device or connections is also an io.Closer; keys must not be used after.
type Store interface {
	// Create makes a new key. The key is durable before Create returns. An
	// existing name is refused with ErrExists. Any other error leaves either
	// nothing or a whole key, which Open can tell.
	Create(ctx context.Context, name string, alg Alg) (Key, error)
	// Open finds a key by name, or returns ErrNotFound.
	Open(ctx context.Context, name string) (Key, error)
	// Delete destroys a key for good, or returns ErrNotFound.
	Delete(ctx context.Context, name string) error
}

// Key signs. It may be used concurrently. ECDSA keys accept SHA-256, SHA-384
// and SHA-512 digests of exactly the right length and return ASN.1 signatures
// (RFC 3279 section 2.2.3); Ed25519 keys accept a whole message with
// crypto.Hash(0) (RFC 8032). The random source passed to Sign is not used.
type Key interface {
	crypto.Signer
	// Describe says in a few words, for people, what the key is and where it
	// lives. It holds no secret.
	Describe() string
}

// Errors that callers may act on, found with errors.Is.
var (
	ErrNotFound    = errors.New("no key with that name")
	ErrExists      = errors.New("a key with that name exists")
	ErrName        = errors.New("a key name has 1 to 64 of a-z, 0-9 and -, and does not start with -")
	ErrUnsupported = errors.New("this key store does not support the algorithm")
	ErrWrongKEK    = errors.New("the key was sealed with another key-encryption key")
	ErrDamaged     = errors.New("the key file is damaged or was changed")
	ErrPermissions = errors.New("other users can reach a secret")
	ErrRefused     = errors.New("the signer refused")
)

// Alg names a signature algorithm: P256, P384 or Ed25519.
type Alg string

// The algorithms: ECDSA on the NIST curves (FIPS 186-5), and Ed25519 (RFC 8032).
const (
	P256    Alg = "P-256"
	P384    Alg = "P-384"
	Ed25519 Alg = "Ed25519"
)

// ParseAlg accepts exactly "P-256", "P-384" and "Ed25519".
func ParseAlg(s string) (Alg, error) {
	switch a := Alg(s); a {
	case P256, P384, Ed25519:
		return a, nil
	}
	return "", fmt.Errorf("parsing a key algorithm: %.32q is not P-256, P-384 or Ed25519", s)
}

// algOf finds the algorithm of a public key.
func algOf(pub crypto.PublicKey) (Alg, error) {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			return P256, nil
		case elliptic.P384():
			return P384, nil
		}
		return "", fmt.Errorf("%w: the curve is %s", ErrUnsupported, pub.Curve.Params().Name)
	case ed25519.PublicKey:
		return Ed25519, nil
	}
	return "", fmt.Errorf("%w: the public key is a %T", ErrUnsupported, pub)
}

// curve returns the elliptic curve of an ECDSA algorithm, or nil.
func (a Alg) curve() elliptic.Curve {
	switch a {
	case P256:
		return elliptic.P256()
	case P384:
		return elliptic.P384()
	}
	return nil
}

var names = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

func checkName(name string) error {
	if !names.MatchString(name) {
		return fmt.Errorf("%w: %.80q", ErrName, name)
	}
	return nil
}

// hashes are the digests that ECDSA keys sign, by the name that the signer
// protocol uses.
var hashes = map[string]crypto.Hash{"SHA-256": crypto.SHA256, "SHA-384": crypto.SHA384, "SHA-512": crypto.SHA512}

// checkDigest refuses what a key of the algorithm must not sign, so that all
// stores refuse the same.
func checkDigest(alg Alg, digest []byte, opts crypto.SignerOpts) error {
	hash := crypto.Hash(0)
	if opts != nil {
		hash = opts.HashFunc()
	}
	if alg == Ed25519 {
		if hash != 0 {
			return fmt.Errorf("an Ed25519 key signs whole messages, not %v digests", hash)
		}
		return nil
	}
	if known, ok := hashes[hash.String()]; !ok || known != hash {
		return fmt.Errorf("an ECDSA key signs SHA-256, SHA-384 and SHA-512 digests, not %v", hash)
	}
	if len(digest) != hash.Size() {
		return fmt.Errorf("a %v digest has %d bytes, not %d", hash, hash.Size(), len(digest))
	}
	return nil
}

// checkSignature verifies what an outside signer returned for an ECDSA key.
func checkSignature(pub *ecdsa.PublicKey, digest, signature []byte) error {
	if !ecdsa.VerifyASN1(pub, digest, signature) {
		return errors.New("checking the new signature: it does not verify with the public key of the key; the signing device is faulty or is not the one that holds this key")
	}
	return nil
}
