package server

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// watchQuestions is the name under which nodes ask each other what passes.
const watchQuestions = "watch"

// watching is what a node remembers of what passed and what was stopped, and what
// it remembers of the answers of others.
type watching struct {
	rates   rates
	refused refusedRing

	flows     memory[*adminapi.Flow] // by window
	refusals  memory[[]adminapi.Refusal]
	states    memory[map[string]int64] // devices by state
	fleet     memory[*adminapi.Fleet]
	household memory[*adminapi.Household]
	maps      memory[*adminapi.ZoneMap] // by policy version and view
	drawing   sync.Mutex                // held while a map is drawn, which takes a core for up to a second
}

// watchQuestion is what one node asks all others.
type watchQuestion struct {
	Window  string `json:"window,omitempty"`  // what passed within it
	Refused bool   `json:"refused,omitempty"` // what was stopped
}

// watchAnswer is what a node says.
type watchAnswer struct {
	Flow    *nodeFlow          `json:"flow,omitempty"`
	Refused []adminapi.Refusal `json:"refused,omitempty"`
}

// nodeFlow is what passed one node. Steps are numbered from 1970 on, so that nodes
// whose clocks agree number them alike.
type nodeFlow struct {
	Since time.Time             `json:"since"`
	First int64                 `json:"first"` // number of the first step
	Keys  []adminapi.FlowSeries `json:"keys"`
	Now   []adminapi.FlowNow    `json:"now"`
}

