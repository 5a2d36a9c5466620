package server

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// Roles lists the roles that come with Holdfast, then custom ones.
func (s *Server) Roles(ctx context.Context) ([]access.Role, error) {
	custom, err := s.store.Roles(ctx)
	return append(access.BuiltinRoles(), custom...), err
}

// CreateRole makes a custom role.
func (s *Server) CreateRole(ctx context.Context, by access.Actor, r access.Role) (access.Role, error) {
	if err := r.Validate(); err != nil {
		return r, err
	}
	r.UpdatedAt, r.Version = s.now(), 1
	err := s.store.InsertRole(ctx, r, s.event(by, "role.created", "role", r.Name, "permissions", permissionList(r.Permissions)))
	s.identities.forget("role/" + r.Name)
	return r, exists(err, "role", r.Name)
}

func permissionList(list []access.Permission) string {
	var b strings.Builder
	for i, p := range list {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(p))
	}
	return b.String()
}

// UpdateRole replaces a custom role; it holds at once for all who have it.
func (s *Server) UpdateRole(ctx context.Context, by access.Actor, r access.Role) (access.Role, error) {
	if err := r.Validate(); err != nil {
		return r, err
	}
	if _, err := s.customRole(ctx, r.Name); err != nil {
		return r, err
	}
	if err := s.checkHolders(ctx, r); err != nil {
		return r, err
	}
	r.UpdatedAt, r.Version = s.now(), r.Version+1
	err := s.store.UpdateRole(ctx, r, s.event(by, "role.updated", "role", r.Name, "permissions", permissionList(r.Permissions)))
	if err == nil {
		s.announceAccess("role/" + r.Name)
	}
	return r, stale(err, "role", r.Name)
}

// checkHolders refuses a role as it would be when who has it would hold what is to
// be kept apart.
func (s *Server) checkHolders(ctx context.Context, r access.Role) error {
	duties := s.cfg.Access.Duties()
	if len(duties) == 0 {
		return nil
	}
	grants, err := s.store.Grants(ctx, "", "")
	if err != nil {
		return err
	}
	roles, err := s.roleTable(ctx)
	if err != nil {
		return err
	}
	type party struct {
		kind    access.SubjectKind
		subject string
	}
	holders := map[party][]access.Grant{}
	for _, g := range grants {
		holders[party{g.Kind, g.Subject}] = append(holders[party{g.Kind, g.Subject}], g)
	}
	changed := func(name string) (access.Role, bool) {
		if name == r.Name {
			return r, true
		}
		return roles(name)
	}
	for who, list := range holders {
		if !slices.ContainsFunc(list, func(g access.Grant) bool { return g.Role == r.Name }) {
			continue
		}
		if duty, ok := access.Conflict(duties, list, changed, s.now()); !ok {
			return refusal.New(refusal.Conflict, "separation-of-duties", "take the role back from them first, or make another role", "the %s %s would hold both %s and %s", who.kind, who.subject, duty.A, duty.B)
		}
	}
	return nil
}

func (s *Server) customRole(ctx context.Context, name string) (access.Role, error) {
	if _, ok := access.Builtin(name); ok {
		return access.Role{}, refusal.New(refusal.Conflict, "role-builtin", "make a role of your own", "the role %s comes with Holdfast and cannot be changed", name)
	}
	roles, err := s.store.Roles(ctx)
	if err != nil {
		return access.Role{}, err
	}
	i := slices.IndexFunc(roles, func(r access.Role) bool { return r.Name == name })
	if i < 0 {
		return access.Role{}, refusal.New(refusal.NotFound, "no-such-role", "list them to find its name", "there is no role %.64q", name)
	}
	return roles[i], nil
}

// DeleteRole deletes a custom role that nobody has.
func (s *Server) DeleteRole(ctx context.Context, by access.Actor, name string) error {
	if _, err := s.customRole(ctx, name); err != nil {
		return err
	}
	err := s.store.DeleteRole(ctx, name, s.now(), s.event(by, "role.deleted", "role", name))
	if isChanged(err) {
		return refusal.New(refusal.Conflict, "role-in-use", "take it back from everybody first", "somebody has the role %s", name)
	}
	if err == nil {
		s.announceAccess("role/" + name)
	}
	return err
}

// announceAccess makes this node forget what a subject may do, and tells the
// others.
func (s *Server) announceAccess(subject string) {
	s.identities.forget(subject)
	s.announce()
}

// Grants lists who has which role.
func (s *Server) Grants(ctx context.Context, kind access.SubjectKind, subject string) ([]access.Grant, error) {
	if kind == "" && subject != "" {
		return nil, invalid("bad-subject", "give the kind as well: person or client", "a subject without its kind is not clear")
	}
	return s.store.Grants(ctx, kind, subject)
}

// Grant gives a role to somebody who exists.
func (s *Server) Grant(ctx context.Context, by access.Actor, in adminapi.GrantInput) (access.Grant, error) {
	g := access.Grant{ID: newSubjectID("g"), Kind: in.Kind, Subject: in.Subject, Role: in.Role, Scope: in.Scope, Origin: "manual",
		Reason: audit.Text(in.Reason, audit.MaxReason), GrantedBy: by.String(), GrantedAt: s.now(), ExpiresAt: in.ExpiresAt}
	if g.Kind == access.ToClient { // found by name too, kept by id
		c, err := s.store.APIClient(ctx, g.Subject)
		if err != nil {
			return g, missing(err, "client", in.Subject)
		}
		g.Subject = c.ID
	}
	if err := s.checkGrant(ctx, g); err != nil {
		return g, err
	}
	_, builtin := access.Builtin(g.Role)
	err := s.store.InsertGrant(ctx, g, !builtin, s.grantEvent(by, "role.granted", g))
	if err != nil {
		return g, stale(err, "role", g.Role)
	}
	s.announceAccess(string(g.Kind) + "/" + g.Subject)
	return g, nil
}

