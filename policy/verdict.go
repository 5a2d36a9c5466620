package policy

import (
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// Verdict is what permissions say about a topic before there is a message. It is
// immutable and safe for concurrent use.
type Verdict struct {
	Allowed  bool   // some rule may allow it; when not Simple, Check has the last word
	Rule     string // the first rule that may allow it, or the one that denies it
	MaxQoS   byte   // Publish: the highest that any rule allows; Receive: the highest to deliver with
	Retain   bool   // Publish: some rule allows retained messages
	MaxBytes int    // the largest payload, 0: no limit

	perms    *Permissions
	topic    string
	receive  bool
	simple   bool
	denied   *rule
	grants   []*rule // those that match, in order
	denies   []*rule // those that match and have a condition
	commands []candidate
	buf      [4]*rule // where grants begin to grow
}

// Message is what a verdict is checked against.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	From    Principal // who published it, where that is known; used by deliveries
}

// Simple tells that the topic is allowed and that nothing depends on payload, time
// or rates: a message with at most MaxQoS and MaxBytes, retained only if Retain
// says so, needs no Check.
func (v *Verdict) Simple() bool { return v.simple }

// Fast tells whether a message may pass without Check.
func (v *Verdict) Fast(qos byte, retain bool, size int) bool {
	return v.simple && qos <= v.MaxQoS && (v.Retain || !retain) && (v.MaxBytes == 0 || size <= v.MaxBytes)
}

// decide finds the rules that match the topic.
func (v *Verdict) decide(denies, grants []bound) {
	if v.perms.dead != "" || v.topic == "" || strings.IndexByte(v.topic, '+') >= 0 || strings.IndexByte(v.topic, '#') >= 0 {
		return
	}
	for i := range denies {
		if !mqtt.Match(denies[i].pattern, v.topic) {
			continue
		}
		if denies[i].rule.when == nil {
			v.denied, v.Rule = denies[i].rule, denies[i].rule.name
			return
		}
		v.denies = addRule(v.denies, denies[i].rule)
	}
	v.grants = v.buf[:0]
	for i := range grants {
		if mqtt.Match(grants[i].pattern, v.topic) {
			v.grants = addRule(v.grants, grants[i].rule)
		}
	}
	if len(v.grants) == 0 {
		return
	}
	first := v.grants[0]
	v.Allowed, v.Rule = true, first.name
	for _, r := range v.grants {
		v.MaxQoS = max(v.MaxQoS, r.qos)
		v.Retain = v.Retain || r.retain
	}
	if v.receive {
		v.simple = len(v.denies) == 0 && first.when == nil
		return
	}
	// The first rule must also be the widest: QoS and retain of two rules may not be combined.
	v.simple = len(v.denies) == 0 && !first.conditional() && first.qos == v.MaxQoS && first.retain == v.Retain
}

func addRule(list []*rule, r *rule) []*rule {
	if n := len(list); n > 0 && list[n-1] == r {
		return list
	}
	return append(list, r)
}

// Refusal explains a verdict that is not Allowed.
func (v *Verdict) Refusal() Decision {
	verb, patterns := "publish", v.perms.publish
	if v.receive {
		verb, patterns = "subscribe", v.perms.subscribe
	}
	switch {
	case v.perms.dead != "":
		return v.perms.refuseDead()
	case v.denied != nil:
		return Decision{Rule: v.denied.name, Code: NotAuthorized, Detail: clip(v.topic) + " is denied by " + v.denied.name,
			Fix: "use another topic, or change that rule"}
	}
	return Decision{Code: NotAuthorized, Detail: "no rule lets " + v.perms.who.label() + " " + verb + " to " + clip(v.topic),
		Fix: v.perms.suggest(patterns, verb, false)}
}

