package test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

const (
	loadPublishers  = 20
	loadSubscribers = 10
	loadWindow      = 16 // messages of a publisher without an acknowledgement
	soakRounds      = 3
	soakRound       = 6 * time.Second
	drained         = 20 * time.Second // for everything to arrive on a loaded machine
)

// load is publishers and subscribers of one server whose connections break all the
// time, and the account of what was published and what arrived.
type load struct {
	t       *testing.T
	s       *site
	addr    string // of MQTT; outlives a server
	seed    uint64
	chaos   atomic.Bool        // connections break
	quiet   atomic.Bool        // nothing new is published
	streams map[string]*stream // by topic; not changed once clients run
	pubs    []*publisher
	subs    []*subscriber
	breaks  atomic.Int64
	wrong   atomic.Int64
	wg      sync.WaitGroup
	mu      sync.Mutex
	serving chan struct{} // closed while the server runs; guarded by mu
}

// stream is what one publisher says on one topic: numbered messages from 1 on.
type stream struct {
	topic       string
	qos         mqtt.QoS
	retain      bool
	sent, acked atomic.Int64 // numbers of the newest message
}

// body is the payload of a message: nobody else's, and not always as long.
func (m *stream) body(n int64) []byte {
	return fmt.Appendf(nil, "%s %d %s", m.topic, n, strings.Repeat("x", int(n*37%900)))
}

// client is an MQTT client that keeps its session and connects again whenever its
// connection ends.
type client struct {
	l     *load
	who   identity
	v     mqtt.Version
	rng   *rand.Rand // of the client's goroutine
	known bool       // the server has the session
	props mqtt.Properties
	does  interface {
		connected(present bool) []mqtt.Packet // what to send first
		take(p mqtt.Packet) []mqtt.Packet     // the answers
		publish() []mqtt.Packet               // what is new
	}
}

