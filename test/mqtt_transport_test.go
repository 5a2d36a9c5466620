package test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// TestMQTTHostileTransport attacks below MQTT: TLS, WebSocket, and clients that
// say nothing.
func TestMQTTHostileTransport(t *testing.T) {
	t.Parallel()
	s := newSite(t, append([]string{"--mqtt-connect-timeout", "2s", "--mqtt-max-packet", "64KiB", "--mqtt-origins", "https://console.example.com"}, unlimited...)...)
	who := s.device("pump")
	bystander := s.mustConnect(t, s.device("bystander"), mqtt.V5)
	before := s.metric("go_goroutines")
	slow := s.halfHandshake(t)
	check := func(name string, test func(*testing.T)) {
		t.Run(name, func(t *testing.T) {
			test(t)
			if err := bystander.alive(); err != nil {
				t.Fatalf("another client's connection broke: %v", err)
			}
		})
	}
	check("plain TCP", s.plainTCP)
	check("slow CONNECT", func(t *testing.T) { s.slowConnect(t, who) })
	check("no certificate and no password", s.nobody)
	check("certificates of others", func(t *testing.T) { s.strangers(t, who) })
	check("WebSocket requests", func(t *testing.T) { s.badUpgrades(t, who) })
	check("WebSocket frames", func(t *testing.T) { s.badFrames(t, who) })
	if err := quiet(slow); err != nil {
		t.Errorf("half a handshake keeps the connection: %v", err)
	}
	s.settles(before)
	for _, code := range []string{"tls-handshake", "origin"} {
		if s.metric(fmt.Sprintf(`holdfast_refusals_total{code=%q}`, code)) == 0 {
			t.Errorf("no refusal %s was counted", code)
		}
	}
	s.recorded("message.connect_refused", "") // the first of a source in full, those that follow together
	if n := s.metric("holdfast_mqtt_connections_refused_total"); n < 8 {
		t.Errorf("%v refused connections were counted", n)
	}
}

func (s *site) plainTCP(t *testing.T) {
	for _, address := range []string{s.p.MQTTS, hostOf(s.p.WSS)} {
		nc, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		w := newWire(t, nc)
		_ = w.write(bytesOf(mqtt.V5, greeting(identity{id: "pump"}, mqtt.V5)))
		if err := quiet(nc); err != nil {
			t.Errorf("MQTT without TLS: the connection did not end: %v", err)
		}
	}
}

func hostOf(wss string) string {
	return strings.TrimSuffix(strings.TrimPrefix(wss, "wss://"), "/mqtt")
}

// halfHandshake opens a connection and sends the start of a handshake, no more.
func (s *site) halfHandshake(t *testing.T) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", s.p.MQTTS)
	if err != nil {
		t.Fatal(err)
	}
	if err := newWire(t, nc).write([]byte{0x16, 3, 1, 2, 0, 1}); err != nil {
		t.Fatal(err)
	}
	return nc
}

// slowConnect drips a CONNECT slower than it may take.
func (s *site) slowConnect(t *testing.T, who identity) {
	w := s.mustDial(t, who)
	b := bytesOf(mqtt.V5, greeting(who, mqtt.V5))
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); time.Since(begin) < 20*time.Second; <-tick.C {
		if len(b) > 1 {
			if w.write(b[:1]) != nil {
				return
			}
			b = b[1:]
		}
		w.nc.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := w.nc.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
	t.Error("a CONNECT that never ends keeps the connection")
}

func (s *site) nobody(t *testing.T) {
	real := s.appToken("lab")
	for name, one := range map[string]struct {
		who  identity
		code mqtt.ReasonCode
	}{
		"nothing":          {identity{id: "pump"}, mqtt.NotAuthorized},
		"a wrong password": {identity{id: "lab", user: "lab", password: "hfm_aaaaaaaaaaaaaaaa_" + strings.Repeat("a", 40)}, mqtt.BadUserNameOrPassword},
		"no token at all":  {identity{id: "lab", user: "lab", password: "secret"}, mqtt.BadUserNameOrPassword},
		"another's token":  {identity{id: "lab", user: "pump", password: real.password}, mqtt.BadUserNameOrPassword},
	} {
		w := s.mustDial(t, identity{})
		if a := w.connect(greeting(one.who, mqtt.V5)); a.Code != one.code {
			t.Errorf("%s: %v, want %v", name, a.Code, one.code)
		}
		w.ended()
		w = s.mustDial(t, identity{})
		if a := w.connect(greeting(one.who, mqtt.V311)); a.Code != one.code.Return311() {
			t.Errorf("%s in 3.1.1: return code %d, want %d", name, a.Code, one.code.Return311())
		}
		w.ended()
	}
}

