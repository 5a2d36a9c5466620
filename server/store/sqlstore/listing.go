package sqlstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/device"
)

// window bounds the rows that one listing looks at, so that a page costs
// milliseconds however rare its devices are among however many.
const window = 2_500

// Devices lists devices by id, at most p.Limit of those that a filter selects.
// next is where to go on, empty at the end. A page may be shorter than its limit,
// even empty, and have a next one: then nothing more was found in the rows that
// one listing looks at.
func (s *Store) Devices(ctx context.Context, f device.Filter, p device.Page) (list []device.Device, next device.ID, err error) {
	l := newListing(f, p)
	query, args := l.page(p.Limit + 1)
	err = s.all(ctx, query, args, func(sc scanner) error {
		d, err := scanDevice(sc)
		list = append(list, d)
		return err
	})
	switch {
	case err != nil:
		return nil, "", err
	case len(list) > p.Limit:
		list = list[:p.Limit]
		return list, list[p.Limit-1].ID, nil
	case len(l.rest) == 0:
		return list, "", nil
	}
	query, args = l.edge()
	if err = s.row(ctx, query, args, &next); err == ErrNotFound {
		err = nil
	}
	return list, next, err
}

// cond is a condition with one ? for each value.
type cond struct {
	text   string
	values []any
}

// listing walks one index in the order of ids (drive, through table and its
// column key) and filters what it meets (rest).
type listing struct {
	table, key  string
	drive, rest []cond
}

// newListing chooses the index: a serial, a label, a pair that has an index of its
// own, or one field. What is left filters.
func newListing(f device.Filter, p device.Page) *listing {
	l := &listing{table: "device", key: "id"}
	fields := map[string]cond{}
	put := func(name string, given bool, text string, value any) {
		if given {
			fields[name] = cond{text, []any{value}}
		}
	}
	put("type", f.Type != "", "type = ?", f.Type)
	put("zone", f.Zone != "", "zone = ?", f.Zone)
	put("state", f.State != "", "state = ?", f.State)
	put("owner", f.Owner != "", "owner = ? AND owner <> ''", f.Owner)
	put("serial", f.Serial != "", "serial = ? AND serial <> ''", f.Serial)
	labels := slices.Sorted(maps.Keys(f.Labels))
	if len(labels) > 0 && f.Serial == "" {
		l.table, l.key = "device_label", "device_id"
		l.drive = []cond{{"name = ? AND value = ?", []any{labels[0], f.Labels[labels[0]]}}}
		labels = labels[1:]
	} else {
		l.driveBy(fields)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		l.rest = append(l.rest, cond{"d." + strings.ReplaceAll(fields[name].text, "AND ", "AND d."), fields[name].values})
	}
	for _, name := range labels {
		l.rest = append(l.rest, cond{"EXISTS (SELECT 1 FROM device_label o WHERE o.name = ? AND o.value = ? AND o.device_id = d.id)", []any{name, f.Labels[name]}})
	}
	if f.IDPrefix != "" {
		// '~' sorts behind every character of an id.
		l.drive = append(l.drive, cond{l.key + " >= ? AND " + l.key + " < ?", []any{f.IDPrefix, f.IDPrefix + "~"}})
	}
	if p.After != "" {
		l.drive = append(l.drive, cond{l.key + " > ?", []any{p.After}})
	}
	return l
}

// indexes lists what device has indexes for, before id, the most selective first.
var indexes = [][]string{{"serial"}, {"type", "state"}, {"zone", "state"}, {"zone", "type"}, {"owner"}, {"zone"}, {"type"}, {"state"}}

// driveBy takes the fields of the first index that are all given.
func (l *listing) driveBy(fields map[string]cond) {
	for _, index := range indexes {
		if !slices.ContainsFunc(index, func(name string) bool { _, given := fields[name]; return !given }) {
			for _, name := range index {
				l.drive = append(l.drive, fields[name])
				delete(fields, name)
			}
			return
		}
	}
}

// page is the query of a page: at most n of the devices among the first window
// rows that the index has. Its text depends on which fields are given, not on
// their values, so that the number of prepared statements is bounded.
func (l *listing) page(n int) (string, []any) {
	b := &builder{}
	look := window
	if len(l.rest) == 0 {
		look = n
	}
	inner, join, order, rest := deviceColumns, " d", "d.id", l.rest
	if l.table != "device" {
		// A cross join keeps the order that it is written in: labels first. Left to
		// itself SQLite walks all devices, because they come in the order wanted.
		inner, join, order = l.key, " l CROSS JOIN device d", "l."+l.key
		rest = append([]cond{{"d.id = l." + l.key, nil}}, rest...)
	}
	b.write("SELECT " + prefixedBy("d", deviceColumns) + " FROM (SELECT " + inner + " FROM " + l.table)
	b.where(l.drive)
	b.write(" ORDER BY "+l.key+" LIMIT ?)"+join, look)
	b.where(rest)
	b.write(" ORDER BY "+order+" LIMIT ?", n)
	return b.text.String(), b.args
}

// edge is the query for the id of the last row that page looked at, if it looked
// at as many as it may.
func (l *listing) edge() (string, []any) {
	b := &builder{}
	b.write("SELECT " + l.key + " FROM " + l.table)
	b.where(l.drive)
	b.write(" ORDER BY "+l.key+" LIMIT 1 OFFSET ?", window-1)
	return b.text.String(), b.args
}

// builder joins text and values, numbering the ? of the text.
type builder struct {
	text strings.Builder
	args []any
}

func (b *builder) write(text string, values ...any) {
	for _, v := range values {
		b.args = append(b.args, v)
		text = strings.Replace(text, "?", fmt.Sprintf("$%d", len(b.args)), 1)
	}
	b.text.WriteString(text)
}

func (b *builder) where(conds []cond) {
	for i, c := range conds {
		b.write([]string{" WHERE ", " AND "}[min(i, 1)]+c.text, c.values...)
	}
}

// prefixedBy puts a table's alias before each column of a list.
func prefixedBy(alias, columns string) string {
	return alias + "." + strings.ReplaceAll(columns, ", ", ", "+alias+".")
}
