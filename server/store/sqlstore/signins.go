package sqlstore

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
)

// SignInKeys are SHA-256 hashes of a sign-in's secrets. They do not print.
type SignInKeys struct {
	Hash []byte // what it is found by: of the cookie, or of the lasting part of a refresh token
	Old  []byte // of the cookie before; nil when that counts no more
	Turn []byte // of the part of a refresh token that changes with each use; nil in a browser
	Salt []byte // leads from the old cookie to the present one; nil when nothing does
}

// Format writes the same for every value and verb.
func (SignInKeys) Format(f fmt.State, _ rune) { io.WriteString(f, "[keys]") }

// SignIn is a sign-in of a person, as stored.
type SignIn struct {
	ID        string
	Keys      SignInKeys
	Person    access.PersonID
	Kind      string
	Stage     string
	Methods   string // what was proven, joined by commas
	Strong    bool
	CreatedAt time.Time
	SeenAt    time.Time
	FreshAt   time.Time
	Tries     int // second factors that were tried since one was right
	RotatedAt time.Time
	ExpiresAt time.Time
	EndedAt   time.Time
	Source    string
	Agent     string
	Upstream  string // the identity provider's session
}

const signInColumns = `s.id, s.hash, s.old_hash, s.turn, s.salt, s.person, s.kind, s.stage, s.methods, s.strong, s.created_at, s.seen_at, s.fresh_at, s.tries,
	s.rotated_at, s.expires_at, s.ended_at, s.source, s.agent, s.upstream`

func signInFields(s *SignIn) (dest []any, done func()) {
	var strong int
	var created, seen, fresh, rotated, expires, ended int64
	return []any{&s.ID, &s.Keys.Hash, &s.Keys.Old, &s.Keys.Turn, &s.Keys.Salt, &s.Person, &s.Kind, &s.Stage, &s.Methods, &strong, &created, &seen, &fresh, &s.Tries,
			&rotated, &expires, &ended, &s.Source, &s.Agent, &s.Upstream}, func() {
			s.Strong, s.CreatedAt, s.SeenAt, s.FreshAt = strong != 0, fromMicros(created), fromMicros(seen), fromMicros(fresh)
			s.RotatedAt, s.ExpiresAt, s.EndedAt = fromMicros(rotated), fromMicros(expires), fromMicros(ended)
		}
}

// signInWithPerson is personColumns of p.
const signInWithPerson = `p.id, p.name, p.display, p.mail, p.state, p.why, p.origin, p.external, p.break_glass, p.created_at, p.enabled_at, p.signed_in_at, p.version`

func (s *Store) signInBy(ctx context.Context, where string, arg any) (in SignIn, p access.Person, err error) {
	dest, done := signInFields(&in)
	more, alsoDone := personFields(&p)
	err = s.row(ctx, `SELECT `+signInColumns+`, `+signInWithPerson+` FROM sign_in s JOIN person p ON p.id = s.person WHERE `+where, []any{arg}, append(dest, more...)...)
	done()
	alsoDone()
	return in, p, err
}

// SignInByHash finds a sign-in, and whose it is, by the hash of its cookie or of
// the lasting part of its refresh token.
func (s *Store) SignInByHash(ctx context.Context, hash [32]byte) (SignIn, access.Person, error) {
	return s.signInBy(ctx, `s.hash = $1`, hash[:])
}

// SignInByOldHash finds a sign-in by the hash of the cookie it had before.
func (s *Store) SignInByOldHash(ctx context.Context, hash [32]byte) (SignIn, access.Person, error) {
	return s.signInBy(ctx, `s.old_hash = $1`, hash[:])
}

// SignIn returns a sign-in by its id, and whose it is.
func (s *Store) SignIn(ctx context.Context, id string) (SignIn, access.Person, error) {
	return s.signInBy(ctx, `s.id = $1`, id)
}

// maxSignIns bounds a listing of a person's sign-ins.
const maxSignIns = 1000

// SignIns lists a person's sign-ins that have not ended, newest first.
func (s *Store) SignIns(ctx context.Context, id access.PersonID, now time.Time) (list []SignIn, err error) {
	err = s.all(ctx, `SELECT `+signInColumns+` FROM sign_in s WHERE s.person = $1 AND s.ended_at = 0 AND s.expires_at > $2 ORDER BY s.created_at DESC, s.id LIMIT $3`,
		[]any{id, micros(now), maxSignIns}, func(sc scanner) error {
			var in SignIn
			dest, done := signInFields(&in)
			err := sc.Scan(dest...)
			done()
			list = append(list, in)
			return err
		})
	return list, err
}

