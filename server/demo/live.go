package demo

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

const (
	speakEvery   = 2 * time.Second  // between two readings of a device
	firstPause   = time.Second      // before a device tries to connect again
	longestPause = time.Minute      // the pause grows up to this
	longEnough   = 20 * time.Second // a connection that lasted so long was good
	atRest       = 5 * time.Second  // in which whoever is wanted must be connected
	patience     = 20               // times that a client asks again for what is refused
	shortPause   = 100 * time.Millisecond
)

// member is one client that stays connected: a device or an app.
type member struct {
	name  string
	login func(context.Context) (login, error) // what it presents now
	hear  func(*paho.Publish)                  // may be nil
	begin func(context.Context, *link) error   // after each connection: subscribes
	speak func(context.Context, *link)         // every now and then; may be nil
	every time.Duration                        // between two calls of speak
	stop  context.CancelFunc                   // it does not connect any more

	mu      sync.Mutex
	current *link         // guarded by mu; nil: not connected
	changed chan struct{} // guarded by mu; closed when current changes
}

// live keeps members connected. Its methods are for one goroutine.
type live struct {
	s       *stage
	ctx     context.Context
	members map[string]*member
	running sync.WaitGroup
}

// add starts a member.
func (l *live) add(m *member) {
	ctx, stop := context.WithCancel(l.ctx)
	m.stop, m.changed = stop, make(chan struct{})
	l.members[m.name] = m
	l.running.Go(func() { m.run(ctx, l.s) })
}

// wait ends when all members have hung up, which they do when their context ends.
func (l *live) wait() { l.running.Wait() }

// run connects again and again until ctx ends: after a failure, and after a
// connection that did not last, it waits longer each time.
func (m *member) run(ctx context.Context, s *stage) {
	failures, short := 0, 0
	for ctx.Err() == nil {
		began := s.now()
		connected, err := m.once(ctx, s)
		switch {
		case !connected:
			failures++
		case s.now().Sub(began) < longEnough:
			failures, short = 0, short+1
		default:
			failures, short = 0, 0
		}
		pause := min(firstPause<<min(max(failures, short-1, 1)-1, 10), longestPause)
		s.cfg.Log.Debug("a simulated client is not connected", "client", m.name, "err", err, "again_in", pause)
		if sleep(ctx, pause) != nil {
			return
		}
	}
}

// once connects and stays until the connection or ctx ends.
func (m *member) once(ctx context.Context, s *stage) (connected bool, err error) {
	who, err := m.login(ctx)
	if err != nil {
		return false, err
	}
	l, err := s.dial(ctx, who, m.hear)
	if err != nil {
		return false, err
	}
	defer l.close()
	if err := m.begin(ctx, l); err != nil {
		return false, err
	}
	m.set(l)
	defer m.set(nil)
	if m.speak == nil {
		m.every = time.Hour
	}
	tick := time.NewTicker(m.every)
	defer tick.Stop()
	for {
		if m.speak != nil {
			m.speak(ctx, l)
		}
		select {
		case <-ctx.Done():
			return true, nil
		case <-l.gone:
			return true, l.why
		case <-tick.C:
		}
	}
}

// granted repeats what the server refuses for as long as a new policy may take to
// be in force. That it stays refused is no error: what an operator does not allow
// this client does without.
func granted(ctx context.Context, ask func() error) error {
	err := ask()
	for range patience {
		if refused(err) == nil {
			return err
		}
		if err := sleep(ctx, shortPause); err != nil {
			return err
		}
		err = ask()
	}
	if refused(err) != nil {
		return nil
	}
	return err
}

func (m *member) set(l *link) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current = l
	close(m.changed)
	m.changed = make(chan struct{})
}

