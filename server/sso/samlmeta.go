package sso

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"

	"github.com/holdfast-iot/holdfast/internal/outbound"
)

const (
	// maxMetadata bounds a metadata document, in bytes.
	maxMetadata = 4 << 20
	maxCerts    = 10
)

// idp is what we use of a provider's metadata (SAML Metadata section 2.4.3).
type idp struct {
	entityID string
	ssoURL   string // HTTP-Redirect
	certs    []*x509.Certificate
	until    time.Time // when the metadata ends; zero for never
}

// load returns the provider's metadata: the pinned document, or what the URL
// serves.
func (p *SAML) load(ctx context.Context) (idp, error) {
	body := p.cfg.Metadata
	if len(body) == 0 {
		var err error
		body, err = outbound.Fetch(ctx, p.cfg.Client, p.cfg.MetadataURL, "application/samlmetadata+xml, application/xml, text/xml", maxMetadata)
		if err != nil {
			return idp{}, unreachable("reading the provider's metadata", err)
		}
	}
	d, err := readMetadata(body, p.cfg.ProviderID, p.cfg.Pins, p.cfg.AllowHTTP)
	if err != nil {
		return idp{}, fail(CodeMisconfigured, "reading the provider's metadata: %w", err)
	}
	return d, nil
}

// readMetadata finds the provider in a metadata document: the entity named
// entityID, or the only one there is.
func readMetadata(body []byte, entityID string, pins []string, allowHTTP bool) (idp, error) {
	if len(body) > maxMetadata {
		return idp{}, fmt.Errorf("it is larger than %d bytes", maxMetadata)
	}
	root, err := parseXML(body, true)
	if err != nil {
		return idp{}, err
	}
	var found []*etree.Element
	walk(root, func(el *etree.Element) {
		if is(el, nsMetadata, "EntityDescriptor") && len(children(el, nsMetadata, "IDPSSODescriptor")) > 0 && (entityID == "" || attr(el, "entityID") == entityID) {
			found = append(found, el)
		}
	})
	if len(found) != 1 {
		return idp{}, fmt.Errorf("it describes %d identity providers that fit, not one: name one by its entity ID", len(found))
	}
	el := found[0]
	d := idp{entityID: attr(el, "entityID")}
	if !exact(d.entityID, 1024) || len(d.entityID) > maxText {
		return idp{}, fmt.Errorf("the provider's entity ID is empty or longer than %d bytes", maxText)
	}
	for _, holder := range []*etree.Element{root, el} {
		until, err := instant(holder, "validUntil")
		if err != nil {
			return idp{}, err
		}
		if d.until.IsZero() || !until.IsZero() && until.Before(d.until) {
			d.until = until
		}
	}
	for _, role := range children(el, nsMetadata, "IDPSSODescriptor") {
		if !slices.Contains(strings.Fields(attr(role, "protocolSupportEnumeration")), nsProtocol) {
			continue
		}
		if err := d.readRole(role, pins); err != nil {
			return idp{}, err
		}
	}
	if len(d.certs) == 0 {
		return idp{}, fmt.Errorf("it holds no certificate to verify signatures with, or none of those pinned")
	}
	return d, checkURL("provider's sign-in address (SingleSignOnService, HTTP-Redirect)", d.ssoURL, allowHTTP)
}

// readRole reads the address and the certificates of one role.
func (d *idp) readRole(role *etree.Element, pins []string) error {
	for _, s := range children(role, nsMetadata, "SingleSignOnService") {
		if attr(s, "Binding") == saml.HTTPRedirectBinding && d.ssoURL == "" {
			d.ssoURL = attr(s, "Location")
		}
	}
	for _, k := range children(role, nsMetadata, "KeyDescriptor") {
		if use := attr(k, "use"); use != "" && use != "signing" {
			continue
		}
		var bad error
		walk(k, func(el *etree.Element) {
			if bad != nil || !is(el, nsSignature, "X509Certificate") {
				return
			}
			bad = d.addCertificate(el, pins)
		})
		if bad != nil {
			return bad
		}
	}
	return nil
}

func (d *idp) addCertificate(el *etree.Element, pins []string) error {
	t, _ := text(el)
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(t), ""))
	if err != nil {
		return fmt.Errorf("a certificate is not base64")
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("parsing a certificate: %v", err)
	}
	sum := sha256.Sum256(der)
	if len(pins) > 0 && !slices.Contains(pins, hex.EncodeToString(sum[:])) {
		return nil
	}
	if err := checkCertificate(c); err != nil {
		return fmt.Errorf("the certificate with serial number %v is not fit: %w", c.SerialNumber, err)
	}
	if slices.ContainsFunc(d.certs, c.Equal) {
		return nil
	}
	if len(d.certs) == maxCerts {
		return fmt.Errorf("it holds more than %d certificates", maxCerts)
	}
	d.certs = append(d.certs, c)
	return nil
}

// Metadata writes our side's metadata, which the provider's administrator
// imports: entity ID, address, certificate, no artifact binding, and only the
// encryption that is taken.
func (p *SAML) Metadata() ([]byte, error) {
	yes, until := true, p.cfg.Now().Add(7*24*time.Hour).UTC().Truncate(time.Second)
	info := saml.KeyInfo{X509Data: saml.X509Data{X509Certificates: []saml.X509Certificate{{Data: base64.StdEncoding.EncodeToString(p.cfg.Certificate.Raw)}}}}
	keys := []saml.KeyDescriptor{{Use: "signing", KeyInfo: info}}
	if _, isRSA := p.cfg.Key.Public().(*rsa.PublicKey); isRSA && p.cfg.Encrypted {
		keys = append(keys, saml.KeyDescriptor{Use: "encryption", KeyInfo: info, EncryptionMethods: []saml.EncryptionMethod{
			{Algorithm: encAES256GCM}, {Algorithm: encAES128GCM}, {Algorithm: encOAEP1}, {Algorithm: encOAEP},
		}})
	}
	d := saml.EntityDescriptor{
		EntityID:   p.cfg.EntityID,
		ValidUntil: until,
		SPSSODescriptors: []saml.SPSSODescriptor{{
			SSODescriptor: saml.SSODescriptor{
				RoleDescriptor: saml.RoleDescriptor{ProtocolSupportEnumeration: nsProtocol, KeyDescriptors: keys, ValidUntil: &until},
				NameIDFormats:  []saml.NameIDFormat{saml.NameIDFormat(p.cfg.nameIDFormat())},
			},
			AuthnRequestsSigned:       &yes,
			WantAssertionsSigned:      &yes,
			AssertionConsumerServices: []saml.IndexedEndpoint{{Binding: saml.HTTPPostBinding, Location: p.cfg.ACSURL, Index: 1, IsDefault: &yes}},
		}},
	}
	out, err := xml.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing our SAML metadata: %w", err)
	}
	return append([]byte(xml.Header), append(out, '\n')...), nil
}

// SelfSign makes the certificate of a key for SAMLConfig, valid for ten years
// from now: providers take the certificate as a name for the key, and check
// nothing else of it. Random is a source of random bytes.
func SelfSign(random io.Reader, key crypto.Signer, name string, now time.Time) (*x509.Certificate, error) {
	serial, err := rand.Int(random, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a certificate for SAML: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(random, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate for SAML: %w", err)
	}
	return x509.ParseCertificate(der)
}

// ServeMetadata answers a GET request with Metadata. It is public.
func (p *SAML) ServeMetadata(w http.ResponseWriter, _ *http.Request) {
	body, err := p.Metadata()
	if err != nil {
		http.Error(w, "the metadata cannot be written", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Write(body)
}
