package server

import (
	"context"
	"maps"
	"sync"
	"time"
)

// memory remembers answers for a while. Of those who ask for the same at the same
// time, one has it made and the others wait for it. Its zero value is empty.
type memory[T any] struct {
	mu    sync.Mutex
	known map[string]*remembered[T] // guarded by mu
}

type remembered[T any] struct {
	turn  chan struct{} // holds one value while the answer is read or made
	value T             // owned by who has the turn, as is until
	until time.Time     // zero: there is none
	used  time.Time     // guarded by the memory's mu
}

const (
	maxRemembered = 64 // answers of one memory; more are made each time anew
	idleFor       = 10 * time.Minute
	workShare     = 20 // an answer is kept for so many times what it took to make,
	mostLives     = 6  // and at most for so many times its life
)

// get returns the answer for a key, made by make when it is older than life or, when
// making it took long, than workShare times as long: so that who asks again and
// again cannot keep the server busy. now is the server's clock.
func (m *memory[T]) get(ctx context.Context, key string, now func() time.Time, life time.Duration, make func(context.Context) (T, error)) (value T, err error) {
	r := m.of(key, now())
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return value, ctx.Err()
	}
	defer func() { <-r.turn }()
	if now().Before(r.until) {
		return r.value, nil
	}
	began := time.Now()
	if value, err = make(ctx); err != nil {
		return value, err // what was made for one that gave up is made again for the next
	}
	r.value, r.until = value, now().Add(max(life, min(workShare*time.Since(began), mostLives*life)))
	return value, nil
}

func (m *memory[T]) of(key string, now time.Time) *remembered[T] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.known[key]; r != nil {
		r.used = now
		return r
	}
	if m.known == nil {
		m.known = map[string]*remembered[T]{}
	}
	maps.DeleteFunc(m.known, func(_ string, r *remembered[T]) bool { return now.Sub(r.used) > idleFor })
	r := &remembered[T]{turn: make(chan struct{}, 1), used: now}
	if len(m.known) < maxRemembered {
		m.known[key] = r
	}
	return r
}
