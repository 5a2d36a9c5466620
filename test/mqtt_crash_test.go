package test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

const mqttCrashes = 8

// mourned is a client with a will that does nothing but die with its server.
type mourned struct {
	who     identity
	v       mqtt.Version
	persist bool
	of      *stream // the wills that were left
}

// TestMQTTCrash kills the server at random moments under load, again and again:
// no acknowledged message is lost, none at QoS 2 comes twice, sessions, retained
// messages and wills survive.
func TestMQTTCrash(t *testing.T) {
	t.Parallel()
	flags := append([]string{"--listen-mqtts", freeAddress(t)}, unlimited...)
	s := newSite(t, flags...)
	l := newLoad(t, s)
	var all []*mourned
	for n, m := range []mourned{{v: mqtt.V311, persist: true}, {v: mqtt.V5, persist: true}, {v: mqtt.V5}} {
		m.who = s.device(fmt.Sprintf("mourned-%d", n))
		m.of = l.stream(m.who.own()+"/will", mqtt.QoS(min(n+1, 2)), n == 1)
		all = append(all, &m)
	}
	watcher := s.appToken("watcher")
	ctx, stop := context.WithCancel(t.Context())
	defer l.wg.Wait()
	defer stop()
	l.run(ctx)
	l.chaos.Store(true)
	rng := rand.New(rand.NewPCG(l.seed, mqttCrashes))
	for round := range mqttCrashes {
		for _, m := range all {
			l.leaveWill(m, round > 0)
		}
		select {
		case <-time.After(time.Duration(200+rng.IntN(2000)) * time.Millisecond):
		case <-ctx.Done():
		}
		for _, m := range all {
			m.of.sent.Add(1)
		}
		l.crash(flags)
		l.retained(watcher)
	}
	l.drain()
	stop()
	l.wg.Wait()
	l.report()
	s.after(0)
	if err := s.p.stop(); err != nil {
		t.Error(err)
	}
}

// freeAddress is a loopback address that stays free while no server has it: the
// system does not choose its port for anything.
func freeAddress(t *testing.T) string {
	for range 100 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(10_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no port is free")
	return ""
}

// crash kills the server as a power cut would and starts another in its place.
func (l *load) crash(flags []string) {
	l.mu.Lock()
	l.serving = make(chan struct{})
	serving := l.serving
	l.mu.Unlock()
	l.s.p.kill()
	l.s.p = mustUp(l.t, l.s.p.data, os.Environ(), append([]string{"--mqtt-retention-bytes", "512MiB"}, flags...)...)
	close(serving)
}

// leaveWill connects a client whose will is the next message of its stream.
func (l *load) leaveWill(m *mourned, again bool) {
	l.t.Helper()
	hello := greeting(m.who, m.v)
	hello.KeepAlive, hello.CleanStart = 300, !m.persist
	if m.persist {
		hello.Props.SetNumber(mqtt.SessionExpiry, 3600)
	}
	hello.Will = &mqtt.Will{QoS: m.of.qos, Retain: m.of.retain, Topic: m.of.topic, Payload: m.of.body(m.of.sent.Load() + 1)}
	a := l.s.mustDial(l.t, m.who).connect(hello)
	if a.Code != mqtt.Success || a.SessionPresent != (m.persist && again) {
		l.bad("%s connects again (%v) and is told %v, session present %v", m.who.id, again, a.Code, a.SessionPresent)
	}
}

// retained asks a server that has just started for the retained messages: each is
// one that was acknowledged, or sent later.
func (l *load) retained(who identity) {
	acked, want, got := map[string]int64{}, 0, map[string]bool{}
	for topic, m := range l.streams {
		if acked[topic] = m.acked.Load(); m.retain && acked[topic] > 0 {
			want++
		}
	}
	w := l.s.mustConnect(l.t, who, mqtt.V5)
	defer w.nc.Close()
	w.send(&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "plant/+/+/kept", QoS: 1}}})
	for len(got) < want {
		p, ok := w.read().(*mqtt.Publish)
		if !ok {
			continue // SUBACK
		}
		w.send(&mqtt.Puback{Ack: mqtt.Ack{ID: p.ID}})
		topic, n := string(p.Topic), int64(0)
		if !p.Retain { // a message of now: what it replaces may not come any more
			got[topic] = got[topic] || acked[topic] > 0
			continue
		}
		m := l.streams[topic]
		if m == nil {
			l.bad("a message is retained on %s", topic)
			continue
		}
		fmt.Sscan(string(p.Payload[len(topic):]), &n)
		if n < acked[topic] || n > m.sent.Load() || !bytes.Equal(p.Payload, m.body(n)) {
			l.bad("%.60q is retained on %s, where %d was acknowledged", p.Payload, topic, acked[topic])
		}
		if acked[topic] > 0 {
			got[topic] = true
		}
	}
}

