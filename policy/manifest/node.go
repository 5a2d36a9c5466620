package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxDepth is the deepest nesting of lists and keys.
const maxDepth = 64

// reader reads the YAML of one file. It never expands anything: what it holds
// is a small multiple of the file.
type reader struct {
	file string
	data []byte
	*problems
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)`)

// documents calls each with the root of every document that is not empty.
func (r *reader) documents(each func(*yaml.Node)) {
	dec := yaml.NewDecoder(bytes.NewReader(r.data))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			m := yamlLine.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
			line, _ := strconv.Atoi(m[1])
			r.add(Pos{r.file, max(line, 1), 1}, "correct the YAML there or just above", "this is not YAML: %s", clip(m[2]))
			return
		}
		if len(doc.Content) != 1 || isNull(doc.Content[0]) {
			continue
		}
		if r.plain(doc.Content[0], 0) {
			each(doc.Content[0])
		}
	}
}

// plain refuses what could make a document mean more than it shows, and nesting
// that nothing here needs.
func (r *reader) plain(n *yaml.Node, depth int) bool {
	switch {
	case depth > maxDepth:
		r.add(r.pos(n), "write it flatter", "the nesting is deeper than %d levels", maxDepth)
	case n.Kind == yaml.AliasNode:
		r.add(r.pos(n), "write the value out", "aliases (*%s) are not supported", clip(n.Value))
	case n.Anchor != "":
		r.add(r.pos(n), "take the anchor away", "anchors (&%s) are not supported", clip(n.Anchor))
	case n.Style&yaml.TaggedStyle != 0:
		r.add(r.pos(n), "take the tag away", "tags (%s) are not supported", clip(n.Tag))
	default:
		ok := true
		for _, c := range n.Content {
			ok = r.plain(c, depth+1) && ok
		}
		return ok
	}
	return false
}

func (r *reader) pos(n *yaml.Node) Pos { return Pos{r.file, n.Line, n.Column} }

// inside is the place of a scalar's first character, which is not always where
// the scalar begins.
func (r *reader) inside(n *yaml.Node) Pos {
	p := r.pos(n)
	switch {
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		p.Column++
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		p.Line++
		lines := bytes.SplitN(r.data, []byte("\n"), p.Line+1)
		if p.Line <= len(lines) {
			line := lines[p.Line-1]
			p.Column = len(line) - len(bytes.TrimLeft(line, " ")) + 1
		}
	}
	return p
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// fields are the values below a node, by key.
type fields map[string]*yaml.Node

// fields reads keys with values. known lists the keys there are, separated by
// spaces; those with an exclamation mark must be there. ok is false when it is
// something else or a key is missing; what was found is returned all the same.
func (r *reader) fields(n *yaml.Node, what, known string) (f fields, ok bool) {
	f = fields{}
	if n.Kind != yaml.MappingNode && !isNull(n) {
		r.add(r.pos(n), "", "expected keys with values for %s, found %s", what, found(n))
		return f, false
	}
	names := strings.Fields(strings.ReplaceAll(known, "!", ""))
	ok = true
	r.pairs(n, func(key, value *yaml.Node) {
		if !slices.Contains(names, key.Value) {
			ok = false
			fix := didYouMean(key.Value, names)
			r.add(r.pos(key), fix, "unknown key `%s` in %s", clip(key.Value), what)
			return
		}
		f[key.Value] = value
	})
	for _, k := range strings.Fields(known) {
		if name, must := strings.CutSuffix(k, "!"); must && f[name] == nil {
			ok = false
			r.add(r.pos(n), "add it", "%s has no `%s`", what, name)
		}
	}
	return f, ok
}

// pairs calls each with every key, which is text that stands once, and its value.
func (r *reader) pairs(n *yaml.Node, each func(key, value *yaml.Node)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
			r.add(r.pos(key), "put a key that looks like a number or a word of YAML in quotes", "expected a key, found %s", found(key))
			continue
		}
		if line, twice := seen[key.Value]; twice {
			r.add(r.pos(key), "keep one of them", "the key `%s` stands twice, first on line %d", clip(key.Value), line)
			continue
		}
		seen[key.Value] = key.Line
		each(key, value)
	}
}

// list calls each with every element. Nothing at all is an empty list.
func (r *reader) list(n *yaml.Node, what string, each func(i int, n *yaml.Node)) {
	if n == nil || isNull(n) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		r.add(r.pos(n), "begin each with `- `, or write [ and ] around them", "expected a list for %s, found %s", what, found(n))
		return
	}
	for i, c := range n.Content {
		each(i, c)
	}
}

// scalar returns the text of a value that YAML reads as one of the tags.
func (r *reader) scalar(n *yaml.Node, expects, fix string, tags ...string) (string, bool) {
	if n == nil {
		return "", false
	}
	if n.Kind != yaml.ScalarNode || !slices.Contains(tags, n.ShortTag()) {
		r.add(r.pos(n), fix, "expected %s, found %s", expects, found(n))
		return "", false
	}
	return n.Value, true
}

// text reads text of at most limit bytes without control characters; lines
// allows line breaks and tabs.
func (r *reader) text(n *yaml.Node, limit int, lines bool) (string, bool) {
	fix := ""
	if n != nil && n.Kind == yaml.ScalarNode && !isNull(n) {
		fix = "put it in quotes"
	}
	s, ok := r.scalar(n, "text", fix, "!!str")
	if !ok {
		return "", false
	}
	if len(s) > limit {
		r.add(r.pos(n), "shorten it", "the text has %d bytes, more than %d", len(s), limit)
		return "", false
	}
	if !utf8.ValidString(s) {
		r.add(r.pos(n), "write it in UTF-8", "the text is not valid UTF-8")
		return "", false
	}
	for i, c := range s {
		if c < ' ' && !(lines && (c == '\n' || c == '\t')) || c >= 0x7f && c < 0xa0 {
			r.add(r.pos(n), "take it away", "the text has the control character %U at byte %d", c, i+1)
			return "", false
		}
	}
	return s, true
}

func (r *reader) boolean(n *yaml.Node) *bool {
	s, ok := r.scalar(n, "true or false", "", "!!bool")
	if !ok {
		return nil
	}
	b := strings.EqualFold(s, "true")
	return &b
}

// word reads one of a few words.
func (r *reader) word(n *yaml.Node, what string, known ...string) string {
	s, ok := r.text(n, 1<<10, false)
	if !ok {
		return ""
	}
	if !slices.Contains(known, s) {
		r.add(r.pos(n), didYouMean(s, known), "`%s` is no %s", clip(s), what)
		return ""
	}
	return s
}

// texts reads a list of at least one text, none twice; each returns the value to keep.
func (r *reader) texts(n *yaml.Node, what string, each func(n *yaml.Node) (string, bool)) []string {
	if n == nil {
		return nil
	}
	var out []string
	r.list(n, what, func(_ int, c *yaml.Node) {
		s, ok := each(c)
		if ok && slices.Contains(out, s) {
			r.add(r.pos(c), "keep one of them", "`%s` stands twice in %s", clip(s), what)
		} else if ok {
			out = append(out, s)
		}
	})
	if isNull(n) || n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		r.add(r.pos(n), "list at least one, or leave the key out", "%s is an empty list", what)
	}
	return out
}

// distinct tells whether what is new under its name, and remembers it.
func (r *reader) distinct(seen map[string]Pos, what, name string, at Pos) bool {
	if first, twice := seen[name]; twice {
		r.add(at, "keep one of them, or rename one", "the %s `%s` stands twice, first at %s", what, clip(name), first)
		return false
	}
	seen[name] = at
	return true
}

// found describes a node for people.
func found(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.AliasNode:
		return "an alias"
	case n.Kind == yaml.MappingNode:
		return "keys with values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null":
		return "nothing"
	case n.ShortTag() == "!!str":
		return fmt.Sprintf("the text `%s`", clip(n.Value))
	}
	return "`" + clip(n.Value) + "`"
}
