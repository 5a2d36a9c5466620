package sso

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"

	"github.com/holdfast-iot/holdfast/refusal"
)

// evil turns a signed element into the attacker's: another ID, another person.
func evil(el *etree.Element) *etree.Element {
	e := el.Copy()
	walk(e, func(c *etree.Element) {
		if a := c.SelectAttr("ID"); a != nil {
			a.Value = "_evil-" + c.Tag
		}
	})
	if n := e.FindElement(".//NameID"); n != nil {
		n.SetText("admin")
	}
	return e
}

// unsigned removes an element's own signature and returns it.
func unsigned(el *etree.Element) *etree.Element {
	sig := el.FindElement("./Signature")
	el.RemoveChild(sig)
	return sig
}

// wrappings are the eight forms of signature wrapping on SAML responses, as the
// paper "On Breaking SAML: Be Whoever You Want to Be" (USENIX Security 2012)
// numbers them: the first two move a signed Response, the others a signed
// assertion.
var wrappings = []struct {
	name     string
	response bool
	wrap     func(doc *etree.Document)
}{
	{"XSW1: the Response inside the signature of a forged one", true, func(doc *etree.Document) {
		good := doc.Root().Copy()
		unsigned(good)
		forged := evil(doc.Root())
		forged.FindElement("./Signature").AddChild(good)
		doc.SetRoot(forged)
	}},
	{"XSW2: the Response beside the signature in a forged one", true, func(doc *etree.Document) {
		good := doc.Root().Copy()
		unsigned(good)
		forged := evil(doc.Root())
		forged.InsertChildAt(forged.FindElement("./Signature").Index(), good)
		doc.SetRoot(forged)
	}},
	{"XSW3: a forged assertion before the signed one", false, func(doc *etree.Document) {
		good := doc.FindElement("//Assertion")
		forged := evil(good)
		unsigned(forged)
		doc.Root().InsertChildAt(good.Index(), forged)
	}},
	{"XSW4: the signed assertion inside a forged one", false, func(doc *etree.Document) {
		good := doc.FindElement("//Assertion")
		forged := evil(good)
		unsigned(forged)
		doc.Root().RemoveChild(good)
		forged.AddChild(good)
		doc.Root().AddChild(forged)
	}},
	{"XSW5: a forged assertion with the signature, the good one after it", false, func(doc *etree.Document) {
		el := doc.FindElement("//Assertion")
		good := el.Copy()
		unsigned(good)
		forged := evil(el)
		doc.Root().RemoveChild(el)
		doc.Root().AddChild(forged)
		doc.Root().AddChild(good)
	}},
	{"XSW6: the good assertion inside the signature of a forged one", false, func(doc *etree.Document) {
		el := doc.FindElement("//Assertion")
		good := el.Copy()
		unsigned(good)
		forged := evil(el)
		forged.FindElement("./Signature").AddChild(good)
		doc.Root().RemoveChild(el)
		doc.Root().AddChild(forged)
	}},
	{"XSW7: a forged assertion in Extensions", false, func(doc *etree.Document) {
		good := doc.FindElement("//Assertion")
		ext := etree.NewElement("samlp:Extensions")
		forged := evil(good)
		unsigned(forged)
		ext.AddChild(forged)
		doc.Root().InsertChildAt(good.Index(), ext)
	}},
	{"XSW8: the good assertion in an Object of the signature", false, func(doc *etree.Document) {
		el := doc.FindElement("//Assertion")
		good := el.Copy()
		unsigned(good)
		forged := evil(el)
		forged.FindElement("./Signature").CreateElement("ds:Object").AddChild(good)
		doc.Root().RemoveChild(el)
		doc.Root().AddChild(forged)
	}},
	{"a forged assertion after the signed one", false, func(doc *etree.Document) {
		forged := evil(doc.FindElement("//Assertion"))
		unsigned(forged)
		doc.Root().AddChild(forged)
	}},
	{"a forged assertion in another namespace", false, func(doc *etree.Document) {
		forged := evil(doc.FindElement("//Assertion"))
		unsigned(forged)
		forged.CreateAttr("xmlns:saml", "urn:x")
		doc.Root().InsertChildAt(0, forged)
	}},
	{"the signature of the assertion on the Response", false, func(doc *etree.Document) {
		el := doc.FindElement("//Assertion")
		sig := unsigned(el)
		doc.Root().InsertChildAt(1, sig)
	}},
	{"the same ID twice", false, func(doc *etree.Document) {
		el := doc.FindElement("//Assertion")
		forged := evil(el)
		forged.CreateAttr("ID", el.SelectAttrValue("ID", ""))
		doc.Root().InsertChildAt(0, forged)
	}},
	{"a signature of the root that names the assertion", false, func(doc *etree.Document) {
		el := doc.FindElement("//Assertion")
		doc.Root().InsertChildAt(1, el.FindElement("./Signature").Copy())
	}},
}

