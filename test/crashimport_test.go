package test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

const imported = 100_000

// TestCrashWhileImporting kills the server in the middle of an import of 100,000
// rows: all of them are there afterwards, or none.
func TestCrashWhileImporting(t *testing.T) {
	var csv strings.Builder
	csv.WriteString("id,type,zone,labels\n")
	for n := range imported {
		fmt.Fprintf(&csv, "imp-%06d,sensor,plant,floor=%d\n", n, n%40)
	}
	onBoth(t, func(t *testing.T, env []string) {
		data := t.TempDir() + "/data"
		p := mustUp(t, data, env)
		prepare(t, mustOperate(t, p))
		// Somewhere in the middle, and as near to the commit as a client can see.
		for _, after := range []int{1 + rand.IntN(imported-1), imported} {
			acknowledged := importUntil(t, p, csv.String(), after)
			p = mustUp(t, data, env)
			n := countDevices(t, p)
			t.Logf("killed after %d rows: acknowledged %v, %d devices are there", after, acknowledged, n)
			if n != 0 && n != imported || acknowledged && n == 0 {
				t.Fatalf("%d of %d devices were imported (acknowledged: %v)", n, imported, acknowledged)
			}
			if n == imported {
				break
			}
		}
		api := mustOperate(t, p)
		if countDevices(t, p) == 0 {
			if n, err := api.ImportDevices(t.Context(), strings.NewReader(csv.String()), "text/csv", nil); err != nil || n != imported {
				t.Fatalf("importing again: %d, %v", n, err)
			}
		}
		err := poll(settled, func() error {
			log, err := verifiedLog(t.Context(), api, p)
			if n := strings.Count(log, `"action":"device.created"`); err == nil && n != imported {
				err = fmt.Errorf("the audit log has %d created devices, not %d", n, imported)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// importUntil imports and kills the server when it has written so many rows. It
// tells whether the import was acknowledged nevertheless.
func importUntil(t *testing.T, p *process, csv string, rows int) bool {
	var once sync.Once
	_, err := mustOperate(t, p).ImportDevices(t.Context(), strings.NewReader(csv), "text/csv", func(at adminapi.ImportProgress) {
		if at.Written >= rows {
			once.Do(p.kill)
		}
	})
	once.Do(p.kill)
	return err == nil
}

func countDevices(t *testing.T, p *process) int {
	var b bytes.Buffer
	if err := mustOperate(t, p).ExportDevices(t.Context(), device.Filter{IDPrefix: "imp-"}, "ndjson", &b); err != nil {
		t.Fatal(err)
	}
	return bytes.Count(b.Bytes(), []byte("\n"))
}
