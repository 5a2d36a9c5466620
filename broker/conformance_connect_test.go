package broker_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
)

// calm are options of tests that connect often.
var calm = broker.Options{FlapConnects: 100_000, AuthFailures: 100_000}

func v311(c *mqtt.Connect) { c.Version = mqtt.V311 }

func keepAlive(seconds uint16) func(*mqtt.Connect) {
	return func(c *mqtt.Connect) { c.KeepAlive = seconds }
}

func number(id mqtt.Number, v uint32) func(*mqtt.Connect) {
	return func(c *mqtt.Connect) { c.Props.SetNumber(id, v) }
}

// disconnected waits for DISCONNECT with a code and the end of the connection.
func (c *client) disconnected(code mqtt.ReasonCode) *mqtt.Disconnect {
	c.t.Helper()
	for {
		p, err := c.read()
		if err != nil {
			c.t.Fatalf("the connection ended without DISCONNECT %v: %v", code, err)
		}
		if d, ok := p.(*mqtt.Disconnect); ok {
			if d.Code != code {
				reason, _ := d.Props.Blob(mqtt.ReasonString)
				c.t.Fatalf("DISCONNECT %v (%s), want %v", d.Code, reason, code)
			}
			if p, err := c.read(); err == nil { // MQTT-3.14.4-1
				c.t.Fatalf("%v after DISCONNECT", p.Type())
			}
			return d
		}
	}
}

// raw opens a connection and writes bytes to it.
func (f *fixture) raw(b []byte) *client {
	f.t.Helper()
	nc := f.dial(anyApp)
	if _, err := nc.Write(b); err != nil {
		f.t.Fatal(err)
	}
	c := &client{t: f.t, nc: nc, r: mqtt.NewReader(nc), w: mqtt.NewWriter(nc, mqtt.V5)}
	c.r.SetVersion(mqtt.V5)
	c.r.SetSender(mqtt.Server)
	return c
}

// try connects and returns the answer and whether the connection was closed after it.
func (f *fixture) try(who policy.Principal, c mqtt.Connect) *client {
	f.t.Helper()
	cl := f.connectAs(who, c)
	if cl.ack.Code == 0 {
		f.t.Fatalf("%q was let in", c.ClientID)
	}
	if cl.ack.SessionPresent { // MQTT-3.2.2-6
		f.t.Fatal("session present in a refusal")
	}
	if p, err := cl.read(); err == nil { // MQTT-3.2.2-7, MQTT-3.14.0-1, MQTT-3.2.0-2
		f.t.Fatalf("%v after a refusal", p.Type())
	}
	return cl
}

func TestConnectFirst(t *testing.T) {
	f := newFixture(t, open, calm)
	for name, p := range map[string]mqtt.Packet{
		"ping":       &mqtt.Pingreq{},
		"publish":    &mqtt.Publish{Topic: []byte("x")},
		"disconnect": &mqtt.Disconnect{},
		"auth":       &mqtt.Auth{},
	} {
		b, err := p.AppendTo(nil, mqtt.V5)
		if err != nil {
			t.Fatal(name, err)
		}
		c := f.raw(b)
		if p, err := c.read(); err == nil {
			t.Errorf("%s: answered with %v", name, p.Type())
		}
	}
	b := f.connect("b", true)
	b.send(&mqtt.Connect{ClientID: "b"})
	b.disconnected(mqtt.ProtocolError)
	b = f.connect("b", true, v311)
	b.send(&mqtt.Connect{ClientID: "b"})
	if p, err := b.read(); !errors.Is(err, io.EOF) {
		t.Error("3.1.1:", p, err)
	}
}

func TestConnectMalformed(t *testing.T) {
	f := newFixture(t, open, calm)
	good, _ := (&mqtt.Connect{ClientID: "x"}).AppendTo(nil, mqtt.V5)
	for name, test := range map[string]struct {
		at   int
		b    byte
		code mqtt.ReasonCode
	}{
		"reserved flag": {9, 0x01, mqtt.MalformedPacket},
		"will qos":      {9, 0x08, mqtt.MalformedPacket},
		"will retain":   {9, 0x20, mqtt.MalformedPacket},
		"user missing":  {9, 0x80, mqtt.MalformedPacket},
		"pass missing":  {9, 0x40, mqtt.MalformedPacket},
		"utf-8":         {len(good) - 1, 0xFF, mqtt.MalformedPacket},
		"NUL":           {len(good) - 1, 0, mqtt.MalformedPacket},
	} {
		bad := bytes.Clone(good)
		bad[test.at] = test.b
		c := f.raw(bad)
		if ack := next[*mqtt.Connack](c); ack.Code != test.code {
			t.Errorf("%s: %v", name, ack.Code)
		}
		c.gone()
	}
	for name, at := range map[string]int{"name": 4, "version": 8} {
		bad := bytes.Clone(good)
		bad[at] = 3
		c := f.raw(bad)
		c.r = mqtt.NewReader(c.nc)
		c.r.SetVersion(mqtt.V311)
		c.r.SetSender(mqtt.Server)
		if ack := next[*mqtt.Connack](c); ack.Code != 1 {
			t.Errorf("%s: %v", name, ack.Code)
		}
		c.gone()
	}
	// What follows a refused CONNECT is not processed (MQTT-3.1.4-6).
	a := f.connect("a", true)
	a.subscribe("#", 0)
	bad := bytes.Clone(good)
	bad[9] = 1
	after, _ := (&mqtt.Publish{Topic: []byte("x")}).AppendTo(bad, mqtt.V5)
	f.raw(after).gone()
	a.quiet()
}

