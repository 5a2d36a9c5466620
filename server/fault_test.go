package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

var errInjected = errors.New("injected fault")

func entryFilter(subject string) sqlstore.EntryFilter {
	return sqlstore.EntryFilter{Subject: subject, Limit: 1000}
}

// breaker fails named writes once each, before or after they were stored.
type breaker struct {
	mu         sync.Mutex
	notWritten map[string]bool // guarded by mu
	unreported map[string]bool // guarded by mu
	hits       int             // guarded by mu
}

// arm forgets earlier faults and sets new ones; an empty name sets none.
func (b *breaker) arm(notWritten, unreported string) {
	b.mu.Lock()
	b.notWritten, b.unreported, b.hits = map[string]bool{}, map[string]bool{}, 0
	b.mu.Unlock()
	b.also(notWritten, unreported)
}

// also adds faults to those armed.
func (b *breaker) also(notWritten, unreported string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.notWritten == nil {
		b.notWritten, b.unreported = map[string]bool{}, map[string]bool{}
	}
	b.notWritten[notWritten], b.unreported[unreported] = true, true
}

func (b *breaker) fail(name string, armed func() map[string]bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !armed()[name] {
		return nil
	}
	delete(armed(), name)
	b.hits++
	return errInjected
}

func (b *breaker) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hits
}

func (b *breaker) faults() sqlstore.Faults {
	return sqlstore.Faults{
		NotWritten: func(name string) error { return b.fail(name, func() map[string]bool { return b.notWritten }) },
		Unreported: func(name string) error { return b.fail(name, func() map[string]bool { return b.unreported }) },
	}
}

// TestEnrolmentFaults fails each durable step of issuing twice: not written, and
// written but reported failed. Each time the device is refused, asks again with
// the same one-time token, and gets exactly one certificate.
func TestEnrolmentFaults(t *testing.T) {
	for _, step := range []string{"enrol.reserve", "enrol.commit", "enrol.abandon"} {
		for _, written := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/written=%v", step, written), func(t *testing.T) {
				var b breaker
				r := start(t, tempData(t), Options{Faults: b.faults()})
				r.fleet(nil)
				tok, secret := r.token(enroll.OneTime, 1)
				if step == "enrol.abandon" {
					b.arm("enrol.commit", "") // so that there is something to abandon
				}
				if written {
					b.also("", step)
				} else {
					b.also(step, "")
				}
				d := newDev(t, "d1")
				if err := d.enrol(r, secret); err == nil {
					t.Fatal("the device was told that all is well")
				}
				r.abandonStale(context.Background(), r.now().Add(time.Second))
				if err := d.enrol(r, secret); err != nil {
					t.Fatalf("asking again: %v", err)
				}
				r.checkOneCertificate(tok.ID, d)
			})
		}
	}
}

// checkOneCertificate checks that a one-time token led to one issued certificate,
// the device's, and that nothing is left reserved.
func (r *running) checkOneCertificate(token string, d *dev) {
	r.t.Helper()
	ctx := context.Background()
	rows, err := r.Server.store.Certificates(ctx, sqlstore.CertificateFilter{Principal: "device/" + d.id, Limit: 100})
	if err != nil {
		r.t.Fatal(err)
	}
	issued := 0
	for _, c := range rows {
		switch c.Status {
		case enroll.Issued:
			issued++
			if string(c.DER) != string(d.cert.Certificate[0]) {
				r.t.Errorf("certificate %s is issued and is not the device's", c.Serial)
			}
		case enroll.Reserved:
			r.t.Errorf("certificate %s is still reserved", c.Serial)
		}
	}
	if issued != 1 {
		r.t.Errorf("%d certificates are issued, want 1", issued)
	}
	tok, err := r.Server.store.Token(ctx, token)
	if err != nil || tok.Used != 1 {
		r.t.Errorf("the token was used %d times (%v), want 1", tok.Used, err)
	}
	dev, err := r.Server.store.Device(ctx, device.ID(d.id))
	if err != nil || dev.State != device.Enrolled {
		r.t.Errorf("the device is %s (%v), want enrolled", dev.State, err)
	}
	r.checkLog()
}

