package audit

import (
	"io"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// logView is how the log stands.
type logView struct {
	state      adminapi.AuditState
	checkpoint *audit.Checkpoint // nil: none yet
	note       string
	signatures []noteSignature
	mayExport  bool
	mayCheck   bool
	kept       ui.Table[adminapi.KeptCheckpoint]
}

var keptSpec = ui.TableSpec{Columns: []string{"size", "at", "cosigned"}, Sorts: []string{"size"}, Limit: 25}

func logPage(r *ui.Request) error {
	ctx := r.Context()
	state, err := r.API.AuditState(ctx)
	if err != nil {
		return err
	}
	v := logView{state: state, mayExport: r.Can(access.AuditExport) && r.Can(access.PersonalRead), mayCheck: r.Can(access.PersonalRead)}
	c, err := r.API.AuditCheckpoint(ctx)
	switch t := ui.TroubleOf(err); {
	case err == nil:
		key, err := audit.ParsePublicKey(c.VerifierKey)
		if err != nil {
			return err
		}
		opened, err := audit.Open([]byte(c.Checkpoint), key)
		if err != nil {
			return err
		}
		v.checkpoint, v.note, v.signatures = &opened, c.Checkpoint, signaturesOf(c.Checkpoint, opened.Origin)
	case t.Code != "no-checkpoint":
		return err
	}
	s := r.Table(keptSpec)
	rows, next := ui.SortPage(s, state.Checkpoints, nil)
	v.kept = ui.Table[adminapi.KeptCheckpoint]{ID: "checkpoints", Label: "Kept checkpoints", State: s, Rows: rows, Next: next, Total: ui.Count(int64(len(state.Checkpoints)), "checkpoint", "checkpoints"),
		Columns: []ui.Column[adminapi.KeptCheckpoint]{
			{Key: "size", Label: "Entries", Number: true, Cell: func(c adminapi.KeptCheckpoint) ui.Node { return ui.Text(ui.Number(c.Size)) }},
			{Key: "at", Label: "Signed", Wide: true, Cell: func(c adminapi.KeptCheckpoint) ui.Node { return ui.Exact(c.At) }},
			{Key: "cosigned", Label: "Witnesses", Number: true, Cell: func(c adminapi.KeptCheckpoint) ui.Node { return ui.Text(ui.Number(int64(c.Cosigned))) }},
		},
		Empty: ui.EmptyProps{Icon: "audit", Title: "No checkpoint yet", Text: "The first one is signed within a second of the first event."}}
	return r.Page(ui.Page{Title: "Audit", Tabs: tabs(true), Lead: "How the log stands, who watches it, and how to check all of it without trusting this server."}, logBody(v))
}

func (v logView) island() island {
	keys := make([]string, len(v.state.Witnesses))
	for i, w := range v.state.Witnesses {
		keys[i] = w.Key
	}
	return island{Key: v.state.VerifierKey, Witnesses: keys, Checkpoint: "/audit/log/checkpoint", Consistency: "/audit/log/consistency"}
}

// cosigned is how many witnesses have cosigned the newest published checkpoint.
func (v logView) cosigned() (n int64) {
	for _, w := range v.state.Witnesses {
		if w.Size == v.state.Published && w.Size > 0 {
			n++
		}
	}
	return n
}

func (v logView) witnessTone() ui.Tone {
	switch n := v.cosigned(); {
	case len(v.state.Witnesses) == 0:
		return ui.Neutral
	case n == int64(len(v.state.Witnesses)):
		return ui.Good
	case n >= int64(v.state.Quorum):
		return ui.Info
	}
	return ui.Warn
}

func checkpointFile(r *ui.Request) error {
	return r.Download("holdfast-checkpoint.txt", "text/plain; charset=utf-8", func(w io.Writer) error {
		c, err := r.API.AuditCheckpoint(r.Context())
		if err == nil {
			_, err = io.WriteString(w, c.Checkpoint)
		}
		return err
	})
}

func keyFile(r *ui.Request) error {
	return r.Download("log-key.txt", "text/plain; charset=utf-8", func(w io.Writer) error {
		s, err := r.API.AuditState(r.Context())
		if err == nil {
			_, err = io.WriteString(w, s.VerifierKey+"\n")
		}
		return err
	})
}
