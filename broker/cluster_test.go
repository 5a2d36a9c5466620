package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/natsd"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/privacy"
)

// startServers starts three NATS servers with routes on the loopback.
func startServers(t *testing.T) []*server.Server {
	t.Helper()
	var routes []*url.URL
	var ports []int
	for range 3 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
		routes = append(routes, &url.URL{Scheme: "nats", Host: ln.Addr().String()})
		ln.Close()
	}
	var all []*server.Server
	for i := range 3 {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprintf("s%d", i), Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true,
			JetStream: true, StoreDir: t.TempDir(), Routes: routes,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[i]},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		all = append(all, s)
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	}
	for _, s := range all {
		if !s.ReadyForConnections(20 * time.Second) {
			t.Fatal("a NATS server does not start")
		}
	}
	return all
}

// node is a broker of a cluster.
type node struct {
	*fixture
	cluster *broker.NATSCluster
}

// startNode starts a broker that prefers the first of some NATS servers.
func startNode(t *testing.T, name string, set *policy.Set, opt broker.Options, servers ...*server.Server) *node {
	t.Helper()
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.ClientURL())
	}
	n := &node{fixture: &fixture{t: t, set: set, opt: opt}}
	var err error
	if n.bus, err = natsd.Start(natsd.Config{URL: strings.Join(urls, ","), Name: name, ReconnectWait: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; { // until the servers have a leader
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		n.log, err = msglog.Open(ctx, msglog.Config{Conn: n.bus.Conn(), OnReconnect: n.bus.OnReconnect, Clustered: true, Node: name, AckTimeout: 20 * time.Second})
		cancel()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if n.cluster, err = broker.NewCluster(n.bus.Conn(), name); err != nil {
		t.Fatal(err)
	}
	key, err := privacy.NewHashKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	n.broker, err = broker.New(ctx, broker.Config{
		Messages: n.log, Node: name, HashKey: key, Options: opt, Cluster: n.cluster,
		Policy: func() *policy.Set { return set },
		Facts:  func(_ context.Context, p broker.Peer) (policy.Principal, error) { return *p.Principal, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := n.broker.Close(ctx); err != nil {
			t.Error(err)
		}
		n.leave()
	})
	return n
}

// leave ends all but the broker.
func (n *node) leave() {
	n.cluster.Close()
	n.log.Close()
	if err := n.bus.Close(context.Background()); err != nil {
		n.t.Error(err)
	}
}

// TestCluster runs all on one cluster: that is what takes time to start.
func TestCluster(t *testing.T) {
	servers := startServers(t)
	set := compile(t, open)
	opt := broker.Options{SettleEvery: 300 * time.Millisecond}
	a := startNode(t, "a", set, opt, servers[0], servers[1], servers[2])
	b := startNode(t, "b", set, opt, servers[1], servers[2], servers[0])
	for _, part := range []struct {
		name string
		run  func(*testing.T, *node, *node)
	}{
		{"takeover", testTakeover}, {"claims", testClaims}, {"resume", testResume}, {"retained", testRetained}, {"qos0", testCast},
		{"share", testClusterShare}, {"ask", testAsk},
		{"dead", func(t *testing.T, a, _ *node) { testDead(t, a, set, servers) }},
		{"loss", func(t *testing.T, a, b *node) { testLoss(t, a, b, servers) }}, // last: a server is gone then
	} {
		t.Run(part.name, func(t *testing.T) {
			a.t, b.t = t, t
			part.run(t, a, b)
		})
		a.t, b.t = t, t
	}
}

func testTakeover(t *testing.T, a, b *node) {
	for i := range 6 {
		from, to := a, b
		if i%2 == 1 {
			from, to = b, a
		}
		first := from.connect("c", true)
		second := to.connect("c", false)
		if d := next[*mqtt.Disconnect](first); d.Code != mqtt.SessionTakenOver {
			t.Fatalf("the old connection ended with %v", d.Code)
		}
		first.gone()
		second.quiet()
		for !from.cluster.Held(context.Background(), "c") { // until the servers have told each other
		}
		second.bye()
	}
	mine := a.connect("c", true)
	other := b.connectAs(policy.Principal{Kind: policy.App, ID: "any2"}, mqtt.Connect{ClientID: "c"})
	if other.ack.Code == 0 {
		t.Fatal("another principal took the client id")
	}
	mine.quiet()
	mine.bye()
}

// testClaims has both nodes take the same client ids at the same time: one keeps each.
func testClaims(t *testing.T, a, b *node) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	const n = 50
	var lost [n]atomic.Int32
	news := make(chan struct{}, 2*n)
	var releases []func()
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		for _, x := range []*node{a, b} {
			wg.Go(func() {
				<-start
				release, err := x.cluster.Take(ctx, fmt.Sprint("both", i), "app/x", func(string) error {
					lost[i].Add(1)
					news <- struct{}{}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				releases = append(releases, release)
				mu.Unlock()
			})
		}
	}
	close(start)
	wg.Wait()
	for range n {
		select {
		case <-news:
		case <-ctx.Done():
			t.Fatal("a client id is held by both")
		}
	}
	for i := range n {
		if got := lost[i].Load(); got != 1 {
			t.Errorf("client id %d was lost %d times", i, got)
		}
		if !a.cluster.Held(ctx, fmt.Sprint("both", i)) {
			t.Errorf("client id %d is held by nobody", i)
		}
	}
	for _, release := range releases {
		release()
	}
	if _, err := a.cluster.Take(ctx, "owned", "app/x", func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for !b.cluster.Held(ctx, "owned") { // until the servers have told each other
	}
	if _, err := b.cluster.Take(ctx, "owned", "app/y", func(string) error { return nil }); !errors.Is(err, broker.ErrOwned) {
		t.Errorf("another owner got %v", err)
	}
}

func testResume(t *testing.T, a, b *node) {
	sub, pub := a.connect("resume", true, expiry(100)), b.connect("pub", true)
	sub.subscribe("r/#", 2)
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			qos := mqtt.QoS(1 + i%2)
			pub.publish("r/x", fmt.Sprint(i), qos, uint16(i+1))
			if qos == 1 {
				next[*mqtt.Puback](pub)
				continue
			}
			next[*mqtt.Pubrec](pub)
			pub.send(&mqtt.Pubrel{Ack: mqtt.Ack{ID: uint16(i + 1)}})
			next[*mqtt.Pubcomp](pub)
		}
	}
	check := func(got []*mqtt.Publish, from int) {
		t.Helper()
		for i, p := range got {
			if string(p.Payload) != fmt.Sprint(from+i) {
				t.Fatalf("message %d is %q", from+i, p.Payload)
			}
		}
		sub.quiet()
	}
	at, done := a, 0
	for round := range 4 {
		publish(done, done+20) // live
		check(sub.take(20), done)
		done += 20
		if round%2 == 0 {
			sub.bye()
		} else {
			sub.nc.Close()
		}
		publish(done, done+20) // missed
		if at = b; round%2 == 1 {
			at = a
		}
		if sub = at.connect("resume", false, expiry(100)); !sub.ack.SessionPresent {
			t.Fatal("the session is gone")
		}
		check(sub.take(20), done)
		done += 20
	}
	sub.bye()
}

func testRetained(t *testing.T, a, b *node) {
	pub := a.connect("pub", true)
	pub.publish("keep/x", "kept", 1, 1, func(p *mqtt.Publish) { p.Retain = true })
	next[*mqtt.Puback](pub)
	for i, n := range []*node{a, b} {
		sub := n.connect(fmt.Sprint("ret", i), true)
		sub.subscribe("keep/+", 1)
		if p := sub.receive("keep/x", "kept"); !p.Retain {
			t.Error("it is not marked as retained")
		}
		sub.bye()
	}
}

func testCast(t *testing.T, a, b *node) {
	subA, subB, pub := a.connect("sa", true), b.connect("sb", true), b.connect("pub", true)
	subA.subscribe("cast/#", 0)
	subA.subscribe("cast/x/#", 0, func(s *mqtt.Subscribe) { s.ID = 2 })
	subB.subscribe("cast/+", 2)
	for i := range 50 {
		pub.publish("cast/x", fmt.Sprint(i), 0, 0)
	}
	for i := range 50 {
		subA.receive("cast/x", fmt.Sprint(i))
		subB.receive("cast/x", fmt.Sprint(i))
	}
	subA.quiet()
	subB.quiet()
}

func testClusterShare(t *testing.T, a, b *node) {
	var members []*client
	for i, n := range []*node{a, b, b, a} {
		m := n.connect(fmt.Sprint("member", i), true, narrow)
		if code := m.subscribe("$share/team/s/#", 1); code != 1 {
			t.Fatal(code)
		}
		members = append(members, m)
	}
	pub := a.connect("pub", true)
	p := drink(members...)
	pub.say("s/x", "one ", 200)
	p.until(t, 200)
	// All nodes know of all members when each has taken its turn at QoS 0.
	for i := 0; i < 200; i++ {
		pub.publish("s/x", fmt.Sprint("zero ", i), 0, 0)
	}
	p.until(t, 400)
	p.once(t)
	for i, m := range members {
		if p.by[m] < 40 {
			t.Errorf("member %d got %d messages", i, p.by[m])
		}
	}
	// A member goes without acknowledging: the others, on another node, get what
	// it had.
	mute := a.connect("mute", true, narrow)
	mute.subscribe("$share/team/s/#", 1)
	for _, i := range []int{0, 3} {
		members[i].nc.Close()
	}
	pub.say("s/x", "more ", 100)
	mute.nc.Close()
	p.until(t, 500)
}

func testAsk(t *testing.T, a, b *node) {
	long := bytes.Repeat([]byte("long"), 300_000)
	for _, n := range []*node{a, b} {
		if err := n.cluster.Handle("echo", func(body []byte) []byte { return slices.Concat(body, long) }); err != nil {
			t.Fatal(err)
		}
	}
	for {
		got, err := a.cluster.Ask(context.Background(), "echo", []byte("hello"))
		if err == nil && len(got) == 0 {
			continue // until the servers have told each other
		}
		if err != nil || len(got) != 1 || !bytes.Equal(got[0], slices.Concat([]byte("hello"), long)) {
			t.Errorf("%d answers, %v", len(got), err)
		}
		break
	}
	if got, err := a.cluster.Ask(context.Background(), "nobody", nil); err != nil || len(got) != 0 {
		t.Errorf("%d answers, %v", len(got), err)
	}
}

// testDead has a node vanish: its sessions' wills are published by another.
func testDead(t *testing.T, a *node, set *policy.Set, servers []*server.Server) {
	dying := startNode(t, "dying", set, broker.Options{}, servers[2])
	ear := a.connect("ear", true)
	ear.subscribe("will/#", 1)
	dying.connect("dead", true, expiry(50), func(c *mqtt.Connect) {
		c.Will = &mqtt.Will{Topic: "will/dead", Payload: []byte("gone"), QoS: 1}
	})
	dying.leave() // the broker lives, but nobody hears it any more
	ear.receive("will/dead", "gone")
	for { // the row follows the will
		s, err := a.broker.Session(context.Background(), "dead")
		if err != nil || s == nil {
			t.Fatalf("the session is %+v, %v", s, err)
		}
		if !s.Connected {
			return
		}
	}
}

// testLoss ends a NATS server while messages are published on one node and
// received on the other.
func testLoss(t *testing.T, a, b *node, servers []*server.Server) {
	sub := b.connect("lossy", true, expiry(100))
	sub.subscribe("loss/#", 2)
	team := []*client{a.connect("la", true), b.connect("lb", true)}
	for _, m := range team {
		m.subscribe("$share/loss/loss/1", 1)
	}
	p, shared := drink(sub), drink(team...)
	const n = 600
	var acked [3]int
	var wg sync.WaitGroup
	third := make(chan struct{})
	for _, qos := range []mqtt.QoS{1, 2} {
		pub := a.connect(fmt.Sprint("pub", qos), true)
		wg.Go(func() {
			for i := range n {
				id := uint16(i%1000 + 1)
				if i == n/3 && qos == 1 {
					close(third)
				}
				pub.w.WritePacket(&mqtt.Publish{Topic: fmt.Append(nil, "loss/", qos), Payload: fmt.Append(nil, qos, " ", i), QoS: qos, ID: id})
				pub.w.Flush()
				pub.nc.SetReadDeadline(time.Now().Add(40 * time.Second))
				answer, err := pub.r.ReadPacket()
				if err != nil {
					t.Errorf("publishing %d at QoS %d: %v", i, qos, err)
					return
				}
				acked[qos]++
				if _, ok := answer.(*mqtt.Pubrec); ok {
					pub.w.WritePacket(&mqtt.Pubrel{Ack: mqtt.Ack{ID: id}})
					pub.w.Flush()
					if _, err := pub.r.ReadPacket(); err != nil {
						t.Errorf("completing %d: %v", i, err)
						return
					}
				}
			}
		})
	}
	<-third
	servers[1].Shutdown() // b's
	wg.Wait()
	p.until(t, acked[1]+acked[2])
	shared.until(t, acked[1])
	p.mu.Lock()
	defer p.mu.Unlock()
	twice := 0
	for i := range n {
		if p.got[fmt.Sprint("1 ", i)] > 1 {
			twice++
		}
		if got := p.got[fmt.Sprint("2 ", i)]; i < acked[2] && got != 1 {
			t.Errorf("message %d at QoS 2 came %d times", i, got)
		}
	}
	t.Logf("%d and %d messages acknowledged, %d at QoS 1 came twice", acked[1], acked[2], twice)
}
