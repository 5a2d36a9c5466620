package keystore

import (
	"crypto"
	"errors"
	"fmt"
	"net/http"
)

// The signer protocol is HTTP/1.1 over a unix socket, with JSON bodies in which
// binary values are base64:
//
//	GET    /v1/keys/{name}       → keyReply
//	POST   /v1/keys/{name}       createRequest → keyReply, 201
//	POST   /v1/keys/{name}/sign  signRequest → signReply
//	DELETE /v1/keys/{name}       → 204
//
// Errors are problemReply with the status that problems gives.
type (
	createRequest struct {
		Alg Alg `json:"alg"`
	}
	keyReply struct {
		Name   string `json:"name"`
		Alg    Alg    `json:"alg"`
		Public []byte `json:"public"` // PKIX (RFC 5280 section 4.1.2.7), DER
		About  string `json:"about"`
	}
	signRequest struct {
		Hash   string `json:"hash"` // SHA-256, SHA-384 or SHA-512
		Digest []byte `json:"digest"`
	}
	signReply struct {
		Signature []byte `json:"signature"` // ASN.1 (RFC 3279 section 2.2.3)
	}
	problemReply struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}
)

// maxBody bounds requests and replies, in bytes.
const maxBody = 8 << 10

// problems is the one map from error kind to wire and back.
var problems = []struct {
	err    error
	code   string
	status int
}{
	{ErrNotFound, "not_found", http.StatusNotFound},
	{ErrExists, "exists", http.StatusConflict},
	{ErrName, "bad_name", http.StatusBadRequest},
	{ErrUnsupported, "unsupported", http.StatusUnprocessableEntity},
	{ErrRefused, "refused", http.StatusForbidden},
}

func parseSignRequest(data []byte) (digest []byte, hash crypto.Hash, err error) {
	var r signRequest
	if err := decodeStrict(data, &r); err != nil {
		return nil, 0, err
	}
	hash, ok := hashes[r.Hash]
	if !ok {
		return nil, 0, fmt.Errorf("the hash %.32q is not SHA-256, SHA-384 or SHA-512", r.Hash)
	}
	if len(r.Digest) != hash.Size() {
		return nil, 0, fmt.Errorf("a %s digest has %d bytes, not %d", r.Hash, hash.Size(), len(r.Digest))
	}
	return r.Digest, hash, nil
}

func parseCreateRequest(data []byte) (Alg, error) {
	var r createRequest
	if err := decodeStrict(data, &r); err != nil {
		return "", err
	}
	alg, err := ParseAlg(string(r.Alg))
	if err == nil && alg.curve() == nil {
		err = fmt.Errorf("%w: the signer protocol carries digests, which %s keys do not sign", ErrUnsupported, alg)
	}
	return alg, err
}

// problem turns an error reply into the error that the store would have
// returned in this process.
func problem(status int, data []byte) error {
	var r problemReply
	if err := decodeStrict(data, &r); err != nil {
		return fmt.Errorf("the signer answered with status %d and no explanation", status)
	}
	for _, p := range problems {
		if p.code == r.Code {
			return fmt.Errorf("%w: the signer says %.300q", p.err, r.Detail)
		}
	}
	if r.Detail == "" {
		return fmt.Errorf("the signer answered with status %d and no explanation", status)
	}
	return errors.New("the signer says: " + fmt.Sprintf("%.300q", r.Detail))
}
