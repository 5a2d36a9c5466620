package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yamlParser is a koanf parser that refuses what the configuration does not
// know, and remembers where each key stands.
type yamlParser struct {
	file     string
	fields   []field
	origins  map[string]string // key → "file:line:column", written by Unmarshal
	problems *Problems
}

// Unmarshal returns nested maps whose leaves are text, []any of text, or []any
// of map[string]any. What is wrong goes to problems.
func (p yamlParser) Unmarshal(data []byte) (map[string]any, error) {
	var doc yaml.Node
	if err := unmarshalOne(data, &doc); err != nil {
		where, detail := p.file, err.Error()
		if m := yamlLine.FindStringSubmatch(detail); m != nil {
			where, detail = p.file+":"+m[1], m[2]
		}
		p.problems.add(where, "", "correct the YAML there", "reading YAML: %s", clip(detail))
		return nil, *p.problems
	}
	if doc.Kind == 0 || doc.Tag == "!!null" {
		return map[string]any{}, nil
	}
	w := walker(p)
	root := w.mapping("", &doc)
	return root, p.problems.err()
}

// Marshal is not needed: a configuration is never written.
func (yamlParser) Marshal(map[string]any) ([]byte, error) {
	return nil, errors.New("writing a configuration: not supported")
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?line (\d+): (.*)`)

// unmarshalOne reads a single YAML document without expanding anything. out is
// the root value, or has Kind 0 when there is none.
func unmarshalOne(data []byte, out *yaml.Node) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return errors.New("expected a single document")
	}
	if len(doc.Content) == 1 {
		*out = *doc.Content[0]
	}
	return nil
}

type walker struct {
	file     string
	fields   []field
	origins  map[string]string
	problems *Problems
}

func (w walker) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d:%d", w.file, n.Line, n.Column) }

// mapping reads a section; prefix is "" or ends in a dot.
func (w walker) mapping(prefix string, n *yaml.Node) map[string]any {
	section := strings.TrimSuffix(prefix, ".")
	out := map[string]any{}
	if n.Tag == "!!null" && n.Kind == yaml.ScalarNode {
		return out // a section with everything in it commented out
	}
	if n.Kind != yaml.MappingNode {
		w.problems.add(w.at(n), section, "", "expected keys with values below it, found %s", found(n))
		return out
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if name.Kind != yaml.ScalarNode || name.Tag != "!!str" {
			w.problems.add(w.at(name), section, "", "expected a key, found %s", found(name))
			continue
		}
		key := prefix + name.Value
		if line, twice := seen[name.Value]; twice {
			w.problems.add(w.at(name), clip(key), "keep one of them", "the key stands twice, first on line %d", line)
			continue
		}
		seen[name.Value] = name.Line
		if v, ok := w.value(key, name, value); ok {
			out[name.Value] = v
		}
	}
	return out
}

func (w walker) value(key string, name, value *yaml.Node) (any, bool) {
	for _, f := range w.fields {
		if f.key == key {
			w.origins[key] = w.at(value)
			if f.node != nil {
				f.node(w, value)
				return nil, false
			}
			return w.leaf(f, value)
		}
		if strings.HasPrefix(f.key, key+".") {
			return w.mapping(key+".", value), true
		}
	}
	fix := "see the example configuration for the keys there are"
	if near := nearestKey(key, keysOf(w.fields)); near != "" {
		fix = "did you mean " + near + "?"
	}
	w.problems.add(w.at(name), clip(key), fix, "unknown key")
	return nil, false
}

// nearestKey also finds a key that was written in the wrong section, and a
// section that was misspelt.
func nearestKey(key string, keys []string) string {
	known := slices.Clone(keys)
	for _, k := range keys {
		for i, c := range k {
			if c == '.' && !slices.Contains(known, k[:i]) {
				known = append(known, k[:i])
			}
		}
	}
	if near := nearest(key, known); near != "" {
		return near
	}
	last := key[strings.LastIndex(key, ".")+1:]
	for _, k := range keys {
		if k[strings.LastIndex(k, ".")+1:] == last {
			return k
		}
	}
	return ""
}

// leaf reads the value of a field.
func (w walker) leaf(f field, n *yaml.Node) (any, bool) {
	k := kinds[f.kind]
	wrong := n.Kind == yaml.AliasNode || !slices.Contains(strings.Fields(k.tags), n.Tag) ||
		(n.Kind == yaml.SequenceNode) != (k.tags == "!!seq")
	if wrong {
		what := found(n)
		if f.secret {
			what = "something else"
		}
		w.problems.add(w.at(n), f.key, "", "expected %s, found %s", k.expects, what)
		return nil, false
	}
	switch f.kind {
	case list:
		return w.texts(f.key, n), true
	case witnesses:
		return w.witnesses(f.key, n), true
	}
	return n.Value, true
}

func (w walker) texts(key string, n *yaml.Node) []any {
	items := []any{}
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode || item.Tag != "!!str" {
			w.problems.add(w.at(item), key, "", "expected text, found %s", found(item))
			continue
		}
		items = append(items, item.Value)
	}
	return items
}

// witnesses reads a list of {url, key}.
func (w walker) witnesses(key string, n *yaml.Node) []any {
	items := []any{}
	if n.Kind != yaml.SequenceNode {
		w.problems.add(w.at(n), key, "", "expected %s", kinds[witnesses].expects)
		return items
	}
	fields := []field{{key: key + ".url", kind: text}, {key: key + ".key", kind: text}}
	inner := walker{file: w.file, fields: fields, origins: map[string]string{}, problems: w.problems}
	for _, item := range n.Content {
		m := inner.mapping(key+".", item)
		if len(m) != 2 {
			w.problems.add(w.at(item), key, "", "expected url and key in each witness")
			continue
		}
		items = append(items, m)
	}
	return items
}

// found describes a node for people.
func found(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.AliasNode:
		return "an alias (aliases are not supported)"
	case n.Kind == yaml.MappingNode:
		return "keys with values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	case n.Tag == "!!str":
		return fmt.Sprintf("the text %q", clip(n.Value))
	}
	return clip(n.Value)
}
