package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-iot/holdfast/internal/pgtest"
)

// cluster is a PostgreSQL of this run's own that waits for the disk at each commit.
type cluster struct {
	testing.TB // for the methods that pgtest does not call
	cleanups   []func()
	url        string
	postmaster int
}

// refused carries pgtest's verdict out of a call that cannot return one.
type refused struct{ error }

// The part of testing.TB that pgtest needs outside a test.
func (p *cluster) Helper()          {}
func (p *cluster) Cleanup(f func()) { p.cleanups = append(p.cleanups, f) }
func (p *cluster) Errorf(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", a...)
}
func (p *cluster) Fatalf(format string, a ...any) { panic(refused{fmt.Errorf(format, a...)}) }
func (p *cluster) Fatal(a ...any)                 { panic(refused{errors.New(fmt.Sprint(a...))}) }
func (p *cluster) Context() context.Context       { return context.Background() }

func startPostgres() (p *cluster, err error) {
	defer func() {
		if r, ok := recover().(refused); ok {
			p, err = nil, r.error
		}
	}()
	p = &cluster{}
	p.url = pgtest.DurableDatabase(p)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	var backend int
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&backend); err != nil {
		return nil, err
	}
	p.postmaster, err = strconv.Atoi(field(fmt.Sprintf("/proc/%d/status", backend), "PPid"))
	return p, err
}

func (p *cluster) database() string { return p.url }

// exec runs one statement, such as ANALYZE.
func (p *cluster) exec(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}

// pids are the processes of the database server that run now.
func (p *cluster) pids() []int {
	list := []int{p.postmaster}
	found, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, path := range found {
		if field(path, "PPid") == strconv.Itoa(p.postmaster) {
			pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
			list = append(list, pid)
		}
	}
	return list
}

func (p *cluster) close() {
	for i := len(p.cleanups) - 1; i >= 0; i-- {
		p.cleanups[i]()
	}
}
