package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// maxDepth bounds how deep a JSON payload may nest, and maxFields how many fields
// one payload rule may describe.
const (
	maxDepth  = 64
	maxFields = 256
)

// payloadRule is a compiled manifest.Payload.
type payloadRule struct {
	json, text bool
	min, max   int // bytes; max 0: no limit of this rule
	closed     bool
	fields     []fieldRule
	root       *node
}

// fieldRule is a compiled manifest.Field.
type fieldRule struct {
	path     string
	typ      manifest.FieldType
	required bool
	min, max float64 // infinite where there is none
	oneOf    []string
}

// node is a place in a JSON value that fields are at or below.
type node struct {
	path     string
	field    int // index into fields, or -1
	children map[string]*node
}

// plainJSON takes every payload that is one JSON value.
var plainJSON = &payloadRule{json: true}

// compilePayload compiles the description of a payload; nil stays nil.
func (c *compiler) compilePayload(in *manifest.Payload) *payloadRule {
	if in == nil {
		return nil
	}
	r := &payloadRule{min: in.MinBytes, max: in.MaxBytes, closed: in.Closed}
	switch in.Format {
	case manifest.JSON:
		r.json = true
	case manifest.Text:
		r.text = true
	case manifest.Any, "":
	default:
		c.problem(in.Pos, quote(string(in.Format))+" is no format of payloads", "use any, json or text")
	}
	if r.min < 0 || r.max < 0 || r.max > 0 && r.min > r.max {
		c.problem(in.Pos, fmt.Sprintf("a payload of %d to %d bytes cannot be", r.min, r.max), "write minBytes not above maxBytes")
	}
	if (len(in.Fields) > 0 || in.Closed) && !r.json {
		c.problem(in.Pos, "fields are described for a payload that is not JSON", "write format: json")
	}
	if len(in.Fields) > maxFields {
		c.problem(in.Pos, fmt.Sprintf("a payload has %d fields, and %d can be described", len(in.Fields), maxFields), "describe fewer")
		return r
	}
	if len(in.Fields) > 0 || in.Closed {
		r.root = &node{field: -1}
	}
	for i := range in.Fields {
		c.field(r, &in.Fields[i])
	}
	return r
}

func (c *compiler) field(r *payloadRule, in *manifest.Field) {
	f := fieldRule{path: in.Path, typ: in.Type, required: in.Required, min: math.Inf(-1), max: math.Inf(1), oneOf: in.OneOf}
	if in.Min != nil {
		f.min = *in.Min
	}
	if in.Max != nil {
		f.max = *in.Max
	}
	switch in.Type {
	case manifest.Number, manifest.Integer, manifest.String, manifest.Array:
	case manifest.Boolean, manifest.Object:
		if in.Min != nil || in.Max != nil {
			c.problem(in.Pos, quote(in.Path)+" is "+article(in.Type)+" and has min or max", "remove them")
		}
	default:
		c.problem(in.Pos, quote(string(in.Type))+" is no type of a field", "use number, integer, string, boolean, object or array")
	}
	if math.IsNaN(f.min) || math.IsNaN(f.max) || f.min > f.max {
		c.problem(in.Pos, quote(in.Path)+" has min above max", "write min not above max")
	}
	if len(in.OneOf) > 0 && in.Type != manifest.String {
		c.problem(in.Pos, quote(in.Path)+" has oneOf and is "+article(in.Type), "use oneOf with strings")
	}
	steps, ok := pointer(in.Path)
	if !ok {
		c.problem(in.Pos, quote(in.Path)+" is not a JSON pointer", "write it as /position/lat; ~ is ~0 and / in a name is ~1")
		return
	}
	n := r.root
	for _, step := range steps {
		next := n.children[step]
		if next == nil {
			next = &node{field: -1, path: n.path + "/" + escapeStep(step)}
			if n.children == nil {
				n.children = map[string]*node{}
			}
			n.children[step] = next
		}
		n = next
	}
	if n.field >= 0 {
		c.problem(in.Pos, quote(in.Path)+" is described twice", "keep one")
	}
	n.field = len(r.fields)
	r.fields = append(r.fields, f)
}

// pointer takes a JSON pointer apart (RFC 6901).
func pointer(path string) (steps []string, ok bool) {
	if path == "" {
		return nil, true
	}
	if path[0] != '/' {
		return nil, false
	}
	for _, s := range strings.Split(path[1:], "/") {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(s), "~") {
			return nil, false
		}
		steps = append(steps, strings.NewReplacer("~1", "/", "~0", "~").Replace(s))
	}
	return steps, true
}

func escapeStep(s string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(s) }

func article(t manifest.FieldType) string {
	switch t {
	case manifest.Integer, manifest.Object, manifest.Array:
		return "an " + string(t)
	}
	return "a " + string(t)
}

var scanners = sync.Pool{New: func() any { return new(scanner) }}

// check compares a payload with the rule; the code is empty when it is as described.
// It does not allocate unless an object has many or escaped names.
func (r *payloadRule) check(data []byte) (code Code, detail string) {
	if len(data) < r.min {
		return PayloadInvalid, "the payload has " + strconv.Itoa(len(data)) + " bytes, less than " + strconv.Itoa(r.min)
	}
	if r.max > 0 && len(data) > r.max {
		return PayloadInvalid, "the payload has " + strconv.Itoa(len(data)) + " bytes, more than " + strconv.Itoa(r.max)
	}
	if (r.text || r.json) && !utf8.Valid(data) {
		return Unreadable, "the payload is not UTF-8 text"
	}
	if !r.json {
		return "", ""
	}
	s := scanners.Get().(*scanner)
	s.reset(r, data)
	if s.document() {
		s.required()
	}
	code, detail = s.code, s.detail
	s.reset(nil, nil)
	scanners.Put(s)
	return code, detail
}

// required looks for fields that must be there and were not seen.
func (s *scanner) required() {
	for i := range s.rule.fields {
		if f := &s.rule.fields[i]; f.required && !s.seen[i] {
			s.refuse(nameOf(f.path) + " is missing")
			return
		}
	}
}

// nameOf is a path for sentences.
func nameOf(path string) string {
	if path == "" {
		return "the payload"
	}
	return clip(path)
}

// mistyped refuses a value that is of another type than its field.
func (s *scanner) mistyped(f *fieldRule, is string) bool {
	return s.refuse(nameOf(f.path) + " is " + is + ", not " + article(f.typ))
}

// bounds refuses a number, or a length with its unit, outside the range of a field.
func (s *scanner) bounds(f *fieldRule, v float64, text, unit string) bool {
	switch {
	case v < f.min:
		return s.refuse(nameOf(f.path) + verb(unit) + text + unit + ", less than " + number(f.min))
	case v > f.max:
		return s.refuse(nameOf(f.path) + verb(unit) + text + unit + ", more than " + number(f.max))
	}
	return true
}

func verb(unit string) string {
	if unit == "" {
		return " is "
	}
	return " has "
}
