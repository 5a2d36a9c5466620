package pki

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"
)

// WeakKeys is a list of public keys whose private half is known or guessable, such as those of the Debian OpenSSL fault
// or keys found in firmware images. Weak must be safe for concurrent use; a list that cannot be read must say true.
type WeakKeys interface {
	Weak(KeyID) bool
}

// CheckedKey is a public key that passed CheckKey. The zero value is no key.
type CheckedKey struct {
	pub  crypto.PublicKey
	id   KeyID
	spki []byte
}

// ID names the key.
func (k CheckedKey) ID() KeyID { return k.id }

// Public returns the key: *ecdsa.PublicKey, ed25519.PublicKey or *rsa.PublicKey.
func (k CheckedKey) Public() crypto.PublicKey { return k.pub }

// subjectKeyID is method 1 of RFC 7093 section 2: the first 160 bits of the SHA-256 of the key's BIT STRING.
func (k CheckedKey) subjectKeyID() []byte {
	sum := sha256.Sum256(keyBits(k.spki))
	return sum[:20]
}

// keyBits returns the content of the BIT STRING of a SubjectPublicKeyInfo, without its count of unused bits.
func keyBits(spki []byte) []byte {
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &info); err != nil {
		return nil
	}
	return info.Key.Bytes
}

// CheckKey refuses public keys that are too weak to identify anything, with a *CSRError. It accepts ECDSA on P-256,
// P-384 and P-521, Ed25519, and RSA of 2048 to 4096 bits with an odd exponent of at least 65537. It refuses keys whose
// private half is known or cheap to find: members of the given lists, test keys of the standards, private keys 1 to 16,
// Ed25519 points of small order, and RSA moduli with a small factor, with factors close to each other, or made by the
// generator of CVE-2017-15361 (ROCA).
func CheckKey(pub crypto.PublicKey, weak ...WeakKeys) (CheckedKey, error) {
	var err error
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		err = checkECDSA(k)
	case ed25519.PublicKey:
		err = checkEd25519(k)
	case *rsa.PublicKey:
		err = checkRSA(k)
	default:
		err = unsupported("its key is of a kind that is not supported")
	}
	if err != nil {
		return CheckedKey{}, err
	}
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return CheckedKey{}, unsupported("its key cannot be encoded")
	}
	key := CheckedKey{pub: pub, id: sha256.Sum256(spki), spki: spki}
	for _, list := range weak {
		if list != nil && list.Weak(key.id) {
			return CheckedKey{}, weakKey("its key is on the list of known weak keys")
		}
	}
	return key, nil
}

func weakKey(detail string) *CSRError {
	return &CSRError{CodeWeakKey, detail, "generate a new key from a good random source and request again"}
}

func unsupported(detail string) *CSRError {
	return &CSRError{CodeUnsupportedKey, detail, "use ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 4096 bits"}
}

func checkECDSA(k *ecdsa.PublicKey) error {
	if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, k.Curve) {
		return unsupported("its key is on a curve that is not supported")
	}
	point, err := k.Bytes() // fails for points that are not on the curve
	if err != nil {
		return weakKey("its key is not a point of the curve")
	}
	// The x coordinate alone: the negative of a known private key is as known.
	if _, found := knownPoints()[string(point[1:1+len(point)/2])]; found {
		return weakKey("its private key is publicly known")
	}
	return nil
}

// knownPoints holds the x coordinates of the public keys of the private keys 1 to 16 and of the examples of
// RFC 6979 appendix A.2.5 to A.2.7.
var knownPoints = sync.OnceValue(func() map[string]struct{} {
	known := map[string]struct{}{}
	add := func(curve ecdh.Curve, private []byte) {
		k, err := curve.NewPrivateKey(private)
		if err != nil {
			panic(fmt.Sprintf("a constant of this file is not a private key: %v", err))
		}
		point := k.PublicKey().Bytes()
		known[string(point[1:1+len(point)/2])] = struct{}{}
	}
	for size, curve := range map[int]ecdh.Curve{32: ecdh.P256(), 48: ecdh.P384(), 66: ecdh.P521()} {
		for i := range 16 {
			private := make([]byte, size)
			private[size-1] = byte(i + 1)
			add(curve, private)
		}
	}
	add(ecdh.P256(), unhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"))
	add(ecdh.P384(), unhex("6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872c9ea60d2edf5"))
	add(ecdh.P521(), unhex("00fad06daa62ba3b25d2fb40133da757205de67f5bb0018fee8c86e1b68c7e75caa896eb32f1f47c70855836a6d16fcc1466f6d8fbec67db89ec0c08b0e996b83538"))
	return known
})

func checkEd25519(k ed25519.PublicKey) error {
	if len(k) != ed25519.PublicKeySize {
		return unsupported("its Ed25519 key does not have 32 bytes")
	}
	var point [32]byte
	copy(point[:], k)
	point[31] &= 0x7f // the sign does not matter for what follows
	known := knownEdwards()
	if _, found := known[point]; found {
		return weakKey("its private key is publicly known, or its key is a point of small order")
	}
	return nil
}

// knownEdwards holds, with the sign bit cleared, the encodings of the points of small order, for which anybody can make
// a signature that verifies, and the keys of trivial seeds and of RFC 8032 section 7.1.
var knownEdwards = sync.OnceValue(func() map[[32]byte]struct{} {
	known := map[[32]byte]struct{}{}
	for _, text := range smallOrder {
		known[[32]byte(unhex(text))] = struct{}{}
	}
	add := func(seed []byte) {
		public := [32]byte(ed25519.NewKeyFromSeed(seed)[32:])
		public[31] &= 0x7f
		known[public] = struct{}{}
	}
	counting := make([]byte, 32)
	for i := range 256 {
		same := make([]byte, 32)
		for j := range same {
			same[j] = byte(i)
		}
		add(same)
	}
	for i := range 17 {
		first, last := make([]byte, 32), make([]byte, 32)
		first[0], last[31] = byte(i), byte(i)
		add(first)
		add(last)
	}
	for i := range counting {
		counting[i] = byte(i)
	}
	add(counting)
	for _, text := range rfc8032Seeds {
		add(unhex(text))
	}
	return known
})

// smallOrder are the y coordinates, canonical and not, of the eight points of small order.
var smallOrder = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

var rfc8032Seeds = []string{
	"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
	"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
	"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
}

func unhex(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic("a constant of this package is not hexadecimal: " + text)
	}
	return b
}
