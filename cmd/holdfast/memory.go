package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	tidyEvery = 5 * time.Second
	busyBytes = 64 << 20 // allocated since memory was given back: worth it again
	restBytes = 8 << 20  // allocated within tidyEvery by a server at rest
)

// tidyMemory gives memory back to the system when a busy time is over. The
// collector alone would keep what the busiest moment needed: after ten thousand
// devices have connected at once, as much again as their sessions take.
func tidyMemory(ctx context.Context) {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	last := sample[0].Value.Uint64()
	given := last
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(sample)
		now := sample[0].Value.Uint64()
		if now-last < restBytes && now-given > busyBytes {
			debug.FreeOSMemory()
			given = now
		}
		last = now
	}
}
