// Package privacy is what a reader sees of a message: a view rewrites the marked
// fields of a JSON payload and leaves everything else as it is.
//
// It promises that what is marked never leaves in the clear: a payload that two
// readers could understand in two ways (not JSON, a name twice, text that is not
// Unicode) is not rewritten but refused, whoever of two rules protects more
// wins, and a rule for an object or array holds for all that is inside. It
// trusts its rules to name every field that needs protection: names are compared
// exactly, so a payload rule has to refuse fields that nobody has marked. Whoever
// can write marks and audiences decides who reads what; whoever has the hash key
// can find out hashed values by guessing.
package privacy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Transform is what happens to a marked field.
type Transform string

// The transforms.
const (
	Whole      Transform = "whole"      // it stays as it is
	Mask       Transform = "mask"       // characters become *; what is not a string becomes "***"
	Hash       Transform = "hash"       // a keyed hash, "h:" and 26 characters: equal values stay equal
	Generalize Transform = "generalize" // numbers are rounded, times cut; everything else is left out
	Drop       Transform = "drop"       // the member or element is left out
)

// Bounds of rules and payloads.
const (
	MaxDepth = 64  // objects and arrays inside each other, and levels of a path
	MaxRules = 256 // of one view
	MaxKeep  = 16  // characters that a mask leaves
)

// Rule says what happens to the fields at a path.
type Rule struct {
	Path string    // JSON pointer (RFC 6901); the token * stands for every element or member; empty: the whole payload
	Do   Transform // of two rules for the same value: drop, mask all, hash, mask some, generalize, whole
	Keep int       // mask: so many last characters stay, 0 to [MaxKeep]; a string that has no others is masked whole
	Step float64   // generalize: numbers become multiples of it, 1e-9 to 1e12; 0: numbers are left out
	Unit string    // generalize: RFC 3339 times are cut to year, month, day or hour, in UTC; empty: times are left out
}

// View rewrites payloads. It does not change and may be used by many goroutines.
type View struct {
	root *node
	key  HashKey
	pool sync.Pool // of *run
}

// node is a place in payloads that rules lead to.
type node struct {
	rule  rule
	names map[string]*node
	every *node // the token *
}

// Compile makes a view of rules. It needs the key when a rule hashes, and returns an error when a rule is not a rule.
func Compile(rules []Rule, key HashKey) (*View, error) {
	if len(rules) > MaxRules {
		return nil, fmt.Errorf("compiling a view: %d rules are more than %d", len(rules), MaxRules)
	}
	v := &View{root: &node{}, key: key}
	for _, r := range rules {
		if err := v.insert(r); err != nil {
			return nil, fmt.Errorf("compiling a view: the rule for %q: %w", r.Path, err)
		}
	}
	v.pool.New = func() any { return &run{key: key} }
	return v, nil
}

func (v *View) insert(r Rule) error {
	path, err := tokens(r.Path)
	if err != nil {
		return err
	}
	compiled, err := r.compile()
	if err != nil {
		return err
	}
	if r.Do == Hash && v.key.secret == nil {
		return errors.New("hashing needs a key")
	}
	if r.Do == Whole {
		return nil
	}
	n := v.root
	for _, t := range path {
		n = n.child(t)
	}
	n.rule = stronger(n.rule, compiled)
	return nil
}

// child returns the node of a token as the path writes it, made when it is not there.
func (n *node) child(token string) *node {
	if token == "*" {
		if n.every == nil {
			n.every = &node{}
		}
		return n.every
	}
	name := strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
	c := n.names[name]
	if c == nil {
		if n.names == nil {
			n.names = map[string]*node{}
		}
		c = &node{}
		n.names[name] = c
	}
	return c
}

// tokens splits a JSON pointer (RFC 6901 section 3); the tokens stay escaped.
func tokens(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	if path[0] != '/' {
		return nil, errors.New("a path begins with /")
	}
	list := strings.Split(path[1:], "/")
	if len(list) > MaxDepth {
		return nil, fmt.Errorf("a path has at most %d levels", MaxDepth)
	}
	for _, t := range list {
		for i := range len(t) {
			if t[i] == '~' && (i+1 == len(t) || t[i+1] != '0' && t[i+1] != '1') {
				return nil, errors.New("~ is written ~0 in a path, and / is written ~1")
			}
		}
	}
	return list, nil
}

// Whole tells that the view leaves every payload as it is, so that Apply is not needed.
func (v *View) Whole() bool {
	return v.root.rule.do == whole && v.root.names == nil && v.root.every == nil
}

// ErrUnreadable says that a payload cannot be rewritten, so that nobody who does not see the whole may see it.
var ErrUnreadable = errors.New("the payload is not readable JSON")

// unreadable is an ErrUnreadable with the reason. It shows nothing of the payload.
type unreadable struct {
	at  int
	why string
}

func (e *unreadable) Error() string {
	return "reading the payload at byte " + strconv.Itoa(e.at) + ": " + e.why
}

func (e *unreadable) Is(target error) bool { return target == ErrUnreadable }

// Apply appends the payload, rewritten and without white space, to dst. The
// payload is one JSON value (RFC 8259) as RFC 7493 wants it: UTF-8, no name twice
// in an object, no lone surrogates; at most [MaxDepth] deep. Otherwise the error
// is an [ErrUnreadable], dst comes back as it was, and the message must not be
// delivered. When a rule drops the whole payload, null is what is left. dst and
// payload must not share memory. The
// result is at most 16 times as long as the payload, and 64 bytes (an array of
// digits, hashed).
func (v *View) Apply(dst, payload []byte) ([]byte, error) {
	r := v.pool.Get().(*run)
	r.in, r.at, r.out = payload, 0, dst
	err := r.document(v.root)
	out := r.out
	r.in, r.out = nil, nil
	r.recycle(&v.pool)
	if err != nil {
		return dst, err
	}
	return out, nil
}
