package broker_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/broker"
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
	a = f.connect("a", false, expiry(60))
	_ = a
	f.drop(a, "a")
	f.policy(open)
	a = f.connect("a", false, expiry(60))
	switch q, err := a.read(); q := q.(type) {
	case *mqtt.Publish:
		if q.ID != p.ID || !q.Dup {
			t.Fatalf("%+v", q)
		}
	case *mqtt.Pubrel:
		if q.ID != p.ID {
			t.Fatalf("%+v", q)
		}
	default:
		t.Fatal(q, err)
	}
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

func TestTopicAliasOfClient(t *testing.T) {
	opt := calm
	opt.TopicAliases = 2
	f := newFixture(t, open, opt)
	a := f.connect("a", true)
	a.subscribe("#", 0)
	alias := func(n uint32) func(*mqtt.Publish) {
		return func(p *mqtt.Publish) { p.Props.SetNumber(mqtt.TopicAlias, n) }
	}
	b := f.connect("b", true)
	b.publish("one", "", 0, 0, alias(1))
	b.publish("two", "", 0, 0, alias(2))
	b.publish("", "", 0, 0, alias(1))
	b.exchange("", "", 1, 3, alias(2))
	b.publish("three", "", 0, 0, alias(1)) // another meaning
	b.publish("", "", 0, 0, alias(1))
	for _, topic := range []string{"one", "two", "one", "two", "three", "three"} {
		if p := a.receive(topic, ""); true {
			if _, has := p.Props.Number(mqtt.TopicAlias); has {
				t.Error("an alias to a client that takes none")
			}
		}
	}
	b.publish("x", "", 0, 0, alias(3))
	b.disconnected(mqtt.TopicAliasInvalid)
	b = f.connect("b", true)
	b.publish("", "", 0, 0, alias(1)) // of the last connection (MQTT-3.3.2-7)
	b.disconnected(mqtt.ProtocolError)
	c := f.raw(append(mustAppend(t, &mqtt.Connect{ClientID: "c"}), 0x30, 7, 0, 1, 'x', 3, 0x23, 0, 0)) // alias 0
	next[*mqtt.Connack](c)
	c.disconnected(mqtt.TopicAliasInvalid)
	a.quiet()
}

func TestTopicAliasOfServer(t *testing.T) {
	f := newFixture(t, open, calm)
	for _, most := range []uint32{0, 2, 100} {
		a := f.connect("a", true, number(mqtt.TopicAliasMaximum, most))
		b := f.connect("b", true)
		a.subscribe("topic/#", 1)
		known, used := map[uint32]string{}, 0
		for round := range 3 {
			for i := range 4 {
				topic := fmt.Sprintf("topic/%d", i)
				b.exchange(topic, topic, mqtt.QoS(1+round%2), 1)
				p := a.receive("", topic)
				if n, has := p.Props.Number(mqtt.TopicAlias); has {
					used++
					if n == 0 || n > most {
						t.Fatalf("alias %d of %d", n, most)
					}
					if len(p.Topic) > 0 {
						known[n] = string(p.Topic)
					} else if known[n] != topic {
						t.Fatalf("alias %d is %q, want %q", n, known[n], topic)
					}
				} else if string(p.Topic) != topic {
					t.Fatalf("%q", p.Topic)
				}
			}
		}
		if most == 0 && used > 0 || most > 0 && used == 0 {
			t.Errorf("%d aliases with a maximum of %d", used, most)
		}
	}
}

func pair(key, value string) mqtt.UserProperty {
	return mqtt.UserProperty{Key: []byte(key), Value: []byte(value)}
}

