package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-iot/holdfast/access"
)

// Ceremony is what a browser or a command line is in the middle of, found by the
// hash of a secret that it holds.
type Ceremony struct {
	Hash      [32]byte // SHA-256 of the secret
	Kind      string
	Person    access.PersonID // empty where nobody is known yet
	Data      []byte
	ExpiresAt time.Time
}

const ceremonyColumns = `hash, kind, person, data, expires_at`

func putCeremony(t *tx, c Ceremony) error {
	if c.Data == nil {
		c.Data = []byte{}
	}
	return t.one(`INSERT INTO ceremony (`+ceremonyColumns+`) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`, c.Hash[:], c.Kind, c.Person, c.Data, micros(c.ExpiresAt))
}

// Ceremony finds one that has not expired, or ErrNotFound.
func (s *Store) Ceremony(ctx context.Context, kind string, hash [32]byte, now time.Time) (Ceremony, error) {
	c := Ceremony{Hash: hash, Kind: kind}
	var expires int64
	err := s.row(ctx, `SELECT person, data, expires_at FROM ceremony WHERE hash = $1 AND kind = $2 AND expires_at > $3`, []any{hash[:], kind, micros(now)}, &c.Person, &c.Data, &expires)
	c.ExpiresAt = fromMicros(expires)
	return c, err
}

// PutCeremony keeps one; ErrChanged when its hash is known.
func (s *Store) PutCeremony(ctx context.Context, c Ceremony) error {
	return s.write(ctx, "ceremony.put", nil, func(t *tx) error { return putCeremony(t, c) })
}

// TakeCeremony finds one that has not expired and deletes it, so that of several
// who hold its secret one gets it; the others, and all later ones, get ErrNotFound.
func (s *Store) TakeCeremony(ctx context.Context, kind string, hash [32]byte, now time.Time) (Ceremony, error) {
	c := Ceremony{Hash: hash, Kind: kind}
	err := s.write(ctx, "ceremony.take", nil, func(t *tx) error {
		var expires int64
		err := t.row(`SELECT person, data, expires_at FROM ceremony WHERE hash = $1 AND kind = $2 AND expires_at > $3`, []any{hash[:], kind, micros(now)}, &c.Person, &c.Data, &expires)
		if err != nil {
			return err
		}
		c.ExpiresAt = fromMicros(expires)
		if err := t.one(`DELETE FROM ceremony WHERE hash = $1`, hash[:]); err == ErrChanged {
			return ErrNotFound
		} else if err != nil {
			return err
		}
		return nil
	})
	return c, err
}

// Once tells whether an id of a kind is seen for the first time, and remembers it
// until a time.
func (s *Store) Once(ctx context.Context, kind, id string, until time.Time) (first bool, err error) {
	err = s.write(ctx, "once", nil, func(t *tx) error { return UseOnce(kind, id, until)(t, "") })
	if errors.Is(err, ErrSpent) {
		return false, nil
	}
	return err == nil, err
}
