// Package storetest is the contract of the store: what every database behind
// sqlstore.Store has to do, with contention, lost races, faults and kill -9.
//
// It promises that a database that passes Run keeps what sqlstore's comments
// say. It trusts the Backend to give each test an empty database and to open the
// same one again when asked twice. Whoever weakens a test here lowers what all
// databases are held to.
package storetest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// Backend is a kind of database.
type Backend struct {
	// New makes an empty database and returns where it is; it lasts until t ends.
	New func(t *testing.T) string
	// Open opens and migrates the database at a place, any number of times, in
	// any number of processes.
	Open func(ctx context.Context, where string, faults sqlstore.Faults) (*sqlstore.Store, error)
	// Raw opens it beside the store, for looking at rows and deleting them.
	Raw func(where string) (*sql.DB, error)
	// Shared tells that several servers may use, and start on, one database.
	Shared bool

	places *places
}

// places are the databases of one Run. Making one takes longer than most tests,
// so those that a test left at rest are emptied and used again.
type places struct {
	run  *testing.T
	free []string
}

// place gives a test an empty database; Open may still have to migrate it.
// It goes back to the others when the test ends, unless keep says otherwise.
func (b Backend) place(t *testing.T, keep bool) string {
	t.Helper()
	p := b.places
	if keep || len(p.free) == 0 {
		where := b.New(p.run)
		if !keep {
			t.Cleanup(func() { p.free = append(p.free, where) })
		}
		return where
	}
	where := p.free[len(p.free)-1]
	p.free = p.free[:len(p.free)-1]
	t.Cleanup(func() { p.free = append(p.free, where) })
	if err := b.empty(where); err != nil {
		t.Fatalf("emptying a database: %v", err)
	}
	return where
}

// empty brings a database back to where the migrations left it.
func (b Backend) empty(where string) error {
	db, err := b.Raw(where)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, table := range slices.Backward(tables()) { // references come after what they refer to
		statement := "DELETE FROM " + table
		if table == "meta" {
			statement = "DELETE FROM meta WHERE name <> 'change_version'"
		}
		if _, err := db.Exec(statement); err != nil {
			return err
		}
	}
	_, err = db.Exec("UPDATE meta SET value = '0'")
	return err
}

// Run runs the contract on a kind of database.
func Run(t *testing.T, b Backend) {
	if crashWriter(t, b) {
		return
	}
	b.places = &places{run: t}
	for _, part := range []struct {
		name string
		run  func(*testing.T, Backend)
	}{
		{"Kinds", testKinds}, {"Devices", testDevices}, {"Tokens", testTokens}, {"Policies", testPolicies}, {"Waiting", testWaiting},
		{"Enrolment", testEnrolment}, {"Revocation", testRevocation}, {"Authorities", testAuthorities},
		{"Leases", testLeases}, {"Audit", testAudit}, {"Meta", testMeta}, {"Roles", testRoles}, {"APIClients", testClients}, {"Approvals", testApprovals}, {"People", testPeople}, {"SCIM", testSCIM}, {"OAuth", testOAuth},
		{"Faults", testFaults}, {"Life", testLife}, {"Crash", testCrash}, {"Sequences", testSequences},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, b) })
	}
}

// world is a database of one test, its store and a source of names.
type world struct {
	*testing.T
	b     Backend
	where string
	*sqlstore.Store
	raw   *sql.DB
	mu    sync.Mutex
	count int // names and keys given out; guarded by mu
}

// start is the time at which the tests' worlds begin, to the microsecond that
// the store keeps.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// begin makes an empty database and opens it.
func begin(t *testing.T, b Backend) *world {
	t.Helper()
	return enter(t, b, b.place(t, false), sqlstore.Faults{})
}

// rough is settled on a database that no other test uses: transactions may be
// under way in it when the test ends.
func rough(t *testing.T, b Backend) *world {
	t.Helper()
	w := enter(t, b, b.place(t, true), sqlstore.Faults{})
	w.settle()
	return w
}