// Check judges one message. The order is: denials, interlocks, then the rules that
// allow; the first rule that allows decides and it alone is charged for its rate,
// and only then are actuators charged for theirs. When none allows, the decision
// explains the one that came nearest. st holds the rates of the principal (nil:
// rates are neither checked nor charged); target gives the facts of the device that
// a command goes to (nil: nobody is known, so commands are refused).
func (v *Verdict) Check(m Message, now time.Time, st *State, target func(id string) (Principal, bool)) Decision {
	if !v.Allowed {
		return v.Refusal()
	}
	if v.MaxBytes > 0 && len(m.Payload) > v.MaxBytes {
		return Decision{Rule: v.Rule, Code: PayloadInvalid, Fix: "send smaller messages",
			Detail: "the payload has " + strconv.Itoa(len(m.Payload)) + " bytes, and the server takes " + strconv.Itoa(v.MaxBytes)}
	}
	c := check{v: v, m: m, now: now}
	for _, r := range v.denies {
		if denied, why := c.denied(r); denied {
			return Decision{Rule: r.name, Code: NotAuthorized, Detail: clip(v.topic) + " is denied by " + r.name + why,
				Fix: "use another topic, or change that rule"}
		}
	}
	for i := range v.commands {
		if d, stop := c.interlock(&v.commands[i], target); stop {
			return d
		}
	}
	d := c.grant(st)
	if d.Allowed {
		for _, k := range c.due {
			if refused, stop := c.charge(k, st); stop {
				return refused
			}
		}
	}
	return d
}

// check is the work on one message.
type check struct {
	v   *Verdict
	m   Message
	now time.Time
	env *activation  // made when the first expression is evaluated
	due []*candidate // commands that apply and have a rate
}

func (c *check) eval(e *expr, target *Principal) (bool, error) {
	if c.env == nil {
		c.env = &activation{perms: c.v.perms, m: c.m, topic: c.v.topic, now: c.now, receive: c.v.receive}
	}
	c.env.target = target
	return e.eval(c.env)
}

// denied evaluates the condition of a denial; one that errs denies.
func (c *check) denied(r *rule) (bool, string) {
	yes, err := c.eval(r.when, nil)
	if err != nil {
		return true, ", whose condition cannot be evaluated: " + clip(err.Error())
	}
	return yes, ""
}

// grant finds the first rule that allows the message.
func (c *check) grant(st *State) Decision {
	var best Decision
	nearest := -1
	for _, r := range c.v.grants {
		d, step := c.try(r, st)
		if d.Allowed {
			return d
		}
		if step > nearest {
			best, nearest = d, step
		}
	}
	return best
}

// try checks one rule; step tells how far the message came.
func (c *check) try(r *rule, st *State) (d Decision, step int) {
	d.Rule = r.name
	if !c.v.receive {
		if c.m.QoS > r.qos {
			d.Code, d.Fix = QoS, "publish with QoS "+strconv.Itoa(int(r.qos))+" or less"
			d.Detail = "QoS " + strconv.Itoa(int(c.m.QoS)) + " is more than " + r.name + " allows"
			return d, 0
		}
		if c.m.Retain && !r.retain {
			d.Code, d.Fix = RetainRefused, "publish without retain, or write `retain: true` in the rule"
			d.Detail = r.name + " does not allow retained messages"
			return d, 1
		}
		if r.payload != nil {
			if code, detail := r.payload.check(c.m.Payload); code != "" {
				d.Code, d.Detail, d.Fix = code, detail, "send what "+r.name+" describes"
				return d, 2
			}
		}
	}
	if r.when != nil {
		ok, err := c.eval(r.when, nil)
		if err != nil {
			d.Code, d.Detail = Condition, "the condition of "+r.name+" cannot be evaluated: "+clip(err.Error())
			d.Fix = "send what the condition needs, or ask for fields with has(...) first"
			return d, 3
		}
		if !ok {
			d.Code, d.Detail = Condition, "the condition of "+r.name+" is not met: "+clip(r.when.text)
			return d, 3
		}
	}
	if why := st.take(c.v.perms.set, r, len(c.m.Payload), c.now); why != "" {
		d.Code, d.Detail, d.Fix = RateExceeded, r.name+" allows "+why, "send less often"
		return d, 4
	}
	d.Allowed = true
	return d, 5
}