func TestSignatureWrapping(t *testing.T) {
	for _, c := range wrappings {
		for _, both := range []bool{false, true} {
			p := newSAML(t, samlConfig(t))
			kept, f := begun(t, p)
			s := byAssertion()
			s.response = c.response || both
			s.assertion = !c.response || both
			doc := tree(t, s.apply(t, defaults(f.Request).xml()))
			c.wrap(doc)
			e, err := p.Finish(t.Context(), kept, post(write(t, doc), f.State))
			if !refusal.Is(err, CodeAnswer) || e.Subject != "" {
				t.Errorf("%s: %+v %v", c.name, e, err)
			}
		}
	}
}

// TestTampering changes a signed document in every way that is not wrapping.
func TestTampering(t *testing.T) {
	attacker := byAssertion()
	attacker.key, attacker.cert = keys().rsa2, certs().evil
	claimed := attacker
	claimed.cert = certs().idp // the provider's certificate beside the attacker's signature
	none := byAssertion()
	none.assertion = false
	sha1Signed := byAssertion()
	sha1Signed.method = dsig.RSASHA1SignatureMethod
	in := func(old, new string) func(string) string {
		return func(s string) string { return strings.Replace(s, old, new, 1) }
	}
	for _, c := range []struct {
		name, why string
		sign      signing
		change    func(string) string
	}{
		{"unsigned", "neither", none, nil},
		{"another key", "no certificate", attacker, nil},
		{"another key under the provider's certificate", "no certificate", claimed, nil},
		{"SHA-1", "signature method", sha1Signed, nil},
		{"another person", "no certificate", byAssertion(), in(">user-1<", ">admin<")},
		{"another group", "no certificate", byAssertion(), in(">ops<", ">admins<")},
		{"a comment in the name", "a comment", byAssertion(), in(">user-1<", ">user<!-- -->-1<")},
		{"a comment anywhere", "a comment", byAssertion(), in("<samlp:Status>", "<!-- x --><samlp:Status>")},
		{"a processing instruction", "processing instruction", byAssertion(), in("<samlp:Status>", "<?x y?><samlp:Status>")},
		{"a type", "declares a type", byAssertion(), func(s string) string { return `<!DOCTYPE x>` + s }},
		{"an external entity", "declares a type", byAssertion(), func(s string) string {
			return `<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>` + strings.Replace(s, ">user-1<", ">&a;<", 1)
		}},
		{"a billion laughs", "declares a type", byAssertion(), func(s string) string {
			return `<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>` + strings.Replace(s, ">user-1<", ">&c;<", 1)
		}},
		{"an unknown entity", "not XML", byAssertion(), in(">user-1<", ">&nbsp;<")},
		{"an attribute twice", "attribute twice", byAssertion(), in("<samlp:Response ", `<samlp:Response ID="_other" `)},
		{"two roots", "roots", byAssertion(), func(s string) string { return s + "<a/>" }},
		{"text after the end", "outside", byAssertion(), func(s string) string { return s + "x" }},
		{"an undeclared prefix", "prefix", byAssertion(), in("<samlp:Status>", "<x:y/><samlp:Status>")},
		{"a name that starts with a colon", "colon", byAssertion(), in("<samlp:Status>", "<:y/><samlp:Status>")},
		{"a name that ends with a colon", "colon", byAssertion(), in("<samlp:Status>", "<samlp:/><samlp:Status>")},
		{"an attribute that starts with a colon", "colon", byAssertion(), in("<samlp:Status>", `<samlp:Status :ID="x">`)},
		{"a name with two colons", "not XML", byAssertion(), in("<samlp:Status>", "<a:b:c/><samlp:Status>")},
		{"all attributes", "too many", byAssertion(), in("<samlp:Status>", strings.Repeat(`<a b="" c="" d="" e=""/>`, maxElements-100)+"<samlp:Status>")},
		{"another character set", "not XML", byAssertion(), func(s string) string { return `<?xml version="1.0" encoding="UTF-7"?>` + s }},
		{"depth", "too deep", byAssertion(), in("<samlp:Status>", strings.Repeat("<samlp:a>", 50)+strings.Repeat("</samlp:a>", 50)+"<samlp:Status>")},
		{"elements", "too many", byAssertion(), in("<samlp:Status>", strings.Repeat("<samlp:a/>", maxElements)+"<samlp:Status>")},
		{"attributes", "too many attributes", byAssertion(), in("<samlp:Status>", "<samlp:Status"+manyAttributes()+">")},
		{"HMAC", "signature method", byAssertion(), in(dsig.RSASHA256SignatureMethod, "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")},
		{"digest SHA-1", "digest method", byAssertion(), in(`DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"`, `DigestMethod Algorithm="http://www.w3.org/2000/09/xmldsig#sha1"`)},
		{"an XSLT transform", "transforms", byAssertion(), in(`Transform Algorithm="`+transformExclusive, `Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116`)},
		{"a third transform", "transforms", byAssertion(), in(`</ds:Transforms>`, `<ds:Transform Algorithm="`+transformExclusive+`"/></ds:Transforms>`)},
		{"with comments", "canonicalization", byAssertion(), in(`CanonicalizationMethod Algorithm="`+transformExclusive, `CanonicalizationMethod Algorithm="`+transformExclusive+`WithComments`)},
		{"the whole document", "not of the element", byAssertion(), func(s string) string { return replaceURI(s, "") }},
		{"another element", "not of the element", byAssertion(), func(s string) string { return replaceURI(s, "#_other") }},
		{"another document", "not of the element", byAssertion(), func(s string) string { return replaceURI(s, "https://evil.example/") }},
		{"a second reference", "exactly one reference", byAssertion(), in("</ds:SignedInfo>", `<ds:Reference URI="#x"/></ds:SignedInfo>`)},
		{"a second SignedInfo", "2 elements SignedInfo", byAssertion(), in("<ds:SignedInfo>", "<ds:SignedInfo/><ds:SignedInfo>")},
		{"an Object", "Object", byAssertion(), in("</ds:Signature>", "<ds:Object/></ds:Signature>")},
		{"no value", "no certificate", byAssertion(), func(s string) string {
			i, j := strings.Index(s, "<ds:SignatureValue>"), strings.Index(s, "</ds:SignatureValue>")
			return s[:i] + "<ds:SignatureValue>" + s[j:]
		}},
		{"a value that is no base64", "base64", byAssertion(), in("<ds:SignatureValue>", "<ds:SignatureValue>*")},
		{"an ECDSA signature that is RSA", "wrong length", byAssertion(), in(dsig.RSASHA256SignatureMethod, dsig.ECDSASHA256SignatureMethod)},
		{"two statuses", "2 elements Status", byAssertion(), in("<samlp:Status>", "<samlp:Status/><samlp:Status>")},
		{"not a Response", "not a SAML", byAssertion(), func(s string) string { return strings.ReplaceAll(s, "samlp:Response", "samlp:LogoutResponse") }},
		{"SAML 1", "not a SAML", byAssertion(), in(`Version="2.0"`, `Version="1.1"`)},
		{"no assertion", "0 assertions", none, func(s string) string {
			i, j := strings.Index(s, "<saml:Assertion"), strings.Index(s, "</samlp:Response>")
			return s[:i] + s[j:]
		}},
		{"nothing", "no root", none, func(string) string { return "" }},
		{"another provider in the Response", "is from", byAssertion(), in(">"+idpID+"<", ">https://evil.example<")},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newSAML(t, samlConfig(t))
			kept, f := begun(t, p)
			text := c.sign.apply(t, defaults(f.Request).xml())
			if c.change != nil {
				before := text
				if text = c.change(text); text == before {
					t.Fatal("nothing was changed")
				}
			}
			e, err := p.Finish(t.Context(), kept, post(text, f.State))
			if !refusal.Is(err, CodeAnswer) || e.Subject != "" || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%+v %v, not %q", e, err, c.why)
			}
		})
	}
}

