package manifest

import (
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	formats    = []string{string(Any), string(JSON), string(Text)}
	fieldTypes = []string{string(Number), string(Integer), string(String), string(Boolean), string(Object), string(Array)}
)

func (r *reader) payload(n *yaml.Node) *Payload {
	f, ok := r.fields(n, "`payload`", "format minBytes maxBytes fields closed")
	if ok && len(f) == 0 {
		r.add(r.pos(n), "write what it must be, such as {format: json, maxBytes: 512}, or leave the key out", "`payload` is empty")
	}
	p := &Payload{Format: Any, Pos: r.pos(n)}
	if f["format"] != nil {
		p.Format = Format(r.word(f["format"], "payload format", formats...))
	} else if f["fields"] != nil || f["closed"] != nil {
		p.Format = JSON
	}
	p.MinBytes, p.MaxBytes = int(r.optionalSize(f["minBytes"])), int(r.optionalSize(f["maxBytes"]))
	if p.MaxBytes > 0 && p.MinBytes > p.MaxBytes {
		r.add(r.pos(f["minBytes"]), "exchange them", "`minBytes` %s is more than `maxBytes` %s", FormatSize(int64(p.MinBytes)), FormatSize(int64(p.MaxBytes)))
	}
	seen := map[string]Pos{}
	r.list(f["fields"], "`fields`", func(i int, c *yaml.Node) {
		if i == maxFields {
			r.add(r.pos(c), "list fewer", "there are more than %d fields", maxFields)
		}
		if field, ok := r.field(c); ok && i < maxFields && r.distinct(seen, "field", field.Path, field.Pos) {
			p.Fields = append(p.Fields, field)
		}
	})
	if b := r.boolean(f["closed"]); b != nil {
		p.Closed = *b
	}
	if p.Format != JSON && p.Format != "" && (len(p.Fields) > 0 || p.Closed) {
		r.add(r.pos(f["format"]), "write format: json", "`fields` and `closed` are for JSON, and the format is %s", p.Format)
	}
	return p
}

func (r *reader) optionalSize(n *yaml.Node) int64 {
	if n == nil {
		return 0
	}
	return r.size(n, 1, maxBytes)
}

func (r *reader) field(n *yaml.Node) (Field, bool) {
	f, ok := r.fields(n, "a field", "path! type! required min max oneOf")
	if !ok {
		return Field{}, false
	}
	field := Field{Pos: r.pos(n), Type: FieldType(r.word(f["type"], "type of a field", fieldTypes...))}
	field.Path, ok = r.pointer(f["path"], false)
	if b := r.boolean(f["required"]); b != nil {
		field.Required = *b
	}
	field.Min, field.Max = r.number(f["min"]), r.number(f["max"])
	r.fieldRange(f, &field)
	if f["oneOf"] != nil && field.Type != String && field.Type != "" {
		r.add(r.pos(f["oneOf"]), "use min and max for numbers, or type: string", "`oneOf` lists texts, and the type is %s", field.Type)
	}
	field.OneOf = r.texts(f["oneOf"], "`oneOf`", func(c *yaml.Node) (string, bool) { return r.text(c, 1<<10, true) })
	return field, ok
}

func (r *reader) fieldRange(f fields, field *Field) {
	for _, bound := range []struct {
		key string
		v   *float64
	}{{"min", field.Min}, {"max", field.Max}} {
		if bound.v == nil || field.Type == "" {
			continue
		}
		switch at := r.pos(f[bound.key]); {
		case field.Type == Boolean || field.Type == Object:
			r.add(at, "take it away", "`%s` is for numbers, strings and arrays, and the type is %s", bound.key, field.Type)
		case field.Type != Number && *bound.v != math.Trunc(*bound.v):
			r.add(at, "write a whole number", "`%s` of a field of type %s has a fraction", bound.key, field.Type)
		case (field.Type == String || field.Type == Array) && *bound.v < 0:
			r.add(at, "write 0 or more", "`%s` of a field of type %s is a length", bound.key, field.Type)
		}
	}
	if field.Min != nil && field.Max != nil && *field.Min > *field.Max {
		r.add(r.pos(f["min"]), "exchange them", "`min` %v is more than `max` %v", *field.Min, *field.Max)
	}
}

// pointer reads a JSON pointer (RFC 6901) to something inside; star allows * as
// a segment that stands for every element or member.
func (r *reader) pointer(n *yaml.Node, star bool) (string, bool) {
	s, ok := r.text(n, maxPattern, true)
	if !ok {
		return "", false
	}
	bare := strings.NewReplacer("~0", "", "~1", "").Replace(s)
	switch {
	case !strings.HasPrefix(s, "/"):
		r.add(r.pos(n), "write it with a slash before each name, such as /position/lat", "`%s` is no path into JSON", clip(s))
	case strings.Contains(bare, "~"):
		r.add(r.pos(n), "write ~0 for ~ and ~1 for / in a name", "`%s` is no path into JSON", clip(s))
	case !star && slices.Contains(strings.Split(s, "/"), "*"):
		r.add(r.pos(n), "name the member or the number of the element; * is for marks", "the path `%s` has *", clip(s))
	case strings.Count(s, "/") > maxDepth:
		r.add(r.pos(n), "payloads are read to that depth", "the path has more than %d names", maxDepth)
	default:
		return s, true
	}
	return "", false
}

// marks reads which fields of a device's messages need protection.
func (d *document) marks(n *yaml.Node) []Mark {
	var out []Mark
	seen := map[string]Pos{}
	d.list(n, "`marks`", func(i int, c *yaml.Node) {
		if i == maxMarks {
			d.add(d.pos(c), "list fewer: a mark on a field holds for everything below it", "there are more than %d marks", maxMarks)
		}
		f, ok := d.fields(c, "a mark", "path! as!")
		if !ok || i >= maxMarks {
			return
		}
		m := Mark{Pos: d.pos(c), As: d.name(f["as"])}
		if m.Path, ok = d.pointer(f["path"], true); ok && d.distinct(seen, "path", m.Path, m.Pos) {
			out = append(out, m)
		}
	})
	return out
}
