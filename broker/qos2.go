package broker

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/mqtt"
)

func validText(b []byte) bool { return utf8.Valid(b) }

// take12 makes room for the answer to a QoS 1 or 2 message. again is true for a
// QoS 2 message that is here already.
func (s *session) take12(p *mqtt.Publish) (slot *pending, again bool, err error) {
	s.mu.Lock()
	for s.version == mqtt.V311 && len(s.acks) >= s.in.window { // it was not told the window: it waits
		stalled := make(chan struct{})
		s.stalled = stalled
		s.mu.Unlock()
		select {
		case <-stalled:
		case <-s.done:
			return nil, false, errDone
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if p.QoS == 2 {
		if _, open := s.twice.Open[p.ID]; open {
			// MQTT-4.3.3-10: not a new message. Still being stored: the answer follows.
			for _, a := range s.acks {
				if a.qos == 2 && a.id == p.ID {
					return nil, true, nil
				}
			}
			delete(s.twice.restored, p.ID)
			if !s.twice.Doubt[p.ID] {
				s.sendLocked(&mqtt.Pubrec{Ack: mqtt.Ack{ID: p.ID}})
				return nil, true, nil
			}
			// Known from before a crash, when it may not have been stored: the log
			// de-duplicates by the same key.
		} else if len(s.twice.Open) >= maxOpen {
			return nil, false, &broken{mqtt.QuotaExceeded, "more than " + strconv.Itoa(maxOpen) + " QoS 2 messages without PUBREL"}
		}
	}
	if s.version == mqtt.V5 && s.under() >= s.in.window {
		return nil, false, &broken{mqtt.ReceiveMaximumExceeded, "more than " + strconv.Itoa(s.in.window) + " messages without an acknowledgement"}
	}
	slot = &pending{id: p.ID, qos: p.QoS}
	s.acks = append(s.acks, slot)
	return slot, false, nil
}

// maxOpen bounds the QoS 2 messages that a client sent and has not released, over
// all of its connections.
const maxOpen = 4096

// under is how many QoS 1 and 2 messages of this connection are under way to us
// (MQTT-3.3.4-7).
func (s *session) under() int {
	n := len(s.acks)
	if len(s.twice.Open) == 0 {
		return n
	}
	for _, a := range s.acks {
		if _, open := s.twice.Open[a.id]; open && a.qos == 2 {
			n-- // counted below
		}
	}
	return n + len(s.twice.Open) - len(s.twice.restored)
}

// receipt notes a QoS 2 message and returns its key. While a write that raises the
// generation is under way it waits: after a crash nobody could tell which of two
// generations the key was made with.
func (s *session) receipt(id uint16) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gen, known := s.twice.Open[id]
	for !known && s.row.raising != nil {
		raised := s.row.raising
		s.mu.Unlock()
		select {
		case <-raised:
		case <-s.done:
		}
		s.mu.Lock()
		if s.ending || s.over {
			return "", errDone
		}
	}
	if !known {
		gen = s.twice.generation(id)
		s.twice.open(id, gen)
		s.row.dirty = true
	}
	return s.twice.Epoch + "." + strconv.Itoa(int(id)) + "." + strconv.FormatUint(gen, 36), nil
}

// release2 takes PUBREL: the client will use the identifier for something new,
// after PUBCOMP, which therefore waits until that is saved. So it is with one that
// is not known: its receipt may have been lost in a crash, its message not.
func (s *session) release2(p *mqtt.Pubrel) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	code := mqtt.Success
	if _, open := s.twice.Open[p.ID]; !open {
		if code = codeFor(s.version, mqtt.PacketIDNotFound); len(s.row.waiting) >= maxOpen {
			return &broken{mqtt.QuotaExceeded, "more than " + strconv.Itoa(maxOpen) + " PUBREL wait, of messages that are not known"}
		}
	}
	comp := &mqtt.Pubcomp{Ack: mqtt.Ack{ID: p.ID, Code: code}}
	s.twice.forget(p.ID)
	if !s.persist {
		s.twice.Gen++
		s.sendLocked(comp)
		return nil
	}
	s.twice.release(p.ID, min(s.in.window, mostOwn), s.b.now().Sub(s.since) > keysLast)
	s.saveLocked(func(err error) {
		if err == nil {
			s.send(comp)
		}
	})
	return nil
}

const (
	// keysLast is how long after a connection began no message of an earlier one can
	// be told by its key any more (see msglog.Append).
	keysLast = 10 * time.Minute
	// mostOwn bounds the generations of their own in a row. A client sends again what
	// is under way before anything new, and has seldom so much of it.
	mostOwn = 256
)

// generation is that of an identifier which is not open.
func (r *receipts) generation(id uint16) uint64 {
	if own, has := r.Own[id]; has {
		return own
	}
	return r.Gen
}

// open notes an identifier whose message may not be in the log yet.
func (r *receipts) open(id uint16, gen uint64) {
	if r.Open == nil {
		r.Open = map[uint16]uint64{}
	}
	if r.Doubt == nil {
		r.Doubt = map[uint16]bool{}
	}
	r.Open[id], r.Doubt[id] = gen, true
}

// release makes sure that what comes next under an identifier has a key of its own.
// On a connection that goes on with a session only this identifier gets a new
// generation, at most so many of them, and until it is late: the client may have to
// send others again, whose receipts a crash took along.
func (r *receipts) release(id uint16, most int, late bool) {
	if r.resumed && !late && len(r.Own) < most {
		if r.Own == nil {
			r.Own = map[uint16]uint64{}
		}
		r.Own[id] = r.generation(id) + 1
		return
	}
	r.resumed, r.bump = false, true
}

// raise ends all generations that were in use.
func (r *receipts) raise() {
	for _, own := range r.Own {
		r.Gen = max(r.Gen, own)
	}
	r.Gen++
	r.Own = nil
}

// forget drops what is known about an identifier.
func (r *receipts) forget(id uint16) {
	delete(r.Open, id)
	delete(r.Doubt, id)
	delete(r.restored, id)
}
