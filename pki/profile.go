package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Profile is a kind of certificate holder. It fixes the purposes of the certificate and is the first segment of the
// SPIFFE path.
type Profile string

// The profiles and the extended key usages they carry.
const (
	Device  Profile = "device"  // clientAuth
	Gateway Profile = "gateway" // clientAuth, serverAuth
	App     Profile = "app"     // clientAuth
	Server  Profile = "server"  // serverAuth
)

// ParseProfile reads a profile's name.
func ParseProfile(text string) (Profile, error) {
	switch p := Profile(text); p {
	case Device, Gateway, App, Server:
		return p, nil
	}
	return "", fmt.Errorf("parsing a certificate profile: %q is not one of device, gateway, app, server", text)
}

func (p Profile) purposes() []x509.ExtKeyUsage {
	switch p {
	case Gateway:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	case Server:
		return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
}

// maxAltNames bounds the DNS names and, separately, the IP addresses of one certificate.
const maxAltNames = 100

// Subject is who a certificate is about.
type Subject struct {
	TrustDomain string       // as ValidTrustDomain
	ID          string       // as ValidID; also the common name
	Profile     Profile      // one of the four
	DNSNames    []string     // gateway and server only; at most 100, no wildcards
	IPs         []netip.Addr // gateway and server only; at most 100, no zones
}

// SPIFFE returns the identity as written in the URI subject alternative name:
// spiffe://TRUST-DOMAIN/PROFILE/ID (SPIFFE X509-SVID section 2).
func (s Subject) SPIFFE() string {
	return "spiffe://" + s.TrustDomain + "/" + string(s.Profile) + "/" + s.ID
}

// Validate says what is wrong with a subject, or nil.
func (s Subject) Validate() error {
	if err := ValidTrustDomain(s.TrustDomain); err != nil {
		return err
	}
	if err := ValidID(s.ID); err != nil {
		return err
	}
	if _, err := ParseProfile(string(s.Profile)); err != nil {
		return err
	}
	if s.Profile != Server && s.Profile != Gateway && len(s.DNSNames)+len(s.IPs) > 0 {
		return fmt.Errorf("checking a subject: a certificate of profile %s carries no DNS names or addresses", s.Profile)
	}
	if len(s.DNSNames) > maxAltNames || len(s.IPs) > maxAltNames {
		return fmt.Errorf("checking a subject: more than %d DNS names or addresses", maxAltNames)
	}
	for _, name := range s.DNSNames {
		if !validDNSName(name) {
			return fmt.Errorf("checking a subject: %q is not a DNS name", name)
		}
	}
	for _, ip := range s.IPs {
		if !ip.IsValid() || ip.Zone() != "" {
			return fmt.Errorf("checking a subject: %q is not an address that a certificate can carry", ip)
		}
	}
	return nil
}

func (s Subject) uri() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: s.TrustDomain, Path: "/" + string(s.Profile) + "/" + s.ID}
}

// ValidID says whether id can be a segment of a SPIFFE path (SPIFFE-ID section 2.2): 1 to 64 bytes of
// [a-zA-Z0-9._-], and neither "." nor "..". 64 is also the longest common name (RFC 5280 ub-common-name).
func ValidID(id string) error {
	if id == "" || len(id) > 64 {
		return fmt.Errorf("checking an identifier: it has %d bytes instead of 1 to 64", len(id))
	}
	if id == "." || id == ".." {
		return fmt.Errorf("checking an identifier: %q is reserved", id)
	}
	for i := range len(id) {
		if c := id[i]; !isAlnum(c) && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("checking an identifier: %q has a character outside a-z, A-Z, 0-9, '.', '_', '-'", id)
		}
	}
	return nil
}

// ValidTrustDomain says whether td can be a SPIFFE trust domain here: a lower-case DNS name of 1 to 253 bytes. SPIFFE
// itself also allows underscores; certificates with those fail RFC 5280 section 4.2.1.6, so they are refused.
func ValidTrustDomain(td string) error {
	if !validDNSName(td) || td != strings.ToLower(td) {
		return fmt.Errorf("checking a trust domain: %q is not a lower-case DNS name", td)
	}
	return nil
}

// validDNSName follows the preferred name syntax of RFC 1034 section 3.5 as relaxed by RFC 1123.
func validDNSName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if !isAlnum(label[i]) && label[i] != '-' {
				return false
			}
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// Identity reads who a certificate is about: its one URI subject alternative name, which must be byte for byte
// spiffe://trustDomain/PROFILE/ID. It says nothing about whether the certificate is valid: verify the chain first.
// A certificate of an authority has no identity.
func Identity(cert *x509.Certificate, trustDomain string) (Profile, string, error) {
	if cert.IsCA {
		return "", "", errors.New("reading a certificate's identity: it is the certificate of an authority")
	}
	san, err := extensionValue(cert, oidSubjectAltName)
	if err != nil {
		return "", "", fmt.Errorf("reading a certificate's identity: %w", err)
	}
	uri, err := onlyURI(san)
	if err != nil {
		return "", "", fmt.Errorf("reading a certificate's identity: %w", err)
	}
	rest, ok := strings.CutPrefix(uri, "spiffe://"+trustDomain+"/")
	if !ok || trustDomain == "" {
		return "", "", fmt.Errorf("reading a certificate's identity: %q is not in the trust domain %q", uri, trustDomain)
	}
	kind, id, _ := strings.Cut(rest, "/")
	p, err := ParseProfile(kind)
	if err != nil {
		return "", "", fmt.Errorf("reading a certificate's identity: %w", err)
	}
	if err := ValidID(id); err != nil {
		return "", "", fmt.Errorf("reading a certificate's identity: %w", err)
	}
	return p, id, nil
}

// onlyURI returns the one uniformResourceIdentifier of a SubjectAltName in DER.
func onlyURI(san []byte) (string, error) {
	var names cryptobyte.String
	in := cryptobyte.String(san)
	if !in.ReadASN1(&names, cbasn1.SEQUENCE) || !in.Empty() {
		return "", errors.New("the subject alternative name is malformed")
	}
	uri, found := "", false
	for !names.Empty() {
		var name cryptobyte.String
		var tag cbasn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return "", errors.New("the subject alternative name is malformed")
		}
		if tag != cbasn1.Tag(6).ContextSpecific() {
			continue
		}
		if found {
			return "", errors.New("it has more than one URI name")
		}
		uri, found = string(name), true
	}
	if !found {
		return "", errors.New("it has no URI name")
	}
	return uri, nil
}
