package sqlstore

import (
	"context"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
)

// ChangeAccessToken is the kind of the control event of a revoked access token;
// its subject is the token's id (jti).
const ChangeAccessToken ChangeKind = "access-token"

// TokenKey is a signing key of the authorization server, as stored.
type TokenKey struct {
	ID        string
	Sealed    []byte
	CreatedAt time.Time
	ExpiresAt time.Time // when the last token that it may have signed has ended
}

const tokenKeyColumns = `id, sealed, created_at, expires_at`

// TokenKeys lists the signing keys that have not expired, newest first.
func (s *Store) TokenKeys(ctx context.Context, now time.Time) (list []TokenKey, err error) {
	err = s.all(ctx, `SELECT `+tokenKeyColumns+` FROM token_key WHERE expires_at > $1 ORDER BY created_at DESC, id`, []any{micros(now)}, func(sc scanner) error {
		var k TokenKey
		var created, expires int64
		err := sc.Scan(&k.ID, &k.Sealed, &created, &expires)
		k.CreatedAt, k.ExpiresAt = fromMicros(created), fromMicros(expires)
		list = append(list, k)
		return err
	})
	return list, err
}

// InsertTokenKey adds a signing key if newest is still the id of the newest one
// that has not expired when the key was made (empty: there is none): ErrChanged
// if another node was quicker.
func (s *Store) InsertTokenKey(ctx context.Context, k TokenKey, newest string, events ...audit.Event) error {
	return s.write(ctx, "tokenkey.insert", events, func(t *tx) error {
		// Nodes that add a key at the same time wait for one another here.
		if err := t.one(`UPDATE meta SET value = value WHERE name = 'change_version'`); err != nil {
			return err
		}
		var now string
		err := t.row(`SELECT id FROM token_key WHERE expires_at > $1 ORDER BY created_at DESC, id LIMIT 1`, []any{micros(k.CreatedAt)}, &now)
		if err != nil && err != ErrNotFound {
			return err
		}
		if now != newest {
			return ErrChanged
		}
		return t.one(`INSERT INTO token_key (`+tokenKeyColumns+`) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
			k.ID, k.Sealed, micros(k.CreatedAt), micros(k.ExpiresAt))
	})
}

// RevokeAccessToken takes a token back until it would have ended, and tells all
// nodes; ErrChanged if it was taken back already.
func (s *Store) RevokeAccessToken(ctx context.Context, id string, until, at time.Time, events ...audit.Event) error {
	return s.write(ctx, "accesstoken.revoke", events, func(t *tx) error {
		if err := t.one(`INSERT INTO revoked_access_token (id, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING`, id, micros(until)); err != nil {
			return err
		}
		_, err := bumpChange(t, ChangeAccessToken, id, at)
		return err
	})
}

// RevokedAccessTokens are the tokens taken back that have not ended by
// themselves, with their ends.
func (s *Store) RevokedAccessTokens(ctx context.Context, now time.Time) (ends map[string]time.Time, err error) {
	ends = map[string]time.Time{}
	err = s.all(ctx, `SELECT id, expires_at FROM revoked_access_token WHERE expires_at > $1`, []any{micros(now)}, func(sc scanner) error {
		var id string
		var end int64
		err := sc.Scan(&id, &end)
		ends[id] = fromMicros(end)
		return err
	})
	return ends, err
}

// UseJWT records that the JWT with an id was used, until it ends; ErrChanged if
// it was used before. The kind says who made it.
func (s *Store) UseJWT(ctx context.Context, kind, id string, until time.Time, events ...audit.Event) error {
	return s.write(ctx, "jwt.use", events, func(t *tx) error {
		return t.one(`INSERT INTO seen_once (kind, id, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, kind, id, micros(until))
	})
}

// deviceCodeKind marks the rows of table ceremony that are device codes.
const deviceCodeKind = "device-code"

// InsertDeviceCode adds a sign-in that waits for a person (RFC 8628) from at on,
// under the hash of its user code. ErrChanged if the hash is taken; false if
// limit device codes wait and nobody decided on them.
func (s *Store) InsertDeviceCode(ctx context.Context, hash [32]byte, data []byte, at, until time.Time, limit int) (ok bool, err error) {
	err = s.write(ctx, "devicecode.insert", nil, func(t *tx) error {
		var n int
		if err := t.row(`SELECT COUNT(*) FROM ceremony WHERE person = '' AND kind = $1 AND expires_at > $2`, []any{deviceCodeKind, micros(at)}, &n); err != nil {
			return err
		}
		if ok = n < limit; !ok {
			return nil
		}
		return t.one(`INSERT INTO ceremony (hash, kind, person, data, expires_at) VALUES ($1, $2, '', $3, $4) ON CONFLICT DO NOTHING`,
			hash[:], deviceCodeKind, data, micros(until))
	})
	return ok, err
}

// DeviceCode returns a waiting sign-in's data and end, or ErrNotFound.
func (s *Store) DeviceCode(ctx context.Context, hash [32]byte) (data []byte, until time.Time, err error) {
	var us int64
	err = s.row(ctx, `SELECT data, expires_at FROM ceremony WHERE hash = $1 AND kind = $2`, []any{hash[:], deviceCodeKind}, &data, &us)
	return data, fromMicros(us), err
}

// UpdateDeviceCode replaces the data if it is still old, and names the person
// who decided; ErrChanged if it is not.
func (s *Store) UpdateDeviceCode(ctx context.Context, hash [32]byte, old, data []byte, person string, events ...audit.Event) error {
	return s.write(ctx, "devicecode.update", events, func(t *tx) error {
		return t.one(`UPDATE ceremony SET data = $1, person = $2 WHERE hash = $3 AND kind = $4 AND data = $5`, data, person, hash[:], deviceCodeKind, old)
	})
}

// TakeDeviceCode removes the device code if its data is still old, so that it is
// redeemed once; ErrChanged if it is not.
func (s *Store) TakeDeviceCode(ctx context.Context, hash [32]byte, old []byte, events ...audit.Event) error {
	return s.write(ctx, "devicecode.take", events, func(t *tx) error {
		return t.one(`DELETE FROM ceremony WHERE hash = $1 AND kind = $2 AND data = $3`, hash[:], deviceCodeKind, old)
	})
}

// SweepOAuth removes signing keys, revocations, used JWTs and device codes whose
// time ended before a moment.
func (s *Store) SweepOAuth(ctx context.Context, before time.Time) error {
	return s.write(ctx, "oauth.sweep", nil, func(t *tx) error {
		for _, query := range []string{
			`DELETE FROM token_key WHERE expires_at < $1`,
			`DELETE FROM revoked_access_token WHERE expires_at < $1`,
			`DELETE FROM seen_once WHERE expires_at < $1`,
		} {
			if _, err := t.exec(query, micros(before)); err != nil {
				return err
			}
		}
		_, err := t.exec(`DELETE FROM ceremony WHERE kind = $1 AND expires_at < $2`, deviceCodeKind, micros(before))
		return err
	})
}
