package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func show(t *testing.T, conn *pgx.Conn, query string) (value string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestDatabasesAreSeparateAndDropped(t *testing.T) {
	var first string
	t.Run("one", func(t *testing.T) {
		first = Database(t)
		second := Database(t)
		if first == second {
			t.Fatal("two calls gave one database")
		}
		if _, err := connect(t, first).Exec(t.Context(), "CREATE TABLE a (b TEXT)"); err != nil {
			t.Fatal(err)
		}
		if got := show(t, connect(t, second), "SELECT COUNT(*)::text FROM pg_tables WHERE tablename = 'a'"); got != "0" {
			t.Errorf("a table of one database shows in the other")
		}
	})
	if conn, err := pgx.Connect(t.Context(), first); err == nil {
		conn.Close(t.Context())
		t.Error("the database is still there after its test")
	}
}

func TestSettings(t *testing.T) {
	conn := connect(t, Database(t))
	if got := show(t, conn, "SHOW fsync"); got != "off" {
		t.Errorf("fsync is %s, want off", got)
	}
	if got := show(t, conn, "SELECT (('a' < 'B') AND ('B' < 'c'))::text"); got != "true" {
		t.Error("text sorts by its bytes; it should sort by language, to find code that relies on bytes")
	}
	if got := show(t, connect(t, DurableDatabase(t)), "SHOW fsync"); got != "on" {
		t.Errorf("fsync of the durable server is %s, want on", got)
	}
}

func TestPasswordIsAsked(t *testing.T) {
	cfg, err := pgx.ParseConfig(Start(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Password = "wrong"
	if conn, err := pgx.ConnectConfig(t.Context(), cfg); err == nil {
		conn.Close(t.Context())
		t.Error("a wrong password was accepted")
	}
}

// TestServerEndsWithItsBinary kills a test binary that has a server and looks
// for what is left.
func TestServerEndsWithItsBinary(t *testing.T) {
	if os.Getenv("PGTEST_CHILD") != "" {
		Start(t)
		folder := show(t, connect(t, Start(t)), "SHOW data_directory")
		pid, _, _ := strings.Cut(string(must(os.ReadFile(filepath.Join(folder, "postmaster.pid")))), "\n")
		fmt.Printf("server %s %s\n", pid, folder)
		select {}
	}
	child := exec.Command(must(os.Executable()), "-test.run=^TestServerEndsWithItsBinary$")
	child.Env = append(os.Environ(), "PGTEST_CHILD=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var folder string
	if _, err := fmt.Fscanf(out, "server %d %s\n", &pid, &folder); err != nil {
		t.Fatal(err)
	}
	child.Process.Kill()
	child.Wait()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(limit); ; {
		_, serverErr := os.Stat("/proc/" + strconv.Itoa(pid))
		_, folderErr := os.Stat(filepath.Dir(folder))
		if os.IsNotExist(serverErr) && os.IsNotExist(folderErr) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after the binary was killed: server %v, folder %v", serverErr, folderErr)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
