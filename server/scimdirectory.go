package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/scim"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// scimDirectory is the accounts of one identity provider: scim.Directory and
// scim.Groups on the database.
type scimDirectory struct {
	s *Server
	// groups is held by changes of groups, which would lose to each other: roles
	// follow from all groups together.
	groups *sync.Mutex
}

// scimHandler serves SCIM where an identity provider is configured for it, else nil.
func (s *Server) scimHandler() (http.Handler, error) {
	if s.cfg.Access.SCIMProvider == "" {
		return nil, nil
	}
	d := scimDirectory{s, new(sync.Mutex)}
	return scim.Handler(scim.Config{Directory: d, Groups: d, Authenticate: s.authenticateSCIM, BaseURL: s.console(),
		OnError: func(_ context.Context, err error) { s.log.Error("serving SCIM", "err", err) }})
}

// authenticateSCIM lets programs in that may change all accounts. People do not
// come this way: they would skip the fresh factor that the API asks them for.
func (s *Server) authenticateSCIM(r *http.Request) (access.Identity, error) {
	values := r.Header.Values("Authorization")
	scheme, token := "", ""
	if len(values) == 1 && len(values[0]) <= 8<<10 {
		scheme, token, _ = strings.Cut(values[0], " ")
	}
	if !strings.EqualFold(scheme, "Bearer") {
		token = ""
	}
	id, err := s.Authenticate(r.Context(), strings.TrimSpace(token), addrText(s.sourceOf(r)))
	if err != nil {
		return access.Identity{}, err
	}
	if !id.Proof.Program || !id.Rights.Everywhere(access.PersonWrite, s.now()) {
		s.recordRefusal(r.Context(), s.event(id.Actor, "scim.refused", "", ""), "not a program that may change accounts")
		return access.Identity{}, access.Denied(access.PersonWrite)
	}
	if s.limit(id).Exceeded {
		return access.Identity{}, refusal.New(refusal.TooMany, "rate-exceeded", "send requests more slowly", "more requests a minute came than this client may send")
	}
	s.used(id, access.PersonWrite)
	return id, nil
}

func (d scimDirectory) origin() string { return d.s.cfg.Access.SCIMProvider }

// storedNow is the time to the microsecond that the database keeps.
func (s *Server) storedNow() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// scimError turns what the store says into what the service understands.
func scimError(err error) error {
	switch {
	case errors.Is(err, sqlstore.ErrNotFound):
		return scim.ErrNotFound
	case isChanged(err):
		return scim.ErrChanged
	case errors.Is(err, sqlstore.ErrLastAdmin):
		return lastAdmin()
	}
	return err
}

func lastAdmin() error {
	return refusal.New(refusal.Conflict, "last-admin", "give the role admin to somebody else first", "nobody could administer Holdfast after this change")
}

func (d scimDirectory) user(ctx context.Context, p sqlstore.SCIMPerson) (scim.User, error) {
	u := scim.User{ID: string(p.ID), UserName: p.Name, ExternalID: p.External, Display: p.Display, Mail: p.Mail, Active: p.State == access.PersonActive,
		Version: p.Version, CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt}
	groups, err := d.s.store.SCIMGroupsOf(ctx, p.ID)
	for _, g := range groups {
		u.Groups = append(u.Groups, scim.Ref{ID: g.ID, Name: g.Name})
	}
	return u, err
}

// ListUsers implements scim.Directory.
func (d scimDirectory) ListUsers(ctx context.Context, q scim.Query) (users []scim.User, total int, err error) {
	var by []sqlstore.SCIMPersonBy
	for _, m := range q.Any {
		by = append(by, sqlstore.SCIMPersonBy{ID: access.PersonID(m.ID), Name: m.UserName, External: m.ExternalID, Mail: m.Mail, Active: m.Active})
	}
	list, total, err := d.s.store.SCIMPeople(ctx, d.origin(), by, q.Offset, q.Limit)
	if err != nil {
		return nil, 0, err
	}
	for _, p := range list {
		u, err := d.user(ctx, p)
		if err != nil {
			return nil, 0, err
		}
		users = append(users, u)
	}
	return users, total, nil
}

// shown finds a person whom the provider may see.
func (d scimDirectory) shown(ctx context.Context, id string) (sqlstore.SCIMPerson, error) {
	p, err := d.s.store.SCIMPerson(ctx, d.origin(), access.PersonID(id))
	if err == nil && p.Removed {
		err = scim.ErrNotFound
	}
	return p, scimError(err)
}

// GetUser implements scim.Directory.
func (d scimDirectory) GetUser(ctx context.Context, id string) (scim.User, error) {
	p, err := d.shown(ctx, id)
	if err != nil {
		return scim.User{}, err
	}
	return d.user(ctx, p)
}

