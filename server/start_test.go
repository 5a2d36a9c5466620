package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/server/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a server's time that a test moves.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time       { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) add(by time.Duration) { c.offset.Add(int64(by)) }

var operator = access.Actor{Kind: access.Client, ID: "test", Source: "127.0.0.1"}

// running is a server with all listeners on loopback.
type running struct {
	*Server
	t     testing.TB
	ready Ready
	stop  func() error
}

// start runs a server on dir until the test ends or stop is called.
func start(t testing.TB, dir string, opt Options) *running {
	t.Helper()
	cfg := config.Default()
	cfg.Data = dir
	cfg.Node = "test"
	cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0", MQTTS: "127.0.0.1:0", WSS: "127.0.0.1:0"}
	cfg.Enrolment.Rate, cfg.Enrolment.Burst = 10_000, 10_000
	return startWith(t, cfg, opt)
}

func startWith(t testing.TB, cfg config.Config, opt Options) *running {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := NewWith(cfg.Complete(), log, opt)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan Ready, 1), make(chan error, 1)
	go func() { done <- s.Run(ctx, func(r Ready) { ready <- r }) }()
	var result error
	var once atomic.Bool
	r := &running{Server: s, t: t, stop: func() error {
		if once.CompareAndSwap(false, true) {
			cancel()
			result = <-done
		}
		return result
	}}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("stopping the server: %v", err)
		}
	})
	select {
	case r.ready = <-ready:
	case err := <-done:
		done <- err
		cancel()
		t.Fatalf("starting the server: %v", err)
	}
	return r
}

// fleet makes the zone "plant" and the type "sensor".
func (r *running) fleet(change func(*device.Type)) {
	r.t.Helper()
	if _, err := r.CreateZone(context.Background(), operator, device.Zone{Name: "plant"}); err != nil {
		r.t.Fatal(err)
	}
	t := device.Type{Name: "sensor"}
	if change != nil {
		change(&t)
	}
	if _, err := r.CreateType(context.Background(), operator, t); err != nil {
		r.t.Fatal(err)
	}
}

// token makes an enrolment token for sensors in the plant.
func (r *running) token(kind enroll.TokenKind, quota int) (enroll.Token, string) {
	r.t.Helper()
	tok, secret, err := r.CreateToken(context.Background(), operator, enroll.Token{Kind: kind, Quota: quota, Type: "sensor", Zone: "plant", ExpiresAt: r.now().Add(24 * time.Hour)})
	if err != nil {
		r.t.Fatal(err)
	}
	return tok, secret.Reveal()
}

// dev is a device with a key.
type dev struct {
	t    testing.TB
	id   string
	key  *ecdsa.PrivateKey
	csr  []byte
	cert *tls.Certificate
}

func newDev(t testing.TB, id string) *dev {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: id}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return &dev{t: t, id: id, key: key, csr: csr}
}

// client is an EST client with the device's certificate, if it has one.
func (d *dev) client(r *running, token string) *est.Client {
	d.t.Helper()
	pem, err := os.ReadFile(r.ready.CAFile)
	if err != nil {
		d.t.Fatal(err)
	}
	conf := &tls.Config{RootCAs: x509.NewCertPool()}
	conf.RootCAs.AppendCertsFromPEM(pem)
	if d.cert != nil && token == "" {
		conf.Certificates = []tls.Certificate{*d.cert}
	}
	tr := &http.Transport{TLSClientConfig: conf}
	d.t.Cleanup(tr.CloseIdleConnections)
	c := &est.Client{BaseURL: r.ready.DeviceAPI, Label: "sensor", HTTP: &http.Client{Transport: tr, Timeout: 20 * time.Second}}
	if token != "" {
		c.Credential = est.BasicCredential("est", token)
	}
	return c
}

func (d *dev) enrol(r *running, token string) error {
	chain, err := d.client(r, token).Enroll(context.Background(), d.csr)
	return d.keep(chain, err)
}

func (d *dev) renew(r *running) error {
	chain, err := d.client(r, "").Reenroll(context.Background(), d.csr)
	return d.keep(chain, err)
}

func (d *dev) keep(chain []*x509.Certificate, err error) error {
	if err != nil {
		return err
	}
	d.cert = &tls.Certificate{PrivateKey: d.key, Leaf: chain[0]}
	for _, c := range chain {
		d.cert.Certificate = append(d.cert.Certificate, c.Raw)
	}
	return nil
}

// code is the problem code of a refused request, or the error's text.
func code(err error) string {
	var p *est.Problem
	var w *est.Pending
	switch {
	case err == nil:
		return ""
	case errors.As(err, &p):
		return p.Code
	case errors.As(err, &w):
		return "pending"
	}
	return err.Error()
}

// events lists the actions recorded about a subject, oldest first.
func (r *running) events(subject string) []string {
	r.t.Helper()
	r.sequenced()
	list, err := r.Server.store.Entries(context.Background(), entryFilter(subject))
	if err != nil {
		r.t.Fatal(err)
	}
	actions := make([]string, len(list))
	for i, l := range list {
		_, rest, _ := strings.Cut(string(l.Bytes), `"action":"`)
		actions[len(list)-1-i], _, _ = strings.Cut(rest, `"`)
	}
	return actions
}

// sequenced waits until the outbox is empty.
func (r *running) sequenced() {
	r.t.Helper()
	eventually(r.t, "the outbox is empty", func() bool {
		rows, err := r.Server.store.OutboxRows(context.Background(), 1)
		return err == nil && len(rows) == 0
	})
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("it never came true that %s", what)
}

func tempData(t testing.TB) string { return filepath.Join(t.TempDir(), "data") }
