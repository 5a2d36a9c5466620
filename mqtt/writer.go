package mqtt

import (
	"fmt"
	"io"
)

// flushAt is how many bytes a Writer gathers before it writes them without being asked.
const flushAt = 16 << 10

// Writer gathers packets and writes them to a byte stream. It is not for use by several goroutines at once.
type Writer struct {
	dst io.Writer
	v   Version
	max int
	buf []byte
	err error // of dst, sticky
}

// NewWriter returns a Writer for one version.
func NewWriter(dst io.Writer, v Version) *Writer {
	return &Writer{dst: dst, v: v, max: maxRemaining + 5}
}

// SetMaxPacketSize sets the Maximum Packet Size that the other side announced, in bytes; 0 means none.
func (w *Writer) SetMaxPacketSize(n int) {
	w.max = maxRemaining + 5
	if n > 0 {
		w.max = min(w.max, n)
	}
}

// WritePacket adds a packet. It refuses with an [*Error] a packet against the standard, or with code 0x95 one larger than the other
// side takes (MQTT-3.1.2-24, MQTT-3.2.2-15): nothing of it is written and the Writer stays usable. Bytes leave at
// Flush, or before when many are waiting; an error of the stream stays.
func (w *Writer) WritePacket(p Packet) error {
	if w.err != nil {
		return w.err
	}
	before := len(w.buf)
	out, err := p.AppendTo(w.buf, w.v)
	if err != nil {
		return err
	}
	if n := len(out) - before; n > w.max {
		e := refuse(PacketTooLarge, "MQTT-3.1.2-24", fmt.Sprintf("%d bytes, more than the %d accepted there", n, w.max))
		return during(e, "writing", p.Type())
	}
	if w.buf = out; len(out) >= flushAt {
		return w.Flush()
	}
	return nil
}

// Buffered returns how many bytes wait for Flush.
func (w *Writer) Buffered() int { return len(w.buf) }

// Flush writes what was gathered.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	n, err := w.dst.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	if w.buf = w.buf[:0]; cap(w.buf) > 4*flushAt {
		w.buf = nil
	}
	w.err = err
	return err
}
