package broker

import (
	"net/netip"
	"sync"
	"time"
)

// abuse counts failures by source and connections by client id. What it blocks
// it blocks for a short time, so that nobody can shut another one out for long.
type abuse struct {
	opt Options
	now func() time.Time

	mu      sync.Mutex
	sources map[netip.Prefix]*tally // guarded by mu
	clients map[string]*tally       // guarded by mu
}

type tally struct {
	since time.Time // when the window began
	n     int
	until time.Time // blocked
}

// maxTallies bounds the sources and the clients that are counted; when there are
// more, those whose windows are over make room, and then new ones are not counted.
const maxTallies = 50_000

func newAbuse(opt Options, now func() time.Time) *abuse {
	return &abuse{opt: opt, now: now, sources: map[netip.Prefix]*tally{}, clients: map[string]*tally{}}
}

// network is what counts as one source: an IPv4 address or an IPv6 /64.
func network(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits)
	return p
}

// admits reports whether a source is not blocked.
func (a *abuse) admits(from netip.Addr) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.sources[network(from)]
	return t == nil || !a.now().Before(t.until)
}

// failed counts a failure of a source; it has to wait after too many, each time
// they go on.
func (a *abuse) failed(from netip.Addr) (blocked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := count(a.sources, network(from), a.now(), a.opt.AuthWindow)
	if t == nil || t.n < a.opt.AuthFailures {
		return false
	}
	// 1 s, 2 s, 4 s … to the window's length
	over := min(t.n-a.opt.AuthFailures, 16)
	t.until = a.now().Add(min(time.Second<<over, a.opt.AuthWindow))
	return true
}

// flapping counts a connection of a client id, and says how long it has to wait.
func (a *abuse) flapping(client string) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if t := a.clients[client]; t != nil && now.Before(t.until) {
		return t.until.Sub(now)
	}
	t := count(a.clients, client, now, a.opt.FlapWindow)
	if t == nil || t.n <= a.opt.FlapConnects {
		return 0
	}
	t.until = now.Add(a.opt.FlapBan)
	t.n = 0
	return a.opt.FlapBan
}

func count[K comparable](m map[K]*tally, key K, now time.Time, window time.Duration) *tally {
	t := m[key]
	switch {
	case t == nil && len(m) >= maxTallies:
		return nil
	case t == nil:
		t = &tally{since: now}
		m[key] = t
	case now.Sub(t.since) > window && !now.Before(t.until):
		t.since, t.n = now, 0
	}
	t.n++
	return t
}

// forget drops what no longer matters.
func (a *abuse) forget(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	drop(a.sources, now, a.opt.AuthWindow)
	drop(a.clients, now, a.opt.FlapWindow)
}

func drop[K comparable](m map[K]*tally, now time.Time, window time.Duration) {
	for k, t := range m {
		if now.Sub(t.since) > window && !now.Before(t.until) {
			delete(m, k)
		}
	}
}
