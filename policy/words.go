package policy

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// clip bounds a text from outside for a sentence, to 64 bytes.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		s = s[:most]
		for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) && most-len(s) < utf8.UTFMax {
			s = s[:len(s)-1]
		}
		s += "…"
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '.'
		}
		return r
	}, strings.ToValidUTF8(s, "."))
}

func quote(s string) string { return "\"" + clip(s) + "\"" }

// number writes a value as people do.
func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// some joins up to three texts with commas, and says that there are more.
func some(items []string) string {
	if len(items) > 3 {
		return strings.Join(items[:3], ", ") + ", …"
	}
	return strings.Join(items, ", ")
}

// nearest finds the word of a list with the fewest edits from s.
func nearest(s string, words []string) string {
	best, least := words[0], 1<<30
	for _, w := range words {
		if d := edits(clip(s), w); d < least {
			best, least = w, d
		}
	}
	return best
}

// edits counts insertions, deletions and replacements between two short texts.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		prev := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := prev
			if a[i-1] != b[j-1] {
				cost++
			}
			prev, row[j] = row[j], min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
