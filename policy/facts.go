package policy

import (
	"encoding/json"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// The types of the variables of expressions.
var (
	deviceType  = types.NewObjectType("Device")
	appType     = types.NewObjectType("App")
	messageType = types.NewObjectType("Message")
)

// structType is one of these types with its fields.
type structType struct {
	typ    *types.Type
	names  []string
	fields map[string]*types.FieldType
}

// fieldOf reads a field of a Go value of type T.
type fieldOf[T any] struct {
	name string
	typ  *cel.Type
	get  func(T) any
}

func newStruct[T any](typ *types.Type, fields ...fieldOf[T]) *structType {
	s := &structType{typ: typ, fields: map[string]*types.FieldType{}}
	for _, f := range fields {
		s.names = append(s.names, f.name)
		s.fields[f.name] = &types.FieldType{
			Type:    f.typ,
			IsSet:   ref.FieldTester(func(v any) bool { x, ok := v.(T); return ok && f.get(x) != nil }),
			GetFrom: ref.FieldGetter(func(v any) (any, error) { return getField(f, v) }),
		}
	}
	return s
}

func getField[T any](f fieldOf[T], v any) (any, error) {
	x, ok := v.(T)
	if !ok {
		return nil, errNoField
	}
	if got := f.get(x); got != nil {
		return got, nil
	}
	return types.NullValue, nil
}

var errNoField = errors.New("there is no such field")

// Devices, gateways among them, and the target of a command. For an app all texts
// are empty, so that a condition over device does not err but is not met.
var deviceFields = newStruct(deviceType,
	fieldOf[*Principal]{"id", cel.StringType, func(p *Principal) any { return ofInventory(p, p.ID) }},
	fieldOf[*Principal]{"type", cel.StringType, func(p *Principal) any { return ofInventory(p, p.Type) }},
	fieldOf[*Principal]{"zone", cel.StringType, func(p *Principal) any { return ofInventory(p, p.Zone) }},
	fieldOf[*Principal]{"state", cel.StringType, func(p *Principal) any { return ofInventory(p, p.State) }},
	fieldOf[*Principal]{"kind", cel.StringType, func(p *Principal) any { return p.Kind }},
	fieldOf[*Principal]{"labels", cel.MapType(cel.StringType, cel.StringType), func(p *Principal) any { return labelsOf(p) }},
	fieldOf[*Principal]{"maintenance", cel.BoolType, func(p *Principal) any { return p.Maintenance }},
)

var appFields = newStruct(appType, fieldOf[*Principal]{"name", cel.StringType, func(p *Principal) any {
	if p.Kind != App {
		return ""
	}
	return p.ID
}})

var messageFields = newStruct(messageType,
	fieldOf[*activation]{"topic", cel.StringType, func(a *activation) any { return a.topic }},
	fieldOf[*activation]{"levels", cel.ListType(cel.StringType), func(a *activation) any { return strings.Split(a.topic, "/") }},
	fieldOf[*activation]{"size", cel.IntType, func(a *activation) any { return int64(len(a.m.Payload)) }},
	fieldOf[*activation]{"qos", cel.IntType, func(a *activation) any { return int64(a.m.QoS) }},
	fieldOf[*activation]{"retain", cel.BoolType, func(a *activation) any { return a.m.Retain }},
	fieldOf[*activation]{"payload", cel.DynType, (*activation).json},
	fieldOf[*activation]{"text", cel.StringType, (*activation).text},
	fieldOf[*activation]{"from", deviceType, func(a *activation) any { return a.from() }},
)

var structs = map[string]*structType{"Device": deviceFields, "App": appFields, "Message": messageFields}

func ofInventory(p *Principal, v string) string {
	if p.inInventory() {
		return v
	}
	return ""
}

func labelsOf(p *Principal) map[string]string {
	if p.Labels == nil {
		return map[string]string{}
	}
	return p.Labels
}

// activation gives expressions their variables. The payload is parsed when the
// first expression of a message asks for it. One goroutine uses it.
type activation struct {
	perms   *Permissions
	m       Message
	topic   string
	now     time.Time
	receive bool
	target  *Principal
	parsed  bool
	payload any // nil when it is not one JSON value
}

// ResolveName implements interpreter.Activation.
func (a *activation) ResolveName(name string) (any, bool) {
	switch name {
	case "device", "app":
		return &a.perms.who, true
	case "message":
		return a, true
	case "now":
		return types.Timestamp{Time: a.now}, true
	case "target":
		return a.target, a.target != nil
	}
	return nil, false
}

// Parent implements interpreter.Activation.
func (a *activation) Parent() interpreter.Activation { return nil }

// from is who published the message.
func (a *activation) from() *Principal {
	if a.receive {
		return &a.m.From
	}
	return &a.perms.who
}

// json gives the payload as a value, or nil. What payload rules would refuse as
// JSON is nil here too: no two readers may see different values.
func (a *activation) json() any {
	if !a.parsed {
		a.parsed = true
		if code, _ := plainJSON.check(a.m.Payload); code == "" {
			if json.Unmarshal(a.m.Payload, &a.payload) != nil {
				a.payload = nil
			}
		}
	}
	return a.payload
}

// text gives the payload when it is UTF-8, and else an empty text.
func (a *activation) text() any {
	if !utf8.Valid(a.m.Payload) {
		return ""
	}
	return string(a.m.Payload)
}
