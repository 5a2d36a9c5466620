package storetest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testAudit(t *testing.T, b Backend) {
	t.Run("Sequence", func(t *testing.T) { testSequence(begin(t, b)) })
	t.Run("Refused", func(t *testing.T) { testSequenceRefused(begin(t, b)) })
	t.Run("Contention", func(t *testing.T) { testSequencers(begin(t, b)) })
	t.Run("Entries", func(t *testing.T) { testEntries(begin(t, b)) })
	t.Run("Checkpoints", func(t *testing.T) { testCheckpoints(begin(t, b)) })
	t.Run("Outbox", func(t *testing.T) { testOutbox(begin(t, b)) })
}

// tiles reads the store's tiles for audit.
type tiles struct {
	ctx context.Context
	*sqlstore.Store
}

func (t tiles) Tile(level int, n int64) ([]byte, error) { return t.Store.Tile(t.ctx, level, n) }

// logKey signs the test's log.
func logKey(w *world) (ed25519.PrivateKey, audit.PublicKey) {
	w.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	public, err := audit.NewPublicKey("example.com/audit", key.Public().(ed25519.PublicKey))
	w.ok(err)
	return key, public
}

// batch makes what a sequencer would write next.
func (w *world) batch(holder string, limit int) sqlstore.Batch {
	w.Helper()
	key, public := logKey(w)
	size, err := w.LogSize(w.Context())
	w.ok(err)
	rows, err := w.OutboxRows(w.Context(), limit)
	w.ok(err)
	var leaves [][]byte
	for _, r := range rows {
		leaves = append(leaves, r.Leaf)
	}
	grown, err := audit.Append(tiles{w.Context(), w.Store}, size, leaves)
	w.ok(err)
	signed, err := audit.Sign(audit.Checkpoint{Origin: public.Name(), Size: grown.Size, Root: grown.Root}, key)
	w.ok(err)
	return sqlstore.Batch{Holder: holder, Now: start, Size: size, Rows: rows, Tiles: grown.Tiles, Signed: signed}
}

// hold takes the sequencer's lease for an hour.
func (w *world) hold(holder string) {
	w.Helper()
	got, err := w.AcquireLease(w.Context(), sqlstore.LeaseSequencer, holder, start, start.Add(time.Hour))
	w.ok(err)
	w.same("the sequencer's lease", got, true)
}

// happen writes n events.
func (w *world) happen(n int) {
	w.Helper()
	var events []audit.Event
	for i := range n {
		events = append(events, w.event("device.seen", "device", fmt.Sprint("d", i)))
	}
	w.ok(w.AppendOutbox(w.Context(), events...))
}

// testSequence moves events over several tiles' edges and checks the log as an
// outsider would.
func testSequence(w *world) {
	ctx := w.Context()
	w.happen(700)
	all, err := w.OutboxRows(ctx, 1000)
	w.ok(err)
	w.hold("n1")
	_, public := logKey(w)
	for _, n := range []int{1, 99, 150, 7, 443} {
		w.ok(w.Sequence(ctx, w.batch("n1", n)))
		size, err := w.LogSize(ctx)
		w.ok(err)
		root, err := audit.RootOf(tiles{ctx, w.Store}, size)
		w.ok(err)
		c, err := w.Checkpoint(ctx)
		w.ok(err)
		open, err := audit.Open(c.Signed, public)
		w.ok(err)
		w.same("the signed tree", open, audit.Checkpoint{Origin: public.Name(), Size: size, Root: root})
		w.same("the checkpoint's row", []any{c.Size, c.At}, []any{size, start})
	}
	left, err := w.OutboxRows(ctx, 10)
	w.ok(err)
	w.same("events left", len(left), 0)

	leaves, err := w.Leaves(ctx, 0, 1000)
	w.ok(err)
	w.same("entries", len(leaves), len(all))
	var bytes [][]byte
	for i, l := range leaves {
		w.same("an entry's index", l.Index, int64(i))
		w.same("an entry", l.Bytes, all[i].Leaf)
		bytes = append(bytes, l.Bytes)
	}
	whole, err := audit.Append(tiles{ctx, w.Store}, 0, bytes)
	w.ok(err)
	root, err := audit.RootOf(tiles{ctx, w.Store}, 700)
	w.ok(err)
	w.same("the tree made in batches and at once", root, whole.Root)
	for _, i := range []int64{0, 255, 256, 699} {
		path, err := audit.ProveInclusion(tiles{ctx, w.Store}, 700, i)
		w.ok(err)
		w.ok(audit.CheckInclusion(audit.LeafHash(bytes[i]), i, 700, path, root))
	}
	some, err := w.Leaves(ctx, 254, 3)
	w.ok(err)
	w.same("entries from an index", some, leaves[254:257])
	_, err = w.Store.Tile(ctx, 0, 9)
	w.is(err, sqlstore.ErrNotFound)
}

