package broker_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// exchange publishes at QoS 1 or 2 and waits until that is complete.
func (c *client) exchange(topic, payload string, qos mqtt.QoS, id uint16, more ...func(*mqtt.Publish)) {
	c.t.Helper()
	c.publish(topic, payload, qos, id, more...)
	if qos == 1 {
		if ack := next[*mqtt.Puback](c); ack.ID != id || ack.Code != 0 {
			c.t.Fatalf("%+v", ack)
		}
		return
	}
	if rec := next[*mqtt.Pubrec](c); rec.ID != id || rec.Code != 0 {
		c.t.Fatalf("%+v", rec)
	}
	c.release(id)
}

// release sends PUBREL and reads PUBCOMP.
func (c *client) release(id uint16) {
	c.t.Helper()
	c.send(&mqtt.Pubrel{Ack: mqtt.Ack{ID: id}})
	if comp := next[*mqtt.Pubcomp](c); comp.ID != id || comp.Code != 0 {
		c.t.Fatalf("%+v", comp)
	}
}

// drop breaks the connection without a DISCONNECT, and waits until the broker saw it.
func (f *fixture) drop(c *client, id string) {
	f.t.Helper()
	c.nc.Close()
	f.gone(id)
}

// gone waits until a client id is not connected.
func (f *fixture) gone(id string) {
	f.t.Helper()
	f.until(id+" is gone", func() bool {
		for _, s := range f.broker.Sessions() {
			if s.ClientID == id {
				return false
			}
		}
		return true
	})
}

// until waits for a condition.
func (f *fixture) until(what string, ok func() bool) {
	f.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("waited in vain: %s", what)
		}
	}
}

func dup(p *mqtt.Publish)    { p.Dup = true }
func retain(p *mqtt.Publish) { p.Retain = true }

func payloads(got []*mqtt.Publish) string {
	var all []string
	for _, p := range got {
		all = append(all, string(p.Payload))
	}
	return strings.Join(all, " ")
}

func TestQoS1Receiver(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true), f.connect("b", true)
	a.subscribe("x", 1)
	b.exchange("x", "1", 1, 5)
	// The identifier is free again: whatever DUP says, this is new (MQTT-4.3.2-5).
	b.exchange("x", "2", 1, 5, dup)
	for _, want := range []string{"1", "2"} {
		if p := a.receive("x", want); p.Dup || p.ID == 0 { // MQTT-3.3.1-3
			t.Errorf("%+v", p)
		}
	}
}

func TestQoS2Receiver(t *testing.T) {
	f := newFixture(t, open, calm)
	for _, lasting := range []uint32{0, 60} {
		a, b := f.connect("a", true), f.connect("b", true, expiry(lasting))
		a.subscribe("x", 2)
		for round := range 3 {
			text := fmt.Sprint(lasting, round)
			b.publish("x", text, 2, 5)
			next[*mqtt.Pubrec](b)
			for range 2 { // MQTT-4.3.3-10
				b.publish("x", text, 2, 5, dup)
				if rec := next[*mqtt.Pubrec](b); rec.ID != 5 || rec.Code != 0 {
					t.Fatalf("%+v", rec)
				}
			}
			b.release(5)
			b.send(&mqtt.Pubrel{Ack: mqtt.Ack{ID: 5}}) // once more: there is none
			if comp := next[*mqtt.Pubcomp](b); comp.Code != mqtt.PacketIDNotFound {
				t.Fatal(comp.Code)
			}
			if got := a.take(1); string(got[0].Payload) != text {
				t.Fatalf("%q", got[0].Payload)
			}
		}
		a.quiet()
		b.bye()
	}
	// In MQTT 3.1.1 PUBREL is always answered.
	c := f.connect("c", true, v311)
	c.send(&mqtt.Pubrel{Ack: mqtt.Ack{ID: 9}})
	if comp := next[*mqtt.Pubcomp](c); comp.ID != 9 {
		t.Error(comp.ID)
	}
}

