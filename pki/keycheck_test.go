package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"testing"
)

// weakRSA makes a modulus of two random primes without asking the standard library whether it is wise.
func weakRSA(t testing.TB, bits, e int) *rsa.PublicKey {
	t.Helper()
	for {
		p := must[*big.Int](t, "prime")(rand.Prime(rand.Reader, bits/2))
		q := must[*big.Int](t, "prime")(rand.Prime(rand.Reader, bits/2))
		if n := p.Mul(p, q); n.BitLen() == bits {
			return &rsa.PublicKey{N: n, E: e}
		}
	}
}

func knownECDSA(t testing.TB, curve elliptic.Curve, private int64) *ecdsa.PublicKey {
	t.Helper()
	raw := big.NewInt(private).FillBytes(make([]byte, (curve.Params().BitSize+7)/8))
	key := must[*ecdsa.PrivateKey](t, "known key")(ecdsa.ParseRawPrivateKey(curve, raw))
	return &key.PublicKey
}

// rocaModulus makes a modulus with the fingerprint: modulo every odd prime to 167 it is a power of 65537.
func rocaModulus(t testing.TB) *big.Int {
	m := big.NewInt(1)
	for _, p := range smallPrimes() {
		if p <= 167 {
			m.Mul(m, new(big.Int).SetUint64(p))
		}
	}
	factor := func(bits int) *big.Int {
		for {
			a := must[*big.Int](t, "exponent")(rand.Int(rand.Reader, m))
			k := must[*big.Int](t, "multiple")(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits-m.BitLen()+1))))
			p := new(big.Int).Exp(big.NewInt(65537), a, m)
			p.Add(p, k.Mul(k, m))
			if p.BitLen() == bits && p.ProbablyPrime(10) {
				return p
			}
		}
	}
	for {
		if n := new(big.Int).Mul(factor(1024), factor(1024)); n.BitLen() == 2048 {
			return n
		}
	}
}

func TestCheckKeyRSA(t *testing.T) {
	good := weakRSA(t, 2048, 65537)
	p := must[*big.Int](t, "prime")(rand.Prime(rand.Reader, 1024))
	q := new(big.Int).Add(p, big.NewInt(2))
	for !q.ProbablyPrime(10) {
		q.Add(q, big.NewInt(2))
	}
	near := new(big.Int).Mul(p, q)
	square := new(big.Int).Mul(p, p)
	smooth := new(big.Int).Mul(good.N, big.NewInt(997))
	even := new(big.Int).Lsh(good.N, 1)
	for _, c := range []struct {
		name, code string
		key        *rsa.PublicKey
	}{
		{"good", "", good},
		{"4096 bits", "", weakRSA(t, 4096, 65537)},
		{"1024 bits", CodeWeakKey, weakRSA(t, 1024, 65537)},
		{"2047 bits", CodeWeakKey, &rsa.PublicKey{N: new(big.Int).Rsh(good.N, 1), E: 65537}},
		{"8192 bits", CodeUnsupportedKey, &rsa.PublicKey{N: new(big.Int).Lsh(good.N, 6144), E: 65537}},
		{"exponent 3", CodeWeakKey, &rsa.PublicKey{N: good.N, E: 3}},
		{"even exponent", CodeWeakKey, &rsa.PublicKey{N: good.N, E: 65538}},
		{"factor 997", CodeWeakKey, &rsa.PublicKey{N: smooth, E: 65537}},
		{"even modulus", CodeWeakKey, &rsa.PublicKey{N: even, E: 65537}},
		{"close primes", CodeWeakKey, &rsa.PublicKey{N: near, E: 65537}},
		{"a square", CodeWeakKey, &rsa.PublicKey{N: square, E: 65537}},
		{"ROCA", CodeWeakKey, &rsa.PublicKey{N: rocaModulus(t), E: 65537}},
		{"no modulus", CodeWeakKey, &rsa.PublicKey{E: 65537}},
	} {
		_, err := CheckKey(c.key)
		if c.code == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		wantCode(t, c.name, c.code, err)
	}
	if !closePrimes(near) || !closePrimes(square) || closePrimes(good.N) || isROCA(good.N) {
		t.Error("a factor check missed or misfired")
	}
}

