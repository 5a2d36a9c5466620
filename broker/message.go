package broker

import (
	"sync"
	"sync/atomic"

	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/mqtt"
)

// message is one message on its way to the sessions of this node. Those at QoS 0
// come from a pool and return to it when nobody holds them.
type message struct {
	*msglog.Message
	own    msglog.Message // what Message points to when pooled
	pooled bool
	refs   atomic.Int32 // of pooled ones
	buf    []byte       // payload of pooled ones

	viewsMu sync.Mutex
	views   []rendered // guarded by viewsMu
}

// rendered is the payload as one audience sees it: made once, however many
// subscribers that audience has.
type rendered struct {
	audience string
	by       *compiledView
	payload  []byte
	err      error
}

var messages = sync.Pool{New: func() any { return &message{pooled: true} }}

// keepPayload is the largest payload buffer that goes back to the pool, in bytes.
const keepPayload = 16 << 10

// pooled returns a message whose payload is a copy; the caller holds one
// reference. The topic must stay as it is.
func pooledMessage(topic string, payload []byte) *message {
	m := messages.Get().(*message)
	m.buf = append(m.buf[:0], payload...)
	m.own = msglog.Message{Topic: topic, Payload: m.buf}
	m.Message = &m.own
	m.refs.Store(1)
	return m
}

func (m *message) hold() {
	if m.pooled {
		m.refs.Add(1)
	}
}

func (m *message) release() {
	if !m.pooled || m.refs.Add(-1) > 0 {
		return
	}
	if cap(m.buf) > keepPayload {
		m.buf = nil
	}
	clear(m.views)
	m.views, m.own, m.Message = m.views[:0], msglog.Message{}, nil
	messages.Put(m)
}

// size is what a message counts for in queues, in bytes.
func (m *message) size() int { return len(m.Topic) + len(m.Payload) + messageCost }

// messageCost is about what a message takes beside its topic and payload, in bytes.
const messageCost = 200

// delivery is a message on its way to one client.
type delivery struct {
	m        *message
	to       *target
	qos      mqtt.QoS
	retain   bool
	retained bool    // it comes from the retained messages: its number does not move the cursor
	dup      bool    // it was sent on an earlier connection
	id       uint16  // packet identifier it was sent with; 0: none yet
	share    *shared // it is a group's, which wants to know the end
}

// target is a receiver with all of its subscriptions that match one topic.
type target struct {
	to      receiver
	subs    []*subscription
	qos     mqtt.QoS // the highest granted
	ids     []uint32 // subscription identifiers
	noLocal bool     // all of them are
	partly  bool     // some of them are
	rap     bool     // one of them wants the retain flag as published
}

// receiver is what subscriptions belong to: a session, a group or a tap. Its
// method does not block and holds the message if it keeps it.
type receiver interface {
	deliver(t *target, m *message)
}

// ring is a queue. The zero ring is empty.
type ring struct {
	items []delivery
	head  int
	n     int
	bytes int
}

func (r *ring) push(d delivery) {
	if r.n == len(r.items) {
		bigger := make([]delivery, max(8, 2*len(r.items)))
		for i := range r.n {
			bigger[i] = r.items[(r.head+i)%len(r.items)]
		}
		r.items, r.head = bigger, 0
	}
	r.items[(r.head+r.n)%len(r.items)] = d
	r.n++
	r.bytes += d.m.size()
}

func (r *ring) at(i int) *delivery { return &r.items[(r.head+i)%len(r.items)] }

func (r *ring) pop() delivery {
	d := r.items[r.head]
	r.items[r.head] = delivery{}
	r.head = (r.head + 1) % len(r.items)
	r.n--
	r.bytes -= d.m.size()
	if r.n == 0 && len(r.items) > 256 {
		r.items, r.head = nil, 0
	}
	return d
}

// group puts the subscriptions that match a topic together by receiver.
func gather(subs []*subscription) []target {
	var out []target
	at := make(map[receiver]int, len(subs))
	for _, sub := range subs {
		i, known := at[sub.to]
		if !known {
			i = len(out)
			at[sub.to] = i
			out = append(out, target{to: sub.to, noLocal: true})
		}
		t := &out[i]
		t.subs = append(t.subs, sub)
		t.qos = max(t.qos, sub.qos)
		t.noLocal = t.noLocal && sub.noLocal
		t.partly = t.partly || sub.noLocal
		t.rap = t.rap || sub.rap
		if sub.ident != 0 {
			t.ids = append(t.ids, sub.ident)
		}
	}
	return out
}

// others is the target without the subscriptions that do not want what their own
// client says (MQTT-3.8.3-3).
func (t *target) others() *target {
	var subs []*subscription
	for _, sub := range t.subs {
		if !sub.noLocal {
			subs = append(subs, sub)
		}
	}
	return &gather(subs)[0]
}

// live reports whether one of the subscriptions still stands.
func (t *target) live() bool {
	for _, sub := range t.subs {
		for ; sub != nil; sub = sub.heir.Load() { // one that was replaced loses nothing (MQTT-3.8.4-4)
			if !sub.gone.Load() {
				return true
			}
		}
	}
	return false
}
