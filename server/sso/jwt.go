package sso

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// assertionLife is how long a client assertion holds (RFC 7523 section 3).
const assertionLife = time.Minute

// clientAssertion signs who we are, for private_key_jwt (OpenID Connect Core
// section 9, RFC 7523).
func clientAssertion(key crypto.Signer, keyID, clientID, audience string, now time.Time) (string, error) {
	alg, err := algorithmOf(key.Public())
	if err != nil {
		return "", err
	}
	header := map[string]string{"alg": alg, "typ": "JWT"}
	if keyID != "" {
		header["kid"] = keyID
	}
	claims := map[string]any{
		"iss": clientID, "sub": clientID, "aud": audience, "jti": token(),
		"iat": now.Unix(), "exp": now.Add(assertionLife).Unix(),
	}
	h, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("writing the client assertion: %w", err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("writing the client assertion: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	sig, err := sign(key, []byte(text))
	if err != nil {
		return "", fmt.Errorf("signing the client assertion: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// algorithmOf names the JWS algorithm for a key (RFC 7518 section 3.1, RFC 8037).
func algorithmOf(pub crypto.PublicKey) (string, error) {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() >= 2048 {
			return "RS256", nil
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return "ES256", nil
		}
		if k.Curve == elliptic.P384() {
			return "ES384", nil
		}
	case ed25519.PublicKey:
		return "EdDSA", nil
	}
	return "", errors.New("the key is not RSA of 2048 bits or more, ECDSA on P-256 or P-384, or Ed25519")
}

// sign signs data as JWS and XML signatures both do: ECDSA signatures are the
// two numbers side by side, not the ASN.1 that crypto.Signer returns.
func sign(key crypto.Signer, data []byte) ([]byte, error) {
	hash := crypto.SHA256
	pub, isEC := key.Public().(*ecdsa.PublicKey)
	switch {
	case isEC && pub.Curve == elliptic.P384():
		hash = crypto.SHA384
	case !isEC:
		if _, ok := key.Public().(ed25519.PublicKey); ok {
			return key.Sign(rand.Reader, data, crypto.Hash(0))
		}
	}
	h := hash.New()
	h.Write(data)
	sig, err := key.Sign(rand.Reader, h.Sum(nil), hash)
	if err != nil || !isEC {
		return sig, err
	}
	var rs struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(sig, &rs); err != nil || len(rest) > 0 {
		return nil, errors.New("reading the signature: it is not ASN.1")
	}
	n := (pub.Curve.Params().BitSize + 7) / 8
	out := make([]byte, 2*n)
	rs.R.FillBytes(out[:n])
	rs.S.FillBytes(out[n:])
	return out, nil
}

// joined turns the two numbers side by side of an XML signature (RFC 4050, RFC
// 6931 section 2.3.6) into the ASN.1 that crypto/x509 checks.
func joined(sig []byte) ([]byte, error) {
	if len(sig) == 0 || len(sig)%2 != 0 || len(sig) > 2*66 {
		return nil, errors.New("the ECDSA signature has a wrong length")
	}
	n := len(sig) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:])})
}
