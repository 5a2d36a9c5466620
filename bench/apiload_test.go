package main

import "testing"

// TestSpread gives each kind its share, and none twice in a row that need not be.
func TestSpread(t *testing.T) {
	mix := []question{{what: "a", share: 20}, {what: "b", share: 10}, {what: "c", share: 10}}
	got, counts := spread(mix), make([]int, len(mix))
	for i, k := range got {
		counts[k]++
		if i > 0 && k == got[i-1] {
			t.Errorf("kind %d twice in a row at %d: %v", k, i, got)
		}
	}
	for k, q := range mix {
		if counts[k] != q.share {
			t.Errorf("kind %d comes %d times, not %d", k, counts[k], q.share)
		}
	}
}
