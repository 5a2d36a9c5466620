package est

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
)

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
)

// The degenerate SignedData of RFC 5652 section 5.1: no content, no signer, certificates alone. CRLs are left out.
type certsOnly struct {
	Version          int
	DigestAlgorithms []asn1.RawValue `asn1:"set"`
	Content          struct{ Type asn1.ObjectIdentifier }
	Certificates     asn1.RawValue
	SignerInfos      []asn1.RawValue `asn1:"set"`
}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content certsOnly `asn1:"explicit,tag:0"`
}

// marshalCerts builds a certs-only CMS message with the certificates in the order given. CMS does not ask for DER here
// (RFC 5652 section 5.1), and clients that take the first certificate for theirs are common: the order stays.
func marshalCerts(certs []*x509.Certificate) ([]byte, error) {
	if len(certs) == 0 || len(certs) > MaxCertificate {
		return nil, fmt.Errorf("rendering certificates: %d of them where 1 to %d are possible", len(certs), MaxCertificate)
	}
	var all []byte
	for _, c := range certs {
		if c == nil || len(c.Raw) == 0 {
			return nil, errors.New("rendering certificates: one of them is empty")
		}
		all = append(all, c.Raw...)
	}
	info := contentInfo{Type: oidSignedData, Content: certsOnly{Version: 1}}
	info.Content.Content.Type = oidData
	info.Content.Certificates = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: all}
	der, err := asn1.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("rendering certificates: %w", err)
	}
	return der, nil
}

// unmarshalCerts reads a certs-only CMS message. It takes definite lengths only: the walk is flat, one level per line,
// so that no input makes it recurse or grow.
func unmarshalCerts(der []byte) ([]*x509.Certificate, error) {
	info, rest, err := element(der, asn1.ClassUniversal, asn1.TagSequence)
	if err != nil {
		return nil, fmt.Errorf("reading ContentInfo: %w", err)
	}
	if len(rest) > 0 {
		return nil, errors.New("reading ContentInfo: bytes follow it")
	}
	var kind asn1.ObjectIdentifier
	inner, err := asn1.Unmarshal(info, &kind)
	if err != nil || !kind.Equal(oidSignedData) {
		return nil, errors.New("reading ContentInfo: the content is not signedData")
	}
	explicit, rest, err := element(inner, asn1.ClassContextSpecific, 0)
	if err != nil || len(rest) > 0 {
		return nil, errors.New("reading ContentInfo: the content is not one explicit [0] value")
	}
	signed, rest, err := element(explicit, asn1.ClassUniversal, asn1.TagSequence)
	if err != nil || len(rest) > 0 {
		return nil, errors.New("reading SignedData: not one SEQUENCE")
	}
	return signedDataCerts(signed)
}

// signedDataCerts walks the fields of SignedData (RFC 5652 section 5.1).
func signedDataCerts(signed []byte) ([]*x509.Certificate, error) {
	var version int
	rest, err := asn1.Unmarshal(signed, &version)
	if err != nil || version < 1 || version > 5 {
		return nil, errors.New("reading SignedData: the version is not 1 to 5")
	}
	if _, rest, err = element(rest, asn1.ClassUniversal, asn1.TagSet); err != nil {
		return nil, fmt.Errorf("reading digestAlgorithms: %w", err)
	}
	if _, rest, err = element(rest, asn1.ClassUniversal, asn1.TagSequence); err != nil {
		return nil, fmt.Errorf("reading encapContentInfo: %w", err)
	}
	set, rest, err := element(rest, asn1.ClassContextSpecific, 0)
	if err != nil {
		return nil, fmt.Errorf("reading certificates: %w", err)
	}
	if _, after, err := element(rest, asn1.ClassContextSpecific, 1); err == nil { // CRLs are not used
		rest = after
	}
	signers, rest, err := element(rest, asn1.ClassUniversal, asn1.TagSet)
	if err != nil {
		return nil, fmt.Errorf("reading signerInfos: %w", err)
	}
	if len(signers) > 0 || len(rest) > 0 {
		return nil, errors.New("reading signerInfos: a certs-only message has no signer and nothing after the set")
	}
	return splitCerts(set)
}

func splitCerts(set []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for len(set) > 0 {
		if len(certs) == MaxCertificate {
			return nil, fmt.Errorf("reading certificates: more than %d", MaxCertificate)
		}
		_, rest, err := element(set, asn1.ClassUniversal, asn1.TagSequence)
		if err != nil {
			return nil, fmt.Errorf("reading certificate %d: %w", len(certs)+1, err)
		}
		cert, err := x509.ParseCertificate(set[:len(set)-len(rest)])
		if err != nil {
			return nil, fmt.Errorf("reading certificate %d: %w", len(certs)+1, err)
		}
		certs, set = append(certs, cert), rest
	}
	if len(certs) == 0 {
		return nil, errors.New("reading certificates: there are none")
	}
	return certs, nil
}

// element splits off one constructed DER value of the class and tag.
func element(der []byte, class, tag int) (content, rest []byte, err error) {
	var v asn1.RawValue
	rest, err = asn1.Unmarshal(der, &v)
	if err != nil {
		return nil, nil, err
	}
	if v.Class != class || v.Tag != tag || !v.IsCompound {
		return nil, nil, fmt.Errorf("found class %d tag %d where class %d tag %d belongs", v.Class, v.Tag, class, tag)
	}
	return v.Bytes, rest, nil
}
