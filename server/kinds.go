package server

import (
	"context"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
)

// CreateZone adds a zone.
func (s *Server) CreateZone(ctx context.Context, by access.Actor, z device.Zone) (device.Zone, error) {
	if err := z.Validate(); err != nil {
		return z, err
	}
	z.CreatedAt, z.UpdatedAt, z.Version = s.now(), s.now(), 1
	err := s.store.InsertZone(ctx, z, s.event(by, "zone.created", "zone", string(z.Name), "production", yesNo(z.Production)))
	return z, exists(err, "zone", string(z.Name))
}

// Zone shows a zone.
func (s *Server) Zone(ctx context.Context, name device.ZoneName) (device.Zone, error) {
	z, err := s.store.Zone(ctx, name)
	return z, missing(err, "zone", string(name))
}

// Zones lists all zones.
func (s *Server) Zones(ctx context.Context) ([]device.Zone, error) { return s.store.Zones(ctx) }

// UpdateZone replaces a zone. A zone cannot become production while devices of
// types before deploy stand in it.
func (s *Server) UpdateZone(ctx context.Context, by access.Actor, z device.Zone) (device.Zone, error) {
	if err := z.Validate(); err != nil {
		return z, err
	}
	old, err := s.Zone(ctx, z.Name)
	if err != nil {
		return z, err
	}
	if old.Version != z.Version {
		return z, stale(errChanged, "zone", string(z.Name))
	}
	if z.Production && !old.Production {
		n, err := s.store.UntestedDevices(ctx, z.Name)
		if err != nil {
			return z, err
		}
		if n > 0 {
			return z, refusal.New(refusal.Conflict, "not-for-production", "move these devices to another zone first", "zone %s has %d devices whose types are before deploy", z.Name, n)
		}
	}
	z.CreatedAt, z.UpdatedAt, z.Version = old.CreatedAt, s.now(), old.Version+1
	err = s.store.UpdateZone(ctx, z, s.event(by, "zone.updated", "zone", string(z.Name), "production", yesNo(z.Production)))
	return z, stale(err, "zone", string(z.Name))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// CreateType adds a device type, at stage prototype or develop.
func (s *Server) CreateType(ctx context.Context, by access.Actor, t device.Type) (device.Type, error) {
	t = t.WithDefaults()
	if err := t.Validate(); err != nil {
		return t, err
	}
	if !t.Stage.BeforeDeploy() {
		return t, invalid("bad-stage", "start at prototype or develop, then move it after a sign-off", "a new type cannot start at stage %s", t.Stage)
	}
	t.CreatedAt, t.UpdatedAt, t.Version = s.now(), s.now(), 1
	err := s.store.InsertType(ctx, t, s.event(by, "type.created", "type", string(t.Name), "stage", string(t.Stage), "approval", string(t.Approval)))
	return t, exists(err, "type", string(t.Name))
}

// Type shows a type and its sign-offs.
func (s *Server) Type(ctx context.Context, name device.TypeName) (device.Type, []device.SignOff, error) {
	t, err := s.store.Type(ctx, name)
	if err != nil {
		return t, nil, missing(err, "type", string(name))
	}
	list, err := s.store.SignOffs(ctx, name)
	return t, list, err
}

// Types lists all types.
func (s *Server) Types(ctx context.Context) ([]device.Type, error) { return s.store.Types(ctx) }

// UpdateType replaces all of a type but its name, profile and stage: the profile
// is part of its devices' identities.
func (s *Server) UpdateType(ctx context.Context, by access.Actor, t device.Type) (device.Type, error) {
	old, _, err := s.Type(ctx, t.Name)
	if err != nil {
		return t, err
	}
	if old.Version != t.Version {
		return t, stale(errChanged, "type", string(t.Name))
	}
	t = t.WithDefaults()
	if t.Profile != old.Profile {
		return t, refusal.New(refusal.Conflict, "profile-fixed", "create a new type", "the profile of type %s cannot change: it is part of its devices' identities", t.Name)
	}
	t.Stage, t.CreatedAt, t.UpdatedAt, t.Version = old.Stage, old.CreatedAt, s.now(), old.Version+1
	if err := t.Validate(); err != nil {
		return t, err
	}
	err = s.store.UpdateType(ctx, t, s.event(by, "type.updated", "type", string(t.Name),
		"approval", string(t.Approval), "anonymous", yesNo(t.Anonymous), "server_keygen", yesNo(t.ServerKeyGen), "validity", t.Validity.String(), "grace", t.Grace.String()))
	return t, stale(err, "type", string(t.Name))
}

// MoveType moves a type to another product stage.
func (s *Server) MoveType(ctx context.Context, by access.Actor, name device.TypeName, to device.Stage, reason string) (device.Type, error) {
	t, err := s.store.Type(ctx, name)
	if err != nil {
		return t, missing(err, "type", string(name))
	}
	facts, err := s.store.StageFacts(ctx, name)
	if err != nil {
		return t, err
	}
	if err := device.CanMoveStage(t, to, facts); err != nil {
		return t, err
	}
	from := t.Stage
	back := to.Before(from)
	t.Stage, t.UpdatedAt, t.Version = to, s.now(), t.Version+1
	err = s.store.MoveType(ctx, t, back, s.event(by, "type.stage_changed", "type", string(name), "from", string(from), "to", string(to), "reason", reason))
	return t, stale(err, "type", string(name))
}

// SignOff records that security accepted a type for a stage.
func (s *Server) SignOff(ctx context.Context, by access.Actor, so device.SignOff) (device.SignOff, error) {
	if err := so.Validate(); err != nil {
		return so, err
	}
	if _, err := s.store.Type(ctx, so.Type); err != nil {
		return so, missing(err, "type", string(so.Type))
	}
	so.ID, so.By, so.At = newID(), by.String(), s.now()
	err := s.store.InsertSignOff(ctx, so, s.event(by, "type.signed_off", "type", string(so.Type), "stage", string(so.Stage), "statement", so.Statement, "evidence", so.Evidence))
	return so, err
}