// A QoS 2 message that the client sends again after its connection, or the server,
// was lost arrives once.
func TestQoS2ReceiverAcrossConnections(t *testing.T) {
	f := newFixture(t, open, calm)
	a := f.connect("a", true, expiry(100))
	a.subscribe("x", 2)
	for i, restart := range []bool{false, true} {
		text := fmt.Sprint("round ", i)
		b := f.connect("b", false, expiry(100))
		b.publish("x", text, 2, 5)
		next[*mqtt.Pubrec](b)
		f.drop(b, "b")
		if restart {
			a.take(1)
			f.drop(a, "a")
			f.stop()
			f.start()
			a = f.connect("a", false, expiry(100))
		} else {
			a.take(1)
		}
		b = f.connect("b", false, expiry(100))
		if !b.ack.SessionPresent {
			t.Fatal("no session")
		}
		b.publish("x", text, 2, 5, dup)
		if rec := next[*mqtt.Pubrec](b); rec.Code != 0 {
			t.Fatal(rec.Code)
		}
		b.release(5)
		a.quiet()
		b.exchange("x", "new", 2, 5)
		if got := a.take(1); string(got[0].Payload) != "new" {
			t.Fatalf("%q", got[0].Payload)
		}
		b.bye()
	}
}

// Many QoS 2 messages at once, within the receive maximum, are not too many.
func TestReceiveMaximumOfServer(t *testing.T) {
	opt := calm
	opt.ReceiveMaximum = 8
	f := newFixture(t, open, opt)
	for qos := mqtt.QoS(1); qos <= 2; qos++ {
		b := f.connect("b", true)
		for round := range 20 {
			for i := range 8 {
				if err := b.w.WritePacket(&mqtt.Publish{Topic: []byte("x"), QoS: qos, ID: uint16(i + 1), Payload: []byte(fmt.Sprint(round))}); err != nil {
					t.Fatal(err)
				}
			}
			b.w.Flush()
			for i := range 8 { // MQTT-4.6.0-2: in order
				if qos == 1 {
					if ack := next[*mqtt.Puback](b); int(ack.ID) != i+1 {
						t.Fatal(ack.ID)
					}
				} else if rec := next[*mqtt.Pubrec](b); int(rec.ID) != i+1 {
					t.Fatal(rec.ID)
				}
			}
			for i := range 8 {
				if qos == 2 {
					b.release(uint16(i + 1))
				}
			}
		}
		b.bye()
	}
	b := f.connect("b", true)
	for i := range 9 { // QoS 2 without PUBREL: the ninth is one too many
		b.publish("x", "", 2, uint16(i+1))
		if i < 8 {
			next[*mqtt.Pubrec](b)
		}
	}
	b.disconnected(mqtt.ReceiveMaximumExceeded)
	c := f.connect("c", true, v311) // it was told no maximum
	for i := range 50 {
		c.publish("x", "", 2, uint16(i+1))
	}
	for range 50 {
		next[*mqtt.Pubrec](c)
	}
	c.quiet()
}

func TestReceiveMaximumOfClient(t *testing.T) {
	f := newFixture(t, open, calm)
	a := f.connect("a", true, expiry(60), number(mqtt.ReceiveMaximum, 3))
	b := f.connect("b", true)
	a.subscribe("x", 2)
	send := func(from, to int) {
		for i := from; i < to; i++ {
			b.exchange("x", fmt.Sprint(i), mqtt.QoS(1+i%2), uint16(i+1))
		}
	}
	send(0, 6)
	var got []*mqtt.Publish
	for range 3 {
		got = append(got, next[*mqtt.Publish](a).Clone())
	}
	b.publish("x", "qos 0", 0, 0) // MQTT-4.9.0-2 is about QoS 1 and 2
	if p := a.receive("x", "qos 0"); p.QoS != 0 {
		t.Error(p.QoS)
	}
	a.quiet() // no fourth, and the quota delays nothing else (MQTT-3.3.4-10)
	if code := a.subscribe("y", 0); code != 0 {
		t.Error(code)
	}
	if got[0].ID == got[1].ID || got[1].ID == got[2].ID || got[0].ID == got[2].ID {
		t.Error("an identifier twice") // MQTT-2.2.1-4
	}
	// On a new connection with a smaller maximum no more than that are sent again.
	f.drop(a, "a")
	a = f.connect("a", false, expiry(60), number(mqtt.ReceiveMaximum, 1))
	first := next[*mqtt.Publish](a).Clone()
	a.quiet()
	if !first.Dup || first.ID != got[0].ID || string(first.Payload) != "0" {
		t.Errorf("%+v", first)
	}
	a.send(&mqtt.Puback{Ack: mqtt.Ack{ID: first.ID}})
	rest := a.take(5)
	if s := payloads(rest); s != "1 2 3 4 5" {
		t.Error(s)
	}
	for i, p := range rest {
		if again := i < 2; p.Dup != again || again && p.ID != got[i+1].ID {
			t.Errorf("%s: dup %v, id %d", p.Payload, p.Dup, p.ID)
		}
	}
	a.quiet()
}

