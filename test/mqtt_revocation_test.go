package test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// operate runs holdfast as an operator does.
func (s *site) operate(args ...string) {
	s.t.Helper()
	cmd := exec.CommandContext(bounded(s.t), "holdfast", append(args, "--yes")...)
	cmd.Env = append(os.Environ(), "HOLDFAST_DATA="+s.p.data)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("holdfast %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// onSocket connects an identity over a WebSocket.
func (s *site) onSocket(t *testing.T, who identity, v mqtt.Version) *wire {
	t.Helper()
	ws, err := s.openSocket(bounded(t), who, "mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, websocket.NetConn(t.Context(), ws, websocket.MessageBinary))
	if a := w.connect(greeting(who, v)); a.Code != mqtt.Success {
		t.Fatalf("connecting %s: %v", who.id, a.Code)
	}
	return w
}

// connections has one identity connected on each transport in each version.
func (s *site) connections(t *testing.T, who identity) map[string]*wire {
	t.Helper()
	all := map[string]*wire{}
	for _, v := range []mqtt.Version{mqtt.V311, mqtt.V5} {
		all[fmt.Sprint("TCP, ", v)] = s.mustConnect(t, who.as(fmt.Sprintf("%s/tcp-%d", who.id, v)), v)
		all[fmt.Sprint("WebSocket, ", v)] = s.onSocket(t, who.as(fmt.Sprintf("%s/ws-%d", who.id, v)), v)
	}
	return all
}

// closed checks that every connection ends, in MQTT 5 with the code.
func closed(t *testing.T, all map[string]*wire, code mqtt.ReasonCode) {
	t.Helper()
	for name, w := range all {
		_, got := w.ended()
		switch {
		case w.v == mqtt.V5 && got != int(code):
			t.Errorf("%s: ended with 0x%02x, want 0x%02x", name, got, byte(code))
		case w.v == mqtt.V311 && got != -1:
			t.Errorf("%s: MQTT 3.1.1 has no DISCONNECT from a server", name)
		}
	}
}

// shut checks that an identity cannot connect, on either transport.
func (s *site) shut(t *testing.T, who identity) {
	t.Helper()
	if w, err := s.dial(t, who, ""); err == nil {
		w.speak(mqtt.V5)
		_ = w.write(bytesOf(mqtt.V5, greeting(who, mqtt.V5)))
		if p, err := w.r.ReadPacket(); err == nil {
			if a, ok := p.(*mqtt.Connack); !ok || !a.Code.Failed() {
				t.Errorf("%s connects again over TCP", who.id)
			}
		}
	}
	ws, err := s.openSocket(bounded(t), who, "mqtt", nil)
	if err != nil {
		return
	}
	w := newWire(t, websocket.NetConn(t.Context(), ws, websocket.MessageBinary))
	w.speak(mqtt.V5)
	_ = w.write(bytesOf(mqtt.V5, greeting(who, mqtt.V5)))
	if p, err := w.r.ReadPacket(); err == nil {
		if a, ok := p.(*mqtt.Connack); !ok || !a.Code.Failed() {
			t.Errorf("%s connects again over a WebSocket", who.id)
		}
	}
}

// TestMQTTLiveRevocation takes rights away from connected clients: their sessions
// end or shrink, and they cannot come back.
func TestMQTTLiveRevocation(t *testing.T) {
	t.Parallel()
	s := newSite(t, unlimited...)
	bystander := s.mustConnect(t, s.device("bystander"), mqtt.V5)
	check := func(name string, test func(*testing.T)) {
		t.Run(name, func(t *testing.T) {
			test(t)
			if err := bystander.alive(); err != nil {
				t.Fatalf("another client's connection broke: %v", err)
			}
		})
	}
	for _, order := range []string{"revoke", "retire"} {
		check(order, func(t *testing.T) {
			who := s.device("device-" + order)
			all := s.connections(t, who)
			s.operate("device", order, who.name)
			closed(t, all, mqtt.NotAuthorized)
			s.shut(t, who)
		})
	}
	check("quarantine", func(t *testing.T) {
		who := s.device("suspect")
		all := s.connections(t, who)
		s.operate("device", "quarantine", who.name, "--reason", "odd")
		closed(t, all, mqtt.NotAuthorized)
		s.shut(t, who)
		s.operate("device", "release", who.name)
		s.opens(t, who)
	})
	check("zone", s.moved)
	check("policy", s.shrunk)
	check("token", func(t *testing.T) {
		who, other := s.appToken("reader"), s.appToken("other")
		all, kept := s.connections(t, who), s.connections(t, other)
		s.operate("app", "token", "revoke", "lab", who.token)
		closed(t, all, mqtt.NotAuthorized)
		s.shut(t, who)
		for name, w := range kept {
			if err := w.alive(); err != nil {
				t.Errorf("%s: the other token's connection: %v", name, err)
			}
		}
	})
	check("certificate of an app", func(t *testing.T) {
		who := s.appCert("reader")
		all := s.connections(t, who)
		page, err := s.api.Certificates(t.Context(), adminapi.CertificateFilter{Profile: "app", Limit: 100})
		if err != nil || len(page.Items) != 1 {
			t.Fatalf("%d certificates of apps, %v", len(page.Items), err)
		}
		if _, err := s.api.RevokeCertificate(t.Context(), page.Items[0].Serial, "keyCompromise"); err != nil {
			t.Fatal(err)
		}
		closed(t, all, mqtt.NotAuthorized)
		s.shut(t, who)
	})
	check("session close", func(t *testing.T) {
		who := s.device("closed")
		w := s.mustConnect(t, who, mqtt.V5)
		s.operate("session", "close", who.id)
		closed(t, map[string]*wire{"TCP": w}, mqtt.AdministrativeAction)
		s.opens(t, who)
	})
}

// opens waits until an identity can connect.
func (s *site) opens(t *testing.T, who identity) {
	t.Helper()
	err := poll(20*time.Second, func() error {
		w, err := s.dial(t, who, "")
		if err != nil {
			return err
		}
		defer w.nc.Close()
		w.speak(mqtt.V5)
		if err := w.write(bytesOf(mqtt.V5, greeting(who, mqtt.V5))); err != nil {
			return err
		}
		p, err := w.r.ReadPacket()
		if a, ok := p.(*mqtt.Connack); err == nil && (!ok || a.Code != mqtt.Success) {
			err = errors.New("refused")
		}
		return err
	})
	if err != nil {
		t.Errorf("%s cannot connect: %v", who.id, err)
	}
}

// listening subscribes every connection to a topic.
func listening(all map[string]*wire, topic string) {
	for _, w := range all {
		w.t.Helper()
		w.send(&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: topic, QoS: 1}}})
		if a := want[*mqtt.Suback](w); a.Codes[0].Failed() {
			w.t.Fatalf("subscribing to %s: %v", topic, a.Codes[0])
		}
	}
}

