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
	under := len(s.acks)
	if p.QoS == 2 {
		if _, open := s.twice.Open[p.ID]; open {
			// MQTT-4.3.3-10: not a new message. Still being stored: the answer follows.
			for _, a := range s.acks {
				if a.qos == 2 && a.id == p.ID {
					return nil, true, nil
				}
			}
			if s.twice.restored[p.ID] {
				// Known from before a crash, when it may not have been stored: the log
				// de-duplicates by the same key.
				delete(s.twice.restored, p.ID)
			} else {
				s.sendLocked(&mqtt.Pubrec{Ack: mqtt.Ack{ID: p.ID}})
				return nil, true, nil
			}
		}
		under += len(s.twice.Open)
	}
	if s.version == mqtt.V5 && under >= s.in.window+s.in.window/8+1 {
		return nil, false, &broken{mqtt.ReceiveMaximumExceeded, "more than " + strconv.Itoa(s.in.window) + " messages without an acknowledgement"}
	}
	slot = &pending{id: p.ID, qos: p.QoS}
	s.acks = append(s.acks, slot)
	return slot, false, nil
}

// receipt notes a QoS 2 message and returns its key.
func (s *session) receipt(id uint16) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	gen, known := s.twice.Open[id]
	if !known {
		if s.twice.Open == nil {
			s.twice.Open = map[uint16]uint64{}
		}
		gen = s.twice.Gen
		s.twice.Open[id] = gen
		s.row.dirty = true
	}
	return s.twice.Epoch + "." + strconv.Itoa(int(id)) + "." + strconv.FormatUint(gen, 36)
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
		delete(s.twice.Open, p.ID)
		s.twice.Gen++
		s.sendLocked(comp)
		return
	}
	delete(s.twice.Open, p.ID)
	delete(s.twice.restored, p.ID)
	s.twice.bump = true
	s.saveLocked(func(err error) {
		if err == nil {
			s.send(comp)
		}
	})
}
