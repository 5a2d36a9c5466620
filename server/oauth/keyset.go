package oauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/holdfast-iot/holdfast/internal/outbound"
)

const (
	freshFor     = time.Hour      // after which keys are fetched again, behind the request
	staleFor     = 24 * time.Hour // for which keys serve while their issuer does not answer
	refetchEvery = time.Minute    // at most, whatever key ids strangers make up
	fetchTime    = 10 * time.Second
	maxDocument  = 256 << 10 // bytes of a key set or discovery document
	maxKeys      = 64
)

// keySet holds the public keys of one issuer. Unauthenticated requests may cause
// a fetch, so there is at most one at a time and one a minute.
type keySet struct {
	issuer     string
	url        string // empty: ask the discovery document
	algorithms []jose.SignatureAlgorithm
	client     *http.Client
	now        func() time.Time
	log        *slog.Logger
	fetching   sync.WaitGroup

	mu      sync.Mutex
	keys    []jose.JSONWebKey // guarded by mu
	fetched time.Time         // when keys came; guarded by mu
	tried   time.Time         // when a fetch last began; guarded by mu
	running chan struct{}     // closed when the fetch under way ends; nil: none; guarded by mu
}

// find returns the public key for a key id and algorithm, or nil. It waits for a
// fetch only if no usable key is at hand. The error means that there are no keys
// because the issuer did not give any.
func (k *keySet) find(ctx context.Context, kid string, algorithm jose.SignatureAlgorithm) (any, error) {
	key, wait := k.look(kid, algorithm)
	if wait == nil {
		return key, nil
	}
	if key == nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		key = k.match(kid, algorithm)
		if k.fetched.IsZero() || k.now().Sub(k.fetched) >= staleFor {
			return nil, errors.New("its keys could not be fetched")
		}
	}
	return key, nil
}

// look finds a key, and starts a fetch if there is reason to and it may: wait is
// not nil while one is under way.
func (k *keySet) look(kid string, algorithm jose.SignatureAlgorithm) (key any, wait <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	age := now.Sub(k.fetched)
	if age < staleFor {
		key = k.match(kid, algorithm)
	}
	if key != nil && age < freshFor {
		return key, nil
	}
	if k.running == nil && (now.Sub(k.tried) >= refetchEvery || now.Before(k.tried)) {
		k.tried, k.running = now, make(chan struct{})
		k.fetching.Go(k.fetch)
	}
	if k.running == nil {
		// Not again so soon: a channel that is closed makes find answer at once.
		done := make(chan struct{})
		close(done)
		return key, done
	}
	return key, k.running
}

// match finds the key; the caller holds mu.
func (k *keySet) match(kid string, algorithm jose.SignatureAlgorithm) any {
	return match(k.keys, kid, algorithm)
}

// match finds the public key that a token names. One without a key id is for the
// only key there is.
func match(keys []jose.JSONWebKey, kid string, algorithm jose.SignatureAlgorithm) any {
	var found any
	for _, key := range keys {
		if (key.KeyID == kid && kid != "" || kid == "" && len(keys) == 1) && (key.Algorithm == "" || key.Algorithm == string(algorithm)) && fits(key.Key, algorithm) {
			if found != nil {
				return nil // two keys with one id: neither is named
			}
			found = key.Key
		}
	}
	return found
}

// fetch gets the keys; it does not hang on the request that caused it.
func (k *keySet) fetch() {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTime)
	defer cancel()
	keys, err := k.get(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.keys, k.fetched = keys, k.now()
	} else {
		k.log.Warn("fetching the keys of a trusted issuer", "issuer", k.issuer, "err", err)
	}
	close(k.running)
	k.running = nil
}

func (k *keySet) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	from := k.url
	if from == "" {
		var err error
		if from, err = k.discover(ctx); err != nil {
			return nil, err
		}
	}
	text, err := outbound.Fetch(ctx, k.client, from, "application/jwk-set+json, application/json", maxDocument)
	if err != nil {
		return nil, err
	}
	return publicKeys(text, k.algorithms)
}

// discover asks the issuer where its keys are. The document has to name the
// issuer itself (OpenID Connect Discovery 1.0 section 4.3).
func (k *keySet) discover(ctx context.Context) (string, error) {
	text, err := outbound.Fetch(ctx, k.client, strings.TrimSuffix(k.issuer, "/")+"/.well-known/openid-configuration", "application/json", maxDocument)
	if err != nil {
		return "", err
	}
	var doc struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return "", errors.New("its discovery document is not JSON")
	}
	if doc.Issuer != k.issuer {
		return "", fmt.Errorf("its discovery document is of the issuer %.200q", doc.Issuer)
	}
	if doc.JWKS == "" {
		return "", errors.New("its discovery document names no key set")
	}
	return doc.JWKS, nil
}

// publicKeys reads a JSON Web Key Set (RFC 7517 section 5) and keeps the keys
// that can verify one of the algorithms. Keys of other kinds are passed over, as
// the RFC asks; a set without a usable one is an error.
func publicKeys(text []byte, algorithms []jose.SignatureAlgorithm) ([]jose.JSONWebKey, error) {
	all, err := rawKeys(text)
	if err != nil {
		return nil, err
	}
	var keys []jose.JSONWebKey
	for _, raw := range all {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" || len(key.KeyID) > 256 {
			continue
		}
		if slices.ContainsFunc(algorithms, func(a jose.SignatureAlgorithm) bool { return fits(key.Key, a) }) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("its key set has no key that may be used")
	}
	return keys, nil
}

func rawKeys(text []byte) ([]json.RawMessage, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("its key set is not a JSON Web Key Set")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("its key set has more than %d keys", maxKeys)
	}
	return set.Keys, nil
}

// fits tells whether a public key is of the kind and size that an algorithm
// needs (RFC 7518 sections 3.3 to 3.5, RFC 8037).
func fits(key any, algorithm jose.SignatureAlgorithm) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= 2048 && key.N.BitLen() <= 8192 && (strings.HasPrefix(string(algorithm), "RS") || strings.HasPrefix(string(algorithm), "PS"))
	case *ecdsa.PublicKey:
		bits := map[jose.SignatureAlgorithm]int{jose.ES256: 256, jose.ES384: 384, jose.ES512: 521}
		return bits[algorithm] != 0 && key.Params().BitSize == bits[algorithm]
	case ed25519.PublicKey:
		return algorithm == jose.EdDSA
	}
	return false
}
