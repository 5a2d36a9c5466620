package broker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
)

// works is the policy of a small plant.
const works = `
apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: doser}
spec:
  publish:
    - {name: reading, topics: ["w/${device.id}/reading"], qos: 2, payload: {format: json, maxBytes: 100}}
    - {name: slow, topics: ["w/${device.id}/slow"], rate: {messages: 1/h, burst: 1}}
  subscribe: [{name: commands, topics: ["w/${device.id}/cmd/#"]}]
  commands:
    - name: dose
      topic: "w/${device.id}/cmd/dose"
      payload: {format: json, fields: [{path: /ml, type: number, required: true, min: 0, max: 50}]}
  marks:
    - {path: /who, as: personal}
---
apiVersion: holdfast.dev/v1
kind: App
metadata: {name: scada}
spec:
  audience: operator
  publish: [{name: commands, topics: ["w/+/cmd/#"], qos: 2, retain: true}]
  subscribe: [{name: all, topics: ["w/#"]}]
---
apiVersion: holdfast.dev/v1
kind: Audience
metadata: {name: analyst}
spec: {sees: [{mark: personal, do: drop}]}
---
apiVersion: holdfast.dev/v1
kind: App
metadata: {name: study}
spec:
  audience: analyst
  subscribe: [{name: readings, topics: ["w/+/reading"]}]
`

var (
	doser = policy.Principal{Kind: policy.Device, ID: "doser-1", Type: "doser", State: "active"}
	scada = policy.Principal{Kind: policy.App, ID: "scada"}
	study = policy.Principal{Kind: policy.App, ID: "study"}
)

// as connects a principal under its own name, or another.
func (f *fixture) as(who policy.Principal, more ...func(*mqtt.Connect)) *client {
	f.t.Helper()
	c := mqtt.Connect{ClientID: who.ID, CleanStart: true}
	for _, m := range more {
		m(&c)
	}
	cl := f.connectAs(who, c)
	if cl.ack.Code != 0 {
		f.t.Fatalf("CONNACK %v", cl.ack.Code)
	}
	return cl
}

func (c *client) refused(topic, payload string, want mqtt.ReasonCode, more ...func(*mqtt.Publish)) {
	c.t.Helper()
	c.publish(topic, payload, 1, 9, more...)
	ack := next[*mqtt.Puback](c)
	if reason, _ := ack.Props.Blob(mqtt.ReasonString); ack.Code != want || ack.ID != 9 || len(reason) == 0 {
		c.t.Errorf("PUBACK of %s: %v %q, want %v", topic, ack.Code, reason, want)
	}
	c.publish(topic, payload, 2, 9, more...)
	if rec := next[*mqtt.Pubrec](c); rec.Code != want && !(want == mqtt.QuotaExceeded && rec.Code == mqtt.NotAuthorized) {
		c.t.Errorf("PUBREC of %s: %v, want %v", topic, rec.Code, want)
	}
	// The identifier is free at once (MQTT-4.3.3-9).
	c.publish(topic, payload, 2, 9, more...)
	next[*mqtt.Pubrec](c)
	c.publish(topic, payload, 0, 0, more...) // nobody is told
	c.quiet()
}

func TestPublishRefused(t *testing.T) {
	f := newFixture(t, works, calm)
	f.know("doser-1", doser)
	s := f.as(scada)
	s.ask(0, mqtt.Subscription{Filter: "w/#", QoS: 1, NoLocal: true})
	d := f.as(doser)
	d.refused("w/doser-2/reading", "{}", mqtt.NotAuthorized)
	d.refused("w/doser-1/reading", "no json", mqtt.PayloadFormatInvalid)
	d.refused("w/doser-1/reading", "{}", mqtt.NotAuthorized, retain)
	d.refused("w/doser-1/reading", "{}", mqtt.NotAuthorized, func(p *mqtt.Publish) { p.Props.SetBlob(mqtt.ResponseTopic, []byte("w/doser-2/cmd/x")) })
	d.publish("w/doser-1/slow", "", 1, 1)
	next[*mqtt.Puback](d)
	d.publish("w/doser-1/slow", "", 1, 1)
	if ack := next[*mqtt.Puback](d); ack.Code != mqtt.QuotaExceeded {
		t.Error(ack.Code)
	}
	s.receive("w/doser-1/slow", "")
	s.quiet() // nothing else arrived
	// Commands: outside the safe range, or to nobody.
	d.subscribe("w/doser-1/cmd/#", 1)
	s.exchange("w/doser-1/cmd/dose", `{"ml":20}`, 1, 1)
	d.receive("w/doser-1/cmd/dose", `{"ml":20}`)
	s.refused("w/doser-1/cmd/dose", `{"ml":900}`, mqtt.NotAuthorized)
	s.refused("w/doser-9/cmd/dose", `{"ml":20}`, mqtt.NotAuthorized)
	d.quiet()
}

