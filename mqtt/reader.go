package mqtt

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// Limits bound what one packet may make a Reader hold. The standard allows more; a packet beyond them is refused.
type Limits struct {
	PacketSize     int // bytes with the fixed header; beyond: 0x95. 1 MiB when zero
	UserProperties int // per packet; beyond: 0x97. 256 when zero
	Filters        int // per SUBSCRIBE or UNSUBSCRIBE; beyond: 0x97. 1024 when zero
}

// The buffer starts small, as most connections idle, grows to keepBuffer while reads fill it, and beyond for one packet only.
const (
	startBuffer = 512
	keepBuffer  = 16 << 10
)

// Reader reads packets from a byte stream. It is not for use by several goroutines at once.
type Reader struct {
	src        io.Reader
	v          Version
	from       Sender
	lax        bool
	lim        Limits
	buf        []byte
	start, end int // what is buffered
	connected  bool
	padded     bool  // the last remaining length was not in its shortest form
	idle       int   // reads in a row that returned nothing
	err        error // sticky *Error

	// Made when the first of its type comes: most connections see few of them.
	publish *Publish
	puback  *Puback
	pubrec  *Pubrec
	pubrel  *Pubrel
	pubcomp *Pubcomp
}

// NewReader returns a Reader that expects CONNECT first and then speaks the version which that asked for. It reads ahead.
func NewReader(src io.Reader) *Reader {
	r := &Reader{src: src}
	r.SetLimits(Limits{})
	return r
}

// SetVersion fixes the version without a CONNECT: what a client calls.
func (r *Reader) SetVersion(v Version) { r.v = v }

// Version returns the version spoken, also that of a CONNECT refused for another reason; zero before.
func (r *Reader) Version() Version { return r.v }

// SetSender says which side writes what is read here; at first [Either].
func (r *Reader) SetSender(s Sender) {
	if s <= Server {
		r.from = s
	}
}

// AllowControlCharacters makes strings with control characters or noncharacters acceptable (MQTT 5 section 1.5.4 leaves it to us).
func (r *Reader) AllowControlCharacters(on bool) { r.lax = on }

// SetLimits replaces all limits; zero fields mean the default, more than the standard allows means what it allows.
func (r *Reader) SetLimits(l Limits) {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.PacketSize, 1<<20)
	def(&l.UserProperties, 256)
	def(&l.Filters, 1024)
	l.PacketSize = min(l.PacketSize, maxRemaining+5)
	r.lim = l
}

// Buffered returns how many bytes were read ahead.
func (r *Reader) Buffered() int { return r.end - r.start }

// ReadPacket returns the next packet. PUBLISH and the four acknowledgements are good until the next call, other packets for
// ever. io.EOF means that the stream ended between packets, io.ErrUnexpectedEOF inside one. An [*Error] means that the
// bytes break the standard or a limit; the connection cannot be read further and every later call returns it again. Other
// errors are the source's, and reading may go on after a timeout.
func (r *Reader) ReadPacket() (Packet, error) {
	if r.err != nil {
		return nil, r.err
	}
	first, body, err := r.next()
	if err == nil {
		var p Packet
		if p, err = r.decode(Type(first>>4), first&15, body); err == nil {
			return p, nil
		}
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		during(e, "reading", Type(first>>4))
		r.err = err
	}
	return nil, err
}

// next waits for a whole packet and consumes it. The body aliases the buffer.
func (r *Reader) next() (first byte, body []byte, err error) {
	if r.start == r.end && len(r.buf) > keepBuffer {
		r.buf, r.start, r.end = nil, 0, 0
	}
	if err := r.fill(2); err != nil {
		return 0, nil, err
	}
	first = r.buf[r.start]
	if err := r.checkHeader(Type(first>>4), first&15); err != nil {
		return first, nil, err
	}
	n, head := 0, 1
	for shift := 0; ; shift += 7 {
		if err := r.fill(head + 1); err != nil {
			return first, nil, err
		}
		b := r.buf[r.start+head]
		head++
		n |= int(b&0x7F) << shift
		if b < 0x80 {
			r.padded = b == 0 && shift > 0
			break
		}
		if shift == 21 {
			return first, nil, malformed("section 2.1.4", "the remaining length has more than four bytes")
		}
	}
	if r.padded && r.v == V5 {
		return first, nil, errPadded()
	}
	if head+n > r.lim.PacketSize {
		return first, nil, refuse(PacketTooLarge, "MQTT-3.1.2-24",
			fmt.Sprintf("%d bytes, more than the %d accepted here", head+n, r.lim.PacketSize))
	}
	if err := r.fill(head + n); err != nil {
		return first, nil, err
	}
	body = r.buf[r.start+head : r.start+head+n : r.start+head+n]
	r.start += head + n
	return first, body, nil
}

