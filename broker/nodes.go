package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	nodeSubject = "_HF.node"
	askPrefix   = "_HF.ask."

	helloEvery = 2 * time.Second
	deadAfter  = 7 * time.Second // without a word from a node
	askWait    = 2 * time.Second // for the nodes' answers
	askPart    = 512 << 10       // bytes of a longer answer that go at once
	maxAnswer  = 64 << 20        // bytes of one node's answer
	maxPeers   = 256
	maxGroups  = 10_000 // told to others; QoS 0 messages of groups beyond are not shared out between nodes
	maxHello   = 1 << 20

	headNode, headPart, headOf = "Hf-Node", "Hf-Part", "Hf-Of"
)

// hello is what a node says of itself: that it is there, and how many members
// each group of shared subscriptions has on it.
type hello struct {
	Node    string         `json:"n"`
	Bye     bool           `json:"bye,omitempty"`
	New     bool           `json:"new,omitempty"` // tell me about yourself
	Changed bool           `json:"d,omitempty"`   // Groups has what changed; otherwise all
	Groups  map[string]int `json:"g,omitempty"`   // members by short name
}

// peerNode is another node.
type peerNode struct {
	seen   time.Time
	groups map[string]int // members by short name
}

// ownGroup is a group with members here.
type ownGroup struct {
	short   string
	members int
}

// hello tells the other nodes about this one.
func (c *NATSCluster) hello(first bool) {
	h := hello{Node: c.node, New: first, Groups: map[string]int{}}
	c.mu.RLock()
	for _, g := range c.groups {
		if len(h.Groups) < maxGroups {
			h.Groups[g.short] = g.members
		}
	}
	c.mu.RUnlock()
	c.tell(nodeSubject, h)
}

func parseHello(data []byte) (h hello, err error) {
	if len(data) > maxHello {
		return h, fmt.Errorf("reading what another server says: it has %d bytes, more than %d", len(data), maxHello)
	}
	if err := json.Unmarshal(data, &h); err != nil {
		return hello{}, fmt.Errorf("reading what another server says: %w", err)
	}
	if h.Node == "" || len(h.Node) > 256 || len(h.Groups) > maxGroups {
		return hello{}, errors.New("reading what another server says: its name or groups are not within bounds")
	}
	return h, nil
}

// heard takes a hello.
func (c *NATSCluster) heard(data []byte, now time.Time) {
	h, err := parseHello(data)
	if err != nil || h.Node == c.node {
		return
	}
	c.mu.Lock()
	for name, p := range c.peers {
		if now.Sub(p.seen) > 10*deadAfter {
			delete(c.peers, name)
		}
	}
	p := c.peers[h.Node]
	switch {
	case h.Bye:
		delete(c.peers, h.Node)
	case p == nil && len(c.peers) >= maxPeers:
	default:
		if p == nil {
			p = &peerNode{}
			c.peers[h.Node] = p
		}
		p.take(h, now)
	}
	c.mu.Unlock()
	if h.New && !h.Bye {
		c.hello(false)
	}
}

func (p *peerNode) take(h hello, now time.Time) {
	p.seen = now
	if !h.Changed || p.groups == nil {
		p.groups = map[string]int{}
	}
	for name, n := range h.Groups {
		if n > 0 && len(p.groups) < maxGroups {
			p.groups[name] = n
		} else {
			delete(p.groups, name)
		}
	}
}

// Share implements Cluster.
func (c *NATSCluster) Share(group string, members int) {
	c.mu.Lock()
	g := c.groups[group]
	if g == nil {
		g = &ownGroup{short: short(group)}
		c.groups[group] = g
	}
	g.members = members
	if members == 0 {
		delete(c.groups, group)
	}
	c.mu.Unlock()
	c.tell(nodeSubject, hello{Node: c.node, Changed: true, Groups: map[string]int{g.short: members}})
}