// watch counts what passes, until ctx ends.
func (s *Server) watch(ctx context.Context) error {
	tick := time.NewTicker(fineStep)
	defer tick.Stop()
	for {
		s.watching.rates.take(s.now(), s.broker.Traffic())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// answerWatch answers another node.
func (s *Server) answerWatch(body []byte) []byte {
	var q watchQuestion
	if json.Unmarshal(body, &q) != nil {
		return nil
	}
	var a watchAnswer
	if w, ok := windows[q.Window]; ok {
		a.Flow = s.watching.rates.flow(s.now(), w)
	}
	if q.Refused {
		a.Refused = s.watching.refused.all()
	}
	out, err := json.Marshal(a)
	if err != nil {
		return nil
	}
	return out
}

// askWatch asks the other nodes; those that do not answer are left out.
func (s *Server) askWatch(ctx context.Context, q watchQuestion) (list []watchAnswer) {
	if s.nodes == nil {
		return nil
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil
	}
	answers, err := s.nodes.Ask(ctx, watchQuestions, body)
	if err != nil {
		s.log.Warn("asking the other nodes what passes", "err", err)
	}
	for _, text := range answers {
		var a watchAnswer
		if json.Unmarshal(text, &a) == nil {
			list = append(list, a)
		}
	}
	return list
}

// How long answers are remembered. They are the same for all who ask, and a page
// that many look at costs little more than one that one looks at.
const (
	rememberFlow      = 2 * time.Second
	rememberRefused   = time.Second
	rememberStates    = time.Second // counting 100,000 devices takes 5 ms
	rememberFleet     = 10 * time.Second
	rememberHousehold = time.Minute
	rememberMap       = 10 * time.Second
)

// Flow implements adminapi.Watch.
func (s *Server) Flow(ctx context.Context, window string) (*adminapi.Flow, error) {
	w, ok := windows[window]
	if !ok {
		return nil, invalid("bad-window", "use 15m, 1h, 6h or 24h", "there is no window %.64q", window)
	}
	return s.watching.flows.get(ctx, window, s.now, rememberFlow, func(ctx context.Context) (*adminapi.Flow, error) {
		now := s.now()
		nodes := []nodeFlow{*s.watching.rates.flow(now, w)}
		for _, a := range s.askWatch(ctx, watchQuestion{Window: window}) {
			if a.Flow != nil {
				nodes = append(nodes, *a.Flow)
			}
		}
		return joinFlows(nodes, w), nil
	})
}

// joinFlows adds up what passed several nodes, in the steps of the first.
func joinFlows(nodes []nodeFlow, w flowWindow) *adminapi.Flow {
	f := &adminapi.Flow{Since: nodes[0].Since, From: time.Unix(nodes[0].First*int64(w.step/time.Second), 0).UTC(), Step: w.step, Length: w.length, Nodes: len(nodes)}
	series, now := map[adminapi.FlowKey]*adminapi.FlowSeries{}, map[adminapi.FlowKey]int{}
	for _, n := range nodes {
		if n.Since.Before(f.Since) {
			f.Since = n.Since
		}
		shift := n.First - nodes[0].First // a node whose clock differs a little
		for _, k := range n.Keys {
			to := series[k.FlowKey]
			if to == nil {
				to = &adminapi.FlowSeries{FlowKey: k.FlowKey, In: make([]int64, w.length), Out: make([]int64, w.length), Refused: make([]int64, w.length)}
				series[k.FlowKey] = to
			}
			addShifted(to.In, k.In, shift)
			addShifted(to.Out, k.Out, shift)
			addShifted(to.Refused, k.Refused, shift)
		}
		for _, k := range n.Now {
			now[k.FlowKey] += k.Sessions
		}
	}
	for _, s := range series {
		f.Keys = append(f.Keys, *s)
	}
	for key, n := range now {
		f.Now = append(f.Now, adminapi.FlowNow{FlowKey: key, Sessions: n})
	}
	return f
}

func addShifted(to, from []int64, shift int64) {
	for i, v := range from {
		if at := int64(i) + shift; at >= 0 && at < int64(len(to)) {
			to[at] += v
		}
	}
}

// Refused implements adminapi.Watch.
func (s *Server) Refused(ctx context.Context) ([]adminapi.Refusal, error) {
	return s.watching.refusals.get(ctx, "", s.now, rememberRefused, func(ctx context.Context) ([]adminapi.Refusal, error) {
		list := s.watching.refused.all()
		for _, a := range s.askWatch(ctx, watchQuestion{Refused: true}) {
			list = append(list, a.Refused[:min(len(a.Refused), maxRefusedHere)]...)
		}
		slices.SortStableFunc(list, func(x, y adminapi.Refusal) int { return y.Last.Compare(x.Last) })
		return list, nil
	})
}

// maxRefusedHere is how much of what was stopped a node remembers, and of one
// principal or address: nobody can crowd out what others were refused.
const (
	maxRefusedHere = 1000
	maxRefusedOf   = 100
)

// refusedRing holds what was stopped lately, the oldest first.
type refusedRing struct {
	mu   sync.Mutex
	list []stopped // guarded by mu
}

// stopped is an event, and whose it is.
type stopped struct {
	broker.Event
	of   string
	node string
}

// add remembers an event; it does not wait. What the broker tells later about the
// same thing is added to what it told first.
func (r *refusedRing) add(e broker.Event, node string) {
	of := e.Principal.Kind + ":" + e.Principal.ID
	if e.Principal.ID == "" {
		of = e.Source.Addr().String()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	own, oldest := 0, -1
	for i := range r.list {
		have := &r.list[i]
		if have.of != of {
			continue
		}
		if own++; oldest < 0 {
			oldest = i
		}
		if have.First.Equal(e.First) && have.Kind == e.Kind && have.Rule == e.Rule && have.Topic == e.Topic && have.Detail == e.Detail {
			have.Count, have.Last = have.Count+e.Count, e.Last
			return
		}
	}
	switch {
	case own >= maxRefusedOf:
		r.list = slices.Delete(r.list, oldest, oldest+1)
	case len(r.list) >= maxRefusedHere:
		r.list = slices.Delete(r.list, 0, 1)
	}
	r.list = append(r.list, stopped{e, of, node})
}

// all lists them, the newest first.
func (r *refusedRing) all() []adminapi.Refusal {
	r.mu.Lock()
	list := slices.Clone(r.list)
	r.mu.Unlock()
	out := make([]adminapi.Refusal, 0, len(list))
	for _, e := range slices.Backward(list) {
		v := adminapi.Refusal{Time: e.First.UTC(), Last: e.Last.UTC(), Kind: string(e.Kind), Action: actionOf[e.Kind], Client: audit.Text(e.Client, 256), Topic: audit.Text(e.Topic, 1024),
			Rule: audit.Text(e.Rule, 512), Detail: audit.Text(e.Detail, 1024), Count: int64(e.Count), Node: e.node, Principal: adminapi.RefusedPrincipal{Kind: e.Principal.Kind, ID: e.Principal.ID,
				Type: device.TypeName(e.Principal.Type), Zone: device.ZoneName(e.Principal.Zone)}}
		if e.Source.IsValid() {
			v.Address = e.Source.String()
		}
		out = append(out, v)
	}
	return out
}

// actionOf is what to ask about a refusal that policy may have decided.
var actionOf = map[broker.Kind]string{
	broker.ConnectRefused: "connect", broker.PublishRefused: "publish", broker.CommandRefused: "publish", broker.PayloadRefused: "publish",
	broker.RateRefused: "publish", broker.WillRefused: "publish", broker.SubscribeRefused: "subscribe", broker.SubscriptionLost: "subscribe",
	broker.DeliveryRefused: "receive", broker.ViewRefused: "receive",
}
