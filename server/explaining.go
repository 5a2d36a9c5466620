package server

import (
	"context"
	"strings"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/pki"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// ExplainPolicy says whether somebody may do one thing under the newest version,
// and which rules were looked at.
func (s *Server) ExplainPolicy(ctx context.Context, q adminapi.ExplainQuery) (adminapi.Explanation, error) {
	var none adminapi.Explanation
	active, err := s.currentPolicy(ctx)
	if err != nil {
		return none, err
	}
	who, err := s.whoIsAsked(ctx, q)
	if err != nil {
		return none, err
	}
	var fault error // of the database, while a command's device was looked up
	a := policy.Action{Connect: q.Connect, Subscribe: q.Subscribe, QoS: byte(q.QoS), Publish: question(q.Publish), Receive: question(q.Receive), Now: q.At,
		Target: func(id string) (policy.Principal, bool) {
			if q.Knows != nil && !q.Knows(ctx, id) {
				return policy.Principal{}, false
			}
			p, err := s.inventoryPrincipal(ctx, device.ID(id))
			if err != nil && refusal.As(err) == nil {
				fault = err
			}
			return p, err == nil
		}}
	if a.Now.IsZero() {
		a.Now = s.now()
	}
	e := active.Policy.Explain(who, a)
	if fault != nil {
		return none, fault
	}
	out := adminapi.Explanation{Version: active.Version, Allowed: e.Decision.Allowed, Rule: e.Decision.Rule, Code: string(e.Decision.Code),
		Detail: e.Decision.Detail, Fix: e.Decision.Fix, QoS: int(e.Decision.QoS), As: adminapi.PolicyFacts{Kind: who.Kind, ID: who.ID, Type: who.Type, Zone: who.Zone,
			Labels: who.Labels, State: who.State, Maintenance: who.Maintenance}}
	for _, step := range e.Steps {
		out.Steps = append(out.Steps, adminapi.ExplainStep{Rule: step.Rule, File: step.File, Line: step.Line, Effect: step.Effect, Pattern: step.Pattern,
			Outcome: step.Outcome, Detail: step.Detail, Decides: step.Deciding})
	}
	return out, nil
}

func question(m *adminapi.PolicyMessage) *policy.Message {
	if m == nil {
		return nil
	}
	return &policy.Message{Topic: m.Topic, Payload: m.Bytes(), QoS: byte(m.QoS), Retain: m.Retain}
}

// whoIsAsked reads the facts about a principal, or takes those given.
func (s *Server) whoIsAsked(ctx context.Context, q adminapi.ExplainQuery) (policy.Principal, error) {
	if f := q.Facts; f != nil {
		p := policy.Principal{Kind: f.Kind, ID: f.ID, Type: f.Type, Zone: f.Zone, Labels: f.Labels, State: f.State, Maintenance: f.Maintenance}
		if p.Kind != policy.App && p.State == "" {
			p.State = string(device.Active)
		}
		return p, nil
	}
	kind, id, _ := strings.Cut(q.As, ":")
	switch {
	case id == "":
	case kind == policy.App:
		return policy.Principal{Kind: policy.App, ID: id}, nil
	case kind == policy.Device || kind == policy.Gateway:
		return s.inventoryPrincipal(ctx, device.ID(id))
	}
	return policy.Principal{}, invalid("bad-principal", "write device:ID, gateway:ID or app:NAME", "%.64q does not name a principal", q.As)
}

// inventoryPrincipal is a device or gateway as policy sees it, or a refusal of
// kind NotFound.
func (s *Server) inventoryPrincipal(ctx context.Context, id device.ID) (policy.Principal, error) {
	d, err := s.Device(ctx, id)
	if err != nil {
		return policy.Principal{}, err
	}
	t, err := s.store.Type(ctx, d.Type)
	if err != nil {
		return policy.Principal{}, err
	}
	return devicePrincipal(d, pki.Profile(t.Profile)), nil
}

// devicePrincipal is what policy decides on; profile is the one of the device's type.
func devicePrincipal(d device.Device, profile pki.Profile) policy.Principal {
	kind := policy.Device
	if profile == pki.Gateway {
		kind = policy.Gateway
	}
	return policy.Principal{Kind: kind, ID: string(d.ID), Type: string(d.Type), Zone: string(d.Zone), Labels: d.Labels, State: string(d.State), Maintenance: d.Maintenance}
}
