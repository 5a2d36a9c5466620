package broker

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	ownPrefix = "_HF.own."

	takeTry      = time.Second            // one question to the holder; more follow while the context lives
	takeAgain    = 500 * time.Millisecond // when a claim is told once more: by then all servers have each other's subscriptions
	maxOwn       = 4 << 10                // bytes of a message about a claim
	claimsQueued = 8192
)

// NATSCluster is the Cluster over a NATS cluster: each connected client id is a
// subscription of its node. Messages of others are believed: the bus is not for
// strangers. It promises that of several nodes that have a client id, while they
// reach each other, one keeps it; and rows are fenced by their revision even when
// they do not.
type NATSCluster struct {
	conn *nats.Conn
	node string
	in   chan *nats.Msg // of all claims: a goroutine for each would cost more than the rest of it
	subs []*nats.Subscription

	mu     sync.RWMutex
	claims map[string]*holding             // by subject; guarded by mu
	groups map[string]*ownGroup            // with members here; guarded by mu
	peers  map[string]*peerNode            // other nodes, by name; guarded by mu
	names  map[*nats.Subscription]struct{} // of Handle; guarded by mu
	closed bool                            // guarded by mu

	status chan nats.Status
	quit   chan struct{}
	wg     sync.WaitGroup
}

// holding is a client id that this node has.
type holding struct {
	subject, owner string
	stamp          int64 // when it was taken; of two, one wins by it
	yield          func(owner string) error
	sub            *nats.Subscription
	told           *time.Timer
	yielding       bool     // guarded by the cluster's mu
	waiting        []string // replies owed when it is over; guarded by the cluster's mu
}

// ownMessage is what nodes say about a client id.
type ownMessage struct {
	Kind  string `json:"k"`
	Node  string `json:"n,omitempty"`
	Owner string `json:"o,omitempty"`
	Stamp int64  `json:"s,omitempty"`
}

// The kinds of ownMessage: questions, and their answers.
const (
	ownTake  = "take"  // give it to me
	ownHeld  = "held"  // do you have it?
	ownClaim = "claim" // I have it; no answer
	ownYes   = "yes"   // to held
	ownGone  = "gone"  // I do not have it, or no longer
	ownOwned = "owned" // by another principal
	ownBusy  = "busy"  // it did not end in time
)

// NewCluster joins the nodes on a NATS cluster. node is unlike every other. Close
// it after the broker.
func NewCluster(conn *nats.Conn, node string) (*NATSCluster, error) {
	c := &NATSCluster{
		conn: conn, node: node, in: make(chan *nats.Msg, claimsQueued), claims: map[string]*holding{}, groups: map[string]*ownGroup{},
		peers: map[string]*peerNode{}, names: map[*nats.Subscription]struct{}{}, quit: make(chan struct{}),
	}
	sub, err := conn.ChanSubscribe(nodeSubject, c.in)
	if err != nil {
		return nil, fmt.Errorf("joining the cluster: %w", err)
	}
	c.subs = append(c.subs, sub)
	if err := conn.Flush(); err != nil {
		return nil, errors.Join(fmt.Errorf("joining the cluster: %w", err), sub.Unsubscribe())
	}
	c.status = conn.StatusChanged(nats.CONNECTED)
	c.wg.Go(c.run)
	c.hello(true)
	return c, nil
}

// Close leaves the cluster.
func (c *NATSCluster) Close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	subs := c.subs
	for sub := range c.names {
		subs = append(subs, sub)
	}
	for _, h := range c.claims {
		h.told.Stop()
		subs = append(subs, h.sub)
	}
	clear(c.claims)
	c.mu.Unlock()
	c.tell(nodeSubject, hello{Node: c.node, Bye: true})
	for _, sub := range subs {
		_ = sub.Unsubscribe() // the only error is that it has ended
	}
	c.conn.RemoveStatusListener(c.status)
	close(c.quit)
	c.wg.Wait()
}

// ownSubject is where a client id's holder listens: 128 bits of a hash, as ids may
// be longer than subjects.
func ownSubject(clientID string) string { return ownPrefix + short(clientID) }

func short(name string) string {
	sum := sha256.Sum256([]byte(name))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// Take implements Cluster.
func (c *NATSCluster) Take(ctx context.Context, clientID, owner string, yield func(owner string) error) (release func(), err error) {
	subject := ownSubject(clientID)
	c.mu.Lock()
	if old := c.claims[subject]; old != nil { // the broker has ended that session
		c.dropLocked(old)
	}
	c.mu.Unlock()
	h := &holding{subject: subject, owner: owner, yield: yield, stamp: time.Now().UnixNano()}
	for {
		answer, err := c.ask(ctx, subject, ownMessage{Kind: ownTake, Node: c.node, Owner: owner, Stamp: h.stamp})
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return c.hold(h)
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil: // it left, or is saving
		case err != nil:
			return nil, fmt.Errorf("%w: asking the other servers for the client id: %v", ErrUnavailable, err)
		case answer.Kind == ownOwned:
			return nil, ErrOwned
		case answer.Kind == ownBusy:
			return nil, fmt.Errorf("%w: the session on another server did not end in time", ErrUnavailable)
		default: // and once more: there may be two
			h.stamp = max(h.stamp, answer.Stamp+1)
		}
	}
}

// hold makes a client id this node's, and tells others who thought the same at the
// same time.
func (c *NATSCluster) hold(h *holding) (release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	if h.sub, err = c.conn.ChanSubscribe(h.subject, c.in); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrUnavailable, err)
	}
	c.claims[h.subject] = h
	h.told = time.AfterFunc(takeAgain, func() { c.claim(h) })
	c.tell(h.subject, ownMessage{Kind: ownClaim, Node: c.node, Owner: h.owner, Stamp: h.stamp})
	return func() { c.release(h) }, nil
}

