package adminapi

import (
	"context"
	"net/http"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
)

// PermittedTopic is a topic filter of a rule, with the values of a device in it.
type PermittedTopic struct {
	Pattern string   `json:"pattern" example:"water/north/pump-1/telemetry"`
	Why     string   `json:"why,omitempty" doc:"why it stands for no topic at all: a value is missing"`
	Guards  []string `json:"guards" doc:"interlocks that a message on this topic meets before it is delivered"`
}

// PermittedRule is a rule that concerns a device.
type PermittedRule struct {
	Rule     string           `json:"rule" doc:"Kind/name/rule" example:"DeviceType/pump/telemetry"`
	File     string           `json:"file,omitempty" doc:"where it stands"`
	Line     int              `json:"line,omitzero"`
	Action   string           `json:"action" enum:"publish,subscribe"`
	Effect   string           `json:"effect" enum:"allow,deny"`
	Topics   []PermittedTopic `json:"topics"`
	QoS      int              `json:"qos" doc:"the highest"`
	Retain   bool             `json:"retain,omitempty" doc:"messages may be retained"`
	Shared   bool             `json:"shared,omitempty" doc:"the subscription may be shared"`
	When     string           `json:"when,omitempty" doc:"condition, in CEL; it is judged for each message"`
	Rate     float64          `json:"rate,omitempty" doc:"messages a second; absent: no limit of its own"`
	Burst    int              `json:"burst,omitempty" doc:"messages at once"`
	Format   string           `json:"format,omitempty" doc:"of the payload"`
	MaxBytes int              `json:"max_bytes,omitempty" doc:"of the payload; absent: the server's limit"`
	Fields   int              `json:"fields,omitempty" doc:"fields of the payload that are checked"`
}

// DevicePermissions is what the active policy lets a device say and hear.
type DevicePermissions struct {
	Version   int64           `json:"version" doc:"of the policy; 0: none was applied, and nothing is allowed"`
	As        PolicyFacts     `json:"as" doc:"the facts that were used"`
	Connects  bool            `json:"connects" doc:"it may connect with its own id as client id"`
	Why       string          `json:"why,omitempty" doc:"why not"`
	ClientIDs []string        `json:"client_ids" doc:"client ids that it may use, * stands for any text"`
	Rules     []PermittedRule `json:"rules" doc:"denials first: they win"`
}

var examplePermissions = DevicePermissions{Version: 3, As: PolicyFacts{Kind: "device", ID: "sensor-0001", Type: "sensor", Zone: "plant-1", State: "active"}, Connects: true,
	ClientIDs: []string{"sensor-0001"}, Rules: []PermittedRule{{Rule: "DeviceType/sensor/telemetry", File: "sensor.yaml", Line: 7, Action: "publish", Effect: "allow",
		Topics: []PermittedTopic{{Pattern: "plant-1/sensor-0001/telemetry", Guards: []string{}}}, QoS: 1, Rate: 5, Burst: 10, Format: "json", MaxBytes: 512, Fields: 4}}}

func (a *api) devicePermissionOperations() {
	register(a, operation{id: "show-device-permissions", allow: access.DeviceRead, also: access.PolicyRead, method: http.MethodGet, path: "/devices/{id}/permissions", tag: "devices", summary: "Show what a device may say and hear",
		description: "Every rule of the active policy that concerns the device, with its values in the topics. A device that is neither enrolled nor active has none.", response: examplePermissions},
		func(ctx context.Context, _ access.Actor, in *deviceName) (*body[DevicePermissions], error) {
			p, err := a.cfg.Policies.DevicePermissions(ctx, in.ID)
			p.ClientIDs, p.Rules = present(p.ClientIDs), present(p.Rules)
			for i := range p.Rules {
				p.Rules[i].Topics = present(p.Rules[i].Topics)
				for j := range p.Rules[i].Topics {
					p.Rules[i].Topics[j].Guards = present(p.Rules[i].Topics[j].Guards)
				}
			}
			return &body[DevicePermissions]{p}, err
		})
}

// DevicePermissions shows what the active policy lets a device say and hear.
func (c *Client) DevicePermissions(ctx context.Context, id device.ID) (DevicePermissions, error) {
	return call[DevicePermissions](ctx, c, http.MethodGet, join("devices", string(id), "permissions"), nil, nil)
}
