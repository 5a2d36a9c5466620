package adminapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdfast-iot/holdfast/refusal"
)

const (
	typeProblem = "application/problem+json"
	problemURN  = "urn:holdfast:problem:"
	maxErrors   = 1000 // in one problem; one more says that there are more
)

// Problem is an answer that is not a success (RFC 9457).
type Problem struct {
	Type      string     `json:"type" doc:"urn:holdfast:problem:CODE"`
	Title     string     `json:"title" doc:"the name of the status"`
	Status    int        `json:"status"`
	Detail    string     `json:"detail" doc:"what is wrong and where, one sentence"`
	Code      string     `json:"code" doc:"stable, for programs"`
	Fix       string     `json:"fix,omitempty" doc:"what to do about it, one sentence"`
	RequestID string     `json:"request_id,omitempty" doc:"to find the request in the server's log"`
	Errors    []RowError `json:"errors,omitempty" doc:"fields or rows that are wrong, at most 1001"`
}

// Error joins detail and fix.
func (p *Problem) Error() string {
	if p.Fix == "" {
		return p.Detail
	}
	return p.Detail + ": " + p.Fix
}

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is the media type of problem documents.
func (p *Problem) ContentType(string) string { return typeProblem }

// GetHeaders are those that the status calls for (RFC 9110 sections 11.6.1 and
// 10.2.3).
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="holdfast"`)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", "5")
	}
	return h
}

// Error names the number of bad rows and the first one.
func (e *ImportError) Error() string {
	if len(e.Rows) == 0 {
		return "importing devices: some rows cannot be written"
	}
	r := e.Rows[0]
	return fmt.Sprintf("importing devices: %d rows cannot be written, the first in line %d: %s", len(e.Rows), r.Line, r.Error)
}

// statusOf is the one table from a refusal's kind to HTTP.
var statusOf = map[refusal.Kind]int{
	refusal.Invalid:         http.StatusUnprocessableEntity,
	refusal.Unauthenticated: http.StatusUnauthorized,
	refusal.Forbidden:       http.StatusForbidden,
	refusal.NotFound:        http.StatusNotFound,
	refusal.Conflict:        http.StatusConflict,
	refusal.TooLarge:        http.StatusRequestEntityTooLarge,
	refusal.TooMany:         http.StatusTooManyRequests,
	refusal.Unavailable:     http.StatusServiceUnavailable,
}

func newProblem(ctx context.Context, status int, code, detail, fix string) *Problem {
	return &Problem{Type: problemURN + code, Title: http.StatusText(status), Status: status,
		Code: code, Detail: detail, Fix: fix, RequestID: RequestID(ctx)}
}

// problem writes err for the caller. What is not written for callers becomes a
// 500 without a word of it, and goes to OnError.
func (a *api) problem(ctx context.Context, err error) *Problem {
	var p *Problem
	var rows *ImportError
	var rejected *Rejected
	var large *http.MaxBytesError
	switch r := refusal.As(err); {
	case errors.As(err, &p):
		if p.RequestID == "" {
			with := *p
			with.RequestID = RequestID(ctx)
			p = &with
		}
		return p
	case errors.As(err, &rows):
		return rowsProblem(ctx, rows.Rows)
	case errors.As(err, &rejected) && statusOf[r.Kind] != 0:
		p := newProblem(ctx, statusOf[r.Kind], r.Code, r.Detail, r.Fix)
		p.Errors = clipRows(rejected.Rows)
		return p
	case r != nil && statusOf[r.Kind] != 0:
		return newProblem(ctx, statusOf[r.Kind], r.Code, r.Detail, r.Fix)
	case errors.As(err, &large):
		return newProblem(ctx, http.StatusRequestEntityTooLarge, "body-too-large",
			fmt.Sprintf("the body is larger than %d bytes", large.Limit), "send it in parts")
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return newProblem(ctx, http.StatusServiceUnavailable, "cancelled", "the request was cancelled before it was done", "send it again")
	}
	a.cfg.OnError(RequestID(ctx), err)
	return newProblem(ctx, http.StatusInternalServerError, "internal", "something went wrong inside the server",
		"look for the request id in the server's log")
}

func rowsProblem(ctx context.Context, rows []RowError) *Problem {
	p := newProblem(ctx, http.StatusUnprocessableEntity, "bad-rows", "some rows cannot be imported, and nothing was",
		"correct the rows named in errors and import the whole file again")
	if len(rows) == 1 {
		p.Detail = "a row cannot be imported, and nothing was"
	}
	p.Errors = clipRows(rows)
	return p
}

// clipRows bounds a list of errors.
func clipRows(rows []RowError) []RowError {
	if len(rows) <= maxErrors+1 {
		return rows
	}
	return append(rows[:maxErrors:maxErrors], RowError{Error: fmt.Sprintf("and %d more", len(rows)-maxErrors)})
}

// useProblems gives the errors that huma finds by itself the same form. Huma
// takes that from a variable for the whole process; nothing else here uses huma.
var useProblems = sync.OnceFunc(func() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return invalid(context.Background(), nil, status, msg, errs)
	}
	huma.NewErrorWithContext = func(c huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return invalid(c.Context(), c.Operation(), status, msg, errs)
	}
})

// invalid is the problem for a request that does not have the form that the
// OpenAPI document asks for.
func invalid(ctx context.Context, op *huma.Operation, status int, msg string, errs []error) *Problem {
	const form = "the form of each request is in /openapi.json"
	switch {
	case status == http.StatusUnsupportedMediaType:
		return newProblem(ctx, status, "unsupported-media-type", "the body's media type is not one that this operation reads", "send Content-Type: application/json")
	case status == http.StatusRequestEntityTooLarge:
		return newProblem(ctx, status, "body-too-large", "the body is larger than this operation reads", "send less at a time")
	case status == http.StatusRequestTimeout:
		return newProblem(ctx, status, "body-too-slow", "the body did not arrive in time", "send it again")
	case status == http.StatusBadRequest && len(errs) == 0:
		return newProblem(ctx, status, "no-body", "the request has no body", "send one: "+form)
	case status == http.StatusInternalServerError:
		return newProblem(ctx, http.StatusBadRequest, "body-cut-off", "the body could not be read to its end", "send it again")
	}
	p := newProblem(ctx, status, "invalid-request", "the request is not valid", "correct it: "+form)
	if status == http.StatusBadRequest {
		p.Code, p.Type, p.Detail = "bad-json", problemURN+"bad-json", "the body is not valid JSON"
	} else if msg != "" && len(errs) == 0 {
		p.Detail = "the request is not valid: " + msg
	}
	for _, err := range errs {
		p.Errors = append(p.Errors, fieldError(op, err))
	}
	p.Errors = clipRows(p.Errors)
	if len(p.Errors) > 0 {
		e := p.Errors[0]
		p.Detail += ": " + strings.TrimPrefix(e.Field+": ", ": ") + e.Error
	}
	return p
}

// fieldError names the field as the caller wrote it and leaves its value out: it
// may be a secret.
func fieldError(op *huma.Operation, err error) RowError {
	var d *huma.ErrorDetail
	if !errors.As(err, &d) {
		return RowError{Field: "body", Error: err.Error()}
	}
	where, name, _ := strings.Cut(d.Location, ".")
	e := RowError{Field: d.Location, Error: d.Message}
	if where == "body" && name != "" {
		e.Field = name
	}
	if op == nil {
		return e
	}
	if d.Message == "unexpected property" || d.Message == "unknown query parameter" {
		known, _ := op.Metadata[where].([]string)
		e.Error = "this is not known"
		if near := nearest(name, known); near != "" {
			e.Error += fmt.Sprintf(": did you mean %q?", near)
		} else if len(known) > 0 {
			e.Error += ": known are " + strings.Join(known, ", ")
		}
	}
	if len(e.Field) > 100 {
		e.Field = strings.ToValidUTF8(e.Field[:100], "?") + "…"
	}
	return e
}

// nearest is the known word at the smallest edit distance from s, or none when
// all differ in more than half of their letters.
func nearest(s string, known []string) string {
	if len(s) > 64 {
		return ""
	}
	best, at := "", 1<<30
	for _, k := range known {
		row := make([]int, len(k)+1) // Levenshtein distance in bytes
		for j := range row {
			row[j] = j
		}
		for i := range len(s) {
			diagonal := row[0]
			row[0] = i + 1
			for j := range len(k) {
				cost := 1
				if s[i] == k[j] {
					cost = 0
				}
				next := min(row[j+1]+1, row[j]+1, diagonal+cost)
				diagonal, row[j+1] = row[j+1], next
			}
		}
		if d := row[len(k)]; d < at && 2*d <= max(len(s), len(k)) {
			best, at = k, d
		}
	}
	return best
}