// errPadded refuses what MQTT 3.1.1 has no rule against.
func errPadded() error {
	return malformed("MQTT-1.5.5-1", "the remaining length is longer than it need be")
}

// checkHeader judges the first byte before anything of the body is awaited.
func (r *Reader) checkHeader(t Type, flags byte) error {
	switch {
	case t == 0:
		return malformed("section 2.1.2", "packet type 0 is reserved")
	case r.v == 0 && t != CONNECT:
		return protocol("MQTT-3.1.0-1", "the first packet is not CONNECT")
	case r.connected && t == CONNECT:
		return protocol("MQTT-3.1.0-2", "a second CONNECT")
	case t == AUTH && r.v == V311:
		return errNoAuth()
	case notSentBy[r.from]>>t&1 == 1:
		return protocol("section 2.1.2", "this side does not send such a packet")
	case t != PUBLISH && flags != t.flags():
		return malformed("MQTT-2.1.3-1", "the flags of the fixed header are wrong")
	case t == PUBLISH && flags>>1&3 == 3:
		return malformed("MQTT-3.3.1-4", "QoS 3 does not exist")
	}
	return nil
}

// fill reads until n bytes are buffered. The buffer grows by at most doubling as bytes arrive, so that a length alone
// takes no memory.
func (r *Reader) fill(n int) error {
	for r.end-r.start < n {
		r.room()
		m, err := r.src.Read(r.buf[r.end:])
		if m < 0 || m > len(r.buf)-r.end {
			return errors.New("reading a packet: the source returned an impossible count")
		}
		r.end += m
		if r.end-r.start >= n {
			return nil
		}
		if err == io.EOF && r.end > r.start {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if m == 0 {
			if r.idle++; r.idle >= 100 {
				return io.ErrNoProgress
			}
			continue
		}
		r.idle = 0
	}
	return nil
}

// room makes space behind end: by starting over in an empty buffer, by moving what is left to the front, or in a larger one.
func (r *Reader) room() {
	size, have := len(r.buf), r.end-r.start
	switch {
	case have == 0 && (r.end < size || size >= keepBuffer):
		r.start, r.end = 0, 0
	case r.end < size:
	case r.start > 0 && have > 0:
		copy(r.buf, r.buf[r.start:r.end])
		r.start, r.end = 0, have
	default: // one packet, or the last read, filled it
		grown := make([]byte, max(startBuffer, 2*size))
		copy(grown, r.buf[r.start:r.end])
		r.buf, r.start, r.end = grown, 0, have
	}
}

// made returns what p points to, made when it is not there yet.
func made[P any](p **P) *P {
	if *p == nil {
		*p = new(P)
	}
	return *p
}

// decode dispatches on the type. Packets that outlive the buffer get a copy of their bytes.
func (r *Reader) decode(t Type, flags byte, body []byte) (Packet, error) {
	if t < PUBLISH || t > PUBCOMP {
		body = slices.Clone(body)
	}
	c := cursor{b: body, v: r.v, from: r.from, lax: r.lax, lim: &r.lim}
	switch t {
	case CONNECT:
		return packet(r.connect(&c))
	case CONNACK:
		return packet(readConnack(&c))
	case PUBLISH:
		return made(&r.publish), r.publish.read(&c, flags)
	case PUBACK:
		return made(&r.puback), r.puback.read(&c, t)
	case PUBREC:
		return made(&r.pubrec), r.pubrec.read(&c, t)
	case PUBREL:
		return made(&r.pubrel), r.pubrel.read(&c, t)
	case PUBCOMP:
		return made(&r.pubcomp), r.pubcomp.read(&c, t)
	case SUBSCRIBE:
		return packet(readSubscribe(&c))
	case SUBACK:
		return packet(readSuback(&c))
	case UNSUBSCRIBE:
		return packet(readUnsubscribe(&c))
	case UNSUBACK:
		return packet(readUnsuback(&c))
	case PINGREQ:
		return &Pingreq{}, c.end()
	case PINGRESP:
		return &Pingresp{}, c.end()
	case DISCONNECT:
		return packet(readDisconnect(&c))
	}
	return packet(readAuth(&c))
}

// connect reads CONNECT and adopts its version.
func (r *Reader) connect(c *cursor) (*Connect, error) {
	p, err := readConnect(c)
	if r.v == 0 && checkVersion(c.v) == nil {
		r.v = c.v
	}
	switch {
	case err != nil:
		return nil, err
	case r.v != p.Version:
		return nil, refuse(UnsupportedProtocolVersion, "MQTT-3.1.2-2", "not the version agreed on")
	case r.padded && r.v == V5:
		return nil, errPadded()
	}
	r.connected = true
	return p, nil
}

func packet[P Packet](p P, err error) (Packet, error) { return p, err }
