package sqlstore

import (
	"context"
	"time"

	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/device"
)

const zoneColumns = `name, description, production, security_level, created_at, updated_at, version`

func scanZone(sc scanner) (z device.Zone, err error) {
	var created, updated int64
	var production int
	err = sc.Scan(&z.Name, &z.Description, &production, &z.SecurityLevel, &created, &updated, &z.Version)
	z.Production, z.CreatedAt, z.UpdatedAt = production != 0, fromMicros(created), fromMicros(updated)
	return z, notFound(err)
}

// Zone returns a zone or ErrNotFound.
func (s *Store) Zone(ctx context.Context, name device.ZoneName) (device.Zone, error) {
	st, err := s.stmt(ctx, `SELECT `+zoneColumns+` FROM zone WHERE name = $1`)
	if err != nil {
		return device.Zone{}, err
	}
	return scanZone(st.QueryRowContext(ctx, name))
}

// Zones lists all zones by name.
func (s *Store) Zones(ctx context.Context) (zones []device.Zone, err error) {
	err = s.all(ctx, `SELECT `+zoneColumns+` FROM zone ORDER BY name`, nil, func(sc scanner) error {
		z, err := scanZone(sc)
		zones = append(zones, z)
		return err
	})
	return zones, err
}

// InsertZone adds a zone; ErrChanged if the name is taken.
func (s *Store) InsertZone(ctx context.Context, z device.Zone, events ...audit.Event) error {
	return s.write(ctx, "zone.insert", events, func(t *tx) error {
		return t.one(`INSERT INTO zone (`+zoneColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`,
			z.Name, z.Description, flag(z.Production), z.SecurityLevel, micros(z.CreatedAt), micros(z.UpdatedAt), z.Version)
	})
}

// UpdateZone replaces the zone at version z.Version-1; ErrChanged if it has
// another. A zone becoming production re-checks that no device of a type before
// deploy stands in it: ErrChanged if one does.
func (s *Store) UpdateZone(ctx context.Context, z device.Zone, events ...audit.Event) error {
	return s.write(ctx, "zone.update", events, func(t *tx) error {
		if err := orderStages(t); err != nil {
			return err
		}
		if err := t.one(`UPDATE zone SET description = $1, production = $2, security_level = $3, updated_at = $4, version = $5
			WHERE name = $6 AND version = $7`,
			z.Description, flag(z.Production), z.SecurityLevel, micros(z.UpdatedAt), z.Version, z.Name, z.Version-1); err != nil {
			return err
		}
		if !z.Production {
			return nil
		}
		var n int
		if err := t.row(untestedQuery, []any{z.Name}, &n); err != nil {
			return err
		}
		if n > 0 {
			return ErrChanged
		}
		return nil
	})
}

// orderStages makes transactions that change what a production zone takes in wait
// for one another: a type's step back and a zone's step into production would
// each count the devices without seeing the other. Devices that come in are
// ordered with both by their Share locks on the type and the zone.
func orderStages(t *tx) error {
	return t.one(`UPDATE meta SET value = value WHERE name = 'change_version'`)
}

const untestedQuery = `SELECT COUNT(*) FROM device d JOIN device_type t ON t.name = d.type
	WHERE d.zone = $1 AND d.state <> 'retired' AND t.stage IN ('prototype', 'develop')`

// UntestedDevices counts the devices in a zone whose types are before deploy.
func (s *Store) UntestedDevices(ctx context.Context, zone device.ZoneName) (n int, err error) {
	err = s.row(ctx, untestedQuery, []any{zone}, &n)
	return n, err
}

const typeColumns = `name, description, profile, key_algorithm, stage, validity, grace, approval, anonymous, server_keygen, created_at, updated_at, version`

func scanType(sc scanner) (t device.Type, err error) {
	var validity, grace, created, updated int64
	var anonymous, keygen int
	err = sc.Scan(&t.Name, &t.Description, &t.Profile, &t.KeyAlgorithm, &t.Stage, &validity, &grace, &t.Approval, &anonymous, &keygen, &created, &updated, &t.Version)
	t.Validity, t.Grace = time.Duration(validity)*time.Microsecond, time.Duration(grace)*time.Microsecond
	t.Anonymous, t.ServerKeyGen = anonymous != 0, keygen != 0
	t.CreatedAt, t.UpdatedAt = fromMicros(created), fromMicros(updated)
	return t, notFound(err)
}

// Type returns a device type or ErrNotFound.
func (s *Store) Type(ctx context.Context, name device.TypeName) (device.Type, error) {
	st, err := s.stmt(ctx, `SELECT `+typeColumns+` FROM device_type WHERE name = $1`)
	if err != nil {
		return device.Type{}, err
	}
	return scanType(st.QueryRowContext(ctx, name))
}

// Types lists all device types by name.
func (s *Store) Types(ctx context.Context) (types []device.Type, err error) {
	err = s.all(ctx, `SELECT `+typeColumns+` FROM device_type ORDER BY name`, nil, func(sc scanner) error {
		t, err := scanType(sc)
		types = append(types, t)
		return err
	})
	return types, err
}

// InsertType adds a device type; ErrChanged if the name is taken.
func (s *Store) InsertType(ctx context.Context, dt device.Type, events ...audit.Event) error {
	return s.write(ctx, "type.insert", events, func(t *tx) error {
		return t.one(`INSERT INTO device_type (`+typeColumns+`, stepped_back)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0) ON CONFLICT DO NOTHING`,
			dt.Name, dt.Description, dt.Profile, dt.KeyAlgorithm, dt.Stage, dt.Validity.Microseconds(), dt.Grace.Microseconds(), dt.Approval,
			flag(dt.Anonymous), flag(dt.ServerKeyGen), micros(dt.CreatedAt), micros(dt.UpdatedAt), dt.Version)
	})
}

// UpdateType replaces all but name and stage of the type at version
// dt.Version-1; ErrChanged if it has another.
func (s *Store) UpdateType(ctx context.Context, dt device.Type, events ...audit.Event) error {
	return s.write(ctx, "type.update", events, func(t *tx) error {
		return t.one(`UPDATE device_type SET description = $1, profile = $2, key_algorithm = $3, validity = $4, grace = $5, approval = $6,
			anonymous = $7, server_keygen = $8, updated_at = $9, version = $10 WHERE name = $11 AND version = $12`,
			dt.Description, dt.Profile, dt.KeyAlgorithm, dt.Validity.Microseconds(), dt.Grace.Microseconds(), dt.Approval,
			flag(dt.Anonymous), flag(dt.ServerKeyGen), micros(dt.UpdatedAt), dt.Version, dt.Name, dt.Version-1)
	})
}

// StageFacts reads what device.CanMoveStage needs.
func (s *Store) StageFacts(ctx context.Context, name device.TypeName) (facts device.StageFacts, err error) {
	var back int64
	if err = s.row(ctx, `SELECT stepped_back FROM device_type WHERE name = $1`, []any{name}, &back); err != nil {
		return facts, err
	}
	facts.LastStepBackward = fromMicros(back)
	if err = s.row(ctx, productionQuery, []any{name}, &facts.InProduction); err != nil {
		return facts, err
	}
	facts.SignOffs, err = s.SignOffs(ctx, name)
	return facts, err
}

const productionQuery = `SELECT COUNT(*) FROM device d JOIN zone z ON z.name = d.zone
	WHERE d.type = $1 AND d.state <> 'retired' AND z.production = 1`

// MoveType sets the stage of the type at version dt.Version-1. A type that goes
// back before deploy is checked again to have no devices in production:
// ErrChanged if it has.
func (s *Store) MoveType(ctx context.Context, dt device.Type, back bool, events ...audit.Event) error {
	return s.write(ctx, "type.move", events, func(t *tx) error {
		if err := orderStages(t); err != nil {
			return err
		}
		if err := t.one(`UPDATE device_type SET stage = $1, updated_at = $2, version = $3 WHERE name = $4 AND version = $5`,
			dt.Stage, micros(dt.UpdatedAt), dt.Version, dt.Name, dt.Version-1); err != nil || !back {
			return err
		}
		if _, err := t.exec(`UPDATE device_type SET stepped_back = $1 WHERE name = $2`, micros(dt.UpdatedAt), dt.Name); err != nil {
			return err
		}
		if !dt.Stage.BeforeDeploy() {
			return nil
		}
		var n int
		if err := t.row(productionQuery, []any{dt.Name}, &n); err != nil {
			return err
		}
		if n > 0 {
			return ErrChanged
		}
		return nil
	})
}

// SignOffs lists a type's sign-offs, oldest first.
func (s *Store) SignOffs(ctx context.Context, name device.TypeName) (list []device.SignOff, err error) {
	err = s.all(ctx, `SELECT id, type, stage, signed_by, at, statement, evidence FROM sign_off WHERE type = $1 ORDER BY at, id`, []any{name}, func(sc scanner) error {
		var so device.SignOff
		var at int64
		err := sc.Scan(&so.ID, &so.Type, &so.Stage, &so.By, &at, &so.Statement, &so.Evidence)
		so.At = fromMicros(at)
		list = append(list, so)
		return err
	})
	return list, err
}

// InsertSignOff records a sign-off.
func (s *Store) InsertSignOff(ctx context.Context, so device.SignOff, events ...audit.Event) error {
	return s.write(ctx, "type.signoff", events, func(t *tx) error {
		return t.one(`INSERT INTO sign_off (id, type, stage, signed_by, at, statement, evidence) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			so.ID, so.Type, so.Stage, so.By, micros(so.At), so.Statement, so.Evidence)
	})
}

