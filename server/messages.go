package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/privacy"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/keystore"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// openMessages opens the message log and the broker on it.
func (s *Server) openMessages(ctx context.Context, kek *keystore.KEK) error {
	m := s.cfg.MQTT
	clustered := s.cfg.NATS.URL != ""
	var err error
	s.messages, err = msglog.Open(ctx, msglog.Config{Conn: s.bus.Conn(), Clustered: clustered, OnReconnect: s.bus.OnReconnect, Node: s.node,
		Replicas: m.Replicas, MaxAge: m.Retention, MaxBytes: m.RetentionBytes, Log: s.log.With("part", "message log")})
	if err != nil {
		return fmt.Errorf("opening the message log: %w", err)
	}
	key, err := kek.Derive("hashing marked fields")
	if err != nil {
		return err
	}
	hash, err := privacy.NewHashKey(key)
	if err != nil {
		return err
	}
	s.refused = make(chan broker.Event, 1024)
	var cluster broker.Cluster // nil, not a nil pointer in it, when this node is alone
	if clustered {
		if s.nodes, err = broker.NewCluster(s.bus.Conn(), s.node); err != nil {
			return err
		}
		cluster = s.nodes
	}
	s.broker, err = broker.New(ctx, broker.Config{
		Log: s.log.With("part", "broker"), Messages: s.messages, Cluster: cluster, Node: s.node, Now: s.now, HashKey: hash,
		Facts: s.principalOf, Policy: func() *policy.Set { return s.activePolicy().Policy }, Target: s.facts.target,
		Passwords: appPasswords{s}, Observe: s.observe, Options: s.brokerOptions(),
	})
	if err != nil {
		return fmt.Errorf("opening the broker: %w", err)
	}
	s.messaging.connected = s.broker.Connected
	if s.nodes != nil {
		return errors.Join(s.nodes.Handle(sessionQuestions, s.answerAboutSessions), s.nodes.Handle(watchQuestions, s.answerWatch))
	}
	return nil
}

func (s *Server) brokerOptions() broker.Options {
	m := s.cfg.MQTT
	return broker.Options{
		KeepAlive: m.KeepAlive, ConnectTimeout: m.ConnectTimeout, WriteTimeout: m.WriteTimeout, PacketSize: int(m.MaxPacket),
		ReceiveMaximum: m.ReceiveMaximum, TopicAliases: m.TopicAliases, SessionExpiry: m.SessionExpiry, Inflight: m.Inflight,
		QueueMessages: m.QueueMessages, QueueBytes: int(m.QueueBytes), Subscriptions: m.Subscriptions, Sessions: m.Connections,
		Drop311: m.Refused311 == "drop", FlapConnects: m.FlapConnects, AuthFailures: m.AuthFailures,
	}
}

// principalOf tells who is on a connection, as the inventory, the revocations and
// the policy have it now.
func (s *Server) principalOf(ctx context.Context, peer broker.Peer) (policy.Principal, error) {
	who := *peer.Principal
	if peer.Token != "" && s.messaging.tokens.isRevoked(peer.Token) {
		return who, errors.New("the token was revoked")
	}
	if peer.Serial != "" {
		serial, err := pki.ParseSerial(peer.Serial)
		if err != nil {
			return who, err
		}
		if revoked, held := s.revoked.state(serial); revoked || held {
			return who, errors.New("the client certificate is not accepted any more")
		}
	}
	if who.Kind == policy.App {
		return who, nil
	}
	now, err := s.facts.of(ctx, who.ID)
	if errors.Is(err, sqlstore.ErrNotFound) {
		return who, errors.New("the device is not in the inventory")
	}
	if err != nil {
		s.log.Error("reading a device for its connection", "device", who.ID, "err", err)
		return who, broker.ErrUnavailable
	}
	if now.State == string(device.Enrolled) {
		s.activate(ctx, device.ID(who.ID), who.Kind, peer.Addr.Addr().String())
	}
	now.Kind = who.Kind
	return now, nil
}

// principal is a device as policy sees it.
func principal(kind string, d device.Device) policy.Principal {
	return policy.Principal{Kind: kind, ID: string(d.ID), Type: string(d.Type), Zone: string(d.Zone), Labels: d.Labels, State: string(d.State), Maintenance: d.Maintenance}
}

// factsTimeout bounds the question for the device of a command.
const factsTimeout = 2 * time.Second

// facts remembers what is known about devices that connect, or that commands go to.
type facts struct {
	s     *Server
	mu    sync.Mutex
	known map[string]policy.Principal // guarded by mu
	seen  uint64                      // changes of any device; guarded by mu
}

// maxFacts bounds the devices remembered.
const maxFacts = 50_000

// target returns what is known about a device; false when it is not in the
// inventory, or when that cannot be told: then a command is refused.
func (f *facts) target(id string) (policy.Principal, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), factsTimeout)
	defer cancel()
	p, err := f.of(ctx, id)
	if err != nil && !errors.Is(err, sqlstore.ErrNotFound) {
		f.s.log.Error("reading the device of a command", "device", id, "err", err)
	}
	return p, err == nil
}

