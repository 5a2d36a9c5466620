package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// ask subscribes to several filters and returns the codes.
func (c *client) ask(ident uint32, subs ...mqtt.Subscription) []mqtt.ReasonCode {
	c.t.Helper()
	s := &mqtt.Subscribe{ID: 77, Subscriptions: subs}
	if ident > 0 {
		s.Props.SubscriptionIDs = []uint32{ident}
	}
	c.send(s)
	a := next[*mqtt.Suback](c)
	if a.ID != 77 || len(a.Codes) != len(subs) {
		c.t.Fatalf("%+v", a)
	}
	return a.Codes
}

func TestSubscribeMany(t *testing.T) {
	f := newFixture(t, open, calm)
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		a := f.connect("a", true, func(c *mqtt.Connect) { c.Version = v })
		codes := a.ask(0, mqtt.Subscription{Filter: "a", QoS: 2}, mqtt.Subscription{Filter: "b"}, mqtt.Subscription{Filter: "c", QoS: 1}, mqtt.Subscription{Filter: "b", QoS: 1})
		if !slices.Equal(codes, []mqtt.ReasonCode{2, 0, 1, 1}) {
			t.Error(codes)
		}
		b := f.connect("b", true)
		for _, topic := range []string{"a", "b", "c"} {
			b.exchange(topic, topic, 2, 1)
		}
		for i, p := range a.take(3) {
			if want := []mqtt.QoS{2, 1, 1}[i]; p.QoS != want {
				t.Errorf("%s at QoS %d", p.Topic, p.QoS)
			}
		}
		a.send(&mqtt.Unsubscribe{ID: 78, Filters: []string{"b", "never", "a"}})
		u := next[*mqtt.Unsuback](a)
		want := []mqtt.ReasonCode{0, mqtt.NoSubscriptionExisted, 0}
		if v == mqtt.V311 {
			want = nil // UNSUBACK has no codes there
		}
		if u.ID != 78 || !slices.Equal(u.Codes, want) {
			t.Errorf("%+v", u)
		}
		for _, topic := range []string{"a", "b", "c"} {
			b.exchange(topic, topic, 2, 1)
		}
		if got := a.take(1); string(got[0].Topic) != "c" {
			t.Errorf("%s", got[0].Topic)
		}
		a.quiet()
	}
}

// Topics and filters are compared as they are written (MQTT-4.7.3-4, MQTT-3.10.4-1).
func TestFilters(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true), f.connect("b", true)
	const end = "$test/last" // what was sent before it has come when it comes
	a.subscribe(end, 0)
	topics := []string{"/", "/x", "x", "x/", "X", "x//y", "x/y", "x/y/z", "$test/x", "é", "e\u0301", "x y"}
	for filter, match := range map[string]string{
		"#": "/ /x x x/ X x//y x/y x/y/z é e\u0301 x_y", "+": "x X é e\u0301 x_y", "+/+": "/ /x x/ x/y", "/+": "/ /x", "/#": "/ /x",
		"x/#": "x x/ x//y x/y x/y/z", "x/+": "x/ x/y", "x//#": "x/ x//y", "+/x": "/x", "$test/#": "$test/x", "$test/+": "$test/x",
		"x": "x", "é": "é", "x y": "x_y",
	} {
		if code := a.subscribe(filter, 0); code != 0 {
			t.Fatal(filter, code)
		}
		for _, topic := range topics {
			b.publish(topic, "", 0, 0)
		}
		b.publish(end, "", 0, 0)
		var got []string
		for p := next[*mqtt.Publish](a); string(p.Topic) != end; p = next[*mqtt.Publish](a) {
			got = append(got, strings.ReplaceAll(string(p.Topic), " ", "_"))
		}
		a.send(&mqtt.Unsubscribe{ID: 2, Filters: []string{filter}})
		if u := next[*mqtt.Unsuback](a); u.Codes[0] != 0 {
			t.Error(filter, u.Codes)
		}
		if strings.Join(got, " ") != match {
			t.Errorf("%s: %q, want %q", filter, got, match)
		}
	}
	a.subscribe("x/y", 0)
	for _, filter := range []string{"X/Y", "x/+", "x/#", "/x/y", "x/y/"} {
		a.send(&mqtt.Unsubscribe{ID: 2, Filters: []string{filter}})
		if u := next[*mqtt.Unsuback](a); u.Codes[0] != mqtt.NoSubscriptionExisted {
			t.Error(filter, u.Codes)
		}
	}
	b.publish("x/y", "still", 0, 0)
	a.receive("x/y", "still")
}