// Properties that belong to the message arrive as they were sent.
func TestForwardedProperties(t *testing.T) {
	f := newFixture(t, open, calm)
	a := f.connect("a", true, expiry(60))
	a.subscribe("#", 2)
	user := []mqtt.UserProperty{pair("b", "1"), pair("a", "2"), pair("b", "1"), pair("", "ünï")}
	set := func(p *mqtt.Properties) {
		p.SetNumber(mqtt.PayloadFormat, 1)
		p.SetBlob(mqtt.ContentType, []byte("text/plain"))
		p.SetBlob(mqtt.ResponseTopic, []byte("answers/here"))
		p.SetBlob(mqtt.CorrelationData, []byte{0, 1, 0xFF})
		p.User = user
	}
	check := func(what string, p *mqtt.Publish) {
		t.Helper()
		format, _ := p.Props.Number(mqtt.PayloadFormat)
		kind, _ := p.Props.Blob(mqtt.ContentType)
		response, _ := p.Props.Blob(mqtt.ResponseTopic)
		correlation, _ := p.Props.Blob(mqtt.CorrelationData)
		if format != 1 || string(kind) != "text/plain" || string(response) != "answers/here" || !bytes.Equal(correlation, []byte{0, 1, 0xFF}) ||
			!slices.EqualFunc(p.Props.User, user, func(a, b mqtt.UserProperty) bool {
				return string(a.Key) == string(b.Key) && string(a.Value) == string(b.Value)
			}) {
			t.Errorf("%s: %v %q %q %x %v", what, format, kind, response, correlation, p.Props.User)
		}
	}
	b := f.connect("b", true)
	for qos := mqtt.QoS(0); qos <= 2; qos++ {
		p := func(p *mqtt.Publish) { set(&p.Props); p.Retain = true }
		if qos == 0 {
			b.publish("live", "text", 0, 0, p)
		} else {
			b.exchange("live", "text", qos, 1, p)
		}
		check("live", a.take(1)[0])
	}
	a.subscribe("live", 1)
	check("retained", a.receive("live", "text"))
	a.send(&mqtt.Unsubscribe{ID: 1, Filters: []string{"live"}})
	next[*mqtt.Unsuback](a)
	f.drop(a, "a")
	b.exchange("live", "text", 1, 1, func(p *mqtt.Publish) { set(&p.Props) })
	a = f.connect("a", false, expiry(60))
	check("from the log", a.receive("live", "text"))
	c := f.connect("c", true, func(c *mqtt.Connect) {
		c.Will = &mqtt.Will{Topic: "lost", Payload: []byte("text")}
		set(&c.Will.Props)
	})
	f.drop(c, "c")
	check("will", a.receive("lost", "text")) // MQTT-3.1.3-10
	d := f.connect("d", true, v311)          // has no properties
	d.subscribe("live", 0)
	d.receive("live", "text")
}

func TestPayloadFormat(t *testing.T) {
	f := newFixture(t, open, calm)
	a := f.connect("a", true)
	a.subscribe("#", 0)
	text := func(p *mqtt.Publish) { p.Props.SetNumber(mqtt.PayloadFormat, 1) }
	a.publish("x", "\xFF", 1, 1, text)
	if ack := next[*mqtt.Puback](a); ack.Code != mqtt.PayloadFormatInvalid {
		t.Error(ack.Code)
	}
	a.publish("x", "\xFF", 2, 2, text)
	if rec := next[*mqtt.Pubrec](a); rec.Code != mqtt.PayloadFormatInvalid {
		t.Error(rec.Code)
	}
	a.publish("x", "\xFF", 0, 0, text)
	a.quiet()
	bad := mqtt.Connect{ClientID: "w", Will: &mqtt.Will{Topic: "w", Payload: []byte{0xFF}, Props: withNumber(mqtt.PayloadFormat, 1)}}
	if c := f.try(anyApp, bad); c.ack.Code != mqtt.PayloadFormatInvalid {
		t.Error(c.ack.Code)
	}
}

func TestMessageExpiry(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true, expiry(60), number(mqtt.ReceiveMaximum, 1)), f.connect("b", true)
	a.subscribe("x", 2)
	life := func(n uint32) func(*mqtt.Publish) {
		return func(p *mqtt.Publish) { p.Props.SetNumber(mqtt.MessageExpiry, n) }
	}
	b.exchange("x", "now", 2, 1, life(1))
	started := next[*mqtt.Publish](a).Clone() // delivery has started; the rest waits
	if n, _ := started.Props.Number(mqtt.MessageExpiry); n != 1 {
		t.Error(n)
	}
	b.exchange("x", "short", 1, 1, life(1))
	b.exchange("x", "long", 1, 2, life(100))
	b.exchange("x", "for ever", 1, 3)
	b.exchange("x", "at once", 1, 4, life(0))
	b.exchange("x", "twice", 2, 5, life(1)) // MQTT-4.3.3-13
	b.exchange("r", "short", 1, 6, life(1), retain)
	b.exchange("r/long", "long", 1, 7, life(100), retain)
	f.drop(a, "a")
	time.Sleep(2100 * time.Millisecond)
	a = f.connect("a", false, expiry(60))
	got := a.take(3)
	if s := payloads(got); s != "now long for ever" { // what was sent once is sent again (MQTT-4.3.3-7)
		t.Fatal(s)
	}
	if !got[0].Dup || got[0].ID != started.ID {
		t.Errorf("%+v", got[0])
	}
	if n, has := got[1].Props.Number(mqtt.MessageExpiry); !has || n < 90 || n > 98 {
		t.Errorf("%d seconds left", n)
	}
	if _, has := got[2].Props.Number(mqtt.MessageExpiry); has {
		t.Error("an expiry out of nothing")
	}
	a.quiet()
	a.subscribe("r/#", 1)
	if n, _ := a.receive("r/long", "long").Props.Number(mqtt.MessageExpiry); n < 90 || n > 98 {
		t.Errorf("%d seconds left", n)
	}
	a.quiet()
}

