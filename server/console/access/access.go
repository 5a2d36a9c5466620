// Package access shows people, roles and requests for a second person.
//
// It promises that a one-time link is shown once, to who asked for it, and that a
// request is decided by somebody who saw what it would do. It trusts the API for
// who may do what.
package access

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Mount adds the pages.
func Mount(m *ui.Mux) {
	s := m.In("access")
	s.Page("GET /access", first, access.PersonRead, access.RoleRead, access.ApprovalRead, access.ClientRead)
	s.Page("GET /access/people", people, access.PersonRead)
	s.Page("GET /access/people/invite", invitePage, access.PersonWrite)
	s.Page("POST /access/people/invite", invite, access.PersonWrite)
	s.Page("GET /access/people/{id}", person, access.PersonRead)
	s.Page("POST /access/people/{id}/grant", grant, access.RoleWrite)
	s.Page("GET /access/people/{id}/{verb}", askMove, access.PersonWrite)
	s.Page("POST /access/people/{id}/{verb}", move, access.PersonWrite)
	s.Page("POST /access/people/{id}/grants/{grant}", takeBack, access.RoleWrite)
	s.Page("GET /access/roles", roles, access.RoleRead)
	s.Page("GET /access/approvals", approvals, access.ApprovalRead)
	s.Page("GET /access/approvals/{id}", approval, access.ApprovalRead)
	s.Page("POST /access/approvals/{id}/{verb}", decide, access.ApprovalDecide)
}

func page(r *ui.Request, title, at string) ui.Page {
	p := ui.Page{Title: title}
	for _, t := range []struct {
		tab   ui.Tab
		needs access.Permission
	}{{ui.Tab{Text: "People", Href: "/access/people"}, access.PersonRead}, {ui.Tab{Text: "Roles", Href: "/access/roles"}, access.RoleRead}, {ui.Tab{Text: "Approvals", Href: "/access/approvals"}, access.ApprovalRead}} {
		if r.Can(t.needs) {
			t.tab.Active = t.tab.Href == at
			p.Tabs = append(p.Tabs, t.tab)
		}
	}
	return p
}

func first(r *ui.Request) error {
	for _, t := range page(r, "", "").Tabs {
		return r.Redirect(t.Href)
	}
	return ui.NotFound()
}

func people(r *ui.Request) error {
	s := r.Table(ui.TableSpec{Filters: []string{"q", "state"}})
	list, err := r.API.People(r.Context(), adminapi.PeopleFilter{Prefix: s.Filter("q"), State: access.PersonState(s.Filter("state")), After: access.PersonID(s.After), Limit: s.Limit})
	held := map[string][]string{}
	if r.Can(access.RoleRead) && err == nil {
		grants, gerr := r.API.Grants(r.Context(), access.ToPerson, "")
		err = gerr
		for _, g := range grants {
			held[g.Subject] = append(held[g.Subject], g.Role)
		}
	}
	t := ui.Table[access.Person]{ID: "people", Label: "People", State: s, Rows: list.Items, Next: string(list.Next), Err: err,
		Filters: []ui.Filter{{Name: "q", Label: "Name", Placeholder: "begins with", Search: true}, {Name: "state", Label: "State", Options: []ui.Option{{Value: "", Label: "All"}, {Value: "active", Label: "Active"}, {Value: "invited", Label: "Invited"}, {Value: "disabled", Label: "Disabled"}}}},
		Columns: []ui.Column[access.Person]{
			{Key: "name", Label: "Name", Cell: func(p access.Person) ui.Node { return ui.Text(shown(p)) }},
			{Key: "login", Label: "Signs in as", Cell: func(p access.Person) ui.Node { return ui.Text(p.Name) }},
			{Key: "roles", Label: "Roles", Wide: true, Cell: func(p access.Person) ui.Node { return ui.Text(strings.Join(held[string(p.ID)], ", ")) }},
			{Key: "state", Label: "State", Cell: func(p access.Person) ui.Node { return ui.Badge(stateTone(p.State), string(p.State)) }},
			{Key: "seen", Label: "Last signed in", Cell: func(p access.Person) ui.Node { return ui.Time(p.SignedInAt) }},
		},
		Href:  func(p access.Person) string { return "/access/people/" + url.PathEscape(string(p.ID)) },
		Empty: ui.EmptyProps{Icon: "people", Title: "Nobody is here"}}
	p := page(r, "Access", "/access/people")
	p.Actions = ui.If(r.Can(access.PersonWrite), ui.LinkButton(ui.Primary, "plus", "Invite somebody", "/access/people/invite"))
	return r.Page(p, t)
}

