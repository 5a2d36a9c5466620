package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/gob"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// loadCommand is the argument that makes this program the load of one measurement: a fresh process for each, so that no
// broker meets a generator that an earlier one left with more to do.
const loadCommand = "mqtt-load"

// job is what the load is asked to do; it comes in as gob.
type job struct {
	Part       string
	Address    string // of the broker
	Roots      string // PEM file
	Identities string // file: collectors first, then sensors
	PID        int    // of the broker
	Length     time.Duration
	Count      int // connections of the part idle, sessions of the part revoke

	API, TokenFile string // of the part revoke
}

// measure is what a load saw; it goes out as gob.
type measure struct {
	Rate             float64 // a second: messages delivered, or connections made
	Acked            float64 // messages acknowledged to publishers a second
	Sent, Lost       int64   // deliveries expected, and those that never came
	Again            int64   // deliveries that came again or out of order
	Window           int
	Broker, Own      time.Duration // processor time for each message or connection
	P50, P99, P999   time.Duration
	Lag              time.Duration // p99 between when a message was due and when the load wrote it
	Before, After    int64         // resident bytes
	Connections, Ask int
	Connecting       time.Duration
}

// the shape of the load
const (
	publishers  = 50
	collectors  = 5
	listeners   = 500
	payloadSize = 100
)

// epoch is where time stamps in payloads count from.
var epoch = time.Now()

func since() time.Duration { return time.Since(epoch) }

// runLoad is the whole of a load process.
func runLoad(ctx context.Context) error {
	var j job
	if err := gob.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return fmt.Errorf("reading the job: %w", err)
	}
	l, err := newClients(&j)
	if err != nil {
		return err
	}
	defer l.close()
	parts := map[string]func(context.Context) (measure, error){"qos0-fanin": l.fanIn, "qos1-fanin": l.fanIn, "fanout": l.fanOut,
		"latency": l.latency, policyPart: l.policy, "idle": l.idle, "connects": l.connects, "revoke": l.revoke}
	run, ok := parts[j.Part]
	if !ok {
		return fmt.Errorf("there is no part %q", j.Part)
	}
	m, err := run(ctx)
	if err != nil {
		return err
	}
	return gob.NewEncoder(os.Stdout).Encode(m)
}

// clients are the identities of a job and the sessions they opened.
type clients struct {
	*job
	ids   []identity
	roots *x509.CertPool

	mu    sync.Mutex
	open  []*session // guarded by mu
	ended atomic.Bool
	fault chan error // of a session, when it should have gone on
}

func newClients(j *job) (*clients, error) {
	l := &clients{job: j, roots: x509.NewCertPool(), fault: make(chan error, 1)}
	bundle, err := os.ReadFile(j.Roots)
	if err != nil {
		return nil, err
	}
	if !l.roots.AppendCertsFromPEM(bundle) {
		return nil, errors.New("the file of roots holds no certificate")
	}
	l.ids, err = readIdentities(j.Identities)
	return l, err
}

func (l *clients) collector(i int) *identity { return &l.ids[i] }
func (l *clients) sensor(i int) *identity    { return &l.ids[collectors+i] }

// fail notes the first fault of a session, unless the measurement is over.
func (l *clients) fail(err error) {
	if err == nil || l.ended.Load() {
		return
	}
	select {
	case l.fault <- err:
	default:
	}
}

func (l *clients) close() {
	l.ended.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.open {
		s.conn.Close()
	}
}

// wait sleeps, unless a session breaks or the run is called off.
func (l *clients) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case err := <-l.fault:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// session is one connection after CONNACK, in MQTT 3.1.1, which all the brokers speak.
type session struct {
	id   string
	conn *tls.Conn
	raw  *ahead // nil on connections that idle
	r    *mqtt.Reader
	w    *mqtt.Writer
}

// more says that the next packet is there or on its way, so that what the last ones ask for can wait for it.
func (s *session) more() bool { return s.r.Buffered() > 0 || s.raw != nil && s.raw.r.Buffered() > 0 }

