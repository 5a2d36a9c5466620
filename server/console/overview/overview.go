// Package overview is the first page of the console: how the fleet is, what
// needs somebody, and where to go from there.
//
// It promises that every number leads to what it counts, that a card shows
// nothing that its reader may not see, and that a part which cannot be had says
// so without taking the others along. It trusts the API for both.
package overview

import (
	"net/url"
	"slices"
	"time"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/sentences"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Mount adds the page.
func Mount(m *ui.Mux) {
	s := m.In("overview")
	s.Page("GET /", show)
	s.Live("overview/now", 5*time.Second, live, access.StatusRead)
}

// windows are the times that the chart can show.
var windows = []string{"15m", "1h", "6h", "24h"}

// choice is what of the page its address decides.
type choice struct {
	window string
	all    bool // everything that needs attention, not the first of it
}

func choose(get func(string) string) choice {
	c := choice{window: get("window"), all: get("all") == "1"}
	if !slices.Contains(windows, c.window) {
		c.window = windows[0]
	}
	return c
}

func (c choice) args() ui.Args {
	a := ui.Args{"window": c.window}
	if c.all {
		a["all"] = "1"
	}
	return a
}

func (c choice) url() string {
	q := url.Values{}
	if c.window != windows[0] {
		q.Set("window", c.window)
	}
	if c.all {
		q.Set("all", "1")
	}
	if len(q) == 0 {
		return "/"
	}
	return "/?" + q.Encode()
}

func (c choice) in(window string) choice { c.window = window; return c }

func show(r *ui.Request) error {
	if !r.Can(access.StatusRead) {
		return elsewhere(r)
	}
	c := choose(r.Query)
	f := gather(r, c)
	lead := "How the fleet is right now, and what needs somebody."
	if f.first() {
		lead = "Three steps, and the first device is in."
	}
	return r.Page(ui.Page{Title: "Overview", Lead: lead}, body(f))
}

// elsewhere leads people who may not see how the fleet is to the first page that
// they may see, because everybody who signs in comes here.
func elsewhere(r *ui.Request) error {
	if list := r.Navigation(); len(list) > 0 {
		return r.Redirect(list[0].Path)
	}
	return r.Page(ui.Page{Title: "Welcome", Narrow: true}, noRole())
}

func live(r *ui.Request, args ui.Args) (templ.Component, error) {
	f := gather(r, choose(func(name string) string { return args[name] }))
	if f.err != nil {
		return nil, f.err // what is shown stays until it works again
	}
	return deck(f), nil
}

// facts are what the cards show. What its reader may not see is nil.
type facts struct {
	r      *ui.Request
	choice choice
	now    adminapi.Overview
	err    error

	rates    *adminapi.Rates
	ratesErr error

	server    *adminapi.Status
	serverErr error

	audited  bool
	audit    []adminapi.Entry
	auditErr error
	names    *sentences.Names

	types, zones int // -1: not known
}

// gather reads everything. An error of one part is kept beside it.
func gather(r *ui.Request, c choice) *facts {
	f := &facts{r: r, choice: c, types: -1, zones: -1}
	ctx := r.Context()
	if f.now, f.err = r.API.Overview(ctx); f.err != nil {
		return f
	}
	if r.Can(access.SessionRead) {
		rates, err := r.API.Rates(ctx, c.window, "none")
		f.rates, f.ratesErr = &rates, err
	}
	status, err := r.API.Status(ctx)
	f.server, f.serverErr = &status, err
	if r.Can(access.AuditRead) {
		f.audited = true
		list, err := r.API.AuditEntries(ctx, adminapi.AuditFilter{Limit: shownEntries})
		f.audit, f.auditErr = list.Items, err
		f.names = sentences.For(r)
	}
	if f.first() {
		if list, err := r.API.Types(ctx); err == nil {
			f.types = len(list)
		}
		if list, err := r.API.Zones(ctx); err == nil {
			f.zones = len(list)
		}
	}
	return f
}

// first tells whether nothing is in the inventory yet, and its reader can change
// that.
func (f *facts) first() bool {
	d := f.now.Devices
	return f.err == nil && d != nil && d.Complete && d.Total == 0 && (f.r.Can(access.EnrolmentWrite) || f.r.Can(access.DeviceWrite))
}
