package sso

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
)

const (
	acs      = "https://console.example/sign-in/saml/corp/acs"
	entity   = "https://console.example/sign-in/saml/corp/metadata"
	idpID    = "https://idp.example/metadata"
	idpLogin = "https://idp.example/sso"
)

func selfSigned(t testing.TB, key crypto.Signer, from, to time.Time) *x509.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var certs = sync.OnceValue(func() (c struct{ idp, evil, ec, ours *x509.Certificate }) {
	now, later := time.Now().Add(-time.Hour), time.Now().Add(48*time.Hour)
	t := new(testing.T)
	c.idp, c.evil = selfSigned(t, keys().rsa, now, later), selfSigned(t, keys().rsa2, now, later)
	c.ec, c.ours = selfSigned(t, keys().p256, now, later), selfSigned(t, keys().p384, now, later)
	return c
})

// idpMetadata describes a provider with these certificates.
func idpMetadata(certs ...*x509.Certificate) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `<?xml version="1.0"?><!-- a comment --><md:EntityDescriptor xmlns:md="%s" xmlns:ds="%s" entityID="%s"><md:IDPSSODescriptor protocolSupportEnumeration="%s">`, nsMetadata, nsSignature, idpID, nsProtocol)
	for _, c := range certs {
		fmt.Fprintf(&b, `<md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>%s</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>`, base64.StdEncoding.EncodeToString(c.Raw))
	}
	fmt.Fprintf(&b, `<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://idp.example/post"/>`)
	fmt.Fprintf(&b, `<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="%s?tenant=7"/></md:IDPSSODescriptor></md:EntityDescriptor>`, idpLogin)
	return []byte(b.String())
}

func samlConfig(t testing.TB) SAMLConfig {
	return SAMLConfig{
		Name: "corp", Label: "Corp", Metadata: idpMetadata(certs().idp), EntityID: entity, ACSURL: acs, Key: keys().p384, Certificate: certs().ours,
		MailAttribute: "mail", GroupsAttribute: "groups", DisplayAttribute: "cn", Seen: seenInMemory(),
	}
}

// told is what a forged response says; edits change it.
type told struct {
	response, assertion, inResponseTo, confirmTo, issuer, destination, recipient, audience string
	nameID, format, context, status, extra, conditions, subject, method                    string
	issued, before, after, confirmUntil, authn                                             time.Time
	groups                                                                                 []string
}

func defaults(request string) told {
	now := time.Now().UTC()
	return told{
		response: "_r" + token(), assertion: "_a" + token(), inResponseTo: request, confirmTo: request, issuer: idpID, destination: acs, recipient: acs, audience: entity,
		nameID: "user-1", format: "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent", context: "https://refeds.org/profile/mfa", status: statusSuccess, method: methodBearer,
		issued: now, before: now.Add(-time.Minute), after: now.Add(5 * time.Minute), confirmUntil: now.Add(5 * time.Minute), authn: now.Add(-time.Second), groups: []string{"ops", "dev"},
	}
}

func esc(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s))
	return b.String()
}

func (d told) xml() string {
	at := func(t time.Time) string { return t.Format("2006-01-02T15:04:05.000Z") }
	opt := func(format, v string) string {
		if v == "" {
			return ""
		}
		return fmt.Sprintf(format, esc(v))
	}
	until := ""
	if !d.confirmUntil.IsZero() {
		until = ` NotOnOrAfter="` + at(d.confirmUntil) + `"`
	}
	var groups strings.Builder
	for _, g := range d.groups {
		fmt.Fprintf(&groups, `<saml:AttributeValue xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">%s</saml:AttributeValue>`, esc(g))
	}
	subject := fmt.Sprintf(`<saml:NameID Format="%s">%s</saml:NameID>`, d.format, d.nameID)
	if d.subject != "" {
		subject = d.subject
	}
	return fmt.Sprintf(`<samlp:Response xmlns:samlp="%s" xmlns:saml="%s" xmlns:xs="http://www.w3.org/2001/XMLSchema" ID="%s" Version="2.0" IssueInstant="%s"%s%s><saml:Issuer>%s</saml:Issuer>`+
		`<samlp:Status><samlp:StatusCode Value="%s"/></samlp:Status>%s`+
		`<saml:Assertion ID="%s" Version="2.0" IssueInstant="%s"><saml:Issuer>%s</saml:Issuer><saml:Subject>%s`+
		`<saml:SubjectConfirmation Method="%s"><saml:SubjectConfirmationData Recipient="%s"%s%s/></saml:SubjectConfirmation></saml:Subject>`+
		`<saml:Conditions NotBefore="%s" NotOnOrAfter="%s">%s%s</saml:Conditions>`+
		`<saml:AuthnStatement AuthnInstant="%s" SessionIndex="idx-1"><saml:AuthnContext><saml:AuthnContextClassRef>%s</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>`+
		`<saml:AttributeStatement><saml:Attribute Name="mail"><saml:AttributeValue>ada@example.com</saml:AttributeValue></saml:Attribute>`+
		`<saml:Attribute Name="cn"><saml:AttributeValue>Ada L</saml:AttributeValue></saml:Attribute><saml:Attribute Name="groups">%s</saml:Attribute></saml:AttributeStatement></saml:Assertion></samlp:Response>`,
		nsProtocol, nsAssertion, d.response, at(d.issued), opt(` Destination="%s"`, d.destination), opt(` InResponseTo="%s"`, d.inResponseTo), esc(d.issuer),
		d.status, d.extra, d.assertion, at(d.issued), esc(d.issuer), subject, d.method, esc(d.recipient), opt(` InResponseTo="%s"`, d.confirmTo), until,
		at(d.before), at(d.after), opt(`<saml:AudienceRestriction><saml:Audience>%s</saml:Audience></saml:AudienceRestriction>`, d.audience), d.conditions,
		at(d.authn), esc(d.context), groups.String())
}

