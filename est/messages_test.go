package est

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smallstep/pkcs7"
)

var update = flag.Bool("update", false, "write the golden files anew")

func vector(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func goldenCerts(t testing.TB) []*x509.Certificate {
	t.Helper()
	return []*x509.Certificate{must(x509.ParseCertificate(vector(t, "leaf.der"))), must(x509.ParseCertificate(vector(t, "issuing.der")))}
}

func TestGolden(t *testing.T) {
	certs := must(RenderCerts(goldenCerts(t)))
	_, keygen, err := RenderServerKeyGen(vector(t, "leafkey.der"), goldenCerts(t))
	if err != nil {
		t.Fatal(err)
	}
	problem := must(RenderProblem(&Problem{Status: 403, Code: "token-expired", Title: "Token expired",
		Detail: "The token expired on 2026-01-02.", Fix: "Ask the operator for a new token.", RequestID: "R1"}))
	for name, got := range map[string][]byte{"request.b64": encode(vector(t, "csr.der")), "certs.b64": certs,
		"csrattrs.b64": must(RenderCSRAttrs(vector(t, "csrattrs.der"))), "serverkeygen.mime": keygen, "problem.json": problem} {
		if *update {
			if err := os.WriteFile(filepath.Join("testdata", name), got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if want := vector(t, name); !bytes.Equal(got, want) {
			t.Errorf("%s: rendered\n%s\nwhere the vector is\n%s", name, got, want)
		}
	}
}

func TestParseBody(t *testing.T) {
	der := vector(t, "csr.der")
	b64 := base64.StdEncoding.EncodeToString(der)
	const pkcs10 = "application/pkcs10"
	spaced := strings.Join(strings.Split(b64, ""), " \r\n\t")
	for _, c := range []struct {
		name, media, encoding, body string
		status                      int // 0: accepted
	}{
		{"one line", pkcs10, "base64", b64, 0},
		{"lines", pkcs10, "base64", string(encode(der)), 0},
		{"white space everywhere", pkcs10, "", "\n" + spaced, 0},
		{"header ignored", pkcs10, "binary", b64, 0},
		{"raw", pkcs10, "", string(der), 0},
		{"raw, said so", pkcs10, "Binary", string(der), 0},
		{"parameter", "Application/PKCS10; charset=utf-8", "BASE64", b64, 0},
		{"raw, said base64", pkcs10, "base64", string(der), 400},
		{"no type", "", "", b64, 415},
		{"form", "application/x-www-form-urlencoded", "", b64, 415},
		{"bad type", "application/pkcs10; =", "", b64, 415},
		{"empty", pkcs10, "", "", 400},
		{"white space alone", pkcs10, "", " \r\n", 400},
		{"pem", pkcs10, "", "-----BEGIN CERTIFICATE REQUEST-----\n" + b64, 400},
		{"url alphabet", pkcs10, "", "MA-_", 400},
		{"no padding", pkcs10, "", strings.TrimRight(b64[:len(b64)-1], "="), 400},
		{"two values", pkcs10, "", string(der) + string(der), 400},
		{"cut", pkcs10, "", string(der[:len(der)-1]), 400},
		{"not a sequence", pkcs10, "", "BAEA", 400},
		{"indefinite", pkcs10, "", "\x30\x80\x00\x00", 400},
		{"too large", pkcs10, "", strings.Repeat("A", MaxRequest+1), 413},
	} {
		got, err := ParseBody(c.media, c.encoding, []byte(c.body))
		p, refused := errors.AsType[*Problem](err)
		switch {
		case c.status == 0 && (err != nil || !bytes.Equal(got, der)):
			t.Errorf("%s: %v", c.name, err)
		case c.status != 0 && (!refused || p.Status != c.status || p.Fix == "" || p.Detail == ""):
			t.Errorf("%s: %v, want status %d", c.name, err, c.status)
		}
	}
}

func TestCertsRoundTrip(t *testing.T) {
	certs := goldenCerts(t)
	body := must(RenderCerts(certs))
	got, err := ParseCerts(body)
	if err != nil || !slices.EqualFunc(got, certs, (*x509.Certificate).Equal) {
		t.Fatalf("got %d certificates, %v", len(got), err)
	}
	der := must(decode(body))
	if got, err := ParseCerts(der); err != nil || len(got) != 2 {
		t.Fatalf("DER: %d, %v", len(got), err)
	}
	// The library is an independent reader and writer.
	p7, err := pkcs7.Parse(der)
	if err != nil || !slices.EqualFunc(p7.Certificates, certs, (*x509.Certificate).Equal) {
		t.Fatalf("pkcs7 reads %v", err)
	}
	theirs := must(pkcs7.DegenerateCertificate(append(slices.Clone(certs[0].Raw), certs[1].Raw...)))
	if got, err := ParseCerts(theirs); err != nil || len(got) != 2 {
		t.Fatalf("pkcs7 wrote: %d, %v", len(got), err)
	}
	if _, err := RenderCerts(nil); err == nil {
		t.Error("rendered no certificates")
	}
	if _, err := RenderCerts([]*x509.Certificate{{}}); err == nil {
		t.Error("rendered an empty certificate")
	}
	if _, err := RenderCerts(slices.Repeat(certs, MaxCertificate)); err == nil {
		t.Error("rendered too many certificates")
	}
}

func TestParseCertsRefuses(t *testing.T) {
	ca := newCA(time.Now())
	sd := must(pkcs7.NewSignedData([]byte("content")))
	if err := sd.AddSigner(ca.cert, ca.key, pkcs7.SignerInfoConfig{}); err != nil {
		t.Fatal(err)
	}
	good := must(decode(vector(t, "certs.b64")))
	cert := vector(t, "leaf.der")
	for name, body := range map[string][]byte{
		"empty":      nil,
		"text":       []byte("no base64!"),
		"cert alone": cert,
		"signed":     must(sd.Finish()),
		"trailing":   append(slices.Clone(good), 0),
		"cut":        good[:len(good)-1],
		"no certs":   must(pkcs7.DegenerateCertificate(nil)),
		"junk cert":  must(pkcs7.DegenerateCertificate([]byte{0x30, 0})),
		"too many":   must(pkcs7.DegenerateCertificate(bytes.Repeat(cert, MaxCertificate+1))),
		"too large":  bytes.Repeat([]byte("A"), MaxResponse+1),
		"deep":       bytes.Repeat([]byte{0x30, 0x80}, 100_000),
		"enveloped":  bytes.Replace(good, []byte{1, 7, 2}, []byte{1, 7, 3}, 1),
	} {
		if certs, err := ParseCerts(body); err == nil {
			t.Errorf("%s: parsed %d certificates", name, len(certs))
		}
	}
}

// Other writers add CRLs, and set the fields that a certs-only message has no use for.
func TestParseCertsWithCRLs(t *testing.T) {
	type signedData struct {
		Version          int
		DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
		Content          struct{ Type asn1.ObjectIdentifier }
		Certificates     asn1.RawValue
		CRLs             asn1.RawValue
		SignerInfos      []asn1.RawValue `asn1:"set"`
		Extra            []asn1.RawValue `asn1:"optional,omitempty"`
	}
	build := func(change func(*signedData)) []byte {
		sd := signedData{Version: 3, DigestAlgorithms: []pkix.AlgorithmIdentifier{{Algorithm: oidData}}}
		sd.Content.Type = oidData
		sd.Certificates = asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: vector(t, "leaf.der")}
		sd.CRLs = asn1.RawValue{Class: 2, Tag: 1, IsCompound: true, Bytes: []byte{0x30, 0}}
		change(&sd)
		return must(asn1.Marshal(struct {
			Type    asn1.ObjectIdentifier
			Content signedData `asn1:"explicit,tag:0"`
		}{oidSignedData, sd}))
	}
	if certs, err := ParseCerts(build(func(*signedData) {})); err != nil || len(certs) != 1 {
		t.Fatal(len(certs), err)
	}
	for name, change := range map[string]func(*signedData){
		"version":      func(sd *signedData) { sd.Version = 9 },
		"signer":       func(sd *signedData) { sd.SignerInfos = []asn1.RawValue{{FullBytes: []byte{0x30, 0}}} },
		"after":        func(sd *signedData) { sd.Extra = []asn1.RawValue{{FullBytes: []byte{5, 0}}} },
		"certificates": func(sd *signedData) { sd.Certificates.Tag = 5 },
		"choice":       func(sd *signedData) { sd.Certificates.Bytes = []byte{0xa1, 0} },
	} {
		if _, err := ParseCerts(build(change)); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}

func TestCSRAttrs(t *testing.T) {
	attrs, err := ParseCSRAttrs(vector(t, "csrattrs.b64"))
	if err != nil || len(attrs) != 2 || attrs[0].Type.String() != "1.2.840.10045.2.1" || len(attrs[0].Values) != 1 ||
		attrs[1].Type.String() != "1.2.840.10045.4.3.2" || attrs[1].Values != nil {
		t.Fatalf("%v, %v", attrs, err)
	}
	if attrs, err := ParseCSRAttrs([]byte("MAA=")); err != nil || len(attrs) != 0 {
		t.Fatalf("empty sequence: %v, %v", attrs, err)
	}
	for _, bad := range []string{"", "\x30\x01\x05", "\x30\x03\x02\x01\x01", "\x30\x00\x00", "\x31\x00", "%"} {
		if _, err := ParseCSRAttrs([]byte(bad)); err == nil {
			t.Errorf("parsed %q", bad)
		}
		if _, err := RenderCSRAttrs([]byte(bad)); err == nil {
			t.Errorf("rendered %q", bad)
		}
	}
	if _, err := RenderCSRAttrs(append([]byte{0x30, 0x82, 0xff, 0xfc}, make([]byte, 0xfffc)...)); err == nil {
		t.Error("rendered 64 KiB")
	}
}

func TestServerKeyGen(t *testing.T) {
	const media = `multipart/mixed; boundary=holdfast-est-part`
	body := string(vector(t, "serverkeygen.mime"))
	key, certs, err := ParseServerKeyGen(media, []byte(body))
	if err != nil || !bytes.Equal(key, vector(t, "leafkey.der")) || len(certs) != 2 {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	parts := strings.Split(body, "--holdfast-est-part")
	swapped := "--holdfast-est-part" + parts[2] + "--holdfast-est-part" + parts[1] + "--holdfast-est-part--\r\n"
	if key, certs, err := ParseServerKeyGen(media, []byte(swapped)); err != nil || key == nil || len(certs) != 2 {
		t.Fatalf("other order: %v", err)
	}
	for name, c := range map[string][2]string{
		"type":           {"multipart/form-data; boundary=holdfast-est-part", body},
		"no boundary":    {"multipart/mixed", body},
		"other boundary": {"multipart/mixed; boundary=x", body},
		"empty":          {media, ""},
		"key alone":      {media, "--holdfast-est-part" + parts[1] + "--holdfast-est-part--\r\n"},
		"certs alone":    {media, "--holdfast-est-part" + parts[2] + "--holdfast-est-part--\r\n"},
		"two keys":       {media, "--holdfast-est-part" + parts[1] + body},
		"unended":        {media, strings.TrimSuffix(body, "--holdfast-est-part--\r\n")},
		"unknown part":   {media, strings.Replace(body, "application/pkcs8", "text/html", 1)},
		"encrypted":      {media, strings.Replace(body, "application/pkcs8", "application/pkcs7-mime; smime-type=server-generated-key", 1)},
		"untyped":        {media, strings.Replace(body, "Content-Type: application/pkcs8\r\n", "", 1)},
		"bad key":        {media, strings.Replace(body, "\r\n\r\nMI", "\r\n\r\nBB", 1)},
		"too large":      {media, body + strings.Repeat(" ", MaxResponse)},
	} {
		if key, _, err := ParseServerKeyGen(c[0], []byte(c[1])); err == nil || key != nil {
			t.Errorf("%s: parsed", name)
		}
	}
	if _, _, err := RenderServerKeyGen(nil, certs); err == nil {
		t.Error("rendered no key")
	}
	if _, _, err := RenderServerKeyGen(key, nil); err == nil {
		t.Error("rendered no certificate")
	}
}
