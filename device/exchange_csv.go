package device

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"
)

// ReadCSV reads devices from CSV (RFC 4180, UTF-8, commas; a byte order mark is
// skipped). The first row names the columns, in any order: id, type and zone
// must be there, owner, serial, manufacturer, labels ("k=v;k=v") and notes may;
// state, times and version, which an export also writes, are ignored: an imported
// device starts as registered. An apostrophe before a formula is taken off.
// At most maxRows rows of MaxRowBytes each are read. It returns either all rows
// or what is wrong, in the order of the file.
func ReadCSV(r io.Reader, maxRows int) ([]Row, []RowError) {
	rd := newReader(maxRows)
	c := &cells{in: bufio.NewReaderSize(r, 64<<10), line: 1}
	skipMark(c.in)
	header, line, err := c.next()
	if err == io.EOF {
		rd.fatal(0, "the file is empty: the first row must name the columns, id,type,zone and what else there is")
	} else if err != nil {
		rd.fatal(line, "%v", err)
	} else {
		header = slices.Clone(header)
		rd.header(header, line)
	}
	for !rd.closed {
		row, line, err := c.next()
		if err == io.EOF {
			break
		}
		if err != nil && c.dead {
			rd.fatal(line, "%v", err)
			break
		}
		if len(row) == 1 && row[0] == "" && err == nil {
			continue // an empty line
		}
		if !rd.begin(line) {
			break
		}
		switch {
		case err != nil:
			rd.bad(line, "", "%v", err)
		case len(row) != len(header):
			rd.bad(line, "", "the row has %d cells and the header %d: put cells with commas in quotes", len(row), len(header))
		default:
			rd.cells(line, header, row)
		}
	}
	return rd.result()
}

// header checks the first row; what it finds wrong closes the reader, because
// the rows could only be misread.
func (r *reader) header(names []string, line int) {
	if len(names) == 1 && strings.ContainsAny(names[0], ";\t") {
		r.fatal(line, "the columns are not separated by commas: save the file as CSV with commas")
		return
	}
	for i, name := range names {
		name = strings.ToLower(strings.Trim(name, " "))
		names[i] = name
		if !slices.Contains(columns, name) {
			r.bad(line, clip(name), "%s", unknownField("column", name))
		} else if slices.Contains(names[:i], name) {
			r.bad(line, name, "the column %q stands twice: remove one", name)
		}
	}
	for _, must := range columns[:3] {
		if !slices.Contains(names, must) {
			r.bad(line, must, "the column %q is missing: add it", must)
		}
	}
	r.closed = r.closed || len(r.errs) > 0
}

// cells makes a device of a row.
func (r *reader) cells(line int, header, row []string) {
	var d Device
	for i, name := range header {
		cell := unguard(row[i])
		switch name {
		case "id":
			d.ID = ID(strings.Trim(cell, " "))
		case "type":
			d.Type = TypeName(strings.Trim(cell, " "))
		case "zone":
			d.Zone = ZoneName(strings.Trim(cell, " "))
		case "owner":
			d.Owner = cell
		case "serial":
			d.Serial = cell
		case "manufacturer":
			d.Manufacturer = cell
		case "notes":
			d.Notes = cell
		case "labels":
			labels, err := parseLabelCell(cell)
			if err != nil {
				r.bad(line, "labels", "%v", err)
				return
			}
			d.Labels = labels
		}
	}
	r.add(line, d)
}

// cells reads CSV records within bounds. Only Go's own csv package would be
// shorter; it holds a cell whose quote is never closed whole in memory.
type cells struct {
	in    *bufio.Reader
	line  int // of the next byte
	dead  bool
	row   []byte   // the present record, unescaped
	ends  []int    // end of each cell in row
	cells []string // reused
}

