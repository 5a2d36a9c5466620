package ui

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// TableState is what a table shows: filters, order, columns and place. All of it
// is in the address, so that it can be kept, shared and gone back to.
type TableState struct {
	Path    string
	Filters map[string]string // by the name of a Filter; only those set
	Sort    string            // key of a column; empty: the order of the list
	Down    bool
	Columns []string // keys in order; nil: those shown by default
	After   string   // cursor of the page shown; empty: the first
	Trail   []string // cursors of the pages before it, the second first
	Limit   int
	extra   url.Values // parameters of the page itself, carried along
}

// TableSpec says what the address of a table may hold. What is not in it is
// ignored, so that addresses of another release still open.
type TableSpec struct {
	Filters []string // names
	Sorts   []string // keys that the table can be sorted by
	Columns []string // all keys
	Limit   int      // rows of a page; 50 when 0
	Keep    []string // other parameters that stay: "tab"
}

// reserved are the parameters that tables use for themselves.
const (
	paramSort, paramCols, paramAfter, paramTrail, paramLimit = "sort", "cols", "after", "trail", "limit"
	maxTrail                                                 = 40
	maxValue                                                 = 512
)

// limits are the sizes of pages that can be chosen.
var limits = []int{25, 50, 100, 200}

// Table reads a table's state from the request's address.
func (r *Request) Table(spec TableSpec) TableState {
	return ParseTable(r.HTTP.URL.Path, r.HTTP.URL.Query(), spec)
}

// ParseTable reads a state from an address. It never fails: what it cannot read
// is as if it were not there.
func ParseTable(path string, q url.Values, spec TableSpec) TableState {
	s := TableState{Path: path, Filters: map[string]string{}, Limit: cmp.Or(spec.Limit, 50), extra: url.Values{}}
	for _, name := range spec.Filters {
		if v := strings.TrimSpace(clip(q.Get(name), maxValue)); v != "" {
			s.Filters[name] = v
		}
	}
	key, down := strings.CutPrefix(q.Get(paramSort), "-")
	if slices.Contains(spec.Sorts, key) {
		s.Sort, s.Down = key, down
	}
	if q.Has(paramCols) {
		for key := range strings.SplitSeq(clip(q.Get(paramCols), maxValue), ",") {
			if slices.Contains(spec.Columns, key) && !slices.Contains(s.Columns, key) {
				s.Columns = append(s.Columns, key)
			}
		}
		// The form sends one parameter for each ticked column.
		for _, key := range q[paramCols][1:] {
			if slices.Contains(spec.Columns, key) && !slices.Contains(s.Columns, key) {
				s.Columns = append(s.Columns, key)
			}
		}
	}
	if n, err := strconv.Atoi(q.Get(paramLimit)); err == nil && slices.Contains(limits, n) {
		s.Limit = n
	}
	s.After = clip(q.Get(paramAfter), maxValue)
	if t := q[paramTrail]; s.After != "" && len(t) <= maxTrail {
		for _, c := range t {
			if c != "" && len(c) <= maxValue {
				s.Trail = append(s.Trail, c)
			}
		}
	}
	for _, name := range spec.Keep {
		if v := clip(q.Get(name), maxValue); v != "" {
			s.extra.Set(name, v)
		}
	}
	return s
}

// Filter is the value of a filter, or nothing.
func (s TableState) Filter(name string) string { return s.Filters[name] }

// Filtered tells whether any filter is set.
func (s TableState) Filtered() bool { return len(s.Filters) > 0 }

// Values are the parameters that ParseTable reads back.
func (s TableState) Values() url.Values {
	q := url.Values{}
	for k, v := range s.extra {
		q[k] = slices.Clone(v)
	}
	for k, v := range s.Filters {
		q.Set(k, v)
	}
	if s.Sort != "" {
		q.Set(paramSort, map[bool]string{true: "-"}[s.Down]+s.Sort)
	}
	if s.Columns != nil {
		q.Set(paramCols, strings.Join(s.Columns, ","))
	}
	if s.Limit != 50 {
		q.Set(paramLimit, strconv.Itoa(s.Limit))
	}
	if s.After != "" {
		q.Set(paramAfter, s.After)
		for _, c := range s.Trail {
			q.Add(paramTrail, c)
		}
	}
	return q
}

// URL is the address of the state.
func (s TableState) URL() string {
	if q := s.Values().Encode(); q != "" {
		return s.Path + "?" + q
	}
	return s.Path
}

// With is the state with a filter set, or taken away by an empty value; on the
// first page.
func (s TableState) With(name, value string) TableState {
	filters := map[string]string{}
	for k, v := range s.Filters {
		filters[k] = v
	}
	if delete(filters, name); value != "" {
		filters[name] = value
	}
	s.Filters, s.After, s.Trail = filters, "", nil
	return s
}

// Clear is the state without filters.
func (s TableState) Clear() TableState {
	s.Filters, s.After, s.Trail = map[string]string{}, "", nil
	return s
}

// By is the state in the order of a column; the other way round if it is already.
func (s TableState) By(key string) TableState {
	s.Down = s.Sort == key && !s.Down
	s.Sort, s.After, s.Trail = key, "", nil
	return s
}

// Next is the page behind this one, which begins after cursor.
func (s TableState) Next(cursor string) TableState {
	if s.After != "" {
		trail := append(slices.Clone(s.Trail), s.After)
		s.Trail = trail[max(0, len(trail)-maxTrail):]
	}
	s.After = cursor
	return s
}

// Previous is the page before; ok is false on the first one.
func (s TableState) Previous() (TableState, bool) {
	if s.After == "" {
		return s, false
	}
	if len(s.Trail) == 0 {
		s.After = ""
		return s, true
	}
	s.After, s.Trail = s.Trail[len(s.Trail)-1], s.Trail[:len(s.Trail)-1]
	return s, true
}

// SortPage cuts a page out of a list that came whole, and sorts it first if the
// table is sorted. by holds a comparison for each key of TableSpec.Sorts; next is
// the cursor for Table.Next.
func SortPage[R any](s TableState, rows []R, by map[string]func(a, b R) int) (page []R, next string) {
	rows = slices.Clone(rows)
	if less := by[s.Sort]; less != nil {
		slices.SortStableFunc(rows, func(a, b R) int {
			if s.Down {
				return less(b, a)
			}
			return less(a, b)
		})
	}
	from, err := strconv.Atoi(s.After)
	if err != nil || from < 0 || from > len(rows) {
		from = 0
	}
	to := min(len(rows), from+s.Limit)
	if to < len(rows) {
		next = strconv.Itoa(to)
	}
	return rows[from:to], next
}

// Matches tells whether any of fields contains what was searched for, in any
// case; an empty search matches all.
func Matches(search string, fields ...string) bool {
	search = strings.ToLower(search)
	return search == "" || slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(strings.ToLower(f), search) })
}
