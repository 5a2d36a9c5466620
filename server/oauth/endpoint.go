package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
)

// The paths of the endpoints.
const (
	pathToken      = "/oauth/token"
	pathDevice     = "/oauth/device_authorization"
	pathIntrospect = "/oauth/introspect"
	pathRevoke     = "/oauth/revoke"
	pathKeys       = "/oauth/jwks.json"
	pathMetadata   = "/.well-known/oauth-authorization-server"
	// PathApprove is the page on which a person enters a user code; the console
	// serves it.
	PathApprove = "/device"
)

func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc(pathToken, s.post(s.token))
	mux.HandleFunc(pathDevice, s.post(s.authorizeDevice))
	mux.HandleFunc(pathIntrospect, s.post(s.introspect))
	mux.HandleFunc(pathRevoke, s.post(s.revoke))
	mux.HandleFunc(pathKeys, s.get(func() any { return s.published() }, "application/jwk-set+json"))
	mux.HandleFunc(pathMetadata, s.get(s.metadata, "application/json"))
	return mux
}

// problem is an error of RFC 6749 section 5.2, or of RFC 8628 section 3.5.
type problem struct {
	status      int
	code        string
	description string
	basic       bool // the client tried HTTP Basic
}

func (p *problem) Error() string { return p.code + ": " + p.description }

func no(code, description string, args ...any) error {
	return &problem{status: http.StatusBadRequest, code: code, description: fmt.Sprintf(description, args...)}
}

// request is one call of an endpoint that takes a form.
type request struct {
	*http.Request
	form   form
	source netip.Addr
	url    string // of the endpoint, as in the metadata
}

// form is the parameters of a request. Those with secrets are read by secret.
type form map[string]string

func (f form) secret(name string) enroll.Secret { return enroll.NewSecret(f[name]) }

const (
	maxForm       = 24 << 10 // bytes
	maxParameters = 32
)

// parseForm reads a body. A parameter that comes twice is an error, and one
// without a value is as if it were not there (RFC 6749 section 3.2).
func parseForm(body string) (form, error) {
	if len(body) > maxForm {
		return nil, no("invalid_request", "the request is larger than %d bytes", maxForm)
	}
	values, err := url.ParseQuery(body)
	if err != nil {
		return nil, no("invalid_request", "the body is not a form")
	}
	if len(values) > maxParameters {
		return nil, no("invalid_request", "the request has more than %d parameters", maxParameters)
	}
	f := form{}
	for name, list := range values {
		if len(list) > 1 {
			return nil, no("invalid_request", "a parameter came twice")
		}
		if list[0] != "" {
			f[name] = list[0]
		}
	}
	return f, nil
}

// post serves an endpoint that takes a form and answers JSON that nothing may
// keep.
func (s *Server) post(serve func(*request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Pragma", "no-cache")
		answer, err := s.take(w, r, serve)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		write(w, http.StatusOK, "application/json", answer)
	}
}

func (s *Server) take(w http.ResponseWriter, r *http.Request, serve func(*request) (any, error)) (any, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, &problem{status: http.StatusMethodNotAllowed, code: "invalid_request", description: "use POST"}
	}
	source := s.cfg.Source(r)
	if !s.cfg.Allow(source) {
		w.Header().Set("Retry-After", "5")
		return nil, &problem{status: http.StatusTooManyRequests, code: "slow_down", description: "too many requests come from this address; wait a few seconds"}
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return nil, no("invalid_request", "send the parameters as application/x-www-form-urlencoded")
	}
	if r.URL.RawQuery != "" {
		return nil, no("invalid_request", "send the parameters in the body, not in the URL")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxForm))
	if err != nil {
		return nil, no("invalid_request", "the request could not be read, or is larger than %d bytes", maxForm)
	}
	f, err := parseForm(string(body))
	if err != nil {
		return nil, err
	}
	return serve(&request{Request: r, form: f, source: source, url: s.cfg.Issuer + r.URL.Path})
}

// fail answers an error; what went wrong inside is for the log alone.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	if !errors.As(err, &p) {
		p = &problem{status: http.StatusInternalServerError, code: "server_error", description: "something went wrong here; try again"}
		if f := refusal.As(err); f != nil && (f.Kind == refusal.Unavailable || f.Kind == refusal.TooMany) {
			p = &problem{status: http.StatusServiceUnavailable, code: "temporarily_unavailable", description: f.Error()}
			w.Header().Set("Retry-After", "5")
		} else if r.Context().Err() == nil {
			s.cfg.Log.Error("serving an OAuth request", "path", r.URL.Path, "err", err)
		}
	}
	if p.basic {
		w.Header().Set("WWW-Authenticate", `Basic realm="holdfast"`)
	}
	write(w, p.status, "application/json", map[string]string{"error": p.code, "error_description": p.description})
}

// get serves a public document that may be kept for a while.
func (s *Server) get(document func() any, media string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			write(w, http.StatusMethodNotAllowed, "application/json", map[string]string{"error": "invalid_request", "error_description": "use GET"})
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=600")
		write(w, http.StatusOK, media, document())
	}
}

func write(w http.ResponseWriter, status int, media string, answer any) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if answer == nil {
		w.WriteHeader(status)
		return
	}
	text, err := json.Marshal(answer)
	if err != nil { // the types are ours
		status, text = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	h.Set("Content-Type", media)
	w.WriteHeader(status)
	w.Write(text)
}
