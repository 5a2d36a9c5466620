package adminapi

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/policy/reach"
)

type ratesQuery struct {
	Window string `query:"window" enum:"15m,1h,6h,24h" default:"15m" doc:"in steps of 5 s, 1 min, 1 min and 5 min"`
	By     string `query:"by" enum:"zone,type,none" default:"none"`
}

type refusalQuery struct {
	Principal string    `query:"principal" maxLength:"300" doc:"device:ID, gateway:ID, app:NAME or an id alone" example:"device:pump-1"`
	Kind      string    `query:"kind" maxLength:"64" example:"publish-refused"`
	Rule      string    `query:"rule" maxLength:"512" doc:"that refused" example:"DeviceType/pump/telemetry"`
	Since     time.Time `query:"since" doc:"at or after this time"`
	Limit     int       `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

func (a *api) overviewOperations() {
	const tag = "overview"
	register(a, operation{id: "show-overview", allow: access.StatusRead, method: http.MethodGet, path: "/overview", tag: tag, summary: "Show how everything is",
		description: "Numbers of devices, sessions, messages, refusals and certificates, and what somebody should look at: each part as far as the caller may see it. " +
			"Numbers of the inventory may be some seconds old.", response: exampleOverview},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[Overview], error) {
			o, err := a.overview(ctx)
			return &body[Overview]{o}, err
		})
	register(a, operation{id: "list-rates", allow: access.SessionRead, filters: true, method: http.MethodGet, path: "/rates", tag: tag, summary: "Show how many messages passed",
		description: "Time series of all servers together. Whose role is bound to zones or types sees the traffic of devices there; whose role is bound to labels sees none.", response: exampleRates},
		func(ctx context.Context, _ access.Actor, in *ratesQuery) (*body[Rates], error) {
			r, err := a.rates(ctx, in.Window, in.By)
			return &body[Rates]{r}, err
		})
	register(a, operation{id: "list-refusals", allow: access.SessionRead, filters: true, method: http.MethodGet, path: "/refusals", tag: tag, summary: "List what was stopped lately",
		description: "The newest of what policy and limits stopped that all given filters select, newest first, from memory: each server remembers the last 1,000, and 100 of one client.",
		response:    list[Refusal]{[]Refusal{exampleRefusal}}},
		func(ctx context.Context, _ access.Actor, in *refusalQuery) (*body[list[Refusal]], error) {
			found, err := a.refusals(ctx, RefusalFilter{in.Principal, in.Kind, in.Rule, in.Since, in.Limit})
			return &body[list[Refusal]]{list[Refusal]{present(found)}}, err
		})
	register(a, operation{id: "show-zone-map", allow: access.ZoneRead, also: access.PolicyRead, method: http.MethodGet, path: "/zone-map", tag: "zones", summary: "Show who can talk to whom",
		description: "Zones, groups of devices and apps, which of them the active policy lets send something to which others, and what of that somebody should look at. " +
			"It has the devices that the caller may see.", response: exampleZoneMap},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[ZoneMap], error) {
			m, err := a.zoneMap(ctx)
			return &body[ZoneMap]{m}, err
		})
}

// covering tells of zones and types whether the caller holds a permission there.
func (a *api) covering(ctx context.Context, p access.Permission) (func(zone device.ZoneName, t device.TypeName) bool, error) {
	id, err := identity(ctx)
	if err != nil {
		return nil, err
	}
	now := a.now()
	return func(zone device.ZoneName, t device.TypeName) bool {
		return id.Rights.Covers(p, objectOfGroup(zone, t), now)
	}, nil
}

// shownSeries is how many series an answer has beside that of the rest.
const shownSeries = 50

// rates adds up the series of what the caller may see.
func (a *api) rates(ctx context.Context, window, by string) (Rates, error) {
	covers, err := a.covering(ctx, access.SessionRead)
	if err != nil {
		return Rates{}, err
	}
	f, err := a.cfg.Watch.Flow(ctx, window)
	if err != nil {
		return Rates{}, err
	}
	r := Rates{Window: window, By: by, Since: f.Since, From: f.From, Step: int(f.Step / time.Second), Nodes: f.Nodes, Series: []Series{}}
	found := map[[2]string]*Series{}
	sums := map[*Series]int64{}
	add := func(what, name string, k *FlowSeries) {
		s := found[[2]string{what, name}]
		if s == nil {
			s = newSeries(what, name, f.Length)
			found[[2]string{what, name}] = s
		}
		sums[s] += s.add(k.In, k.Out, k.Refused)
	}
	if by == "none" {
		found[[2]string{"all", ""}] = newSeries("all", "", f.Length) // also when nothing passed
	}
	for i := range f.Keys {
		k := &f.Keys[i]
		if !covers(k.Zone, k.Type) {
			continue
		}
		what, name := "other", ""
		switch {
		case by == "none":
			what = "all"
		case k.Kind == "app":
			what = "apps"
		case by == "zone" && k.Zone != "":
			what, name = "zone", string(k.Zone)
		case by == "type" && k.Type != "":
			what, name = "type", string(k.Type)
		}
		add(what, name, k)
	}
	r.Series = busiest(found, sums, f.Length)
	return r, nil
}

func newSeries(what, name string, length int) *Series {
	return &Series{What: what, Name: name, In: make([]int64, length), Out: make([]int64, length), Refused: make([]int64, length)}
}

// add adds numbers step by step and returns their sum.
func (s *Series) add(in, out, refused []int64) (sum int64) {
	for _, p := range [][2][]int64{{s.In, in}, {s.Out, out}, {s.Refused, refused}} {
		for i := range min(len(p[0]), len(p[1])) {
			p[0][i] += p[1][i]
			sum += p[1][i]
		}
	}
	return sum
}

// busiest lists the series with most in them, by their sums; what goes beyond
// shownSeries is one.
func busiest(found map[[2]string]*Series, sums map[*Series]int64, length int) []Series {
	rest := found[[2]string{"other", ""}]
	var shown []*Series
	for _, s := range found {
		if s != rest && (sums[s] > 0 || s.What == "all") {
			shown = append(shown, s)
		}
	}
	slices.SortFunc(shown, func(x, y *Series) int {
		return cmp.Or(cmp.Compare(sums[y], sums[x]), cmp.Compare(x.What, y.What), cmp.Compare(x.Name, y.Name))
	})
	if len(shown) > shownSeries {
		if rest == nil {
			rest = newSeries("other", "", length)
		}
		for _, s := range shown[shownSeries:] {
			sums[rest] += rest.add(s.In, s.Out, s.Refused)
		}
		shown = shown[:shownSeries]
	}
	if rest != nil && sums[rest] > 0 {
		shown = append(shown, rest)
	}
	out := make([]Series, len(shown))
	for i, s := range shown {
		out[i] = *s
	}
	return out
}

// refusals lists the newest that f selects and the caller may see.
func (a *api) refusals(ctx context.Context, f RefusalFilter) ([]Refusal, error) {
	all, err := a.cfg.Watch.Refused(ctx)
	if err != nil {
		return nil, err
	}
	visible, err := a.refusalScope(ctx)
	if err != nil {
		return nil, err
	}
	var out []Refusal
	for _, r := range all {
		if len(out) == f.Limit {
			break
		}
		if !f.selects(r) {
			continue
		}
		ok, err := visible(r)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, r)
		}
	}
	return out, nil
}

// refusalScope tells of refusals whether the caller may see them: the device has to
// be in scope as it is now and, where that was written down, as it was then.
func (a *api) refusalScope(ctx context.Context) (func(Refusal) (bool, error), error) {
	id, err := identity(ctx)
	if err != nil {
		return nil, err
	}
	now := a.now()
	if id.Rights.Everywhere(access.SessionRead, now) {
		return func(Refusal) (bool, error) { return true, nil }, nil
	}
	known := map[string]access.Object{}
	return func(r Refusal) (bool, error) {
		p := r.Principal
		if p.Kind != "device" && p.Kind != "gateway" {
			return false, nil // in no scope but the whole fleet
		}
		o, seen := known[p.ID]
		if !seen {
			var err error
			if o, err = a.objectOf(ctx, device.ID(p.ID)); err != nil {
				return false, err
			}
			known[p.ID] = o
		}
		was := o
		if p.Zone != "" || p.Type != "" {
			was.Zone, was.Type = p.Zone, p.Type
		}
		return id.Rights.Covers(access.SessionRead, o, now) && id.Rights.Covers(access.SessionRead, was, now), nil
	}, nil
}

// zoneMap draws the map of what the caller may see of the inventory. Others'
// devices are not in the fleet that it is drawn for, so that nothing of them can
// be on it.
func (a *api) zoneMap(ctx context.Context) (ZoneMap, error) {
	id, err := identity(ctx)
	if err != nil {
		return ZoneMap{}, err
	}
	scopes, all := id.Rights.Scopes(access.DeviceRead, a.now())
	view := "all"
	if !all {
		text, err := json.Marshal(scopes)
		if err != nil {
			return ZoneMap{}, err
		}
		view = string(text)
	}
	m, err := a.cfg.Watch.ZoneMap(ctx, view, func(ctx context.Context) (reach.Fleet, error) { return a.mappedFleet(ctx, scopes, all) })
	if err != nil {
		return ZoneMap{}, err
	}
	out := *m
	out.Graph.Nodes, out.Graph.Edges, out.Graph.Flows = present(out.Graph.Nodes), present(out.Graph.Edges), present(out.Graph.Flows)
	out.Graph.Observations = present(out.Graph.Observations)
	if !all {
		out.Partial = true
		out.Graph.Observations = slices.DeleteFunc(slices.Clone(out.Graph.Observations), needsWhole)
	}
	return out, nil
}

// needsWhole selects observations that say that somebody is missing: on a part of
// the map that may be wrong.
func needsWhole(o reach.Observation) bool {
	switch o.Kind {
	case reach.NoApp, reach.NobodyReceives, reach.NobodySends, reach.UnusedRule:
		return true
	}
	return false
}

// mappedFleet is what of the inventory is on the caller's map.
func (a *api) mappedFleet(ctx context.Context, scopes []access.Scope, all bool) (reach.Fleet, error) {
	var out reach.Fleet
	groups, _, err := a.visibleGroups(ctx)
	if err != nil {
		return out, err
	}
	shown := map[device.ZoneName]bool{}
	for _, g := range groups {
		if g.State == device.Retired {
			continue
		}
		shown[g.Zone] = true
		out.Groups = append(out.Groups, reach.Group{Zone: string(g.Zone), Type: string(g.Type), Profile: g.Profile, Count: int(g.Count)})
	}
	for _, s := range scopes {
		for _, z := range s.Zones {
			shown[z] = true
		}
	}
	zones, err := a.cfg.Zones.Zones(ctx)
	if err != nil {
		return out, err
	}
	for _, z := range zones {
		if all || shown[z.Name] {
			out.Zones = append(out.Zones, reach.Zone{Name: string(z.Name), Production: z.Production, SecurityLevel: z.SecurityLevel})
		}
	}
	out.Place = func(name string) (zone, deviceType string, known bool) {
		d, err := a.cfg.Devices.Device(ctx, device.ID(name))
		if err != nil {
			return "", "", false
		}
		if one, err := inScope(ctx, a, access.DeviceRead, []device.Device{d}, deviceObject); err != nil || len(one) == 0 {
			return "", "", false
		}
		return string(d.Zone), string(d.Type), true
	}
	return out, nil
}

// listed bounds the devices that are looked at where groups do not tell what the
// caller may see.
const listed = 5 * device.MaxPage

// visibleGroups are the groups of devices that the caller may see; not complete
// when they had to be counted one by one and there are more than listed.
func (a *api) visibleGroups(ctx context.Context) (groups []Group, complete bool, err error) {
	id, err := identity(ctx)
	if err != nil {
		return nil, false, err
	}
	scopes, all := id.Rights.Scopes(access.DeviceRead, a.now())
	if !all && byLabels(scopes) {
		return a.countedGroups(ctx, scopes)
	}
	fleet, err := a.cfg.Watch.Fleet(ctx)
	if err != nil || all {
		return groupsOf(fleet), true, err
	}
	for _, g := range fleet.Groups {
		if id.Rights.Covers(access.DeviceRead, objectOfGroup(g.Zone, g.Type), a.now()) {
			groups = append(groups, g)
		}
	}
	return groups, true, nil
}

func groupsOf(f *Fleet) []Group {
	if f == nil {
		return nil
	}
	return f.Groups
}

// countedGroups counts devices one by one, for scopes that are bound to labels.
func (a *api) countedGroups(ctx context.Context, scopes []access.Scope) (groups []Group, complete bool, err error) {
	f := a.narrow(ctx, access.DeviceRead, device.Filter{})
	if len(scopes) == 1 {
		f.Labels = map[string]string{}
		for name, values := range scopes[0].Labels {
			if len(values) == 1 && len(f.Labels) < 4 {
				f.Labels[name] = values[0]
			}
		}
	}
	types, err := a.cfg.Types.Types(ctx)
	if err != nil {
		return nil, false, err
	}
	profile := map[device.TypeName]string{}
	for _, t := range types {
		profile[t.Name] = t.Profile
	}
	count := map[Group]int64{}
	after := device.ID("")
	for range listed / device.MaxPage {
		page, next, err := a.cfg.Devices.Devices(ctx, f, device.Page{After: after, Limit: device.MaxPage})
		if err != nil {
			return nil, false, err
		}
		if page, err = inScope(ctx, a, access.DeviceRead, page, deviceObject); err != nil {
			return nil, false, err
		}
		for _, d := range page {
			count[Group{Zone: d.Zone, Type: d.Type, Profile: profile[d.Type], State: d.State}]++
		}
		if after = next; after == "" {
			complete = true
			break
		}
	}
	for g, n := range count {
		g.Count = n
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(x, y Group) int {
		return cmp.Or(strings.Compare(string(x.Zone), string(y.Zone)), strings.Compare(string(x.Type), string(y.Type)), strings.Compare(string(x.State), string(y.State)))
	})
	return groups, complete, nil
}
