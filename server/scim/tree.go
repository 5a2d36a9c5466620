package scim

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// object is a JSON object in the order that it was written. The names of
// attributes do not tell upper from lower case (RFC 7643 section 2.1), so two
// that differ in nothing else are one name twice, and are refused: the reader
// and the provider could disagree about which of them counts.
type object []field

type field struct {
	name  string
	value any // nil, bool, json.Number, string, []any or object
}

// get finds an attribute; a null is the same as none (RFC 7643 section 2.5).
func (o object) get(name string) (any, bool) {
	for _, f := range o {
		if strings.ToLower(f.name) == name {
			return f.value, f.value != nil
		}
	}
	return nil, false
}

// parseObject reads one JSON object, at most maxDepth deep.
func parseObject(body []byte) (object, error) {
	if !utf8.Valid(body) {
		return nil, bad(invalidSyntax, "the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	v, err := parseValue(d, maxDepth)
	var f *fault
	if errors.As(err, &f) {
		return nil, f
	}
	if err == nil {
		_, err = d.Token()
	}
	o, ok := v.(object)
	if !ok || !errors.Is(err, io.EOF) {
		return nil, bad(invalidSyntax, "the body is not one JSON object")
	}
	return o, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, noEOF(err)
	}
	if depth == 0 {
		return nil, bad(invalidSyntax, "the body has values more than %d deep inside each other", maxDepth)
	}
	switch t {
	case json.Delim('{'):
		return parseFields(d, depth)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := parseValue(d, depth-1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, noEOF(err)
	}
	return t, nil
}

func parseFields(d *json.Decoder, depth int) (any, error) {
	o, seen := object{}, map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, noEOF(err)
		}
		name, _ := t.(string)
		low := strings.ToLower(name)
		if seen[low] {
			return nil, bad(invalidSyntax, "the attribute %s is there twice", clip(name))
		}
		seen[low] = true
		v, err := parseValue(d, depth-1)
		if err != nil {
			return nil, err
		}
		o = append(o, field{name, v})
	}
	_, err := d.Token()
	return o, noEOF(err)
}

// noEOF keeps a body that ends too early apart from one that ends.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// scalar is the text of a string or number, and "" of anything else.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}
