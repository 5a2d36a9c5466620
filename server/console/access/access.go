// Package access shows people, roles, API clients, sign-ins and requests for a
// second person, and changes them.
//
// It promises that a one-time link or secret is shown once, to who asked for it,
// and that a request is decided by somebody who saw what it would do. It trusts
// the API for who may do what.
package access

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Mount adds the pages.
func Mount(m *ui.Mux) {
	s := m.In("access")
	s.Page("GET /access", first)
	mountPeople(s)
	mountRoles(s)
	mountClients(s)
	mountApprovals(s)
	mountSignIns(s)
}

// tabs are the parts of this section, with who may see them. Everybody may see
// what they asked for themselves.
var tabs = []struct {
	text, href string
	needs      access.Permission
}{
	{"People", "/access/people", access.PersonRead},
	{"Roles", "/access/roles", access.RoleRead},
	{"API clients", "/access/clients", access.ClientRead},
	{"Approvals", "/access/approvals", access.Own},
	{"Signed in now", "/access/sign-ins", access.PersonRead},
}

// page is the frame of the lists.
func page(r *ui.Request, at string) ui.Page {
	p := ui.Page{Title: "Access"}
	for _, t := range tabs {
		if !r.Can(t.needs) {
			continue
		}
		tab := ui.Tab{Text: t.text, Href: t.href, Active: t.href == at}
		if n := r.Waiting(); n > 0 && t.href == "/access/approvals" {
			tab.Count = strconv.Itoa(n)
		}
		p.Tabs = append(p.Tabs, tab)
	}
	return p
}

func first(r *ui.Request) error { return r.Redirect(page(r, "").Tabs[0].Href) }

// at is a path of this section; each part is one step of it.
func at(parts ...string) string {
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return "/access/" + strings.Join(parts, "/")
}

// logged leads to the audit log of a thing or of who acts.
func logged(parameter, value string) string {
	return "/audit?" + url.Values{parameter: {value}}.Encode()
}

// badField is a mistake in a field of a form, before the API is asked.
func badField(field, detail, fix string) error {
	return &adminapi.Problem{Status: 422, Code: "bad-" + field, Detail: detail, Fix: fix, Errors: []adminapi.RowError{{Field: field, Error: fix}}}
}

// lives are how long something can be made to last.
var lives = []ui.Option{{Value: "24h", Label: "1 day"}, {Value: "168h", Label: "7 days"}, {Value: "720h", Label: "30 days"}, {Value: "2160h", Label: "90 days"}, {Value: "8760h", Label: "1 year"}}

// who finds what people and clients are called, for one page. Nothing is kept
// longer, so that an erased name is gone at once.
type who struct {
	r     *ui.Request
	known map[string]string
	asked int
}

// maxAsked bounds the names that one page asks for.
const maxAsked = 200

func newWho(r *ui.Request) *who { return &who{r: r, known: map[string]string{}} }

// called is the name of "person:ID" or "client:ID", or as much as may be known.
func (w *who) called(actor string) string {
	if name, ok := w.known[actor]; ok {
		return name
	}
	kind, id, _ := strings.Cut(actor, ":")
	name := kind + " " + id
	switch {
	case kind == string(access.Human) && id == w.r.Identity.Actor.ID:
		name = "you"
	case w.asked >= maxAsked:
	case kind == string(access.Human) && w.r.Can(access.PersonRead):
		w.asked++
		if p, err := w.r.API.Person(w.r.Context(), access.PersonID(id)); err == nil && p.Shown() != "" {
			name = p.Shown()
		}
	case kind == string(access.Client) && w.r.Can(access.ClientRead):
		w.asked++
		c, err := w.r.API.APIClient(w.r.Context(), id)
		if err == nil {
			name = c.Name
		} else if ui.TroubleOf(err).Status == 404 {
			name = "the " + id + " token" // of the data folder
		}
	}
	w.known[actor] = name
	return name
}

// link is the name, leading to its page where that may be seen.
func (w *who) link(actor string) ui.Node {
	kind, id, _ := strings.Cut(actor, ":")
	switch name := w.called(actor); {
	case actor == "":
		return ui.Text("–")
	case kind == string(access.Human) && w.r.Can(access.PersonRead):
		return textLink(name, at("people", id))
	case kind == string(access.Client) && w.r.Can(access.ClientRead) && name != "the "+id+" token":
		return textLink(name, at("clients", id))
	default:
		return ui.Text(name)
	}
}

// ends says until when something holds, and how urgent that is.
func ends(t, now time.Time) (text string, tone ui.Tone) {
	switch left := t.Sub(now); {
	case t.IsZero():
		return "until it is taken back", ui.Neutral
	case left <= 0:
		return "expired", ui.Bad
	case left < 14*24*time.Hour:
		return "ends " + ui.Ago(t, now), ui.Warn
	default:
		return "ends " + ui.Ago(t, now), ui.Neutral
	}
}