// What was not acknowledged is sent again on the next connection: PUBLISH and
// PUBREL, with their identifiers, in their order, and at no other time.
func TestResend(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true, expiry(60)), f.connect("b", true)
	a.subscribe("x", 2)
	for i := range 6 {
		b.exchange("x", fmt.Sprint(i), mqtt.QoS(1+i%2), uint16(i+1))
	}
	var first []*mqtt.Publish
	for range 6 {
		first = append(first, next[*mqtt.Publish](a).Clone())
	}
	a.quiet()
	ack := func(i int) { a.send(&mqtt.Puback{Ack: mqtt.Ack{ID: first[i].ID}}) }
	rec := func(i int, code mqtt.ReasonCode) { a.send(&mqtt.Pubrec{Ack: mqtt.Ack{ID: first[i].ID, Code: code}}) }
	ack(2)
	rec(3, 0) // received: PUBREL follows, and is what is sent again
	if rel := next[*mqtt.Pubrel](a); rel.ID != first[3].ID {
		t.Fatal(rel.ID)
	}
	rec(5, mqtt.ImplementationSpecificError) // refused: done (MQTT-4.4.0-2, MQTT-4.3.3-4)
	a.quiet()
	for _, restart := range []bool{false, true} {
		f.drop(a, "a")
		if restart {
			f.stop()
			f.start()
		}
		a = f.connect("a", false, expiry(60))
		if rel := next[*mqtt.Pubrel](a); rel.ID != first[3].ID { // not PUBLISH (MQTT-4.3.3-6)
			t.Fatal(rel.ID)
		}
		for _, i := range []int{0, 1, 4} {
			p := next[*mqtt.Publish](a)
			if !p.Dup || p.ID != first[i].ID || p.QoS != first[i].QoS || string(p.Payload) != fmt.Sprint(i) {
				t.Fatalf("%d: %+v", i, p)
			}
		}
		a.quiet()
	}
	ack(0)
	rec(1, 0)
	ack(4)
	next[*mqtt.Pubrel](a)
	for _, i := range []int{1, 3} {
		a.send(&mqtt.Pubcomp{Ack: mqtt.Ack{ID: first[i].ID}})
	}
	a.quiet()
	f.drop(a, "a")
	a = f.connect("a", false, expiry(60))
	a.quiet()
	// PUBREC for what is not under way.
	a.send(&mqtt.Pubrec{Ack: mqtt.Ack{ID: 999}})
	if rel := next[*mqtt.Pubrel](a); rel.Code != mqtt.PacketIDNotFound {
		t.Error(rel.Code)
	}
}

// A QoS 2 message that was sent and cannot be sent again leaves no identifier
// behind that the client takes for a repetition.
func TestQoS2SenderGivesUp(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true, expiry(60)), f.connect("b", true)
	a.subscribe("x", 2)
	b.exchange("x", "first", 2, 1)
	p := next[*mqtt.Publish](a).Clone() // received; PUBREC is lost
	f.drop(a, "a")
	f.policy(strings.Replace(open, `["#", "$test/#"]}]
  limits`, `["y"]}]
  limits`, 1))
	for range 2 { // until it is answered
		a = f.connect("a", false, expiry(60))
		if rel := next[*mqtt.Pubrel](a); rel.ID != p.ID {
			t.Fatal(rel.ID)
		}
		a.quiet()
		f.drop(a, "a")
	}
	f.policy(open)
	a = f.connect("a", false, expiry(60))
	next[*mqtt.Pubrel](a)
	a.send(&mqtt.Pubcomp{Ack: mqtt.Ack{ID: p.ID}})
	a.quiet()
}

