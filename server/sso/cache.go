package sso

import (
	"context"
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

	turn chan struct{} // holds one token: whoever takes it owns the fields below
	val  T
	have bool
	at   time.Time // when val was fetched
	last time.Time // when a fetch was last tried
	err  error     // how that ended
}

func newCached[T any](now func() time.Time, fetch func(context.Context) (T, error)) *cached[T] {
	c := &cached[T]{fetch: fetch, now: now, fresh: time.Hour, stale: 24 * time.Hour, retry: 10 * time.Second, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

// get returns a copy that is fresh or, when the provider is down, not stale.
func (c *cached[T]) get(ctx context.Context) (T, error) {
	return c.since(ctx, c.now().Add(-c.fresh))
}

// newer fetches the document again, unless that was done within the retry
// time: what cannot be found in the copy may be in the provider's.
func (c *cached[T]) newer(ctx context.Context) (T, error) {
	return c.since(ctx, c.now())
}

// since returns a copy that was fetched after a moment, if that can be had.
func (c *cached[T]) since(ctx context.Context, after time.Time) (T, error) {
	var zero T
	select {
	case <-c.turn:
	case <-ctx.Done():
		return zero, ctx.Err()
	}
	defer func() { c.turn <- struct{}{} }()
	now := c.now()
	if (!c.have || !c.at.After(after)) && (c.last.IsZero() || now.Sub(c.last) >= c.retry) {
		// The fetch serves all who wait, so the one who asked cannot cancel it;
		// the client's own timeout ends it.
		val, err := c.fetch(context.WithoutCancel(ctx))
		c.last, c.err = now, err
		if err == nil {
			c.val, c.have, c.at = val, true, now
		}
	}
	if c.have && now.Sub(c.at) <= c.stale {
		return c.val, nil
	}
	return zero, c.err
}
