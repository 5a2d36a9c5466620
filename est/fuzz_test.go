package est

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"testing"
	"unicode"
	"unicode/utf8"
)

func FuzzParseBody(f *testing.F) {
	der := vector(f, "csr.der")
	f.Add(TypePKCS10, "base64", vector(f, "request.b64"))
	f.Add(TypePKCS10, "", der)
	f.Add("application/pkcs10; charset=x", "binary", []byte("-----BEGIN CERTIFICATE REQUEST-----"))
	f.Add(TypePKCS10, "", []byte{0x30, 0x80, 0, 0})
	f.Add("", "", []byte{})
	f.Fuzz(func(t *testing.T, media, encoding string, body []byte) {
		got, err := ParseBody(media, encoding, body)
		if err != nil {
			if p, ok := errors.AsType[*Problem](err); !ok || p.Status < 400 || p.Status > 415 || p.Fix == "" || !codeForm.MatchString(p.Code) {
				t.Fatalf("%v", err)
			}
			return
		}
		again, err := ParseBody(TypePKCS10, "base64", encode(got))
		if err != nil || !bytes.Equal(got, again) {
			t.Fatalf("not stable: %v", err)
		}
	})
}

func FuzzParseCerts(f *testing.F) {
	f.Add(vector(f, "certs.b64"))
	f.Add(must(decode(vector(f, "certs.b64"))))
	f.Add([]byte("MAA="))
	f.Add(bytes.Repeat([]byte{0x30, 0x80}, 50))
	f.Fuzz(func(t *testing.T, body []byte) {
		certs, err := ParseCerts(body)
		if err != nil {
			return
		}
		again, err := ParseCerts(must(RenderCerts(certs)))
		if err != nil || !slices.EqualFunc(certs, again, (*x509.Certificate).Equal) {
			t.Fatalf("not stable: %v", err)
		}
	})
}

func FuzzParseServerKeyGen(f *testing.F) {
	f.Add(`multipart/mixed; boundary="holdfast-est-part"`, vector(f, "serverkeygen.mime"))
	f.Add(`multipart/mixed; boundary=x`, []byte("--x\r\nContent-Type: application/pkcs8\r\n\r\nMAA=\r\n--x--"))
	f.Add("multipart/mixed", []byte("--"))
	f.Fuzz(func(t *testing.T, media string, body []byte) {
		key, certs, err := ParseServerKeyGen(media, body)
		if err != nil {
			if key != nil || certs != nil {
				t.Fatal("an error and a value")
			}
			return
		}
		media, body, err = RenderServerKeyGen(key, certs)
		if err != nil {
			t.Fatal(err)
		}
		again, chain, err := ParseServerKeyGen(media, body)
		if err != nil || !bytes.Equal(key, again) || !slices.EqualFunc(certs, chain, (*x509.Certificate).Equal) {
			t.Fatalf("not stable: %v", err)
		}
	})
}

func FuzzParseCSRAttrs(f *testing.F) {
	f.Add(vector(f, "csrattrs.b64"))
	f.Add([]byte("MAA="))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := ParseCSRAttrs(body); err != nil {
			return
		}
		if _, err := RenderCSRAttrs(must(decode(body))); err != nil {
			t.Fatalf("not stable: %v", err)
		}
	})
}

func FuzzCredential(f *testing.F) {
	f.Add("Basic " + base64.StdEncoding.EncodeToString([]byte("user:pass")))
	f.Add("Bearer abc.def")
	f.Add("Basic Og==")
	f.Add("Digest x")
	f.Add("")
	f.Fuzz(func(t *testing.T, value string) {
		c, err := ParseCredential(http.Header{"Authorization": {value}})
		if err != nil {
			if p, ok := errors.AsType[*Problem](err); !ok || p.Status != 400 && p.Status != 401 {
				t.Fatal(err)
			}
			return
		}
		h := http.Header{}
		if err := c.authorize(h); err != nil {
			t.Fatal(err)
		}
		again, err := ParseCredential(h)
		if err != nil || again.Kind() != c.Kind() || again.Username() != c.Username() || again.Reveal() != c.Reveal() {
			t.Fatalf("not stable: %v", err)
		}
	})
}

func FuzzParseProblem(f *testing.F) {
	f.Add(403, TypeProblem, "5", vector(f, "problem.json"))
	f.Add(500, "text/plain", "Mon, 02 Jan 2006 15:04:05 GMT", []byte("no\x1b[0m"))
	f.Fuzz(func(t *testing.T, status int, media, retry string, body []byte) {
		h := http.Header{"Content-Type": {media}, "Retry-After": {retry}, "Date": {"Mon, 02 Jan 2006 15:04:05 GMT"}}
		p := ParseProblem(status, h, body)
		if p.RetryAfter < 0 || p.RetryAfter > maxRetryAfter || len(p.Title) > 200 || len(p.Detail) > 1000 || len(p.Fix) > 1000 {
			t.Fatalf("%+v", p)
		}
		for _, r := range p.Error() {
			if !unicode.IsPrint(r) || r == utf8.RuneError {
				t.Fatalf("%q", p.Error())
			}
		}
	})
}
