package policy

import (
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// Action is one question to Explain: one of the first four, the rest as they need.
type Action struct {
	Connect   string   // a client id
	Publish   *Message // From is not looked at
	Receive   *Message
	Subscribe string // a topic filter
	QoS       byte   // Subscribe: asked for

	Now    time.Time
	State  *State                            // nil: rates are not looked at; otherwise they are charged
	Target func(id string) (Principal, bool) // the device that a command goes to
}

// Explanation is a decision with every rule that was looked at, in order.
type Explanation struct {
	Principal string   `json:"principal"` // "device pump-1"
	Action    string   `json:"action"`    // "publish water/north/pump-1/telemetry"
	Decision  Decision `json:"decision"`
	Steps     []Step   `json:"steps"`
}

// Step is one rule that can concern a principal, and what came of it.
type Step struct {
	Rule     string `json:"rule"`               // Kind/name/rule
	File     string `json:"file,omitempty"`     // where the rule stands
	Line     int    `json:"line,omitempty"`     // from 1
	Effect   string `json:"effect"`             // allow, deny, interlock
	Pattern  string `json:"pattern,omitempty"`  // with the principal's values in it, where they make one
	Outcome  string `json:"outcome"`            // no-match, no-value, allows, denies, refuses, not-met, passes, not-reached
	Detail   string `json:"detail,omitempty"`   // why
	Deciding bool   `json:"deciding,omitempty"` // the one that decided
}

// Explain decides as Connect, Publish, Receive and Subscribe do, and shows the way.
func (s *Set) Explain(p Principal, a Action) Explanation {
	perms := s.For(p)
	e := Explanation{Principal: p.label()}
	switch {
	case a.Publish != nil:
		e.Action = "publish " + a.Publish.Topic
		e.Decision = perms.Publish(a.Publish.Topic).Check(*a.Publish, a.Now, a.State, a.Target)
		e.message(perms, *a.Publish, &a, false)
	case a.Receive != nil:
		e.Action = "receive " + a.Receive.Topic
		e.Decision = perms.Receive(a.Receive.Topic).Check(*a.Receive, a.Now, a.State, a.Target)
		e.message(perms, *a.Receive, &a, true)
	case a.Subscribe != "":
		e.Action = "subscribe " + a.Subscribe
		e.Decision = perms.Subscribe(a.Subscribe, a.QoS)
		e.subscribe(perms, a.Subscribe)
	default:
		e.Action = "connect " + a.Connect
		e.Decision = perms.Connect(a.Connect)
		e.connect(perms)
	}
	return e
}

// each calls f for each topic pattern of rules that can concern the principal.
func each(perms *Permissions, of func(*document) []*rule, f func(r *rule, t *template, pattern, why string)) {
	if perms.dead != "" {
		return
	}
	for _, d := range perms.set.documents(&perms.who) {
		for _, r := range of(d) {
			for i := range r.topics {
				pattern, why := r.topics[i].bind(&perms.who)
				if why == "" && mqtt.ValidFilter(pattern) != nil {
					why = "it is not a topic filter with the values of " + perms.who.label()
				}
				f(r, &r.topics[i], pattern, why)
			}
		}
	}
}

func step(r *rule, effect string) Step {
	return Step{Rule: r.name, File: r.pos.File, Line: r.pos.Line, Effect: effect}
}

// add appends a step; the first that names the deciding rule, and did what the
// decision says, is marked.
func (e *Explanation) add(s Step, did bool) {
	if did && s.Rule == e.Decision.Rule {
		s.Deciding = true
		for _, have := range e.Steps {
			s.Deciding = s.Deciding && !have.Deciding
		}
	}
	e.Steps = append(e.Steps, s)
}

// message lists denials, interlocks and rules for one message.
func (e *Explanation) message(perms *Permissions, m Message, a *Action, receive bool) {
	v := perms.Publish(m.Topic)
	if receive {
		v = perms.Receive(m.Topic)
	}
	c := check{v: v, m: m, now: a.Now}
	each(perms, func(d *document) []*rule { return d.denials(receive) }, func(r *rule, t *template, pattern, why string) {
		s := step(r, "deny")
		if !s.matches(t, pattern, why, m.Topic) {
			e.add(s, false)
			return
		}
		s.Outcome = "denies"
		if r.when != nil {
			denied, cause := c.denied(r)
			if s.Detail = strings.TrimPrefix(cause, ", "); !denied {
				s.Outcome, s.Detail = "not-met", "the condition is false: "+clip(r.when.text)
			}
		}
		e.add(s, s.Outcome == "denies" && !e.Decision.Allowed)
	})
	for i := range v.commands {
		e.interlock(&c, &v.commands[i], a)
	}
	granted := false
	each(perms, func(d *document) []*rule { return d.permits(receive) }, func(r *rule, t *template, pattern, why string) {
		s := step(r, "allow")
		if !s.matches(t, pattern, why, m.Topic) {
			e.add(s, false)
			return
		}
		if granted {
			s.Outcome = "not-reached"
			e.add(s, false)
			return
		}
		d, _ := c.try(r, nil)
		s.Outcome, s.Detail = "allows", ""
		if !d.Allowed {
			s.Outcome, s.Detail = "refuses", d.Detail
		}
		if d.Allowed && e.Decision.Rule == r.name && e.Decision.Code == RateExceeded {
			s.Outcome, s.Detail = "refuses", e.Decision.Detail
		}
		granted = s.Outcome == "allows"
		e.add(s, granted == e.Decision.Allowed)
	})
}

func (e *Explanation) interlock(c *check, k *candidate, a *Action) {
	s := Step{Rule: k.cmd.name, File: k.cmd.pos.File, Line: k.cmd.pos.Line, Effect: "interlock", Pattern: k.cmd.topic.text, Outcome: "passes"}
	d, stop := c.interlock(k, a.Target)
	switch {
	case stop:
		s.Outcome, s.Detail = "refuses", d.Detail
	case e.Decision.Rule == s.Rule && !e.Decision.Allowed:
		s.Outcome, s.Detail = "refuses", e.Decision.Detail
	}
	e.add(s, s.Outcome == "refuses")
}

// matches fills in the pattern, and the outcome when it does not match.
func (s *Step) matches(t *template, pattern, why, topic string) bool {
	s.Pattern = pattern
	switch {
	case why != "":
		s.Pattern, s.Outcome, s.Detail = t.text, "no-value", why
	case strings.ContainsAny(topic, "+#") || !mqtt.Match(pattern, topic):
		s.Outcome = "no-match"
	default:
		return true
	}
	return false
}

func (d *document) denials(receive bool) []*rule {
	if receive {
		return d.denySubscribe
	}
	return d.denyPublish
}

func (d *document) permits(receive bool) []*rule {
	if receive {
		return d.subscribe
	}
	return d.publish
}

// subscribe lists the rules that share topics with a filter.
func (e *Explanation) subscribe(perms *Permissions, filter string) {
	f, err := mqtt.ParseFilter(filter)
	if err != nil {
		return
	}
	list := func(effect, meets string) func(r *rule, t *template, pattern, why string) {
		return func(r *rule, t *template, pattern, why string) {
			s := step(r, effect)
			s.Pattern, s.Outcome = pattern, "no-match"
			switch topic, shares := intersect(f.Pattern, pattern); {
			case why != "":
				s.Pattern, s.Outcome, s.Detail = t.text, "no-value", why
			case !shares:
			case effect == "allow" && f.Share != "" && !r.shared:
				s.Outcome, s.Detail = "refuses", "it does not allow shared subscriptions"
			case r.when != nil:
				s.Outcome, s.Detail = meets, "judged for each message: "+clip(r.when.text)
				if effect == "deny" {
					s.Outcome = "not-met"
				}
			default:
				s.Outcome, s.Detail = meets, "both match "+clip(topic)
			}
			e.add(s, s.Outcome == meets)
		}
	}
	each(perms, func(d *document) []*rule { return d.denySubscribe }, list("deny", "denies"))
	each(perms, func(d *document) []*rule { return d.subscribe }, list("allow", "allows"))
}

// connect lists the client ids that the principal may use.
func (e *Explanation) connect(perms *Permissions) {
	if perms.main == nil || perms.dead != "" {
		return
	}
	for i := range perms.main.clientIDs {
		t := &perms.main.clientIDs[i]
		s := Step{Rule: perms.main.kind + "/" + perms.main.name, File: t.pos.File, Line: t.pos.Line, Effect: "allow", Outcome: "no-match"}
		text, why := t.bind(&perms.who)
		s.Pattern = text
		switch {
		case why != "":
			s.Pattern, s.Outcome, s.Detail = t.text, "no-value", why
		case glob(text, strings.TrimPrefix(e.Action, "connect ")):
			s.Outcome = "allows"
		}
		e.add(s, s.Outcome == "allows")
	}
}
