package broker

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
)

// permit is what a session may do, under one policy and one state of facts.
type permit struct {
	who   policy.Principal
	set   *policy.Set
	perms *policy.Permissions
	id    uint64 // differs from every other permit's
}

var permits atomic.Uint64

func newPermit(set *policy.Set, who policy.Principal) *permit {
	return &permit{who: who, set: set, perms: set.For(who), id: permits.Add(1)}
}

// session is one client while it is connected here. What outlives the connection
// is its row in the log.
type session struct {
	b         *Broker
	id        string // client id
	peer      Peer
	nc        net.Conn
	version   mqtt.Version
	since     time.Time
	keep      time.Duration // silence that ends the connection; 0: none does
	window    int           // QoS 1 and 2 messages that may be under way to the client
	maxSize   int           // bytes of a packet that the client takes
	aliasMax  int           // topic aliases that the client takes
	problem   bool          // the client wants reason strings
	reader    *mqtt.Reader
	flushFn   func() // flush as a value: a go statement of it allocates nothing
	permit    atomic.Pointer[permit]
	owner     *ownerState
	count     sessionCounters
	told      told          // guarded by the mu of the broker's traffic
	done      chan struct{} // closed when the connection is going to end
	gone      chan struct{} // closed when nothing of it is left here
	stopped   atomic.Bool   // nothing more is taken from the client
	drainOnce sync.Once
	release   func()                   // gives the client id back to the cluster; nil: alone
	groupLife time.Duration            // of the shared subscriptions that it is in, without anybody
	joined    atomic.Pointer[[]*group] // replaced under the broker's mu

	in  inbound  // owned by the reading goroutine
	out outgoing // owned by the flushing goroutine

	mu       sync.Mutex
	subs     map[string]*subscription // by filter as subscribed; guarded by mu
	ctl      []byte                   // packets that wait for flush, encoded; guarded by mu
	fast     ring                     // QoS 0; guarded by mu
	logged   ring                     // QoS 1 and 2, and retained ones; guarded by mu
	flight   []flying                 // sent and not acknowledged, in the order of sending; guarded by mu
	unsent   int                      // those of flight that were sent on an earlier connection only; guarded by mu
	lastID   uint16                   // packet identifier given last; guarded by mu
	flushing bool                     // a goroutine runs flush; guarded by mu
	ending   bool                     // the connection is going to end; guarded by mu
	drained  chan struct{}            // set by close; closed when its last packet was written; guarded by mu
	over     bool                     // the connection has ended; guarded by mu
	answered bool                     // CONNACK was sent: only then may DISCONNECT be (MQTT-3.14.0-1); guarded by mu

	behind   bool            // logged messages come from the log, not live; guarded by mu
	feeding  bool            // a goroutine runs feed; guarded by mu
	resend   bool            // what is in flight must be sent again; guarded by mu
	again    []rowOut        // retained messages that waited when the last connection ended; guarded by mu
	skipped  uint64          // newest message not taken live while behind; guarded by mu
	looked   uint64          // the value of skipped that the last look at the log was for; guarded by mu
	next     uint64          // while behind: what was read up to; guarded by mu
	made     uint64          // subscriptions made so far; guarded by mu
	taken    uint64          // newest message that entered the queue; guarded by mu
	liveFrom uint64          // newest message before those taken live; guarded by mu
	full     uint64          // newest message before the queue was full and the session behind; guarded by mu
	readFrom uint64          // newer ones, up to readTo, were read before the look back; guarded by mu
	readTo   uint64          // guarded by mu
	gapEnd   uint64          // up to it, what the node received was taken live; guarded by mu
	todo     []*subscription // whose retained messages are to be sent; guarded by mu
	room     chan struct{}   // capacity 1: the queue has room again

	acks     []*pending    // QoS 1 and 2 messages of the client being stored, in its order; guarded by mu
	stalled  chan struct{} // closed when acks has room again; nil: nobody waits; guarded by mu
	twice    receipts      // QoS 2 messages received and not released; guarded by mu
	persist  bool          // the session outlives the connection; guarded by mu
	expiry   uint32        // session expiry in seconds; guarded by mu
	will     *will         // guarded by mu
	row      saver         // guarded by mu
	refusals []Refusal     // the last few; guarded by mu
}

