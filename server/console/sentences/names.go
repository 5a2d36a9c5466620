package sentences

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

const (
	maxAsked  = 200 // people that one page asks about
	maxListed = 500 // people and clients that the filter offers
)

// Names finds how people and API clients are called, for one request: the log has
// only their ids. Nothing is kept longer, so that an erased name is gone at once.
type Names struct {
	ctx     context.Context
	api     *adminapi.Client
	people  map[string]named
	clients map[string]named
	asked   int
	may     bool // names of people may be seen
	mayAPI  bool // names of clients may be seen
	loaded  bool

	Err error // the first that asking met
}

type named struct{ text, hint string }

// For finds names for what one request shows.
func For(r *ui.Request) *Names {
	return &Names{ctx: r.Context(), api: r.API, people: map[string]named{}, clients: map[string]named{},
		may: r.Can(access.PersonRead) && r.Can(access.PersonalRead), mayAPI: r.Can(access.ClientRead)}
}

// person is a name and what to say about it.
func (n *Names) person(id string) (text, hint string) {
	if p, ok := n.people[id]; ok {
		return p.text, p.hint
	}
	p := named{"person " + shortID(id), "The log knows people by an id alone. Names are shown to who may see personal data."}
	if n.may && n.asked < maxAsked {
		n.asked++
		d, err := n.api.Person(n.ctx, access.PersonID(id))
		t := ui.TroubleOf(err)
		switch {
		case err == nil:
			p = personNamed(d.Person)
		case t.Status == 404:
			p.hint = "There is no account with this id."
		case n.Err == nil:
			n.Err = err
			p.hint = "The name could not be found right now."
		}
	}
	n.people[id] = p
	return p.text, p.hint
}

func personNamed(p access.Person) named {
	switch {
	case p.State == access.PersonErased:
		return named{"erased account", "The account was erased; its id " + string(p.ID) + " stays in the log."}
	case p.Shown() == "" || p.Shown() == string(p.ID):
		return named{"person " + shortID(string(p.ID)), "The log knows people by an id alone."}
	}
	hint := string(p.ID)
	if p.Name != p.Shown() {
		hint = p.Name + ", " + hint
	}
	return named{p.Shown(), hint}
}

func shortID(id string) string {
	if len(id) > 6 {
		return id[:6] + "…"
	}
	return id
}

// adminToken is what the log calls the token in the server's data folder, which is no
// client with a page.
const adminToken = "admin"

// client is the name of an API client. Older entries hold a name where newer ones
// hold an id.
func (n *Names) client(id string) (text, hint string) {
	if id == adminToken {
		return id, "The admin token of the server's data folder: for programs on that machine."
	}
	n.loadClients()
	if c, ok := n.clients[id]; ok {
		return c.text, c.hint
	}
	return id, "API client " + id
}

func (n *Names) loadClients() {
	if n.loaded || !n.mayAPI {
		return
	}
	n.loaded = true
	list, err := n.api.APIClients(n.ctx)
	if err != nil && n.Err == nil {
		n.Err = err
	}
	for _, c := range list {
		n.clients[c.ID] = named{c.Name, "API client " + c.ID}
	}
}

// Choices are the people and clients that the filter offers, by name.
func (n *Names) Choices() (list []ui.Option) {
	if n.may {
		l, err := n.api.People(n.ctx, adminapi.PeopleFilter{Limit: maxListed})
		if err != nil && n.Err == nil {
			n.Err = err
		}
		for _, p := range l.Items {
			text := personNamed(p)
			n.people[string(p.ID)] = text
			list = append(list, ui.Option{Value: "person:" + string(p.ID), Label: text.text})
		}
	}
	if n.loadClients(); n.mayAPI {
		for id, c := range n.clients {
			list = append(list, ui.Option{Value: "client:" + id, Label: "API client " + c.text})
		}
	}
	slices.SortFunc(list, func(a, b ui.Option) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Label), strings.ToLower(b.Label)), cmp.Compare(a.Value, b.Value))
	})
	return list[:min(len(list), maxListed)]
}

// Label says of a filter whom it selects.
func (n *Names) Label(actor string) string {
	kind, id, ok := strings.Cut(actor, ":")
	if !ok {
		return actor
	}
	switch p := n.Party(kind, id); kind {
	case "system":
		return "Holdfast: " + id
	case "device", "app":
		return kind + " " + p.text
	default:
		return p.text
	}
}