func shown(p access.Person) string {
	if s := p.Shown(); s != "" {
		return s
	}
	return string(p.ID)
}

func stateTone(s access.PersonState) ui.Tone {
	switch s {
	case access.PersonActive:
		return ui.Good
	case access.PersonInvited:
		return ui.Info
	}
	return ui.Neutral
}

func invitePage(r *ui.Request) error {
	return r.Page(ui.Page{Title: "Invite somebody", Crumbs: []ui.Link{{Text: "People", Href: "/access/people"}}, Narrow: true}, inviteView())
}

func invite(r *ui.Request) error {
	in, err := r.API.InvitePerson(r.Context(), adminapi.PersonInput{Name: r.Form("name"), Display: r.Form("display"), Mail: r.Form("mail")})
	if err != nil {
		return err
	}
	return r.Result(ui.Page{Title: "The invitation", Crumbs: []ui.Link{{Text: "People", Href: "/access/people"}}, Narrow: true}, linkView(in))
}

func person(r *ui.Request) error {
	p, err := r.API.Person(r.Context(), access.PersonID(r.Value("id")))
	if err != nil {
		return err
	}
	d := details{r: r, p: p}
	if r.Can(access.RoleRead) {
		if d.grants, err = r.API.Grants(r.Context(), access.ToPerson, string(p.ID)); err != nil {
			return err
		}
		if d.roles, err = r.API.Roles(r.Context()); err != nil {
			return err
		}
		if d.zones, err = r.API.Zones(r.Context()); err != nil {
			return err
		}
	}
	if d.signIns, err = r.API.PersonSignIns(r.Context(), p.ID); err != nil {
		return err
	}
	at := ui.Page{Title: shown(p.Person), Crumbs: []ui.Link{{Text: "People", Href: "/access/people"}}, Badge: ui.Badge(stateTone(p.State), string(p.State))}
	if r.Can(access.PersonWrite) && string(p.ID) != r.Identity.Actor.ID {
		base := "/access/people/" + url.PathEscape(string(p.ID)) + "/"
		verb, text := "disable", "Disable"
		if p.State == access.PersonDisabled {
			verb, text = "enable", "Enable"
		}
		at.Actions = ui.Nodes(ui.DialogButton(ui.Plain, "", text, base+verb), ui.DialogButton(ui.Plain, "exit", "Sign out everywhere", base+"sign-out"))
	}
	return r.Page(at, personView(d))
}

// details are what the page of a person shows.
type details struct {
	r       *ui.Request
	p       adminapi.PersonDetails
	grants  []access.Grant
	roles   []access.Role
	zones   []device.Zone
	signIns []adminapi.SignIn
}

func (d details) roleOptions() []ui.Option {
	var list []ui.Option
	for _, role := range d.roles {
		list = append(list, ui.Option{Value: role.Name, Label: role.Name})
	}
	return list
}

func (d details) zoneOptions() []ui.Option {
	list := []ui.Option{{Value: "", Label: "The whole fleet"}}
	for _, z := range d.zones {
		list = append(list, ui.Option{Value: string(z.Name), Label: "Zone " + string(z.Name)})
	}
	return list
}

func grant(r *ui.Request) error {
	in := adminapi.GrantInput{Kind: access.ToPerson, Subject: r.Value("id"), Role: r.Form("role"), Reason: r.Form("reason")}
	if z := r.Form("zone"); z != "" {
		in.Scope.Zones = []device.ZoneName{device.ZoneName(z)}
	}
	if _, err := r.API.Grant(r.Context(), in); err != nil {
		return err
	}
	return r.Done("The role was given.", "/access/people/"+url.PathEscape(in.Subject))
}

func takeBack(r *ui.Request) error {
	if err := r.API.RevokeGrant(r.Context(), r.Value("grant"), "taken back in the console"); err != nil {
		return err
	}
	return r.Done("The role was taken back.", "/access/people/"+url.PathEscape(r.Value("id")))
}

// moves are what can be done to an account.
var moves = map[string]struct {
	title, verb, done string
	consequences      []string
	undo              string
}{
	"disable":  {"Disable this account?", "Disable", "The account is disabled.", []string{"Every sign-in of the person ends within a second.", "They cannot sign in again."}, "You can enable it again."},
	"enable":   {"Enable this account?", "Enable", "The account is enabled.", []string{"The person can sign in again, with the roles they have."}, "You can disable it again."},
	"sign-out": {"Sign this person out everywhere?", "Sign out", "Every sign-in was ended.", []string{"Every browser and command line of theirs has to sign in again."}, "They can sign in again at once."},
}

