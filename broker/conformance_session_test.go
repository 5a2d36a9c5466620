package broker_test

import (
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

func will(topic string, qos mqtt.QoS, retain bool, delay uint32) func(*mqtt.Connect) {
	return func(c *mqtt.Connect) {
		c.Will = &mqtt.Will{Topic: topic, Payload: []byte("lost " + topic), QoS: qos, Retain: retain}
		if delay > 0 {
			c.Will.Props.SetNumber(mqtt.WillDelay, delay)
		}
	}
}

func TestWill(t *testing.T) {
	f := newFixture(t, open, calm)
	w := f.connect("watch", true)
	w.ask(0, mqtt.Subscription{Filter: "w/#", QoS: 2, RetainAsPublished: true})
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		for qos := mqtt.QoS(0); qos <= 2; qos++ {
			for _, retained := range []bool{false, true} {
				version := func(c *mqtt.Connect) { c.Version = v }
				c := f.connect("c", true, version, will("w/lost", qos, retained, 0))
				f.drop(c, "c")
				if p := w.take(1)[0]; string(p.Payload) != "lost w/lost" || p.QoS != qos || p.Retain != retained {
					t.Errorf("%+v", p)
				}
				n := f.connect("n", true)
				n.subscribe("w/lost", 2)
				if retained {
					n.take(1)
				}
				n.quiet()
				n.bye()
				f.connect("clean", true).exchange("w/lost", "", 1, 1, retain)
				w.take(1)
				// It is published once, and not after a proper end (MQTT-3.14.4-3).
				f.connect("c", true, version, will("w/lost", qos, retained, 0)).bye()
				f.connect("c", true, version).bye() // no will any more
				w.quiet()
			}
		}
	}
	c := f.connect("c", true, will("w/asked", 1, false, 0))
	c.send(&mqtt.Disconnect{Code: mqtt.DisconnectWithWill})
	w.receive("w/asked", "")
	c = f.connect("c", true, will("w/error", 1, false, 0))
	c.send(&mqtt.Disconnect{Code: mqtt.UnspecifiedError}) // any end but 0x00
	w.receive("w/error", "")
	c = f.connect("c", true, will("w/protocol", 1, false, 0))
	c.send(&mqtt.Pubrel{Ack: mqtt.Ack{ID: 1}})
	c.send(&mqtt.Auth{})
	c.gone()
	w.receive("w/protocol", "")
	w.quiet()
}

func TestWillDelay(t *testing.T) {
	f := newFixture(t, open, calm)
	w := f.connect("watch", true)
	w.subscribe("w/#", 1)
	// All at the same time: what is due after a second comes, and nothing else.
	began := time.Now()
	for _, id := range []string{"due", "back", "fresh", "ended", "taken", "short", "restart"} {
		ends := uint32(100)
		if id == "short" {
			ends = 1 // the session's end is the end of the delay, too
		}
		delay := uint32(1)
		if id == "short" || id == "fresh" || id == "taken" {
			delay = 50
		}
		c := f.connect(id, true, expiry(ends), will("w/"+id, 1, false, delay))
		switch id {
		case "ended": // no session beyond the connection: at once
			f.drop(c, id)
			c = f.connect(id, true, will("w/now", 1, false, 50))
			w.receive("w/ended", "") // the session of before ended with the clean start
			f.drop(c, id)
			w.receive("w/now", "")
		case "taken":
			n := f.connect(id, false, expiry(100)) // goes on: no will
			c.disconnected(mqtt.SessionTakenOver)
			n.quiet()
		case "back":
			f.drop(c, id)
			f.connect(id, false, expiry(100)).quiet()
		case "fresh":
			f.drop(c, id)
			f.connect(id, true).bye() // ends the session: published (MQTT-3.1.2-8)
			w.receive("w/fresh", "")
		default:
			f.drop(c, id)
		}
	}
	w.quiet()
	seen := map[string]bool{}
	for range 3 {
		seen[string(w.receive("", "").Topic)] = true
	}
	if took := time.Since(began); took < time.Second || took > 3*time.Second {
		t.Errorf("after %s", took)
	}
	if !seen["w/due"] || !seen["w/short"] || !seen["w/restart"] {
		t.Error(seen)
	}
	w.quiet()
}

// A will outlives the server.
func TestWillAcrossRestart(t *testing.T) {
	f := newFixture(t, open, calm)
	w := f.connect("watch", true, expiry(100))
	w.subscribe("w/#", 1)
	c := f.connect("c", true, expiry(100), will("w/later", 1, false, 1))
	f.drop(c, "c")
	f.stop()
	f.start()
	w = f.connect("watch", false, expiry(100))
	w.receive("w/later", "")
	w.quiet()
	// Published, it is gone (MQTT-3.1.2-10).
	f.stop()
	f.start()
	w = f.connect("watch", false, expiry(100))
	f.connect("c", false, expiry(100)).bye()
	w.quiet()
}

func TestSessionExpiry(t *testing.T) {
	f := newFixture(t, open, calm)
	b := f.connect("b", true)
	end := func(id string, expires uint32, bye *mqtt.Disconnect) {
		t.Helper()
		c := f.connect(id, true, expiry(expires))
		c.subscribe("x/"+id, 1)
		if bye == nil {
			f.drop(c, id)
			return
		}
		c.send(bye)
		c.gone()
		f.gone(id)
	}
	end("zero", 0, nil)
	end("short", 1, nil)
	end("long", 100, nil)
	end("cut", 100, &mqtt.Disconnect{Props: withNumber(mqtt.SessionExpiry, 0)})
	end("shortened", 100, &mqtt.Disconnect{Props: withNumber(mqtt.SessionExpiry, 1)})
	end("prolonged", 1, &mqtt.Disconnect{Props: withNumber(mqtt.SessionExpiry, 100)})
	end("kept", 100, &mqtt.Disconnect{})
	for id, there := range map[string]bool{"zero": false, "cut": false} {
		c := f.connect(id, false, expiry(100))
		if c.ack.SessionPresent != there {
			t.Errorf("%s: present %v", id, c.ack.SessionPresent)
		}
		c.bye()
	}
	time.Sleep(1100 * time.Millisecond)
	for id, there := range map[string]bool{"short": false, "shortened": false, "long": true, "prolonged": true, "kept": true} {
		b.exchange("x/"+id, id, 1, 1)
		c := f.connect(id, false, expiry(100))
		if c.ack.SessionPresent != there {
			t.Errorf("%s: present %v", id, c.ack.SessionPresent)
		}
		if there {
			c.receive("x/"+id, id)
		}
		c.quiet()
		c.bye()
	}
	c := f.connect("zero", true) // from zero it cannot be raised
	c.send(&mqtt.Disconnect{Props: withNumber(mqtt.SessionExpiry, 5)})
	c.disconnected(mqtt.ProtocolError)
	old := f.connect("old", false, v311) // in MQTT 3.1.1 as long as the server allows
	old.subscribe("x", 1)
	old.bye()
	if old = f.connect("old", false, v311); !old.ack.SessionPresent {
		t.Error("3.1.1: no session")
	}
	b.exchange("x", "", 1, 1)
	old.receive("x", "")
	old.bye()
	old = f.connect("old", true, v311)
	old.bye()
	if old = f.connect("old", false, v311); old.ack.SessionPresent {
		t.Error("3.1.1: a clean session lasted")
	}
}
