package access

import (
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

func mountSignIns(s *ui.Section) {
	s.Page("GET /access/sign-ins", signIns, access.PersonRead)
}

// signIns are all people that are signed in now.
func signIns(r *ui.Request) error {
	s := r.Table(ui.TableSpec{Columns: []string{"who", "where", "address", "how", "began", "seen", "ends"}})
	list, err := r.API.SignIns(r.Context(), s.After, s.Limit)
	own := r.Identity.Actor.ID
	t := ui.Table[adminapi.PersonSignIn]{ID: "sign-ins", Label: "Signed in now", State: s, Rows: list.Items, Next: list.Next, Err: err,
		Columns: []ui.Column[adminapi.PersonSignIn]{
			{Key: "who", Label: "Who", Cell: func(x adminapi.PersonSignIn) ui.Node { return ui.Text(signedInAs(x)) }},
			{Key: "where", Label: "Where", Wide: true, Cell: func(x adminapi.PersonSignIn) ui.Node { return signInCell(x) }},
			{Key: "address", Label: "Address", Cell: func(x adminapi.PersonSignIn) ui.Node { return ui.Text(x.Source) }},
			{Key: "how", Label: "Proven with", Cell: func(x adminapi.PersonSignIn) ui.Node { return ui.Text(strings.Join(x.Methods, ", ")) }},
			{Key: "began", Label: "Began", Cell: func(x adminapi.PersonSignIn) ui.Node { return ui.Time(x.CreatedAt) }},
			{Key: "seen", Label: "Last used", Cell: func(x adminapi.PersonSignIn) ui.Node { return ui.Time(x.SeenAt) }},
			{Key: "ends", Label: "Ends", Hidden: true, Cell: func(x adminapi.PersonSignIn) ui.Node { return ui.Time(x.ExpiresAt) }},
		},
		Href: func(x adminapi.PersonSignIn) string { return at("people", string(x.Person)) },
		RowTone: func(x adminapi.PersonSignIn) ui.Tone {
			if x.NewPlace {
				return ui.Warn
			}
			return ui.Neutral
		},
		Empty: ui.EmptyProps{Icon: "people", Title: "Nobody is signed in"}}
	if r.Can(access.PersonWrite) {
		t.Actions = func(x adminapi.PersonSignIn) ui.Node {
			return ui.If(!x.Own && string(x.Person) != own, signInActions(x))
		}
	}
	p := page(r, "/access/sign-ins")
	p.Lead = "Browsers and command lines in which somebody is signed in, newest first."
	return r.Page(p, t)
}

func signedInAs(x adminapi.PersonSignIn) string {
	if x.Name != "" {
		return x.Name
	}
	return string(x.Person)
}
