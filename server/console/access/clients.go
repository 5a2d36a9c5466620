package access

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

func mountClients(s *ui.Section) {
	s.Page("GET /access/clients", clients, access.ClientRead)
	s.Page("GET /access/clients/new", newClient, access.ClientWrite)
	s.Page("POST /access/clients", createClient, access.ClientWrite)
	s.Page("GET /access/clients/{id}", client, access.ClientRead)
	s.Page("GET /access/clients/{id}/edit", editClient, access.ClientWrite)
	s.Page("POST /access/clients/{id}/edit", updateClient, access.ClientWrite)
	s.Page("GET /access/clients/{id}/role", clientRole, access.RoleWrite)
	s.Page("POST /access/clients/{id}/grant", give(access.ToClient), access.RoleWrite)
	s.Page("GET /access/clients/{id}/grants/{grant}", askTakeBack(access.ToClient), access.RoleWrite)
	s.Page("POST /access/clients/{id}/grants/{grant}", takeBack(access.ToClient), access.RoleWrite)
	s.Page("GET /access/clients/{id}/credential", credential, access.ClientWrite)
	s.Page("POST /access/clients/{id}/keys", createKey, access.ClientWrite)
	s.Page("GET /access/clients/{id}/keys/{key}/revoke", askRevokeKey, access.ClientWrite)
	s.Page("POST /access/clients/{id}/keys/{key}/revoke", revokeKey, access.ClientWrite)
	s.Page("GET /access/clients/{id}/keys/{key}/rotate", askRotateKey, access.ClientWrite)
	s.Page("POST /access/clients/{id}/keys/{key}/rotate", rotateKey, access.ClientWrite)
	s.Page("GET /access/clients/{id}/secret", askSecret, access.ClientWrite)
	s.Page("POST /access/clients/{id}/secret", newSecret, access.ClientWrite)
	s.Page("GET /access/clients/{id}/secret/remove", askRemoveSecret, access.ClientWrite)
	s.Page("POST /access/clients/{id}/secret/remove", removeSecret, access.ClientWrite)
	s.Page("POST /access/clients/{id}/jwks", setKeys, access.ClientWrite)
	s.Page("GET /access/clients/{id}/turn/{verb}", askTurn, access.ClientWrite)
	s.Page("POST /access/clients/{id}/turn/{verb}", turn, access.ClientWrite)
}

var clientCrumbs = []ui.Link{{Text: "API clients", Href: "/access/clients"}}

// crumbsOf lead to a client.
func crumbsOf(c access.APIClient) []ui.Link {
	return append(clientCrumbs[:1:1], ui.Link{Text: c.Name, Href: at("clients", c.ID)})
}

func clients(r *ui.Request) error {
	s := r.Table(ui.TableSpec{Filters: []string{"q", "state"}, Sorts: []string{"name", "used"}, Columns: []string{"name", "owner", "roles", "proof", "networks", "used", "description"}})
	all, err := r.API.APIClients(r.Context())
	held := map[string][]string{}
	if r.Can(access.RoleRead) && err == nil {
		grants, gerr := r.API.Grants(r.Context(), access.ToClient, "")
		err = gerr
		for _, g := range grants {
			if g.Live(r.Now) {
				held[g.Subject] = append(held[g.Subject], g.Role)
			}
		}
	}
	var found []access.APIClient
	for _, c := range all {
		if ui.Matches(s.Filter("q"), c.Name, c.Owner, c.Description, c.ID) && (s.Filter("state") == "" || c.Disabled == (s.Filter("state") == "disabled")) {
			found = append(found, c)
		}
	}
	rows, next := ui.SortPage(s, found, map[string]func(a, b access.APIClient) int{
		"name": func(a, b access.APIClient) int { return strings.Compare(a.Name, b.Name) },
		"used": func(a, b access.APIClient) int { return strings.Compare(a.UsedDay, b.UsedDay) },
	})
	t := ui.Table[access.APIClient]{ID: "clients", Label: "API clients", State: s, Rows: rows, Next: next, Err: err, Total: ui.Count(int64(len(found)), "API client", "API clients"),
		Filters: []ui.Filter{{Name: "q", Label: "Search", Placeholder: "Search by name or owner", Search: true},
			{Name: "state", Label: "State", Options: []ui.Option{{Value: "", Label: "All"}, {Value: "enabled", Label: "Enabled"}, {Value: "disabled", Label: "Disabled"}}}},
		Columns: []ui.Column[access.APIClient]{
			{Key: "name", Label: "Name", Sort: true, Cell: func(c access.APIClient) ui.Node { return clientName(c) }},
			{Key: "owner", Label: "Answerable", Hint: "The person or team to ask about it.", Cell: func(c access.APIClient) ui.Node { return ui.Text(c.Owner) }},
			{Key: "roles", Label: "Roles", Wide: true, Cell: func(c access.APIClient) ui.Node { return roleTags(held[c.ID]) }},
			{Key: "proof", Label: "OAuth", Hint: "How it can get access tokens. Keys of its own are on its page.", Cell: func(c access.APIClient) ui.Node { return ui.Text(proofs(c)) }},
			{Key: "networks", Label: "May call from", Cell: func(c access.APIClient) ui.Node { return ui.Text(networksText(c)) }},
			{Key: "used", Label: "Last used", Sort: true, Cell: func(c access.APIClient) ui.Node { return day(c.UsedDay) }},
			{Key: "description", Label: "Description", Hidden: true, Cell: func(c access.APIClient) ui.Node { return ui.Text(c.Description) }},
		},
		Href: func(c access.APIClient) string { return at("clients", c.ID) },
		Empty: ui.EmptyProps{Icon: "plug", Title: "No API clients yet", Text: "An API client is a program that uses Holdfast: an export, a dashboard, a pipeline. It has a role like a person, and a key or an OAuth secret of its own.",
			Action: ui.If(r.Can(access.ClientWrite), ui.LinkButton(ui.Primary, "plus", "Create an API client", "/access/clients/new"))}}
	if !r.Can(access.RoleRead) {
		t.Columns = append(t.Columns[:2:2], t.Columns[3:]...)
	}
	p := page(r, "/access/clients")
	p.Actions = ui.If(r.Can(access.ClientWrite), ui.LinkButton(ui.Primary, "plus", "Create an API client", "/access/clients/new"))
	return r.Page(p, t)
}

