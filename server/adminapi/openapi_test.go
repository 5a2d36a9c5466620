package adminapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// withoutToken lists the operations that anybody may call.
var withoutToken = []string{"trust-anchors"}

func TestDocument(t *testing.T) {
	rec := httptest.NewRecorder()
	Handler(newMemory().config()).ServeHTTP(rec, httptest.NewRequest("GET", "/openapi.json", nil))
	if rec.Code != 200 || rec.Header().Get("Content-Type") != "application/openapi+json" {
		t.Fatalf("got %d %s", rec.Code, rec.Header().Get("Content-Type"))
	}
	var doc struct {
		OpenAPI string
		Info    struct{ Version string }
		Paths   map[string]map[string]struct {
			OperationID, Summary, Description string
			Tags                              []string
			Security                          []map[string][]string
			Parameters                        []struct{ Name, In string }
			RequestBody                       *struct {
				Content map[string]struct{ Schema, Example any }
			}
			Responses map[string]struct {
				Content map[string]struct{ Schema, Example any }
			}
		}
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" || doc.Info.Version != "1.2.3" {
		t.Errorf("got OpenAPI %q of version %q", doc.OpenAPI, doc.Info.Version)
	}
	segment := regexp.MustCompile(`\{([a-z]+)\}`)
	seen := map[string]bool{}
	for path, item := range doc.Paths {
		for method, op := range item {
			at := method + " " + path
			if op.Summary == "" || op.Description == "" || len(op.Tags) != 1 || op.OperationID == "" || seen[op.OperationID] {
				t.Errorf("%s: summary %q, description %q, tags %v, id %q", at, op.Summary, op.Description, op.Tags, op.OperationID)
			}
			seen[op.OperationID] = true
			open := slices.Contains(withoutToken, op.OperationID)
			if secured := len(op.Security) == 1 && op.Security[0]["token"] != nil; secured == open {
				t.Errorf("%s: security is %v", at, op.Security)
			}
			for _, m := range segment.FindAllStringSubmatch(path, -1) {
				if !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool { return p.In == "path" && p.Name == m[1] }) {
					t.Errorf("%s: the parameter %s is not described", at, m[1])
				}
			}
			if method != "get" && op.RequestBody != nil {
				for kind, c := range op.RequestBody.Content {
					if c.Schema == nil || c.Example == nil {
						t.Errorf("%s: the body %s has no schema or example", at, kind)
					}
				}
			}
			problems := 0
			for status, r := range op.Responses {
				for kind, c := range r.Content {
					if status[0] == '2' && (c.Schema == nil || c.Example == nil) {
						t.Errorf("%s: the answer %s %s has no schema or example", at, status, kind)
					}
					if status[0] == '4' && kind == typeProblem {
						problems++
					}
				}
			}
			if problems < 2 {
				t.Errorf("%s: only %d client errors are described", at, problems)
			}
		}
	}
	if len(seen) < 61 {
		t.Errorf("there are only %d operations", len(seen))
	}
}

// TestExamples checks each example against the schema that it stands beside.
func TestExamples(t *testing.T) {
	a := newAPI(newMemory().config())
	oapi := a.huma.OpenAPI()
	check := func(at string, c *huma.MediaType) {
		b, err := json.Marshal(c.Example)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatal(err)
		}
		var res huma.ValidateResult
		huma.Validate(oapi.Components.Schemas, c.Schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, v, &res)
		for _, err := range res.Errors {
			t.Errorf("%s: the example: %v", at, err)
		}
	}
	for path, item := range oapi.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil {
				continue
			}
			if op.RequestBody != nil {
				for kind, c := range op.RequestBody.Content {
					c.Schema.PrecomputeMessages()
					check(op.Method+" "+path+" body "+kind, c)
				}
			}
			for status, r := range op.Responses {
				for kind, c := range r.Content {
					if status[0] == '2' {
						c.Schema.PrecomputeMessages()
						check(op.Method+" "+path+" "+status+" "+kind, c)
					}
				}
			}
		}
	}
}

// TestTokenNeeded walks all operations without a token, and with a wrong one.
func TestTokenNeeded(t *testing.T) {
	a := newAPI(newMemory().config())
	h := Handler(newMemory().config())
	for path, item := range a.huma.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil || slices.Contains(withoutToken, op.OperationID) {
				continue
			}
			for _, header := range []string{"", "Bearer wrong", "Basic " + goodToken, "Bearer ", "Bearer " + strings.Repeat("x", 600)} {
				r := httptest.NewRequest(op.Method, strings.NewReplacer("{", "", "}", "").Replace(path), nil)
				if header != "" {
					r.Header.Set("Authorization", header)
				}
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, r)
				if rec.Code != http.StatusUnauthorized || rec.Header().Get("WWW-Authenticate") == "" {
					t.Errorf("%s %s with %.20q: got %d", op.Method, path, header, rec.Code)
				}
			}
		}
	}
	for _, path := range []string{"/openapi.json", "/openapi.yaml", "/api/v1/ca/bundle.pem"} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if rec.Code != 200 {
			t.Errorf("%s: got %d", path, rec.Code)
		}
	}
	for _, path := range []string{"/", "/docs", "/schemas/Type", "/openapi-3.0.json", "/api/v1/nothing"} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if rec.Code != http.StatusUnauthorized {
			t.Errorf("%s: got %d", path, rec.Code)
		}
	}
}
