package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
)

// AppToken is what an app signs in with, as stored: without its secret.
type AppToken struct {
	ID        string
	App       string
	Hash      [32]byte // SHA-256 of the secret part
	CreatedAt time.Time
	CreatedBy string
	ExpiresAt time.Time
	UsedDay   int64 // the last day it was used on, in days since 1970 UTC; 0: never
	Note      string
	RevokedAt time.Time
}

const appTokenColumns = `id, app, hash, created_at, created_by, expires_at, used_day, note, revoked_at`

func scanAppToken(sc scanner) (t AppToken, err error) {
	var hash []byte
	var created, expires, revoked int64
	if err = sc.Scan(&t.ID, &t.App, &hash, &created, &t.CreatedBy, &expires, &t.UsedDay, &t.Note, &revoked); err != nil {
		return t, notFound(err)
	}
	if copy(t.Hash[:], hash) != len(t.Hash) {
		return t, fmt.Errorf("reading app token %s: its hash is cut short", t.ID)
	}
	t.CreatedAt, t.ExpiresAt, t.RevokedAt = fromMicros(created), fromMicros(expires), fromMicros(revoked)
	return t, nil
}

// AppToken returns a token or ErrNotFound.
func (s *Store) AppToken(ctx context.Context, id string) (AppToken, error) {
	st, err := s.stmt(ctx, `SELECT `+appTokenColumns+` FROM app_token WHERE id = $1`)
	if err != nil {
		return AppToken{}, err
	}
	return scanAppToken(st.QueryRowContext(ctx, id))
}

// AppTokens lists the newest tokens of an app, or with an empty name of all apps.
func (s *Store) AppTokens(ctx context.Context, app string) (list []AppToken, err error) {
	err = s.all(ctx, `SELECT `+appTokenColumns+` FROM app_token WHERE app = $1 OR $1 = '' ORDER BY created_at DESC, id LIMIT $2`, []any{app, maxTokens}, func(sc scanner) error {
		t, err := scanAppToken(sc)
		list = append(list, t)
		return err
	})
	return list, err
}

// InsertAppToken adds a token.
func (s *Store) InsertAppToken(ctx context.Context, t AppToken, events ...audit.Event) error {
	return s.write(ctx, "apptoken.insert", events, func(x *tx) error {
		return x.one(`INSERT INTO app_token (`+appTokenColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			t.ID, t.App, t.Hash[:], micros(t.CreatedAt), t.CreatedBy, micros(t.ExpiresAt), t.UsedDay, t.Note, micros(t.RevokedAt))
	})
}

// RevokeAppToken ends an app's token and tells all nodes; ErrChanged if the app
// has no such token or it was revoked.
func (s *Store) RevokeAppToken(ctx context.Context, app, id string, at time.Time, events ...audit.Event) error {
	return s.write(ctx, "apptoken.revoke", events, func(t *tx) error {
		if err := t.one(`UPDATE app_token SET revoked_at = $1 WHERE id = $2 AND app = $3 AND revoked_at = 0`, micros(at), id, app); err != nil {
			return err
		}
		_, err := bumpChange(t, ChangeAppToken, id, at)
		return err
	})
}

// UsedAppToken records the day of a token's last use; an earlier day changes
// nothing.
func (s *Store) UsedAppToken(ctx context.Context, id string, day int64) error {
	return s.write(ctx, "apptoken.used", nil, func(t *tx) error {
		_, err := t.exec(`UPDATE app_token SET used_day = $1 WHERE id = $2 AND used_day < $3`, day, id, day)
		return err
	})
}