// A byte order mark is a character like others (MQTT-1.5.4-3).
func TestByteOrderMark(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true), f.connect("b", true)
	a.subscribe("#", 0)
	b.publish("\uFEFFx", "\uFEFF", 0, 0)
	a.receive("\uFEFFx", "\uFEFF")
	a.send(&mqtt.Unsubscribe{ID: 1, Filters: []string{"#"}})
	next[*mqtt.Unsuback](a)
	a.subscribe("x", 0)
	b.publish("\uFEFFx", "", 0, 0)
	b.quiet()
	a.quiet()
}

func TestLongTopics(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true), f.connect("b", true)
	long := strings.Repeat("x", 3000)
	a.subscribe(long, 1)
	b.exchange(long, "", 1, 1)
	a.receive(long, "")
	longest := strings.Repeat("y", 65535)
	a.subscribe(longest, 0)
	b.publish(longest, "", 0, 0)
	a.receive(longest, "")
}

func TestOverlappingSubscriptions(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true, expiry(60)), f.connect("b", true)
	a.ask(1, mqtt.Subscription{Filter: "x/#", QoS: 1})
	a.ask(268_435_455, mqtt.Subscription{Filter: "x/+", QoS: 2}, mqtt.Subscription{Filter: "other"})
	a.ask(0, mqtt.Subscription{Filter: "x/y"})
	check := func(p *mqtt.Publish) {
		t.Helper()
		ids := slices.Sorted(slices.Values(p.Props.SubscriptionIDs))
		if p.QoS != 2 || !slices.Equal(ids, []uint32{1, 268_435_455}) {
			t.Errorf("QoS %d, identifiers %d", p.QoS, ids)
		}
	}
	b.exchange("x/y", "live", 2, 1)
	check(a.take(1)[0])
	a.quiet()
	// An identifier goes with its subscription when that is replaced.
	a.ask(0, mqtt.Subscription{Filter: "x/#", QoS: 1})
	b.exchange("x/y", "", 2, 1)
	if ids := a.take(1)[0].Props.SubscriptionIDs; !slices.Equal(ids, []uint32{268_435_455}) {
		t.Error(ids)
	}
	a.ask(1, mqtt.Subscription{Filter: "x/#", QoS: 1})
	f.drop(a, "a")
	b.exchange("x/y", "from the log", 2, 1)
	a = f.connect("a", false, expiry(60))
	check(a.take(1)[0])
}

func TestNoLocal(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true, expiry(60)), f.connect("b", true)
	a.ask(1, mqtt.Subscription{Filter: "x", QoS: 1, NoLocal: true})
	a.exchange("x", "own", 1, 1)
	a.publish("x", "own", 0, 0)
	b.exchange("x", "other", 1, 1)
	a.receive("x", "other")
	a.quiet()
	// Another subscription wants it: that one's identifier and QoS count.
	a.ask(2, mqtt.Subscription{Filter: "+", QoS: 0})
	a.publish("x", "own", 0, 0)
	if p := a.receive("x", "own"); !slices.Equal(p.Props.SubscriptionIDs, []uint32{2}) {
		t.Error(p.Props.SubscriptionIDs)
	}
	a.send(&mqtt.Unsubscribe{ID: 1, Filters: []string{"+"}})
	next[*mqtt.Unsuback](a)
	// The option lasts with the session; a will is the client's own too.
	f.drop(a, "a")
	a = f.connect("a", false, expiry(60))
	a.exchange("x", "own", 1, 1)
	a.quiet()
}

