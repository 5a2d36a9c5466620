package server

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
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
	if err := s.verified.check(a, leaf, s.now()); err != nil {
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

// verified remembers client certificates whose chain was verified, so that it
// costs a device that connects again, and the second look after a handshake, no
// signature checks. Validity and revocation are looked at each time.
type verified struct {
	mu   sync.Mutex
	by   *authority                     // guarded by mu
	seen map[[sha256.Size]byte]struct{} // SHA-256 of certificates; guarded by mu
}

// maxVerified bounds the certificates remembered: about 3 MB.
const maxVerified = 50_000

func (v *verified) check(a *authority, leaf *x509.Certificate, now time.Time) error {
	sum := sha256.Sum256(leaf.Raw)
	v.mu.Lock()
	if v.by != a || len(v.seen) >= maxVerified {
		v.by, v.seen = a, map[[sha256.Size]byte]struct{}{}
	}
	_, known := v.seen[sum]
	v.mu.Unlock()
	if known && !now.Before(leaf.NotBefore) && !now.After(leaf.NotAfter) {
		return nil
	}
	if err := a.verify(leaf, now, 0); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.by == a {
		v.seen[sum] = struct{}{}
	}
	return nil
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
	forgetHandshake(c)
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
	origins := append([]string{s.endpoints.Load().Console, s.endpoints.Load().API}, s.cfg.MQTT.Origins...)
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
	if !offersMQTT(r.Header) {
		http.Error(w, "the WebSocket subprotocol must be mqtt", http.StatusBadRequest) // MQTT-6.0.0-3
		return
	}
	if o := r.Header.Get("Origin"); o != "" && o != "https://"+r.Host && !slices.Contains(origins, o) {
		s.metrics.refusals.WithLabelValues("origin").Inc()
		http.Error(w, "pages of this origin may not connect", http.StatusForbidden)
		return
	}
	// The library compares hosts only: a page without TLS would pass.
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}, InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // Accept has answered
	}
	ws.SetReadLimit(int64(s.cfg.MQTT.MaxPacket) + 64<<10)
	peer.Addr, peer.Transport = from, "wss"
	s.broker.Serve(newWebSocket(ws), peer)
}

// offersMQTT reports whether a client offers the subprotocol mqtt.
func offersMQTT(h http.Header) bool {
	for _, line := range h.Values("Sec-WebSocket-Protocol") {
		for offer := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(offer), "mqtt") {
				return true
			}
		}
	}
	return false
}

// webSocket is a WebSocket as the broker wants a connection. A read whose
// deadline is over must not end it, as it does in the library: DISCONNECT is
// still to be sent. So what comes in is read ahead, into a pipe with deadlines of
// its own.
type webSocket struct {
	net.Conn // for writing
	ws       *websocket.Conn
	in       net.Conn
}

// webSocketBuffer is what one WebSocket reads at a time, in bytes.
const webSocketBuffer = 4096

func newWebSocket(ws *websocket.Conn) *webSocket {
	c := &webSocket{Conn: websocket.NetConn(context.Background(), ws, websocket.MessageBinary), ws: ws}
	in, ahead := net.Pipe()
	c.in = in
	go func() {
		defer ahead.Close()
		_, _ = io.CopyBuffer(ahead, c.Conn, make([]byte, webSocketBuffer)) // however it ends, it is the end
	}()
	return c
}

// Read implements net.Conn.
func (c *webSocket) Read(b []byte) (int, error) { return c.in.Read(b) }

// SetReadDeadline implements net.Conn.
func (c *webSocket) SetReadDeadline(t time.Time) error { return c.in.SetReadDeadline(t) }

// SetDeadline implements net.Conn.
func (c *webSocket) SetDeadline(t time.Time) error {
	return errors.Join(c.in.SetReadDeadline(t), c.Conn.SetWriteDeadline(t))
}

// Close ends the connection at once, without waiting for the other side.
func (c *webSocket) Close() error {
	c.in.Close()
	return c.ws.CloseNow()
}

// closeBroker ends the MQTT sessions within the time for draining.
func (s *Server) closeBroker() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	return s.broker.Close(ctx)
}
