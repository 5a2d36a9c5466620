package adminapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
)

// api is what the operations share.
type api struct {
	cfg       Config
	mux       *http.ServeMux
	huma      huma.API
	importing chan struct{}     // holds one value while an import runs: it is large in memory
	rules     map[string]rule   // by method and path pattern
	summaries map[string]string // of operations by id
}

// Handler serves the API below /api/v1 and its description at /openapi.json and
// /openapi.yaml. Every other path answers 404 to those who have a token.
func Handler(cfg Config) http.Handler {
	a := newAPI(cfg)
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, newProblem(r.Context(), http.StatusForbidden, "cross-origin", "a page of another site sent this request", "call the API from a program"))
	}))
	return a.begin(cross.Handler(http.HandlerFunc(a.route)))
}

func newAPI(cfg Config) *api {
	useProblems()
	a := &api{cfg: cfg, mux: http.NewServeMux(), importing: make(chan struct{}, 1), rules: map[string]rule{}, summaries: map[string]string{}}
	a.huma = humago.New(a.mux, huma.Config{
		OpenAPI:                      description(cfg.Version),
		Formats:                      huma.DefaultFormats,
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	})
	a.typeOperations()
	a.zoneOperations()
	a.deviceOperations()
	a.devicePermissionOperations()
	a.exchangeOperations()
	a.tokenOperations()
	a.waitingOperations()
	a.certificateOperations()
	a.authorityOperations()
	a.policyOperations()
	a.appOperations()
	a.sessionOperations()
	a.auditOperations()
	a.logOperations()
	a.auditStateOperations()
	a.statusOperations()
	a.roleOperations()
	a.clientOperations()
	a.approvalOperations()
	a.bulkOperations()
	a.peopleOperations(cfg.People)
	a.accountOperations(cfg.People, cfg.Account)
	a.overviewOperations()
	a.serveDescription()
	return a
}

type requestIDKey struct{}

// RequestID is the id that the caller of this request was given in X-Request-Id:
// 16 hex digits, or none outside of a request.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// begin gives each request an id and the headers that hold for all answers, and
// turns a panic into a 500.
func (a *api) begin(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var raw [8]byte
		rand.Read(raw[:]) // never fails (Go 1.24)
		id := hex.EncodeToString(raw[:])
		ctx := context.WithValue(r.Context(), requestIDKey{}, id)
		out := &answer{ResponseWriter: w}
		h := w.Header()
		h.Set("X-Request-Id", id)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		defer func() {
			switch v := recover(); {
			case v == nil:
			case v == http.ErrAbortHandler:
				panic(v)
			default:
				p := a.problem(ctx, fmt.Errorf("serving %s: panic: %v", r.Method, v))
				if out.started { // what is out cannot be taken back: end the answer early, so that the caller sees it
					panic(http.ErrAbortHandler)
				}
				writeProblem(w, p)
			}
		}()
		next.ServeHTTP(out, r.WithContext(ctx))
	})
}

// answer knows whether anything of it is out already.
type answer struct {
	http.ResponseWriter
	started bool
}

func (w *answer) WriteHeader(status int) {
	w.started = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *answer) Write(b []byte) (int, error) {
	w.started = true
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *answer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// public tells which resources need no token: what the API is, and the trust
// anchors that a caller needs before it can trust this server with a token.
func public(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	switch r.URL.EscapedPath() {
	case "/openapi.json", "/openapi.yaml", basePath + "ca/bundle.pem":
		return true
	}
	return false
}

// route proves who calls and hands on. A path that does not exist is told only
// to those who may know.
func (a *api) route(w http.ResponseWriter, r *http.Request) {
	if public(r) {
		a.mux.ServeHTTP(w, r)
		return
	}
	r, err := a.prove(w, r)
	if err != nil {
		writeProblem(w, a.problem(r.Context(), err))
		return
	}
	_, pattern := a.mux.Handler(r)
	if pattern == "" {
		a.unrouted(w, r)
		return
	}
	rule, ok := a.rules[pattern]
	if !ok {
		writeProblem(w, a.problem(r.Context(), fmt.Errorf("serving %s: it has no rule", pattern)))
		return
	}
	id, err := identity(r.Context())
	if err == nil {
		err = a.admit(r, id, rule)
	}
	kept := r
	if err == nil {
		kept, err = a.keepRaw(w, r, rule)
	}
	if err != nil {
		writeProblem(w, a.problem(r.Context(), err))
		return
	}
	a.mux.ServeHTTP(w, kept)
}

// prove finds who calls, and takes the request from their allowance. A request
// that came in process has its identity already.
func (a *api) prove(w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	id, err := identity(r.Context())
	if err != nil {
		if id, err = a.authenticate(r); err != nil {
			return r, err
		}
		r = r.WithContext(context.WithValue(context.WithValue(r.Context(), identityKey{}, id), provenKey{}, true))
	}
	if a.cfg.Limit == nil || carriedOut(r.Context()) {
		return r, nil
	}
	l := a.cfg.Limit(id)
	l.headers(w.Header())
	if l.Exceeded {
		return r, refusal.New(refusal.TooMany, "too-many-requests", fmt.Sprintf("wait %d seconds", l.Reset), "more requests came than are allowed: %d in %d seconds", l.Quota, l.Window)
	}
	return r, nil
}

// maxToken bounds a bearer token in bytes.
const maxToken = 8 << 10

func (a *api) authenticate(r *http.Request) (access.Identity, error) {
	unauthenticated := func(code, detail string) error {
		return newProblem(r.Context(), http.StatusUnauthorized, code, detail, "send the header Authorization: Bearer TOKEN with an API token")
	}
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return access.Identity{}, unauthenticated("no-token", "the request has no API token")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return access.Identity{}, unauthenticated("bad-token", "the Authorization header does not hold one bearer token")
	}
	if a.cfg.Source != nil {
		return a.cfg.Authenticate.Authenticate(r.Context(), token, a.cfg.Source(r).String())
	}
	source, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		source = r.RemoteAddr
	}
	return a.cfg.Authenticate.Authenticate(r.Context(), token, source)
}

// unrouted answers for paths and methods that do not exist.
func (a *api) unrouted(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := a.mux.Handler(probe); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		writeProblem(w, newProblem(r.Context(), http.StatusNotFound, "no-such-path", "there is no such path", "look for it in /openapi.json"))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeProblem(w, newProblem(r.Context(), http.StatusMethodNotAllowed, "method-not-allowed", "this path does not take "+clipText(r.Method), "use "+strings.Join(allowed, " or ")))
}

func clipText(s string) string {
	if len(s) > 20 {
		s = s[:20]
	}
	return strings.ToValidUTF8(s, "?")
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	for name, values := range p.GetHeaders() {
		if w.Header().Get(name) == "" {
			w.Header()[name] = values
		}
	}
	w.Header().Set("Content-Type", typeProblem)
	w.WriteHeader(p.Status)
	b, err := json.Marshal(p)
	if err == nil {
		w.Write(append(b, '\n'))
	}
}

// who is the actor that route proved.
func who(ctx context.Context) (access.Actor, error) {
	id, err := identity(ctx)
	return id.Actor, err
}