// next returns the cells of a record, valid until the next call, and the line it
// starts at. io.EOF is the end; after another error reading goes on with the next
// line, unless dead is set.
func (c *cells) next() ([]string, int, error) {
	start := c.line
	c.row, c.ends = c.row[:0], c.ends[:0]
	quoted, closed, any := false, false, false // inside quotes; after them; something was read
	for size := 0; ; size++ {
		b, err := c.in.ReadByte()
		switch {
		case err == io.EOF && quoted:
			c.dead = true
			return nil, start, fmt.Errorf("a quote that is opened here is never closed")
		case err == io.EOF && !any:
			return nil, start, io.EOF
		case err == io.EOF:
			return c.finish(), start, nil
		case err != nil:
			c.dead = true
			return nil, start, fmt.Errorf("the file ended early: %v", err)
		case size == MaxRowBytes:
			c.dead = true
			return nil, start, fmt.Errorf("the row is longer than %d bytes: look for a quote that is not closed", MaxRowBytes)
		}
		any = true
		if b == '\r' && c.peek() == '\n' {
			continue // CRLF is LF, inside quotes too
		}
		if b == '\n' {
			c.line++
		}
		cellEmpty := len(c.row) == c.cellStart()
		switch {
		case quoted && b == '"' && c.peek() == '"':
			c.in.ReadByte()
			size++
			c.row = append(c.row, '"')
		case quoted && b == '"':
			quoted, closed = false, true
		case quoted:
			c.row = append(c.row, b)
		case b == '\n':
			return c.finish(), start, nil
		case b == ',':
			c.ends = append(c.ends, len(c.row))
			closed = false
		case b == '"' && cellEmpty && !closed:
			quoted = true
		case b == '"' || closed:
			c.skipLine()
			return nil, start, fmt.Errorf("a quote stands inside a cell: put the whole cell in quotes and write each quote in it twice")
		default:
			c.row = append(c.row, b)
		}
	}
}

func (c *cells) cellStart() int {
	if n := len(c.ends); n > 0 {
		return c.ends[n-1]
	}
	return 0
}

// peek is the next byte, 0 at the end.
func (c *cells) peek() byte {
	if b, err := c.in.Peek(1); err == nil {
		return b[0]
	}
	return 0
}

func (c *cells) skipLine() {
	for size := 0; size < MaxRowBytes; size++ {
		b, err := c.in.ReadByte()
		if err != nil {
			return
		}
		if b == '\n' {
			c.line++
			return
		}
	}
	c.dead = true
}

func (c *cells) finish() []string {
	c.ends = append(c.ends, len(c.row))
	text, from := string(c.row), 0
	c.cells = c.cells[:0]
	for _, end := range c.ends {
		c.cells = append(c.cells, text[from:end])
		from = end
	}
	return c.cells
}

// skipMark takes off a UTF-8 byte order mark.
func skipMark(in *bufio.Reader) {
	if b, err := in.Peek(3); err == nil && bytes.Equal(b, []byte("\xef\xbb\xbf")) {
		in.Discard(3)
	}
}

// WriteCSV writes a header and one row for each device as they come; ReadCSV
// reads it back. Times are RFC 3339 in UTC. A cell that a spreadsheet would run as
// a formula gets an apostrophe before it. It ends with the first error of devices
// or of w.
func WriteCSV(w io.Writer, devices iter.Seq2[Device, error]) error {
	out := bufio.NewWriterSize(w, 64<<10)
	out.WriteString(strings.Join(columns[:len(columns)-1], ",") + "\n")
	for d, err := range devices {
		if err != nil {
			return err
		}
		for i, cell := range []string{string(d.ID), string(d.Type), string(d.Zone), d.Owner, d.Serial, d.Manufacturer, labelCell(d.Labels), d.Notes,
			string(d.State), timeCell(d.CreatedAt), timeCell(d.UpdatedAt), timeCell(d.EnrolledAt), timeCell(d.SeenAt), flagCell(d.Maintenance)} {
			if i > 0 {
				out.WriteByte(',')
			}
			writeCell(out, guard(cell))
		}
		if err := out.WriteByte('\n'); err != nil {
			return fmt.Errorf("writing devices as CSV: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("writing devices as CSV: %w", err)
	}
	return nil
}

func writeCell(out *bufio.Writer, s string) {
	if !strings.ContainsAny(s, "\",\r\n") {
		out.WriteString(s)
		return
	}
	out.WriteByte('"')
	out.WriteString(strings.ReplaceAll(s, `"`, `""`))
	out.WriteByte('"')
}

func flagCell(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func timeCell(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
