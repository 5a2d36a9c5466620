package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testEnrolment(t *testing.T, b Backend) {
	t.Run("Facts", func(t *testing.T) { testFacts(settled(t, b)) })
	t.Run("Issue", func(t *testing.T) { testIssue(settled(t, b)) })
	t.Run("Abandon", func(t *testing.T) { testAbandon(settled(t, b)) })
	t.Run("Keys", func(t *testing.T) { testKeys(settled(t, b)) })
	t.Run("Quarantined", func(t *testing.T) { testQuarantinedMeanwhile(settled(t, b)) })
	t.Run("Supersede", func(t *testing.T) { testSupersede(settled(t, b)) })
	t.Run("Certificates", func(t *testing.T) { testCertificates(settled(t, b)) })
}

func testFacts(w *world) {
	ctx := w.Context()
	f, err := w.EnrolFacts(ctx, sqlstore.EnrolQuery{Type: "none", TokenID: "none", DeviceID: "none", KeyID: keyOf(1)})
	w.ok(err)
	w.same("facts about nothing", f, &enroll.Facts{})

	w.add(thing("d1"))
	_, r := w.issue("d1")
	tok := token("t1", 1)
	tok.DeviceID = "d1"
	w.ok(w.InsertToken(ctx, tok, w.event("token.created", "token", "t1")))
	f, err = w.EnrolFacts(ctx, sqlstore.EnrolQuery{Type: "meter", TokenID: "t1", DeviceID: "asked-for-another", KeyID: r.KeyID})
	w.ok(err)
	meter, lab, d := kind("meter"), zone("lab"), w.device("d1")
	w.same("facts of a bound token", f, &enroll.Facts{Type: &meter, Zone: &lab, Token: &tok, Device: &d, KeyOwner: "device/d1",
		Certificates: []enroll.Record{{Serial: r.Serial, KeyID: r.KeyID, Status: enroll.Issued, NotAfter: r.NotAfter, DER: []byte("der of " + r.Serial.String())}}})

	// A renewal names the device alone; an IDevID names its serial.
	f, err = w.EnrolFacts(ctx, sqlstore.EnrolQuery{DeviceID: "d1", KeyID: keyOf(999)})
	w.ok(err)
	w.same("the renewing device", *f.Device, d)
	w.same("the renewing device's type", f.Type.Name, device.TypeName("meter"))
	w.same("a new key's owner", f.KeyOwner, "")
	cam := thing("cam")
	cam.Type, cam.Serial, cam.Zone = "camera", "SN", "plant"
	w.add(cam)
	f, err = w.EnrolFacts(ctx, sqlstore.EnrolQuery{Type: "camera", Serial: "SN", DeviceID: "d1"})
	w.ok(err)
	w.same("the device by IDevID", f.Device.ID, device.ID("cam"))
	w.same("its zone", f.Zone.Name, device.ZoneName("plant"))
}

func testIssue(w *world) {
	ctx := w.Context()
	w.ok(w.InsertToken(ctx, token("t1", 2), w.event("token.created", "token", "t1")))
	d := thing("d1")
	d.State, d.Labels = device.Enrolled, map[string]string{"a": "b"} // as it is to be after the commit
	r := w.reservation(&d)
	r.Create, r.TokenID = true, "t1"
	w.ok(w.Reserve(ctx, r, w.event("certificate.reserved", "certificate", r.Serial.String()), w.event("device.created", "device", "d1")))
	w.same("the new device's state", w.device("d1").State, device.Registered)
	c, err := w.Certificate(ctx, r.Serial.String())
	w.ok(err)
	w.same("the reservation", c, sqlstore.Certificate{Serial: r.Serial.String(), Principal: "device/d1", Profile: "device", KeyID: r.KeyID.String(), CA: "ca1",
		Status: enroll.Reserved, NotBefore: r.NotBefore, NotAfter: r.NotAfter, ReservedAt: start, Credential: "token:t"})
	w.refused(func() error { return w.Reserve(ctx, r, w.event("certificate.reserved", "certificate", "again")) }) // the device is there
	_, _, _, found, err := w.CertificateStatus(ctx, r.Serial, "ca1")
	w.ok(err)
	w.same("a reservation is no certificate", found, false)

	d.Version, d.EnrolledAt, d.UpdatedAt = 2, start.Add(time.Second), start.Add(time.Second)
	w.ok(w.Commit(ctx, r.Serial, []byte{1, 0, 2}, &d, nil, start, w.event("certificate.issued", "certificate", r.Serial.String())))
	w.same("the device", w.device("d1"), d)
	c, err = w.Certificate(ctx, r.Serial.String())
	w.ok(err)
	w.same("status", c.Status, enroll.Issued)
	w.same("DER", c.DER, []byte{1, 0, 2})
	revoked, _, _, found, err := w.CertificateStatus(ctx, r.Serial, "ca1")
	w.ok(err)
	w.same("found, not revoked", []bool{found, revoked}, []bool{true, false})
	_, _, _, found, err = w.CertificateStatus(ctx, r.Serial, "ca2")
	w.ok(err)
	w.same("found under another CA", found, false)
	d.Version = 3
	w.refused(func() error {
		return w.Commit(ctx, r.Serial, []byte{3}, &d, nil, start, w.event("certificate.issued", "certificate", "again"))
	})
	tok, err := w.Token(ctx, "t1")
	w.ok(err)
	w.same("uses of the token", tok.Used, 1)
}

