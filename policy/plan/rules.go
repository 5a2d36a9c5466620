package plan

import (
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

func (d *diff) grants(old, new manifest.Grants) {
	d.rules("publish", old.Publish, new.Publish, false)
	d.rules("subscribe", old.Subscribe, new.Subscribe, false)
}

// rules compares rules by name. Each grant adds to what is allowed, each denial
// takes away.
func (d *diff) rules(place string, old, new []manifest.Rule, denial bool) {
	more := widens
	if denial {
		more = narrows
	}
	find := func(list []manifest.Rule, name string) *manifest.Rule {
		i := slices.IndexFunc(list, func(r manifest.Rule) bool { return r.Name == name })
		if i < 0 {
			return nil
		}
		return &list[i]
	}
	var before, after []string // the order of those that stay
	for i := range old {
		if find(new, old[i].Name) == nil {
			d.add(more.inverse(), "%s − %s: %s", place, old[i].Name, strings.Join(topics(&old[i]), ", "))
			continue
		}
		before = append(before, old[i].Name)
	}
	for i := range new {
		was := find(old, new[i].Name)
		if was == nil {
			d.add(more, "%s + %s: %s", place, new[i].Name, strings.Join(topics(&new[i]), ", "))
			continue
		}
		after = append(after, new[i].Name)
		part := &diff{}
		part.rule(was, &new[i])
		d.join(part, place+" "+new[i].Name, denial)
	}
	if !slices.Equal(before, after) {
		d.add(unsure, "%s: order %s → %s", place, strings.Join(before, ", "), strings.Join(after, ", "))
	}
}

func topics(r *manifest.Rule) []string { return patterns(r.Topics) }

func patterns(list []manifest.Pattern) []string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.Text
	}
	return out
}

func (d *diff) rule(old, new *manifest.Rule) {
	d.list("topics", topics(old), topics(new), widens)
	bound(d, "qos", 1+qos(old), 1+qos(new), "", unsure, func(v int) string { return strconv.Itoa(v - 1) })
	d.flag("retain", value(old.Retain, false), value(new.Retain, false), widens)
	d.flag("shared", value(old.Shared, true), value(new.Shared, true), widens)
	d.when(old.When, new.When)
	d.payload(old.Payload, new.Payload)
	d.rate("rate", old.Rate, new.Rate, "unbounded", narrows)
}

func qos(r *manifest.Rule) int { return value(r.QoS, 2) }

func value[T any](v *T, none T) T {
	if v == nil {
		return none
	}
	return *v
}

// flag compares switches; on has the effect e.
func (d *diff) flag(what string, old, new bool, e effect) {
	if new == old {
		return
	}
	if old {
		e = e.inverse()
	}
	d.add(e, "%s %t → %t", what, old, new)
}

func (d *diff) when(old, new string) {
	e := unsure
	switch {
	case old == "":
		e = narrows
	case new == "":
		e = widens
	}
	d.text("when", old, new, e)
}

func (d *diff) rate(what string, old, new manifest.Rate, empty string, missing effect) {
	bound(d, what, old.Messages, new.Messages, empty, missing, func(v float64) string { return manifest.FormatRate(v, false) })
	bound(d, what+" burst", old.Burst, new.Burst, "one second's worth", unsure, strconv.Itoa)
	bound(d, what+" bytes", old.Bytes, new.Bytes, empty, missing, func(v float64) string { return manifest.FormatRate(v, true) })
}

func (d *diff) payload(old, new *manifest.Payload) {
	switch {
	case old == nil && new == nil:
		return
	case old == nil:
		d.add(narrows, "payload none → %s", describe(new))
		return
	case new == nil:
		d.add(widens, "payload %s → none", describe(old))
		return
	}
	size := func(v int) string { return manifest.FormatSize(int64(v)) }
	if old.Format != new.Format {
		e := unsure
		switch manifest.Any {
		case old.Format:
			e = narrows
		case new.Format:
			e = widens
		}
		d.add(e, "payload format %s → %s", old.Format, new.Format)
	}
	if old.MinBytes != new.MinBytes {
		d.lower("payload minBytes", pointer(old.MinBytes), pointer(new.MinBytes))
	}
	bound(d, "payload maxBytes", old.MaxBytes, new.MaxBytes, "server's limit", unsure, size)
	d.flag("payload closed", old.Closed, new.Closed, narrows)
	d.fields(old, new)
}

func describe(p *manifest.Payload) string {
	s := string(p.Format)
	if p.MaxBytes > 0 {
		s += " up to " + manifest.FormatSize(int64(p.MaxBytes))
	}
	if n := len(p.Fields); n > 0 {
		s += " with rules for " + strconv.Itoa(n) + " fields"
	}
	return s
}

func pointer(v int) *float64 {
	if v == 0 {
		return nil
	}
	f := float64(v)
	return &f
}

// fields compares the rules of fields: each narrows, but where objects are closed
// it also lets its field in.
func (d *diff) fields(old, new *manifest.Payload) {
	find := func(p *manifest.Payload, path string) *manifest.Field {
		i := slices.IndexFunc(p.Fields, func(f manifest.Field) bool { return f.Path == path })
		if i < 0 {
			return nil
		}
		return &p.Fields[i]
	}
	for i := range old.Fields {
		if f := &old.Fields[i]; find(new, f.Path) == nil {
			e := widens
			if new.Closed {
				e = unsure
			}
			d.add(e, "payload field %s removed", f.Path)
		}
	}
	for i := range new.Fields {
		f := &new.Fields[i]
		was := find(old, f.Path)
		if was == nil {
			e := narrows
			if old.Closed {
				e = unsure
			}
			d.add(e, "payload field %s added", f.Path)
			continue
		}
		part := &diff{}
		part.field(was, f)
		d.join(part, "payload field "+f.Path, false)
	}
}

func (d *diff) field(old, new *manifest.Field) {
	if old.Type != new.Type {
		e := unsure
		switch {
		case old.Type == manifest.Integer && new.Type == manifest.Number:
			e = widens
		case old.Type == manifest.Number && new.Type == manifest.Integer:
			e = narrows
		}
		d.add(e, "type %s → %s", old.Type, new.Type)
	}
	d.flag("required", old.Required, new.Required, narrows)
	d.lower("min", old.Min, new.Min)
	d.upper("max", old.Max, new.Max)
	switch {
	case len(old.OneOf) == 0 && len(new.OneOf) > 0:
		d.add(narrows, "oneOf none → %s", strings.Join(new.OneOf, ", "))
	case len(old.OneOf) > 0 && len(new.OneOf) == 0:
		d.add(widens, "oneOf %s → none", strings.Join(old.OneOf, ", "))
	default:
		d.list("oneOf", old.OneOf, new.OneOf, widens)
	}
}

func (d *diff) lower(what string, old, new *float64) { d.edge(what, old, new, narrows) }
func (d *diff) upper(what string, old, new *float64) { d.edge(what, old, new, widens) }

// edge compares an end of a range; a greater one has the effect e.
func (d *diff) edge(what string, old, new *float64, e effect) {
	show := func(v *float64) string {
		if v == nil {
			return "none"
		}
		return strconv.FormatFloat(*v, 'g', -1, 64)
	}
	switch {
	case old == nil && new == nil || old != nil && new != nil && *old == *new:
		return
	case old == nil:
		e = narrows
	case new == nil:
		e = widens
	case *new < *old:
		e = e.inverse()
	}
	d.add(e, "%s %s → %s", what, show(old), show(new))
}
