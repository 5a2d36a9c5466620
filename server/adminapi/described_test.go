package adminapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	committed  = "../../api/openapi.json"
	metaSchema = "https://spec.openapis.org/oas/3.1/schema/2022-10-07"
	here       = "https://holdfast.test/openapi.json"
)

// described is the document as a server sends it, and its compiler of schemas.
func described(t *testing.T) ([]byte, map[string]any, *jsonschema.Compiler) {
	t.Helper()
	cfg := newMemory().config()
	cfg.Version = "v1"
	rec := httptest.NewRecorder()
	Handler(cfg).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	var text bytes.Buffer
	if err := json.Indent(&text, rec.Body.Bytes(), "", "  "); err != nil {
		t.Fatal(err)
	}
	text.WriteByte('\n')
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join("testdata", "openapi-3.1.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	meta, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for url, resource := range map[string]any{metaSchema: meta, here: doc} {
		if err := c.AddResource(url, resource); err != nil {
			t.Fatal(err)
		}
	}
	return text.Bytes(), doc.(map[string]any), c
}

// TestDocumentIsCommitted keeps api/openapi.json, which the Go client is made of,
// in step; HOLDFAST_WRITE=1 writes it.
func TestDocumentIsCommitted(t *testing.T) {
	text, _, _ := described(t)
	if os.Getenv("HOLDFAST_WRITE") != "" {
		if err := os.WriteFile(committed, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := os.ReadFile(committed); err != nil || !bytes.Equal(kept, text) {
		t.Errorf("%s is not what the server says (%v): run HOLDFAST_WRITE=1 go test ./server/adminapi -run TestDocumentIsCommitted, then go generate ./api", committed, err)
	}
}

// TestDocumentIsValid checks the document against the schema of OpenAPI 3.1, and
// every schema and example in it against JSON Schema 2020-12, with a validator that
// knows nothing of the library that wrote them.
func TestDocumentIsValid(t *testing.T) {
	_, doc, c := described(t)
	if err := c.MustCompile(metaSchema).Validate(doc); err != nil {
		t.Errorf("the document is not OpenAPI 3.1: %v", err)
	}
	schemas, examples := 0, 0
	each(doc, "#", func(at string, node map[string]any) {
		if _, is := node["schema"]; !is || strings.Contains(at, "/properties/") {
			return
		}
		s, err := c.Compile(here + at + "/schema")
		if err != nil {
			t.Errorf("%s: %v", at, err)
			return
		}
		schemas++
		if example, has := node["example"]; has {
			examples++
			if err := s.Validate(example); err != nil {
				t.Errorf("%s: the example: %v", at, err)
			}
		}
	})
	for name := range doc["components"].(map[string]any)["schemas"].(map[string]any) {
		s, err := c.Compile(here + "#/components/schemas/" + name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, example := range s.Examples {
			if err := s.Validate(example); err != nil {
				t.Errorf("%s: an example: %v", name, err)
			}
		}
	}
	if schemas < 500 || examples < 170 {
		t.Errorf("there are only %d schemas and %d examples", schemas, examples)
	}
}

// each visits every object of a document with its JSON pointer.
func each(v any, at string, visit func(at string, node map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(at, v)
		for name, child := range v {
			if name == "example" || name == "examples" {
				continue
			}
			each(child, at+"/"+strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(name), visit)
		}
	case []any:
		for i, child := range v {
			each(child, fmt.Sprintf("%s/%d", at, i), visit)
		}
	}
}
