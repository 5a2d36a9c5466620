package est

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
)

// Media types of RFC 7030.
const (
	TypePKCS10    = "application/pkcs10"
	TypeCertsOnly = "application/pkcs7-mime; smime-type=certs-only"
	TypeCSRAttrs  = "application/csrattrs"
	TypePKCS8     = "application/pkcs8"
	TypeProblem   = "application/problem+json"
)

// boundary parts a serverkeygen response. It is fixed: no line of base64 holds a hyphen, so it cannot occur inside.
const boundary = "holdfast-est-part"

// ParseBody reads the body of an enrolment request and returns one DER value with nothing after it. The body is base64
// with any white space in it (RFC 8951 section 3.1), or DER itself when the transfer encoding does not say base64; the
// two cannot be confused, for base64 of DER never begins with the byte 0x30. Errors are *Problem: 413 above MaxRequest,
// 415 for another content type than application/pkcs10, 400 for the rest.
func ParseBody(contentType, transferEncoding string, body []byte) ([]byte, error) {
	if len(body) > MaxRequest {
		return nil, tooLarge()
	}
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != TypePKCS10 {
		return nil, &Problem{Status: http.StatusUnsupportedMediaType, Code: "content-type", Title: "Wrong content type",
			Detail: "The request is not declared as a certificate request.",
			Fix:    "Send the header Content-Type: application/pkcs10."}
	}
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("-----")) {
		return nil, badBody("The body is PEM.", "Remove the BEGIN and END lines, or send DER (openssl req -outform DER | openssl base64).")
	}
	if strings.EqualFold(strings.TrimSpace(transferEncoding), "base64") && len(body) > 0 && body[0] == 0x30 {
		return nil, badBody("The header says base64 but the body is DER.", "Encode the body with base64, or leave out Content-Transfer-Encoding.")
	}
	der, err := decode(body)
	if err != nil {
		return nil, badBody("The body is neither base64 nor DER, or is empty.", "Send the PKCS#10 request as DER encoded with base64.")
	}
	if !isSequence(der) {
		return nil, badBody("The body does not hold exactly one DER value.", "Send one whole PKCS#10 request (openssl req -outform DER | openssl base64).")
	}
	return der, nil
}

func badBody(detail, fix string) *Problem {
	return &Problem{Status: http.StatusBadRequest, Code: "bad-body", Title: "Malformed request body", Detail: detail, Fix: fix}
}

func tooLarge() *Problem {
	return &Problem{Status: http.StatusRequestEntityTooLarge, Code: "body-too-large", Title: "Request too large",
		Detail: fmt.Sprintf("The body is longer than %d bytes.", MaxRequest),
		Fix:    "Send one PKCS#10 request; ordinary ones are below 4 KiB."}
}

// RenderCerts encodes certificates, in this order, as the base64 body of a certs-only response (RFC 7030 section 4.1.3).
// It takes 1 to MaxCertificate certificates.
func RenderCerts(certs []*x509.Certificate) ([]byte, error) {
	der, err := marshalCerts(certs)
	if err != nil {
		return nil, err
	}
	return encode(der), nil
}

// ParseCerts reads the body of a certs-only response: base64 or DER, at most MaxResponse bytes and MaxCertificate
// certificates, in the order they were sent. Indefinite lengths, signers and trailing bytes are errors. Nothing about
// the certificates is verified.
func ParseCerts(body []byte) ([]*x509.Certificate, error) {
	der, err := decodeResponse(body)
	if err != nil {
		return nil, fmt.Errorf("parsing certificates: %w", err)
	}
	certs, err := unmarshalCerts(der)
	if err != nil {
		return nil, fmt.Errorf("parsing certificates: %w", err)
	}
	return certs, nil
}

// RenderCSRAttrs encodes the DER of CsrAttrs (RFC 7030 section 4.5.2) as the base64 body of a response. It refuses
// what ParseCSRAttrs would.
func RenderCSRAttrs(der []byte) ([]byte, error) {
	if _, err := splitAttributes(der); err != nil {
		return nil, fmt.Errorf("rendering CSR attributes: %w", err)
	}
	return encode(der), nil
}

// Attribute is one wish of a server about a CSR (AttrOrOID of RFC 7030 section 4.5.2): an object identifier alone, such as
// a signature algorithm, or an attribute with values, such as ecPublicKey with its curve.
type Attribute struct {
	Type   asn1.ObjectIdentifier
	Values []asn1.RawValue // nil when the server sent the identifier alone
}

// ParseCSRAttrs reads the body of a csrattrs response, base64 or DER, at most MaxCSRAttrs bytes of DER.
func ParseCSRAttrs(body []byte) ([]Attribute, error) {
	der, err := decodeResponse(body)
	if err != nil {
		return nil, fmt.Errorf("parsing CSR attributes: %w", err)
	}
	attrs, err := splitAttributes(der)
	if err != nil {
		return nil, fmt.Errorf("parsing CSR attributes: %w", err)
	}
	return attrs, nil
}

func splitAttributes(der []byte) ([]Attribute, error) {
	if len(der) > MaxCSRAttrs {
		return nil, fmt.Errorf("they are longer than %d bytes", MaxCSRAttrs)
	}
	list, rest, err := element(der, asn1.ClassUniversal, asn1.TagSequence)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, errors.New("bytes follow the sequence")
	}
	var attrs []Attribute
	for len(list) > 0 {
		var a Attribute
		if after, err := asn1.Unmarshal(list, &a.Type); err == nil {
			attrs, list = append(attrs, a), after
			continue
		}
		var full struct {
			Type   asn1.ObjectIdentifier
			Values []asn1.RawValue `asn1:"set"`
		}
		after, err := asn1.Unmarshal(list, &full)
		if err != nil {
			return nil, fmt.Errorf("entry %d is neither an identifier nor an attribute: %w", len(attrs)+1, err)
		}
		attrs, list = append(attrs, Attribute{full.Type, full.Values}), after
	}
	return attrs, nil
}

