package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testApprovals(t *testing.T, b Backend) {
	t.Run("Fields", func(t *testing.T) { testApprovalFields(begin(t, b)) })
	t.Run("Pages", func(t *testing.T) { testApprovalPages(begin(t, b)) })
	t.Run("Races", func(t *testing.T) { testDeciders(begin(t, b)) })
	t.Run("Limit", func(t *testing.T) { testApprovalLimit(begin(t, b)) })
	t.Run("Expiry", func(t *testing.T) { testApprovalExpiry(begin(t, b)) })
	t.Run("Tally", func(t *testing.T) { testTally(begin(t, b)) })
}

func asked(id, by string) access.Approval {
	return access.Approval{ID: id, Action: access.RetireDevice, Operation: "retire-device", Summary: "Retire a device", Method: "POST", Path: "/api/v1/devices/d1/retire?x=1",
		Body: []byte("{\"reason\":\"\x00\xff\"}"), ContentType: "application/json", RequestedBy: by, RequestedAt: start, Reason: "scrapped", ExpiresAt: start.Add(time.Hour), State: access.ApprovalWaiting}
}

func decided(a access.Approval, to access.ApprovalState, by string) access.Approval {
	a.State, a.DecidedBy, a.DecidedAt, a.Comment = to, by, start.Add(time.Minute), "by "+by
	return a
}

var approvalWrites = []write{
	{method: "InsertApproval", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error {
			return w.InsertApproval(w.Context(), asked("f-a", "person:f"), 5, ev...)
		}
	}},
	{method: "MoveApproval", prepare: func(w *world) func(...audit.Event) error {
		a := decided(asked("f-a", "person:f"), access.ApprovalApproved, "person:g")
		return func(ev ...audit.Event) error { return w.MoveApproval(w.Context(), a, access.ApprovalWaiting, ev...) }
	}},
	{method: "ExpireApprovals", silent: true, prepare: func(w *world) func(...audit.Event) error {
		w.ok(w.InsertApproval(w.Context(), asked("f-b", "person:f"), 5))
		return func(...audit.Event) error {
			_, err := w.ExpireApprovals(w.Context(), start.Add(2*time.Hour))
			return err
		}
	}},
	{method: "Tally", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error {
			_, err := w.Tally(w.Context(), "person:f", 3, 10, start.Add(-time.Hour), start)
			return err
		}
	}},
}

func testTally(w *world) {
	add := func(who string, n int, after time.Duration) bool {
		w.Helper()
		now := start.Add(after)
		within, err := w.Tally(w.Context(), who, n, 10, now.Add(-time.Hour), now)
		w.ok(err)
		return within
	}
	for i, c := range []struct {
		who    string
		n      int
		after  time.Duration
		within bool
	}{
		{"person:a", 11, 0, false}, {"person:a", 9, 0, true}, {"person:a", 2, time.Minute, false}, {"person:b", 10, time.Minute, true},
		{"person:a", 1, 2 * time.Minute, true}, {"person:a", 1, 59 * time.Minute, false},
		{"person:a", 10, time.Hour, true}, {"person:b", 1, time.Hour, false}, {"person:b", 1, time.Hour + time.Minute, true}, {"person:a", 1, time.Hour + time.Minute, false},
	} {
		if got := add(c.who, c.n, c.after); got != c.within {
			w.Errorf("step %d: %d more of %s after %s: %t", i, c.n, c.who, c.after, got)
		}
	}
	var group sync.WaitGroup
	var passed atomic.Int32
	for range 30 {
		group.Go(func() {
			if within, err := w.Tally(w.Context(), "person:c", 1, 10, start, start.Add(time.Hour)); err == nil && within {
				passed.Add(1)
			}
		})
	}
	group.Wait()
	if passed.Load() != 10 {
		w.Errorf("%d of 30 at once were let through, want 10", passed.Load())
	}
}

func testApprovalFields(w *world) {
	ctx, a := w.Context(), asked("a1", "person:p1")
	w.ok(w.InsertApproval(ctx, a, 5, w.event("approval.requested", "approval", "a1")))
	if w.InsertApproval(ctx, a, 5) == nil {
		w.Fatal("a request's id was used twice")
	}
	got, err := w.Approval(ctx, "a1")
	w.ok(err)
	w.same("the request", got, a)
	_, err = w.Approval(ctx, "a9")
	w.is(err, sqlstore.ErrNotFound)

	// A decision cannot change what was asked for.
	forged := decided(a, access.ApprovalApproved, "person:p2")
	forged.Path, forged.Body, forged.RequestedBy, forged.Operation, forged.Reason = "/api/v1/devices/d2/retire", []byte("{}"), "person:p9", "other", "other"
	w.ok(w.MoveApproval(ctx, forged, access.ApprovalWaiting, w.event("approval.approved", "approval", "a1")))
	got, err = w.Approval(ctx, "a1")
	w.ok(err)
	w.same("the request, decided", got, decided(a, access.ApprovalApproved, "person:p2"))
	w.refused(func() error {
		return w.MoveApproval(ctx, decided(a, access.ApprovalRejected, "person:p3"), access.ApprovalWaiting, w.event("approval.rejected", "approval", "a1"))
	})
	got.State, got.Outcome = access.ApprovalDone, "OK"
	w.ok(w.MoveApproval(ctx, got, access.ApprovalApproved))
	w.refused(func() error { return w.MoveApproval(ctx, got, access.ApprovalApproved) })
}

