package msglog

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/holdfast-iot/holdfast/natsd"
)

// appendForEver is the child that is killed: it prints the number of each message
// once it is acknowledged.
func appendForEver(dir string) {
	bus, err := natsd.Start(natsd.Config{StoreDir: dir})
	if err != nil {
		panic(err)
	}
	l, err := Open(context.Background(), Config{Conn: bus.Conn(), Node: "n1"})
	if err != nil {
		panic(err)
	}
	for i := 1; ; i++ {
		l.Append(text("a/b", fmt.Sprint(i)), fmt.Sprint("id", i), func(seq uint64, dup bool, err error) {
			if err != nil || dup {
				panic(fmt.Sprint(dup, err))
			}
			os.Stdout.WriteString(fmt.Sprintln(i))
		})
	}
}

// TestKilled kills a process that appends: what it acknowledged is there, in
// order, and remembered.
func TestKilled(t *testing.T) {
	for _, after := range []int{1, 500, 5000} {
		dir := t.TempDir()
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "MSGLOG_TEST_APPEND="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		acked := 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			n := 0
			if _, err := fmt.Sscan(lines.Text(), &n); err != nil || n != acked+1 {
				break // the last line may be half
			}
			if acked = n; acked == after {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = child.Wait() // killed
		if acked < after {
			t.Fatalf("the child ended after %d messages", acked)
		}
		l, end := openIn(t, dir, Config{})
		got := rest(t, l.Cursor([]From{{"a/#", 0}}))
		if len(got) < acked {
			t.Errorf("%d messages are there, %d were acknowledged", len(got), acked)
		}
		for i, m := range got {
			if string(m.Payload) != fmt.Sprint(i+1) {
				t.Fatalf("message %d is %q", i+1, m.Payload)
			}
		}
		if seq, dup := mustAppend(t, l, text("a/b", "again"), fmt.Sprint("id", acked)); !dup || seq != uint64(acked) {
			t.Errorf("message %d again: seq %d, dup %v", acked, seq, dup)
		}
		end()
		t.Logf("killed after %d acknowledged messages: %d are there", acked, len(got))
	}
}
