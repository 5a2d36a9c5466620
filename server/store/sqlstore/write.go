package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

// tx is one transaction, or one savepoint of a group. It must not be used after
// its function returned.
type tx struct {
	ctx  context.Context
	conn interface {
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
		QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	}
	prepare func(query string) (*sql.Stmt, error) // nil: the driver keeps statements itself
	share   string                                // see Config.Share
}

// exec runs a statement and returns the number of rows it changed.
func (t *tx) exec(query string, args ...any) (int64, error) {
	var res sql.Result
	var err error
	if t.prepare == nil {
		res, err = t.conn.ExecContext(t.ctx, query, args...)
	} else {
		st, perr := t.prepare(query)
		if perr != nil {
			return 0, perr
		}
		res, err = st.ExecContext(t.ctx, args...)
	}
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// one runs a statement that must change exactly one row; else ErrChanged.
func (t *tx) one(query string, args ...any) error {
	n, err := t.exec(query, args...)
	if err == nil && n != 1 {
		err = ErrChanged
	}
	return err
}

// row reads one row; ErrNotFound when there is none.
func (t *tx) row(query string, args []any, dest ...any) error {
	if t.prepare == nil {
		return notFound(t.conn.QueryRowContext(t.ctx, query, args...).Scan(dest...))
	}
	st, err := t.prepare(query)
	if err != nil {
		return err
	}
	return notFound(st.QueryRowContext(t.ctx, args...).Scan(dest...))
}

// pooled gives each write its own transaction, on any connection.
type pooled struct {
	db    *sql.DB
	retry func(error) bool
	share string
}

const maxTries = 10

func (p *pooled) close() {}

func (p *pooled) write(ctx context.Context, fn func(*tx) error) error {
	var err error
	for range maxTries {
		if err = p.once(ctx, fn); err == nil {
			return nil
		}
		if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
			return errors.Join(cause, err) // the driver may only say that a connection broke
		}
		if p.retry == nil || !p.retry(err) {
			return err
		}
	}
	return err
}

func (p *pooled) once(ctx context.Context, fn func(*tx) error) error {
	sqltx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer sqltx.Rollback()
	if err := fn(&tx{ctx: ctx, conn: sqltx, share: p.share}); err != nil {
		return err
	}
	return sqltx.Commit()
}

// serial runs all writes on one connection, in groups that commit together: each
// write is a savepoint, so that one that fails takes no other with it, and all
// of a group are told of success only after the group's commit is durable.
type serial struct {
	jobs chan *job
	done chan struct{}
	stop context.CancelFunc
	quit sync.Once

	// Owned by the goroutine of loop:
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
	busy  bool // the last group had company
}

// maxGroup bounds the writes of one commit, so that the first of a group does
// not wait long for the last.
const maxGroup = 128

// gather is how long a group stays open for more while the store is busy. A
// write that comes alone never waits for it.
const gather = time.Millisecond

type job struct {
	ctx  context.Context
	fn   func(*tx) error
	err  error
	done chan struct{}
}

func newSerial(ctx context.Context, db *sql.DB) (*serial, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the writing connection: %w", err)
	}
	run, stop := context.WithCancel(context.Background())
	s := &serial{jobs: make(chan *job, maxGroup), done: make(chan struct{}), stop: stop, conn: conn, stmts: map[string]*sql.Stmt{}}
	go s.loop(run)
	return s, nil
}

func (s *serial) close() {
	s.quit.Do(s.stop)
	<-s.done
}

func (s *serial) write(ctx context.Context, fn func(*tx) error) error {
	j := &job{ctx: ctx, fn: fn, done: make(chan struct{})}
	select {
	case s.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return errClosed
	}
	select {
	case <-j.done:
		return j.err
	case <-s.done:
		// The loop may have finished this job just before it ended.
		select {
		case <-j.done:
			return j.err
		default:
			return errClosed
		}
	}
}

var errClosed = errors.New("the store is closed")

func (s *serial) loop(ctx context.Context) {
	defer close(s.done)
	defer s.conn.Close()
	defer func() {
		for _, st := range s.stmts { // an open statement would keep the connection
			st.Close()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-s.jobs:
			s.group(ctx, j)
		}
	}
}

// group runs first and whatever waits behind it, then commits all of them.
func (s *serial) group(ctx context.Context, first *job) {
	group := []*job{first}
	finish := func(err error) {
		for _, j := range group {
			if j.err == nil {
				j.err = err
			}
			close(j.done)
		}
	}
	t := &tx{ctx: context.WithoutCancel(ctx), conn: s.conn, prepare: s.prepare}
	if _, err := t.exec("BEGIN IMMEDIATE"); err != nil {
		finish(fmt.Errorf("beginning: %w", err))
		return
	}
	var late <-chan time.Time
	for j := first; j != nil; j = s.next(late) {
		s.run(t, j)
		if j != first {
			group = append(group, j)
		}
		if len(group) == maxGroup {
			break
		}
		if late == nil && s.busy {
			late = time.After(gather)
		}
	}
	s.busy = len(group) > 1
	_, err := t.exec("COMMIT")
	if err != nil {
		err = fmt.Errorf("committing: %w", err)
		t.exec("ROLLBACK")
	}
	finish(err)
}

// next is the next waiting job. While the store is busy it waits for one until
// late, so that a commit, which costs an fsync and a copy of every page touched,
// serves more writes; else nil at once.
func (s *serial) next(late <-chan time.Time) *job {
	select {
	case j := <-s.jobs:
		return j
	default:
	}
	if late == nil {
		return nil
	}
	select {
	case j := <-s.jobs:
		return j
	case <-late:
		return nil
	}
}

// run executes one write inside a savepoint of the open transaction. The
// caller's context only stops it before it starts: a statement interrupted in
// the middle would cost the others of the group their transaction, and watching
// a context costs the driver a goroutine for each statement.
func (s *serial) run(t *tx, j *job) {
	if j.err = j.ctx.Err(); j.err != nil {
		return
	}
	if _, j.err = t.exec("SAVEPOINT w"); j.err != nil {
		return
	}
	if j.err = j.fn(t); j.err != nil {
		if _, err := t.exec("ROLLBACK TO w"); err != nil {
			j.err = errors.Join(j.err, err)
		}
	}
	if _, err := t.exec("RELEASE w"); err != nil {
		j.err = errors.Join(j.err, err)
	}
}

// maxStmts bounds the statements kept; writes have fixed texts, except imports'.
const maxStmts = 256

func (s *serial) prepare(query string) (*sql.Stmt, error) {
	if st := s.stmts[query]; st != nil {
		return st, nil
	}
	st, err := s.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	if len(s.stmts) >= maxStmts {
		for q, old := range s.stmts {
			old.Close()
			delete(s.stmts, q)
			break
		}
	}
	s.stmts[query] = st
	return st, nil
}
