// Package policy decides what a device, a gateway or an app may say and hear:
// manifests are compiled once into an immutable Set, a Set gives each principal
// its Permissions, and Permissions judge connections, messages, deliveries and
// subscriptions without a database or a clock; only rates take a lock.
//
// It promises that nothing is allowed that no rule allows (default deny), that a
// subscription is granted only when every topic it can match is, that what cannot
// be judged (an expression that errs, a command for a device that nobody knows) is
// refused, and that the work for one message is bounded: expressions have a cost
// limit, payloads a depth. It trusts the facts about principals and targets that
// its caller hands in, and the manifests. Whoever can write either decides who may
// command what; whoever can hold a State back at an old time stops its buckets
// from filling, which only refuses more.
package policy

import (
	"maps"
	"slices"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// Problem is something wrong in a manifest, where it stands and what to write instead.
type Problem = manifest.Problem

// Limits are what one principal may use.
type Limits = manifest.Limits

// Config is the server's part of a policy.
type Config struct {
	PayloadMax int    // the largest payload of any message, in bytes; 0: no limit here
	Defaults   Limits // for whoever has no limits of its own
	CELCost    uint64 // the most that one evaluation of an expression may cost; 0: 10,000
}

// The kinds of principals.
const (
	Device  = "device"
	Gateway = "gateway"
	App     = "app"
)

// Principal is the facts about somebody who connects, publishes or receives, or
// about the device that a command goes to.
type Principal struct {
	Kind        string // device, gateway or app
	ID          string // the id in the inventory, or the name of an app
	Type, Zone  string // of devices and gateways
	Labels      map[string]string
	State       string // device.State of devices and gateways; only enrolled and active ones have permissions
	Maintenance bool   // somebody works on it: commands that stop for maintenance are refused
}

// inInventory tells whether p is a row of the inventory, with a type, a zone and a state.
func (p *Principal) inInventory() bool { return p.Kind == Device || p.Kind == Gateway }

// works tells whether a device or gateway is in a state in which it may do anything at all.
func (p *Principal) works() bool {
	return p.State == string(device.Enrolled) || p.State == string(device.Active)
}

// label names p in sentences.
func (p *Principal) label() string { return p.Kind + " " + p.ID }

// document is one manifest, compiled.
type document struct {
	kind, name                 string // "DeviceType", "pump"
	publish, subscribe         []*rule
	denyPublish, denySubscribe []*rule
	clientIDs                  []template
	sel                        manifest.Selector
	limits, total              Limits
	audience                   string
	marks                      []manifest.Mark
}

// Set is an immutable compiled policy, safe for concurrent use.
type Set struct {
	cfg       Config
	types     map[string]*document
	zones     map[string]*document
	apps      map[string]*document
	policies  []*document
	audiences map[string]map[string]manifest.View // audience → mark → view
	commands  commandIndex
	rated     map[string]bool // names of the rules that have a rate
}

// For gives the permissions of a principal: the rules that can concern it, with
// its values in place of variables. A device or gateway that is neither enrolled
// nor active has none at all.
func (s *Set) For(p Principal) *Permissions {
	p.Labels = maps.Clone(p.Labels)
	perms := &Permissions{set: s, who: p, limits: s.cfg.Defaults}
	if p.inInventory() && !p.works() {
		perms.dead = "it is " + p.State
		if p.State == "" {
			perms.dead = "its state is not known"
		}
		return perms
	}
	if p.Kind != Device && p.Kind != Gateway && p.Kind != App {
		perms.dead = "it is neither device, gateway nor app"
		return perms
	}
	if main := s.main(&p); main != nil {
		perms.limits = merge(s.cfg.Defaults, main.limits)
		perms.audience = main.audience
		perms.main = main
	}
	for _, d := range s.documents(&p) {
		perms.publish = bind(perms.publish, d.publish, &p)
		perms.subscribe = bind(perms.subscribe, d.subscribe, &p)
		perms.denyPublish = bind(perms.denyPublish, d.denyPublish, &p)
		perms.denySubscribe = bind(perms.denySubscribe, d.denySubscribe, &p)
	}
	perms.checksDelivery = perms.needsDelivery()
	return perms
}

// main is the document that gives a principal its limits and client ids, or nil.
func (s *Set) main(p *Principal) *document {
	if p.Kind == App {
		return s.apps[p.ID]
	}
	return s.types[p.Type]
}

// documents lists what concerns a principal, in the order in which rules are tried.
func (s *Set) documents(p *Principal) (docs []*document) {
	if p.inInventory() {
		if d := s.types[p.Type]; d != nil {
			docs = append(docs, d)
		}
		if d := s.zones[p.Zone]; d != nil {
			docs = append(docs, d)
		}
	} else if d := s.apps[p.ID]; d != nil {
		docs = append(docs, d)
	}
	for _, d := range s.policies {
		if selects(&d.sel, p) {
			docs = append(docs, d)
		}
	}
	return docs
}

// selects tells whether a principal matches every field of a selector that is set.
func selects(s *manifest.Selector, p *Principal) bool {
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	if !in(s.Kinds, p.Kind) || !in(s.Types, p.Type) || !in(s.Zones, p.Zone) || !in(s.IDs, p.ID) {
		return false
	}
	for k, v := range s.Labels {
		if have, ok := p.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// Total gives the limits of all devices of a type together, per node; zero fields bound nothing.
func (s *Set) Total(deviceType string) Limits {
	if d := s.types[deviceType]; d != nil {
		return d.total
	}
	return Limits{}
}

// merge puts the fields that are set in l over base. A message rate and its burst go together.
func merge(base, l Limits) Limits {
	if l.Rate.Messages != 0 {
		base.Rate.Messages, base.Rate.Burst = l.Rate.Messages, l.Rate.Burst
	}
	if l.Rate.Bytes != 0 {
		base.Rate.Bytes = l.Rate.Bytes
	}
	base.Subscriptions = over(base.Subscriptions, l.Subscriptions)
	base.Connections = over(base.Connections, l.Connections)
	base.Inflight = over(base.Inflight, l.Inflight)
	base.PacketSize = over(base.PacketSize, l.PacketSize)
	base.SessionExpiry = over(base.SessionExpiry, l.SessionExpiry)
	base.DailyMessages = over(base.DailyMessages, l.DailyMessages)
	base.DailyBytes = over(base.DailyBytes, l.DailyBytes)
	return base
}

func over[T ~int | ~int64](base, v T) T {
	if v != 0 {
		return v
	}
	return base
}
