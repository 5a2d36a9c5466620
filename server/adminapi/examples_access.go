package adminapi

import (
	"net/netip"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
)

// The examples of what people and programs may do.
var (
	exampleRoleInput = RoleInput{Description: "Runs assembly line 1", Permissions: []access.Permission{access.DeviceRead, access.DeviceQuarantine, access.SessionRead}}
	exampleRole      = access.Role{Name: "line-lead", Description: exampleRoleInput.Description, Permissions: exampleRoleInput.Permissions, UpdatedAt: exampleTime, Version: 1}
	exampleGrant     = access.Grant{ID: "g7k2m9qd4xna3bfe", Kind: access.ToPerson, Subject: "p4k2m9qd7xna3bfeh", Role: "operator",
		Scope: access.Scope{Zones: []device.ZoneName{"plant-1"}}, Origin: "manual", Reason: "new on the night shift", GrantedBy: "person:p9k2m9qd7xna3bfeh", GrantedAt: exampleTime}
	exampleUnused = Unused{Kind: access.ToPerson, Subject: exampleGrant.Subject, Permission: access.DeviceWrite, Roles: []string{"operator"}, LastUsed: "2025-11-02", Since: exampleTime}

	exampleClientInput = ClientInput{Description: "Exports the inventory every night", Owner: "team-data", Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Rate: 600}
	exampleClient      = access.APIClient{ID: "c4k2m9qd7xna3bfe", Name: "inventory-export", Description: exampleClientInput.Description, Owner: exampleClientInput.Owner,
		Networks: exampleClientInput.Networks, Rate: 600, CreatedAt: exampleTime, CreatedBy: exampleGrant.GrantedBy, UsedDay: "2026-03-01", Version: 1}
	exampleKey = access.Key{ID: "q7mzk3a2bfxe9hgt", Client: exampleClient.ID, Note: "inventory export", Permissions: []access.Permission{access.DeviceRead},
		CreatedAt: exampleTime, CreatedBy: exampleGrant.GrantedBy, ExpiresAt: exampleLater, UsedDay: "2026-03-01"}

	exampleApproval = access.Approval{ID: "01980f5e-6d53-7f2a-9d5c-3f1f6f0a2b11", Action: access.RetireDevice, Operation: "retire-device", Summary: "Retire a device (devices/sensor-0001/retire)",
		Method: "POST", Path: "/api/v1/devices/sensor-0001/retire", ContentType: "application/json", RequestedBy: exampleGrant.GrantedBy, RequestedAt: exampleTime,
		Reason: "scrapped, ticket 4711", ExpiresAt: exampleLater, State: access.ApprovalWaiting}
	examplePending = Pending{"nothing has happened yet: a second person has to approve this", exampleApproval}

	exampleBulk = BulkResult{[]BulkOutcome{{ID: exampleDevice.ID, State: device.Quarantined}, {ID: "sensor-0002", Error: `there is no device "sensor-0002"`}}}
)
