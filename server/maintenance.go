package server

import (
	"context"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// SetMaintenance begins or ends the maintenance of a device: meanwhile no command
// that stops for maintenance reaches it. Saying again what is so already changes
// nothing and is recorded nowhere.
func (s *Server) SetMaintenance(ctx context.Context, by access.Actor, id device.ID, on bool, reason string) (device.Device, error) {
	for range maxTries {
		d, err := s.setMaintenance(ctx, by, id, on, reason)
		if !isChanged(err) {
			return d, err
		}
	}
	return device.Device{}, refusal.New(refusal.Conflict, "changed-meanwhile", "try again", "device %s changes too often right now", id)
}

func (s *Server) setMaintenance(ctx context.Context, by access.Actor, id device.ID, on bool, reason string) (device.Device, error) {
	d, err := s.Device(ctx, id)
	if err != nil {
		return d, err
	}
	if err := adminapi.Covers(ctx, d); err != nil {
		return device.Device{}, err
	}
	if d.Maintenance == on {
		return d, err
	}
	if d.State == device.Retired {
		return d, refusal.New(refusal.Conflict, "device-retired", "register a new device", "device %s is retired", id)
	}
	action := "device.maintenance_ended"
	if on {
		action = "device.maintenance_begun"
	}
	d.Maintenance, d.UpdatedAt, d.Version = on, s.now(), d.Version+1
	if err := s.store.SetMaintenance(ctx, d, s.event(by, action, "device", string(id), "reason", reason)); err != nil {
		return d, err
	}
	s.announce()
	return d, nil
}
