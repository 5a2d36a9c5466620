package topics

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-iot/holdfast/mqtt"
	"pgregory.net/rapid"
)

func TestMatch(t *testing.T) {
	filters := []string{"#", "+", "a", "a/", "/a", "/", "a/#", "a/+", "a/+/#", "+/+", "+/b", "a/b", "a/b/c", "a/b/#", "$SYS/#", "$SYS/+", "+/#", "a//b", "a/+/b"}
	var tree Tree[string]
	for _, f := range filters {
		tree.Add(f, f)
		tree.Add(f, f)
	}
	if tree.Len() != len(filters) || tree.Version() != uint64(len(filters)) {
		t.Fatalf("%d pairs, version %d", tree.Len(), tree.Version())
	}
	for _, topic := range []string{"a", "a/", "/", "/a", "a/b", "a/b/c", "a/b/c/d", "a//b", "$SYS", "$SYS/x", "$SYS/x/y", "a/$x", "b", "b/b", "//"} {
		var want []string
		for _, f := range filters {
			if mqtt.Match(f, topic) {
				want = append(want, f)
			}
		}
		got := tree.Match(topic, nil)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", topic, got, want)
		}
	}
	for _, f := range filters {
		if tree.Remove(f, "x") || !tree.Remove(f, f) || tree.Remove(f, f) {
			t.Errorf("removing %q", f)
		}
	}
	if !tree.root.empty() || tree.Len() != 0 {
		t.Errorf("%+v is left", tree.root)
	}
}

// TestInvalid shows that filters that are not valid match no topic and can be removed.
func TestInvalid(t *testing.T) {
	var tree Tree[int]
	bad := []string{"", "a/#/b", "a+/b", "#/#", "+#", "#/", "a/#b"}
	for _, f := range bad {
		tree.Add(f, 1)
	}
	for _, topic := range []string{"", "a", "a/b", "a/x/b", "b", "/"} {
		if got := tree.Match(topic, nil); len(got) > 0 {
			t.Errorf("%q matched %d times", topic, len(got))
		}
	}
	for _, f := range bad {
		if !tree.Remove(f, 1) {
			t.Errorf("%q was not there", f)
		}
	}
	if !tree.root.empty() {
		t.Error("something is left")
	}
}

type pair struct {
	filter string
	value  int
}

// TestAgainstMatch compares with mqtt.Match over what was added, after every few random changes.
func TestAgainstMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.SampledFrom([]int{2, 4, 40}).Draw(t, "width") // 40: hash tables
		names := []string{"", "$x", "+"}
		for i := range width {
			names = append(names, fmt.Sprint("l", i))
		}
		filter := rapid.Custom(func(t *rapid.T) string {
			f := strings.Join(rapid.SliceOfN(rapid.SampledFrom(names), 1, 5).Draw(t, "levels"), "/")
			if rapid.IntRange(0, 3).Draw(t, "open") == 0 {
				f += "/#"
			}
			return f
		}).Filter(func(f string) bool { return f != "" })
		topic := rapid.Custom(func(t *rapid.T) string {
			names := slices.DeleteFunc(slices.Clone(names), func(s string) bool { return s == "+" })
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom(names), 1, 6).Draw(t, "levels"), "/")
		}).Filter(func(s string) bool { return s != "" })
		var tree Tree[int]
		all := map[pair]bool{}
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			adding := rapid.Bool().Draw(t, "adding")
			for range rapid.IntRange(0, 60).Draw(t, "changes") {
				if adding || len(all) == 0 {
					p := pair{filter.Draw(t, "filter"), rapid.IntRange(0, 70).Draw(t, "value")}
					tree.Add(p.filter, p.value)
					all[p] = true
					continue
				}
				var p pair
				for p = range all {
					break
				}
				if !tree.Remove(p.filter, p.value) || tree.Remove(p.filter, p.value) {
					t.Fatalf("removing %v", p)
				}
				delete(all, p)
			}
			if tree.Len() != len(all) {
				t.Fatalf("%d pairs, want %d", tree.Len(), len(all))
			}
			for range 5 {
				topic := topic.Draw(t, "topic")
				var want []int
				for p := range all {
					if mqtt.Match(p.filter, topic) {
						want = append(want, p.value)
					}
				}
				got := tree.Match(topic, nil)
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Fatalf("%q in %v: %v, want %v", topic, all, got, want)
				}
			}
		}
		for p := range all {
			tree.Remove(p.filter, p.value)
		}
		if !tree.root.empty() {
			t.Fatalf("left: %+v", tree.root)
		}
	})
}