func TestHonestRSAKeysPass(t *testing.T) {
	for range 8 {
		key := must[*rsa.PrivateKey](t, "key")(rsa.GenerateKey(rand.Reader, 2048))
		if _, err := CheckKey(&key.PublicKey); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckKeyECDSA(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		for private := int64(1); private <= 16; private++ {
			k := knownECDSA(t, curve, private)
			_, err := CheckKey(k)
			wantCode(t, fmt.Sprintf("%s private key %d", curve.Params().Name, private), CodeWeakKey, err)
			_, err = CheckKey(negative(t, k))
			wantCode(t, "its negative", CodeWeakKey, err)
		}
		if _, err := CheckKey(knownECDSA(t, curve, 17_000_017)); err != nil {
			t.Error(err)
		}
		_, err := CheckKey(&ecdsa.PublicKey{Curve: curve, X: big.NewInt(5), Y: big.NewInt(5)})
		wantCode(t, "off the curve", CodeWeakKey, err)
	}
	// RFC 6979 appendix A.2.5 to A.2.7: Ux as printed there proves that the constants are the right ones.
	for _, x := range []string{
		"60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6",
		"ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a254515480bc13",
		"01894550d0785932e00eaa23b694f213f8c3121f86dc97a04e5a7167db4e5bcd371123d46e45db6b5d5370a7f20fb633155d38ffa16d2bd761dcac474b9a2f5023a4",
	} {
		if _, found := knownPoints()[string(unhex(x))]; !found {
			t.Errorf("the example key of RFC 6979 with x = %s is not known", x)
		}
	}
	_, err := CheckKey(nil)
	wantCode(t, "no key", CodeUnsupportedKey, err)
	_, err = CheckKey((*ecdsa.PrivateKey)(nil))
	wantCode(t, "a private key", CodeUnsupportedKey, err)
}

// TestSmallOrderPoints shows why the points are refused: with each of them a signature made of constants verifies for
// one in at most eight messages, without any private key.
func TestSmallOrderPoints(t *testing.T) {
	forged := make([]byte, ed25519.SignatureSize)
	forged[0] = 1 // R is the neutral element, S is 0
	for _, text := range smallOrder {
		for _, sign := range []byte{0, 0x80} {
			key := ed25519.PublicKey(unhex(text))
			key[31] |= sign
			_, err := CheckKey(key)
			wantCode(t, text, CodeWeakKey, err)
			hit := false
			for i := 0; i < 500 && !hit; i++ {
				hit = ed25519.Verify(key, fmt.Append(nil, i), forged)
			}
			if !hit && sign == 0 {
				t.Errorf("%s is not a point of small order", text)
			}
		}
	}
}

func TestCheckKeyEd25519(t *testing.T) {
	for name, seed := range map[string]string{
		"zeros": "0000000000000000000000000000000000000000000000000000000000000000",
		"ones":  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"three": "0300000000000000000000000000000000000000000000000000000000000000",
		"count": "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
	} {
		_, err := CheckKey(ed25519.NewKeyFromSeed(unhex(seed)).Public())
		wantCode(t, name, CodeWeakKey, err)
	}
	// RFC 8032 section 7.1 prints these public keys.
	for _, text := range []string{
		"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
		"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
		"fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
	} {
		_, err := CheckKey(ed25519.PublicKey(unhex(text)))
		wantCode(t, text, CodeWeakKey, err)
	}
	_, err := CheckKey(ed25519.PublicKey{1, 2, 3})
	wantCode(t, "short", CodeUnsupportedKey, err)
}

func TestKeyAlg(t *testing.T) {
	for _, alg := range []KeyAlg{P256, P384, Ed25519} {
		back, err := ParseKeyAlg(string(alg))
		if err != nil || back != alg {
			t.Errorf("%s reads back as %s, %v", alg, back, err)
		}
		key := must[crypto.Signer](t, "key")(alg.GenerateKey(rand.Reader))
		checked := must[CheckedKey](t, "key")(CheckKey(key.Public()))
		if id := must[KeyID](t, "id")(ParseKeyID(checked.ID().String())); id != checked.ID() || !sameKey(checked.Public(), key.Public()) {
			t.Errorf("%s: key identifier %s", alg, id)
		}
	}
	if _, err := ParseKeyAlg("RSA"); err == nil {
		t.Error("RSA is a key algorithm")
	}
	if _, err := KeyAlg("RSA").GenerateKey(rand.Reader); err == nil {
		t.Error("RSA generated a key")
	}
	if _, err := KeyIDOf("text"); err == nil {
		t.Error("a text has a key identifier")
	}
}

// negative is the point with the other square root as its y.
func negative(t *testing.T, k *ecdsa.PublicKey) *ecdsa.PublicKey {
	t.Helper()
	point, err := k.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	half := (len(point) - 1) / 2
	y := new(big.Int).SetBytes(point[1+half:])
	y.Sub(k.Curve.Params().P, y).FillBytes(point[1+half:])
	n, err := ecdsa.ParseUncompressedPublicKey(k.Curve, point)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
