package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// blocked reports whether a source's connections are closed before TLS begins.
func (s *site) blocked(t *testing.T, who identity, from string) bool {
	t.Helper()
	w, err := s.dial(t, who, from)
	if err == nil {
		w.nc.Close()
	}
	return err != nil
}

// TestMQTTAuthBackOff fails to sign in until its source has to wait; another
// source does not.
func TestMQTTAuthBackOff(t *testing.T) {
	t.Parallel()
	s := newSite(t, "--mqtt-auth-failures", "5")
	who := s.device("honest")
	wrong := identity{id: "lab", user: "lab", password: "wrong"}
	const bad, good = "127.0.0.7", "127.0.0.8"
	before, err := s.dial(t, who, bad)
	if err != nil {
		t.Fatal(err)
	}
	if a := before.connect(greeting(who, mqtt.V5)); a.Code != mqtt.Success {
		t.Fatal(a.Code)
	}
	for n := range 5 {
		w, err := s.dial(t, wrong, bad)
		if err != nil {
			t.Fatalf("failure %d: blocked too early: %v", n, err)
		}
		if a := w.connect(greeting(wrong, mqtt.V5)); a.Code != mqtt.BadUserNameOrPassword {
			t.Fatalf("failure %d: %v", n, a.Code)
		}
		w.ended()
	}
	if !s.blocked(t, who, bad) {
		t.Error("after too many failures the source may go on")
	}
	if err := before.alive(); err != nil {
		t.Errorf("who was connected already is cut off: %v", err)
	}
	w, err := s.dial(t, who, good)
	if err != nil {
		t.Fatalf("another source is blocked: %v", err)
	}
	if a := w.connect(greeting(who.as("honest/2"), mqtt.V5)); a.Code != mqtt.Success {
		t.Errorf("another source: %v", a.Code)
	}
	// It ends after a while, and is longer the next time.
	if err := poll(20*time.Second, func() error {
		if s.blocked(t, who, bad) {
			return fmt.Errorf("%s is still blocked", bad)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	s.recorded("message.connect_refused", "user name or password is wrong")
	if s.metric("holdfast_mqtt_connections_refused_total") < 6 {
		t.Error("the refused connections were not counted")
	}
}

// TestMQTTFlapping connects one client id again and again until it has to wait;
// others do not.
func TestMQTTFlapping(t *testing.T) {
	t.Parallel()
	s := newSite(t, "--mqtt-flap-connects", "5", "--mqtt-auth-failures", "1000")
	flapper, other := s.device("flapper"), s.device("other")
	for n := range 5 {
		w := s.mustDial(t, flapper)
		if a := w.connect(greeting(flapper, mqtt.V5)); a.Code != mqtt.Success {
			t.Fatalf("connection %d: %v", n, a.Code)
		}
		w.nc.Close()
	}
	for range 2 {
		w := s.mustDial(t, flapper)
		if a := w.connect(greeting(flapper, mqtt.V5)); a.Code != mqtt.ConnectionRateExceeded {
			t.Errorf("flapping is answered %v, want %v", a.Code, mqtt.ConnectionRateExceeded)
		}
		w.ended()
	}
	w := s.mustDial(t, flapper)
	if a := w.connect(greeting(flapper, mqtt.V311)); a.Code != 3 {
		t.Errorf("flapping in 3.1.1 is answered %d, want 3", a.Code)
	}
	s.mustConnect(t, other, mqtt.V5)
	s.recorded("message.flapping", "")
}

// TestMQTTConnectionRate connects faster than one source may.
func TestMQTTConnectionRate(t *testing.T) {
	t.Parallel()
	s := newSite(t, "--mqtt-connect-rate", "0.01", "--mqtt-connect-burst", "6")
	who := s.device("fast")
	const bad, good = "127.0.0.9", "127.0.0.10"
	for n := range 6 {
		if s.blocked(t, who, bad) {
			t.Fatalf("connection %d is refused", n)
		}
	}
	if !s.blocked(t, who, bad) {
		t.Error("a source may connect faster than its rate")
	}
	if s.blocked(t, who, good) {
		t.Error("another source is blocked")
	}
	if s.metric(`holdfast_refusals_total{code="connect-rate"}`) == 0 {
		t.Error("the refused connection was not counted")
	}
}

// TestMQTTLimits asks for more than a policy or the server gives.
func TestMQTTLimits(t *testing.T) {
	t.Parallel()
	s := newSite(t, append([]string{"--mqtt-subscriptions", "3", "--mqtt-connections", "7"}, unlimited...)...)
	limited := strings.Replace(labPolicy["sensor.yaml"], "spec:\n", "spec:\n  limits: {connections: 2, packetSize: 1KiB, inflight: 7, rate: {messages: 1/h, burst: 2}}\n", 1)
	s.apply(map[string]string{"sensor.yaml": limited, "lab.yaml": labPolicy["lab.yaml"]})
	who := s.device("greedy")
	own := who.own()
	first := s.mustDial(t, who)
	a := first.connect(greeting(who, mqtt.V5))
	for number, most := range map[mqtt.Number]uint32{mqtt.ReceiveMaximum: 7, mqtt.MaximumPacketSize: 1024} {
		if got, _ := a.Props.Number(number); got != most {
			t.Errorf("CONNACK says %d for property 0x%02x, want %d", got, byte(number), most)
		}
	}
	// Subscriptions.
	for n := range 4 {
		code := mqtt.GrantedQoS1
		if n == 3 {
			code = mqtt.QuotaExceeded
		}
		first.send(&mqtt.Subscribe{ID: uint16(n + 1), Subscriptions: []mqtt.Subscription{{Filter: fmt.Sprintf("%s/%d", own, n), QoS: 1}}})
		if a := want[*mqtt.Suback](first); a.Codes[0] != code {
			t.Errorf("subscription %d: %v, want %v", n, a.Codes[0], code)
		}
	}
	// Messages.
	for n := range 3 {
		code := mqtt.Success
		if n == 2 {
			code = mqtt.QuotaExceeded
		}
		first.send(&mqtt.Publish{Topic: []byte(own + "/x"), QoS: 1, ID: uint16(n + 1)})
		if a := want[*mqtt.Puback](first); a.Code != code {
			t.Errorf("message %d: %v, want %v", n, a.Code, code)
		}
	}
	s.recorded("message.rate_exceeded", "")
	s.recorded("message.subscribe_refused", "more subscriptions")
	// Connections, of one device and of all.
	s.mustConnect(t, who.as("greedy/2"), mqtt.V5)
	third := s.mustDial(t, who)
	if a := third.connect(greeting(who.as("greedy/3"), mqtt.V5)); a.Code != mqtt.QuotaExceeded {
		t.Errorf("a third connection: %v", a.Code)
	}
	app := s.appToken("app")
	for n := range 5 {
		s.mustConnect(t, app.as(fmt.Sprint("app-", n)), mqtt.V5)
	}
	full := s.mustDial(t, app)
	if a := full.connect(greeting(app.as("app-5"), mqtt.V5)); a.Code != mqtt.ServerBusy {
		t.Errorf("a connection above the server's limit: %v", a.Code)
	}
	// A packet above the limit of the policy.
	first.send(&mqtt.Publish{Topic: []byte(own + "/x"), Payload: make([]byte, 2000)})
	if _, code := first.ended(); code != int(mqtt.PacketTooLarge) {
		t.Errorf("a packet above the limit: 0x%02x", code)
	}
}
