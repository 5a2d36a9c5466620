package privacy

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// text reads the JSON string at the current place and returns what is between
// its quotes, still escaped. It must be Unicode (RFC 7493 section 2.1).
func (r *run) text() ([]byte, error) {
	if r.at >= len(r.in) || r.in[r.at] != '"' {
		return nil, r.fail("a string is missing")
	}
	r.at++
	start, ascii := r.at, true
	for {
		rest := r.in[r.at:]
		n := 0
		for n < len(rest) && ordinary[rest[n]] {
			n++
		}
		r.at += n
		if n == len(rest) {
			return nil, r.fail("a string does not end")
		}
		switch c := rest[n]; {
		case c == '"':
			raw := r.in[start:r.at]
			if !ascii && !utf8.Valid(raw) {
				return nil, r.fail("a string is not UTF-8")
			}
			r.at++
			return raw, nil
		case c == '\\':
			if err := r.escape(); err != nil {
				return nil, err
			}
		case c < ' ':
			return nil, r.fail("a string holds a control character")
		default:
			ascii = false
			r.at++
		}
	}
}

// ordinary tells which bytes of a string need no look: ASCII but for controls, quote and backslash.
var ordinary = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// escape checks the escape sequence at the current place and goes past it.
func (r *run) escape() error {
	if r.at+1 < len(r.in) && r.in[r.at+1] != 'u' {
		if bytes.IndexByte([]byte(`"\/bfnrt`), r.in[r.at+1]) < 0 {
			return r.fail("an escape sequence is unknown")
		}
		r.at += 2
		return nil
	}
	c, ok := unit16(r.in[r.at:])
	if !ok {
		return r.fail("an escape sequence is wrong")
	}
	r.at += 6
	if utf16.IsSurrogate(c) {
		low, ok := unit16(r.in[r.at:])
		if !ok || utf16.DecodeRune(c, low) == utf8.RuneError {
			return r.fail("a surrogate is alone")
		}
		r.at += 6
	}
	return nil
}

// unit16 reads \uXXXX.
func unit16(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var c rune
	for _, h := range b[2:6] {
		switch {
		case '0' <= h && h <= '9':
			c = c<<4 | rune(h-'0')
		case 'a' <= h|0x20 && h|0x20 <= 'f':
			c = c<<4 | rune(h|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return c, true
}

// first returns the first character of what text accepted, and how many bytes stand for it.
func first(raw []byte) (rune, int) {
	if raw[0] != '\\' {
		return utf8.DecodeRune(raw)
	}
	switch raw[1] {
	case 'u':
		c, _ := unit16(raw)
		if utf16.IsSurrogate(c) {
			low, _ := unit16(raw[6:])
			return utf16.DecodeRune(c, low), 12
		}
		return c, 6
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	}
	return rune(raw[1]), 2
}

// appendPlain appends what text accepted without its escapes.
func appendPlain(dst, raw []byte) []byte {
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		c, n := first(raw[i:])
		dst = utf8.AppendRune(dst, c)
		raw = raw[i+n:]
	}
	return dst
}

// plain returns what text accepted without its escapes; what it returns must not be changed, and holds until the payload is done.
func (r *run) plain(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	start := len(r.unescaped)
	r.unescaped = appendPlain(r.unescaped, raw)
	return r.unescaped[start:]
}

// appendMasked appends what text accepted, between quotes, with * for all but the last keep characters. When there are no
// others, nothing is kept.
func appendMasked(dst, raw []byte, keep int) []byte {
	count := 0
	for rest := raw; len(rest) > 0; count++ {
		_, n := first(rest)
		rest = rest[n:]
	}
	if count <= keep {
		keep = 0
	}
	dst = append(dst, '"')
	for ; count > keep; count-- {
		_, n := first(raw)
		dst, raw = append(dst, '*'), raw[n:]
	}
	return append(append(dst, raw...), '"')
}
