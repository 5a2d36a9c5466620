// Package broker is the MQTT enforcement point: sessions of MQTT 3.1.1 and 5 over
// the message log of package msglog. Every connection, subscription, message
// and delivery is decided by the policy in force at that moment.
//
// It promises: nothing passes that the policy does not allow; a QoS 1 or 2
// message is acknowledged only after the log has it; a persistent session
// receives every QoS 1 and 2 message of its subscriptions at least once, or
// exactly once at QoS 2, whatever is killed, within the retention of the log; a
// client id belongs to one principal; memory for one session is bounded, what is
// slow reads from the log.
//
// It trusts the caller for who is on a connection (Peer), the policy for what
// is allowed, and the log for what was stored. Whoever can write to a
// connection can use up that principal's limits, no more. Whoever can write in
// the log's streams can forge messages: the message bus is not for others.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/broker/topics"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/privacy"
)

// Config is what a broker stands on. Log, Messages, Policy and Cluster are
// required where their comments do not say otherwise.
type Config struct {
	Log      *slog.Logger
	Messages *msglog.Log
	Cluster  Cluster // nil: this node is alone
	Node     string  // unique among running nodes
	Now      func() time.Time

	// Facts tells what is known now about who is on a connection, from its
	// certificate or token; an error, written for the client, refuses it, and
	// ErrUnavailable says that nobody can tell now.
	Facts func(ctx context.Context, peer Peer) (policy.Principal, error)
	// Policy returns the policy in force. It is asked often.
	Policy func() *policy.Set
	// Target tells what is known about the device that a command goes to; false
	// when there is none. It is asked on the path of commands: answer from memory.
	Target func(id string) (policy.Principal, bool)
	// HashKey is for hashing marked fields.
	HashKey privacy.HashKey
	// Passwords checks user name and password; nil: none is accepted.
	Passwords Passwords
	// Enhanced holds authentication methods by name (MQTT 5 section 4.12).
	Enhanced map[string]Enhanced
	// Observe gets what happened, aggregated; it must not block.
	Observe func(Event)

	Options Options
}

// Options are what operators set. Zero fields mean the default.
type Options struct {
	KeepAlive      time.Duration // the longest a client may ask for; longer or none: this is told to it. 20 min
	ConnectTimeout time.Duration // from the connection to CONNECT. 10 s
	WriteTimeout   time.Duration // for a client to take bytes. 20 s
	PacketSize     int           // bytes. 1 MiB
	ReceiveMaximum int           // QoS 1 and 2 messages under way to us, per client. 64
	TopicAliases   int           // per client and direction. 16
	SessionExpiry  time.Duration // the longest. 7 days
	Inflight       int           // messages under way to a client, at most. 64
	QueueMessages  int           // waiting for one client in memory. 1024
	QueueBytes     int           // 1 MiB
	Subscriptions  int           // of one session. 100
	Sessions       int           // connected to this node. 1,000,000
	Drop311        bool          // a refused PUBLISH of MQTT 3.1.1 at QoS 1 or 2 is acknowledged and dropped; otherwise the connection ends
	FlapConnects   int           // connections of one client id within FlapWindow before it is banned. 30
	FlapWindow     time.Duration // 1 min
	FlapBan        time.Duration // 1 min
	FloodRefusals  int           // refused messages within 10 s before the connection ends. 1000
	AuthFailures   int           // of one source within AuthWindow before it has to wait. 20
	AuthWindow     time.Duration // 1 min
	Groups         int           // shared subscriptions with members here, at most. 500
	GroupExpiry    time.Duration // how long a shared subscription lasts without a session that has it. 1 h
	SettleEvery    time.Duration // how often the sessions of nodes that died are looked for. 30 s
}

func (o *Options) defaults() {
	set(&o.KeepAlive, 20*time.Minute)
	set(&o.ConnectTimeout, 10*time.Second)
	set(&o.WriteTimeout, 20*time.Second)
	set(&o.PacketSize, 1<<20)
	set(&o.ReceiveMaximum, 64)
	set(&o.TopicAliases, 16)
	set(&o.SessionExpiry, 7*24*time.Hour)
	set(&o.Inflight, 64)
	set(&o.QueueMessages, 1024)
	set(&o.QueueBytes, 1<<20)
	set(&o.Subscriptions, 100)
	set(&o.Sessions, 1_000_000)
	set(&o.FlapConnects, 30)
	set(&o.FlapWindow, time.Minute)
	set(&o.FlapBan, time.Minute)
	set(&o.FloodRefusals, 1000)
	set(&o.AuthFailures, 20)
	set(&o.AuthWindow, time.Minute)
	set(&o.Groups, 500)
	set(&o.GroupExpiry, time.Hour)
	set(&o.SettleEvery, 30*time.Second)
}

