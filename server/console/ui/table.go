package ui

import (
	"context"
	"io"
	"slices"

	"github.com/a-h/templ"
)

// Column is one column of a table of R.
type Column[R any] struct {
	Key    string // in the address; letters
	Label  string
	Hint   string // what the label means
	Sort   bool   // its Key is in TableSpec.Sorts
	Number bool   // aligned right
	Hidden bool   // only shown when chosen
	Wide   bool   // takes the room that is left
	Cell   func(R) Node
}

// Filter is a control above a table. With options it is a choice, else a text.
type Filter struct {
	Name, Label string
	Placeholder string
	Options     []Option // the first is "all" and has no value
	Search      bool     // the wide one
	Type        string   // of the input: "date"
}

// Export is a download of what the filters select.
type Export struct{ Label, Href string }

// Bulk is an action on all ticked rows: a dialog that the server makes. It is
// asked for with GET and the parameter "id" for each row.
type Bulk struct {
	Label, Icon, Href string
	Kind              Kind
}

// Table is a list of R with everything around it. It is a component: @table.
type Table[R any] struct {
	ID      string // of the element, and what htmx replaces
	Label   string // what the rows are, for screen readers: "Devices"
	State   TableState
	Columns []Column[R]
	Filters []Filter
	Rows    []R
	Next    string // cursor of the next page; empty: this is the last
	Total   string // "1 204 devices", if it is known
	Err     error  // instead of rows
	Empty   EmptyProps
	Exports []Export

	Href     func(R) string // where a row leads
	Actions  func(R) Node   // at the end of a row
	RowID    func(R) string // for Bulk
	Bulk     []Bulk
	RowTone  func(R) Tone // Warn and Bad mark the row
	RowLabel func(R) string
}

// Render writes the table.
func (t Table[R]) Render(ctx context.Context, w io.Writer) error {
	return tableView(t.view()).Render(ctx, w)
}

type tableCol struct {
	key, label, hint     string
	sort, number, wide   bool
	shown, hiddenDefault bool
}

type tableRow struct {
	href, id, label string
	tone            Tone
	cells           []Node
	actions         Node
}

// tableData is a Table without its type.
type tableData struct {
	id, label, next, total string
	state                  TableState
	cols                   []tableCol
	filters                []Filter
	rows                   []tableRow
	err                    error
	empty                  EmptyProps
	exports                []Export
	bulk                   []Bulk
	actions                bool
}

func (t Table[R]) view() tableData {
	v := tableData{id: t.ID, label: t.Label, next: t.Next, total: t.Total, state: t.State, filters: t.Filters, err: t.Err, empty: t.Empty,
		exports: t.Exports, bulk: t.Bulk, actions: t.Actions != nil}
	var shown []Column[R]
	for _, c := range t.Columns {
		on := !c.Hidden
		if t.State.Columns != nil {
			on = slices.Contains(t.State.Columns, c.Key)
		}
		v.cols = append(v.cols, tableCol{c.Key, c.Label, c.Hint, c.Sort, c.Number, c.Wide, on, c.Hidden})
		if on {
			shown = append(shown, c)
		}
	}
	if len(shown) == 0 && len(t.Columns) > 0 {
		shown, v.cols[0].shown = t.Columns[:1], true
	}
	if t.RowID == nil {
		v.bulk = nil
	}
	for _, r := range t.Rows {
		row := tableRow{tone: Neutral}
		if t.Href != nil {
			row.href = t.Href(r)
		}
		if t.RowID != nil {
			row.id = t.RowID(r)
		}
		if t.RowTone != nil {
			row.tone = t.RowTone(r)
		}
		row.label = row.id
		if t.RowLabel != nil {
			row.label = t.RowLabel(r)
		}
		for _, c := range shown {
			n := c.Cell(r)
			if n == nil {
				n = templ.NopComponent
			}
			row.cells = append(row.cells, n)
		}
		if t.Actions != nil {
			row.actions = t.Actions(r)
		}
		v.rows = append(v.rows, row)
	}
	return v
}

func (v tableData) shown() []tableCol {
	return slices.DeleteFunc(slices.Clone(v.cols), func(c tableCol) bool { return !c.shown })
}

// ariaSort is for the heading of a column that can be sorted by.
func (v tableData) ariaSort(c tableCol) string {
	switch {
	case v.state.Sort != c.key:
		return "none"
	case v.state.Down:
		return "descending"
	}
	return "ascending"
}

func (v tableData) sortIcon(c tableCol) string {
	switch v.ariaSort(c) {
	case "descending":
		return "arrow-down"
	case "ascending":
		return "arrow-up"
	}
	return "arrows"
}

// carried are the parameters that the filter form has to carry along because it
// has no control for them.
func (v tableData) carried() [][2]string {
	values := map[string]string{}
	for k, list := range v.state.Clear().Values() {
		if len(list) > 0 && k != paramCols && k != paramLimit {
			values[k] = list[0]
		}
	}
	return sorted(values)
}

// active are the filters that are set, with an address that takes each away.
func (v tableData) active() []activeFilter {
	var list []activeFilter
	for _, f := range v.filters {
		value := v.state.Filter(f.Name)
		if value == "" {
			continue
		}
		for _, o := range f.Options {
			if o.Value == value {
				value = o.Label
			}
		}
		list = append(list, activeFilter{f.Label, value, v.state.With(f.Name, "")})
	}
	return list
}

type activeFilter struct {
	label, value string
	without      TableState
}

// link leads to another state of the table; with scripts only the table changes.
func (v tableData) link(s TableState) templ.Attributes {
	to := s.URL()
	return templ.Attributes{"href": templ.SafeURL(LocalPath(to, "/")), "hx-get": LocalPath(to, "/"), "hx-target": "#" + v.id, "hx-select": "#" + v.id,
		"hx-swap": "outerHTML show:top", "hx-push-url": "true"}
}
