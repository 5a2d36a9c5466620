package uitest

import (
	"math"
	"net/url"
	"time"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Gallery mounts one page with every component of package ui, in which text is
// wherever a value of a user can be.
func Gallery(m *ui.Mux, text string) {
	s := m.In("devices")
	s.Page("GET /gallery", func(r *ui.Request) error {
		return r.Page(ui.Page{Title: "pump-7", Lead: "Every component at once. " + text, Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}, {Text: text, Href: "/zones"}}, Badge: ui.State(device.Active),
			Actions: ui.Nodes(ui.LinkButton(ui.Plain, "download", "Export", "/gallery"), ui.LinkButton(ui.Primary, "plus", "Enrol a device", "/gallery")),
			Tabs:    []ui.Tab{{Text: "Overview", Href: "/gallery", Active: true}, {Text: "Certificates", Href: "/gallery?tab=c", Count: "2"}, {Text: text, Href: "/gallery?tab=t"}}}, gallery(r, text))
	})
	s.Page("GET /gallery/retire", func(r *ui.Request) error {
		return r.Dialog(ui.Confirm{ID: "retire", Title: "Retire pump-7?", Action: "/gallery/retire", Verb: "Retire for ever", Kind: ui.Danger, Type: "pump-7", Reason: true, SecondPerson: true,
			Consequences: []string{"All its certificates are revoked.", "Its name is never used again.", text}})
	})
	s.Page("POST /gallery/retire", func(r *ui.Request) error {
		if !r.Typed("pump-7") {
			return &adminapi.Problem{Status: 422, Code: "not-confirmed", Detail: "the confirmation is not right", Fix: "type the name of the device", Errors: []adminapi.RowError{{Field: "confirm", Error: "this is not its name"}}}
		}
		return r.Done("pump-7 is retired.", "/gallery")
	})
	s.Page("POST /gallery/quarantine", func(r *ui.Request) error {
		if r.Form("reason") == "step" {
			return refusal.New(refusal.Forbidden, "step-up-needed", "confirm with your passkey or authenticator app", "this action needs a fresh proof that it is you")
		}
		return &adminapi.Problem{Status: 409, Code: "changed", Detail: "the device was changed meanwhile: " + text, Fix: "look at it again", RequestID: "0011223344556677"}
	})
	s.Page("POST /gallery/again", func(r *ui.Request) error { return r.Done("Read again. "+text, "/gallery") })
	s.Live("gallery/clock", time.Second, func(r *ui.Request, args ui.Args) (templ.Component, error) {
		return ui.Nodes(clock(r.Now), ui.Text(args["zone"])), nil
	})
}

func wave(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = 60 + 24*math.Sin(float64(i)/3) + float64(i%5)*4
	}
	return out
}

func chart(now time.Time) ui.Chart {
	c := ui.Chart{ID: "rates", Label: "Messages of each zone in the last hour", Unit: "msg/s", Height: 240}
	for i := range 60 {
		c.Times = append(c.Times, now.Add(time.Duration(i-60)*time.Minute))
	}
	for i, name := range []string{"packing", "boiler", "</script><script>alert(1)</script>"} {
		values := wave(60)
		for k := range values {
			values[k] = values[k]/float64(i+1) + 6*math.Cos(float64(k)/(2+float64(i)))
		}
		c.Series = append(c.Series, ui.Series{Label: name, Values: values})
	}
	return c
}

type row struct {
	id, kind, zone string
	state          device.State
	seen           time.Duration
	messages       int64
}

var tableSpec = ui.TableSpec{Filters: []string{"q", "state", "zone"}, Sorts: []string{"id", "messages"}, Columns: []string{"id", "state", "type", "zone", "seen", "messages", "note"}}

func table(r *ui.Request, text string) ui.Table[row] {
	s := r.Table(tableSpec)
	rows := []row{{"pump-7", "pump", "boiler", device.Quarantined, 7 * time.Minute, 38}, {"gw-12", "gateway", "packing", device.Active, time.Second, 1840},
		{"meter-004", "meter", "yard", device.Enrolled, 0, 0}, {"camera-9", "camera", "gate", device.Pending, 0, 0},
		{"plc-3", "plc", "boiler", device.Registered, 0, 0}, {text, text, text, device.Retired, 90 * 24 * time.Hour, 0}}
	if s.Filtered() && s.Filter("q") == "nothing" {
		rows = nil
	}
	return ui.Table[row]{ID: "fleet", Label: "Devices", State: s, Rows: rows, Next: "plc-3", Total: "12 480 devices",
		Filters: []ui.Filter{{Name: "q", Label: "Search", Placeholder: "Search by id or label", Search: true},
			{Name: "state", Label: "State", Options: []ui.Option{{Label: "All states"}, {Value: "active", Label: "Active"}, {Value: "quarantined", Label: "Quarantined"}}},
			{Name: "zone", Label: "Zone", Placeholder: "any"}},
		Columns: []ui.Column[row]{
			{Key: "id", Label: "Device", Sort: true, Cell: func(d row) ui.Node { return ui.Text(d.id) }},
			{Key: "state", Label: "State", Cell: func(d row) ui.Node { return ui.State(d.state) }},
			{Key: "type", Label: "Type", Cell: func(d row) ui.Node { return ui.Text(d.kind) }},
			{Key: "zone", Label: "Zone", Hint: "A part of the plant whose devices are protected alike.", Cell: func(d row) ui.Node { return ui.Tag(d.zone) }},
			{Key: "seen", Label: "Last seen", Cell: func(d row) ui.Node {
				if d.seen == 0 {
					return ui.Time(time.Time{})
				}
				return ui.Time(r.Now.Add(-d.seen))
			}},
			{Key: "messages", Label: "Messages", Sort: true, Number: true, Cell: func(d row) ui.Node { return ui.Text(ui.Number(d.messages)) }},
			{Key: "note", Label: "Note", Hidden: true, Cell: func(d row) ui.Node { return ui.Text(text) }},
		},
		Href: func(d row) string { return "/devices/" + url.PathEscape(d.id) },
		Actions: func(d row) ui.Node {
			return ui.DialogButton(ui.Quiet, "pause", "Quarantine", "/gallery/retire")
		},
		RowID: func(d row) string { return d.id },
		Bulk:  []ui.Bulk{{Label: "Quarantine", Icon: "pause", Href: "/gallery/retire"}},
		RowTone: func(d row) ui.Tone {
			if d.state == device.Quarantined {
				return ui.Bad
			}
			return ui.Neutral
		},
		Exports: []ui.Export{{Label: "CSV", Href: "/devices/export?format=csv"}, {Label: "JSON lines", Href: "/devices/export?format=ndjson"}},
		Empty:   ui.EmptyProps{Icon: "device", Title: "No devices yet"}}
}
