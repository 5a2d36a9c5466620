package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
)

const deviceColumns = `id, type, zone, owner, serial, manufacturer, notes, labels, state, maintenance, created_at, updated_at, enrolled_at, seen_at, version`

const deviceWidth = 15

func scanDevice(sc scanner) (d device.Device, err error) {
	var created, updated, enrolled, seen int64
	var labels string
	var maintenance int
	if err = sc.Scan(&d.ID, &d.Type, &d.Zone, &d.Owner, &d.Serial, &d.Manufacturer, &d.Notes, &labels, &d.State, &maintenance, &created, &updated, &enrolled, &seen, &d.Version); err != nil {
		return d, notFound(err)
	}
	d.Maintenance = maintenance != 0
	d.CreatedAt, d.UpdatedAt, d.EnrolledAt, d.SeenAt = fromMicros(created), fromMicros(updated), fromMicros(enrolled), fromMicros(seen)
	d.Labels, err = parseLabels(labels)
	return d, err
}

func deviceArgs(args []any, d *device.Device) []any {
	return append(args, d.ID, d.Type, d.Zone, d.Owner, d.Serial, d.Manufacturer, d.Notes, formatLabels(d.Labels), d.State, flag(d.Maintenance),
		micros(d.CreatedAt), micros(d.UpdatedAt), micros(d.EnrolledAt), micros(d.SeenAt), d.Version)
}

func formatLabels(labels map[string]string) string {
	if len(labels) == 0 {
		return ""
	}
	b, err := json.Marshal(labels)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(b)
}

func parseLabels(s string) (labels map[string]string, err error) {
	if s != "" {
		err = json.Unmarshal([]byte(s), &labels)
	}
	return labels, err
}

// Device returns a device or ErrNotFound.
func (s *Store) Device(ctx context.Context, id device.ID) (device.Device, error) {
	st, err := s.stmt(ctx, `SELECT `+deviceColumns+` FROM device WHERE id = $1`)
	if err != nil {
		return device.Device{}, err
	}
	return scanDevice(st.QueryRowContext(ctx, id))
}

// DeviceBySerial finds the device of a type with a manufacturer's serial number.
func (s *Store) DeviceBySerial(ctx context.Context, t device.TypeName, serial string) (device.Device, error) {
	st, err := s.stmt(ctx, `SELECT `+deviceColumns+` FROM device WHERE type = $1 AND serial = $2 AND serial <> ''`)
	if err != nil {
		return device.Device{}, err
	}
	return scanDevice(st.QueryRowContext(ctx, t, serial))
}

// CountByState counts devices by state.
func (s *Store) CountByState(ctx context.Context) (map[string]int64, error) {
	counts := map[string]int64{}
	err := s.all(ctx, `SELECT state, COUNT(*) FROM device GROUP BY state`, nil, func(sc scanner) error {
		var state string
		var n int64
		err := sc.Scan(&state, &n)
		counts[state] = n
		return err
	})
	return counts, err
}

// Clash names the rows of a list of devices whose id or serial is taken.
type Clash struct {
	Row   int // index into the list
	Field string
}

// InsertDevices adds all devices or none. Rows that clash with the inventory are
// returned with a nil error, and then nothing is written. The zones and types named in placed are
// checked again to be as they were read (name to version): ErrChanged if not.
// progress, if not nil, is told how many rows were written so far. All of them are
// one control event; it comes last, because until the commit no other can be written.
func (s *Store) InsertDevices(ctx context.Context, list []device.Device, placed Placed, progress func(done int), events ...audit.Event) ([]Clash, error) {
	err := s.write(ctx, "device.insert", events, func(t *tx) error {
		if err := placed.check(t); err != nil {
			return err
		}
		for start := 0; start < len(list); start += insertChunk {
			chunk := list[start:min(start+insertChunk, len(list))]
			if n, err := insertDevices(t, chunk); err != nil {
				return err
			} else if int(n) != len(chunk) {
				return errClash
			}
			if progress != nil {
				progress(start + len(chunk))
			}
		}
		return nil
	}, func(t *tx) error {
		if len(list) == 0 {
			return nil
		}
		kind, subject := ChangeDevices, ""
		if len(list) == 1 {
			kind, subject = ChangeDevice, string(list[0].ID)
		}
		_, err := bumpChange(t, kind, subject, list[0].UpdatedAt)
		return err
	})
	if !errors.Is(err, errClash) {
		return nil, err
	}
	clashes, ferr := s.findClashes(ctx, list)
	if ferr == nil && len(clashes) == 0 {
		ferr = ErrChanged // the other row is gone again: worth another try
	}
	return clashes, ferr
}

