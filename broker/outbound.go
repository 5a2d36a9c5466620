package broker

import (
	"net"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/mqtt"
)

// writing is what a goroutine needs to write to a client; clients that are quiet
// hold none.
type writing struct {
	buf   []byte
	batch []delivery
	pub   mqtt.Publish
	topic []byte
}

var writings = sync.Pool{New: func() any { return new(writing) }}

const (
	writeAt   = 16 << 10 // bytes gathered before they are written
	keepWrite = 64 << 10 // the largest buffer that goes back to the pool
	batchSize = 128      // messages taken from the queues at once
)

// flush writes what waits until nothing does. One goroutine at a time runs it:
// whoever sets flushing starts it.
func (s *session) flush() {
	w := writings.Get().(*writing)
	defer func() {
		if cap(w.buf) > keepWrite {
			w.buf = nil
		}
		w.pub = mqtt.Publish{}
		writings.Put(w)
	}()
	for {
		s.mu.Lock()
		w.buf, w.batch = append(w.buf[:0], s.ctl...), w.batch[:0]
		if s.ctl = s.ctl[:0]; cap(s.ctl) > 4<<10 {
			s.ctl = nil
		}
		if !s.ending && !s.over {
			w.batch = s.take(w.batch)
		}
		if len(w.buf) == 0 && len(w.batch) == 0 {
			s.flushing = false
			drained := s.drained
			s.mu.Unlock()
			if drained != nil {
				closeWrite(s.nc)
				s.drainOnce.Do(func() { close(drained) })
			}
			return
		}
		s.mu.Unlock()
		if err := s.write(w); err != nil {
			s.stopWriting(w)
			return
		}
	}
}

// stopWriting ends the connection after a failed write: flushing stays set, so
// that nothing is written to it any more.
func (s *session) stopWriting(w *writing) {
	for i := range w.batch {
		if d := &w.batch[i]; d.m != nil {
			if d.share != nil && d.id == 0 {
				d.share.settle(false)
			}
			d.m.release()
		}
	}
	clear(w.batch)
	rawConn(s.nc).Close()
}

// write encodes a batch and writes it.
func (s *session) write(w *writing) error {
	for i := range w.batch {
		d := &w.batch[i]
		if !s.encode(w, d) {
			s.skip(d)
		} else if d.share != nil && d.id == 0 { // at QoS 0 nothing else follows
			d.share.settle(true)
		}
		d.m.release()
		*d = delivery{}
		if len(w.buf) >= writeAt {
			if err := s.put(w); err != nil {
				return err
			}
		}
	}
	return s.put(w)
}