// A slow client loses QoS 0, counted, and nothing of QoS 1; what waits for it in
// memory is bounded.
func TestSlowConsumer(t *testing.T) {
	opt := calm
	opt.QueueMessages, opt.QueueBytes, opt.Inflight = 32, 64<<10, 4
	f := newFixture(t, open, opt)
	a, b := f.connect("a", true), f.connect("b", true)
	a.subscribe("slow/#", 1)
	const n = 500
	for i := range n { // nobody acknowledges: four under way, some waiting, the rest in the log
		b.exchange("slow/1", fmt.Sprint(i), 1, 1)
	}
	for _, s := range f.broker.Sessions() {
		if s.ClientID == "a" && (s.Queued > 33 || s.Inflight != 4) {
			t.Errorf("%d wait, %d under way", s.Queued, s.Inflight)
		}
	}
	for i, p := range a.take(n) {
		if string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, p.Payload)
		}
	}
	a.quiet()
	// QoS 0: the client reads nothing until its socket is full.
	c := f.connect("c", true)
	c.subscribe("fast", 0)
	big := strings.Repeat("x", 32<<10)
	f.until("messages are dropped", func() bool {
		for range 20 {
			b.publish("fast", big, 0, 0)
		}
		b.quiet()
		return f.broker.Stats().Dropped > 0
	})
	for _, s := range f.broker.Sessions() {
		if s.ClientID == "c" && (s.Dropped == 0 || s.Queued > 33) {
			t.Errorf("dropped %d, %d wait", s.Dropped, s.Queued)
		}
	}
	b.exchange("slow/1", "still here", 1, 1)
	a.receive("slow/1", "still here")
}

// Subscribing while the log is being read misses nothing of the new subscription.
func TestSubscribeWhileCatchingUp(t *testing.T) {
	opt := calm
	opt.QueueMessages, opt.Inflight = 8, 2
	f := newFixture(t, open, opt)
	a, b := f.connect("a", true, expiry(60)), f.connect("b", true)
	a.subscribe("old", 1)
	f.drop(a, "a")
	for i := range 100 {
		b.exchange("old", fmt.Sprint("old ", i), 1, 1)
	}
	a = f.connect("a", false, expiry(60)) // acknowledges nothing: stays behind
	a.send(&mqtt.Subscribe{ID: 7, Subscriptions: []mqtt.Subscription{{Filter: "new", QoS: 2}}})
	var got []*mqtt.Publish
	for done := false; !done; {
		switch p, err := a.read(); p := p.(type) {
		case *mqtt.Suback:
			done = true
		case *mqtt.Publish:
			got = append(got, p.Clone())
		default:
			t.Fatal(p, err)
		}
	}
	for i := range 50 {
		b.exchange("new", fmt.Sprint("new ", i), 2, 1)
	}
	for _, p := range got {
		a.send(&mqtt.Puback{Ack: mqtt.Ack{ID: p.ID}})
	}
	got = append(got, a.take(150-len(got))...)
	for i, p := range got {
		want := fmt.Sprint("old ", i)
		if i >= 100 {
			want = fmt.Sprint("new ", i-100)
		}
		if string(p.Payload) != want {
			t.Fatalf("%d: %q", i, p.Payload)
		}
	}
	a.quiet()
}

// Sessions that end while messages flow lose none of them.
func TestNothingLostBetweenConnections(t *testing.T) {
	f := newFixture(t, open, calm)
	f.connect("a", true, expiry(60)).bye()
	a := f.connect("a", false, expiry(60))
	a.subscribe("x", 2)
	const n = 400
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		b := f.connect("b", true)
		for i := range n {
			b.exchange("x", fmt.Sprint(i), 2, 1)
		}
	}()
	var got []string
	pending := map[uint16]bool{} // identifiers that the client knows: QoS 2
	for round := 0; len(got) < n; round++ {
		for range 7 {
			p, err := a.read()
			if err != nil {
				t.Fatalf("after %d: %v", len(got), err)
			}
			switch p := p.(type) {
			case *mqtt.Publish:
				if !pending[p.ID] {
					pending[p.ID] = true
					got = append(got, string(p.Payload))
				}
				a.send(&mqtt.Pubrec{Ack: mqtt.Ack{ID: p.ID}})
			case *mqtt.Pubrel:
				delete(pending, p.ID)
				a.send(&mqtt.Pubcomp{Ack: mqtt.Ack{ID: p.ID}})
			}
			if len(got) == n {
				break
			}
		}
		switch round % 3 {
		case 0:
			a.nc.Close()
		case 1:
			a.send(&mqtt.Disconnect{})
		} // else: taken over
		a = f.connect("a", false, expiry(60))
	}
	<-sent
	for i, text := range got {
		if text != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, text)
		}
	}
}

