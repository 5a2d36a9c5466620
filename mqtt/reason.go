package mqtt

import (
	"fmt"
	"slices"
)

// ReasonCode is the outcome of an operation: below 0x80 success, otherwise failure (MQTT 5 section 2.4). In a CONNACK
// of MQTT 3.1.1 it is the return code 0 to 5 of that standard; see [ReasonCode.Return311].
type ReasonCode byte

// The reason codes of MQTT 5. Zero has other names in other packets: normal disconnection, granted QoS 0.
const (
	Success                     ReasonCode = 0x00
	GrantedQoS1                 ReasonCode = 0x01
	GrantedQoS2                 ReasonCode = 0x02
	DisconnectWithWill          ReasonCode = 0x04
	NoMatchingSubscribers       ReasonCode = 0x10
	NoSubscriptionExisted       ReasonCode = 0x11
	ContinueAuthentication      ReasonCode = 0x18
	ReAuthenticate              ReasonCode = 0x19
	UnspecifiedError            ReasonCode = 0x80
	MalformedPacket             ReasonCode = 0x81
	ProtocolError               ReasonCode = 0x82
	ImplementationSpecificError ReasonCode = 0x83
	UnsupportedProtocolVersion  ReasonCode = 0x84
	ClientIDNotValid            ReasonCode = 0x85
	BadUserNameOrPassword       ReasonCode = 0x86
	NotAuthorized               ReasonCode = 0x87
	ServerUnavailable           ReasonCode = 0x88
	ServerBusy                  ReasonCode = 0x89
	Banned                      ReasonCode = 0x8A
	ServerShuttingDown          ReasonCode = 0x8B
	BadAuthenticationMethod     ReasonCode = 0x8C
	KeepAliveTimeout            ReasonCode = 0x8D
	SessionTakenOver            ReasonCode = 0x8E
	TopicFilterInvalid          ReasonCode = 0x8F
	TopicNameInvalid            ReasonCode = 0x90
	PacketIDInUse               ReasonCode = 0x91
	PacketIDNotFound            ReasonCode = 0x92
	ReceiveMaximumExceeded      ReasonCode = 0x93
	TopicAliasInvalid           ReasonCode = 0x94
	PacketTooLarge              ReasonCode = 0x95
	MessageRateTooHigh          ReasonCode = 0x96
	QuotaExceeded               ReasonCode = 0x97
	AdministrativeAction        ReasonCode = 0x98
	PayloadFormatInvalid        ReasonCode = 0x99
	RetainNotSupported          ReasonCode = 0x9A
	QoSNotSupported             ReasonCode = 0x9B
	UseAnotherServer            ReasonCode = 0x9C
	ServerMoved                 ReasonCode = 0x9D
	SharedNotSupported          ReasonCode = 0x9E
	ConnectionRateExceeded      ReasonCode = 0x9F
	MaximumConnectTime          ReasonCode = 0xA0
	SubscriptionIDNotSupported  ReasonCode = 0xA1
	WildcardNotSupported        ReasonCode = 0xA2
)

var reasonNames = map[ReasonCode]string{
	Success: "success", GrantedQoS1: "granted QoS 1", GrantedQoS2: "granted QoS 2",
	DisconnectWithWill: "disconnect with will message", NoMatchingSubscribers: "no matching subscribers",
	NoSubscriptionExisted: "no subscription existed", ContinueAuthentication: "continue authentication",
	ReAuthenticate: "re-authenticate", UnspecifiedError: "unspecified error", MalformedPacket: "malformed packet",
	ProtocolError: "protocol error", ImplementationSpecificError: "implementation specific error",
	UnsupportedProtocolVersion: "unsupported protocol version", ClientIDNotValid: "client identifier not valid",
	BadUserNameOrPassword: "bad user name or password", NotAuthorized: "not authorized",
	ServerUnavailable: "server unavailable", ServerBusy: "server busy", Banned: "banned",
	ServerShuttingDown: "server shutting down", BadAuthenticationMethod: "bad authentication method",
	KeepAliveTimeout: "keep alive timeout", SessionTakenOver: "session taken over",
	TopicFilterInvalid: "topic filter invalid", TopicNameInvalid: "topic name invalid",
	PacketIDInUse: "packet identifier in use", PacketIDNotFound: "packet identifier not found",
	ReceiveMaximumExceeded: "receive maximum exceeded", TopicAliasInvalid: "topic alias invalid",
	PacketTooLarge: "packet too large", MessageRateTooHigh: "message rate too high", QuotaExceeded: "quota exceeded",
	AdministrativeAction: "administrative action", PayloadFormatInvalid: "payload format invalid",
	RetainNotSupported: "retain not supported", QoSNotSupported: "QoS not supported",
	UseAnotherServer: "use another server", ServerMoved: "server moved",
	SharedNotSupported: "shared subscriptions not supported", ConnectionRateExceeded: "connection rate exceeded",
	MaximumConnectTime: "maximum connect time", SubscriptionIDNotSupported: "subscription identifiers not supported",
	WildcardNotSupported: "wildcard subscriptions not supported",
}

// String returns the standard's name for the code in lower case.
func (r ReasonCode) String() string {
	if s, ok := reasonNames[r]; ok {
		return s
	}
	return fmt.Sprintf("reason code 0x%02X", byte(r))
}

// Failed reports whether the code means that the operation failed.
func (r ReasonCode) Failed() bool { return r >= 0x80 }

// Return311 returns the CONNACK return code of MQTT 3.1.1 (section 3.2.2.3) that says most nearly the same.
func (r ReasonCode) Return311() ReasonCode {
	switch r {
	case Success:
		return 0
	case UnsupportedProtocolVersion:
		return 1
	case ClientIDNotValid:
		return 2
	case BadUserNameOrPassword, BadAuthenticationMethod:
		return 4
	case NotAuthorized, Banned:
		return 5
	}
	return 3
}

// allowedCodes lists the reason codes of each packet of MQTT 5, with the statement that restricts them.
var allowedCodes = [16]struct {
	rule  string
	codes []ReasonCode
}{
	CONNACK: {"MQTT-3.2.2-8", []ReasonCode{0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90,
		0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F}},
	PUBACK:   {"MQTT-3.4.2-1", []ReasonCode{0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}},
	PUBREC:   {"MQTT-3.5.2-1", []ReasonCode{0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}},
	PUBREL:   {"MQTT-3.6.2-1", []ReasonCode{0, 0x92}},
	PUBCOMP:  {"MQTT-3.7.2-1", []ReasonCode{0, 0x92}},
	SUBACK:   {"MQTT-3.9.3-2", []ReasonCode{0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}},
	UNSUBACK: {"MQTT-3.11.3-2", []ReasonCode{0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91}},
	DISCONNECT: {"MQTT-3.14.2-1", []ReasonCode{0, 4, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93,
		0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2}},
	AUTH: {"MQTT-3.15.2-1", []ReasonCode{0, 0x18, 0x19}},
}

// checkCode refuses a reason code that the packet type does not have in MQTT 5.
func checkCode(t Type, r ReasonCode) error {
	if r == Success && t != 0 || slices.Contains(allowedCodes[t].codes, r) {
		return nil
	}
	return malformed(allowedCodes[t].rule, fmt.Sprintf("reason code 0x%02X is not one of this packet's", byte(r)))
}
