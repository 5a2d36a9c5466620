package broker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/mqtt"
)

// pool gathers what several clients receive.
type pool struct {
	mu   sync.Mutex
	got  map[string]int  // by payload
	by   map[*client]int // messages
	ends []string        // why connections ended
	news chan struct{}   // capacity 1
	wg   sync.WaitGroup
}

// drink has clients receive and acknowledge until their connection ends.
func drink(clients ...*client) *pool {
	p := &pool{got: map[string]int{}, by: map[*client]int{}, news: make(chan struct{}, 1)}
	for _, c := range clients {
		p.wg.Go(func() { p.drink(c) })
	}
	return p
}

func (p *pool) drink(c *client) {
	c.nc.SetReadDeadline(time.Time{})
	for {
		got, err := c.r.ReadPacket()
		if err != nil {
			return
		}
		switch got := got.(type) {
		case *mqtt.Publish:
			p.mu.Lock()
			p.got[string(got.Payload)]++
			p.by[c]++
			p.mu.Unlock()
			switch got.QoS {
			case 1:
				p.reply(c, &mqtt.Puback{Ack: mqtt.Ack{ID: got.ID}})
			case 2:
				p.reply(c, &mqtt.Pubrec{Ack: mqtt.Ack{ID: got.ID}})
			}
			select {
			case p.news <- struct{}{}:
			default:
			}
		case *mqtt.Disconnect:
			reason, _ := got.Props.Blob(mqtt.ReasonString)
			p.mu.Lock()
			p.ends = append(p.ends, fmt.Sprintf("%v: %s", got.Code, reason))
			p.mu.Unlock()
		case *mqtt.Pubrel:
			p.reply(c, &mqtt.Pubcomp{Ack: mqtt.Ack{ID: got.ID}})
		}
	}
}

func (p *pool) reply(c *client, answer mqtt.Packet) {
	if c.w.WritePacket(answer) == nil {
		c.w.Flush()
	}
}

// until waits until enough was received.
func (p *pool) until(t *testing.T, n int) {
	t.Helper()
	timeout := time.After(40 * time.Second)
	for {
		p.mu.Lock()
		have := len(p.got)
		p.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-p.news:
		case <-timeout:
			t.Fatalf("%d messages of %d; connections ended: %q", have, n, p.ends)
		}
	}
}

// once checks that each message came once.
func (p *pool) once(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for text, n := range p.got {
		if n != 1 {
			t.Errorf("%q came %d times", text, n)
		}
	}
}

// say publishes numbered messages at QoS 1 and waits for each acknowledgement.
func (c *client) say(topic, name string, n int) {
	c.t.Helper()
	for i := range n {
		c.publish(topic, fmt.Sprint(name, i), 1, uint16(i%60000+1))
		next[*mqtt.Puback](c)
	}
}

func narrow(c *mqtt.Connect) { c.Props.SetNumber(mqtt.ReceiveMaximum, 4) }

func TestShare(t *testing.T) {
	f := newFixture(t, open, broker.Options{})
	members := []*client{f.connect("m1", true, narrow), f.connect("m2", true), f.connect("m3", true, narrow)}
	for _, m := range members {
		if code := m.subscribe("$share/g/x/#", 2); code != 1 {
			t.Fatalf("granted %v", code)
		}
	}
	b := f.connect("b", true)
	p := drink(members...)
	b.say("x/y", "one ", 200)
	b.say("x", "two ", 100)
	p.until(t, 300)
	for i := range 100 { // QoS 0
		b.publish("x/y", fmt.Sprint("zero ", i), 0, 0)
	}
	p.until(t, 400)
	p.once(t)
	for i, m := range members {
		if p.by[m] < 50 {
			t.Errorf("member %d got %d messages", i, p.by[m])
		}
	}
}

// TestShareGivenBack has members that do not acknowledge: another gets what they
// had, when they go or unsubscribe; what they refuse nobody gets.
func TestShareGivenBack(t *testing.T) {
	f := newFixture(t, open, broker.Options{})
	m1, m2, b := f.connect("m1", true, narrow), f.connect("m2", true, narrow), f.connect("b", true)
	m1.subscribe("$share/g/x", 1)
	b.say("x", "", 10)
	for i := range 4 { // its window
		if p := next[*mqtt.Publish](m1); string(p.Payload) != fmt.Sprint(i) {
			t.Fatalf("got %q", p.Payload)
		}
	}
	m1.quiet()
	m1.send(&mqtt.Puback{Ack: mqtt.Ack{ID: 1, Code: mqtt.ImplementationSpecificError}})
	m1.receive("x", "4") // not 0 again
	m2.subscribe("$share/g/x", 1)
	m1.nc.Close()
	p := drink(m2)
	p.until(t, 8) // 1, 2, 3 and from 5 on
	b.quiet()
	p.mu.Lock()
	if p.got["0"]+p.got["4"] > 0 {
		t.Errorf("what was settled came again: %v", p.got)
	}
	p.mu.Unlock()
	m3 := f.connect("m3", true, narrow)
	m3.subscribe("$share/g/x", 1)
	b.say("x", "new ", 20)
	m3.send(&mqtt.Unsubscribe{ID: 9, Filters: []string{"$share/g/x"}})
	for unsubscribed := false; !unsubscribed; {
		got, err := m3.read()
		if err != nil {
			t.Fatal(err)
		}
		_, unsubscribed = got.(*mqtt.Unsuback)
	}
	m3.nc.Close()
	p.until(t, 28)
	p.once(t)
}

// TestShareLasts stops the server while the only member is away.
func TestShareLasts(t *testing.T) {
	f := newFixture(t, open, broker.Options{})
	m := f.connect("m", true, expiry(100))
	m.subscribe("$share/g/x/+", 1)
	m.bye()
	b := f.connect("b", true)
	b.say("x/1", "a ", 50)
	f.stop()
	f.start()
	b = f.connect("b", true)
	b.say("x/2", "b ", 50)
	m = f.connect("m", false, expiry(100))
	p := drink(m)
	p.until(t, 100)
	p.once(t)
}

func TestShareEnds(t *testing.T) {
	f := newFixture(t, open, broker.Options{GroupExpiry: 50 * time.Millisecond, SettleEvery: 20 * time.Millisecond})
	m, lasting := f.connect("m", true), f.connect("l", true, expiry(100))
	m.subscribe("$share/g/x", 1)
	m.subscribe("$share/l/x", 1)
	lasting.subscribe("$share/l/x", 1)
	m.nc.Close()
	lasting.bye()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		all, err := f.log.Groups(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == 1 && all[0].Name == "$share/l/x" {
			return
		}
	}
}
