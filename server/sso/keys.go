package sso

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/holdfast-iot/holdfast/internal/outbound"
)

// Bounds on a key set and on a token, in bytes and keys.
const (
	maxKeySet = 256 << 10
	maxKeys   = 100
	maxToken  = 64 << 10
)

// keySet checks signatures with the keys that a provider publishes. It is an
// oidc.KeySet of our own: the library's keeps a withdrawn key for as long as
// it finds one with the right name, and fetches again for every unknown name.
type keySet struct {
	keys  *cached[[]jose.JSONWebKey]
	algs  []jose.SignatureAlgorithm
	types []string // the typ headers that are taken, in lower case; an absent one always is
}

// fetchKeys gets the keys at url that can verify a signature, and drops the
// others: symmetric keys, private keys, keys for encryption, weak keys.
func fetchKeys(ctx context.Context, client *http.Client, url string) ([]jose.JSONWebKey, error) {
	body, err := outbound.Fetch(ctx, client, url, "application/jwk-set+json, application/json", maxKeySet)
	if err != nil {
		return nil, unreachable("reading the key set", err)
	}
	keys, err := parseKeys(body)
	if err != nil {
		return nil, fail(CodeMisconfigured, "reading the key set: %w", err)
	}
	return keys, nil
}

// parseKeys reads a JSON Web Key Set (RFC 7517 section 5).
func parseKeys(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if len(body) > maxKeySet {
		return nil, fmt.Errorf("it is larger than %d bytes", maxKeySet)
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("it is not JSON: %v", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("it holds %d keys, more than %d", len(set.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) != nil || !k.Valid() || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
			continue // RFC 7517 section 5: keys that are not understood are ignored
		}
		if strong(k.Key) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("it holds no key that can verify a signature")
	}
	return keys, nil
}

// strong tells whether a key is public, of a kind that we use, and large
// enough, but not so large that verifying costs much.
func strong(key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= 2048 && k.N.BitLen() <= 8192 && k.E >= 3 && uint64(k.E) < 1<<31
	case *ecdsa.PublicKey:
		return k.Curve == elliptic.P256() || k.Curve == elliptic.P384()
	case ed25519.PublicKey:
		return len(k) == ed25519.PublicKeySize
	}
	return false
}

// fits tells whether a key is of the kind that an algorithm needs: a token
// must not choose how somebody's key is used.
func fits(k jose.JSONWebKey, alg string) bool {
	if k.Algorithm != "" && k.Algorithm != alg && !(k.Algorithm == "Ed25519" && alg == "EdDSA") {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return alg == "RS256" || alg == "PS256"
	case *ecdsa.PublicKey:
		return alg == "ES256" && key.Curve == elliptic.P256() || alg == "ES384" && key.Curve == elliptic.P384()
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// VerifySignature is oidc.KeySet's: it returns the payload of a compact JWS
// whose signature one of the provider's keys verifies.
func (s *keySet) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	if len(raw) > maxToken {
		return nil, fail(CodeAnswer, "the token is larger than %d bytes", maxToken)
	}
	jws, err := jose.ParseSignedCompact(raw, s.algs)
	if err != nil {
		return nil, fail(CodeAnswer, "reading the token: %v", err)
	}
	header := jws.Signatures[0].Protected
	if _, has := header.ExtraHeaders["crit"]; has {
		return nil, fail(CodeAnswer, "the token has critical extensions, which are not understood")
	}
	if typ, has := header.ExtraHeaders[jose.HeaderType]; has && !s.typed(typ) {
		return nil, fail(CodeAnswer, "the token is of type %q", clean(fmt.Sprint(typ)))
	}
	keys, err := s.keys.get(ctx)
	if err != nil {
		return nil, err
	}
	if payload, ok := verifyWith(jws, keys, header); ok {
		return payload, nil
	}
	// The provider may have changed its keys since we looked.
	if keys, err = s.keys.newer(ctx); err != nil {
		return nil, err
	}
	if payload, ok := verifyWith(jws, keys, header); ok {
		return payload, nil
	}
	return nil, fail(CodeAnswer, "no key of the provider verifies the signature (algorithm %s, key %q)", header.Algorithm, clean(header.KeyID))
}

func (s *keySet) typed(typ any) bool {
	text, ok := typ.(string)
	text = strings.TrimPrefix(strings.ToLower(text), "application/")
	for _, t := range s.types {
		if ok && t == text {
			return true
		}
	}
	return false
}

func verifyWith(jws *jose.JSONWebSignature, keys []jose.JSONWebKey, h jose.Header) ([]byte, bool) {
	for _, k := range keys {
		if h.KeyID != "" && k.KeyID != h.KeyID || !fits(k, h.Algorithm) {
			continue
		}
		if payload, err := jws.Verify(k.Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}