// TestManyValues goes through every size of a node's set, up and down.
func TestManyValues(t *testing.T) {
	var tree Tree[int]
	const n = 10_000
	for i := range n {
		tree.Add("a/+", i)
		tree.Add("a/+", i)
	}
	for i := range n {
		v := i * 7 % n // 7 has no factor in common with n
		if got := len(tree.Match("a/b", nil)); i%100 == 0 && got != n-i {
			t.Fatalf("%d values, want %d", got, n-i)
		}
		if !tree.Remove("a/+", v) || tree.Remove("a/+", v) {
			t.Fatalf("removing %d", v)
		}
	}
	if !tree.root.empty() {
		t.Error("something is left")
	}
}

func TestConcurrent(t *testing.T) {
	var tree Tree[int]
	var wg sync.WaitGroup
	tree.Add("w/+/fixed/#", -1)
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				f := fmt.Sprintf("w/d%d/%d", i%50, g)
				tree.Add(f, g)
				if got := tree.Match(f, nil); !slices.Contains(got, g) {
					t.Errorf("%s is not found", f)
				}
				if got := tree.Match("w/d1/fixed", nil); !slices.Contains(got, -1) {
					t.Error("a filter that nobody touches is not found")
				}
				if !tree.Remove(f, g) {
					t.Errorf("%s is not there", f)
				}
			}
		})
	}
	wg.Wait()
	if tree.Len() != 1 {
		t.Errorf("%d pairs are left", tree.Len())
	}
}

type session struct{ _ [64]byte }

// fleet adds the three filters of n devices each, and returns the filters.
func fleet(tree *Tree[*session], n int) []string {
	filters := make([]string, 0, 3*n)
	for i := range n {
		filters = append(filters, fmt.Sprintf("water/north/pump-%d/cmd/#", i), fmt.Sprintf("water/north/pump-%d/config", i), fmt.Sprintf("reply/pump-%d/+", i))
	}
	s := &session{}
	for _, f := range filters {
		tree.Add(f, s)
	}
	return filters
}

// TestMemory bounds what 10,000 devices with three filters each cost, filters aside.
func TestMemory(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var scratch Tree[*session]
	filters := fleet(&scratch, 10_000)
	scratch = Tree[*session]{}
	before := heap()
	var tree Tree[*session]
	s := &session{}
	for _, f := range filters {
		tree.Add(f, s)
	}
	used := heap() - before
	t.Logf("%d bytes, %d for each filter", used, used/int64(len(filters)))
	if used > 3<<20 {
		t.Errorf("%d filters cost %d bytes", len(filters), used)
	}
	for _, f := range filters {
		tree.Remove(f, s)
	}
	if left := heap() - before; left > 64<<10 {
		t.Errorf("%d bytes are left after all were removed", left)
	}
	runtime.KeepAlive(filters)
	runtime.KeepAlive(&tree)
}

func TestMatchAllocatesNothing(t *testing.T) {
	var tree Tree[*session]
	fleet(&tree, 1000)
	dst := make([]*session, 0, 8)
	if n := testing.AllocsPerRun(100, func() { dst = tree.Match("water/north/pump-77/cmd/dose", dst[:0]) }); n != 0 || len(dst) != 1 {
		t.Errorf("%v allocations, %d matches", n, len(dst))
	}
}
