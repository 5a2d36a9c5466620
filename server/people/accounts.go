package people

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Local is the origin of accounts that sign in here, not at an identity provider.
const Local = "local"

// linkKind is the kind of one-time links, linkTime how long one is good.
const (
	linkKind = "invitation"
	linkTime = 24 * time.Hour
)

// Invitation is a person to be.
type Invitation struct {
	Name, Display, Mail string
	BreakGlass          bool
}

// Link is a one-time link: its secret is 200 random bits, of which only the hash
// is stored.
type Link struct {
	Secret    Secret
	ExpiresAt time.Time
}

// newID draws the id of a person.
func (p *People) newID() (access.PersonID, error) {
	text, err := p.random(10)
	return access.PersonID("p" + text), err
}

// link draws a one-time link and what is stored of it.
func (p *People) link() (Link, sqlstore.Ceremony, error) {
	secret, hash, err := p.secret(linkPrefix, 25)
	until := p.now().Add(linkTime)
	return Link{secret, until}, sqlstore.Ceremony{Hash: hash, Kind: linkKind, ExpiresAt: until}, err
}

// insert writes a new account; taken names the refusal when the name is.
func (p *People) insert(ctx context.Context, person access.Person, steps []sqlstore.PersonStep, events func(access.PersonID) []audit.Event) (access.Person, error) {
	var err error
	if person.ID, err = p.newID(); err != nil {
		return person, err
	}
	handle := make([]byte, 32)
	if _, err := io.ReadFull(p.cfg.Random, handle); err != nil {
		return person, err
	}
	person.CreatedAt, person.Version = p.now(), 1
	err = p.cfg.Store.InsertPerson(ctx, person, handle, steps, events(person.ID)...)
	if isChanged(err) {
		return person, nameTaken(person.Name)
	}
	return person, err
}

func nameTaken(name string) error {
	return refusal.New(refusal.Conflict, "person-exists", "choose another name", "there is a person %.64q already", name)
}

// Invite makes an account and the link that its person begins with.
func (p *People) Invite(ctx context.Context, by access.Actor, in Invitation) (access.Person, Link, error) {
	person := access.Person{Name: access.PersonName(in.Name), Display: in.Display, Mail: in.Mail, State: access.PersonInvited, Origin: Local, BreakGlass: in.BreakGlass}
	if err := person.Validate(); err != nil {
		return person, Link{}, err
	}
	link, row, err := p.link()
	if err != nil {
		return person, Link{}, err
	}
	person, err = p.insert(ctx, person, []sqlstore.PersonStep{sqlstore.PutLink(row)}, func(id access.PersonID) []audit.Event {
		return []audit.Event{p.event(by, "person.invited", id, "break_glass", mark(in.BreakGlass), "expires_at", link.ExpiresAt.Format(time.RFC3339))}
	})
	if err != nil {
		return person, Link{}, err
	}
	return person, link, nil
}

