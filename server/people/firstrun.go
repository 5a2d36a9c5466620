package people

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// FirstAdmin makes the first account, with the role admin, and a link to it; a
// fresh link each time, until somebody followed one. ok is false from then on, or
// when there is any other account.
func (p *People) FirstAdmin(ctx context.Context) (link Link, ok bool, err error) {
	n, err := p.cfg.Store.CountPeople(ctx)
	if err != nil || n > 1 {
		return Link{}, false, err
	}
	by := access.Component("first start")
	if n == 0 {
		person := access.Person{Name: "admin", State: access.PersonInvited, Origin: Local}
		_, err := p.insert(ctx, person, nil, func(id access.PersonID) []audit.Event {
			return []audit.Event{p.event(by, "person.invited", id, "first", "yes")}
		})
		if err != nil && !refusal.Is(err, "person-exists") { // another server was quicker
			return Link{}, false, fmt.Errorf("making the first account: %w", err)
		}
	}
	person, _, err := p.cfg.Store.PersonByName(ctx, "admin")
	if errors.Is(err, sqlstore.ErrNotFound) || err == nil && person.State != access.PersonInvited {
		return Link{}, false, nil
	}
	if err != nil {
		return Link{}, false, err
	}
	// A crash between the account and its role is mended here at the next start.
	if err := p.cfg.GrantAdmin(ctx, person.ID); err != nil {
		return Link{}, false, fmt.Errorf("making the first account: %w", err)
	}
	link, row, err := p.link()
	if err != nil {
		return Link{}, false, err
	}
	row.Person = person.ID
	if err := p.cfg.Store.PutCeremony(ctx, row); err != nil {
		return Link{}, false, fmt.Errorf("making the first link: %w", err)
	}
	return link, true, nil
}

// Introduce lets an invited person say how they are called; the first person of
// all may choose the name that they sign in with, others keep theirs (name empty).
func (p *People) Introduce(ctx context.Context, in SignIn, name, display, mail string, at Where) (access.Person, error) {
	person, _, err := p.cfg.Store.Person(ctx, in.Person.ID)
	if err != nil {
		return person, err
	}
	if in.Stage != StageEnrol || person.State != access.PersonInvited {
		return person, refusal.New(refusal.Conflict, "not-invited", "ask an administrator", "only who follows an invitation can do this")
	}
	as := person
	if name = access.PersonName(name); name != "" && name != person.Name {
		n, err := p.cfg.Store.CountPeople(ctx)
		if err != nil {
			return person, err
		}
		if n > 1 {
			return person, refusal.New(refusal.Forbidden, "name-fixed", "ask who invited you", "the name was chosen by who invited you")
		}
		as.Name = name
	}
	as.Display = display
	if mail != "" {
		as.Mail = mail
	}
	if err := as.Validate(); err != nil {
		return person, err
	}
	if as == person {
		return person, nil
	}
	err = p.change(ctx, person, as, nil, p.event(self(person.ID, at), "person.updated", person.ID,
		"name", changed(as.Name != person.Name), "display", changed(as.Display != person.Display), "mail", changed(as.Mail != person.Mail)))
	as.Version = person.Version + 1
	return as, err
}
