package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/holdfast-iot/holdfast/server/store/sqlite"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

const (
	readyTarget = 3 * time.Second
	idleTarget  = 80 << 20 // bytes
	idleTime    = 30 * time.Second
	someDevices = 100_000
)

// start measures the time from exec to ready.json and the memory of a server that nobody asks anything for a while.
func (b *bench) start(ctx context.Context) (string, error) {
	empty, err := b.startTwice(ctx, "start-empty", 0)
	if err != nil {
		return "", err
	}
	defer empty.second.stop()
	filled, err := b.startTwice(ctx, "start-filled", someDevices)
	if err != nil {
		return "", err
	}
	defer filled.second.stop()
	before := [2]time.Duration{cpu(empty.second.pid()), cpu(filled.second.pid())}
	select {
	case <-time.After(idleTime):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	rows := [][]string{{"inventory", "first start", "second start", "ready within " + readyTarget.String(), "memory after " + idleTime.String() + " idle", "under 80 MB", "CPU while idle"}}
	for i, s := range []*starts{empty, filled} {
		memory := rss(s.second.pid())
		rows = append(rows, []string{thousands(float64(s.devices)) + " devices", round(s.first), round(s.second.took), verdict(max(s.first, s.second.took) < readyTarget),
			fmt.Sprintf("%.0f MB", float64(memory)/1e6), verdict(memory < idleTarget), fmt.Sprintf("%.1f %% of a core", 100*(cpu(s.second.pid())-before[i]).Seconds()/idleTime.Seconds())})
	}
	return table(rows) + "\nSQLite and the embedded message engine, as `holdfast up --data DIR` starts them. The time runs from exec to ready.json; a first start makes the\n" +
		"root and the issuing CA. Memory is the resident set, file pages included; both servers ran at once.\n", nil
}

// starts are two starts on one data folder; the second still runs.
type starts struct {
	first   time.Duration
	second  *instance
	devices int
}

func (b *bench) startTwice(ctx context.Context, name string, devices int) (*starts, error) {
	dir := filepath.Join(b.dir, name)
	h, err := b.up(ctx, dir, "")
	if err != nil {
		return nil, err
	}
	h.stop()
	if err := fillFolder(ctx, dir, devices); err != nil {
		return nil, err
	}
	s := &starts{first: h.took, devices: devices}
	s.second, err = b.up(ctx, dir, "")
	return s, err
}

func fillFolder(ctx context.Context, dir string, devices int) error {
	if devices == 0 {
		return nil
	}
	store, err := sqlite.Open(ctx, filepath.Join(dir, "holdfast.db"), sqlstore.Faults{})
	if err != nil {
		return err
	}
	defer store.Close()
	_, err = fleet(devices).fill(ctx, store)
	return err
}
