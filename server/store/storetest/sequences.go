package storetest

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// testSequences runs random operations, some of them refused, some failing
// before and some after their commit, and balances the books after each run:
// as many rows as events that tell of them.
func testSequences(t *testing.T, b Backend) {
	var bad trouble
	w := enter(t, b, b.place(t, false), bad.faults())
	w.settle()
	w.ok(w.InsertToken(t.Context(), token("t1", 1_000_000)))
	w.hold("n1")
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		s := &script{world: w, prefix: fmt.Sprint("s", run, "-")}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			fault := rapid.IntRange(0, 9).Draw(rt, "fault")
			bad.notWritten.Store(fault == 8)
			bad.unreported.Store(fault == 9)
			op := rapid.SampledFrom(operations).Draw(rt, "operation")
			err := op.run(s, rapid.IntRange(0, 5).Draw(rt, "device"))
			bad.notWritten.Store(false)
			bad.unreported.Store(false)
			if err != nil && !errors.Is(err, sqlstore.ErrChanged) && !errors.Is(err, sqlstore.ErrNotFound) && !errors.Is(err, errInjected) {
				rt.Fatalf("%s: %v", op.name, err)
			}
		}
		if err := w.balance(); err != nil {
			rt.Fatal(err)
		}
	})
}

// script is the state of one random run.
type script struct {
	*world
	prefix string
	open   []sqlstore.Reservation
}

func (s *script) id(n int) device.ID { return device.ID(fmt.Sprint(s.prefix, n)) }

func (s *script) about(action string, id device.ID) audit.Event {
	return s.event(action, "device", string(id))
}

// move changes a device's state, legal or not, at the version that it has.
func (s *script) move(n int, m device.Move, to device.State) error {
	d, err := s.Device(s.Context(), s.id(n))
	if err == nil {
		_, err = s.ChangeDevice(s.Context(), s.moved(d, to), principal(d.ID), m, pki.Unspecified, start, s.about("device.changed", d.ID))
	}
	return err
}

var operations = []struct {
	name string
	run  func(s *script, n int) error
}{
	{"create", func(s *script, n int) error {
		d := thing(s.id(n))
		clashes, err := s.InsertDevices(s.Context(), []device.Device{d, thing(d.ID + "-twin")}, placed(), nil,
			s.about("device.created", d.ID), s.about("device.created", d.ID+"-twin"), s.event("devices.announced", "", ""))
		if len(clashes) > 0 {
			return sqlstore.ErrChanged
		}
		return err
	}},
	{"reserve", func(s *script, n int) error {
		d, err := s.Device(s.Context(), s.id(n))
		create := errors.Is(err, sqlstore.ErrNotFound)
		events := []audit.Event{s.event("certificate.reserved", "certificate", "new")}
		if create {
			d = thing(s.id(n))
			events = append(events, s.about("device.created", d.ID))
		} else if err != nil {
			return err
		}
		r := s.reservation(&d)
		r.TokenID, r.Create = "t1", create
		if err = s.Reserve(s.Context(), r, events...); err == nil {
			s.open = append(s.open, r)
		}
		return err
	}},
	{"commit", func(s *script, n int) error {
		if len(s.open) == 0 {
			return nil
		}
		r := s.open[n%len(s.open)]
		d, err := s.Device(s.Context(), r.Device.ID)
		if err != nil {
			return err
		}
		d = s.moved(d, device.Enrolled)
		return s.Commit(s.Context(), r.Serial, []byte("der"), &d, nil, start, s.event("certificate.issued", "certificate", r.Serial.String()))
	}},
	{"abandon", func(s *script, n int) error {
		if len(s.open) == 0 {
			return nil
		}
		r := s.open[n%len(s.open)]
		return s.Abandon(s.Context(), sqlstore.Reserved{Serial: r.Serial.String(), Principal: r.Principal, TokenID: r.TokenID},
			s.event("certificate.abandoned", "certificate", r.Serial.String()))
	}},
	{"wait", func(s *script, n int) error {
		d, err := s.Device(s.Context(), s.id(n))
		create := errors.Is(err, sqlstore.ErrNotFound)
		events := []audit.Event{s.about("enrolment.waiting", s.id(n))}
		if create {
			d = thing(s.id(n))
			events = append(events, s.about("device.created", d.ID))
		} else if err != nil {
			return err
		} else {
			d = s.moved(d, device.Pending)
		}
		return s.Wait(s.Context(), request(s.world, d.ID), &d, create, "t1", events...)
	}},
	{"decide", func(s *script, n int) error {
		list, err := s.Store.Waiting(s.Context())
		if err != nil || len(list) == 0 {
			return err
		}
		v := list[n%len(list)]
		v.Decision, v.DecidedBy = enroll.Rejected, "client:a"
		d, err := s.Device(s.Context(), v.DeviceID)
		if err != nil {
			return err
		}
		d = s.moved(d, device.Registered)
		return s.DecideWaiting(s.Context(), v, &d, s.about("enrolment.decided", d.ID))
	}},
	{"quarantine", func(s *script, n int) error { return s.move(n, device.Quarantine, device.Quarantined) }},
	{"release", func(s *script, n int) error { return s.move(n, device.Release, device.Registered) }},
	{"retire", func(s *script, n int) error { return s.move(n, device.Retire, device.Retired) }},
	{"maintenance", func(s *script, n int) error {
		d, err := s.Device(s.Context(), s.id(n))
		if err == nil {
			d = s.moved(d, d.State)
			d.Maintenance = !d.Maintenance
			err = s.SetMaintenance(s.Context(), d, s.about("device.maintenance", d.ID))
		}
		return err
	}},
	{"stale", func(s *script, n int) error {
		d, err := s.Device(s.Context(), s.id(n))
		if err == nil {
			d.Version += 2
			err = s.UpdateDevice(s.Context(), d, placed(), s.about("device.updated", d.ID))
			if err == nil {
				return fmt.Errorf("an update at the wrong version was written")
			}
		}
		return err
	}},
	{"sequence", func(s *script, n int) error {
		b := s.batch("n1", n+1)
		if len(b.Rows) == 0 {
			return nil
		}
		return s.Sequence(s.Context(), b)
	}},
}