// signing says how a forged response is signed.
type signing struct {
	key       crypto.Signer
	cert      *x509.Certificate
	method    string
	response  bool   // sign the Response
	assertion bool   // sign the assertion
	prefixes  string // InclusiveNamespaces of the canonicalization
}

func byAssertion() signing {
	return signing{key: keys().rsa, cert: certs().idp, method: dsig.RSASHA256SignatureMethod, assertion: true}
}

func tree(t testing.TB, text string) *etree.Document {
	t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(text); err != nil {
		t.Fatal(err)
	}
	return doc
}

func write(t testing.TB, doc *etree.Document) string {
	t.Helper()
	s, err := doc.WriteToString()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// apply signs, the assertion first.
func (s signing) apply(t testing.TB, text string) string {
	t.Helper()
	doc := tree(t, text)
	if s.assertion {
		el := doc.FindElement("//Assertion")
		// Signed with the declarations that it inherits, and sent without them.
		var lent []string
		for _, a := range doc.Root().Attr {
			if a.Space == "xmlns" && el.SelectAttr(a.FullKey()) == nil {
				el.CreateAttr(a.FullKey(), a.Value)
				lent = append(lent, a.FullKey())
			}
		}
		place := el.Index()
		parent := el.Parent()
		signed := s.sign(t, el)
		for _, key := range lent {
			signed.RemoveAttr(key)
		}
		parent.RemoveChildAt(place)
		parent.InsertChildAt(place, signed)
	}
	if s.response {
		doc.SetRoot(s.sign(t, doc.Root()))
	}
	return write(t, doc)
}

func (s signing) sign(t testing.TB, el *etree.Element) *etree.Element {
	t.Helper()
	if s.prefixes != "" {
		return s.signListed(t, el)
	}
	ctx, err := dsig.NewSigningContext(s.key, [][]byte{s.cert.Raw})
	if err != nil {
		t.Fatal(err)
	}
	ctx.Canonicalizer = dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("")
	if err := ctx.SetSignatureMethod(s.method); err != nil {
		t.Fatal(err)
	}
	out, err := ctx.SignEnveloped(el)
	if err != nil {
		t.Fatal(err)
	}
	if pub, ok := s.key.Public().(*ecdsa.PublicKey); ok {
		rewriteECDSA(t, out, (pub.Curve.Params().BitSize+7)/8)
	}
	// Signatures stand after the Issuer (SAML Core section 2.3.3).
	last := len(out.Child) - 1
	sig := out.Child[last]
	out.Child = out.Child[:last:last]
	out.InsertChildAt(1, sig)
	return out
}

// signListed signs with RSA and a list of prefixes, which the library cannot.
func (s signing) signListed(t testing.TB, el *etree.Element) *etree.Element {
	t.Helper()
	data, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(s.prefixes).Canonicalize(el.Copy())
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(data)
	info := tree(t, fmt.Sprintf(`<ds:SignedInfo xmlns:ds="%s"><ds:CanonicalizationMethod Algorithm="%s"/><ds:SignatureMethod Algorithm="%s"/><ds:Reference URI="#%s"><ds:Transforms><ds:Transform Algorithm="%s"/>`+
		`<ds:Transform Algorithm="%s"><ec:InclusiveNamespaces xmlns:ec="%s" PrefixList="%s"/></ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue>%s</ds:DigestValue></ds:Reference></ds:SignedInfo>`,
		nsSignature, transformExclusive, dsig.RSASHA256SignatureMethod, attr(el, "ID"), transformEnveloped, transformExclusive, transformExclusive, s.prefixes, base64.StdEncoding.EncodeToString(digest[:]))).Root()
	text, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList("").Canonicalize(info.Copy())
	if err != nil {
		t.Fatal(err)
	}
	value, err := sign(s.key, text)
	if err != nil {
		t.Fatal(err)
	}
	sig := etree.NewElement("ds:Signature")
	sig.CreateAttr("xmlns:ds", nsSignature)
	sig.AddChild(info)
	sig.CreateElement("ds:SignatureValue").SetText("\n  " + base64.StdEncoding.EncodeToString(value) + "\n  ")
	out := el.Copy()
	out.InsertChildAt(1, sig)
	return out
}

// rewriteECDSA writes a signature the way the standard wants it, which the
// signing library does not.
func rewriteECDSA(t testing.TB, el *etree.Element, n int) {
	t.Helper()
	v := el.FindElement("./Signature/SignatureValue")
	der, err := base64.StdEncoding.DecodeString(v.Text())
	if err != nil {
		t.Fatal(err)
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &rs); err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 2*n)
	rs.R.FillBytes(out[:n])
	rs.S.FillBytes(out[n:])
	v.SetText(base64.StdEncoding.EncodeToString(out))
}

// post is the request that brings a response.
func post(response, relay string) *http.Request {
	form := url.Values{"SAMLResponse": {base64.StdEncoding.EncodeToString([]byte(response))}}
	if relay != "" {
		form.Set("RelayState", relay)
	}
	return postForm(form)
}

func postForm(form url.Values) *http.Request {
	r := httptest.NewRequest("POST", acs, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// begun is a sign-in under way.
func begun(t testing.TB, p *SAML) (kept []byte, f flow) {
	t.Helper()
	_, kept, err := p.Begin(t.Context(), "/home")
	if err != nil {
		t.Fatal(err)
	}
	f, err = readFlow(kept, "corp", "saml", p.cfg.Now())
	if err != nil {
		t.Fatal(err)
	}
	return kept, f
}

func newSAML(t testing.TB, cfg SAMLConfig) *SAML {
	t.Helper()
	p, err := NewSAML(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
