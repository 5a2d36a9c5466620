package mqtt

// kind is the data type of a property.
type kind byte

const (
	kindNone kind = iota
	kindFlag      // a byte, 0 or 1
	kindTwo
	kindFour
	kindText
	kindBinary
	kindVarint
	kindPair
)

func (k kind) number() bool { return k == kindFlag || k == kindTwo || k == kindFour }
func (k kind) blob() bool   { return k == kindText || k == kindBinary }

// places is a set of where a property may stand: a bit per packet type, and bit 0 for a will.
type places uint16

const (
	will      Type = 0
	inMessage      = places(1<<PUBLISH | 1<<will)
	inOpening      = places(1<<CONNECT | 1<<CONNACK)
	inReply        = places(1<<CONNACK | 1<<PUBACK | 1<<PUBREC | 1<<PUBREL | 1<<PUBCOMP | 1<<SUBACK | 1<<UNSUBACK |
		1<<DISCONNECT | 1<<AUTH)
	inAll = inReply | inMessage | 1<<CONNECT | 1<<SUBSCRIBE | 1<<UNSUBSCRIBE
)

// propertyTable is table 2-4 of MQTT 5 section 2.2.2.2, by identifier.
var propertyTable = [idCount]struct {
	name    string
	kind    kind
	slot    byte // in Properties.blobs
	nonzero bool // zero is an error
	in      places
}{
	PayloadFormat:           {"payload format indicator", kindFlag, 0, false, inMessage},
	MessageExpiry:           {"message expiry interval", kindFour, 0, false, inMessage},
	ContentType:             {"content type", kindText, 0, false, inMessage},
	ResponseTopic:           {"response topic", kindText, 1, false, inMessage},
	CorrelationData:         {"correlation data", kindBinary, 2, false, inMessage},
	idSubscription:          {"subscription identifier", kindVarint, 0, true, 1<<PUBLISH | 1<<SUBSCRIBE},
	SessionExpiry:           {"session expiry interval", kindFour, 0, false, inOpening | 1<<DISCONNECT},
	AssignedClientID:        {"assigned client identifier", kindText, 3, false, 1 << CONNACK},
	ServerKeepAlive:         {"server keep alive", kindTwo, 0, false, 1 << CONNACK},
	AuthMethod:              {"authentication method", kindText, 4, false, inOpening | 1<<AUTH},
	AuthData:                {"authentication data", kindBinary, 5, false, inOpening | 1<<AUTH},
	RequestProblemInfo:      {"request problem information", kindFlag, 0, false, 1 << CONNECT},
	WillDelay:               {"will delay interval", kindFour, 0, false, 1 << will},
	RequestResponseInfo:     {"request response information", kindFlag, 0, false, 1 << CONNECT},
	ResponseInfo:            {"response information", kindText, 6, false, 1 << CONNACK},
	ServerReference:         {"server reference", kindText, 7, false, 1<<CONNACK | 1<<DISCONNECT},
	ReasonString:            {"reason string", kindText, 8, false, inReply},
	ReceiveMaximum:          {"receive maximum", kindTwo, 0, true, inOpening},
	TopicAliasMaximum:       {"topic alias maximum", kindTwo, 0, false, inOpening},
	TopicAlias:              {"topic alias", kindTwo, 0, true, 1 << PUBLISH},
	MaximumQoS:              {"maximum QoS", kindFlag, 0, false, 1 << CONNACK},
	RetainAvailable:         {"retain available", kindFlag, 0, false, 1 << CONNACK},
	idUser:                  {"user property", kindPair, 0, false, inAll},
	MaximumPacketSize:       {"maximum packet size", kindFour, 0, true, inOpening},
	WildcardAvailable:       {"wildcard subscription available", kindFlag, 0, false, 1 << CONNACK},
	SubscriptionIDAvailable: {"subscription identifiers available", kindFlag, 0, false, 1 << CONNACK},
	SharedAvailable:         {"shared subscription available", kindFlag, 0, false, 1 << CONNACK},
}
