package topics

import "hash/maphash"

// seed makes it impossible to choose levels that collide.
var seed = maphash.MakeSeed()

const few = 8 // as many nodes are looked through one by one

// branch is the nodes below a node, each with another first level.
type branch[T comparable] struct {
	// Up to few literal levels: a list. More: a hash table of a power of two,
	// open addressing with linear probing, at most three quarters full.
	table []*node[T]
	count int
	any   *node[T] // level "+"
	all   *node[T] // the filter "#"
}

func (b *branch[T]) empty() bool { return b.count == 0 && b.any == nil && b.all == nil }

// slot returns where a wildcard level is kept, or nil: "#" is one only as the last level.
func (b *branch[T]) slot(level string, more bool) **node[T] {
	switch {
	case level == "+":
		return &b.any
	case level == "#" && !more:
		return &b.all
	}
	return nil
}

// get returns the node whose first level this is, or nil.
func (b *branch[T]) get(level string, more bool) *node[T] {
	if s := b.slot(level, more); s != nil {
		return *s
	}
	return b.find(level)
}

// is reports whether this is the first level of the node.
func (n *node[T]) is(level string) bool {
	return len(n.label) >= len(level) && n.label[:len(level)] == level && (len(n.label) == len(level) || n.label[len(level)] == '/')
}

// find returns the node of a literal level, or nil.
func (b *branch[T]) find(level string) *node[T] {
	if b.count <= few {
		for _, n := range b.table {
			if n.is(level) {
				return n
			}
		}
		return nil
	}
	return b.table[b.probe(level)]
}

func home(level string, size int) int { return int(maphash.String(seed, level)) & (size - 1) }

// probe returns the place in the hash table where the level is, or else where it would go.
func (b *branch[T]) probe(level string) int {
	i := home(level, len(b.table))
	for b.table[i] != nil && !b.table[i].is(level) {
		i = (i + 1) & (len(b.table) - 1)
	}
	return i
}

// put adds a node whose first level is not there yet.
func (b *branch[T]) put(n *node[T], level string, more bool) {
	if s := b.slot(level, more); s != nil {
		*s = n
		return
	}
	b.count++
	switch {
	case b.count <= few:
		b.table = append(b.table, n)
	case b.count == few+1:
		b.table = append(b.table, n)
		b.resize(4 * few)
	default:
		if 4*b.count > 3*len(b.table) {
			b.resize(2 * len(b.table))
		}
		b.table[b.probe(level)] = n
	}
}

// del takes away a node that is there.
func (b *branch[T]) del(n *node[T], level string, more bool) {
	if s := b.slot(level, more); s != nil {
		*s = nil
		return
	}
	if b.count <= few {
		for i, x := range b.table {
			if x == n {
				last := len(b.table) - 1
				b.table[i], b.table[last] = b.table[last], nil
				b.table = b.table[:last]
			}
		}
		b.count--
		if b.count == 0 {
			b.table = nil
		}
		return
	}
	b.unlink(b.probe(level))
	b.count--
	switch {
	case b.count == few:
		b.list()
	case len(b.table) > 4*few && 8*b.count < len(b.table):
		b.resize(len(b.table) / 2)
	}
}

// unlink empties place i and moves back the nodes after it that would not be found any more.
func (b *branch[T]) unlink(i int) {
	mask := len(b.table) - 1
	for j := i; ; {
		j = (j + 1) & mask
		n := b.table[j]
		if n == nil {
			break
		}
		level, _, _ := split(n.label)
		if h := home(level, len(b.table)); (j-h)&mask >= (j-i)&mask {
			b.table[i] = n
			i = j
		}
	}
	b.table[i] = nil
}

// resize makes a hash table of this size of all nodes.
func (b *branch[T]) resize(size int) {
	old := b.table
	b.table = make([]*node[T], size)
	for _, n := range old {
		if n != nil {
			level, _, _ := split(n.label)
			b.table[b.probe(level)] = n
		}
	}
}

// list makes a list of the hash table.
func (b *branch[T]) list() {
	old := b.table
	b.table = make([]*node[T], 0, few)
	for _, n := range old {
		if n != nil {
			b.table = append(b.table, n)
		}
	}
}