func TestPublishRefused311(t *testing.T) {
	for _, drops := range []bool{false, true} {
		opt := calm
		opt.Drop311 = drops
		f := newFixture(t, works, opt)
		for qos := mqtt.QoS(0); qos <= 2; qos++ {
			d := f.as(doser, v311)
			d.publish("not/allowed", "", qos, uint16(qos))
			switch {
			case qos == 0:
				d.quiet()
			case !drops:
				if p, err := d.read(); err == nil {
					t.Errorf("QoS %d: %v", qos, p.Type())
				}
			case qos == 1:
				next[*mqtt.Puback](d)
			default:
				next[*mqtt.Pubrec](d)
				d.release(2)
			}
		}
	}
}

func TestSubscribeRefused(t *testing.T) {
	f := newFixture(t, works, calm)
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		want := mqtt.NotAuthorized
		if v == mqtt.V311 {
			want = mqtt.UnspecifiedError
		}
		d := f.as(doser, func(c *mqtt.Connect) { c.Version = v })
		codes := d.ask(0, mqtt.Subscription{Filter: "w/#"}, mqtt.Subscription{Filter: "w/doser-1/cmd/#", QoS: 2}, mqtt.Subscription{Filter: "w/+/cmd/x"}, mqtt.Subscription{Filter: "$share/g/w/#"})
		if codes[0] != want || codes[1] != 2 || codes[2] != want || codes[3] != want {
			t.Errorf("%v: %v", v, codes)
		}
	}
	opt := calm
	opt.Subscriptions = 2
	f = newFixture(t, works, opt)
	s := f.as(scada)
	codes := s.ask(0, mqtt.Subscription{Filter: "w/1"}, mqtt.Subscription{Filter: "w/2"})
	if codes[0] != 0 || codes[1] != 0 {
		t.Error(codes)
	}
	if code := s.subscribe("w/3", 0); code != mqtt.QuotaExceeded {
		t.Error(code)
	}
	if code := s.subscribe("w/2", 1); code != 1 { // it is there already
		t.Error(code)
	}
}

func TestConnectRefused(t *testing.T) {
	f := newFixture(t, works, calm)
	gone := policy.Principal{Kind: policy.Device, ID: "gone"}
	f.know("gone", policy.Principal{})
	lost := doser
	lost.State = "quarantined"
	f.as(doser, expiry(60)).bye()
	for name, test := range map[string]struct {
		who  policy.Principal
		c    mqtt.Connect
		code mqtt.ReasonCode
	}{
		"no principal any more": {gone, mqtt.Connect{ClientID: "gone"}, mqtt.NotAuthorized},
		"another's id":          {doser, mqtt.Connect{ClientID: "doser-2"}, mqtt.ClientIDNotValid},
		"an app's id":           {doser, mqtt.Connect{ClientID: "scada"}, mqtt.ClientIDNotValid},
		"a device's session":    {scada, mqtt.Connect{ClientID: "doser-1"}, mqtt.ClientIDNotValid},
		"quarantined":           {lost, mqtt.Connect{ClientID: "doser-1"}, mqtt.NotAuthorized},
		"unknown app":           {policy.Principal{Kind: policy.App, ID: "nobody"}, mqtt.Connect{ClientID: "nobody"}, mqtt.NotAuthorized},
		"will":                  {doser, mqtt.Connect{ClientID: "doser-1", Will: &mqtt.Will{Topic: "w/doser-2/reading", Payload: []byte("{}")}}, mqtt.NotAuthorized},
		"will payload":          {doser, mqtt.Connect{ClientID: "doser-1", Will: &mqtt.Will{Topic: "w/doser-1/reading", Payload: []byte("?")}}, mqtt.PayloadFormatInvalid},
		"will retained":         {doser, mqtt.Connect{ClientID: "doser-1", Will: &mqtt.Will{Topic: "w/doser-1/reading", Payload: []byte("{}"), Retain: true}}, mqtt.NotAuthorized},
	} {
		if c := f.try(test.who, test.c); c.ack.Code != test.code {
			t.Errorf("%s: %v, want %v", name, c.ack.Code, test.code)
		}
		test.c.Version = mqtt.V311
		if c := f.try(test.who, test.c); c.ack.Code != test.code.Return311() {
			t.Errorf("%s in 3.1.1: %v", name, c.ack.Code)
		}
	}
	if c := f.connectAs(doser, mqtt.Connect{ClientID: "doser-1"}); !c.ack.SessionPresent {
		t.Error("a refused client ended another's session")
	}
}

