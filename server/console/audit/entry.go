package audit

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/sentences"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// entryView is what the page of one event shows.
type entryView struct {
	adminapi.Entry
	says         sentences.Sentence
	names        *sentences.Names
	newer, older *adminapi.Entry // of the same subject
	more         bool            // there are too many newer ones to find the next
	proof        *proofView
	proofErr     error
	mayProve     bool
}

// indexOf reads the number of an entry in its one spelling.
func indexOf(r *ui.Request) (int64, error) {
	text := r.Value("index")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n >= audit.MaxSize || strconv.FormatInt(n, 10) != text {
		return 0, ui.NotFound()
	}
	return n, nil
}

func show(r *ui.Request) error {
	index, err := indexOf(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	e, err := r.API.AuditEntry(ctx, index)
	if err != nil {
		return err
	}
	n := sentences.For(r)
	v := entryView{Entry: e, names: n, says: n.Of(e.Event), mayProve: r.Can(access.PersonalRead)}
	if e.Event.Subject.ID != "" {
		if err := v.neighbours(ctx, r.API); err != nil {
			return err
		}
	}
	if v.mayProve {
		v.proof, v.proofErr = proofOf(ctx, r.API, index)
	}
	return r.Page(ui.Page{Title: "Entry " + strconv.FormatInt(index, 10), Crumbs: []ui.Link{{Text: "Audit", Href: "/audit"}},
		Badge: ui.Badge(outcomeTone(e.Event.Outcome), e.Event.Outcome), Actions: entryActions(v)}, entryBody(v))
}

// neighbours finds the events before and after this one of the same subject. The
// API lists newest first, so what comes next is looked for in growing windows.
func (v *entryView) neighbours(ctx context.Context, api *adminapi.Client) error {
	filter := adminapi.AuditFilter{Subject: v.Event.Subject.Kind + ":" + v.Event.Subject.ID, Limit: 1, Before: v.Index}
	if v.Index > 0 {
		l, err := api.AuditEntries(ctx, filter)
		if err != nil {
			return err
		}
		if len(l.Items) > 0 {
			v.older = &l.Items[0]
		}
	}
	filter.Before, filter.Limit, filter.Since = 0, 1000, v.Event.Time
	for window := time.Minute; ; window *= 60 {
		last := window > 24*time.Hour
		if filter.Until = v.Event.Time.Add(window); last {
			filter.Until = time.Time{}
		}
		l, err := api.AuditEntries(ctx, filter)
		if err != nil {
			return err
		}
		for _, e := range slices.Backward(l.Items) {
			if e.Index > v.Index {
				if v.newer = &e; l.Next != 0 {
					v.newer, v.more = nil, true
				}
				return nil
			}
		}
		if last {
			return nil
		}
	}
}

// details are the facts of the event, in order.
func (v entryView) details() []string { return slices.Sorted(maps.Keys(v.Event.Details)) }

// sourceHidden tells whether the network address is there and not shown.
func (v entryView) sourceHidden() bool {
	return v.Event.Actor.Kind == string(access.Human) && !v.mayProve
}

// shown is what the check in the browser compares with the leaf.
type shown struct {
	Index   int64  `json:"index"`
	ID      string `json:"id"`
	Time    string `json:"time"`
	Actor   string `json:"actor"`
	Action  string `json:"action"`
	Subject string `json:"subject"`
	Outcome string `json:"outcome"`
	Reason  string `json:"reason"`
}

// island is what the script of the page needs.
type island struct {
	Key         string   `json:"key"`
	Witnesses   []string `json:"witnesses"`
	Proof       string   `json:"proof"`       // path of the proof; empty on the page of the log
	Checkpoint  string   `json:"checkpoint"`  // path of the checkpoint
	Consistency string   `json:"consistency"` // path of consistency proofs
	Shown       *shown   `json:"shown"`
}

func (v entryView) island() island {
	e := v.Event
	return island{Key: v.proof.key, Witnesses: append([]string{}, v.proof.witnesses...), Proof: entryPath(v.Index) + "/proof", Checkpoint: "/audit/log/checkpoint", Consistency: "/audit/log/consistency",
		Shown: &shown{v.Index, e.ID, e.Time.UTC().Format("2006-01-02T15:04:05.000000Z"), e.Actor.Kind + ":" + e.Actor.ID, e.Action, e.Subject.Kind + ":" + e.Subject.ID, e.Outcome, e.Reason}}
}
