package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// maxAsked is how many requests of one party may wait at a time.
const maxAsked = 50

// SecondNeeded tells whether an action needs a second person when by asks for it.
// The admin token needs none unless the configuration says always: who holds it
// can write the data folder.
func (s *Server) SecondNeeded(ctx context.Context, by access.Identity, action access.Action) (bool, error) {
	mode := access.TwoPerson(s.cfg.Access.TwoPerson)
	if mode == access.Never || !slices.Contains(s.cfg.Access.TwoPersonActions, string(action)) {
		return false, nil
	}
	if mode == access.Always {
		return true, nil
	}
	if by.Rights.IsRoot() {
		return false, nil
	}
	if by.Actor.Kind == access.Human {
		p, err := s.person(ctx, access.PersonID(by.Actor.ID))
		if err != nil || p.BreakGlass { // the alarm was raised when they signed in
			return false, err
		}
	}
	others, err := s.deciders(ctx, by.Actor)
	return len(others) > 0, err
}

// Few counts devices that a party changes without a second person, in the database,
// so that it holds over all nodes and restarts.
func (s *Server) Few(ctx context.Context, by access.Identity, n int) (bool, error) {
	now := s.now()
	return s.store.Tally(ctx, by.Actor.String(), n, access.ManyDevices, now.Add(-access.ManyWindow), now)
}

