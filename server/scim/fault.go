package scim

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/holdfast-iot/holdfast/refusal"
)

const (
	schemaError = "urn:ietf:params:scim:api:messages:2.0:Error"
	media       = "application/scim+json"
)

// Detail error keywords (RFC 7644 table 9).
const (
	invalidFilter = "invalidFilter"
	invalidPath   = "invalidPath"
	invalidSyntax = "invalidSyntax"
	invalidValue  = "invalidValue"
	noTarget      = "noTarget"
	mutability    = "mutability"
	uniqueness    = "uniqueness"
)

// fault is an answer that is not a success (RFC 7644 section 3.12). Its detail is
// a sentence for whoever runs the identity provider.
type fault struct {
	status int
	kind   string // scimType, may be empty
	detail string
	allow  string // the header of a 405
}

func (f *fault) Error() string { return f.detail }

// bad is a fault of the request itself.
func bad(kind, detail string, args ...any) *fault {
	return &fault{status: http.StatusBadRequest, kind: kind, detail: fmt.Sprintf(detail, args...)}
}

// tooLarge is a fault of a bound that the request exceeds.
func tooLarge(detail string, args ...any) *fault {
	return &fault{status: http.StatusRequestEntityTooLarge, detail: fmt.Sprintf(detail, args...) + ": send it in parts"}
}

// clip shortens what a sentence repeats of a request.
func clip(s string) string {
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:64], "") + "…"
	}
	return strconv.QuoteToGraphic(s)
}

var statusOf = map[refusal.Kind]int{
	refusal.Invalid:         http.StatusBadRequest,
	refusal.Unauthenticated: http.StatusUnauthorized,
	refusal.Forbidden:       http.StatusForbidden,
	refusal.NotFound:        http.StatusNotFound,
	refusal.Conflict:        http.StatusConflict,
	refusal.TooLarge:        http.StatusRequestEntityTooLarge,
	refusal.TooMany:         http.StatusTooManyRequests,
	refusal.Unavailable:     http.StatusServiceUnavailable,
}

// faultOf turns an error into an answer; known is false for one that was not
// written for callers.
func faultOf(err error) (f *fault, known bool) {
	var large *http.MaxBytesError
	r := refusal.As(err)
	switch {
	case errors.As(err, &f):
		return f, true
	case errors.As(err, &large):
		return tooLarge("the body is larger than %d bytes", large.Limit), true
	case errors.Is(err, ErrNotFound):
		return &fault{status: http.StatusNotFound, detail: "there is no such resource"}, true
	case errors.Is(err, ErrTaken):
		return &fault{status: http.StatusConflict, kind: uniqueness, detail: "the name or externalId belongs to another: choose one that is free, or use the resource that has it"}, true
	case errors.Is(err, ErrChanged):
		return &fault{status: http.StatusConflict, detail: "the resource is being changed by others: send the request again"}, true
	case r != nil && statusOf[r.Kind] != 0:
		f := &fault{status: statusOf[r.Kind], detail: r.Error()}
		if r.Kind == refusal.Invalid {
			f.kind = invalidValue
		}
		return f, true
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &fault{status: http.StatusServiceUnavailable, detail: "the request was not done in time: send it again"}, false
	}
	return &fault{status: http.StatusInternalServerError, detail: "something went wrong inside the server: its log says what"}, false
}

// fail answers with err, and tells OnError of what was not written for callers.
func (s *service) fail(w http.ResponseWriter, r *http.Request, err error) {
	f, known := faultOf(err)
	if !known && r.Context().Err() == nil {
		s.cfg.OnError(r.Context(), err)
	}
	switch f.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="holdfast"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "5")
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", f.allow)
	}
	body := map[string]any{"schemas": []string{schemaError}, "status": strconv.Itoa(f.status), "detail": f.detail}
	if f.kind != "" {
		body["scimType"] = f.kind
	}
	s.answer(w, r, f.status, body)
}
