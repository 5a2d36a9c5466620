package test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
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
		if !ok || !p.Retain {
			continue // SUBACK, or a message of now
		}
		w.send(&mqtt.Puback{Ack: mqtt.Ack{ID: p.ID}})
		topic, n := string(p.Topic), int64(0)
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