// ahead reads from the socket in large pieces: TLS alone would make a system call for every few small records.
type ahead struct {
	net.Conn
	r *bufio.Reader
}

func (a *ahead) Read(p []byte) (int, error) { return a.r.Read(p) }

var dials atomic.Uint32

// source spreads connections over loopback addresses, for there are only so many ports on each.
func source() net.Addr {
	n := dials.Add(1)
	return &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+n%200))}
}

// tlsFor is the same for every broker: version 1.3, no resumption, and classical key exchange, because mosquitto's
// library has no other.
func (l *clients) tlsFor(id *identity) (*tls.Config, error) {
	cert, err := id.certificate()
	return &tls.Config{RootCAs: l.roots, ServerName: "localhost", MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}}, err
}

// connect opens a session that counts on being closed with the others.
func (l *clients) connect(ctx context.Context, id *identity, buffer int) (*session, error) {
	cfg, err := l.tlsFor(id)
	if err != nil {
		return nil, err
	}
	s, err := l.dial(ctx, id.ID, cfg, buffer)
	if err != nil {
		return nil, fmt.Errorf("connecting %s: %w", id.ID, err)
	}
	l.mu.Lock()
	l.open = append(l.open, s)
	l.mu.Unlock()
	return s, nil
}

// dial makes a connection with full handshake, CONNECT and CONNACK.
func (l *clients) dial(ctx context.Context, id string, cfg *tls.Config, buffer int) (*session, error) {
	conn, err := (&net.Dialer{Timeout: 20 * time.Second, LocalAddr: source()}).DialContext(ctx, "tcp", l.Address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	s := &session{id: id}
	if buffer > 0 {
		s.raw = &ahead{conn, bufio.NewReaderSize(conn, buffer)}
		conn = s.raw
	}
	s.conn = tls.Client(conn, cfg)
	s.r, s.w = mqtt.NewReader(s.conn), mqtt.NewWriter(s.conn, mqtt.V311)
	s.r.SetVersion(mqtt.V311)
	s.r.SetSender(mqtt.Server)
	if err := s.hello(ctx); err != nil {
		s.conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return s, nil
}

func (s *session) hello(ctx context.Context) error {
	if err := s.conn.HandshakeContext(ctx); err != nil {
		return err
	}
	p, err := s.ask(&mqtt.Connect{Version: mqtt.V311, CleanStart: true, KeepAlive: 300, ClientID: s.id})
	if err != nil {
		return err
	}
	if ack, ok := p.(*mqtt.Connack); !ok || ack.Code != 0 {
		return fmt.Errorf("the broker answered CONNECT with %#v", p)
	}
	return nil
}

// ask sends a packet and reads the next one.
func (s *session) ask(p mqtt.Packet) (mqtt.Packet, error) {
	if err := s.send(p); err != nil {
		return nil, err
	}
	return s.r.ReadPacket()
}

func (s *session) send(p mqtt.Packet) error {
	if err := s.w.WritePacket(p); err != nil {
		return err
	}
	return s.w.Flush()
}

func (s *session) subscribe(filter string, qos mqtt.QoS) error {
	p, err := s.ask(&mqtt.Subscribe{ID: 1, Subscriptions: []mqtt.Subscription{{Filter: filter, QoS: qos}}})
	if err != nil {
		return fmt.Errorf("subscribing to %s: %w", filter, err)
	}
	if ack, ok := p.(*mqtt.Suback); !ok || len(ack.Codes) != 1 || ack.Codes[0] != mqtt.ReasonCode(qos) {
		return fmt.Errorf("subscribing to %s: the broker answered %#v", filter, p)
	}
	return nil
}

// each runs work for 0, 1, 2 and so on in several goroutines until one fails or more says that it is enough.
func each(workers int, more func(i int) bool, work func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range errs {
		wg.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1) - 1)
				if !more(i) {
					return
				}
				if errs[w] = work(i); errs[w] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func upTo(n int) func(int) bool { return func(i int) bool { return i < n } }
