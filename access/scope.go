package access

import (
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
)

// Scope bounds a grant to a part of the fleet. Fields are joined by AND, the
// values within one by OR; an empty field bounds nothing, and the zero Scope is
// the whole fleet.
type Scope struct {
	Zones  []device.ZoneName   `json:"zones,omitempty" doc:"any of these zones"`
	Types  []device.TypeName   `json:"types,omitempty" doc:"any of these device types"`
	Labels map[string][]string `json:"labels,omitempty" doc:"each label with any of these values"`
}

// maxScope bounds the values of one field.
const maxScope = 100

// Object is what a permission is used on, as far as scopes ask.
type Object struct {
	Zone   device.ZoneName
	Type   device.TypeName
	Labels map[string]string
}

// All tells whether the scope is the whole fleet.
func (s Scope) All() bool { return len(s.Zones) == 0 && len(s.Types) == 0 && len(s.Labels) == 0 }

// Covers tells whether the object is inside. An object without a zone is inside
// no scope that names zones; the same holds for types and labels.
func (s Scope) Covers(o Object) bool {
	if len(s.Zones) > 0 && !slices.Contains(s.Zones, o.Zone) {
		return false
	}
	if len(s.Types) > 0 && !slices.Contains(s.Types, o.Type) {
		return false
	}
	for name, values := range s.Labels {
		if v, ok := o.Labels[name]; !ok || !slices.Contains(values, v) {
			return false
		}
	}
	return true
}

// Validate names the field at fault.
func (s Scope) Validate() error {
	bad := func(field string) error {
		return refusal.New(refusal.Invalid, "bad-scope", "name zones, types and labels as the inventory does, each once", "the scope's %s are not valid", field)
	}
	if len(s.Zones) > maxScope || slices.ContainsFunc(s.Zones, func(z device.ZoneName) bool { return z == "" || len(z) > 64 }) {
		return bad("zones")
	}
	if len(s.Types) > maxScope || slices.ContainsFunc(s.Types, func(t device.TypeName) bool { return t == "" || len(t) > 64 }) {
		return bad("types")
	}
	if len(s.Labels) > 16 {
		return bad("labels")
	}
	for name, values := range s.Labels {
		if name == "" || len(name) > 64 || len(values) == 0 || len(values) > maxScope {
			return bad("labels")
		}
	}
	return nil
}

// String is "everything", or "zone north or south; type pump; label site=a".
func (s Scope) String() string {
	if s.All() {
		return "everything"
	}
	var parts []string
	join := func(what string, values []string) {
		if len(values) > 0 {
			parts = append(parts, what+" "+strings.Join(values, " or "))
		}
	}
	join("zone", texts(s.Zones))
	join("type", texts(s.Types))
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		join("label", []string{name + "=" + strings.Join(s.Labels[name], "|")})
	}
	return strings.Join(parts, "; ")
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}
