package msglog

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/holdfast-iot/holdfast/mqtt"
)

const (
	groupPrefix = "_HF.GROUP."
	// groupKey is where a consumer's metadata has the name of its group.
	groupKey = "holdfast.group"

	groupAckWait = 12 * time.Second // for a node that died; who lives asks for more time
	groupExtend  = groupAckWait / 3 // how often it does
	groupBatch   = 256              // messages asked for at once
	groupExpires = 4 * time.Second  // of one request for messages; one that a dying server had is missed this long
	groupGrace   = time.Second      // for the answer that it has expired
	groupPause   = 250 * time.Millisecond
	// groupPending bounds the messages of one group under way to members of all nodes.
	groupPending = 16_384
)

// Group is one node's part in a durable group of readers of the log: each message
// that matches goes to one reader of one node, and again to one until it is
// acknowledged. The group's position is in the log's stream and survives restarts.
type Group struct {
	l            *Log
	name, filter string
	durable      string
	sub          *nats.Subscription
	in           chan *nats.Msg
	prefix       string // of the reply subjects

	mu   sync.Mutex
	idle time.Duration              // guarded by mu
	open map[*GroupMessage]struct{} // not settled; guarded by mu

	again atomic.Bool // ask once more: the last request may be lost

	// Of Run's goroutine.
	pulls   uint64
	asked   int       // messages asked for and not come
	until   time.Time // when asked is not to be waited for any more
	paused  time.Time // nothing is asked for before
	waiting []*GroupMessage
}

// GroupMessage is a message that a group gave to this node. Its Seq is 0: where
// the group is in the log does not concern its readers.
type GroupMessage struct {
	Message
	g     *Group
	reply string
}

// Ack says that a reader has the message, or that none shall have it.
func (m *GroupMessage) Ack() { m.g.settle(m, "+ACK") }

// Nak gives the message back: the group hands it to another reader at once.
func (m *GroupMessage) Nak() { m.g.settle(m, "-NAK") }

// Group joins the group of a name, which is unlike that of every other group, and
// makes it when it is new: then it begins after the newest message. It ends by
// itself when no node asked for messages for as long as idle. Run it.
func (l *Log) Group(ctx context.Context, name, filter string, idle time.Duration) (*Group, error) {
	g := &Group{
		l: l, name: name, filter: filter, durable: groupDurable(name), idle: idle, in: make(chan *nats.Msg, 2*groupBatch),
		prefix: groupPrefix + l.config.Node + "." + nats.NewInbox()[len("_INBOX."):] + ".", open: map[*GroupMessage]struct{}{},
	}
	if err := g.ensure(ctx); err != nil {
		return nil, fmt.Errorf("opening a group: %w", err)
	}
	return g, nil
}

// groupDurable names a group's consumer: 130 bits of a hash.
func groupDurable(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "hf-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])[:26])
}

// Keep makes the group last for at least idle without a request.
func (g *Group) Keep(ctx context.Context, idle time.Duration) error {
	g.mu.Lock()
	known := idle <= g.idle
	g.idle = max(idle, g.idle)
	g.mu.Unlock()
	if known {
		return nil
	}
	return g.ensure(ctx)
}

// ensure makes the group's consumer, or gives it a longer life.
func (g *Group) ensure(ctx context.Context) error {
	g.mu.Lock()
	idle := g.idle
	g.mu.Unlock()
	old, err := g.l.js.Consumer(ctx, logStream, g.durable)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
	case err != nil:
		return err
	case old.CachedInfo().Config.InactiveThreshold >= idle:
		return nil
	}
	subjects := filterSubjects(inPrefix, g.filter)
	c := jetstream.ConsumerConfig{
		Durable: g.durable, Metadata: map[string]string{groupKey: g.name},
		DeliverPolicy: jetstream.DeliverNewPolicy, AckPolicy: jetstream.AckExplicitPolicy, AckWait: groupAckWait,
		MaxDeliver: -1, MaxAckPending: groupPending, InactiveThreshold: idle,
	}
	if len(subjects) == 1 {
		c.FilterSubject = subjects[0]
	} else {
		c.FilterSubjects = subjects
	}
	_, err = g.l.js.CreateOrUpdateConsumer(ctx, logStream, c)
	return err
}

// Run asks for messages as far as there is room, and hands them to take until ctx
// ends: room is how many more readers take now, take is false when none takes
// this one. Both are asked again when something comes from wake. What was not
// taken goes back to the group.
func (g *Group) Run(ctx context.Context, wake <-chan struct{}, room func() int, take func(*GroupMessage) bool) error {
	var err error
	if g.sub, err = g.l.conn.ChanSubscribe(g.prefix+"*", g.in); err != nil {
		return fmt.Errorf("subscribing to the messages of a group: %w", err)
	}
	defer g.leave()
	extend := time.NewTicker(groupExtend)
	defer extend.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for len(g.waiting) > 0 && take(g.waiting[0]) {
			g.waiting[0] = nil
			g.waiting = g.waiting[1:]
		}
		if rest := g.ask(time.Now(), room); rest > 0 {
			timer.Reset(rest)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.l.ctx.Done():
			return nil
		case m := <-g.in:
			g.receive(ctx, m)
		case <-wake:
		case <-timer.C:
		case <-extend.C:
			g.extend()
		}
	}
}

