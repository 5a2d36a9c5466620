package server

import (
	"context"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

var errChanged = sqlstore.ErrChanged

// places remembers the types and zones of one request, read once each.
type places struct {
	s     *Server
	types map[device.TypeName]device.Type
	zones map[device.ZoneName]device.Zone
}

func (s *Server) places() *places {
	return &places{s, map[device.TypeName]device.Type{}, map[device.ZoneName]device.Zone{}}
}

// check judges whether a device may stand where it says.
func (p *places) check(ctx context.Context, d *device.Device) error {
	t, known := p.types[d.Type]
	if !known {
		var err error
		if t, err = p.s.store.Type(ctx, d.Type); err != nil {
			return missing(err, "type", string(d.Type))
		}
		p.types[d.Type] = t
	}
	z, known := p.zones[d.Zone]
	if !known {
		var err error
		if z, err = p.s.store.Zone(ctx, d.Zone); err != nil {
			return missing(err, "zone", string(d.Zone))
		}
		p.zones[d.Zone] = z
	}
	return device.CanPlace(t, z)
}

// versions is what the store checks again when it writes.
func (p *places) versions() sqlstore.Placed {
	v := sqlstore.Placed{Types: map[device.TypeName]int64{}, Zones: map[device.ZoneName]int64{}}
	for name, t := range p.types {
		v.Types[name] = t.Version
	}
	for name, z := range p.zones {
		v.Zones[name] = z.Version
	}
	return v
}

// CreateDevice registers a device.
func (s *Server) CreateDevice(ctx context.Context, by access.Actor, d device.Device) (device.Device, error) {
	rows := []adminapi.ImportRow{{Device: d}}
	list, placed, bad, err := s.prepare(ctx, rows)
	if err != nil {
		return d, err
	}
	if len(bad) > 0 {
		return d, bad[0].err
	}
	clashes, err := s.store.InsertDevices(ctx, list, placed, nil, s.created(by, &list[0], ""))
	if err != nil {
		return d, stale(err, "type or zone of device", string(d.ID))
	}
	if len(clashes) > 0 {
		return d, clashError(&list[0], clashes[0].Field)
	}
	return list[0], nil
}

func clashError(d *device.Device, field string) error {
	if field == "serial" {
		return refusal.New(refusal.Conflict, "serial-exists", "correct the serial number", "another device of type %s has the serial number %q", d.Type, d.Serial)
	}
	return refusal.New(refusal.Conflict, "device-exists", "choose another id, or update the device", "there is a device %q already", d.ID)
}

func (s *Server) created(by access.Actor, d *device.Device, batch string) audit.Event {
	return s.event(by, "device.created", "device", string(d.ID), "type", string(d.Type), "zone", string(d.Zone), "serial", d.Serial, "import", batch)
}

// badRow is a row that cannot be written, and why.
type badRow struct {
	row   int
	field string
	err   error
}

// prepare makes rows into devices that may be written, or says which may not.
func (s *Server) prepare(ctx context.Context, rows []adminapi.ImportRow) ([]device.Device, sqlstore.Placed, []badRow, error) {
	p := s.places()
	now := s.now()
	list := make([]device.Device, len(rows))
	var bad []badRow
	for i := range rows {
		d := rows[i].Device
		d.State, d.CreatedAt, d.UpdatedAt, d.Version = device.Registered, now, now, 1
		err := d.Validate()
		if err == nil {
			err = p.check(ctx, &d)
		}
		if err != nil {
			if refusal.As(err) == nil {
				return nil, sqlstore.Placed{}, nil, err
			}
			bad = append(bad, badRow{i, fieldOf(err), err})
		}
		list[i] = d
	}
	return list, p.versions(), bad, nil
}

// fieldOf names the column that a refusal of a placement is about.
func fieldOf(err error) string {
	switch refusal.As(err).Code {
	case "no-such-type", "decommissioned":
		return "type"
	case "no-such-zone", "not-for-production":
		return "zone"
	}
	return ""
}

// ImportDevices registers all rows in one transaction, or none.
func (s *Server) ImportDevices(ctx context.Context, by access.Actor, rows []adminapi.ImportRow, progress func(done int)) error {
	list, placed, bad, err := s.prepare(ctx, rows)
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		return importError(rows, bad)
	}
	batch := newID()
	events := make([]audit.Event, 0, len(list))
	for i := range list {
		events = append(events, s.created(by, &list[i], batch))
	}
	clashes, err := s.store.InsertDevices(ctx, list, placed, progress, events...)
	if err != nil {
		return stale(err, "a type or zone of import", batch)
	}
	for _, c := range clashes {
		bad = append(bad, badRow{c.Row, c.Field, clashError(&list[c.Row], c.Field)})
	}
	if len(bad) > 0 {
		return importError(rows, bad)
	}
	return nil
}

