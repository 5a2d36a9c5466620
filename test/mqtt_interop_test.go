package test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// copies is how many messages each client sends at each QoS.
const copies = 3

// TestMQTTInterop lets clients that others wrote use every combination of MQTT
// version, QoS, transport and way to show who they are.
func TestMQTTInterop(t *testing.T) {
	s := newSite(t)
	echo(t, s)
	urls := map[string]string{"mqtts": "ssl://" + s.p.MQTTS, "wss": s.p.WSS}
	for _, maker := range slices.Sorted(maps.Keys(makers)) {
		short := strings.NewReplacer(".", "-").Replace(maker)
		whos := map[string]identity{"device": s.device(short), "app": s.appCert(short + "-app"), "token": s.appToken(short + "-token")}
		t.Run(maker, func(t *testing.T) {
			t.Parallel()
			for _, proof := range slices.Sorted(maps.Keys(whos)) {
				for _, transport := range slices.Sorted(maps.Keys(urls)) {
					who := whos[proof]
					l := mustDial(t, s, maker, who, urls[transport], terms{})
					base := who.own() + "/" + who.id + "/" + transport
					for qos := range byte(3) {
						exchange(t, l, fmt.Sprintf("%s/%d", base, qos), qos)
					}
					l.leave()
				}
			}
			who := whos["device"]
			features(t, s, maker, who, urls["mqtts"])
			sharing(t, s, maker, whos["app"], urls["mqtts"])
		})
	}
	t.Run("mosquitto", func(t *testing.T) { t.Parallel(); mosquitto(t, s) })
	t.Run("mqtt.js", func(t *testing.T) { t.Parallel(); javaScript(t, s) })
	t.Run("properties", func(t *testing.T) { t.Parallel(); properties(t, s) })
}

// echo is an app that sends everything under …/up back to …/down, or to the
// response topic, with its properties.
func echo(t *testing.T, s *site) {
	t.Helper()
	l := mustDial(t, s, "paho.golang", s.appToken("echo"), "ssl://"+s.p.MQTTS, terms{}).(*five)
	type answer struct {
		p   *paho.Publish
		qos byte
	}
	answers := make(chan answer, 4096)
	l.c.AddOnPublishReceived(func(r paho.PublishReceived) (bool, error) {
		p, to := r.Packet, strings.Replace(r.Packet.Topic, "/up", "/down", 1)
		props := &paho.PublishProperties{CorrelationData: p.Properties.CorrelationData, ContentType: p.Properties.ContentType, User: p.Properties.User}
		if p.Properties.ResponseTopic != "" {
			to = p.Properties.ResponseTopic
		}
		answers <- answer{&paho.Publish{Topic: to, QoS: p.QoS, Payload: p.Payload, Properties: props}, p.QoS}
		return true, nil
	})
	if err := l.subscribe("plant/+/+/+/+/+/up/#", 2); err != nil {
		t.Fatal(err)
	}
	if err := l.subscribe("plant/rpc/up", 1); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case a := <-answers:
				_, _ = l.c.Publish(ctx, a.p) // what is lost, the other side misses
			}
		}
	}()
	t.Cleanup(func() { stop(); <-done })
}

// exchange sends messages to the echo, and wants them back.
func exchange(t *testing.T, l link, base string, qos byte) {
	t.Helper()
	if err := l.subscribe(base+"/down/#", qos); err != nil {
		t.Fatalf("subscribing at QoS %d: %v", qos, err)
	}
	var want []string
	for n := range copies {
		payload := fmt.Sprintf("%s message %d", base, n)
		want = append(want, payload)
		if err := l.publish(fmt.Sprintf("%s/up/%d", base, n), qos, false, payload); err != nil {
			t.Fatalf("publishing at QoS %d: %v", qos, err)
		}
	}
	for _, payload := range want { // a topic each, in the order they were sent
		got := next(t, l)
		if got.payload != payload || got.retain {
			t.Fatalf("QoS %d: got %q on %s (retained: %v), want %q", qos, got.payload, got.topic, got.retain, payload)
		}
	}
}

// next is the next message that a client receives.
func next(t *testing.T, l link) heard {
	t.Helper()
	select {
	case m := <-l.messages():
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("no message came")
		return heard{}
	}
}

// nextBut is the next message, without repetitions at QoS 1 of one whose
// acknowledgement was lost with the connection.
func nextBut(t *testing.T, l link, payload string) heard {
	t.Helper()
	for {
		if m := next(t, l); m.payload != payload {
			return m
		}
	}
}