// SignInWithPerson is a sign-in and whose it is.
type SignInWithPerson struct {
	SignIn
	Owner access.Person
}

// AllSignIns lists sign-ins of all people that have not ended, newest first, from
// behind the one with the id before on (empty: from the newest); limit is at most
// 1000.
func (s *Store) AllSignIns(ctx context.Context, now time.Time, before string, limit int) (list []SignInWithPerson, err error) {
	where, args := ``, []any{micros(now), min(limit, maxSignIns)}
	if before != "" {
		where = ` AND (s.created_at, s.id) < (SELECT b.created_at, b.id FROM sign_in b WHERE b.id = $3)`
		args = append(args, before)
	}
	err = s.all(ctx, `SELECT `+signInColumns+`, `+signInWithPerson+` FROM sign_in s JOIN person p ON p.id = s.person WHERE s.ended_at = 0 AND s.expires_at > $1`+where+
		` ORDER BY s.created_at DESC, s.id DESC LIMIT $2`, args, func(sc scanner) error {
		var in SignInWithPerson
		dest, done := signInFields(&in.SignIn)
		more, alsoDone := personFields(&in.Owner)
		err := sc.Scan(append(dest, more...)...)
		done()
		alsoDone()
		list = append(list, in)
		return err
	})
	return list, err
}

// NewPlace is a place that somebody signed in from who had others before.
type NewPlace struct {
	Person access.PersonID
	Place  string
	Since  time.Time
}

// NewPlaces lists the places that were new to somebody at or after a time, at most
// 10,000.
func (s *Store) NewPlaces(ctx context.Context, since time.Time) (list []NewPlace, err error) {
	err = s.all(ctx, `SELECT n.person, n.place, n.first_at FROM person_place n
		WHERE n.first_at >= $1 AND EXISTS (SELECT 1 FROM person_place o WHERE o.person = n.person AND o.first_at < n.first_at) ORDER BY n.first_at DESC LIMIT 10000`,
		[]any{micros(since)}, func(sc scanner) error {
			var n NewPlace
			var at int64
			err := sc.Scan(&n.Person, &n.Place, &at)
			n.Since = fromMicros(at)
			list = append(list, n)
			return err
		})
	return list, err
}

// KnownPlace tells whether a person signed in from a place whose name begins so.
func (s *Store) KnownPlace(ctx context.Context, id access.PersonID, prefix string) (bool, error) {
	var n int
	err := s.row(ctx, `SELECT COUNT(*) FROM person_place WHERE person = $1 AND place >= $2 AND place < $3`, []any{id, prefix, prefix + "~"}, &n)
	return n > 0, err
}

// Places counts the places a person signed in from.
func (s *Store) Places(ctx context.Context, id access.PersonID) (n int, err error) {
	err = s.row(ctx, `SELECT COUNT(*) FROM person_place WHERE person = $1`, []any{id}, &n)
	return n, err
}

// PutSignIn adds a sign-in.
func PutSignIn(in SignIn) PersonStep {
	return func(t *tx, id access.PersonID) error {
		return t.one(`INSERT INTO sign_in (id, hash, old_hash, turn, salt, person, kind, stage, methods, strong, created_at, seen_at, fresh_at, tries, rotated_at, expires_at, ended_at, source, agent, upstream)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 0, $17, $18, $19)`,
			in.ID, in.Keys.Hash, in.Keys.Old, in.Keys.Turn, in.Keys.Salt, id, in.Kind, in.Stage, in.Methods, flag(in.Strong),
			micros(in.CreatedAt), micros(in.SeenAt), micros(in.FreshAt), in.Tries, micros(in.RotatedAt), micros(in.ExpiresAt), in.Source, in.Agent, in.Upstream)
	}
}

// MoveSignIn writes a sign-in that went on, but for its turn, which only
// RotateSignIn writes; ErrChanged when it ended, or its present hash is not was.
func MoveSignIn(in SignIn, was []byte) PersonStep {
	return func(t *tx, id access.PersonID) error {
		return t.one(`UPDATE sign_in SET hash = $1, old_hash = $2, salt = $3, stage = $4, methods = $5, strong = $6, seen_at = $7, fresh_at = $8, tries = $9, rotated_at = $10,
			expires_at = $11, upstream = $12 WHERE id = $13 AND person = $14 AND hash = $15 AND ended_at = 0`,
			in.Keys.Hash, in.Keys.Old, in.Keys.Salt, in.Stage, in.Methods, flag(in.Strong), micros(in.SeenAt), micros(in.FreshAt), in.Tries, micros(in.RotatedAt),
			micros(in.ExpiresAt), in.Upstream, in.ID, id, was)
	}
}