func testSequenceRefused(w *world) {
	ctx := w.Context()
	w.happen(250)
	none := w.batch("n1", 100)
	w.refused(func() error { return w.Sequence(ctx, none) }) // nobody holds the lease
	w.hold("n1")
	first := w.batch("n1", 100)
	w.ok(w.Sequence(ctx, first))
	next := w.batch("n1", 120)
	for name, spoil := range map[string]func(*sqlstore.Batch){
		"another holder":            func(b *sqlstore.Batch) { b.Holder = "n2" },
		"a lease that is over":      func(b *sqlstore.Batch) { b.Now = start.Add(2 * time.Hour) },
		"a smaller size":            func(b *sqlstore.Batch) { b.Size-- },
		"a larger size":             func(b *sqlstore.Batch) { b.Size++ },
		"the size at the beginning": func(b *sqlstore.Batch) { b.Size = 0 },
		"a row sequenced already":   func(b *sqlstore.Batch) { b.Rows = append(b.Rows[:119:119], first.Rows[5]) },
		"a row that never was": func(b *sqlstore.Batch) {
			b.Rows = append(b.Rows[:119:119], sqlstore.OutboxRow{ID: "none", Leaf: b.Rows[0].Leaf})
		},
		"a row twice":                 func(b *sqlstore.Batch) { b.Rows = append(b.Rows[:119:119], b.Rows[118]) },
		"the batch sequenced already": func(b *sqlstore.Batch) { *b = first },
		"no rows":                     func(b *sqlstore.Batch) { b.Rows, b.Tiles = nil, nil },
	} {
		b := next
		spoil(&b)
		w.Log(name)
		w.refused(func() error { return w.Sequence(ctx, b) })
	}
	w.unchanged(func() {
		b := next
		b.Rows = append(b.Rows[:119:119], sqlstore.OutboxRow{ID: b.Rows[119].ID, Leaf: []byte("{}")})
		w.is(w.Sequence(ctx, b), audit.ErrEvent)
	})
	w.ok(w.Sequence(ctx, next))
	w.ok(w.Sequence(ctx, w.batch("n1", 1000)))
	size, err := w.LogSize(ctx)
	w.ok(err)
	w.same("the log's size at last", size, int64(250))
}

// testSequencers lets several goroutines of the lease's holder write the same
// batch while events come in: the log has each event once and does not fork.
func testSequencers(w *world) {
	ctx := w.Context()
	w.hold("n1")
	for range 8 {
		w.happen(5)
		b := w.batch("n1", 1000)
		errs := all(6, func(i int) error {
			if i == 5 {
				return w.AppendOutbox(ctx, w.event("device.seen", "device", "late"))
			}
			return w.Sequence(ctx, b)
		})
		w.same("writes that succeeded", w.won(errs), 2)
	}
	w.ok(w.Sequence(ctx, w.batch("n1", 1000)))
	leaves, err := w.Leaves(ctx, 0, 1000)
	w.ok(err)
	seen := map[string]bool{}
	for _, l := range leaves {
		e, err := audit.Decode(l.Bytes)
		w.ok(err)
		seen[e.ID] = true
	}
	w.same("entries, and different ones", []int{len(leaves), len(seen)}, []int{48, 48})
}

