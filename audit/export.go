package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// ExportFormat is the format named in the first line of an export.
//
// An export is text of lines that end in a newline and take at most [MaxLine] bytes:
//
//	{"format":"holdfast-audit/1","origin":"…","key":"…","first":0,"count":N}
//	{"i":0,"leaf":{…}}            an entry: the leaf exactly as it was hashed
//	{"checkpoint":"…"}            a signed checkpoint of as many entries as stand above it
//
// The last line is a checkpoint; earlier ones are optional and narrow down where a change is. Nothing in the first
// line is trusted. An entry's line begins with its index so that a missing or moved line is named, not just noticed.
const ExportFormat = "holdfast-audit/1"

// MaxLine bounds a line of an export, in bytes with its newline.
const MaxLine = 64 << 10

// ExportHeader is the first line of an export.
type ExportHeader struct {
	Format string `json:"format"`
	Origin string `json:"origin"`
	Key    string `json:"key"` // for the reader's convenience: verification takes its key from elsewhere
	First  int64  `json:"first"`
	Count  int64  `json:"count"`
}

type checkpointLine struct {
	Checkpoint string `json:"checkpoint"`
}

const (
	entryPrefix      = `{"i":`
	leafPrefix       = `,"leaf":`
	checkpointPrefix = `{"checkpoint":`
)

// ExportWriter writes an export as it goes, in constant memory. It is used by one goroutine; after an error every call
// returns that error.
type ExportWriter struct {
	w     *bufio.Writer
	count int64 // promised in the header
	next  int64 // index of the next entry
	last  int64 // size of the newest checkpoint written, -1 before the first
	err   error
}

// NewExportWriter begins an export of the first count entries of a log.
func NewExportWriter(w io.Writer, key PublicKey, count int64) (*ExportWriter, error) {
	if count < 0 || count > MaxSize {
		return nil, fmt.Errorf("exporting %d entries: %w", count, ErrSize)
	}
	x := &ExportWriter{w: bufio.NewWriterSize(w, MaxLine), count: count, last: -1}
	header, err := json.Marshal(ExportHeader{ExportFormat, key.Name(), key.String(), 0, count})
	if err != nil {
		return nil, fmt.Errorf("exporting: %w", err)
	}
	return x, x.line(header)
}

func (x *ExportWriter) line(b ...[]byte) error {
	n := 1
	for _, part := range b {
		n += len(part)
	}
	if x.err == nil && n > MaxLine {
		x.err = fmt.Errorf("exporting: a line takes %d bytes, more than %d", n, MaxLine)
	}
	for _, part := range append(b, []byte("\n")) {
		if x.err == nil {
			_, x.err = x.w.Write(part)
		}
	}
	return x.err
}

// Entry writes the next entry.
func (x *ExportWriter) Entry(leaf []byte) error {
	if x.err == nil && (x.next == x.count || len(leaf) > MaxLeaf || bytes.IndexByte(leaf, '\n') >= 0) {
		x.err = fmt.Errorf("exporting entry %d: it is beyond the %d announced, longer than %d bytes or not one line", x.next, x.count, MaxLeaf)
	}
	head := strconv.AppendInt([]byte(entryPrefix), x.next, 10)
	x.next++
	return x.line(append(head, leafPrefix...), leaf, []byte("}"))
}

// Checkpoint writes a signed checkpoint; it must be of exactly the entries written so far.
func (x *ExportWriter) Checkpoint(signed []byte) error {
	text, _, err := parseNote(signed)
	var c Checkpoint
	if err == nil {
		c, err = parseCheckpoint(text)
	}
	if err == nil && c.Size != x.next {
		err = fmt.Errorf("its size is %d and %d entries are written: %w", c.Size, x.next, ErrSize)
	}
	if err != nil && x.err == nil {
		x.err = fmt.Errorf("exporting a checkpoint: %w", err)
	}
	x.last = c.Size
	b, err := json.Marshal(checkpointLine{string(signed)})
	if err != nil && x.err == nil {
		x.err = fmt.Errorf("exporting a checkpoint: %w", err)
	}
	return x.line(b)
}

// Close writes what is buffered. It is an error when entries announced or the checkpoint at the end are missing: what
// was written then does not verify.
func (x *ExportWriter) Close() error {
	if x.err == nil && (x.next != x.count || x.last != x.count) {
		x.err = fmt.Errorf("exporting: %d of %d entries are written and the newest checkpoint is of %d", x.next, x.count, x.last)
	}
	if x.err == nil {
		x.err = x.w.Flush()
	}
	if x.err != nil {
		return x.err
	}
	x.err = errors.New("exporting: the export is closed")
	return nil
}

// parseEntry reads an entry's line, without its newline.
func parseEntry(line []byte) (index int64, leaf []byte, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(entryPrefix))
	digits, rest, ok2 := bytes.Cut(rest, []byte(leafPrefix))
	if !ok || !ok2 || len(digits) > 16 {
		return 0, nil, false
	}
	index, ok = parseSize(string(digits))
	leaf, ok2 = bytes.CutSuffix(rest, []byte("}"))
	return index, leaf, ok && ok2
}

// strictJSON reads one JSON object with known fields only and nothing after it.
func strictJSON(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("bytes follow its end")
	}
	return nil
}