// newLoad makes the clients; their connections do not break yet.
func newLoad(t *testing.T, s *site) *load {
	seed := rand.Uint64()
	if text := os.Getenv("SOAK_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("SOAK_SEED=%d", seed)
	l := &load{t: t, s: s, addr: s.p.MQTTS, seed: seed, streams: map[string]*stream{}, serving: make(chan struct{})}
	close(l.serving)
	for n := range loadPublishers {
		who := s.device(fmt.Sprintf("source-%d", n))
		p := &publisher{client: l.client(who, n)}
		p.does = p
		for qos, name := range []string{"zero", "one", "two"} {
			p.streams = append(p.streams, l.stream(who.own()+"/"+name, mqtt.QoS(qos), false))
		}
		p.streams = append(p.streams, l.stream(who.own()+"/kept", 1, true))
		l.pubs = append(l.pubs, p)
	}
	cert, token := s.appCert("lab"), s.appToken("lab")
	for n := range loadSubscribers {
		who := cert
		if n%3 == 0 {
			who = token
		}
		c := &subscriber{client: l.client(who.as(fmt.Sprintf("sink-%d", n)), n), most: 2, held: map[uint16]bool{}, last: map[string]int64{}}
		c.does = c
		if n%5 == 4 {
			c.most = 1
		}
		if n%4 == 1 {
			c.props.SetNumber(mqtt.ReceiveMaximum, 5)
			c.props.SetNumber(mqtt.TopicAliasMaximum, 7)
		}
		l.subs = append(l.subs, c)
	}
	return l
}

func (l *load) client(who identity, n int) client {
	c := client{l: l, who: who, v: mqtt.V5, rng: rand.New(rand.NewPCG(l.seed, uint64(len(l.pubs)+len(l.subs))))}
	if n%2 == 0 {
		c.v = mqtt.V311
	}
	c.props.SetNumber(mqtt.SessionExpiry, 3600)
	return c
}

func (l *load) stream(topic string, qos mqtt.QoS, retain bool) *stream {
	m := &stream{topic: topic, qos: qos, retain: retain}
	l.streams[topic] = m
	return m
}

// bad notes that a promise was broken.
func (l *load) bad(format string, v ...any) {
	if l.wrong.Add(1) <= 20 {
		l.t.Errorf(format, v...)
	}
}

// run lets clients live until the context ends.
func (l *load) run(ctx context.Context) {
	for _, c := range l.subs {
		l.wg.Go(func() { c.run(ctx) })
	}
	err := poll(drained, func() error {
		for _, c := range l.subs {
			if !c.subscribed.Load() {
				return fmt.Errorf("%s has no subscription", c.who.id)
			}
		}
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
	for _, p := range l.pubs {
		l.wg.Go(func() { p.run(ctx) })
	}
}

// drain stops the chaos and waits until all messages have arrived.
func (l *load) drain() {
	l.chaos.Store(false)
	l.quiet.Store(true)
	if err := poll(drained, l.complete); err != nil {
		l.bad("something is missing: %v", err)
	}
}

// complete says what has not been acknowledged, or not arrived.
func (l *load) complete() error {
	for _, p := range l.pubs {
		if n := p.open.Load(); n > 0 {
			return fmt.Errorf("%d messages of %s are not acknowledged", n, p.who.id)
		}
	}
	for _, c := range l.subs {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, m := range l.streams {
			if got, sent := c.last[m.topic], m.sent.Load(); m.qos > 0 && got != sent {
				return fmt.Errorf("%s has %s up to %d of %d", c.who.id, m.topic, got, sent)
			}
		}
	}
	return nil
}

// wait is until the server runs.
func (l *load) wait(ctx context.Context) {
	l.mu.Lock()
	serving := l.serving
	l.mu.Unlock()
	select {
	case <-serving:
	case <-ctx.Done():
	}
}

// run connects until the context ends.
func (c *client) run(ctx context.Context) {
	var k *conversation
	for {
		c.l.wait(ctx)
		if ctx.Err() != nil {
			if k != nil {
				k.nc.Close() // it may have been left open for the next one to take over
			}
			return
		}
		next, err := c.connect(ctx)
		if err == nil {
			k = next
			c.talk(ctx, k)
		}
		pause := time.Duration(0)
		if err != nil || c.rng.IntN(3) == 0 {
			pause = time.Duration(c.rng.IntN(700)) * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// conversation is one connection of a client.
type conversation struct {
	nc  *tls.Conn
	r   *mqtt.Reader
	v   mqtt.Version
	in  chan mqtt.Packet // closed when the connection has ended
	end chan struct{}    // closed when nobody takes packets any more
}

func (k *conversation) write(p ...mqtt.Packet) error {
	if len(p) == 0 {
		return nil
	}
	_, err := k.nc.Write(bytesOf(k.v, p...))
	return err
}

// pump reads until the connection ends.
func (k *conversation) pump(c *client) {
	defer c.l.wg.Done()
	defer k.nc.Close()
	defer close(k.in)
	for {
		p, err := k.r.ReadPacket()
		if bad, is := errors.AsType[*mqtt.Error](err); is {
			c.l.bad("%s was sent what is not MQTT: %v", c.who.id, bad)
		}
		if err != nil {
			return
		}
		select {
		case k.in <- lasting(p):
		case <-k.end: // another connection took over: go on until the server ends this one
		}
	}
}

// lasting is a packet that stays as it is when the next one is read.
func lasting(p mqtt.Packet) mqtt.Packet {
	switch p := p.(type) {
	case *mqtt.Publish:
		return p.Clone()
	case *mqtt.Puback:
		return &mqtt.Puback{Ack: mqtt.Ack{ID: p.ID, Code: p.Code}}
	case *mqtt.Pubrec:
		return &mqtt.Pubrec{Ack: mqtt.Ack{ID: p.ID, Code: p.Code}}
	case *mqtt.Pubrel:
		return &mqtt.Pubrel{Ack: mqtt.Ack{ID: p.ID, Code: p.Code}}
	case *mqtt.Pubcomp:
		return &mqtt.Pubcomp{Ack: mqtt.Ack{ID: p.ID, Code: p.Code}}
	}
	return p
}

// connect opens a connection, goes on with the session and sends what has to be
// sent again.
func (c *client) connect(ctx context.Context) (*conversation, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: c.l.s.tls(c.who)}
	nc, err := d.DialContext(ctx, "tcp", c.l.addr)
	if err != nil {
		return nil, err
	}
	k := &conversation{nc: nc.(*tls.Conn), v: c.v, r: mqtt.NewReader(nc), in: make(chan mqtt.Packet, 8), end: make(chan struct{})}
	k.r.SetVersion(c.v)
	k.r.SetSender(mqtt.Server)
	nc.SetDeadline(time.Now().Add(drained))
	hello := greeting(c.who, c.v)
	hello.CleanStart, hello.Props = false, c.props
	if err := k.write(hello); err != nil {
		nc.Close()
		return nil, err
	}
	p, err := k.r.ReadPacket()
	if err != nil {
		nc.Close()
		return nil, err
	}
	a, ok := p.(*mqtt.Connack)
	if !ok || a.Code != mqtt.Success {
		c.l.bad("%s connects and is answered %+v", c.who.id, p)
		nc.Close()
		return nil, errors.New("refused")
	}
	if c.known && !a.SessionPresent {
		c.l.bad("the server lost the session of %s", c.who.id)
	}
	c.known = true
	nc.SetDeadline(time.Time{})
	c.l.wg.Add(1)
	go k.pump(c)
	if err := k.write(c.does.connected(a.SessionPresent)...); err != nil {
		k.nc.Close()
		return nil, err
	}
	return k, nil
}

// talk is a connection until it ends, or is made to.
func (c *client) talk(ctx context.Context, k *conversation) {
	defer close(k.end)
	upset := time.NewTimer(time.Duration(50+c.rng.IntN(2500)) * time.Millisecond)
	defer upset.Stop()
	tick := time.NewTicker(time.Duration(60+c.rng.IntN(60)) * time.Millisecond)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			k.bye()
			return
		case p, ok := <-k.in:
			if !ok {
				return
			}
			answers := c.does.take(p)
			if c.l.chaos.Load() && c.rng.IntN(1000) == 0 { // what it has taken in remains unanswered
				c.leave(k)
				return
			}
			err = k.write(answers...)
		case <-tick.C:
			err = k.write(c.does.publish()...)
		case <-upset.C:
			if c.l.chaos.Load() {
				c.leave(k)
				return
			}
		}
		if err != nil {
			k.nc.Close()
			return
		}
	}
}

// bye ends a connection as the standard has it, and waits for the server.
func (k *conversation) bye() {
	if k.write(&mqtt.Disconnect{}) != nil {
		k.nc.Close()
	}
	k.nc.SetDeadline(time.Now().Add(drained))
	for range k.in {
	}
}

// leave ends a connection in one of the ways in which they end.
func (c *client) leave(k *conversation) {
	c.l.breaks.Add(1)
	raw := k.nc.NetConn().(*net.TCPConn)
	switch c.rng.IntN(6) {
	case 0, 1: // reset
		raw.SetLinger(0)
		raw.Close()
	case 2: // the end of the stream
		raw.Close()
	case 3:
		k.bye()
	case 4: // in the middle of a packet
		b := bytesOf(c.v, append(c.does.publish(), &mqtt.Pingreq{})...)
		_, _ = k.nc.Write(b[:c.rng.IntN(len(b))]) // it is going to be closed
		raw.Close()
	case 5: // it stays open: the next connection takes over
	}
}

// publisher says numbered messages on its streams, each until it is acknowledged.
type publisher struct {
	client
	streams []*stream
	flight  []*sending // without an acknowledgement, in order
	lastID  uint16
	open    atomic.Int64 // length of flight
}

// sending is a message of a publisher on its way.
type sending struct {
	p        *mqtt.Publish
	n        int64
	of       *stream
	received bool // QoS 2: PUBREC came
}

// connected implements what a client has to send again (MQTT-4.4.0-1).
func (p *publisher) connected(bool) (again []mqtt.Packet) {
	for _, f := range p.flight {
		if f.received {
			again = append(again, &mqtt.Pubrel{Ack: mqtt.Ack{ID: f.p.ID}})
		} else {
			f.p.Dup = true
			again = append(again, f.p)
		}
	}
	return again
}

// publish is a few new messages.
func (p *publisher) publish() (all []mqtt.Packet) {
	if p.l.quiet.Load() {
		return nil
	}
	for range 1 + p.rng.IntN(8) {
		m := p.streams[p.rng.IntN(len(p.streams))]
		if m.retain && p.rng.IntN(4) > 0 || m.qos > 0 && len(p.flight) >= loadWindow {
			continue
		}
		f := &sending{of: m, n: m.sent.Add(1)}
		f.p = &mqtt.Publish{QoS: m.qos, Retain: m.retain, Topic: []byte(m.topic), Payload: m.body(f.n)}
		if m.qos > 0 {
			f.p.ID = p.nextID()
			p.flight = append(p.flight, f)
			p.open.Store(int64(len(p.flight)))
		}
		all = append(all, f.p)
	}
	return all
}

func (p *publisher) nextID() uint16 {
	for {
		if p.lastID++; p.lastID != 0 && p.find(p.lastID) < 0 {
			return p.lastID
		}
	}
}

func (p *publisher) find(id uint16) int {
	for n, f := range p.flight {
		if f.p.ID == id {
			return n
		}
	}
	return -1
}

// take implements the sender's side of QoS 1 and 2.
func (p *publisher) take(got mqtt.Packet) []mqtt.Packet {
	switch got := got.(type) {
	case *mqtt.Puback:
		p.acknowledged(got.Ack, 1)
	case *mqtt.Pubcomp:
		p.acknowledged(got.Ack, 2)
	case *mqtt.Pubrec:
		n := p.find(got.ID)
		if n < 0 || got.Code.Failed() {
			p.l.bad("%s is told PUBREC %v about %d, which is in flight at %d", p.who.id, got.Code, got.ID, n)
			return nil
		}
		p.flight[n].received = true
		return []mqtt.Packet{&mqtt.Pubrel{Ack: mqtt.Ack{ID: got.ID}}}
	}
	return nil
}

// acknowledged ends a message. PUBCOMP may say that the identifier is not known:
// the one before was lost.
func (p *publisher) acknowledged(a mqtt.Ack, qos mqtt.QoS) {
	n := p.find(a.ID)
	if n < 0 || p.flight[n].p.QoS != qos || a.Code.Failed() && a.Code != mqtt.PacketIDNotFound || qos == 2 && !p.flight[n].received {
		p.l.bad("%s is told %v about %d, which is in flight at %d", p.who.id, a.Code, a.ID, n)
		return
	}
	f := p.flight[n]
	f.of.acked.Store(max(f.n, f.of.acked.Load()))
	p.flight = append(p.flight[:n], p.flight[n+1:]...)
	p.open.Store(int64(len(p.flight)))
}

// report says how much there was.
func (l *load) report() {
	var sent int64
	for _, m := range l.streams {
		sent += m.sent.Load()
	}
	got, twice := 0, 0
	for _, c := range l.subs {
		c.mu.Lock()
		got, twice = got+c.got, twice+c.twice
		c.mu.Unlock()
	}
	l.t.Logf("%d messages published; %d taken in by %d subscribers, %d of them again; %d connections broken", sent, got, len(l.subs), twice, l.breaks.Load())
	if sent < 1000 || l.breaks.Load() < 50 {
		l.t.Error("that is no load")
	}
}

// after is what a server holds when all garbage of the load is gone.
func (s *site) after(sessions float64) (heap float64) {
	s.t.Helper()
	cycles := s.metric("go_gc_duration_seconds_count")
	err := poll(drained, func() error {
		for range 20 { // each makes some garbage
			if s.metric("go_gc_duration_seconds_count") >= cycles+2 {
				if n := s.metric("holdfast_mqtt_sessions"); n != sessions {
					return fmt.Errorf("%v sessions are connected", n)
				}
				return nil
			}
		}
		return errors.New("no garbage was collected")
	})
	if err != nil {
		s.t.Error(err)
	}
	return s.metric("go_memstats_heap_inuse_bytes")
}

// TestMQTTSoak breaks connections at random under load: every acknowledged message
// arrives, at QoS 2 once; nothing of the load stays behind.
func TestMQTTSoak(t *testing.T) {
	t.Parallel()
	// Collected often, so that memory in use is what is needed and not what waits to be collected.
	s := newSiteIn(t, append(os.Environ(), "GOGC=25"), unlimited...)
	l := newLoad(t, s)
	before := s.metric("go_goroutines")
	var heaps []float64
	for range soakRounds {
		ctx, stop := context.WithCancel(t.Context())
		l.run(ctx)
		l.quiet.Store(false)
		l.chaos.Store(true)
		select {
		case <-time.After(soakRound):
		case <-t.Context().Done():
		}
		l.drain()
		stop()
		l.wg.Wait()
		s.settles(before)
		heaps = append(heaps, s.after(0))
	}
	l.report()
	t.Logf("%v goroutines before, %v after; %.1f MiB of memory after each round", before, s.metric("go_goroutines"), mib(heaps))
	if first, last := heaps[0], heaps[len(heaps)-1]; last > first*2+64<<20 { // much of it caches of the message store
		t.Errorf("memory grew: %.1f MiB", mib(heaps))
	}
	if bad := s.metric("holdfast_mqtt_malformed_packets_total"); bad > 0 {
		t.Errorf("%v packets were malformed for the server", bad)
	}
	if err := s.p.stop(); err != nil {
		t.Error(err)
	}
}

func mib(bytes []float64) (all []float64) {
	for _, b := range bytes {
		all = append(all, b/(1<<20))
	}
	return all
}
