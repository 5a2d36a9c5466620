package mqtt

import "errors"

// Error says why a packet was refused.
type Error struct {
	Code   ReasonCode // what to answer in CONNACK or DISCONNECT: ≥ 0x80
	Rule   string     // normative statement or section of the standard; empty when the limit is ours
	Packet Type       // the packet it happened in; 0 when its type was not read yet
	doing  string     // "reading" or "writing"
	text   string
}

// Error returns a sentence such as "reading PUBLISH: QoS 3 does not exist [MQTT-3.3.1-4]".
func (e *Error) Error() string {
	s := e.text
	if e.doing != "" {
		s = e.doing + " " + e.Packet.String() + ": " + s
	}
	if e.Rule != "" {
		s += " [" + e.Rule + "]"
	}
	return s
}

func malformed(rule, text string) error { return &Error{Code: MalformedPacket, Rule: rule, text: text} }

func protocol(rule, text string) error { return &Error{Code: ProtocolError, Rule: rule, text: text} }

func refuse(code ReasonCode, rule, text string) error {
	return &Error{Code: code, Rule: rule, text: text}
}

// during tells a fresh error what was being done; nil stays nil.
func during(err error, doing string, t Type) error {
	if err == nil {
		return nil // before e, which escapes
	}
	var e *Error
	if errors.As(err, &e) && e.doing == "" {
		e.doing, e.Packet = doing, t
	}
	return err
}
