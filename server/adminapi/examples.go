package adminapi

import (
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
)

// The examples of the OpenAPI document. A test checks each against the schema of
// its operation.
var (
	exampleTime  = time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	exampleLater = exampleTime.Add(device.DefaultValidity)

	exampleTypeInput = TypeInput{Description: "Temperature sensor", Profile: "device", KeyAlgorithm: "P-256",
		Validity: Duration(device.DefaultValidity), Grace: Duration(72 * time.Hour), Approval: device.Auto}
	exampleType = Type{Name: "sensor", Description: "Temperature sensor", Profile: "device", KeyAlgorithm: "P-256", Stage: device.Develop,
		Validity: Duration(device.DefaultValidity), Grace: Duration(72 * time.Hour), Approval: device.Auto,
		CreatedAt: exampleTime, UpdatedAt: exampleTime, Version: 3}
	exampleSignOff = device.SignOff{ID: "so-17", Type: "sensor", Stage: device.Deploy, By: "client:admin", At: exampleTime,
		Statement: "Penetration test passed, no open findings", Evidence: "https://example.com/reports/17"}
	exampleAnchor = Anchor{ID: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", Type: "sensor",
		Subject: "CN=Example Devices Root", NotAfter: exampleLater, AddedAt: exampleTime}

	exampleZone = device.Zone{Name: "plant-1", Description: "Assembly line 1", Production: true, SecurityLevel: 2,
		CreatedAt: exampleTime, UpdatedAt: exampleTime, Version: 1}

	exampleDeviceInput = DeviceInput{Type: "sensor", Zone: "plant-1", Owner: "line-team", Serial: "SN-778812",
		Manufacturer: "Example Devices", Labels: map[string]string{"hall": "b", "line": "1"}}
	exampleDevice = device.Device{ID: "sensor-0001", Type: "sensor", Zone: "plant-1", Owner: "line-team", Serial: "SN-778812",
		Manufacturer: "Example Devices", Labels: map[string]string{"hall": "b", "line": "1"}, State: device.Registered,
		CreatedAt: exampleTime, UpdatedAt: exampleTime, Version: 4}

	exampleToken = enroll.Token{ID: "q7mzk3a2bfxe9hgt", Kind: enroll.Group, Type: "sensor", Zone: "plant-1", IDPrefix: "sensor-",
		Quota: 50, Used: 12, ExpiresAt: exampleTime.Add(24 * time.Hour), CreatedAt: exampleTime, CreatedBy: "client:admin"}
	exampleWaiting = enroll.Waiting{ID: "w-2041", DeviceID: "sensor-0001", Type: "sensor", Zone: "plant-1",
		KeyID: exampleAnchor.ID, Credential: "token q7mzk3a2bfxe9hgt", Source: "192.0.2.17", RequestedAt: exampleTime, Decision: enroll.Undecided}

	exampleCertificate = Certificate{Serial: "4f1c0a5be2974d6c8f0e1b3a5c7d9e01", Profile: "device", Principal: "sensor-0001",
		SPIFFEID: "spiffe://example.com/device/sensor-0001", KeyID: exampleAnchor.ID, Issuer: "issuing-1", Status: "issued",
		NotBefore: exampleTime, NotAfter: exampleLater, Credential: "token q7mzk3a2bfxe9hgt"}
	exampleCA = CA{ID: "issuing-1", Role: "issuing", Status: "active", Subject: "CN=Holdfast Issuing CA 1", Key: "file",
		NotBefore: exampleTime, NotAfter: exampleLater, CRLURL: "http://pki.example.com/crl/issuing-1.crl", PEM: examplePEM}

	exampleEntry = Entry{Index: 4711, Event: Event{ID: "01hqv6z8x2", Time: exampleTime, Node: "node-1",
		Actor: EventActor{Kind: "client", ID: "admin", Source: "192.0.2.17"}, Action: "device.quarantine",
		Subject: EventSubject{Kind: "device", ID: "sensor-0001"}, Outcome: "success", Request: "00c0ffee00c0ffee",
		Details: map[string]string{"reason": "reported stolen"}}}
	exampleStatus = Status{Version: "1.0.0", Node: "node-1", Started: exampleTime, Database: "sqlite", Messaging: "embedded", TrustDomain: "example.com",
		Endpoints: map[string]string{"api": "https://127.0.0.1:8443"}, Devices: map[string]int64{"active": 981, "registered": 19}, AuditSize: 4712, Warnings: []string{}}

	examplePolicyFile    = PolicyFile{Name: "pump.yaml", Text: "apiVersion: holdfast.dev/v1\nkind: DeviceType\nmetadata: {name: pump}\n"}
	examplePolicyVersion = PolicyVersion{Version: 3, CreatedAt: exampleTime, CreatedBy: "client:admin", Message: "pumps report their pressure", SHA256: exampleAnchor.ID, Size: 812}
	exampleTestResult    = PolicyTestResult{Test: "pumps", Case: "a pump cannot command another", File: "pump.yaml", Line: 41, Column: 9, Passed: true, Got: "deny", Want: "deny"}
	examplePlan          = PolicyPlan{Version: 2, Problems: []PolicyProblem{}, Tests: []PolicyTestResult{exampleTestResult}, Connected: 25, Affected: 1,
		Changes: []PolicyChange{{Kind: "DeviceType", Name: "pump", What: "changed", Details: []string{"subscribe commands: removed"}, Narrows: true}},
		Effects: []PolicyEffect{{Kind: "device", ID: "pump-1", ClientID: "pump-1", Type: "pump", Zone: "north", By: []string{"DeviceType/pump"}, Lost: []string{"water/north/pump-1/cmd/#"}}}}
	exampleExplanation = Explanation{Version: 3, As: PolicyFacts{Kind: "device", ID: "pump-1", Type: "pump", Zone: "north", State: "active"}, Allowed: true,
		Rule: "DeviceType/pump/telemetry", Steps: []ExplainStep{{Rule: "DeviceType/pump/telemetry", File: "pump.yaml", Line: 7, Effect: "allow", Pattern: "water/north/pump-1/telemetry", Outcome: "allows", Decides: true}}}
	exampleApp      = App{Name: "historian", Description: "Keeps what was measured", Audience: "operator", Declared: true, Tokens: 1}
	exampleAppToken = AppToken{ID: "q7mzk3a2bfxe9hgt", App: "historian", CreatedAt: exampleTime, CreatedBy: "client:admin", ExpiresAt: exampleLater,
		LastUsed: "2026-03-01", Note: "control room"}
	exampleAppCertificate = Certificate{Serial: "4f1c0a5be2974d6c8f0e1b3a5c7d9e02", Profile: "app", Principal: "historian",
		SPIFFEID: "spiffe://example.com/app/historian", KeyID: exampleAnchor.ID, Issuer: "issuing-1", Status: "issued",
		NotBefore: exampleTime, NotAfter: exampleLater, Credential: "operator:admin"}
	exampleSession = Session{ClientID: "pump-1", Kind: "device", ID: "pump-1", Type: "pump", Zone: "north", Node: "node-1", Address: "192.0.2.17:41712", Transport: "tls", Version: "5",
		Connected: true, Since: exampleTime, KeepAlive: 60, Expiry: 86400, Subscriptions: []Subscription{{Filter: "water/north/pump-1/cmd/#", QoS: 1, Rule: "DeviceType/pump/commands"}},
		In: Traffic{Messages: 1204, Bytes: 96320}, Out: Traffic{Messages: 7, Bytes: 210}, Refused: 1,
		Refusals: []SessionRefusal{{Time: exampleTime, Action: "publish", Topic: "water/north/pump-2/telemetry", Rule: "", Detail: "no rule allows it"}}}
	exampleTapped = tapLine{TapMessage: &TapMessage{Time: exampleTime, Topic: "water/north/pump-1/telemetry", QoS: 1,
		From: TapFrom{Kind: "device", ID: "pump-1", Type: "pump"}, Payload: []byte(`{"bar":3.1,"by":"A**"}`), Properties: []Property{}, Marks: []TapMark{{Path: "/by", Do: "mask"}}}}
)

const (
	examplePEM = "-----BEGIN CERTIFICATE-----\nMIIB...\n-----END CERTIFICATE-----\n"
	exampleCSR = "-----BEGIN CERTIFICATE REQUEST-----\nMIIB...\n-----END CERTIFICATE REQUEST-----\n"

	exampleCheckpoint = "holdfast.example.com/log\n4712\nROOT-HASH-IN-BASE64\n\n— holdfast.example.com/log SIGNATURE-IN-BASE64\n"
)