func mark(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// Reinvite gives a person a new link. It is also the way back for who lost
// everything: password, passkeys, authenticator app and recovery codes are
// removed and all sign-ins end.
func (p *People) Reinvite(ctx context.Context, by access.Actor, id access.PersonID, reason string) (access.Person, Link, error) {
	person, _, err := p.cfg.Store.Person(ctx, id)
	if err != nil {
		return person, Link{}, noPerson(err, id)
	}
	switch {
	case person.State == access.PersonErased:
		return person, Link{}, noPerson(sqlstore.ErrNotFound, id)
	case person.State == access.PersonDisabled:
		return person, Link{}, refusal.New(refusal.Conflict, "person-disabled", "enable the account first", "the account is disabled")
	case person.Origin != Local:
		return person, Link{}, refusal.New(refusal.Conflict, "not-local", "let them sign in through their identity provider", "this account is not local")
	}
	link, row, err := p.link()
	if err != nil {
		return person, Link{}, err
	}
	now := p.now()
	as := person
	as.State = access.PersonInvited
	err = p.change(ctx, person, as, []sqlstore.PersonStep{sqlstore.ClearProofs(), sqlstore.PutLink(row), sqlstore.EndOthers("", now), sqlstore.Tell(now)},
		p.event(by, "person.reinvited", id, "reason", reason, "expires_at", link.ExpiresAt.Format(time.RFC3339)))
	if err != nil {
		return person, Link{}, err
	}
	p.cfg.Announce()
	if person.State == access.PersonActive {
		p.alarm(ctx, NoticeReset, person, Where{}, reason)
	}
	as.Version = person.Version + 1
	return as, link, nil
}

// Update writes name, display name, mail and break-glass of the version that
// person was read with. The name of a person from an identity provider is theirs.
func (p *People) Update(ctx context.Context, by access.Actor, person access.Person) (access.Person, error) {
	person.Name = access.PersonName(person.Name)
	old, _, err := p.cfg.Store.Person(ctx, person.ID)
	if err != nil {
		return person, noPerson(err, person.ID)
	}
	if old.State == access.PersonErased {
		return person, noPerson(sqlstore.ErrNotFound, person.ID)
	}
	if err := person.Validate(); err != nil {
		return person, err
	}
	if old.Version != person.Version {
		return person, stale(sqlstore.ErrChanged)
	}
	as := old
	as.Name, as.Display, as.Mail, as.BreakGlass = person.Name, person.Display, person.Mail, person.BreakGlass
	if as.Name != old.Name {
		if _, _, err := p.cfg.Store.PersonByName(ctx, as.Name); err == nil {
			return person, nameTaken(as.Name)
		} else if !errors.Is(err, sqlstore.ErrNotFound) {
			return person, err
		}
	}
	err = p.change(ctx, old, as, []sqlstore.PersonStep{sqlstore.Tell(p.now())}, p.event(by, "person.updated", old.ID,
		"name", changed(as.Name != old.Name), "display", changed(as.Display != old.Display), "mail", changed(as.Mail != old.Mail), "break_glass", mark(as.BreakGlass)))
	if err != nil {
		return person, err
	}
	p.cfg.Announce()
	as.Version++
	return as, nil
}

// changed says of a personal field only that it is another now.
func changed(b bool) string {
	if b {
		return "changed"
	}
	return ""
}

// Disable ends all sign-ins of a person and lets none begin.
func (p *People) Disable(ctx context.Context, by access.Actor, id access.PersonID, why string) (access.Person, error) {
	return p.move(ctx, by, id, access.PersonDisabled, "person.disabled", why)
}

// Enable lets a disabled person sign in again with what they had.
func (p *People) Enable(ctx context.Context, by access.Actor, id access.PersonID, why string) (access.Person, error) {
	return p.move(ctx, by, id, access.PersonActive, "person.enabled", why)
}

// Erase replaces what is personal about a person and removes all that they sign
// in with. The id stays: it is what the audit log has. It cannot be undone.
func (p *People) Erase(ctx context.Context, by access.Actor, id access.PersonID, why string) (access.Person, error) {
	return p.move(ctx, by, id, access.PersonErased, "person.erased", why)
}

func (p *People) move(ctx context.Context, by access.Actor, id access.PersonID, to access.PersonState, action, why string) (access.Person, error) {
	person, proofs, err := p.cfg.Store.Person(ctx, id)
	if err != nil {
		return person, noPerson(err, id)
	}
	if person.State == access.PersonErased {
		return person, noPerson(sqlstore.ErrNotFound, id)
	}
	now := p.now()
	as := person
	as.State, as.Why = to, ""
	steps := []sqlstore.PersonStep{sqlstore.Tell(now)}
	switch to {
	case access.PersonActive:
		if person.State != access.PersonDisabled {
			return person, refusal.New(refusal.Conflict, "not-disabled", "nothing to do", "the account is not disabled")
		}
		if as.EnabledAt = now; person.Origin == Local && proofs.Password == "" {
			keys, err := p.cfg.Store.Passkeys(ctx, id)
			if err != nil {
				return person, err
			}
			if len(keys) == 0 { // disabled before the invitation was followed
				as.State = access.PersonInvited
			}
		}
	case access.PersonDisabled:
		if person.State == access.PersonDisabled {
			return person, refusal.New(refusal.Conflict, "disabled-already", "nothing to do", "the account is disabled already")
		}
		as.Why = audit.Text(why, 256)
		steps = append(steps, sqlstore.EndOthers("", now), sqlstore.DropLinks(linkKind))
	case access.PersonErased:
		as.Name, as.Display, as.Mail, as.External, as.BreakGlass = string(id), "", "", "", false
		steps = append(steps, sqlstore.EndOthers("", now), sqlstore.Forget())
	}
	if to != access.PersonActive && person.State == access.PersonActive {
		steps = append(steps, sqlstore.KeepAdmin())
	}
	if to != access.PersonActive {
		last, err := p.cfg.IsLastAdmin(ctx, id)
		if err != nil {
			return person, err
		}
		if last {
			return person, refusal.New(refusal.Conflict, "last-admin", "give the role admin to somebody else first", "nobody could administer Holdfast without this account")
		}
	}
	if err := p.change(ctx, person, as, steps, p.event(by, action, id, "reason", why)); err != nil {
		return person, err
	}
	p.cfg.Announce()
	as.Version = person.Version + 1
	return as, nil
}

// Filter selects people, by name.
type Filter struct {
	State  access.PersonState // empty: all but those erased
	Origin string
	Prefix string          // of the name
	After  access.PersonID // the last one seen
	Limit  int             // 1 to 1000
}

// List lists people by name; next is where to go on, empty at the end.
func (p *People) List(ctx context.Context, f Filter) (list []access.Person, next access.PersonID, err error) {
	f.Limit = min(max(f.Limit, 1), 1000)
	list, err = p.cfg.Store.People(ctx, sqlstore.PeopleFilter{State: f.State, Origin: f.Origin, Prefix: access.PersonName(f.Prefix), After: f.After, Limit: f.Limit + 1})
	if err == nil && len(list) > f.Limit {
		list = list[:f.Limit]
		next = list[f.Limit-1].ID
	}
	if f.State == "" {
		list = slices.DeleteFunc(list, func(q access.Person) bool { return q.State == access.PersonErased })
	}
	return list, next, err
}

// Person returns an account; NotFound "no-such-person" when there is none.
func (p *People) Person(ctx context.Context, id access.PersonID) (access.Person, error) {
	person, _, err := p.cfg.Store.Person(ctx, id)
	return person, noPerson(err, id)
}

// Invited tells whose link this is, without using it.
func (p *People) Invited(ctx context.Context, link Secret) (access.Person, error) {
	hash, ok := hashOf(link, linkPrefix)
	if !ok {
		return access.Person{}, badLink()
	}
	c, err := p.cfg.Store.Ceremony(ctx, linkKind, hash, p.now())
	if errors.Is(err, sqlstore.ErrNotFound) {
		return access.Person{}, badLink()
	}
	if err != nil {
		return access.Person{}, err
	}
	person, _, err := p.cfg.Store.Person(ctx, c.Person)
	if err == nil && person.State != access.PersonInvited {
		err = badLink()
	}
	return person, err
}

func badLink() error {
	return refusal.New(refusal.Unauthenticated, "bad-link", "ask for a new link", "this link is not valid: it was used, replaced or is older than a day")
}

// AcceptInvite begins a sign-in at StageEnrol with a one-time link. The link is
// used up when the person has set up what they sign in with; until then it can be
// opened again. Whoever is first ends the sign-ins of all others who opened it.
func (p *People) AcceptInvite(ctx context.Context, link Secret, at Where) (Secret, SignIn, error) {
	person, err := p.Invited(ctx, link)
	if err != nil {
		p.cfg.Refuse(ctx, p.event(stranger(at), "person.sign_in_refused", "", "method", ByInvite), "the link is not valid")
		return Secret{}, SignIn{}, err
	}
	hash := sha256.Sum256([]byte(link.text))
	return p.advance(ctx, step{person: person, kind: Console, method: ByInvite, keep: true, at: at,
		spent:  []sqlstore.PersonStep{sqlstore.CheckLink(linkKind, hash, p.now())},
		events: []audit.Event{p.event(self(person.ID, at), "person.invitation_opened", person.ID)}})
}
