// Package ui is what pages of the console are made of: requests and answers,
// navigation, live fragments, and components.
//
// It promises that everything shown is escaped for its place, that no component
// needs an inline script or style, and that a page cannot be reached without the
// permission that it was mounted with. It trusts the console's middleware for
// who asks, and the API for what they may do: what is hidden here is hidden for
// convenience, what is refused is refused there.
package ui

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// Session is a person's sign-in as pages need it.
type Session struct {
	ID      string
	Person  access.PersonID
	Name    string          // how the person is shown
	Login   string          // what they sign in with
	Ends    time.Time       // when it ends if nothing more happens
	Last    time.Time       // when it ends whatever happens
	StepUps func() []string // how they can prove themselves again: "passkey", "totp", "password"; asks the database
}

// Request is one request to a page, by somebody who is signed in and holds the
// permission that the page was mounted with. It belongs to one goroutine.
type Request struct {
	HTTP     *http.Request
	W        http.ResponseWriter
	Session  Session
	Identity access.Identity
	API      *adminapi.Client // acts as Identity
	Now      time.Time
	Theme    Theme
	Version  string // of Holdfast
	Place    string // what this installation is called: its trust domain
	flash    []flash
	live     []string
	section  string
	waiting  *int // requests for a second person; nil: not counted yet
	document bool // a whole page is being written, not a fragment
}

// Theme is how pages look.
type Theme string

// The themes: Auto follows the browser.
const (
	Auto  Theme = ""
	Light Theme = "light"
	Dark  Theme = "dark"
)

// Context is the request's, with the request in it for components.
func (r *Request) Context() context.Context { return With(r.HTTP.Context(), r) }

type requestKey struct{}

// With puts r where From finds it.
func With(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// From is the request that a component is rendered for; an empty one outside of
// a request, as in tests of components.
func From(ctx context.Context) *Request {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		return r
	}
	return &Request{Now: time.Now()}
}

// Can tells whether the person holds a permission anywhere: what they do not
// hold is not offered.
func (r *Request) Can(p access.Permission) bool { return r.Identity.Rights.Has(p, r.Now) }

// CanOn tells whether the person holds a permission for this thing.
func (r *Request) CanOn(p access.Permission, o access.Object) bool {
	return r.Identity.Rights.Covers(p, o, r.Now)
}

// Value is a wildcard of the pattern: Value("id") for /devices/{id}.
func (r *Request) Value(name string) string { return r.HTTP.PathValue(name) }

// Query is a parameter of the address, bounded to 1,024 bytes.
func (r *Request) Query(name string) string { return clip(r.HTTP.URL.Query().Get(name), 1024) }

// Form is a field of a posted form, without space around it. The body is bounded
// and was parsed before the page's handler ran.
func (r *Request) Form(name string) string { return strings.TrimSpace(r.HTTP.PostForm.Get(name)) }

// RawForm is a field as it was typed: for passwords and texts.
func (r *Request) RawForm(name string) string { return r.HTTP.PostForm.Get(name) }

// FormAll are all values of a field of a posted form: checkboxes of one name.
func (r *Request) FormAll(name string) []string { return r.HTTP.PostForm[name] }

// Partial tells whether htmx asked, and not for a whole page.
func (r *Request) Partial() bool {
	return r.HTTP.Header.Get("HX-Request") == "true" && r.HTTP.Header.Get("HX-History-Restore-Request") != "true"
}

// Page answers with a whole page.
func (r *Request) Page(p Page, body templ.Component) error {
	return r.PageStatus(http.StatusOK, p, body)
}

// PageStatus is Page with another status than 200.
func (r *Request) PageStatus(status int, p Page, body templ.Component) error {
	r.takeFlash()
	r.document = true
	if p.Section == "" {
		p.Section = r.section
	}
	return r.write(status, layout(r, p, body))
}

// Fragment answers with a part of a page, for htmx to put in its place.
func (r *Request) Fragment(c templ.Component) error { return r.write(http.StatusOK, c) }

