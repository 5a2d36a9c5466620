package test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// TestMQTTCluster has clients on two servers that share a database and a message
// bus: sessions move between them, and what is changed on one holds on the other.
func TestMQTTCluster(t *testing.T) {
	c := newCluster(t)
	s := &site{t: t, p: c.a, api: c.api, tokenID: c.group, secret: c.text}
	var err error
	if s.pool, err = c.a.roots(); err != nil {
		t.Fatal(err)
	}
	s.apply(labPolicy)
	who := s.appToken("reader")
	on := func(p *process, who identity, keep bool) *five {
		t.Helper()
		var l *five
		c.within("connecting "+who.id, func(context.Context) error { // the policy reaches the other server in a moment
			one, err := dialPaho(t, s, who, "ssl://"+p.MQTTS, terms{keep: keep})
			if err == nil {
				l = one.(*five)
				t.Cleanup(l.cut)
			}
			return err
		})
		if l == nil {
			t.FailNow()
		}
		return l
	}
	before := map[string]bool{} // QoS 1 may bring again what was heard, when a server dies
	hears := func(l *five, want string) {
		t.Helper()
		for limit := time.After(everywhere); !before[want]; {
			select {
			case m := <-l.messages():
				if m.payload != want && !before[m.payload] {
					t.Fatalf("heard %q, want %q", m.payload, want)
				}
				before[m.payload] = true
			case <-limit:
				t.Fatalf("%q was not heard", want)
			}
		}
	}
	ended := func(l *five, code byte) {
		t.Helper()
		select {
		case d := <-l.said:
			if d.ReasonCode != code {
				t.Fatalf("ended with 0x%02x, want 0x%02x", d.ReasonCode, code)
			}
		case <-time.After(everywhere):
			t.Fatal("the session was not ended")
		}
	}
	says := func(l *five, text string) {
		t.Helper()
		if err := l.publish("plant/plant/x", 1, false, text); err != nil {
			t.Fatal(err)
		}
	}

	// A session that lasts goes on at the other server, with what it missed.
	reader := on(c.a, who, true)
	if err := reader.subscribe("plant/#", 1); err != nil {
		t.Fatal(err)
	}
	writer := on(c.b, who.as("writer"), false)
	says(writer, "live on the other server")
	hears(reader, "live on the other server")
	reader.leave()
	says(writer, "while nobody reads")
	reader = on(c.b, who, true)
	if !reader.resumed() {
		t.Fatal("the session is not there")
	}
	hears(reader, "while nobody reads")

	// The first server knows it, and takes it back.
	c.within("the session is listed", func(ctx context.Context) error {
		list, err := c.api.Sessions(ctx, adminapi.SessionFilter{Prefix: "reader", Limit: 10})
		if err != nil || len(list.Items) != 1 || list.Items[0].ClientID != "reader" {
			return fmt.Errorf("%+v, %v", list.Items, err)
		}
		return nil
	})
	again := on(c.a, who, true)
	ended(reader, 0x8E)
	says(writer, "back again")
	hears(again, "back again")

	// A server that is killed loses nothing that was acknowledged.
	c.a.kill()
	says(writer, "while a server is dead")
	reader = on(c.b, who, true)
	hears(reader, "while a server is dead")

	// A policy applied on one holds on the other.
	if s.api, err = c.b.operator(c.b.AdminTokenFile); err != nil {
		if s.api, err = c.b.operator(c.a.AdminTokenFile); err != nil {
			t.Fatal(err)
		}
	}
	c.a = c.up(c.a.data)
	stranger := on(c.a, who.as("stranger"), false)
	s.apply(map[string]string{"sensor.yaml": labPolicy["sensor.yaml"]})
	ended(stranger, 0x87)
	ended(reader, 0x87)
}