func TestConnectTimeout(t *testing.T) {
	opt := calm
	opt.ConnectTimeout = 100 * time.Millisecond
	f := newFixture(t, open, opt)
	f.raw(nil).gone()
	f.raw([]byte{0x10}).gone()
}

func TestCleanStartAndSessionPresent(t *testing.T) {
	f := newFixture(t, open, calm)
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		version := func(c *mqtt.Connect) {
			if c.Version = v; v == mqtt.V5 {
				c.Props.SetNumber(mqtt.SessionExpiry, 100)
			}
		}
		step := func(clean, present bool) {
			t.Helper()
			a := f.connect("a", clean, version)
			if a.ack.SessionPresent != present {
				t.Fatalf("%v: session present %v", v, a.ack.SessionPresent)
			}
			a.bye()
		}
		step(true, false)
		if v == mqtt.V311 {
			step(false, false) // a clean session of 3.1.1 does not outlive its connection
		}
		step(false, true)
		step(false, true)
		step(true, false)
	}
	// A session that is there but for another principal is not shown, nor given away.
	f.connect("s", true, expiry(100)).bye()
	if c := f.try(policy.Principal{Kind: policy.App, ID: "other"}, mqtt.Connect{ClientID: "s"}); c.ack.Code != mqtt.NotAuthorized {
		t.Error(c.ack.Code)
	}
}

func TestAssignedClientID(t *testing.T) {
	f := newFixture(t, open, calm)
	seen := map[string]bool{}
	for range 3 {
		c := f.connect("", false, expiry(10))
		id, ok := c.ack.Props.Blob(mqtt.AssignedClientID)
		if !ok || len(id) == 0 || seen[string(id)] || c.ack.SessionPresent {
			t.Fatalf("assigned %q %v, present %v", id, ok, c.ack.SessionPresent)
		}
		seen[string(id)] = true
		// It is a name like any other: the client comes back with it.
		c.subscribe("x", 1)
		c.bye()
		c = f.connect(string(id), false, expiry(10))
		if _, ok := c.ack.Props.Blob(mqtt.AssignedClientID); ok || !c.ack.SessionPresent {
			t.Fatal("came back to another session, or was assigned a name it had")
		}
	}
	if c := f.connect("", true, v311); c.ack.Code != 0 {
		t.Error(c.ack.Code)
	}
	c := f.raw([]byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 10, 0, 0})
	c.r = mqtt.NewReader(c.nc)
	c.r.SetVersion(mqtt.V311)
	if ack := next[*mqtt.Connack](c); ack.Code != 2 { // identifier rejected
		t.Error(ack.Code)
	}
	c.gone()
}

// A device that has only its own name gets it, unless a session waits under it.
func TestAssignedClientIDOfDevice(t *testing.T) {
	f := newFixture(t, "apiVersion: holdfast.dev/v1\nkind: DeviceType\nmetadata: {name: pump}\nspec: {}\n", calm)
	pump := policy.Principal{Kind: policy.Device, ID: "pump-1", Type: "pump", State: "active"}
	c := f.connectAs(pump, mqtt.Connect{CleanStart: true, Props: func() (p mqtt.Properties) { p.SetNumber(mqtt.SessionExpiry, 60); return }()})
	if id, _ := c.ack.Props.Blob(mqtt.AssignedClientID); string(id) != "pump-1" {
		t.Fatalf("%v %q", c.ack.Code, id)
	}
	c.bye()
	if c := f.try(pump, mqtt.Connect{}); c.ack.Code != mqtt.ClientIDNotValid {
		t.Error(c.ack.Code)
	}
}

func TestClientIDs(t *testing.T) {
	f := newFixture(t, open, calm)
	for _, id := range []string{"0", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ", strings.Repeat("x", 200), "ünï/…"} {
		c := f.connect(id, true)
		if c.ack.Code != 0 {
			t.Errorf("%q: %v", id, c.ack.Code)
		}
		c.bye()
	}
}

