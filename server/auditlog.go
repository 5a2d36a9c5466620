package server

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/server/keystore"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// auditLog is the transparency log over the events of the outbox.
type auditLog struct {
	s      *Server
	key    keystore.Key
	public audit.PublicKey

	// Owned by the goroutine of sequence:
	tail  *tiles
	size  int64
	root  audit.Hash
	last  sqlstore.SignedCheckpoint
	saved int64 // size of the checkpoint in the file

	mu        sync.Mutex
	witnessed sqlstore.SignedCheckpoint // newest with a quorum; guarded by mu
}

// Files of the log in the data folder.
const (
	auditKeyFile        = "audit-log.pub"
	auditCheckpointFile = "audit-checkpoint"
)

// openAuditLog opens or makes the log and refuses a database older than the last
// checkpoint that this server remembers outside it.
func openAuditLog(ctx context.Context, s *Server) (*auditLog, error) {
	origin, err := s.store.SetMetaOnce(ctx, "audit_origin", s.cfg.TrustDomain+"/audit/"+strings.ToLower(rand.Text()[:8]))
	if err != nil {
		return nil, err
	}
	l := &auditLog{s: s}
	if l.key, err = s.logKeys.Open(ctx, "audit-log"); errors.Is(err, keystore.ErrNotFound) {
		if l.key, err = s.logKeys.Create(ctx, "audit-log", keystore.Ed25519); errors.Is(err, keystore.ErrExists) {
			l.key, err = s.logKeys.Open(ctx, "audit-log")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the audit log's key: %w", err)
	}
	public, ok := l.key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("opening the audit log's key: it is not Ed25519")
	}
	if l.public, err = audit.NewPublicKey(origin, public); err != nil {
		return nil, err
	}
	known, err := s.store.SetMetaOnce(ctx, "audit_key", l.public.String())
	if err != nil {
		return nil, err
	}
	if known != l.public.String() {
		return nil, errors.New("opening the audit log: its key on this node is not the one that signed it so far: servers that share a database share the keys folder too (configuration field keys)")
	}
	if err := durable.WriteFile(filepath.Join(s.cfg.Data, auditKeyFile), []byte(known+"\n"), 0o644); err != nil {
		return nil, err
	}
	return l, l.checkMemory(ctx)
}

// checkMemory compares the database with the checkpoint in the data folder: a
// database restored from an older copy, or replaced, is found here.
func (l *auditLog) checkMemory(ctx context.Context) error {
	path := filepath.Join(l.s.cfg.Data, auditCheckpointFile)
	signed, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the remembered audit checkpoint: %w", err)
	}
	c, err := audit.Open(signed, l.public)
	if err != nil {
		return fmt.Errorf("reading the remembered audit checkpoint %s: %w", path, err)
	}
	size, err := l.s.store.LogSize(ctx)
	if err != nil {
		return err
	}
	if size < c.Size {
		return fmt.Errorf("opening the audit log: the database has %d entries and this server signed %d: it was rolled back or replaced. Restore the newest copy; if the loss is accepted, move %s away and keep it as evidence", size, c.Size, path)
	}
	root, err := audit.RootOf(newTiles(ctx, l.s.store), c.Size)
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	if root != c.Root {
		return fmt.Errorf("opening the audit log: its first %d entries are not the ones this server signed: the database was changed. Keep it and %s as evidence", c.Size, path)
	}
	l.saved = c.Size
	return nil
}

// remember writes the newest checkpoint beside the database, at most once a
// second: what checkMemory compares with. A node that does not hold the lease
// may know less than it remembers: memory only grows.
func (l *auditLog) remember() {
	if l.last.Size <= l.saved {
		return
	}
	if err := durable.WriteFile(filepath.Join(l.s.cfg.Data, auditCheckpointFile), l.last.Signed, 0o600); err != nil {
		l.s.log.Warn("remembering the audit checkpoint", "err", err)
		return
	}
	l.saved = l.last.Size
}

const (
	leaseTime  = 15 * time.Second
	leaseRenew = 5 * time.Second
	outboxPoll = time.Second           // for events that other nodes wrote
	batchPause = 20 * time.Millisecond // lets a batch gather under load
	batchSize  = 4096
)

// sequence moves events from the outbox into the log while this node holds the
// lease; the others wait for it to be free.
func (l *auditLog) sequence(ctx context.Context) error {
	s := l.s
	renew, poll := time.NewTicker(leaseRenew), time.NewTicker(outboxPoll)
	defer renew.Stop()
	defer poll.Stop()
	mine := l.acquire(ctx)
	for {
		select {
		case <-ctx.Done():
			l.finish(mine)
			return nil
		case <-renew.C:
			mine = l.acquire(ctx)
		case <-poll.C:
			l.remember()
		case <-s.store.Outbox():
			select {
			case <-ctx.Done():
			case <-time.After(batchPause):
			}
		}
		if mine && !l.drain(context.WithoutCancel(ctx)) {
			mine = l.acquire(ctx)
		}
	}
}

