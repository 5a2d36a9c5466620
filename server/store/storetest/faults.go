package storetest

import (
	"bytes"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// errInjected is the fault.
var errInjected = errors.New("injected fault")

// trouble fails writes of a store when it is told to.
type trouble struct{ notWritten, unreported atomic.Bool }

func (f *trouble) faults() sqlstore.Faults {
	fail := func(on *atomic.Bool) func(string) error {
		return func(string) error {
			if on.Load() {
				return errInjected
			}
			return nil
		}
	}
	return sqlstore.Faults{NotWritten: fail(&f.notWritten), Unreported: fail(&f.unreported)}
}

// write is one exported method that changes the database: prepare brings the
// world to where do will succeed, and do calls the method once.
type write struct {
	method  string
	silent  bool // takes no audit events
	prepare func(w *world) (do func(events ...audit.Event) error)
}

// Writes names the methods of the store that the fault tests cover.
func Writes() (names []string) {
	for _, c := range writes {
		names = append(names, c.method)
	}
	slices.Sort(names)
	return names
}

var writes = slices.Concat(kindWrites, deviceWrites, policyWrites, enrolmentWrites, revocationWrites, roleWrites, clientWrites, approvalWrites, peopleWrites, scimWrites, oauthWrites, logWrites)

var kindWrites = []write{
	{method: "InsertZone", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.InsertZone(w.Context(), zone("f-zone"), ev...) }
	}},
	{method: "UpdateZone", prepare: func(w *world) func(...audit.Event) error {
		z := zone("f-zone")
		z.Production, z.Version = true, 2
		return func(ev ...audit.Event) error { return w.UpdateZone(w.Context(), z, ev...) }
	}},
	{method: "InsertType", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.InsertType(w.Context(), kind("f-type"), ev...) }
	}},
	{method: "UpdateType", prepare: func(w *world) func(...audit.Event) error {
		dt := kind("f-type")
		dt.Description, dt.Version = "changed", 2
		return func(ev ...audit.Event) error { return w.UpdateType(w.Context(), dt, ev...) }
	}},
	{method: "MoveType", prepare: func(w *world) func(...audit.Event) error {
		dt := kind("f-type")
		dt.Stage, dt.Version = device.Prototype, 3
		return func(ev ...audit.Event) error { return w.MoveType(w.Context(), dt, true, ev...) }
	}},
	{method: "InsertSignOff", prepare: func(w *world) func(...audit.Event) error {
		so := device.SignOff{ID: "f-s", Type: "f-type", Stage: device.Deploy, By: "client:a", At: start, Statement: "it was reviewed"}
		return func(ev ...audit.Event) error { return w.InsertSignOff(w.Context(), so, ev...) }
	}},
	{method: "InsertAnchors", prepare: func(w *world) func(...audit.Event) error {
		list := []sqlstore.Anchor{{Type: "f-type", ID: "aa", DER: []byte{1}, AddedAt: start}, {Type: "f-type", ID: "bb", DER: []byte{2}, AddedAt: start}}
		return func(ev ...audit.Event) error { return w.InsertAnchors(w.Context(), list, ev...) }
	}},
	{method: "DeleteAnchor", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.DeleteAnchor(w.Context(), "f-type", "aa", ev...) }
	}},
}

var deviceWrites = []write{
	{method: "InsertDevices", prepare: func(w *world) func(...audit.Event) error {
		one, two := thing("f-1"), thing("f-2")
		one.Labels = map[string]string{"a": "1", "b": "2"}
		return func(ev ...audit.Event) error {
			_, err := w.InsertDevices(w.Context(), []device.Device{one, two}, placed(), nil, ev...)
			return err
		}
	}},
	{method: "UpdateDevice", prepare: func(w *world) func(...audit.Event) error {
		d := w.moved(w.device("f-1"), device.Registered)
		d.Owner, d.Labels = "ann", map[string]string{"b": "3"}
		return func(ev ...audit.Event) error { return w.UpdateDevice(w.Context(), d, placed(), ev...) }
	}},
	{method: "SetMaintenance", prepare: func(w *world) func(...audit.Event) error {
		d := w.moved(w.device("f-1"), device.Registered)
		d.Maintenance = true
		return func(ev ...audit.Event) error { return w.SetMaintenance(w.Context(), d, ev...) }
	}},
	{method: "ActivateDevice", prepare: func(w *world) func(...audit.Event) error {
		d := w.moved(w.device("f-1"), device.Active)
		d.SeenAt = start
		return func(ev ...audit.Event) error { return w.ActivateDevice(w.Context(), d, ev...) }
	}},
}