// claim tells others that this node has a client id, if it still has.
func (c *NATSCluster) claim(h *holding) {
	c.mu.RLock()
	mine := c.claims[h.subject] == h && !h.yielding && !c.closed
	c.mu.RUnlock()
	if mine {
		c.tell(h.subject, ownMessage{Kind: ownClaim, Node: c.node, Owner: h.owner, Stamp: h.stamp})
	}
}

// release ends a claim and answers who waits for that.
func (c *NATSCluster) release(h *holding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(h)
}

func (c *NATSCluster) dropLocked(h *holding) {
	if c.claims[h.subject] == h {
		delete(c.claims, h.subject)
		h.told.Stop()
		_ = h.sub.Unsubscribe() // before the answer: who gets that sees the other gone too
	}
	c.answerLocked(h, ownGone)
}

func (c *NATSCluster) answerLocked(h *holding, kind string) {
	for _, reply := range h.waiting {
		c.tell(reply, ownMessage{Kind: kind, Stamp: h.stamp})
	}
	h.waiting = nil
}

// ask asks the holder of a client id once.
func (c *NATSCluster) ask(ctx context.Context, subject string, m ownMessage) (answer ownMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, takeTry)
	defer cancel()
	body, err := json.Marshal(m)
	if err != nil {
		return answer, err
	}
	msg, err := c.conn.RequestWithContext(ctx, subject, body)
	if err != nil {
		return answer, err
	}
	return parseOwn(msg.Data)
}

func parseOwn(data []byte) (m ownMessage, err error) {
	if len(data) > maxOwn {
		return m, fmt.Errorf("reading what another server says: it has %d bytes, more than %d", len(data), maxOwn)
	}
	if err = json.Unmarshal(data, &m); err != nil {
		return ownMessage{}, fmt.Errorf("reading what another server says: %w", err)
	}
	return m, nil
}

// tell publishes; what is lost is said again, or found out by who did not get it.
func (c *NATSCluster) tell(subject string, m any) {
	if body, err := json.Marshal(m); err == nil && subject != "" {
		_ = c.conn.Publish(subject, body)
	}
}

// Held implements Cluster. When nobody can tell, the answer is yes: nothing is
// taken from a client that may be there.
func (c *NATSCluster) Held(ctx context.Context, clientID string) bool {
	for range 3 {
		_, err := c.ask(ctx, ownSubject(clientID), ownMessage{Kind: ownHeld, Node: c.node})
		switch {
		case err == nil:
			return true // also one that is going: it saves what there is
		case errors.Is(err, nats.ErrNoResponders):
			return false
		case ctx.Err() != nil:
			return true
		}
	}
	return true
}

// run hears the other nodes.
func (c *NATSCluster) run() {
	beat := time.NewTicker(helloEvery)
	defer beat.Stop()
	for {
		select {
		case <-c.quit:
			return
		case m := <-c.in:
			if m.Subject == nodeSubject {
				c.heard(m.Data, time.Now())
			} else {
				c.hear(m)
			}
		case <-beat.C:
			c.hello(false)
		case _, ok := <-c.status:
			if !ok {
				c.status = nil
				continue
			}
			c.hello(true)
			c.claimAll()
		}
	}
}

// claimAll tells all claims after the connection was away: others may have taken
// them meanwhile.
func (c *NATSCluster) claimAll() {
	c.mu.RLock()
	all := make([]*holding, 0, len(c.claims))
	for _, h := range c.claims {
		all = append(all, h)
	}
	c.mu.RUnlock()
	for _, h := range all {
		c.claim(h)
	}
}

// hear takes a question or a claim about a client id that this node has, or had.
func (c *NATSCluster) hear(msg *nats.Msg) {
	m, err := parseOwn(msg.Data)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.claims[msg.Subject]
	switch {
	case h == nil:
		if m.Kind != ownClaim {
			c.tell(msg.Reply, ownMessage{Kind: ownGone})
		}
	case m.Kind == ownHeld:
		c.tell(msg.Reply, ownMessage{Kind: ownYes})
	case m.Kind == ownTake && m.Owner != h.owner:
		c.tell(msg.Reply, ownMessage{Kind: ownOwned})
	case m.Kind == ownTake:
		if msg.Reply != "" && len(h.waiting) < 16 {
			h.waiting = append(h.waiting, msg.Reply)
		}
		c.giveLocked(h)
	case m.Kind != ownClaim || m.Node == c.node:
	case h.loses(m, c.node):
		c.giveLocked(h)
	default:
		c.tell(h.subject, ownMessage{Kind: ownClaim, Node: c.node, Owner: h.owner, Stamp: h.stamp})
	}
}

// loses decides between two nodes that have the same client id, so that both say
// the same: the later connection of a client wins, and among principals the first.
func (h *holding) loses(m ownMessage, node string) bool {
	if m.Stamp == h.stamp {
		return m.Node < node
	}
	if m.Owner != h.owner {
		return m.Stamp < h.stamp
	}
	return m.Stamp > h.stamp
}

// giveLocked ends the session that has the client id.
func (c *NATSCluster) giveLocked(h *holding) {
	if h.yielding {
		return
	}
	h.yielding = true
	c.wg.Go(func() {
		err := h.yield(h.owner)
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case err == nil:
			c.dropLocked(h)
		case errors.Is(err, ErrOwned):
			h.yielding = false
			c.answerLocked(h, ownOwned)
		default:
			h.yielding = false
			c.answerLocked(h, ownBusy)
		}
	})
}
