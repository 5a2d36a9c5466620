package storetest

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

var createTable = regexp.MustCompile(`(?m)^CREATE TABLE (\w+)`)

// tables are those that the migrations make.
func tables() (names []string) {
	all := sqlstore.Migrations()
	files, err := fs.Glob(all, "*.sql")
	if err != nil {
		panic(err)
	}
	for _, f := range files {
		text, err := fs.ReadFile(all, f)
		if err != nil {
			panic(err)
		}
		for _, m := range createTable.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
	}
	return names
}

// dump writes every row of every table, in an order that depends on the rows
// alone.
func (w *world) dump() []byte {
	w.Helper()
	var out bytes.Buffer
	for _, table := range tables() {
		rows, err := w.raw.QueryContext(w.Context(), "SELECT * FROM "+table)
		w.ok(err)
		columns, err := rows.Columns()
		w.ok(err)
		var lines []string
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			w.ok(rows.Scan(values...))
			var line strings.Builder
			fmt.Fprintf(&line, "%s:", table)
			for i, v := range values {
				fmt.Fprintf(&line, " %s=%s", columns[i], text(*v.(*any)))
			}
			lines = append(lines, line.String())
		}
		w.ok(rows.Err())
		rows.Close()
		slices.Sort(lines)
		for _, l := range lines {
			out.WriteString(l + "\n")
		}
	}
	return out.Bytes()
}

// text shows strings and bytes alike, as drivers differ in which they return.
func text(v any) string {
	switch v := v.(type) {
	case []byte:
		return fmt.Sprintf("%q", v)
	case string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprint(v)
}

// difference shows the lines that two dumps do not share.
func difference(before, after []byte) string {
	old, now := strings.Split(string(before), "\n"), strings.Split(string(after), "\n")
	var out strings.Builder
	for _, l := range old {
		if !slices.Contains(now, l) {
			out.WriteString("- " + l + "\n")
		}
	}
	for _, l := range now {
		if !slices.Contains(old, l) {
			out.WriteString("+ " + l + "\n")
		}
	}
	return out.String()
}

// outboxEvents decodes the outbox.
func (w *world) outboxEvents() (list []audit.Event) {
	w.Helper()
	rows, err := w.OutboxRows(w.Context(), 1<<20)
	w.ok(err)
	for _, r := range rows {
		e, err := audit.Decode(r.Leaf)
		w.ok(err)
		if e.ID != r.ID {
			w.Fatalf("the outbox row %s holds event %s", r.ID, e.ID)
		}
		list = append(list, e)
	}
	return list
}

// events counts the outbox's events of an action.
func (w *world) events(action string) (n int) {
	w.Helper()
	for _, e := range w.outboxEvents() {
		if e.Action == action {
			n++
		}
	}
	return n
}
