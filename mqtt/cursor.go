package mqtt

import "encoding/binary"

// maxRemaining is the largest remaining length that four bytes can say (MQTT 5 section 1.5.5).
const maxRemaining = 268_435_455

// cursor reads the body of one packet. The first failure stays in err and every later read returns zero.
type cursor struct {
	b    []byte
	v    Version
	from Sender
	lax  bool
	lim  *Limits
	err  error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err, c.b = err, nil
	}
}

// take returns the next n bytes, aliasing the body.
func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.fail(malformed("", "a field is longer than the packet"))
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) uint32() uint32 {
	if b := c.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// varint reads a variable byte integer of at most four bytes in its shortest form (MQTT-1.5.5-1).
func (c *cursor) varint() uint32 {
	var v uint32
	for shift := 0; shift < 28; shift += 7 {
		b := c.byte()
		v |= uint32(b&0x7F) << shift
		if b < 0x80 {
			if b == 0 && shift > 0 && c.err == nil {
				c.fail(malformed("MQTT-1.5.5-1", "a variable byte integer is longer than it need be"))
			}
			return v
		}
	}
	c.fail(malformed("section 1.5.5", "a variable byte integer has more than four bytes"))
	return 0
}

// binary reads a two-byte length and that many bytes, aliasing the body; never nil unless it failed.
func (c *cursor) binary() []byte { return c.take(int(c.uint16())) }

// text is binary that must be a UTF-8 encoded string.
func (c *cursor) text() []byte {
	b := c.binary()
	if err := checkText(b, c.lax); err != nil {
		c.fail(err)
		return nil
	}
	return b
}

// id reads a packet identifier (MQTT-2.2.1-3).
func (c *cursor) id() uint16 {
	n := c.uint16()
	if n == 0 {
		c.fail(errNoID())
	}
	return n
}

func errNoID() error { return protocol("MQTT-2.2.1-3", "the packet identifier is zero") }

// end refuses bytes after the last field.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.fail(malformed("", "bytes follow the last field"))
	}
	return c.err
}

// sizeVarint returns how many bytes n takes; n ≤ maxRemaining.
func sizeVarint(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

func appendVarint(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// appendBinary appends a two-byte length and b.
func appendBinary[T ~string | ~[]byte](dst []byte, b T) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(b)))
	return append(dst, b...)
}

// checkLen refuses what does not fit a two-byte length.
func checkLen[T ~string | ~[]byte](b T) error {
	if len(b) > MaxString {
		return refuse(PacketTooLarge, "section 1.5.4", "a field is longer than 65535 bytes")
	}
	return nil
}

// checkString is checkLen and the rules that every string must keep.
func checkString(s []byte) error {
	if err := checkLen(s); err != nil {
		return err
	}
	return checkText(s, true)
}

// finish puts the remaining length between the first byte, at start, and the body that follows it.
func finish(dst []byte, start int) ([]byte, error) {
	n := len(dst) - start - 1
	if n > maxRemaining {
		return dst[:start], refuse(PacketTooLarge, "section 2.1.4", "the packet is longer than 268435455 bytes")
	}
	w := sizeVarint(n)
	dst = append(dst, 0, 0, 0, 0)[:len(dst)+w]
	copy(dst[start+1+w:], dst[start+1:start+1+n])
	appendVarint(dst[start+1:start+1], n)
	return dst, nil
}
