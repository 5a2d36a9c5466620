package sqlstore

import (
	"errors"
	"time"

	"github.com/holdfast-iot/holdfast/access"
)

// ErrSpent means that something that can be used once was used already: a code,
// a link, an answer to a challenge.
var ErrSpent = errors.New("used already")

// PersonStep is one part of a change of a person's account, see ChangePerson: the
// functions of this file and of signins.go and passkeys.go make them.
type PersonStep func(t *tx, id access.PersonID) error

func walk(t *tx, id access.PersonID, steps []PersonStep) error {
	for _, step := range steps {
		if err := step(t, id); err != nil {
			return err
		}
	}
	return nil
}

// spend runs a statement that must change exactly one row; else ErrSpent.
func spend(t *tx, query string, args ...any) error {
	err := t.one(query, args...)
	if err == ErrChanged {
		return ErrSpent
	}
	return err
}

// Tell writes a control event about the person.
func Tell(at time.Time) PersonStep {
	return func(t *tx, id access.PersonID) error {
		_, err := bumpChange(t, ChangePerson, string(id), at)
		return err
	}
}

// KeepAdmin is ErrChanged when the person was an administrator and nobody active is
// one any more. It has to come after Tell: two who end each other's accounts at
// once wait for each other there, so that one of them sees what the other did.
func KeepAdmin() PersonStep {
	return func(t *tx, id access.PersonID) error {
		var own, left int
		if err := t.row(`SELECT COUNT(*) FROM role_grant WHERE kind = 'person' AND subject = $1 AND role = 'admin' AND scope = '{}' AND expires_at = 0`, []any{id}, &own); err != nil || own == 0 {
			return err
		}
		if err := t.row(adminsQuery, []any{id}, &left); err != nil {
			return err
		}
		if left == 0 {
			return ErrChanged
		}
		return nil
	}
}

// SetPassword replaces the password and keeps the old one among the newest keep.
func SetPassword(stored string, at time.Time, keep int) PersonStep {
	return func(t *tx, id access.PersonID) error {
		if _, err := t.exec(`INSERT INTO person_old_password (person, at, password) SELECT id, $1, password FROM person WHERE id = $2 AND password <> '' ON CONFLICT DO NOTHING`, micros(at), id); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM person_old_password WHERE person = $1 AND at NOT IN (SELECT o.at FROM person_old_password o WHERE o.person = $2 ORDER BY o.at DESC LIMIT $3)`, id, id, keep); err != nil {
			return err
		}
		return t.one(`UPDATE person SET password = $1, password_at = $2 WHERE id = $3`, stored, micros(at), id)
	}
}

// Rehash replaces the stored form was of the present password by another one.
func Rehash(was, stored string) PersonStep {
	return func(t *tx, id access.PersonID) error {
		_, err := t.exec(`UPDATE person SET password = $1 WHERE id = $2 AND password = $3`, stored, id, was)
		return err
	}
}

// ExpirePassword makes the person replace their password at the next sign-in.
func ExpirePassword() PersonStep {
	return func(t *tx, id access.PersonID) error {
		_, err := t.exec(`UPDATE person SET password_at = 0 WHERE id = $1 AND password <> ''`, id)
		return err
	}
}

// SetTOTP replaces the sealed TOTP secret (nil: none); codes of steps up to step
// are spent.
func SetTOTP(sealed []byte, step int64) PersonStep {
	return func(t *tx, id access.PersonID) error {
		return t.one(`UPDATE person SET totp = $1, totp_step = $2 WHERE id = $3`, sealed, step, id)
	}
}

// UseTOTP spends the code of a time step, and those before it.
func UseTOTP(step int64) PersonStep {
	return func(t *tx, id access.PersonID) error {
		return spend(t, `UPDATE person SET totp_step = $1 WHERE id = $2 AND totp_step < $3 AND totp IS NOT NULL`, step, id, step)
	}
}

// SetRecoveryCodes replaces all recovery codes by those with these SHA-256 hashes.
func SetRecoveryCodes(hashes [][32]byte) PersonStep {
	return func(t *tx, id access.PersonID) error {
		if _, err := t.exec(`DELETE FROM recovery_code WHERE person = $1`, id); err != nil {
			return err
		}
		for _, h := range hashes {
			if _, err := t.exec(`INSERT INTO recovery_code (person, hash, used_at) VALUES ($1, $2, 0)`, id, h[:]); err != nil {
				return err
			}
		}
		return nil
	}
}

// UseRecoveryCode spends a recovery code.
func UseRecoveryCode(hash [32]byte, at time.Time) PersonStep {
	return func(t *tx, id access.PersonID) error {
		return spend(t, `UPDATE recovery_code SET used_at = $1 WHERE person = $2 AND hash = $3 AND used_at = 0`, micros(at), id, hash[:])
	}
}

// UseOnce spends an id of a kind until a time.
func UseOnce(kind, what string, until time.Time) PersonStep {
	return func(t *tx, _ access.PersonID) error {
		return spend(t, `INSERT INTO seen_once (kind, id, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, kind, what, micros(until))
	}
}

