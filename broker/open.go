package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// Cluster is how the brokers of several nodes agree on who has a client id.
type Cluster interface {
	// Take makes this node the holder of a client id: another node that has it
	// ends its session for this owner, or refuses with ErrOwned. It returns when
	// that session is saved. yield is called when a later node takes it from here.
	Take(ctx context.Context, clientID, owner string, yield func(owner string) error) (release func(), err error)
	// Held tells whether a node has the client id connected.
	Held(ctx context.Context, clientID string) bool
	// Share tells the other nodes how many members a group of shared subscriptions
	// has here now.
	Share(group string, members int)
	// Mine tells whether this node is the one that gives a QoS 0 message to a
	// member of a group; key is the same for the message on all nodes. While
	// members come and go it may be none, or several.
	Mine(group string, key uint64) bool
	// First tells whether this node does what one does for all; others may think
	// the same for a while.
	First() bool
	// Alive tells whether a node was heard of within the last seconds.
	Alive(node string) bool
}

// ErrOwned says that a client id is in use by another principal.
var ErrOwned = fmt.Errorf("the client id is in use by another principal")

// claim serializes what is done with one client id.
type claim struct {
	mu    sync.Mutex
	users int // guarded by the broker's mu
}

func (b *Broker) lock(id string) (unlock func()) {
	b.mu.Lock()
	c := b.claims[id]
	if c == nil {
		c = new(claim)
		b.claims[id] = c
	}
	c.users++
	b.mu.Unlock()
	c.mu.Lock()
	return func() {
		c.mu.Unlock()
		b.mu.Lock()
		defer b.mu.Unlock()
		if c.users--; c.users == 0 {
			delete(b.claims, id)
		}
	}
}

// open takes the client id from whoever has it, resumes or makes the session, and
// registers it. present says that there was one.
func (b *Broker) open(ctx context.Context, s *session, c *mqtt.Connect) (present bool, err error) {
	unlock := b.lock(s.id)
	defer unlock()
	who := owner(s.principal())
	if err := b.takeOver(ctx, s.id, who); err != nil {
		return false, err
	}
	if b.cfg.Cluster != nil {
		release, refused := b.cfg.Cluster.Take(ctx, s.id, who, func(by string) error { return b.yield(s, by) })
		if errors.Is(refused, ErrUnavailable) {
			return false, deny(mqtt.ServerUnavailable, "the client id cannot be taken from another server now: try again")
		}
		if refused != nil {
			return false, deny(mqtt.ClientIDNotValid, "%v", refused)
		}
		s.release = release
		defer func() {
			if err != nil {
				s.leaveUnopened()
				release()
			}
		}()
	}
	old, rev, err := b.loadRow(ctx, s.id)
	if err != nil {
		return false, err
	}
	if old != nil && old.Owner != who && !old.ended(b.now()) {
		return false, deny(mqtt.ClientIDNotValid, "the client id %q has a session of another principal", s.id)
	}
	s.row.rev = rev
	resumed := old != nil && old.Owner == who && !old.ended(b.now()) && !c.CleanStart && old.Expiry > 0
	if err := b.settleWill(ctx, s.id, old, resumed); err != nil {
		return false, err
	}
	if resumed {
		s.restore(old)
	} else {
		s.twice.Epoch = uuid.NewString()
	}
	if err := b.register(s); err != nil {
		return false, err
	}
	if s.persist || s.will != nil {
		if err := s.saveNow(ctx); err != nil {
			b.unregister(s)
			return false, err
		}
	} else if rev > 0 {
		if err := b.msgs.DeleteSession(ctx, s.id, rev); err != nil {
			b.unregister(s)
			return false, fmt.Errorf("ending the session of %q: %w", s.id, err)
		}
		s.row.rev = 0
	}
	return resumed, nil
}

// leaveUnopened tells who waits for the session's end that it has not begun.
func (s *session) leaveUnopened() {
	select {
	case <-s.gone: // it was registered
	default:
		close(s.gone)
	}
}

// takeOver ends the session that has a client id here, and waits until it is
// saved (MQTT-3.1.4-3).
func (b *Broker) takeOver(ctx context.Context, id, who string) error {
	for {
		old := b.session(id)
		if old == nil {
			return nil
		}
		if owner(old.principal()) != who {
			return deny(mqtt.ClientIDNotValid, "the client id %q is in use by another principal", id)
		}
		old.close(mqtt.SessionTakenOver, "the client connected again")
		select {
		case <-old.gone:
		case <-ctx.Done():
			return deny(mqtt.ServerBusy, "the session's end took too long: try again")
		}
	}
}

// yield gives a session to another node.
func (b *Broker) yield(s *session, by string) error {
	if owner(s.principal()) != by {
		return ErrOwned
	}
	s.close(mqtt.SessionTakenOver, "the client connected to another server")
	select {
	case <-s.gone:
		return nil
	case <-time.After(b.opt.ConnectTimeout):
		return ErrUnavailable
	}
}

