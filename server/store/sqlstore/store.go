// Package sqlstore holds every query once, in the SQL that SQLite and PostgreSQL
// share. It never asks which one it is on: the packages sqlite and postgres open
// the database and hand it over.
//
// It promises that each exported method that changes anything is one
// transaction, together with the audit events of that change, and that a method
// that returned nil is durable. Conditions that a decision rested on are checked
// again in the write (versions, quotas, key ownership): a lost race comes back
// as ErrChanged. It trusts whoever can write the database file or hold its
// password: audit tampering by them is found by the log's proofs, not here.
package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are the goose migrations that both databases run.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// ErrChanged means that what a decision rested on is no longer so: read again
// and decide again.
var ErrChanged = errors.New("changed meanwhile")

// ErrNotFound means that no such row exists.
var ErrNotFound = errors.New("not found")

// Faults lets tests fail a write, named by its method: NotWritten before the
// commit, so that nothing was stored; Unreported after it, so that everything
// was stored and the caller is told otherwise.
type Faults struct {
	NotWritten func(write string) error
	Unreported func(write string) error
}

// writer runs functions in transactions; see serial and pooled.
type writer interface {
	write(ctx context.Context, fn func(*tx) error) error
	close()
}

// Store is safe for concurrent use.
type Store struct {
	w      writer
	r      *sql.DB
	closed func() error
	faults Faults

	mu       sync.Mutex
	prepared map[string]*sql.Stmt // of r, for queries with a fixed text

	outbox chan struct{} // told after each commit that wrote events
}

// Config is what a database package hands over.
type Config struct {
	Read *sql.DB // for queries outside transactions
	// Write is used for transactions. If Serial is set, all run one after the
	// other on one connection and commit in groups (one fsync for many); else
	// each has its own transaction, and Retry tells which errors are worth
	// another try (serialization failures, deadlocks).
	Write  *sql.DB
	Serial bool
	Retry  func(error) bool
	// Share ends a SELECT whose rows have to stay as read until the commit. It is
	// empty where transactions run one after the other.
	Share  string
	Faults Faults
}

// New makes a store on an open, migrated database.
func New(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{r: cfg.Read, faults: cfg.Faults, prepared: map[string]*sql.Stmt{}, outbox: make(chan struct{}, 1)}
	if cfg.Serial {
		w, err := newSerial(ctx, cfg.Write)
		if err != nil {
			return nil, err
		}
		s.w = w
	} else {
		s.w = &pooled{db: cfg.Write, retry: cfg.Retry, share: cfg.Share}
	}
	s.closed = func() error {
		if cfg.Write != cfg.Read {
			// The writer goes last: SQLite's last connection moves the write-ahead
			// log into the file, which a reader may not.
			return errors.Join(cfg.Read.Close(), cfg.Write.Close())
		}
		return cfg.Read.Close()
	}
	return s, nil
}

// Close ends all statements and closes the database.
func (s *Store) Close() error {
	s.w.close()
	s.mu.Lock()
	for _, stmt := range s.prepared {
		stmt.Close()
	}
	s.mu.Unlock()
	return s.closed()
}

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return s.r.QueryRowContext(ctx, "SELECT 1").Scan(&one)
}

// Outbox yields a value after commits that wrote audit events here.
func (s *Store) Outbox() <-chan struct{} { return s.outbox }

// write runs fn, stores events and runs last, in one transaction.
func (s *Store) write(ctx context.Context, name string, events []audit.Event, fn func(*tx) error, last ...func(*tx) error) error {
	leaves := make([][]byte, len(events))
	for i, e := range events {
		leaf, err := audit.Encode(e)
		if err != nil {
			return fmt.Errorf("writing %s: its audit event: %w", name, err)
		}
		leaves[i] = leaf
	}
	err := s.w.write(ctx, func(t *tx) error {
		if err := fn(t); err != nil {
			return err
		}
		if err := putEvents(t, events, leaves); err != nil {
			return err
		}
		for _, fn := range last {
			if err := fn(t); err != nil {
				return err
			}
		}
		if s.faults.NotWritten != nil {
			return s.faults.NotWritten(name)
		}
		return nil
	})
	if err == nil && s.faults.Unreported != nil {
		err = s.faults.Unreported(name)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if len(events) > 0 {
		select {
		case s.outbox <- struct{}{}:
		default:
		}
	}
	return nil
}

// putEvents writes events to the outbox, many to a statement.
func putEvents(t *tx, events []audit.Event, leaves [][]byte) error {
	for start := 0; start < len(leaves); start += entryChunk {
		end := min(start+entryChunk, len(leaves))
		args := make([]any, 0, 2*(end-start))
		for i := start; i < end; i++ {
			args = append(args, events[i].ID, leaves[i])
		}
		if _, err := t.exec(`INSERT INTO audit_outbox (id, leaf) VALUES `+tuples(end-start, 2), args...); err != nil {
			return err
		}
	}
	return nil
}

// stmt prepares a query of fixed text once.
func (s *Store) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.prepared[query]; st != nil {
		return st, nil
	}
	st, err := s.r.PrepareContext(ctx, query)
	if err == nil {
		s.prepared[query] = st
	}
	return st, err
}

// row reads one row outside a transaction; ErrNotFound when there is none.
func (s *Store) row(ctx context.Context, query string, args []any, dest ...any) error {
	st, err := s.stmt(ctx, query)
	if err != nil {
		return err
	}
	return notFound(st.QueryRowContext(ctx, args...).Scan(dest...))
}

// all reads rows outside a transaction and hands each to scan.
func (s *Store) all(ctx context.Context, query string, args []any, scan func(scanner) error) error {
	st, err := s.stmt(ctx, query)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	return each(rows, scan)
}

// scanner is *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

func each(rows *sql.Rows, scan func(scanner) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// micros stores a time; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros is the inverse of micros, in UTC.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