// strangers show certificates that are not of this installation.
func (s *site) strangers(t *testing.T, who identity) {
	other := newSite(t)
	stranger := other.device("pump")
	broken := who
	broken.cert = &tls.Certificate{Certificate: who.cert.Certificate, PrivateKey: stranger.cert.PrivateKey} // without its key
	for name, one := range map[string]identity{"another installation": stranger, "a stolen certificate": broken} {
		w, err := s.dial(t, one, "")
		if err != nil {
			continue
		}
		w.speak(mqtt.V5)
		_ = w.write(bytesOf(mqtt.V5, greeting(one, mqtt.V5)))
		if p, err := w.r.ReadPacket(); err == nil {
			t.Errorf("%s: the server answers %v", name, p.Type())
		}
	}
}

// badUpgrades are requests that must not become WebSockets.
func (s *site) badUpgrades(t *testing.T, who identity) {
	ctx := bounded(t)
	for name, one := range map[string]struct {
		protocol, origin string
		ok               bool
	}{
		"no subprotocol":           {"", "", false},
		"another subprotocol":      {"chat", "", false},
		"almost the subprotocol":   {"mqttv9", "", false},
		"a foreign origin":         {"mqtt", "https://evil.example.com", false},
		"an origin without TLS":    {"mqtt", "http://console.example.com", false},
		"an origin in disguise":    {"mqtt", "https://console.example.com.evil.example.com", false},
		"the origin null":          {"mqtt", "null", false},
		"the operator's origin":    {"mqtt", "https://console.example.com", true},
		"the console's origin":     {"mqtt", s.p.API, true},
		"no origin: not a browser": {"mqtt", "", true},
	} {
		header := http.Header{}
		if one.origin != "" {
			header.Set("Origin", one.origin)
		}
		ws, err := s.openSocket(ctx, who, one.protocol, header)
		if err == nil {
			ws.CloseNow()
		}
		if (err == nil) != one.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	res, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: s.tls(who), DisableKeepAlives: true}}).Get("https://" + hostOf(s.p.WSS) + "/mqtt")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode < 400 {
		t.Errorf("a request that is no upgrade is answered %s", res.Status)
	}
}

// badFrames are WebSocket frames that are not MQTT's.
func (s *site) badFrames(t *testing.T, who identity) {
	ctx := bounded(t)
	hello := bytesOf(mqtt.V5, greeting(who, mqtt.V5))
	for name, write := range map[string]func(*websocket.Conn) error{
		"text":                   func(ws *websocket.Conn) error { return ws.Write(ctx, websocket.MessageText, hello) },
		"a frame above the most": func(ws *websocket.Conn) error { return ws.Write(ctx, websocket.MessageBinary, make([]byte, 1<<20)) },
		"MQTT that is malformed": func(ws *websocket.Conn) error {
			return ws.Write(ctx, websocket.MessageBinary, []byte{0x30, 0xff, 0xff, 0xff, 0xff, 1})
		},
		"nothing": func(*websocket.Conn) error { return nil },
	} {
		ws, err := s.openSocket(ctx, who, "mqtt", nil)
		if err != nil {
			t.Fatal(err)
		}
		ws.SetReadLimit(1 << 20)
		_ = write(ws) // it may be cut before all of it is sent
		for err == nil {
			_, _, err = ws.Read(ctx)
		}
		if ctx.Err() != nil {
			t.Errorf("%s: the connection did not end", name)
		}
		ws.CloseNow()
	}
	// A packet over several frames and several packets in one are right.
	ws, err := s.openSocket(ctx, who, "mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	rest := append(bytes.Clone(hello[3:]), bytesOf(mqtt.V5, &mqtt.Pingreq{}, &mqtt.Pingreq{})...)
	for _, frame := range [][]byte{hello[:1], hello[1:3], rest} {
		if err := ws.Write(ctx, websocket.MessageBinary, frame); err != nil {
			t.Fatal(err)
		}
	}
	w := newWire(t, websocket.NetConn(ctx, ws, websocket.MessageBinary))
	w.speak(mqtt.V5)
	if a := want[*mqtt.Connack](w); a.Code != mqtt.Success {
		t.Errorf("CONNACK: %v", a.Code)
	}
	for range 2 {
		want[*mqtt.Pingresp](w)
	}
}

// TestVendoredClient compares the JavaScript client with its sum.
func TestVendoredClient(t *testing.T) {
	readme, err := os.ReadFile("js/README.md")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile("js/mqtt.min.js")
	if err != nil {
		t.Fatal(err)
	}
	if sum := fmt.Sprintf("%x  mqtt.min.js", sha256.Sum256(file)); !strings.Contains(string(readme), sum) {
		t.Errorf("js/README.md does not have %s", sum)
	}
}
