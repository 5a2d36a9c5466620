package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/policy"
)

// webSocketPath is where MQTT over WebSocket is served.
const webSocketPath = "/mqtt"

// handshakeTime bounds a TLS handshake.
const handshakeTime = 10 * time.Second

// mqttTLS asks for a client certificate, and refuses in the handshake one that is
// not ours, not valid, or revoked. Without one an app may connect with a token.
func (s *Server) mqttTLS(own *ownCert) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: own.get, ClientAuth: tls.RequestClientCert,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return nil
			}
			_, err := s.peerOf(cs.PeerCertificates[0])
			return err
		},
	}
}

// peerOf checks a client certificate and says whose it is. It runs for resumed
// connections too.
func (s *Server) peerOf(leaf *x509.Certificate) (broker.Peer, error) {
	var p broker.Peer
	a := s.authority.Load()
	if a.issuerOf(leaf) == nil {
		return p, errors.New("the client certificate is not of this installation")
	}
	serial, err := pki.SerialOf(leaf)
	if err != nil {
		return p, err
	}
	if revoked, held := s.revoked.state(serial); revoked || held {
		s.metrics.refusals.WithLabelValues("certificate-revoked").Inc()
		return p, errors.New("the client certificate is revoked")
	}
	if err := a.verify(leaf, s.now(), 0); err != nil {
		return p, err
	}
	profile, id, err := pki.Identity(leaf, s.cfg.TrustDomain)
	if err != nil {
		return p, err
	}
	kind, ok := map[pki.Profile]string{pki.Device: policy.Device, pki.Gateway: policy.Gateway, pki.App: policy.App}[profile]
	if !ok {
		return p, fmt.Errorf("a certificate of a %s does not connect to MQTT", profile)
	}
	return broker.Peer{Principal: &policy.Principal{Kind: kind, ID: id}, Serial: serial.String(), NotAfter: leaf.NotAfter}, nil
}

// serveMQTT accepts connections until ctx ends.
func (s *Server) serveMQTT(ctx context.Context, l net.Listener, own *ownCert) error {
	cfg := s.mqttTLS(own)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil { // out of descriptors, perhaps
			s.log.Warn("accepting a connection", "err", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if from := addrOf(c.RemoteAddr()); !s.admit(from.Addr()) {
			c.Close()
			continue
		}
		open.Go(func() { s.serveOne(tls.Server(c, cfg)) })
	}
}

// admit tells whether a source may connect now.
func (s *Server) admit(from netip.Addr) bool {
	if !s.broker.Admit(from) {
		return false
	}
	if !s.connects.allow(from) {
		s.metrics.refusals.WithLabelValues("connect-rate").Inc()
		return false
	}
	return true
}

// serveOne does the handshake and hands the connection to the broker.
func (s *Server) serveOne(c *tls.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	err := c.HandshakeContext(ctx)
	cancel()
	if err != nil {
		s.metrics.refusals.WithLabelValues("tls-handshake").Inc()
		c.NetConn().Close()
		return
	}
	peer, err := s.peerOn(c.ConnectionState().PeerCertificates)
	if err != nil {
		c.Close()
		return
	}
	peer.Addr, peer.Transport = addrOf(c.RemoteAddr()), "mqtts"
	s.broker.Serve(c, peer)
}

func (s *Server) peerOn(certs []*x509.Certificate) (broker.Peer, error) {
	if len(certs) == 0 {
		return broker.Peer{}, nil
	}
	return s.peerOf(certs[0])
}

func addrOf(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// webSocketHandler serves MQTT over WebSocket (MQTT 5 section 6). A browser must
// come from this server's own origin or one that the operator named.
func (s *Server) webSocketHandler() http.Handler {
	mux := http.NewServeMux()
	var origins []string
	for _, o := range s.cfg.MQTT.Origins {
		if u, err := url.Parse(o); err == nil {
			origins = append(origins, u.Host)
		}
	}
	if u, err := url.Parse(s.endpoints.Load().Console); err == nil {
		origins = append(origins, u.Host)
	}
	mux.HandleFunc("GET "+webSocketPath, func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !s.admit(from.Addr().Unmap()) {
			http.Error(w, "too many connections: try again later", http.StatusTooManyRequests)
			return
		}
		s.serveWebSocket(w, r, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), origins)
	})
	return mux
}

func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request, from netip.AddrPort, origins []string) {
	peer, err := s.peerOn(r.TLS.PeerCertificates)
	if err != nil {
		http.Error(w, "the client certificate is not accepted", http.StatusForbidden)
		return
	}
	if !strings.Contains(strings.ToLower(r.Header.Get("Sec-WebSocket-Protocol")), "mqtt") {
		http.Error(w, "the WebSocket subprotocol must be mqtt", http.StatusBadRequest) // MQTT-6.0.0-3
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}, OriginPatterns: origins, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // Accept has answered
	}
	ws.SetReadLimit(int64(s.cfg.MQTT.MaxPacket) + 64<<10)
	peer.Addr, peer.Transport = from, "wss"
	s.broker.Serve(&webSocket{websocket.NetConn(context.Background(), ws, websocket.MessageBinary), ws}, peer)
}

// webSocket closes without waiting for the other side.
type webSocket struct {
	net.Conn
	ws *websocket.Conn
}

// Close ends the connection at once.
func (c *webSocket) Close() error { return c.ws.CloseNow() }

// closeBroker ends the MQTT sessions within the time for draining.
func (s *Server) closeBroker() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	return s.broker.Close(ctx)
}
