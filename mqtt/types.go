package mqtt

import "fmt"

// Version is the protocol version byte of CONNECT (MQTT 5 section 3.1.2.2).
type Version byte

// The versions spoken here. The zero Version means not known yet.
const (
	V311 Version = 4
	V5   Version = 5
)

// String returns the name that people use, such as "MQTT 3.1.1".
func (v Version) String() string {
	switch v {
	case V311:
		return "MQTT 3.1.1"
	case V5:
		return "MQTT 5"
	}
	return fmt.Sprintf("MQTT version byte %d", byte(v))
}

// Type is the control packet type, 1 to 15 (MQTT 5 section 2.1.2).
type Type byte

// The control packet types; AUTH exists in MQTT 5 only.
const (
	CONNECT Type = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

var typeNames = [16]string{"packet", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE",
	"SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

// String returns the standard's name of the type.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("packet type %d", byte(t))
}

// flags returns the fixed header flags that a type other than PUBLISH must carry (MQTT-2.1.3-1).
func (t Type) flags() byte {
	switch t {
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		return 2
	}
	return 0
}

// QoS is the delivery promise of a message, 0 to 2 (MQTT 5 section 4.3).
type QoS byte

// Sender says who writes what a Reader reads, for the rules that hold in one direction only.
type Sender byte

// Either accepts what a client or a server may send.
const (
	Either Sender = iota
	Client
	Server
)

// notSentBy holds, per sender, a bit for each type that it must not send.
var notSentBy = [3]uint16{
	Client: 1<<CONNACK | 1<<SUBACK | 1<<UNSUBACK | 1<<PINGRESP,
	Server: 1<<CONNECT | 1<<SUBSCRIBE | 1<<UNSUBSCRIBE | 1<<PINGREQ,
}

// Packet is one control packet: *Connect, *Connack, *Publish, *Puback, *Pubrec, *Pubrel, *Pubcomp, *Subscribe, *Suback,
// *Unsubscribe, *Unsuback, *Pingreq, *Pingresp, *Disconnect or *Auth.
type Packet interface {
	// Type says which of the fifteen it is.
	Type() Type
	// AppendTo appends the whole packet, fixed header included, and returns the longer slice. On error, always an
	// [*Error], dst is returned as it was. Properties are left out for V311, which has none.
	AppendTo(dst []byte, v Version) ([]byte, error)
}

// Password is the secret of CONNECT: bytes that no format verb prints.
type Password []byte

// Format writes a placeholder whatever the verb.
func (Password) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[password]")) }

// MarshalText returns a placeholder.
func (Password) MarshalText() ([]byte, error) { return []byte("[password]"), nil }