func manyAttributes() string {
	var b strings.Builder
	for i := range maxAttributes + 1 {
		fmt.Fprintf(&b, ` a%d="x"`, i)
	}
	return b.String()
}

func replaceURI(s, uri string) string {
	i := strings.Index(s, `URI="`) + 5
	return s[:i] + uri + s[i+strings.Index(s[i:], `"`):]
}

// TestBadSignatureIsNotIgnored has a good signature of the assertion inside a
// Response whose own signature is bad.
func TestBadSignatureIsNotIgnored(t *testing.T) {
	p := newSAML(t, samlConfig(t))
	kept, f := begun(t, p)
	s := byAssertion()
	s.response = true
	text := s.apply(t, defaults(f.Request).xml())
	bad := strings.Replace(text, "<samlp:Status>", `<samlp:Status x="y">`, 1)
	if _, err := p.Finish(t.Context(), kept, post(bad, f.State)); !refusal.Is(err, CodeAnswer) || !strings.Contains(err.Error(), "signature of the Response") {
		t.Errorf("%v", err)
	}
	if _, err := p.Finish(t.Context(), kept, post(text, f.State)); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// TestKeyInfoIsIgnored has a good signature beside every kind of hint at the
// key: none is read.
func TestKeyInfoIsIgnored(t *testing.T) {
	for _, info := range []string{
		"", "<ds:KeyInfo><ds:KeyName>corp</ds:KeyName></ds:KeyInfo>", "<ds:KeyInfo/>",
		"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>" + base64.StdEncoding.EncodeToString(certs().evil.Raw) + "</ds:X509Certificate></ds:X509Data></ds:KeyInfo>",
		"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>*</ds:X509Certificate></ds:X509Data></ds:KeyInfo>",
	} {
		p := newSAML(t, samlConfig(t))
		kept, f := begun(t, p)
		text := byAssertion().apply(t, defaults(f.Request).xml())
		i, j := strings.Index(text, "<ds:KeyInfo>"), strings.Index(text, "</ds:KeyInfo>")+len("</ds:KeyInfo>")
		if e, err := p.Finish(t.Context(), kept, post(text[:i]+info+text[j:], f.State)); err != nil || e.Subject != "user-1" {
			t.Errorf("%s: %v", info, err)
		}
	}
}

func TestExpiredCertificate(t *testing.T) {
	cfg := samlConfig(t)
	old := selfSigned(t, keys().rsa, time.Now().Add(-time.Hour), time.Now().Add(-time.Minute))
	cfg.Metadata = idpMetadata(old)
	p := newSAML(t, cfg)
	kept, f := begun(t, p)
	if _, err := p.Finish(t.Context(), kept, post(byAssertion().apply(t, defaults(f.Request).xml()), f.State)); !refusal.Is(err, CodeAnswer) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("%v", err)
	}
}