// finish sequences what is left at the end and gives the lease back.
func (l *auditLog) finish(mine bool) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseTime)
	defer cancel()
	if !mine {
		return
	}
	l.drain(ctx)
	l.remember()
	if err := l.s.store.ReleaseLease(ctx, sqlstore.LeaseSequencer, l.s.holder); err != nil {
		l.s.log.Warn("releasing the sequencer's lease", "err", err)
	}
}

// acquire takes or renews the lease; a new holder reads where the log stands.
func (l *auditLog) acquire(ctx context.Context) bool {
	now := l.s.now()
	mine, err := l.s.store.AcquireLease(ctx, sqlstore.LeaseSequencer, l.s.holder, now, now.Add(leaseTime))
	if err != nil {
		if ctx.Err() == nil {
			l.s.log.Warn("acquiring the sequencer's lease", "err", err)
		}
		return false
	}
	if !mine {
		l.tail = nil
		return false
	}
	if l.tail == nil {
		if err := l.load(ctx); err != nil {
			l.s.log.Error("loading the audit log", "err", err)
			return false
		}
	}
	return true
}

// load reads size, root and checkpoint, and refuses a tree that is not the one
// signed last.
func (l *auditLog) load(ctx context.Context) error {
	t := newTiles(ctx, l.s.store)
	size, err := l.s.store.LogSize(ctx)
	if err != nil {
		return err
	}
	last, err := l.s.store.Checkpoint(ctx)
	if errors.Is(err, sqlstore.ErrNotFound) && size == 0 {
		l.tail, l.size, l.root, l.last = t, 0, audit.EmptyRoot(), sqlstore.SignedCheckpoint{}
		return nil
	}
	if err != nil {
		return err
	}
	c, err := audit.Open(last.Signed, l.public)
	if err != nil {
		return err
	}
	root, err := audit.RootOf(t, size)
	if err != nil {
		return err
	}
	if c.Size != size || c.Root != root {
		return fmt.Errorf("the log's tree (%d entries) is not the one signed last (%d entries): nothing is added to it until that is explained", size, c.Size)
	}
	l.tail, l.size, l.root, l.last = t, size, root, last
	return nil
}

// drain sequences batches until the outbox is empty. It returns false when the
// lease or the log turned out to be somebody else's.
func (l *auditLog) drain(ctx context.Context) bool {
	for {
		n, err := l.step(ctx)
		if err != nil {
			l.tail = nil // read again before the next try
			if !isChanged(err) {
				l.s.log.Error("sequencing audit events", "err", err)
			}
			return false
		}
		if n < batchSize {
			return true
		}
	}
}

// step adds one batch. Order: tree and signature are made from bytes in memory,
// then rows, tiles and checkpoint are written in one transaction. A crash before
// it leaves the events in the outbox; the signature was shown to nobody.
func (l *auditLog) step(ctx context.Context) (int, error) {
	rows, err := l.s.store.OutboxRows(ctx, batchSize)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	leaves := make([][]byte, len(rows))
	for i, r := range rows {
		leaves[i] = r.Leaf
	}
	grown, err := audit.Append(l.tail, l.size, leaves)
	if err != nil {
		return 0, err
	}
	if grown.Before != l.root {
		return 0, errors.New("the stored tiles do not give the root signed last")
	}
	signed, err := audit.Sign(audit.Checkpoint{Origin: l.public.Name(), Size: grown.Size, Root: grown.Root}, l.key)
	if err != nil {
		return 0, err
	}
	now := l.s.now()
	b := sqlstore.Batch{Holder: l.s.holder, Now: now, Size: l.size, Rows: rows, Tiles: grown.Tiles, Signed: signed, Forget: l.forgettable(now)}
	if err := l.s.store.Sequence(ctx, b); err != nil {
		return 0, err
	}
	l.tail.keep(grown.Tiles)
	l.size, l.root, l.last = grown.Size, grown.Root, sqlstore.SignedCheckpoint{Size: grown.Size, Signed: signed, At: now}
	l.s.metrics.auditSize.Set(float64(grown.Size))
	return len(rows), nil
}

// forgettable is the last checkpoint, unless it is the newest of its hour or one
// that witnesses know.
func (l *auditLog) forgettable(now time.Time) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.At.Truncate(time.Hour).Equal(now.Truncate(time.Hour)) && l.last.Size != l.witnessed.Size {
		return l.last.Size
	}
	return 0
}

// tiles reads the log's tiles, keeping those of its right edge in memory.
type tiles struct {
	ctx   context.Context
	store *sqlstore.Store
	edge  map[int]audit.Tile // by level
}

func newTiles(ctx context.Context, store *sqlstore.Store) *tiles {
	return &tiles{context.WithoutCancel(ctx), store, map[int]audit.Tile{}}
}

// Tile implements audit.TileReader.
func (t *tiles) Tile(level int, n int64) ([]byte, error) {
	if e, ok := t.edge[level]; ok && e.N == n {
		return e.Data, nil
	}
	return t.store.Tile(t.ctx, level, n)
}

// keep remembers the rightmost tile of each level.
func (t *tiles) keep(list []audit.Tile) {
	for _, tile := range list {
		if e, ok := t.edge[tile.Level]; !ok || tile.N >= e.N {
			t.edge[tile.Level] = tile
		}
	}
}
