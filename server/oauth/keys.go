package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// The life of a signing key: it is published for aheadTime, then signs until the
// next one does, then stays published until the last token has ended.
const (
	rotateEvery = 30 * 24 * time.Hour
	aheadTime   = 24 * time.Hour
	keyLife     = rotateEvery + aheadTime + time.Hour + MaxLife
)

// signingKey is an ES256 key pair: every JOSE library verifies ES256, and it is
// in FIPS 186-5.
type signingKey struct {
	id      string // RFC 7638 thumbprint
	private *ecdsa.PrivateKey
	signer  jose.Signer
	from    time.Time // when it may sign
	end     time.Time // when it verifies no more
}

// ring is the set of signing keys; it never changes.
type ring struct {
	keys    map[string]*signingKey
	order   []*signingKey // newest first
	newest  string        // id of the newest stored key, also if it could not be opened
	created time.Time     // of that key
}

// signer is the key that signs at a time: the newest that was published long
// enough; or the oldest, when none was. It has to outlive what it signs.
func (r *ring) signer(now time.Time, life time.Duration) *signingKey {
	var best *signingKey
	for _, k := range r.order {
		if now.Add(life).After(k.end) {
			continue
		}
		best = k
		if !now.Before(k.from) {
			break
		}
	}
	return best
}

// due tells whether a new key has to be made.
func (r *ring) due(now time.Time, life time.Duration) bool {
	return r.signer(now, life) == nil || now.Sub(r.created) >= rotateEvery
}

// rotate reads the keys and adds one when it is time. Two nodes may want to at
// the same moment: the store lets one, and the other reads its key.
func (s *Server) rotate(ctx context.Context) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	for range 3 {
		now := s.cfg.Now()
		r, err := s.readKeys(ctx, now)
		if err != nil {
			return err
		}
		s.keys.Store(r)
		if !r.due(now, s.cfg.Life) {
			return nil
		}
		row, err := s.makeKey(now)
		if err != nil {
			return err
		}
		err = s.cfg.Store.InsertTokenKey(ctx, row, r.newest, s.cfg.Event(access.Component("oauth"), "token_key.created", "token_key", row.ID))
		if err != nil && !errors.Is(err, sqlstore.ErrChanged) {
			return fmt.Errorf("adding a signing key: %w", err)
		}
		// Here the key is stored, by this node or another; a crash loses nothing.
	}
	return errors.New("adding a signing key: other nodes keep changing them")
}

func (s *Server) readKeys(ctx context.Context, now time.Time) (*ring, error) {
	rows, err := s.cfg.Store.TokenKeys(ctx, now)
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	r := &ring{keys: map[string]*signingKey{}}
	if len(rows) > 0 {
		r.newest, r.created = rows[0].ID, rows[0].CreatedAt
	}
	old := s.keys.Load()
	for _, row := range rows {
		k := old.find(row.ID)
		if k == nil {
			if k, err = s.openKey(row); err != nil {
				s.cfg.Log.Error("opening a signing key; tokens that it signed are refused", "key", row.ID, "err", err)
				continue
			}
		}
		r.keys[k.id] = k
		r.order = append(r.order, k)
	}
	return r, nil
}

func (r *ring) find(id string) *signingKey {
	if r == nil {
		return nil
	}
	return r.keys[id]
}

func sealContext(id string) string { return "oauth signing key " + id }

func (s *Server) makeKey(now time.Time) (sqlstore.TokenKey, error) {
	var none sqlstore.TokenKey
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none, fmt.Errorf("making a signing key: %w", err)
	}
	id, err := thumbprint(private)
	if err != nil {
		return none, fmt.Errorf("making a signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return none, fmt.Errorf("making a signing key: %w", err)
	}
	sealed, err := s.cfg.Seal(der, sealContext(id))
	clear(der)
	if err != nil {
		return none, fmt.Errorf("sealing a signing key: %w", err)
	}
	return sqlstore.TokenKey{ID: id, Sealed: sealed, CreatedAt: now, ExpiresAt: now.Add(keyLife)}, nil
}

// openKey refuses a key whose id is not its thumbprint: rows cannot be swapped.
func (s *Server) openKey(row sqlstore.TokenKey) (*signingKey, error) {
	der, err := s.cfg.Open(row.Sealed, sealContext(row.ID))
	if err != nil {
		return nil, err
	}
	defer clear(der)
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("what is sealed is not a PKCS#8 key")
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("what is sealed is not a P-256 key")
	}
	if id, err := thumbprint(private); err != nil || id != row.ID {
		return nil, errors.New("what is sealed is another key")
	}
	options := (&jose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", row.ID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, options)
	if err != nil {
		return nil, err
	}
	return &signingKey{id: row.ID, private: private, signer: signer, from: row.CreatedAt.Add(aheadTime), end: row.ExpiresAt}, nil
}

func thumbprint(private *ecdsa.PrivateKey) (string, error) {
	sum, err := (&jose.JSONWebKey{Key: &private.PublicKey}).Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}

// ownKey finds the key that signed a token of ours. An unknown id may be of a
// key that another node made a moment ago: then the keys are read again, once in
// ten seconds at most, so that made-up ids cost nothing.
func (s *Server) ownKey(ctx context.Context, id string) *signingKey {
	now := s.cfg.Now()
	if k := s.keys.Load().find(id); k != nil {
		return k.at(now)
	}
	if len(id) != base64.RawURLEncoding.EncodedLen(sha256.Size) {
		return nil
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	if k := s.keys.Load().find(id); k != nil {
		return k.at(now)
	}
	if now.Sub(s.readAt) < 10*time.Second {
		return nil
	}
	s.readAt = now
	r, err := s.readKeys(ctx, now)
	if err != nil {
		s.cfg.Log.Warn("reading the signing keys for an unknown key id", "err", err)
		return nil
	}
	s.keys.Store(r)
	return r.find(id).at(now)
}

// at is the key if it still verifies.
func (k *signingKey) at(now time.Time) *signingKey {
	if k == nil || !now.Before(k.end) {
		return nil
	}
	return k
}

// published are the public keys, newest first.
func (s *Server) published() jose.JSONWebKeySet {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	now := s.cfg.Now()
	for _, k := range s.keys.Load().order {
		if k.at(now) != nil {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: &k.private.PublicKey, KeyID: k.id, Algorithm: string(jose.ES256), Use: "sig"})
		}
	}
	return set
}
