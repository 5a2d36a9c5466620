package pki

import (
	"bytes"
	"crypto"
	"crypto/sha1" // CertID matching only (RFC 6960 section 4.3): no security rests on it
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Limits of an OCSP request.
const (
	MaxOCSPRequest = 8 << 10 // bytes of DER
	MaxOCSPCerts   = 8       // certificates asked about in one request
	MaxOCSPNonce   = 128     // octets (RFC 9654 section 2.1)
)

// CertID says which certificate a request is about (RFC 6960 section 4.1.1). It is comparable, and as Respond writes
// it in one way only, a CertID is the key of a table of pre-signed responses.
type CertID struct {
	Hash       crypto.Hash // SHA1 or SHA256; 0 for any other, which cannot be answered
	IssuerName [32]byte    // hash of the issuer's name, padded with zeros
	IssuerKey  [32]byte    // hash of the issuer's key, padded with zeros
	Serial     Serial      // zero if the serial is not one that this package issues
}

// OCSPRequest is what a client asks.
type OCSPRequest struct {
	Certs []CertID // 1 to MaxOCSPCerts
	Nonce []byte   // 1 to MaxOCSPNonce octets, part of the parsed bytes; nil if absent
}

var errOCSPMalformed = errors.New("parsing an OCSP request: it is not well formed")

// ParseOCSPRequest reads an OCSPRequest in DER (RFC 6960 section 4.1.1). A signature is skipped: answers are public.
// Errors mean malformedRequest. The result refers to der, which must not change while it is used.
func ParseOCSPRequest(der []byte) (OCSPRequest, error) {
	var req OCSPRequest
	if len(der) > MaxOCSPRequest {
		return req, fmt.Errorf("parsing an OCSP request: it has %d bytes, the limit is %d", len(der), MaxOCSPRequest)
	}
	in := cryptobyte.String(der)
	var outer, tbs, list cryptobyte.String
	if !in.ReadASN1(&outer, cbasn1.SEQUENCE) || !in.Empty() || !outer.ReadASN1(&tbs, cbasn1.SEQUENCE) ||
		!outer.SkipOptionalASN1(tagExplicit0) || !outer.Empty() {
		return req, errOCSPMalformed
	}
	var version cryptobyte.String
	var hasVersion bool
	if !tbs.ReadOptionalASN1(&version, &hasVersion, tagExplicit0) || hasVersion && string(version) != "\x02\x01\x00" ||
		!tbs.SkipOptionalASN1(tagExplicit1) || !tbs.ReadASN1(&list, cbasn1.SEQUENCE) || list.Empty() {
		return req, errOCSPMalformed
	}
	req.Certs = make([]CertID, 0, 1)
	for !list.Empty() {
		if len(req.Certs) == MaxOCSPCerts {
			return OCSPRequest{}, fmt.Errorf("parsing an OCSP request: it asks about more than %d certificates", MaxOCSPCerts)
		}
		var one, exts cryptobyte.String
		var id CertID
		var hasExts bool
		if !list.ReadASN1(&one, cbasn1.SEQUENCE) || !readCertID(&one, &id) ||
			!one.ReadOptionalASN1(&exts, &hasExts, tagExplicit0) || !one.Empty() {
			return OCSPRequest{}, errOCSPMalformed
		}
		if hasExts {
			if _, err := readRequestExtensions(exts); err != nil {
				return OCSPRequest{}, err
			}
		}
		req.Certs = append(req.Certs, id)
	}
	var exts cryptobyte.String
	var hasExts bool
	if !tbs.ReadOptionalASN1(&exts, &hasExts, cbasn1.Tag(2).ContextSpecific().Constructed()) || !tbs.Empty() {
		return OCSPRequest{}, errOCSPMalformed
	}
	if hasExts {
		nonce, err := readRequestExtensions(exts)
		if err != nil {
			return OCSPRequest{}, err
		}
		req.Nonce = nonce
	}
	return req, nil
}

const (
	tagExplicit0 = cbasn1.Tag(0 | 0xa0)
	tagExplicit1 = cbasn1.Tag(1 | 0xa0)

	oidBytesSHA1   = "\x2b\x0e\x03\x02\x1a"
	oidBytesSHA256 = "\x60\x86\x48\x01\x65\x03\x04\x02\x01"
	oidBytesNonce  = "\x2b\x06\x01\x05\x05\x07\x30\x01\x02"
)

func readCertID(in *cryptobyte.String, id *CertID) bool {
	var seq, alg, oid, name, key, serial cryptobyte.String
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !seq.ReadASN1(&alg, cbasn1.SEQUENCE) ||
		!alg.ReadASN1(&oid, cbasn1.OBJECT_IDENTIFIER) || !alg.SkipOptionalASN1(cbasn1.NULL) || !alg.Empty() ||
		!seq.ReadASN1(&name, cbasn1.OCTET_STRING) || !seq.ReadASN1(&key, cbasn1.OCTET_STRING) ||
		!seq.ReadASN1(&serial, cbasn1.INTEGER) || !seq.Empty() || len(serial) == 0 {
		return false
	}
	switch string(oid) {
	case oidBytesSHA1:
		id.Hash = crypto.SHA1
	case oidBytesSHA256:
		id.Hash = crypto.SHA256
	default:
		return true
	}
	if len(name) != id.Hash.Size() || len(key) != id.Hash.Size() {
		return false
	}
	copy(id.IssuerName[:], name)
	copy(id.IssuerKey[:], key)
	if len(serial) <= len(id.Serial) && serial[0]&0x80 == 0 && (len(serial) == 1 || serial[0] != 0 || serial[1]&0x80 != 0) {
		copy(id.Serial[len(id.Serial)-len(serial):], serial)
	}
	return true
}

// readRequestExtensions finds the nonce in an explicit Extensions. Other extensions are skipped unless critical.
func readRequestExtensions(in cryptobyte.String) ([]byte, error) {
	var exts cryptobyte.String
	if !in.ReadASN1(&exts, cbasn1.SEQUENCE) || !in.Empty() {
		return nil, errOCSPMalformed
	}
	var nonce []byte
	for !exts.Empty() {
		var ext, id, value cryptobyte.String
		critical := false
		if !exts.ReadASN1(&ext, cbasn1.SEQUENCE) || !ext.ReadASN1(&id, cbasn1.OBJECT_IDENTIFIER) ||
			ext.PeekASN1Tag(cbasn1.BOOLEAN) && !ext.ReadASN1Boolean(&critical) ||
			!ext.ReadASN1(&value, cbasn1.OCTET_STRING) || !ext.Empty() {
			return nil, errOCSPMalformed
		}
		if string(id) != oidBytesNonce {
			if critical {
				return nil, errors.New("parsing an OCSP request: it has a critical extension that is not supported")
			}
			continue
		}
		var octets cryptobyte.String
		if nonce != nil || !value.ReadASN1(&octets, cbasn1.OCTET_STRING) || !value.Empty() || len(octets) == 0 || len(octets) > MaxOCSPNonce {
			return nil, fmt.Errorf("parsing an OCSP request: its nonce is not one string of 1 to %d octets", MaxOCSPNonce)
		}
		nonce = octets
	}
	return nonce, nil
}

// DecodeGET returns the request in the path of a GET (RFC 6960 appendix A.1): what follows the responder's own path, as
// escaped by the client (for net/http: URL.EscapedPath). Base64 with and without padding is accepted, as are the
// characters that careless clients leave unescaped. The result is not parsed yet. A server must not clean the path
// first: "//" is legal base64.
func DecodeGET(path string) ([]byte, error) {
	if len(path) > 3*base64.StdEncoding.EncodedLen(MaxOCSPRequest) {
		return nil, fmt.Errorf("decoding an OCSP request: the path has %d bytes", len(path))
	}
	text, err := url.PathUnescape(path)
	if err != nil {
		return nil, errors.New("decoding an OCSP request: the path is not URL-escaped correctly")
	}
	// A request starts with the octet 0x30, whose base64 is never a slash: a leading one separates.
	text = strings.TrimRight(strings.TrimPrefix(text, "/"), "=")
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("decoding an OCSP request: the path holds no request")
	}
	der, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("decoding an OCSP request: the path is not base64")
	}
	if len(der) > MaxOCSPRequest {
		return nil, fmt.Errorf("decoding an OCSP request: it has %d bytes, the limit is %d", len(der), MaxOCSPRequest)
	}
	return der, nil
}

