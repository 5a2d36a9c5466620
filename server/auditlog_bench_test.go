package server

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/store/sqlite"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// BenchmarkAudit measures the audit log on SQLite with real fsyncs: appending through store and sequencer, the sequencer
// alone, and proofs in a log of ten million entries.
func BenchmarkAudit(b *testing.B) {
	for _, size := range []int{1, 16, 64} {
		b.Run("append-"+strconv.Itoa(size), func(b *testing.B) { eachTurn(b, func() float64 { return benchAppend(b, size) }) })
	}
	b.Run("drain", func(b *testing.B) { eachTurn(b, func() float64 { return benchDrain(b) }) })
	store := tenMillionStored(b)
	random := rand.New(rand.NewPCG(1, 1))
	b.Run("proof-stored", func(b *testing.B) {
		for b.Loop() {
			if _, err := audit.ProveInclusion(newTiles(b.Context(), store), tenMillion, random.Int64N(tenMillion)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("proof-whole", func(b *testing.B) {
		s := &Server{store: store}
		for b.Loop() {
			if _, err := s.Proof(b.Context(), random.Int64N(provable)*provableStep); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// eachTurn reports the mean of the rates that turns return; a turn sets itself up outside of what it measures.
func eachTurn(b *testing.B, turn func() float64) {
	sum := 0.0
	for range b.N {
		sum += turn()
	}
	b.ReportMetric(sum/float64(b.N), "events/s")
}

// benchServer is a server whose loops the benchmark runs itself.
func benchServer(b *testing.B) *Server {
	b.Helper()
	cfg := config.Default()
	cfg.Data = b.TempDir()
	s, err := New(cfg.Complete(), slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return s
}

func benchEvents(s *Server, n int) []audit.Event {
	list := make([]audit.Event, n)
	for i := range list {
		id := newID()
		list[i] = s.event(access.Actor{Kind: access.Device, ID: id, Source: "192.0.2.7"}, "certificate.issued", "certificate", id,
			"principal", "device/"+id, "spiffe_id", "spiffe://holdfast.local/device/"+id, "not_after", "2030-01-31T12:00:00Z", "ca", id)
	}
	return list
}

const (
	appended = 100_000 // events of an appending benchmark
	outboxed = 200_000 // events that the sequencer finds waiting
	writers  = 64
)

// benchAppend writes events from 64 goroutines while the sequencer runs, and ends when the log has all of them. With one
// event in each transaction there are fewer events, because each of the writers waits for the disk each time.
func benchAppend(b *testing.B, size int) float64 {
	s := benchServer(b)
	total := appended
	if size == 1 {
		total /= 4
	}
	events := make([][]audit.Event, total/size)
	for i := range events {
		events[i] = benchEvents(s, size)
	}
	ctx, stop := context.WithCancel(b.Context())
	var loop sync.WaitGroup
	loop.Go(func() {
		if err := s.auditor.sequence(ctx); err != nil {
			b.Error(err)
		}
	})
	defer loop.Wait()
	defer stop()
	base := waiting(b, s)
	began := time.Now()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < len(events); i += writers {
				if err := s.store.AppendOutbox(ctx, events[i]...); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	awaitLog(b, s, base+int64(len(events)*size))
	return float64(len(events)*size) / time.Since(began).Seconds()
}

// waiting is the number of events of the first start, all of which go into the log.
func waiting(b *testing.B, s *Server) int64 {
	b.Helper()
	size, err := s.store.LogSize(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	rows, err := s.store.OutboxRows(b.Context(), 1000)
	if err != nil {
		b.Fatal(err)
	}
	return size + int64(len(rows))
}

func awaitLog(b *testing.B, s *Server, size int64) {
	b.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		got, err := s.store.LogSize(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if got >= size {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("the log has %d entries after a minute, not %d", got, size)
		}
	}
}

// benchDrain has the sequencer alone move 200,000 waiting events into the log.
func benchDrain(b *testing.B) float64 {
	s := benchServer(b)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range outboxed / 8 / 1000 {
				if err := s.store.AppendOutbox(b.Context(), benchEvents(s, 1000)...); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if !s.auditor.acquire(b.Context()) {
		b.Fatal("the sequencer has no lease")
	}
	began, moved := time.Now(), 0
	for n := batchSize; n == batchSize; moved += n {
		var err error
		if n, err = s.auditor.step(b.Context()); err != nil {
			b.Fatal(err)
		}
		s.auditor.acquire(b.Context()) // as the loop does each second
	}
	return float64(moved) / time.Since(began).Seconds()
}

const (
	tenMillion   = 10_000_000
	provable     = 1000 // entries that are there to be proven whole
	provableStep = tenMillion / provable
)

// tenMillionStored is a database with the tiles of ten million leaves, the checkpoint over them and some entries.
func tenMillionStored(b *testing.B) *sqlstore.Store {
	b.Helper()
	path := filepath.Join(b.TempDir(), "log.db")
	first, err := sqlite.Open(b.Context(), path, sqlstore.Faults{}) // makes the tables
	if err != nil {
		b.Fatal(err)
	}
	if err := first.Close(); err != nil {
		b.Fatal(err)
	}
	if err := fillLog(b.Context(), path); err != nil {
		b.Fatal(err)
	}
	store, err := sqlite.Open(b.Context(), path, sqlstore.Faults{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	return store
}

// edges keeps what audit.Append reads back: the rightmost tile of each level.
type edges map[int]audit.Tile

func (e edges) Tile(level int, n int64) ([]byte, error) {
	if t, ok := e[level]; ok && t.N == n {
		return t.Data, nil
	}
	return nil, fmt.Errorf("tile %d of level %d is not at the edge", n, level)
}

func fillLog(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(wal)&_pragma=synchronous(off)")
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	put, err := tx.PrepareContext(ctx, `INSERT INTO audit_tile (level, n, data) VALUES ($1, $2, $3) ON CONFLICT (level, n) DO UPDATE SET data = excluded.data`)
	if err != nil {
		return err
	}
	right := edges{}
	leaves := make([][]byte, 1<<16)
	for i := range leaves {
		leaves[i] = make([]byte, 8)
	}
	for size := int64(0); size < tenMillion; {
		batch := leaves[:min(int64(len(leaves)), tenMillion-size)]
		for i := range batch {
			binary.BigEndian.PutUint64(batch[i], uint64(size)+uint64(i))
		}
		grown, err := audit.Append(right, size, batch)
		if err != nil {
			return err
		}
		for _, t := range grown.Tiles {
			if _, err := put.ExecContext(ctx, t.Level, t.N, t.Data); err != nil {
				return err
			}
			if have, ok := right[t.Level]; !ok || t.N >= have.N {
				right[t.Level] = t
			}
		}
		size = grown.Size
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO audit_checkpoint (size, signed, at) VALUES ($1, 'not signed here', 1)`, tenMillion); err != nil {
		return err
	}
	for i := range int64(provable) {
		if _, err := tx.ExecContext(ctx, `INSERT INTO audit_entry (idx, at, actor, action, subject, leaf) VALUES ($1, 1, '', '', '', $2)`, i*provableStep, make([]byte, 500)); err != nil {
			return err
		}
	}
	return tx.Commit()
}