func testAbandon(w *world) {
	ctx := w.Context()
	w.ok(w.InsertToken(ctx, token("t1", 1)))
	w.add(thing("d1"), thing("d2"))
	d := w.device("d1")
	wait := request(w, "d1")
	pending := w.moved(d, device.Pending)
	w.ok(w.Wait(ctx, wait, &pending, false, ""))
	wait.Decision, wait.DecidedAt, wait.DecidedBy = enroll.Approved, start, "client:ann"
	w.ok(w.DecideWaiting(ctx, wait, nil))
	r := w.reservation(&pending)
	r.TokenID, r.WaitingID = "t1", wait.ID
	w.ok(w.Reserve(ctx, r))
	got, err := w.WaitingByID(ctx, wait.ID)
	w.ok(err)
	w.same("the request while it is signed", got.Decision, enroll.Done)

	stale, err := w.StaleReserved(ctx, start)
	w.ok(err)
	w.same("reservations before their time", len(stale), 0)
	stale, err = w.StaleReserved(ctx, start.Add(time.Microsecond))
	w.ok(err)
	w.same("stale reservations", stale, []sqlstore.Reserved{{Serial: r.Serial.String(), Principal: "device/d1", TokenID: "t1", WaitingID: wait.ID}})
	w.ok(w.Abandon(ctx, stale[0], w.event("certificate.abandoned", "certificate", r.Serial.String())))
	tok, err := w.Token(ctx, "t1")
	w.ok(err)
	w.same("uses after it was given back", tok.Used, 0)
	got, err = w.WaitingByID(ctx, wait.ID)
	w.ok(err)
	w.same("the approval, given back", got.Decision, enroll.Approved)
	w.refused(func() error {
		return w.Abandon(ctx, stale[0], w.event("certificate.abandoned", "certificate", "again"))
	})
	enrolled := w.moved(pending, device.Enrolled)
	w.refused(func() error {
		return w.Commit(ctx, r.Serial, []byte("der"), &enrolled, nil, start, w.event("certificate.issued", "certificate", "late"))
	})

	// Commit and Abandon at once: one of them.
	for range 10 {
		d := w.device("d2")
		r := w.reservation(&d)
		w.ok(w.Reserve(ctx, r))
		errs := all(2, func(i int) error {
			if i == 0 {
				next := w.moved(d, device.Enrolled)
				return w.Commit(ctx, r.Serial, []byte("der"), &next, nil, start)
			}
			return w.Abandon(ctx, sqlstore.Reserved{Serial: r.Serial.String(), Principal: r.Principal})
		})
		w.same("winners of commit and abandon", w.won(errs), 1)
	}
}

// testKeys lets many devices claim one key: the first keeps it, for ever.
func testKeys(w *world) {
	ctx := w.Context()
	const n = 20
	for i := range n {
		w.add(thing(device.ID(fmt.Sprint("d", i))))
	}
	key := keyOf(777)
	errs := all(n, func(i int) error {
		d, err := w.Device(ctx, device.ID(fmt.Sprint("d", i)))
		if err != nil {
			return err
		}
		r := w.reservation(&d)
		r.KeyID = key
		return w.Reserve(ctx, r, w.event("certificate.reserved", "certificate", r.Serial.String()))
	})
	w.same("owners of one key", w.won(errs), 1)
	w.same("events of them", w.events("certificate.reserved"), 1)
	f, err := w.EnrolFacts(ctx, sqlstore.EnrolQuery{Type: "meter", KeyID: key})
	w.ok(err)
	var owner device.ID
	for i, err := range errs {
		if err == nil {
			owner = device.ID(fmt.Sprint("d", i))
		}
	}
	w.same("the owner", f.KeyOwner, principal(owner))
	stale, err := w.StaleReserved(ctx, start.Add(time.Hour))
	w.ok(err)
	w.ok(w.Abandon(ctx, stale[0]))
	d := w.device(owner)
	r := w.reservation(&d)
	r.KeyID = key
	w.ok(w.Reserve(ctx, r)) // the owner may use it again
	r = w.reservation(&d)
	r.KeyID, r.Principal = key, "device/somebody"
	w.refused(func() error { return w.Reserve(ctx, r) })
}

