// Package topics finds who wants a message: an index from the topic filters of
// all subscriptions of a node to whatever the broker keeps for them.
//
// It promises exactly the matching of MQTT 5 section 4.7, a work per message
// that grows with the filters that agree with the topic's first levels and not
// with all filters, and that nothing is left behind by what was removed. It
// trusts its caller to have validated filters and topics (package mqtt) and to
// have asked policy about them. Whoever can add to it receives messages.
package topics

import (
	"strings"
	"sync"
	"sync/atomic"
)

// Tree maps topic filters to sets of values. The zero value is empty and ready.
// It is safe for concurrent use; many may match at the same time, and changes
// take microseconds. It must not be copied.
//
// It holds on to the filter strings it was given and does not copy them.
//
// One lock for readers and writers: it costs a match about 15 ns of 150 on two
// cores. Several locks, of which a match takes one, cost as much; copying what
// is changed would copy the list of all devices each time one connects.
type Tree[T comparable] struct {
	mu      sync.RWMutex
	root    branch[T] // guarded by mu
	size    int       // guarded by mu
	version atomic.Uint64
}

// node is one level of filters, or, as a leaf, the whole rest of one filter:
// most filters share their first levels only, and a device's own would
// otherwise cost a node for every level.
type node[T comparable] struct {
	label  string // one level; a leaf's may go on with "/" and the other levels
	values set[T]
	below  *branch[T] // nil in a leaf
}

// split returns the first level of a filter and the rest. When there is no other level, more is false.
func split(filter string) (level, rest string, more bool) { return strings.Cut(filter, "/") }

// Add makes value one of those that filter finds; again is without effect. The
// filter is a valid one without $share/NAME/. One that is not valid is kept, and
// matches no valid topic.
func (t *Tree[T]) Add(filter string, value T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.add(filter, value) {
		t.size++
		t.version.Add(1)
	}
}

func (t *Tree[T]) add(filter string, value T) bool {
	at := &t.root
	for {
		level, rest, more := split(filter)
		n := at.get(level, more)
		if n == nil {
			n = &node[T]{label: filter}
			n.values.add(value)
			at.put(n, level, more)
			return true
		}
		if n.label == filter {
			return n.values.add(value)
		}
		if len(n.label) > len(level) {
			n.pushDown(len(level))
		}
		if !more {
			return n.values.add(value)
		}
		if n.below == nil {
			n.open(level)
		}
		at, filter = n.below, rest
	}
}

// open makes a leaf of one level a node that others can be below. It copies the
// level: the node may outlive the filter that it came from, which may be long.
func (n *node[T]) open(level string) {
	n.label = strings.Clone(level)
	n.below = &branch[T]{}
}

// pushDown turns a leaf of several levels into a node for its first, of length
// first, and a leaf with the others below it.
func (n *node[T]) pushDown(first int) {
	leaf := &node[T]{label: n.label[first+1:], values: n.values}
	n.values = set[T]{}
	n.open(n.label[:first])
	level, _, more := split(leaf.label)
	n.below.put(leaf, level, more)
}

// Remove takes value away from filter and reports whether it was there.
func (t *Tree[T]) Remove(filter string, value T) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.root.remove(filter, value) {
		return false
	}
	t.size--
	t.version.Add(1)
	return true
}

// remove recurses once for each level that is a node.
func (b *branch[T]) remove(filter string, value T) bool {
	level, rest, more := split(filter)
	n := b.get(level, more)
	switch {
	case n == nil:
		return false
	case n.label == filter:
		if !n.values.remove(value) {
			return false
		}
	case !more || n.below == nil || !n.below.remove(rest, value):
		return false
	}
	if n.below != nil && n.below.empty() {
		n.below = nil
	}
	if n.below == nil && n.values.empty() {
		b.del(n, level, more)
	}
	return true
}

// Len returns the number of pairs of filter and value.
func (t *Tree[T]) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.size
}

// Version changes with every Add and Remove that had an effect. Who caches what
// Match found asks for the version before, and throws the result away when the
// version is another: a change is visible in Match no later than in Version.
func (t *Tree[T]) Version() uint64 { return t.version.Load() }

// Match appends to dst the values of every filter that matches the valid topic
// name, one for each pair of filter and value, in no order, and returns it. It
// allocates only when dst is full.
func (t *Tree[T]) Match(topic string, dst []T) []T {
	if topic == "" {
		return dst
	}
	t.mu.RLock()
	dst = t.root.match(topic, dst, topic[0] == '$')
	t.mu.RUnlock()
	return dst
}

// match matches the levels of topic with what is below b. Hidden says that wildcards do not match the first (MQTT-4.7.2-1).
func (b *branch[T]) match(topic string, dst []T, hidden bool) []T {
	level, rest, more := topic, "", false
	if i := strings.IndexByte(topic, '/'); i >= 0 {
		level, rest, more = topic[:i], topic[i+1:], true
	}
	if !hidden {
		if b.all != nil {
			dst = b.all.values.appendTo(dst)
		}
		if b.any != nil {
			dst = b.any.match(rest, more, 1, dst)
		}
	}
	if n := b.find(level); n != nil {
		dst = n.match(rest, more, len(level), dst)
	}
	return dst
}

// match goes on after the first level of the node, whose length is given, has matched; without more, the topic ends here.
func (n *node[T]) match(rest string, more bool, first int, dst []T) []T {
	switch {
	case len(n.label) > first:
		if matchRest(n.label[first+1:], rest, more) {
			dst = n.values.appendTo(dst)
		}
	case more:
		if n.below != nil {
			dst = n.below.match(rest, dst, false)
		}
	default:
		dst = n.values.appendTo(dst)
		if n.below != nil && n.below.all != nil { // "a/#" matches "a" too
			dst = n.below.all.values.appendTo(dst)
		}
	}
	return dst
}

// matchRest reports whether the last levels of a filter match those of a topic, of which there may be no more.
func matchRest(filter, topic string, more bool) bool {
	for {
		if filter == "#" {
			return true
		}
		if !more {
			return false
		}
		f, filterRest, filterMore := split(filter)
		level, rest, m := split(topic)
		if f != "+" && f != level {
			return false
		}
		if !filterMore {
			return !m
		}
		filter, topic, more = filterRest, rest, m
	}
}
