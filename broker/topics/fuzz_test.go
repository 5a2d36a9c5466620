package topics

import (
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// FuzzTree compares with mqtt.Match over the filters that are valid, one a line; the others must do no harm.
func FuzzTree(f *testing.F) {
	f.Add("a/b\na/+\n#\na/#\n$x/#\n+/+", "a/b")
	f.Add("a/#/b\n\n#/\n/\n//\n+", "/")
	f.Add("a/b/c\na/b/d\na/b\na", "a/b")
	f.Add("$SYS/+\n+/x\n$SYS/#", "$SYS/x")
	f.Fuzz(func(t *testing.T, lines, topic string) {
		var tree Tree[string]
		filters := strings.Split(lines, "\n")
		for _, f := range filters {
			tree.Add(f, f)
		}
		slices.Sort(filters)
		filters = slices.Compact(filters)
		got := tree.Match(topic, nil)
		if mqtt.ValidTopic(topic) == nil {
			var want []string
			for _, f := range filters {
				if mqtt.ValidFilter(f) == nil && mqtt.Match(f, topic) {
					want = append(want, f)
				}
			}
			got = slices.DeleteFunc(got, func(f string) bool { return mqtt.ValidFilter(f) != nil })
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("%q: %q, want %q", topic, got, want)
			}
		}
		for _, f := range filters {
			if !tree.Remove(f, f) {
				t.Fatalf("%q is not there", f)
			}
		}
		if !tree.root.empty() || tree.Len() != 0 {
			t.Fatal("something is left")
		}
	})
}
