package access

import (
	"net/url"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

func mountPeople(s *ui.Section) {
	s.Page("GET /access/people", people, access.PersonRead)
	s.Page("GET /access/people/invite", invitePage, access.PersonWrite)
	s.Page("POST /access/people/invite", invite, access.PersonWrite)
	s.Page("GET /access/people/{id}", person, access.PersonRead)
	s.Page("POST /access/people/{id}/grant", give(access.ToPerson), access.RoleWrite)
	s.Page("GET /access/people/{id}/grants/{grant}", askTakeBack(access.ToPerson), access.RoleWrite)
	s.Page("POST /access/people/{id}/grants/{grant}", takeBack(access.ToPerson), access.RoleWrite)
	s.Page("GET /access/people/{id}/{verb}", askMove, access.PersonWrite)
	s.Page("POST /access/people/{id}/{verb}", move, access.PersonWrite)
	s.Page("POST /access/people/{id}/sign-ins/{signin}/end", endSignIn, access.PersonWrite)
}

var peopleCrumbs = []ui.Link{{Text: "People", Href: "/access/people"}}

func people(r *ui.Request) error {
	s := r.Table(ui.TableSpec{Filters: []string{"q", "state"}, Columns: []string{"name", "login", "roles", "state", "seen", "origin"}})
	list, err := r.API.People(r.Context(), adminapi.PeopleFilter{Prefix: strings.ToLower(s.Filter("q")), State: access.PersonState(s.Filter("state")), After: access.PersonID(s.After), Limit: s.Limit})
	held := map[string][]string{}
	if r.Can(access.RoleRead) && err == nil {
		grants, gerr := r.API.Grants(r.Context(), access.ToPerson, "")
		err = gerr
		for _, g := range grants {
			if g.Live(r.Now) {
				held[g.Subject] = append(held[g.Subject], g.Role)
			}
		}
	}
	t := ui.Table[access.Person]{ID: "people", Label: "People", State: s, Rows: list.Items, Next: string(list.Next), Err: err,
		Filters: []ui.Filter{{Name: "state", Label: "State", Options: []ui.Option{{Value: "", Label: "All"}, {Value: "active", Label: "Active"}, {Value: "invited", Label: "Invited"}, {Value: "disabled", Label: "Disabled"}, {Value: "erased", Label: "Erased"}}}},
		Columns: []ui.Column[access.Person]{
			{Key: "name", Label: "Name", Cell: func(p access.Person) ui.Node { return ui.Text(shown(p)) }},
			{Key: "login", Label: "Signs in as", Cell: func(p access.Person) ui.Node { return ui.Text(p.Name) }},
			{Key: "roles", Label: "Roles", Wide: true, Cell: func(p access.Person) ui.Node { return roleTags(held[string(p.ID)]) }},
			{Key: "state", Label: "State", Cell: func(p access.Person) ui.Node { return personState(p) }},
			{Key: "seen", Label: "Last signed in", Cell: func(p access.Person) ui.Node { return ui.Time(p.SignedInAt) }},
			{Key: "origin", Label: "Comes from", Hidden: true, Cell: func(p access.Person) ui.Node { return ui.Text(p.Origin) }},
		},
		Href:  func(p access.Person) string { return at("people", string(p.ID)) },
		Empty: ui.EmptyProps{Icon: "people", Title: "Nobody is here"}}
	if r.Can(access.PersonalRead) {
		t.Filters = append([]ui.Filter{{Name: "q", Label: "Sign-in name", Placeholder: "Sign-in name begins with", Search: true}}, t.Filters...)
	}
	p := page(r, "/access/people")
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
	return r.Page(ui.Page{Title: "Invite somebody", Crumbs: peopleCrumbs, Narrow: true, Lead: "You get a link that works once. Who opens it sets up a passkey, or a password with an authenticator app."}, inviteView())
}

func invite(r *ui.Request) error {
	in, err := r.API.InvitePerson(r.Context(), adminapi.PersonInput{Name: r.Form("name"), Display: r.Form("display"), Mail: r.Form("mail"), BreakGlass: r.Form("break_glass") == "yes"})
	if err != nil {
		return err
	}
	return invited(r, in)
}

func invited(r *ui.Request, in adminapi.Invited) error {
	return r.Result(ui.Page{Title: "The invitation", Crumbs: peopleCrumbs, Narrow: true}, linkView(in))
}

// details are what the page of a person shows.
type details struct {
	r       *ui.Request
	p       adminapi.PersonDetails
	own     bool
	grants  []access.Grant
	giving  giving
	signIns []adminapi.SignIn
}

func person(r *ui.Request) error {
	p, err := r.API.Person(r.Context(), access.PersonID(r.Value("id")))
	if err != nil {
		return err
	}
	d := details{r: r, p: p, own: string(p.ID) == r.Identity.Actor.ID}
	if r.Can(access.RoleRead) {
		if d.grants, err = r.API.Grants(r.Context(), access.ToPerson, string(p.ID)); err != nil {
			return err
		}
		if d.giving, err = newGiving(r, at("people", string(p.ID), "grant")); err != nil {
			return err
		}
	}
	if d.signIns, err = r.API.PersonSignIns(r.Context(), p.ID); err != nil {
		return err
	}
	frame := ui.Page{Title: shown(p.Person), Crumbs: peopleCrumbs, Badge: personState(p.Person)}
	if !d.own && r.Can(access.PersonWrite) && p.State != access.PersonErased {
		frame.Actions = personActions(p.Person)
	}
	return r.Page(frame, personView(d))
}

// mayGive tells whether the form for roles is shown: nobody gives a role to
// themselves.
func (d details) mayGive() bool {
	return d.r.Can(access.RoleWrite) && !d.own && d.p.State != access.PersonErased
}

func (d details) mayEnd() bool { return d.r.Can(access.PersonWrite) && !d.own }

// moves are what can be done to an account.
var moves = map[string]struct {
	title, verb, done string
	kind              ui.Kind
	consequences      []string
	undo              string
}{
	"disable": {"Disable the account of %s?", "Disable", "The account is disabled.", ui.Danger, []string{"Every sign-in of theirs ends within a second, on every server.", "They cannot sign in again."}, "You can enable it again; the roles are kept."},
	"enable":  {"Enable the account of %s?", "Enable", "The account is enabled.", ui.Primary, []string{"They can sign in again with what they had, and with the roles that they have."}, "You can disable it again."},
	"erase": {"Erase %s?", "Erase", "The account is erased.", ui.Danger, []string{"Name, mail address and everything that they sign in with are removed for good.", "Every sign-in of theirs ends.",
		"The id stays, because it is what the audit log has."}, ""},
	"reinvite": {"Reset what %s signs in with?", "Reset and make a link", "", ui.Danger, []string{"Password, passkeys, authenticator app and recovery codes are removed.", "Every sign-in of theirs ends.",
		"You get a link that works once. Give it to them in person or over a way that you trust."}, "They keep their roles, and set everything up anew with the link."},
	"sign-out": {"Sign %s out everywhere?", "Sign out", "Every sign-in was ended.", ui.Danger, []string{"Every browser and command line of theirs has to sign in again."}, "They can sign in again at once."},
}

func askMove(r *ui.Request) error {
	m, ok := moves[r.Value("verb")]
	if !ok {
		return ui.NotFound()
	}
	p, err := r.API.Person(r.Context(), access.PersonID(r.Value("id")))
	if err != nil {
		return err
	}
	c := ui.Confirm{ID: "person-move", Title: strings.Replace(m.title, "%s", shown(p.Person), 1), Action: at("people", string(p.ID), r.Value("verb")), Verb: m.verb, Kind: m.kind, Reason: true,
		Consequences: m.consequences, Undo: m.undo}
	if r.Value("verb") == "erase" {
		c.Type = "erase"
	}
	return r.Dialog(c)
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
	case "erase":
		if !r.Typed("erase") {
			return badField("confirm", "nothing has happened: the word to confirm was not typed", "type erase")
		}
		_, err = r.API.ErasePerson(r.Context(), id, reason)
	case "reinvite":
		in, err := r.API.ReinvitePerson(r.Context(), id, reason)
		if err != nil {
			return err
		}
		return invited(r, in)
	default:
		return ui.NotFound()
	}
	if err != nil {
		return err
	}
	return r.Done(moves[r.Value("verb")].done, at("people", string(id)))
}

func endSignIn(r *ui.Request) error {
	id := r.Value("id")
	if err := r.API.EndPersonSignIn(r.Context(), access.PersonID(id), r.Value("signin")); err != nil {
		return err
	}
	to := at("people", id)
	if r.Form("back") == "sign-ins" {
		to = "/access/sign-ins"
	}
	return r.Done("That sign-in is ended.", to)
}

func endPath(person, signIn string) string {
	return at("people", person, "sign-ins", signIn, "end")
}

func moveButton(kind ui.Kind, icon, text, id, verb string) ui.Node {
	return ui.DialogButton(kind, icon, text, "/access/people/"+url.PathEscape(id)+"/"+verb)
}
