package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
)

// APIClient is a program that uses the API, with the hash of its client secret.
type APIClient struct {
	access.APIClient
	Secret []byte // SHA-256 of the client secret; nil: it has none
}

const apiClientColumns = `id, name, description, owner, disabled, networks, rate, jwks, secret, created_at, created_by, used_day, version`

func scanAPIClient(sc scanner) (c APIClient, err error) {
	var networks string
	var created, day int64
	if err = sc.Scan(&c.ID, &c.Name, &c.Description, &c.Owner, &c.Disabled, &networks, &c.Rate, &c.JWKS, &c.Secret, &created, &c.CreatedBy, &day, &c.Version); err != nil {
		return c, notFound(err)
	}
	c.HasSecret, c.CreatedAt, c.UsedDay = len(c.Secret) > 0, fromMicros(created), dayText(day)
	// Networks that cannot be read must not become none, which admits all.
	if err = json.Unmarshal([]byte(networks), &c.Networks); err != nil {
		err = fmt.Errorf("reading the networks of API client %s: %w", c.ID, err)
	}
	return c, err
}

// dayText is a day since 1970 as a date, nothing for 0.
func dayText(day int64) string {
	if day == 0 {
		return ""
	}
	return time.Unix(day*86400, 0).UTC().Format(time.DateOnly)
}

// APIClient returns a client by id or name, or ErrNotFound.
func (s *Store) APIClient(ctx context.Context, idOrName string) (APIClient, error) {
	st, err := s.stmt(ctx, `SELECT `+apiClientColumns+` FROM api_client WHERE id = $1 OR name = $1`)
	if err != nil {
		return APIClient{}, err
	}
	return scanAPIClient(st.QueryRowContext(ctx, idOrName))
}

// APIClients lists all by name.
func (s *Store) APIClients(ctx context.Context) (list []APIClient, err error) {
	err = s.all(ctx, `SELECT `+apiClientColumns+` FROM api_client ORDER BY name LIMIT $1`, []any{maxTokens}, func(sc scanner) error {
		c, err := scanAPIClient(sc)
		list = append(list, c)
		return err
	})
	return list, err
}

