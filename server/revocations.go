package server

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// revocations is what this node knows of certificates that must not be accepted,
// kept current by control events so that a handshake asks no database.
type revocations struct {
	mu      sync.RWMutex
	serials map[pki.Serial]bool     // true: held, false: revoked; guarded by mu
	held    map[string][]pki.Serial // principal to its held serials; guarded by mu
}

func newRevocations() *revocations {
	return &revocations{serials: map[pki.Serial]bool{}, held: map[string][]pki.Serial{}}
}

// state tells whether a serial is revoked for good, or on hold.
func (r *revocations) state(serial pki.Serial) (revoked, held bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	hold, known := r.serials[serial]
	return known && !hold, known && hold
}

func (r *revocations) add(row sqlstore.RevokedRow) error {
	serial, err := pki.ParseSerial(row.Serial)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serials[serial] = row.Held
	if row.Held {
		r.held[row.Principal] = append(r.held[row.Principal], serial)
	}
	return nil
}

// release forgets a principal's held serials.
func (r *revocations) release(principal string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, serial := range r.held[principal] {
		if r.serials[serial] {
			delete(r.serials, serial)
		}
	}
	delete(r.held, principal)
}

func (r *revocations) size() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.serials)
}

// loadRevocations reads all revocations that can still matter: of certificates
// that end in the future, or ended within the longest grace time.
func (s *Server) loadRevocations(ctx context.Context) error {
	fresh := newRevocations()
	if err := s.store.Revoked(ctx, "", s.now().Add(-device.MaxGrace), fresh.add); err != nil {
		return err
	}
	s.revoked.mu.Lock()
	defer s.revoked.mu.Unlock()
	s.revoked.serials, s.revoked.held = fresh.serials, fresh.held
	return nil
}

// sessions are the open connections of authenticated devices, by certificate.
type sessions struct {
	mu    sync.Mutex
	conns map[pki.Serial]map[net.Conn]struct{} // guarded by mu
	of    map[net.Conn]pki.Serial              // guarded by mu
}

func newSessions() *sessions {
	return &sessions{conns: map[pki.Serial]map[net.Conn]struct{}{}, of: map[net.Conn]pki.Serial{}}
}

// add notes whose connection this is; a second call for one does nothing.
func (s *sessions) add(conn net.Conn, serial pki.Serial) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.of[conn]; known {
		return
	}
	s.of[conn] = serial
	if s.conns[serial] == nil {
		s.conns[serial] = map[net.Conn]struct{}{}
	}
	s.conns[serial][conn] = struct{}{}
}

func (s *sessions) remove(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	serial, known := s.of[conn]
	if !known {
		return
	}
	delete(s.of, conn)
	delete(s.conns[serial], conn)
	if len(s.conns[serial]) == 0 {
		delete(s.conns, serial)
	}
}

// closeRevoked ends the connections of certificates that are not accepted any
// more. The network connection is closed under TLS: a peer that does not read
// cannot hold it open.
func (s *sessions) closeRevoked(revoked *revocations) int {
	s.mu.Lock()
	var ended []net.Conn
	for serial, conns := range s.conns {
		if gone, held := revoked.state(serial); gone || held {
			for conn := range conns {
				ended = append(ended, conn)
			}
		}
	}
	s.mu.Unlock()
	for _, conn := range ended {
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn()
		}
		conn.Close()
	}
	return len(ended)
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.of)
}

// changeSubject is where control events travel; the database is the truth.
const changeSubject = "holdfast.ctl.change"

// changePoll bounds how long a node can miss a change when an event was lost.
const changePoll = 500 * time.Millisecond

// reloadPause is how often revocations are read afresh, to forget expired ones.
const reloadPause = 6 * time.Hour

// announce tells all nodes that the database has a change; a lost message costs
// them at most changePoll.
func (s *Server) announce() {
	if err := s.bus.Publish(changeSubject, nil); err != nil {
		s.log.Warn("announcing a change", "err", err)
	}
}

// watchChanges applies control events in the order of their versions: woken by a
// message, by the bus's reconnection, and by a clock.
func (s *Server) watchChanges(ctx context.Context, version int64) error {
	wake := make(chan struct{}, 1)
	nudge := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	stop, err := s.bus.Subscribe(changeSubject, func([]byte) { nudge() })
	if err != nil {
		return err
	}
	defer stop()
	s.bus.OnReconnect(nudge)
	tick, reload := time.NewTicker(changePoll), time.NewTicker(reloadPause)
	defer tick.Stop()
	defer reload.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		case <-tick.C:
		case <-reload.C: // forgets what expired; here, so that no change falls between
			if err := s.loadRevocations(ctx); err != nil {
				s.log.Warn("reading the revocations again", "err", err)
			}
		}
		version = s.catchUp(ctx, version)
	}
}

// catchUp applies all changes after a version and returns the newest applied.
func (s *Server) catchUp(ctx context.Context, version int64) int64 {
	newest, err := s.store.ChangeVersion(ctx)
	if err != nil || newest <= version {
		if err != nil && ctx.Err() == nil {
			s.log.Warn("reading control events", "err", err)
		}
		return version
	}
	changes, err := s.store.Changes(ctx, version)
	if err != nil {
		s.log.Warn("reading control events", "err", err)
		return version
	}
	for _, c := range changes {
		if err := s.apply(ctx, c); err != nil {
			s.log.Error("applying a control event", "kind", c.Kind, "version", c.Version, "err", err)
			return version // tried again at the next wake
		}
		version = c.Version
	}
	s.sessionsClosed(s.sessions.closeRevoked(s.revoked) + s.closeRevokedSessions())
	s.crlDue()
	return version
}

func (s *Server) sessionsClosed(n int) {
	if n > 0 {
		s.metrics.sessionsClosed.Add(float64(n))
		s.log.Info("closed sessions of certificates no longer accepted", "sessions", n)
	}
}

func (s *Server) apply(ctx context.Context, c sqlstore.Change) error {
	if err := s.applyToSessions(ctx, c); err != nil {
		return err
	}
	switch c.Kind {
	case sqlstore.ChangePolicy, sqlstore.ChangeAppToken, sqlstore.ChangeDevice, sqlstore.ChangeDevices:
		return nil
	case sqlstore.ChangeAccess:
		s.identities.forget(c.Subject)
		_, id, _ := strings.Cut(c.Subject, "/")
		s.tokens.Forget(id)
		return nil
	case sqlstore.ChangePerson:
		s.identities.forget("person/" + c.Subject)
		return nil
	case sqlstore.ChangeSignIn:
		s.tokens.Forget(c.Subject)
		return nil
	case sqlstore.ChangeAccessToken:
		s.tokens.Revoked(c.Subject)
		return nil
	case sqlstore.ChangeAuthority:
		return s.loadAuthority(ctx)
	case sqlstore.ChangeRevoked:
		row, err := s.store.Certificate(ctx, c.Subject)
		if err != nil {
			return err
		}
		s.responder.forget(c.Subject)
		return s.revoked.add(sqlstore.RevokedRow{Serial: row.Serial, Principal: row.Principal})
	case sqlstore.ChangeReleased:
		s.revoked.release(c.Subject)
	}
	rows, err := s.store.RevokedOf(ctx, c.Subject)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := s.revoked.add(row); err != nil {
			return err
		}
	}
	s.responder.forgetAll()
	return nil
}
