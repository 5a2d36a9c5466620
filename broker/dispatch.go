package broker

import (
	"github.com/holdfast-iot/holdfast/broker/msglog"
)

// routes remembers who gets the messages of a topic, until subscriptions change.
type routes struct {
	version uint64
	to      map[string][]target
	scratch []*subscription
}

// maxRoutes bounds how many topics are remembered.
const maxRoutes = 16_384

// of returns the targets of a topic. The slice is not to be changed.
func (r *routes) of(b *Broker, topic string) []target {
	if v := b.tree.Version(); v != r.version || r.to == nil || len(r.to) >= maxRoutes {
		r.version, r.to = v, map[string][]target{}
	}
	targets, known := r.to[topic]
	if !known {
		r.scratch = b.tree.Match(topic, r.scratch[:0])
		targets = gather(r.scratch)
		clear(r.scratch)
		r.to[topic] = targets
	}
	return targets
}

// dispatch hands a message of the log, or from another node, to the sessions
// here. The log calls it on one goroutine, in ascending order.
func (b *Broker) dispatch(stored *msglog.Message) {
	targets := b.routes.of(b, stored.Topic)
	if len(targets) > 0 {
		b.fan(&message{Message: stored}, targets)
	}
	if stored.Seq > 0 {
		// Last: who disconnects while this is under way finds the message in the log.
		b.position.Store(stored.Seq)
	}
}

// fan hands a message to targets.
func (b *Broker) fan(m *message, targets []target) {
	for i := range targets {
		t := &targets[i]
		if t.partly && m.From.Client != "" {
			if s, ok := t.to.(*session); ok && s.id == m.From.Client {
				if t.noLocal {
					continue
				}
				t = t.others()
			}
		}
		t.to.deliver(t, m)
	}
}

// missed makes every session read the log: messages may have been lost between
// the nodes.
func (b *Broker) missed() {
	b.askAgain()
	for _, s := range b.connected() {
		s.catchUp()
	}
}
