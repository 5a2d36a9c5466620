package server

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// fineStep is how often traffic is counted.
const fineStep = 5 * time.Second

// rings are what is remembered of one key: 5 s for 15 min, 1 min for 6 h, 5 min
// for 24 h, and two more, of which one is being filled.
var rings = [...]struct {
	step   time.Duration
	length int
}{{fineStep, 182}, {time.Minute, 362}, {5 * time.Minute, 290}}

// flowWindow is a time that can be asked for.
type flowWindow struct {
	ring   int
	step   time.Duration
	length int // steps
}

var windows = map[string]flowWindow{
	"15m": {0, fineStep, 180}, "1h": {1, time.Minute, 60}, "6h": {1, time.Minute, 360}, "24h": {2, 5 * time.Minute, 288},
}

// maxSeries bounds the keys that are remembered apart, 10 KB each; the rest is
// counted together.
const maxSeries = 400

// passed counts what passed in a step.
type passed struct{ in, out, refused uint32 }

// series is what passed for one key. Steps are numbered from 1970 on; the step n is
// at n modulo the length, and at[i] is the number of the newest that is written.
type series struct {
	rings  [len(rings)][]passed
	at     [len(rings)]int64
	weight float64 // messages a minute, of late
}

// rates are what passed this node. They are fed by one loop.
type rates struct {
	mu     sync.Mutex
	since  time.Time                            // guarded by mu
	last   map[broker.TrafficKey]broker.Traffic // guarded by mu
	series map[broker.TrafficKey]*series        // guarded by mu; the zero key is the rest
	others map[broker.TrafficKey]float64        // weights of keys in the rest; guarded by mu
	minute int64                                // number of the minute in which the busiest were chosen last; guarded by mu
}

// take notes what passed since it was called last; total counts from the start.
func (r *rates) take(now time.Time, total map[broker.TrafficKey]broker.Traffic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.since = now
		r.series, r.others = map[broker.TrafficKey]*series{{}: {}}, map[broker.TrafficKey]float64{}
		r.minute = now.Unix() / 60
	}
	for key, t := range total {
		was := r.last[key]
		in, out, refused := t.In-was.In, t.Out-was.Out, t.Refused-was.Refused
		if in == 0 && out == 0 && refused == 0 {
			continue
		}
		s := r.series[key]
		if s == nil && len(r.series) <= maxSeries {
			s = &series{}
			r.series[key] = s
		}
		if s == nil {
			r.others[key] += float64(in + out + refused)
			s = r.series[broker.TrafficKey{}]
		}
		s.weight += float64(in + out + refused)
		s.add(now, in, out, refused)
	}
	r.last = total
	if minute := now.Unix() / 60; minute > r.minute {
		r.minute = minute
		r.choose()
	}
}

// add counts into the step of now in every ring.
func (s *series) add(now time.Time, in, out, refused int64) {
	for i, r := range rings {
		n := now.Unix() / int64(r.step/time.Second)
		if n <= s.at[i]-int64(r.length) {
			continue // the clock was set back
		}
		s.advance(i, n)
		slot := &s.rings[i][n%int64(r.length)]
		slot.in, slot.out, slot.refused = plus(slot.in, in), plus(slot.out, out), plus(slot.refused, refused)
	}
}

// advance empties the steps between the newest written and n.
func (s *series) advance(i int, n int64) {
	length := int64(rings[i].length)
	if s.rings[i] == nil {
		s.rings[i], s.at[i] = make([]passed, length), n
	}
	for at := max(s.at[i]+1, n-length+1); at <= n; at++ {
		s.rings[i][at%length] = passed{}
	}
	s.at[i] = max(s.at[i], n)
}

// plus adds without going round.
func plus(have uint32, more int64) uint32 {
	return uint32(min(int64(have)+max(more, 0), math.MaxUint32))
}

// step is what passed in the step n; nothing, when it is not remembered.
func (s *series) step(i int, n int64) passed {
	length := int64(rings[i].length)
	if s.rings[i] == nil || n > s.at[i] || n <= s.at[i]-length {
		return passed{}
	}
	return s.rings[i][n%length]
}