func askMove(r *ui.Request) error {
	m, ok := moves[r.Value("verb")]
	if !ok {
		return ui.NotFound()
	}
	return r.Dialog(ui.Confirm{ID: "person-move", Title: m.title, Action: "/access/people/" + url.PathEscape(r.Value("id")) + "/" + r.Value("verb"), Verb: m.verb, Kind: ui.Danger, Reason: true, Consequences: m.consequences, Undo: m.undo})
}

func move(r *ui.Request) (err error) {
	id, reason := access.PersonID(r.Value("id")), r.Form("reason")
	switch r.Value("verb") {
	case "disable":
		_, err = r.API.DisablePerson(r.Context(), id, reason)
	case "enable":
		_, err = r.API.EnablePerson(r.Context(), id, reason)
	case "sign-out":
		err = r.API.EndPersonSignIns(r.Context(), id, reason)
	default:
		return ui.NotFound()
	}
	if err != nil {
		return err
	}
	return r.Done(moves[r.Value("verb")].done, "/access/people/"+url.PathEscape(string(id)))
}

func roles(r *ui.Request) error {
	list, err := r.API.Roles(r.Context())
	if err != nil {
		return err
	}
	unused, err := r.API.Unused(r.Context(), 90)
	if err != nil {
		return err
	}
	return r.Page(page(r, "Access", "/access/roles"), rolesView(list, unused))
}

func approvals(r *ui.Request) error {
	s := r.Table(ui.TableSpec{Filters: []string{"state"}})
	list, err := r.API.Approvals(r.Context(), adminapi.ApprovalFilter{State: access.ApprovalState(s.Filter("state")), Before: s.After, Limit: s.Limit})
	t := ui.Table[access.Approval]{ID: "approvals", Label: "Requests for a second person", State: s, Rows: list.Items, Next: list.Next, Err: err,
		Filters: []ui.Filter{{Name: "state", Label: "State", Options: []ui.Option{{Value: "", Label: "All"}, {Value: "waiting", Label: "Waiting"}, {Value: "done", Label: "Carried out"}, {Value: "failed", Label: "Failed"}, {Value: "rejected", Label: "Rejected"}, {Value: "expired", Label: "Expired"}}}},
		Columns: []ui.Column[access.Approval]{
			{Key: "what", Label: "What", Wide: true, Cell: func(a access.Approval) ui.Node { return ui.Text(a.Summary) }},
			{Key: "why", Label: "Why", Cell: func(a access.Approval) ui.Node { return ui.Text(a.Reason) }},
			{Key: "by", Label: "Asked by", Cell: func(a access.Approval) ui.Node { return ui.Text(a.RequestedBy) }},
			{Key: "at", Label: "When", Cell: func(a access.Approval) ui.Node { return ui.Time(a.RequestedAt) }},
			{Key: "state", Label: "State", Cell: func(a access.Approval) ui.Node { return ui.Badge(approvalTone(a.State), string(a.State)) }},
		},
		Href:  func(a access.Approval) string { return "/access/approvals/" + url.PathEscape(a.ID) },
		Empty: ui.EmptyProps{Icon: "check", Title: "Nothing waits", Text: "Some actions need a second person. When somebody asks for one, it is here."}}
	return r.Page(page(r, "Access", "/access/approvals"), t)
}

func approvalTone(s access.ApprovalState) ui.Tone {
	switch s {
	case access.ApprovalWaiting:
		return ui.Warn
	case access.ApprovalDone:
		return ui.Good
	case access.ApprovalFailed, access.ApprovalApproved:
		return ui.Bad
	}
	return ui.Neutral
}

func approval(r *ui.Request) error {
	a, err := r.API.Approval(r.Context(), r.Value("id"))
	if err != nil {
		return err
	}
	may := r.Can(access.ApprovalDecide) && a.State == access.ApprovalWaiting
	own := a.RequestedBy == r.Identity.Actor.String()
	return r.Page(ui.Page{Title: a.Summary, Crumbs: []ui.Link{{Text: "Approvals", Href: "/access/approvals"}}, Badge: ui.Badge(approvalTone(a.State), string(a.State)), Narrow: true}, approvalView(a, may && !own, own))
}

func decide(r *ui.Request) error {
	verb := r.Value("verb")
	if verb != "approve" && verb != "reject" {
		return ui.NotFound()
	}
	a, err := r.API.DecideApproval(r.Context(), r.Value("id"), verb == "approve", r.Form("comment"))
	if err != nil {
		return err
	}
	to := "/access/approvals/" + url.PathEscape(a.ID)
	if a.State == access.ApprovalFailed {
		return r.Noted("It was approved, but could not be carried out.", to)
	}
	return r.Done(fmt.Sprintf("The request is %s.", a.State), to)
}
