package policy

import (
	"strings"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// Permissions is what one principal may do under one Set. It never changes and is
// safe for concurrent use; a change of the principal's facts needs new ones.
type Permissions struct {
	set            *Set
	who            Principal
	dead           string // why there are no permissions at all
	main           *document
	publish        []bound // in the order in which rules are tried
	subscribe      []bound
	denyPublish    []bound
	denySubscribe  []bound
	limits         Limits
	audience       string
	checksDelivery bool
}

// Principal gives the facts that the permissions were made for; Labels must not be changed.
func (p *Permissions) Principal() Principal { return p.who }

// Limits are the server's defaults with the device type's or the app's over them.
func (p *Permissions) Limits() Limits { return p.limits }

// Audience is the name under which the principal sees marked fields; empty: it sees none.
func (p *Permissions) Audience() string { return p.audience }

// ChecksDelivery tells whether deliveries to this principal need Receive and
// Check at all: a subscription that was granted can still meet a condition, a
// conditional denial or a command.
func (p *Permissions) ChecksDelivery() bool { return p.checksDelivery }

func (p *Permissions) needsDelivery() bool {
	for _, b := range p.denySubscribe {
		if b.rule.when != nil {
			return true
		}
	}
	for _, b := range p.subscribe {
		if b.rule.when != nil {
			return true
		}
		if p.who.inInventory() && p.set.commands.meets(b.pattern) {
			return true
		}
	}
	return false
}

// Connect decides whether the principal may use a client id.
func (p *Permissions) Connect(clientID string) Decision {
	if p.dead != "" {
		return p.refuseDead()
	}
	if p.main == nil && !p.who.inInventory() && len(p.publish) == 0 && len(p.subscribe) == 0 {
		return Decision{Code: NotAuthorized, Detail: "there is no app " + clip(p.who.ID), Fix: "apply an App manifest with this name"}
	}
	d := Decision{}
	if p.main != nil {
		d.Rule = p.main.kind + "/" + p.main.name
		for i := range p.main.clientIDs {
			if text, why := p.main.clientIDs[i].bind(&p.who); why == "" && glob(text, clientID) {
				d.Allowed = true
				return d
			}
		}
	}
	if p.main == nil || len(p.main.clientIDs) == 0 {
		if clientID == p.who.ID || !p.who.inInventory() && strings.HasPrefix(clientID, p.who.ID+"/") {
			d.Allowed = true
			return d
		}
	}
	d.Code = ClientID
	d.Detail = "the client id " + quote(clientID) + " is not one that " + p.who.label() + " may use"
	d.Fix = "connect with " + p.clientIDs()
	return d
}

// clientIDs names the ids that the principal may use.
func (p *Permissions) clientIDs() string {
	if p.main == nil || len(p.main.clientIDs) == 0 {
		if p.who.inInventory() {
			return quote(p.who.ID)
		}
		return quote(p.who.ID) + " or " + quote(p.who.ID+"/…")
	}
	var ids []string
	for i := range p.main.clientIDs {
		if text, why := p.main.clientIDs[i].bind(&p.who); why == "" {
			ids = append(ids, quote(text))
		}
	}
	if len(ids) == 0 {
		return "an id of its device type: none can be made from its facts"
	}
	return some(ids)
}

func (p *Permissions) refuseDead() Decision {
	return Decision{Code: NotAuthorized, Detail: p.who.label() + " may do nothing: " + p.dead, Fix: "ask an operator to look at it in the inventory"}
}

// Publish gives the verdict on a topic name that the principal publishes to: what
// does not depend on the message. It stays true as long as the permissions do, so
// callers keep it per topic. Bound: one look at each pattern of the principal.
func (p *Permissions) Publish(topic string) *Verdict {
	v := &Verdict{perms: p, topic: topic, MaxBytes: p.set.cfg.PayloadMax}
	v.decide(p.denyPublish, p.publish)
	if v.Allowed && len(p.set.commands) != 0 {
		v.commands = p.set.commands.find(nil, topic)
		v.simple = v.simple && len(v.commands) == 0
	}
	return v
}

// Receive gives the verdict on delivering messages of a topic to the principal,
// as Publish does for publishing. Devices and gateways are where commands act, so
// interlocks hold for deliveries to them; an app that looks on moves nothing.
func (p *Permissions) Receive(topic string) *Verdict {
	v := &Verdict{perms: p, topic: topic, receive: true}
	v.decide(p.denySubscribe, p.subscribe)
	if v.Allowed && p.who.inInventory() && len(p.set.commands) != 0 {
		for _, c := range p.set.commands.find(nil, topic) {
			if c.target != p.who.ID || c.cmd.deviceType == p.who.Type {
				v.commands = append(v.commands, c)
			}
		}
		v.simple = v.simple && len(v.commands) == 0
	}
	return v
}

// Subscribe decides on a topic filter, $share/NAME/ included: it is allowed when
// every topic that it can match is allowed by some subscribe rule, and none is
// denied without a condition. Rules and denials with conditions are judged again
// for each message, by Receive. QoS is what is granted of the qos asked for.
func (p *Permissions) Subscribe(filter string, qos byte) Decision {
	if p.dead != "" {
		return p.refuseDead()
	}
	f, err := mqtt.ParseFilter(filter)
	if err != nil {
		return Decision{Code: BadFilter, Detail: "the filter " + quote(filter) + " is not valid", Fix: "see section 4.7 of the MQTT 5 standard"}
	}
	for _, b := range p.denySubscribe {
		if b.rule.when != nil || !overlap(f.Pattern, b.pattern) {
			continue
		}
		if topic, meets := intersect(f.Pattern, b.pattern); meets {
			return Decision{Rule: b.rule.name, Code: NotAuthorized, Detail: clip(topic) + " is denied by " + b.rule.name,
				Fix: "subscribe to a filter that does not match " + quote(b.pattern)}
		}
	}
	patterns := p.subscribe
	if f.Share != "" {
		patterns = make([]bound, 0, len(p.subscribe))
		for _, b := range p.subscribe {
			if b.rule.shared {
				patterns = append(patterns, b)
			}
		}
	}
	first, granted, witness := contain(patterns, f.Pattern)
	if first == nil {
		return Decision{Code: NotAuthorized, Detail: clip(witness) + " is not allowed", Fix: p.suggest(patterns, "subscribe", f.Share != "")}
	}
	return Decision{Allowed: true, Rule: first.name, QoS: min(qos, granted)}
}

// suggest says what would be allowed.
func (p *Permissions) suggest(patterns []bound, verb string, shared bool) string {
	var texts []string
	for _, b := range patterns {
		texts = append(texts, clip(b.pattern))
	}
	switch {
	case len(texts) > 0:
		return "stay within " + some(texts)
	case shared && len(p.subscribe) > 0:
		return "subscribe without $share: its rules do not allow shared subscriptions"
	case p.who.Kind == App:
		return "add a " + verb + " rule to App " + clip(p.who.ID)
	case p.who.Type != "":
		return "add a " + verb + " rule to DeviceType " + clip(p.who.Type)
	}
	return "add a " + verb + " rule for " + p.who.label()
}
