package policy

import (
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

const (
	around    = 3         // lines beside what changed
	maxMatrix = 1_000_000 // pairs of lines that are compared; beyond, a change is shown as one whole
)

// fileDiff is what changed in a file.
type fileDiff struct {
	name           string
	what           string // added, removed or changed
	hunks          [][]diffLine
	added, removed int
}

// diffLine is a line of a diff; old and new are its numbers, 0 where it is not.
type diffLine struct {
	kind     string // same, add or del
	old, new int
	text     string
}

// diffFiles lists the files that differ, by name.
func diffFiles(before, after []adminapi.PolicyFile) (list []fileDiff) {
	texts := func(files []adminapi.PolicyFile) map[string]string {
		m := map[string]string{}
		for _, f := range files {
			m[f.Name] = f.Text
		}
		return m
	}
	old, new := texts(before), texts(after)
	for _, f := range slices.Concat(before, after) {
		was, there := old[f.Name]
		is, stays := new[f.Name]
		if there && stays && was == is || slices.ContainsFunc(list, func(d fileDiff) bool { return d.name == f.Name }) {
			continue
		}
		d := fileDiff{name: f.Name, what: map[[2]bool]string{{true, true}: "changed", {true, false}: "removed", {false, true}: "added"}[[2]bool{there, stays}]}
		all := diffLines(split(was), split(is))
		for _, l := range all {
			switch l.kind {
			case "add":
				d.added++
			case "del":
				d.removed++
			}
		}
		d.hunks = hunks(all)
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b fileDiff) int { return strings.Compare(a.name, b.name) })
	return list
}

func split(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// diffLines compares two texts by their longest common sequence of lines.
func diffLines(a, b []string) (out []diffLine) {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		out = append(out, diffLine{"same", head + 1, head + 1, a[head]})
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	out = middle(out, a[head:len(a)-tail], b[head:len(b)-tail], head)
	for i := tail; i > 0; i-- {
		out = append(out, diffLine{"same", len(a) - i + 1, len(b) - i + 1, a[len(a)-i]})
	}
	return out
}

// middle compares what is between lines that are the same; head is how many were
// before it.
func middle(out []diffLine, a, b []string, head int) []diffLine {
	del := func(i int) { out = append(out, diffLine{"del", head + i + 1, 0, a[i]}) }
	add := func(j int) { out = append(out, diffLine{"add", 0, head + j + 1, b[j]}) }
	i, j := 0, 0
	if len(a)*len(b) <= maxMatrix {
		common := lengths(a, b)
		for i < len(a) && j < len(b) {
			switch {
			case a[i] == b[j]:
				out = append(out, diffLine{"same", head + i + 1, head + j + 1, a[i]})
				i, j = i+1, j+1
			case common[i+1][j] >= common[i][j+1]:
				del(i)
				i++
			default:
				add(j)
				j++
			}
		}
	}
	for ; i < len(a); i++ {
		del(i)
	}
	for ; j < len(b); j++ {
		add(j)
	}
	return out
}

// lengths of the longest common sequences of the ends of a and b.
func lengths(a, b []string) [][]int32 {
	table := make([][]int32, len(a)+1)
	for i := range table {
		table[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}

// hunks are the changes with a few lines around each.
func hunks(all []diffLine) (list [][]diffLine) {
	end := 0 // of what is in the last hunk
	for i, l := range all {
		if l.kind == "same" {
			continue
		}
		from, to := max(end, i-around), min(len(all), i+around+1)
		if len(list) > 0 && from == end && end > 0 {
			list[len(list)-1] = append(list[len(list)-1], all[from:max(from, to)]...)
		} else {
			list = append(list, slices.Clone(all[from:to]))
		}
		end = max(end, to)
	}
	return list
}

// pair is a line of both sides; one may have none.
type pair struct{ left, right *diffLine }

// pairs puts what was removed beside what came in its place.
func pairs(hunk []diffLine) (list []pair) {
	for i := 0; i < len(hunk); {
		if hunk[i].kind == "same" {
			list = append(list, pair{&hunk[i], &hunk[i]})
			i++
			continue
		}
		var left, right []*diffLine
		for ; i < len(hunk) && hunk[i].kind != "same"; i++ {
			if hunk[i].kind == "del" {
				left = append(left, &hunk[i])
			} else {
				right = append(right, &hunk[i])
			}
		}
		for k := range max(len(left), len(right)) {
			var p pair
			if k < len(left) {
				p.left = left[k]
			}
			if k < len(right) {
				p.right = right[k]
			}
			list = append(list, p)
		}
	}
	return list
}
