package broker

import (
	"context"
	"errors"
	"io"

	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/mqtt"
)

// feedLocked sees to it that retained messages and the log are read.
func (s *session) feedLocked() {
	if s.feeding || s.over || s.ending || !s.behind && len(s.todo) == 0 && len(s.again) == 0 {
		return
	}
	s.feeding = true
	s.b.wg.Go(s.feed)
}

// resume goes on with what was under way when the last connection ended
// (MQTT-4.4.0-1), and then with the log.
func (s *session) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.flight {
		if f.released {
			s.sendLocked(&mqtt.Pubrel{Ack: mqtt.Ack{ID: f.id}})
		}
	}
	s.resend = true
	s.feedLocked()
}

// feed moves messages from the log to the queue until the session is up with the
// live ones. One goroutine per session runs it, when there is something to read.
func (s *session) feed() {
	ctx, cancel := context.WithCancel(s.b.life)
	defer cancel()
	go func() { // ends with the connection, or with this
		select {
		case <-s.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := s.feedAll(ctx); err != nil && ctx.Err() == nil {
		s.b.log.Error("reading messages for a client", "client", s.id, "err", err)
		s.close(mqtt.UnspecifiedError, "the messages that wait could not be read: connect again")
	}
	s.mu.Lock()
	s.feeding = false
	s.feedLocked() // something came in between
	s.mu.Unlock()
}

func (s *session) feedAll(ctx context.Context) error {
	if err := s.sendAgain(ctx); err != nil {
		return err
	}
	if err := s.sendRetained(ctx); err != nil {
		return err
	}
	return s.readLog(ctx)
}

// slot waits for a turn to read from the log.
func (b *Broker) slot(ctx context.Context) (release func(), err error) {
	select {
	case b.catching <- struct{}{}:
		return func() { <-b.catching }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sendAgain queues what was in flight on the last connection, in its order.
func (s *session) sendAgain(ctx context.Context) error {
	s.mu.Lock()
	var flights []flying
	if s.resend {
		flights = append(flights, s.flight...)
	}
	waiting := s.again
	s.resend, s.again = false, nil
	s.mu.Unlock()
	for _, f := range flights {
		if f.released {
			continue
		}
		if err := s.sendStored(ctx, rowOut{ID: f.id, QoS: f.qos, Seq: f.seq, Topic: f.topic}); err != nil {
			return err
		}
	}
	for _, o := range waiting {
		if err := s.sendStored(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// stored reads a message that was under way: from the log, or what is retained for
// its topic now.
func (b *Broker) stored(ctx context.Context, o rowOut) (*msglog.Message, error) {
	release, err := b.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if o.Seq > 0 {
		return b.msgs.Get(ctx, o.Seq)
	}
	var found *msglog.Message
	if o.Topic != "" {
		err = b.msgs.Retained(ctx, o.Topic, func(m *msglog.Message) bool { found = m; return false })
	}
	if err == nil && found == nil {
		err = msglog.ErrNotFound
	}
	return found, err
}

// sendStored queues a message that was under way on an earlier connection.
func (s *session) sendStored(ctx context.Context, o rowOut) error {
	m, err := s.b.stored(ctx, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.flightOf(o.ID)
	if o.ID != 0 && i < 0 {
		return nil // acknowledged meanwhile
	}
	if errors.Is(err, msglog.ErrNotFound) { // retention took it
		if o.ID != 0 {
			s.abandon(i, true)
		}
		return nil
	}
	if err != nil {
		return err
	}
	t := s.match(m.Topic, "")
	d := delivery{m: &message{Message: m}, to: t, qos: o.QoS, id: o.ID, dup: o.ID != 0, retained: true}
	d.retain = o.Seq == 0 || t != nil && m.Retain && t.rap
	switch {
	case o.ID == 0 && t == nil:
		return nil
	case t == nil && !s.permit.Load().perms.Subscribe(m.Topic, 0).Allowed:
		s.abandon(i, true) // it was allowed when it was sent first
		return nil
	}
	s.logged.push(d)
	s.wakeLocked()
	return nil
}

// match finds the session's own subscriptions for a topic of a message from a client.
func (s *session) match(topic, from string) *target {
	var subs []*subscription
	for _, sub := range s.subs {
		if sub.parsed.Share == "" && mqtt.Match(sub.parsed.Pattern, topic) && !(sub.noLocal && from == s.id) {
			subs = append(subs, sub)
		}
	}
	if len(subs) == 0 {
		return nil
	}
	return &gather(subs)[0]
}

// wait waits until the queue has room.
func (s *session) wait(ctx context.Context) error {
	for {
		s.mu.Lock()
		ok := s.roomFor()
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-s.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendRetained queues the retained messages of new subscriptions.
func (s *session) sendRetained(ctx context.Context) error {
	for {
		s.mu.Lock()
		if len(s.todo) == 0 {
			s.todo = nil
			s.mu.Unlock()
			return nil
		}
		sub := s.todo[0]
		s.todo = s.todo[1:]
		s.mu.Unlock()
		if sub.gone.Load() {
			s.retainedQueued(sub)
			continue
		}
		t := &target{to: s, subs: []*subscription{sub}, qos: sub.qos, rap: true}
		if sub.ident != 0 {
			t.ids = []uint32{sub.ident}
		}
		var failed error
		err := s.b.msgs.Retained(ctx, sub.parsed.Pattern, func(m *msglog.Message) bool {
			if failed = s.wait(ctx); failed != nil {
				return false
			}
			s.queueRetained(t, m)
			return true
		})
		s.retainedQueued(sub)
		if err == nil {
			err = failed
		}
		if err != nil {
			return err
		}
	}
}

// retainedQueued ends the reading of a subscription's retained messages.
func (s *session) retainedQueued(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub.retaining, sub.fresh = false, nil
}

func (s *session) queueRetained(t *target, m *msglog.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.ending || t.subs[0].fresh[m.Topic] {
		return
	}
	d := delivery{m: &message{Message: m}, to: t, qos: min(m.QoS, t.qos), retain: true, retained: true}
	// In one queue with the logged ones, also at QoS 0: that one waits for room,
	// the other drops.
	s.logged.push(d)
	s.wakeLocked()
}

// readLog moves what the session has not had from the log to the queue, with the
// subscriptions of now: a client may subscribe meanwhile.
func (s *session) readLog(ctx context.Context) error {
	for {
		again, err := s.readFor(ctx)
		if err != nil || !again {
			return err
		}
	}
}

// readFor is readLog until the subscriptions change.
func (s *session) readFor(ctx context.Context) (again bool, err error) {
	s.mu.Lock()
	if !s.behind {
		s.mu.Unlock()
		return false, nil
	}
	made := s.made
	var from []msglog.From
	for _, sub := range s.subs {
		if sub.qos > 0 && sub.parsed.Share == "" {
			from = append(from, msglog.From{Filter: sub.parsed.Pattern, After: max(s.next, sub.from)})
		}
	}
	s.mu.Unlock()
	cursor := s.b.msgs.Cursor(from)
	for {
		if err := s.wait(ctx); err != nil {
			return false, err
		}
		release, err := s.b.slot(ctx)
		if err != nil {
			return false, err
		}
		m, err := cursor.Next(ctx)
		release()
		switch {
		case errors.Is(err, io.EOF):
			if done, more := s.upToDate(made); done || more {
				return more, nil
			}
		case err != nil:
			return false, err
		case !s.queueLogged(m, made):
			return true, nil
		}
	}
}

// upToDate ends reading the log when no message was left out meanwhile. more says
// that there are other subscriptions than when made was read.
func (s *session) upToDate(made uint64) (done, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over || s.ending:
		return true, false // behind stays: the row says from where
	case s.made != made:
		return false, true
	case s.skipped > s.looked: // one more look finds what was left out: it was in the log before
		s.looked = s.skipped
		return false, false
	}
	s.behind, s.liveFrom = false, max(s.b.position.Load(), s.next)
	s.gapEnd, s.full, s.readFrom, s.readTo = 0, 0, 0, 0
	return true, false
}

// queueLogged queues a message of the log; false when it was read with other
// subscriptions than there are now.
func (s *session) queueLogged(m *msglog.Message, made uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.ending || s.made != made {
		return false
	}
	s.next = max(s.next, m.Seq)
	t := s.match(m.Topic, m.From.Client)
	if t == nil || s.had(m.Seq) {
		return true
	}
	// Only subscriptions that were there before the message and with a promise.
	qos := mqtt.QoS(0)
	for _, sub := range t.subs {
		if sub.from < m.Seq {
			qos = max(qos, sub.qos)
		}
	}
	if qos = min(qos, m.QoS); qos > 0 {
		s.pushLogged(delivery{m: &message{Message: m}, to: t, qos: qos, retain: m.Retain && t.rap})
	}
	return true
}

// had reports whether a message was taken already, live, before others were lost
// between the nodes.
func (s *session) had(seq uint64) bool {
	return seq <= s.gapEnd && s.b.msgs.Delivered(seq) || s.readFrom < seq && seq <= s.readTo
}
