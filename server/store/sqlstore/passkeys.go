package sqlstore

import (
	"context"
	"time"

	"github.com/holdfast-iot/holdfast/access"
)

// Passkey is a WebAuthn credential of a person.
type Passkey struct {
	ID         string // the credential's id, base64url
	Person     access.PersonID
	Name       string
	Credential []byte // the record as package people keeps it
	CreatedAt  time.Time
	UsedAt     time.Time
}

// Passkeys lists a person's passkeys, oldest first.
func (s *Store) Passkeys(ctx context.Context, id access.PersonID) (list []Passkey, err error) {
	err = s.all(ctx, `SELECT id, person, name, credential, created_at, used_at FROM passkey WHERE person = $1 ORDER BY created_at, id`, []any{id}, func(sc scanner) error {
		var k Passkey
		var created, used int64
		err := sc.Scan(&k.ID, &k.Person, &k.Name, &k.Credential, &created, &used)
		k.CreatedAt, k.UsedAt = fromMicros(created), fromMicros(used)
		list = append(list, k)
		return err
	})
	return list, err
}

// RecoveryCodes counts a person's unused recovery codes, and all that were made.
func (s *Store) RecoveryCodes(ctx context.Context, id access.PersonID) (left, made int, err error) {
	err = s.row(ctx, `SELECT COUNT(*), COALESCE(SUM(CASE WHEN used_at = 0 THEN 1 ELSE 0 END), 0) FROM recovery_code WHERE person = $1`, []any{id}, &made, &left)
	return left, made, err
}

// AddPasskey adds a passkey while the person has fewer than limit; ErrChanged
// when they have as many, or a passkey of this id is known.
func AddPasskey(k Passkey, limit int) PersonStep {
	return func(t *tx, id access.PersonID) error {
		var n int
		if err := t.row(`SELECT COUNT(*) FROM passkey WHERE person = $1`, []any{id}, &n); err != nil {
			return err
		}
		if n >= limit {
			return ErrChanged
		}
		return t.one(`INSERT INTO passkey (id, person, name, credential, created_at, used_at) VALUES ($1, $2, $3, $4, $5, 0) ON CONFLICT DO NOTHING`,
			k.ID, id, k.Name, k.Credential, micros(k.CreatedAt))
	}
}

// UsePasskey replaces the record of a passkey, whose counter went on; ErrSpent
// when the record is not was any more.
func UsePasskey(key string, was, credential []byte, at time.Time) PersonStep {
	return func(t *tx, id access.PersonID) error {
		return spend(t, `UPDATE passkey SET credential = $1, used_at = $2 WHERE id = $3 AND person = $4 AND credential = $5`, credential, micros(at), key, id, was)
	}
}

// RenamePasskey gives a passkey another name.
func RenamePasskey(key, name string) PersonStep {
	return func(t *tx, id access.PersonID) error {
		return t.one(`UPDATE passkey SET name = $1 WHERE id = $2 AND person = $3`, name, key, id)
	}
}

// RemovePasskey deletes a passkey.
func RemovePasskey(key string) PersonStep {
	return func(t *tx, id access.PersonID) error {
		return t.one(`DELETE FROM passkey WHERE id = $1 AND person = $2`, key, id)
	}
}

// HasRecoveryCode tells whether a person has an unused recovery code of this hash.
func (s *Store) HasRecoveryCode(ctx context.Context, id access.PersonID, hash [32]byte) (bool, error) {
	var n int
	err := s.row(ctx, `SELECT COUNT(*) FROM recovery_code WHERE person = $1 AND hash = $2 AND used_at = 0`, []any{id, hash[:]}, &n)
	return n > 0, err
}