// subscriber hears all streams.
type subscriber struct {
	client
	most       mqtt.QoS
	subscribed atomic.Bool
	held       map[uint16]bool // QoS 2 messages taken in and not released
	aliases    map[uint32]string

	mu    sync.Mutex
	last  map[string]int64 // newest number by topic; guarded by mu
	got   int              // guarded by mu
	twice int              // of it, what it had; guarded by mu
}

// connected subscribes when there is no session yet.
func (c *subscriber) connected(present bool) []mqtt.Packet {
	c.aliases = map[uint32]string{}
	if present {
		return nil
	}
	return []mqtt.Packet{&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "plant/#", QoS: c.most}}}}
}

func (c *subscriber) publish() []mqtt.Packet { return nil }

// take implements the receiver's side of QoS 1 and 2.
func (c *subscriber) take(got mqtt.Packet) []mqtt.Packet {
	switch got := got.(type) {
	case *mqtt.Suback:
		if got.Codes[0] != mqtt.ReasonCode(c.most) {
			c.l.bad("%s subscribes and is told %v", c.who.id, got.Codes[0])
		}
		c.subscribed.Store(true)
	case *mqtt.Publish:
		topic := c.topic(got) // also of one that it has: it may introduce an alias
		if !c.held[got.ID] || got.QoS != 2 {
			c.hear(topic, got)
		}
		switch got.QoS {
		case 1:
			return []mqtt.Packet{&mqtt.Puback{Ack: mqtt.Ack{ID: got.ID}}}
		case 2:
			c.held[got.ID] = true
			return []mqtt.Packet{&mqtt.Pubrec{Ack: mqtt.Ack{ID: got.ID}}}
		}
	case *mqtt.Pubrel:
		done := &mqtt.Pubcomp{Ack: mqtt.Ack{ID: got.ID}}
		if !c.held[got.ID] && c.v == mqtt.V5 {
			done.Code = mqtt.PacketIDNotFound
		}
		delete(c.held, got.ID)
		return []mqtt.Packet{done}
	}
	return nil
}

// topic resolves topic aliases.
func (c *subscriber) topic(p *mqtt.Publish) string {
	alias, has := p.Props.Number(mqtt.TopicAlias)
	if has && len(p.Topic) == 0 {
		return c.aliases[alias]
	}
	if has {
		c.aliases[alias] = string(p.Topic)
	}
	return string(p.Topic)
}

// hear checks a message against what was published and what was heard before.
func (c *subscriber) hear(topic string, p *mqtt.Publish) {
	m := c.l.streams[topic]
	if m == nil {
		c.l.bad("%s got the topic %q, which nobody uses", c.who.id, topic)
		return
	}
	var n int64
	if fields := bytes.Fields(p.Payload); len(fields) > 1 {
		n, _ = strconv.ParseInt(string(fields[1]), 10, 64) // 0 is nobody's
	}
	if n < 1 || n > m.sent.Load() || !bytes.Equal(p.Payload, m.body(n)) {
		c.l.bad("%s got %.60q on %s, which nobody said", c.who.id, p.Payload, topic)
		return
	}
	if qos := min(m.qos, c.most); p.QoS != qos || p.Retain {
		c.l.bad("%s got %s at QoS %d, retain %v", c.who.id, topic, p.QoS, p.Retain)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got++
	last := c.last[topic]
	switch {
	case n <= last && p.QoS != 1:
		c.l.bad("%s got %s %d again (DUP %v, packet %d), after %d", c.who.id, topic, n, p.Dup, p.ID, last)
	case n <= last:
		c.twice++
	case n != last+1 && m.qos > 0:
		c.l.bad("%s got %s %d after %d (DUP %v)", c.who.id, topic, n, last, p.Dup)
	}
	c.last[topic] = max(n, last)
}
