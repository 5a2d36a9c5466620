// Package postgres opens and migrates a PostgreSQL database.
//
// It promises that several servers may open and migrate one database at once (a
// session lock orders them) and that transactions lost to a conflict are tried
// again. It trusts the database's own settings for durability: with
// synchronous_commit off, an acknowledged change can be lost, so it is set on.
package postgres

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// connections of one server to the database.
const connections = 16

// Open connects to a database by its postgres:// URL and brings its schema up to
// date. Errors never hold the URL, because it may hold a password.
func Open(ctx context.Context, url string, faults sqlstore.Faults) (*sqlstore.Store, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, errors.New("reading the database URL: it is not of the form postgres://user:password@host/name")
	}
	cfg.RuntimeParams["synchronous_commit"] = "on"
	cfg.RuntimeParams["application_name"] = "holdfast"
	// Listings walk an index in its order and stop early. At the default of 4,
	// made for spinning disks, the planner prefers to filter the primary key.
	cfg.RuntimeParams["random_page_cost"] = "1.1"
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("connecting to PostgreSQL at %s: %w", cfg.Host, err)
	}
	if err := migrate(ctx, db); err != nil {
		db.Close()
		return nil, err
	}
	return sqlstore.New(ctx, sqlstore.Config{Read: db, Write: db, Retry: retry, Share: " FOR SHARE", Faults: faults})
}

// retry tells a serialization failure or a deadlock (SQLSTATE class 40).
func retry(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01")
}

func migrate(ctx context.Context, db *sql.DB) error {
	// Servers that start together try for the lock each second, for five minutes.
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return fmt.Errorf("locking the database: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, bytewise{sqlstore.Migrations()},
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	return nil
}

// bytewise makes every text column sort by its bytes, as SQLite does, so that
// pages and prefixes mean the same on both databases whatever its locale is.
type bytewise struct{ fs.FS }

func (b bytewise) Open(name string) (fs.File, error) {
	f, err := b.FS.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return f, err
	}
	text, err := fs.ReadFile(b.FS, name)
	if err != nil {
		f.Close()
		return nil, err
	}
	text = bytes.ReplaceAll(text, []byte(" TEXT "), []byte(` TEXT COLLATE "C" `))
	return &file{File: f, text: bytes.NewReader(text)}, nil
}

type file struct {
	fs.File
	text *bytes.Reader
}

func (f *file) Read(p []byte) (int, error) { return f.text.Read(p) }
