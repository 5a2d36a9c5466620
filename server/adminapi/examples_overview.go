package adminapi

import (
	"time"

	"github.com/holdfast-iot/holdfast/policy/reach"
)

// The examples of what the overview and its like show.
var (
	exampleRefusal = Refusal{Time: exampleTime, Last: exampleTime.Add(8 * time.Second), Kind: "publish-refused", Action: "publish",
		Principal: RefusedPrincipal{Kind: "device", ID: "pump-1", Type: "pump", Zone: "north"}, Client: "pump-1", Address: "192.0.2.17:41712",
		Topic: "water/north/pump-2/telemetry", Detail: "no rule allows it", Count: 41, Node: "node-1"}

	exampleRates = Rates{Window: "15m", By: "zone", Since: exampleTime.Add(-time.Hour), From: exampleTime, Step: 5, Nodes: 1,
		Series: []Series{{What: "zone", Name: "north", In: []int64{12, 11, 12}, Out: []int64{12, 11, 12}, Refused: []int64{0, 3, 0}}}}

	exampleOverview = Overview{Time: exampleTime,
		Devices:  &DeviceNumbers{Total: 1000, ByState: map[string]int64{"active": 981, "registered": 18, "quarantined": 1}, Complete: true},
		Sessions: &SessionNumbers{Total: 983, ByKind: map[string]int{"device": 981, "app": 2}},
		Rates:    &MessageRates{In: 196.2, Out: 201.4, Refused: 41},
		Refused:  []RuleRefusals{{Kind: "publish-refused", Count: 41, Clients: 1}},
		Certificates: &CertificateNumbers{Week: 1, Month: 14, Due: 1, Complete: true, First: []CertificateEnd{{Serial: exampleCertificate.Serial, Profile: "device",
			Principal: "pump-2", NotAfter: exampleTime.Add(48 * time.Hour), Overdue: true, Zone: "north", Type: "pump"}}},
		Waiting: new(1), Approvals: new(0), Authority: &AuthorityEnd{ID: exampleCA.ID, Role: "issuing", NotAfter: exampleLater},
		Policy: &PolicyNow{Version: 3, Since: exampleTime}, Warnings: []string{},
		Attention: []Attention{{Severity: SeverityMedium, Title: "Device pump-1 was refused 41 times in 15 minutes", Detail: "the last time: no rule allows it", Kind: "device", ID: "pump-1", Since: exampleTime}}}

	exampleReachRule = &reach.Rule{Name: "DeviceType/pump/telemetry", File: "pump.yaml", Line: 7}
	exampleHearRule  = &reach.Rule{Name: "App/historian/readings", File: "historian.yaml", Line: 5}
	exampleZoneMap   = ZoneMap{Policy: 3, Time: exampleTime, Graph: reach.Graph{
		Nodes: []reach.Node{
			{ID: "zone:north", Kind: reach.ZoneNode, Name: "north", Zone: "north", Count: 12, Production: true, SecurityLevel: 2},
			{ID: "device:north/pump", Kind: reach.DeviceNode, Name: "pump", Zone: "north", Parent: "zone:north", Count: 12, Production: true, SecurityLevel: 2, Sends: 1},
			{ID: "app:historian", Kind: reach.AppNode, Name: "historian", Receives: 1},
		},
		Edges: []reach.Edge{{From: "device:north/pump", To: "app:historian", Ways: []*reach.Way{{Topic: "water/north/{sender id}/telemetry",
			Send: exampleReachRule, Sent: "water/${device.zone}/${device.id}/telemetry", Receive: exampleHearRule, Received: "water/+/+/telemetry"}}}},
		Flows: []reach.Flow{{From: "zone:north", To: "app:historian", Edges: 1, SendRules: 1, ReceiveRules: 1}},
		Observations: []reach.Observation{{Kind: reach.NoApp, Nodes: []string{"zone:south"}, Text: "no app can receive anything from the zone south",
			Fix: "let an app subscribe to what it sends"}},
	}}
)
