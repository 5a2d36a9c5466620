package config

import (
	"fmt"
	"strings"
)

// Problem is one thing wrong with the configuration.
type Problem struct {
	Where  string // "FILE:LINE:COLUMN", "environment HOLDFAST_…", "flag --…", or "" for a value made in code
	Key    string // such as listen.api; "" when the file as a whole is wrong
	Detail string // what is wrong, and what is expected
	Fix    string // what to do about it
}

func (p *Problem) Error() string {
	var b strings.Builder
	for _, s := range []string{p.Where, p.Key} {
		if s != "" {
			b.WriteString(s + ": ")
		}
	}
	b.WriteString(p.Detail)
	if p.Fix != "" {
		b.WriteString(" (" + p.Fix + ")")
	}
	return b.String()
}

// Problems are all that is wrong, in the order in which it was found; never empty.
type Problems []*Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// maxProblems bounds what is reported of one configuration.
const maxProblems = 50

func (ps *Problems) add(where, key, fix, detail string, args ...any) {
	if len(*ps) < maxProblems {
		*ps = append(*ps, &Problem{Where: where, Key: key, Detail: fmt.Sprintf(detail, args...), Fix: fix})
	}
}

// err returns the problems as an error, or nil when there are none.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// nearest finds the known word with the smallest edit distance to word, or ""
// when none is near enough to be meant.
func nearest(word string, known []string) string {
	best, limit := "", max(1, len(word)/3)
	if len(word) > 100 {
		return ""
	}
	for _, k := range known {
		if d := distance(word, k); d <= limit {
			best, limit = k, d-1
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

func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}
