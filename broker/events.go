package broker

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
)

// Kind is what an Event tells.
type Kind string

// The kinds of events.
const (
	ConnectRefused     Kind = "connect-refused"
	PublishRefused     Kind = "publish-refused"
	CommandRefused     Kind = "command-refused" // an interlock held
	PayloadRefused     Kind = "payload-refused"
	RateRefused        Kind = "rate-exceeded"
	SubscribeRefused   Kind = "subscribe-refused"
	SubscriptionLost   Kind = "subscription-lost" // a new policy does not allow it
	DeliveryRefused    Kind = "delivery-refused"
	ViewRefused        Kind = "view-refused"
	WillRefused        Kind = "will-refused"
	Malformed          Kind = "malformed"
	ProtocolBroken     Kind = "protocol-error"
	Flapping           Kind = "flapping"
	SourceBlocked      Kind = "source-blocked"
	CertificateExpired Kind = "certificate-expired"
	SessionClosed      Kind = "session-closed" // by policy or an operator
)

// kinds lists all, for counters.
var kinds = []Kind{ConnectRefused, PublishRefused, CommandRefused, PayloadRefused, RateRefused, SubscribeRefused, SubscriptionLost,
	DeliveryRefused, ViewRefused, WillRefused, Malformed, ProtocolBroken, Flapping, SourceBlocked, CertificateExpired, SessionClosed}

// Event is something that was stopped: the first of its kind at once, those that
// follow within a window together.
type Event struct {
	Kind        Kind
	Principal   policy.Principal // zero: not known
	Client      string
	Source      netip.AddrPort
	Topic       string // of the first
	Rule        string
	Code        mqtt.ReasonCode
	Detail      string // of the first
	Count       int
	First, Last time.Time
}

// eventWindow is how long events of one kind, principal and rule are gathered.
const eventWindow = 10 * time.Second

// maxEvents bounds how many are gathered at the same time; beyond it they are
// counted in one without principal.
const maxEvents = 4096

type eventKey struct {
	kind  Kind
	who   string
	rule  string
	topic string // or the reason, of refusals without a rule
}

type events struct {
	now     func() time.Time
	observe func(Event)
	mu      sync.Mutex
	open    map[eventKey]*Event // guarded by mu: what came after the first
}

func newEvents(now func() time.Time, observe func(Event)) *events {
	if observe == nil {
		observe = func(Event) {}
	}
	return &events{now: now, observe: observe, open: map[eventKey]*Event{}}
}

func (ev *events) add(e Event) {
	now := ev.now()
	key := eventKey{kind: e.Kind, rule: e.Rule, who: owner(e.Principal)}
	if e.Principal.ID == "" {
		key.who = e.Source.Addr().String()
	}
	switch {
	case e.Rule != "":
	case e.Topic != "":
		key.topic = e.Topic
	default:
		key.topic = e.Detail // different reasons are different events
	}
	ev.mu.Lock()
	if was := ev.open[key]; was != nil {
		was.Count++
		was.Last = now
		ev.mu.Unlock()
		return
	}
	if len(ev.open) >= maxEvents {
		key = eventKey{kind: e.Kind}
		e = Event{Kind: e.Kind, Detail: "many different ones: more than can be told apart"}
		if was := ev.open[key]; was != nil {
			was.Count++
			was.Last = now
			ev.mu.Unlock()
			return
		}
	}
	e.Count, e.First, e.Last = 1, now, now
	rest := e
	rest.Count = 0
	ev.open[key] = &rest
	ev.mu.Unlock()
	ev.observe(e)
}

// flushDue reports what was gathered in windows that are over.
func (ev *events) flushDue() { ev.report(ev.now().Add(-eventWindow)) }

func (ev *events) flush() { ev.report(ev.now().Add(time.Hour)) }

func (ev *events) report(before time.Time) {
	var due []Event
	ev.mu.Lock()
	for key, e := range ev.open {
		if e.First.After(before) {
			continue
		}
		if e.Count > 0 {
			due = append(due, *e)
		}
		delete(ev.open, key)
	}
	ev.mu.Unlock()
	for _, e := range due {
		ev.observe(e)
	}
}

// sessionCounters count since the connection began.
type sessionCounters struct {
	inMessages, inBytes, outMessages, outBytes, refused, dropped atomic.Int64
}

// counters count since the broker began.
type counters struct {
	inMessages, outMessages, dropped, connects, refusedConnections, malformed atomic.Int64
	byKind                                                                    [16]atomic.Int64
}

func (c *counters) refused(k Kind) {
	for i := range kinds {
		if kinds[i] == k {
			c.byKind[i].Add(1)
		}
	}
}

// report counts what was stopped, and tells it.
func (b *Broker) report(e Event) {
	b.stats.refused(e.Kind)
	b.events.add(e)
}

// failed counts a failure of a source that proved nothing.
func (b *Broker) failed(from netip.AddrPort) {
	if b.abuse.failed(from.Addr()) {
		b.report(Event{Kind: SourceBlocked, Source: from, Detail: "too many failures from this address: it has to wait"})
	}
}

// Stats are numbers for monitoring: counts since the start, and what is now.
type Stats struct {
	Sessions, Subscriptions                                          int
	In, Out, Dropped, Connects, RefusedConnections, MalformedPackets int64
	Refused                                                          map[Kind]int64
}

// Stats returns the broker's numbers.
func (b *Broker) Stats() Stats {
	c := &b.stats
	st := Stats{Sessions: b.count(), Subscriptions: b.tree.Len(), In: c.inMessages.Load(), Out: c.outMessages.Load(), Dropped: c.dropped.Load(),
		Connects: c.connects.Load(), RefusedConnections: c.refusedConnections.Load(), MalformedPackets: c.malformed.Load(), Refused: map[Kind]int64{}}
	for i, k := range kinds {
		st.Refused[k] = c.byKind[i].Load()
	}
	return st
}
