package adminapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
)

type deviceName struct {
	ID device.ID `path:"id" maxLength:"64" example:"sensor-0001"`
}

// DeviceQuery selects devices by query parameters, joined by AND.
type DeviceQuery struct {
	Type     device.TypeName `query:"type" maxLength:"64" doc:"of this type"`
	Zone     device.ZoneName `query:"zone" maxLength:"64" doc:"in this zone"`
	State    device.State    `query:"state" enum:"registered,pending,enrolled,active,quarantined,retired"`
	Owner    string          `query:"owner" maxLength:"128" doc:"of exactly this owner"`
	Serial   string          `query:"serial" maxLength:"128" doc:"with exactly this serial number"`
	IDPrefix string          `query:"id_prefix" maxLength:"64" doc:"whose id starts so"`
	Label    []string        `query:"label,explode" maxItems:"4" doc:"key=value; may be given up to four times"`
}

func (q DeviceQuery) filter() (device.Filter, error) {
	f := device.Filter{Type: q.Type, Zone: q.Zone, State: q.State, Owner: q.Owner, Serial: q.Serial, IDPrefix: q.IDPrefix}
	for _, l := range q.Label {
		k, v, ok := strings.Cut(l, "=")
		if _, twice := f.Labels[k]; !ok || twice {
			return f, refusal.New(refusal.Invalid, "bad-label", "write label=key=value, each key once", "a label of the filter is not key=value")
		}
		if f.Labels == nil {
			f.Labels = map[string]string{}
		}
		f.Labels[k] = v
	}
	return f, f.Validate()
}

