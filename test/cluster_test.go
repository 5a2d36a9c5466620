package test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/crypto/ocsp"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/internal/pgtest"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// everywhere is how long a revocation may take to be enforced on another node of
// a loaded test machine. What is promised is one second: the log says what it took.
const everywhere = 5 * time.Second

// cluster is two servers on one PostgreSQL and one NATS.
type cluster struct {
	t        *testing.T
	database string
	env      []string
	nats     *server.Server
	store    string // of the NATS server
	port     int
	a, b     *process
	api      *adminapi.Client // of a
	group    string
	text     string
	n        int
}

func newCluster(t *testing.T) *cluster {
	var key [32]byte
	rand.Read(key[:])
	c := &cluster{t: t, database: pgtest.Database(t), store: t.TempDir(), port: -1}
	c.env = append(os.Environ(), "HOLDFAST_DATABASE="+c.database, "HOLDFAST_KEY="+base64.StdEncoding.EncodeToString(key[:]))
	c.startNATS()
	c.port = c.nats.Addr().(*net.TCPAddr).Port
	t.Cleanup(c.stopNATS)
	dir := t.TempDir()
	c.a = c.up(filepath.Join(dir, "a"))
	c.b = c.up(filepath.Join(dir, "b"))
	c.api = mustOperate(t, c.a)
	c.group, c.text = prepare(t, c.api)
	return c
}

func (c *cluster) up(data string) *process {
	keys := "file:" + filepath.Join(filepath.Dir(data), "keys")
	return mustUp(c.t, data, c.env, "--node", filepath.Base(data), "--keys", keys, "--nats", fmt.Sprintf("nats://127.0.0.1:%d", c.port), "--mqtt-replicas", "1")
}

func (c *cluster) startNATS() {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: c.port, NoLog: true, NoSigs: true, JetStream: true, StoreDir: c.store})
	if err != nil {
		c.t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(startLimit) {
		c.t.Fatal("NATS does not start")
	}
	c.nats = s
}

func (c *cluster) stopNATS() {
	c.nats.Shutdown()
	c.nats.WaitForShutdown()
}

// enrol makes a device by way of a.
func (c *cluster) enrol() *thing {
	c.n++
	d, err := newThing(fmt.Sprintf("device-%d", c.n), c.group, c.text)
	if err == nil {
		err = d.enrol(c.t.Context(), c.a)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return d
}

// connect opens a device's connection to a server and has it serve one request.
func connect(t *testing.T, p *process, d *thing) net.Conn {
	t.Helper()
	pool, err := p.roots()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(p.DeviceAPI, "https://"), d.tlsConfig(pool))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET /.well-known/est/cacerts HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", res.StatusCode, err)
	}
	return conn
}

// enforced revokes a device's certificate on a and waits until b has cut it off
// in every way. It returns how long each took.
func (c *cluster) enforced(d *thing) (closed, handshake, status time.Duration) {
	t := c.t
	conn := connect(t, c.b, d)
	if err := d.renew(t.Context(), c.b); err != nil {
		t.Fatalf("renewing on the other node: %v", err)
	}
	if got, err := askOCSP(t.Context(), c.b, d); err != nil || got != ocsp.Good {
		t.Fatalf("OCSP before: %d, %v", got, err)
	}
	serial, err := d.serial()
	if err == nil {
		_, err = c.api.RevokeCertificate(t.Context(), serial, "keyCompromise")
	}
	if err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	if err := conn.SetReadDeadline(revoked.Add(everywhere)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
		t.Errorf("the open connection was not closed: %v", err)
	}
	closed = time.Since(revoked)
	c.within("a new connection is refused", func(ctx context.Context) error {
		if err := d.renew(ctx, c.b); err == nil || !strings.Contains(err.Error(), "tls:") {
			return fmt.Errorf("not refused by TLS: %v", err)
		}
		return nil
	})
	handshake = time.Since(revoked)
	c.within("OCSP says revoked", func(ctx context.Context) error {
		if got, err := askOCSP(ctx, c.b, d); err != nil || got != ocsp.Revoked {
			return fmt.Errorf("status %d, %v", got, err)
		}
		return nil
	})
	return closed, handshake, time.Since(revoked)
}

