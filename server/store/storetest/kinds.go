package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testKinds(t *testing.T, b Backend) {
	t.Run("Zones", func(t *testing.T) { testZones(settled(t, b)) })
	t.Run("Types", func(t *testing.T) { testTypes(settled(t, b)) })
	t.Run("Stages", func(t *testing.T) { testStages(settled(t, b)) })
	t.Run("Anchors", func(t *testing.T) { testAnchors(settled(t, b)) })
	t.Run("ProductionRace", func(t *testing.T) { testProductionRace(settled(t, b)) })
	t.Run("StageRace", func(t *testing.T) { testStageRace(settled(t, b)) })
}

func testZones(w *world) {
	ctx := w.Context()
	_, err := w.Zone(ctx, "nowhere")
	w.is(err, sqlstore.ErrNotFound)
	list, err := w.Zones(ctx)
	w.ok(err)
	w.same("zones by name", list, []device.Zone{zone("lab"), zone("plant")})

	w.refused(func() error { return w.InsertZone(ctx, zone("lab"), w.event("zone.created", "zone", "lab")) })
	z := zone("plant")
	z.Description, z.Production, z.SecurityLevel, z.UpdatedAt, z.Version = "", true, 4, start.Add(time.Minute), 2
	w.ok(w.UpdateZone(ctx, z, w.event("zone.updated", "zone", "plant")))
	got, err := w.Zone(ctx, "plant")
	w.ok(err)
	w.same("the zone after its update", got, z)
	w.refused(func() error { return w.UpdateZone(ctx, z, w.event("zone.updated", "zone", "plant")) })

	// A zone with an untested device does not become production.
	w.add(thing("d1"))
	n, err := w.UntestedDevices(ctx, "lab")
	w.ok(err)
	w.same("untested devices", n, 1)
	lab := zone("lab")
	lab.Production, lab.Version = true, 2
	w.refused(func() error { return w.UpdateZone(ctx, lab, w.event("zone.updated", "zone", "lab")) })
	d := w.moved(w.device("d1"), device.Retired)
	_, err = w.ChangeDevice(ctx, d, principal("d1"), device.Retire, 5, start, w.event("device.retired", "device", "d1"))
	w.ok(err)
	w.ok(w.UpdateZone(ctx, lab, w.event("zone.updated", "zone", "lab")))
}

func testTypes(w *world) {
	ctx := w.Context()
	_, err := w.Type(ctx, "toaster")
	w.is(err, sqlstore.ErrNotFound)
	list, err := w.Types(ctx)
	w.ok(err)
	w.same("types by name", list, []device.Type{kind("camera"), kind("meter")})
	w.refused(func() error { return w.InsertType(ctx, kind("meter"), w.event("type.created", "type", "meter")) })

	dt := kind("meter")
	dt.Description, dt.Profile, dt.KeyAlgorithm, dt.Validity, dt.Grace = "", "gateway", "Ed25519", 10*time.Second, 0
	dt.Approval, dt.Anonymous, dt.ServerKeyGen, dt.UpdatedAt, dt.Version = device.Manual, true, false, start.Add(time.Minute), 2
	w.ok(w.UpdateType(ctx, dt, w.event("type.updated", "type", "meter")))
	got, err := w.Type(ctx, "meter")
	w.ok(err)
	w.same("the type after its update", got, dt)
	w.refused(func() error { return w.UpdateType(ctx, dt, w.event("type.updated", "type", "meter")) })

	errs := all(8, func(int) error {
		next := dt
		next.Version = 3
		return w.UpdateType(ctx, next, w.event("type.updated", "type", "meter"))
	})
	w.same("winners of one version", w.won(errs), 1)
}

func testStages(w *world) {
	ctx := w.Context()
	_, err := w.StageFacts(ctx, "toaster")
	w.is(err, sqlstore.ErrNotFound)
	for i, at := range []time.Duration{2, 1, 2} {
		w.ok(w.InsertSignOff(ctx, device.SignOff{ID: fmt.Sprint("s", i), Type: "meter", Stage: device.Deploy, By: "client:ann", At: start.Add(at * time.Hour),
			Statement: "reviewed, accepted", Evidence: "report 7"}, w.event("type.signed_off", "type", "meter")))
	}
	facts, err := w.StageFacts(ctx, "meter")
	w.ok(err)
	var order []string
	for _, s := range facts.SignOffs {
		order = append(order, s.ID)
	}
	w.same("sign-offs, oldest first", order, []string{"s1", "s0", "s2"})
	w.same("the first sign-off's time", facts.SignOffs[0].At, start.Add(time.Hour))

	dt := kind("meter")
	dt.Stage, dt.Version = device.Deploy, 2
	w.ok(w.MoveType(ctx, dt, false, w.event("type.stage_changed", "type", "meter")))
	w.refused(func() error {
		return w.MoveType(ctx, dt, false, w.event("type.stage_changed", "type", "meter"))
	})

	// With a device in production the type cannot go back before deploy.
	plant := zone("plant")
	plant.Production, plant.Version = true, 2
	w.ok(w.UpdateZone(ctx, plant, w.event("zone.updated", "zone", "plant")))
	d := thing("d1")
	d.Zone = "plant"
	w.add(d)
	facts, err = w.StageFacts(ctx, "meter")
	w.ok(err)
	w.same("devices in production", facts.InProduction, 1)
	w.same("last step back", facts.LastStepBackward, time.Time{})
	dt.Stage, dt.Version, dt.UpdatedAt = device.Develop, 3, start.Add(time.Hour)
	w.refused(func() error { return w.MoveType(ctx, dt, true, w.event("type.stage_changed", "type", "meter")) })
	d = w.moved(d, d.State)
	d.Zone = "lab"
	w.ok(w.UpdateDevice(ctx, d, placedAt(2, 1), w.event("device.updated", "device", "d1")))
	w.ok(w.MoveType(ctx, dt, true, w.event("type.stage_changed", "type", "meter")))
	facts, err = w.StageFacts(ctx, "meter")
	w.ok(err)
	w.same("last step back", facts.LastStepBackward, start.Add(time.Hour))
	w.same("devices in production", facts.InProduction, 0)
}

