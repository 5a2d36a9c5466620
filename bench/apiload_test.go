package main

import "testing"

// TestSpread gives each kind its share in every stretch, not only in the end.
func TestSpread(t *testing.T) {
	mix := []question{{what: "a", share: 20}, {what: "b", share: 10}, {what: "c", share: 10}}
	got := spread(mix)
	if len(got) != 40 {
		t.Fatalf("the order has %d", len(got))
	}
	for at := 0; at < len(got); at += 4 {
		counts := make([]int, len(mix))
		for _, k := range got[at : at+4] {
			counts[k]++
		}
		for k, q := range mix {
			if counts[k] != q.share/10 {
				t.Errorf("from %d on, %s comes %d times: %v", at, q.what, counts[k], got)
			}
		}
	}
}
