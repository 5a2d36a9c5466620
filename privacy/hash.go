package privacy

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"slices"
	"strconv"
)

var base = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// hash writes the hash of the value between start and here: HMAC-SHA-256 of its
// canonical form, the first 128 bits, in base 32. Values that JSON can write in
// several ways (escapes, 1.0 and 1, the order of members) have one hash.
func (r *run) hash(start int) error {
	if r.mac == nil {
		r.mac = hmac.New(sha256.New, r.key.secret())
	}
	end := r.at
	r.at = start
	r.canonical = r.canonical[:0]
	if err := r.canon(); err != nil {
		return err
	}
	r.at = end
	r.mac.Reset()
	r.mac.Write(r.canonical)
	sum := r.mac.Sum(r.canonical[:0])
	r.canonical = sum[:0]
	r.out = append(r.out, `"h:`...)
	r.out = base.AppendEncode(r.out, sum[:16])
	r.out = append(r.out, '"')
	return nil
}

// canon appends the canonical form of the valid value at the current place and
// goes past it. No form is the beginning of another.
func (r *run) canon() error {
	switch c := r.in[r.at]; c {
	case '{':
		return r.canonObject()
	case '[':
		return r.canonArray()
	case '"':
		raw, err := r.text()
		if err != nil {
			return err
		}
		r.canonText(r.plain(raw))
	case 't', 'f', 'n':
		r.canonical = append(r.canonical, c)
		r.at += len("true")
		if c == 'f' {
			r.at++
		}
	default:
		start := r.at
		if err := r.number(); err != nil {
			return err
		}
		return r.canonNumber(r.in[start:r.at])
	}
	return nil
}

func (r *run) canonText(plain []byte) {
	r.canonical = append(r.canonical, 's')
	r.canonical = strconv.AppendInt(r.canonical, int64(len(plain)), 10)
	r.canonical = append(append(r.canonical, ':'), plain...)
}

func (r *run) canonArray() error {
	r.at++
	r.canonical = append(r.canonical, '[')
	for r.space(); !r.next(']'); r.space() {
		if r.next(',') {
			r.space()
		}
		if err := r.canon(); err != nil {
			return err
		}
	}
	r.canonical = append(r.canonical, ']')
	return nil
}

// canonObject sorts the members by name.
func (r *run) canonObject() error {
	type member struct {
		name     []byte
		from, to int // its canonical form, the name included
	}
	var members []member
	r.at++
	start := len(r.canonical)
	for r.space(); !r.next('}'); r.space() {
		if r.next(',') {
			r.space()
		}
		raw, err := r.text()
		if err != nil {
			return err
		}
		r.space()
		r.next(':')
		r.space()
		m := member{name: r.plain(raw), from: len(r.canonical)}
		r.canonText(m.name)
		if err := r.canon(); err != nil {
			return err
		}
		m.to = len(r.canonical)
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b member) int { return bytes.Compare(a.name, b.name) })
	unsorted := bytes.Clone(r.canonical[start:])
	r.canonical = append(r.canonical[:start], '{')
	for _, m := range members {
		r.canonical = append(r.canonical, unsorted[m.from-start:m.to-start]...)
	}
	r.canonical = append(r.canonical, '}')
	return nil
}

// canonNumber appends sign, digits without zeros at either end, and exponent: the value, to every digit.
func (r *run) canonNumber(n []byte) error {
	negative := n[0] == '-'
	if negative {
		n = n[1:]
	}
	exponent := 0
	if i := bytes.IndexAny(n, "eE"); i >= 0 {
		e := n[i+1:]
		minus := e[0] == '-'
		if minus || e[0] == '+' {
			e = e[1:]
		}
		e = bytes.TrimLeft(e, "0")
		if len(e) > 9 {
			return r.fail("a number to be hashed has an exponent of more than 9 digits")
		}
		for _, d := range e {
			exponent = 10*exponent + int(d-'0')
		}
		if minus {
			exponent = -exponent
		}
		n = n[:i]
	}
	start := len(r.canonical)
	r.canonical = append(r.canonical, 'n')
	if negative {
		r.canonical = append(r.canonical, '-')
	}
	digits := len(r.canonical)
	point := false
	for _, d := range n {
		if d == '.' {
			point = true
			continue
		}
		if point {
			exponent--
		}
		if d != '0' || len(r.canonical) > digits {
			r.canonical = append(r.canonical, d)
		}
	}
	for len(r.canonical) > digits && r.canonical[len(r.canonical)-1] == '0' {
		r.canonical = r.canonical[:len(r.canonical)-1]
		exponent++
	}
	if len(r.canonical) == digits { // zero
		r.canonical = append(r.canonical[:start], 'n', '0', ';')
		return nil
	}
	r.canonical = append(r.canonical, 'e')
	r.canonical = strconv.AppendInt(r.canonical, int64(exponent), 10)
	r.canonical = append(r.canonical, ';')
	return nil
}