func TestRetainAsPublished(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b, c := f.connect("a", true), f.connect("b", true), f.connect("c", true, v311)
	a.ask(0, mqtt.Subscription{Filter: "p/+", QoS: 1, RetainAsPublished: true}, mqtt.Subscription{Filter: "n/+", QoS: 1})
	c.subscribe("+/+", 1)
	for qos := mqtt.QoS(0); qos <= 1; qos++ {
		for _, flag := range []bool{false, true} {
			for _, topic := range []string{"p/x", "n/x"} {
				b.publish(topic, "text", qos, uint16(qos), func(p *mqtt.Publish) { p.Retain = flag })
				if qos == 1 {
					next[*mqtt.Puback](b)
				}
				if p := a.receive(topic, "text"); p.Retain != (flag && topic == "p/x") {
					t.Errorf("%s published with %v came with %v", topic, flag, p.Retain)
				}
				if p := c.receive(topic, "text"); p.Retain {
					t.Error("3.1.1: the flag is for retained messages of a new subscription")
				}
			}
		}
	}
}

// TestRetainedOnce publishes as soon as the subscription is answered, while what
// is retained is being read: the message comes live, and not again.
func TestRetainedOnce(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true), f.connect("b", true)
	for i := range 300 {
		topic, qos := fmt.Sprintf("once/%d/x", i), mqtt.QoS(i%3)
		a.subscribe(fmt.Sprintf("once/%d/+", i), 2)
		if qos == 0 {
			b.publish(topic, "text", 0, 0, retain)
		} else {
			b.exchange(topic, "text", qos, 1, retain)
		}
		if got := a.take(1)[0]; string(got.Topic) != topic || got.QoS != qos || got.Retain {
			t.Fatalf("round %d: got %s, QoS %d, retained %v", i, got.Topic, got.QoS, got.Retain)
		}
		a.quiet()
	}
}

func TestRetainHandling(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true), f.connect("b", true)
	b.exchange("r/1", "one", 1, 1, retain)
	b.exchange("r/2", "two", 2, 1, retain)
	got := func() string {
		t.Helper()
		a.send(&mqtt.Pingreq{})
		var all []string
		for open := 1; open > 0; {
			p, err := a.read()
			if err != nil {
				t.Fatal(err)
			}
			switch p := p.(type) {
			case *mqtt.Pingresp: // what is retained may come a moment later
				if open--; len(all) == 0 {
					time.Sleep(20 * time.Millisecond)
					a.send(&mqtt.Pingreq{})
					open++
					all = append(all, "")
				}
			case *mqtt.Publish:
				if !p.Retain {
					t.Error("not marked as retained")
				}
				all = append(all, fmt.Sprintf("%s:%d", p.Payload, p.QoS))
				if p.QoS == 1 {
					a.send(&mqtt.Puback{Ack: mqtt.Ack{ID: p.ID}})
				}
			}
		}
		slices.Sort(all)
		return strings.TrimSpace(strings.Join(all, " "))
	}
	for i, step := range []struct {
		handling byte
		want     string
	}{{2, ""}, {0, "one:1 two:1"}, {0, "one:1 two:1"}, {1, ""}, {2, ""}} {
		a.ask(0, mqtt.Subscription{Filter: "r/#", QoS: 1, RetainHandling: step.handling})
		if s := got(); s != step.want {
			t.Errorf("step %d: %q, want %q", i, s, step.want)
		}
	}
	a.send(&mqtt.Unsubscribe{ID: 1, Filters: []string{"r/#"}})
	next[*mqtt.Unsuback](a)
	a.ask(0, mqtt.Subscription{Filter: "r/#", QoS: 0, RetainHandling: 1}) // new again
	if s := got(); s != "one:0 two:0" {
		t.Errorf("%q", s)
	}
}

