package test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// unlimited lets a test fail as often as it wants.
var unlimited = []string{"--mqtt-auth-failures", "100000", "--mqtt-flap-connects", "100000", "--mqtt-connect-rate", "100000", "--mqtt-connect-burst", "100000"}

// attack is bytes that a server must not take.
type attack struct {
	name    string
	version mqtt.Version
	fresh   bool   // nothing was said before: the first packet is wrong
	write   []byte // after CONNECT, unless fresh
	codes   []int  // one of these is answered, in CONNACK when fresh, else in DISCONNECT; MQTT 3.1.1 has none
	connect func(*mqtt.Connect)
}

// TestMQTTHostileBytes sends every malformed class to a running server. It must
// answer with the right code where there is one, end that connection and no other.
func TestMQTTHostileBytes(t *testing.T) {
	t.Parallel()
	s := newSite(t, append([]string{"--mqtt-max-packet", "64KiB", "--mqtt-connect-timeout", "2s", "--mqtt-receive-maximum", "4"}, unlimited...)...)
	who := s.device("villain")
	bystander := s.mustConnect(t, s.device("bystander"), mqtt.V5)
	before := s.metric("go_goroutines")
	attacks := slices.Concat(vectorAttacks(t), packetAttacks(), orderAttacks())
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			s.attacked(t, who, a)
			if err := bystander.alive(); err != nil {
				t.Fatalf("another client's connection broke: %v", err)
			}
		})
		if t.Failed() && bystander.alive() != nil {
			return
		}
	}
	s.settles(before)
	for _, action := range []string{"message.malformed", "message.protocol_error"} {
		s.recorded(action, "")
	}
	if n := s.metric("holdfast_mqtt_malformed_packets_total"); n < 60 {
		t.Errorf("of %d attacks %v were counted as malformed", len(attacks), n)
	}
}

// attacked does what an attack says and checks the answer.
func (s *site) attacked(t *testing.T, who identity, a attack) {
	t.Helper()
	w := s.mustDial(t, who)
	if a.fresh {
		w.speak(spoken(a.version))
		_ = w.write(a.write) // the server may answer before it is all there
	} else {
		c := greeting(who, a.version)
		if a.connect != nil {
			a.connect(c)
		}
		if ack := w.connect(c); ack.Code != mqtt.Success {
			t.Fatalf("connecting: %v", ack.Code)
		}
		_ = w.write(a.write)
	}
	connack, disconnect := w.ended()
	got := disconnect
	if a.fresh {
		got = connack
	}
	switch {
	case a.fresh && a.codes == nil:
	case !a.fresh && a.version == mqtt.V311:
		if got != -1 {
			t.Errorf("the answer is 0x%02x, and MQTT 3.1.1 has none", got)
		}
	case !slices.Contains(a.codes, got):
		t.Errorf("the answer is 0x%02x, want one of %x", got, a.codes)
	}
}

// spoken is what a client listens in when its CONNECT names no version.
func spoken(v mqtt.Version) mqtt.Version {
	if v == 0 {
		return mqtt.V5
	}
	return v
}

// settles waits until the goroutines of ended connections are gone.
func (s *site) settles(before float64) {
	s.t.Helper()
	if err := poll(20*time.Second, func() error {
		if now := s.metric("go_goroutines"); now > before+15 {
			return fmt.Errorf("%v goroutines, %v before", now, before)
		}
		return nil
	}); err != nil {
		s.t.Error(err)
	}
	if heap := s.metric("go_memstats_heap_inuse_bytes"); heap > 256<<20 {
		s.t.Errorf("%.0f MiB of memory are in use", heap/(1<<20))
	}
}

