package adminapi

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
)

// recheck is how often an answer without an end looks whether its reader may
// still have it.
const recheck = 5 * time.Second

type provenKey struct{}

// prover is a caller whose answer goes on: it is proven again and again, with the
// rights that it has then.
type prover struct {
	a  *api
	r  *http.Request
	id atomic.Pointer[access.Identity]
}

func (a *api) prover(r *http.Request) (*prover, error) {
	id, err := identity(r.Context())
	p := &prover{a: a, r: r}
	p.id.Store(&id)
	return p, err
}

// again proves the caller as it was proven at first: by its token, or, for
// requests of the console, by what is known of the account.
func (p *prover) again(ctx context.Context, needs []access.Permission) error {
	was := p.id.Load()
	var id access.Identity
	var err error
	switch {
	case p.r.Context().Value(provenKey{}) != nil:
		id, err = p.a.authenticate(p.r)
	case was.Rights.IsRoot() || p.a.cfg.Approvals == nil:
		return nil
	default:
		id, err = p.a.cfg.Approvals.Requester(ctx, access.Approval{RequestedBy: was.Actor.String()})
	}
	if err != nil {
		return err
	}
	if id.Actor.Kind != was.Actor.Kind || id.Actor.ID != was.Actor.ID {
		return refusal.New(refusal.Unauthenticated, "bad-api-token", "sign in again", "this token is another party's now")
	}
	for _, need := range needs {
		if !id.Rights.Has(need, p.a.now()) {
			return access.Denied(need)
		}
	}
	p.id.Store(&id)
	return nil
}

// watch calls stop when the caller may not go on, and returns why; it returns nil
// when ctx ends first.
func (p *prover) watch(ctx context.Context, stop func(), needs ...access.Permission) error {
	tick := time.NewTicker(recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := p.again(ctx, needs); err != nil && ctx.Err() == nil {
			stop()
			return err
		}
	}
}
