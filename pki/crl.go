package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Reason is why a certificate was revoked (CRLReason, RFC 5280 section 5.3.1).
type Reason uint8

// The reasons. 7 is not used by the standard; removeFromCRL (8) belongs to delta lists, which Holdfast does not make.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	CACompromise         Reason = 2
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	CertificateHold      Reason = 6 // the only one that can be undone: quarantine
	PrivilegeWithdrawn   Reason = 9
	AACompromise         Reason = 10
)

var reasonNames = map[Reason]string{
	Unspecified: "unspecified", KeyCompromise: "keyCompromise", CACompromise: "cACompromise",
	AffiliationChanged: "affiliationChanged", Superseded: "superseded", CessationOfOperation: "cessationOfOperation",
	CertificateHold: "certificateHold", PrivilegeWithdrawn: "privilegeWithdrawn", AACompromise: "aACompromise",
}

// ParseReason reads a name of RFC 5280, such as keyCompromise.
func ParseReason(text string) (Reason, error) {
	for r, name := range reasonNames {
		if name == text {
			return r, nil
		}
	}
	return 0, fmt.Errorf("parsing a revocation reason: %q is not a name of RFC 5280 section 5.3.1 such as keyCompromise", text)
}

// Valid reports whether r is one of the constants.
func (r Reason) Valid() bool { return reasonNames[r] != "" }

// String returns the name of RFC 5280.
func (r Reason) String() string {
	if name := reasonNames[r]; name != "" {
		return name
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// MarshalText returns the name of RFC 5280.
func (r Reason) MarshalText() ([]byte, error) {
	if !r.Valid() {
		return nil, fmt.Errorf("writing a revocation reason: %d is not one", uint8(r))
	}
	return []byte(r.String()), nil
}

// UnmarshalText accepts what ParseReason accepts.
func (r *Reason) UnmarshalText(text []byte) error {
	v, err := ParseReason(string(text))
	if err != nil {
		return err
	}
	*r = v
	return nil
}

// Revoked is one entry of a revocation list.
type Revoked struct {
	Serial Serial
	At     time.Time // to the second
	Reason Reason
}

// BuildCRL makes a complete revocation list (RFC 5280 section 5) in DER. number must grow with every list of the issuer
// and have at most 20 octets. Entries may come in any order and appear in order of serial, so equal facts make equal
// lists; a serial listed twice is an error. The signature is verified before the list is returned. entries is not kept.
func BuildCRL(rand io.Reader, issuer *Issuer, number *big.Int, entries []Revoked, now, next time.Time) ([]byte, error) {
	der, err := buildCRL(rand, issuer, number, entries, now, next)
	if err != nil {
		return nil, fmt.Errorf("building a revocation list: %w", err)
	}
	return der, nil
}

func buildCRL(rand io.Reader, issuer *Issuer, number *big.Int, entries []Revoked, now, next time.Time) ([]byte, error) {
	ca := issuer.Certificate
	if err := checkAuthority(ca, issuer.Signer); err != nil {
		return nil, err
	}
	if ca.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return nil, errors.New("the authority's certificate does not allow signing revocation lists")
	}
	if number == nil || number.Sign() <= 0 || number.BitLen() > 159 {
		return nil, errors.New("the number is not positive or has more than 20 octets")
	}
	if !next.After(now) {
		return nil, errors.New("the next update is not after this one")
	}
	entries, err := sortedEntries(entries)
	if err != nil {
		return nil, err
	}
	sig, err := signatureFor(ca.PublicKey)
	if err != nil {
		return nil, err
	}
	tbs, err := marshalTBSCertList(ca, sig, number, entries, now, next)
	if err != nil {
		return nil, err
	}
	signed, err := sig.sign(rand, issuer.Signer, tbs)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	if err := ca.CheckSignature(sig.alg, tbs, signed); err != nil {
		return nil, fmt.Errorf("verifying what the signer returned: %w", err)
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+256))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes([]byte(sig.id))
		b.AddASN1BitString(signed)
	})
	return b.Bytes()
}

