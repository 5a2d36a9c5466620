// Package natsd is the message bus: an embedded NATS server in this process, or
// a connection to a NATS cluster. It is the one place that knows which.
//
// It promises that a subscription is active when Subscribe returns (or becomes
// active with the next reconnect), that one subscriber sees messages one at a
// time in the order the bus delivered them, that memory for messages waiting in
// this process is bounded, and that whoever may have missed messages is told
// through OnReconnect. Plain subjects are at most once: a message that matters
// must be found again in the database, or go through JetStream (Conn).
//
// It trusts the store folder and, in the clustered form, the cluster and
// everyone whom the cluster's accounts let publish: subscribers must treat a
// message as a hint to read the database, not as proof. The embedded server
// listens on no socket: only this process can reach it. Whoever can write in
// the store folder can change or remove stored messages. A connection that
// leaves the machine always uses TLS.
package natsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Config says which bus to start. The zero value of a field is its default.
type Config struct {
	// URL of a cluster, or several with commas between them, such as
	// tls://nats1.example:4222,tls://nats2.example:4222. Empty: embedded.
	URL string
	// Name of this node in the bus's own logs and monitoring.
	Name string
	// Log gets the bus's events. Default: discard.
	Log *slog.Logger

	// Embedded only.

	// StoreDir holds JetStream's files. Required.
	StoreDir string
	// MaxMemory bounds JetStream's memory streams, in bytes. Default 32 MiB.
	MaxMemory int64
	// MaxStore bounds JetStream's files, in bytes. Default 10 GiB.
	MaxStore int64
	// MaxPayload bounds one message, in bytes. Default 1 MiB.
	MaxPayload int
	// SyncAlways makes every stored message durable before it is acknowledged,
	// at the price of an fsync each. Otherwise files are synced every
	// SyncInterval, so that a power cut (not a crash of the process) can lose
	// the last of it.
	SyncAlways bool
	// SyncInterval of files, when SyncAlways is off. Default 2 s.
	SyncInterval time.Duration

	// Cluster only.

	// CredsFile holds the NATS user's JWT and seed.
	CredsFile string
	// CAFile holds the authorities that may have issued the cluster's
	// certificates, in PEM. Default: the system's.
	CAFile string
	// CertFile and KeyFile authenticate this node to a cluster that asks for a
	// client certificate, in PEM.
	CertFile, KeyFile string
	// ReconnectWait is the mean pause between attempts to reconnect, which never
	// end. Default 250 ms.
	ReconnectWait time.Duration
	// ConnectTimeout bounds each attempt. Default 5 s.
	ConnectTimeout time.Duration

	// PendingMessages and PendingBytes bound what one slow subscriber may have
	// waiting in this process; beyond it messages are dropped, and OnReconnect
	// callbacks run. Defaults 65,536 and 16 MiB.
	PendingMessages, PendingBytes int
}

// Bus is a running bus. Its methods may be called concurrently.
type Bus struct {
	conn   *nats.Conn
	server *server.Server // nil when clustered
	log    *slog.Logger
	config Config

	closed    chan struct{} // closed when the connection is gone for good
	mu        sync.Mutex
	callbacks []func()      // guarded by mu
	missed    chan struct{} // capacity 1: callbacks are due
	loop      sync.WaitGroup
	stop      sync.Once
}

// Start starts the embedded server, or makes the first connection to a cluster.
// That first connection must succeed within ConnectTimeout per server; later
// ones are retried for ever.
func Start(config Config) (*Bus, error) {
	config = withDefaults(config)
	b := &Bus{log: config.Log, config: config, closed: make(chan struct{}), missed: make(chan struct{}, 1)}
	var err error
	if config.URL == "" {
		err = b.startEmbedded()
	} else {
		err = b.startClustered()
	}
	if err != nil {
		return nil, err
	}
	b.loop.Go(b.runCallbacks)
	return b, nil
}

func withDefaults(c Config) Config {
	if c.Name == "" {
		c.Name = "holdfast"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&c.MaxMemory, 32<<20)
	setDefault(&c.MaxStore, 10<<30)
	setDefault(&c.MaxPayload, 1<<20)
	setDefault(&c.SyncInterval, 2*time.Second)
	setDefault(&c.ReconnectWait, 250*time.Millisecond)
	setDefault(&c.ConnectTimeout, 5*time.Second)
	setDefault(&c.PendingMessages, 65536)
	setDefault(&c.PendingBytes, 16<<20)
	return c
}

