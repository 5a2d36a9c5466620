package broker

import (
	"strconv"
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
		if s.twice.Open == nil {
			s.twice.Open = map[uint16]uint64{}
		}
		gen = s.twice.Gen
		if s.twice.Doubt == nil {
			s.twice.Doubt = map[uint16]bool{}
		}
		s.twice.Open[id], s.twice.Doubt[id] = gen, true
		s.row.dirty = true
	}
	return s.twice.Epoch + "." + strconv.Itoa(int(id)) + "." + strconv.FormatUint(gen, 36), nil
}

// release2 takes PUBREL: the client will use the identifier for something new,
// after PUBCOMP, which therefore waits until that is saved.
func (s *session) release2(p *mqtt.Pubrel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	code := mqtt.Success
	if _, open := s.twice.Open[p.ID]; !open {
		code = codeFor(s.version, mqtt.PacketIDNotFound)
	}
	comp := &mqtt.Pubcomp{Ack: mqtt.Ack{ID: p.ID, Code: code}}
	if code != mqtt.Success || !s.persist {
		s.twice.forget(p.ID)
		s.twice.Gen++
		s.sendLocked(comp)
		return
	}
	s.twice.forget(p.ID)
	s.twice.bump = true
	s.saveLocked(func(err error) {
		if err == nil {
			s.send(comp)
		}
	})
}

// forget drops what is known about an identifier.
func (r *receipts) forget(id uint16) {
	delete(r.Open, id)
	delete(r.Doubt, id)
	delete(r.restored, id)
}
