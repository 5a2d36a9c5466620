package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/holdfast-iot/holdfast/policy"
)

// ownerState is what all sessions of one principal share on this node. It stays
// for a while after the last, so that reconnecting refills no bucket.
type ownerState struct {
	state *policy.State             // rates of the rules
	total atomic.Pointer[allowance] // of all devices of its type; nil: none
	conns int                       // guarded by the broker's mu
	left  time.Time                 // when the last session ended; guarded by the broker's mu
	own   allowance
}

// keepOwner is how long the state stays without a session.
const keepOwner = 10 * time.Minute

// owned returns the shared state of a principal, and counts the connection unless
// it has as many as it may.
func (b *Broker) owned(p *permit) (*ownerState, bool) {
	who, most := owner(p.who), p.perms.Limits().Connections
	b.mu.Lock()
	defer b.mu.Unlock()
	o := b.owners[who]
	if o == nil {
		o = &ownerState{state: policy.NewState(b.actuators)}
		b.owners[who] = o
	}
	if most > 0 && o.conns >= most {
		return nil, false
	}
	o.conns++
	o.own.set(p.perms.Limits())
	b.totalOf(o, p)
	return o, true
}

// totalOf gives the owner its share of the limits of its device type.
func (b *Broker) totalOf(o *ownerState, p *permit) {
	l := p.set.Total(p.who.Type)
	if p.who.Type == "" || l.Rate.Messages == 0 && l.Rate.Bytes == 0 && l.DailyMessages == 0 && l.DailyBytes == 0 {
		o.total.Store(nil)
		return
	}
	if b.totals[p.who.Type] == nil {
		b.totals[p.who.Type] = new(allowance)
	}
	total := b.totals[p.who.Type]
	total.set(l)
	o.total.Store(total)
}

func (b *Broker) disown(o *ownerState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o.conns--; o.conns <= 0 {
		o.left = b.now()
	}
}

// forgetOwners drops the state of principals that are long gone.
func (b *Broker) forgetOwners(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for who, o := range b.owners {
		if o.conns <= 0 && now.Sub(o.left) > keepOwner {
			delete(b.owners, who)
		}
	}
}

// allowance is a rate and a daily quota. The zero allowance allows everything.
type allowance struct {
	mu              sync.Mutex
	limits          policy.Limits // guarded by mu
	messages, bytes *rate.Limiter // nil: not limited; guarded by mu
	day             int64         // since 1970, UTC; guarded by mu
	dayMessages     int64
	dayBytes        int64
}

func (a *allowance) set(l policy.Limits) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.limits == l {
		return
	}
	a.limits, a.messages, a.bytes = l, nil, nil
	if l.Rate.Messages > 0 {
		burst := l.Rate.Burst
		if burst == 0 {
			burst = max(1, int(l.Rate.Messages))
		}
		a.messages = rate.NewLimiter(rate.Limit(l.Rate.Messages), burst)
	}
	if l.Rate.Bytes > 0 {
		a.bytes = rate.NewLimiter(rate.Limit(l.Rate.Bytes), max(1, int(2*l.Rate.Bytes)))
	}
}

// take charges one message, or says what is exceeded.
func (a *allowance) take(now time.Time, size int) (why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := &a.limits
	if a.messages == nil && a.bytes == nil && l.DailyMessages == 0 && l.DailyBytes == 0 {
		return ""
	}
	if l.DailyMessages > 0 || l.DailyBytes > 0 {
		if day := now.Unix() / 86400; day != a.day {
			a.day, a.dayMessages, a.dayBytes = day, 0, 0
		}
		if l.DailyMessages > 0 && a.dayMessages >= l.DailyMessages || l.DailyBytes > 0 && a.dayBytes+int64(size) > l.DailyBytes {
			return "the quota of the day is used up"
		}
	}
	if a.messages != nil && !a.messages.AllowN(now, 1) {
		return "the rate of messages is exceeded"
	}
	if a.bytes != nil && !a.bytes.AllowN(now, size) {
		return "the rate of bytes is exceeded"
	}
	a.dayMessages++
	a.dayBytes += int64(size)
	return ""
}

// allow charges a message to the client's principal and to its type.
func (o *ownerState) allow(now time.Time, size int) (why string) {
	if why = o.own.take(now, size); why != "" {
		return why
	}
	if total := o.total.Load(); total != nil {
		if why = total.take(now, size); why != "" {
			why = "all devices of the type together: " + why
		}
	}
	return why
}
