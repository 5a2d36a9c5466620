package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

func testDevices(t *testing.T, b Backend) {
	t.Run("Fields", func(t *testing.T) { testDeviceFields(settled(t, b)) })
	t.Run("Clashes", func(t *testing.T) { testClashes(settled(t, b)) })
	t.Run("Window", func(t *testing.T) { testWindow(settled(t, b)) })
	t.Run("Import", func(t *testing.T) { testImport(settled(t, b)) })
	t.Run("Filters", func(t *testing.T) { testFilters(settled(t, b)) })
	t.Run("Paging", func(t *testing.T) { testPaging(settled(t, b)) })
	t.Run("Update", func(t *testing.T) { testUpdateDevice(settled(t, b)) })
	t.Run("Counts", func(t *testing.T) { testFleetCounts(settled(t, b)) })
	t.Run("Endings", func(t *testing.T) { testEndings(settled(t, b)) })
}

func testDeviceFields(w *world) {
	ctx := w.Context()
	d := device.Device{ID: "d.1_A-b", Type: "meter", Zone: "lab", Owner: "Zoë", Serial: "SN 1", Manufacturer: "Müller & Söhne", Notes: "line one\n\"two\" 'three' \\ €\t",
		Labels: map[string]string{"a": "", "b.c": "d\"é"}, State: device.Active, CreatedAt: start, UpdatedAt: start.Add(time.Microsecond),
		EnrolledAt: start.Add(time.Hour), SeenAt: start.Add(2 * time.Hour), Version: 7}
	w.add(d, thing("plain"))
	w.same("a device with every field", w.device("d.1_A-b"), d)
	w.same("a device with few", w.device("plain"), thing("plain"))
	_, err := w.Device(ctx, "D.1_A-B")
	w.is(err, sqlstore.ErrNotFound)
	found, err := w.DeviceBySerial(ctx, "meter", "SN 1")
	w.ok(err)
	w.same("the device by its serial", found, d)
	for _, q := range [][2]string{{"camera", "SN 1"}, {"meter", "sn 1"}, {"meter", ""}} {
		_, err = w.DeviceBySerial(ctx, device.TypeName(q[0]), q[1])
		w.is(err, sqlstore.ErrNotFound)
	}
	counts, err := w.CountByState(ctx)
	w.ok(err)
	w.same("devices by state", counts, map[string]int64{"active": 1, "registered": 1})
	next := w.moved(d, device.Enrolled)
	w.ok(w.ActivateDevice(ctx, next, w.event("device.activated", "device", string(d.ID))))
	w.same("the device after its move", w.device(d.ID), next)
	w.refused(func() error { return w.ActivateDevice(ctx, next, w.event("device.activated", "device", string(d.ID))) })
}

func testClashes(w *world) {
	ctx := w.Context()
	with := func(id device.ID, serial string) device.Device {
		d := thing(id)
		d.Serial = serial
		return d
	}
	w.add(with("d1", "s1"), with("d2", ""), with("d3", ""))
	list := []device.Device{with("new1", ""), with("d1", "s9"), with("new2", "s1"), with("d1", "s1"), with("D1", "S1"), with("d3", "")}
	var clashes []sqlstore.Clash
	var err error
	w.unchanged(func() {
		clashes, err = w.InsertDevices(ctx, list, placed(), nil, w.event("device.created", "device", "new1"))
	})
	w.ok(err)
	w.same("clashing rows", clashes, []sqlstore.Clash{{Row: 1, Field: "id"}, {Row: 2, Field: "serial"}, {Row: 3, Field: "id"}, {Row: 5, Field: "id"}})

	camera := with("cam", "s1") // another type may have the same serial
	camera.Type = "camera"
	w.add(camera)

	stale := placed()
	stale.Zones["lab"] = 2
	w.refused(func() error {
		_, err := w.InsertDevices(ctx, []device.Device{thing("x")}, stale, nil, w.event("device.created", "device", "x"))
		return err
	})
	stale = sqlstore.Placed{Types: map[device.TypeName]int64{"gone": 1}}
	w.unchanged(func() {
		_, err := w.InsertDevices(ctx, []device.Device{thing("x")}, stale, nil, w.event("device.created", "device", "x"))
		w.is(err, sqlstore.ErrNotFound)
	})

	errs := all(20, func(i int) error {
		clashes, err := w.InsertDevices(ctx, []device.Device{with(device.ID(fmt.Sprint("race", i)), "one")}, placed(), nil)
		if err == nil && len(clashes) > 0 {
			err = sqlstore.ErrChanged
		}
		return err
	})
	w.same("winners of one serial", w.won(errs), 1)
}

