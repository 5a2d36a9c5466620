package manifest

import (
	"bytes"
	"encoding/json"

	"go.yaml.in/yaml/v3"
)

// json appends a YAML value as JSON, in the order of the file. What JSON cannot
// say is a problem.
func (r *reader) json(dst []byte, n *yaml.Node) []byte {
	switch n.Kind {
	case yaml.SequenceNode:
		dst = append(dst, '[')
		for i, c := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = r.json(dst, c)
		}
		return append(dst, ']')
	case yaml.MappingNode:
		dst = append(dst, '{')
		first := true
		r.pairs(n, func(key, value *yaml.Node) {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(appendText(dst, key.Value), ':')
			dst = r.json(dst, value)
		})
		return append(dst, '}')
	}
	switch n.ShortTag() {
	case "!!null":
		return append(dst, "null"...)
	case "!!bool":
		if b := r.boolean(n); b != nil && *b {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case "!!int", "!!float":
		if !jsonNumber.MatchString(n.Value) {
			r.add(r.pos(n), "write it as JSON does, such as 0.5 or -12, or put it in quotes", "`%s` is no number of JSON", clip(n.Value))
		}
		return append(dst, n.Value...)
	}
	return appendText(dst, n.Value)
}

func appendText(dst []byte, s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return append(dst, `""`...) // does not happen: strings always marshal
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}
