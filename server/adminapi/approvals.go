package adminapi

import (
	"context"

	"github.com/holdfast-iot/holdfast/access"
)

// ApprovalFilter selects requests, newest first.
type ApprovalFilter struct {
	State  access.ApprovalState // empty: all
	Before string               // id of the last one seen
	Limit  int                  // 1 to 1000
}

// Approvals keeps requests that wait for a second person.
type Approvals interface {
	// SecondNeeded tells whether the action needs a second person when by asks.
	SecondNeeded(ctx context.Context, by access.Identity, action access.Action) (bool, error)
	// Few counts n devices that by wants to revoke, quarantine or release, and tells
	// whether they are, with those before, at most access.ManyDevices.
	Few(ctx context.Context, by access.Identity, n int) (bool, error)
	// Ask stores a request durably; it sets id, times, state and who asked.
	Ask(ctx context.Context, by access.Identity, a access.Approval) (access.Approval, error)
	Approval(ctx context.Context, id string) (access.Approval, error)
	Approvals(ctx context.Context, f ApprovalFilter) ([]access.Approval, error)
	// Decide approves or rejects; an approved request is carried out at once.
	Decide(ctx context.Context, by access.Identity, id string, approve bool, comment string) (access.Approval, error)
	Withdraw(ctx context.Context, by access.Actor, id string) (access.Approval, error)
	// Requester is who asked, with the rights that they have now.
	Requester(ctx context.Context, a access.Approval) (access.Identity, error)
	// CarriedOut records what came of an approved request.
	CarriedOut(ctx context.Context, id string, done bool, outcome string) (access.Approval, error)
}
