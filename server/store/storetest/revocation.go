package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testRevocation(t *testing.T, b Backend) {
	t.Run("Moves", func(t *testing.T) { testMoves(settled(t, b)) })
	t.Run("One", func(t *testing.T) { testRevokeOne(settled(t, b)) })
	t.Run("Versions", func(t *testing.T) { testChangeVersions(settled(t, b)) })
}

// testMoves takes a device with a reserved, an issued and a revoked certificate
// through every move.
func testMoves(w *world) {
	ctx := w.Context()
	for _, c := range []struct {
		moves  []device.Move
		state  device.State
		issued enroll.Status // what becomes of the issued certificate
		reason pki.Reason
		kind   sqlstore.ChangeKind
	}{
		{[]device.Move{device.Quarantine}, device.Quarantined, enroll.Held, pki.CertificateHold, sqlstore.ChangeQuarantined},
		{[]device.Move{device.Quarantine, device.Release}, device.Enrolled, enroll.Issued, 0, sqlstore.ChangeReleased},
		{[]device.Move{device.Revoke}, device.Registered, enroll.Revoked, pki.KeyCompromise, sqlstore.ChangeRevokedDevice},
		{[]device.Move{device.Quarantine, device.Revoke}, device.Quarantined, enroll.Revoked, pki.KeyCompromise, sqlstore.ChangeRevokedDevice},
		{[]device.Move{device.Retire}, device.Retired, enroll.Revoked, pki.KeyCompromise, sqlstore.ChangeRevokedDevice},
		{[]device.Move{device.Quarantine, device.Retire}, device.Retired, enroll.Revoked, pki.KeyCompromise, sqlstore.ChangeRevokedDevice},
	} {
		id := device.ID(fmt.Sprint("d", w.next()))
		w.add(thing(id))
		d, old := w.issue(id)
		_, err := w.Store.RevokeCertificate(ctx, old.Serial.String(), pki.AffiliationChanged, start)
		w.ok(err)
		_, live := w.issue(id)
		d = w.device(id)
		open := w.reservation(&d)
		w.ok(w.Reserve(ctx, open))
		bystander := device.ID(string(id) + "-not")
		w.add(thing(bystander))
		_, other := w.issue(bystander)

		at := start
		var version int64
		for _, m := range c.moves {
			at = at.Add(time.Minute)
			d.State, err = device.Next(d.State, m, true)
			w.ok(err)
			d.Version++
			before, err := w.ChangeVersion(ctx)
			w.ok(err)
			version, err = w.ChangeDevice(ctx, d, principal(id), m, pki.KeyCompromise, at, w.event("device.changed", "device", string(id)))
			w.ok(err)
			w.same("the change's version", version, before+1)
			w.refused(func() error {
				_, err := w.ChangeDevice(ctx, d, principal(id), m, pki.KeyCompromise, at, w.event("device.changed", "device", string(id)))
				return err
			})
		}
		what := fmt.Sprint(c.moves, ": ")
		w.same(what+"state", w.device(id).State, c.state)
		changes, err := w.Changes(ctx, version-1)
		w.ok(err)
		w.same(what+"control event", changes, []sqlstore.Change{{Version: version, Kind: c.kind, Subject: principal(id), At: at}})
		for serial, want := range map[string]struct {
			status enroll.Status
			reason pki.Reason
		}{
			old.Serial.String(): {enroll.Revoked, pki.AffiliationChanged}, live.Serial.String(): {c.issued, c.reason},
			open.Serial.String(): {enroll.Reserved, 0}, other.Serial.String(): {enroll.Issued, 0},
		} {
			got, err := w.Certificate(ctx, serial)
			w.ok(err)
			w.same(what+"certificate", []any{got.Status, got.Reason}, []any{want.status, want.reason})
		}
		left, err := w.LiveCertificates(ctx, principal(id), start)
		w.ok(err)
		w.same(what+"live certificates", left > 0, c.issued != enroll.Revoked)
		revoked, err := w.RevokedOf(ctx, principal(id))
		w.ok(err)
		w.same(what+"revoked or held", len(revoked) == 2, c.issued != enroll.Issued)
	}
	w.add(thing("still"))
	w.unchanged(func() {
		d := w.moved(w.device("still"), device.Active)
		if _, err := w.ChangeDevice(ctx, d, principal("still"), device.Activate, 0, start, w.event("device.changed", "device", "still")); err == nil {
			w.Fatal("a move that is no operator's was made")
		}
	})
}

