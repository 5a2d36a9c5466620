// Package zones shows the zones of the fleet and what may talk to what under the
// active policy.
//
// It promises that the map and the lists beside it say the same, so that nobody
// needs the picture. It trusts the API for what is on it.
package zones

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/policy/reach"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Mount adds the pages.
func Mount(m *ui.Mux) {
	s := m.In("zones")
	s.Page("GET /zones", overview, access.ZoneRead)
	s.Page("GET /zones/new", newZone, access.ZoneWrite)
	s.Page("POST /zones/new", create, access.ZoneWrite)
	s.Page("GET /zones/{name}", show, access.ZoneRead)
	s.Page("GET /zones/{name}/edit", edit, access.ZoneWrite)
	s.Page("POST /zones/{name}/edit", update, access.ZoneWrite)
}

// nodeWords is what may reach one node of the map, and what it may reach.
type nodeWords struct {
	id, anchor, name, note, href string
	into, out                    []flowWords
}

type flowWords struct {
	text string
	open bool // commands without an interlock
}

// inWords says what the map shows, node by node, zones first.
func inWords(g *reach.Graph) (list []nodeWords) {
	for i, n := range g.Nodes {
		if !coarse(n) {
			continue
		}
		w := nodeWords{id: n.ID, anchor: "words-" + strconv.Itoa(i), name: nodeName(n.ID), note: noteOf(n)}
		if n.Kind == reach.ZoneNode {
			w.href = zonePath(n.Name)
		}
		for _, f := range g.Flows {
			open := f.Command && !f.Guarded
			what, how := carried(f)
			switch {
			case f.From == n.ID && f.To == n.ID:
				w.into = append(w.into, flowWords{within(n) + " " + what + how, open})
			case f.To == n.ID:
				w.into = append(w.into, flowWords{nodeName(f.From) + " may send it " + what + how, open})
			case f.From == n.ID:
				w.out = append(w.out, flowWords{upper(what) + " to " + nodeName(f.To) + how, open})
			}
		}
		list = append(list, w)
	}
	return list
}

// carried is what a flow may carry, and what bounds it, in words.
func carried(f reach.Flow) (what, how string) {
	what = "data"
	if f.Command {
		what = "commands"
	}
	if f.Command && f.Guarded {
		how += ", within the limits of interlocks"
	}
	if f.OnlyItself {
		how += ", each only to itself"
	}
	if f.Conditional {
		how += ", on a condition"
	}
	return what, how
}

// within begins the sentence about who talks inside one node.
func within(n reach.Node) string {
	if n.Kind == reach.ZoneNode {
		return "Its own devices may send each other"
	}
	return "It may send itself"
}

// noteOf is what a node is.
func noteOf(n reach.Node) string {
	switch n.Kind {
	case reach.ZoneNode:
		s := ui.Count(int64(n.Count), "device", "devices") + ", security level " + strconv.Itoa(n.SecurityLevel)
		if n.Production {
			s += ", in production"
		}
		return s
	case reach.AppNode:
		return "an app"
	}
	return "programs with a certificate or token that no App document names"
}

func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// drawing is what the map's script draws.
type drawing struct {
	Nodes []spot `json:"nodes"`
	Links []link `json:"links"`
}

type spot struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"` // zone, app or outside
	Name  string `json:"name"`
	Note  string `json:"note"`
	Alert bool   `json:"alert"`
}

type link struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Rules   int    `json:"rules"`
	Command bool   `json:"command"`
	Open    bool   `json:"open"` // commands without an interlock
}

func zonePath(name string) string { return "/zones/" + url.PathEscape(name) }

// coarse tells whether a node is drawn: zones, apps, and what is outside.
func coarse(n reach.Node) bool {
	return n.Parent == "" && !strings.Contains(n.Kind, "device") && n.Kind != "gateway"
}

