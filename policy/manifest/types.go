// Package manifest is policy as its authors write it: YAML documents that say
// what device types, zones, apps and message policies allow, read into values
// that are valid by construction, each with the place it came from.
//
// It promises that every error names file, line and column and says what to
// write instead, that an unknown key is an error, and that memory is bounded by
// the input. It trusts nobody: manifests come from people and pull requests.
// Whoever can write manifests that are applied decides who may say what.
package manifest

import "time"

// Version is the apiVersion of all documents.
const Version = "holdfast.dev/v1"

// Operator is the audience that sees every field whole. It is built in.
const Operator = "operator"

// Kind says what a document declares.
type Kind string

// The kinds of documents.
const (
	DeviceTypeKind    Kind = "DeviceType"    // what devices of a type may do, their commands and the marks of their fields
	ZoneKind          Kind = "Zone"          // what every device of a zone may do besides
	AppKind           Kind = "App"           // what a program that uses the data may do
	MessagePolicyKind Kind = "MessagePolicy" // rules for whom a selector chooses; the one kind that can deny
	AudienceKind      Kind = "Audience"      // what a kind of reader sees of marked fields
	PolicyTestKind    Kind = "PolicyTest"    // cases that must come out as written
)

// Pos is a place in a manifest: line and column begin with 1; zero is unknown.
type Pos struct {
	File         string
	Line, Column int
}

// Set is all manifests of a policy: names are unique per kind.
type Set struct {
	DeviceTypes []DeviceType
	Zones       []Zone
	Apps        []App
	Policies    []MessagePolicy
	Audiences   []Audience
	Tests       []Test
}

// Meta names a document.
type Meta struct {
	// Name is [a-z0-9] and -._ in between, at most 63 bytes; that of a DeviceType
	// or Zone is the inventory's: 1 to 64 of A-Z a-z 0-9 . _ -.
	Name        string
	Description string
	Pos         Pos // of the name
}

// DeviceType says what devices of an inventory type of the same name may do.
type DeviceType struct {
	Meta
	ClientIDs []Pattern // which client ids a device may use; none: its own id only
	Grants
	Commands []Command
	Marks    []Mark
	Limits   Limits // of each device; zero fields: the defaults of the server
	Total    Limits // of all devices of the type together, per node
}

// Zone says what every device of an inventory zone of the same name may do besides.
type Zone struct {
	Meta
	Grants
}

// App is a program with a certificate or a token of its own name.
type App struct {
	Meta
	ClientIDs []Pattern // none: the app's name, or the name, "/" and anything; "*" stands for any text
	Audience  string    // what it sees of marked fields; empty: nothing of them
	Grants
	Limits Limits
}

// MessagePolicy is rules for whom its selector chooses.
type MessagePolicy struct {
	Meta
	Select Selector
	Grants
	DenyPublish   []Rule // win over every grant
	DenySubscribe []Rule
}

// Selector chooses principals: those that match every field that is set. One
// without any field chooses everybody.
type Selector struct {
	Kinds  []string // device, gateway, app
	Types  []string // device types
	Zones  []string
	IDs    []string          // exact
	Labels map[string]string // every pair must be present
}

// Grants are what a document allows.
type Grants struct {
	Publish   []Rule
	Subscribe []Rule
}

// Rule allows or denies what matches one of its topics.
type Rule struct {
	Name    string    // unique in its document; made from its place, such as "publish-2", when not given
	Topics  []Pattern // at least one
	QoS     *int      // the highest; nil: 2
	Retain  *bool     // may messages be retained? nil: no
	Shared  *bool     // subscribing: may the subscription be shared? nil: yes
	When    string    // CEL over device, message and now; empty: always
	WhenPos Pos       // of the first character of the expression
	Payload *Payload  // publishing: nil: anything up to the server's limit
	Rate    Rate      // publishing: of each principal on this rule
	Pos     Pos
}

// Pattern is a topic filter, or a client id, with variables: ${device.id},
// ${device.type}, ${device.zone}, ${device.labels.NAME}, ${app.name},
// ${gateway.id}. A variable stands for exactly one level, or a part of one; a
// principal whose value is missing, empty or holds /, + or # matches nothing.
type Pattern struct {
	Text string
	Pos  Pos
}

// Format says how a payload is read.
type Format string