// Hashes are what CertIDs of one issuer contain.
type Hashes struct {
	sha1Name, sha1Key     [20]byte
	sha256Name, sha256Key [32]byte
}

// IssuerHashes computes the hashes of an issuer's name and key (RFC 6960 section 4.1.1).
func IssuerHashes(issuer *x509.Certificate) (Hashes, error) {
	key := keyBits(issuer.RawSubjectPublicKeyInfo)
	if len(key) == 0 || len(issuer.RawSubject) == 0 {
		return Hashes{}, errors.New("hashing an issuer: the certificate was not parsed")
	}
	return Hashes{
		sha1Name: sha1.Sum(issuer.RawSubject), sha1Key: sha1.Sum(key),
		sha256Name: sha256.Sum256(issuer.RawSubject), sha256Key: sha256.Sum256(key),
	}, nil
}

// Match reports whether id is about a certificate of this issuer with a serial that it could have issued.
func (h *Hashes) Match(id CertID) bool {
	if id.Serial.IsZero() {
		return false
	}
	switch id.Hash {
	case crypto.SHA1:
		return bytes.Equal(id.IssuerName[:20], h.sha1Name[:]) && bytes.Equal(id.IssuerKey[:20], h.sha1Key[:])
	case crypto.SHA256:
		return id.IssuerName == h.sha256Name && id.IssuerKey == h.sha256Key
	}
	return false
}

// CertID makes the CertID by which a client asks about a serial of this issuer; hash is crypto.SHA1 (nearly all
// clients) or crypto.SHA256. For any other hash the result matches nothing.
func (h *Hashes) CertID(hash crypto.Hash, serial Serial) CertID {
	id := CertID{Hash: hash, Serial: serial}
	switch hash {
	case crypto.SHA1:
		copy(id.IssuerName[:], h.sha1Name[:])
		copy(id.IssuerKey[:], h.sha1Key[:])
	case crypto.SHA256:
		id.IssuerName, id.IssuerKey = h.sha256Name, h.sha256Key
	default:
		id.Hash = 0
	}
	return id
}