func TestRetained(t *testing.T) {
	f := newFixture(t, open, calm)
	b := f.connect("b", true)
	sees := func(want ...string) {
		t.Helper()
		a := f.connect("a", true)
		a.subscribe("r/#", 2)
		var all []string
		for range want {
			p := a.receive("", "")
			if !p.Retain {
				t.Error("not marked as retained")
			}
			all = append(all, fmt.Sprintf("%s=%s:%d", p.Topic, p.Payload, p.QoS))
		}
		slices.Sort(all)
		if !slices.Equal(all, want) {
			t.Errorf("%q, want %q", all, want)
		}
		a.quiet()
		a.bye()
	}
	sees()
	b.exchange("r/x", "one", 1, 1, retain)
	sees("r/x=one:1")
	b.publish("r/x", "two", 0, 0, retain) // replaces it, with its QoS
	b.exchange("r/y", "other", 1, 1, retain)
	sees("r/x=two:0", "r/y=other:1")
	b.exchange("r/x", "not retained", 1, 1)
	b.exchange("r/x", "", 1, 1) // empty, without the flag: removes nothing
	sees("r/x=two:0", "r/y=other:1")
	live := f.connect("live", true)
	live.subscribe("r/x", 1)
	live.receive("r/x", "two")
	b.exchange("r/x", "", 1, 1, retain) // removes it, and is forwarded
	if p := live.receive("r/x", ""); len(p.Payload) != 0 || p.Retain {
		t.Errorf("%+v", p)
	}
	sees("r/y=other:1")
	f.stop()
	f.start() // they outlive the server
	b = f.connect("b", true)
	sees("r/y=other:1")
	b.publish("r/y", "", 0, 0, retain)
	b.exchange("r/z", "", 1, 1, retain)
	sees()
}

func TestUnsubscribe(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true, expiry(60), number(mqtt.ReceiveMaximum, 2)), f.connect("b", true)
	a.subscribe("x", 2)
	for i := range 2 {
		b.exchange("x", fmt.Sprint(i), 2, 1)
	}
	p0, p1 := next[*mqtt.Publish](a).Clone(), next[*mqtt.Publish](a).Clone()
	a.send(&mqtt.Unsubscribe{ID: 9, Filters: []string{"x"}})
	if u := next[*mqtt.Unsuback](a); u.ID != 9 || u.Codes[0] != 0 {
		t.Fatalf("%+v", u)
	}
	b.exchange("x", "after", 2, 1)
	f.drop(a, "a") // what was begun is completed, on the next connection too (MQTT-3.10.4-3)
	a = f.connect("a", false, expiry(60))
	for i, p := range a.take(2) {
		if want := []*mqtt.Publish{p0, p1}[i]; p.ID != want.ID || !p.Dup {
			t.Errorf("%+v", p)
		}
	}
	a.quiet()
}

// Replacing a subscription loses no message.
func TestReplaceSubscription(t *testing.T) {
	f := newFixture(t, open, calm)
	a, b := f.connect("a", true), f.connect("b", true)
	a.subscribe("x", 1)
	const n = 200
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range n {
			b.exchange("x", fmt.Sprint(i), 1, 1)
		}
	}()
	defer func() { <-sent }()
	for i := 0; i < n; {
		if i%5 == 0 {
			a.send(&mqtt.Subscribe{ID: 3, Subscriptions: []mqtt.Subscription{{Filter: "x", QoS: mqtt.QoS(1 + i/5%2)}}})
		}
		p, err := a.read()
		if err != nil {
			t.Fatal(err)
		}
		switch p := p.(type) {
		case *mqtt.Publish:
			if string(p.Payload) != fmt.Sprint(i) {
				t.Fatalf("message %d is %q", i, p.Payload)
			}
			if i++; p.QoS == 1 {
				a.send(&mqtt.Puback{Ack: mqtt.Ack{ID: p.ID}})
			} else {
				a.send(&mqtt.Pubrec{Ack: mqtt.Ack{ID: p.ID}})
			}
		case *mqtt.Pubrel:
			a.send(&mqtt.Pubcomp{Ack: mqtt.Ack{ID: p.ID}})
		}
	}
}