// InsertAPIClient adds a client; ErrChanged if the name is taken.
func (s *Store) InsertAPIClient(ctx context.Context, c access.APIClient, events ...audit.Event) error {
	networks, err := json.Marshal(c.Networks)
	if err != nil {
		return err
	}
	return s.write(ctx, "apiclient.insert", events, func(t *tx) error {
		return t.one(`INSERT INTO api_client (`+apiClientColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, NULL, $9, $10, 0, $11) ON CONFLICT DO NOTHING`,
			c.ID, c.Name, c.Description, c.Owner, flag(c.Disabled), string(networks), c.Rate, c.JWKS, micros(c.CreatedAt), c.CreatedBy, c.Version)
	})
}

// UpdateAPIClient replaces what may change of a client whose version is one below
// c's, and tells all nodes.
func (s *Store) UpdateAPIClient(ctx context.Context, c access.APIClient, at time.Time, events ...audit.Event) error {
	networks, err := json.Marshal(c.Networks)
	if err != nil {
		return err
	}
	return s.write(ctx, "apiclient.update", events, func(t *tx) error {
		if err := t.one(`UPDATE api_client SET description = $1, owner = $2, disabled = $3, networks = $4, rate = $5, jwks = $6, version = $7 WHERE id = $8 AND version = $9`,
			c.Description, c.Owner, flag(c.Disabled), string(networks), c.Rate, c.JWKS, c.Version, c.ID, c.Version-1); err != nil {
			return err
		}
		_, err := bumpChange(t, ChangeAccess, "client/"+c.ID, at)
		return err
	})
}

// SetClientSecret replaces a client's secret by its hash, or removes it with nil.
func (s *Store) SetClientSecret(ctx context.Context, client string, hash []byte, at time.Time, events ...audit.Event) error {
	return s.write(ctx, "apiclient.secret", events, func(t *tx) error {
		if err := t.one(`UPDATE api_client SET secret = $1, version = version + 1 WHERE id = $2`, hash, client); err != nil {
			return err
		}
		_, err := bumpChange(t, ChangeAccess, "client/"+client, at)
		return err
	})
}

// APIKey is a client's key with the hash of its secret part.
type APIKey struct {
	access.Key
	Hash    [32]byte // SHA-256
	UsedOn  int64    // days since 1970; 0: never
	revoked int64
}

const apiKeyColumns = `id, client, hash, note, permissions, created_at, created_by, expires_at, used_day, revoked_at`

func scanAPIKey(sc scanner) (k APIKey, err error) {
	var hash []byte
	var permissions string
	var created, expires int64
	if err = sc.Scan(&k.ID, &k.Client, &hash, &k.Note, &permissions, &created, &k.CreatedBy, &expires, &k.UsedOn, &k.revoked); err != nil {
		return k, notFound(err)
	}
	if copy(k.Hash[:], hash) != len(k.Hash) {
		return k, fmt.Errorf("reading API key %s: its hash is cut short", k.ID)
	}
	k.CreatedAt, k.ExpiresAt, k.RevokedAt, k.UsedDay = fromMicros(created), fromMicros(expires), fromMicros(k.revoked), dayText(k.UsedOn)
	// Permissions that cannot be read must not become all of the client's.
	if err = json.Unmarshal([]byte(permissions), &k.Permissions); err != nil {
		err = fmt.Errorf("reading the permissions of API key %s: %w", k.ID, err)
	}
	return k, err
}

// APIKey returns a key or ErrNotFound.
func (s *Store) APIKey(ctx context.Context, id string) (APIKey, error) {
	st, err := s.stmt(ctx, `SELECT `+apiKeyColumns+` FROM api_key WHERE id = $1`)
	if err != nil {
		return APIKey{}, err
	}
	return scanAPIKey(st.QueryRowContext(ctx, id))
}

// APIKeys lists a client's keys, newest first.
func (s *Store) APIKeys(ctx context.Context, client string) (list []APIKey, err error) {
	err = s.all(ctx, `SELECT `+apiKeyColumns+` FROM api_key WHERE client = $1 ORDER BY created_at DESC, id LIMIT $2`, []any{client, maxTokens}, func(sc scanner) error {
		k, err := scanAPIKey(sc)
		list = append(list, k)
		return err
	})
	return list, err
}

// InsertAPIKey adds a key.
func (s *Store) InsertAPIKey(ctx context.Context, k APIKey, events ...audit.Event) error {
	permissions, err := json.Marshal(k.Permissions)
	if err != nil {
		return err
	}
	return s.write(ctx, "apikey.insert", events, func(t *tx) error {
		return t.one(`INSERT INTO api_key (`+apiKeyColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0)`,
			k.ID, k.Client, k.Hash[:], k.Note, string(permissions), micros(k.CreatedAt), k.CreatedBy, micros(k.ExpiresAt))
	})
}

// RevokeAPIKey ends a client's key and tells all nodes; ErrChanged if it has no
// such key or it was revoked.
func (s *Store) RevokeAPIKey(ctx context.Context, client, id string, at time.Time, events ...audit.Event) error {
	return s.write(ctx, "apikey.revoke", events, func(t *tx) error {
		if err := t.one(`UPDATE api_key SET revoked_at = $1 WHERE id = $2 AND client = $3 AND revoked_at = 0`, micros(at), id, client); err != nil {
			return err
		}
		_, err := bumpChange(t, ChangeAccess, "key/"+id, at)
		return err
	})
}

// UsedAPIKey records the day of a key's last use, and of its client's; with an
// empty key only of the client's.
func (s *Store) UsedAPIKey(ctx context.Context, client, key string, day int64) error {
	return s.write(ctx, "apikey.used", nil, func(t *tx) error {
		if _, err := t.exec(`UPDATE api_client SET used_day = $1 WHERE id = $2 AND used_day < $3`, day, client, day); err != nil {
			return err
		}
		_, err := t.exec(`UPDATE api_key SET used_day = $1 WHERE id = $2 AND used_day < $3`, day, key, day)
		return err
	})
}