// testImport imports 5,000 devices at once, and first the same with one that
// clashes at the end.
func testImport(w *world) {
	ctx := w.Context()
	w.add(thing("dev-04999"))
	const n = 5000
	list := make([]device.Device, n)
	events := make([]audit.Event, n)
	for i := range list {
		list[i] = thing(device.ID(fmt.Sprintf("dev-%05d", i)))
		list[i].Labels = map[string]string{"row": fmt.Sprint(i % 7), "site": "north"}
		events[i] = w.event("device.created", "device", string(list[i].ID))
	}
	w.unchanged(func() {
		clashes, err := w.InsertDevices(ctx, list, placed(), nil, events...)
		w.ok(err)
		w.same("clashes", clashes, []sqlstore.Clash{{Row: n - 1, Field: "id"}})
	})
	list[n-1].ID = "dev-05000"
	var told []int
	clashes, err := w.InsertDevices(ctx, list, placed(), func(done int) { told = append(told, done) }, events...)
	w.ok(err)
	w.same("clashes", len(clashes), 0)
	w.same("last progress", told[len(told)-1], n)
	w.same("progress grows", slices.IsSorted(told), true)
	counts, err := w.CountByState(ctx)
	w.ok(err)
	w.same("devices", counts, map[string]int64{"registered": n + 1})
	w.same("events", w.events("device.created"), n+1)
}

