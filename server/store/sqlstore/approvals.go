package sqlstore

import (
	"context"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
)

const approvalColumns = `id, action, operation, summary, method, path, body, content_type, requested_by, requested_at, reason, expires_at, state, decided_by, decided_at, comment, outcome`

func scanApproval(sc scanner) (a access.Approval, err error) {
	var requested, expires, decided int64
	err = sc.Scan(&a.ID, &a.Action, &a.Operation, &a.Summary, &a.Method, &a.Path, &a.Body, &a.ContentType, &a.RequestedBy, &requested, &a.Reason, &expires,
		&a.State, &a.DecidedBy, &decided, &a.Comment, &a.Outcome)
	a.RequestedAt, a.ExpiresAt, a.DecidedAt = fromMicros(requested), fromMicros(expires), fromMicros(decided)
	return a, notFound(err)
}

// Approval returns a request or ErrNotFound.
func (s *Store) Approval(ctx context.Context, id string) (access.Approval, error) {
	st, err := s.stmt(ctx, `SELECT `+approvalColumns+` FROM approval WHERE id = $1`)
	if err != nil {
		return access.Approval{}, err
	}
	return scanApproval(st.QueryRowContext(ctx, id))
}

// Approvals lists requests in a state, or with an empty one all, newest first,
// below an id when one is given. Ids grow with time.
func (s *Store) Approvals(ctx context.Context, state access.ApprovalState, before string, limit int) (list []access.Approval, err error) {
	err = s.all(ctx, `SELECT `+approvalColumns+` FROM approval WHERE (state = $1 OR $1 = '') AND (id < $2 OR $2 = '') ORDER BY id DESC LIMIT $3`, []any{state, before, limit}, func(sc scanner) error {
		a, err := scanApproval(sc)
		list = append(list, a)
		return err
	})
	return list, err
}

// InsertApproval adds a request. It is ErrChanged when who asks has limit requests
// waiting already.
func (s *Store) InsertApproval(ctx context.Context, a access.Approval, limit int, events ...audit.Event) error {
	return s.write(ctx, "approval.insert", events, func(t *tx) error {
		var waiting int
		if err := t.row(`SELECT COUNT(*) FROM approval WHERE state = 'waiting' AND requested_by = $1`, []any{a.RequestedBy}, &waiting); err != nil {
			return err
		}
		if waiting >= limit {
			return ErrChanged
		}
		return t.one(`INSERT INTO approval (`+approvalColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)`,
			a.ID, a.Action, a.Operation, a.Summary, a.Method, a.Path, a.Body, a.ContentType, a.RequestedBy, micros(a.RequestedAt), a.Reason, micros(a.ExpiresAt),
			a.State, a.DecidedBy, micros(a.DecidedAt), a.Comment, a.Outcome)
	})
}

// MoveApproval writes a request's new state, if it still is in the state from;
// else ErrChanged. Of two who decide at once one succeeds.
func (s *Store) MoveApproval(ctx context.Context, a access.Approval, from access.ApprovalState, events ...audit.Event) error {
	return s.write(ctx, "approval.move", events, func(t *tx) error {
		return t.one(`UPDATE approval SET state = $1, decided_by = $2, decided_at = $3, comment = $4, outcome = $5 WHERE id = $6 AND state = $7`,
			a.State, a.DecidedBy, micros(a.DecidedAt), a.Comment, a.Outcome, a.ID, from)
	})
}

// ExpireApprovals ends the requests that waited too long.
func (s *Store) ExpireApprovals(ctx context.Context, now time.Time) (n int64, err error) {
	err = s.write(ctx, "approval.expire", nil, func(t *tx) error {
		n, err = t.exec(`UPDATE approval SET state = 'expired' WHERE state = 'waiting' AND expires_at <= $1`, micros(now))
		return err
	})
	return n, err
}

// Tally adds n to what a party has done since, at the latest, cutoff, and reports
// whether it is at most limit; what would be more is not added. Older tallies end.
func (s *Store) Tally(ctx context.Context, who string, n, limit int, cutoff, now time.Time) (within bool, err error) {
	err = s.write(ctx, "tally.add", nil, func(t *tx) error {
		if _, err := t.exec(`DELETE FROM tally WHERE since <= $1`, micros(cutoff)); err != nil {
			return err
		}
		if n > limit {
			return nil
		}
		rows, err := t.exec(`INSERT INTO tally (who, since, n) VALUES ($1, $2, $3) ON CONFLICT (who) DO UPDATE SET n = tally.n + excluded.n WHERE tally.n + excluded.n <= $4`,
			who, micros(now), n, limit)
		within = rows > 0
		return err
	})
	return within, err
}