// The formats of payloads.
const (
	Any  Format = "any"
	JSON Format = "json" // one JSON value (RFC 8259) of UTF-8, no duplicate names
	Text Format = "text" // UTF-8
)

// Payload says what a message must look like.
type Payload struct {
	Format   Format
	MinBytes int
	MaxBytes int // 0: the server's limit
	Fields   []Field
	Closed   bool // JSON objects may hold no field that is not listed
	Pos      Pos
}

// FieldType is the JSON type of a field.
type FieldType string

// The types of fields.
const (
	Number  FieldType = "number"
	Integer FieldType = "integer"
	String  FieldType = "string"
	Boolean FieldType = "boolean"
	Object  FieldType = "object"
	Array   FieldType = "array"
)

// Field is a rule for one place in a JSON payload.
type Field struct {
	Path     string // JSON pointer (RFC 6901), such as /position/lat
	Type     FieldType
	Required bool
	Min, Max *float64 // numbers: the value, inclusive; strings: bytes; arrays: elements
	OneOf    []string // strings: the values allowed
	Pos      Pos
}

// Rate bounds how much: zero fields bound nothing.
type Rate struct {
	Messages float64 // per second, a fraction means one in several seconds
	Burst    int     // messages at once; 0: one second's worth, at least 1
	Bytes    float64 // payload bytes per second; up to two seconds' worth at once
}

// Limits bound what one principal may use; zero fields mean the default.
type Limits struct {
	Rate          Rate
	Subscriptions int           // filters of one session
	Connections   int           // sessions of one principal at the same time
	Inflight      int           // receive maximum, 1 to 65535
	PacketSize    int           // bytes
	SessionExpiry time.Duration // the longest
	DailyMessages int64         // quota per UTC day and node
	DailyBytes    int64
}

// Command is a message that makes a device do something physical. Whoever
// publishes it needs a grant; these interlocks hold for everybody, when it is
// published and again before it is delivered.
type Command struct {
	Name     string
	Topic    Pattern // holds ${device.id} as a whole level, no wildcards: that is the actuator
	Payload  *Payload
	Rate     Rate     // of all publishers together, per actuator
	RefuseIn []string // states and conditions of the device: quarantined, retired, registered, pending, maintenance; nil: all of these
	When     string   // CEL; must be true
	WhenPos  Pos
	Pos      Pos
}

// Mark says that a field of a device's messages needs protection.
type Mark struct {
	Path string // JSON pointer; * stands for every element or member
	As   string // personal, location, secret, or a name of the operator's own
	Pos  Pos
}

// Transform is what happens to a marked field.
type Transform string

// The transforms.
const (
	Whole      Transform = "whole"      // as it is
	Masked     Transform = "mask"       // all but the last Keep characters become *
	Hashed     Transform = "hash"       // keyed hash: equal values stay equal
	Generalize Transform = "generalize" // numbers are rounded to Step, times cut to Unit
	Dropped    Transform = "drop"       // the member is left out
)

// Audience says what a kind of reader sees. A mark without an entry is dropped.
type Audience struct {
	Meta
	Sees []View
}

// View is the transform of one mark.
type View struct {
	Mark string
	Do   Transform
	Keep int     // mask: 0 to 16 characters
	Step float64 // generalize numbers: multiples of this
	Unit string  // generalize times: year, month, day, hour
	Pos  Pos
}

// Test is a case that must come out as written.
type Test struct {
	Meta
	Cases []Case
}

// Case asks whether somebody may do one thing.
type Case struct {
	Name string
	As   Subject
	At   time.Time // zero: when the test runs

	// One of these.
	Publish   *TestMessage
	Receive   *TestMessage
	Subscribe string
	Connect   string // client id

	Target map[string]Subject // facts of devices that commands go to, by id

	Allow bool   // what is expected
	Rule  string // the rule that must decide, as Explain names it: Kind/name/rule; empty: any
	Pos   Pos
}

// Subject is the facts of a principal in a test.
type Subject struct {
	Kind        string // device, gateway, app
	ID          string
	Type, Zone  string
	Labels      map[string]string
	State       string // a device's: active when empty
	Maintenance bool
}

// TestMessage is a message in a test.
type TestMessage struct {
	Topic   string
	Payload []byte
	QoS     int
	Retain  bool
	From    *Subject // Receive: who published; nil: an app
}
