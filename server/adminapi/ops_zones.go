package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
)

type zoneName struct {
	Name device.ZoneName `path:"name" maxLength:"64" example:"plant-1"`
}

type zonePost struct {
	Body struct {
		Name device.ZoneName `json:"name" maxLength:"64"`
		ZoneInput
	}
}

// zonePut is a zone as it shall be; what show also returns is ignored.
type zonePut struct {
	Name device.ZoneName `path:"name" maxLength:"64" example:"plant-1"`
	Body struct {
		Version int64 `json:"version" minimum:"1" doc:"the version this was made from"`
		ZoneInput
		Name      string    `json:"name,omitempty" readOnly:"true" doc:"ignored"`
		CreatedAt time.Time `json:"created_at,omitzero" readOnly:"true" doc:"ignored"`
		UpdatedAt time.Time `json:"updated_at,omitzero" readOnly:"true" doc:"ignored"`
	}
}

func (in ZoneInput) noun(name device.ZoneName) device.Zone {
	return device.Zone{Name: name, Description: in.Description, Production: in.Production, SecurityLevel: in.SecurityLevel}
}

func (a *api) zoneOperations() {
	const tag = "zones"
	input := ZoneInput{Description: "Assembly line 1", Production: true, SecurityLevel: 2}
	register(a, operation{id: "list-zones", allow: access.ZoneRead, method: http.MethodGet, path: "/zones", tag: tag, summary: "List zones",
		description: "All zones, by name.", response: list[device.Zone]{[]device.Zone{exampleZone}}},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[list[device.Zone]], error) {
			zones, err := a.cfg.Zones.Zones(ctx)
			return &body[list[device.Zone]]{list[device.Zone]{present(zones)}}, err
		})
	register(a, operation{id: "create-zone", allow: access.ZoneWrite, method: http.MethodPost, path: "/zones", tag: tag, status: http.StatusCreated, summary: "Create a zone",
		description: "A production zone refuses devices of types before the stage deploy.", request: zoneCreate{"plant-1", input}, response: exampleZone},
		func(ctx context.Context, by access.Actor, in *zonePost) (*body[device.Zone], error) {
			z := in.Body.ZoneInput.noun(in.Body.Name)
			if err := z.Validate(); err != nil {
				return nil, err
			}
			z, err := a.cfg.Zones.CreateZone(ctx, by, z)
			return &body[device.Zone]{z}, err
		})
	register(a, operation{id: "show-zone", allow: access.ZoneRead, method: http.MethodGet, path: "/zones/{name}", tag: tag, summary: "Show a zone",
		description: "One zone.", response: exampleZone},
		func(ctx context.Context, _ access.Actor, in *zoneName) (*body[device.Zone], error) {
			z, err := a.cfg.Zones.Zone(ctx, in.Name)
			return &body[device.Zone]{z}, err
		})
	register(a, operation{id: "update-zone", allow: access.ZoneWrite, second: access.ApplyPolicy, method: http.MethodPut, path: "/zones/{name}", tag: tag, summary: "Update a zone",
		description: "Writes every field: one left out is emptied. To take a zone out of production may need a second person.", request: zoneUpdate{1, input}, response: exampleZone},
		func(ctx context.Context, by access.Actor, in *zonePut) (*body[device.Zone], error) {
			z := in.Body.ZoneInput.noun(in.Name)
			z.Version = in.Body.Version
			if err := z.Validate(); err != nil {
				return nil, err
			}
			z, err := a.cfg.Zones.UpdateZone(ctx, by, z)
			return &body[device.Zone]{z}, err
		})
}
