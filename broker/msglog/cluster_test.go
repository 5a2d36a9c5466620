package msglog

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/holdfast-iot/holdfast/natsd"
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
		if !s.ReadyForConnections(patience) {
			t.Fatal("a NATS server does not start")
		}
	}
	return all
}

// openNode opens the log as one node of a cluster, by way of some of its servers.
func openNode(t *testing.T, name string, servers ...*server.Server) *Log {
	t.Helper()
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.ClientURL())
	}
	bus, err := natsd.Start(natsd.Config{URL: strings.Join(urls, ","), Name: name, ReconnectWait: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var l *Log
	for deadline := time.Now().Add(patience); ; { // until the cluster has a leader
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		l, err = Open(ctx, Config{Conn: bus.Conn(), OnReconnect: bus.OnReconnect, Clustered: true, Node: name, AckTimeout: 20 * time.Second})
		cancel()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		l.Close()
		if err := bus.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// ear is a live receiver.
type ear struct {
	mu     sync.Mutex
	seqs   []uint64
	casts  []string
	missed atomic.Int64
	heard  chan bool // capacity 1
}

func listen(l *Log) *ear {
	e := &ear{heard: make(chan bool, 1)}
	l.Live(func(m *Message) {
		e.mu.Lock()
		if m.Seq == 0 {
			e.casts = append(e.casts, m.Topic)
		} else {
			e.seqs = append(e.seqs, m.Seq)
		}
		e.mu.Unlock()
		select {
		case e.heard <- true:
		default:
		}
	}, func() {
		e.missed.Add(1)
		select {
		case e.heard <- true:
		default:
		}
	})
	return e
}

// until waits until what was heard is enough.
func (e *ear) until(t *testing.T, what string, enough func() bool) {
	t.Helper()
	timeout := time.After(patience)
	for {
		e.mu.Lock()
		ok := enough()
		e.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-e.heard:
		case <-timeout:
			t.Fatalf("waiting until %s: %d messages, %d casts, missed %d times", what, len(e.seqs), len(e.casts), e.missed.Load())
		}
	}
}

func TestCluster(t *testing.T) {
	servers := startServers(t)
	a := openNode(t, "a", servers[0], servers[1])
	b := openNode(t, "b", servers[1], servers[0])
	earA, earB := listen(a), listen(b)
	for _, filter := range []string{"x/y/z/#", "x/#", "x/y/+"} { // overlapping
		if err := b.Interest(filter, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Interest("x/y/z", true); err != nil {
		t.Fatal(err)
	}
	// From the very first message on, each once, at every node that asked.
	for i := range 500 {
		mustAppendLater(t, a, text("x/y/z", fmt.Sprint(i)))
	}
	last, _ := mustAppend(t, a, text("elsewhere", ""), "")
	earB.until(t, "b has all", func() bool { return len(earB.seqs) == 500 })
	earA.until(t, "a has all", func() bool { return len(earA.seqs) == 500 })
	for i, seq := range earB.seqs {
		if seq != uint64(i+1) {
			t.Fatalf("message %d is %d", i+1, seq)
		}
	}
	a.Cast(&Message{Topic: "x/cast"})
	a.Cast(&Message{Topic: "elsewhere"})
	a.Cast(&Message{Topic: "x/y/z"})
	earB.until(t, "b has the casts", func() bool { return len(earB.casts) >= 2 })
	if fmt.Sprint(earB.casts) != "[x/cast x/y/z]" || len(earA.casts) != 0 {
		t.Errorf("casts: %v and %v", earA.casts, earB.casts)
	}
	// What one node stored, the other reads at once.
	if got := rest(t, b.Cursor([]From{{"elsewhere", 0}})); len(got) != 1 || got[0].Seq != last {
		t.Errorf("b read %d messages", len(got))
	}
	rev, err := a.SaveSession(patient(t), "c", []byte("one"), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if row, got, err := b.Session(patient(t), "c"); string(row) != "one" || got != rev || err != nil {
		t.Errorf("the session at b: %q %d %v", row, got, err)
	}
	before := earA.missed.Load() + earB.missed.Load()
	if before != 0 {
		t.Errorf("missed was called %d times without a reason", before)
	}
	for _, filter := range []string{"x/y/z/#", "x/#", "x/y/+"} {
		if err := b.Interest(filter, false); err != nil {
			t.Error(err)
		}
	}
	if n := len(b.live.wants); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	loseOne(t, servers, a, b, earB)
}

// loseOne ends the server that leads the log while a appends and b listens.
func loseOne(t *testing.T, servers []*server.Server, a, b *Log, ear *ear) {
	if err := b.Interest("x/#", true); err != nil {
		t.Fatal(err)
	}
	start, err := a.Last(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	const n = 5000
	acked := make([]uint64, 0, n)
	half, all := make(chan bool), make(chan bool)
	go func() {
		for i := range n {
			a.Append(text("x/y", fmt.Sprint(i)), "", func(seq uint64, _ bool, err error) {
				if err != nil {
					t.Errorf("message %d: %v", i, err)
				}
				acked = append(acked, seq)
				switch len(acked) {
				case n / 10:
					close(half)
				case n:
					close(all)
				}
			})
		}
	}()
	<-half
	info, err := b.js.Stream(patient(t), logStream)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		if s.Name() == info.CachedInfo().Cluster.Leader {
			s.Shutdown()
		}
	}
	select {
	case <-all:
	case <-time.After(2 * patience):
		t.Fatal("not all messages were acknowledged")
	}
	ear.until(t, "missed was called", func() bool { return ear.missed.Load() > 0 })
	got := rest(t, b.Cursor([]From{{"x/y", start}}))
	there, seen := map[uint64]bool{}, map[string]bool{}
	for _, m := range got {
		there[m.Seq] = true
		seen[string(m.Payload)] = true
	}
	for i, seq := range acked {
		if !there[seq] || !seen[fmt.Sprint(i)] {
			t.Fatalf("message %d, acknowledged as %d, is gone", i, seq)
		}
	}
	// What was missed live is found between Safe and the end of the log.
	safe := b.Safe()
	ear.mu.Lock()
	live, previous := map[uint64]bool{}, uint64(0)
	for _, seq := range ear.seqs {
		if seq <= previous {
			t.Errorf("live message %d came after %d", seq, previous)
		}
		previous, live[seq] = seq, true
	}
	ear.mu.Unlock()
	lost := 0
	for seq := range there {
		if seq <= safe && !live[seq] {
			t.Errorf("message %d was missed before %d, which was called safe", seq, safe)
		}
		if !live[seq] && seq < previous {
			lost++
			if b.Delivered(seq) {
				t.Errorf("message %d was not delivered", seq)
			}
		}
	}
	t.Logf("%d messages stored for %d acknowledged, %d not live, missed called %d times", len(got), n, lost, ear.missed.Load())
}
