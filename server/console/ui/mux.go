package ui

import (
	"net/http"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/access"
)

// Handler answers a request to a page. An error it returns is shown to the
// person: an *adminapi.Problem as the API wrote it, others as "something went
// wrong" with a number that the log has too.
type Handler func(r *Request) error

// Route is a page or action as it was mounted.
type Route struct {
	Pattern string // of http.ServeMux, with method
	Needs   []access.Permission
	Section string // of the navigation
	MaxBody int64  // bytes of a posted form
	Handle  Handler
}

// LiveFragment is a part of pages that is sent again while it is looked at.
type LiveFragment struct {
	Name   string
	Needs  []access.Permission
	Every  time.Duration // at least a second
	Render func(r *Request, args Args) (templ.Component, error)
}

// Mux collects what pages mount. The console serves it.
type Mux struct {
	routes  []Route
	live    map[string]LiveFragment
	streams []Stream
}

// MaxForm bounds a posted form in bytes, where a page does not say otherwise.
const MaxForm = 1 << 20

// NewMux is empty.
func NewMux() *Mux { return &Mux{live: map[string]LiveFragment{}} }

// In is the mux for a section of the navigation: pages mounted through it are
// marked there.
func (m *Mux) In(section string) *Section { return &Section{m, section} }

// Section mounts pages of one section.
type Section struct {
	m    *Mux
	name string
}

// Page mounts a handler for "GET /path" or "POST /path". Whoever holds none of
// needs is told so; with no needs, everybody who is signed in may come.
func (s *Section) Page(pattern string, h Handler, needs ...access.Permission) {
	s.Large(pattern, MaxForm, h, needs...)
}

// Large is Page for forms with a bound of its own: uploads.
func (s *Section) Large(pattern string, maxBody int64, h Handler, needs ...access.Permission) {
	method, path, ok := strings.Cut(pattern, " ")
	if !ok || method != http.MethodGet && method != http.MethodPost || !strings.HasPrefix(path, "/") {
		panic("console: the pattern " + pattern + " is not GET or POST and a path")
	}
	s.m.routes = append(s.m.routes, Route{pattern, needs, s.name, maxBody, h})
}

// Live mounts a fragment that pages show with Live. render is called with the
// person's own request and what the page gave as arguments: check them as if
// they came from outside, because they do.
func (s *Section) Live(name string, every time.Duration, render func(*Request, Args) (templ.Component, error), needs ...access.Permission) {
	if _, taken := s.m.live[name]; taken || every < time.Second {
		panic("console: the live fragment " + name + " is there twice, or too often")
	}
	s.m.live[name] = LiveFragment{name, needs, every, render}
}

// Routes lists what was mounted.
func (m *Mux) Routes() []Route { return m.routes }

// Fragment finds a live fragment by its name.
func (m *Mux) Fragment(name string) (LiveFragment, bool) { f, ok := m.live[name]; return f, ok }

// CanAny tells whether one of needs is held, or none is asked for.
func (r *Request) CanAny(needs []access.Permission) bool {
	for _, p := range needs {
		if r.Can(p) {
			return true
		}
	}
	return len(needs) == 0
}

// Enter binds the request to the section that it is in.
func (r *Request) Enter(section string) { r.section = section }