// outgoing is what the goroutine that writes keeps.
type outgoing struct {
	aliases map[string]uint16          // topics that the client knows by alias
	checks  map[string]*policy.Verdict // on deliveries, by topic
	permit  uint64                     // whose verdicts
}

// flying is a message sent to the client and not acknowledged.
type flying struct {
	id       uint16
	qos      mqtt.QoS
	released bool   // QoS 2: PUBREC came
	saved    bool   // QoS 2: the row has the identifier
	unsent   bool   // not sent on this connection yet
	seq      uint64 // in the log; 0: it is not there
	topic    string // of a retained message, which is not in the log
	share    *shared
}

func (s *session) principal() policy.Principal {
	if p := s.permit.Load(); p != nil {
		return p.who
	}
	return policy.Principal{}
}

// send queues a packet that is not a message.
func (s *session) send(p mqtt.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendLocked(p)
}

func (s *session) sendLocked(p mqtt.Packet) {
	if s.over {
		return
	}
	before := len(s.ctl)
	out, err := p.AppendTo(s.ctl, s.version)
	if err == nil && len(out)-before > s.maxSize && shorten(p) {
		out, err = p.AppendTo(s.ctl, s.version)
	}
	switch {
	case err != nil:
		s.b.log.Error("writing a packet", "type", p.Type().String(), "err", err)
	case len(out)-before <= s.maxSize:
		s.ctl = out
		s.wakeLocked()
	case p.Type() != mqtt.DISCONNECT:
		// It must not be sent (MQTT-3.1.2-24), and the client would wait for it.
		s.closeLocked(mqtt.PacketTooLarge, "the answer is longer than the client takes")
	}
}

// shorten takes out of a packet what must not make it longer than the client
// takes (MQTT-3.4.2-2 and its like); false when there is nothing.
func shorten(p mqtt.Packet) bool {
	var props *mqtt.Properties
	switch p := p.(type) {
	case *mqtt.Connack:
		props = &p.Props
	case *mqtt.Puback:
		props = &p.Props
	case *mqtt.Pubrec:
		props = &p.Props
	case *mqtt.Suback:
		props = &p.Props
	case *mqtt.Disconnect:
		props = &p.Props
	default:
		return false
	}
	_, has := props.Blob(mqtt.ReasonString)
	props.ClearBlob(mqtt.ReasonString)
	return has
}

// wakeLocked sees to it that what waits is written.
func (s *session) wakeLocked() {
	if !s.flushing && !s.over {
		s.flushing = true
		go s.flushFn()
	}
}

// closeGrace is how long a client has to take the last packet.
const closeGrace = 250 * time.Millisecond

// close ends the connection, with a DISCONNECT that says why where the version
// has one. The session's end follows when the reading goroutine notices.
func (s *session) close(code mqtt.ReasonCode, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked(code, reason)
}

func (s *session) closeLocked(code mqtt.ReasonCode, reason string) {
	if s.ending || s.over {
		return
	}
	if s.version == mqtt.V5 && s.answered {
		d := mqtt.Disconnect{Code: code}
		if s.problem && reason != "" {
			d.Props.SetBlob(mqtt.ReasonString, []byte(reason))
		}
		if _, err := d.AppendTo(nil, s.version); err != nil {
			d.Code = mqtt.UnspecifiedError // not every code may stand in DISCONNECT (MQTT-3.14.2-1)
		}
		s.sendLocked(&d)
	}
	s.ending, s.drained = true, make(chan struct{})
	s.stopped.Store(true)
	close(s.done)
	s.nc.SetReadDeadline(time.Now())                  // ends reading
	s.nc.SetWriteDeadline(time.Now().Add(closeGrace)) // also for a write that is stuck
	s.wakeLocked()
	raw := rawConn(s.nc)
	time.AfterFunc(2*closeGrace, func() { raw.Close() })
}

