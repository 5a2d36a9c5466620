package natsd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if dir := os.Getenv("NATSD_TEST_IDLE"); dir != "" {
		idle(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// contract is what both forms of the bus promise.
func contract(t *testing.T, start func(t *testing.T) *Bus) {
	t.Run("delivers in order", func(t *testing.T) {
		b := start(t)
		got := make(chan string, 1000)
		stop, err := b.Subscribe("control.>", func(data []byte) { got <- string(data) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		for i := range 1000 {
			if err := b.Publish("control.revoked", fmt.Appendf(nil, "%d", i)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 1000 {
			if s := receive(t, got); s != fmt.Sprint(i) {
				t.Fatalf("message %d = %q", i, s)
			}
		}
	})
	t.Run("stops a subscription", func(t *testing.T) {
		b := start(t)
		stopped, kept := make(chan string, 10), make(chan string, 10)
		stop, err := b.Subscribe("a", func(data []byte) { stopped <- string(data) })
		if err != nil {
			t.Fatal(err)
		}
		stop()
		stop() // twice does no harm
		if _, err := b.Subscribe("a", func(data []byte) { kept <- string(data) }); err != nil {
			t.Fatal(err)
		}
		if err := b.Publish("a", []byte("x")); err != nil {
			t.Fatal(err)
		}
		receive(t, kept)
		if len(stopped) != 0 {
			t.Error("a stopped subscription received a message")
		}
	})
	t.Run("refuses a wrong subject", func(t *testing.T) {
		b := start(t)
		if _, err := b.Subscribe("a..b", func([]byte) {}); err == nil {
			t.Error("subscribed to an impossible subject")
		}
	})
	t.Run("JetStream works", func(t *testing.T) {
		b := start(t)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		js, err := jetstream.New(b.Conn())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "IN", Subjects: []string{"in.>"}, Storage: jetstream.FileStorage}); err != nil {
			t.Fatal(err)
		}
		if _, err := js.Publish(ctx, "in.d1", []byte("21.5")); err != nil {
			t.Fatal(err)
		}
		if err := b.Healthy(); err != nil {
			t.Error(err)
		}
	})
	t.Run("a slow subscriber is told", func(t *testing.T) {
		b := start(t)
		missed := make(chan string, 100)
		b.OnReconnect(func() { missed <- "missed" })
		release := make(chan bool)
		if _, err := b.Subscribe("a", func([]byte) { <-release }); err != nil {
			t.Fatal(err)
		}
		defer close(release)
		for range 200 { // PendingMessages is 100 in these tests
			if err := b.Publish("a", nil); err != nil {
				t.Fatal(err)
			}
		}
		receive(t, missed)
	})
	closing(t, start)
}

// closing is the part of the contract about Close.
func closing(t *testing.T, start func(t *testing.T) *Bus) {
	t.Run("closing lets subscribers finish", func(t *testing.T) {
		b := start(t)
		n := 0
		if _, err := b.Subscribe("a", func([]byte) { n++ }); err != nil {
			t.Fatal(err)
		}
		for range 5000 {
			if err := b.Publish("a", nil); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Conn().Flush(); err != nil { // all have come back to this process
			t.Fatal(err)
		}
		closeNow(t, b)
		if n != 5000 {
			t.Errorf("%d messages were handled before closing, want 5000", n)
		}
		if b.Healthy() == nil {
			t.Error("a closed bus says that it is healthy")
		}
		if err := b.Publish("a", nil); err == nil {
			t.Error("a closed bus took a message")
		}
		closeNow(t, b) // twice does no harm
	})
	t.Run("closing gives up with its context", func(t *testing.T) {
		b := start(t)
		entered, release := make(chan bool), make(chan bool)
		if _, err := b.Subscribe("a", func([]byte) { close(entered); <-release }); err != nil {
			t.Fatal(err)
		}
		if err := b.Publish("a", nil); err != nil {
			t.Fatal(err)
		}
		<-entered
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := b.Close(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("closing with a stuck subscriber: %v", err)
		}
		close(release)
	})
}

func TestEmbedded(t *testing.T) {
	contract(t, func(t *testing.T) *Bus {
		return startBus(t, Config{StoreDir: t.TempDir(), SyncAlways: true, PendingMessages: 100_000})
	})
}

func TestClustered(t *testing.T) {
	contract(t, func(t *testing.T) *Bus {
		return startBus(t, Config{URL: startCluster(t, &server.Options{Port: -1}).ClientURL()})
	})
}

func TestClusteredByTLS(t *testing.T) {
	ca, cert, key, config := certificates(t)
	contract(t, func(t *testing.T) *Bus {
		ns := startCluster(t, &server.Options{Port: -1, TLSConfig: config, TLSTimeout: 5})
		return startBus(t, Config{URL: ns.ClientURL(), CAFile: ca, CertFile: cert, KeyFile: key})
	})
	t.Run("refuses a cluster of another authority", func(t *testing.T) {
		ns := startCluster(t, &server.Options{Port: -1, TLSConfig: config, TLSTimeout: 5})
		other, _, _, _ := certificates(t)
		b, err := Start(Config{URL: ns.ClientURL(), CAFile: other, CertFile: cert, KeyFile: key})
		if err == nil {
			closeNow(t, b)
			t.Fatal("connected to a cluster of another authority")
		}
		if !strings.Contains(err.Error(), "connecting to the message bus at tls://127.0.0.1") {
			t.Errorf("error = %v", err)
		}
	})
}

func TestReconnects(t *testing.T) {
	dir := t.TempDir()
	ns := startCluster(t, &server.Options{Port: -1, StoreDir: dir})
	port := ns.Addr().(*net.TCPAddr).Port
	b := startBus(t, Config{URL: ns.ClientURL(), ReconnectWait: 5 * time.Millisecond})
	back, got := make(chan string, 10), make(chan string, 10)
	b.OnReconnect(func() { back <- "back" })
	if _, err := b.Subscribe("a", func(data []byte) { got <- string(data) }); err != nil {
		t.Fatal(err)
	}
	gone := b.Conn().StatusChanged(nats.RECONNECTING)
	ns.Shutdown()
	ns.WaitForShutdown()
	select {
	case <-gone:
	case <-time.After(patience):
		t.Fatal("the loss of the cluster was not noticed")
	}
	if err := b.Healthy(); err == nil {
		t.Error("healthy without a cluster")
	}
	if err := b.Publish("a", []byte("while away")); err != nil {
		t.Error(err)
	}
	// Subscribing while the cluster is away works as soon as it is back.
	later := make(chan string, 10)
	b.config.ConnectTimeout = 10 * time.Millisecond
	if _, err := b.Subscribe("b", func(data []byte) { later <- string(data) }); err != nil {
		t.Fatal(err)
	}
	startCluster(t, &server.Options{Port: port, StoreDir: dir})
	receive(t, back)
	if s := receive(t, got); s != "while away" {
		t.Errorf("message = %q", s)
	}
	if err := b.Publish("b", []byte("again")); err != nil {
		t.Fatal(err)
	}
	receive(t, later)
	if err := b.Healthy(); err != nil {
		t.Error(err)
	}
}

func TestWhatWaitsForTheClusterIsBounded(t *testing.T) {
	ns := startCluster(t, &server.Options{Port: -1})
	b := startBus(t, Config{URL: ns.ClientURL()})
	gone := b.Conn().StatusChanged(nats.RECONNECTING)
	ns.Shutdown()
	ns.WaitForShutdown()
	<-gone
	var err error
	for range 32 {
		err = errors.Join(err, b.Publish("a", make([]byte, 64<<10)))
	}
	if !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("publishing 2 MiB to nobody: %v", err)
	}
}

func TestEmbeddedKeepsStreamsOverRestart(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		b, err := Start(Config{StoreDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(b.Conn())
		if err != nil {
			t.Fatal(err)
		}
		s, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "IN", Subjects: []string{"in.>"}})
		if err != nil {
			t.Fatal(err)
		}
		if n := s.CachedInfo().State.Msgs; n != uint64(i) {
			t.Errorf("start %d finds %d messages", i, n)
		}
		if _, err := js.Publish(t.Context(), "in.x", nil); err != nil {
			t.Fatal(err)
		}
		closeNow(t, b)
	}
}

func TestEmbeddedListensNowhere(t *testing.T) {
	b := startBus(t, Config{StoreDir: t.TempDir()})
	if addr := b.server.Addr(); addr != nil {
		t.Errorf("the embedded server listens on %v", addr)
	}
	if !b.Embedded() {
		t.Error("not embedded")
	}
}

func TestLogs(t *testing.T) {
	var out bytes.Buffer
	b := startBus(t, Config{StoreDir: t.TempDir(), Log: slog.New(slog.NewTextHandler(&out, nil))})
	closeNow(t, b)
	if out.Len() != 0 {
		t.Errorf("an ordinary start and stop logs at info: %s", &out)
	}
}

func TestWrongConfigurations(t *testing.T) {
	for want, c := range map[string]Config{
		"StoreDir is needed":            {},
		"not like tls://nats1":          {URL: "https://nats.example"},
		"not a list of URLs":            {URL: "tls://user:secret@[::1"},
		"no such file":                  {URL: "nats://127.0.0.1:1", CAFile: "/nonexistent/ca.pem"},
		"needs both":                    {URL: "nats://127.0.0.1:1", CertFile: os.Args[0]},
		"at nats://xxxxx@127.0.0.1:1: ": {URL: "nats://token@127.0.0.1:1"},
		"bus in /dev/null/x: ":          {StoreDir: "/dev/null/x"},
	} {
		b, err := Start(c)
		if err == nil {
			closeNow(t, b)
			t.Errorf("%q: started", want)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q in it", err, want)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error repeats a password: %v", err)
		}
	}
}

func FuzzCheckURLs(f *testing.F) {
	for _, s := range []string{"tls://a.example:4222,tls://b.example:4222", "nats://127.0.0.1:4222", "nats://[::1]", "nats://u:p@h", "", ",", "http://x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, list string) {
		local, err := checkURLs(list)
		if err != nil && local {
			t.Error("an error and local")
		}
		if err == nil {
			redactURLs(list)
		}
	})
}

// TestIdleMemory measures a process that does nothing but hold the embedded
// bus.
func TestIdleMemory(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "NATSD_TEST_IDLE="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var kib int
	if _, err := fmt.Sscanf(string(out), "VmRSS: %d kB", &kib); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("idle embedded bus: %d KiB resident", kib)
	if kib > 48<<10 {
		t.Errorf("an idle bus takes %d KiB", kib)
	}
}

func idle(dir string) {
	b, err := Start(Config{StoreDir: dir})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmRSS:") {
			fmt.Print(line)
		}
	}
	b.Close(context.Background())
}

