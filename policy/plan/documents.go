package plan

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/policy/manifest"
)

func diffDeviceType(d *diff, old, new manifest.DeviceType) {
	d.description(old.Meta, new.Meta)
	d.clientIDs("its own id", old.ClientIDs, new.ClientIDs)
	d.grants(old.Grants, new.Grants)
	d.commands(old.Commands, new.Commands)
	d.marksOf(old.Marks, new.Marks)
	d.limits("limits", old.Limits, new.Limits, "default", unsure)
	d.limits("total", old.Total, new.Total, "unbounded", narrows)
}

// clientIDs compares client ids; an empty list means own, not nobody.
func (d *diff) clientIDs(own string, old, new []manifest.Pattern) {
	before, after := patterns(old), patterns(new)
	if (len(old) == 0) != (len(new) == 0) {
		d.add(unsure, "client ids %s → %s", or(strings.Join(before, ", "), own), or(strings.Join(after, ", "), own))
		return
	}
	d.list("client ids", before, after, widens)
}

// commands compares interlocks by name: each narrows what may be sent.
func (d *diff) commands(old, new []manifest.Command) {
	find := func(list []manifest.Command, name string) *manifest.Command {
		i := slices.IndexFunc(list, func(c manifest.Command) bool { return c.Name == name })
		if i < 0 {
			return nil
		}
		return &list[i]
	}
	for i := range old {
		if c := &old[i]; find(new, c.Name) == nil {
			d.add(widens, "command − %s: %s is no longer guarded", c.Name, c.Topic.Text)
		}
	}
	for i := range new {
		c := &new[i]
		was := find(old, c.Name)
		if was == nil {
			d.add(narrows, "command + %s: %s", c.Name, c.Topic.Text)
			continue
		}
		part := &diff{}
		part.text("topic", was.Topic.Text, c.Topic.Text, unsure)
		part.payload(was.Payload, c.Payload)
		part.rate("rate", was.Rate, c.Rate, "unbounded", narrows)
		part.list("refused in", refusedIn(was), refusedIn(c), narrows)
		part.when(was.When, c.When)
		d.join(part, "command "+c.Name, false)
	}
}

func refusedIn(c *manifest.Command) []string {
	if c.RefuseIn == nil {
		return manifest.Conditions
	}
	return c.RefuseIn
}

// marksOf compares marks by path: each hides something from somebody.
func (d *diff) marksOf(old, new []manifest.Mark) {
	index := func(marks []manifest.Mark) map[string]string {
		m := map[string]string{}
		for _, mark := range marks {
			m[mark.Path] = mark.As
		}
		return m
	}
	before, after := index(old), index(new)
	for _, m := range old {
		if as, stays := after[m.Path]; !stays {
			d.add(widens, "mark %s − %s", m.Path, m.As)
		} else if as != m.As {
			d.add(unsure, "mark %s %s → %s", m.Path, m.As, as)
		}
	}
	for _, m := range new {
		if _, there := before[m.Path]; !there {
			d.add(narrows, "mark %s + %s", m.Path, m.As)
		}
	}
	d.marks = !reflect.DeepEqual(before, after)
}

func (d *diff) limits(what string, old, new manifest.Limits, empty string, missing effect) {
	number := func(v int64) string { return strconv.FormatInt(v, 10) }
	part := &diff{}
	part.rate("rate", old.Rate, new.Rate, empty, missing)
	bound(part, "subscriptions", old.Subscriptions, new.Subscriptions, empty, missing, strconv.Itoa)
	bound(part, "connections", old.Connections, new.Connections, empty, missing, strconv.Itoa)
	bound(part, "inflight", old.Inflight, new.Inflight, empty, missing, strconv.Itoa)
	bound(part, "packetSize", int64(old.PacketSize), int64(new.PacketSize), empty, missing, manifest.FormatSize)
	bound(part, "sessionExpiry", int64(old.SessionExpiry), int64(new.SessionExpiry), empty, missing,
		func(v int64) string { return manifest.FormatDuration(time.Duration(v)) })
	bound(part, "dailyMessages", old.DailyMessages, new.DailyMessages, empty, missing, number)
	bound(part, "dailyBytes", old.DailyBytes, new.DailyBytes, empty, missing, manifest.FormatSize)
	d.join(part, what, false)
}

func diffZone(d *diff, old, new manifest.Zone) {
	d.description(old.Meta, new.Meta)
	d.grants(old.Grants, new.Grants)
}

