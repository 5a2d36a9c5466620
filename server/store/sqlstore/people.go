package sqlstore

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
)

// Control events about people.
const (
	ChangePerson ChangeKind = "person"  // subject: the id of a person who was changed, disabled or erased
	ChangeSignIn ChangeKind = "sign-in" // subject: the id of a person some of whose sign-ins were ended
)

// Proofs are what a person proves themselves with, as stored. They do not print.
type Proofs struct {
	Password   string    // Argon2id in the PHC format; empty: none
	PasswordAt time.Time // when it was set; zero: it has to be replaced at the next sign-in
	TOTP       []byte    // sealed; empty: none
	TOTPStep   int64     // the last time step (RFC 6238 section 4.2) that a code was taken of
	Handle     []byte    // what passkeys call the person (WebAuthn user handle): 32 random bytes
}

// Format writes the same for every value and verb.
func (Proofs) Format(f fmt.State, _ rune) { io.WriteString(f, "[proofs]") }

const personColumns = `id, name, display, mail, state, why, origin, external, break_glass, created_at, enabled_at, signed_in_at, version`
const proofColumns = `password, password_at, totp, totp_step, webauthn_user`

// personFields are where a row of personColumns goes; done finishes it.
func personFields(p *access.Person) (dest []any, done func()) {
	var glass int
	var created, enabled, signedIn int64
	return []any{&p.ID, &p.Name, &p.Display, &p.Mail, &p.State, &p.Why, &p.Origin, &p.External, &glass, &created, &enabled, &signedIn, &p.Version}, func() {
		p.BreakGlass, p.CreatedAt, p.EnabledAt, p.SignedInAt = glass != 0, fromMicros(created), fromMicros(enabled), fromMicros(signedIn)
	}
}

func scanPerson(sc scanner) (p access.Person, err error) {
	dest, done := personFields(&p)
	err = notFound(sc.Scan(dest...))
	done()
	return p, err
}

func (s *Store) personBy(ctx context.Context, where string, args ...any) (p access.Person, proofs Proofs, err error) {
	dest, done := personFields(&p)
	var at int64
	err = s.row(ctx, `SELECT `+personColumns+`, `+proofColumns+` FROM person WHERE `+where, args,
		append(dest, &proofs.Password, &at, &proofs.TOTP, &proofs.TOTPStep, &proofs.Handle)...)
	done()
	proofs.PasswordAt = fromMicros(at)
	return p, proofs, err
}

// Person returns a person and their proofs, or ErrNotFound.
func (s *Store) Person(ctx context.Context, id access.PersonID) (access.Person, Proofs, error) {
	return s.personBy(ctx, `id = $1`, id)
}

// PersonByName finds a person who is not erased by the name they sign in with.
func (s *Store) PersonByName(ctx context.Context, name string) (access.Person, Proofs, error) {
	return s.personBy(ctx, `name = $1 AND state <> 'erased'`, name)
}

// PersonByExternal finds a person by their id at an identity provider.
func (s *Store) PersonByExternal(ctx context.Context, origin, external string) (access.Person, Proofs, error) {
	return s.personBy(ctx, `origin = $1 AND external = $2 AND external <> ''`, origin, external)
}

// PersonByHandle finds a person by what their passkeys call them.
func (s *Store) PersonByHandle(ctx context.Context, handle []byte) (access.Person, Proofs, error) {
	return s.personBy(ctx, `webauthn_user = $1`, handle)
}

// PeopleFilter selects people, by name.
type PeopleFilter struct {
	State  access.PersonState
	Origin string
	Prefix string          // of the name
	After  access.PersonID // the last one seen
	Limit  int
}

// People lists people by name; those erased are named by their ids.
func (s *Store) People(ctx context.Context, f PeopleFilter) (list []access.Person, err error) {
	where, args := []string{"1 = 1"}, []any{}
	add := func(given bool, text string, values ...any) {
		if !given {
			return
		}
		for _, v := range values {
			args = append(args, v)
			text = strings.Replace(text, "?", fmt.Sprintf("$%d", len(args)), 1)
		}
		where = append(where, text)
	}
	add(f.State != "", "state = ?", f.State)
	add(f.Origin != "", "origin = ?", f.Origin)
	add(f.Prefix != "", "name >= ? AND name < ?", f.Prefix, f.Prefix+"~") // '~' sorts behind every character of a name
	add(f.After != "", "(name, id) > ((SELECT o.name FROM person o WHERE o.id = ?), ?)", f.After, f.After)
	args = append(args, f.Limit)
	err = s.all(ctx, `SELECT `+personColumns+` FROM person WHERE `+strings.Join(where, " AND ")+fmt.Sprintf(` ORDER BY name, id LIMIT $%d`, len(args)), args, func(sc scanner) error {
		p, err := scanPerson(sc)
		list = append(list, p)
		return err
	})
	return list, err
}