var errClash = errors.New("a row clashes with the inventory")

// insertChunk is the number of devices in one INSERT. SQLite's driver looks each
// parameter up by its name among all of the statement, so that wide statements
// cost the square of their width: 20,000 rows took 1.2 s by 200 and 0.33 s by 25.
const insertChunk = 25

// Placed names the versions of the types and zones that a placement was decided on.
type Placed struct {
	Types map[device.TypeName]int64
	Zones map[device.ZoneName]int64
}

func (p Placed) check(t *tx) error {
	var version int64
	for name, want := range p.Types {
		if err := t.row(`SELECT version FROM device_type WHERE name = $1`+t.share, []any{name}, &version); err != nil {
			return err
		} else if version != want {
			return ErrChanged
		}
	}
	for name, want := range p.Zones {
		if err := t.row(`SELECT version FROM zone WHERE name = $1`+t.share, []any{name}, &version); err != nil {
			return err
		} else if version != want {
			return ErrChanged
		}
	}
	return nil
}

// createDevice adds one device if its zone still takes devices of its type and
// its id is free; else ErrChanged.
func createDevice(t *tx, d device.Device) error {
	var stage device.Stage
	var production int
	err := t.row(`SELECT t.stage, z.production FROM device_type t, zone z WHERE t.name = $1 AND z.name = $2`+t.share, []any{d.Type, d.Zone}, &stage, &production)
	if err == ErrNotFound || err == nil && production != 0 && stage.BeforeDeploy() {
		return ErrChanged
	}
	if err != nil {
		return err
	}
	n, err := insertDevices(t, []device.Device{d})
	if err == nil && n != 1 {
		err = ErrChanged
	}
	return err
}

func insertDevices(t *tx, list []device.Device) (int64, error) {
	args := make([]any, 0, len(list)*deviceWidth)
	var labels []any
	for i := range list {
		args = deviceArgs(args, &list[i])
		for k, v := range list[i].Labels {
			labels = append(labels, k, v, list[i].ID)
		}
	}
	n, err := t.exec(`INSERT INTO device (`+deviceColumns+`) VALUES `+tuples(len(list), deviceWidth)+` ON CONFLICT DO NOTHING`, args...)
	if err != nil || int(n) != len(list) {
		return n, err
	}
	return n, insertLabels(t, labels)
}

// insertLabels writes triples of name, value, device id.
func insertLabels(t *tx, labels []any) error {
	const most = 3 * insertChunk
	for len(labels) > 0 {
		part := labels[:min(most, len(labels))]
		if _, err := t.exec(`INSERT INTO device_label (name, value, device_id) VALUES `+tuples(len(part)/3, 3), part...); err != nil {
			return err
		}
		labels = labels[len(part):]
	}
	return nil
}