func BenchmarkPublishSubscribe(b *testing.B) {
	bus, err := Start(Config{StoreDir: b.TempDir(), PendingMessages: 1 << 30, PendingBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer bus.Close(context.Background())
	done, n := make(chan bool), 0
	if _, err := bus.Subscribe("a", func([]byte) {
		if n++; n == b.N {
			close(done)
		}
	}); err != nil {
		b.Fatal(err)
	}
	data := make([]byte, 128)
	b.ResetTimer()
	for range b.N {
		if err := bus.Publish("a", data); err != nil {
			b.Fatal(err)
		}
	}
	<-done
}

func startBus(t *testing.T, c Config) *Bus {
	t.Helper()
	if strings.Contains(t.Name(), "slow") {
		c.PendingMessages = 100
	}
	b, err := Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(context.Background()) })
	return b
}

func closeNow(t *testing.T, b *Bus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

// startCluster starts a server that listens on the loopback.
func startCluster(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoSigs, o.NoLog, o.JetStream = "127.0.0.1", true, true, true
	if o.StoreDir == "" {
		o.StoreDir = t.TempDir()
	}
	o.TLS = o.TLSConfig != nil
	ns, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	if !ns.ReadyForConnections(patience) {
		t.Fatal("the server is not ready")
	}
	return ns
}

func receive(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case s := <-from:
		return s
	case <-time.After(patience):
		t.Fatal("nothing was received")
		return ""
	}
}

// certificates makes an authority, and a certificate for 127.0.0.1 that serves
// as server and as client.
func certificates(t *testing.T) (caFile, certFile, keyFile string, config *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	parsed, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	config = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leafDER}, PrivateKey: key}}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	return file("ca.pem", "CERTIFICATE", caDER), file("cert.pem", "CERTIFICATE", leafDER), file("key.pem", "PRIVATE KEY", keyDER), config
}