// features are what a client has beside messages: retained ones, wills, sessions
// that last.
func features(t *testing.T, s *site, maker string, who identity, url string) {
	t.Helper()
	base := who.own() + "/features"
	first := mustDial(t, s, maker, who.as(who.id+"/first"), url, terms{})
	if err := first.publish(base+"/kept", 1, true, "retained"); err != nil {
		t.Fatal(err)
	}
	second := mustDial(t, s, maker, who.as(who.id+"/second"), url, terms{keep: true})
	if err := second.subscribe(base+"/#", 1); err != nil {
		t.Fatal(err)
	}
	if m := next(t, second); m.payload != "retained" || !m.retain || m.topic != base+"/kept" {
		t.Errorf("the retained message came as %+v", m)
	}
	if second.resumed() {
		t.Error("a new session is said to be an old one")
	}
	mortal := mustDial(t, s, maker, who.as(who.id+"/mortal"), url, terms{will: base + "/will"})
	mortal.cut()
	if m := next(t, second); m.payload != "gone" || m.topic != base+"/will" {
		t.Errorf("the will came as %+v", m)
	}
	second.cut()
	for qos := byte(1); qos < 3; qos++ {
		if err := first.publish(fmt.Sprintf("%s/missed/%d", base, qos), qos, false, "while away"); err != nil {
			t.Fatal(err)
		}
	}
	again := mustDial(t, s, maker, who.as(who.id+"/second"), url, terms{keep: true})
	if !again.resumed() {
		t.Error("the session was not resumed")
	}
	for qos := 1; qos < 3; qos++ {
		if m := nextBut(t, again, "gone"); m.payload != "while away" || m.topic != fmt.Sprintf("%s/missed/%d", base, qos) || m.retain {
			t.Errorf("message %d missed while away came as %+v", qos, m)
		}
	}
	if err := first.publish(base+"/kept", 1, true, ""); err != nil {
		t.Fatal(err)
	}
	if m := next(t, again); m.payload != "" || m.retain {
		t.Errorf("the end of the retained message came as %+v", m)
	}
	third := mustDial(t, s, maker, who.as(who.id+"/third"), url, terms{})
	if err := third.subscribe(base+"/#", 1); err != nil {
		t.Fatal(err)
	}
	if err := first.publish(base+"/last", 1, false, "last"); err != nil {
		t.Fatal(err)
	}
	if m := next(t, third); m.payload != "last" {
		t.Errorf("after the retained message was taken back came %+v", m)
	}
}

// sharing has two clients share a subscription: each message goes to one of them.
func sharing(t *testing.T, s *site, maker string, who identity, url string) {
	t.Helper()
	topic := "plant/" + who.id + "/shared"
	sender := mustDial(t, s, maker, who.as(who.id+"-sender"), url, terms{})
	got := make(chan heard, 1000)
	for n := range 2 {
		member := mustDial(t, s, maker, who.as(fmt.Sprintf("%s-member-%d", who.id, n)), url, terms{})
		if err := member.subscribe("$share/crew/"+topic, 1); err != nil {
			t.Fatal(err)
		}
		ctx := bounded(t)
		go func() {
			for {
				select {
				case m := <-member.messages():
					got <- m
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	seen := map[string]int{}
	for n := range 20 {
		if err := sender.publish(topic, 1, false, fmt.Sprint(n)); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		select {
		case m := <-got:
			seen[m.payload]++
		case <-time.After(20 * time.Second):
			t.Fatalf("only %d of 20 shared messages came", len(seen))
		}
	}
	for n := range 20 {
		if seen[fmt.Sprint(n)] != 1 {
			t.Errorf("shared message %d came %d times", n, seen[fmt.Sprint(n)])
		}
	}
}

// properties of MQTT 5 reach the receiver as they were sent.
func properties(t *testing.T, s *site) {
	who := s.device("props")
	l := mustDial(t, s, "paho.golang", who, "ssl://"+s.p.MQTTS, terms{}).(*five)
	topic := who.own() + "/props"
	if err := l.subscribe(topic, 1); err != nil {
		t.Fatal(err)
	}
	sent := &paho.PublishProperties{ContentType: "text/plain", ResponseTopic: who.own() + "/answer", CorrelationData: []byte{0, 1, 255},
		PayloadFormat: paho.Byte(1), MessageExpiry: paho.Uint32(60),
		User: paho.UserProperties{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}}}
	if _, err := l.c.Publish(bounded(t), &paho.Publish{Topic: topic, QoS: 1, Payload: []byte("grüße"), Properties: sent}); err != nil {
		t.Fatal(err)
	}
	got := next(t, l).props
	if got.ContentType != sent.ContentType || got.ResponseTopic != sent.ResponseTopic || string(got.CorrelationData) != string(sent.CorrelationData) ||
		got.PayloadFormat == nil || *got.PayloadFormat != 1 || !slices.Equal(got.User, sent.User) {
		t.Errorf("the properties came as %+v, sent %+v", got, sent)
	}
	if got.MessageExpiry == nil || *got.MessageExpiry > 60 || *got.MessageExpiry < 50 {
		t.Errorf("the time to live came as %v", got.MessageExpiry)
	}
	// A refusal has a code and a sentence.
	res, err := l.c.Publish(bounded(t), &paho.Publish{Topic: "plant/plant/another/props", QoS: 1})
	if err == nil || res == nil || res.ReasonCode != 0x87 || res.Properties.ReasonString == "" {
		t.Errorf("a message on another's topic was answered %+v, %v", res, err)
	}
}