func draw(g *reach.Graph) drawing {
	d := drawing{Nodes: []spot{}, Links: []link{}}
	alarmed := map[string]bool{}
	for _, o := range g.Observations {
		for _, id := range o.Nodes {
			alarmed[id] = true
		}
	}
	for _, n := range g.Nodes {
		if !coarse(n) {
			continue
		}
		s := spot{ID: n.ID, Kind: n.Kind, Name: n.Name, Alert: alarmed[n.ID]}
		if n.Kind == "zone" {
			s.Note = ui.Count(int64(n.Count), "device", "devices")
		}
		d.Nodes = append(d.Nodes, s)
	}
	for _, f := range g.Flows {
		d.Links = append(d.Links, link{f.From, f.To, f.SendRules, f.Command, f.Command && !f.Guarded})
	}
	slices.SortFunc(d.Nodes, func(a, b spot) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return d
}

func overview(r *ui.Request) error {
	zones, err := r.API.Zones(r.Context())
	if err != nil {
		return err
	}
	p := ui.Page{Title: "Zones", Lead: "Parts of the fleet with common security requirements, and what may talk to what under the active policy.",
		Actions: ui.If(r.Can(access.ZoneWrite), ui.LinkButton(ui.Primary, "plus", "New zone", "/zones/new"))}
	if len(zones) == 0 {
		return r.Page(p, ui.Empty(ui.EmptyProps{Icon: "zone", Title: "No zones yet", Text: "Every device stands in a zone: a plant, a floor, a line. Begin with one.",
			Action: ui.If(r.Can(access.ZoneWrite), ui.LinkButton(ui.Primary, "plus", "New zone", "/zones/new"))}))
	}
	m, err := r.API.ZoneMap(r.Context())
	if err != nil {
		return err
	}
	return r.Page(p, overviewView(zones, m, draw(&m.Graph)))
}

// flowRow is one line of the list beside the map.
type flowRow struct {
	reach.Flow
	FromName, ToName string
}

func rows(g *reach.Graph) []flowRow {
	list := make([]flowRow, 0, len(g.Flows))
	for _, f := range g.Flows {
		list = append(list, flowRow{f, nodeName(f.From), nodeName(f.To)})
	}
	slices.SortFunc(list, func(a, b flowRow) int {
		return cmp.Or(cmp.Compare(a.FromName, b.FromName), cmp.Compare(a.ToName, b.ToName))
	})
	return list
}

// nodeName is a node's id in words.
func nodeName(id string) string {
	kind, name, ok := strings.Cut(id, ":")
	if !ok {
		return id
	}
	if kind == "zone" {
		return name
	}
	return kind + " " + name
}

func show(r *ui.Request) error {
	name := r.Value("name")
	zones, err := r.API.Zones(r.Context())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(zones, func(z device.Zone) bool { return string(z.Name) == name })
	if i < 0 {
		return ui.NotFound()
	}
	m, err := r.API.ZoneMap(r.Context())
	if err != nil {
		return err
	}
	into, out := m.Graph.Into(name), m.Graph.OutOf(name)
	p := ui.Page{Title: name, Crumbs: []ui.Link{{Text: "Zones", Href: "/zones"}}, Lead: zones[i].Description,
		Actions: ui.Nodes(ui.LinkButton(ui.Plain, "device", "Its devices", "/devices?zone="+url.QueryEscape(name)), ui.If(r.Can(access.ZoneWrite), ui.LinkButton(ui.Plain, "edit", "Change", zonePath(name)+"/edit")))}
	if zones[i].Production {
		p.Badge = ui.Badge(ui.Info, "production")
	}
	return r.Page(p, zoneView(zones[i], &m.Graph, into, out))
}

// types are the kinds of devices that stand in a zone.
func types(g *reach.Graph, zone string) []reach.Node {
	var list []reach.Node
	for _, n := range g.Nodes {
		if n.Zone == zone && n.Kind != "zone" {
			list = append(list, n)
		}
	}
	return list
}

func input(r *ui.Request) (adminapi.ZoneInput, error) {
	level, err := strconv.Atoi("0" + r.Form("security_level"))
	if err != nil || level > 4 {
		return adminapi.ZoneInput{}, refusal.New(refusal.Invalid, "bad-security-level", "write a number from 0 to 4", "the security level is not 0 to 4")
	}
	return adminapi.ZoneInput{Description: r.Form("description"), Production: r.Form("production") == "yes", SecurityLevel: level}, nil
}

func newZone(r *ui.Request) error {
	return r.Page(ui.Page{Title: "New zone", Crumbs: []ui.Link{{Text: "Zones", Href: "/zones"}}, Narrow: true}, formView("/zones/new", "Create zone", device.Zone{}, true))
}

func create(r *ui.Request) error {
	in, err := input(r)
	if err != nil {
		return err
	}
	z, err := r.API.CreateZone(r.Context(), device.ZoneName(r.Form("name")), in)
	if err != nil {
		return err
	}
	return r.Done(fmt.Sprintf("The zone %s is there.", z.Name), zonePath(string(z.Name)))
}

func edit(r *ui.Request) error {
	z, err := r.API.Zone(r.Context(), device.ZoneName(r.Value("name")))
	if err != nil {
		return err
	}
	return r.Page(ui.Page{Title: "Change " + string(z.Name), Crumbs: []ui.Link{{Text: "Zones", Href: "/zones"}, {Text: string(z.Name), Href: zonePath(string(z.Name))}}, Narrow: true},
		formView(zonePath(string(z.Name))+"/edit", "Save", z, false))
}

func update(r *ui.Request) error {
	version, err := strconv.ParseInt(r.Form("version"), 10, 64)
	if err != nil {
		return ui.NotFound()
	}
	in, err := input(r)
	if err != nil {
		return err
	}
	z, err := r.API.UpdateZone(r.Context(), device.ZoneName(r.Value("name")), version, in)
	if err != nil {
		return err
	}
	return r.Done("Saved.", zonePath(string(z.Name)))
}