func proofs(c access.APIClient) string {
	switch {
	case c.HasSecret && c.JWKS != "":
		return "secret, public keys"
	case c.HasSecret:
		return "secret"
	case c.JWKS != "":
		return "public keys"
	}
	return "–"
}

func networksText(c access.APIClient) string {
	if len(c.Networks) == 0 {
		return "anywhere"
	}
	list := make([]string, len(c.Networks))
	for i, n := range c.Networks {
		list[i] = n.String()
	}
	return strings.Join(list, ", ")
}

func rateText(c access.APIClient) string {
	if c.Rate == 0 {
		return "as the server's configuration says"
	}
	return ui.Number(int64(c.Rate)) + " requests a minute"
}

// clientInput reads the form of a client. keys are its public keys, which another
// form holds.
func clientInput(r *ui.Request, keys string) (in adminapi.ClientInput, err error) {
	in = adminapi.ClientInput{Description: r.Form("description"), Owner: r.Form("owner"), JWKS: keys}
	for _, line := range strings.FieldsFunc(r.Form("networks"), func(c rune) bool { return c == ',' || c == ' ' || c == '\n' || c == '\r' }) {
		n, err := netip.ParsePrefix(line)
		if err != nil {
			if a, aerr := netip.ParseAddr(line); aerr == nil {
				n, err = a.Prefix(a.BitLen())
			}
		}
		if err != nil {
			return in, badField("networks", "a network cannot be read", "write each as 192.0.2.0/24 or 2001:db8::/48, one a line")
		}
		in.Networks = append(in.Networks, n.Masked())
	}
	if text := r.Form("rate"); text != "" {
		if in.Rate, err = strconv.Atoi(text); err != nil {
			return in, badField("rate", "the rate cannot be read", "write a number, or nothing for the server's own")
		}
	}
	return in, nil
}

func newClient(r *ui.Request) error {
	return r.Page(ui.Page{Title: "Create an API client", Crumbs: clientCrumbs, Narrow: true, Lead: "Step 1 of 3: what it is. Then it gets a role, and then a key or secret."}, clientForm(access.APIClient{}))
}

func createClient(r *ui.Request) error {
	in, err := clientInput(r, "")
	if err != nil {
		return err
	}
	c, err := r.API.Because(r.Form("reason")).CreateAPIClient(r.Context(), r.Form("name"), in)
	if err != nil {
		return err
	}
	to := at("clients", c.ID, "credential")
	if r.Can(access.RoleWrite) {
		to = at("clients", c.ID, "role")
	}
	return r.Done("The API client "+c.Name+" is created.", to)
}

