package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Problem is one thing that is wrong with the manifests.
type Problem struct {
	Pos  Pos
	Text string // what is wrong
	Fix  string // what to write instead; may be empty
}

// String is "file:line:column: what is wrong: what to write instead".
func (p Problem) String() string {
	s := p.Text
	if p.Fix != "" {
		s += ": " + p.Fix
	}
	if at := p.Pos.String(); at != "" {
		s = at + ": " + s
	}
	return s
}

// Error is String.
func (p Problem) Error() string { return p.String() }

// String is "file:line:column" as far as these are known.
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

func (p Pos) compare(q Pos) int {
	return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// MaxProblems is the most problems that Load returns.
const MaxProblems = 100

// problems collects what is wrong. It keeps more than it returns, so that what
// it returns begins with the first place of the first file.
type problems []Problem

func (ps *problems) add(at Pos, fix, text string, args ...any) {
	if len(*ps) < 10*MaxProblems {
		*ps = append(*ps, Problem{Pos: at, Text: fmt.Sprintf(text, args...), Fix: fix})
	}
}

// sorted returns the first MaxProblems by place.
func (ps problems) sorted() []Problem {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return a.Pos.compare(b.Pos) })
	if more := len(ps) - MaxProblems; more > 0 {
		ps = ps[:MaxProblems:MaxProblems]
		last := &ps[MaxProblems-1]
		*last = Problem{Pos: last.Pos, Text: "there are more problems than are shown", Fix: "correct those above first"}
	}
	return ps
}

// didYouMean is a fix that names the nearest known word, or else all of them.
func didYouMean(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return "did you mean `" + near + "`?"
	}
	if len(known) == 0 {
		return ""
	}
	return "there is " + listed(known)
}

// listed is "`a`, `b` and `c`".
func listed(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "`" + w + "`"
	}
	if n := len(quoted); n > 1 {
		return strings.Join(quoted[:n-1], ", ") + " and " + quoted[n-1]
	}
	return strings.Join(quoted, "")
}

// nearest finds the known word with the smallest edit distance to word, or ""
// when none is near enough to be meant.
func nearest(word string, known []string) string {
	if len(word) > 100 {
		return ""
	}
	best, limit := "", max(1, len(word)/3)
	for _, k := range known {
		d := distance(strings.ToLower(word), strings.ToLower(k))
		if d <= limit && (best == "" || d < limit) {
			best, limit = k, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b (optimal string alignment).
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

// clip makes text from outside fit to be shown: at most 80 bytes, printable.
func clip(s string) string {
	cut := len(s) > 80
	if cut {
		s = s[:80]
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if cut {
		s += "…"
	}
	return s
}