// A retained message that was under way is sent again too.
func TestResendRetained(t *testing.T) {
	f := newFixture(t, open, calm)
	b := f.connect("b", true)
	b.exchange("r/1", "one", 1, 1, retain)
	b.exchange("r/2", "two", 2, 2, retain)
	a := f.connect("a", true, expiry(60), number(mqtt.ReceiveMaximum, 1))
	a.subscribe("r/#", 2)
	p := next[*mqtt.Publish](a).Clone()
	a.quiet()
	f.drop(a, "a")
	a = f.connect("a", false, expiry(60), number(mqtt.ReceiveMaximum, 1))
	got := a.take(2)
	if q := got[0]; !q.Dup || q.ID != p.ID || !bytes.Equal(q.Payload, p.Payload) || !q.Retain {
		t.Errorf("%+v", q)
	}
	if q := got[1]; bytes.Equal(q.Payload, p.Payload) || !q.Retain {
		t.Errorf("%+v", q)
	}
	// Removed meanwhile: a QoS 2 exchange is completed, a QoS 1 one forgotten.
	a = f.connect("a", true, expiry(60))
	a.subscribe("r/2", 2)
	p = next[*mqtt.Publish](a).Clone()
	f.drop(a, "a")
	b.exchange("r/2", "", 1, 3, retain)
	a = f.connect("a", false, expiry(60))
	seen := map[mqtt.Type]bool{}
	for range 2 {
		switch q, err := a.read(); q := q.(type) {
		case *mqtt.Pubrel:
			seen[q.Type()] = q.ID == p.ID
		case *mqtt.Publish:
			seen[q.Type()] = len(q.Payload) == 0 // the removal, live
		default:
			t.Fatal(q, err)
		}
	}
	if !seen[mqtt.PUBREL] || !seen[mqtt.PUBLISH] {
		t.Error(seen)
	}
}

func TestOrder(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b, c := f.connect("a", true, expiry(60)), f.connect("b", true), f.connect("c", true)
	a.subscribe("#", 2)
	const n = 60
	for i := range n {
		for _, from := range []*client{b, c} {
			for qos := mqtt.QoS(0); qos <= 2; qos++ {
				id := uint16(0)
				if qos > 0 {
					id = uint16(i*2) + uint16(qos)
				}
				p := &mqtt.Publish{Topic: fmt.Appendf(nil, "t%d", qos), QoS: qos, ID: id, Payload: []byte(fmt.Sprint(i))}
				if err := from.w.WritePacket(p); err != nil {
					t.Fatal(err)
				}
			}
		}
		if i%10 == 9 {
			for _, from := range []*client{b, c} {
				from.w.Flush()
				for open := 20; open > 0; {
					switch p, err := from.read(); p := p.(type) {
					case *mqtt.Puback, *mqtt.Pubcomp:
						open--
					case *mqtt.Pubrec:
						from.send(&mqtt.Pubrel{Ack: mqtt.Ack{ID: p.ID}})
					default:
						t.Fatal(p, err)
					}
				}
			}
		}
	}
	last := map[string][]int{}
	for _, p := range a.take(2 * 3 * n) {
		var i int
		fmt.Sscan(string(p.Payload), &i)
		topic := string(p.Topic)
		last[topic] = append(last[topic], i)
	}
	for topic, seen := range last { // of each of the two senders ascending: every number twice, the n-th after the n-1st
		count := map[int]int{}
		for _, i := range seen {
			if count[i]++; i > 0 && count[i-1] < count[i] {
				t.Fatalf("%s: %v", topic, seen)
			}
		}
		if len(seen) != 2*n {
			t.Errorf("%s: %d", topic, len(seen))
		}
	}
}
