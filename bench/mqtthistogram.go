package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are at most 1/32 wide of what they hold, so that any number of them takes
// the same memory and no percentile is more than 3 % off.
type histogram struct {
	counts [60 * 32]int64
	total  int64
}

func bucket(ns uint64) int {
	if ns < 64 {
		return int(ns)
	}
	e := bits.Len64(ns) - 6
	return e*32 + int(ns>>e)
}

// bucketTop is the longest duration of a bucket.
func bucketTop(i int) uint64 {
	if i < 64 {
		return uint64(i)
	}
	e := i/32 - 1
	return uint64(i%32+33)<<e - 1
}

// add counts a duration; one below zero counts as zero.
func (h *histogram) add(d time.Duration) {
	h.counts[bucket(uint64(max(0, d)))]++
	h.total++
}

func (h *histogram) merge(g *histogram) {
	for i, n := range g.counts {
		h.counts[i] += n
	}
	h.total += g.total
}

// quantile is the duration that a share q, 0 to 1, of all does not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	want, seen := int64(q*float64(h.total)), int64(0)
	for i, n := range h.counts {
		if seen += n; n > 0 && seen >= want {
			return time.Duration(bucketTop(i))
		}
	}
	return 0
}

// pace is an open loop: message i is due at a fixed moment whether or not anything before it got through, so that a
// stall shows in every message that it kept waiting (coordinated omission).
type pace struct {
	start, each time.Duration // since the process began; between two messages
}

func (p pace) due(i int64) time.Duration { return p.start + time.Duration(i)*p.each }

// owed is how many messages should have been sent by now.
func (p pace) owed(now time.Duration) int64 {
	if now < p.start {
		return 0
	}
	return int64((now-p.start)/p.each) + 1
}
