package device

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// labelCell writes labels as "k=v;k=v", sorted by key. A backslash stands before
// a backslash, a separator, and a blank at the end of a value.
func labelCell(labels map[string]string) string {
	var b strings.Builder
	for i, k := range slices.Sorted(maps.Keys(labels)) {
		if i > 0 {
			b.WriteByte(';')
		}
		b.WriteString(k + "=")
		v := labels[k]
		for j := range len(v) {
			if c := v[j]; c == '\\' || c == ';' || c == ',' || j == len(v)-1 && isBlank(c) {
				b.WriteByte('\\')
			}
			b.WriteByte(v[j])
		}
	}
	return b.String()
}

// parseLabelCell is the inverse of labelCell. Like ParseLabels it also takes a
// comma between pairs and blanks around them; a backslash before any other
// character is itself.
func parseLabelCell(s string) (map[string]string, error) {
	labels := map[string]string{}
	for len(s) > 0 {
		var pair string
		pair, s = cutPair(s)
		if pair == "" {
			continue
		}
		k, v, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("the label %q has no =: write key=value pairs with ; between them", clip(pair))
		}
		if _, twice := labels[k]; twice {
			return nil, fmt.Errorf("the label key %q stands twice: name each key once", clip(k))
		}
		if len(labels) == MaxTags {
			return nil, fmt.Errorf("there are more than %d labels: remove some", MaxTags)
		}
		labels[k] = v
	}
	if len(labels) == 0 {
		return nil, nil
	}
	return labels, nil
}

// cutPair reads one pair, without its escapes and outer blanks, and what follows.
func cutPair(s string) (pair, rest string) {
	s = strings.TrimLeft(s, " \t\n")
	var b []byte
	keep := 0 // length that no trimming may go below
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == ';' || c == ',' {
			return string(trimTo(b, keep)), s[i+1:]
		}
		if c == '\\' && i+1 < len(s) && (s[i+1] == '\\' || s[i+1] == ';' || s[i+1] == ',' || isBlank(s[i+1])) {
			i++
			b = append(b, s[i])
			keep = len(b)
			continue
		}
		b = append(b, c)
	}
	return string(trimTo(b, keep)), ""
}

func trimTo(b []byte, keep int) []byte {
	for len(b) > keep && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }
