package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
)

func isChanged(err error) bool { return errors.Is(err, ErrChanged) }

// Meta returns a named value of the installation or ErrNotFound.
func (s *Store) Meta(ctx context.Context, name string) (value string, err error) {
	err = s.row(ctx, `SELECT value FROM meta WHERE name = $1`, []any{name}, &value)
	return value, err
}

// SetMetaOnce sets a value that has none yet and returns the one that holds.
func (s *Store) SetMetaOnce(ctx context.Context, name, value string) (string, error) {
	err := s.write(ctx, "meta", nil, func(t *tx) error {
		if _, err := t.exec(`INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`, name, value); err != nil {
			return err
		}
		return t.row(`SELECT value FROM meta WHERE name = $1`, []any{name}, &value)
	})
	return value, err
}

// SetMeta sets a value.
func (s *Store) SetMeta(ctx context.Context, name, value string, events ...audit.Event) error {
	return s.write(ctx, "meta", events, func(t *tx) error {
		return t.one(`INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	})
}

// APIToken is a credential of the admin API, without its secret.
type APIToken struct {
	ID        string
	Hash      []byte // SHA-256 of the secret part
	Name      string
	CreatedAt time.Time
}

// APITokenByID returns a token or ErrNotFound.
func (s *Store) APITokenByID(ctx context.Context, id string) (t APIToken, err error) {
	var created int64
	err = s.row(ctx, `SELECT id, hash, name, created_at FROM api_token WHERE id = $1`, []any{id}, &t.ID, &t.Hash, &t.Name, &created)
	t.CreatedAt = fromMicros(created)
	return t, err
}

// CountAPITokens tells whether the first start was.
func (s *Store) CountAPITokens(ctx context.Context) (n int, err error) {
	err = s.row(ctx, `SELECT COUNT(*) FROM api_token`, nil, &n)
	return n, err
}

// ReplaceAPITokens makes a token the only one.
func (s *Store) ReplaceAPITokens(ctx context.Context, t APIToken, events ...audit.Event) error {
	return s.write(ctx, "apitoken.replace", events, func(x *tx) error {
		if _, err := x.exec(`DELETE FROM api_token`); err != nil {
			return err
		}
		return x.one(`INSERT INTO api_token (id, hash, name, created_at) VALUES ($1, $2, $3, $4)`, t.ID, t.Hash, t.Name, micros(t.CreatedAt))
	})
}
