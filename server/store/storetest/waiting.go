package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// request is a device's undecided request.
func request(w *world, id device.ID) enroll.Waiting {
	n := w.next()
	return enroll.Waiting{ID: fmt.Sprintf("w%06d", n), DeviceID: id, Type: "meter", Zone: "lab", KeyID: keyOf(n).String(), Credential: "token:t", Source: "192.0.2.1",
		RequestedAt: start, Decision: enroll.Undecided}
}

func testWaiting(t *testing.T, b Backend) {
	w := settled(t, b)
	ctx := w.Context()
	late, early := request(w, "d1"), request(w, "d2")
	late.RequestedAt = start.Add(time.Second)
	d1, d2 := thing("d1"), thing("d2")
	d1.State = device.Pending
	w.ok(w.Wait(ctx, late, &d1, true, "", w.event("device.created", "device", "d1")))
	w.add(d2)
	d2 = w.moved(d2, device.Pending)
	w.ok(w.Wait(ctx, early, &d2, false, "", w.event("enrolment.waiting", "device", "d2")))
	w.same("the created device", w.device("d1"), d1)
	w.same("the moved device", w.device("d2"), d2)
	list, err := w.Store.Waiting(ctx)
	w.ok(err)
	w.same("requests, oldest first", list, []enroll.Waiting{early, late})
	_, err = w.WaitingByID(ctx, "none")
	w.is(err, sqlstore.ErrNotFound)

	// A device waits for one decision at a time, and only at its version.
	again := w.moved(d2, device.Pending)
	w.refused(func() error {
		return w.Wait(ctx, request(w, "d2"), &again, false, "", w.event("enrolment.waiting", "device", "d2"))
	})
	w.refused(func() error {
		return w.Wait(ctx, request(w, "d2"), &d2, false, "", w.event("enrolment.waiting", "device", "d2"))
	})
	w.refused(func() error {
		return w.Wait(ctx, request(w, "d2"), &d2, true, "", w.event("enrolment.waiting", "device", "d2"))
	})

	// Of several deciders one wins, with the device's state.
	rejected := w.moved(d1, device.Registered)
	errs := all(8, func(i int) error {
		v := late
		v.DecidedAt, v.DecidedBy, v.Reason = start.Add(time.Minute), fmt.Sprint("client:", i), "because"
		if i%2 == 0 {
			v.Decision = enroll.Approved
			return w.DecideWaiting(ctx, v, nil, w.event("enrolment.approved", "device", "d1"))
		}
		v.Decision = enroll.Rejected
		return w.DecideWaiting(ctx, v, &rejected, w.event("enrolment.rejected", "device", "d1"))
	})
	w.same("deciders that won", w.won(errs), 1)
	got, err := w.WaitingByID(ctx, late.ID)
	w.ok(err)
	want := device.Pending
	if got.Decision == enroll.Rejected {
		want = device.Registered
	}
	w.same("the device's state after "+string(got.Decision), w.device("d1").State, want)

	// A decision with a device that moved on is refused whole.
	early.Decision = enroll.Rejected
	stale := d2
	w.refused(func() error {
		return w.DecideWaiting(ctx, early, &stale, w.event("enrolment.rejected", "device", "d2"))
	})

	// The facts of a manual type show the request and how many wait.
	manual := kind("meter")
	manual.Approval, manual.Version = device.Manual, 2
	w.ok(w.UpdateType(ctx, manual))
	f, err := w.EnrolFacts(ctx, sqlstore.EnrolQuery{Type: "meter", DeviceID: "d2"})
	w.ok(err)
	early.Decision = enroll.Undecided
	w.same("the request among the facts", *f.Waiting, early)
	w.same("how many wait", f.WaitingCount, 1)

	// Revoking the device closes its request.
	_, err = w.ChangeDevice(ctx, w.moved(d2, device.Registered), principal("d2"), device.Revoke, 0, start)
	w.ok(err)
	got, err = w.WaitingByID(ctx, early.ID)
	w.ok(err)
	w.same("the revoked device's request", got.Decision, enroll.Rejected)
}