var policyWrites = []write{
	{method: "ApplyPolicy", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.ApplyPolicy(w.Context(), policyVersion(1), ev...) }
	}},
	{method: "InsertAppToken", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.InsertAppToken(w.Context(), appToken("f-app", "scada"), ev...) }
	}},
	{method: "UsedAppToken", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error { return w.UsedAppToken(w.Context(), "f-app", 20_000) }
	}},
	{method: "RevokeAppToken", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error {
			return w.RevokeAppToken(w.Context(), "scada", "f-app", start.Add(time.Minute), ev...)
		}
	}},
}

var enrolmentWrites = []write{
	{method: "InsertToken", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.InsertToken(w.Context(), token("f-t", 9), ev...) }
	}},
	{method: "Wait", prepare: func(w *world) func(...audit.Event) error {
		d, r := thing("f-new"), request(w, "f-new")
		d.State, r.ID = device.Pending, "f-w"
		return func(ev ...audit.Event) error { return w.Wait(w.Context(), r, &d, true, "f-t", ev...) }
	}},
	{method: "DecideWaiting", prepare: func(w *world) func(...audit.Event) error {
		r, err := w.WaitingByID(w.Context(), "f-w")
		w.ok(err)
		r.Decision, r.DecidedBy = enroll.Approved, "client:a"
		d := w.moved(w.device("f-new"), device.Pending)
		return func(ev ...audit.Event) error { return w.DecideWaiting(w.Context(), r, &d, ev...) }
	}},
	{method: "Reserve", prepare: func(w *world) func(...audit.Event) error {
		d := thing("f-fresh")
		d.Labels = map[string]string{"a": "1"}
		r := w.reservation(&d)
		r.TokenID, r.WaitingID, r.Create = "f-t", "f-w", true
		return func(ev ...audit.Event) error { return w.Reserve(w.Context(), r, ev...) }
	}},
	{method: "Abandon", prepare: func(w *world) func(...audit.Event) error {
		stale, err := w.StaleReserved(w.Context(), start.Add(time.Hour))
		w.ok(err)
		return func(ev ...audit.Event) error { return w.Abandon(w.Context(), stale[0], ev...) }
	}},
	{method: "Commit", prepare: func(w *world) func(...audit.Event) error {
		_, old := w.issue("f-2")
		d := w.device("f-2")
		r := w.reservation(&d)
		w.ok(w.Reserve(w.Context(), r))
		d = w.moved(d, device.Enrolled)
		return func(ev ...audit.Event) error {
			return w.Commit(w.Context(), r.Serial, []byte("der"), &d, []pki.Serial{old.Serial}, start, ev...)
		}
	}},
	{method: "RevokeToken", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.RevokeToken(w.Context(), "f-t", start, ev...) }
	}},
}

var revocationWrites = []write{
	{method: "ChangeDevice", prepare: func(w *world) func(...audit.Event) error {
		d := w.moved(w.device("f-2"), device.Quarantined)
		return func(ev ...audit.Event) error {
			_, err := w.ChangeDevice(w.Context(), d, principal("f-2"), device.Quarantine, 0, start, ev...)
			return err
		}
	}},
	{method: "RevokeCertificate", prepare: func(w *world) func(...audit.Event) error {
		w.add(thing("f-3"))
		_, r := w.issue("f-3")
		return func(ev ...audit.Event) error {
			_, err := w.Store.RevokeCertificate(w.Context(), r.Serial.String(), pki.KeyCompromise, start, ev...)
			return err
		}
	}},
	{method: "InsertCAs", prepare: func(w *world) func(...audit.Event) error {
		ca := sqlstore.CA{ID: "f-ca", Role: "issuing", DER: []byte{1}, Status: "active", CreatedAt: start, NotAfter: start}
		return func(ev ...audit.Event) error {
			_, err := w.InsertCAs(w.Context(), []sqlstore.CA{ca}, start, ev...)
			return err
		}
	}},
	{method: "StoreCRL", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error { return w.StoreCRL(w.Context(), "f-ca", 1, []byte("crl"), start, 1) }
	}},
}

