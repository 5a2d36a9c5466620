package device

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
)

// importRow is a device in JSON. The last fields are those that an export writes
// and an import ignores.
type importRow struct {
	ID           ID                `json:"id"`
	Type         TypeName          `json:"type"`
	Zone         ZoneName          `json:"zone"`
	Owner        string            `json:"owner"`
	Serial       string            `json:"serial"`
	Manufacturer string            `json:"manufacturer"`
	Notes        string            `json:"notes"`
	Labels       map[string]string `json:"labels"`
	State        ignored           `json:"state"`
	Maintenance  ignored           `json:"maintenance"`
	CreatedAt    ignored           `json:"created_at"`
	UpdatedAt    ignored           `json:"updated_at"`
	EnrolledAt   ignored           `json:"enrolled_at"`
	SeenAt       ignored           `json:"seen_at"`
	Version      ignored           `json:"version"`
}

type ignored struct{}

func (*ignored) UnmarshalJSON([]byte) error { return nil }

// ReadJSON reads devices from a JSON array of objects or from JSON lines, in
// UTF-8. The fields are those of ReadCSV, with labels as an object; unknown
// fields are errors. The same fields are ignored and the same bounds hold.
func ReadJSON(r io.Reader, maxRows int) ([]Row, []RowError) {
	rd := newReader(maxRows)
	o := &objects{in: bufio.NewReaderSize(r, 64<<10), line: 1}
	skipMark(o.in)
	dec := &decoder{}
	for !rd.closed {
		object, line, err := o.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			rd.fatal(line, "%v", err)
			break
		}
		if rd.begin(line) {
			rd.object(line, object, dec)
		}
	}
	if !rd.closed && !o.array && rd.count == 0 {
		rd.fatal(0, "the file is empty: give an array of devices, or one device on each line")
	}
	return rd.result()
}

// decoder decodes one object after another. A decoder of its own for each would
// cost as much as the decoding.
type decoder struct {
	feed bytes.Reader
	dec  *json.Decoder // nil at first and after an error
}

func (d *decoder) decode(object []byte, row *importRow) error {
	d.feed.Reset(object)
	if d.dec == nil {
		d.dec = json.NewDecoder(&d.feed)
		d.dec.DisallowUnknownFields()
	}
	err := d.dec.Decode(row)
	if err == nil && d.feed.Len() > 0 {
		err = errors.New("something follows the object")
	}
	if err != nil {
		d.dec = nil
	}
	return err
}

func (r *reader) object(line int, object []byte, dec *decoder) {
	var row importRow
	if err := dec.decode(object, &row); err != nil {
		var kind *json.UnmarshalTypeError
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			name = strings.Trim(name, `"`)
			r.bad(line, clip(name), "%s", unknownField("field", name))
		} else if errors.As(err, &kind) {
			r.bad(line, clip(kind.Field), "the field holds a JSON %s: give text, and labels as an object of text", kind.Value)
		} else {
			r.bad(line, "", "the object is not valid JSON: %s", clip(strings.TrimPrefix(err.Error(), "json: ")))
		}
		return
	}
	if len(row.Labels) == 0 {
		row.Labels = nil
	}
	r.add(line, Device{ID: row.ID, Type: row.Type, Zone: row.Zone, Owner: row.Owner, Serial: row.Serial,
		Manufacturer: row.Manufacturer, Notes: row.Notes, Labels: row.Labels})
}

// objects cuts a stream into objects within bounds, by their braces; what is
// inside is for the JSON decoder to judge.
type objects struct {
	in     *bufio.Reader
	line   int
	array  bool // the first byte was [
	some   bool // an object was read
	comma  bool // a comma was read since
	ended  bool // the ] was read
	object []byte
}

// next returns an object, valid until the next call, and the line it starts at.
// io.EOF is the end; after any other error nothing more can be read.
func (o *objects) next() ([]byte, int, error) {
	for {
		b, err := o.in.ReadByte()
		switch {
		case err == io.EOF && o.array && !o.ended:
			return nil, o.line, errors.New("the array is not closed: was the file cut off?")
		case err == io.EOF:
			return nil, o.line, io.EOF
		case err != nil:
			return nil, o.line, fmt.Errorf("the file ended early: %v", err)
		case b == '\n':
			o.line++
		case b == ' ' || b == '\t' || b == '\r':
		case b == '[' && !o.array && !o.some:
			o.array = true
		case b == ']' && o.array && !o.ended && !o.comma:
			o.ended = true
		case b == ',' && o.array && !o.ended && o.some && !o.comma:
			o.comma = true
		case b == '{' && !o.ended && (!o.array || !o.some || o.comma):
			o.some, o.comma = true, false
			return o.read()
		default:
			return nil, o.line, fmt.Errorf("%q is out of place: give an array of devices, or one device on each line", rune(b))
		}
	}
}

// read reads to the brace that closes the one just read.
func (o *objects) read() ([]byte, int, error) {
	start := o.line
	o.object = append(o.object[:0], '{')
	for in := (inside{depth: 1}); in.depth > 0; {
		if _, err := o.in.Peek(1); err == io.EOF {
			return nil, start, errors.New("the object is not closed: was the file cut off?")
		} else if err != nil {
			return nil, start, fmt.Errorf("the file ended early: %v", err)
		}
		chunk, _ := o.in.Peek(o.in.Buffered()) // cannot fail: it is there
		n, lines := in.scan(chunk)
		if len(o.object)+n > MaxRowBytes {
			return nil, start, fmt.Errorf("the object is longer than %d bytes", MaxRowBytes)
		}
		o.object = append(o.object, chunk[:n]...)
		o.line += lines
		o.in.Discard(n)
	}
	return o.object, start, nil
}

// inside is where in an object a scan stands.
type inside struct {
	depth         int  // braces open
	text, escaped bool // in a string; behind its backslash
}

// scan goes to the closing brace or the end of b: n bytes, with lines newlines.
func (in *inside) scan(b []byte) (n, lines int) {
	for n < len(b) && in.depth > 0 {
		c := b[n]
		n++
		switch {
		case c == '\n':
			lines++
			in.escaped = false
		case in.escaped:
			in.escaped = false
		case c == '"':
			in.text = !in.text
		case in.text:
			in.escaped = c == '\\'
		case c == '{':
			in.depth++
		case c == '}':
			in.depth--
		}
	}
	return n, lines
}

// WriteJSON writes the devices as a JSON array, one on each line, as they come;
// ReadJSON reads it back. It ends with the first error of devices or of w; then
// the array is not closed.
func WriteJSON(w io.Writer, devices iter.Seq2[Device, error]) error {
	return writeJSON(w, devices, "[\n", ",\n", "\n]\n")
}

// WriteJSONLines writes one device on each line, as they come.
func WriteJSONLines(w io.Writer, devices iter.Seq2[Device, error]) error {
	return writeJSON(w, devices, "", "\n", "\n")
}

func writeJSON(w io.Writer, devices iter.Seq2[Device, error], first, between, last string) error {
	out := bufio.NewWriterSize(w, 64<<10)
	out.WriteString(first)
	some := false
	for d, err := range devices {
		if err != nil {
			return err
		}
		b, err := json.Marshal(d)
		if err != nil {
			return fmt.Errorf("writing devices as JSON: %w", err)
		}
		if some {
			out.WriteString(between)
		}
		some = true
		if _, err := out.Write(b); err != nil {
			return fmt.Errorf("writing devices as JSON: %w", err)
		}
	}
	if some || first != "" {
		out.WriteString(last)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing devices as JSON: %w", err)
	}
	return nil
}
