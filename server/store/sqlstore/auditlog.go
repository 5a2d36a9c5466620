package sqlstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
)

// OutboxRow is an event that waits to be sequenced.
type OutboxRow struct {
	ID   string
	Leaf []byte
}

// OutboxRows lists waiting events, oldest first.
func (s *Store) OutboxRows(ctx context.Context, limit int) (list []OutboxRow, err error) {
	err = s.all(ctx, `SELECT id, leaf FROM audit_outbox ORDER BY id LIMIT $1`, []any{limit}, func(sc scanner) error {
		var r OutboxRow
		err := sc.Scan(&r.ID, &r.Leaf)
		list = append(list, r)
		return err
	})
	return list, err
}

// AppendOutbox writes events that record no change of the database, such as a
// refused request.
func (s *Store) AppendOutbox(ctx context.Context, events ...audit.Event) error {
	return s.write(ctx, "audit.append", events, func(*tx) error { return nil })
}

// AcquireLease takes or renews a lease until a time, if it is free, over or
// already the holder's.
func (s *Store) AcquireLease(ctx context.Context, name, holder string, now, until time.Time) (bool, error) {
	err := s.write(ctx, "lease", nil, func(t *tx) error {
		return t.one(`INSERT INTO lease (name, holder, until) VALUES ($1, $2, $3)
			ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
			WHERE lease.holder = excluded.holder OR lease.until < $4`, name, holder, micros(until), micros(now))
	})
	if isChanged(err) {
		return false, nil
	}
	return err == nil, err
}

// ReleaseLease gives a lease back early.
func (s *Store) ReleaseLease(ctx context.Context, name, holder string) error {
	return s.write(ctx, "lease", nil, func(t *tx) error {
		_, err := t.exec(`DELETE FROM lease WHERE name = $1 AND holder = $2`, name, holder)
		return err
	})
}

// Batch is what the sequencer adds to the log at once.
type Batch struct {
	Holder string // of the lease "sequencer"
	Now    time.Time
	Size   int64 // of the log before
	Rows   []OutboxRow
	Tiles  []audit.Tile
	Signed []byte // the checkpoint after
	Forget int64  // size of an earlier checkpoint that need not be kept, or 0
}

// LeaseSequencer names the lease that the sequencer works under.
const LeaseSequencer = "sequencer"

