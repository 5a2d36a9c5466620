package people

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// SignIns lists a person's sign-ins that have not ended, newest first.
func (p *People) SignIns(ctx context.Context, id access.PersonID) ([]SignIn, error) {
	person, _, err := p.cfg.Store.Person(ctx, id)
	if err != nil {
		return nil, noPerson(err, id)
	}
	rows, err := p.cfg.Store.SignIns(ctx, id, p.now())
	list := make([]SignIn, len(rows))
	for i, row := range rows {
		list[i] = signInOf(row, person)
	}
	return list, err
}

// Seen is a sign-in with what its place says.
type Seen struct {
	SignIn
	NewPlace bool // it was the first from there, and the person had signed in from elsewhere before
}

// AllSignIns lists the sign-ins of all people that have not ended, newest first,
// from behind the one with the id before on; limit is at most 1000.
func (p *People) AllSignIns(ctx context.Context, before string, limit int) ([]Seen, error) {
	rows, err := p.cfg.Store.AllSignIns(ctx, p.now(), before, limit)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	fresh, err := p.cfg.Store.NewPlaces(ctx, rows[len(rows)-1].CreatedAt)
	if err != nil {
		return nil, err
	}
	since := map[[2]string]time.Time{}
	for _, n := range fresh {
		since[[2]string{string(n.Person), n.Place}] = n.Since
	}
	list := make([]Seen, len(rows))
	for i, row := range rows {
		source, _ := netip.ParseAddr(row.Source) // what cannot be read is nowhere
		first, ok := since[[2]string{string(row.Owner.ID), place(Where{source, row.Agent})}]
		list[i] = Seen{signInOf(row.SignIn, row.Owner), ok && !first.Before(row.CreatedAt)}
	}
	return list, nil
}

// SignedIn returns a sign-in by its id while it counts: for who holds a token that
// names it.
func (p *People) SignedIn(ctx context.Context, id string) (SignIn, error) {
	row, person, err := p.cfg.Store.SignIn(ctx, id)
	if errors.Is(err, sqlstore.ErrNotFound) || err == nil && !alive(row, person, p.now()) {
		return SignIn{}, notSignedIn()
	}
	if err != nil {
		return SignIn{}, err
	}
	return signInOf(row, person), nil
}

// End ends one sign-in of a person; NotFound "no-such-sign-in" when there is none.
func (p *People) End(ctx context.Context, by access.Actor, person access.PersonID, id string) error {
	err := p.cfg.Store.EndSignIn(ctx, person, id, p.now(), p.event(by, "person.sign_in_ended", person, "sign_in", id))
	if isChanged(err) {
		return refusal.New(refusal.NotFound, "no-such-sign-in", "list them to find its id", "there is no sign-in %.64q of this person, or it has ended", id)
	}
	if err == nil {
		p.cfg.Announce()
	}
	return err
}

// SignOut ends a sign-in by its own person.
func (p *People) SignOut(ctx context.Context, in SignIn, at Where) error {
	err := p.cfg.Store.EndSignIn(ctx, in.Person.ID, in.ID, p.now(), p.event(self(in.Person.ID, at), "person.signed_out", in.Person.ID, "sign_in", in.ID))
	if isChanged(err) {
		return nil // it is what was asked for
	}
	if err == nil {
		p.cfg.Announce()
	}
	return err
}

// EndAll ends all sign-ins of a person but one (empty: all); reason is optional.
func (p *People) EndAll(ctx context.Context, by access.Actor, person access.PersonID, but, reason string) error {
	if _, _, err := p.cfg.Store.Person(ctx, person); err != nil {
		return noPerson(err, person)
	}
	err := p.cfg.Store.EndSignIns(ctx, person, but, p.now(), p.event(by, "person.sign_ins_ended", person, "but", but, "reason", reason))
	if err == nil {
		p.cfg.Announce()
	}
	return err
}

// sweepEvery is how often accounts are looked after, keepEnded how long sign-ins
// that ended are kept.
const (
	sweepEvery = time.Hour
	keepEnded  = 7 * 24 * time.Hour
)

// Sweep forgets what expired, disables accounts that nobody used for
// SessionRules.Dormant, and says which will be next.
func (p *People) Sweep(ctx context.Context) error {
	now := p.now()
	if err := p.cfg.Store.SweepPeople(ctx, now, now.Add(-keepEnded)); err != nil {
		return err
	}
	dozing, dormant, err := p.idle(ctx)
	if err != nil {
		return err
	}
	for _, person := range dormant {
		_, err := p.Disable(ctx, access.Component("accounts"), person.ID, fmt.Sprintf("not used for %d days", p.cfg.Sessions.Dormant/(24*time.Hour)))
		switch {
		case err == nil:
			p.alarm(ctx, NoticeDormant, person, Where{}, "")
		case refusal.As(err) == nil:
			return err
		}
	}
	for _, person := range dozing {
		first, err := p.cfg.Store.Once(ctx, "dozing", string(person.ID), now.Add(p.cfg.Sessions.Warn))
		if err != nil {
			return err
		}
		if first {
			p.alarm(ctx, NoticeDozing, person, Where{}, "")
		}
	}
	return nil
}

// Dozing lists the accounts that will be disabled soon because nobody uses them.
func (p *People) Dozing(ctx context.Context) ([]access.Person, error) {
	dozing, _, err := p.idle(ctx)
	return dozing, err
}

func (p *People) idle(ctx context.Context) (dozing, dormant []access.Person, err error) {
	rules, now := p.cfg.Sessions, p.now()
	if rules.Dormant == 0 {
		return nil, nil, nil
	}
	list, err := p.cfg.Store.IdlePeople(ctx, now.Add(rules.Warn-rules.Dormant).Add(time.Microsecond))
	for _, person := range list {
		switch rules.Dormancy(person, now) {
		case access.Dozing:
			dozing = append(dozing, person)
		case access.Dormant:
			dormant = append(dormant, person)
		}
	}
	return dozing, dormant, err
}