// deliver queues a message for the client.
func (s *session) deliver(t *target, m *message) {
	qos := min(m.QoS, t.qos)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.live() {
		return
	}
	if s.over || s.ending {
		if qos > 0 && m.Seq > 0 && !s.behind { // for the row, which is not written yet
			s.behind, s.next, s.skipped = true, m.Seq-1, m.Seq
		}
		return
	}
	d := delivery{m: m, to: t, qos: qos, retain: m.Retain && t.rap}
	if qos == 0 || m.Seq == 0 {
		d.qos = 0
		if s.pushFast(d) && m.Retain {
			t.noteLocked(m)
		}
		return
	}
	if m.Retain {
		t.noteLocked(m)
	}
	switch {
	case s.behind:
		s.skipped = m.Seq
	case m.Seq <= t.from() || m.Seq <= s.taken: // older than the subscription, or read from the log already
	case s.logged.n >= s.b.opt.QueueMessages || s.logged.bytes >= s.b.opt.QueueBytes:
		s.behind, s.next, s.skipped, s.full = true, m.Seq-1, m.Seq, m.Seq-1
		s.feedLocked()
	default:
		s.pushLogged(d)
	}
}

// from is the newest message before the oldest of the target's subscriptions.
func (t *target) from() uint64 {
	from := t.subs[0].from
	for _, sub := range t.subs[1:] {
		from = min(from, sub.from)
	}
	return from
}

// pushFast reports whether the queue had room.
func (s *session) pushFast(d delivery) bool {
	if s.fast.n >= s.b.opt.QueueMessages || s.fast.bytes >= s.b.opt.QueueBytes {
		s.count.dropped.Add(1)
		s.b.stats.dropped.Add(1)
		return false
	}
	d.m.hold()
	s.fast.push(d)
	s.wakeLocked()
	return true
}

func (s *session) pushLogged(d delivery) {
	if d.m.Seq > s.taken && !d.retained {
		s.taken = d.m.Seq
	}
	s.logged.push(d)
	s.wakeLocked()
}

// catchUp makes the session read the log from where it surely had everything.
func (s *session) catchUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.ending {
		return
	}
	start := max(s.b.msgs.Safe(), s.liveFrom)
	if s.behind {
		// Since the queue was full it reads all there is; what was lost before that
		// needs another look, without what the first has found.
		if s.full > start && s.gapEnd == 0 {
			s.gapEnd, s.readFrom, s.readTo = s.full, s.full, s.next
			s.next, s.made = start, s.made+1
		}
		return
	}
	s.behind, s.next, s.gapEnd = true, start, max(s.b.position.Load(), s.taken)
	s.skipped = max(s.taken, s.next+1)
	s.feedLocked()
}

// roomFor reports whether the queue takes another message from the log.
func (s *session) roomFor() bool {
	return s.logged.n < s.b.opt.QueueMessages && s.logged.bytes < s.b.opt.QueueBytes
}

func (s *session) madeRoom() {
	select {
	case s.room <- struct{}{}:
	default:
	}
}

// newID gives a packet identifier that is not in use.
func (s *session) newID() uint16 {
	for {
		s.lastID++
		if s.lastID != 0 && !slices.ContainsFunc(s.flight, func(f flying) bool { return f.id == s.lastID }) {
			return s.lastID
		}
	}
}

// land takes a message out of those under way.
func (s *session) land(i int) flying {
	f := s.flight[i]
	if f.unsent {
		s.unsent--
	}
	s.flight = slices.Delete(s.flight, i, i+1)
	s.row.dirty = true
	s.freed()
	return f
}

// abandon ends what is under way without sending it (again). A client that may
// have a QoS 2 message must forget its identifier before it is used for another.
// again says that it was sent on an earlier connection.
func (s *session) abandon(i int, again bool) {
	f := &s.flight[i]
	if f.qos < 2 || !again || f.released {
		s.land(i)
		return
	}
	if f.unsent {
		f.unsent = false
		s.unsent--
	}
	f.released = true
	s.row.dirty = true
	s.sendLocked(&mqtt.Pubrel{Ack: mqtt.Ack{ID: f.id}})
}

func (s *session) flightOf(id uint16) int {
	return slices.IndexFunc(s.flight, func(f flying) bool { return f.id == id })
}