// Result answers a form with a new page instead of a redirect: for what can be
// shown only once, such as a token.
func (r *Request) Result(p Page, body templ.Component) error {
	if !r.Partial() {
		return r.Page(p, body)
	}
	r.W.Header().Set("HX-Retarget", "#main")
	r.W.Header().Set("HX-Reswap", "innerHTML show:top showTarget:#main")
	return r.write(http.StatusOK, mainPart(p, body))
}

// Dialog answers with a dialog that opens at once; without scripts it is a page.
func (r *Request) Dialog(c Confirm) error {
	c.open = true
	if r.Partial() {
		return r.write(http.StatusOK, c)
	}
	c.page = true
	return r.Page(Page{Title: c.Title}, c)
}

// Done says what happened, in a toast on the next page, and leads there. to is a
// path of the console.
func (r *Request) Done(message, to string) error { return r.done(flash{Good, message}, to) }

// Noted is Done for what did not happen as asked, without being an error.
func (r *Request) Noted(message, to string) error { return r.done(flash{Warn, message}, to) }

func (r *Request) done(f flash, to string) error {
	if f.text != "" {
		setFlash(r.W, f)
	}
	return r.Redirect(to)
}

// Redirect leads to another page of the console.
func (r *Request) Redirect(to string) error {
	to = LocalPath(to, "/")
	if r.Partial() {
		r.W.Header().Set("HX-Redirect", to)
		r.W.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(r.W, r.HTTP, to, http.StatusSeeOther)
	return nil
}

// Download answers with a file that write writes. An error before the first byte
// is shown; after it, the download breaks off.
func (r *Request) Download(name, contentType string, write func(io.Writer) error) error {
	w := &lazyFile{r: r, name: name, kind: contentType}
	err := write(w)
	if w.begun && err != nil {
		panic(http.ErrAbortHandler)
	}
	if err == nil {
		w.begin()
	}
	return err
}

type lazyFile struct {
	r          *Request
	name, kind string
	begun      bool
}

func (f *lazyFile) begin() {
	if !f.begun {
		f.begun = true
		h := f.r.W.Header()
		h.Set("Content-Type", f.kind)
		h.Set("Content-Disposition", `attachment; filename="`+fileName(f.name)+`"`)
	}
}

func (f *lazyFile) Write(b []byte) (int, error) {
	f.begin()
	return f.r.W.Write(b)
}

// fileName keeps what every system takes in a file's name.
func fileName(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._-", c) {
			return c
		}
		return '-'
	}, clip(s, 120))
}

// write renders into memory first, so that an error does not leave half a page.
func (r *Request) write(status int, c templ.Component) error {
	buf := templ.GetBuffer()
	defer templ.ReleaseBuffer(buf)
	if err := c.Render(r.Context(), buf); err != nil {
		return err
	}
	r.W.Header().Set("Content-Type", "text/html; charset=utf-8")
	r.W.WriteHeader(status)
	_, err := r.W.Write(buf.Bytes())
	if err != nil && r.HTTP.Context().Err() != nil {
		return nil // the browser went away
	}
	return err
}

// errNotFound is what NotFound returns.
var errNotFound = errors.New("there is no such page")

// NotFound is for handlers that find nothing at the path.
func NotFound() error { return errNotFound }

// LocalPath returns to if it is a path of this server, else otherwise. It is the
// one guard against leading people to somebody else's page: what a browser would
// read as another host ("//x", "/\x", control characters) is not local.
func LocalPath(to, otherwise string) string {
	if to == "" || to[0] != '/' || len(to) > 2048 || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\") {
		return otherwise
	}
	for _, c := range to {
		if c < 0x20 || c == 0x7f {
			return otherwise
		}
	}
	u, err := url.Parse(to)
	if err != nil || u.Host != "" || u.Scheme != "" || u.User != nil || strings.HasPrefix(u.Path, "//") || strings.Contains(u.Path, "\\") {
		return otherwise
	}
	return to
}

func clip(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "")
	}
	return s
}