func sortedEntries(entries []Revoked) ([]Revoked, error) {
	bySerial := func(a, b Revoked) int { return bytes.Compare(a.Serial[:], b.Serial[:]) }
	if !slices.IsSortedFunc(entries, bySerial) {
		entries = slices.Clone(entries)
		slices.SortFunc(entries, bySerial)
	}
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Serial.IsZero() || e.Serial[0]&0x80 != 0:
			return nil, errors.New("an entry has no serial number")
		case i > 0 && e.Serial == entries[i-1].Serial:
			return nil, fmt.Errorf("serial number %s is listed twice", e.Serial)
		case !e.Reason.Valid():
			return nil, fmt.Errorf("serial number %s has %v, which is not one of RFC 5280", e.Serial, e.Reason)
		case e.At.Year() < 1950 || e.At.Year() > 9999:
			return nil, fmt.Errorf("serial number %s was revoked in the year %d", e.Serial, e.At.Year())
		}
	}
	return entries, nil
}

func marshalTBSCertList(ca *x509.Certificate, sig signature, number *big.Int, entries []Revoked, now, next time.Time) ([]byte, error) {
	list := make([]byte, 0, 56*len(entries))
	for i := range entries {
		list = appendEntry(list, &entries[i])
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(list)+512))
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1) // v2
		b.AddBytes([]byte(sig.id))
		b.AddBytes(ca.RawSubject)
		b.AddBytes(appendTime(nil, now))
		b.AddBytes(appendTime(nil, next))
		if len(list) > 0 { // RFC 5280 section 5.1.2.6: absent, not empty
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(list) })
		}
		b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addExtension(b, "\x55\x1d\x23", func(b *cryptobyte.Builder) { // authorityKeyIdentifier
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(ca.SubjectKeyId) })
					})
				})
				addExtension(b, "\x55\x1d\x14", func(b *cryptobyte.Builder) { b.AddASN1BigInt(number) }) // cRLNumber
			})
		})
	})
	return b.Bytes()
}

// addExtension adds an Extension that is not critical; id is the content of its OBJECT IDENTIFIER.
func addExtension(b *cryptobyte.Builder, id string, value cryptobyte.BuilderContinuation) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes([]byte(id)) })
		b.AddASN1(cbasn1.OCTET_STRING, value)
	})
}

// reasonExtension is crlEntryExtensions with one reasonCode up to its last octet, which is the reason.
const reasonExtension = "\x30\x0c\x30\x0a\x06\x03\x55\x1d\x15\x04\x03\x0a\x01"

// appendEntry writes one revokedCertificate. It is below 128 octets, so every length is one octet.
func appendEntry(out []byte, e *Revoked) []byte {
	start := len(out)
	serial := e.Serial.integerOctets()
	out = append(out, 0x30, 0, 0x02, byte(len(serial)))
	out = append(out, serial...)
	out = appendTime(out, e.At)
	if e.Reason != Unspecified { // RFC 5280 section 5.3.1: absent instead of unspecified
		out = append(out, reasonExtension...)
		out = append(out, byte(e.Reason))
	}
	out[start+1] = byte(len(out) - start - 2)
	return out
}

// appendTime writes a Time: UTCTime to 2049, GeneralizedTime from 2050 (RFC 5280 section 4.1.2.5).
func appendTime(out []byte, t time.Time) []byte {
	t = t.UTC()
	if t.Year() >= 2050 {
		return appendGeneralizedTime(out, t)
	}
	out = append(out, byte(cbasn1.UTCTime), 13)
	return t.AppendFormat(out, "060102150405Z")
}

func appendGeneralizedTime(out []byte, t time.Time) []byte {
	out = append(out, byte(cbasn1.GeneralizedTime), 15)
	return t.UTC().AppendFormat(out, "20060102150405Z")
}
