package privacy

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Mark is a field that a view rewrites: where it stands in the payload as it was
// sent, and what happens to it.
type Mark struct {
	Path string // JSON pointer (RFC 6901); empty: the whole payload
	Do   Transform
}

// Marks lists the fields of a payload that Apply rewrites, in the order of their
// paths, at most limit of them; more tells that there are others. It returns
// nothing for a payload that Apply refuses. It is for readers who want to see that
// something was taken from them, not for the path of messages.
func (v *View) Marks(payload []byte, limit int) (list []Mark, more bool) {
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	var value any
	if _, err := v.Apply(nil, payload); err != nil || dec.Decode(&value) != nil {
		return nil, false
	}
	m := marker{limit: limit}
	m.look(value, []*node{v.root}, "")
	slices.SortFunc(m.list, func(a, b Mark) int { return strings.Compare(a.Path, b.Path) })
	return m.list, m.more
}

// marker walks a payload along the nodes of a view.
type marker struct {
	list  []Mark
	limit int
	more  bool
}

var doing = map[kind]Transform{generalize: Generalize, maskSome: Mask, maskAll: Mask, hash: Hash, drop: Drop}

func (m *marker) look(value any, nodes []*node, path string) {
	var do rule
	for _, n := range nodes {
		do = stronger(do, n.rule)
	}
	if do.do != whole {
		if len(m.list) == m.limit {
			m.more = true
			return
		}
		m.list = append(m.list, Mark{path, doing[do.do]})
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			if inner := under(nodes, name); len(inner) > 0 {
				m.look(member, inner, path+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
			}
		}
	case []any:
		for i, element := range value {
			at := strconv.Itoa(i)
			if inner := under(nodes, at); len(inner) > 0 {
				m.look(element, inner, path+"/"+at)
			}
		}
	}
}

// under are the nodes that lead from nodes to a member or element.
func under(nodes []*node, name string) (inner []*node) {
	for _, n := range nodes {
		if c := n.names[name]; c != nil {
			inner = append(inner, c)
		}
		if n.every != nil {
			inner = append(inner, n.every)
		}
	}
	return inner
}