// behind are the people whom a request counts as made by: the person who made it,
// or those who made the program that did and its keys. None of them is a second
// person.
func (s *Server) behind(ctx context.Context, by access.Actor) (map[string]bool, error) {
	people := map[string]bool{}
	switch by.Kind {
	case access.Human:
		people[by.ID] = true
	case access.Client:
		c, err := s.store.APIClient(ctx, by.ID)
		if errors.Is(err, sqlstore.ErrNotFound) { // the admin token
			return people, nil
		}
		if err != nil {
			return nil, err
		}
		keys, err := s.store.APIKeys(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		makers := []string{c.CreatedBy}
		for _, k := range keys {
			makers = append(makers, k.CreatedBy)
		}
		for _, m := range makers {
			if id, ok := strings.CutPrefix(m, string(access.Human)+":"); ok {
				people[id] = true
			}
		}
	}
	return people, nil
}

// deciders are the people who may approve what but asks for. Who was active
// once counts while the account is disabled or waits for its new link too:
// otherwise one of two could disable the other first and then decide alone.
func (s *Server) deciders(ctx context.Context, but access.Actor) (list []access.Person, err error) {
	behind, err := s.behind(ctx, but)
	if err != nil {
		return nil, err
	}
	grants, err := s.store.Grants(ctx, access.ToPerson, "")
	if err != nil {
		return nil, err
	}
	roles, err := s.roleTable(ctx)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, g := range grants {
		if role, ok := roles(g.Role); !ok || !role.Has(access.ApprovalDecide) || !g.Live(s.now()) || !g.Scope.All() || seen[g.Subject] || behind[g.Subject] {
			continue
		}
		seen[g.Subject] = true
		p, err := s.person(ctx, access.PersonID(g.Subject))
		if err != nil {
			return nil, err
		}
		once := p.State != access.PersonErased && !p.EnabledAt.IsZero()
		if (p.State == access.PersonActive || once) && !p.BreakGlass {
			list = append(list, p)
		}
	}
	return list, nil
}

// Ask stores a request for a second person.
func (s *Server) Ask(ctx context.Context, by access.Identity, a access.Approval) (access.Approval, error) {
	a.ID, a.RequestedBy, a.RequestedAt, a.State = newID(), by.Actor.String(), s.now(), access.ApprovalWaiting
	a.ExpiresAt, a.Reason = s.now().Add(s.cfg.Access.ApprovalLife), audit.Text(a.Reason, audit.MaxReason)
	sum := sha256.Sum256(a.Body)
	err := s.store.InsertApproval(ctx, a, maxAsked, s.event(by.Actor, "approval.requested", "approval", a.ID, "action", string(a.Action), "operation", a.Operation,
		"path", a.Path, "body_sha256", hex.EncodeToString(sum[:]), "reason", a.Reason))
	if isChanged(err) {
		return a, refusal.New(refusal.TooMany, "too-many-waiting", "withdraw some, or wait until they are decided", "%d of your requests wait already", maxAsked)
	}
	if err == nil {
		s.notifyWaiting(ctx, by.Actor, a)
	}
	return a, err
}

// Approval shows a request; one that waited too long is shown as expired.
func (s *Server) Approval(ctx context.Context, id string) (access.Approval, error) {
	a, err := s.store.Approval(ctx, id)
	return s.asOfNow(a), missing(err, "approval", id)
}

func (s *Server) asOfNow(a access.Approval) access.Approval {
	if a.State == access.ApprovalWaiting && !s.now().Before(a.ExpiresAt) {
		a.State = access.ApprovalExpired
	}
	return a
}

// Approvals lists requests, newest first.
func (s *Server) Approvals(ctx context.Context, f adminapi.ApprovalFilter) ([]access.Approval, error) {
	if _, err := s.store.ExpireApprovals(ctx, s.now()); err != nil {
		return nil, err
	}
	return s.store.Approvals(ctx, f.State, f.Before, f.Limit)
}

// Decide approves or rejects a request. Approved comes first, durably, then the
// request is carried out, then its outcome is written: a crash between leaves it
// approved, which is shown as interrupted and can never be carried out twice.
func (s *Server) Decide(ctx context.Context, by access.Identity, id string, approve bool, comment string) (access.Approval, error) {
	a, err := s.store.Approval(ctx, id)
	if err != nil {
		return a, missing(err, "approval", id)
	}
	decided, err := a.Decide(by, approve, audit.Text(comment, audit.MaxReason), s.now())
	if err != nil {
		return a, err
	}
	if approve {
		if err := s.notOwn(ctx, a, by.Actor); err != nil {
			return a, err
		}
	}
	action := "approval.rejected"
	if approve {
		action = "approval.approved"
	}
	err = s.store.MoveApproval(ctx, decided, access.ApprovalWaiting, s.approvalEvent(by.Actor, action, decided, "comment", decided.Comment))
	if err == nil {
		s.notifyDecided(ctx, decided, approve)
	}
	return decided, stale(err, "request", id)
}

// notOwn refuses to approve what a program asked for by who made the program or
// a key of it: it could have asked for them.
func (s *Server) notOwn(ctx context.Context, a access.Approval, by access.Actor) error {
	kind, id, _ := strings.Cut(a.RequestedBy, ":")
	behind, err := s.behind(ctx, access.Actor{Kind: access.Kind(kind), ID: id})
	if err == nil && behind[by.ID] {
		return refusal.New(refusal.Forbidden, "own-request", "let somebody else look at it", "a request of a program cannot be approved by who made the program or a key of it")
	}
	return err
}

func (s *Server) approvalEvent(by access.Actor, action string, a access.Approval, details ...string) audit.Event {
	sum := sha256.Sum256(a.Body)
	return s.event(by, action, "approval", a.ID, append([]string{"action", string(a.Action), "operation", a.Operation, "path", a.Path,
		"body_sha256", hex.EncodeToString(sum[:]), "requested_by", a.RequestedBy}, details...)...)
}

// Withdraw takes an own request back.
func (s *Server) Withdraw(ctx context.Context, by access.Actor, id string) (access.Approval, error) {
	a, err := s.store.Approval(ctx, id)
	if err == nil && a.RequestedBy != by.String() { // others' are not told
		return access.Approval{}, access.OutOfScope("approval", id)
	}
	if err != nil {
		return a, missing(err, "approval", id)
	}
	gone, err := a.Withdraw(by, s.now())
	if err != nil {
		return a, err
	}
	err = s.store.MoveApproval(ctx, gone, access.ApprovalWaiting, s.approvalEvent(by, "approval.withdrawn", gone))
	return gone, stale(err, "request", id)
}

// CarriedOut records what came of an approved request.
func (s *Server) CarriedOut(ctx context.Context, id string, done bool, outcome string) (access.Approval, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	a, err := s.store.Approval(ctx, id)
	if err != nil {
		return a, missing(err, "approval", id)
	}
	a.State, a.Outcome = access.ApprovalFailed, audit.Text(outcome, audit.MaxReason)
	if done {
		a.State = access.ApprovalDone
	}
	e := s.approvalEvent(access.Component("approvals"), "approval.carried_out", a, "approved_by", a.DecidedBy)
	if !done {
		e.Outcome, e.Reason = audit.Failed, a.Outcome
	}
	err = s.store.MoveApproval(ctx, a, access.ApprovalApproved, e)
	return a, stale(err, "request", id)
}
