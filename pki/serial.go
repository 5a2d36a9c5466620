package pki

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
)

// Serial is a certificate serial number: a positive integer of at most 127 bits, big endian, so that its DER form never
// exceeds 16 octets (RFC 5280 section 4.1.2.2 allows 20). The zero Serial is not valid.
type Serial [16]byte

// NewSerial draws a serial of 127 random bits from rand. It fails only if rand does.
func NewSerial(rand io.Reader) (Serial, error) {
	var s Serial
	for range 8 {
		if _, err := io.ReadFull(rand, s[:]); err != nil {
			return Serial{}, fmt.Errorf("drawing a serial number: %w", err)
		}
		s[0] &= 0x7f
		if !s.IsZero() {
			return s, nil
		}
	}
	return Serial{}, errors.New("drawing a serial number: the random source yields only zeros")
}

// ParseSerial reads the form that String writes: exactly 32 hexadecimal digits, either case.
func ParseSerial(text string) (Serial, error) {
	var s Serial
	if len(text) != 32 {
		return Serial{}, fmt.Errorf("parsing a serial number: %d characters instead of 32 hexadecimal digits", len(text))
	}
	if _, err := hex.Decode(s[:], []byte(text)); err != nil {
		return Serial{}, fmt.Errorf("parsing a serial number: %w", err)
	}
	if s.IsZero() || s[0]&0x80 != 0 {
		return Serial{}, errors.New("parsing a serial number: it is not between 1 and 2^127-1")
	}
	return s, nil
}

// SerialOf returns the serial of a certificate. It fails for serials that this package would not issue (zero, negative
// or above 127 bits), which other authorities may use legally.
func SerialOf(cert *x509.Certificate) (Serial, error) {
	return serialFromInt(cert.SerialNumber)
}

func serialFromInt(n *big.Int) (Serial, error) {
	var s Serial
	if n == nil || n.Sign() <= 0 || n.BitLen() > 127 {
		return Serial{}, errors.New("reading a serial number: it is not between 1 and 2^127-1")
	}
	n.FillBytes(s[:])
	return s, nil
}

// IsZero reports whether s is the zero value, which is not a serial.
func (s Serial) IsZero() bool { return s == Serial{} }

// String returns 32 lower-case hexadecimal digits.
func (s Serial) String() string { return hex.EncodeToString(s[:]) }

// BigInt returns the serial as an integer.
func (s Serial) BigInt() *big.Int { return new(big.Int).SetBytes(s[:]) }

// MarshalText returns the form of String.
func (s Serial) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

// UnmarshalText accepts what ParseSerial accepts.
func (s *Serial) UnmarshalText(text []byte) error {
	v, err := ParseSerial(string(text))
	if err != nil {
		return err
	}
	*s = v
	return nil
}

// integerOctets returns the shortest content octets of the DER INTEGER.
func (s *Serial) integerOctets() []byte {
	i := 0
	for i < len(s)-1 && s[i] == 0 && s[i+1]&0x80 == 0 {
		i++
	}
	return s[i:]
}
