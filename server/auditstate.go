package server

import (
	"context"
	"errors"
	"strconv"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// keptShown is how many checkpoints AuditState lists.
const keptShown = 50

// AuditState shows how the log stands, from what is stored: it asks no witness and
// no collector.
func (s *Server) AuditState(ctx context.Context) (st adminapi.AuditState, err error) {
	st.Log, st.VerifierKey, st.Quorum = s.auditor.public.Name(), s.auditor.public.String(), s.cfg.Audit.Quorum
	if st.Entries, err = s.store.LogSize(ctx); err != nil {
		return st, err
	}
	now, err := s.published(ctx)
	if ref := refusal.As(err); err != nil && (ref == nil || ref.Code != "no-checkpoint") {
		return st, err
	}
	st.Published, st.PublishedAt = now.Size, now.At
	if err := s.witnessStates(ctx, &st, now); err != nil {
		return st, err
	}
	return st, s.syslogState(ctx, &st)
}

// witnessStates lists the kept checkpoints and who cosigned them. now is the
// newest published one, whose cosignatures may not be stored yet.
func (s *Server) witnessStates(ctx context.Context, st *adminapi.AuditState, now sqlstore.SignedCheckpoint) error {
	keys := make([]audit.PublicKey, len(s.cfg.Audit.Witnesses))
	for i, w := range s.cfg.Audit.Witnesses {
		key, err := audit.ParsePublicKey(w.Key)
		if err != nil {
			return err
		}
		keys[i] = key
		st.Witnesses = append(st.Witnesses, adminapi.WitnessState{Name: key.Name(), Key: w.Key, URL: w.URL})
	}
	kept, err := s.store.CheckpointsUpTo(ctx, audit.MaxSize)
	if err != nil {
		return err
	}
	for i := len(kept) - 1; i >= 0 && len(st.Checkpoints) < keptShown; i-- {
		c := kept[i]
		if c.Size == now.Size {
			c = now
		}
		_, words, err := audit.VerifyWitnessed(c.Signed, s.auditor.public, keys, 0)
		if err != nil {
			return err
		}
		st.Checkpoints = append(st.Checkpoints, adminapi.KeptCheckpoint{Size: c.Size, At: c.At, Cosigned: len(words)})
		for _, word := range words {
			for j := range st.Witnesses {
				if w := &st.Witnesses[j]; w.Size == 0 && w.Key == word.Witness.String() {
					w.Size, w.At = c.Size, word.Time
				}
			}
		}
	}
	return nil
}

func (s *Server) syslogState(ctx context.Context, st *adminapi.AuditState) error {
	address := s.cfg.Audit.Syslog.Address
	if address == "" {
		return nil
	}
	st.Syslog = &adminapi.SyslogState{Address: address}
	text, err := s.store.Meta(ctx, syslogCursor)
	if errors.Is(err, sqlstore.ErrNotFound) {
		st.Syslog.Behind = st.Entries
		return nil
	}
	if err == nil {
		st.Syslog.Sent, err = strconv.ParseInt(text, 10, 64)
	}
	st.Syslog.Behind = max(0, st.Entries-st.Syslog.Sent)
	return err
}
