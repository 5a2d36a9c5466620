package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/broker/msglog"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/natsd"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/privacy"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// fixture is a broker on an embedded bus, with whom its clients are decided by name.
type fixture struct {
	t      testing.TB
	dir    string
	broker *broker.Broker
	bus    *natsd.Bus
	log    *msglog.Log
	events chan broker.Event
	mu     sync.Mutex
	set    *policy.Set                 // guarded by mu
	facts  map[string]policy.Principal // guarded by mu
	opt    broker.Options
	more   []func(*broker.Config)
}

const open = `
apiVersion: holdfast.dev/v1
kind: App
metadata: {name: any}
spec:
  clientIds: ["*"]
  audience: operator
  publish: [{name: say, topics: ["#", "$test/#"], qos: 2, retain: true}]
  subscribe: [{name: hear, topics: ["#", "$test/#"]}]
  limits: {subscriptions: 1000}
`

func compile(t testing.TB, text string) *policy.Set {
	t.Helper()
	docs, problems := manifest.Load([]manifest.File{{Name: "test.yaml", Data: []byte(text)}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	set, problems := policy.Compile(docs, policy.Config{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return set
}

func newFixture(t testing.TB, text string, opt broker.Options, more ...func(*broker.Config)) *fixture {
	f := &fixture{t: t, dir: t.TempDir(), set: compile(t, text), opt: opt, facts: map[string]policy.Principal{}, more: more}
	f.start()
	t.Cleanup(f.stop)
	return f
}

func (f *fixture) start() {
	f.t.Helper()
	var err error
	if f.bus, err = natsd.Start(natsd.Config{Name: "test", StoreDir: f.dir}); err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if f.log, err = msglog.Open(ctx, msglog.Config{Conn: f.bus.Conn(), OnReconnect: f.bus.OnReconnect, Node: "test"}); err != nil {
		f.t.Fatal(err)
	}
	key, err := privacy.NewHashKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.t.Fatal(err)
	}
	f.events = make(chan broker.Event, 1000)
	cfg := broker.Config{
		Messages: f.log, Node: "test", HashKey: key, Options: f.opt,
		Policy: func() *policy.Set {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.set
		},
		Facts: func(_ context.Context, p broker.Peer) (policy.Principal, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if now, known := f.facts[p.Principal.ID]; known {
				if now.Kind == "" {
					return now, errors.New("it is gone")
				}
				return now, nil
			}
			return *p.Principal, nil
		},
		Target: func(id string) (policy.Principal, bool) {
			f.mu.Lock()
			defer f.mu.Unlock()
			p, ok := f.facts[id]
			return p, ok
		},
		Observe: func(e broker.Event) {
			select {
			case f.events <- e:
			default:
			}
		},
	}
	for _, m := range f.more {
		m(&cfg)
	}
	if f.broker, err = broker.New(ctx, cfg); err != nil {
		f.t.Fatal(err)
	}
}

// policy puts another policy in force; the broker is told by the test.
func (f *fixture) policy(text string) {
	f.t.Helper()
	set := compile(f.t, text)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set = set
}

// know makes what is known about a principal something else.
func (f *fixture) know(id string, who policy.Principal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.facts[id] = who
}

func (f *fixture) stop() {
	f.t.Helper()
	if f.broker == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := f.broker.Close(ctx); err != nil {
		f.t.Error(err)
	}
	f.log.Close()
	if err := f.bus.Close(ctx); err != nil {
		f.t.Error(err)
	}
	f.broker = nil
}

var anyApp = policy.Principal{Kind: policy.App, ID: "any"}

// client speaks MQTT by hand.
type client struct {
	t   testing.TB
	nc  net.Conn
	r   *mqtt.Reader
	w   *mqtt.Writer
	ack mqtt.Connack
}

// dial opens a connection of a principal.
func (f *fixture) dial(who policy.Principal) net.Conn {
	f.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	defer l.Close()
	b, accepted := f.broker, make(chan struct{}) // closing the listener would reset a connection that waits for it
	go func() {
		nc, err := l.Accept()
		close(accepted)
		if err != nil {
			return
		}
		b.Serve(nc, broker.Peer{Addr: netip.MustParseAddrPort(nc.RemoteAddr().String()), Transport: "test", Principal: &who})
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	<-accepted
	f.t.Cleanup(func() { nc.Close() })
	return nc
}

func (f *fixture) connectAs(who policy.Principal, c mqtt.Connect) *client {
	f.t.Helper()
	if c.Version == 0 {
		c.Version = mqtt.V5
	}
	nc := f.dial(who)
	cl := &client{t: f.t, nc: nc, r: mqtt.NewReader(nc), w: mqtt.NewWriter(nc, c.Version)}
	cl.r.SetVersion(c.Version)
	cl.r.SetSender(mqtt.Server)
	cl.send(&c)
	cl.ack = *next[*mqtt.Connack](cl)
	return cl
}

func (f *fixture) connect(id string, clean bool, more ...func(*mqtt.Connect)) *client {
	f.t.Helper()
	c := mqtt.Connect{ClientID: id, CleanStart: clean}
	for _, m := range more {
		m(&c)
	}
	cl := f.connectAs(anyApp, c)
	if cl.ack.Code != 0 {
		f.t.Fatalf("CONNACK %v", cl.ack.Code)
	}
	return cl
}

func expiry(seconds uint32) func(*mqtt.Connect) {
	return func(c *mqtt.Connect) { c.Props.SetNumber(mqtt.SessionExpiry, seconds) }
}

func (c *client) send(p mqtt.Packet) {
	c.t.Helper()
	if err := c.w.WritePacket(p); err != nil {
		c.t.Fatal(err)
	}
	if err := c.w.Flush(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read() (mqtt.Packet, error) {
	c.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	return c.r.ReadPacket()
}

// next reads a packet that must be of one type.
func next[P mqtt.Packet](c *client) P {
	c.t.Helper()
	p, err := c.read()
	if err != nil {
		c.t.Fatalf("reading: %v", err)
	}
	want, ok := p.(P)
	if !ok {
		c.t.Fatalf("got %v %+v, want %T", p.Type(), p, want)
	}
	return want
}

// quiet checks that nothing comes: the answers to two pings are the next packets.
// What waited at the first may be written behind its answer, not behind the second.
func (c *client) quiet() {
	c.t.Helper()
	for range 2 {
		c.send(&mqtt.Pingreq{})
		next[*mqtt.Pingresp](c)
	}
}

func (c *client) subscribe(filter string, qos mqtt.QoS, more ...func(*mqtt.Subscribe)) mqtt.ReasonCode {
	c.t.Helper()
	s := &mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: qos}}}
	for _, m := range more {
		m(s)
	}
	c.send(s)
	return next[*mqtt.Suback](c).Codes[0]
}

func (c *client) publish(topic, payload string, qos mqtt.QoS, id uint16, more ...func(*mqtt.Publish)) {
	c.t.Helper()
	p := &mqtt.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos, ID: id}
	for _, m := range more {
		m(p)
	}
	c.send(p)
}

// receive reads a message and acknowledges it at QoS 1.
func (c *client) receive(topic, payload string) *mqtt.Publish {
	c.t.Helper()
	p := next[*mqtt.Publish](c).Clone()
	if topic != "" && string(p.Topic) != topic || payload != "" && string(p.Payload) != payload {
		c.t.Fatalf("got %s %q (QoS %d, id %d, again %v), want %s %q", p.Topic, p.Payload, p.QoS, p.ID, p.Dup, topic, payload)
	}
	if p.QoS == 1 {
		c.send(&mqtt.Puback{Ack: mqtt.Ack{ID: p.ID}})
	}
	return p
}

// take receives n messages and completes each exchange.
func (c *client) take(n int) (got []*mqtt.Publish) {
	c.t.Helper()
	for open := 0; len(got) < n || open > 0; {
		p, err := c.read()
		if err != nil {
			c.t.Fatalf("after %d messages of %d: %v", len(got), n, err)
		}
		switch p := p.(type) {
		case *mqtt.Publish:
			got = append(got, p.Clone())
			if p.QoS == 1 {
				c.send(&mqtt.Puback{Ack: mqtt.Ack{ID: p.ID}})
			} else if p.QoS == 2 {
				open++
				c.send(&mqtt.Pubrec{Ack: mqtt.Ack{ID: p.ID}})
			}
		case *mqtt.Pubrel:
			open--
			c.send(&mqtt.Pubcomp{Ack: mqtt.Ack{ID: p.ID}})
		default:
			c.t.Fatalf("got %v %+v", p.Type(), p)
		}
	}
	return got
}

func (c *client) bye() {
	c.t.Helper()
	c.send(&mqtt.Disconnect{})
	c.gone()
}

// gone waits until the server has closed the connection.
func (c *client) gone() {
	c.t.Helper()
	for {
		if _, err := c.read(); err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				c.t.Fatal("the connection was not closed")
			}
			return
		}
	}
}

