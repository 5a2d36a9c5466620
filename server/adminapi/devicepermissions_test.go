package adminapi

import (
	"context"
	"testing"

	"github.com/holdfast-iot/holdfast/device"
)

func (m *memory) DevicePermissions(_ context.Context, id device.ID) (DevicePermissions, error) {
	if id != "sensor-0001" {
		return DevicePermissions{}, missing("device")
	}
	return DevicePermissions{Version: 3, Rules: []PermittedRule{{Rule: "DeviceType/sensor/telemetry", Topics: []PermittedTopic{{Pattern: "a/b"}}}, {Rule: "Zone/z/none"}}}, nil
}

// Lists are never null in JSON: readers in other languages go through them.
func TestDevicePermissionsLists(t *testing.T) {
	m, c := serve(t)
	m.devices["sensor-0001"] = exampleDevice
	p, err := c.DevicePermissions(t.Context(), "sensor-0001")
	if err != nil || p.ClientIDs == nil || p.Rules[0].Topics[0].Guards == nil || p.Rules[1].Topics == nil {
		t.Fatalf("got %+v, %v", p, err)
	}
	if _, err := c.DevicePermissions(t.Context(), "other"); err == nil {
		t.Fatal("permissions of a device that does not exist were shown")
	}
}
