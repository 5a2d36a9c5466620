package mqtt

import (
	"fmt"
	"slices"
)

// Number identifies a property whose value is an integer.
type Number byte

// Blob identifies a property whose value is a string or bytes.
type Blob byte

// The properties of MQTT 5 (section 2.2.2.2) that hold an integer; times are in seconds. Subscription identifiers and user
// properties may repeat and are fields of [Properties].
const (
	PayloadFormat           Number = 0x01 // 1: the payload is UTF-8
	MessageExpiry           Number = 0x02 // seconds
	SessionExpiry           Number = 0x11 // seconds; 0xFFFFFFFF: never
	ServerKeepAlive         Number = 0x13 // seconds
	RequestProblemInfo      Number = 0x17 // 0 or 1
	WillDelay               Number = 0x18 // seconds
	RequestResponseInfo     Number = 0x19 // 0 or 1
	ReceiveMaximum          Number = 0x21 // 1 to 65535
	TopicAliasMaximum       Number = 0x22
	TopicAlias              Number = 0x23 // 1 to 65535
	MaximumQoS              Number = 0x24 // 0 or 1
	RetainAvailable         Number = 0x25 // 0 or 1
	MaximumPacketSize       Number = 0x27 // bytes, at least 1
	WildcardAvailable       Number = 0x28 // 0 or 1
	SubscriptionIDAvailable Number = 0x29 // 0 or 1
	SharedAvailable         Number = 0x2A // 0 or 1
)

// The properties that hold a string, or bytes for CorrelationData and AuthData.
const (
	ContentType      Blob = 0x03
	ResponseTopic    Blob = 0x08
	CorrelationData  Blob = 0x09
	AssignedClientID Blob = 0x12
	AuthMethod       Blob = 0x15
	AuthData         Blob = 0x16
	ResponseInfo     Blob = 0x1A
	ServerReference  Blob = 0x1C
	ReasonString     Blob = 0x1F
)

const (
	idSubscription = 0x0B
	idUser         = 0x26
	idCount        = 0x2B
)

// UserProperty is a name and a value that mean what the applications agree on. Names may repeat.
type UserProperty struct{ Key, Value []byte }

// Properties are the properties of a packet or of a will. The zero value has none. A Properties is not for use by several
// goroutines while one changes it; what Set keeps it does not copy.
type Properties struct {
	present uint64 // bit per identifier
	foreign bool   // Set was given an identifier that is not of its kind
	numbers [idCount]uint32
	blobs   [9][]byte

	SubscriptionIDs []uint32 // each 1 to 268435455; SUBSCRIBE at most one
	User            []UserProperty
}

// Number returns an integer property and whether it is there.
func (p *Properties) Number(id Number) (uint32, bool) {
	if !p.has(byte(id)) {
		return 0, false
	}
	return p.numbers[id], true
}

// Blob returns a string or binary property, not copied, and whether it is there.
func (p *Properties) Blob(id Blob) ([]byte, bool) {
	if !p.has(byte(id)) {
		return nil, false
	}
	return p.blobs[propertyTable[id].slot], true
}

// SetNumber sets an integer property. A value out of range is refused when the packet is written.
func (p *Properties) SetNumber(id Number, v uint32) {
	if id >= idCount || !propertyTable[id].kind.number() {
		p.foreign = true
		return
	}
	p.present |= 1 << id
	p.numbers[id] = v
}

// SetBlob sets a string or binary property. A value against the rules is refused when the packet is written.
func (p *Properties) SetBlob(id Blob, v []byte) {
	if id >= idCount || !propertyTable[id].kind.blob() {
		p.foreign = true
		return
	}
	p.present |= 1 << id
	p.blobs[propertyTable[id].slot] = v
}

// ClearNumber removes an integer property, such as a topic alias before a message is passed on.
func (p *Properties) ClearNumber(id Number) { p.clear(byte(id)) }

// ClearBlob removes a string or binary property.
func (p *Properties) ClearBlob(id Blob) { p.clear(byte(id)) }

// Empty reports whether there is no property at all.
func (p *Properties) Empty() bool {
	return p.present == 0 && !p.foreign && len(p.SubscriptionIDs) == 0 && len(p.User) == 0
}

// Clone returns a copy that shares no memory, for keeping after the Reader moved on.
func (p *Properties) Clone() Properties {
	q := *p
	for i, b := range q.blobs {
		q.blobs[i] = slices.Clone(b)
	}
	q.SubscriptionIDs = slices.Clone(p.SubscriptionIDs)
	q.User = slices.Clone(p.User)
	for i, u := range q.User {
		q.User[i] = UserProperty{slices.Clone(u.Key), slices.Clone(u.Value)}
	}
	return q
}

// Format lists the names of the properties that are there, never their values: some are secret, some personal.
func (p Properties) Format(f fmt.State, _ rune) {
	var names []string
	for id, d := range propertyTable {
		if p.has(byte(id)) {
			names = append(names, d.name)
		}
	}
	_, _ = fmt.Fprintf(f, "%v + %d subscription identifiers + %d user", names, len(p.SubscriptionIDs), len(p.User))
}

func (p *Properties) has(id byte) bool { return p.present>>id&1 == 1 }

func (p *Properties) clear(id byte) {
	if id < idCount {
		p.present &^= 1 << id
	}
}

// reset empties p and keeps the memory of its lists.
func (p *Properties) reset() {
	p.present, p.foreign = 0, false
	p.SubscriptionIDs, p.User = p.SubscriptionIDs[:0], p.User[:0]
}