func TestQoS(t *testing.T) {
	f := newFixture(t, open, broker.Options{})
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		version := func(c *mqtt.Connect) { c.Version = v }
		t.Run(strings.ReplaceAll(v.String(), " ", "-"), func(t *testing.T) {
			for sub := mqtt.QoS(0); sub <= 2; sub++ {
				a, b := f.connect("a", true, version), f.connect("b", true, version)
				if code := a.subscribe("x/+", sub); code != mqtt.ReasonCode(sub) {
					t.Fatal(code)
				}
				for pub := mqtt.QoS(0); pub <= 2; pub++ {
					text := fmt.Sprintf("%d to %d", pub, sub)
					b.publish("x/y", text, pub, uint16(pub)*7)
					switch pub {
					case 1:
						if ack := next[*mqtt.Puback](b); ack.ID != 7 || ack.Code != 0 {
							t.Fatalf("%+v", ack)
						}
					case 2:
						if rec := next[*mqtt.Pubrec](b); rec.ID != 14 || rec.Code != 0 {
							t.Fatalf("%+v", rec)
						}
						b.send(&mqtt.Pubrel{Ack: mqtt.Ack{ID: 14}})
						if comp := next[*mqtt.Pubcomp](b); comp.ID != 14 || comp.Code != 0 {
							t.Fatalf("%+v", comp)
						}
					}
					p := a.receive("x/y", text)
					if p.QoS != min(pub, sub) || p.Retain || p.Dup {
						t.Fatalf("%+v", p)
					}
					if p.QoS == 2 {
						a.send(&mqtt.Pubrec{Ack: mqtt.Ack{ID: p.ID}})
						if rel := next[*mqtt.Pubrel](a); rel.ID != p.ID {
							t.Fatal(rel)
						}
						a.send(&mqtt.Pubcomp{Ack: mqtt.Ack{ID: p.ID}})
					}
				}
				a.quiet()
				a.bye()
				b.bye()
			}
		})
	}
}

func TestPersistentSession(t *testing.T) {
	f := newFixture(t, open, broker.Options{})
	a := f.connect("a", true, expiry(100))
	if a.ack.SessionPresent {
		t.Fatal("session present on the first connection")
	}
	a.subscribe("x/#", 2)
	a.bye()
	b := f.connect("b", true)
	for i := range 100 {
		qos := mqtt.QoS(1 + i%2)
		b.publish("x/y", fmt.Sprint(i), qos, uint16(i+1))
		if qos == 1 {
			next[*mqtt.Puback](b)
		} else {
			next[*mqtt.Pubrec](b)
			b.send(&mqtt.Pubrel{Ack: mqtt.Ack{ID: uint16(i + 1)}})
			next[*mqtt.Pubcomp](b)
		}
	}
	f.stop()
	f.start()
	a = f.connect("a", false, expiry(100))
	if !a.ack.SessionPresent {
		t.Fatal("the session is gone")
	}
	for i, p := range a.take(100) {
		if string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, p.Payload)
		}
	}
	a.quiet()
	a.bye()
	a = f.connect("a", true)
	if a.ack.SessionPresent {
		t.Fatal("clean start found a session")
	}
	a.quiet()
}
