package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/term"
	"go.yaml.in/yaml/v3"
)

// col is one column of a table, and one line when a single thing is shown.
type col[T any] struct {
	title string
	cell  func(T) string
	// detail columns stand only where a single thing is shown.
	detail bool
}

// printList writes items as a table, or all their fields as JSON or YAML.
func printList[T any](a *app, items []T, cols []col[T]) error {
	if items == nil {
		items = []T{} // [] in JSON, not null
	}
	if a.output != "table" {
		return a.encode(items)
	}
	t := table{}
	cols = slices.DeleteFunc(slices.Clone(cols), func(c col[T]) bool { return c.detail })
	for _, c := range cols {
		t.header = append(t.header, c.title)
	}
	for _, item := range items {
		row := make([]string, len(cols))
		for i, c := range cols {
			row[i] = plain(c.cell(item))
		}
		t.rows = append(t.rows, row)
	}
	if len(items) == 0 {
		_, err := fmt.Fprintln(a.err, "nothing to list")
		return err
	}
	return t.write(a.out, a.width(), a.colourful(a.out))
}

// printItem writes one thing, a line for each field that is not empty.
func printItem[T any](a *app, item T, cols []col[T]) error {
	if a.output != "table" {
		return a.encode(item)
	}
	longest := 0
	for _, c := range cols {
		longest = max(longest, len(c.title))
	}
	for _, c := range cols {
		if v := plain(c.cell(item)); v != "" {
			title := a.paint(a.out, bold, fmt.Sprintf("%-*s", longest, strings.ToLower(c.title)))
			if _, err := fmt.Fprintf(a.out, "%s  %s\n", title, v); err != nil {
				return err
			}
		}
	}
	return nil
}

// say reports what was done: a sentence, or one key with its value.
func (a *app) say(key, value, sentence string, args ...any) error {
	if a.output != "table" {
		return a.encode(map[string]string{key: value})
	}
	_, err := fmt.Fprintf(a.out, sentence+"\n", args...)
	return err
}

// encode writes v as JSON or YAML, with the field names of JSON in both.
func (a *app) encode(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	if a.output == "json" {
		_, err = fmt.Fprintf(a.out, "%s\n", text)
		return err
	}
	var node yaml.Node // JSON is YAML: reading it into a node keeps the order of fields
	if err := yaml.Unmarshal(text, &node); err != nil {
		return fmt.Errorf("writing YAML: %w", err)
	}
	block(&node)
	enc := yaml.NewEncoder(a.out)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return fmt.Errorf("writing YAML: %w", err)
	}
	return enc.Close()
}

// block takes the braces and quotes of JSON off, where YAML does without.
func block(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode {
		n.Style = 0
	} else if n.Tag == "!!str" {
		n.Style = 0 // the encoder quotes what would be read as something else
	}
	for _, c := range n.Content {
		block(c)
	}
}

// table is text in columns.
type table struct {
	header []string
	rows   [][]string
}

const gap = "  "

// least is how narrow a column may become before the table is cut at the right.
const least = 6

// write fits the table into width terminal cells; 0 means any width.
func (t table) write(w io.Writer, width int, colour bool) error {
	widths := t.fit(width)
	var b strings.Builder
	for r, row := range append([][]string{t.header}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			cell = cut(cell, widths[i])
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-ansi.StringWidth(cell)) + gap)
			}
		}
		text := strings.TrimRight(line.String(), " ")
		if width > 0 {
			text = cut(text, width)
		}
		if r == 0 && colour {
			text = bold + text + reset
		}
		b.WriteString(text + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// cut shortens text to a width. ansi.Truncate alone may leave a cell more, where a
// variation selector follows a letter.
func cut(text string, width int) string {
	for n := width; n > 0; n-- {
		if short := ansi.Truncate(text, n, "…"); ansi.StringWidth(short) <= width {
			return short
		}
	}
	return ""
}

// fit takes cells from the widest column, again and again, until all fit.
func (t table) fit(width int) []int {
	widths := make([]int, len(t.header))
	total := len(gap) * (len(widths) - 1)
	for i := range widths {
		widths[i] = ansi.StringWidth(t.header[i])
		for _, row := range t.rows {
			widths[i] = max(widths[i], ansi.StringWidth(row[i]))
		}
		total += widths[i]
	}
	for width > 0 && total > width {
		widest := 0
		for i := range widths {
			if widths[i] >= widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= least {
			break
		}
		widths[widest]--
		total--
	}
	return widths
}

const (
	bold  = "\x1b[1m"
	red   = "\x1b[31m"
	reset = "\x1b[0m"
)

func (a *app) paint(w io.Writer, style, text string) string {
	if a.colourful(w) {
		return style + text + reset
	}
	return text
}

// colourful follows no-color.org: only on a terminal, and not with NO_COLOR.
func (a *app) colourful(w any) bool {
	return isTerminal(w) && a.env["NO_COLOR"] == "" && a.env["TERM"] != "dumb"
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

// width is that of the terminal, 0 when the output goes elsewhere.
func (a *app) width() int { return widthOf(a.out) }

func widthOf(w any) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(f.Fd()); err == nil {
			return width
		}
	}
	return 0
}

// plain makes text fit for one line of a terminal: a name must not be able to
// move the cursor or start a line of its own.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\ufffd'
		}
		return r
	}, s)
}

func plainLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = plain(lines[i])
	}
	return strings.Join(lines, "\n")
}

// when formats a time for tables, "" when there is none.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func yesno(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