// subscriptions waits until the sessions of an id have this many subscriptions.
func (s *site) subscriptions(t *testing.T, name string, sessions, each int) {
	t.Helper()
	err := poll(20*time.Second, func() error {
		page, err := s.api.Sessions(t.Context(), adminapi.SessionFilter{Limit: 1000})
		if err != nil {
			return err
		}
		n := 0
		for _, one := range page.Items {
			if one.ID != name || one.Kind != "device" {
				continue
			}
			if n++; len(one.Subscriptions) != each {
				return fmt.Errorf("%s has %d subscriptions", one.ClientID, len(one.Subscriptions))
			}
		}
		if n != sessions {
			return fmt.Errorf("%d sessions of %s, want %d", n, name, sessions)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// moved changes a device's zone: what it may do follows.
func (s *site) moved(t *testing.T) {
	if _, err := s.api.CreateZone(t.Context(), "yard", adminapi.ZoneInput{}); err != nil {
		t.Fatal(err)
	}
	who := s.device("mover")
	all := s.connections(t, who)
	listening(all, who.own()+"/cmd")
	s.operate("device", "update", who.name, "--zone", "yard")
	s.subscriptions(t, who.name, len(all), 0)
	for name, w := range all {
		if err := w.alive(); err != nil {
			t.Errorf("%s: the connection did not survive the move: %v", name, err)
		}
		if w.v != mqtt.V5 {
			continue
		}
		for topic, code := range map[string]mqtt.ReasonCode{who.own() + "/x": mqtt.NotAuthorized, "plant/yard/mover/x": mqtt.Success} {
			w.send(&mqtt.Publish{Topic: []byte(topic), QoS: 1, ID: 7})
			if a := want[*mqtt.Puback](w); a.Code != code {
				t.Errorf("%s: %s is answered %v, want %v", name, topic, a.Code, code)
			}
		}
	}
}

// shrunk takes a grant out of the policy, and then the app.
func (s *site) shrunk(t *testing.T) {
	who, app := s.device("shrinker"), s.appToken("gone")
	all, apps := s.connections(t, who), s.connections(t, app)
	listening(all, who.own()+"/cmd")
	less := maps.Clone(labPolicy)
	less["sensor.yaml"] = strings.Split(less["sensor.yaml"], "  subscribe:")[0]
	delete(less, "lab.yaml")
	s.apply(less)
	closed(t, apps, mqtt.NotAuthorized)
	s.shut(t, app)
	s.subscriptions(t, who.name, len(all), 0)
	for name, w := range all {
		w.send(&mqtt.Subscribe{ID: 2, Subscriptions: []mqtt.Subscription{{Filter: who.own() + "/cmd", QoS: 1}}})
		code := mqtt.UnspecifiedError
		if w.v == mqtt.V5 {
			code = mqtt.NotAuthorized
		}
		if a := want[*mqtt.Suback](w); a.Codes[0] != code {
			t.Errorf("%s: a refused subscription is answered %v", name, a.Codes[0])
		}
	}
	s.apply(labPolicy)
	s.opens(t, app)
}

// TestMQTTCertificateEnds connects with a certificate that ends soon.
func TestMQTTCertificateEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t, unlimited...)
	who := s.shortCert("brief", 10*time.Second) // the shortest there is
	all := s.connections(t, who)
	closed(t, all, mqtt.NotAuthorized)
	s.shut(t, who)
	s.recorded("message.certificate_expired", "")
}
