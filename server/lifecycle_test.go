package server

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/refusal"
)

// TestRenewalTimes walks a certificate through its life with the server's clock.
func TestRenewalTimes(t *testing.T) {
	c := &clock{}
	r := start(t, tempData(t), Options{Now: c.now})
	r.fleet(func(t *device.Type) { t.Validity, t.Grace = 48*time.Hour, 24*time.Hour })
	_, secret := r.token(enroll.Group, 10)
	d := newDev(t, "d1")
	if err := d.enrol(r, secret); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{47 * time.Hour, ""}, {49 * time.Hour, ""}, {73 * time.Hour, "renewal-too-late"}} {
		c.add(step.after)
		if got := code(d.renew(r)); got != step.want {
			t.Errorf("renewing %v after the last one: %q, want %q", step.after, got, step.want)
		}
	}
	if got := code(d.enrol(r, secret)); got != "token-expired" {
		t.Errorf("enrolling with an expired token: %q", got)
	}
	_, secret = r.token(enroll.OneTime, 1)
	if err := d.enrol(r, secret); err != nil {
		t.Errorf("enrolling again with a new token after the grace time: %v", err)
	}
}

// TestTokenRace has many devices use one token at once: its quota holds, and the
// counts agree.
func TestTokenRace(t *testing.T) {
	r := start(t, tempData(t), Options{})
	r.fleet(nil)
	tok, secret := r.token(enroll.Group, 10)
	var wg sync.WaitGroup
	var mu sync.Mutex
	results := map[string]int{}
	for i := range 40 {
		d := newDev(t, "d"+string(rune('a'+i%26))+string(rune('0'+i/26)))
		wg.Go(func() {
			got := code(d.enrol(r, secret))
			mu.Lock()
			results[got]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if results[""] != 10 || results["token-quota"] != 30 {
		t.Errorf("results %v, want 10 enrolled and 30 token-quota", results)
	}
	if now, err := r.Server.store.Token(context.Background(), tok.ID); err != nil || now.Used != 10 {
		t.Errorf("used %d (%v), want 10", now.Used, err)
	}
}

// TestSameDeviceRace has one device ask many times at once, as after a reboot
// loop: it ends with one certificate and every answer is that one.
func TestSameDeviceRace(t *testing.T) {
	r := start(t, tempData(t), Options{})
	r.fleet(nil)
	tok, secret := r.token(enroll.OneTime, 1)
	d := newDev(t, "d1")
	var wg sync.WaitGroup
	certs := make(chan []byte, 20)
	for range 20 {
		wg.Go(func() {
			copy := *d
			if err := copy.enrol(r, secret); err != nil {
				// A loser of the race may be told to come again, never anything worse.
				if got := code(err); got != "busy" && got != "token-used" {
					t.Errorf("got %q", got)
				}
				return
			}
			certs <- copy.cert.Certificate[0]
		})
	}
	wg.Wait()
	close(certs)
	if err := d.enrol(r, secret); err != nil {
		t.Fatal(err)
	}
	for c := range certs {
		if string(c) != string(d.cert.Certificate[0]) {
			t.Error("two different certificates were handed out")
		}
	}
	r.checkOneCertificate(tok.ID, d)
}

// TestQuarantineDuringEnrolment quarantines a device between its reservation and
// its commit: nothing is issued.
func TestQuarantineDuringEnrolment(t *testing.T) {
	var r *running
	var armed atomic.Bool
	opt := Options{}
	opt.Faults.Unreported = func(name string) error {
		if name == "enrol.reserve" && armed.CompareAndSwap(true, false) {
			if _, err := r.ChangeDevice(context.Background(), operator, "d1", device.Quarantine, "stolen"); err != nil {
				t.Errorf("quarantining: %v", err)
			}
		}
		return nil
	}
	r = start(t, tempData(t), opt)
	r.fleet(nil)
	armed.Store(true)
	if _, err := r.CreateDevice(context.Background(), operator, device.Device{ID: "d1", Type: "sensor", Zone: "plant"}); err != nil {
		t.Fatal(err)
	}
	_, secret := r.token(enroll.OneTime, 1)
	d := newDev(t, "d1")
	if got := code(d.enrol(r, secret)); got != "device-quarantined" {
		t.Errorf("enrolling: %q, want device-quarantined", got)
	}
	if n, err := r.Server.store.LiveCertificates(context.Background(), "device/d1", r.now()); err != nil || n != 0 {
		t.Errorf("%d live certificates (%v), want none", n, err)
	}
}

// TestRevocationClosesConnection keeps a connection open and idle, revokes, and
// finds the connection closed.
func TestRevocationClosesConnection(t *testing.T) {
	r := start(t, tempData(t), Options{})
	r.fleet(nil)
	_, secret := r.token(enroll.Group, 10)
	d := newDev(t, "d1")
	if err := d.enrol(r, secret); err != nil {
		t.Fatal(err)
	}
	c := d.client(r, "")
	if _, err := c.CACerts(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := r.sessions.count(); n != 1 {
		t.Fatalf("%d sessions, want 1", n)
	}
	if got := r.events("device:d1"); !slices.Contains(got, "device.activated") {
		t.Errorf("events %v lack device.activated", got)
	}
	if _, err := r.ChangeDevice(context.Background(), operator, "d1", device.Revoke, "test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the connection is closed", func() bool { return r.sessions.count() == 0 })
	if _, err := c.CACerts(context.Background()); err == nil {
		t.Error("a new connection with the revoked certificate was accepted")
	}
	got := r.events("device:d1")
	if got[len(got)-1] != "device.revoked" {
		t.Errorf("events %v do not end with device.revoked", got)
	}
}

// TestRotation makes a new issuing CA with the root key from its sealed file.
func TestRotation(t *testing.T) {
	r := start(t, tempData(t), Options{})
	r.fleet(nil)
	_, secret := r.token(enroll.Group, 10)
	old := newDev(t, "old")
	if err := old.enrol(r, secret); err != nil {
		t.Fatal(err)
	}
	if _, err := r.FinishRotation(context.Background(), operator, "x"); refusal.As(err) == nil || refusal.As(err).Code != "no-rotation" {
		t.Errorf("finishing a rotation that was not begun: %v", err)
	}
	request, err := r.BeginRotation(context.Background(), operator, "P-384")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.FinishRotation(context.Background(), operator, string(pki.EncodePEM("CERTIFICATE", r.authority.Load().issuers[0].cert.Raw))); !refusal.Is(err, "wrong-key") {
		t.Errorf("finishing with another key's certificate: %v", err)
	}
	issuing := signWithRoot(t, r, request)
	ca, err := r.FinishRotation(context.Background(), operator, issuing)
	if err != nil {
		t.Fatal(err)
	}
	young := newDev(t, "young")
	if err := young.enrol(r, secret); err != nil {
		t.Fatal(err)
	}
	if got := r.authority.Load().issuerOf(young.cert.Leaf).row.ID; got != ca.ID {
		t.Errorf("the new device's issuer is %s, want %s", got, ca.ID)
	}
	if err := old.renew(r); err != nil {
		t.Errorf("the old device cannot renew: %v", err)
	}
	cas, err := young.client(r, "").CACerts(context.Background())
	if err != nil || len(cas) != 3 {
		t.Errorf("%d CA certificates (%v), want root and two issuing", len(cas), err)
	}
	for _, is := range r.authority.Load().issuers {
		eventually(t, "each CA has its CRL", func() bool {
			resp, err := http.Get(is.sign.URLs.CRL)
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			der, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK {
				return false
			}
			list, err := x509.ParseRevocationList(der)
			return err == nil && list.CheckSignatureFrom(is.cert) == nil
		})
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestRolledBackDatabase restores an older copy of the database: the server says
// so and does not start.
func TestRolledBackDatabase(t *testing.T) {
	dir := tempData(t)
	r := start(t, dir, Options{})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(dir, "holdfast.db")
	older, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	r = start(t, dir, Options{})
	r.fleet(nil)
	r.sequenced()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		os.Remove(db + suffix)
	}
	if err := os.WriteFile(db, older, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := r.cfg
	if _, err := New(cfg, r.log); err == nil || !strings.Contains(err.Error(), "rolled back") {
		t.Errorf("starting on a rolled-back database: %v", err)
	}
}

// TestImportAllOrNothing imports rows of which one clashes.
func TestImportAllOrNothing(t *testing.T) {
	r := start(t, tempData(t), Options{})
	r.fleet(nil)
	ctx := context.Background()
	rows := importRows(1000)
	if _, err := r.CreateDevice(ctx, operator, device.Device{ID: "dev-000500", Type: "sensor", Zone: "plant"}); err != nil {
		t.Fatal(err)
	}
	rows[3].Device.Type = "nothing"
	err := r.ImportDevices(ctx, operator, rows, nil)
	wantRow(t, err, rows[3].Line, "type")
	rows[3].Device.Type = "sensor"
	err = r.ImportDevices(ctx, operator, rows, nil)
	wantRow(t, err, rows[500].Line, "id")
	if n, err := r.Server.store.CountByState(ctx); err != nil || n["registered"] != 1 {
		t.Errorf("%v devices (%v), want the one from before", n, err)
	}
	rows[500].Device.ID = "another"
	if err := r.ImportDevices(ctx, operator, rows, nil); err != nil {
		t.Fatal(err)
	}
	if got := r.events("device:dev-000001"); len(got) != 1 || got[0] != "device.created" {
		t.Errorf("events %v, want one device.created", got)
	}
}

// TestStageGate walks a type to deploy and a zone to production.
func TestStageGate(t *testing.T) {
	r := start(t, tempData(t), Options{})
	r.fleet(nil)
	ctx := context.Background()
	want := func(wantCode string, err error) {
		t.Helper()
		if !refusal.Is(err, wantCode) {
			t.Errorf("got %v, want %s", err, wantCode)
		}
	}
	if _, err := r.CreateDevice(ctx, operator, device.Device{ID: "d1", Type: "sensor", Zone: "plant"}); err != nil {
		t.Fatal(err)
	}
	plant, err := r.Zone(ctx, "plant")
	if err != nil {
		t.Fatal(err)
	}
	plant.Production = true
	_, err = r.UpdateZone(ctx, operator, plant)
	want("not-for-production", err)
	_, err = r.MoveType(ctx, operator, "sensor", device.Deploy, "")
	want("stage-skipped", err)
	if _, err := r.MoveType(ctx, operator, "sensor", device.Develop, ""); err != nil {
		t.Fatal(err)
	}
	_, err = r.MoveType(ctx, operator, "sensor", device.Deploy, "")
	want("sign-off-missing", err)
	if _, err := r.SignOff(ctx, operator, device.SignOff{Type: "sensor", Stage: device.Deploy, Statement: "penetration test of March passed"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.MoveType(ctx, operator, "sensor", device.Deploy, ""); err != nil {
		t.Fatal(err)
	}
	if _, err = r.UpdateZone(ctx, operator, plant); err != nil {
		t.Fatal(err)
	}
	_, err = r.MoveType(ctx, operator, "sensor", device.Develop, "found a hole")
	want("in-production", err)
	_, err = r.UpdateZone(ctx, operator, plant)
	want("changed-meanwhile", err)
}

func wantRow(t *testing.T, err error, line int, field string) {
	t.Helper()
	var bad *importErr
	if !errors.As(err, &bad) || len(bad.Rows) != 1 || bad.Rows[0].Line != line || bad.Rows[0].Field != field {
		t.Errorf("got %v, want a bad %s in line %d", err, field, line)
	}
}
