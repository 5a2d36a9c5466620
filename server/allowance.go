package server

import (
	"container/list"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// allowances bounds how often each person and program calls. It remembers a
// bounded number and forgets the one not seen for longest.
type allowances struct {
	mu     sync.Mutex
	known  map[string]*list.Element // guarded by mu
	recent *list.List               // of *allowance, most recent first; guarded by mu
}

type allowance struct {
	of    string
	quota int
	limit *rate.Limiter
}

// window is what a quota is for, in seconds.
const window = 60

func newAllowances() *allowances {
	return &allowances{known: map[string]*list.Element{}, recent: list.New()}
}

// take takes one from a quota of requests a minute, a tenth of which may come at
// once.
func (a *allowances) take(who, policy string, quota int, now time.Time) adminapi.Allowance {
	l := a.of(who, quota)
	burst := max(quota/10, 10)
	if l.Limit() != rate.Limit(float64(quota)/window) { // the quota was changed
		l.SetLimitAt(now, rate.Limit(float64(quota)/window))
		l.SetBurstAt(now, burst)
	}
	ok := l.AllowN(now, 1)
	left := l.TokensAt(now)
	out := adminapi.Allowance{Policy: policy, Quota: int64(quota), Window: window, Remaining: int64(max(left, 0)), Exceeded: !ok}
	out.Reset = int64(math.Ceil(max(float64(burst)-left, 0) / float64(l.Limit())))
	if !ok {
		out.Reset = max(1, int64(math.Ceil((1-left)/float64(l.Limit()))))
	}
	return out
}

func (a *allowances) of(who string, quota int) *rate.Limiter {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.known[who]; e != nil {
		a.recent.MoveToFront(e)
		return e.Value.(*allowance).limit
	}
	if a.recent.Len() >= maxSources {
		old := a.recent.Back()
		a.recent.Remove(old)
		delete(a.known, old.Value.(*allowance).of)
	}
	one := &allowance{of: who, quota: quota, limit: rate.NewLimiter(rate.Limit(float64(quota)/window), max(quota/10, 10))}
	a.known[who] = a.recent.PushFront(one)
	return one.limit
}
