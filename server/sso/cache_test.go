package sso

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestHangingProvider has a provider that takes long to answer: who has a copy
// goes on with it, who has none waits together with the others.
func TestHangingProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int64
		down := false
		c := newCached(time.Now, func(context.Context) (int64, error) {
			time.Sleep(10 * time.Second)
			if down {
				return 0, errors.New("down")
			}
			return fetches.Add(1), nil
		})
		start := time.Now()
		results := make(chan int64, 5)
		for range 5 {
			go func() {
				v, err := c.get(t.Context())
				if err != nil {
					t.Error(err)
				}
				results <- v
			}()
		}
		for range 5 {
			if v := <-results; v != 1 {
				t.Errorf("copy %d", v)
			}
		}
		if d := time.Since(start); d != 10*time.Second || fetches.Load() != 1 {
			t.Errorf("%d fetches in %v", fetches.Load(), d)
		}
		time.Sleep(2 * time.Hour)
		down = true
		go c.get(t.Context())
		synctest.Wait()
		start = time.Now()
		if v, err := c.get(t.Context()); v != 1 || err != nil || time.Since(start) != 0 {
			t.Errorf("while another asks: %d %v after %v", v, err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.newer(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("somebody who left: %v", err)
		}
		time.Sleep(time.Minute)
		time.Sleep(23 * time.Hour)
		if _, err := c.get(t.Context()); err == nil {
			t.Error("a stale copy was used")
		}
	})
}
