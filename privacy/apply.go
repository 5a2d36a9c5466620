package privacy

import (
	"bytes"
	gohash "hash"
	"slices"
	"strconv"
	"sync"
)

// run is one pass over a payload, and the memory it needs, which the next pass uses again.
type run struct {
	key HashKey
	mac gohash.Hash // made when first needed

	in    []byte
	at    int // of the next byte of in
	out   []byte
	quiet bool // nothing is written: the value is marked
	depth int

	// Stacks: what belongs to the value being read is at the end.
	nodes []*node  // that lead to the value
	names [][]byte // of the objects being read

	unescaped []byte // of strings that had escapes
	canonical []byte
	digits    []byte // of an index
}

func (r *run) fail(why string) error { return &unreadable{r.at, why} }

// recycle gives the memory back unless one great payload made it grow.
func (r *run) recycle(pool *sync.Pool) {
	const keep = 64 << 10 // bytes
	if cap(r.unescaped) > keep || cap(r.canonical) > keep || cap(r.names) > keep/24 {
		return
	}
	clear(r.names[:cap(r.names)])
	clear(r.canonical[:cap(r.canonical)]) // plain values
	clear(r.unescaped[:cap(r.unescaped)])
	r.nodes, r.names, r.unescaped, r.canonical = r.nodes[:0], r.names[:0], r.unescaped[:0], r.canonical[:0]
	r.depth, r.quiet = 0, false
	pool.Put(r)
}

// document reads one value with nothing around it.
func (r *run) document(root *node) error {
	r.nodes = append(r.nodes, root)
	mark := len(r.out)
	r.space()
	present, err := r.value(0)
	if err != nil {
		return err
	}
	r.space()
	if r.at < len(r.in) {
		return r.fail("something follows the value")
	}
	if !present {
		r.out = append(r.out[:mark], "null"...)
	}
	return nil
}

func (r *run) space() {
	for r.at < len(r.in) && (r.in[r.at] == ' ' || r.in[r.at] == '\n' || r.in[r.at] == '\r' || r.in[r.at] == '\t') {
		r.at++
	}
}

// next reports whether the next byte is c, and goes past it.
func (r *run) next(c byte) bool {
	if r.at < len(r.in) && r.in[r.at] == c {
		r.at++
		return true
	}
	return false
}

// value reads the value that nodes[low:] lead to and writes what is to be seen of it. When that is nothing, it reports
// false, and what it wrote is to be cut off.
func (r *run) value(low int) (present bool, err error) {
	var do rule
	for _, n := range r.nodes[low:] {
		if n.rule.do != whole {
			do = stronger(do, n.rule)
		}
	}
	if do.do == whole {
		return true, r.copy(low)
	}
	start := r.at
	r.quiet = true // so that not even the spare room of out gets to hold it
	err = r.copy(len(r.nodes))
	r.quiet = false
	if err != nil {
		return false, err
	}
	return r.write(do, start)
}

func (r *run) put(c byte) {
	if !r.quiet {
		r.out = append(r.out, c)
	}
}

// write writes what a rule leaves of the value between start and here, which is valid.
func (r *run) write(do rule, start int) (present bool, err error) {
	v := r.in[start:r.at]
	switch do.do {
	case maskSome, maskAll:
		if v[0] == '"' {
			r.out = appendMasked(r.out, v[1:len(v)-1], do.keep)
		} else {
			r.out = append(r.out, `"***"`...)
		}
		return true, nil
	case hash:
		return true, r.hash(start)
	case generalize:
		if v[0] == '"' {
			r.out, present = do.unit.appendCut(r.out, r.plain(v[1:len(v)-1]))
		} else if v[0] == '-' || '0' <= v[0] && v[0] <= '9' {
			r.out, present = do.step.appendRound(r.out, v)
		}
		return present, nil
	}
	return false, nil
}