// vectorAttacks are the vectors that a server must refuse.
func vectorAttacks(t *testing.T) (all []attack) {
	t.Helper()
	text, err := os.ReadFile("vectors/mqtt/refused.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name, Sender, Hex string
		Version           mqtt.Version
		Error             int
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		if v.Sender == "server" {
			continue // says what a client must refuse
		}
		b, err := hex.DecodeString(strings.ReplaceAll(v.Hex, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		a := attack{name: "vector " + v.Name, version: v.Version, write: b, codes: []int{v.Error, 0x81, 0x82}}
		if b[0]>>4 == byte(mqtt.CONNECT) || v.Version == 0 {
			a.fresh, a.codes = true, nil
			if len(b) > 8 && b[0] == 0x10 { // a CONNECT whose version can be read
				a.version = mqtt.Version(b[8])
			}
			if a.version == mqtt.V5 {
				a.codes = []int{v.Error}
			} else {
				a.version = mqtt.V311
			}
		}
		all = append(all, a)
	}
	return all
}

// both is an attack in both versions.
func both(name, hexa string, codes ...int) []attack {
	b, err := hex.DecodeString(strings.ReplaceAll(hexa, " ", ""))
	if err != nil {
		panic(err)
	}
	return []attack{{name: name + " in 5", version: mqtt.V5, write: b, codes: codes}, {name: name + " in 3.1.1", version: mqtt.V311, write: b}}
}

// packetAttacks are single packets after CONNECT.
func packetAttacks() []attack {
	five := func(name, hexa string, codes ...int) []attack { return both(name, hexa, codes...)[:1] }
	big := append([]byte{0x30, 0x80, 0x80, 0x08, 0, 1, 'a'}, make([]byte, 128<<10)...) // 128 KiB
	return slices.Concat(
		both("a huge length without data", "30 ff ff ff 7f 0001", 0x95),
		[]attack{{name: "more than the maximum packet size", version: mqtt.V5, write: big, codes: []int{0x95}}},
		both("QoS 3", "36 06 0001 61 0001 00", 0x81),
		both("packet id 0", "32 05 0001 61 0000", 0x81, 0x82),
		both("a topic that is not UTF-8", "30 05 0003 61ff62", 0x81),
		both("a topic with a surrogate", "30 06 0003 eda080 00", 0x81),
		both("a topic with NUL", "30 06 0003 610062 00", 0x81),
		both("a topic with a wildcard", "30 06 0003 612f23 00", 0x81, 0x82, 0x90),
		both("DUP at QoS 0", "38 04 0001 61 00", 0x81, 0x82),
		both("CONNACK from a client", "20 03 0000 00", 0x81, 0x82),
		both("SUBACK from a client", "90 04 0001 00 00", 0x81, 0x82),
		both("PINGRESP from a client", "d0 00", 0x81, 0x82),
		both("packet type 0", "00 00", 0x81, 0x82),
		both("SUBSCRIBE without filters", "82 03 0001 00", 0x81, 0x82),
		both("SUBSCRIBE with reserved flags", "80 07 0001 00 0001 61 00", 0x81),
		five("a topic alias of 0", "30 07 0001 61 03 23 0000", 0x94, 0x82),
		five("a topic alias above the maximum", "30 07 0001 61 03 23 ffff", 0x94),
		five("a topic alias that nobody introduced", "30 06 0000 03 23 0001", 0x82, 0x94),
		five("a property twice", "30 08 0001 61 04 0100 0100", 0x82, 0x81),
		five("an unknown property", "30 06 0001 61 02 7f00", 0x81),
		five("a subscription identifier of 0", "82 09 0001 02 0b00 0001 61 00", 0x82, 0x81),
		five("no local on a shared subscription", "82 10 0001 00 000a 2473686172652f672f61 04", 0x82),
		five("AUTH without a method", "f0 02 18 00", 0x82, 0x81),
		five("AUTH to change a method never agreed", "f0 08 19 06 15 0003 616263", 0x82, 0x8c),
		five("DISCONNECT that raises the session expiry from 0", "e0 07 00 05 11 0000000a", 0x82),
		five("a reason code that PUBACK has not", "40 03 0001 7f", 0x81, 0x82),
	)
}

// orderAttacks are good packets at the wrong time.
func orderAttacks() (all []attack) {
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		again := bytesOf(v, greeting(identity{id: "villain"}, v))
		name := " in " + v.String()
		all = append(all,
			attack{name: "a second CONNECT" + name, version: v, write: again, codes: []int{0x82}},
			attack{name: "CONNECT twice in one write" + name, version: v, fresh: true, write: slices.Concat(again, again), codes: []int{0}},
			attack{name: "PUBLISH before CONNECT" + name, version: v, fresh: true, write: bytesOf(v, &mqtt.Publish{Topic: []byte("plant/plant/villain/x")})},
			attack{name: "a truncated CONNECT, then silence" + name, version: v, fresh: true, write: again[:len(again)-3]},
			attack{name: "nothing at all" + name, version: v, fresh: true},
		)
	}
	var flood []byte
	for id := range uint16(10) { // the server said 4
		flood = append(flood, bytesOf(mqtt.V5, &mqtt.Publish{Topic: []byte("plant/plant/villain/x"), QoS: 2, ID: id + 1})...)
	}
	old := bytesOf(mqtt.V311, greeting(identity{id: "villain"}, mqtt.V311))
	renamed := append(append([]byte{}, old[:4]...), append([]byte("MQTX"), old[8:]...)...)
	return append(all,
		attack{name: "more than the receive maximum", version: mqtt.V5, write: flood, codes: []int{0x93}},
		attack{name: "a wrong protocol name", version: mqtt.V311, fresh: true, write: renamed},
		attack{name: "HTTP", version: mqtt.V311, fresh: true, write: []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		attack{name: "TLS in TLS", version: mqtt.V311, fresh: true, write: []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}},
		attack{name: "a CONNECT of 60 KiB", version: mqtt.V5, fresh: true, write: bytesOf(mqtt.V5, greeting(identity{id: strings.Repeat("v", 60000)}, mqtt.V5)), codes: []int{0x85}},
		attack{name: "the client id of another", version: mqtt.V5, fresh: true, write: bytesOf(mqtt.V5, greeting(identity{id: "bystander"}, mqtt.V5)), codes: []int{0x85}},
	)
}

// TestMQTTStrangeButRight sends good packets in unusual pieces.
func TestMQTTStrangeButRight(t *testing.T) {
	t.Parallel()
	s := newSite(t, unlimited...)
	who := s.device("odd")
	topic := []byte("plant/plant/odd/x")
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		sub := &mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: string(topic), QoS: 2}}}
		pub := func(id uint16) mqtt.Packet {
			return &mqtt.Publish{Topic: topic, QoS: 1, ID: id, Payload: fmt.Append(nil, "number ", id)}
		}
		// Byte by byte.
		w := s.mustDial(t, who)
		w.speak(v)
		for _, b := range bytesOf(v, greeting(who, v), sub, pub(2)) {
			if err := w.write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		w.expect(t, 1)
		w.nc.Close()
		// All at once, before anything was answered.
		w = s.mustDial(t, who)
		w.speak(v)
		all := bytesOf(v, greeting(who, v), sub)
		for id := range uint16(40) {
			all = append(all, bytesOf(v, pub(id+2))...)
		}
		if err := w.write(append(all, bytesOf(v, &mqtt.Pingreq{})...)); err != nil {
			t.Fatal(err)
		}
		w.expect(t, 40)
		// What nobody asked for is answered or ignored, and ends nothing.
		odd := []mqtt.Packet{&mqtt.Puback{Ack: mqtt.Ack{ID: 900}}, &mqtt.Pubrec{Ack: mqtt.Ack{ID: 901}}, &mqtt.Pubrel{Ack: mqtt.Ack{ID: 902}}, &mqtt.Pubcomp{Ack: mqtt.Ack{ID: 903}},
			&mqtt.Unsubscribe{ID: 904, Filters: []string{"plant/nothing"}}}
		w.send(odd...)
		if err := w.alive(); err != nil {
			t.Errorf("%v: acknowledgements that nobody asked for end the connection: %v", v, err)
		}
		w.nc.Close()
	}
}

// expect reads CONNACK, SUBACK and n messages with their acknowledgements, in
// whatever order they come, and answers the messages.
func (w *wire) expect(t *testing.T, n int) {
	t.Helper()
	if a := want[*mqtt.Connack](w); a.Code != mqtt.Success {
		t.Fatalf("CONNACK: %v", a.Code)
	}
	for acks, messages := 0, 0; acks < n || messages < n; {
		switch p := w.read().(type) {
		case *mqtt.Puback:
			if p.Code.Failed() {
				t.Fatalf("PUBACK: %v", p.Code)
			}
			acks++
		case *mqtt.Publish:
			messages++
			w.send(&mqtt.Puback{Ack: mqtt.Ack{ID: p.ID}})
		case *mqtt.Disconnect:
			t.Fatalf("DISCONNECT: %v", p.Code)
		}
	}
}