// tuples makes "($1, $2), ($3, $4)".
func tuples(rows, width int) string {
	var b strings.Builder
	for i := range rows * width {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%width == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	b.WriteString(")")
	return b.String()
}

// findClashes names the rows of a list, none of which is stored, that the
// inventory has no room for.
func (s *Store) findClashes(ctx context.Context, list []device.Device) ([]Clash, error) {
	var clashes []Clash
	for i := range list {
		d, id := &list[i], ""
		err := s.row(ctx, `SELECT id FROM device WHERE id = $1`, []any{d.ID}, &id)
		if err == nil {
			clashes = append(clashes, Clash{i, "id"})
		} else if err == ErrNotFound && d.Serial != "" {
			if err = s.row(ctx, `SELECT id FROM device WHERE type = $1 AND serial = $2 AND serial <> ''`, []any{d.Type, d.Serial}, &id); err == nil {
				clashes = append(clashes, Clash{i, "serial"})
			}
		}
		if err != nil && err != ErrNotFound {
			return nil, err
		}
		if len(clashes) == maxClashes {
			break
		}
	}
	return clashes, nil
}

const maxClashes = 1000

// UpdateDevice replaces a device's descriptive fields at version d.Version-1 and
// tells all nodes; ErrChanged if it has another, or if its serial is taken.
func (s *Store) UpdateDevice(ctx context.Context, d device.Device, placed Placed, events ...audit.Event) error {
	return s.write(ctx, "device.update", events, func(t *tx) error {
		if err := placed.check(t); err != nil {
			return err
		}
		var other string
		err := t.row(`SELECT id FROM device WHERE type = $1 AND serial = $2 AND serial <> '' AND id <> $3`, []any{d.Type, d.Serial, d.ID}, &other)
		if err == nil {
			return ErrChanged
		} else if err != ErrNotFound {
			return err
		}
		if err := t.one(`UPDATE device SET type = $1, zone = $2, owner = $3, serial = $4, manufacturer = $5, notes = $6, labels = $7, updated_at = $8, version = $9
			WHERE id = $10 AND version = $11`,
			d.Type, d.Zone, d.Owner, d.Serial, d.Manufacturer, d.Notes, formatLabels(d.Labels), micros(d.UpdatedAt), d.Version, d.ID, d.Version-1); err != nil {
			return err
		}
		if _, err := t.exec(`DELETE FROM device_label WHERE device_id = $1`, d.ID); err != nil {
			return err
		}
		var labels []any
		for k, v := range d.Labels {
			labels = append(labels, k, v, d.ID)
		}
		if err := insertLabels(t, labels); err != nil {
			return err
		}
		_, err = bumpChange(t, ChangeDevice, string(d.ID), d.UpdatedAt)
		return err
	})
}

// SetMaintenance sets or clears the flag that somebody works on a device, at
// version d.Version-1, and tells all nodes; ErrChanged if it has another.
func (s *Store) SetMaintenance(ctx context.Context, d device.Device, events ...audit.Event) error {
	return s.write(ctx, "device.maintenance", events, func(t *tx) error {
		if err := t.one(`UPDATE device SET maintenance = $1, updated_at = $2, version = $3 WHERE id = $4 AND version = $5`,
			flag(d.Maintenance), micros(d.UpdatedAt), d.Version, d.ID, d.Version-1); err != nil {
			return err
		}
		_, err := bumpChange(t, ChangeDevice, string(d.ID), d.UpdatedAt)
		return err
	})
}

// setState moves a device from one version to the next with a new state.
func setState(t *tx, d *device.Device) error {
	return t.one(`UPDATE device SET state = $1, updated_at = $2, enrolled_at = $3, seen_at = $4, version = $5 WHERE id = $6 AND version = $7`,
		d.State, micros(d.UpdatedAt), micros(d.EnrolledAt), micros(d.SeenAt), d.Version, d.ID, d.Version-1)
}

// ActivateDevice records that an enrolled device used its certificate; it does
// nothing, and writes no event, if the device has moved on.
func (s *Store) ActivateDevice(ctx context.Context, d device.Device, events ...audit.Event) error {
	return s.write(ctx, "device.activate", events, func(t *tx) error { return setState(t, &d) })
}