func clientRole(r *ui.Request) error {
	c, err := r.API.APIClient(r.Context(), r.Value("id"))
	if err != nil {
		return err
	}
	g, err := newGiving(r, at("clients", c.ID, "grant"))
	if err != nil {
		return err
	}
	p := ui.Page{Title: "Give " + c.Name + " a role", Crumbs: crumbsOf(c.APIClient), Narrow: true}
	next := ""
	if !signsIn(c, r) {
		p.Lead, next = "Step 2 of 3: what it may do. Choose the least that its work needs.", "credential"
	}
	return r.Page(p, clientRoleView(g, next, at("clients", c.ID, "credential")))
}

// signsIn tells whether a client has anything to prove itself with.
func signsIn(c adminapi.ClientDetails, r *ui.Request) bool {
	for _, k := range c.Keys {
		if liveKey(k, r.Now) {
			return true
		}
	}
	return c.HasSecret || c.JWKS != ""
}

// clientPage is what the page of a client shows.
type clientPage struct {
	r      *ui.Request
	c      adminapi.ClientDetails
	grants []access.Grant
	who    *who
	write  bool
	guide  guide
}

func client(r *ui.Request) error {
	c, err := r.API.APIClient(r.Context(), r.Value("id"))
	if err != nil {
		return err
	}
	v := clientPage{r: r, c: c, who: newWho(r), write: r.Can(access.ClientWrite), guide: newGuide(r, c.ID)}
	if r.Can(access.RoleRead) {
		if v.grants, err = r.API.Grants(r.Context(), access.ToClient, c.ID); err != nil {
			return err
		}
	}
	frame := ui.Page{Title: c.Name, Crumbs: clientCrumbs, Lead: c.Description, Badge: enabledBadge(c.APIClient)}
	if v.write {
		verb, icon := "disable", "pause"
		if c.Disabled {
			verb, icon = "enable", "play"
		}
		frame.Actions = ui.Nodes(ui.LinkButton(ui.Plain, "edit", "Edit", at("clients", c.ID, "edit")), ui.DialogButton(ui.Plain, icon, turns[verb].verb, at("clients", c.ID, "turn", verb)))
	}
	return r.Page(frame, clientView(v))
}

func enabledBadge(c access.APIClient) ui.Node {
	if c.Disabled {
		return ui.Badge(ui.Bad, "disabled")
	}
	return ui.Badge(ui.Good, "enabled")
}

func editClient(r *ui.Request) error {
	c, err := r.API.APIClient(r.Context(), r.Value("id"))
	if err != nil {
		return err
	}
	return r.Page(ui.Page{Title: "Edit " + c.Name, Crumbs: crumbsOf(c.APIClient), Narrow: true}, clientForm(c.APIClient))
}

func updateClient(r *ui.Request) error {
	c, err := r.API.APIClient(r.Context(), r.Value("id"))
	if err != nil {
		return err
	}
	in, err := clientInput(r, c.JWKS)
	if err != nil {
		return err
	}
	version, err := strconv.ParseInt(r.Form("version"), 10, 64)
	if err != nil {
		return badField("version", "the form is not whole", "open it again")
	}
	if _, err := r.API.UpdateAPIClient(r.Context(), c.ID, version, in); err != nil {
		return err
	}
	return r.Done("The changes to "+c.Name+" hold from now on.", at("clients", c.ID))
}

// turns are what switches a client off and on.
var turns = map[string]struct {
	title, verb, done string
	kind              ui.Kind
	consequences      []string
	undo              string
}{
	"disable": {"Disable %s?", "Disable", " is disabled.", ui.Danger, []string{"All its keys, its secret and its access tokens are refused at once, on every server.", "Programs that use it fail until it is enabled again."}, "You can enable it again; keys that have not expired count again then."},
	"enable":  {"Enable %s?", "Enable", " is enabled.", ui.Primary, []string{"Its keys and its secret count again."}, "You can disable it again."},
}

func askTurn(r *ui.Request) error {
	t, ok := turns[r.Value("verb")]
	if !ok {
		return ui.NotFound()
	}
	c, err := r.API.APIClient(r.Context(), r.Value("id"))
	if err != nil {
		return err
	}
	return r.Dialog(ui.Confirm{ID: "client-turn", Title: strings.Replace(t.title, "%s", c.Name, 1), Action: at("clients", c.ID, "turn", r.Value("verb")), Verb: t.verb, Kind: t.kind, Reason: true, Consequences: t.consequences, Undo: t.undo})
}

func turn(r *ui.Request) error {
	t, ok := turns[r.Value("verb")]
	if !ok {
		return ui.NotFound()
	}
	c, err := r.API.SetAPIClientDisabled(r.Context(), r.Value("id"), r.Value("verb") == "disable", r.Form("reason"))
	if err != nil {
		return err
	}
	return r.Done(c.Name+t.done, at("clients", c.ID))
}
