package server

import (
	"context"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// noTopic matches no pattern, so that a question about it lists the rules without
// judging any.
const noTopic = "#"

// DevicePermissions lists the rules of the newest policy that concern a device,
// with its values in their topics.
func (s *Server) DevicePermissions(ctx context.Context, id device.ID) (adminapi.DevicePermissions, error) {
	var none adminapi.DevicePermissions
	active, err := s.currentPolicy(ctx)
	if err != nil {
		return none, err
	}
	who, err := s.inventoryPrincipal(ctx, id)
	if err != nil {
		return none, err
	}
	out := adminapi.DevicePermissions{Version: active.Version, As: adminapi.PolicyFacts{Kind: who.Kind, ID: who.ID, Type: who.Type, Zone: who.Zone,
		Labels: who.Labels, State: who.State, Maintenance: who.Maintenance}}
	now := s.now()
	connect := active.Policy.Explain(who, policy.Action{Connect: who.ID, Now: now})
	if out.Connects = connect.Decision.Allowed; !out.Connects {
		out.Why = connect.Decision.Detail
	}
	for _, step := range connect.Steps {
		if step.Outcome != "no-value" {
			out.ClientIDs = append(out.ClientIDs, step.Pattern)
		}
	}
	if len(connect.Steps) == 0 && out.Connects {
		out.ClientIDs = []string{who.ID}
	}
	out.Rules = permitted(active, who, policy.Action{Publish: &policy.Message{Topic: noTopic}, Now: now}, "publish")
	out.Rules = append(out.Rules, permitted(active, who, policy.Action{Receive: &policy.Message{Topic: noTopic}, Now: now}, "subscribe")...)
	for i := range out.Rules {
		r := &out.Rules[i]
		for j := range r.Topics {
			if t := &r.Topics[j]; r.Effect == "allow" && t.Why == "" && !strings.ContainsAny(t.Pattern, "+#") {
				t.Guards = interlocks(active, who, r.Action, t.Pattern)
			}
		}
	}
	return out, nil
}

// permitted joins what Explain tells of each pattern with what the manifest says of
// its rule.
func permitted(active *activePolicy, who policy.Principal, a policy.Action, action string) (rules []adminapi.PermittedRule) {
	written := rulesByName(active.Manifests)
	for _, step := range active.Policy.Explain(who, a).Steps {
		i := slices.IndexFunc(rules, func(r adminapi.PermittedRule) bool { return r.Rule == step.Rule && r.Effect == step.Effect })
		if i < 0 {
			r := adminapi.PermittedRule{Rule: step.Rule, File: step.File, Line: step.Line, Action: action, Effect: step.Effect, QoS: 2}
			ruleDetails(&r, written[step.Rule])
			rules, i = append(rules, r), len(rules)
		}
		t := adminapi.PermittedTopic{Pattern: step.Pattern}
		if step.Outcome == "no-value" {
			t.Why = step.Detail
		}
		rules[i].Topics = append(rules[i].Topics, t)
	}
	return rules
}

func ruleDetails(out *adminapi.PermittedRule, in manifest.Rule) {
	if in.QoS != nil {
		out.QoS = *in.QoS
	}
	out.Retain = in.Retain != nil && *in.Retain
	out.Shared = out.Action == "subscribe" && (in.Shared == nil || *in.Shared)
	out.When, out.Rate, out.Burst = in.When, in.Rate.Messages, in.Rate.Burst
	if p := in.Payload; p != nil {
		out.Format, out.MaxBytes, out.Fields = string(p.Format), p.MaxBytes, len(p.Fields)
	}
}

// rulesByName finds rules as decisions name them.
func rulesByName(m *manifest.Set) map[string]manifest.Rule {
	found := map[string]manifest.Rule{}
	add := func(kind manifest.Kind, name string, lists ...[]manifest.Rule) {
		for _, list := range lists {
			for _, r := range list {
				found[string(kind)+"/"+name+"/"+r.Name] = r
			}
		}
	}
	for _, d := range m.DeviceTypes {
		add(manifest.DeviceTypeKind, d.Name, d.Publish, d.Subscribe)
	}
	for _, z := range m.Zones {
		add(manifest.ZoneKind, z.Name, z.Publish, z.Subscribe)
	}
	for _, p := range m.Policies {
		add(manifest.MessagePolicyKind, p.Name, p.Publish, p.Subscribe, p.DenyPublish, p.DenySubscribe)
	}
	return found
}

// interlocks are the commands that a message on a topic would be judged by.
func interlocks(active *activePolicy, who policy.Principal, action, topic string) (names []string) {
	a := policy.Action{Receive: &policy.Message{Topic: topic}}
	if action == "publish" {
		a = policy.Action{Publish: &policy.Message{Topic: topic}}
	}
	a.Target = func(string) (policy.Principal, bool) { return who, true }
	for _, step := range active.Policy.Explain(who, a).Steps {
		if step.Effect == "interlock" && !slices.Contains(names, step.Rule) {
			names = append(names, step.Rule)
		}
	}
	return names
}