// sealed encrypts an assertion as providers do (XML Encryption 1.1).
type sealed struct {
	content, transport, digest, mgf string
	hash, mgfHash                   crypto.Hash
	size                            int
}

var gcm = sealed{encAES256GCM, encOAEP, nsEncrypt + "sha256", nsEncrypt11 + "mgf1sha256", crypto.SHA256, crypto.SHA256, 32}

func (s sealed) seal(t testing.TB, pub *rsa.PublicKey, plain []byte) string {
	t.Helper()
	key := make([]byte, s.size)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	nonce := make([]byte, 12)
	rand.Read(nonce)
	data := aead.Seal(nonce, nonce, plain, nil)
	wrapped, err := rsa.EncryptOAEPWithOptions(rand.Reader, pub, key, &rsa.OAEPOptions{Hash: s.hash, MGFHash: s.mgfHash})
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	inner := ""
	if s.digest != "" {
		inner += `<ds:DigestMethod Algorithm="` + s.digest + `"/>`
	}
	if s.mgf != "" {
		inner += `<xenc11:MGF Algorithm="` + s.mgf + `"/>`
	}
	return fmt.Sprintf(`<saml:EncryptedAssertion xmlns:saml="%s"><xenc:EncryptedData xmlns:xenc="%s" xmlns:xenc11="%s" xmlns:ds="%s" Type="http://www.w3.org/2001/04/xmlenc#Element"><xenc:EncryptionMethod Algorithm="%s"/>`+
		`<ds:KeyInfo><xenc:EncryptedKey><xenc:EncryptionMethod Algorithm="%s">%s</xenc:EncryptionMethod><xenc:CipherData><xenc:CipherValue>%s</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo>`+
		`<xenc:CipherData><xenc:CipherValue>%s</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData></saml:EncryptedAssertion>`,
		nsAssertion, nsEncrypt, nsEncrypt11, nsSignature, s.content, s.transport, inner, b64(wrapped), b64(data))
}