// placedAt are the versions of the type meter and the zone lab.
func placedAt(meter, lab int64) sqlstore.Placed {
	return sqlstore.Placed{Types: map[device.TypeName]int64{"meter": meter}, Zones: map[device.ZoneName]int64{"lab": lab}}
}

func testAnchors(w *world) {
	ctx := w.Context()
	one := sqlstore.Anchor{Type: "meter", ID: "aa", DER: []byte{0, 1, 255}, AddedAt: start}
	two := sqlstore.Anchor{Type: "camera", ID: "aa", DER: []byte{2}, AddedAt: start}
	w.ok(w.InsertAnchors(ctx, []sqlstore.Anchor{one, two}, w.event("type.anchor_added", "type", "meter")))
	again := one
	again.DER = []byte("other")
	w.ok(w.InsertAnchors(ctx, []sqlstore.Anchor{again}))
	list, err := w.Anchors(ctx, "meter")
	w.ok(err)
	w.same("anchors of a type", list, []sqlstore.Anchor{one})
	list, err = w.Anchors(ctx, "")
	w.ok(err)
	w.same("anchors of all types", list, []sqlstore.Anchor{two, one})
	w.ok(w.DeleteAnchor(ctx, "meter", "aa", w.event("type.anchor_removed", "type", "meter")))
	w.refused(func() error {
		return w.DeleteAnchor(ctx, "meter", "aa", w.event("type.anchor_removed", "type", "meter"))
	})
}

// testProductionRace lets a zone become production while devices of an untested
// type are put into it in each of the ways there are: never both.
func testProductionRace(w *world) {
	ctx := w.Context()
	both := 0
	enter := []func(d device.Device, versions sqlstore.Placed) error{
		func(d device.Device, versions sqlstore.Placed) error {
			_, err := w.InsertDevices(ctx, []device.Device{d}, versions, nil)
			return err
		},
		func(d device.Device, versions sqlstore.Placed) error {
			r := w.reservation(&d)
			r.Create = true
			return w.Reserve(ctx, r)
		},
		func(d device.Device, versions sqlstore.Placed) error {
			return w.Wait(ctx, request(w, d.ID), &d, true, "")
		},
	}
	for round := range 24 {
		name := device.ZoneName(fmt.Sprint("z", round))
		w.ok(w.InsertZone(ctx, zone(name)))
		errs := all(4, func(i int) error {
			if i == 0 {
				z := zone(name)
				z.Production, z.Version = true, 2
				return w.UpdateZone(ctx, z)
			}
			d := thing(device.ID(fmt.Sprintf("r%d-%d", round, i)))
			d.Zone = name
			return enter[i-1](d, sqlstore.Placed{Zones: map[device.ZoneName]int64{name: 1}})
		})
		for _, err := range errs {
			if err != nil && !errors.Is(err, sqlstore.ErrChanged) {
				w.Fatal(err)
			}
		}
		n, err := w.UntestedDevices(ctx, name)
		w.ok(err)
		z, err := w.Zone(ctx, name)
		w.ok(err)
		if z.Production && n > 0 {
			both++
		}
	}
	w.same("production zones that took in a device of an untested type", both, 0)
}

// testStageRace lets a zone become production while the type of the device in it
// goes back before deploy: one of the two.
func testStageRace(w *world) {
	ctx := w.Context()
	for round := range 40 {
		dt, z := kind(device.TypeName(fmt.Sprint("t", round))), zone(device.ZoneName(fmt.Sprint("z", round)))
		dt.Stage = device.Deploy
		w.ok(w.InsertType(ctx, dt))
		w.ok(w.InsertZone(ctx, z))
		d := thing(device.ID(fmt.Sprint("d", round)))
		d.Type, d.Zone = dt.Name, z.Name
		w.add(d)
		dt.Stage, dt.Version, z.Production, z.Version = device.Develop, 2, true, 2
		errs := all(2, func(i int) error {
			if i == 0 {
				return w.MoveType(ctx, dt, true)
			}
			return w.UpdateZone(ctx, z)
		})
		w.same("winners of step back and production", w.won(errs), 1)
	}
}