func TestKeepAlive(t *testing.T) {
	opt := calm
	opt.KeepAlive = 2 * time.Second
	f := newFixture(t, open, opt)
	w := f.connect("watch", true)
	w.subscribe("lost/#", 0)
	began := time.Now()
	var all []*client
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		all = append(all, f.connect("k"+v.String(), true, keepAlive(1), func(c *mqtt.Connect) {
			c.Version = v
			c.Will = &mqtt.Will{Topic: "lost/" + c.ClientID}
		}))
	}
	lives := f.connect("lives", true, keepAlive(1))
	if _, told := lives.ack.Props.Number(mqtt.ServerKeepAlive); told {
		t.Error("a keep-alive that is accepted was answered with another") // MQTT-3.2.2-22
	}
	for _, asked := range []uint16{0, 100} {
		c := f.connect("capped", true, keepAlive(asked))
		if v, ok := c.ack.Props.Number(mqtt.ServerKeepAlive); !ok || v != 2 {
			t.Errorf("asked for %d: server keep alive %d %v", asked, v, ok)
		}
	}
	pinged := make(chan struct{})
	go func() {
		defer close(pinged)
		for range 3 {
			time.Sleep(600 * time.Millisecond)
			lives.w.WritePacket(&mqtt.Pingreq{})
			lives.w.Flush()
		}
	}()
	for range all {
		w.receive("", "")
	}
	if took := time.Since(began); took < 1500*time.Millisecond || took > 3*time.Second {
		t.Errorf("silence of %s was the end", took)
	}
	all[1].disconnected(mqtt.KeepAliveTimeout)
	all[0].gone()
	<-pinged
	for range 3 {
		next[*mqtt.Pingresp](lives)
	}
	lives.quiet()
}

func TestPing(t *testing.T) {
	f := newFixture(t, open, calm)
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		f.connect("p", true, func(c *mqtt.Connect) { c.Version = v }).quiet()
	}
}

func TestConnackTells(t *testing.T) {
	opt := calm
	opt.SessionExpiry, opt.ReceiveMaximum, opt.TopicAliases, opt.PacketSize = time.Hour, 7, 3, 5000
	f := newFixture(t, open, opt)
	c := f.connect("a", true, expiry(0xFFFFFFFF), number(mqtt.RequestResponseInfo, 1))
	for id, want := range map[mqtt.Number]uint32{
		mqtt.SessionExpiry: 3600, mqtt.ReceiveMaximum: 7, mqtt.TopicAliasMaximum: 3, mqtt.MaximumPacketSize: 5000,
	} {
		if v, ok := c.ack.Props.Number(id); !ok || v != want {
			t.Errorf("property %x: %d %v, want %d", byte(id), v, ok, want)
		}
	}
	if _, ok := c.ack.Props.Number(mqtt.MaximumQoS); ok {
		t.Error("maximum QoS: 2 is supported")
	}
	for _, id := range []mqtt.Blob{mqtt.ResponseInfo, mqtt.AuthMethod, mqtt.AssignedClientID} { // MQTT-3.1.2-28, MQTT-4.12.0-6
		if _, ok := c.ack.Props.Blob(id); ok {
			t.Errorf("property %x", byte(id))
		}
	}
	if c = f.connect("b", true, expiry(60)); c.ack.Code != 0 {
		t.Fatal(c.ack.Code)
	}
	if _, ok := c.ack.Props.Number(mqtt.SessionExpiry); ok {
		t.Error("an expiry that is accepted was answered with another")
	}
}