func setDefault[N ~int | ~int64](field *N, value N) {
	if *field == 0 {
		*field = value
	}
}

// Conn is the connection itself, for JetStream. Do not close it.
func (b *Bus) Conn() *nats.Conn { return b.conn }

// Embedded says whether the server runs in this process.
func (b *Bus) Embedded() bool { return b.server != nil }

// Publish sends a message to whoever subscribes to the subject. A nil error
// says that it was taken for sending, not that anyone received it. While the
// cluster is away, up to 1 MiB waits for it; then Publish returns an error.
func (b *Bus) Publish(subject string, data []byte) error {
	if err := b.conn.Publish(subject, data); err != nil {
		return fmt.Errorf("publishing on %s: %w", subject, err)
	}
	return nil
}

// Subscribe calls receive for each message on a subject (with NATS wildcards),
// one at a time and in order; receive owns the slice it gets. The function it
// returns ends the subscription; a call of receive may still be running then.
func (b *Bus) Subscribe(subject string, receive func([]byte)) (stop func(), err error) {
	sub, err := b.conn.Subscribe(subject, func(m *nats.Msg) { receive(m.Data) })
	if err != nil {
		return nil, fmt.Errorf("subscribing to %s: %w", subject, err)
	}
	if err := sub.SetPendingLimits(b.config.PendingMessages, b.config.PendingBytes); err != nil {
		return nil, errors.Join(fmt.Errorf("subscribing to %s: limiting what waits: %w", subject, err), sub.Unsubscribe())
	}
	// Wait until the server has it. When the server is away the subscription is
	// sent again on reconnecting, and the callbacks catch up.
	if err := b.conn.FlushTimeout(b.config.ConnectTimeout); err != nil && b.conn.IsClosed() {
		return nil, fmt.Errorf("subscribing to %s: %w", subject, err)
	}
	return func() { _ = sub.Unsubscribe() }, nil // the only error is that it has ended already
}

// OnReconnect has f called, in a goroutine of the bus and never twice at once,
// each time that messages may have been missed: after the connection was lost
// and is back, and after a slow subscriber lost messages. f should read from
// the database what it would have heard.
func (b *Bus) OnReconnect(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.callbacks = append(b.callbacks, f)
}

// messagesMissed makes the callbacks due; several times at once count as one.
func (b *Bus) messagesMissed() {
	select {
	case b.missed <- struct{}{}:
	default:
	}
}

func (b *Bus) runCallbacks() {
	for {
		select {
		case <-b.closed:
			return
		case <-b.missed:
		}
		b.mu.Lock()
		callbacks := b.callbacks[:len(b.callbacks):len(b.callbacks)]
		b.mu.Unlock()
		for _, f := range callbacks {
			f()
		}
	}
}

// Healthy returns nil when messages flow now, or says what is wrong.
func (b *Bus) Healthy() error {
	switch {
	case b.server != nil && !b.server.Running():
		return errors.New("checking the message bus: the embedded server has stopped")
	case b.server != nil && !b.server.JetStreamEnabled():
		return errors.New("checking the message bus: JetStream is off (is the disk full?)")
	case !b.conn.IsConnected():
		return fmt.Errorf("checking the message bus: the connection is %s", b.conn.Status())
	}
	return nil
}

// Close sends what was published, lets subscribers finish what they have, and
// stops. When ctx ends first, it stops at once and says so. Later calls do
// nothing.
func (b *Bus) Close(ctx context.Context) (err error) {
	b.stop.Do(func() { err = b.close(ctx) })
	return err
}

func (b *Bus) close(ctx context.Context) error {
	err := b.conn.Drain()
	if err == nil {
		select {
		case <-b.closed:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	b.conn.Close() // ends a drain that did not, and a connection that was never there
	<-b.closed
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
	if err != nil && !errors.Is(err, nats.ErrConnectionReconnecting) {
		return fmt.Errorf("draining the message bus: %w", err)
	}
	// A callback may be waiting for the bus: wait for it only within ctx.
	finished := make(chan struct{})
	go func() { b.loop.Wait(); close(finished) }()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for callbacks of the message bus: %w", ctx.Err())
	}
}