func TestPolicyChanges(t *testing.T) {
	f := newFixture(t, works, calm)
	s, d, a := f.as(scada), f.as(doser, expiry(60)), f.as(study)
	s.subscribe("w/#", 1)
	d.subscribe("w/doser-1/cmd/#", 1)
	a.subscribe("w/+/reading", 1)
	d.exchange("w/doser-1/reading", "{}", 1, 1)
	s.receive("w/doser-1/reading", "{}")
	a.receive("w/doser-1/reading", "{}")
	// Less for scada, nothing for study: a subscription shrinks, a session ends.
	smaller := strings.Replace(works, `topics: ["w/#"]`, `topics: ["w/+/slow"]`, 1)
	f.policy(smaller[:strings.LastIndex(smaller, "---")])
	f.broker.PolicyChanged()
	a.disconnected(mqtt.NotAuthorized)
	d.exchange("w/doser-1/reading", "{}", 1, 1)
	s.quiet()
	s.send(&mqtt.Unsubscribe{ID: 1, Filters: []string{"w/#"}})
	if u := next[*mqtt.Unsuback](s); u.Codes[0] != mqtt.NoSubscriptionExisted {
		t.Error(u.Codes)
	}
	// Facts: a quarantined device is closed at once; a session that waits is checked when it comes back.
	lost := doser
	lost.State = "quarantined"
	f.know("doser-1", lost)
	f.broker.FactsChanged(func(who policy.Principal) bool { return who.ID == "doser-1" })
	d.disconnected(mqtt.NotAuthorized)
	s.quiet()
	f.know("doser-1", doser)
	d = f.as(doser, expiry(60))
	n := f.broker.CloseWhere(func(who policy.Principal, _ broker.Peer) bool { return who.ID == "doser-1" }, mqtt.AdministrativeAction, "it was revoked")
	if reason, _ := d.disconnected(mqtt.AdministrativeAction).Props.Blob(mqtt.ReasonString); n != 1 || string(reason) != "it was revoked" {
		t.Errorf("%d %q", n, reason)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for id, is := range map[string]bool{"scada": true, "nobody": false} {
		if ended, err := f.broker.EndSession(ctx, id); ended != is || err != nil {
			t.Errorf("%s: %v, %v", id, ended, err)
		}
	}
	s.disconnected(mqtt.AdministrativeAction)
}

// The same message reaches an operator whole and an analyst without what is
// marked, live, retained and from the log.
func TestViews(t *testing.T) {
	retaining := strings.Replace(works, `qos: 2, payload: {format: json, maxBytes: 100}`, `qos: 2, retain: true`, 1)
	f := newFixture(t, retaining, calm)
	d, s, a := f.as(doser), f.as(scada, expiry(60)), f.as(study, expiry(60))
	s.subscribe("w/+/reading", 1)
	a.subscribe("w/+/reading", 1)
	check := func(what string, s, a *client) {
		t.Helper()
		if p := s.receive("w/doser-1/reading", ""); !strings.Contains(string(p.Payload), "Ada") {
			t.Errorf("%s: the operator sees %s", what, p.Payload)
		}
		if p := a.receive("w/doser-1/reading", ""); strings.Contains(string(p.Payload), "Ada") || !strings.Contains(string(p.Payload), "7") {
			t.Errorf("%s: the analyst sees %s", what, p.Payload)
		}
	}
	const text = `{"who":"Ada","ml":7}`
	d.exchange("w/doser-1/reading", text, 1, 1)
	check("live", s, a)
	f.drop(s, "scada")
	f.drop(a, "study")
	d.exchange("w/doser-1/reading", text, 1, 1, retain)
	again := func(c *mqtt.Connect) { c.CleanStart = false; c.Props.SetNumber(mqtt.SessionExpiry, 60) }
	s, a = f.as(scada, again), f.as(study, again)
	check("from the log", s, a)
	s.subscribe("w/+/reading", 1)
	a.subscribe("w/+/reading", 1)
	check("retained", s, a)
}

// A command that was right when it was sent is looked at again when it is
// delivered.
func TestCommandRefusedAtDelivery(t *testing.T) {
	f := newFixture(t, works, calm)
	f.know("doser-1", doser)
	d, s := f.as(doser, expiry(60)), f.as(scada)
	d.subscribe("w/doser-1/cmd/#", 1)
	f.drop(d, "doser-1")
	s.exchange("w/doser-1/cmd/dose", `{"ml":20}`, 1, 1)
	s.exchange("w/doser-1/cmd/other", "", 1, 1)
	stopped := doser
	stopped.Maintenance = true
	f.know("doser-1", stopped)
	d = f.as(doser, func(c *mqtt.Connect) { c.CleanStart = false; c.Props.SetNumber(mqtt.SessionExpiry, 60) })
	d.receive("w/doser-1/cmd/other", "")
	d.quiet()
	for e := range f.events {
		if e.Kind == broker.DeliveryRefused {
			break
		}
	}
}
