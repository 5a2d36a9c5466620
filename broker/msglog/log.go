package msglog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors that callers tell apart.
var (
	ErrNotFound     = errors.New("the message is not there, or no longer")
	ErrConflict     = errors.New("the session was changed by someone else")
	ErrTopicTooLong = fmt.Errorf("the topic takes more than %d bytes as a NATS subject", MaxSubject)
	ErrTimeout      = errors.New("the message bus did not acknowledge in time")
	ErrClosed       = errors.New("the message log is closed")
)

// Config of a Log. The zero value of a field is its default, where it has one.
type Config struct {
	// Conn to the embedded server or to a cluster. The Log does not close it.
	Conn *nats.Conn
	// Clustered: other nodes publish to the same streams.
	Clustered bool
	// OnReconnect registers what to call when core messages may have been missed.
	// Needed when Clustered.
	OnReconnect func(func())
	// Node names this node, differently from every other one: letters, digits, - and _.
	Node string
	// Replicas of the streams. Default 1, clustered 3.
	Replicas int
	// MaxAge and MaxBytes bound the log: messages beyond are removed, oldest first.
	// Defaults 7 days and 4 GiB.
	MaxAge   time.Duration
	MaxBytes int64
	// MaxRetained and MaxSessions bound the retained messages and session rows, in
	// bytes: what would exceed them is refused. Default 1 GiB each.
	MaxRetained, MaxSessions int64
	// AckTimeout is how long a message is tried for before its done gets an error.
	// Default 10 s.
	AckTimeout time.Duration
	// MaxPending and MaxPendingBytes bound what is under way to the log; beyond,
	// Append waits. Defaults 8192 messages and 32 MiB.
	MaxPending      int
	MaxPendingBytes int64
	// Log gets events. Default: discard.
	Log *slog.Logger
}

// Log is an open message log. Its methods may be called concurrently.
type Log struct {
	config Config
	conn   *nats.Conn
	log    *slog.Logger
	js     jetstream.JetStream

	appends, retains, saves *pipeline

	receiver atomic.Pointer[receiver]
	position atomic.Uint64 // delivered
	known    atomic.Uint64 // in the log as far as we heard: set before it is delivered, for cursors
	window   window
	casts    atomic.Uint64 // counter of cast messages; starts with the clock, so that it never goes back
	live     *live         // nil when embedded

	replies replies // of batched reads
	info    infoCache
	healthy health

	stop context.CancelFunc
	ctx  context.Context // ends with Close
	wg   sync.WaitGroup
}

type receiver struct {
	receive func(*Message)
	missed  func()
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func withDefaults(c Config) Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Replicas == 0 && c.Clustered {
		c.Replicas = 3
	}
	setDefault(&c.Replicas, 1)
	setDefault(&c.MaxAge, 7*24*time.Hour)
	setDefault(&c.MaxBytes, 4<<30)
	setDefault(&c.MaxRetained, 1<<30)
	setDefault(&c.MaxSessions, 1<<30)
	setDefault(&c.AckTimeout, 10*time.Second)
	setDefault(&c.MaxPending, 8192)
	setDefault(&c.MaxPendingBytes, 32<<20)
	return c
}

func setDefault[N ~int | ~int64](field *N, value N) {
	if *field == 0 {
		*field = value
	}
}

// Open creates the streams, or makes their limits those of the configuration, and
// starts the Log. Streams of these names that are made for something else are an
// error.
func Open(ctx context.Context, config Config) (*Log, error) {
	config = withDefaults(config)
	switch {
	case config.Conn == nil:
		return nil, errors.New("opening the message log: a connection is needed")
	case !nodeName.MatchString(config.Node):
		return nil, fmt.Errorf("opening the message log: the node name %q is not 1 to 64 letters, digits, - and _", config.Node)
	case config.Clustered && config.OnReconnect == nil:
		return nil, errors.New("opening the message log: OnReconnect is needed in a cluster")
	}
	js, err := jetstream.New(config.Conn)
	if err != nil {
		return nil, fmt.Errorf("opening the message log: %w", err)
	}
	l := &Log{config: config, conn: config.Conn, log: config.Log, js: js}
	l.casts.Store(uint64(time.Now().UnixNano()))
	if err := l.createStreams(ctx); err != nil {
		return nil, fmt.Errorf("opening the message log: %w", err)
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	if err := l.start(ctx); err != nil {
		l.Close()
		return nil, fmt.Errorf("opening the message log: %w", err)
	}
	return l, nil
}

func (l *Log) start(ctx context.Context) (err error) {
	if err = l.replies.start(l.conn, l.config.Node); err != nil {
		return err
	}
	state, err := l.refresh(ctx)
	if err != nil {
		return err
	}
	l.position.Store(state.LastSeq)
	l.known.Store(state.LastSeq)
	l.window.start(state.LastSeq)
	small := min(1024, l.config.MaxPending)
	if l.appends, err = l.newPipeline("LOG", l.config.MaxPending); err == nil {
		if l.retains, err = l.newPipeline("RETAINED", small); err == nil {
			l.saves, err = l.newPipeline("SESSIONS", small)
		}
	}
	if err == nil && l.config.Clustered {
		err = l.startLive()
	}
	if err != nil {
		return err
	}
	if err := l.conn.FlushTimeout(replyTimeout); err != nil {
		return fmt.Errorf("subscribing to acknowledgements: %w", err)
	}
	if l.config.Clustered {
		l.config.OnReconnect(l.reconnected)
	}
	l.wg.Go(l.watch)
	return nil
}

// reconnected is called when messages between this node and the cluster may have
// been lost: acknowledgements as well as live ones.
func (l *Log) reconnected() {
	if l.ctx.Err() != nil {
		return
	}
	for _, p := range []*pipeline{l.appends, l.retains, l.saves} {
		p.kick()
	}
	l.live.suspect()
}

// Close ends the Log: what is under way gets ErrClosed. The connection stays open.
func (l *Log) Close() {
	l.info.mu.Lock() // so that nobody starts to wait any more
	l.stop()
	l.info.mu.Unlock()
	for _, p := range []*pipeline{l.appends, l.retains, l.saves} {
		if p != nil {
			p.close()
		}
	}
	if l.live != nil {
		l.live.close()
	}
	l.replies.close()
	l.wg.Wait()
}

// Live registers the one receiver of live messages, before the first Append and
// Interest: messages that any node appended, in ascending Seq and each once, and
// those that other nodes cast (Seq 0). receive is called on one goroutine, which
// must not call Append; embedded, also every message appended here is live,
// clustered what Interest asks for. missed is called, on any goroutine and
// possibly often, after messages may have been lost on the way between nodes:
// whoever needs them reads the log from Safe on. What Delivered is true for was
// received all the same.
func (l *Log) Live(receive func(*Message), missed func()) {
	l.receiver.Store(&receiver{receive, missed})
}

func (l *Log) deliver(m *Message) {
	if r := l.receiver.Load(); r != nil {
		r.receive(m)
	}
}

func (l *Log) missed() {
	if r := l.receiver.Load(); r != nil && r.missed != nil {
		r.missed()
	}
}

// Position returns the sequence number of the last message that was delivered
// live; before the first, the last of the log when it was opened.
func (l *Log) Position() uint64 { return l.position.Load() }
