package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// The environment of a child process that writes until it is killed.
const (
	crashWhere = "STORETEST_WHERE"
	crashRun   = "STORETEST_RUN"
)

// crashWriters are the goroutines of a child that write at once, crashBatch the
// devices that each registers with one write.
const crashWriters, crashBatch = 4, 3

// crashWriter is the child's whole life: it registers devices in batches and
// quarantines the first of each, and prints each write that was acknowledged.
// It reports whether this process is a child.
func crashWriter(t *testing.T, b Backend) bool {
	where, run := os.Getenv(crashWhere), os.Getenv(crashRun)
	if where == "" {
		return false
	}
	ctx := context.Background()
	s, err := b.Open(ctx, where, sqlstore.Faults{})
	if err != nil {
		t.Fatal(err)
	}
	var out sync.Mutex
	acknowledge := func(what string, id device.ID) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf("acknowledged %s %s\n", what, id)
	}
	var wg sync.WaitGroup
	for g := range crashWriters {
		wg.Go(func() {
			for i := 0; ; i++ {
				if err := crashStep(ctx, s, fmt.Sprintf("r%s-g%d-%06d", run, g, i), acknowledge); err != nil {
					fmt.Printf("stopped %v\n", err)
					return
				}
			}
		})
	}
	wg.Wait()
	return true
}

func crashStep(ctx context.Context, s *sqlstore.Store, name string, acknowledge func(string, device.ID)) error {
	var batch []device.Device
	var events []audit.Event
	event := func(action string, id device.ID) audit.Event {
		return audit.Event{ID: action + ":" + string(id), Time: start, Node: "child", Actor: audit.Actor{Kind: "system", ID: "test"},
			Action: action, Subject: audit.Subject{Kind: "device", ID: string(id)}, Outcome: audit.Success}
	}
	for i := range crashBatch {
		d := thing(device.ID(fmt.Sprintf("%s-%d", name, i)))
		d.Labels = map[string]string{"batch": name}
		batch, events = append(batch, d), append(events, event("device.created", d.ID))
	}
	if _, err := s.InsertDevices(ctx, batch, placed(), nil, events...); err != nil {
		return err
	}
	acknowledge("created", device.ID(name))
	d := batch[0]
	d.State, d.Version = device.Quarantined, 2
	if _, err := s.ChangeDevice(ctx, d, principal(d.ID), device.Quarantine, 0, start, event("device.quarantined", d.ID)); err != nil {
		return err
	}
	acknowledge("quarantined", d.ID)
	return nil
}

// testCrash kills children that write, each after a random number of
// acknowledgements, and checks that everything acknowledged is there and nothing
// is there by half.
func testCrash(t *testing.T, b Backend) {
	w := rough(t, b)
	w.ok(w.Close())
	acknowledged := map[string][]string{}
	for run := range 5 {
		crashOnce(w, run, 5+rand.IntN(120), acknowledged)
		crashCheck(enter(t, b, w.where, sqlstore.Faults{}), acknowledged)
	}
}

func crashOnce(w *world, run, after int, acknowledged map[string][]string) {
	w.Helper()
	self, err := os.Executable()
	w.ok(err)
	top, _, _ := strings.Cut(w.Name(), "/")
	child := exec.Command(self, "-test.run=^"+top+"$")
	child.Env = append(os.Environ(), crashWhere+"="+w.where, fmt.Sprintf("%s=%d", crashRun, run))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	w.ok(err)
	w.ok(child.Start())
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		what, id, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "acknowledged "), " ")
		if !ok || !strings.HasPrefix(lines.Text(), "acknowledged ") {
			if n < after { // what is cut short by the kill does not count
				child.Process.Kill()
				child.Wait()
				w.Fatalf("the writing process said %q", lines.Text())
			}
			break
		}
		acknowledged[what] = append(acknowledged[what], id)
		if n == after {
			w.ok(child.Process.Kill())
		}
	}
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) {
		w.Fatalf("the writing process ended by itself: %v", err)
	}
}

// crashCheck reads devices, events and control events in one statement, because
// a server may still be finishing the last transaction of the killed process.
func crashCheck(w *world, acknowledged map[string][]string) {
	w.Helper()
	rows, err := w.raw.QueryContext(w.Context(), `SELECT 'row', id, state FROM device UNION ALL SELECT 'label', value, device_id FROM device_label
		UNION ALL SELECT 'event', id, '' FROM audit_outbox WHERE id LIKE 'device.%' UNION ALL SELECT 'change', subject, kind FROM change`)
	w.ok(err)
	defer rows.Close()
	batches, found := map[string]int{}, map[string]int{}
	imports := 0 // control events of batches
	for rows.Next() {
		var what, id, more string
		w.ok(rows.Scan(&what, &id, &more))
		switch what {
		case "row":
			found["created "+id]++
			batches[id[:strings.LastIndex(id, "-")]]++
			if more == string(device.Quarantined) {
				found["quarantined "+id]++
			}
		case "event":
			action, id, _ := strings.Cut(id, ":")
			found[strings.TrimPrefix(action, "device.")+" "+id] += 10
		case "change":
			if more == string(sqlstore.ChangeDevices) {
				imports++
				continue
			}
			found["quarantined "+strings.TrimPrefix(id, "device/")] += 100
		case "label":
			found["created "+more] += 100
		}
	}
	w.ok(rows.Err())
	for what, n := range found {
		if n != 111 { // once the row, once its event, once its label or control event
			w.Fatalf("%s: rows, events and what belongs to them count %d, want 111", what, n)
		}
	}
	w.same("control events of batches", imports, len(batches))
	for name, n := range batches {
		w.same("devices of batch "+name, n, crashBatch)
	}
	for _, name := range acknowledged["created"] {
		w.same("devices of the acknowledged batch "+name, batches[name], crashBatch)
	}
	for _, id := range acknowledged["quarantined"] {
		w.same("the acknowledged quarantine of "+id, found["quarantined "+id], 111)
	}
}
