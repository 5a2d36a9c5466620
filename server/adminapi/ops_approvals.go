package adminapi

import (
	"context"
	"net/http"

	"github.com/holdfast-iot/holdfast/access"
)

type approvalQuery struct {
	State  access.ApprovalState `query:"state" enum:"waiting,approved,done,failed,rejected,withdrawn,expired"`
	Before string               `query:"before" maxLength:"64" doc:"list from behind this id on"`
	Limit  int                  `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type approvalName struct {
	ID string `path:"id" maxLength:"64" example:"01980f5e-6d53-7f2a-9d5c-3f1f6f0a2b11"`
}

type approvalDecision struct {
	ID   string `path:"id" maxLength:"64" example:"01980f5e-6d53-7f2a-9d5c-3f1f6f0a2b11"`
	Body struct {
		Comment string `json:"comment,omitempty" maxLength:"1024" doc:"why, for who asked and for the audit log"`
	}
}

type approvalComment struct {
	Comment string `json:"comment,omitempty"`
}

// ApprovalList is one page of requests, newest first.
type ApprovalList struct {
	Items []access.Approval `json:"items"`
	Next  string            `json:"next,omitempty" doc:"give it as before to read on; absent on the last page"`
}

func (a *api) approvalOperations() {
	const tag = "approvals"
	register(a, operation{id: "list-approvals", allow: access.ApprovalRead, method: http.MethodGet, path: "/approvals", tag: tag, summary: "List requests for a second person",
		description: "One page, newest first, without the bodies of the requests.", response: ApprovalList{[]access.Approval{exampleApproval}, exampleApproval.ID}},
		func(ctx context.Context, _ access.Actor, in *approvalQuery) (*body[ApprovalList], error) {
			found, err := a.cfg.Approvals.Approvals(ctx, ApprovalFilter{State: in.State, Before: in.Before, Limit: in.Limit + 1})
			if err != nil {
				return nil, err
			}
			l := ApprovalList{Items: present(found)}
			if len(found) > in.Limit {
				l.Items = found[:in.Limit]
				l.Next = l.Items[in.Limit-1].ID
			}
			for i := range l.Items {
				l.Items[i].Body = nil
			}
			return &body[ApprovalList]{l}, nil
		})
	register(a, operation{id: "list-own-approvals", allow: access.Own, method: http.MethodGet, path: "/account/approvals", tag: tag, summary: "List own requests for a second person",
		description: "What the caller asked for and what became of it, newest first, at most 1000 requests back.", response: list[access.Approval]{[]access.Approval{exampleApproval}}},
		func(ctx context.Context, by access.Actor, _ *struct{}) (*body[list[access.Approval]], error) {
			found, err := a.cfg.Approvals.Approvals(ctx, ApprovalFilter{Limit: maxPage})
			own := []access.Approval{}
			for _, f := range found {
				if f.RequestedBy == by.String() {
					f.Body = nil
					own = append(own, f)
				}
			}
			return &body[list[access.Approval]]{list[access.Approval]{own}}, err
		})
	register(a, operation{id: "show-approval", allow: access.ApprovalRead, method: http.MethodGet, path: "/approvals/{id}", tag: tag, summary: "Show a request for a second person",
		description: "With the body as it was sent.", response: exampleApproval},
		func(ctx context.Context, _ access.Actor, in *approvalName) (*body[access.Approval], error) {
			found, err := a.cfg.Approvals.Approval(ctx, in.ID)
			return &body[access.Approval]{found}, err
		})
	for _, v := range []struct {
		verb, summary, description string
		approve                    bool
	}{
		{"approve", "Approve a request", "It is carried out at once, in the name of who asked and with the rights that they have now. The answer says what came of it. Nobody approves their own.", true},
		{"reject", "Reject a request", "Nothing is carried out.", false},
	} {
		register(a, operation{id: v.verb + "-approval", allow: access.ApprovalDecide, fresh: v.approve, method: http.MethodPost, path: "/approvals/{id}/" + v.verb, tag: tag, summary: v.summary,
			description: v.description, request: approvalComment{"checked with the plant by telephone"}, response: exampleApproval},
			func(ctx context.Context, _ access.Actor, in *approvalDecision) (*body[access.Approval], error) {
				id, err := identity(ctx)
				if err != nil {
					return nil, err
				}
				decided, err := a.cfg.Approvals.Decide(ctx, id, in.ID, v.approve, in.Body.Comment)
				if err == nil && v.approve {
					done, outcome := a.carryOut(ctx, decided)
					decided, err = a.cfg.Approvals.CarriedOut(context.WithoutCancel(ctx), in.ID, done, outcome)
				}
				return &body[access.Approval]{decided}, err
			})
	}
	register(a, operation{id: "withdraw-approval", allow: access.Own, method: http.MethodPost, path: "/approvals/{id}/withdraw", tag: tag, summary: "Withdraw an own request",
		description: "Only who asked can, and only while it waits. The request has no body.", response: exampleApproval},
		func(ctx context.Context, by access.Actor, in *approvalName) (*body[access.Approval], error) {
			found, err := a.cfg.Approvals.Withdraw(ctx, by, in.ID)
			return &body[access.Approval]{found}, err
		})
}
