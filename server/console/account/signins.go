package account

import (
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/people"
)

var spec = ui.TableSpec{Columns: []string{"what", "address", "how", "began", "seen", "ends"}, Sorts: []string{"began", "seen"}}

func (a account) signIns(r *ui.Request) error {
	in, _ := a.in(r)
	list, err := a.p.SignIns(r.Context(), in.Person.ID)
	s := r.Table(spec)
	rows, next := ui.SortPage(s, list, map[string]func(x, y people.SignIn) int{
		"began": func(x, y people.SignIn) int { return x.CreatedAt.Compare(y.CreatedAt) },
		"seen":  func(x, y people.SignIn) int { return x.SeenAt.Compare(y.SeenAt) },
	})
	instant := func(at func(people.SignIn) time.Time) func(people.SignIn) ui.Node {
		return func(x people.SignIn) ui.Node { return ui.Time(at(x)) }
	}
	t := ui.Table[people.SignIn]{ID: "sign-ins", Label: "Your sign-ins", State: s, Rows: rows, Next: next, Err: err,
		Columns: []ui.Column[people.SignIn]{
			{Key: "what", Label: "Where", Cell: func(x people.SignIn) ui.Node { return place(x, x.ID == in.ID) }},
			{Key: "address", Label: "Address", Cell: func(x people.SignIn) ui.Node { return ui.Text(x.Source) }},
			{Key: "how", Label: "Proven with", Cell: func(x people.SignIn) ui.Node { return ui.Text(strings.Join(x.Methods, ", ")) }},
			{Key: "began", Label: "Began", Sort: true, Cell: instant(func(x people.SignIn) time.Time { return x.CreatedAt })},
			{Key: "seen", Label: "Last used", Sort: true, Cell: instant(func(x people.SignIn) time.Time { return x.SeenAt })},
			{Key: "ends", Label: "Ends", Hidden: true, Cell: instant(func(x people.SignIn) time.Time { return x.ExpiresAt })},
		},
		Actions: func(x people.SignIn) ui.Node {
			if x.ID == in.ID {
				return nil
			}
			return ui.PostButton(ui.Quiet, "", "End", "/account/sign-ins/"+url.PathEscape(x.ID)+"/end", nil)
		},
		Total: ui.Count(int64(len(list)), "sign-in", "sign-ins")}
	page := ui.Page{Title: "Your account", Tabs: tabs("sign-ins"), Lead: "Browsers and command lines in which you are signed in. End those that you do not know, and change your password."}
	if len(list) > 1 {
		page.Actions = ui.DialogButton(ui.Plain, "exit", "End all others", "/account/sign-ins/others/end")
	}
	return r.Page(page, t)
}

func (a account) end(r *ui.Request) error {
	in, _ := a.in(r)
	if err := a.p.End(r.Context(), r.Identity.Actor, in.Person.ID, r.Value("id")); err != nil {
		return err
	}
	return r.Done("That sign-in is ended.", "/account/sign-ins")
}

func (a account) askEndOthers(r *ui.Request) error {
	return r.Dialog(ui.Confirm{ID: "others", Title: "End all other sign-ins?", Action: "/account/sign-ins/others/end", Verb: "End them", Kind: ui.Danger,
		Consequences: []string{"Every other browser is signed out.", "Every command line has to run `holdfast login` again."}})
}

func (a account) endOthers(r *ui.Request) error {
	in, _ := a.in(r)
	if err := a.p.EndAll(r.Context(), r.Identity.Actor, in.Person.ID, in.ID, ""); err != nil {
		return err
	}
	return r.Done("All other sign-ins are ended.", "/account/sign-ins")
}

func passkeyPath(id, verb string) string {
	return "/account/passkeys/" + url.PathEscape(id) + "/" + verb
}
