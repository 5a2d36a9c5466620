//go:build pkcs11 && cgo

package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"time"

	"github.com/ThalesGroup/crypto11"

	"github.com/holdfast-iot/holdfast/server/keystore"
)

func built() error { return nil }

// token is a keystore.Store on a PKCS#11 token. A key is a pair of token objects
// whose CKA_ID and CKA_LABEL are the key's name; the private one is sensitive
// and not extractable.
type token struct {
	label string
	token *crypto11.Context

	mu   sync.Mutex           // held while keys are made and destroyed
	keys map[string]*tokenKey // those in use; guarded by mu
}

func openToken(module, label string, pin secret) (keystore.Store, func() error, error) {
	c, err := crypto11.Configure(&crypto11.Config{
		Path: module, TokenLabel: label, Pin: pin.text,
		MaxSessions: 32, PoolWaitTimeout: 20 * time.Second,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("loading the module %s and signing in: %w", module, err)
	}
	return &token{label: label, token: c, keys: make(map[string]*tokenKey)}, c.Close, nil
}

var names = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// curves are those of the algorithms that PKCS#11 modules have in common.
var curves = map[keystore.Alg]elliptic.Curve{keystore.P256: elliptic.P256(), keystore.P384: elliptic.P384()}

// Create makes a key pair. C_GenerateKeyPair makes both objects or none: a
// crash leaves nothing, or a whole key.
func (t *token) Create(_ context.Context, name string, alg keystore.Alg) (keystore.Key, error) {
	curve, ok := curves[alg]
	if !ok {
		return nil, fmt.Errorf("%w: a token makes P-256 and P-384 keys, not %.32q", keystore.ErrUnsupported, alg)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, err := t.find(name); err == nil {
		return nil, keystore.ErrExists
	} else if !errors.Is(err, keystore.ErrNotFound) {
		return nil, err
	}
	public, err := crypto11.NewAttributeSetWithIDAndLabel([]byte(name), []byte(name))
	if err != nil {
		return nil, fmt.Errorf("describing the key: %w", err)
	}
	private := public.Copy()
	for attribute, value := range map[crypto11.AttributeType]bool{
		crypto11.CkaToken: true, crypto11.CkaPrivate: true, crypto11.CkaSensitive: true,
		crypto11.CkaExtractable: false, crypto11.CkaSign: true, crypto11.CkaDecrypt: false,
		crypto11.CkaUnwrap: false, crypto11.CkaDerive: false, crypto11.CkaModifiable: false,
	} {
		if err := private.Set(attribute, value); err != nil {
			return nil, fmt.Errorf("describing the key: %w", err)
		}
	}
	signer, err := t.token.GenerateECDSAKeyPairWithAttributes(public, private, curve)
	if err != nil {
		return nil, fmt.Errorf("making the key pair: %w", err)
	}
	return t.use(name, signer)
}

func (t *token) Open(_ context.Context, name string) (keystore.Key, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, err := t.find(name)
	if err != nil {
		return nil, err // not a nil *tokenKey in a Key
	}
	return key, nil
}

// find is called with mu held.
func (t *token) find(name string) (*tokenKey, error) {
	if key, ok := t.keys[name]; ok {
		return key, nil
	}
	if !names.MatchString(name) {
		return nil, keystore.ErrName
	}
	pairs, err := t.token.FindKeyPairs([]byte(name), []byte(name))
	if err != nil {
		return nil, fmt.Errorf("looking for the key: %w", err)
	}
	switch len(pairs) {
	case 0:
		return nil, keystore.ErrNotFound
	case 1:
		return t.use(name, pairs[0])
	}
	return nil, fmt.Errorf("looking for the key: the token %s holds %d keys with that name: remove all but one with the token's own tools", t.label, len(pairs))
}

func (t *token) use(name string, signer crypto11.Signer) (*tokenKey, error) {
	public, ok := signer.Public().(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: the token holds a %T", keystore.ErrUnsupported, signer.Public())
	}
	key := &tokenKey{signer, public, fmt.Sprintf("%s key %s on the token %s", public.Params().Name, name, t.label)}
	t.keys[name] = key
	return key, nil
}

func (t *token) Delete(_ context.Context, name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, err := t.find(name)
	if err != nil {
		return err
	}
	delete(t.keys, name)
	if err := key.signer.Delete(); err != nil {
		return fmt.Errorf("destroying the key: %w", err)
	}
	return nil
}

type tokenKey struct {
	signer crypto11.Signer
	public *ecdsa.PublicKey
	about  string
}

func (k *tokenKey) Public() crypto.PublicKey { return k.public }
func (k *tokenKey) Describe() string         { return k.about }

// Sign passes the token the leftmost bits of a digest that is longer than the
// curve's order (FIPS 186-5 section 6.4.1): modules disagree on who does it.
func (k *tokenKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	size := (k.public.Params().N.BitLen() + 7) / 8
	return k.signer.Sign(rand, digest[:min(len(digest), size)], opts)
}
