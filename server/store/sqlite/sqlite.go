// Package sqlite opens and migrates the embedded database: one file in WAL mode,
// one writing connection that commits in groups, several reading ones.
//
// It promises that a commit is on the disk before it is acknowledged
// (synchronous=FULL). It trusts the file system's permissions: the file is made
// 0600, and whoever can write it can change everything but the past of the audit
// log without being found.
package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// readers is how many queries run at once beside the writer.
const readers = 4

// Open opens the database file at path, makes it if it does not exist and brings
// its schema up to date.
func Open(ctx context.Context, path string, faults sqlstore.Faults) (*sqlstore.Store, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	f.Close()
	write, err := open(path, "_pragma=synchronous(full)", 1)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, write); err != nil {
		write.Close()
		return nil, err
	}
	read, err := open(path, "_pragma=query_only(1)", readers)
	if err != nil {
		write.Close()
		return nil, err
	}
	store, err := sqlstore.New(ctx, sqlstore.Config{Read: read, Write: write, Serial: true, Faults: faults})
	if err != nil {
		write.Close()
		read.Close()
	}
	return store, err
}

func open(path, pragma string, conns int) (*sql.DB, error) {
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String() +
		"?_pragma=busy_timeout(10000)&_pragma=journal_mode(wal)&_pragma=foreign_keys(1)&_pragma=cache_size(-8000)" +
		"&_pragma=temp_store(memory)&_pragma=journal_size_limit(67108864)&" + pragma
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("opening the database %s: %w", path, err)
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

func migrate(ctx context.Context, db *sql.DB) error {
	p, err := goose.NewProvider(goose.DialectSQLite3, db, sqlstore.Migrations(), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	return nil
}
