package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// hub gives every message to every subscriber whose filter matches.
type hub struct {
	mu    sync.Mutex
	subs  map[*peerConn]string // filter
	lossy int
}

type peerConn struct {
	mu sync.Mutex // guards w
	w  *mqtt.Writer
	id uint16 // guarded by mu
}

func (p *peerConn) send(packet mqtt.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m, ok := packet.(*mqtt.Publish); ok && m.QoS > 0 {
		p.id++
		m.ID = p.id | 1
	}
	if p.w.WritePacket(packet) == nil {
		_ = p.w.Flush()
	}
}

// relay listens on loopback with mutual TLS until the test ends.
func relay(t *testing.T, a *authority) string {
	cert, err := tls.LoadX509KeyPair(filepath.Join(a.dir, "server.crt"), filepath.Join(a.dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(a.roots())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	h := &hub{subs: map[*peerConn]string{}}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(conn)
		}
	}()
	return l.Addr().String()
}

func (h *hub) serve(conn net.Conn) {
	defer conn.Close()
	r, p := mqtt.NewReader(conn), &peerConn{w: mqtt.NewWriter(conn, mqtt.V311)}
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subs, p)
	}()
	for {
		packet, err := r.ReadPacket()
		if err != nil {
			return
		}
		switch m := packet.(type) {
		case *mqtt.Connect:
			p.send(&mqtt.Connack{})
		case *mqtt.Pingreq:
			p.send(&mqtt.Pingresp{})
		case *mqtt.Subscribe:
			filter, code := m.Subscriptions[0].Filter, mqtt.ReasonCode(m.Subscriptions[0].QoS)
			if filter == "refused" {
				code = 0x80
			}
			h.mu.Lock()
			h.subs[p] = filter
			h.mu.Unlock()
			p.send(&mqtt.Suback{ID: m.ID, Codes: []mqtt.ReasonCode{code}})
		case *mqtt.Publish:
			h.publish(m)
			if m.QoS > 0 {
				p.send(&mqtt.Puback{Ack: mqtt.Ack{ID: m.ID}})
			}
		case *mqtt.Disconnect:
			return
		}
	}
}

func (h *hub) publish(m *mqtt.Publish) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lossy++; m.QoS == 0 && h.lossy%10 == 0 {
		return
	}
	for p, filter := range h.subs {
		if mqtt.Match(filter, m.Topic) {
			copied := *m
			p.send(&copied)
		}
	}
}