func (s *Server) grantEvent(by access.Actor, action string, g access.Grant) audit.Event {
	until := ""
	if !g.ExpiresAt.IsZero() {
		until = g.ExpiresAt.UTC().Format(time.RFC3339)
	}
	return s.event(by, action, string(g.Kind), g.Subject, "grant", g.ID, "role", g.Role, "scope", g.Scope.String(), "until", until, "reason", g.Reason, "origin", g.Origin)
}

// checkGrant refuses grants to nobody, of nothing, twice, and those that break a
// separation of duties.
func (s *Server) checkGrant(ctx context.Context, g access.Grant) error {
	if err := g.Scope.Validate(); err != nil {
		return err
	}
	if !g.Live(s.now()) {
		return invalid("bad-expiry", "use a later time, or none", "the time that the role would end at is past")
	}
	roles, err := s.roleTable(ctx)
	if err != nil {
		return err
	}
	role, ok := roles(g.Role)
	if !ok {
		return refusal.New(refusal.NotFound, "no-such-role", "list them with `holdfast role list`", "there is no role %.64q", g.Role)
	}
	if !g.Scope.All() && !slices.ContainsFunc(role.Permissions, func(p access.Permission) bool { return p.Info().Scoped }) {
		return invalid("scope-gives-nothing", "give it for everything, or choose another role", "no permission of the role %s can be held for a part of the fleet", g.Role)
	}
	switch g.Kind {
	case access.ToPerson:
		p, err := s.person(ctx, access.PersonID(g.Subject))
		if err != nil {
			return missing(err, "person", g.Subject)
		}
		if p.State == access.PersonErased {
			return refusal.New(refusal.Conflict, "person-erased", "invite them anew", "this account was erased")
		}
	case access.ToClient: // Grant found it
	default:
		return invalid("bad-kind", "use person or client", "a role cannot be given to a %.32q", string(g.Kind))
	}
	have, err := s.store.Grants(ctx, g.Kind, g.Subject)
	if err != nil {
		return err
	}
	for _, old := range have {
		if old.Role == g.Role && old.Scope.String() == g.Scope.String() && old.Live(s.now()) && old.Origin == g.Origin {
			return refusal.New(refusal.Conflict, "has-role", "nothing to do", "they have the role %s for %s already", g.Role, g.Scope)
		}
	}
	if duty, ok := access.Conflict(s.cfg.Access.Duties(), append(have, g), roles, s.now()); !ok {
		return refusal.New(refusal.Conflict, "separation-of-duties", "give it to somebody else, or take the other role back first", "nobody may hold both %s and %s here", duty.A, duty.B)
	}
	return nil
}

// newSubjectID names a thing for ever: a letter and 16 random ones.
func newSubjectID(prefix string) string {
	return prefix + randomCode(10)
}

// RevokeGrant takes a role back.
func (s *Server) RevokeGrant(ctx context.Context, by access.Actor, id, reason string) error {
	g, err := s.store.Grant(ctx, id)
	if err != nil {
		return missing(err, "grant", id)
	}
	g.Reason = audit.Text(reason, audit.MaxReason)
	err = s.store.DeleteGrant(ctx, g, false, s.now(), s.grantEvent(by, "role.taken_back", g))
	if isChanged(err) && g.Role == access.Admin {
		return refusal.New(refusal.Conflict, "last-admin", "make somebody else an administrator first", "this would leave nobody who can give roles")
	}
	if err != nil {
		return stale(err, "grant", id)
	}
	s.announceAccess(string(g.Kind) + "/" + g.Subject)
	return nil
}

// Unused lists permissions given at least so many days ago and not used since.
func (s *Server) Unused(ctx context.Context, days int) ([]adminapi.Unused, error) {
	s.flushUses(ctx)
	roles, err := s.roleTable(ctx)
	if err != nil {
		return nil, err
	}
	grants, err := s.store.Grants(ctx, "", "")
	if err != nil {
		return nil, err
	}
	uses, err := s.store.PermissionUses(ctx)
	if err != nil {
		return nil, err
	}
	lastUse := map[permissionUse]int64{}
	for _, u := range uses {
		lastUse[permissionUse{u.Kind, u.Subject, u.Permission}] = u.Day
	}
	before := s.now().Add(-time.Duration(days) * 24 * time.Hour)
	found := map[permissionUse]*adminapi.Unused{}
	for _, g := range grants {
		role, ok := roles(g.Role)
		if !ok || !g.Live(s.now()) {
			continue
		}
		for _, p := range role.Permissions {
			key := permissionUse{g.Kind, g.Subject, p}
			if last := lastUse[key]; last >= before.Unix()/86400 {
				continue
			}
			u := found[key]
			if u == nil {
				u = &adminapi.Unused{Kind: g.Kind, Subject: g.Subject, Permission: p, Since: g.GrantedAt}
				if last := lastUse[key]; last > 0 {
					u.LastUsed = time.Unix(last*86400, 0).UTC().Format(time.DateOnly)
				}
				found[key] = u
			}
			u.Roles = append(u.Roles, g.Role)
			if g.GrantedAt.Before(u.Since) {
				u.Since = g.GrantedAt
			}
		}
	}
	var list []adminapi.Unused
	for _, u := range found {
		if u.Since.Before(before) {
			list = append(list, *u)
		}
	}
	slices.SortFunc(list, func(a, b adminapi.Unused) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Permission, b.Permission))
	})
	return list, nil
}
