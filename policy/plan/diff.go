// Package plan says what applying manifests would change: which documents differ
// and how, whether the tests beside them pass, and whom of those who are
// connected it affects.
//
// It promises never to call a change harmless that is not: where it cannot tell
// whether a change allows more or less, it says both. It trusts that the sets
// were loaded without problems. Whoever could change what it says could have an
// operator apply more than was read.
package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// What happens to a document.
type What string

// The things that happen.
const (
	Added   What = "added"
	Removed What = "removed"
	Changed What = "changed"
)

// Change is what happens to one document.
type Change struct {
	Kind    manifest.Kind `json:"kind"`
	Name    string        `json:"name"`
	What    What          `json:"what"`
	Details []string      `json:"details,omitempty"` // for people, at most MaxDetails
	Widens  bool          `json:"widens"`            // somebody may be allowed more than before, or see more
	Narrows bool          `json:"narrows"`           // somebody may be allowed less, or see less

	marks bool // what readers see of messages from devices of the type may differ
}

// MaxDetails is the most details of one change.
const MaxDetails = 200

// Diff lists the documents that differ, by kind in the order of a Set and then by
// name. Places, comments and the order of documents make no difference.
func Diff(old, new *manifest.Set) []Change {
	var out []Change
	out = compare(out, manifest.DeviceTypeKind, old.DeviceTypes, new.DeviceTypes, func(d manifest.DeviceType) string { return d.Name }, diffDeviceType)
	out = compare(out, manifest.ZoneKind, old.Zones, new.Zones, func(z manifest.Zone) string { return z.Name }, diffZone)
	out = compare(out, manifest.AppKind, old.Apps, new.Apps, func(a manifest.App) string { return a.Name }, diffApp)
	out = compare(out, manifest.MessagePolicyKind, old.Policies, new.Policies, func(p manifest.MessagePolicy) string { return p.Name }, diffPolicy)
	out = compare(out, manifest.AudienceKind, old.Audiences, new.Audiences, func(a manifest.Audience) string { return a.Name }, diffAudience)
	return compare(out, manifest.PolicyTestKind, old.Tests, new.Tests, func(t manifest.Test) string { return t.Name }, diffTest)
}

// compare pairs documents by name. A document that is not there allows and denies
// what an empty one does, so one that comes or goes is compared with that.
func compare[T any](out []Change, kind manifest.Kind, old, new []T, name func(T) string, diff func(d *diff, a, b T)) []Change {
	var none T
	byName := func(list []T) map[string]T {
		m := map[string]T{}
		for _, doc := range list {
			m[name(doc)] = doc
		}
		return m
	}
	before, after := byName(old), byName(new)
	var changes []Change
	for n, doc := range before {
		if _, stays := after[n]; !stays {
			changes = append(changes, change(kind, n, Removed, doc, none, diff))
		}
	}
	for n, doc := range after {
		if was, there := before[n]; !there {
			changes = append(changes, change(kind, n, Added, none, doc, diff))
		} else if c := change(kind, n, Changed, was, doc, diff); len(c.Details) > 0 {
			changes = append(changes, c)
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return cmp.Compare(a.Name, b.Name) })
	return append(out, changes...)
}

func change[T any](kind manifest.Kind, name string, what What, old, new T, compare func(d *diff, a, b T)) Change {
	d := &diff{}
	compare(d, old, new)
	if more := len(d.details) - MaxDetails; more > 0 {
		d.details = append(d.details[:MaxDetails-1], fmt.Sprintf("and %d more", more+1))
	}
	return Change{Kind: kind, Name: name, What: what, Details: d.details, Widens: d.widens, Narrows: d.narrows, marks: d.marks}
}

// diff collects what differs between two documents.
type diff struct {
	details         []string
	widens, narrows bool
	marks           bool
}

// effect is what a difference does to what is allowed or seen.
type effect int

const (
	nothing effect = iota
	widens
	narrows
	unsure // both
)

func (e effect) inverse() effect {
	switch e {
	case widens:
		return narrows
	case narrows:
		return widens
	}
	return e
}

func (d *diff) add(e effect, text string, args ...any) {
	d.details = append(d.details, fmt.Sprintf(text, args...))
	d.widens = d.widens || e == widens || e == unsure
	d.narrows = d.narrows || e == narrows || e == unsure
}

// join takes over the differences of a part, under its name; denial turns them round.
func (d *diff) join(part *diff, name string, denial bool) {
	for _, text := range part.details {
		d.details = append(d.details, name+": "+text)
	}
	if denial {
		part.widens, part.narrows = part.narrows, part.widens
	}
	d.widens, d.narrows = d.widens || part.widens, d.narrows || part.narrows
}

// list compares lists whose order means nothing; more of it has the effect e.
func (d *diff) list(what string, old, new []string, e effect) {
	for _, s := range new {
		if !slices.Contains(old, s) {
			d.add(e, "%s + %s", what, s)
		}
	}
	for _, s := range old {
		if !slices.Contains(new, s) {
			d.add(e.inverse(), "%s − %s", what, s)
		}
	}
}

// text compares texts of which neither is known to allow more.
func (d *diff) text(what, old, new string, e effect) {
	if old != new {
		d.add(e, "%s %s → %s", what, or(old, "none"), or(new, "none"))
	}
}

func or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

// bound compares upper bounds: more allows more, and zero, which is called empty,
// has the effect that missing says it has when it becomes a number.
func bound[T int | int64 | float64](d *diff, what string, old, new T, empty string, missing effect, show func(T) string) {
	if old == new {
		return
	}
	text := func(v T) string {
		if v == 0 {
			return empty
		}
		return show(v)
	}
	e := narrows
	switch {
	case old == 0:
		e = missing
	case new == 0:
		e = missing.inverse()
	case new > old:
		e = widens
	}
	d.add(e, "%s %s → %s", what, text(old), text(new))
}

// description compares descriptions, which refuse nobody.
func (d *diff) description(old, new manifest.Meta) {
	if old.Name == new.Name && old.Description != new.Description {
		d.add(nothing, "description changed")
	}
}
