package plan

import (
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// Result is how a case of a PolicyTest came out.
type Result struct {
	Test        string             `json:"test"`
	Case        string             `json:"case"`
	Pos         manifest.Pos       `json:"-"`
	Passed      bool               `json:"passed"`
	Got         string             `json:"got"`  // allow or deny, with the rule that decided: "deny by DeviceType/doser/dose"
	Want        string             `json:"want"` // in the same form
	Explanation policy.Explanation `json:"explanation"`
}

// Tests runs all cases of m against a set that was compiled from it. A case that
// names no time happens at now. Each case is alone in the world: no rate has been
// used, and the only devices that commands can go to are its targets and the one
// that it speaks as.
func Tests(set *policy.Set, m *manifest.Set, now time.Time) []Result {
	var out []Result
	for _, t := range m.Tests {
		for i := range t.Cases {
			out = append(out, runCase(set, t.Name, &t.Cases[i], now))
		}
	}
	return out
}

func runCase(set *policy.Set, test string, c *manifest.Case, now time.Time) Result {
	e := explain(set, c, now)
	d := e.Decision
	r := Result{Test: test, Case: c.Name, Pos: c.Pos, Want: outcome(c.Allow, c.Rule), Got: outcome(d.Allowed, d.Rule), Explanation: e}
	r.Passed = d.Allowed == c.Allow && (c.Rule == "" || c.Rule == d.Rule)
	return r
}

func outcome(allow bool, rule string) string {
	s := "deny"
	if allow {
		s = "allow"
	}
	if rule != "" {
		s += " by " + rule
	}
	return s
}

// explain asks the permissions as the broker does.
func explain(set *policy.Set, c *manifest.Case, now time.Time) policy.Explanation {
	if !c.At.IsZero() {
		now = c.At
	}
	who := Principal(c.As)
	a := policy.Action{Connect: c.Connect, Subscribe: c.Subscribe, QoS: 2, Now: now, State: policy.NewState(policy.NewActuators(8))}
	a.Target = func(id string) (policy.Principal, bool) {
		if t, ok := c.Target[id]; ok {
			return Principal(t), true
		}
		return who, id == who.ID && who.Kind != policy.App
	}
	if c.Publish != nil {
		a.Publish = message(c.Publish, who)
	}
	if c.Receive != nil {
		from := policy.Principal{Kind: policy.App}
		if c.Receive.From != nil {
			from = Principal(*c.Receive.From)
		}
		a.Receive = message(c.Receive, from)
	}
	return set.Explain(who, a)
}

func message(m *manifest.TestMessage, from policy.Principal) *policy.Message {
	return &policy.Message{Topic: m.Topic, Payload: m.Payload, QoS: byte(m.QoS), Retain: m.Retain, From: from}
}

// Principal is the principal that a test speaks of: a device whose state is not
// given is active.
func Principal(s manifest.Subject) policy.Principal {
	p := policy.Principal{Kind: s.Kind, ID: s.ID, Type: s.Type, Zone: s.Zone, Labels: s.Labels, State: s.State, Maintenance: s.Maintenance}
	if p.State == "" && p.Kind != policy.App {
		p.State = string(device.Active)
	}
	return p
}

// Failed counts the results that did not pass.
func Failed(results []Result) (n int) {
	for _, r := range results {
		if !r.Passed {
			n++
		}
	}
	return n
}

// String is one line for people: "file:line:column: test/case: got …, want …: why".
func (r Result) String() string {
	var b strings.Builder
	b.WriteString(r.Pos.String() + ": " + r.Test + "/" + r.Case + ": ")
	if r.Passed {
		b.WriteString("passed: " + r.Got)
		return b.String()
	}
	b.WriteString("got " + r.Got + ", want " + r.Want)
	if d := r.Explanation.Decision; !d.Allowed {
		b.WriteString(": " + d.Error())
	}
	return b.String()
}
