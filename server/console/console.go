// Package console is where people look at their fleet and change it: HTML made
// on the server, live through server-sent events.
//
// It promises that nobody sees a page without a sign-in that counts, that no
// request of another site changes anything, that no page runs a script or takes
// a style that is not a file of this server, and that a page does nothing that
// the API would not do for the same person: pages have nothing but a client of
// it. It trusts package people for who is signed in, and the API for what they
// may do. Whoever could write into a response of it could act as the person who
// looks at it; that is why every value passes a component that escapes it.
package console

import (
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/server/console/account"
	"github.com/holdfast-iot/holdfast/server/console/assets"
	"github.com/holdfast-iot/holdfast/server/console/signin"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// console is the handler and what it counts.
type console struct {
	cfg    Config
	keeper *signin.Keeper
	pages  *ui.Mux
	live   *streams
	csrf   *http.CrossOriginProtection
}

// Console is the handler of everything below "/" but the API.
type Console struct {
	http.Handler
	routes []string
}

// Routes lists what the console answers to, as patterns of http.ServeMux.
func (c *Console) Routes() []string { return slices.Clone(c.routes) }

// table is a mux that knows what is in it.
type table struct {
	http.ServeMux
	patterns []string
}

// Handle mounts h.
func (t *table) Handle(pattern string, h http.Handler) {
	t.patterns = append(t.patterns, pattern)
	t.ServeMux.Handle(pattern, h)
}

// New makes a console.
func New(cfg Config) (*Console, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	c := &console{cfg: cfg, pages: ui.NewMux(), csrf: http.NewCrossOriginProtection()}
	c.live = newStreams(cfg.LiveStreams)
	c.keeper = signin.NewKeeper(signin.Config{People: cfg.People, Providers: cfg.Providers, Devices: cfg.Devices, Seal: cfg.Seal, Open: cfg.Open,
		Source: cfg.Source, Now: cfg.Now, Log: cfg.Log, Version: cfg.Version, Place: cfg.Place})
	for _, mount := range mounts {
		mount(c.pages)
	}
	c.keeper.Pages(c.pages)
	account.Mount(c.pages, c.keeper)
	mux := &table{}
	for _, route := range c.pages.Routes() {
		pattern := route.Pattern
		if strings.HasSuffix(pattern, " /") { // else it would take every path
			pattern += "{$}"
		}
		mux.Handle(pattern, c.page(route))
	}
	for _, s := range c.pages.Streams() {
		mux.Handle(s.Pattern, c.serveStream(s))
	}
	c.keeper.Mount(mux)
	mux.Handle(assets.Prefix, assets.Handler())
	mux.Handle("POST /theme", http.HandlerFunc(c.theme))
	mux.Handle("GET /session", http.HandlerFunc(c.session))
	mux.Handle("POST /session", http.HandlerFunc(c.session))
	mux.Handle("GET /live", http.HandlerFunc(c.serveLive))
	mux.Handle("/", c.page(ui.Route{MaxBody: ui.MaxForm, Handle: func(*ui.Request) error { return ui.NotFound() }}))
	return &Console{c.guard(mux), mux.patterns}, nil
}
