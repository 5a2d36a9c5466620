package storetest

import (
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testFleetCounts(w *world) {
	counts, err := w.FleetCounts(w.Context())
	w.ok(err)
	w.same("counts of nothing", len(counts), 0)
	there := thing("d3")
	there.Zone, there.Type, there.State = "plant", "camera", device.Active
	active := thing("d4")
	active.State = device.Active
	w.add(thing("d1"), thing("d2"), there, active)
	counts, err = w.FleetCounts(w.Context())
	w.ok(err)
	w.same("counts", counts, []sqlstore.FleetCount{{Zone: "lab", Type: "meter", Profile: "device", State: device.Active, Count: 1},
		{Zone: "lab", Type: "meter", Profile: "device", State: device.Registered, Count: 2}, {Zone: "plant", Type: "camera", Profile: "device", State: device.Active, Count: 1}})
}

// certify gives a device one more certificate that ends after a time.
func (w *world) certify(id device.ID, ends time.Duration, credential string) sqlstore.Reservation {
	w.Helper()
	d := w.device(id)
	r := w.reservation(&d)
	r.NotAfter, r.Credential = start.Add(ends), credential
	w.ok(w.Reserve(w.Context(), r))
	d = w.moved(d, device.Enrolled)
	w.ok(w.Commit(w.Context(), r.Serial, []byte("der of "+r.Serial.String()), &d, nil, start))
	return r
}

func testEndings(w *world) {
	ctx := w.Context()
	labelled := thing("d1")
	labelled.Labels = map[string]string{"hall": "b"}
	there := thing("d2")
	there.Zone = "plant"
	w.add(labelled, there, thing("renewed"), thing("retired"), thing("later"), thing("listener"), thing("over"))
	w.certify("renewed", 2*time.Hour, "token:t")
	w.certify("renewed", 48*time.Hour, "token:t")
	one, two := w.certify("d1", 3*time.Hour, "token:t"), w.certify("d2", time.Hour, "token:t")
	w.certify("later", 24*time.Hour, "token:t")
	w.certify("listener", time.Hour, "system:listener")
	w.certify("over", time.Minute, "token:t")
	w.certify("retired", time.Hour, "token:t")
	_, err := w.ChangeDevice(ctx, w.moved(w.device("retired"), device.Retired), principal("retired"), device.Retire, pki.Reason(0), start)
	w.ok(err)

	from, before := start.Add(2*time.Minute), start.Add(24*time.Hour)
	want := []sqlstore.Ending{
		{Serial: two.Serial.String(), Principal: "device/d2", Profile: "device", NotBefore: start, NotAfter: start.Add(time.Hour), Zone: "plant", Type: "meter"},
		{Serial: one.Serial.String(), Principal: "device/d1", Profile: "device", NotBefore: start, NotAfter: start.Add(3 * time.Hour), Zone: "lab", Type: "meter", Labels: labelled.Labels},
	}
	list, err := w.Endings(ctx, from, before, 10)
	w.ok(err)
	w.same("certificates that end", list, want)
	list, err = w.Endings(ctx, from, before, 1)
	w.ok(err)
	w.same("the first that ends", list, want[:1])
	counts, err := w.CountEndings(ctx, from, before)
	w.ok(err)
	sum := map[device.ZoneName]int64{}
	for _, c := range counts {
		sum[c.Zone] += c.Count + 10*c.Due
	}
	w.same("counts of them", sum, map[device.ZoneName]int64{"lab": 1, "plant": 1})

	// After 51 minutes the one that lives an hour is due, the one that lives three is not.
	counts, err = w.CountEndings(ctx, start.Add(51*time.Minute), before)
	w.ok(err)
	for _, c := range counts {
		if want := map[device.ZoneName]int64{"plant": 1}[c.Zone]; c.Due != want {
			w.Errorf("in %s %d are due, want %d", c.Zone, c.Due, want)
		}
	}
}