// Anchor is a stored manufacturer CA certificate of a type.
type Anchor struct {
	Type    device.TypeName
	ID      string // SHA-256 of DER, hex
	DER     []byte
	AddedAt time.Time
}

// Anchors lists a type's anchors; an empty name lists all types'.
func (s *Store) Anchors(ctx context.Context, name device.TypeName) (list []Anchor, err error) {
	err = s.all(ctx, `SELECT type, id, der, added_at FROM trust_anchor WHERE type = $1 OR $1 = '' ORDER BY type, added_at, id`, []any{name}, func(sc scanner) error {
		var a Anchor
		var at int64
		err := sc.Scan(&a.Type, &a.ID, &a.DER, &at)
		a.AddedAt = fromMicros(at)
		list = append(list, a)
		return err
	})
	return list, err
}

// InsertAnchors adds anchors; one that is there already stays.
func (s *Store) InsertAnchors(ctx context.Context, anchors []Anchor, events ...audit.Event) error {
	return s.write(ctx, "anchor.insert", events, func(t *tx) error {
		for _, a := range anchors {
			if _, err := t.exec(`INSERT INTO trust_anchor (type, id, der, added_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`,
				a.Type, a.ID, a.DER, micros(a.AddedAt)); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteAnchor removes an anchor; ErrChanged if it is not there.
func (s *Store) DeleteAnchor(ctx context.Context, name device.TypeName, id string, events ...audit.Event) error {
	return s.write(ctx, "anchor.delete", events, func(t *tx) error {
		return t.one(`DELETE FROM trust_anchor WHERE type = $1 AND id = $2`, name, id)
	})
}