// EndOthers ends all of the person's sign-ins but one (empty: all), and tells
// all nodes.
func EndOthers(but string, at time.Time) PersonStep {
	return func(t *tx, id access.PersonID) error {
		n, err := t.exec(`UPDATE sign_in SET ended_at = $1 WHERE person = $2 AND id <> $3 AND ended_at = 0`, micros(at), id, but)
		if err != nil || n == 0 {
			return err
		}
		_, err = bumpChange(t, ChangeSignIn, string(id), at)
		return err
	}
}

// SignedInElsewhere lists the ids and origins of people with a sign-in that has not
// ended, whose accounts an identity provider keeps.
func (s *Store) SignedInElsewhere(ctx context.Context) (list []access.Person, err error) {
	err = s.all(ctx, `SELECT DISTINCT p.id, p.origin FROM sign_in s JOIN person p ON p.id = s.person WHERE s.ended_at = 0 AND p.origin <> 'local' ORDER BY p.id`, nil, func(sc scanner) error {
		var p access.Person
		err := sc.Scan(&p.ID, &p.Origin)
		list = append(list, p)
		return err
	})
	return list, err
}

// SignInsThrough lists the ids and people of the sign-ins that have not ended and came
// from a session at an identity provider.
func (s *Store) SignInsThrough(ctx context.Context, origin, upstream string) (list []SignIn, err error) {
	err = s.all(ctx, `SELECT s.id, s.person FROM sign_in s JOIN person p ON p.id = s.person WHERE s.ended_at = 0 AND s.upstream = $1 AND p.origin = $2 ORDER BY s.id LIMIT $3`,
		[]any{upstream, origin, maxSignIns}, func(sc scanner) error {
			var in SignIn
			err := sc.Scan(&in.ID, &in.Person)
			list = append(list, in)
			return err
		})
	return list, err
}

// EndSignIn ends one sign-in of a person and tells all nodes; ErrChanged when
// they have no such sign-in, or it ended.
func (s *Store) EndSignIn(ctx context.Context, person access.PersonID, id string, at time.Time, events ...audit.Event) error {
	return s.write(ctx, "signin.end", events, func(t *tx) error {
		if err := t.one(`UPDATE sign_in SET ended_at = $1 WHERE id = $2 AND person = $3 AND ended_at = 0`, micros(at), id, person); err != nil {
			return err
		}
		_, err := bumpChange(t, ChangeSignIn, string(person), at)
		return err
	})
}

// EndSignIns ends all of a person's sign-ins but one (empty: all) and tells all
// nodes.
func (s *Store) EndSignIns(ctx context.Context, person access.PersonID, but string, at time.Time, events ...audit.Event) error {
	return s.write(ctx, "signin.endall", events, func(t *tx) error { return EndOthers(but, at)(t, person) })
}

// TouchSignIn records that a sign-in was used, and when it ends if it is not
// used again.
func (s *Store) TouchSignIn(ctx context.Context, id string, seen, expires time.Time) error {
	return s.write(ctx, "signin.touch", nil, func(t *tx) error {
		_, err := t.exec(`UPDATE sign_in SET seen_at = $1, expires_at = $2 WHERE id = $3 AND ended_at = 0`, micros(seen), micros(expires), id)
		return err
	})
}

// RotateSignIn gives a sign-in other keys; ErrChanged when it ended, or its keys
// are not was any more.
func (s *Store) RotateSignIn(ctx context.Context, in SignIn, was SignInKeys) error {
	return s.write(ctx, "signin.rotate", nil, func(t *tx) error {
		query := `UPDATE sign_in SET hash = $1, old_hash = $2, turn = $3, salt = $4, seen_at = $5, rotated_at = $6, expires_at = $7, source = $8 WHERE id = $9 AND hash = $10 AND ended_at = 0`
		args := []any{in.Keys.Hash, in.Keys.Old, in.Keys.Turn, in.Keys.Salt, micros(in.SeenAt), micros(in.RotatedAt), micros(in.ExpiresAt), in.Source, in.ID, was.Hash}
		if was.Turn != nil {
			query, args = query+` AND turn = $11`, append(args, was.Turn)
		}
		return t.one(query, args...)
	})
}

// TrySignIn counts a second factor that is about to be tried, before it is
// looked at, so that tries at the same time count too. ErrChanged when the
// sign-in ended, or max were tried since one was right.
func (s *Store) TrySignIn(ctx context.Context, id string, max int) error {
	return s.write(ctx, "signin.try", nil, func(t *tx) error {
		return t.one(`UPDATE sign_in SET tries = tries + 1 WHERE id = $1 AND tries < $2 AND ended_at = 0`, id, max)
	})
}