// holder finds who has the name or the id at the provider. An account that the
// provider removed is returned for being taken back.
func (d scimDirectory) holder(ctx context.Context, u scim.User) (old *sqlstore.SCIMPerson, err error) {
	byName, _, err := d.s.store.PersonByName(ctx, u.UserName)
	if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
		return nil, err
	}
	found := []access.PersonID{byName.ID}
	if u.ExternalID != "" {
		byExternal, _, err := d.s.store.PersonByExternal(ctx, d.origin(), u.ExternalID)
		if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
			return nil, err
		}
		found = append(found, byExternal.ID)
	}
	for _, id := range found {
		if id == "" || string(id) == u.ID || old != nil && old.ID == id {
			continue
		}
		p, err := d.s.store.SCIMPerson(ctx, d.origin(), id)
		switch {
		case errors.Is(err, sqlstore.ErrNotFound) || err == nil && (!p.Removed || old != nil):
			return nil, scim.ErrTaken
		case err != nil:
			return nil, err
		}
		old = &p
	}
	return old, nil
}

// onto brings what the provider says into a person.
func onto(p access.Person, u scim.User) access.Person {
	p.Name, p.Display, p.Mail, p.External = u.UserName, u.Display, u.Mail, u.ExternalID
	return p
}

// switchedOff is what pages give as the reason.
const switchedOff = "switched off by the identity provider"

// CreateUser implements scim.Directory.
func (d scimDirectory) CreateUser(ctx context.Context, by access.Actor, u scim.User) (scim.User, error) {
	old, err := d.holder(ctx, u)
	if err != nil {
		return scim.User{}, err
	}
	s, now := d.s, d.s.storedNow()
	var p access.Person
	if old != nil {
		p = old.Person
	} else {
		p = access.Person{ID: access.PersonID("p" + randomCode(10)), Origin: d.origin(), CreatedAt: now}
	}
	p = onto(p, u)
	p.State, p.Why, p.EnabledAt = access.PersonActive, "", now
	if !u.Active {
		p.State, p.Why, p.EnabledAt = access.PersonDisabled, switchedOff, p.CreatedAt
	}
	if err := p.Validate(); err != nil {
		return scim.User{}, err
	}
	p.Version++
	steps := []sqlstore.PersonStep{sqlstore.KeepSCIM(false, !u.Active, now)}
	event := s.event(by, "person.provisioned", "person", string(p.ID), "origin", d.origin())
	if old == nil {
		handle := make([]byte, 32)
		rand.Read(handle)
		if err = s.store.InsertPerson(ctx, p, handle, steps, event); isChanged(err) {
			err = scim.ErrTaken
		}
	} else {
		steps = append([]sqlstore.PersonStep{sqlstore.Tell(now), sqlstore.ClearProofs(), sqlstore.EndOthers("", now)}, steps...)
		err = s.store.ChangePerson(ctx, old.Version, p, steps, event)
	}
	if err != nil {
		return scim.User{}, scimError(err)
	}
	s.personChanged(p.ID)
	return d.GetUser(ctx, string(p.ID))
}

// personChanged makes this node forget what it remembers of a person at once, and
// tells the others.
func (s *Server) personChanged(id access.PersonID) {
	s.tokens.Forget(string(id))
	s.announceAccess("person/" + string(id))
}

// UpdateUser implements scim.Directory.
func (d scimDirectory) UpdateUser(ctx context.Context, by access.Actor, u scim.User) (scim.User, error) {
	s, now := d.s, d.s.storedNow()
	old, err := d.shown(ctx, u.ID)
	if err != nil {
		return scim.User{}, err
	}
	if old.Version != u.Version {
		return scim.User{}, scim.ErrChanged
	}
	if taken, err := d.holder(ctx, u); err != nil || taken != nil {
		return scim.User{}, errors.Join(err, scim.ErrTaken)
	}
	p, steps, action, off := onto(old.Person, u), []sqlstore.PersonStep{sqlstore.Tell(now)}, "person.updated", old.Off
	switch was := old.State == access.PersonActive; {
	case was && !u.Active:
		if steps, err = d.ending(ctx, old.ID, steps); err != nil {
			return scim.User{}, err
		}
		p.State, p.Why, action, off = access.PersonDisabled, switchedOff, "person.disabled", true
	case !was && u.Active && !old.Off:
		return scim.User{}, refusal.New(refusal.Conflict, "disabled-here", "ask an administrator of Holdfast to enable it", "the account was disabled in Holdfast, not by the identity provider")
	case !was && u.Active:
		p.State, p.Why, p.EnabledAt, action, off = access.PersonActive, "", now, "person.enabled", false
	}
	if err := p.Validate(); err != nil {
		return scim.User{}, err
	}
	if p != old.Person {
		p.Version++
		err = s.store.ChangePerson(ctx, old.Version, p, append(steps, sqlstore.KeepSCIM(false, off, now)), s.event(by, action, "person", u.ID,
			"origin", d.origin(), "name", differs(p.Name != old.Name), "display", differs(p.Display != old.Display), "mail", differs(p.Mail != old.Mail)))
		if err != nil {
			return scim.User{}, scimError(err)
		}
		s.personChanged(p.ID)
	}
	return d.GetUser(ctx, u.ID)
}

