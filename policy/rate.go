package policy

import (
	"container/list"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// rate is a compiled manifest.Rate.
type rate struct {
	messages, burst float64 // per second, and at once; 0: unbounded
	bytes, atOnce   float64
}

func compileRate(r manifest.Rate) rate {
	c := rate{messages: r.Messages, burst: float64(r.Burst), bytes: r.Bytes, atOnce: 2 * r.Bytes}
	if c.burst == 0 {
		c.burst = max(1, c.messages)
	}
	return c
}

func (r *rate) any() bool { return r.messages > 0 || r.bytes > 0 }

// bucket holds what may still pass at once. The zero value is full.
type bucket struct {
	used, bytes float64 // spent and not yet refilled
	at          time.Time
}

// jitter is how far times of one bucket may be out of order, because goroutines
// read the clock before they get the lock.
const jitter = time.Minute

// take spends one message of a size, or says which bound it would exceed and spends
// nothing. A clock that goes back refills nothing: a little, and the bucket waits
// until it is back; more, and the bucket goes on from there.
func (b *bucket) take(r *rate, size int, now time.Time) (why string) {
	switch gone := now.Sub(b.at); {
	case b.at.IsZero() || gone < -jitter:
		b.at = now
	case gone > 0:
		b.used = max(0, b.used-gone.Seconds()*r.messages)
		b.bytes = max(0, b.bytes-gone.Seconds()*r.bytes)
		b.at = now
	}
	if r.messages > 0 && b.used+1 > r.burst+1e-9 {
		return perTime(r.messages, "message") + ", " + number(r.burst) + " at once"
	}
	if r.bytes > 0 && b.bytes+float64(size) > r.atOnce {
		return number(r.bytes) + " bytes per second, " + number(r.atOnce) + " at once"
	}
	if r.messages > 0 {
		b.used++
	}
	if r.bytes > 0 {
		b.bytes += float64(size)
	}
	return ""
}

// perTime writes a rate with the unit in which it is at least one.
func perTime(perSecond float64, what string) string {
	unit := "second"
	switch {
	case perSecond < 1.0/60-1e-12:
		perSecond, unit = perSecond*3600, "hour"
	case perSecond < 1:
		perSecond, unit = perSecond*60, "minute"
	}
	if perSecond != 1 {
		what += "s"
	}
	return number(float64(int64(perSecond*1000+0.5))/1000) + " " + what + " per " + unit
}

// State holds how much of its rates a principal has used on this node: one for
// each principal, shared by its sessions. Safe for concurrent use.
type State struct {
	actuators *Actuators
	mu        sync.Mutex
	set       *Set               // the one that rules was last pruned for
	rules     map[string]*bucket // by rule name, so that a new policy does not refill them
}

// NewState makes the state of a principal; all states of a node share its Actuators.
// Without any, the rates of commands are not checked.
func NewState(a *Actuators) *State { return &State{actuators: a} }

// take charges a rule of a set, or says what it allows.
func (s *State) take(set *Set, r *rule, size int, now time.Time) string {
	if s == nil || !r.rate.any() {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set != set {
		for name := range s.rules {
			if !set.rated[name] {
				delete(s.rules, name)
			}
		}
		s.set = set
	}
	b := s.rules[r.name]
	if b == nil {
		if s.rules == nil {
			s.rules = map[string]*bucket{}
		}
		b = &bucket{}
		s.rules[r.name] = b
	}
	return b.take(&r.rate, size, now)
}

// Actuators holds how much of the rates of commands has been used on this node, by
// all publishers together: at most a fixed number of pairs of device and command,
// of which the one that rested longest gives way. Safe for concurrent use.
type Actuators struct {
	mu      sync.Mutex
	most    int
	buckets map[actuator]*list.Element
	recent  list.List // of *actuatorBucket, the newest first
}

// actuator is one command of one device, on its way in or out: a message passes
// the same interlock when it is published and when it is delivered.
type actuator struct {
	device, command string
	delivery        bool
	receiver        string // of deliveries: a gateway and the device itself do not share
}

type actuatorBucket struct {
	key actuator
	bucket
}

// NewActuators makes room for a number of pairs of device and command; 0: 65536.
func NewActuators(most int) *Actuators {
	if most <= 0 {
		most = 1 << 16
	}
	return &Actuators{most: most, buckets: map[actuator]*list.Element{}}
}

func (a *Actuators) take(key actuator, r *rate, size int, now time.Time) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.buckets[key]
	if e == nil {
		if len(a.buckets) >= a.most {
			last := a.recent.Back()
			delete(a.buckets, last.Value.(*actuatorBucket).key)
			a.recent.Remove(last)
		}
		e = a.recent.PushFront(&actuatorBucket{key: key})
		a.buckets[key] = e
	}
	a.recent.MoveToFront(e)
	return e.Value.(*actuatorBucket).take(r, size, now)
}