// copy reads a value and writes it, rewritten inside where nodes[low:] lead.
func (r *run) copy(low int) error {
	if r.at >= len(r.in) {
		return r.fail("a value is missing")
	}
	start := r.at
	var err error
	switch c := r.in[r.at]; c {
	case '{', '[':
		if r.depth == MaxDepth {
			return r.fail("it is more than 64 objects and arrays deep")
		}
		r.depth++
		if c == '{' {
			err = r.object(low)
		} else {
			err = r.array(low)
		}
		r.depth--
		return err
	case '"':
		_, err = r.text()
	case 't':
		err = r.word("true")
	case 'f':
		err = r.word("false")
	case 'n':
		err = r.word("null")
	default:
		err = r.number()
	}
	if !r.quiet {
		r.out = append(r.out, r.in[start:r.at]...)
	}
	return err
}

func (r *run) object(low int) error {
	r.at++
	r.put('{')
	high, names, any := len(r.nodes), len(r.names), false
	for r.space(); !r.next('}'); r.space() {
		if len(r.names) > names {
			if !r.next(',') {
				return r.fail("a comma or } is missing")
			}
			r.space()
		}
		raw, err := r.text()
		if err != nil {
			return err
		}
		r.space()
		if !r.next(':') {
			return r.fail("a colon is missing")
		}
		r.space()
		name := r.plain(raw)
		r.names = append(r.names, name)
		mark := len(r.out)
		if any {
			r.put(',')
		}
		if !r.quiet {
			r.out = append(append(append(r.out, '"'), raw...), '"', ':')
		}
		r.enter(low, high, name)
		present, err := r.value(high)
		if err != nil {
			return err
		}
		r.nodes = r.nodes[:high]
		if !present {
			r.out = r.out[:mark]
		}
		any = any || present
	}
	if twice(r.names[names:]) {
		return r.fail("an object has a name twice")
	}
	r.names = r.names[:names]
	r.put('}')
	return nil
}

func (r *run) array(low int) error {
	r.at++
	r.put('[')
	high, any := len(r.nodes), false
	r.space()
	for i := 0; !r.next(']'); i++ {
		if i > 0 {
			if !r.next(',') {
				return r.fail("a comma or ] is missing")
			}
			r.space()
		}
		mark := len(r.out)
		if any {
			r.put(',')
		}
		if low < high {
			r.digits = strconv.AppendInt(r.digits[:0], int64(i), 10)
			r.enter(low, high, r.digits)
		}
		present, err := r.value(high)
		if err != nil {
			return err
		}
		r.nodes = r.nodes[:high]
		if !present {
			r.out = r.out[:mark]
		}
		any = any || present
		r.space()
	}
	r.put(']')
	return nil
}

// enter adds the nodes that lead from nodes[low:high] to a member or element.
func (r *run) enter(low, high int, name []byte) {
	for _, n := range r.nodes[low:high] {
		if c := n.names[string(name)]; c != nil {
			r.nodes = append(r.nodes, c)
		}
		if n.every != nil {
			r.nodes = append(r.nodes, n.every)
		}
	}
}

// twice reports whether a name is there twice. It reorders many.
func twice(names [][]byte) bool {
	if len(names) <= 24 {
		for i, a := range names {
			for _, b := range names[:i] {
				if bytes.Equal(a, b) {
					return true
				}
			}
		}
		return false
	}
	slices.SortFunc(names, bytes.Compare)
	for i := 1; i < len(names); i++ {
		if bytes.Equal(names[i-1], names[i]) {
			return true
		}
	}
	return false
}

func (r *run) word(w string) error {
	if len(r.in)-r.at < len(w) || string(r.in[r.at:r.at+len(w)]) != w {
		return r.fail("a value is unknown")
	}
	r.at += len(w)
	return nil
}

// number reads a number (RFC 8259 section 6).
func (r *run) number() error {
	r.next('-')
	if !r.next('0') && !r.digitsHere() {
		return r.fail("a value is unknown")
	}
	if r.next('.') && !r.digitsHere() {
		return r.fail("a number has no digits after its point")
	}
	if r.next('e') || r.next('E') {
		if !r.next('+') {
			r.next('-')
		}
		if !r.digitsHere() {
			return r.fail("a number has no digits in its exponent")
		}
	}
	return nil
}

// digitsHere goes past digits and reports whether there were some.
func (r *run) digitsHere() bool {
	start := r.at
	for r.at < len(r.in) && '0' <= r.in[r.at] && r.in[r.at] <= '9' {
		r.at++
	}
	return r.at > start
}
