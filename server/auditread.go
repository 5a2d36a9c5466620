package server

import (
	"context"
	"errors"
	"io"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Entries lists sequenced events, newest first.
func (s *Server) Entries(ctx context.Context, f adminapi.AuditFilter) ([]adminapi.AuditEntry, error) {
	leaves, err := s.store.Entries(ctx, sqlstore.EntryFilter{Actor: f.Actor, Action: f.Action, Subject: f.Subject, Since: f.Since, Until: f.Until, Before: f.Before, Limit: f.Limit})
	if err != nil {
		return nil, err
	}
	list := make([]adminapi.AuditEntry, len(leaves))
	for i, leaf := range leaves {
		e, err := audit.Decode(leaf.Bytes)
		if err != nil {
			return nil, err
		}
		list[i] = adminapi.AuditEntry{Index: leaf.Index, Event: e}
	}
	return list, nil
}

// published is the newest checkpoint that may be shown: with a quorum of
// witnesses configured, one that has it.
func (s *Server) published(ctx context.Context) (sqlstore.SignedCheckpoint, error) {
	none := refusal.New(refusal.Unavailable, "no-checkpoint", "wait a moment", "the audit log has no checkpoint yet")
	if s.cfg.Audit.Quorum > 0 {
		s.auditor.mu.Lock()
		defer s.auditor.mu.Unlock()
		if s.auditor.witnessed.Size == 0 {
			none.Fix = "see that the witnesses can be reached"
			none.Detail = "no checkpoint of the audit log has enough cosignatures of witnesses yet"
			return sqlstore.SignedCheckpoint{}, none
		}
		return s.auditor.witnessed, nil
	}
	c, err := s.store.Checkpoint(ctx)
	if errors.Is(err, sqlstore.ErrNotFound) {
		return c, none
	}
	return c, err
}

// Checkpoint returns the newest published checkpoint and the key that signs it.
func (s *Server) Checkpoint(ctx context.Context) (signed []byte, verifierKey string, err error) {
	c, err := s.published(ctx)
	return c.Signed, s.auditor.public.String(), err
}

// Proof proves that an entry is in the newest published tree.
func (s *Server) Proof(ctx context.Context, index int64) (p audit.Proof, err error) {
	c, err := s.published(ctx)
	if err != nil {
		return p, err
	}
	if index < 0 || index >= c.Size {
		return p, refusal.New(refusal.NotFound, "no-such-entry", "use an index below the log's size", "the published log has %d entries and no entry %d", c.Size, index)
	}
	leaves, err := s.store.Leaves(ctx, index, 1)
	if err != nil {
		return p, err
	}
	if len(leaves) != 1 || leaves[0].Index != index {
		return p, errors.New("proving an entry: it is missing from the database")
	}
	path, err := audit.ProveInclusion(newTiles(ctx, s.store), c.Size, index)
	return audit.Proof{Index: index, Leaf: leaves[0].Bytes, Path: path, Checkpoint: c.Signed}, err
}

// Tile serves the log as static resources (C2SP tlog-tiles).
func (s *Server) Tile(ctx context.Context, path string) (data []byte, immutable bool, err error) {
	p, err := audit.ParsePath(path)
	if err != nil {
		return nil, false, refusal.New(refusal.NotFound, "no-such-tile", "use a path of C2SP tlog-tiles", "%.80q is not a path of the log", path)
	}
	c, err := s.published(ctx)
	if err != nil {
		return nil, false, err
	}
	if p.Resource == audit.ResourceCheckpoint {
		return c.Signed, false, nil
	}
	if !p.Within(c.Size) {
		return nil, false, refusal.New(refusal.NotFound, "no-such-tile", "read the checkpoint for the log's size", "the published log of %d entries has no %.80q", c.Size, path)
	}
	if p.Resource == audit.ResourceEntries {
		leaves, err := s.leaves(ctx, p.N*audit.TileWidth, p.Width)
		if err != nil {
			return nil, false, err
		}
		data, err = audit.EncodeBundle(leaves)
		return data, true, err
	}
	if data, err = s.store.Tile(ctx, p.Level, p.N); err != nil {
		return nil, false, err
	}
	return data[:p.Width*audit.HashSize], true, nil
}

func (s *Server) leaves(ctx context.Context, from int64, n int) ([][]byte, error) {
	rows, err := s.store.Leaves(ctx, from, n)
	if err != nil {
		return nil, err
	}
	if len(rows) != n {
		return nil, errors.New("reading the audit log: entries are missing from the database")
	}
	leaves := make([][]byte, n)
	for i, r := range rows {
		leaves[i] = r.Bytes
	}
	return leaves, nil
}

// exportChunk is how many entries an export holds in memory.
const exportChunk = 2000

// Export streams the whole published log: "log" for offline verification, with
// the checkpoints kept on the way, or "ocsf" as JSON lines for a SIEM.
func (s *Server) Export(ctx context.Context, w io.Writer, format string) error {
	c, err := s.published(ctx)
	if err != nil {
		return err
	}
	switch format {
	case "ocsf":
		return s.eachLeaf(ctx, c.Size, func(l sqlstore.Leaf) error {
			e, err := audit.Decode(l.Bytes)
			if err != nil {
				return err
			}
			_, err = w.Write(append(audit.OCSF(e, l.Index), '\n'))
			return err
		})
	case "log":
	default:
		return invalid("bad-format", "use log or ocsf", "%.40q is not an export format", format)
	}
	kept, err := s.store.CheckpointsUpTo(ctx, c.Size-1)
	if err != nil {
		return err
	}
	x, err := audit.NewExportWriter(w, s.auditor.public, c.Size)
	if err != nil {
		return err
	}
	err = s.eachLeaf(ctx, c.Size, func(l sqlstore.Leaf) error {
		for len(kept) > 0 && kept[0].Size <= l.Index {
			if kept[0].Size == l.Index && l.Index > 0 {
				if err := x.Checkpoint(kept[0].Signed); err != nil {
					return err
				}
			}
			kept = kept[1:]
		}
		return x.Entry(l.Bytes)
	})
	if err == nil {
		err = x.Checkpoint(c.Signed)
	}
	if err != nil {
		return err
	}
	return x.Close()
}

func (s *Server) eachLeaf(ctx context.Context, size int64, each func(sqlstore.Leaf) error) error {
	for from := int64(0); from < size; from += exportChunk {
		rows, err := s.store.Leaves(ctx, from, int(min(exportChunk, size-from)))
		if err != nil {
			return err
		}
		if int64(len(rows)) != min(exportChunk, size-from) {
			return errors.New("exporting the audit log: entries are missing from the database")
		}
		for _, l := range rows {
			if err := each(l); err != nil {
				return err
			}
		}
	}
	return nil
}