// Sequence moves rows from the outbox into the log with their tiles and
// checkpoint, all or nothing. ErrChanged if the lease is no longer the holder's,
// the log has another size, or a row was sequenced already: so two sequencers
// cannot fork the log even if both believe that they hold the lease.
func (s *Store) Sequence(ctx context.Context, b Batch) error {
	return s.write(ctx, "audit.sequence", nil, func(t *tx) error {
		if err := t.one(`UPDATE lease SET until = until WHERE name = $1 AND holder = $2 AND until >= $3`, LeaseSequencer, b.Holder, micros(b.Now)); err != nil {
			return err
		}
		size, err := logSize(t)
		if err == nil && size != b.Size {
			err = ErrChanged
		}
		if err == nil {
			err = moveRows(t, b)
		}
		if err == nil {
			err = putTiles(t, b.Tiles)
		}
		if err == nil && b.Forget > 0 {
			_, err = t.exec(`DELETE FROM audit_checkpoint WHERE size = $1`, b.Forget)
		}
		if err == nil {
			err = t.one(`INSERT INTO audit_checkpoint (size, signed, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, b.Size+int64(len(b.Rows)), string(b.Signed), micros(b.Now))
		}
		return err
	})
}

func logSize(t *tx) (size int64, err error) {
	err = t.row(`SELECT COALESCE(MAX(idx) + 1, 0) FROM audit_entry`, nil, &size)
	return size, err
}

// entryChunk is the number of entries in one INSERT. Binding costs SQLite's
// driver the square of the number of parameters: few rows are quicker.
const entryChunk = 20

func moveRows(t *tx, b Batch) error {
	for start := 0; start < len(b.Rows); start += entryChunk {
		chunk := b.Rows[start:min(start+entryChunk, len(b.Rows))]
		entries := make([]any, 0, len(chunk)*6)
		ids := make([]any, 0, len(chunk))
		for i, r := range chunk {
			e, err := audit.Decode(r.Leaf)
			if err != nil {
				return fmt.Errorf("sequencing event %s: %w", r.ID, err)
			}
			entries = append(entries, b.Size+int64(start+i), micros(e.Time), e.Actor.Kind+":"+e.Actor.ID, e.Action, e.Subject.Kind+":"+e.Subject.ID, r.Leaf)
			ids = append(ids, r.ID)
		}
		if _, err := t.exec(`INSERT INTO audit_entry (idx, at, actor, action, subject, leaf) VALUES `+tuples(len(chunk), 6), entries...); err != nil {
			return err
		}
		n, err := t.exec(`DELETE FROM audit_outbox WHERE id IN (`+strings.Trim(tuples(1, len(chunk)), "()")+`)`, ids...)
		if err != nil {
			return err
		}
		if int(n) != len(chunk) {
			return ErrChanged
		}
	}
	return nil
}

func putTiles(t *tx, tiles []audit.Tile) error {
	for _, tile := range tiles {
		if err := t.one(`INSERT INTO audit_tile (level, n, data) VALUES ($1, $2, $3) ON CONFLICT (level, n) DO UPDATE SET data = excluded.data`, tile.Level, tile.N, tile.Data); err != nil {
			return err
		}
	}
	return nil
}

// LogSize is the number of sequenced events.
func (s *Store) LogSize(ctx context.Context) (size int64, err error) {
	err = s.row(ctx, `SELECT COALESCE(MAX(idx) + 1, 0) FROM audit_entry`, nil, &size)
	return size, err
}

// Tile reads a stored tile; ErrNotFound when there is none.
func (s *Store) Tile(ctx context.Context, level int, n int64) (data []byte, err error) {
	err = s.row(ctx, `SELECT data FROM audit_tile WHERE level = $1 AND n = $2`, []any{level, n}, &data)
	return data, err
}

// SignedCheckpoint is a stored checkpoint.
type SignedCheckpoint struct {
	Size   int64
	Signed []byte
	At     time.Time
}

// Checkpoint returns the newest checkpoint or ErrNotFound.
func (s *Store) Checkpoint(ctx context.Context) (c SignedCheckpoint, err error) {
	var at int64
	err = s.row(ctx, `SELECT size, signed, at FROM audit_checkpoint ORDER BY size DESC LIMIT 1`, nil, &c.Size, &c.Signed, &at)
	c.At = fromMicros(at)
	return c, err
}

// CheckpointsUpTo lists kept checkpoints up to a size, oldest first, at most 1000.
func (s *Store) CheckpointsUpTo(ctx context.Context, size int64) (list []SignedCheckpoint, err error) {
	err = s.all(ctx, `SELECT size, signed, at FROM audit_checkpoint WHERE size <= $1 ORDER BY size DESC LIMIT 1000`, []any{size}, func(sc scanner) error {
		var c SignedCheckpoint
		var at int64
		err := sc.Scan(&c.Size, &c.Signed, &at)
		c.At = fromMicros(at)
		list = append(list, c)
		return err
	})
	for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
		list[i], list[j] = list[j], list[i]
	}
	return list, err
}

// Cosigned replaces a checkpoint's text by the same with more signatures.
func (s *Store) Cosigned(ctx context.Context, size int64, signed []byte) error {
	return s.write(ctx, "audit.cosign", nil, func(t *tx) error {
		_, err := t.exec(`UPDATE audit_checkpoint SET signed = $1 WHERE size = $2`, string(signed), size)
		return err
	})
}

// Leaf is a sequenced event as stored.
type Leaf struct {
	Index int64
	Bytes []byte
}

// Leaves reads entries from an index on, in order.
func (s *Store) Leaves(ctx context.Context, from int64, limit int) (list []Leaf, err error) {
	err = s.all(ctx, `SELECT idx, leaf FROM audit_entry WHERE idx >= $1 ORDER BY idx LIMIT $2`, []any{from, limit}, func(sc scanner) error {
		var l Leaf
		err := sc.Scan(&l.Index, &l.Bytes)
		list = append(list, l)
		return err
	})
	return list, err
}

// EntryFilter selects entries, newest first; empty fields select all.
type EntryFilter struct {
	Actor, Action, Subject string // Action may end in ".*"
	Since, Until           time.Time
	Before                 int64 // index, exclusive; 0: from the newest
	Limit                  int
}

// Entries lists entries, newest first.
func (s *Store) Entries(ctx context.Context, f EntryFilter) (list []Leaf, err error) {
	where := []string{"idx >= $1"}
	args := []any{int64(0)}
	add := func(cond string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf(cond, len(args)))
	}
	if f.Actor != "" {
		add("actor = $%d", f.Actor)
	}
	if prefix, ok := strings.CutSuffix(f.Action, ".*"); ok {
		add("action >= $%d", prefix+".")
		add("action < $%d", prefix+"/") // '/' follows '.'
	} else if f.Action != "" {
		add("action = $%d", f.Action)
	}
	if f.Subject != "" {
		add("subject = $%d", f.Subject)
	}
	if !f.Since.IsZero() {
		add("at >= $%d", micros(f.Since))
	}
	if !f.Until.IsZero() {
		add("at < $%d", micros(f.Until))
	}
	if f.Before > 0 {
		add("idx < $%d", f.Before)
	}
	args = append(args, f.Limit)
	err = s.all(ctx, `SELECT idx, leaf FROM audit_entry WHERE `+strings.Join(where, " AND ")+fmt.Sprintf(` ORDER BY idx DESC LIMIT $%d`, len(args)), args, func(sc scanner) error {
		var l Leaf
		err := sc.Scan(&l.Index, &l.Bytes)
		list = append(list, l)
		return err
	})
	return list, err
}
