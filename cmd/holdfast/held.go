package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// heldExit is the exit code of a command whose request waits for a second person.
const heldExit = 3

// heldError is requests that wait for a second person: nothing has happened.
type heldError struct{ waiting []*adminapi.Pending }

func (e *heldError) Error() string { return e.waiting[0].Error() }

// holding collects, over several requests, those that wait.
type holding struct{ waiting []*adminapi.Pending }

// take keeps err if it says that a request waits; other errors come back.
func (h *holding) take(err error) error {
	if p, ok := errors.AsType[*adminapi.Pending](err); ok {
		h.waiting = append(h.waiting, p)
		return nil
	}
	return err
}

func (h *holding) err() error {
	if len(h.waiting) == 0 {
		return nil
	}
	return &heldError{h.waiting}
}

func heldBack(err error) ([]*adminapi.Pending, bool) {
	if e, ok := errors.AsType[*heldError](err); ok {
		return e.waiting, true
	}
	p, ok := errors.AsType[*adminapi.Pending](err)
	return []*adminapi.Pending{p}, ok
}

// reportHeld tells what waits and who can let it happen, and waits for that if
// asked to. It returns the exit code.
func (a *app) reportHeld(ctx context.Context, held []*adminapi.Pending) int {
	if a.wait && a.connected != nil {
		return a.awaitDecisions(ctx, held)
	}
	list := make([]access.Approval, len(held))
	for i, p := range held {
		list[i] = p.Approval
	}
	if a.output != "table" {
		var out any = list[0]
		if len(list) > 1 {
			out = list
		}
		if err := a.encode(out); err != nil {
			a.complain(err.Error(), "")
			return 1
		}
	}
	for _, q := range list {
		fmt.Fprintf(a.err, "%s nothing has happened yet: a second person has to approve this until %s\n", a.paint(a.err, bold, "waiting:"), when(q.ExpiresAt))
		fmt.Fprintf(a.err, "  %s\n  holdfast approval approve %s\n", plain(q.Summary), plain(q.ID))
	}
	fmt.Fprintf(a.err, "Somebody else with the permission %s can approve it, such as a security-officer or admin; --wait waits for that.\n", access.ApprovalDecide)
	return heldExit
}

const decisionPoll = 3 * time.Second

// awaitDecisions waits until every request is decided: 0 if all were carried out.
func (a *app) awaitDecisions(ctx context.Context, held []*adminapi.Pending) int {
	ended := []access.Approval{}
	code := 0
	for _, p := range held {
		fmt.Fprintf(a.err, "waiting for a second person until %s: holdfast approval approve %s\n", when(p.Approval.ExpiresAt), plain(p.Approval.ID))
	}
	for _, p := range held {
		q, err := a.awaitDecision(ctx, p.Approval)
		if err != nil {
			if errors.Is(err, context.Canceled) {
				a.complain("interrupted; the request still waits", "see `holdfast approval list`, or take it back with `holdfast approval withdraw "+plain(p.Approval.ID)+"`")
				return heldExit
			}
			a.complain(explain(err))
			return 1
		}
		ended = append(ended, q)
		if q.State != access.ApprovalDone {
			code = 1
		}
	}
	var err error
	if len(ended) == 1 {
		err = printItem(a, ended[0], approvalCols)
	} else {
		err = printList(a, ended, approvalCols)
	}
	if err != nil {
		a.complain(err.Error(), "")
		return 1
	}
	return code
}

func (a *app) awaitDecision(ctx context.Context, q access.Approval) (access.Approval, error) {
	for silent := 0; ; {
		now, err := a.requestAgain(ctx, q.ID)
		switch {
		case err == nil && now.State != access.ApprovalWaiting && now.State != access.ApprovalApproved:
			return now, nil
		case err == nil:
			silent = 0
		case ctx.Err() != nil:
			return q, ctx.Err()
		default:
			if silent++; silent > maxSilence || refused(err) {
				return q, err
			}
		}
		// What was interrupted while it was carried out stays approved.
		if a.now().After(q.ExpiresAt.Add(time.Hour)) {
			return q, fixing("see `holdfast approval show "+q.ID+"`", errors.New("the request has no outcome"))
		}
		if err := a.sleep(ctx, decisionPoll); err != nil {
			return q, err
		}
	}
}

// refused tells whether the server said no, which asking again does not change.
func refused(err error) bool {
	p, ok := errors.AsType[*adminapi.Problem](err)
	return ok && p.Status < 500 && p.Status != 429 || errors.Is(err, errSignInEnded) || refusal.As(err) != nil
}

// requestAgain reads one's own request, also without the permission to see those
// of others.
func (a *app) requestAgain(ctx context.Context, id string) (access.Approval, error) {
	q, err := a.connected.Approval(ctx, id)
	if p, ok := errors.AsType[*adminapi.Problem](err); !ok || p.Status != 403 {
		return q, err
	}
	own, err := a.connected.OwnApprovals(ctx)
	if err != nil {
		return q, err
	}
	if i := slices.IndexFunc(own, func(o access.Approval) bool { return o.ID == id }); i >= 0 {
		return own[i], nil
	}
	return q, fixing("see `holdfast approval list`", errors.New("the request is not known any more"))
}
