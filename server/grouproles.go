package server

import (
	"context"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/config"
)

// groupGrants are the grants that roles of groups make for a person. It is the
// refusal "separation-of-duties" where they would, with what the person has
// otherwise, hold what is to be kept apart.
func (s *Server) groupGrants(ctx context.Context, by access.Actor, id access.PersonID, origin string, mine []config.GroupRole) ([]access.Grant, error) {
	roles, err := s.roleTable(ctx)
	if err != nil {
		return nil, err
	}
	var given []access.Grant
	seen := map[string]bool{}
	for _, m := range mine {
		key := m.Role + " " + m.Scope.String()
		if seen[key] {
			continue
		}
		if _, ok := roles(m.Role); !ok {
			s.log.Error("giving a role to members of a group: there is no such role", "role", m.Role, "provider", origin)
			continue
		}
		seen[key] = true
		given = append(given, access.Grant{ID: newSubjectID("g"), Kind: access.ToPerson, Subject: string(id), Role: m.Role, Scope: m.Scope, Origin: origin,
			Reason: audit.Text("member of the group "+m.Group, audit.MaxReason), GrantedBy: by.String(), GrantedAt: s.storedNow()})
	}
	have, err := s.store.Grants(ctx, access.ToPerson, string(id))
	if err != nil {
		return nil, err
	}
	all := slices.Clone(given)
	for _, g := range have {
		if g.Origin != origin {
			all = append(all, g)
		}
	}
	if duty, ok := access.Conflict(s.cfg.Access.Duties(), all, roles, s.now()); !ok {
		return nil, refusal.New(refusal.Conflict, separationOfDuties, "take them out of another group first", "the user %s would hold both %s and %s", id, duty.A, duty.B)
	}
	return given, nil
}

const separationOfDuties = "separation-of-duties"

// rolesText names the roles of grants, for an event.
func rolesText(grants []access.Grant) string {
	var roles []string
	for _, g := range grants {
		roles = append(roles, g.Role+" for "+g.Scope.String())
	}
	slices.Sort(roles)
	return strings.Join(roles, ", ")
}

// groupsOf gives a person the roles that their groups at an identity provider map
// to, in place of those it gave before: what they are in no more is gone before
// they are signed in, on all servers. Who would hold what is to be kept apart holds
// nothing of it and is not signed in. That somebody was the last administrator
// keeps nothing: the token of the data folder can give the role.
func (s *Server) groupsOf(ctx context.Context, id access.PersonID, origin string, groups []string) error {
	mapped, known := s.providers.roles[origin]
	if !known {
		return nil
	}
	var mine []config.GroupRole
	for _, m := range mapped {
		if slices.Contains(groups, m.Group) {
			mine = append(mine, m)
		}
	}
	by := access.Component(origin)
	given, conflict := s.groupGrants(ctx, by, id, origin, mine)
	if conflict != nil && !refusal.Is(conflict, separationOfDuties) {
		return conflict
	}
	have, err := s.store.Grants(ctx, access.ToPerson, string(id))
	if err != nil {
		return err
	}
	have = slices.DeleteFunc(have, func(g access.Grant) bool { return g.Origin != origin })
	if roles := rolesText(given); roles != rolesText(have) {
		event := s.event(by, "person.roles_from_groups", "person", string(id), "origin", origin, "roles", roles)
		if err := s.store.ReplaceGrants(ctx, id, origin, given, s.storedNow(), event); err != nil {
			return err
		}
		s.identities.forget("person/" + string(id))
		s.tokens.Forget(string(id))
		s.announce()
	}
	if conflict != nil {
		s.recordRefusal(ctx, s.event(by, "person.sign_in_refused", "person", string(id), "method", origin), refusal.As(conflict).Detail)
		return refusal.New(refusal.Forbidden, separationOfDuties, "ask an administrator to take you out of one of your groups", "your groups together would give you permissions that nobody may hold together")
	}
	return nil
}

// checkGroupRoles warns of roles that there are not: they may be made later.
func (s *Server) checkGroupRoles(ctx context.Context) error {
	roles, err := s.roleTable(ctx)
	if err != nil {
		return err
	}
	for origin, list := range s.providers.roles {
		for _, m := range list {
			if _, ok := roles(m.Role); !ok {
				s.log.Warn("reading the identity providers: there is no such role", "provider", origin, "group", m.Group, "role", m.Role)
			}
		}
	}
	return nil
}
