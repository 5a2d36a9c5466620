package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
)

// Roles lists the custom roles by name.
func (s *Store) Roles(ctx context.Context) (list []access.Role, err error) {
	err = s.all(ctx, `SELECT name, description, permissions, updated_at, version FROM role ORDER BY name`, nil, func(sc scanner) error {
		var r access.Role
		var permissions string
		var updated int64
		if err := sc.Scan(&r.Name, &r.Description, &permissions, &updated, &r.Version); err != nil {
			return err
		}
		r.UpdatedAt = fromMicros(updated)
		list = append(list, r)
		return json.Unmarshal([]byte(permissions), &list[len(list)-1].Permissions)
	})
	return list, err
}

// InsertRole adds a custom role; ErrChanged if there is one of that name.
func (s *Store) InsertRole(ctx context.Context, r access.Role, events ...audit.Event) error {
	permissions, err := json.Marshal(r.Permissions)
	if err != nil {
		return err
	}
	return s.write(ctx, "role.insert", events, func(t *tx) error {
		return t.one(`INSERT INTO role (name, description, permissions, updated_at, version) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			r.Name, r.Description, string(permissions), micros(r.UpdatedAt), r.Version)
	})
}

// UpdateRole replaces a custom role whose version is one below r's, and tells all
// nodes.
func (s *Store) UpdateRole(ctx context.Context, r access.Role, events ...audit.Event) error {
	permissions, err := json.Marshal(r.Permissions)
	if err != nil {
		return err
	}
	return s.write(ctx, "role.update", events, func(t *tx) error {
		if err := t.one(`UPDATE role SET description = $1, permissions = $2, updated_at = $3, version = $4 WHERE name = $5 AND version = $6`,
			r.Description, string(permissions), micros(r.UpdatedAt), r.Version, r.Name, r.Version-1); err != nil {
			return err
		}
		_, err := bumpChange(t, ChangeAccess, "role/"+r.Name, r.UpdatedAt)
		return err
	})
}

// DeleteRole deletes a custom role that nobody has; else ErrChanged.
func (s *Store) DeleteRole(ctx context.Context, name string, at time.Time, events ...audit.Event) error {
	return s.write(ctx, "role.delete", events, func(t *tx) error {
		// Locked by a statement of its own: one that waited for a grant under way
		// would look for grants as they were before it waited.
		if err := t.one(`UPDATE role SET version = version WHERE name = $1`, name); err != nil {
			return err
		}
		if err := t.one(`DELETE FROM role WHERE name = $1 AND NOT EXISTS (SELECT 1 FROM role_grant WHERE role = $1)`, name); err != nil {
			return err
		}
		_, err := bumpChange(t, ChangeAccess, "role/"+name, at)
		return err
	})
}

const grantColumns = `id, kind, subject, role, scope, origin, reason, granted_by, granted_at, expires_at`

func scanGrant(sc scanner) (g access.Grant, err error) {
	var scope string
	var granted, expires int64
	if err = sc.Scan(&g.ID, &g.Kind, &g.Subject, &g.Role, &scope, &g.Origin, &g.Reason, &g.GrantedBy, &granted, &expires); err != nil {
		return g, notFound(err)
	}
	g.GrantedAt, g.ExpiresAt = fromMicros(granted), fromMicros(expires)
	// A scope that cannot be read must not become the whole fleet.
	if err = json.Unmarshal([]byte(scope), &g.Scope); err != nil {
		err = fmt.Errorf("reading the scope of grant %s: %w", g.ID, err)
	}
	return g, err
}

// maxGrants bounds a listing of grants.
const maxGrants = 100_000

// Grants lists the grants of a subject, or with empty arguments of all, oldest
// first.
func (s *Store) Grants(ctx context.Context, kind access.SubjectKind, subject string) (list []access.Grant, err error) {
	query, args := `SELECT `+grantColumns+` FROM role_grant WHERE kind = $1 AND subject = $2 ORDER BY granted_at, id LIMIT $3`, []any{kind, subject, maxGrants}
	switch {
	case subject == "" && kind == "":
		query, args = `SELECT `+grantColumns+` FROM role_grant ORDER BY granted_at, id LIMIT $1`, []any{maxGrants}
	case subject == "":
		query, args = `SELECT `+grantColumns+` FROM role_grant WHERE kind = $1 ORDER BY granted_at, id LIMIT $2`, []any{kind, maxGrants}
	}
	err = s.all(ctx, query, args, func(sc scanner) error {
		g, err := scanGrant(sc)
		list = append(list, g)
		return err
	})
	return list, err
}

// Grant returns a grant or ErrNotFound.
func (s *Store) Grant(ctx context.Context, id string) (access.Grant, error) {
	st, err := s.stmt(ctx, `SELECT `+grantColumns+` FROM role_grant WHERE id = $1`)
	if err != nil {
		return access.Grant{}, err
	}
	return scanGrant(st.QueryRowContext(ctx, id))
}

// InsertGrant gives a role and tells all nodes. With a custom role it is ErrChanged
// when the role is gone.
func (s *Store) InsertGrant(ctx context.Context, g access.Grant, custom bool, events ...audit.Event) error {
	return s.write(ctx, "grant.insert", events, func(t *tx) error {
		if custom {
			if err := t.one(`UPDATE role SET version = version WHERE name = $1`, g.Role); err != nil {
				return err
			}
		}
		if err := putGrant(t, g); err != nil {
			return err
		}
		_, err := bumpChange(t, ChangeAccess, string(g.Kind)+"/"+g.Subject, g.GrantedAt)
		return err
	})
}

func putGrant(t *tx, g access.Grant) error {
	scope, err := json.Marshal(g.Scope)
	if err != nil {
		return err
	}
	return t.one(`INSERT INTO role_grant (`+grantColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		g.ID, g.Kind, g.Subject, g.Role, string(scope), g.Origin, g.Reason, g.GrantedBy, micros(g.GrantedAt), micros(g.ExpiresAt))
}

// DeleteGrant takes a role back and tells all nodes. Of an administrator's grant
// it is ErrChanged when it is the last one for the whole fleet without an end that
// an active person has, unless lastToo.
func (s *Store) DeleteGrant(ctx context.Context, g access.Grant, lastToo bool, at time.Time, events ...audit.Event) error {
	return s.write(ctx, "grant.delete", events, func(t *tx) error {
		if err := t.one(`DELETE FROM role_grant WHERE id = $1`, g.ID); err != nil {
			return err
		}
		if g.Role == access.Admin && g.Kind == access.ToPerson && !lastToo {
			// Two that take each other's role at once must not both succeed: the
			// counter's row, locked here first, makes them wait for each other.
			if _, err := bumpChange(t, ChangeAccess, "person/"+g.Subject, at); err != nil {
				return err
			}
			var left int
			if err := t.row(adminsQuery, []any{""}, &left); err != nil {
				return err
			}
			if left == 0 {
				return ErrChanged
			}
			return nil
		}
		_, err := bumpChange(t, ChangeAccess, string(g.Kind)+"/"+g.Subject, at)
		return err
	})
}

// adminsQuery counts the active people but one who are administrators of the whole
// fleet for good.
const adminsQuery = `SELECT COUNT(DISTINCT person.id) FROM person JOIN role_grant ON role_grant.kind = 'person' AND role_grant.subject = person.id
	WHERE person.state = 'active' AND role_grant.role = 'admin' AND role_grant.scope = '{}' AND role_grant.expires_at = 0 AND person.id <> $1`

// OtherAdmins counts the active administrators but one.
func (s *Store) OtherAdmins(ctx context.Context, but access.PersonID) (n int, err error) {
	err = s.row(ctx, adminsQuery, []any{but}, &n)
	return n, err
}

// ReplaceGrants makes the grants that came from one origin exactly these: what an
// identity provider says of a person at each sign-in. Equal ones stay.
func (s *Store) ReplaceGrants(ctx context.Context, person access.PersonID, origin string, grants []access.Grant, at time.Time, events ...audit.Event) error {
	return s.write(ctx, "grants.replace", events, func(t *tx) error {
		if _, err := t.exec(`DELETE FROM role_grant WHERE kind = 'person' AND subject = $1 AND origin = $2`, person, origin); err != nil {
			return err
		}
		for _, g := range grants {
			if err := putGrant(t, g); err != nil {
				return err
			}
		}
		_, err := bumpChange(t, ChangeAccess, "person/"+string(person), at)
		return err
	})
}

// PermissionUse is the last day that a subject used a permission on, in days since
// 1970 UTC.
type PermissionUse struct {
	Kind       access.SubjectKind
	Subject    string
	Permission access.Permission
	Day        int64
}

// PermissionUses lists all.
func (s *Store) PermissionUses(ctx context.Context) (list []PermissionUse, err error) {
	err = s.all(ctx, `SELECT kind, subject, permission, used_day FROM permission_use`, nil, func(sc scanner) error {
		var u PermissionUse
		err := sc.Scan(&u.Kind, &u.Subject, &u.Permission, &u.Day)
		list = append(list, u)
		return err
	})
	return list, err
}

// PutPermissionUses records uses; an earlier day changes nothing.
func (s *Store) PutPermissionUses(ctx context.Context, uses []PermissionUse) error {
	return s.write(ctx, "permission.used", nil, func(t *tx) error {
		for _, u := range uses {
			if _, err := t.exec(`INSERT INTO permission_use (kind, subject, permission, used_day) VALUES ($1, $2, $3, $4)
				ON CONFLICT (kind, subject, permission) DO UPDATE SET used_day = excluded.used_day WHERE permission_use.used_day < excluded.used_day`,
				u.Kind, u.Subject, u.Permission, u.Day); err != nil {
				return err
			}
		}
		return nil
	})
}
