package pki

import (
	"crypto/rsa"
	"fmt"
	"math/big"
	"sync"
)

// fermatRounds is how many steps of Fermat's factorisation a modulus must survive. Honest primes of 1024 bits differ
// in their first bits and survive about 2^1000.
const fermatRounds = 100

func checkRSA(k *rsa.PublicKey) error {
	if k.N == nil || k.N.Sign() <= 0 {
		return weakKey("its RSA modulus is not positive")
	}
	bits := k.N.BitLen()
	if bits < 2048 {
		return weakKey(fmt.Sprintf("its RSA key has %d bits, at least 2048 are needed", bits))
	}
	if bits > 4096 {
		return unsupported(fmt.Sprintf("its RSA key has %d bits, at most 4096 are supported", bits))
	}
	if k.E < 65537 || k.E%2 == 0 {
		return weakKey(fmt.Sprintf("its RSA exponent is %d instead of an odd number of at least 65537", k.E))
	}
	if p := smallFactor(k.N); p != 0 {
		return weakKey(fmt.Sprintf("its RSA modulus is divisible by %d", p))
	}
	if isROCA(k.N) {
		return weakKey("its RSA key was made by a faulty generator (CVE-2017-15361, ROCA)")
	}
	if closePrimes(k.N) {
		return weakKey("the factors of its RSA modulus are so close to each other that they can be computed")
	}
	return nil
}

// smallPrimes are the primes below 1000.
var smallPrimes = sync.OnceValue(func() []uint64 {
	var primes []uint64
next:
	for n := uint64(2); n < 1000; n++ {
		for _, p := range primes {
			if n%p == 0 {
				continue next
			}
		}
		primes = append(primes, n)
	}
	return primes
})

// smallFactor returns a prime below 1000 that divides n, or 0.
func smallFactor(n *big.Int) uint64 {
	for _, p := range smallPrimes() {
		if residue(n, p) == 0 {
			return p
		}
	}
	return 0
}

func residue(n *big.Int, p uint64) uint64 {
	return new(big.Int).Mod(n, new(big.Int).SetUint64(p)).Uint64()
}

// isROCA finds moduli whose factors are 65537^a mod M plus a multiple of M, M a primorial (Nemec et al., The Return of
// Coppersmith's Attack, CCS 2017, section 2): modulo every prime of M such a modulus is a power of 65537. The odd primes up
// to 167 suffice to tell: an honest modulus passes them all with a probability below 2^-27.
func isROCA(n *big.Int) bool {
	for _, p := range smallPrimes()[1:] {
		if p > 167 {
			return true
		}
		r, g, power := residue(n, p), 65537%p, uint64(1)
		for power != r {
			if power = power * g % p; power == 1 {
				return false
			}
		}
	}
	return true
}

// closePrimes runs Fermat's factorisation: n = a² - b² with a just above the square root of n.
func closePrimes(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	one := big.NewInt(1)
	if new(big.Int).Mul(a, a).Cmp(n) < 0 {
		a.Add(a, one)
	}
	rest, root, square := new(big.Int), new(big.Int), new(big.Int)
	rest.Mul(a, a).Sub(rest, n)
	step := new(big.Int).Add(new(big.Int).Lsh(a, 1), one) // (a+1)² - a²
	two := big.NewInt(2)
	for range fermatRounds {
		// A square is 0, 1, 4 or 9 modulo 16: three of four candidates end here.
		switch rest.Bit(3)<<3 | rest.Bit(2)<<2 | rest.Bit(1)<<1 | rest.Bit(0) {
		case 0, 1, 4, 9:
			root.Sqrt(rest)
			if square.Mul(root, root).Cmp(rest) == 0 {
				return true
			}
		}
		rest.Add(rest, step)
		step.Add(step, two)
	}
	return false
}
