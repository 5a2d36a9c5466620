// Package pgtest gives tests a PostgreSQL of their own.
//
// It promises one server for each test binary, started at the first call on a
// temporary folder with the programs of Debian's package postgresql, and a fresh
// database for each test that asks. The server listens on 127.0.0.1 and on a
// socket in its folder, asks for a password drawn at its start, and sorts text
// by the rules of a language, as most installed servers do: code that needs the
// order of bytes has to say so. A guard process holds a pipe from the test
// binary; however the binary ends, kill -9 included, the pipe closes, and the
// guard stops the server by its process id and removes the folder.
//
// It trusts this machine's users as far as any test does. The superuser's
// password stands in the server's URL: whoever reads the test binary's memory
// can use the server as the system user that it runs as.
package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// limit bounds the start of a server and each statement of this package.
const limit = time.Minute

// instance is one server of this test binary; durable ones wait for the disk.
type instance struct {
	durable bool
	once    sync.Once
	base    *url.URL // without a database's name
	err     error
}

var (
	quick   = &instance{}
	durable = &instance{durable: true}
	count   atomic.Int64 // names databases
)

// Start starts the server of this test binary, if it does not run yet, and
// returns the postgres:// URL of its database "postgres". The server does not
// wait for the disk (fsync off): it survives kill -9, not a power cut.
func Start(t testing.TB) string {
	t.Helper()
	return quick.start(t)
}

// Database makes an empty database on the server of Start and returns its
// postgres:// URL. It is dropped when the test ends, open connections or not.
func Database(t testing.TB) string {
	t.Helper()
	return quick.database(t)
}

// DurableDatabase is Database on a second server that waits for the disk at each
// commit, as one in production does. It is for measuring.
func DurableDatabase(t testing.TB) string {
	t.Helper()
	return durable.database(t)
}

func (s *instance) start(t testing.TB) string {
	t.Helper()
	s.once.Do(func() { s.base, s.err = launch(s.durable) })
	if s.err != nil {
		t.Fatalf("starting PostgreSQL: %v", s.err)
	}
	return s.named("postgres")
}

func (s *instance) named(database string) string {
	u := *s.base
	u.Path = "/" + database
	return u.String()
}

func (s *instance) database(t testing.TB) string {
	t.Helper()
	admin := s.start(t)
	name := fmt.Sprintf("test_%d", count.Add(1))
	if err := run(admin, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("making a database: %v", err)
	}
	t.Cleanup(func() {
		if err := run(admin, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("dropping a database: %v", err)
		}
	})
	return s.named(name)
}

// run executes one statement on a connection of its own.
func run(url, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}