// RenderServerKeyGen encodes a private key and its certificates as a multipart/mixed response (RFC 7030 section 4.4.2).
// The body holds the key: erase it once it is sent.
func RenderServerKeyGen(key PrivateKey, certs []*x509.Certificate) (contentType string, body []byte, err error) {
	if !isSequence(key) {
		return "", nil, errors.New("rendering the server-generated key: it is not one DER value")
	}
	der, err := marshalCerts(certs)
	if err != nil {
		return "", nil, err
	}
	var b bytes.Buffer
	b.Grow(2*(len(key)+len(der)) + 512) // one allocation, so that no outgrown copy of the key stays behind
	secret := encode(key)
	defer clear(secret)
	for _, part := range []struct {
		media string
		body  []byte
	}{{TypePKCS8, secret}, {TypeCertsOnly, encode(der)}} {
		fmt.Fprintf(&b, "--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\n\r\n", boundary, part.media)
		b.Write(part.body)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return `multipart/mixed; boundary="` + boundary + `"`, b.Bytes(), nil
}

// ParseServerKeyGen reads a serverkeygen response: a multipart/mixed body of exactly one application/pkcs8 part and one
// certs-only part, in either order, at most MaxResponse bytes in all. A key encrypted for the client
// (application/pkcs7-mime; smime-type=server-generated-key) is refused. That key and certificate belong together is not checked.
func ParseServerKeyGen(contentType string, body []byte) (PrivateKey, []*x509.Certificate, error) {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != "multipart/mixed" || params["boundary"] == "" {
		return nil, nil, errors.New("parsing the server-generated key: the response is not multipart/mixed with a boundary")
	}
	if len(body) > MaxResponse {
		return nil, nil, fmt.Errorf("parsing the server-generated key: the response is longer than %d bytes", MaxResponse)
	}
	key, certs, err := readParts(multipart.NewReader(bytes.NewReader(body), params["boundary"]))
	if err == nil && (key == nil || certs == nil) {
		err = errors.New("the key or the certificate is missing")
	}
	if err != nil {
		key.Erase()
		return nil, nil, fmt.Errorf("parsing the server-generated key: %w", err)
	}
	return key, certs, nil
}

// readParts takes each kind of part once. It returns the key even with an error, so that the caller can erase it.
func readParts(r *multipart.Reader) (key PrivateKey, certs []*x509.Certificate, err error) {
	for {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return key, certs, nil
		}
		if err != nil {
			return key, certs, fmt.Errorf("reading the parts: %w", err)
		}
		raw, err := io.ReadAll(part)
		if err != nil {
			return key, certs, fmt.Errorf("reading a part: %w", err)
		}
		media, params, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		switch {
		case err != nil:
			return key, certs, errors.New("a part has no valid content type")
		case media == TypePKCS8 && key == nil:
			key, err = decode(raw)
			clear(raw)
			if err == nil && !isSequence(key) {
				err = errors.New("not exactly one DER value")
			}
			if err != nil {
				return key, certs, fmt.Errorf("reading the key part: %w", err)
			}
		case isCertsOnly(media, params) && certs == nil:
			if certs, err = ParseCerts(raw); err != nil {
				return key, certs, err
			}
		default:
			return key, certs, fmt.Errorf("a part is repeated or of the unexpected type %q", printable(media, 100))
		}
	}
}

// isCertsOnly reports whether a parsed media type stands for a certs-only message; the parameter may be missing
// (RFC 7030 section 4.1.3).
func isCertsOnly(media string, params map[string]string) bool {
	t := params["smime-type"]
	return media == "application/pkcs7-mime" && (t == "" || strings.EqualFold(t, "certs-only"))
}

// encode renders base64 in lines of 64, which every decoder takes (RFC 8951 section 3.1).
func encode(der []byte) []byte {
	const line = 48 // bytes that make 64 characters
	out := make([]byte, 0, base64.StdEncoding.EncodedLen(len(der))+2*(len(der)/line+1))
	for ; len(der) > 0; der = der[min(line, len(der)):] {
		out = base64.StdEncoding.AppendEncode(out, der[:min(line, len(der))])
		out = append(out, '\r', '\n')
	}
	return out
}

// decode returns DER as it is and decodes base64 after dropping white space.
func decode(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, errors.New("the body is empty")
	}
	if body[0] == 0x30 {
		return bytes.Clone(body), nil
	}
	text := make([]byte, 0, len(body))
	for _, c := range body {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			text = append(text, c)
		}
	}
	defer clear(text)
	der := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(der, text)
	if err != nil {
		clear(der)
		return nil, errors.New("the body is not base64")
	}
	if n == 0 {
		return nil, errors.New("the body is empty")
	}
	return der[:n], nil
}

func decodeResponse(body []byte) ([]byte, error) {
	if len(body) > MaxResponse {
		return nil, fmt.Errorf("the response is longer than %d bytes", MaxResponse)
	}
	return decode(body)
}

// isSequence reports whether der is one SEQUENCE, definite in length, with nothing after it.
func isSequence(der []byte) bool {
	_, rest, err := element(der, asn1.ClassUniversal, asn1.TagSequence)
	return err == nil && len(rest) == 0
}