func testApprovalPages(w *world) {
	ctx := w.Context()
	for i := range 5 {
		w.ok(w.InsertApproval(ctx, asked(fmt.Sprint("a", i), "person:p1"), 9))
	}
	w.ok(w.MoveApproval(ctx, decided(asked("a3", "person:p1"), access.ApprovalRejected, "person:p2"), access.ApprovalWaiting))
	for _, c := range []struct {
		state  access.ApprovalState
		before string
		limit  int
		want   []string
	}{
		{"", "", 10, []string{"a4", "a3", "a2", "a1", "a0"}}, {"", "", 2, []string{"a4", "a3"}}, {"", "a3", 2, []string{"a2", "a1"}}, {"", "a0", 2, nil},
		{access.ApprovalWaiting, "", 10, []string{"a4", "a2", "a1", "a0"}}, {access.ApprovalWaiting, "a4", 1, []string{"a2"}},
		{access.ApprovalRejected, "", 10, []string{"a3"}}, {access.ApprovalDone, "", 10, nil},
	} {
		list, err := w.Approvals(ctx, c.state, c.before, c.limit)
		w.ok(err)
		var got []string
		for _, a := range list {
			got = append(got, a.ID)
		}
		w.same(fmt.Sprintf("requests %q before %q", c.state, c.before), got, c.want)
	}
}

// testDeciders lets many decide, withdraw and expire one request at one moment:
// one succeeds, with one event, and what is stored is theirs.
func testDeciders(w *world) {
	ctx := w.Context()
	for round := range 10 {
		a := asked(fmt.Sprint("a", round), "person:p1")
		w.ok(w.InsertApproval(ctx, a, 99))
		states := []access.ApprovalState{access.ApprovalApproved, access.ApprovalRejected, access.ApprovalWithdrawn}
		errs := all(6, func(i int) error {
			return w.MoveApproval(ctx, decided(a, states[i%3], fmt.Sprint("person:d", i)), access.ApprovalWaiting, w.event("approval.decided", "approval", a.ID))
		})
		w.same("decisions that counted", w.won(errs), 1)
		got, err := w.Approval(ctx, a.ID)
		w.ok(err)
		for i, err := range errs {
			if err == nil {
				w.same("the decision", got, decided(a, states[i%3], fmt.Sprint("person:d", i)))
			}
		}
		w.same("events", w.events("approval.decided"), round+1)
	}
}

func testApprovalLimit(w *world) {
	ctx := w.Context()
	for i := range 3 {
		w.ok(w.InsertApproval(ctx, asked(fmt.Sprint("a", i), "client:c1"), 3))
	}
	w.refused(func() error {
		return w.InsertApproval(ctx, asked("a3", "client:c1"), 3, w.event("approval.requested", "approval", "a3"))
	})
	w.ok(w.InsertApproval(ctx, asked("b0", "person:c1"), 3)) // of another party, though of the same id
	w.ok(w.MoveApproval(ctx, decided(asked("a0", "client:c1"), access.ApprovalWithdrawn, "client:c1"), access.ApprovalWaiting))
	w.ok(w.InsertApproval(ctx, asked("a3", "client:c1"), 3))
}

func testApprovalExpiry(w *world) {
	ctx := w.Context()
	end := start.Add(time.Hour)
	for _, id := range []string{"a0", "a1", "a2"} {
		a := asked(id, "person:p1")
		if id == "a2" {
			a.ExpiresAt = end.Add(time.Microsecond)
		}
		w.ok(w.InsertApproval(ctx, a, 9))
	}
	w.ok(w.MoveApproval(ctx, decided(asked("a0", "person:p1"), access.ApprovalApproved, "person:p2"), access.ApprovalWaiting))
	n, err := w.ExpireApprovals(ctx, end.Add(-time.Microsecond))
	w.ok(err)
	w.same("requests that ended too early", n, int64(0))
	n, err = w.ExpireApprovals(ctx, end)
	w.ok(err)
	w.same("requests that ended", n, int64(1))
	for id, want := range map[string]access.ApprovalState{"a0": access.ApprovalApproved, "a1": access.ApprovalExpired, "a2": access.ApprovalWaiting} {
		a, err := w.Approval(ctx, id)
		w.ok(err)
		w.same("the state of "+id, a.State, want)
	}
	w.refused(func() error {
		return w.MoveApproval(ctx, decided(asked("a1", "person:p1"), access.ApprovalApproved, "person:p2"), access.ApprovalWaiting)
	})
}
