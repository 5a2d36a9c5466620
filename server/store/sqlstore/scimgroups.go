package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
)

// FromGroups is the origin of grants that follow from groups of an identity
// provider.
const FromGroups = "scim"

// ErrLastAdmin means that nobody active would be an administrator any more.
var ErrLastAdmin = errors.New("the last administrator")

// SCIMPerson is a person whom an identity provider keeps.
type SCIMPerson struct {
	access.Person
	UpdatedAt time.Time
	Removed   bool // the provider deleted them
	Off       bool // it was the provider that disabled them
}

// SCIMGroup is a group of an identity provider.
type SCIMGroup struct {
	ID, Name  string
	Folded    string // Name in the form in which two are the same
	External  string // the provider's id, or empty
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

const scimPeople = ` FROM person p LEFT JOIN scim_person m ON m.person = p.id WHERE p.origin = $1 AND p.break_glass = 0 AND p.state IN ('active', 'disabled')`
const scimPersonColumns = signInWithPerson + `, COALESCE(m.updated_at, p.created_at), COALESCE(m.removed_at, 0), COALESCE(m.off, 0)`

func scanSCIMPerson(sc scanner) (p SCIMPerson, err error) {
	dest, done := personFields(&p.Person)
	var updated, removed, off int64
	err = notFound(sc.Scan(append(dest, &updated, &removed, &off)...))
	done()
	p.UpdatedAt, p.Removed, p.Off = fromMicros(updated), removed != 0, off != 0
	return p, err
}

// SCIMPersonBy is how a person is found: fields that are not empty must be equal,
// Mail but for the case of letters.
type SCIMPersonBy struct {
	ID             access.PersonID
	Name, External string
	Mail           string
	Active         *bool
}

// SCIMPeople lists people of an origin who fit one of anyOf (empty: all) and were not
// removed, oldest first, with the number of all who do.
func (s *Store) SCIMPeople(ctx context.Context, origin string, anyOf []SCIMPersonBy, offset, limit int) (list []SCIMPerson, total int, err error) {
	where, args := scimPeople+` AND COALESCE(m.removed_at, 0) = 0`, []any{origin}
	var either []string
	for _, by := range anyOf {
		var all []string
		add := func(given bool, column string, value any) {
			if given {
				args = append(args, value)
				all = append(all, fmt.Sprintf(column, len(args)))
			}
		}
		add(by.ID != "", "p.id = $%d", by.ID)
		add(by.Name != "", "p.name = $%d", by.Name)
		add(by.External != "", "p.external = $%d", by.External)
		add(by.Mail != "", "LOWER(p.mail) = $%d", strings.ToLower(by.Mail))
		if by.Active != nil {
			state := access.PersonDisabled
			if *by.Active {
				state = access.PersonActive
			}
			add(true, "p.state = $%d", state)
		}
		if len(all) > 0 {
			either = append(either, "("+strings.Join(all, " AND ")+")")
		}
	}
	if len(either) > 0 {
		where += " AND (" + strings.Join(either, " OR ") + ")"
	}
	if err := s.row(ctx, `SELECT COUNT(*)`+where, args, &total); err != nil || limit == 0 {
		return nil, total, err
	}
	page := fmt.Sprintf(` ORDER BY p.created_at, p.id LIMIT $%d OFFSET $%d`, len(args)+1, len(args)+2)
	err = s.all(ctx, `SELECT `+scimPersonColumns+where+page, append(args, limit, offset), func(sc scanner) error {
		p, err := scanSCIMPerson(sc)
		list = append(list, p)
		return err
	})
	return list, total, err
}

// SCIMPerson returns a person of an origin, also one who was removed, or
// ErrNotFound.
func (s *Store) SCIMPerson(ctx context.Context, origin string, id access.PersonID) (p SCIMPerson, err error) {
	err = ErrNotFound
	all := s.all(ctx, `SELECT `+scimPersonColumns+scimPeople+` AND p.id = $2`, []any{origin, id}, func(sc scanner) error {
		p, err = scanSCIMPerson(sc)
		return err
	})
	return p, errors.Join(err, all)
}

// KeepSCIM notes what an identity provider did to the person.
func KeepSCIM(removed, off bool, at time.Time) PersonStep {
	return func(t *tx, id access.PersonID) error {
		var gone int64
		if removed {
			gone = micros(at)
		}
		return t.one(`INSERT INTO scim_person (person, updated_at, removed_at, off) VALUES ($1, $2, $3, $4)
			ON CONFLICT (person) DO UPDATE SET updated_at = excluded.updated_at, removed_at = excluded.removed_at, off = excluded.off`, id, micros(at), gone, flag(off))
	}
}

// LeaveAll takes the person out of all groups and takes all roles back, those too
// that were given by hand: the name may pass to somebody else. was and now are as
// in SCIMChange.
func LeaveAll(was, now string, at time.Time) PersonStep {
	return func(t *tx, id access.PersonID) error {
		if err := moveGroups(t, was, now); err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE scim_group SET version = version + 1, updated_at = $1 WHERE id IN (SELECT scim_group FROM scim_member WHERE person = $2)`, micros(at), id); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM scim_member WHERE person = $1`, id); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM role_grant WHERE kind = 'person' AND subject = $1`, id); err != nil {
			return err
		}
		_, err := bumpChange(t, ChangeAccess, "person/"+string(id), at)
		return err
	}
}

const groupColumns = `g.id, g.name, g.folded, g.external, g.version, g.created_at, g.updated_at`

func (s *Store) scimGroups(ctx context.Context, rest string, args ...any) (list []SCIMGroup, err error) {
	err = s.all(ctx, `SELECT `+groupColumns+` FROM scim_group g `+rest, args, func(sc scanner) error {
		var g SCIMGroup
		var created, updated int64
		err := sc.Scan(&g.ID, &g.Name, &g.Folded, &g.External, &g.Version, &created, &updated)
		g.CreatedAt, g.UpdatedAt = fromMicros(created), fromMicros(updated)
		list = append(list, g)
		return err
	})
	return list, err
}

// maxSCIMGroups bounds a listing of groups.
const maxSCIMGroups = 10_000

// SCIMGroups lists the groups, oldest first.
func (s *Store) SCIMGroups(ctx context.Context) ([]SCIMGroup, error) {
	return s.scimGroups(ctx, `ORDER BY g.created_at, g.id LIMIT $1`, maxSCIMGroups)
}

// SCIMGroupsOf lists the groups of a person by id.
func (s *Store) SCIMGroupsOf(ctx context.Context, id access.PersonID) ([]SCIMGroup, error) {
	return s.scimGroups(ctx, `JOIN scim_member m ON m.scim_group = g.id WHERE m.person = $1 ORDER BY g.id`, id)
}

// SCIMGroup returns a group and its members by id, or ErrNotFound.
func (s *Store) SCIMGroup(ctx context.Context, id string) (g SCIMGroup, members []access.PersonID, err error) {
	list, err := s.scimGroups(ctx, `WHERE g.id = $1`, id)
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return g, nil, err
	}
	err = s.all(ctx, `SELECT person FROM scim_member WHERE scim_group = $1 ORDER BY person`, []any{id}, func(sc scanner) error {
		var p access.PersonID
		err := sc.Scan(&p)
		members = append(members, p)
		return err
	})
	return list[0], members, err
}

// groupsState is the name of the meta row that changes with each change of groups.
const groupsState = "scim_groups"

// SCIMState names the present state of all groups together; empty before the first.
func (s *Store) SCIMState(ctx context.Context) (string, error) {
	state, err := s.Meta(ctx, groupsState)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return state, err
}

// moveGroups is ErrChanged unless the groups are in the state was. Roles follow from
// all groups of a person, so that changes of two groups must not pass each other.
func moveGroups(t *tx, was, now string) error {
	return t.one(`INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE meta.value = $3`, groupsState, now, was)
}

// SCIMChange makes, changes or deletes a group, with the roles that follow.
type SCIMChange struct {
	Was, Now    string    // the state of all groups that it was made from, and a new name for what it leads to
	Group       SCIMGroup // as it shall be; Version 1 makes it
	Delete      bool
	Add, Remove []access.PersonID
	Grants      map[access.PersonID][]access.Grant // all that FromGroups gives these people from now on
	At          time.Time
}

// ChangeSCIMGroup does a change in one transaction and tells all nodes. ErrChanged
// when the groups, or the group, are not as they were, or the name is another's;
// ErrLastAdmin when it takes the last administrator's role.
func (s *Store) ChangeSCIMGroup(ctx context.Context, c SCIMChange, events ...audit.Event) error {
	return s.write(ctx, "scimgroup.change", events, func(t *tx) error {
		if err := moveGroups(t, c.Was, c.Now); err != nil {
			return err
		}
		if err := putSCIMGroup(t, c); err != nil {
			return err
		}
		if len(c.Grants) == 0 {
			return nil
		}
		people := slices.Sorted(maps.Keys(c.Grants))
		for _, person := range people { // the counter's row, locked here, makes changes of roles wait for each other
			if _, err := bumpChange(t, ChangeAccess, "person/"+string(person), c.At); err != nil {
				return err
			}
		}
		var before, after int
		if err := t.row(adminsQuery, []any{""}, &before); err != nil {
			return err
		}
		for _, person := range people {
			if _, err := t.exec(`DELETE FROM role_grant WHERE kind = 'person' AND subject = $1 AND origin = $2`, person, FromGroups); err != nil {
				return err
			}
			for _, g := range c.Grants[person] {
				if err := putGrant(t, g); err != nil {
					return err
				}
			}
		}
		if err := t.row(adminsQuery, []any{""}, &after); err != nil {
			return err
		}
		if before > 0 && after == 0 {
			return ErrLastAdmin
		}
		return nil
	})
}

func putSCIMGroup(t *tx, c SCIMChange) error {
	g := c.Group
	for _, person := range c.Remove {
		if err := t.one(`DELETE FROM scim_member WHERE scim_group = $1 AND person = $2`, g.ID, person); err != nil {
			return err
		}
	}
	if c.Delete {
		return t.one(`DELETE FROM scim_group WHERE id = $1 AND version = $2`, g.ID, g.Version-1)
	}
	if g.Version == 1 {
		if err := t.one(`INSERT INTO scim_group (id, name, folded, external, version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
			g.ID, g.Name, g.Folded, g.External, g.Version, micros(g.CreatedAt), micros(g.UpdatedAt)); err != nil {
			return err
		}
	} else if err := t.one(`UPDATE scim_group SET name = $1, folded = $2, external = $3, version = $4, updated_at = $5 WHERE id = $6 AND version = $7
		AND NOT EXISTS (SELECT 1 FROM scim_group o WHERE o.folded = $8 AND o.id <> $9)`,
		g.Name, g.Folded, g.External, g.Version, micros(g.UpdatedAt), g.ID, g.Version-1, g.Folded, g.ID); err != nil {
		return err
	}
	for _, person := range c.Add {
		if err := t.one(`INSERT INTO scim_member (scim_group, person) VALUES ($1, $2)`, g.ID, person); err != nil {
			return err
		}
	}
	return nil
}