// of returns what is known about a device, or sqlstore.ErrNotFound.
func (f *facts) of(ctx context.Context, id string) (policy.Principal, error) {
	f.mu.Lock()
	p, known := f.known[id]
	seen := f.seen
	f.mu.Unlock()
	if known {
		return p, nil
	}
	d, err := f.s.store.Device(ctx, device.ID(id))
	if err != nil {
		return policy.Principal{}, err
	}
	p = principal(policy.Device, d)
	f.mu.Lock()
	defer f.mu.Unlock()
	// Enrolment brings no control event: only what is in use is remembered, and
	// only when nothing changed while it was read.
	if d.State == device.Active && f.seen == seen {
		if f.known == nil || len(f.known) >= maxFacts {
			f.known = map[string]policy.Principal{}
		}
		f.known[id] = p
	}
	return p, nil
}

// forget drops one device, or with an empty id all.
func (f *facts) forget(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen++
	if id == "" {
		f.known = nil
		return
	}
	delete(f.known, id)
}

// appPasswords signs apps in with their tokens.
type appPasswords struct{ s *Server }

// Password implements broker.Passwords.
func (a appPasswords) Password(ctx context.Context, user string, password []byte, _ netip.Addr) (broker.Credential, error) {
	in, err := a.s.signInApp(ctx, user, string(password))
	if err != nil {
		if refusal.As(err) == nil {
			a.s.log.Error("signing in an app", "err", err)
			return broker.Credential{}, broker.ErrUnavailable
		}
		return broker.Credential{}, err
	}
	return broker.Credential{Principal: policy.Principal{Kind: policy.App, ID: in.App}, Token: in.Token, NotAfter: in.Expires}, nil
}

// applyToSessions makes a control event hold for the MQTT sessions of this node.
func (s *Server) applyToSessions(ctx context.Context, c sqlstore.Change) error {
	switch c.Kind {
	case sqlstore.ChangePolicy:
		return s.usePolicy(ctx)
	case sqlstore.ChangeAppToken:
		s.messaging.tokens.revoke(c.Subject)
		s.broker.CloseWhere(func(_ policy.Principal, p broker.Peer) bool { return p.Token == c.Subject }, mqtt.NotAuthorized, "the token was revoked")
	case sqlstore.ChangeDevice:
		s.facts.forget(c.Subject)
		s.broker.FactsChanged(func(who policy.Principal) bool { return who.Kind != policy.App && who.ID == c.Subject })
	case sqlstore.ChangeDevices:
		s.facts.forget("")
	case sqlstore.ChangeRevokedDevice, sqlstore.ChangeQuarantined, sqlstore.ChangeReleased:
		if _, id, ok := strings.Cut(c.Subject, "/"); ok {
			s.facts.forget(id)
		}
	}
	return nil
}

// usePolicy makes the newest policy hold for all sessions of this node.
func (s *Server) usePolicy(ctx context.Context) error {
	was := s.activePolicy().Version
	if err := s.loadPolicy(ctx); err != nil {
		return err
	}
	if s.activePolicy().Version != was {
		s.broker.PolicyChanged()
	}
	return nil
}

// closeRevokedSessions ends the MQTT sessions of certificates that are not
// accepted any more.
func (s *Server) closeRevokedSessions() int {
	return s.broker.CloseWhere(func(_ policy.Principal, p broker.Peer) bool {
		serial, err := pki.ParseSerial(p.Serial)
		if p.Serial == "" || err != nil {
			return false
		}
		revoked, held := s.revoked.state(serial)
		return revoked || held
	}, mqtt.NotAuthorized, "the client certificate is not accepted any more")
}

// observe takes what the broker stopped; it does not wait.
func (s *Server) observe(e broker.Event) {
	s.watching.refused.add(e, s.node)
	select {
	case s.refused <- e:
	default: // the counters have it
	}
}

// recordRefused writes what the broker stopped to the log and, within the budget
// for refusals, to the audit log.
func (s *Server) recordRefused(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-s.refused:
			s.log.Info("stopped", "what", string(e.Kind), "who", e.Principal.ID, "client", e.Client, "topic", e.Topic, "rule", e.Rule, "why", e.Detail, "times", e.Count)
			by := access.Actor{Kind: access.Device, ID: e.Principal.ID, Source: addrText(e.Source.Addr())}
			switch e.Principal.Kind {
			case policy.App:
				by.Kind = access.App
			case "":
				by.Kind, by.ID = access.Anonymous, "anonymous"
			}
			s.recordRefusal(ctx, s.event(by, "message."+strings.ReplaceAll(string(e.Kind), "-", "_"), "session", e.Client,
				"topic", e.Topic, "rule", e.Rule, "times", fmt.Sprint(e.Count)), e.Detail)
		}
	}
}
