package adminapi

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdfast-iot/holdfast/access"
)

// Bounds on bodies, in bytes, and on the time they may take.
const (
	maxBody   = 64 << 10
	maxPEM    = 256 << 10
	maxImport = 256 << 20
	bodyTime  = 10 * time.Second
)

// operation is what the OpenAPI document says of one operation. summary,
// description and response are never empty; a test sees to it.
type operation struct {
	id, method, path, tag string
	summary, description  string
	status                int // 200 when 0
	maxBody               int64
	request, response     any // examples

	allow   access.Permission // what the caller has to hold
	filters bool              // shows or touches only what is in the caller's scopes, by itself
	fresh   bool              // a person needs a fresh factor (step-up)
	second  access.Action     // a second person may have to approve it
	also    access.Permission // is asked for too; empty: none
}

// body is an answer in JSON.
type body[T any] struct{ Body T }

// raw is an answer in bytes of some other type.
type raw struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

// none is an answer without a body: 204.
type none struct{}

// register adds an operation that is done for by, who was authenticated.
func register[I, O any](a *api, op operation, do func(ctx context.Context, by access.Actor, in *I) (*O, error)) {
	o := op.huma()
	o.Security = []map[string][]string{{"token": {}}}
	a.setRule(op, any(new(I)), o.MaxBodyBytes)
	a.summaries[op.id] = op.summary
	rule := a.rules[op.method+" "+basePath+strings.TrimPrefix(op.path, "/")]
	o.Extensions = map[string]any{"x-holdfast-permission": op.allow}
	if op.fresh {
		o.Extensions["x-holdfast-step-up"] = true
	}
	if op.also != "" {
		o.Extensions["x-holdfast-also-permission"] = op.also
	}
	if op.second != "" {
		o.Extensions["x-holdfast-second-person"] = op.second
	}
	huma.Register(a.huma, o, func(ctx context.Context, in *I) (*O, error) {
		by, err := who(ctx)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		if err := a.check(ctx, rule, in); err != nil {
			return nil, a.refused(ctx, err)
		}
		out, err := do(a.withScope(ctx, rule), by, in)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
	a.finish(op, o.Metadata)
	if op.second != "" {
		a.describePending(op)
	}
}

// refused is the problem for an error of a check, or the answer that a second
// person is asked.
func (a *api) refused(ctx context.Context, err error) error {
	if p := (*Pending)(nil); errors.As(err, &p) {
		return p
	}
	return a.problem(ctx, err)
}

// describePending adds the answer 202 to an operation that may need a second
// person.
func (a *api) describePending(op operation) {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Pending](), true, "Pending")
	example := examplePending
	example.Approval.Action, example.Approval.Operation, example.Approval.Summary = op.second, op.id, op.summary
	example.Approval.Method, example.Approval.Path, example.Approval.ContentType = op.method, strings.TrimSuffix(basePath, "/")+op.path, ""
	if o := a.described(op.method, op.path); o.RequestBody != nil {
		example.Approval.ContentType = slices.Sorted(maps.Keys(o.RequestBody.Content))[0]
	}
	a.described(op.method, op.path).Responses["202"] = &huma.Response{Description: "A second person has to approve it first",
		Content: map[string]*huma.MediaType{"application/json": {Schema: schema, Example: example}}}
}

// registerPublic adds an operation that anybody may call; public lets it through.
func registerPublic[I, O any](a *api, op operation, do func(ctx context.Context, in *I) (*O, error)) {
	o := op.huma()
	o.Errors = []int{http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable}
	huma.Register(a.huma, o, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
	a.finish(op, o.Metadata)
}

// huma is the operation as huma takes it, with the errors that its kind can have.
func (op operation) huma() huma.Operation {
	errs := []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusServiceUnavailable}
	if strings.Contains(op.path, "{") {
		errs = append(errs, http.StatusNotFound)
	}
	if op.method != http.MethodGet {
		errs = append(errs, http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if op.maxBody == 0 {
		op.maxBody = maxBody
	}
	return huma.Operation{OperationID: op.id, Method: op.method, Path: strings.TrimSuffix(basePath, "/") + op.path, Tags: []string{op.tag},
		Summary: op.summary, Description: op.description, DefaultStatus: op.status, Errors: errs,
		MaxBodyBytes: op.maxBody, BodyReadTimeout: bodyTime, Metadata: map[string]any{}}
}

// finish adds the examples, and the names of fields and parameters for those who
// misspell one.
func (a *api) finish(op operation, known map[string]any) {
	o := a.described(op.method, op.path)
	if o.RequestBody != nil {
		for _, content := range o.RequestBody.Content {
			if op.request != nil {
				content.Example = op.request
			}
			if content.Schema != nil && content.Schema.Ref != "" {
				known["body"] = slices.Sorted(maps.Keys(a.huma.OpenAPI().Components.Schemas.SchemaFromRef(content.Schema.Ref).Properties))
			}
		}
	}
	for status, response := range o.Responses {
		for _, content := range response.Content {
			if strings.HasPrefix(status, "2") && op.response != nil {
				content.Example = op.response
			}
		}
	}
	var query []string
	for _, p := range o.Parameters {
		if p.In == "query" {
			query = append(query, p.Name)
		}
	}
	known["query"] = query
}

// described is the operation in the OpenAPI document.
func (a *api) described(method, path string) *huma.Operation {
	item := a.huma.OpenAPI().Paths[strings.TrimSuffix(basePath, "/")+path]
	switch method {
	case http.MethodGet:
		return item.Get
	case http.MethodPost:
		return item.Post
	case http.MethodPut:
		return item.Put
	default:
		return item.Delete
	}
}

// describeRaw says of a GET that its answer is not made of a Go value. Without
// an example the present one stays.
func (a *api) describeRaw(path, kind string, example any) {
	response := a.described(http.MethodGet, path).Responses["200"]
	schema := &huma.Schema{Type: huma.TypeString}
	if kind == "application/json" || kind == "application/x-ndjson" {
		schema = &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
	}
	if example == nil {
		for _, content := range response.Content {
			example = content.Example
		}
	}
	response.Content = map[string]*huma.MediaType{kind: {Schema: schema, Example: example}}
}

// problemResponse is the description of an error's answer.
func (a *api) problemResponse(status int) *huma.Response {
	schema := a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	return &huma.Response{Description: http.StatusText(status), Content: map[string]*huma.MediaType{typeProblem: {Schema: schema}}}
}