// testQuarantinedMeanwhile cuts a device off between the reservation and the
// commit of its certificate: nothing is issued.
func testQuarantinedMeanwhile(w *world) {
	ctx := w.Context()
	w.add(thing("d1"))
	before, first := w.issue("d1")
	r := w.reservation(&before)
	w.ok(w.Reserve(ctx, r))
	cut := w.moved(before, device.Quarantined)
	_, err := w.ChangeDevice(ctx, cut, principal("d1"), device.Quarantine, 0, start)
	w.ok(err)
	next := w.moved(before, device.Enrolled)
	w.refused(func() error {
		return w.Commit(ctx, r.Serial, []byte("der"), &next, []pki.Serial{first.Serial}, start, w.event("certificate.issued", "certificate", r.Serial.String()))
	})
	c, err := w.Certificate(ctx, r.Serial.String())
	w.ok(err)
	w.same("the certificate", c.Status, enroll.Reserved)
	w.same("its DER", len(c.DER), 0)
	c, err = w.Certificate(ctx, first.Serial.String())
	w.ok(err)
	w.same("the earlier certificate", c.Status, enroll.Held)
	w.same("the device", w.device("d1").State, device.Quarantined)

	// Both at once: one of them, and a quarantined device holds nothing issued.
	for i := range 15 {
		id := device.ID(fmt.Sprint("race", i))
		w.add(thing(id))
		d, old := w.issue(id)
		r := w.reservation(&d)
		w.ok(w.Reserve(ctx, r))
		errs := all(2, func(n int) error {
			if n == i%2 {
				next := w.moved(d, device.Enrolled)
				return w.Commit(ctx, r.Serial, []byte("der"), &next, []pki.Serial{old.Serial}, start)
			}
			_, err := w.ChangeDevice(ctx, w.moved(d, device.Quarantined), principal(id), device.Quarantine, 0, start)
			return err
		})
		w.same("winners of commit and quarantine", w.won(errs), 1)
		issued, err := w.Certificates(ctx, sqlstore.CertificateFilter{Principal: principal(id), Status: "issued", Limit: 10})
		w.ok(err)
		w.same("the device keeps an issued certificate", len(issued) == 1, w.device(id).State == device.Enrolled)
	}
}

func testSupersede(w *world) {
	ctx := w.Context()
	w.add(thing("d1"))
	d, first := w.issue("d1")
	r := w.reservation(&d)
	w.ok(w.Reserve(ctx, r))
	version, err := w.ChangeVersion(ctx)
	w.ok(err)
	next := w.moved(d, device.Enrolled)
	at := start.Add(time.Minute)
	w.ok(w.Commit(ctx, r.Serial, []byte("der"), &next, []pki.Serial{first.Serial}, at, w.event("certificate.issued", "certificate", r.Serial.String())))
	revoked, reason, when, found, err := w.CertificateStatus(ctx, first.Serial, "ca1")
	w.ok(err)
	w.same("the superseded certificate", []any{revoked, reason, when, found}, []any{true, pki.Superseded, at, true})
	changes, err := w.Changes(ctx, version)
	w.ok(err)
	w.same("the control event", changes, []sqlstore.Change{{Version: version + 1, Kind: sqlstore.ChangeRevoked, Subject: first.Serial.String(), At: at}})
}

func testCertificates(w *world) {
	ctx := w.Context()
	var serials []string
	for i := range 7 {
		id := device.ID(fmt.Sprint("d", i))
		w.add(thing(id))
		d := w.device(id)
		r := w.reservation(&d)
		r.At, r.NotAfter = start.Add(time.Duration(i/2)*time.Second), start.Add(time.Duration(i+1)*time.Hour)
		w.ok(w.Reserve(ctx, r))
		serials = append([]string{r.Serial.String()}, serials...)
	}
	d, _ := w.Certificate(ctx, serials[3])
	for _, limit := range []int{1, 2, 3, 10} {
		var got []string
		f := sqlstore.CertificateFilter{Limit: limit}
		for {
			page, err := w.Certificates(ctx, f)
			w.ok(err)
			for _, c := range page {
				got = append(got, c.Serial)
			}
			if len(page) < limit {
				break
			}
			f.After = page[len(page)-1].Serial
		}
		w.same(fmt.Sprintf("certificates by pages of %d, newest first", limit), got, serials)
	}
	for name, f := range map[string]sqlstore.CertificateFilter{
		"principal": {Principal: d.Principal}, "key": {KeyID: d.KeyID},
		"all": {Principal: d.Principal, KeyID: d.KeyID, Profile: "device", Status: "reserved", ExpiresBefore: d.NotAfter.Add(1000)},
	} {
		f.Limit = 10
		list, err := w.Certificates(ctx, f)
		w.ok(err)
		w.same("certificates by "+name, list, []sqlstore.Certificate{d})
	}
	for name, f := range map[string]sqlstore.CertificateFilter{"profile": {Profile: "app"}, "status": {Status: "issued"}, "expiry": {ExpiresBefore: start.Add(time.Hour)}} {
		f.Limit = 10
		list, err := w.Certificates(ctx, f)
		w.ok(err)
		w.same("certificates of another "+name, len(list), 0)
	}
	_, err := w.Certificates(ctx, sqlstore.CertificateFilter{After: "none", Limit: 1})
	w.is(err, sqlstore.ErrNotFound)
}