// checkLog exports the audit log and verifies it offline.
func (r *running) checkLog() audit.Report {
	r.t.Helper()
	r.sequenced()
	path := filepath.Join(r.t.TempDir(), "export")
	f, err := os.Create(path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if err := r.Export(context.Background(), f, "log"); err != nil {
		r.t.Fatal(err)
	}
	f.Seek(0, 0)
	report, err := audit.Verify(f, audit.VerifyOptions{Key: r.auditor.public})
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

// TestSequencerFaults fails the sequencer's write both ways: no event is lost,
// none is sequenced twice, and the log verifies.
func TestSequencerFaults(t *testing.T) {
	for _, written := range []bool{false, true} {
		t.Run(fmt.Sprintf("written=%v", written), func(t *testing.T) {
			var b breaker
			r := start(t, tempData(t), Options{Faults: b.faults()})
			r.sequenced()
			for i := range 5 {
				if written {
					b.arm("", "audit.sequence")
				} else {
					b.arm("audit.sequence", "")
				}
				name := device.ZoneName(fmt.Sprintf("zone-%d", i))
				if _, err := r.CreateZone(context.Background(), operator, device.Zone{Name: name}); err != nil {
					t.Fatal(err)
				}
				if got := r.events("zone:" + string(name)); len(got) != 1 || got[0] != "zone.created" {
					t.Errorf("events of %s: %v, want one zone.created", name, got)
				}
				// What was written can be seen a moment before it is reported as failed.
				eventually(t, "the fault is hit", func() bool { return b.count() == 1 })
			}
			r.checkLog()
		})
	}
}

// TestRevocationFaults: a revocation that is reported failed but was stored is
// enforced all the same.
func TestRevocationFaults(t *testing.T) {
	var b breaker
	r := start(t, tempData(t), Options{Faults: b.faults()})
	r.fleet(nil)
	_, secret := r.token(enroll.Group, 10)
	d := newDev(t, "d1")
	if err := d.enrol(r, secret); err != nil {
		t.Fatal(err)
	}
	b.arm("device.revoke", "")
	if _, err := r.ChangeDevice(context.Background(), operator, "d1", device.Revoke, "test"); !errors.Is(err, errInjected) {
		t.Fatalf("got %v", err)
	}
	if err := d.renew(r); err != nil {
		t.Fatalf("nothing was revoked and renewal fails: %v", err)
	}
	b.arm("", "device.revoke")
	if _, err := r.ChangeDevice(context.Background(), operator, "d1", device.Revoke, "test"); !errors.Is(err, errInjected) {
		t.Fatalf("got %v", err)
	}
	eventually(t, "the stored revocation is enforced", func() bool { return d.renew(r) != nil })
	r.checkLog()
}

// TestRestartAfterReserve: a server that died between reservation and commit gives
// the token back when it starts again.
func TestRestartAfterReserve(t *testing.T) {
	dir := tempData(t)
	var b breaker
	r := start(t, dir, Options{Faults: b.faults()})
	r.fleet(nil)
	tok, secret := r.token(enroll.OneTime, 1)
	d := newDev(t, "d1")
	b.arm("enrol.commit", "") // and the abandoning after it fails too, as in a crash
	b.also("enrol.abandon", "")
	if err := d.enrol(r, secret); err == nil {
		t.Fatal("the device was told that all is well")
	}
	if got := code(d.enrol(r, secret)); got != "token-used" {
		t.Fatalf("the reservation does not hold the token: %q", got)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, dir, Options{})
	if err := d.enrol(r, secret); err != nil {
		t.Fatal(err)
	}
	r.checkOneCertificate(tok.ID, d)
}
