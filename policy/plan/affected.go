package plan

import (
	"slices"

	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// Plan is the step from one policy to another. It never changes and is safe for
// concurrent use.
type Plan struct {
	Changes []Change

	old, new           *policy.Set
	before, after      map[string]manifest.Selector // of message policies, by name
	audience, readable map[string]string            // of apps, before and after
}

// New compares two policies, each as manifests and compiled.
func New(old, new *manifest.Set, before, after *policy.Set) *Plan {
	p := &Plan{Changes: Diff(old, new), old: before, new: after}
	p.before, p.audience = selectors(old)
	p.after, p.readable = selectors(new)
	return p
}

func selectors(m *manifest.Set) (policies map[string]manifest.Selector, audiences map[string]string) {
	policies, audiences = map[string]manifest.Selector{}, map[string]string{}
	for _, p := range m.Policies {
		policies[p.Name] = p.Select
	}
	for _, a := range m.Apps {
		audiences[a.Name] = a.Audience
	}
	return policies, audiences
}

// Effect is what a plan does to one principal.
type Effect struct {
	Changed bool     `json:"changed"`        // some document that concerns it differs
	By      []string `json:"by,omitempty"`   // these documents, as Kind/name
	Gone    bool     `json:"gone"`           // it may connect now and could no longer
	Why     string   `json:"why,omitempty"`  // of Gone
	Lost    []string `json:"lost,omitempty"` // filters that it may subscribe to now and could no longer
}

// Affected tells what the plan does to a principal that is connected with a client
// id and has subscriptions. What it cannot see is whom a command that comes or goes
// concerns as a publisher: it names the devices of the type alone.
func (p *Plan) Affected(who policy.Principal, clientID string, subscriptions []string) Effect {
	var e Effect
	for i := range p.Changes {
		if c := &p.Changes[i]; p.concerns(c, &who) {
			e.By = append(e.By, string(c.Kind)+"/"+c.Name)
		}
	}
	e.Changed = len(e.By) > 0
	if !e.Changed {
		return e
	}
	one := Affected(p.old, p.new, who, clientID, subscriptions)
	e.Gone, e.Why, e.Lost = one.Gone, one.Why, one.Lost
	return e
}

// Affected compares what two compiled policies let one principal keep: its
// connection and its subscriptions. Changed tells whether it loses any of them.
func Affected(old, new *policy.Set, who policy.Principal, clientID string, subscriptions []string) Effect {
	var e Effect
	before, after := old.For(who), new.For(who)
	if before.Connect(clientID).Allowed {
		d := after.Connect(clientID)
		e.Gone, e.Why = !d.Allowed, d.Error()
	}
	for _, filter := range subscriptions {
		if before.Subscribe(filter, 2).Allowed && !after.Subscribe(filter, 2).Allowed {
			e.Lost = append(e.Lost, filter)
		}
	}
	e.Changed = e.Gone || len(e.Lost) > 0
	return e
}

// concerns tells whether a document that changes has a say about a principal.
func (p *Plan) concerns(c *Change, who *policy.Principal) bool {
	app := who.Kind == policy.App
	switch c.Kind {
	case manifest.DeviceTypeKind:
		if app { // what it sees of the type's messages
			return c.marks && (p.audience[who.ID] != manifest.Operator || p.readable[who.ID] != manifest.Operator)
		}
		return who.Type == c.Name
	case manifest.ZoneKind:
		return !app && who.Zone == c.Name
	case manifest.AppKind:
		return app && who.ID == c.Name
	case manifest.AudienceKind:
		return app && (p.audience[who.ID] == c.Name || p.readable[who.ID] == c.Name)
	case manifest.MessagePolicyKind:
		return selects(p.before, c.Name, who) || selects(p.after, c.Name, who)
	}
	return false
}

func selects(policies map[string]manifest.Selector, name string, who *policy.Principal) bool {
	s, ok := policies[name]
	if !ok {
		return false
	}
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	if !in(s.Kinds, who.Kind) || !in(s.Types, who.Type) || !in(s.Zones, who.Zone) || !in(s.IDs, who.ID) {
		return false
	}
	for k, v := range s.Labels {
		if have, ok := who.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}
