package server

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter bounds how often each source may do something. It remembers a bounded
// number of sources and forgets the one not seen for longest.
type limiter struct {
	rate  rate.Limit
	burst int
	now   func() time.Time

	mu      sync.Mutex
	sources map[netip.Prefix]*list.Element // guarded by mu
	recent  *list.List                     // of *source, most recent first; guarded by mu
}

type source struct {
	of    netip.Prefix
	limit *rate.Limiter
}

// maxSources bounds a limiter's memory to a few megabytes.
const maxSources = 20_000

func newLimiter(perSecond float64, burst int, now func() time.Time) *limiter {
	return &limiter{rate: rate.Limit(perSecond), burst: burst, now: now, sources: map[netip.Prefix]*list.Element{}, recent: list.New()}
}

// network is what counts as one source: an IPv4 address or an IPv6 /64, which is
// the least that one party is given.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}

func (l *limiter) of(addr netip.Addr) *rate.Limiter {
	key := network(addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.sources[key]; e != nil {
		l.recent.MoveToFront(e)
		return e.Value.(*source).limit
	}
	if l.recent.Len() >= maxSources {
		old := l.recent.Back()
		l.recent.Remove(old)
		delete(l.sources, old.Value.(*source).of)
	}
	s := &source{of: key, limit: rate.NewLimiter(l.rate, l.burst)}
	l.sources[key] = l.recent.PushFront(s)
	return s.limit
}

// allow takes one from the source's budget.
func (l *limiter) allow(addr netip.Addr) bool { return l.of(addr).AllowN(l.now(), 1) }

// wait is how long a source has to wait for its next turn, at least a second.
func (l *limiter) wait() time.Duration {
	return max(time.Second, time.Duration(float64(time.Second)/float64(l.rate)))
}