func TestMaximumPacketSizeToClient(t *testing.T) {
	f := newFixture(t, open, calm)
	if c := f.raw(mustAppend(t, &mqtt.Connect{ClientID: "tiny", Props: withNumber(mqtt.MaximumPacketSize, 8)})); true {
		if p, err := c.read(); err == nil {
			t.Errorf("%v of more than 8 bytes", p.Type())
		}
	}
	a := f.connect("a", true, number(mqtt.MaximumPacketSize, 100), expiry(60))
	a.subscribe("x/#", 2)
	b := f.connect("b", true)
	for i, size := range []int{200, 10, 80, 81, 200, 10} { // 100 bytes with the topic, the id and lengths: 88
		b.publish("x/y", strings.Repeat("p", size), 1, uint16(i+1))
		next[*mqtt.Puback](b)
	}
	for _, want := range []int{10, 80, 81, 10} {
		if p := a.receive("x/y", ""); len(p.Payload) != want {
			t.Fatalf("%d bytes, want %d", len(p.Payload), want)
		}
	}
	a.quiet()
	a.bye()
	// What was too long counts as sent (MQTT-3.1.2-25): it is not there any more.
	a = f.connect("a", false, expiry(60))
	a.quiet()
	// Reason strings give way (MQTT-3.4.2-2, MQTT-3.9.2-1, MQTT-3.14.2-3).
	f.policy("apiVersion: holdfast.dev/v1\nkind: App\nmetadata: {name: any}\nspec: {clientIds: ['*'], subscribe: [{topics: [a]}]}\n")
	c := f.connect("c", true, number(mqtt.MaximumPacketSize, 20))
	c.publish("not/allowed", "", 1, 1)
	if ack := next[*mqtt.Puback](c); ack.Code != mqtt.NotAuthorized {
		t.Error(ack.Code)
	}
	c.publish("not/allowed", "", 2, 1)
	if ack := next[*mqtt.Pubrec](c); ack.Code != mqtt.NotAuthorized {
		t.Error(ack.Code)
	}
	if code := c.subscribe("not/allowed", 1); code != mqtt.NotAuthorized {
		t.Error(code)
	}
	c.send(&mqtt.Auth{})
	if _, ok := c.disconnected(mqtt.ProtocolError).Props.Blob(mqtt.ReasonString); ok {
		t.Error("a reason string beyond the maximum packet size")
	}
	// A SUBACK that cannot be sent ends the connection rather than leave it waiting.
	c = f.connect("c", true, number(mqtt.MaximumPacketSize, 20))
	s := &mqtt.Subscribe{ID: 1}
	for range 30 {
		s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: "a"})
	}
	c.send(s)
	c.disconnected(mqtt.PacketTooLarge)
	r := f.raw(mustAppend(t, &mqtt.Connect{ClientID: "d", Props: withNumber(mqtt.MaximumPacketSize, 20),
		Will: &mqtt.Will{Topic: "not/allowed"}}))
	if ack := next[*mqtt.Connack](r); ack.Code != mqtt.NotAuthorized {
		t.Error(ack.Code)
	}
}

func mustAppend(t testing.TB, p mqtt.Packet) []byte {
	t.Helper()
	b, err := p.AppendTo(nil, mqtt.V5)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func withNumber(id mqtt.Number, v uint32) (p mqtt.Properties) {
	p.SetNumber(id, v)
	return p
}

func TestMaximumPacketSizeToServer(t *testing.T) {
	opt := calm
	opt.PacketSize = 1000
	f := newFixture(t, open, opt)
	c := f.connect("a", true)
	c.publish("x", strings.Repeat("p", 900), 1, 1)
	next[*mqtt.Puback](c)
	c.publish("x", strings.Repeat("p", 1000), 1, 2)
	c.disconnected(mqtt.PacketTooLarge)
}

func TestRequestProblemInformation(t *testing.T) {
	f := newFixture(t, "apiVersion: holdfast.dev/v1\nkind: App\nmetadata: {name: any}\nspec: {clientIds: ['*']}\n", calm)
	for _, asked := range []uint32{0, 1} {
		c := f.connect("a", true, number(mqtt.RequestProblemInfo, asked))
		c.publish("x", "", 1, 1)
		_, puback := next[*mqtt.Puback](c).Props.Blob(mqtt.ReasonString)
		c.publish("x", "", 2, 1)
		_, pubrec := next[*mqtt.Pubrec](c).Props.Blob(mqtt.ReasonString)
		c.send(&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: "x"}}})
		_, suback := next[*mqtt.Suback](c).Props.Blob(mqtt.ReasonString)
		if want := asked == 1; puback != want || pubrec != want || suback != want {
			t.Errorf("asked %d: PUBACK %v, PUBREC %v, SUBACK %v", asked, puback, pubrec, suback)
		}
	}
}

func TestTakeover(t *testing.T) {
	f := newFixture(t, open, calm)
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		a := f.connect("a", true, expiry(100), func(c *mqtt.Connect) {
			if c.Version = v; v == mqtt.V311 {
				c.Props, c.CleanStart = mqtt.Properties{}, false
			}
		})
		a.subscribe("x", 1)
		b := f.connect("a", false, expiry(100))
		if !b.ack.SessionPresent {
			t.Error("the session did not go along")
		}
		if v == mqtt.V5 {
			a.disconnected(mqtt.SessionTakenOver)
		} else {
			a.gone()
		}
		b.publish("x", "mine", 1, 1)
		got := 0
		for range 2 {
			switch p, err := b.read(); p := p.(type) {
			case *mqtt.Puback:
			case *mqtt.Publish:
				got++
				b.send(&mqtt.Puback{Ack: mqtt.Ack{ID: p.ID}})
			default:
				t.Fatal(p, err)
			}
		}
		if got != 1 {
			t.Errorf("%d copies", got)
		}
		b.bye()
	}
}

func TestServerShutdown(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true), f.connect("b", true, v311)
	f.stop()
	a.disconnected(mqtt.ServerShuttingDown)
	b.gone()
	f.start()
}
