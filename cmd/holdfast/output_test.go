package main

import (
	"strings"
	"testing"

	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"
)

func TestTableFits(t *testing.T) {
	tab := table{header: []string{"ID", "STATE", "LABELS"}, rows: [][]string{
		{"pump-1", "active", strings.Repeat("site=north;", 10)},
		{"pumpe-äöü-東京", "registered", ""},
	}}
	var b strings.Builder
	if err := tab.write(&b, 40, false); err != nil {
		t.Fatal(err)
	}
	want := "ID              STATE       LABELS\n" +
		"pump-1          active      site=nor…\n" +
		"pumpe-äöü-東京  registered\n"
	if b.String() != want && !fits(b.String(), 40) {
		t.Errorf("got\n%s", b.String())
	}
	b.Reset()
	if err := tab.write(&b, 0, true); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), strings.Repeat("site=north;", 10)) || !strings.HasPrefix(b.String(), bold+"ID") {
		t.Errorf("without a terminal nothing is cut:\n%s", b.String())
	}
}

func fits(text string, width int) bool {
	for line := range strings.Lines(text) {
		if ansi.StringWidth(strings.TrimSuffix(line, "\n")) > width {
			return false
		}
	}
	return true
}

// TestTableOfSelectors has a variation selector where the text is cut.
func TestTableOfSelectors(t *testing.T) {
	for width := range 12 {
		tab := table{header: []string{"AAAAA\ufe0fA", ""}, rows: [][]string{{"\ufe0f1\ufe0f2\ufe0f3\ufe0f", "x"}}}
		var b strings.Builder
		if err := tab.write(&b, width, false); err != nil || width > 0 && !fits(b.String(), width) {
			t.Errorf("%d: %v\n%s", width, err, b.String())
		}
	}
}

func TestTableAlwaysFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(1, 8).Draw(t, "columns")
		width := rapid.IntRange(1, 200).Draw(t, "width")
		row := rapid.SliceOfN(rapid.Map(rapid.String(), plain), columns, columns)
		tab := table{header: row.Draw(t, "header"), rows: rapid.SliceOfN(row, 0, 5).Draw(t, "rows")}
		var b strings.Builder
		if err := tab.write(&b, width, false); err != nil {
			t.Fatal(err)
		}
		if !fits(b.String(), width) {
			t.Fatalf("wider than %d:\n%s", width, b.String())
		}
		if n := strings.Count(b.String(), "\n"); n != len(tab.rows)+1 {
			t.Fatalf("%d lines for %d rows", n, len(tab.rows))
		}
	})
}

func TestPlainKeepsTheTerminalSafe(t *testing.T) {
	for _, s := range []string{"a\x1b[2Jb", "a\rb", "a\nb", "a\u202eb", "a\u009bb", "a\x7fb", "a\u2028b"} {
		if got := plain(s); strings.ContainsAny(got, "\x1b\r\n\x7f\u202e\u009b\u2028") || !strings.HasPrefix(got, "a") {
			t.Errorf("plain(%q) = %q", s, got)
		}
	}
}

func TestFormats(t *testing.T) {
	type thing struct {
		Name string   `json:"name"`
		Many []string `json:"many"`
		Text string   `json:"text"`
	}
	cols := []col[thing]{{title: "NAME", cell: func(t thing) string { return t.Name }}, {title: "TEXT", cell: func(t thing) string { return t.Text }, detail: true}}
	v := thing{"x", []string{"1"}, "yes: no"}
	for format, want := range map[string]string{
		"table": "name  x\ntext  yes: no\n",
		"json":  "{\n  \"name\": \"x\",\n  \"many\": [\n    \"1\"\n  ],\n  \"text\": \"yes: no\"\n}\n",
		"yaml":  "name: x\nmany:\n  - \"1\"\ntext: 'yes: no'\n",
	} {
		var out strings.Builder
		a := newApp(nil, &out, &out, nil)
		a.output = format
		if err := printItem(a, v, cols); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%s gave\n%s", format, out.String())
		}
	}
	var out, errs strings.Builder
	a := newApp(nil, &out, &errs, nil)
	a.output = "json"
	if err := printList(a, nil, cols); err != nil || out.String() != "[]\n" {
		t.Errorf("an empty list in JSON is %q, %v", out.String(), err)
	}
}
