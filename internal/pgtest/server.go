package pgtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// superuser is the database role that initdb makes.
const superuser = "postgres"

// settings that make a small server for tests.
var settings = []string{
	"-c", "max_connections=200",
	"-c", "shared_buffers=32MB",
	"-c", "dynamic_shared_memory_type=mmap",
	"-c", "unix_socket_permissions=0700",
	"-c", "autovacuum_naptime=600",
}

// quickSettings let the server acknowledge before the disk has it.
var quickSettings = []string{"-c", "fsync=off", "-c", "full_page_writes=off"}

// guard runs the server given as its arguments until its standard input ends,
// then stops the server at once and removes the folder $HOLDFAST_PGTEST.
const guard = `"$@" >"$HOLDFAST_PGTEST/log" 2>&1 &
server=$!
cat >/dev/null
kill -QUIT "$server" 2>/dev/null
wait "$server"
cd / && rm -rf "$HOLDFAST_PGTEST"`

// held keeps the guards' pipes open for the life of the test binary: a pipe
// whose last reference went would be closed by the garbage collector.
var held struct {
	sync.Mutex
	pipes []io.Closer
}

// launch makes a folder and starts a server on it, and returns its URL.
func launch(durable bool) (*url.URL, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	who, err := runAs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pgtest-")
	if err != nil {
		return nil, err
	}
	base, err := prepare(dir, bin, who, durable)
	if err != nil {
		os.RemoveAll(dir)
	}
	return base, err
}

func prepare(dir, bin string, who *syscall.Credential, durable bool) (*url.URL, error) {
	if who != nil {
		if err := os.Chown(dir, int(who.Uid), int(who.Gid)); err != nil {
			return nil, err
		}
	}
	secret := rand.Text()
	if err := initialize(dir, bin, who, secret); err != nil {
		return nil, err
	}
	// Another program may take the port between the choice and the start.
	var err error
	for range 3 {
		var port int
		if port, err = freePort(); err != nil {
			return nil, err
		}
		if err = serve(dir, bin, who, port, durable); err != nil {
			return nil, err
		}
		base := &url.URL{Scheme: "postgres", User: url.UserPassword(superuser, secret),
			Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), RawQuery: "sslmode=disable"}
		if err = await(dir, base); err == nil {
			return base, nil
		}
	}
	return nil, err
}

// programs finds the newest installed server's folder of programs.
func programs() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", errors.New("there is no /usr/lib/postgresql/*/bin/postgres: install Debian's package postgresql")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // not a number: oldest
		return n
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
	return filepath.Dir(newest), nil
}

// runAs is the system user that the server runs as when the test runs as root,
// which PostgreSQL refuses to; nil for the test's own.
func runAs() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	if err != nil {
		return nil, fmt.Errorf("finding the user postgres or nobody: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("reading the user id of %s: %w", u.Username, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("reading the group id of %s: %w", u.Username, err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// initialize runs initdb with a password for everyone, the socket included, and a collation that is not that of bytes.
func initialize(dir, bin string, who *syscall.Credential, secret string) error {
	pw := filepath.Join(dir, "password")
	if err := os.WriteFile(pw, []byte(secret+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(pw)
	if who != nil {
		if err := os.Chown(pw, int(who.Uid), int(who.Gid)); err != nil {
			return err
		}
	}
	cmd := exec.Command(filepath.Join(bin, "initdb"), "--pgdata", filepath.Join(dir, "data"), "--username", superuser,
		"--auth", "scram-sha-256", "--pwfile", pw, "--encoding", "UTF8", "--locale", "C",
		"--locale-provider", "icu", "--icu-locale", "en-US", "--no-sync")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running initdb: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// serve starts the guard and, by it, the server.
func serve(dir, bin string, who *syscall.Credential, port int, durable bool) error {
	args := []string{"-c", guard, "guard", filepath.Join(bin, "postgres"), "-D", filepath.Join(dir, "data"),
		"-h", "127.0.0.1", "-k", dir, "-p", strconv.Itoa(port)}
	args = append(args, settings...)
	if !durable {
		args = append(args, quickSettings...)
	}
	cmd := exec.Command("/bin/sh", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOLDFAST_PGTEST="+dir)
	// Its own process group: an interrupt typed at the terminal ends the test
	// binary, and with it the pipe, and not the guard before it has cleaned up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Setpgid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running postgres: %w", err)
	}
	held.Lock()
	held.pipes = append(held.pipes, pipe)
	held.Unlock()
	go cmd.Wait() // collects the guard, should it end first
	return nil
}

// await connects until the server answers or has ended.
func await(dir string, base *url.URL) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	target := *base
	target.Path = "/postgres"
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := run(target.String(), "SELECT 1")
		if err == nil {
			return nil
		}
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		if bytes.Contains(log, []byte("FATAL:  could not")) || bytes.Contains(log, []byte("database system is shut down")) {
			return fmt.Errorf("running postgres: %s", bytes.TrimSpace(log))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for PostgreSQL: %v: %s", err, bytes.TrimSpace(log))
		}
	}
}