func (s *session) put(w *writing) error {
	if len(w.buf) == 0 {
		return nil
	}
	s.mu.Lock()
	if !s.ending {
		s.nc.SetWriteDeadline(time.Now().Add(s.b.opt.WriteTimeout))
	}
	s.mu.Unlock()
	_, err := s.nc.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// take moves messages from the queues to the batch, as far as the client's
// receive maximum goes, and gives them packet identifiers.
func (s *session) take(batch []delivery) []delivery {
	for s.logged.n > 0 && len(batch) < batchSize {
		head := s.logged.at(0)
		if head.qos == 0 {
			batch = append(batch, s.logged.pop())
			continue
		}
		if len(s.flight)-s.unsent >= s.window && (head.id == 0 || s.wasSent(head.id)) {
			break
		}
		if head.qos == 2 && s.persist {
			if head.id == 0 {
				s.reserve()
			}
			if i := s.flightOf(head.id); i >= 0 && !s.flight[i].saved {
				break // being saved: after a crash it must be sent with the same identifier
			}
		}
		d := s.logged.pop()
		if d.id == 0 {
			d.id = s.newID()
			s.flight = append(s.flight, flyingFor(&d))
			s.row.dirty = true
		} else if i := s.flightOf(d.id); i < 0 {
			d.m.release()
			continue // acknowledged before it was sent again
		} else if s.flight[i].unsent {
			s.flight[i].unsent = false
			s.unsent--
		}
		batch = append(batch, d)
	}
	if s.feeding {
		s.madeRoom()
	}
	if len(batch) > 0 {
		s.freed()
	}
	for s.fast.n > 0 && len(batch) < batchSize {
		batch = append(batch, s.fast.pop())
	}
	return batch
}

// wasSent reports whether a message was sent on an earlier connection only.
func (s *session) wasSent(id uint16) bool {
	i := s.flightOf(id)
	return i >= 0 && s.flight[i].unsent
}

// flyingFor is a message that is going to be under way.
func flyingFor(d *delivery) flying {
	f := flying{id: d.id, qos: d.qos, seq: d.m.Seq, share: d.share}
	if f.seq == 0 && d.retained {
		f.topic = d.m.Topic
	}
	return f
}

// reserve gives identifiers to the QoS 2 messages at the head of the queue and
// has them saved before they are sent: a client knows a message that is sent again
// after a crash by its identifier (MQTT-4.3.3-1, MQTT-4.4.0-1).
func (s *session) reserve() {
	var ids []uint16
	for i := 0; i < s.logged.n && len(s.flight) < s.window; i++ {
		d := s.logged.at(i)
		if d.qos != 2 {
			break
		}
		if d.id == 0 {
			d.id = s.newID()
			ids = append(ids, d.id)
			s.flight = append(s.flight, flyingFor(d))
		}
	}
	s.saveLocked(func(err error) {
		if err != nil {
			return // the connection is ending
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, id := range ids {
			if i := s.flightOf(id); i >= 0 {
				s.flight[i].saved = true
			}
		}
		s.wakeLocked()
	})
}

// encode appends a delivery to the buffer; false when it must not be sent.
func (s *session) encode(w *writing, d *delivery) bool {
	p := s.permit.Load()
	left, alive := lifeLeft(d.m.Message, s.b.now())
	if !alive && !d.dup {
		return false // MQTT-3.3.2-5; what was sent once is sent again all the same (MQTT-4.3.3-7)
	}
	payload, ok := s.present(p, d)
	if !ok {
		return false
	}
	pub := &w.pub
	*pub = mqtt.Publish{Dup: d.dup && d.qos > 0, QoS: d.qos, Retain: d.retain, ID: d.id, Payload: payload}
	w.topic = append(w.topic[:0], d.m.Topic...)
	pub.Topic = w.topic
	if s.version == mqtt.V5 {
		s.properties(pub, d, left)
	}
	before := len(w.buf)
	out, err := pub.AppendTo(w.buf, s.version)
	if err != nil || len(out)-before > s.maxSize { // MQTT-3.1.2-24
		if len(pub.Topic) > 0 {
			delete(s.out.aliases, d.m.Topic) // not introduced after all
		}
		s.count.dropped.Add(1)
		s.b.stats.dropped.Add(1)
		return false
	}
	w.buf = out
	s.count.outMessages.Add(1)
	s.count.outBytes.Add(int64(len(payload)))
	s.b.stats.outMessages.Add(1)
	return true
}

// properties sets those of MQTT 5. left is the rest of the message's life in seconds.
func (s *session) properties(pub *mqtt.Publish, d *delivery, left uint32) {
	if d.m.Props != nil {
		pub.Props = *d.m.Props
	}
	if d.to != nil && len(d.to.ids) > 0 {
		pub.Props.SubscriptionIDs = d.to.ids
	}
	if d.m.HasExpiry {
		pub.Props.SetNumber(mqtt.MessageExpiry, left) // MQTT-3.3.2-6
	}
	if s.aliasMax > 0 {
		s.alias(pub, d.m.Topic)
	}
}

// alias replaces a topic by its alias, or gives it one.
func (s *session) alias(pub *mqtt.Publish, topic string) {
	n, known := s.out.aliases[topic]
	switch {
	case known:
		pub.Topic = nil
	case len(s.out.aliases) >= s.aliasMax || len(topic) < 4:
		return
	default:
		if s.out.aliases == nil {
			s.out.aliases = map[string]uint16{}
		}
		n = uint16(len(s.out.aliases) + 1)
		s.out.aliases[topic] = n
	}
	pub.Props.SetNumber(mqtt.TopicAlias, uint32(n))
}

// skip settles a message that is not sent after all.
func (s *session) skip(d *delivery) {
	if d.id == 0 {
		if d.share != nil {
			d.share.settle(true)
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.flightOf(d.id); i >= 0 {
		s.abandon(i, d.dup)
	}
	if d.share != nil {
		d.share.settle(true)
	}
	s.wakeLocked()
}

// acknowledged takes PUBACK, PUBREC and PUBCOMP of the client.
func (s *session) acknowledged(p mqtt.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p := p.(type) {
	case *mqtt.Puback:
		if i := s.flightOf(p.ID); i >= 0 && s.flight[i].qos == 1 {
			if f := s.land(i); f.share != nil {
				f.share.settle(true)
			}
		}
	case *mqtt.Pubrec:
		s.received(p)
	case *mqtt.Pubcomp:
		if i := s.flightOf(p.ID); i >= 0 && s.flight[i].qos == 2 && s.flight[i].released {
			s.land(i)
		}
	}
	if s.logged.n > 0 {
		s.wakeLocked()
	}
}

// received takes PUBREC: the client has the message. That is saved before PUBREL
// lets it forget the identifier.
func (s *session) received(p *mqtt.Pubrec) {
	i := s.flightOf(p.ID)
	switch {
	case i < 0 || s.flight[i].qos != 2:
		s.sendLocked(&mqtt.Pubrel{Ack: mqtt.Ack{ID: p.ID, Code: codeFor(s.version, mqtt.PacketIDNotFound)}})
		return
	case p.Code.Failed():
		s.land(i) // MQTT-4.3.3-4: done, without PUBREL
		return
	}
	s.flight[i].released = true
	id := p.ID
	if !s.persist {
		s.sendLocked(&mqtt.Pubrel{Ack: mqtt.Ack{ID: id}})
		return
	}
	s.saveLocked(func(err error) {
		if err == nil {
			s.send(&mqtt.Pubrel{Ack: mqtt.Ack{ID: id}})
		}
	})
}

// codeFor is the reason code where the version has one.
func codeFor(v mqtt.Version, code mqtt.ReasonCode) mqtt.ReasonCode {
	if v == mqtt.V5 {
		return code
	}
	return mqtt.Success
}

// lifeLeft is the rest of a message's life, in seconds; alive is false when it is over.
func lifeLeft(m *msglog.Message, now time.Time) (rest uint32, alive bool) {
	if !m.HasExpiry {
		return 0, true
	}
	gone := max(0, now.UnixMilli()-m.Time) / 1000
	if gone >= int64(m.Expiry) {
		return 0, false
	}
	return m.Expiry - uint32(gone), true
}

// closeWrite tells the other side that nothing follows.
func closeWrite(c net.Conn) {
	for {
		if half, ok := c.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
		inner, ok := c.(netConner)
		if !ok {
			return
		}
		c = inner.NetConn()
	}
}
