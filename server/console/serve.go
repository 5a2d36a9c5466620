package console

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/console/signin"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/people"
)

// pageTime bounds the work on one page.
const pageTime = 60 * time.Second

// page serves one route to who is signed in.
func (c *console) page(route ui.Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in, ok := c.enter(w, r)
		if !ok {
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), pageTime)
		defer cancel()
		r = r.WithContext(signin.With(ctx, in))
		req, err := c.request(w, r, in)
		if err != nil {
			c.broken(w, r, err)
			return
		}
		req.Enter(route.Section)
		c.keeper.Watch(w, r, in)
		w.Header().Set("Holdfast-Session-Ends", in.ExpiresAt.UTC().Format(time.RFC3339))
		defer c.caught(req)
		err = readForm(w, r, route.MaxBody)
		if err == nil && !req.CanAny(route.Needs) {
			err = denied(route)
		}
		if err == nil {
			err = route.Handle(req)
		}
		if err != nil {
			c.fail(req, err)
		}
	})
}

// enter finds the sign-in of a request, or answers it.
func (c *console) enter(w http.ResponseWriter, r *http.Request) (people.SignIn, bool) {
	in, err := c.keeper.Resume(w, r)
	switch ref := refusal.As(err); {
	case err == nil && in.Stage == people.StageFull:
		return in, true
	case err == nil:
		lead(w, r, signin.PathOf(in.Stage))
	case ref != nil && ref.Kind == refusal.Unauthenticated:
		to := "/sign-in"
		if r.Method == http.MethodGet && r.URL.Path != "/" && r.Header.Get("HX-Request") == "" {
			to += "?" + url.Values{"next": {ui.LocalPath(r.URL.RequestURI(), "/")}}.Encode()
		}
		lead(w, r, to)
	default:
		c.broken(w, r, err)
	}
	return people.SignIn{}, false
}

// lead redirects; htmx is told in its own way, because it would follow a
// redirect and put the page into a part of this one.
func lead(w http.ResponseWriter, r *http.Request, to string) {
	if r.Header.Get("HX-Request") == "true" {
		w.Header().Set("HX-Redirect", to)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// request is what a page gets to know about who asks.
func (c *console) request(w http.ResponseWriter, r *http.Request, in people.SignIn) (*ui.Request, error) {
	id, err := c.cfg.Identity(r.Context(), in, c.cfg.Source(r).String())
	if err != nil {
		return nil, fmt.Errorf("finding what a person may do: %w", err)
	}
	ways := func() []string { return c.keeper.StepUps(r.Context(), in) }
	return &ui.Request{HTTP: r, W: w, Identity: id, API: c.cfg.API(r.Context(), id), Now: c.cfg.Now(), Theme: ui.ThemeOf(r), Version: c.cfg.Version, Place: c.cfg.Place,
		Session: ui.Session{ID: in.ID, Person: in.Person.ID, Name: in.Person.Shown(), Login: in.Person.Name, Ends: in.ExpiresAt, StepUps: ways}}, nil
}

// readForm parses a posted form within its bound. Bodies of other types are the
// handler's.
func readForm(w http.ResponseWriter, r *http.Request, limit int64) error {
	if r.Method != http.MethodPost {
		return nil
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	var err error
	switch kind {
	case "multipart/form-data":
		err = r.ParseMultipartForm(8 << 20)
	case "application/x-www-form-urlencoded", "":
		err = r.ParseForm()
	default:
		r.PostForm = url.Values{}
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return refusal.New(refusal.TooLarge, "form-too-large", "send less at once", "what was sent is larger than %d bytes", large.Limit)
	case err != nil:
		return refusal.New(refusal.Invalid, "bad-form", "send it again", "the form could not be read")
	}
	return nil
}

func denied(route ui.Route) error {
	p := route.Needs[0]
	return refusal.New(refusal.Forbidden, "not-permitted", "ask an administrator for a role that allows it", "this needs the permission %s: you may not %s", p, p.Info().Meaning)
}

// fail shows an error, and gives the log what is not shown.
func (c *console) fail(req *ui.Request, err error) {
	t := ui.TroubleOf(err)
	if t.Unknown {
		t.RequestID = requestID()
		c.cfg.Log.Error("serving a page", "path", req.HTTP.URL.Path, "request", t.RequestID, "err", err)
	}
	if t.Status == 499 {
		return
	}
	if err := req.Fail(t); err != nil {
		c.cfg.Log.Error("showing an error", "path", req.HTTP.URL.Path, "err", err)
		http.Error(req.W, "Something went wrong inside Holdfast.", http.StatusInternalServerError)
	}
}

// caught keeps a fault of one page from being a blank one.
func (c *console) caught(req *ui.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	c.fail(req, fmt.Errorf("serving a page: panic: %v\n%s", v, debug.Stack()))
}

// broken answers where there is nobody to show a page to.
func (c *console) broken(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	id := requestID()
	c.cfg.Log.Error("serving a page", "path", r.URL.Path, "request", id, "err", err)
	t := ui.TroubleOf(err)
	t.RequestID = id
	req := &ui.Request{HTTP: r, W: w, Now: c.cfg.Now(), Theme: ui.ThemeOf(r), Place: c.cfg.Place}
	if err := req.Plain(t.Status, t.Title, ui.TroubleBox(t)); err != nil {
		http.Error(w, "Something went wrong inside Holdfast.", http.StatusInternalServerError)
	}
}

func requestID() string {
	b := make([]byte, 8)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// session tells when the sign-in ends. GET only looks; POST is a person who is
// there, and keeps it alive.
func (c *console) session(w http.ResponseWriter, r *http.Request) {
	var in people.SignIn
	var err error
	if r.Method == http.MethodPost {
		in, err = c.keeper.Resume(w, r)
	} else {
		in, err = c.keeper.Watched(r)
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil || in.Stage != people.StageFull {
		status := http.StatusUnauthorized
		if ref := refusal.As(err); err != nil && (ref == nil || ref.Kind != refusal.Unauthenticated) {
			status = http.StatusServiceUnavailable
		}
		w.WriteHeader(status)
		w.Write([]byte("{}\n"))
		return
	}
	json.NewEncoder(w).Encode(map[string]string{"ends": in.ExpiresAt.UTC().Format(time.RFC3339)})
}

// isStream tells whether the browser takes server-sent events.
func isStream(r *http.Request) bool {
	return r.URL.Query().Get("once") == "" && strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}