func testRevokeOne(w *world) {
	ctx := w.Context()
	w.add(thing("d1"))
	_, r := w.issue("d1")
	d := w.device("d1")
	open := w.reservation(&d)
	open.CA, open.NotAfter = "ca2", start.Add(5*time.Hour)
	w.ok(w.Reserve(ctx, open))
	revoke := func(serial string) (int64, error) {
		return w.Store.RevokeCertificate(ctx, serial, pki.KeyCompromise, start.Add(time.Minute), w.event("certificate.revoked", "certificate", serial))
	}
	for _, serial := range []string{open.Serial.String(), strings.Repeat("0", 31) + "9"} {
		w.refused(func() error { _, err := revoke(serial); return err })
	}
	before, err := w.RevocationVersion(ctx)
	w.ok(err)
	w.same("the version for CRLs of a world without revocations", before, int64(0))
	before, err = w.ChangeVersion(ctx)
	w.ok(err)
	version, err := revoke(r.Serial.String())
	w.ok(err)
	w.same("version", version, before+1)
	w.add(thing("bystander")) // no CRL has to follow that
	last, err := w.RevocationVersion(ctx)
	w.ok(err)
	w.same("the version for CRLs", last, version)
	w.refused(func() error { _, err := revoke(r.Serial.String()); return err })
	next := w.moved(d, device.Enrolled)
	w.ok(w.Commit(ctx, open.Serial, []byte("der"), &next, nil, start))
	_, err = revoke(open.Serial.String())
	w.ok(err)

	list := func(ca string, after time.Time) (out []string) {
		w.ok(w.Revoked(ctx, ca, after, func(r sqlstore.RevokedRow) error { out = append(out, r.Serial); return nil }))
		slices.Sort(out)
		return out
	}
	w.same("revoked, of all CAs", list("", start), sorted([]string{r.Serial.String(), open.Serial.String()}))
	w.same("revoked, of one CA", list("ca2", start), []string{open.Serial.String()})
	w.same("revoked, unexpired", list("", start.Add(time.Hour)), []string{open.Serial.String()})
	rows, err := w.RevokedOf(ctx, "device/d1")
	w.ok(err)
	for _, row := range rows {
		w.same("a revoked row", []any{row.Held, row.Reason, row.At, row.Principal}, []any{false, pki.KeyCompromise, start.Add(time.Minute), "device/d1"})
	}
}

// testChangeVersions revokes many things at once while a reader follows: it
// sees every version once, in order, with no gap ever visible.
func testChangeVersions(w *world) {
	ctx := w.Context()
	const n = 40
	for i := range n {
		id := device.ID(fmt.Sprint("d", i))
		w.add(thing(id))
		w.issue(id)
	}
	first, err := w.ChangeVersion(ctx)
	w.ok(err)
	stop, followed := make(chan struct{}), make(chan error, 1)
	go func() {
		seen := first
		for done := false; ; {
			list, err := w.Changes(ctx, seen)
			if err != nil {
				followed <- err
				return
			}
			for _, c := range list {
				if c.Version != seen+1 {
					followed <- fmt.Errorf("after version %d came %d", seen, c.Version)
					return
				}
				seen = c.Version
			}
			if done {
				if seen != first+n {
					err = fmt.Errorf("%d versions were seen, want %d", seen-first, n)
				}
				followed <- err
				return
			}
			select {
			case <-stop:
				done = true
			default:
			}
		}
	}()
	versions := make([]int64, n)
	errs := all(n, func(i int) error {
		id := device.ID(fmt.Sprint("d", i))
		d, err := w.Device(ctx, id)
		if err == nil {
			versions[i], err = w.ChangeDevice(ctx, w.moved(d, device.Quarantined), principal(id), device.Quarantine, 0, start)
		}
		return err
	})
	close(stop)
	w.same("changes made", w.won(errs), n)
	w.ok(<-followed)
	slices.Sort(versions)
	for i, v := range versions {
		w.same("the versions returned", v, first+int64(i+1))
	}
	newest, err := w.ChangeVersion(ctx)
	w.ok(err)
	w.same("the newest version", newest, first+n)
}