type deviceList struct {
	DeviceQuery
	After device.ID `query:"after" maxLength:"64" doc:"list from behind this id on"`
	Limit int       `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type devicePost struct {
	Body struct {
		ID device.ID `json:"id" maxLength:"64"`
		DeviceInput
	}
}

// devicePut is a device as it shall be; what show also returns is ignored.
type devicePut struct {
	ID   device.ID `path:"id" maxLength:"64" example:"sensor-0001"`
	Body struct {
		Version int64 `json:"version" minimum:"1" doc:"the version this was made from"`
		DeviceInput
		ID          string    `json:"id,omitempty" readOnly:"true" doc:"ignored"`
		Maintenance bool      `json:"maintenance,omitempty" readOnly:"true" doc:"ignored: set by maintenance"`
		State       string    `json:"state,omitempty" readOnly:"true" doc:"ignored: moved by quarantine, release, revoke and retire"`
		CreatedAt   time.Time `json:"created_at,omitzero" readOnly:"true" doc:"ignored"`
		UpdatedAt   time.Time `json:"updated_at,omitzero" readOnly:"true" doc:"ignored"`
		EnrolledAt  time.Time `json:"enrolled_at,omitzero" readOnly:"true" doc:"ignored"`
		SeenAt      time.Time `json:"seen_at,omitzero" readOnly:"true" doc:"ignored"`
	}
}

type deviceMove struct {
	ID   device.ID `path:"id" maxLength:"64" example:"sensor-0001"`
	Body reasoned
}

type deviceMaintenance struct {
	ID   device.ID `path:"id" maxLength:"64" example:"sensor-0001"`
	Body maintenance
}

func (in DeviceInput) noun(id device.ID) device.Device {
	return device.Device{ID: id, Type: in.Type, Zone: in.Zone, Owner: in.Owner, Serial: in.Serial, Manufacturer: in.Manufacturer, Notes: in.Notes, Labels: in.Labels}
}

func (a *api) deviceOperations() {
	const tag = "devices"
	a.maintenanceOperation()
	register(a, operation{id: "list-devices", allow: access.DeviceRead, filters: true, method: http.MethodGet, path: "/devices", tag: tag, summary: "List devices",
		description: "One page of the devices that all given filters select, by id.", response: DeviceList{Items: []device.Device{exampleDevice}, Next: exampleDevice.ID}}, a.listDevices)
	register(a, operation{id: "create-device", allow: access.DeviceWrite, method: http.MethodPost, path: "/devices", tag: tag, status: http.StatusCreated, summary: "Register a device",
		description: "Its state is registered until it enrols.", request: deviceCreate{ID: exampleDevice.ID, DeviceInput: exampleDeviceInput}, response: exampleDevice},
		func(ctx context.Context, by access.Actor, in *devicePost) (*body[device.Device], error) {
			d := in.Body.DeviceInput.noun(in.Body.ID)
			if err := d.Validate(); err != nil {
				return nil, err
			}
			d, err := a.cfg.Devices.CreateDevice(ctx, by, d)
			return &body[device.Device]{d}, err
		})
	register(a, operation{id: "show-device", allow: access.DeviceRead, method: http.MethodGet, path: "/devices/{id}", tag: tag, summary: "Show a device",
		description: "One device.", response: exampleDevice},
		func(ctx context.Context, _ access.Actor, in *deviceName) (*body[device.Device], error) {
			d, err := a.cfg.Devices.Device(ctx, in.ID)
			return &body[device.Device]{d}, err
		})
	register(a, operation{id: "update-device", allow: access.DeviceWrite, method: http.MethodPut, path: "/devices/{id}", tag: tag, summary: "Update a device",
		description: "Writes every field: one left out is emptied. The state changes by the operations below only.",
		request:     deviceUpdate{Version: 4, DeviceInput: exampleDeviceInput}, response: exampleDevice},
		func(ctx context.Context, by access.Actor, in *devicePut) (*body[device.Device], error) {
			d := in.Body.DeviceInput.noun(in.ID)
			d.Version = in.Body.Version
			if err := d.Validate(); err != nil {
				return nil, err
			}
			d, err := a.cfg.Devices.UpdateDevice(ctx, by, d)
			return &body[device.Device]{d}, err
		})
	for _, m := range []struct {
		move                 device.Move
		allow                access.Permission
		fresh                bool
		second               access.Action
		summary, description string
	}{
		{device.Quarantine, access.DeviceQuarantine, false, access.RevokeMany, "Quarantine a device", "Puts its certificates on hold and refuses enrolment, within a second on every listener. Reversible."},
		{device.Release, access.DeviceQuarantine, false, access.RevokeMany, "Release a device from quarantine", "Takes the hold off its certificates."},
		{device.Revoke, access.DeviceRevoke, true, access.RevokeMany, "Revoke all certificates of a device", "For good: the device must enrol anew. Sessions end within a second on every listener."},
		{device.Retire, access.DeviceRetire, true, access.RetireDevice, "Retire a device", "Revokes its certificates and ends its life; its id is never used again."},
	} {
		register(a, operation{id: string(m.move) + "-device", allow: m.allow, fresh: m.fresh, second: m.second, method: http.MethodPost, path: "/devices/{id}/" + string(m.move), tag: tag, summary: m.summary,
			description: m.description, request: reasoned{"reported stolen, ticket 4711"}, response: exampleDevice},
			func(ctx context.Context, by access.Actor, in *deviceMove) (*body[device.Device], error) {
				d, err := a.cfg.Devices.ChangeDevice(ctx, by, in.ID, m.move, in.Body.Reason)
				return &body[device.Device]{d}, err
			})
	}
}

func (a *api) maintenanceOperation() {
	during := exampleDevice
	during.Maintenance = true
	register(a, operation{id: "maintain-device", allow: access.DeviceMaintain, method: http.MethodPost, path: "/devices/{id}/maintenance", tag: "devices", summary: "Begin or end the maintenance of a device",
		description: "While somebody works on a device no command that stops for maintenance reaches it. It keeps its certificates and goes on reporting.",
		request:     maintenance{true, "seal replaced, ticket 4713"}, response: during},
		func(ctx context.Context, by access.Actor, in *deviceMaintenance) (*body[device.Device], error) {
			d, err := a.cfg.Devices.SetMaintenance(ctx, by, in.ID, in.Body.On, in.Body.Reason)
			return &body[device.Device]{d}, err
		})
}

func (a *api) listDevices(ctx context.Context, _ access.Actor, in *deviceList) (*body[DeviceList], error) {
	f, err := in.filter()
	if err != nil {
		return nil, err
	}
	if a.everywhere(ctx, access.DeviceRead) {
		devices, next, err := a.cfg.Devices.Devices(ctx, f, device.Page{After: in.After, Limit: in.Limit})
		return &body[DeviceList]{DeviceList{Items: present(devices), Next: next}}, err
	}
	devices, next, err := pageInScope(in.Limit, string(in.After), func(d device.Device) string { return string(d.ID) }, func(after string) ([]device.Device, string, error) {
		page, next, err := a.cfg.Devices.Devices(ctx, a.narrow(ctx, access.DeviceRead, f), device.Page{After: device.ID(after), Limit: device.MaxPage})
		return page, string(next), err
	}, func(page []device.Device) ([]device.Device, error) {
		return inScope(ctx, a, access.DeviceRead, page, deviceObject)
	})
	return &body[DeviceList]{DeviceList{Items: present(devices), Next: device.ID(next)}}, err
}