// PutLink replaces the person's one-time links of a kind by one.
func PutLink(c Ceremony) PersonStep {
	return func(t *tx, id access.PersonID) error {
		if err := DropLinks(c.Kind)(t, id); err != nil {
			return err
		}
		c.Person = id
		return putCeremony(t, c)
	}
}

// DropLinks deletes the person's one-time links of a kind.
func DropLinks(kind string) PersonStep {
	return func(t *tx, id access.PersonID) error {
		_, err := t.exec(`DELETE FROM ceremony WHERE person = $1 AND kind = $2`, id, kind)
		return err
	}
}

// UseLink deletes the person's links of a kind; ErrSpent unless hash is one.
func UseLink(kind string, hash [32]byte, now time.Time) PersonStep {
	return func(t *tx, id access.PersonID) error {
		if err := spend(t, `DELETE FROM ceremony WHERE hash = $1 AND kind = $2 AND person = $3 AND expires_at > $4`, hash[:], kind, id, micros(now)); err != nil {
			return err
		}
		return DropLinks(kind)(t, id)
	}
}

// SeePlace remembers that the person signed in from a place.
func SeePlace(place string, at time.Time) PersonStep {
	return func(t *tx, id access.PersonID) error {
		_, err := t.exec(`INSERT INTO person_place (person, place, first_at, last_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (person, place) DO UPDATE SET last_at = excluded.last_at`, id, place, micros(at), micros(at))
		return err
	}
}

// ClearProofs removes the password, the TOTP secret, passkeys, recovery codes and
// one-time links. The password joins the former ones, so that it does not come
// back.
func ClearProofs() PersonStep {
	return func(t *tx, id access.PersonID) error {
		if _, err := t.exec(`INSERT INTO person_old_password (person, at, password) SELECT id, password_at, password FROM person WHERE id = $1 AND password <> '' ON CONFLICT DO NOTHING`, id); err != nil {
			return err
		}
		for _, table := range []string{"passkey", "recovery_code", "ceremony"} {
			if _, err := t.exec(`DELETE FROM `+table+` WHERE person = $1`, id); err != nil {
				return err
			}
		}
		return t.one(`UPDATE person SET password = '', password_at = 0, totp = NULL WHERE id = $1`, id)
	}
}

// Forget deletes what ClearProofs does, former passwords, places and sign-ins.
func Forget() PersonStep {
	return func(t *tx, id access.PersonID) error {
		if err := ClearProofs()(t, id); err != nil {
			return err
		}
		for _, table := range []string{"person_old_password", "person_place", "sign_in"} {
			if _, err := t.exec(`DELETE FROM `+table+` WHERE person = $1`, id); err != nil {
				return err
			}
		}
		return nil
	}
}

// CheckLink is ErrSpent unless hash is a link of the person.
func CheckLink(kind string, hash [32]byte, now time.Time) PersonStep {
	return func(t *tx, id access.PersonID) error {
		var n int
		err := t.row(`SELECT COUNT(*) FROM ceremony WHERE hash = $1 AND kind = $2 AND person = $3 AND expires_at > $4`, []any{hash[:], kind, id, micros(now)}, &n)
		if err == nil && n != 1 {
			err = ErrSpent
		}
		return err
	}
}