var logWrites = []write{
	{method: "AppendOutbox", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.AppendOutbox(w.Context(), ev...) }
	}},
	{method: "AcquireLease", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error {
			_, err := w.AcquireLease(w.Context(), "f-lease", "n1", start, start.Add(time.Hour))
			return err
		}
	}},
	{method: "ReleaseLease", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error { return w.ReleaseLease(w.Context(), "f-lease", "n1") }
	}},
	{method: "Sequence", silent: true, prepare: func(w *world) func(...audit.Event) error {
		w.hold("n1")
		w.ok(w.Sequence(w.Context(), w.batch("n1", 3)))
		b := w.batch("n1", 20)
		b.Forget = 3
		return func(...audit.Event) error { return w.Sequence(w.Context(), b) }
	}},
	{method: "Cosigned", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error { return w.Cosigned(w.Context(), 23, []byte("cosigned")) }
	}},
	{method: "SetMeta", prepare: func(w *world) func(...audit.Event) error {
		return func(ev ...audit.Event) error { return w.SetMeta(w.Context(), "f-meta", "1", ev...) }
	}},
	{method: "SetMetaOnce", silent: true, prepare: func(w *world) func(...audit.Event) error {
		return func(...audit.Event) error { _, err := w.SetMetaOnce(w.Context(), "f-once", "1"); return err }
	}},
	{method: "ReplaceAPITokens", prepare: func(w *world) func(...audit.Event) error {
		tok := sqlstore.APIToken{ID: "f-api", Hash: []byte{1}, Name: "n", CreatedAt: start}
		return func(ev ...audit.Event) error { return w.ReplaceAPITokens(w.Context(), tok, ev...) }
	}},
}

// testFaults makes every write three times on one database and once on a second
// that has no faults. Not written, or with an event that cannot be written:
// nothing changed. Written and reported failed: both databases hold the same.
func testFaults(t *testing.T, b Backend) {
	var bad trouble
	faulty, plain := enter(t, b, b.place(t, false), bad.faults()), begin(t, b)
	faulty.settle()
	plain.settle()
	for _, c := range writes {
		do, doPlain := c.prepare(faulty), c.prepare(plain)
		var events []audit.Event
		if !c.silent {
			events = []audit.Event{faulty.event("test.write", "method", c.method)}
			plain.event("", "", "") // both count alike
			taken := events[0]
			taken.ID = "taken-" + c.method
			faulty.ok(faulty.AppendOutbox(t.Context(), taken))
			plain.ok(plain.AppendOutbox(t.Context(), taken))
			faulty.unchanged(func() {
				if do(events[0], taken) == nil {
					t.Fatalf("%s: an event that is there already was written again", c.method)
				}
			})
		}
		bad.notWritten.Store(true)
		faulty.unchanged(func() { faulty.is(do(events...), errInjected) })
		bad.notWritten.Store(false)
		before := faulty.dump()
		bad.unreported.Store(true)
		faulty.is(do(events...), errInjected)
		bad.unreported.Store(false)
		after := faulty.dump()
		plain.ok(doPlain(events...))
		want := plain.dump()
		if bytes.Equal(before, after) {
			t.Fatalf("%s: reported failed and not written", c.method)
		}
		if !bytes.Equal(after, want) {
			t.Fatalf("%s: with a fault and without differ:\n%s", c.method, difference(want, after))
		}
	}
}