// balance compares rows with the events that tell of them, in outbox and log.
func (w *world) balance() error {
	told := map[string]int{}
	rows, err := w.raw.QueryContext(w.Context(), `SELECT leaf FROM audit_outbox UNION ALL SELECT leaf FROM audit_entry`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var leaf []byte
		if err := rows.Scan(&leaf); err != nil {
			return err
		}
		e, err := audit.Decode(leaf)
		if err != nil {
			return err
		}
		told[e.Action]++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, c := range []struct {
		query string
		want  int
	}{
		{`SELECT COUNT(*) FROM device`, told["device.created"]},
		{`SELECT COUNT(*) FROM change`, told["device.changed"] + told["devices.announced"] + told["device.maintenance"]},
		{`SELECT COUNT(*) FROM change WHERE kind = 'devices'`, told["devices.announced"]},
		{`SELECT COUNT(*) FROM certificate`, told["certificate.reserved"]},
		{`SELECT COUNT(*) FROM certificate WHERE der IS NOT NULL`, told["certificate.issued"]},
		{`SELECT COUNT(*) FROM certificate WHERE status = 'abandoned'`, told["certificate.abandoned"]},
		{`SELECT COUNT(*) FROM waiting`, told["enrolment.waiting"]},
		{`SELECT COUNT(*) FROM waiting WHERE decided_by = 'client:a'`, told["enrolment.decided"]},
		{`SELECT used FROM token WHERE id = 't1'`, told["certificate.reserved"] - told["certificate.abandoned"] + told["enrolment.waiting"]},
		{`SELECT CAST(value AS BIGINT) FROM meta WHERE name = 'change_version'`, told["device.changed"] + told["devices.announced"] + told["device.maintenance"]},
	} {
		var n int
		if err := w.raw.QueryRowContext(w.Context(), c.query).Scan(&n); err != nil {
			return err
		}
		if n != c.want {
			return fmt.Errorf("%s: %d, and the events tell of %d", c.query, n, c.want)
		}
	}
	return nil
}