// encrypted replaces the assertion of a response.
func (s sealed) encrypted(t testing.TB, pub *rsa.PublicKey, text string) string {
	t.Helper()
	i, j := strings.Index(text, "<saml:Assertion"), strings.Index(text, "</samlp:Response>")
	return text[:i] + s.seal(t, pub, []byte(bare(text[i:j]))) + text[j:]
}

// receiver is a SAML side with an RSA key, which can decrypt.
func receiver(t testing.TB) *SAML {
	cfg := samlConfig(t)
	cfg.Key, cfg.Certificate, cfg.Encrypted = keys().rsa2, certs().evil, true
	return newSAML(t, cfg)
}

func TestEncryptedAssertions(t *testing.T) {
	ours := &keys().rsa2.PublicKey
	for name, s := range map[string]sealed{
		"as new":  gcm,
		"as old":  {encAES128GCM, encOAEP1, "", "", crypto.SHA1, crypto.SHA1, 16},
		"between": {encAES128GCM, encOAEP1, nsEncrypt + "sha256", "", crypto.SHA256, crypto.SHA1, 16},
		"mixed":   {encAES256GCM, encOAEP, nsSignature + "sha1", "", crypto.SHA1, crypto.SHA1, 32},
	} {
		p := receiver(t)
		kept, f := begun(t, p)
		text := s.encrypted(t, ours, byAssertion().apply(t, defaults(f.Request).xml()))
		if e, err := p.Finish(t.Context(), kept, post(text, f.State)); err != nil || e.Subject != "user-1" {
			t.Errorf("%s, signed inside: %v", name, err)
		}
		// Encrypted and then signed: the signature covers what was encrypted.
		kept, f = begun(t, p)
		whole := byAssertion()
		whole.assertion, whole.response = false, true
		text = whole.apply(t, s.encrypted(t, ours, defaults(f.Request).xml()))
		if e, err := p.Finish(t.Context(), kept, post(text, f.State)); err != nil || e.Subject != "user-1" {
			t.Errorf("%s, signed outside: %v", name, err)
		}
	}
}