// differs says of a personal field only that it is another now.
func differs(b bool) string {
	if b {
		return "changed"
	}
	return ""
}

// ending are the steps that end all that a person could act with.
func (d scimDirectory) ending(ctx context.Context, id access.PersonID, steps []sqlstore.PersonStep) ([]sqlstore.PersonStep, error) {
	last, err := d.s.isLastAdmin(ctx, id)
	if err == nil && last {
		err = lastAdmin()
	}
	return append(steps, sqlstore.EndOthers("", d.s.storedNow()), sqlstore.KeepAdmin()), err
}

// DisableUser implements scim.Directory.
func (d scimDirectory) DisableUser(ctx context.Context, by access.Actor, id string, version int64) error {
	d.groups.Lock()
	defer d.groups.Unlock()
	s, now := d.s, d.s.storedNow()
	p, err := d.shown(ctx, id)
	if err != nil {
		return err
	}
	if version != 0 && version != p.Version {
		return scim.ErrChanged
	}
	state, err := s.store.SCIMState(ctx)
	if err != nil {
		return err
	}
	steps, err := d.ending(ctx, p.ID, []sqlstore.PersonStep{sqlstore.Tell(now)})
	if err != nil {
		return err
	}
	as := p.Person
	as.State, as.Why, as.Version = access.PersonDisabled, "removed by the identity provider", p.Version+1
	err = s.store.ChangePerson(ctx, p.Version, as, append(steps, sqlstore.LeaveAll(state, newID(), now), sqlstore.KeepSCIM(true, true, now)),
		s.event(by, "person.disabled", "person", id, "origin", d.origin(), "reason", as.Why))
	if err != nil {
		return scimError(err)
	}
	s.personChanged(p.ID)
	return nil
}

// scimRoles are the grants that a person's groups give.
func (d scimDirectory) scimRoles(ctx context.Context, by access.Actor, id access.PersonID, groups []string) ([]access.Grant, error) {
	var mine []config.GroupRole
	for _, m := range d.s.cfg.Access.GroupRoles() {
		if slices.ContainsFunc(groups, func(name string) bool { return scim.Fold(name) == scim.Fold(m.Group) }) {
			mine = append(mine, m)
		}
	}
	return d.s.groupGrants(ctx, by, id, sqlstore.FromGroups, mine)
}

func groupOf(g sqlstore.SCIMGroup, members []access.PersonID) scim.Group {
	out := scim.Group{ID: g.ID, Name: g.Name, ExternalID: g.External, Version: g.Version, CreatedAt: g.CreatedAt, UpdatedAt: g.UpdatedAt}
	for _, m := range members {
		out.Members = append(out.Members, string(m))
	}
	return out
}

// ListGroups implements scim.Groups.
func (d scimDirectory) ListGroups(ctx context.Context) (out []scim.Group, err error) {
	list, err := d.s.store.SCIMGroups(ctx)
	for _, g := range list {
		out = append(out, groupOf(g, nil))
	}
	return out, err
}

// GetGroup implements scim.Groups.
func (d scimDirectory) GetGroup(ctx context.Context, id string) (scim.Group, error) {
	g, members, err := d.s.store.SCIMGroup(ctx, id)
	return groupOf(g, members), scimError(err)
}