func importError(rows []adminapi.ImportRow, bad []badRow) error {
	e := &adminapi.ImportError{}
	for _, b := range bad {
		e.Rows = append(e.Rows, adminapi.RowError{Line: rows[b.row].Line, Field: b.field, Error: b.err.Error()})
	}
	return e
}

// Device shows a device.
func (s *Server) Device(ctx context.Context, id device.ID) (device.Device, error) {
	d, err := s.store.Device(ctx, id)
	return d, missing(err, "device", string(id))
}

// Devices lists devices by id; see adminapi.Devices for what a page may lack.
func (s *Server) Devices(ctx context.Context, f device.Filter, p device.Page) ([]device.Device, device.ID, error) {
	if err := f.Validate(); err != nil {
		return nil, "", err
	}
	if p.Limit < 1 || p.Limit > device.MaxPage {
		return nil, "", invalid("bad-limit", "use 1 to 1000", "the page length %d is out of range", p.Limit)
	}
	return s.store.Devices(ctx, f, p)
}

// UpdateDevice replaces a device's descriptive fields. Its type can change only
// before it is enrolled, and never to one of another certificate profile.
func (s *Server) UpdateDevice(ctx context.Context, by access.Actor, d device.Device) (device.Device, error) {
	old, err := s.Device(ctx, d.ID)
	if err != nil {
		return d, err
	}
	if err := adminapi.Covers(ctx, old); err != nil {
		return device.Device{}, err
	}
	if old.Version != d.Version {
		return d, stale(errChanged, "device", string(d.ID))
	}
	d.State, d.CreatedAt, d.EnrolledAt, d.SeenAt = old.State, old.CreatedAt, old.EnrolledAt, old.SeenAt
	d.Maintenance = old.Maintenance
	if err := d.Validate(); err != nil {
		return d, err
	}
	if old.State == device.Retired {
		return d, refusal.New(refusal.Conflict, "device-retired", "register a new device", "device %s is retired", d.ID)
	}
	if old.Type != d.Type && old.State != device.Registered {
		return d, refusal.New(refusal.Conflict, "type-fixed", "revoke it first, then change the type and enrol it again", "device %s is %s: its type cannot change", d.ID, old.State)
	}
	p := s.places()
	// A device that stays where it is may be described better even if it could not
	// be placed there today.
	if err := p.check(ctx, &d); err != nil && (refusal.As(err) == nil || old.Type != d.Type || old.Zone != d.Zone) {
		return d, err
	}
	d.UpdatedAt, d.Version = s.now(), old.Version+1
	err = s.store.UpdateDevice(ctx, d, p.versions(), s.event(by, "device.updated", "device", string(d.ID),
		"type", string(d.Type), "zone", string(d.Zone), "from_zone", string(old.Zone), "owner", d.Owner, "labels", device.FormatLabels(d.Labels)))
	if err == nil {
		s.announce()
	}
	return d, stale(err, "device (or its serial number is taken)", string(d.ID))
}