func (c *cluster) within(what string, try func(context.Context) error) {
	if err := poll(everywhere, func() error { return try(c.t.Context()) }); err != nil {
		c.t.Errorf("%s: %v", what, err)
	}
}

// TestCluster revokes on one server and finds it enforced on the other.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	for range 3 {
		closed, handshake, status := c.enforced(c.enrol())
		t.Logf("on the other node: connection closed after %v, handshake refused by %v, OCSP revoked by %v", closed, handshake, status)
	}
	// While NATS is away the database still tells; when it is back, all is as before.
	held := c.enrol()
	conn := connect(t, c.b, held)
	c.stopNATS()
	if _, err := c.api.ChangeDevice(t.Context(), "device-4", "quarantine", "test"); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(everywhere)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) || err == nil {
		t.Errorf("without NATS: the open connection was not closed: %v", err)
	}
	closed, _, _ := c.enforced(c.enrol())
	t.Logf("without NATS: connection closed after %v", closed)
	c.startNATS()
	closed, _, _ = c.enforced(c.enrol())
	t.Logf("after NATS came back: connection closed after %v", closed)
	for _, p := range []*process{c.a, c.b} {
		if err := poll(startLimit, func() error { return healthy(t.Context(), p) }); err != nil {
			t.Error(err)
		}
	}
	c.handOver()
	c.oneLog()
}

func healthy(ctx context.Context, p *process) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Metrics+"/readyz", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", text)
	}
	return nil
}

// sequencer asks the database which node writes the audit log.
func (c *cluster) sequencer() (holder string, err error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), startLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.database)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, "SELECT holder FROM lease WHERE name = 'sequencer'").Scan(&holder)
	return holder, err
}

// handOver kills the server that writes the audit log: the other takes over.
func (c *cluster) handOver() {
	t := c.t
	holder, err := c.sequencer()
	if err != nil {
		t.Fatal(err)
	}
	dead, alive := c.a, c.b
	if strings.HasPrefix(holder, "b-") {
		dead, alive = c.b, c.a
	}
	dead.kill()
	api, err := alive.operator(c.a.AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.CreateZone(t.Context(), "after-the-death", adminapi.ZoneInput{}); err != nil {
		t.Fatal(err)
	}
	died := time.Now()
	err = poll(startLimit, func() error {
		log, err := verifiedLog(t.Context(), api, alive)
		if err == nil && !strings.Contains(log, "after-the-death") {
			err = errors.New("the zone is not in the log")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	next, err := c.sequencer()
	if err != nil || next == holder {
		t.Errorf("the sequencer is %s, it was %s (%v)", next, holder, err)
	}
	t.Logf("the other node wrote the audit log %v after the death of %s", time.Since(died), holder)
	again := c.up(dead.data)
	if dead == c.a {
		c.a = again
	} else {
		c.b = again
	}
	if c.api, err = c.a.operator(c.a.AdminTokenFile); err != nil {
		t.Fatal(err)
	}
}

// oneLog has both nodes make events at once: one log has them all, and both
// nodes show the same.
func (c *cluster) oneLog() {
	t := c.t
	other, err := c.b.operator(c.a.AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 2)
	for i, api := range []*adminapi.Client{c.api, other} {
		go func() {
			var err error
			for n := 0; n < 50 && err == nil; n++ {
				_, err = api.CreateZone(t.Context(), zoneName(i, n), adminapi.ZoneInput{})
			}
			done <- err
		}()
	}
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*process{c.a, c.b} {
		api, err := p.operator(c.a.AdminTokenFile)
		if err != nil {
			t.Fatal(err)
		}
		err = poll(startLimit, func() error {
			log, err := verifiedLog(t.Context(), api, p)
			for i := range 2 {
				for n := range 50 {
					if err == nil && !strings.Contains(log, fmt.Sprintf(`"%s"`, zoneName(i, n))) {
						err = fmt.Errorf("%s is not in the log", zoneName(i, n))
					}
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func zoneName(node, n int) device.ZoneName {
	return device.ZoneName(fmt.Sprintf("zone-%d-%02d", node, n))
}