// SetGroup implements scim.Groups.
func (d scimDirectory) SetGroup(ctx context.Context, by access.Actor, c scim.GroupChange) (scim.Group, error) {
	d.groups.Lock()
	defer d.groups.Unlock()
	s, now := d.s, d.s.storedNow()
	state, err := s.store.SCIMState(ctx)
	if err != nil {
		return scim.Group{}, err
	}
	groups, err := s.store.SCIMGroups(ctx)
	if err != nil {
		return scim.Group{}, err
	}
	for _, g := range groups {
		if g.ID != c.ID && g.Folded == scim.Fold(c.Name) {
			return scim.Group{}, scim.ErrTaken
		}
	}
	change := sqlstore.SCIMChange{Was: state, Now: newID(), At: now, Group: sqlstore.SCIMGroup{ID: c.ID, CreatedAt: now}}
	var members []access.PersonID
	action := "group.changed"
	if c.ID == "" {
		if len(groups) >= scim.MaxGroups {
			return scim.Group{}, refusal.New(refusal.TooMany, "too-many-groups", "provision only the groups that give roles", "there are %d groups already", len(groups))
		}
		change.Group.ID, action = newSubjectID("g"), "group.made"
	} else if change.Group, members, err = s.store.SCIMGroup(ctx, c.ID); err != nil {
		return scim.Group{}, scimError(err)
	}
	if change.Group.Version != c.Version {
		return scim.Group{}, scim.ErrChanged
	}
	renamed := change.Group.Name != c.Name
	if c.ID != "" && !renamed && change.Group.External == c.ExternalID && len(c.Add)+len(c.Remove) == 0 {
		return groupOf(change.Group, members), nil
	}
	for _, id := range c.Add {
		if _, err := d.shown(ctx, id); errors.Is(err, scim.ErrNotFound) {
			return scim.Group{}, invalid("no-such-user", "make the user first", "there is no user %.64q", id)
		} else if err != nil {
			return scim.Group{}, err
		}
		change.Add = append(change.Add, access.PersonID(id))
	}
	for _, id := range c.Remove {
		change.Remove = append(change.Remove, access.PersonID(id))
	}
	change.Group.Name, change.Group.Folded, change.Group.External = c.Name, scim.Fold(c.Name), c.ExternalID
	change.Group.Version, change.Group.UpdatedAt = c.Version+1, now
	affected := append(append([]access.PersonID{}, change.Add...), change.Remove...)
	if renamed {
		affected = append(affected, members...)
	}
	if err := d.follow(ctx, by, &change, affected); err != nil {
		return scim.Group{}, err
	}
	if err := d.carryOut(ctx, by, action, change); err != nil {
		return scim.Group{}, err
	}
	return d.GetGroup(ctx, change.Group.ID)
}

// follow works out the roles that people have after a change.
func (d scimDirectory) follow(ctx context.Context, by access.Actor, c *sqlstore.SCIMChange, affected []access.PersonID) error {
	c.Grants = map[access.PersonID][]access.Grant{}
	removed := map[access.PersonID]bool{}
	for _, id := range c.Remove {
		removed[id] = true
	}
	for _, id := range affected {
		if _, done := c.Grants[id]; done {
			continue
		}
		groups, err := d.s.store.SCIMGroupsOf(ctx, id)
		if err != nil {
			return err
		}
		var names []string
		for _, g := range groups {
			if g.ID != c.Group.ID {
				names = append(names, g.Name)
			}
		}
		if !removed[id] && !c.Delete {
			names = append(names, c.Group.Name)
		}
		if c.Grants[id], err = d.scimRoles(ctx, by, id, names); err != nil {
			return err
		}
	}
	return nil
}

// carryOut writes a change, with an event for each person whose membership changed.
func (d scimDirectory) carryOut(ctx context.Context, by access.Actor, action string, c sqlstore.SCIMChange) error {
	s := d.s
	events := []audit.Event{s.event(by, action, "group", c.Group.ID, "name", c.Group.Name, "added", fmt.Sprint(len(c.Add)), "removed", fmt.Sprint(len(c.Remove)))}
	for id, grants := range c.Grants {
		events = append(events, s.event(by, "person.roles_from_groups", "person", string(id), "group", c.Group.ID, "roles", rolesText(grants)))
	}
	if err := s.store.ChangeSCIMGroup(ctx, c, events...); err != nil {
		return scimError(err)
	}
	for id := range c.Grants {
		s.identities.forget("person/" + string(id))
		s.tokens.Forget(string(id))
	}
	s.announce()
	return nil
}

// DeleteGroup implements scim.Groups.
func (d scimDirectory) DeleteGroup(ctx context.Context, by access.Actor, id string, version int64) error {
	d.groups.Lock()
	defer d.groups.Unlock()
	state, err := d.s.store.SCIMState(ctx)
	if err != nil {
		return err
	}
	g, members, err := d.s.store.SCIMGroup(ctx, id)
	if err != nil {
		return scimError(err)
	}
	if version != 0 && version != g.Version {
		return scim.ErrChanged
	}
	g.Version++
	c := sqlstore.SCIMChange{Was: state, Now: newID(), Group: g, Delete: true, Remove: members, At: d.s.storedNow()}
	if err := d.follow(ctx, by, &c, members); err != nil {
		return err
	}
	return d.carryOut(ctx, by, "group.deleted", c)
}
