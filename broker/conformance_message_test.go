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
	a.ask(0, mqtt.Subscription{Filter: "#", QoS: 2, RetainHandling: 2})
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