// enter opens an existing database; it is closed when the test ends.
func enter(t *testing.T, b Backend, where string, faults sqlstore.Faults) *world {
	t.Helper()
	s, err := b.Open(t.Context(), where, faults)
	if err != nil {
		t.Fatalf("opening the database: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	raw, err := b.Raw(where)
	if err != nil {
		t.Fatalf("opening the database: %v", err)
	}
	t.Cleanup(func() { raw.Close() })
	return &world{T: t, b: b, where: where, Store: s, raw: raw}
}

// settled is begin with the zones "lab" and "plant" and the types "meter" and
// "camera", both at stage develop.
func settled(t *testing.T, b Backend) *world {
	t.Helper()
	w := begin(t, b)
	w.settle()
	return w
}

func (w *world) settle() {
	w.Helper()
	for _, name := range []device.ZoneName{"lab", "plant"} {
		w.ok(w.InsertZone(w.Context(), zone(name), w.event("zone.created", "zone", string(name))))
	}
	for _, name := range []device.TypeName{"meter", "camera"} {
		w.ok(w.InsertType(w.Context(), kind(name), w.event("type.created", "type", string(name))))
	}
}

func zone(name device.ZoneName) device.Zone {
	return device.Zone{Name: name, Description: "the " + string(name), SecurityLevel: 2, CreatedAt: start, UpdatedAt: start, Version: 1}
}

func kind(name device.TypeName) device.Type {
	t := device.Type{Name: name, Description: "a " + string(name), Stage: device.Develop, Grace: 36 * time.Hour, ServerKeyGen: true,
		CreatedAt: start, UpdatedAt: start, Version: 1}
	return t.WithDefaults()
}

// thing is a registered meter in the lab.
func thing(id device.ID) device.Device {
	return device.Device{ID: id, Type: "meter", Zone: "lab", State: device.Registered, CreatedAt: start, UpdatedAt: start, Version: 1}
}

// placed are the versions of the types and zones of settled.
func placed() sqlstore.Placed {
	return sqlstore.Placed{Types: map[device.TypeName]int64{"meter": 1}, Zones: map[device.ZoneName]int64{"lab": 1}}
}

// next numbers names, keys and events.
func (w *world) next() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	return w.count
}

func (w *world) event(action, kind, id string, details ...string) audit.Event {
	e := audit.Event{ID: fmt.Sprintf("e%08d", w.next()), Time: start, Node: "n1", Actor: audit.Actor{Kind: "system", ID: "test"},
		Action: action, Subject: audit.Subject{Kind: kind, ID: id}, Outcome: audit.Success}
	for i := 0; i+1 < len(details); i += 2 {
		if e.Details == nil {
			e.Details = map[string]string{}
		}
		e.Details[details[i]] = details[i+1]
	}
	return e
}

// serialOf and keyOf make distinct serials and keys from numbers.
func serialOf(n int) (s pki.Serial) {
	copy(s[:], fmt.Sprintf("%016d", n))
	return s
}

func keyOf(n int) (k pki.KeyID) {
	copy(k[:], fmt.Sprintf("%032d", n))
	return k
}

// add registers devices with an event for each.
func (w *world) add(list ...device.Device) {
	w.Helper()
	var events []audit.Event
	for _, d := range list {
		events = append(events, w.event("device.created", "device", string(d.ID)))
	}
	clashes, err := w.InsertDevices(w.Context(), list, sqlstore.Placed{}, nil, events...)
	w.ok(err)
	if len(clashes) > 0 {
		w.Fatalf("adding devices: %v", clashes)
	}
}

// reservation is one for a device, with a new serial and key.
func (w *world) reservation(d *device.Device) sqlstore.Reservation {
	n := w.next()
	return sqlstore.Reservation{Serial: serialOf(n), Principal: principal(d.ID), Profile: "device", KeyID: keyOf(n), CA: "ca1",
		NotBefore: start, NotAfter: start.Add(time.Hour), At: start, Credential: "token:t", Device: d}
}

func principal(id device.ID) string { return enroll.Principal("device", string(id)) }

// issue gives a registered device a certificate and returns it as it is then.
func (w *world) issue(id device.ID) (device.Device, sqlstore.Reservation) {
	w.Helper()
	d := w.device(id)
	r := w.reservation(&d)
	w.ok(w.Reserve(w.Context(), r, w.event("certificate.reserved", "certificate", r.Serial.String())))
	d = w.moved(d, device.Enrolled)
	w.ok(w.Commit(w.Context(), r.Serial, []byte("der of "+r.Serial.String()), &d, nil, start, w.event("certificate.issued", "certificate", r.Serial.String())))
	return d, r
}

// moved is a device one version on, in another state.
func (w *world) moved(d device.Device, to device.State) device.Device {
	d.State, d.Version, d.UpdatedAt = to, d.Version+1, d.UpdatedAt.Add(time.Second)
	return d
}

func (w *world) device(id device.ID) device.Device {
	w.Helper()
	d, err := w.Device(w.Context(), id)
	w.ok(err)
	return d
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// is fails the test unless err is want.
func (w *world) is(err, want error) {
	w.Helper()
	if !errors.Is(err, want) {
		w.Fatalf("the error is %v, want %v", err, want)
	}
}

// same fails the test unless got equals want.
func (w *world) same(what string, got, want any) {
	w.Helper()
	if !reflect.DeepEqual(got, want) {
		w.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// all runs fn n times at once and returns the errors.
func all(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = fn(i) })
	}
	wg.Wait()
	return errs
}

// won counts the nils among errors; every other has to be ErrChanged.
func (w *world) won(errs []error) (n int) {
	w.Helper()
	for _, err := range errs {
		if err == nil {
			n++
		} else {
			w.is(err, sqlstore.ErrChanged)
		}
	}
	return n
}

// refused checks that a write comes back with ErrChanged and leaves every table
// as it was, its event not written.
func (w *world) refused(write func() error) {
	w.Helper()
	w.unchanged(func() { w.Helper(); w.is(write(), sqlstore.ErrChanged) })
}

func (w *world) unchanged(do func()) {
	w.Helper()
	before := w.dump()
	do()
	if after := w.dump(); !bytes.Equal(before, after) {
		w.Fatalf("something was written:\n%s", difference(before, after))
	}
}

// ids are the ids of devices.
func ids(list []device.Device) (out []device.ID) {
	for _, d := range list {
		out = append(out, d.ID)
	}
	return out
}

func sorted[T ~string](list []T) []T {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}