func TestProtocolErrors(t *testing.T) {
	f := newFixture(t, open, calm)
	for name, test := range map[string]struct {
		bytes []byte
		code  mqtt.ReasonCode
	}{
		"connack":             {[]byte{0x20, 3, 0, 0, 0}, mqtt.ProtocolError},
		"suback":              {[]byte{0x90, 4, 0, 1, 0, 0}, mqtt.ProtocolError},
		"pingresp":            {[]byte{0xD0, 0}, mqtt.ProtocolError},
		"type 0":              {[]byte{0x00, 0}, mqtt.MalformedPacket},
		"qos 3":               {[]byte{0x36, 6, 0, 1, 'x', 0, 1, 0}, mqtt.MalformedPacket},
		"dup qos 0":           {[]byte{0x38, 4, 0, 1, 'x', 0}, mqtt.MalformedPacket},
		"id 0":                {[]byte{0x32, 6, 0, 1, 'x', 0, 0, 0}, mqtt.ProtocolError},
		"wildcard":            {[]byte{0x30, 4, 0, 1, '#', 0}, mqtt.TopicNameInvalid},
		"no topic":            {[]byte{0x30, 3, 0, 0, 0}, mqtt.ProtocolError},
		"subscription id":     {[]byte{0x30, 6, 0, 1, 'x', 2, 0x0B, 1}, mqtt.ProtocolError},
		"response wildcard":   {[]byte{0x30, 8, 0, 1, 'x', 4, 0x08, 0, 1, '+'}, mqtt.TopicNameInvalid},
		"user property":       {[]byte{0x30, 10, 0, 1, 'x', 6, 0x26, 0, 1, 0xFF, 0, 0}, mqtt.MalformedPacket},
		"pubrel flags":        {[]byte{0x60, 2, 0, 1}, mqtt.MalformedPacket},
		"subscribe flags":     {[]byte{0x80, 7, 0, 1, 0, 0, 1, 'x', 0}, mqtt.MalformedPacket},
		"subscribe empty":     {[]byte{0x82, 3, 0, 1, 0}, mqtt.ProtocolError},
		"subscribe bits":      {[]byte{0x82, 7, 0, 1, 0, 0, 1, 'x', 0x40}, mqtt.MalformedPacket},
		"subscribe filter":    {[]byte{0x82, 8, 0, 1, 0, 0, 2, 'x', '#', 0}, mqtt.TopicFilterInvalid},
		"subscribe id 0":      {[]byte{0x82, 7, 0, 0, 0, 0, 1, 'x', 0}, mqtt.ProtocolError},
		"no local shared":     {append([]byte{0x82, 16, 0, 1, 0, 0, 10}, "$share/g/x\x05"...), mqtt.ProtocolError},
		"unsubscribe flags":   {[]byte{0xA0, 6, 0, 1, 0, 0, 1, 'x'}, mqtt.MalformedPacket},
		"unsubscribe empty":   {[]byte{0xA2, 3, 0, 1, 0}, mqtt.ProtocolError},
		"disconnect flags":    {[]byte{0xE1, 0}, mqtt.MalformedPacket},
		"disconnect code":     {[]byte{0xE0, 1, 0x03}, mqtt.MalformedPacket},
		"auth flags":          {[]byte{0xF1, 0}, mqtt.MalformedPacket},
		"expiry from nothing": {[]byte{0xE0, 7, 0, 5, 0x11, 0, 0, 0, 9}, mqtt.ProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			c := f.raw(append(mustAppend(t, &mqtt.Connect{ClientID: "p"}), test.bytes...))
			c.t = t
			next[*mqtt.Connack](c)
			c.disconnected(test.code)
		})
	}
	c := f.raw(append([]byte{0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'x'}, 0xF0, 0)) // AUTH in 3.1.1
	c.r.SetVersion(mqtt.V311)
	next[*mqtt.Connack](c)
	if p, err := c.read(); err == nil {
		t.Error(p.Type())
	}
	kinds := map[broker.Kind]bool{}
	for len(f.events) > 0 {
		kinds[(<-f.events).Kind] = true
	}
	if !kinds[broker.Malformed] {
		t.Error("no event")
	}
}