// link waits until the member is connected, at most for max, with another
// connection than not.
func (m *member) link(ctx context.Context, max time.Duration, not *link) (*link, error) {
	timer := time.NewTimer(max)
	defer timer.Stop()
	for {
		m.mu.Lock()
		l, changed := m.current, m.changed
		m.mu.Unlock()
		if l != nil && l != not {
			return l, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil, fmt.Errorf("connecting %s to MQTT: it did not succeed within %s", m.name, max)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// device makes the member of a simulated device.
func (l *live) device(t *thing) *member {
	s, row := l.s, t.row
	id, base := string(row.ID), topicOf(t, "")
	return &member{name: id, every: speakEvery,
		login: func(context.Context) (login, error) {
			who := login{id: id, cert: t.badge.Load()}
			if s.wills {
				who.will = base + "status"
			}
			return who, nil
		},
		hear: func(p *paho.Publish) {
			s.works.obey(id, strings.TrimPrefix(p.Topic, base+"cmd/"), p.Payload, s.now())
		},
		begin: func(ctx context.Context, c *link) error {
			err := granted(ctx, func() error { return c.publish(ctx, base+"status", []byte(`{"state":"online"}`), true) })
			if err != nil {
				return err
			}
			for _, command := range commandsOf[row.Type] {
				if err := granted(ctx, func() error { return c.subscribe(ctx, base+"cmd/"+command) }); err != nil {
					return err
				}
			}
			return nil
		},
		speak: func(ctx context.Context, c *link) {
			if err := c.publish(ctx, base+"telemetry", s.works.reading(&row, s.now()), false); err != nil && ctx.Err() == nil {
				s.cfg.Log.Debug("a simulated device could not send", "device", id, "err", err)
			}
			if id == rogueID {
				s.misbehave(ctx, c)
			}
		},
	}
}

// topicOf is a topic of a device.
func topicOf(t *thing, rest string) string {
	return "water/" + string(t.row.Zone) + "/" + string(t.row.ID) + "/" + rest
}

// scout waits, as the first device that can, until the policy is in force. A
// connection with a will that policy does not allow is refused, and too many
// refused connections shut their source out for a while: so it comes without one,
// and the others bring wills only if they may.
func (s *stage) scout(ctx context.Context) error {
	for _, t := range s.things {
		if t.cert == nil || t.cutOff {
			continue
		}
		l, err := s.dial(ctx, login{id: string(t.row.ID), cert: t.badge.Load()}, nil)
		if refused(err) != nil || refusedByTLS(err) {
			continue // an operator cut it off
		}
		if err != nil {
			return fmt.Errorf("connecting device %s to MQTT: %w", t.row.ID, err)
		}
		defer l.close()
		var last error
		err = granted(ctx, func() error {
			last = l.publish(ctx, topicOf(t, "status"), []byte(`{"state":"online"}`), true)
			return last
		})
		s.wills = last == nil
		return err
	}
	return nil
}

// goLive connects all devices that have a certificate.
func (s *stage) goLive(ctx context.Context) error {
	if s.cfg.MQTTS == "" {
		return nil
	}
	s.live.ctx = ctx
	if err := s.scout(ctx); err != nil {
		return err
	}
	started := s.now()
	n := 0
	for _, t := range s.things {
		if t.cert != nil && !t.cutOff {
			s.live.add(s.live.device(t))
			n++
		}
	}
	connected, end := 0, started.Add(2*atRest)
	for _, m := range s.live.members {
		if _, err := m.link(ctx, max(0, end.Sub(s.now())), nil); err == nil {
			connected++
		} else if ctx.Err() != nil {
			return err
		}
	}
	if connected == 0 && n > 0 {
		return fmt.Errorf("connecting the fleet to MQTT at %s: no device came in", s.cfg.MQTTS)
	}
	s.tale.line("devices", "%s connected over MQTT 5 and mutual TLS in %s: each sends a reading every %s", count(connected, "device"), s.since(started), speakEvery)
	return nil
}

// tlsCert is what a device presents with its newest certificate.
func (t *thing) tlsCert() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{t.cert.Raw, t.issuer.Raw}, PrivateKey: t.key, Leaf: t.cert}
}