// bare declares in an assertion the prefixes that it inherits in its Response.
func bare(text string) string {
	return strings.Replace(text, "<saml:Assertion ", `<saml:Assertion xmlns:saml="`+nsAssertion+`" xmlns:xs="http://www.w3.org/2001/XMLSchema" `, 1)
}

func TestEncryptedGarbage(t *testing.T) {
	ours := &keys().rsa2.PublicKey
	p := receiver(t)
	kept, f := begun(t, p)
	d := defaults(f.Request)
	good := byAssertion().apply(t, d.xml())
	none := d.xml()
	two := strings.Replace(good, "</saml:Assertion>", `<saml:Assertion xmlns:saml="`+nsAssertion+`"/></saml:Assertion>`, 1)
	in := func(s, old, new string) string { return strings.Replace(s, old, new, 1) }
	enc := gcm.encrypted(t, ours, good)
	i := strings.LastIndex(enc, "<xenc:CipherValue>") + len("<xenc:CipherValue>")
	j := strings.LastIndex(enc, "</xenc:CipherValue>")
	cut := func(v string) string { return enc[:i] + v + enc[j:] }
	for name, text := range map[string]string{
		"unsigned inside":        gcm.encrypted(t, ours, none),
		"for another key":        gcm.encrypted(t, &keys().rsa.PublicKey, good),
		"CBC":                    in(enc, encAES256GCM, nsEncrypt+"aes256-cbc"),
		"PKCS #1 1.5":            in(enc, encOAEP, nsEncrypt+"rsa-1_5"),
		"another size":           in(enc, encAES256GCM, encAES128GCM),
		"an unknown hash":        in(enc, nsEncrypt+"sha256", "urn:x"),
		"empty":                  cut(""),
		"shorter than a nonce":   cut("AAAA"),
		"a nonce alone":          cut(base64.StdEncoding.EncodeToString(make([]byte, 12))),
		"changed":                cut("AAAA" + enc[i+4:j]),
		"not base64":             cut("*"),
		"an element in it":       cut("<x/>"),
		"no data":                in(in(enc, "<xenc:EncryptedData ", "<xenc:Other "), "</xenc:EncryptedData>", "</xenc:Other>"),
		"no key":                 in(in(enc, "<xenc:EncryptedKey>", "<xenc:Other>"), "</xenc:EncryptedKey>", "</xenc:Other>"),
		"two assertions inside":  gcm.encrypted(t, ours, two),
		"a comment inside":       gcm.encrypted(t, ours, in(good, ">user-1<", ">user<!---->-1<")),
		"a type inside":          good[:strings.Index(good, "<saml:Assertion")] + gcm.seal(t, ours, []byte("<!DOCTYPE x>"+bare(none[strings.Index(none, "<saml:Assertion"):strings.Index(none, "</samlp:Response>")]))) + "</samlp:Response>",
		"no XML inside":          good[:strings.Index(good, "<saml:Assertion")] + gcm.seal(t, ours, []byte("hello")) + "</samlp:Response>",
		"a Response inside":      good[:strings.Index(good, "<saml:Assertion")] + gcm.seal(t, ours, []byte(good)) + "</samlp:Response>",
		"plain beside encrypted": in(good, "</samlp:Response>", gcm.seal(t, ours, []byte("<x/>"))+"</samlp:Response>"),
	} {
		e, err := p.Finish(t.Context(), kept, post(text, f.State))
		if !refusal.Is(err, CodeAnswer) || e.Subject != "" {
			t.Errorf("%s: %+v %v", name, e, err)
		}
	}
	whole := byAssertion()
	whole.assertion, whole.response = false, true
	nested := strings.Replace(d.xml(), "</saml:Assertion>", `<saml:Assertion/></saml:Assertion>`, 1)
	if _, err := p.Finish(t.Context(), kept, post(whole.apply(t, gcm.encrypted(t, ours, nested)), f.State)); !refusal.Is(err, CodeAnswer) {
		t.Errorf("an assertion in an assertion: %v", err)
	}
	// A side whose key cannot decrypt says the same.
	q := newSAML(t, samlConfig(t))
	kept, f = begun(t, q)
	if _, err := q.Finish(t.Context(), kept, post(gcm.encrypted(t, ours, byAssertion().apply(t, defaults(f.Request).xml())), f.State)); !refusal.Is(err, CodeAnswer) {
		t.Errorf("an ECDSA key: %v", err)
	}
}

