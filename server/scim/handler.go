package scim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
)

// Config is what the service works with; every field is needed.
type Config struct {
	Directory Directory
	Groups    Groups
	// Authenticate proves who sent a request and that they hold access.PersonWrite.
	// Its refusals are the answer; it is asked before anything else is looked at.
	Authenticate func(*http.Request) (access.Identity, error)
	// BaseURL is the scheme, host and port that the provider uses, without a path:
	// "https://fleet.example:8443". Locations in answers begin with it; the Host
	// header of a request is not believed.
	BaseURL string
	// OnError is told of each error that was answered without its words.
	OnError func(ctx context.Context, err error)
}

type service struct {
	cfg  Config
	base string
}

// Handler serves everything under Prefix. It errs when the configuration is not
// complete.
func Handler(cfg Config) (http.Handler, error) {
	u, err := url.Parse(cfg.BaseURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("making the SCIM service: the base URL %q is not one of scheme, host and port", cfg.BaseURL)
	}
	if cfg.Directory == nil || cfg.Groups == nil || cfg.Authenticate == nil || cfg.OnError == nil {
		return nil, errors.New("making the SCIM service: a part of its configuration is missing")
	}
	return &service{cfg: cfg, base: u.Scheme + "://" + u.Host + Prefix}, nil
}

// call is one request, of a proven party.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	by   access.Actor
	id   string
	view projection
}

// ServeHTTP authenticates first: who is not let in learns nothing of what there
// is.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	identity, err := s.cfg.Authenticate(r)
	if err != nil {
		s.fail(w, r, fmt.Errorf("authenticating a SCIM request: %w", err))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
	c := &call{w: w, r: r, by: identity.Actor}
	if c.view, err = viewOf(r); err == nil {
		err = s.route(c)
	}
	if err != nil {
		s.fail(w, r, err)
	}
}

func viewOf(r *http.Request) (projection, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(r.URL.RawQuery) > 8<<10 {
		return projection{}, bad(invalidValue, "the query of the address is not valid, or longer than 8192 bytes")
	}
	return projectionOf(csv(q.Get("attributes")), csv(q.Get("excludedAttributes")))
}

func csv(s string) []string {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	return strings.Split(s, ",")
}

type action func(*call) error

// route finds what a path and method mean.
func (s *service) route(c *call) error {
	rest, ok := strings.CutPrefix(c.r.URL.Path, Prefix+"/")
	kind, id, one := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
	if !ok || strings.Contains(id, "/") {
		return ErrNotFound
	}
	c.id = id
	switch kind {
	case "ServiceProviderConfig", "ResourceTypes", "Schemas":
		return c.on(map[string]action{http.MethodGet: func(c *call) error { return s.discover(c, kind) }})
	case "Users", "Groups":
		return s.routeResource(c, kind == "Users", one)
	case "Me":
		return &fault{status: http.StatusNotImplemented, detail: "/Me is not supported: use /Users with an id or a filter"}
	case "Bulk":
		return &fault{status: http.StatusNotImplemented, detail: "bulk requests are not supported: send each operation by itself"}
	}
	return ErrNotFound
}

func (s *service) routeResource(c *call, users, one bool) error {
	list, get, create, put, patch, remove := s.listGroups, s.getGroup, s.createGroup, s.putGroup, s.patchGroup, s.deleteGroup
	if users {
		list, get, create, put, patch, remove = s.listUsers, s.getUser, s.createUser, s.putUser, s.patchUser, s.disableUser
	}
	switch {
	case !one:
		return c.on(map[string]action{http.MethodGet: func(c *call) error { return list(c, c.r.URL.Query()) }, http.MethodPost: create})
	case c.id == ".search":
		return c.on(map[string]action{http.MethodPost: func(c *call) error { return s.search(c, list) }})
	case !validID(c.id):
		return ErrNotFound
	}
	return c.on(map[string]action{http.MethodGet: get, http.MethodPut: put, http.MethodPatch: patch, http.MethodDelete: remove})
}

// on does the action of the request's method.
func (c *call) on(actions map[string]action) error {
	if do := actions[c.r.Method]; do != nil {
		return do(c)
	}
	var allow []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if actions[m] != nil {
			allow = append(allow, m)
		}
	}
	return &fault{status: http.StatusMethodNotAllowed, detail: "this address does not know the method", allow: strings.Join(allow, ", ")}
}

// body reads the request's body.
func (c *call) body() (object, error) {
	kind, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != media && kind != "application/json" {
		return nil, &fault{status: http.StatusUnsupportedMediaType, detail: "the body's media type is not one that is read here: send Content-Type: " + media}
	}
	text, err := io.ReadAll(c.r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, err
	case err != nil:
		return nil, bad(invalidSyntax, "the body could not be read to its end: send it again")
	}
	return parseObject(text)
}

// Writes are finished even when the provider has gone away: somebody who is half
// switched off is the worst of all.
const writeTime = 30 * time.Second

// retries bounds how often a change is made again because another came between.
const retries = 5

// write runs a change that reads, decides and writes, again when another change
// came between; not when the request said what it was made from.
func (c *call) write(do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), writeTime)
	defer cancel()
	for range retries {
		if err := do(ctx); !errors.Is(err, ErrChanged) {
			return err
		}
		if len(c.r.Header.Values("If-Match")) > 0 {
			return precondition()
		}
	}
	return ErrChanged
}

// ifMatch refuses a change that was made from another version.
func (c *call) ifMatch(tag string) error {
	if h := c.r.Header.Values("If-Match"); len(h) > 0 && !tagFits(h, tag) {
		return precondition()
	}
	return nil
}

func precondition() error {
	return &fault{status: http.StatusPreconditionFailed, detail: "the resource has changed since: read it again"}
}

// show answers with one resource.
func (s *service) show(c *call, status int, r resource) error {
	meta, _ := r["meta"].(map[string]any)
	tag, _ := meta["version"].(string)
	c.w.Header().Set("ETag", tag)
	if h := c.r.Header.Values("If-None-Match"); status == http.StatusOK && c.r.Method == http.MethodGet && len(h) > 0 && tagFits(h, tag) {
		s.answer(c.w, c.r, http.StatusNotModified, nil)
		return nil
	}
	location, _ := meta["location"].(string)
	if status == http.StatusCreated {
		c.w.Header().Set("Location", location)
	} else {
		c.w.Header().Set("Content-Location", location)
	}
	s.answer(c.w, c.r, status, c.view.of(r))
	return nil
}
