package people

import (
	"container/list"
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/refusal"
)

// guard slows down guessing. It counts failures of three kinds, in memory and for
// this server alone: of an account from a source, of a source, and of an account
// from everywhere. Each try counts as a failure until it turned out to be none,
// so that tries at the same time count too.
//
// What an account counts from everywhere never stops a network that the person
// signed in from before, and nothing here is asked about passkeys: so nobody can
// keep another out by guessing.
type guard struct {
	mu       sync.Mutex
	pairs    counters // account and source; guarded by mu
	sources  counters // guarded by mu
	accounts counters // guarded by mu
}

// The slow-downs. Failures are forgotten one by one, each after its time.
const (
	pairFree, pairForget, pairWait          = 5, 3 * time.Minute, 2 * time.Minute
	sourceFree, sourceForget, sourceWait    = 40, 15 * time.Second, 15 * time.Second
	accountFree, accountForget, accountWait = 30, 2 * time.Minute, time.Minute
	maxCounters                             = 10_000 // of each kind: some megabytes
)

func newGuard() *guard {
	return &guard{pairs: newCounters(pairFree, pairForget, pairWait), sources: newCounters(sourceFree, sourceForget, sourceWait),
		accounts: newCounters(accountFree, accountForget, accountWait)}
}

// sourceKey is what counts as one source: an IPv4 address or an IPv6 /64.
func sourceKey(a netip.Addr) string {
	a = a.Unmap()
	bits := 64
	if a.Is4() {
		bits = 32
	}
	n, _ := a.Prefix(bits)
	return n.String()
}

// try admits a guess about an account, or says how long to wait. familiar is
// asked only while the account is slowed down.
func (g *guard) try(account string, source netip.Addr, now time.Time, familiar func() bool) (wait time.Duration) {
	key := sourceKey(source)
	pair := account + "|" + key
	g.mu.Lock()
	wait = max(g.pairs.wait(pair, now), g.sources.wait(key, now))
	slowed := g.accounts.wait(account, now)
	g.mu.Unlock()
	if slowed > 0 && !familiar() { // asks the database: not under the lock
		wait = max(wait, slowed)
	}
	if wait > 0 {
		return wait
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pairs.add(pair, now)
	g.sources.add(key, now)
	g.accounts.add(account, now)
	return 0
}

// right takes back what try counted: the guess was no guess.
func (g *guard) right(account string, source netip.Addr) {
	key := sourceKey(source)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pairs.take(account + "|" + key)
	g.sources.take(key)
	g.accounts.take(account)
}

// forgive forgets what a source failed at with an account, after a sign-in.
func (g *guard) forgive(account string, source netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pairs.drop(account + "|" + sourceKey(source))
}

// many tells, at most once an hour, that the account is slowed down.
func (g *guard) many(account string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.accounts.get(account)
	if c == nil || c.failures < accountFree || now.Sub(c.told) < time.Hour {
		return false
	}
	c.told = now
	return true
}

// counters count failures by key and forget the key not seen for longest.
type counters struct {
	free   int           // failures without a wait
	forget time.Duration // after which one is forgotten
	most   time.Duration // the longest wait
	byKey  map[string]*list.Element
	recent *list.List // of *counter, most recent first
}

type counter struct {
	key      string
	failures float64 // at last
	last     time.Time
	told     time.Time // when somebody was told of it
}

func newCounters(free int, forget, most time.Duration) counters {
	return counters{free: free, forget: forget, most: most, byKey: map[string]*list.Element{}, recent: list.New()}
}

func (c *counters) get(key string) *counter {
	if e := c.byKey[key]; e != nil {
		return e.Value.(*counter)
	}
	return nil
}

// wait is how long a key has to wait: it doubles with each failure beyond those
// that are free.
func (c *counters) wait(key string, now time.Time) time.Duration {
	k := c.get(key)
	if k == nil {
		return 0
	}
	over := int(k.failures-now.Sub(k.last).Seconds()/c.forget.Seconds()) - c.free
	if over < 0 {
		return 0
	}
	delay := c.most
	if over < 10 {
		delay = min(c.most, time.Second<<over)
	}
	return max(0, k.last.Add(delay).Sub(now))
}

func (c *counters) add(key string, now time.Time) {
	e := c.byKey[key]
	if e == nil {
		if c.recent.Len() >= maxCounters {
			old := c.recent.Back()
			c.recent.Remove(old)
			delete(c.byKey, old.Value.(*counter).key)
		}
		e = c.recent.PushFront(&counter{key: key, last: now})
		c.byKey[key] = e
	}
	c.recent.MoveToFront(e)
	k := e.Value.(*counter)
	k.failures = max(0, k.failures-now.Sub(k.last).Seconds()/c.forget.Seconds()) + 1
	k.last = now
}

func (c *counters) take(key string) {
	if k := c.get(key); k != nil {
		k.failures = max(0, k.failures-1)
	}
}

func (c *counters) drop(key string) {
	if e := c.byKey[key]; e != nil {
		c.recent.Remove(e)
		delete(c.byKey, key)
	}
}

// tooMany says how long to wait; it is the same for names that nobody has.
func tooMany(wait time.Duration) error {
	seconds := int(wait.Round(time.Second) / time.Second)
	return refusal.New(refusal.TooMany, "too-many-tries", "wait, or sign in with a passkey", "too many tries failed: the next one counts in %d s", max(1, seconds))
}

// slots bound the password hashes that run at once, because each takes much
// memory, and those that wait for their turn.
type slots struct {
	free  chan struct{}
	queue chan struct{}
}

// maxQueue bounds the requests that wait for a hash: a few seconds' work.
const maxQueue = 64

func newSlots(n int) *slots {
	return &slots{free: make(chan struct{}, n), queue: make(chan struct{}, maxQueue+n)}
}

// hash runs fn when it is its turn, or says that there is too much to do.
func (s *slots) hash(ctx context.Context, fn func()) error {
	select {
	case s.queue <- struct{}{}:
	default:
		return refusal.New(refusal.Unavailable, "busy", "try again in a few seconds, or sign in with a passkey", "too many people are signing in at once")
	}
	defer func() { <-s.queue }()
	select {
	case s.free <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.free }()
	fn()
	return nil
}