// fuzzKey is the same in each of the processes that fuzzing starts.
func fuzzKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// FuzzResponse looks for a document that is taken though nobody signed it, and
// for one that makes the reader panic. Signed documents are the seeds, so that
// their mutations come close.
func FuzzResponse(f *testing.F) {
	now := time.Now()
	d := defaults("id-1")
	one := signing{key: fuzzKey(f), method: dsig.ECDSASHA256SignatureMethod, assertion: true}
	one.cert = selfSigned(f, one.key, now.Add(-time.Hour), now.Add(time.Hour))
	whole := one
	whole.assertion, whole.response = false, true
	want := expected{issuer: idpID, audience: entity, acs: acs, request: "id-1", now: now, certs: []*x509.Certificate{one.cert},
		decrypt: func(el *etree.Element) (*etree.Element, error) { return decryptAssertion(el, keys().rsa2) }}
	for _, s := range []signing{one, whole} {
		text := s.apply(f, d.xml())
		if _, err := readResponse([]byte(text), want); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(text))
	}
	f.Add([]byte(gcm.encrypted(f, &keys().rsa2.PublicKey, one.apply(f, d.xml()))))
	for _, w := range wrappings {
		s := one
		s.response, s.assertion = w.response, !w.response
		doc := tree(f, s.apply(f, d.xml()))
		w.wrap(doc)
		f.Add([]byte(write(f, doc)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := readResponse(data, want)
		if err == nil && (a.nameID != "user-1" || a.session != "idx-1" || len(a.attributes["mail"]) != 1 || a.attributes["mail"][0] != "ada@example.com" || len(a.attributes["groups"]) != 2) {
			t.Fatalf("taken: %+v", a)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	f.Add(idpMetadata(certs().idp))
	f.Add([]byte(`<md:EntitiesDescriptor xmlns:md="` + nsMetadata + `"/>`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := readMetadata(data, "", nil, false)
		if err == nil && (len(d.certs) == 0 || d.entityID == "" || !strings.HasPrefix(d.ssoURL, "https://")) {
			t.Fatalf("%+v", d)
		}
	})
}

func FuzzPost(f *testing.F) {
	f.Add("SAMLResponse=PHgvPg%3D%3D&RelayState=a")
	f.Add("SAMLResponse=%zz&SAMLResponse=")
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", acs, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if raw, _, err := readPost(r); err == nil && len(raw) > maxResponse {
			t.Fatal("an endless response was taken")
		}
	})
}

// BenchmarkResponse measures what one answer costs: a good one, and the worst
// that a stranger can post.
func BenchmarkResponse(b *testing.B) {
	d := defaults("id-1")
	want := expected{issuer: idpID, audience: entity, acs: acs, request: "id-1", now: time.Now(), certs: []*x509.Certificate{certs().idp}}
	good := []byte(byAssertion().apply(b, d.xml()))
	elements := []byte(strings.Replace(string(good), "<samlp:Status>", strings.Repeat("<a/>", maxElements-100)+"<samlp:Status>", 1))
	attributes := strings.Repeat(`<a a="1" b="2" c="3" d="4" e="5" f="6" g="7" h="8" i="9" j="0"/>`, 7000)
	wide := []byte(strings.Replace(string(good), "<saml:AttributeStatement>", attributes+"<saml:AttributeStatement>", 1))
	for name, data := range map[string][]byte{"good": good, "elements": elements, "attributes": wide} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				readResponse(data, want)
			}
			b.ReportMetric(float64(len(data)), "bytes")
		})
	}
}
