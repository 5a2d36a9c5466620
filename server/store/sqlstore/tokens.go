package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
)

const tokenColumns = `id, hash, kind, type, zone, device_id, id_prefix, labels, approval, quota, used, expires_at, created_at, created_by, note, revoked_at`

func scanToken(sc scanner) (t enroll.Token, err error) {
	var hash []byte
	var labels string
	var expires, created, revoked int64
	if err = sc.Scan(&t.ID, &hash, &t.Kind, &t.Type, &t.Zone, &t.DeviceID, &t.IDPrefix, &labels, &t.Approval, &t.Quota, &t.Used, &expires, &created, &t.CreatedBy, &t.Note, &revoked); err != nil {
		return t, notFound(err)
	}
	if copy(t.Hash[:], hash) != len(t.Hash) {
		return t, fmt.Errorf("reading token %s: its hash is cut short", t.ID)
	}
	t.ExpiresAt, t.CreatedAt, t.RevokedAt = fromMicros(expires), fromMicros(created), fromMicros(revoked)
	t.Labels, err = parseLabels(labels)
	return t, err
}

// Token returns an enrolment token or ErrNotFound.
func (s *Store) Token(ctx context.Context, id string) (enroll.Token, error) {
	st, err := s.stmt(ctx, `SELECT `+tokenColumns+` FROM token WHERE id = $1`)
	if err != nil {
		return enroll.Token{}, err
	}
	return scanToken(st.QueryRowContext(ctx, id))
}

// maxTokens bounds a listing of tokens.
const maxTokens = 10_000

// Tokens lists the newest tokens.
func (s *Store) Tokens(ctx context.Context) (list []enroll.Token, err error) {
	err = s.all(ctx, `SELECT `+tokenColumns+` FROM token ORDER BY created_at DESC, id LIMIT $1`, []any{maxTokens}, func(sc scanner) error {
		t, err := scanToken(sc)
		list = append(list, t)
		return err
	})
	return list, err
}

// InsertToken adds a token.
func (s *Store) InsertToken(ctx context.Context, t enroll.Token, events ...audit.Event) error {
	return s.write(ctx, "token.insert", events, func(x *tx) error {
		return x.one(`INSERT INTO token (`+tokenColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
			t.ID, t.Hash[:], t.Kind, t.Type, t.Zone, t.DeviceID, t.IDPrefix, formatLabels(t.Labels), t.Approval, t.Quota, t.Used,
			micros(t.ExpiresAt), micros(t.CreatedAt), t.CreatedBy, t.Note, micros(t.RevokedAt))
	})
}

// RevokeToken marks a token; ErrChanged if it does not exist or was revoked.
func (s *Store) RevokeToken(ctx context.Context, id string, at time.Time, events ...audit.Event) error {
	return s.write(ctx, "token.revoke", events, func(t *tx) error {
		return t.one(`UPDATE token SET revoked_at = $1 WHERE id = $2 AND revoked_at = 0`, micros(at), id)
	})
}

const waitingColumns = `id, device_id, type, zone, key_id, credential, source, requested_at, decision, decided_at, decided_by, reason`

func scanWaiting(sc scanner) (w enroll.Waiting, err error) {
	var requested, decided int64
	err = sc.Scan(&w.ID, &w.DeviceID, &w.Type, &w.Zone, &w.KeyID, &w.Credential, &w.Source, &requested, &w.Decision, &decided, &w.DecidedBy, &w.Reason)
	w.RequestedAt, w.DecidedAt = fromMicros(requested), fromMicros(decided)
	return w, notFound(err)
}

// Waiting lists undecided requests, oldest first.
func (s *Store) Waiting(ctx context.Context) (list []enroll.Waiting, err error) {
	err = s.all(ctx, `SELECT `+waitingColumns+` FROM waiting WHERE decision = 'undecided' ORDER BY requested_at, id LIMIT $1`, []any{enroll.MaxWaiting}, func(sc scanner) error {
		w, err := scanWaiting(sc)
		list = append(list, w)
		return err
	})
	return list, err
}

// WaitingByID returns a request or ErrNotFound.
func (s *Store) WaitingByID(ctx context.Context, id string) (enroll.Waiting, error) {
	st, err := s.stmt(ctx, `SELECT `+waitingColumns+` FROM waiting WHERE id = $1`)
	if err != nil {
		return enroll.Waiting{}, err
	}
	return scanWaiting(st.QueryRowContext(ctx, id))
}

// DecideWaiting records a decision about an undecided request and, when the
// device's state follows from it, the state (d may be nil). ErrChanged if the
// request was decided or the device moved meanwhile.
func (s *Store) DecideWaiting(ctx context.Context, w enroll.Waiting, d *device.Device, events ...audit.Event) error {
	return s.write(ctx, "waiting.decide", events, func(t *tx) error {
		if d != nil { // first, as in ChangeDevice
			if err := setState(t, d); err != nil {
				return err
			}
		}
		return t.one(`UPDATE waiting SET decision = $1, decided_at = $2, decided_by = $3, reason = $4 WHERE id = $5 AND decision = 'undecided'`,
			w.Decision, micros(w.DecidedAt), w.DecidedBy, w.Reason, w.ID)
	})
}