// CountPeople counts the accounts that were ever made.
func (s *Store) CountPeople(ctx context.Context) (n int, err error) {
	err = s.row(ctx, `SELECT COUNT(*) FROM person`, nil, &n)
	return n, err
}

// IdlePeople lists active people who were neither made, enabled nor signed in
// since a time, those for emergencies excepted; at most 1000.
func (s *Store) IdlePeople(ctx context.Context, since time.Time) (list []access.Person, err error) {
	err = s.all(ctx, `SELECT `+personColumns+` FROM person WHERE state = 'active' AND break_glass = 0
		AND created_at < $1 AND enabled_at < $2 AND signed_in_at < $3 ORDER BY id LIMIT 1000`, []any{micros(since), micros(since), micros(since)}, func(sc scanner) error {
		p, err := scanPerson(sc)
		list = append(list, p)
		return err
	})
	return list, err
}

// OldPasswords lists a person's former passwords as stored, newest first.
func (s *Store) OldPasswords(ctx context.Context, id access.PersonID, limit int) (list []string, err error) {
	err = s.all(ctx, `SELECT password FROM person_old_password WHERE person = $1 ORDER BY at DESC LIMIT $2`, []any{id, limit}, func(sc scanner) error {
		var text string
		err := sc.Scan(&text)
		list = append(list, text)
		return err
	})
	return list, err
}

// InsertPerson adds a person and does steps, in one transaction. ErrChanged when
// the name, the id at the identity provider or the id is taken.
func (s *Store) InsertPerson(ctx context.Context, p access.Person, handle []byte, steps []PersonStep, events ...audit.Event) error {
	return s.write(ctx, "person.insert", events, func(t *tx) error {
		if err := t.one(`INSERT INTO person (`+personColumns+`, `+proofColumns+`)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, '', 0, NULL, 0, $14) ON CONFLICT DO NOTHING`,
			p.ID, p.Name, p.Display, p.Mail, p.State, p.Why, p.Origin, p.External, flag(p.BreakGlass),
			micros(p.CreatedAt), micros(p.EnabledAt), micros(p.SignedInAt), p.Version, handle); err != nil {
			return err
		}
		return walk(t, p.ID, steps)
	})
}

// ChangePerson writes a person as given and does steps, in one transaction.
// ErrChanged unless the stored version is was, and when the name is another's;
// ErrSpent when a step uses what can be used once and was.
func (s *Store) ChangePerson(ctx context.Context, was int64, p access.Person, steps []PersonStep, events ...audit.Event) error {
	return s.write(ctx, "person.change", events, func(t *tx) error {
		if err := t.one(`UPDATE person SET name = $1, display = $2, mail = $3, state = $4, why = $5, external = $6, break_glass = $7, enabled_at = $8, signed_in_at = $9, version = $10
			WHERE id = $11 AND version = $12 AND NOT EXISTS (SELECT 1 FROM person o WHERE o.name = $13 AND o.id <> $14 AND o.state <> 'erased')`,
			p.Name, p.Display, p.Mail, p.State, p.Why, p.External, flag(p.BreakGlass), micros(p.EnabledAt), micros(p.SignedInAt), p.Version,
			p.ID, was, p.Name, p.ID); err != nil {
			return err
		}
		return walk(t, p.ID, steps)
	})
}

// SweepPeople deletes what ended: ceremonies and ids that expired before now, and
// sign-ins that ended or expired before gone.
func (s *Store) SweepPeople(ctx context.Context, now, gone time.Time) error {
	return s.write(ctx, "person.sweep", nil, func(t *tx) error {
		for _, table := range []string{"ceremony", "seen_once"} {
			if _, err := t.exec(`DELETE FROM `+table+` WHERE expires_at < $1`, micros(now)); err != nil {
				return err
			}
		}
		_, err := t.exec(`DELETE FROM sign_in WHERE expires_at < $1 OR ended_at > 0 AND ended_at < $2`, micros(gone), micros(gone))
		return err
	})
}
