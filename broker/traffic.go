package broker

import "sync"

// TrafficKey is what traffic is counted by: the principal's kind, type and zone as
// they were when a message passed. The zero key has what no principal is known
// of: connections that were not accepted, and what came when maxTraffic keys were
// in use.
type TrafficKey struct{ Kind, Type, Zone string }

// Traffic are counts of one key. All but Sessions are since the broker began and
// never become less.
type Traffic struct {
	Sessions                   int // connected now
	In, Out, InBytes, OutBytes int64
	Refused                    int64 // actions that policy or limits refused
}

// maxTraffic bounds the keys that are counted apart.
const maxTraffic = 10_000

// told are the counts of a session that are in its broker's totals already.
type told struct {
	in, out, inBytes, outBytes, refused int64
	over                                bool // the session has ended and all of it was counted
}

// traffic adds up what sessions count. Sessions count for themselves, on the path
// of a message; this reads their counters when somebody asks, and at their ends.
// Its mu is taken before the broker's.
type traffic struct {
	mu      sync.Mutex
	totals  map[TrafficKey]*Traffic // guarded by mu
	scratch []*session              // guarded by mu
}

// of returns the totals of a session's principal.
func (t *traffic) of(s *session) *Traffic {
	who := s.principal()
	key := TrafficKey{who.Kind, who.Type, who.Zone}
	total := t.totals[key]
	if total != nil {
		return total
	}
	if t.totals == nil {
		t.totals = map[TrafficKey]*Traffic{}
	}
	if len(t.totals) >= maxTraffic {
		key = TrafficKey{}
		if total = t.totals[key]; total != nil {
			return total
		}
	}
	total = &Traffic{}
	t.totals[key] = total
	return total
}

// add brings the totals up to what a session counted.
func (t *traffic) add(s *session, total *Traffic) {
	more := func(to, told *int64, now int64) {
		*to += now - *told
		*told = now
	}
	c, was := &s.count, &s.told
	more(&total.In, &was.in, c.inMessages.Load())
	more(&total.Out, &was.out, c.outMessages.Load())
	more(&total.InBytes, &was.inBytes, c.inBytes.Load())
	more(&total.OutBytes, &was.outBytes, c.outBytes.Load())
	more(&total.Refused, &was.refused, c.refused.Load())
}

// ended counts the rest of a session that is going to leave the broker.
func (t *traffic) ended(s *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !s.told.over {
		t.add(s, t.of(s))
		s.told.over = true
	}
}

// Traffic returns what passed, by who sent or received it, sessions that ended
// included. It reads a few counters of each session and may be asked every second;
// messages do not wait for it.
func (b *Broker) Traffic() map[TrafficKey]Traffic {
	t := &b.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, total := range t.totals {
		total.Sessions = 0
	}
	b.mu.Lock()
	list := t.scratch[:0]
	for _, s := range b.sessions {
		list = append(list, s)
	}
	b.mu.Unlock()
	for _, s := range list {
		if !s.told.over {
			total := t.of(s)
			t.add(s, total)
			total.Sessions++
		}
	}
	clear(list) // ended sessions are not kept alive
	t.scratch = list[:0]
	all := make(map[TrafficKey]Traffic, len(t.totals)+1)
	for key, total := range t.totals {
		all[key] = *total
	}
	nobody := all[TrafficKey{}]
	nobody.Refused += b.stats.refusedConnections.Load()
	all[TrafficKey{}] = nobody
	return all
}