// register makes a session one of those connected here, with its subscriptions.
func (b *Broker) register(s *session) error {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return deny(mqtt.ServerUnavailable, "this server is shutting down")
	}
	b.mu.Unlock()
	p := s.permit.Load()
	o, ok := b.owned(p)
	if !ok {
		return deny(mqtt.QuotaExceeded, "%s has %d connections, its limit", owner(p.who), p.perms.Limits().Connections)
	}
	s.owner = o
	b.mu.Lock()
	b.sessions[s.id] = s
	s.liveFrom = b.position.Load()
	b.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		b.attach(sub)
	}
	return nil
}

func (b *Broker) unregister(s *session) {
	s.mu.Lock()
	s.over = true
	subs := make([]*subscription, 0, len(s.subs))
	for _, sub := range s.subs {
		subs = append(subs, sub)
	}
	s.mu.Unlock()
	for _, sub := range subs {
		b.detach(sub)
	}
	b.traffic.ended(s)
	b.mu.Lock()
	delete(b.sessions, s.id)
	b.mu.Unlock()
	b.disown(s.owner)
	close(s.gone)
}

// saveNow writes the row and waits.
func (s *session) saveNow(ctx context.Context) error {
	done := make(chan error, 1)
	s.mu.Lock()
	s.saveLocked(func(err error) { done <- err })
	s.mu.Unlock()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("saving the session of %q: %w", s.id, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("saving the session of %q: %w", s.id, ctx.Err())
	}
}

// restore takes a session up where its row left it, as far as policy still allows.
func (s *session) restore(r *row) {
	s.twice = r.In
	s.twice.resumed = true
	for id := range r.In.Open {
		if s.twice.restored == nil {
			s.twice.restored = map[uint16]bool{}
		}
		s.twice.restored[id] = true
	}
	if s.twice.Epoch == "" {
		s.twice.Epoch = uuid.NewString()
	}
	perms := s.permit.Load().perms
	for _, rs := range r.Subs {
		d := perms.Subscribe(rs.Filter, byte(rs.QoS))
		if !d.Allowed {
			s.refused(Event{Kind: SubscriptionLost, Topic: rs.Filter, Rule: d.Rule, Detail: d.Error()})
			continue
		}
		sub, err := newSubscription(s, mqtt.Subscription{Filter: rs.Filter, QoS: min(rs.QoS, mqtt.QoS(d.QoS)), NoLocal: rs.NoLocal, RetainAsPublished: rs.RAP}, rs.ID)
		if err != nil {
			continue
		}
		sub.from, sub.rule = rs.From, d.Rule
		s.addSub(sub)
	}
	for _, o := range r.Out {
		if o.ID == 0 {
			s.again = append(s.again, o)
			continue
		}
		s.flight = append(s.flight, flying{id: o.ID, qos: o.QoS, seq: o.Seq, topic: o.Topic, released: o.Released, saved: true, unsent: !o.Released})
		if !o.Released {
			s.unsent++
		}
		s.lastID = max(s.lastID, o.ID)
	}
	s.behind, s.next, s.skipped = true, r.Next, s.b.position.Load()
}

// endTimeout bounds what is waited for at the end of a connection.
const endTimeout = 5 * time.Second

// end takes a session apart when its connection has ended, and saves what lasts.
func (s *session) end() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	s.mu.Lock()
	s.over = true
	if !s.ending {
		s.ending = true
		s.stopped.Store(true)
		close(s.done)
	}
	for s.fast.n > 0 {
		d := s.fast.pop()
		d.m.release()
	}
	var shares []*shared
	for _, f := range s.flight {
		if f.share != nil {
			shares = append(shares, f.share)
		}
	}
	for i := range s.logged.n {
		if d := s.logged.at(i); d.share != nil && d.id == 0 {
			shares = append(shares, d.share)
		}
	}
	w := s.lastWill()
	s.mu.Unlock()
	for _, x := range shares {
		x.settle(false)
	}
	if w != nil {
		s.b.leaveWill(ctx, s, w)
	}
	s.saveLast(ctx)
	s.b.unregister(s)
	if s.release != nil {
		s.release()
	}
	s.linger()
}

// linger lets the client take the last packet: a socket closed with bytes unread
// resets the connection, and the client would not see why.
func (s *session) linger() {
	raw := rawConn(s.nc)
	defer raw.Close()
	s.mu.Lock()
	drained := s.drained
	s.mu.Unlock()
	if drained == nil {
		return // it left by itself
	}
	limit := time.NewTimer(closeGrace)
	defer limit.Stop()
	select {
	case <-drained:
	case <-limit.C:
		return
	}
	raw.SetReadDeadline(time.Now().Add(closeGrace))
	var rest [4096]byte
	for n := 0; n < 256; n++ {
		if _, err := raw.Read(rest[:]); err != nil {
			return
		}
	}
}

// saveLast writes or removes the row for the time without a connection.
func (s *session) saveLast(ctx context.Context) {
	var err error
	switch {
	case s.persist:
		err = s.saveNow(ctx)
	default:
		s.mu.Lock()
		saving := s.row.saving
		s.mu.Unlock()
		if saving { // its revision is not known yet
			err = s.saveNow(ctx)
		}
		s.mu.Lock()
		rev, lost := s.row.rev, s.row.lost
		s.mu.Unlock()
		if err == nil && rev > 0 && !lost {
			err = s.b.msgs.DeleteSession(ctx, s.id, rev)
		}
	}
	if err != nil {
		s.b.log.Warn("saving a session at its end", "client", s.id, "err", err)
	}
}
