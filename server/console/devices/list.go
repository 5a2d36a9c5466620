package devices

import (
	"cmp"
	"context"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

var listSpec = ui.TableSpec{Filters: []string{"q", "state", "type", "zone", "label", "owner", "serial"},
	Columns: []string{"id", "state", "session", "type", "zone", "owner", "labels", "serial", "manufacturer", "enrolled", "created", "updated", "notes"}}

// filterOf reads the filters of the list. What is searched for is the start of an
// id, or a label when it is written key=value.
func filterOf(s ui.TableState) (f device.Filter, err error) {
	f = device.Filter{Type: device.TypeName(s.Filter("type")), Zone: device.ZoneName(s.Filter("zone")), State: device.State(s.Filter("state")),
		Owner: s.Filter("owner"), Serial: s.Filter("serial"), Labels: map[string]string{}}
	for _, text := range strings.FieldsFunc(s.Filter("label"), func(c rune) bool { return c == ',' || c == ';' }) {
		k, v, pair := strings.Cut(strings.TrimSpace(text), "=")
		if !pair {
			return f, refusal.New(refusal.Invalid, "bad-label", "write it as key=value, such as site=plant", "the label %.64q has no value", text)
		}
		f.Labels[k] = v
	}
	if k, v, pair := strings.Cut(s.Filter("q"), "="); pair {
		f.Labels[strings.TrimSpace(k)] = strings.TrimSpace(v)
	} else {
		f.IDPrefix = s.Filter("q")
	}
	return f, f.Validate()
}

// exportHref is the address of an export of what the filters select.
func exportHref(s ui.TableState, format string) string {
	q := s.Clear().Values()
	for name, value := range s.Filters {
		q.Set(name, value)
	}
	for _, unneeded := range []string{"cols", "limit", "sort"} {
		q.Del(unneeded)
	}
	q.Set("format", format)
	return "/devices/export?" + q.Encode()
}

func list(r *ui.Request) error {
	s := r.Table(listSpec)
	f, err := filterOf(s)
	page := adminapi.DeviceList{}
	if err == nil {
		page, err = r.API.Devices(r.Context(), f, device.Page{After: device.ID(s.After), Limit: s.Limit})
	}
	connected := connections(r, f, page.Items)
	t := ui.Table[device.Device]{ID: "devices", Label: "Devices", State: s, Rows: page.Items, Next: string(page.Next), Err: err,
		Filters: listFilters(r), Columns: listColumns(connected),
		Href:  func(d device.Device) string { return at(d.ID) },
		RowID: func(d device.Device) string { return string(d.ID) },
		Bulk:  bulkActions(r), Actions: func(d device.Device) ui.Node { return rowMenu(r, d) },
		RowTone: func(d device.Device) ui.Tone {
			if d.State == device.Quarantined {
				return ui.Bad
			}
			return ui.Neutral
		},
		Exports: []ui.Export{{Label: "CSV, to edit and import again", Href: exportHref(s, "csv")}, {Label: "JSON", Href: exportHref(s, "json")}, {Label: "JSON lines", Href: exportHref(s, "ndjson")}},
		Empty:   noDevices(r)}
	p := ui.Page{Title: "Devices", Tabs: views(r, "/devices"), Actions: ui.Nodes(
		ui.If(r.Can(access.DeviceWrite), ui.LinkButton(ui.Plain, "upload", "Import", "/devices/import")),
		ui.If(r.Can(access.EnrolmentWrite), ui.LinkButton(ui.Primary, "plus", "Enrol a device", "/devices/enrol")))}
	return r.Page(p, listBody(r, fleetNow(r), t))
}

func noDevices(r *ui.Request) ui.EmptyProps {
	p := ui.EmptyProps{Icon: "device", Title: "No devices yet", Text: "Make an enrolment token and hand it to a device: it makes its own key, asks for a certificate and appears here. Or import the list that you have."}
	if rights, all := r.Identity.Rights.Scopes(access.DeviceRead, r.Now); !all && len(rights) > 0 {
		p.Title, p.Text = "No devices in your part of the fleet", "Your role shows you the devices of certain zones, types or labels. There are none of them yet."
	}
	p.Action = ui.Nodes(ui.If(r.Can(access.EnrolmentWrite), ui.LinkButton(ui.Primary, "plus", "Enrol a device", "/devices/enrol")),
		ui.If(r.Can(access.DeviceWrite), ui.LinkButton(ui.Plain, "upload", "Import a list", "/devices/import")))
	return p
}

func listFilters(r *ui.Request) []ui.Filter {
	states := []ui.Option{{Label: "Every state"}}
	for _, s := range device.States {
		states = append(states, ui.Option{Value: string(s), Label: string(s)})
	}
	return []ui.Filter{{Name: "q", Label: "Search", Placeholder: "Start of an id, or label=value", Search: true}, {Name: "state", Label: "State", Options: states},
		{Name: "type", Label: "Type", Options: typeOptions(r, "Every type")}, {Name: "zone", Label: "Zone", Options: zoneOptions(r, "Every zone")},
		{Name: "label", Label: "Labels", Placeholder: "site=plant"}, {Name: "owner", Label: "Owner", Placeholder: "Exactly"}, {Name: "serial", Label: "Serial number", Placeholder: "Exactly"}}
}

func listColumns(connected map[device.ID]link) []ui.Column[device.Device] {
	text := func(of func(device.Device) string) func(device.Device) ui.Node {
		return func(d device.Device) ui.Node { return plainCell(of(d)) }
	}
	return []ui.Column[device.Device]{
		{Key: "id", Label: "Device", Cell: func(d device.Device) ui.Node { return nameCell(d) }},
		{Key: "state", Label: "State", Cell: func(d device.Device) ui.Node { return stateCell(d) }},
		{Key: "session", Label: "Session", Hint: "Whether the device is connected right now, to any server.", Cell: func(d device.Device) ui.Node { return linkCell(connected[d.ID]) }},
		{Key: "type", Label: "Type", Cell: func(d device.Device) ui.Node { return filterLink("type", string(d.Type)) }},
		{Key: "zone", Label: "Zone", Cell: func(d device.Device) ui.Node { return filterLink("zone", string(d.Zone)) }},
		{Key: "owner", Label: "Owner", Cell: func(d device.Device) ui.Node { return filterLink("owner", d.Owner) }},
		{Key: "labels", Label: "Labels", Wide: true, Cell: func(d device.Device) ui.Node { return labelsCell(d.Labels) }},
		{Key: "serial", Label: "Serial number", Hidden: true, Cell: text(func(d device.Device) string { return d.Serial })},
		{Key: "manufacturer", Label: "Manufacturer", Hidden: true, Cell: text(func(d device.Device) string { return d.Manufacturer })},
		{Key: "enrolled", Label: "Enrolled", Hint: "When its newest certificate was issued.", Cell: func(d device.Device) ui.Node { return ui.Time(d.EnrolledAt) }},
		{Key: "created", Label: "Registered", Hidden: true, Cell: func(d device.Device) ui.Node { return ui.Time(d.CreatedAt) }},
		{Key: "updated", Label: "Changed", Hidden: true, Cell: func(d device.Device) ui.Node { return ui.Time(d.UpdatedAt) }},
		{Key: "notes", Label: "Notes", Hidden: true, Cell: text(func(d device.Device) string { return d.Notes })},
	}
}

func bulkActions(r *ui.Request) (list []ui.Bulk) {
	if r.Can(access.DeviceQuarantine) {
		list = append(list, ui.Bulk{Label: "Quarantine", Icon: "pause", Href: "/devices/quarantine"}, ui.Bulk{Label: "Release", Icon: "play", Href: "/devices/release"})
	}
	if r.Can(access.DeviceRevoke) {
		list = append(list, ui.Bulk{Label: "Revoke", Icon: "stop", Href: "/devices/revoke", Kind: ui.Danger})
	}
	return list
}

// rowMenu is what can be done to a device without opening it.
func rowMenu(r *ui.Request, d device.Device) ui.Node {
	var items []ui.Node
	for _, a := range offered(r, d) {
		items = append(items, ui.DialogButton(ui.Quiet, a.icon, a.label, at(d.ID, string(a.name))))
	}
	if r.CanOn(access.DeviceWrite, objectOf(d)) && d.State != device.Retired {
		items = append([]ui.Node{ui.LinkButton(ui.Quiet, "edit", "Edit", at(d.ID, "edit"))}, items...)
	}
	if len(items) == 0 {
		return templ.NopComponent
	}
	return menuOf("menu-"+string(d.ID), "Actions for "+string(d.ID), items)
}

// link is what is known of a device's connection.
type link struct {
	known, connected bool
	session          adminapi.Session
}

// maxLinks is how many sessions are looked through for one page of devices.
const maxLinks = 1000

// connections finds which of a page's devices are connected. Devices and sessions
// are both listed by name, so that one page of sessions covers one of devices where
// clients use their own id; the others are not known here.
func connections(r *ui.Request, f device.Filter, page []device.Device) map[device.ID]link {
	if len(page) == 0 || !r.Can(access.SessionRead) {
		return nil
	}
	first, last := string(page[0].ID), string(page[len(page)-1].ID)
	sessions, err := r.API.Sessions(r.Context(), adminapi.SessionFilter{Type: string(f.Type), Zone: string(f.Zone), After: first[:len(first)-1], Limit: maxLinks})
	if err != nil {
		return nil
	}
	reached := sessions.Next == ""
	found := map[device.ID]link{}
	end := ""
	for _, s := range sessions.Items {
		if s.Kind != "app" {
			found[device.ID(s.ID)] = link{known: true, connected: s.Connected, session: s}
		}
		end = s.ClientID
	}
	reached = reached || end >= last
	for _, d := range page {
		if _, have := found[d.ID]; !have {
			found[d.ID] = link{known: (reached || string(d.ID) < end) && r.CanOn(access.SessionRead, objectOf(d))}
		}
	}
	return found
}

// fleet is what is said above the list.
type fleet struct {
	total     int64
	byState   map[string]int64
	more      bool // there are more than total
	connected int  // devices and gateways; -1: not known
	waiting   int  // -1: not known
}

// fleetNow counts the person's part of the fleet; nil when it may not.
func fleetNow(r *ui.Request) *fleet {
	if !r.Can(access.StatusRead) {
		return nil
	}
	o, err := r.API.Overview(r.Context())
	if err != nil || o.Devices == nil {
		return nil
	}
	f := &fleet{total: o.Devices.Total, byState: o.Devices.ByState, more: !o.Devices.Complete, connected: -1, waiting: -1}
	if o.Sessions != nil {
		f.connected = o.Sessions.ByKind["device"] + o.Sessions.ByKind["gateway"]
	}
	if o.Waiting != nil {
		f.waiting = *o.Waiting
	}
	return f
}

func liveFleet(r *ui.Request, _ ui.Args) (templ.Component, error) {
	return fleetStats(fleetNow(r)), nil
}

func (f *fleet) count(s device.State) string { return ui.Number(f.byState[string(s)]) }

func stateHref(s device.State) string { return "/devices?" + url.Values{"state": {string(s)}}.Encode() }

func export(r *ui.Request) error {
	format := cmp.Or(r.Query("format"), "csv")
	kinds := map[string]string{"csv": "text/csv; charset=utf-8; header=present", "json": "application/json", "ndjson": "application/x-ndjson"}
	if kinds[format] == "" {
		return ui.NotFound()
	}
	f, err := filterOf(r.Table(listSpec))
	if err != nil {
		return err
	}
	name := "devices-" + r.Now.UTC().Format("2006-01-02") + "." + format
	return r.Download(name, kinds[format], func(w io.Writer) error {
		return r.API.ExportDevices(r.Context(), f, format, w)
	})
}

// pairs are labels in order, as key=value.
func pairs(labels map[string]string) (list []string) {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, k+"="+labels[k])
	}
	return list
}

// menuOf is a menu of components.
func menuOf(id, label string, items []ui.Node) ui.Node {
	id = strings.Map(func(c rune) rune {
		if c == '.' {
			return '_'
		}
		return c
	}, id)
	return templ.ComponentFunc(func(ctx context.Context, w io.Writer) error {
		return ui.Menu(id, label).Render(templ.WithChildren(ctx, ui.Nodes(items...)), w)
	})
}
