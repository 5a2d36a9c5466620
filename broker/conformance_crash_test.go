package broker_test

import (
	"context"
	"testing"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// row is what the log has of a session now.
func (f *fixture) row(id string) []byte {
	f.t.Helper()
	data, _, err := f.log.Session(context.Background(), id)
	if err != nil || data == nil {
		f.t.Fatalf("the session of %s: %q, %v", id, data, err)
	}
	return data
}

// crash ends a connection in a way that leaves an earlier row behind, as kill -9
// does.
func (f *fixture) crash(c *client, id string, row []byte) {
	f.t.Helper()
	f.drop(c, id)
	ctx := context.Background()
	_, rev, err := f.log.Session(ctx, id)
	if err == nil {
		_, err = f.log.SaveSession(ctx, id, row, rev, 0)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// A client that releases one message after a crash and sends another again is
// understood, also when the server dies once more in between: the receipts of both
// were lost, their messages were not.
func TestQoS2AfterCrash(t *testing.T) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		f := newFixture(t, open, calm)
		a := f.connect("a", true)
		a.subscribe("x", 2)
		again := func() *client {
			b := f.connect("b", false, expiry(100), func(c *mqtt.Connect) {
				if c.Version = v; v == mqtt.V311 {
					c.Props = mqtt.Properties{}
				}
			})
			return b
		}
		released := func(c *client, id uint16, known bool) {
			t.Helper()
			c.send(&mqtt.Pubrel{Ack: mqtt.Ack{ID: id}})
			want := mqtt.Success
			if !known && v == mqtt.V5 {
				want = mqtt.PacketIDNotFound
			}
			if comp := next[*mqtt.Pubcomp](c); comp.ID != id || comp.Code != want {
				t.Fatalf("%+v", comp)
			}
		}
		b := again()
		before := f.row("b")
		for id := uint16(1); id <= 3; id++ {
			b.publish("x", string('0'+rune(id)), 2, id)
			next[*mqtt.Pubrec](b)
		}
		f.crash(b, "b", before)

		b = again()
		released(b, 1, false)
		b.publish("x", "2", 2, 2, dup)
		next[*mqtt.Pubrec](b)
		before = f.row("b")
		f.crash(b, "b", before)

		b = again()
		b.publish("x", "2", 2, 2, dup)
		next[*mqtt.Pubrec](b)
		b.publish("x", "3", 2, 3, dup)
		next[*mqtt.Pubrec](b)
		released(b, 2, true)
		before = f.row("b")
		f.crash(b, "b", before)

		// All three identifiers are used again, for what is new.
		b = again()
		released(b, 3, true)
		for id := uint16(1); id <= 3; id++ {
			b.publish("x", string('3'+rune(id)), 2, id)
			next[*mqtt.Pubrec](b)
		}
		if got := payloads(a.take(6)); got != "1 2 3 4 5 6" {
			t.Errorf("MQTT %d: arrived: %s", v, got)
		}
		a.quiet()
		b.bye()
		a.bye()
		f.stop()
	}
}
