package test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// wire is a connection on which a test writes bytes of its own.
type wire struct {
	t  *testing.T
	nc net.Conn
	r  *mqtt.Reader
	v  mqtt.Version
}

// dial opens a TLS connection from a local address ("" is any).
func (s *site) dial(t *testing.T, who identity, from string) (*wire, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	nc, err := tls.DialWithDialer(&d, "tcp", s.p.MQTTS, s.tls(who))
	if err != nil {
		return nil, err
	}
	return newWire(t, nc), nil
}

func (s *site) mustDial(t *testing.T, who identity) *wire {
	t.Helper()
	w, err := s.dial(t, who, "")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func newWire(t *testing.T, nc net.Conn) *wire {
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { nc.Close() })
	return &wire{t: t, nc: nc}
}

// webSocket opens a WebSocket with a subprotocol ("" is none).
func (s *site) webSocket(ctx context.Context, who identity, protocol string, header http.Header) (net.Conn, error) {
	ws, err := s.openSocket(ctx, who, protocol, header)
	if err != nil {
		return nil, err
	}
	return websocket.NetConn(context.Background(), ws, websocket.MessageBinary), nil
}

func (s *site) openSocket(ctx context.Context, who identity, protocol string, header http.Header) (*websocket.Conn, error) {
	o := &websocket.DialOptions{HTTPHeader: header, HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: s.tls(who), DisableKeepAlives: true}}}
	if protocol != "" {
		o.Subprotocols = []string{protocol}
	}
	ws, res, err := websocket.Dial(ctx, s.p.WSS, o)
	if err != nil && res != nil {
		return nil, fmt.Errorf("%w: %s", err, res.Status)
	}
	return ws, err
}

// greeting is a CONNECT of an identity.
func greeting(who identity, v mqtt.Version) *mqtt.Connect {
	c := &mqtt.Connect{CleanStart: true, ClientID: who.id, KeepAlive: 60, Version: v}
	if who.user != "" {
		c.HasUserName, c.UserName, c.HasPassword, c.Password = true, who.user, true, mqtt.Password(who.password)
	}
	return c
}

// bytesOf writes packets as bytes.
func bytesOf(v mqtt.Version, packets ...mqtt.Packet) (out []byte) {
	for _, p := range packets {
		var err error
		if out, err = p.AppendTo(out, v); err != nil {
			panic(err)
		}
	}
	return out
}

// speak sets the version of what is read.
func (w *wire) speak(v mqtt.Version) {
	w.v, w.r = v, mqtt.NewReader(w.nc)
	w.r.SetVersion(v)
	w.r.SetSender(mqtt.Server)
}

// write sends bytes; the server may have ended the connection already.
func (w *wire) write(b []byte) error {
	_, err := w.nc.Write(b)
	return err
}

func (w *wire) send(p ...mqtt.Packet) {
	w.t.Helper()
	if err := w.write(bytesOf(w.v, p...)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) read() mqtt.Packet {
	w.t.Helper()
	p, err := w.r.ReadPacket()
	if err != nil {
		w.t.Fatalf("reading: %v", err)
	}
	return p
}

// want reads a packet of a type.
func want[P mqtt.Packet](w *wire) P {
	w.t.Helper()
	p, ok := w.read().(P)
	if !ok {
		w.t.Fatalf("got another packet than %T", p)
	}
	return p
}

// connect says CONNECT and returns the answer.
func (w *wire) connect(c *mqtt.Connect) *mqtt.Connack {
	w.t.Helper()
	w.speak(c.Version)
	w.send(c)
	return want[*mqtt.Connack](w)
}

// mustConnect connects an identity.
func (s *site) mustConnect(t *testing.T, who identity, v mqtt.Version) *wire {
	t.Helper()
	w := s.mustDial(t, who)
	if a := w.connect(greeting(who, v)); a.Code != mqtt.Success {
		t.Fatalf("connecting %s: %v", who.id, a.Code)
	}
	return w
}

// ended reads until the server ends the connection, and returns the codes of
// CONNACK and DISCONNECT on the way; -1: there was none. A connection that stays
// fails the test.
func (w *wire) ended() (connack, disconnect int) {
	w.t.Helper()
	connack, disconnect = -1, -1
	for {
		p, err := w.r.ReadPacket()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.t.Fatal("the connection did not end")
		}
		var bad *mqtt.Error
		if errors.As(err, &bad) {
			w.t.Fatalf("the server sent what is not MQTT: %v", err)
		}
		if err != nil { // io.EOF, or the connection was reset
			return connack, disconnect
		}
		switch p := p.(type) {
		case *mqtt.Connack:
			connack = int(p.Code)
		case *mqtt.Disconnect:
			disconnect = int(p.Code)
		}
	}
}

// alive checks that the connection still works.
func (w *wire) alive() error {
	if err := w.write(bytesOf(w.v, &mqtt.Pingreq{})); err != nil {
		return err
	}
	for {
		p, err := w.r.ReadPacket()
		if err != nil {
			return err
		}
		if p.Type() == mqtt.PINGRESP {
			return nil
		}
	}
}

// quiet reads until the other side ends the connection, whatever it says.
func quiet(nc net.Conn) error {
	_, err := io.Copy(io.Discard, nc)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil // the end, or a reset
}