// Again has messages asked for once more, at Run's next turn: the last request may
// have been lost with a connection.
func (g *Group) Again() { g.again.Store(true) }

// leave gives back what nobody took.
func (g *Group) leave() {
	_ = g.sub.Unsubscribe() // the only error is that it has ended
	for {
		select {
		case m := <-g.in:
			if m.Reply != "" {
				_ = g.l.conn.Publish(m.Reply, []byte("-NAK")) // without it the group waits for groupAckWait
			}
			continue
		default:
		}
		break
	}
	for _, m := range g.waiting {
		m.Nak()
	}
	g.waiting = nil
}

// ask asks for more messages when there is room for some and none are asked for.
// It returns when to look again; 0: when something happens.
func (g *Group) ask(now time.Time, room func() int) time.Duration {
	if g.again.Swap(false) {
		g.asked = 0
	}
	if g.asked > 0 && now.Before(g.until) {
		return g.until.Sub(now)
	}
	if now.Before(g.paused) {
		return g.paused.Sub(now)
	}
	n := min(groupBatch, room()-len(g.waiting))
	if n <= 0 {
		return 0
	}
	g.pulls++
	body := append(strconv.AppendInt([]byte(`{"batch":`), int64(n), 10), `,"expires":`...)
	body = append(strconv.AppendInt(body, int64(groupExpires), 10), '}')
	if err := g.l.conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+logStream+"."+g.durable, g.reply(), body); err != nil {
		g.paused = now.Add(groupPause)
		return groupPause
	}
	g.asked, g.until = n, now.Add(groupExpires+groupGrace)
	return groupExpires + groupGrace
}

func (g *Group) reply() string { return g.prefix + strconv.FormatUint(g.pulls, 36) }

// receive takes a message, or what the bus says instead of one.
func (g *Group) receive(ctx context.Context, msg *nats.Msg) {
	if msg.Reply == "" {
		g.status(ctx, msg)
		return
	}
	g.asked--
	m, err := Parse(msg.Subject, msg.Data)
	if err != nil || !mqtt.Match(g.filter, m.Topic) { // $SYS/… and +/…
		if err != nil {
			g.l.log.Error("reading a message of a group", "err", err)
		}
		_ = g.l.conn.Publish(msg.Reply, []byte("+ACK")) // otherwise it comes again, and is acknowledged then
		return
	}
	one := &GroupMessage{Message: *m, g: g, reply: msg.Reply}
	g.mu.Lock()
	g.open[one] = struct{}{}
	g.mu.Unlock()
	g.waiting = append(g.waiting, one)
}

// status takes the end of a request without all of its messages.
func (g *Group) status(ctx context.Context, msg *nats.Msg) {
	if msg.Subject != g.reply() {
		return // of an older one
	}
	switch code := header(msg, "Status"); code {
	case "100": // a heartbeat
		return
	case "404", "408": // it has expired
		g.asked = 0
		return
	default: // no leader now, or no consumer any more
		g.asked, g.paused = 0, time.Now().Add(groupPause)
		ctx, cancel := context.WithTimeout(ctx, replyTimeout)
		defer cancel()
		if err := g.ensure(ctx); err != nil && ctx.Err() == nil {
			g.l.log.Warn("asking for the messages of a group", "status", code, "description", header(msg, "Description"), "err", err)
		}
	}
}

// extend asks for more time for the messages that readers still have.
func (g *Group) extend() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for m := range g.open {
		_ = g.l.conn.Publish(m.reply, []byte("+WPI")) // a message that comes again is what at least once means
	}
}

func (g *Group) settle(m *GroupMessage, how string) {
	g.mu.Lock()
	_, open := g.open[m]
	delete(g.open, m)
	g.mu.Unlock()
	if !open {
		return
	}
	if err := g.l.conn.Publish(m.reply, []byte(how)); err != nil {
		g.l.log.Debug("settling a message of a group", "err", err) // it comes again
	}
}

// GroupInfo tells about a group.
type GroupInfo struct {
	Name string
	Busy bool // readers wait for messages, or have some
}

// Groups returns all groups.
func (l *Log) Groups(ctx context.Context) (groups []GroupInfo, err error) {
	s, err := l.js.Stream(ctx, logStream)
	if err != nil {
		return nil, fmt.Errorf("listing the groups: %w", err)
	}
	all := s.ListConsumers(ctx)
	for info := range all.Info() {
		if name, ours := info.Config.Metadata[groupKey]; ours && info.Name == groupDurable(name) {
			groups = append(groups, GroupInfo{name, info.NumWaiting > 0 || info.NumAckPending > 0})
		}
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("listing the groups: %w", err)
	}
	return groups, nil
}

// DeleteGroup ends a group; one that is not there is no error.
func (l *Log) DeleteGroup(ctx context.Context, name string) error {
	err := l.js.DeleteConsumer(ctx, logStream, groupDurable(name))
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("deleting a group: %w", err)
	}
	return nil
}
