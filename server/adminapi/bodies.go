package adminapi

import (
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
)

// typePEM is the media type of PEM bodies (RFC 8555 section 9.1).
const typePEM = "application/pem-certificate-chain"

type typeCreate struct {
	Name  device.TypeName `json:"name"`
	Stage device.Stage    `json:"stage,omitempty"`
	TypeInput
}

type typeUpdate struct {
	Version int64 `json:"version"`
	TypeInput
}

type stageMove struct {
	Stage  device.Stage `json:"stage" doc:"prototype, develop, deploy, operate or decommission"`
	Reason string       `json:"reason"`
}

type signOffInput struct {
	Stage     device.Stage `json:"stage" doc:"deploy or operate"`
	Statement string       `json:"statement" doc:"what was reviewed and accepted, at least 10 characters"`
	Evidence  string       `json:"evidence,omitempty" doc:"where the report is"`
}

type zoneCreate struct {
	Name device.ZoneName `json:"name"`
	ZoneInput
}

type zoneUpdate struct {
	Version int64 `json:"version"`
	ZoneInput
}

type deviceCreate struct {
	ID device.ID `json:"id"`
	DeviceInput
}

type deviceUpdate struct {
	Version int64 `json:"version"`
	DeviceInput
}

type maintenance struct {
	On     bool   `json:"on"`
	Reason string `json:"reason,omitempty"`
}

type createdToken struct {
	Token  enroll.Token `json:"token"`
	Secret string       `json:"secret" doc:"what the device presents; it is never shown again"`
}

type rotationInput struct {
	Algorithm string `json:"algorithm,omitempty" doc:"P-256, P-384 or Ed25519; default: the configured one"`
}

type rotation struct {
	CSR string `json:"csr" doc:"PEM; to be signed with the root key"`
}

// empty is an answer without a body.
type empty struct{}
