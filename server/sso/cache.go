package sso

import (
	"context"
	"sync"
	"time"
)

// cached is a document of the provider: fetched when it is first needed, so
// that a server starts while the provider is down; fetched again when it is no
// longer fresh; used a while longer when that does not work.
type cached[T any] struct {
	fetch func(context.Context) (T, error)
	now   func() time.Time
	fresh time.Duration // how old a copy may be before it is fetched again
	stale time.Duration // how old a copy may be when it cannot be fetched
	retry time.Duration // the least time between two fetches

	turn chan struct{} // holds one token: whoever takes it may fetch
	last time.Time     // when the last fetch ended; owned by the turn
	err  error         // how it ended; owned by the turn

	mu   sync.Mutex // guards what follows, which only the owner of the turn writes
	val  T
	have bool
	at   time.Time // when val was fetched
}

func newCached[T any](now func() time.Time, fetch func(context.Context) (T, error)) *cached[T] {
	c := &cached[T]{fetch: fetch, now: now, fresh: time.Hour, stale: 24 * time.Hour, retry: 10 * time.Second, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

// copy returns the copy there is, if it was fetched after a moment.
func (c *cached[T]) copy(after time.Time) (T, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.val, c.have && c.at.After(after)
}

// get returns a copy that is fresh; or, when the provider is down or somebody
// else is asking it right now, one that is not stale. So a provider that hangs
// delays one sign-in in a while, not all.
func (c *cached[T]) get(ctx context.Context) (T, error) {
	now := c.now()
	if val, ok := c.copy(now.Add(-c.fresh)); ok {
		return val, nil
	}
	val, usable := c.copy(now.Add(-c.stale))
	select {
	case <-c.turn:
		return c.refetch(ctx, now.Add(-c.fresh))
	default:
	}
	if usable {
		return val, nil
	}
	return c.since(ctx, now.Add(-c.fresh))
}

// newer fetches the document again, unless that was done within the retry
// time: what cannot be found in the copy may be in the provider's.
func (c *cached[T]) newer(ctx context.Context) (T, error) {
	return c.since(ctx, c.now())
}

// since waits for the turn.
func (c *cached[T]) since(ctx context.Context, after time.Time) (T, error) {
	select {
	case <-c.turn:
		return c.refetch(ctx, after)
	case <-ctx.Done():
		var zero T
		return zero, fail(CodeUnavailable, "waiting for the provider's document: %w", ctx.Err())
	}
}

// refetch fetches, unless there is a copy from after a moment or the last try
// was just now, and gives the turn back.
func (c *cached[T]) refetch(ctx context.Context, after time.Time) (T, error) {
	defer func() { c.turn <- struct{}{} }()
	if val, ok := c.copy(after); ok {
		return val, nil
	}
	if c.last.IsZero() || c.now().Sub(c.last) >= c.retry {
		// The fetch serves all who wait, so the one who asked cannot cancel it;
		// the client's own timeout ends it.
		val, err := c.fetch(context.WithoutCancel(ctx))
		c.last, c.err = c.now(), err
		if err == nil {
			c.mu.Lock()
			c.val, c.have, c.at = val, true, c.last
			c.mu.Unlock()
			return val, nil
		}
	}
	if val, ok := c.copy(c.now().Add(-c.stale)); ok {
		return val, nil
	}
	var zero T
	return zero, c.err
}
