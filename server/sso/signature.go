package sso

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

// Algorithms of XML signatures that are taken. SHA-1 and HMAC are not among
// them, nor are transforms other than the two that every provider uses: XSLT and
// XPath could make a signature cover less than it seems to.
var (
	signMethods   = map[string]bool{dsig.RSASHA256SignatureMethod: true, dsig.RSASHA384SignatureMethod: true, dsig.RSASHA512SignatureMethod: true, dsig.ECDSASHA256SignatureMethod: true, dsig.ECDSASHA384SignatureMethod: true, dsig.ECDSASHA512SignatureMethod: true}
	digestMethods = map[string]bool{
		"http://www.w3.org/2001/04/xmlenc#sha256":       true,
		"http://www.w3.org/2001/04/xmldsig-more#sha384": true,
		"http://www.w3.org/2001/04/xmlenc#sha512":       true,
	}
)

const (
	transformEnveloped = "http://www.w3.org/2000/09/xmldsig#enveloped-signature"
	transformExclusive = "http://www.w3.org/2001/10/xml-exc-c14n#"
)

// errUnsigned says that an element has no signature of its own.
var errUnsigned = errors.New("there is no signature")

// verifyElement checks the enveloped signature of el with the provider's
// certificates, and returns the element again as it was read from the very
// bytes that the signature covers: nothing else may be read after.
//
// The library alone would take a signature of a shape that no provider makes;
// so the shape is checked first: one reference, to el itself; and the certificate
// inside the signature is dropped: only ours verify.
func verifyElement(el *etree.Element, certs []*x509.Certificate, now time.Time) (*etree.Element, error) {
	if n := len(children(el, nsSignature, "Signature")); n == 0 {
		return nil, errUnsigned
	} else if n > 1 {
		return nil, errors.New("there are two signatures")
	}
	alone := detached(el)
	sig, err := only(alone, nsSignature, "Signature")
	if err != nil {
		return nil, err
	}
	if err := checkShape(sig, attr(alone, "ID")); err != nil {
		return nil, err
	}
	if err := normalise(sig); err != nil {
		return nil, err
	}
	expired := false
	for _, c := range certs {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			expired = true
			continue
		}
		v := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{c}})
		v.Clock = dsig.NewFakeClockAt(now)
		if got, err := v.Validate(alone); err == nil && got != nil && got.Tag == el.Tag && attr(got, "ID") == attr(el, "ID") {
			return got, nil
		}
	}
	if expired {
		return nil, errors.New("no certificate of the provider that is valid now verifies the signature; one has expired or is not valid yet")
	}
	return nil, errors.New("no certificate of the provider verifies the signature")
}

// detached copies an element with the declarations of prefixes that it inherits.
func detached(el *etree.Element) *etree.Element {
	out := el.Copy()
	have := map[string]bool{}
	for _, a := range out.Attr {
		if a.Space == "xmlns" || a.Space == "" && a.Key == "xmlns" {
			have[a.FullKey()] = true
		}
	}
	for up := el.Parent(); up != nil; up = up.Parent() {
		for _, a := range up.Attr {
			if (a.Space == "xmlns" || a.Space == "" && a.Key == "xmlns") && !have[a.FullKey()] {
				have[a.FullKey()] = true
				out.CreateAttr(a.FullKey(), a.Value)
			}
		}
	}
	return out
}

// checkShape accepts the one form of signature that SAML Core section 5.4
// describes.
func checkShape(sig *etree.Element, id string) error {
	if id == "" {
		return errors.New("the signed element has no ID")
	}
	info, err := only(sig, nsSignature, "SignedInfo")
	if err != nil {
		return err
	}
	for _, c := range sig.ChildElements() {
		if c.NamespaceURI() != nsSignature || c.Tag != "SignedInfo" && c.Tag != "SignatureValue" && c.Tag != "KeyInfo" {
			return fmt.Errorf("the signature holds the element %q", clean(c.Tag))
		}
	}
	if len(info.ChildElements()) != 3 {
		return errors.New("the signature does not have exactly one reference")
	}
	if alg, err := algorithm(info, "CanonicalizationMethod"); err != nil || alg != transformExclusive {
		return fmt.Errorf("the canonicalization %q is not exclusive without comments", clean(alg))
	}
	if alg, err := algorithm(info, "SignatureMethod"); err != nil || !signMethods[alg] {
		return fmt.Errorf("the signature method %q is not taken: use RSA or ECDSA with SHA-256 or better", clean(alg))
	}
	ref, err := only(info, nsSignature, "Reference")
	if err != nil {
		return err
	}
	if attr(ref, "URI") != "#"+id || len(ref.ChildElements()) != 3 {
		return errors.New("the signature is not of the element that holds it")
	}
	if alg, err := algorithm(ref, "DigestMethod"); err != nil || !digestMethods[alg] {
		return fmt.Errorf("the digest method %q is not taken: use SHA-256 or better", clean(alg))
	}
	if _, err := only(ref, nsSignature, "DigestValue"); err != nil {
		return err
	}
	ts, err := only(ref, nsSignature, "Transforms")
	if err != nil {
		return err
	}
	all := ts.ChildElements()
	if len(all) != 2 || !is(all[0], nsSignature, "Transform") || attr(all[0], "Algorithm") != transformEnveloped ||
		!is(all[1], nsSignature, "Transform") || attr(all[1], "Algorithm") != transformExclusive {
		return errors.New("the signature's transforms are not: enveloped, then exclusive canonicalization")
	}
	return nil
}

func algorithm(el *etree.Element, tag string) (string, error) {
	c, err := only(el, nsSignature, tag)
	if err != nil {
		return "", err
	}
	return attr(c, "Algorithm"), nil
}

// normalise drops the signer's certificate and writes the signature's value as the
// library wants it: neither is covered by the signature, which is cut out before
// its element is digested.
func normalise(sig *etree.Element) error {
	for _, k := range children(sig, nsSignature, "KeyInfo") {
		sig.RemoveChild(k)
	}
	el, err := only(sig, nsSignature, "SignatureValue")
	if err != nil {
		return err
	}
	t, ok := text(el)
	value, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(t), ""))
	if err != nil || !ok {
		return errors.New("the signature's value is not base64")
	}
	method, err := algorithm(children(sig, nsSignature, "SignedInfo")[0], "SignatureMethod")
	if err != nil {
		return err
	}
	if strings.Contains(method, "#ecdsa-") {
		if value, err = joined(value); err != nil {
			return err
		}
	}
	el.SetText(base64.StdEncoding.EncodeToString(value))
	return nil
}

// checkCertificate tells why a certificate of a provider is not fit to verify
// signatures with.
func checkCertificate(c *x509.Certificate) error {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 || k.N.BitLen() > 8192 {
			return fmt.Errorf("its RSA key has %d bits, not 2048 to 8192", k.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if n := k.Curve.Params().BitSize; n < 256 {
			return fmt.Errorf("its ECDSA key has %d bits, fewer than 256", n)
		}
	default:
		return errors.New("its key is neither RSA nor ECDSA")
	}
	return nil
}