func diffApp(d *diff, old, new manifest.App) {
	d.description(old.Meta, new.Meta)
	switch { // an app without rules may connect all the same
	case old.Name == "":
		d.add(widens, "may connect")
	case new.Name == "":
		d.add(narrows, "may no longer connect")
	}
	d.clientIDs("its own name", old.ClientIDs, new.ClientIDs)
	if old.Audience != new.Audience {
		e := unsure
		switch {
		case old.Audience == "", new.Audience == manifest.Operator:
			e = widens
		case new.Audience == "", old.Audience == manifest.Operator:
			e = narrows
		}
		d.add(e, "audience %s → %s", or(old.Audience, "none"), or(new.Audience, "none"))
	}
	d.grants(old.Grants, new.Grants)
	d.limits("limits", old.Limits, new.Limits, "default", unsure)
}

func diffPolicy(d *diff, old, new manifest.MessagePolicy) {
	d.description(old.Meta, new.Meta)
	if old.Name == new.Name {
		d.selector(old.Select, new.Select)
	}
	d.grants(old.Grants, new.Grants)
	d.rules("denyPublish", old.DenyPublish, new.DenyPublish, true)
	d.rules("denySubscribe", old.DenySubscribe, new.DenySubscribe, true)
}

// selector compares whom a policy is for: whether more people are more or less
// depends on its rules.
func (d *diff) selector(old, new manifest.Selector) {
	for _, f := range []struct {
		key      string
		old, new []string
	}{
		{"kinds", old.Kinds, new.Kinds}, {"types", old.Types, new.Types}, {"zones", old.Zones, new.Zones},
		{"ids", old.IDs, new.IDs}, {"labels", pairs(old.Labels), pairs(new.Labels)},
	} {
		if (len(f.old) == 0) != (len(f.new) == 0) {
			d.add(unsure, "select %s %s → %s", f.key, or(strings.Join(f.old, ", "), "any"), or(strings.Join(f.new, ", "), "any"))
			continue
		}
		d.list("select "+f.key, f.old, f.new, unsure)
	}
}

func pairs(labels map[string]string) (out []string) {
	for k, v := range labels {
		out = append(out, k+"="+v)
	}
	slices.Sort(out)
	return out
}

// diffAudience compares what is seen of marks; a mark without a view is dropped.
func diffAudience(d *diff, old, new manifest.Audience) {
	d.description(old.Meta, new.Meta)
	find := func(list []manifest.View, mark string) manifest.View {
		i := slices.IndexFunc(list, func(v manifest.View) bool { return v.Mark == mark })
		if i < 0 {
			return manifest.View{Mark: mark, Do: manifest.Dropped}
		}
		return list[i]
	}
	seen := map[string]bool{}
	for _, v := range slices.Concat(old.Sees, new.Sees) {
		if seen[v.Mark] {
			continue
		}
		seen[v.Mark] = true
		a, b := find(old.Sees, v.Mark), find(new.Sees, v.Mark)
		a.Pos, b.Pos = manifest.Pos{}, manifest.Pos{}
		if a == b {
			continue
		}
		e := unsure
		switch {
		case a.Do == manifest.Dropped, b.Do == manifest.Whole:
			e = widens
		case b.Do == manifest.Dropped, a.Do == manifest.Whole:
			e = narrows
		case a.Do == manifest.Masked && b.Do == manifest.Masked && b.Keep > a.Keep:
			e = widens
		case a.Do == manifest.Masked && b.Do == manifest.Masked:
			e = narrows
		}
		d.add(e, "sees %s %s → %s", v.Mark, view(a), view(b))
	}
}

func view(v manifest.View) string {
	s := string(v.Do)
	if v.Keep != 0 {
		s += fmt.Sprintf(" keep %d", v.Keep)
	}
	if v.Step != 0 {
		s += fmt.Sprintf(" step %v", v.Step)
	}
	if v.Unit != "" {
		s += " unit " + v.Unit
	}
	return s
}

// diffTest compares tests, which allow nothing.
func diffTest(d *diff, old, new manifest.Test) {
	d.description(old.Meta, new.Meta)
	index := func(t manifest.Test) (names []string, cases map[string]string) {
		cases = map[string]string{}
		for _, c := range t.Cases {
			names = append(names, c.Name)
			one := manifest.Set{Tests: []manifest.Test{{Meta: manifest.Meta{Name: "t"}, Cases: []manifest.Case{c}}}}
			cases[c.Name] = string(one.YAML())
		}
		return names, cases
	}
	before, was := index(old)
	after, is := index(new)
	d.list("case", before, after, nothing)
	for _, name := range after {
		if text, there := was[name]; there && text != is[name] {
			d.add(nothing, "case %s changed", name)
		}
	}
}