// Mine implements Cluster: all nodes with the same picture choose the same one,
// each as often as it has members.
func (c *NATSCluster) Mine(group string, key uint64) bool {
	type share struct {
		node    string
		members int
	}
	var room [8]share
	now := time.Now()
	c.mu.RLock()
	own := c.groups[group]
	if own == nil {
		c.mu.RUnlock()
		return false
	}
	shares, total := append(room[:0], share{c.node, own.members}), own.members
	for name, p := range c.peers {
		if n := p.groups[own.short]; n > 0 && now.Sub(p.seen) < deadAfter {
			shares, total = append(shares, share{name, n}), total+n
		}
	}
	c.mu.RUnlock()
	if len(shares) == 1 {
		return true
	}
	slices.SortFunc(shares, func(a, b share) int { return compare(a.node, b.node) })
	turn := int(key % uint64(total))
	for _, s := range shares {
		if turn -= s.members; turn < 0 {
			return s.node == c.node
		}
	}
	return false
}

// First implements Cluster: the node with the lowest name of those alive.
func (c *NATSCluster) First() bool {
	for _, name := range c.alive() {
		if name < c.node {
			return false
		}
	}
	return true
}

// Alive implements Cluster.
func (c *NATSCluster) Alive(node string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	p := c.peers[node]
	return node == c.node || p != nil && time.Since(p.seen) < deadAfter
}

// alive returns the other nodes that were heard lately.
func (c *NATSCluster) alive() (names []string) {
	now := time.Now()
	c.mu.RLock()
	defer c.mu.RUnlock()
	for name, p := range c.peers {
		if now.Sub(p.seen) < deadAfter {
			names = append(names, name)
		}
	}
	return names
}

// Handle answers what other nodes ask by a name: letters, digits and - only. fn is
// called for one question at a time, and gets no longer a body than the bus
// carries; nil is no answer.
func (c *NATSCluster) Handle(name string, fn func(body []byte) []byte) error {
	sub, err := c.conn.Subscribe(askPrefix+name, func(m *nats.Msg) {
		if m.Header.Get(headNode) == c.node || m.Reply == "" {
			return
		}
		if answer := fn(m.Data); answer != nil {
			c.answer(m.Reply, answer)
		}
	})
	if err != nil {
		return fmt.Errorf("listening for other servers: %w", err)
	}
	c.mu.Lock()
	c.names[sub] = struct{}{}
	c.mu.Unlock()
	return c.conn.Flush()
}

// answer sends an answer in as many parts as it takes.
func (c *NATSCluster) answer(reply string, body []byte) {
	parts := (len(body) + askPart - 1) / askPart
	if len(body) > maxAnswer {
		return // the other side sees that this node did not answer
	}
	for i := range max(1, parts) {
		m := nats.NewMsg(reply)
		m.Header.Set(headNode, c.node)
		m.Header.Set(headPart, strconv.Itoa(i))
		m.Header.Set(headOf, strconv.Itoa(max(1, parts)))
		m.Data = body[min(len(body), i*askPart):min(len(body), (i+1)*askPart)]
		if c.conn.PublishMsg(m) != nil {
			return
		}
	}
}

// Ask asks all other nodes, and returns the answers that came when all nodes known
// to live have answered, or after 2 s. An error means that nobody could be asked.
func (c *NATSCluster) Ask(ctx context.Context, name string, body []byte) (answers [][]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	inbox := c.conn.NewInbox()
	sub, err := c.conn.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("asking the other servers: %w", err)
	}
	defer sub.Unsubscribe()
	m := nats.NewMsg(askPrefix + name)
	m.Reply, m.Data = inbox, body
	m.Header.Set(headNode, c.node)
	if err := c.conn.PublishMsg(m); err != nil {
		return nil, fmt.Errorf("asking the other servers: %w", err)
	}
	parts := map[string][]byte{} // of answers that are not whole
	missing := map[string]bool{}
	for _, node := range c.alive() {
		missing[node] = true
	}
	for len(missing) > 0 || len(parts) > 0 {
		part, err := sub.NextMsgWithContext(ctx)
		if err != nil || part.Header.Get("Status") != "" { // the time is over, or nobody listens by this name
			break
		}
		node := part.Header.Get(headNode)
		if have := len(parts[node]) + len(part.Data); node == "" || have > maxAnswer || len(parts) > maxPeers {
			continue
		}
		i, _ := strconv.Atoi(part.Header.Get(headPart))
		n, _ := strconv.Atoi(part.Header.Get(headOf))
		parts[node] = append(parts[node], part.Data...) // one node's come in their order
		if i+1 == n {
			answers = append(answers, parts[node])
			delete(parts, node)
			delete(missing, node)
		}
	}
	return answers, nil
}
