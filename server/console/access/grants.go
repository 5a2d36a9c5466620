package access

import (
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// giving is what is needed to give a role to somebody.
type giving struct {
	action       string // the form is posted there
	roles        []access.Role
	zones, types []ui.Option
	chosen       string
}

func newGiving(r *ui.Request, action string) (g giving, err error) {
	g.action = action
	if g.roles, err = r.API.Roles(r.Context()); err != nil {
		return g, err
	}
	if r.Can(access.ZoneRead) {
		zones, err := r.API.Zones(r.Context())
		if err != nil {
			return g, err
		}
		for _, z := range zones {
			g.zones = append(g.zones, ui.Option{Value: string(z.Name), Label: string(z.Name)})
		}
	}
	if r.Can(access.TypeRead) {
		types, err := r.API.Types(r.Context())
		if err != nil {
			return g, err
		}
		for _, t := range types {
			g.types = append(g.types, ui.Option{Value: string(t.Name), Label: string(t.Name)})
		}
	}
	g.chosen = "viewer"
	return g, nil
}

func (g giving) options() []ui.Option {
	list := make([]ui.Option, len(g.roles))
	for i, r := range g.roles {
		list[i] = ui.Option{Value: r.Name, Label: r.Name}
	}
	return list
}

// grantOf reads what the form of giving asks for.
func grantOf(r *ui.Request, kind access.SubjectKind, subject string) (in adminapi.GrantInput, err error) {
	in = adminapi.GrantInput{Kind: kind, Subject: subject, Role: r.Form("role"), Reason: r.Form("reason")}
	for _, z := range r.FormAll("zone") {
		in.Scope.Zones = append(in.Scope.Zones, device.ZoneName(z))
	}
	for _, t := range r.FormAll("type") {
		in.Scope.Types = append(in.Scope.Types, device.TypeName(t))
	}
	for _, pair := range strings.FieldsFunc(r.Form("labels"), func(c rune) bool { return c == ',' || c == ' ' || c == '\n' }) {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" || value == "" {
			return in, badField("labels", "the labels cannot be read", "write them as site=north, with commas between them")
		}
		if in.Scope.Labels == nil {
			in.Scope.Labels = map[string][]string{}
		}
		in.Scope.Labels[name] = append(in.Scope.Labels[name], value)
	}
	if life := r.Form("life"); life != "" {
		d, err := time.ParseDuration(life)
		if err != nil || d <= 0 {
			return in, badField("life", "the time cannot be read", "choose one of the list")
		}
		in.ExpiresAt = r.Now.Add(d)
	}
	return in, nil
}

// subjectPath is the page of who a grant is for.
func subjectPath(kind access.SubjectKind, id string) string {
	if kind == access.ToClient {
		return at("clients", id)
	}
	return at("people", id)
}

// grant finds a grant of a subject.
func grantNamed(r *ui.Request, kind access.SubjectKind) (access.Grant, error) {
	list, err := r.API.Grants(r.Context(), kind, r.Value("id"))
	if err != nil {
		return access.Grant{}, err
	}
	for _, g := range list {
		if g.ID == r.Value("grant") {
			return g, nil
		}
	}
	return access.Grant{}, ui.NotFound()
}

// give is a handler that gives a role, and then leads to the page that next names,
// or to that of the subject.
func give(kind access.SubjectKind) ui.Handler {
	return func(r *ui.Request) error {
		in, err := grantOf(r, kind, r.Value("id"))
		if err != nil {
			return err
		}
		if _, err := r.API.Grant(r.Context(), in); err != nil {
			return err
		}
		to := subjectPath(kind, in.Subject)
		if r.Form("next") == "credential" {
			to = at("clients", in.Subject, "credential")
		}
		return r.Done("The role "+in.Role+" was given.", to)
	}
}

// askTakeBack is the dialog before a role is taken back.
func askTakeBack(kind access.SubjectKind) ui.Handler {
	return func(r *ui.Request) error {
		g, err := grantNamed(r, kind)
		if err != nil {
			return err
		}
		name := newWho(r).called(string(kind) + ":" + g.Subject)
		return r.Dialog(ui.Confirm{ID: "take-back", Title: "Take the role " + g.Role + " back from " + name + "?", Action: subjectPath(kind, g.Subject) + "/grants/" + url.PathEscape(g.ID),
			Verb: "Take back", Kind: ui.Danger, Reason: true, Consequences: []string{"It stops counting at once, for sign-ins and keys under way too.", "The role holds for " + g.Scope.String() + "."},
			Undo: "You can give it again at any time."})
	}
}

func takeBack(kind access.SubjectKind) ui.Handler {
	return func(r *ui.Request) error {
		g, err := grantNamed(r, kind)
		if err != nil {
			return err
		}
		if err := r.API.RevokeGrant(r.Context(), g.ID, r.Form("reason")); err != nil {
			return err
		}
		return r.Done("The role "+g.Role+" was taken back.", subjectPath(kind, g.Subject))
	}
}