func testEntries(w *world) {
	ctx := w.Context()
	var all []audit.Event
	for i := range 60 {
		e := w.event([]string{"device.created", "device.quarantined", "device_type.created", "devices.listed", "certificate.issued"}[i%5],
			[]string{"device", "certificate"}[i%2], fmt.Sprint("x", i%3))
		e.Actor.ID = fmt.Sprint("a", i%3)
		e.Time = start.Add(time.Duration(i) * time.Second)
		all = append(all, e)
	}
	w.ok(w.AppendOutbox(ctx, all...))
	w.hold("n1")
	w.ok(w.Sequence(ctx, w.batch("n1", 100)))
	at := func(i int) time.Time { return start.Add(time.Duration(i) * time.Second) }
	for name, c := range map[string]struct {
		f      sqlstore.EntryFilter
		member func(i int, e audit.Event) bool
	}{
		"all":           {sqlstore.EntryFilter{}, func(int, audit.Event) bool { return true }},
		"an actor":      {sqlstore.EntryFilter{Actor: "system:a2"}, func(_ int, e audit.Event) bool { return e.Actor.ID == "a2" }},
		"an action":     {sqlstore.EntryFilter{Action: "device.created"}, func(_ int, e audit.Event) bool { return e.Action == "device.created" }},
		"a noun":        {sqlstore.EntryFilter{Action: "device.*"}, func(i int, _ audit.Event) bool { return i%5 < 2 }},
		"a subject":     {sqlstore.EntryFilter{Subject: "device:x1"}, func(_ int, e audit.Event) bool { return e.Subject == audit.Subject{Kind: "device", ID: "x1"} }},
		"since":         {sqlstore.EntryFilter{Since: at(50)}, func(i int, _ audit.Event) bool { return i >= 50 }},
		"until":         {sqlstore.EntryFilter{Until: at(7)}, func(i int, _ audit.Event) bool { return i < 7 }},
		"before":        {sqlstore.EntryFilter{Before: 10}, func(i int, _ audit.Event) bool { return i < 10 }},
		"a combination": {sqlstore.EntryFilter{Actor: "system:a0", Action: "device.*", Subject: "device:x0", Since: at(1), Until: at(59), Before: 55}, func(i int, e audit.Event) bool { return i > 0 && i < 55 && i%3 == 0 && i%5 < 2 && i%6 == 0 }},
	} {
		var want, got []int64
		for i := len(all) - 1; i >= 0; i-- {
			if c.member(i, all[i]) {
				want = append(want, int64(i))
			}
		}
		c.f.Limit = 100
		list, err := w.Entries(ctx, c.f)
		w.ok(err)
		for _, l := range list {
			got = append(got, l.Index)
		}
		w.same("entries selected by "+name, got, want)
		if len(want) < 2 {
			w.Fatalf("the case %q selects %d entries", name, len(want))
		}
		c.f.Limit = 2
		list, err = w.Entries(ctx, c.f)
		w.ok(err)
		w.same("the first two by "+name, []int64{list[0].Index, list[1].Index}, want[:2])
	}
}

func testCheckpoints(w *world) {
	ctx := w.Context()
	_, err := w.Checkpoint(ctx)
	w.is(err, sqlstore.ErrNotFound)
	w.happen(50)
	w.hold("n1")
	for i := range 5 {
		b := w.batch("n1", 10)
		b.Now = start.Add(time.Duration(i) * time.Second)
		if i == 2 || i == 3 {
			b.Forget = b.Size
		}
		w.ok(w.Sequence(ctx, b))
	}
	sizes := func(upTo int64) (out []int64) {
		list, err := w.CheckpointsUpTo(ctx, upTo)
		w.ok(err)
		for _, c := range list {
			out = append(out, c.Size)
		}
		return out
	}
	w.same("kept checkpoints", sizes(1000), []int64{10, 40, 50})
	w.same("kept checkpoints up to a size", sizes(49), []int64{10, 40})
	c, err := w.Checkpoint(ctx)
	w.ok(err)
	w.same("the newest", []any{c.Size, c.At}, []any{int64(50), start.Add(4 * time.Second)})
	more := append(bytes.Clone(c.Signed), "— witness.example AAAA\n"...)
	w.ok(w.Cosigned(ctx, 50, more))
	c, err = w.Checkpoint(ctx)
	w.ok(err)
	w.same("the cosigned text", string(c.Signed), string(more))
	w.unchanged(func() { w.ok(w.Cosigned(ctx, 20, more)) }) // forgotten: nothing to cosign
}

func testOutbox(w *world) {
	ctx := w.Context()
	select {
	case <-w.Outbox():
		w.Fatal("the outbox was announced before anything happened")
	default:
	}
	w.happen(1)
	<-w.Outbox()
	w.ok(w.AppendOutbox(ctx))
	w.ok(w.SetMeta(ctx, "a", "b"))
	select {
	case <-w.Outbox():
		w.Fatal("writes without events announced the outbox")
	default:
	}
	w.unchanged(func() {
		bad := w.event("Not An Action", "device", "d")
		w.is(w.SetMeta(ctx, "a", "c", bad), audit.ErrEvent)
	})
	w.happen(20)
	rows, err := w.OutboxRows(ctx, 5)
	w.ok(err)
	w.same("a part of the outbox", len(rows), 5)
	for i := 1; i < len(rows); i++ {
		w.same("older first", rows[i-1].ID < rows[i].ID, true)
	}
}
