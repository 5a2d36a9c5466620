package access

import (
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// unusedDays is how long a permission was not used to be in the report.
const unusedDays = 90

// excess is a role of somebody who does not use all of it.
type excess struct {
	grant   access.Grant
	idle    []access.Permission // of the role, not used
	used    int                 // of the role
	since   string              // the last day that one of idle was used; empty: never
	smaller string              // a role that has all that is used, and less than this one; empty: there is none
}

// excesses are the roles that somebody gave by hand and that are not used wholly,
// those with the most to take away first.
func excesses(grants []access.Grant, roles []access.Role, report []adminapi.Unused) (list []excess) {
	for _, g := range grants {
		role, ok := roleNamed(roles, g.Role)
		if !ok || g.Origin != "manual" {
			continue
		}
		e := excess{grant: g}
		for _, u := range report {
			if u.Kind == g.Kind && u.Subject == g.Subject && slices.Contains(u.Roles, g.Role) && role.Has(u.Permission) {
				e.idle, e.since = append(e.idle, u.Permission), max(e.since, u.LastUsed)
			}
		}
		if len(e.idle) == 0 {
			continue
		}
		e.used = len(role.Permissions) - len(e.idle)
		e.smaller = smaller(role, e.idle, roles)
		list = append(list, e)
	}
	slices.SortStableFunc(list, func(a, b excess) int { return len(b.idle) - len(a.idle) })
	return list
}

// smaller is the least role that has all of role that is used and nothing that
// role has not.
func smaller(role access.Role, idle []access.Permission, roles []access.Role) (name string) {
	least := len(role.Permissions)
	for _, other := range roles {
		within := !slices.ContainsFunc(other.Permissions, func(p access.Permission) bool { return !role.Has(p) })
		enough := !slices.ContainsFunc(role.Permissions, func(p access.Permission) bool { return !slices.Contains(idle, p) && !other.Has(p) })
		if n := len(other.Permissions); within && enough && n < least {
			name, least = other.Name, n
		}
	}
	return name
}

// without is an address that makes a role like this one, less what is not used.
func (e excess) without() string {
	names := make([]string, len(e.idle))
	for i, p := range e.idle {
		names[i] = string(p)
	}
	return "/access/new-role?from=" + e.grant.Role + "&without=" + strings.Join(names, ",")
}

func (e excess) subject() string { return string(e.grant.Kind) + ":" + e.grant.Subject }

func excessesOf(r *ui.Request) ([]excess, error) {
	report, err := r.API.Unused(r.Context(), unusedDays)
	if err != nil {
		return nil, err
	}
	grants, err := r.API.Grants(r.Context(), "", "")
	if err != nil {
		return nil, err
	}
	list, err := r.API.Roles(r.Context())
	return excesses(grants, list, report), err
}

func unused(r *ui.Request) error {
	s := r.Table(ui.TableSpec{Filters: []string{"q"}, Columns: []string{"who", "role", "idle", "used", "smaller"}})
	all, err := excessesOf(r)
	names := newWho(r)
	var found []excess
	for _, e := range all {
		if ui.Matches(s.Filter("q"), e.grant.Role, e.grant.Subject, names.called(e.subject())) {
			found = append(found, e)
		}
	}
	rows, next := ui.SortPage(s, found, nil)
	t := ui.Table[excess]{ID: "unused", Label: "Roles that are not used wholly", State: s, Rows: rows, Next: next, Err: err, Total: ui.Count(int64(len(found)), "role", "roles"),
		Filters: []ui.Filter{{Name: "q", Label: "Search", Placeholder: "Search by name or role", Search: true}},
		Columns: []ui.Column[excess]{
			{Key: "who", Label: "Who", Cell: func(e excess) ui.Node { return names.link(e.subject()) }},
			{Key: "role", Label: "Role", Cell: func(e excess) ui.Node {
				return ui.Nodes(textLink(e.grant.Role, at("roles", e.grant.Role)), ui.Text(" "), ui.Tag(e.grant.Scope.String()))
			}},
			{Key: "idle", Label: "Not used for 90 days", Wide: true, Cell: func(e excess) ui.Node { return idleList(e) }},
			{Key: "used", Label: "Used", Number: true, Cell: func(e excess) ui.Node { return ui.Text(ui.Number(int64(e.used))) }},
			{Key: "smaller", Label: "Suggestion", Cell: func(e excess) ui.Node { return suggestion(r, e) }},
		},
		Empty: ui.EmptyProps{Icon: "check", Title: "Everything given is used", Text: "Nobody has had a permission for 90 days without using it."}}
	return r.Page(ui.Page{Title: "Given and not used", Crumbs: roleCrumbs, Lead: "Permissions that somebody has had for at least 90 days without using them. Each is a way in that nobody needs."}, t)
}

// excessNamed finds one by its grant.
func excessNamed(r *ui.Request) (excess, error) {
	all, err := excessesOf(r)
	if err != nil {
		return excess{}, err
	}
	i := slices.IndexFunc(all, func(e excess) bool { return e.grant.ID == r.Value("grant") && (e.smaller != "" || e.used == 0) })
	if i < 0 {
		return excess{}, ui.NotFound()
	}
	return all[i], nil
}

func askSmaller(r *ui.Request) error {
	e, err := excessNamed(r)
	if err != nil {
		return err
	}
	name := newWho(r).called(e.subject())
	c := ui.Confirm{ID: "smaller", Title: "Give " + name + " " + e.smaller + " instead of " + e.grant.Role + "?", Action: at("unused", e.grant.ID), Verb: "Change the role", Kind: ui.Primary, Reason: true,
		Consequences: []string{"The role " + e.smaller + " is given for " + e.grant.Scope.String() + ".", "Then the role " + e.grant.Role + " is taken back.",
			ui.Count(int64(len(e.idle)), "permission that was", "permissions that were") + " not used for 90 days may be among what is lost."},
		Undo: "You can give the role back.", Body: ui.HiddenField("smaller", e.smaller)}
	if e.smaller == "" || e.used == 0 {
		c.Title, c.Verb = "Take the role "+e.grant.Role+" back from "+name+"?", "Take back"
		c.Consequences = []string{"Nothing of it was used for 90 days."}
		c.Body = ui.HiddenField("smaller", "")
	}
	return r.Dialog(c)
}

// takeSmaller gives the smaller role first: if a second person has to agree to it,
// the present one stays until then.
func takeSmaller(r *ui.Request) error {
	e, err := excessNamed(r)
	if err != nil {
		return err
	}
	want := e.smaller
	if e.used == 0 {
		want = ""
	}
	if r.Form("smaller") != want {
		return badField("smaller", "what is used has changed meanwhile", "open the report again")
	}
	if want != "" {
		if _, err := r.API.Grant(r.Context(), adminapi.GrantInput{Kind: e.grant.Kind, Subject: e.grant.Subject, Role: want, Scope: e.grant.Scope, ExpiresAt: e.grant.ExpiresAt, Reason: r.Form("reason")}); err != nil {
			return err
		}
	}
	if err := r.API.RevokeGrant(r.Context(), e.grant.ID, r.Form("reason")); err != nil {
		return err
	}
	return r.Done("The role "+e.grant.Role+" was taken back.", subjectPath(e.grant.Kind, e.grant.Subject))
}