func set[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// Broker is the sessions of one node. Its methods may be called concurrently.
type Broker struct {
	cfg  Config
	opt  Options
	log  *slog.Logger
	now  func() time.Time
	msgs *msglog.Log
	tree topics.Tree[*subscription]

	mu       sync.Mutex
	sessions map[string]*session    // connected here, by client id; guarded by mu
	claims   map[string]*claim      // client ids being connected; guarded by mu
	wills    map[string]*delayed    // wills that wait, by client id; guarded by mu
	groups   map[string]*group      // shared subscriptions with members here; guarded by mu
	owners   map[string]*ownerState // by kind/id; guarded by mu
	totals   map[string]*allowance  // by device type; guarded by mu
	closing  bool                   // guarded by mu

	position  atomic.Uint64     // last sequence number dispatched to sessions
	routes    routes            // owned by the dispatching goroutine
	epoch     atomic.Uint64     // changes when who may do what may have changed
	actuators *policy.Actuators // rates of commands
	abuse     *abuse
	events    *events
	views     views
	stats     counters
	traffic   traffic
	catching  chan struct{} // capacity: sessions that read the log at the same time

	life context.Context // ends when the broker closes
	end  context.CancelFunc
	wg   sync.WaitGroup // everything the broker started
}

// catchUps bounds how many sessions read the log at the same time.
const catchUps = 64

// New makes a broker and takes the log's live messages. Close it.
func New(ctx context.Context, cfg Config) (*Broker, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Node == "" {
		cfg.Node = uuid.NewString()
	}
	cfg.Options.defaults()
	b := &Broker{
		cfg: cfg, opt: cfg.Options, log: cfg.Log, now: cfg.Now, msgs: cfg.Messages,
		sessions: map[string]*session{}, claims: map[string]*claim{}, wills: map[string]*delayed{}, groups: map[string]*group{},
		owners: map[string]*ownerState{}, totals: map[string]*allowance{},
		actuators: policy.NewActuators(0), catching: make(chan struct{}, catchUps),
	}
	b.abuse = newAbuse(b.opt, b.now)
	b.events = newEvents(b.now, cfg.Observe)
	b.life, b.end = context.WithCancel(context.Background())
	last, err := b.msgs.Last(ctx)
	if err != nil {
		b.end()
		return nil, fmt.Errorf("reading the end of the message log: %w", err)
	}
	b.position.Store(last)
	b.msgs.Live(b.dispatch, b.missed)
	if err := b.recover(ctx); err != nil {
		b.end()
		return nil, err
	}
	b.wg.Go(b.sweep)
	b.wg.Go(b.settleLeft)
	return b, nil
}

// ErrClosed is what a closed broker answers.
var ErrClosed = errors.New("the broker is closed")

// Close ends all connections, saves their sessions and waits until ctx ends.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	b.closing = true
	all := make([]*session, 0, len(b.sessions))
	for _, s := range b.sessions {
		all = append(all, s)
	}
	b.mu.Unlock()
	for _, s := range all {
		s.close(mqtt.ServerShuttingDown, "this server is shutting down")
	}
	for _, s := range all {
		select {
		case <-s.gone:
		case <-ctx.Done():
			b.end()
			return fmt.Errorf("closing the broker: %w", ctx.Err())
		}
	}
	b.end()
	done := make(chan struct{})
	go func() { b.wg.Wait(); close(done) }()
	select {
	case <-done:
		b.events.flush()
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing the broker: %w", ctx.Err())
	}
}

// sweepEvery is the clock of everything that is late by at most a second.
const sweepEvery = time.Second

// sweep does what time brings: expired certificates, cursors not saved yet,
// aggregated events.
func (b *Broker) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-b.life.Done():
			return
		case <-tick.C:
		}
		now := b.now()
		for _, s := range b.connected() {
			if end := s.peer.NotAfter; !end.IsZero() && now.After(end) {
				b.report(Event{Kind: CertificateExpired, Principal: s.principal(), Client: s.id, Source: s.peer.Addr})
				s.close(mqtt.NotAuthorized, "the client certificate has expired: renew it and connect again")
			} else if n%2 == 0 {
				s.saveIfDirty()
			}
		}
		b.events.flushDue()
		b.abuse.forget(now)
		b.forgetOwners(now)
	}
}

// connected returns the sessions connected here.
func (b *Broker) connected() []*session {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*session, 0, len(b.sessions))
	for _, s := range b.sessions {
		all = append(all, s)
	}
	return all
}
