package device

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/refusal"
)

// Row is a device read from a file, with the line its row starts at.
type Row struct {
	Line   int // from 1, the header included
	Device Device
}

// RowError says what is wrong with a row. Line is 0 when it is the whole file.
type RowError struct {
	Line    int
	Field   string // the column, empty when it is the whole row
	Message string // one sentence
}

// Bounds on what is read from a file.
const (
	MaxRowBytes  = 64 << 10 // one row or JSON object
	MaxRowErrors = 1000     // reported; then reading stops
)

// columns are written by an export and known to an import, in this order. Those
// of an export that follow the first eight are ignored by an import: a device's
// state and times follow from what happens to it, and an imported device starts
// as registered.
var columns = []string{"id", "type", "zone", "owner", "serial", "manufacturer", "labels", "notes",
	"state", "created_at", "updated_at", "enrolled_at", "seen_at", "maintenance", "version"}

// reader collects rows and what is wrong with them.
type reader struct {
	max    int
	rows   []Row
	errs   []RowError
	seen   map[ID]int // line of each id
	count  int        // rows read, bad ones included
	closed bool       // no more is read
}

func newReader(maxRows int) *reader { return &reader{max: maxRows, seen: map[ID]int{}} }

// bad records an error; after MaxRowErrors it closes the reader.
func (r *reader) bad(line int, field, format string, args ...any) {
	if r.closed {
		return
	}
	if len(r.errs) == MaxRowErrors {
		r.errs = append(r.errs, RowError{Line: line, Message: fmt.Sprintf("and more: the first %d errors are listed and reading stopped here", MaxRowErrors)})
		r.closed = true
		return
	}
	r.errs = append(r.errs, RowError{Line: line, Field: field, Message: fmt.Sprintf(format, args...)})
}

// fatal records an error after which nothing can be read.
func (r *reader) fatal(line int, format string, args ...any) {
	r.bad(line, "", format, args...)
	r.closed = true
}

// begin counts a row; false means that there are too many.
func (r *reader) begin(line int) bool {
	if r.count == r.max {
		r.fatal(line, "there are more than %d rows: import the file in parts", r.max)
		return false
	}
	r.count++
	return true
}

// add checks every field of a device, so that one pass names all that is wrong.
func (r *reader) add(line int, d Device) {
	before := len(r.errs)
	check := func(field string, err error) {
		if err != nil {
			r.bad(line, field, "%s", sentence(err))
		}
	}
	_, err := ParseID(string(d.ID))
	check("id", err)
	check("type", d.Type.Validate())
	check("zone", d.Zone.Validate())
	check("owner", checkText("owner", d.Owner, MaxOwner))
	check("serial", checkText("serial", d.Serial, MaxField))
	check("manufacturer", checkText("manufacturer", d.Manufacturer, MaxField))
	check("notes", checkText("notes", d.Notes, MaxNotes))
	check("labels", ValidateLabels(d.Labels))
	if err == nil {
		if first, twice := r.seen[d.ID]; twice {
			r.bad(line, "id", "the id %s stands already in line %d: give each device one row", d.ID, first)
		} else {
			r.seen[d.ID] = line
		}
	}
	if len(r.errs) == before && !r.closed {
		if n := len(r.rows); n == cap(r.rows) { // twice as many: rows are large, and append's smaller steps would copy them more often
			r.rows = slices.Grow(r.rows, max(n, 64))
		}
		r.rows = append(r.rows, Row{Line: line, Device: d})
	}
}

// result gives rows only when there are no errors: half a file is none.
func (r *reader) result() ([]Row, []RowError) {
	if len(r.errs) > 0 {
		return nil, r.errs
	}
	return r.rows, nil
}

func sentence(err error) string {
	if r := refusal.As(err); r != nil {
		return r.Error()
	}
	return err.Error()
}

// unknownField is the sentence for a column or field that does not exist.
func unknownField(what, name string) string {
	s := fmt.Sprintf("the %s %q is not known", what, clip(name))
	if near := nearest(strings.ToLower(strings.TrimSpace(name)), columns); near != "" {
		return s + fmt.Sprintf(": did you mean %q?", near)
	}
	return s + ": known are " + strings.Join(columns, ", ")
}

// nearest is the known word at the smallest edit distance from s, or none when
// all differ in more than half of their letters.
func nearest(s string, known []string) string {
	if len(s) > 64 {
		return ""
	}
	best, at := "", 1<<30
	for _, k := range known {
		if d := distance(s, k); d < at && 2*d <= max(len(s), len(k)) {
			best, at = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j+1]+1, row[j]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// guarded is what a spreadsheet would run as a formula when it starts a cell.
const guarded = "=+-@\t\r\n"

// isGuarded tells whether s is a formula behind any number of apostrophes.
func isGuarded(s string) bool {
	s = strings.TrimLeft(s, "'")
	return s != "" && strings.IndexByte(guarded, s[0]) >= 0
}

// guard puts an apostrophe before what a spreadsheet would run; unguard takes
// off exactly what guard put on, and leaves other apostrophes alone.
func guard(s string) string {
	if isGuarded(s) {
		return "'" + s
	}
	return s
}

func unguard(s string) string {
	if s != "" && s[0] == '\'' && isGuarded(s) {
		return s[1:]
	}
	return s
}