// swaps is how many keys may take the place of others in a minute.
const swaps = 10

// choose lets the busiest keys of the rest be remembered apart, instead of the
// quietest, whose past becomes part of the rest's. Weights fade by half in half an
// hour.
func (r *rates) choose() {
	const fade = 0.977
	for key, s := range r.series {
		if s.weight *= fade; s.weight < 0.01 && key != (broker.TrafficKey{}) && s.silent(r.minute) {
			delete(r.series, key)
		}
	}
	for key := range r.others {
		if r.others[key] *= fade; r.others[key] < 0.01 {
			delete(r.others, key)
		}
	}
	if len(r.others) == 0 {
		return
	}
	busy, quiet := byWeight(r.others), r.quiet()
	for i := range min(swaps, len(busy), len(quiet)) {
		out, in := quiet[i], busy[len(busy)-1-i]
		if r.others[in] < 1.5*r.series[out].weight {
			break
		}
		r.series[broker.TrafficKey{}].merge(r.series[out])
		r.others[out], r.series[in] = r.series[out].weight, &series{weight: r.others[in]}
		delete(r.series, out)
		delete(r.others, in)
	}
}

// silent tells that nothing of a series is shown any more.
func (s *series) silent(minute int64) bool { return s.at[1] < minute-25*60 }

// byWeight lists keys, the lightest first.
func byWeight(weights map[broker.TrafficKey]float64) []broker.TrafficKey {
	list := make([]broker.TrafficKey, 0, len(weights))
	for key := range weights {
		list = append(list, key)
	}
	slices.SortFunc(list, func(a, b broker.TrafficKey) int {
		return cmp.Or(cmp.Compare(weights[a], weights[b]), compareTraffic(a, b))
	})
	return list
}

func compareTraffic(a, b broker.TrafficKey) int {
	return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Kind, b.Kind))
}

// quiet lists the keys that are remembered apart, the quietest first.
func (r *rates) quiet() []broker.TrafficKey {
	weights := map[broker.TrafficKey]float64{}
	for key, s := range r.series {
		if key != (broker.TrafficKey{}) {
			weights[key] = s.weight
		}
	}
	return byWeight(weights)
}

// merge adds another series, as far as it is remembered.
func (s *series) merge(o *series) {
	for i, r := range rings {
		if o.rings[i] == nil {
			continue
		}
		s.advance(i, max(o.at[i], s.at[i]))
		for n := s.at[i] - int64(r.length) + 1; n <= s.at[i]; n++ {
			p, slot := o.step(i, n), &s.rings[i][n%int64(r.length)]
			slot.in, slot.out, slot.refused = plus(slot.in, int64(p.in)), plus(slot.out, int64(p.out)), plus(slot.refused, int64(p.refused))
		}
	}
}

// flow is what passed within a window that ends with the last step that is over.
func (r *rates) flow(now time.Time, w flowWindow) *nodeFlow {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := now.Unix()/int64(w.step/time.Second) - int64(w.length)
	f := &nodeFlow{Since: r.since.UTC(), First: first, Keys: []adminapi.FlowSeries{}, Now: []adminapi.FlowNow{}}
	for key, s := range r.series {
		k := adminapi.FlowSeries{FlowKey: flowKey(key), In: make([]int64, w.length), Out: make([]int64, w.length), Refused: make([]int64, w.length)}
		any := false
		for i := range w.length {
			p := s.step(w.ring, first+int64(i))
			k.In[i], k.Out[i], k.Refused[i] = int64(p.in), int64(p.out), int64(p.refused)
			any = any || p != passed{}
		}
		if any {
			f.Keys = append(f.Keys, k)
		}
	}
	for key, t := range r.last {
		if t.Sessions > 0 {
			f.Now = append(f.Now, adminapi.FlowNow{FlowKey: flowKey(key), Sessions: t.Sessions})
		}
	}
	return f
}

func flowKey(k broker.TrafficKey) adminapi.FlowKey {
	return adminapi.FlowKey{Kind: k.Kind, Type: device.TypeName(k.Type), Zone: device.ZoneName(k.Zone)}
}
