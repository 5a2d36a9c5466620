package adminapi

import (
	"context"
	"net/http"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
)

// BulkInput changes many devices.
type BulkInput struct {
	IDs    []device.ID `json:"ids" minItems:"1" maxItems:"1000" doc:"each once"`
	Reason string      `json:"reason,omitempty" maxLength:"1024"`
}

// BulkOutcome is what became of one device: its state, or why nothing.
type BulkOutcome struct {
	ID    device.ID    `json:"id"`
	State device.State `json:"state,omitempty" doc:"as it is now"`
	Error string       `json:"error,omitempty"`
}

// BulkResult is what became of each device, in the order asked.
type BulkResult struct {
	Items []BulkOutcome `json:"items"`
}

type bulkMove struct{ Body BulkInput }

func (in *bulkMove) reason() string { return in.Body.Reason }

func (in *bulkMove) objects(ctx context.Context, a *api) (list []access.Object, what, name string, err error) {
	for _, id := range in.Body.IDs {
		one, _, _, err := a.aboutDevice(ctx, id)
		if err != nil {
			return nil, "", "", err
		}
		list = append(list, one...)
	}
	return list, "device", "", nil
}

func (in *bulkMove) names() []string {
	names := make([]string, len(in.Body.IDs))
	for i, id := range in.Body.IDs {
		names[i] = string(id)
	}
	return names
}

// bulkOperations change each device by itself: one that cannot be changed is
// named in the answer and stops no other.
func (a *api) bulkOperations() {
	for _, m := range []struct {
		move    device.Move
		allow   access.Permission
		fresh   bool
		summary string
	}{
		{device.Quarantine, access.DeviceQuarantine, false, "Quarantine many devices"},
		{device.Release, access.DeviceQuarantine, false, "Release many devices from quarantine"},
		{device.Revoke, access.DeviceRevoke, true, "Revoke the certificates of many devices"},
	} {
		register(a, operation{id: string(m.move) + "-devices", allow: m.allow, fresh: m.fresh, second: access.RevokeMany, method: http.MethodPost, path: "/devices/" + string(m.move), tag: "devices", summary: m.summary,
			description: "Each device by itself, in the order given; the answer says what became of each. More than 10 within an hour, together or one by one, may need a second person.",
			request:     BulkInput{[]device.ID{exampleDevice.ID, "sensor-0002"}, "worm in the firmware, ticket 4711"}, response: exampleBulk},
			func(ctx context.Context, by access.Actor, in *bulkMove) (*body[BulkResult], error) {
				result := BulkResult{Items: make([]BulkOutcome, 0, len(in.Body.IDs))}
				for _, id := range in.Body.IDs {
					out := BulkOutcome{ID: id}
					d, err := a.cfg.Devices.ChangeDevice(ctx, by, id, m.move, in.Body.Reason)
					switch {
					case err == nil:
						out.State = d.State
					case refusal.As(err) != nil:
						out.Error = refusal.As(err).Error()
					default:
						return nil, err
					}
					result.Items = append(result.Items, out)
				}
				return &body[BulkResult]{result}, nil
			})
	}
}
