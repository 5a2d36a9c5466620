package sso

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/beevik/etree"
	"github.com/crewjam/saml"
	dsig "github.com/russellhaering/goxmldsig"
)

// maxResponse bounds a SAML response, in bytes of XML.
const maxResponse = 512 << 10

// SAMLConfig describes a SAML 2.0 identity provider.
type SAMLConfig struct {
	// Name is a short name of 1 to 32 of a-z, 0-9 and hyphens; it is part of the
	// address that the provider posts to and of each person's identity, so keep it.
	Name string
	// Label is what the sign-in button says, for example "Example Corp".
	Label string
	// Metadata is the provider's metadata document; its certificates are then
	// pinned until the document is replaced.
	Metadata []byte
	// MetadataURL is where to fetch the metadata instead, once an hour: the provider
	// can then change its certificates, and whoever controls that address, too.
	MetadataURL string
	// ProviderID is the provider's entity ID; needed where the metadata describes
	// several providers.
	ProviderID string
	// Pins are SHA-256 fingerprints of the provider's signing certificates, 64 hex
	// digits each; where there are any, no other certificate is taken.
	Pins []string
	// EntityID is our name at the provider; the address of our metadata by custom:
	// "https://HOST/sign-in/saml/NAME/metadata".
	EntityID string
	// ACSURL is where the provider posts its answers:
	// "https://HOST/sign-in/saml/NAME/acs".
	ACSURL string
	// Key signs our requests, and decrypts assertions if it is RSA: RSA of 2048
	// bits or more, or ECDSA on P-256 or P-384.
	Key crypto.Signer
	// Certificate is Key's certificate, which the provider takes from our
	// metadata; self-signed is usual.
	Certificate *x509.Certificate
	// Encrypted asks the provider, in our metadata, to encrypt assertions.
	Encrypted bool
	// NameIDFormat is the form of NameID to ask for; empty means persistent, or
	// unspecified where there is a SubjectAttribute.
	NameIDFormat string
	// SubjectAttribute is the attribute that identifies a person for ever; empty
	// means the subject's NameID, which then must not be transient. Give it where the
	// provider's NameID is a mail address, which may be given to another person.
	SubjectAttribute string
	// NameAttribute is the attribute with the login name; empty means the NameID.
	NameAttribute string
	// DisplayAttribute is the attribute with the person's name, for example
	// "urn:oid:2.16.840.1.113730.3.1.241"; may be empty.
	DisplayAttribute string
	// MailAttribute is the attribute with the mail address, for example
	// "urn:oid:0.9.2342.19200300.100.1.3"; may be empty.
	MailAttribute string
	// GroupsAttribute is the attribute with the groups, a value each; may be empty.
	GroupsAttribute string
	// TrustMail takes mail addresses as verified: SAML has no way to say so.
	TrustMail bool
	// Require names attributes and the exact values that one of theirs must be.
	Require map[string]string
	// MultiFactor are the authentication contexts that mean that more than one factor
	// was used; nil means those of REFEDS and of Microsoft, and MobileTwoFactorContract.
	MultiFactor []string
	// Contexts are the authentication contexts to ask for; one of them must then
	// be in the answer.
	Contexts []string
	// Fresh asks for credentials at each sign-in (ForceAuthn).
	Fresh bool
	// AllowUnsolicited takes answers that nobody asked for here: sign-ins that begin
	// on the provider's portal. Somebody can then sign a victim's browser in as
	// himself. Off by default.
	AllowUnsolicited bool
	// AllowHTTP permits addresses without TLS: in a laboratory.
	AllowHTTP bool

	// Client fetches the metadata; internal/outbound makes it. Needed for MetadataURL.
	Client *http.Client
	// Seen records used assertions. Needed.
	Seen SeenFunc
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

var strongContexts = []string{
	"https://refeds.org/profile/mfa", "http://schemas.microsoft.com/claims/multipleauthn",
	"urn:oasis:names:tc:SAML:2.0:ac:classes:MobileTwoFactorContract",
}

// SAML signs people in by the Web Browser SSO profile (SAML Profiles section
// 4.1): a signed request by redirect, a signed answer by POST.
type SAML struct {
	cfg    SAMLConfig
	method string // signature method of our requests
	meta   *cached[idp]
}

// NewSAML checks a configuration. It does not speak to the provider, which may
// be down; pinned metadata is read at once.
func NewSAML(cfg SAMLConfig) (*SAML, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.MultiFactor == nil {
		cfg.MultiFactor = strongContexts
	}
	cfg.Pins = slices.Clone(cfg.Pins)
	p := &SAML{}
	var err error
	if p.method, err = cfg.check(); err == nil {
		p.cfg = cfg
		p.meta = newCached(cfg.Now, p.load)
		if len(cfg.Metadata) > 0 {
			_, err = p.meta.get(context.Background())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("configuring the SAML provider %q: %w", cfg.Name, err)
	}
	return p, nil
}

func (c *SAMLConfig) check() (method string, err error) {
	if err := checkNames(c.Name, c.Label); err != nil {
		return "", err
	}
	if err := checkURL("address for answers", c.ACSURL, c.AllowHTTP); err != nil {
		return "", err
	}
	for i, pin := range c.Pins {
		pin = strings.ToLower(strings.ReplaceAll(pin, ":", ""))
		if b, err := hex.DecodeString(pin); err != nil || len(b) != 32 {
			return "", fmt.Errorf("the pin %q is not 64 hex digits", clean(c.Pins[i]))
		}
		c.Pins[i] = pin
	}
	switch {
	case (len(c.Metadata) > 0) == (c.MetadataURL != ""):
		return "", errors.New("there is not exactly one of metadata and its URL")
	case c.MetadataURL != "" && c.Client == nil:
		return "", errors.New("there is no HTTP client to fetch the metadata with")
	case !exact(c.EntityID, maxText):
		return "", errors.New("our entity ID is empty or too long")
	case c.Seen == nil:
		return "", errors.New("there is no record of used assertions")
	case c.Key == nil || c.Certificate == nil:
		return "", errors.New("there is no key or no certificate of ours")
	}
	if c.MetadataURL != "" {
		if err := checkURL("metadata URL", c.MetadataURL, c.AllowHTTP); err != nil {
			return "", err
		}
	}
	return signMethod(c.Key.Public(), c.Certificate)
}

// signMethod names the signature method for our key (RFC 6931).
func signMethod(pub crypto.PublicKey, cert *x509.Certificate) (string, error) {
	if _, err := algorithmOf(pub); err != nil {
		return "", err
	}
	if k, ok := pub.(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(cert.PublicKey) {
		return "", errors.New("our certificate does not belong to our key")
	}
	switch k := pub.(type) {
	case ed25519.PublicKey:
		return "", errors.New("our key is Ed25519, which SAML providers do not take: use RSA or ECDSA")
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P384() {
			return dsig.ECDSASHA384SignatureMethod, nil
		}
		return dsig.ECDSASHA256SignatureMethod, nil
	}
	return dsig.RSASHA256SignatureMethod, nil
}

// Name is Provider's.
func (p *SAML) Name() string { return p.cfg.Name }

// Label is Provider's.
func (p *SAML) Label() string { return p.cfg.Label }

// provider returns the provider's metadata, if it has not ended.
func (p *SAML) provider(ctx context.Context) (idp, error) {
	d, err := p.meta.get(ctx)
	if err == nil && !d.until.IsZero() && !p.cfg.Now().Before(d.until) {
		if d, err = p.meta.newer(ctx); err == nil && !p.cfg.Now().Before(d.until) {
			return idp{}, fail(CodeMisconfigured, "the provider's metadata ended at %s: fetch it again", d.until.UTC().Format(time.RFC3339))
		}
	}
	return d, err
}

// Begin is Provider's. The redirect is a signed AuthnRequest (SAML Core section
// 3.4.1, Bindings section 3.4).
func (p *SAML) Begin(ctx context.Context, returnTo string) (string, []byte, error) {
	d, err := p.provider(ctx)
	if err != nil {
		return "", nil, during("beginning to sign in", p.cfg.Name, err)
	}
	f := flow{
		Provider: p.cfg.Name, Kind: "saml", Peer: d.entityID, State: token(), Request: "id-" + token(),
		ReturnTo: safeReturn(returnTo), Begun: p.cfg.Now(),
	}
	redirect, err := p.request(d, f)
	if err != nil {
		return "", nil, during("beginning to sign in", p.cfg.Name, fail(CodeMisconfigured, "writing the request: %w", err))
	}
	data, err := f.marshal()
	if err != nil {
		return "", nil, during("beginning to sign in", p.cfg.Name, fail(CodeFlow, "writing the state of the sign-in: %w", err))
	}
	return redirect, data, nil
}

// request writes the AuthnRequest into the provider's address, deflated, and signs
// exactly the parameters of Bindings section 3.4.4.1. The library would sign
// whatever query the address already has, too, and leaves RelayState unescaped.
func (p *SAML) request(d idp, f flow) (string, error) {
	create, format := true, p.cfg.nameIDFormat()
	req := saml.AuthnRequest{
		ID: f.Request, Version: "2.0", IssueInstant: f.Begun.UTC(), Destination: d.ssoURL,
		AssertionConsumerServiceURL: p.cfg.ACSURL, ProtocolBinding: saml.HTTPPostBinding,
		Issuer:       &saml.Issuer{Format: formatEntity, Value: p.cfg.EntityID},
		NameIDPolicy: &saml.NameIDPolicy{AllowCreate: &create, Format: &format},
	}
	if p.cfg.Fresh {
		req.ForceAuthn = &create
	}
	doc := etree.NewDocument()
	doc.SetRoot(req.Element())
	if len(p.cfg.Contexts) > 0 {
		rac := doc.Root().CreateElement("samlp:RequestedAuthnContext")
		rac.CreateAttr("Comparison", "exact")
		for _, c := range p.cfg.Contexts {
			ref := rac.CreateElement("saml:AuthnContextClassRef")
			ref.CreateAttr("xmlns:saml", nsAssertion)
			ref.SetText(c)
		}
	}
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := doc.WriteTo(w); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	signed := "SAMLRequest=" + url.QueryEscape(base64.StdEncoding.EncodeToString(deflated.Bytes())) +
		"&RelayState=" + url.QueryEscape(f.State) + "&SigAlg=" + url.QueryEscape(p.method)
	sig, err := sign(p.cfg.Key, []byte(signed))
	if err != nil {
		return "", err
	}
	u, err := url.Parse(d.ssoURL)
	if err != nil {
		return "", err
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += signed + "&Signature=" + url.QueryEscape(base64.StdEncoding.EncodeToString(sig))
	return u.String(), nil
}

// nameIDFormat is the form of NameID that we ask for.
func (c *SAMLConfig) nameIDFormat() string {
	switch {
	case c.NameIDFormat != "":
		return c.NameIDFormat
	case c.SubjectAttribute != "":
		return string(saml.UnspecifiedNameIDFormat)
	}
	return string(saml.PersistentNameIDFormat)
}

// Finish is Provider's, for the POST request to ACSURL. With AllowUnsolicited, an
// empty flow means that the provider began.
func (p *SAML) Finish(ctx context.Context, kept []byte, r *http.Request) (External, error) {
	e, err := p.finish(ctx, kept, r)
	if err != nil {
		return External{}, during("signing in", p.cfg.Name, err)
	}
	return e, nil
}

func (p *SAML) finish(ctx context.Context, kept []byte, r *http.Request) (External, error) {
	now := p.cfg.Now()
	f := flow{ReturnTo: "/"}
	solicited := len(kept) > 0 || !p.cfg.AllowUnsolicited
	if solicited {
		var err error
		if f, err = readFlow(kept, p.cfg.Name, "saml", now); err != nil {
			return External{}, err
		}
	}
	d, err := p.provider(ctx)
	if err != nil {
		return External{}, err
	}
	if solicited && f.Peer != d.entityID {
		return External{}, fail(CodeFlow, "the sign-in was begun with the provider %q, which is no longer configured", f.Peer)
	}
	raw, relay, err := readPost(r)
	if err != nil {
		return External{}, err
	}
	if solicited && !same(relay, f.State) {
		return External{}, fail(CodeFlow, "the relay state is not that of the sign-in under way")
	}
	a, err := p.read(ctx, raw, f.Request, d, now)
	if err != nil {
		return External{}, err
	}
	if solicited && p.cfg.Fresh && a.authTime.Before(f.Begun.Add(-skew)) {
		return External{}, fail(CodeProfile, "the provider did not ask the person for credentials, as it was told to")
	}
	first, err := p.cfg.Seen(ctx, once("assertion", p.cfg.Name, a.id), a.until)
	if err != nil {
		return External{}, fail(CodeUnavailable, "recording the assertion: %w", err)
	}
	if !first {
		return External{}, fail(CodeReplay, "the assertion %q was used before", clean(a.id))
	}
	e, err := p.external(a)
	e.ReturnTo = f.ReturnTo
	return e, err
}

// read checks a response with the provider's certificates; where they do not
// verify it, they may have changed since the metadata was read.
func (p *SAML) read(ctx context.Context, raw []byte, request string, d idp, now time.Time) (assertion, error) {
	want := expected{
		issuer: d.entityID, audience: p.cfg.EntityID, acs: p.cfg.ACSURL, request: request, certs: d.certs, now: now,
		decrypt: func(el *etree.Element) (*etree.Element, error) { return decryptAssertion(el, p.cfg.Key) },
	}
	a, err := readResponse(raw, want)
	if err != nil && p.cfg.MetadataURL != "" {
		fresh, ferr := p.meta.newer(ctx)
		if ferr == nil && fresh.entityID == d.entityID && !slices.EqualFunc(fresh.certs, d.certs, (*x509.Certificate).Equal) {
			want.certs = fresh.certs
			a, err = readResponse(raw, want)
		}
	}
	var status errStatus
	if errors.As(err, &status) {
		return a, fail(CodeDenied, "%w", err)
	}
	if err != nil {
		return a, fail(CodeAnswer, "%w", err)
	}
	return a, nil
}

// readPost reads the form that the browser brings (SAML Bindings section 3.5.4).
func readPost(r *http.Request) (response []byte, relay string, err error) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodPost || media != "application/x-www-form-urlencoded" {
		return nil, "", fail(CodeAnswer, "the browser did not come back with a form by POST")
	}
	r.Body = http.MaxBytesReader(nil, r.Body, 2*maxResponse)
	if err := r.ParseForm(); err != nil {
		return nil, "", fail(CodeAnswer, "reading the form: %v", err)
	}
	if len(r.PostForm["SAMLResponse"]) != 1 || len(r.PostForm["RelayState"]) > 1 {
		return nil, "", fail(CodeAnswer, "the form does not hold exactly one response")
	}
	response, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(r.PostForm.Get("SAMLResponse")), ""))
	if err != nil || len(response) > maxResponse {
		return nil, "", fail(CodeAnswer, "the response is not base64 of at most %d bytes", maxResponse)
	}
	return response, r.PostForm.Get("RelayState"), nil
}

// external reads a checked assertion as the configuration says.
func (p *SAML) external(a assertion) (External, error) {
	one := func(name string) string {
		if v := a.attributes[name]; name != "" && len(v) == 1 {
			return v[0]
		}
		return ""
	}
	for name, value := range p.cfg.Require {
		if !slices.Contains(a.attributes[name], value) {
			return External{}, fail(CodeProfile, "the attribute %q is not %q, as the configuration requires", name, value)
		}
	}
	if len(p.cfg.Contexts) > 0 && !slices.Contains(p.cfg.Contexts, a.context) {
		return External{}, fail(CodeProfile, "the person signed in with the context %q, none of those asked for", clean(a.context))
	}
	e := External{
		Provider: p.cfg.Name, Subject: a.nameID, Name: a.nameID, Display: one(p.cfg.DisplayAttribute), Mail: one(p.cfg.MailAttribute),
		MailVerified: p.cfg.TrustMail, AuthTime: a.authTime, Factors: slices.Contains(p.cfg.MultiFactor, a.context), SessionRef: a.session,
	}
	switch {
	case p.cfg.SubjectAttribute != "":
		e.Subject = one(p.cfg.SubjectAttribute)
	case a.format == formatTransient:
		return External{}, fail(CodeMisconfigured, "the provider names people by a new identifier each time (transient): let it send a persistent one, or configure the attribute that identifies a person")
	}
	if p.cfg.NameAttribute != "" {
		e.Name = one(p.cfg.NameAttribute)
	}
	if p.cfg.GroupsAttribute != "" {
		e.Groups = a.attributes[p.cfg.GroupsAttribute]
	}
	return settle(e)
}