// population is a varied inventory.
func population(w *world) (list []device.Device) {
	states := []device.State{device.Registered, device.Enrolled, device.Active}
	for i := range 180 {
		id := []string{"a%03d", "A%03d", "b-%03d", "B.%03d", "b_%03d", "Z%03d"}[i%6]
		d := thing(device.ID(fmt.Sprintf(id, i)))
		d.Type = []device.TypeName{"meter", "camera"}[i%2]
		d.Zone = []device.ZoneName{"lab", "plant"}[i/2%2]
		d.State = states[i%3]
		d.Owner = []string{"", "ann", "Ann"}[i/3%3]
		if i%4 == 0 {
			d.Serial = fmt.Sprint("s", i/8)
			if i%8 == 4 {
				d.Type = "camera"
			} else {
				d.Type = "meter"
			}
		}
		d.Labels = map[string]string{}
		for j, name := range []string{"site", "floor", "rack", "line"} {
			if i>>j&1 == 1 {
				d.Labels[name] = fmt.Sprint(i / 16 % 3)
			}
		}
		if len(d.Labels) == 0 {
			d.Labels = nil
		}
		list = append(list, d)
	}
	w.add(list...)
	slices.SortFunc(list, func(a, b device.Device) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return list
}

// selects is the meaning of a filter.
func selects(f device.Filter, d device.Device) bool {
	for k, v := range f.Labels {
		if got, ok := d.Labels[k]; !ok || got != v {
			return false
		}
	}
	return (f.Type == "" || f.Type == d.Type) && (f.Zone == "" || f.Zone == d.Zone) && (f.State == "" || f.State == d.State) &&
		(f.Owner == "" || f.Owner == d.Owner) && (f.Serial == "" || f.Serial == d.Serial) && strings.HasPrefix(string(d.ID), f.IDPrefix)
}

// testFilters tries every combination of filter fields, with 0 to 4 labels.
func testFilters(w *world) {
	everything := population(w)
	labels := []map[string]string{nil, {"site": "0"}, {"site": "1", "floor": "1"}, {"site": "2", "floor": "2", "rack": "2", "line": "2"}, {"site": "none"}}
	found := 0
	for mask := range 64 {
		for _, l := range labels {
			f := device.Filter{Labels: l}
			set := []func(){
				func() { f.Type = "meter" }, func() { f.Zone = "plant" }, func() { f.State = device.Active },
				func() { f.Owner = "ann" }, func() { f.Serial = "s3" }, func() { f.IDPrefix = "b" },
			}
			for i, fn := range set {
				if mask>>i&1 == 1 {
					fn()
				}
			}
			var want []device.Device
			for _, d := range everything {
				if selects(f, d) {
					want = append(want, d)
				}
			}
			got, _, err := w.Devices(w.Context(), f, device.Page{Limit: device.MaxPage})
			w.ok(err)
			w.same(fmt.Sprintf("devices of %+v", f), got, want)
			found += len(want)
		}
	}
	if found == 0 {
		w.Fatal("no filter selected anything")
	}
	for _, prefix := range []string{"a", "A", "b", "b-", "b_", "B.", "Z17", "z", "a000", "a0000"} {
		var want []device.ID
		for _, d := range everything {
			if strings.HasPrefix(string(d.ID), prefix) {
				want = append(want, d.ID)
			}
		}
		got, _, err := w.Devices(w.Context(), device.Filter{IDPrefix: prefix}, device.Page{Limit: device.MaxPage})
		w.ok(err)
		w.same("devices with the prefix "+prefix, ids(got), want)
	}
}

// testPaging walks pages of several sizes, with devices coming in meanwhile:
// those that were there before are seen exactly once, in the order of bytes.
func testPaging(w *world) {
	everything := ids(population(w))
	if !slices.Equal(everything, sorted(everything)) {
		w.Fatal("the expected order is not that of bytes")
	}
	for i, limit := range []int{1, 7, 59, 60, 180, 1000} {
		for _, f := range []device.Filter{{}, {Labels: map[string]string{"site": "1"}}} {
			var want, got []device.ID
			for _, id := range everything {
				if selects(f, w.device(id)) {
					want = append(want, id)
				}
			}
			var after device.ID
			for page := 0; ; page++ {
				list, next, err := w.Devices(w.Context(), f, device.Page{After: after, Limit: limit})
				w.ok(err)
				if len(list) > limit {
					w.Fatalf("a page of %d holds %d", limit, len(list))
				}
				for _, d := range list {
					if !strings.HasPrefix(string(d.ID), "mid") {
						got = append(got, d.ID)
					}
				}
				if next == "" {
					break
				}
				after = next
				if page == 1 {
					w.add(thing(device.ID(fmt.Sprintf("mid%d-%d", i, len(f.Labels)))))
				}
			}
			w.same(fmt.Sprintf("devices by pages of %d", limit), got, want)
		}
	}
}

// testWindow looks for the one device in a zone behind more than one listing looks
// at: the first page is empty and says where to go on.
func testWindow(w *world) {
	const many = 10_500
	list := make([]device.Device, many)
	for i := range list {
		list[i] = thing(device.ID(fmt.Sprintf("w%06d", i)))
		list[i].Zone = "lab"
	}
	list[many-1].Zone = "plant"
	w.add(list...)
	var got []device.ID
	pages := 0
	for after := device.ID(""); ; pages++ {
		page, next, err := w.Devices(w.Context(), device.Filter{Type: "meter", State: device.Registered, Zone: "plant"}, device.Page{After: after, Limit: 5})
		w.ok(err)
		for _, d := range page {
			got = append(got, d.ID)
		}
		if next == "" {
			break
		}
		after = next
	}
	w.same("the devices found", got, []device.ID{list[many-1].ID})
	if pages == 0 {
		w.Error("the device was found without a second page: the window is not bounded, or wider than this test")
	}
}

func testUpdateDevice(w *world) {
	ctx := w.Context()
	d, other := thing("d1"), thing("d2")
	d.Labels, other.Serial = map[string]string{"a": "1", "b": "2"}, "taken"
	w.add(d, other)
	d.Type, d.Zone, d.Owner, d.Serial, d.Manufacturer, d.Notes = "camera", "plant", "ann", "taken", "m", "n"
	d.Labels, d.UpdatedAt, d.Version = map[string]string{"b": "3", "c": "4"}, start.Add(time.Hour), 2
	event := w.event("device.updated", "device", "d1")
	w.ok(w.UpdateDevice(ctx, d, sqlstore.Placed{}, event)) // the serial is taken for meters only
	w.same("the updated device", w.device("d1"), d)
	for label, want := range map[[2]string]int{{"a", "1"}: 0, {"b", "2"}: 0, {"b", "3"}: 1, {"c", "4"}: 1} {
		list, _, err := w.Devices(ctx, device.Filter{Labels: map[string]string{label[0]: label[1]}}, device.Page{Limit: 10})
		w.ok(err)
		w.same(fmt.Sprint("devices with label ", label), len(list), want)
	}
	w.refused(func() error {
		return w.UpdateDevice(ctx, d, sqlstore.Placed{}, w.event("device.updated", "device", "d1"))
	})
	d.Version, d.Type = 3, "meter"
	w.refused(func() error {
		return w.UpdateDevice(ctx, d, sqlstore.Placed{}, w.event("device.updated", "device", "d1"))
	})
	d.Serial = ""
	w.refused(func() error {
		return w.UpdateDevice(ctx, d, placedAt(1, 9), w.event("device.updated", "device", "d1"))
	})
	w.ok(w.UpdateDevice(ctx, d, placed(), w.event("device.updated", "device", "d1")))
}
