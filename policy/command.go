package policy

import (
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/policy/manifest"
)

// command is an interlock of a device type, compiled.
type command struct {
	name       string // of the rule: DeviceType/doser/dose
	deviceType string
	pos        manifest.Pos
	topic      template
	levels     [][]part
	filter     string // the topic with + for each level that holds a variable
	payload    *payloadRule
	rate       rate
	refuseIn   []string
	when       *expr
}

// stops are the conditions in which commands are refused unless the manifest says otherwise.
var stops = []string{string(device.Quarantined), string(device.Retired), string(device.Registered), string(device.Pending), maintenance}

const maintenance = "maintenance"

// commandIndex finds commands by their number of levels and their last level,
// which is empty where it holds a variable.
type commandIndex map[commandKey][]*command

type commandKey struct {
	separators int
	last       string
}

func (x commandIndex) add(c *command) {
	k := commandKey{separators: len(c.levels) - 1}
	if last := c.levels[len(c.levels)-1]; len(last) == 1 {
		k.last = last[0].lit
	}
	x[k] = append(x[k], c)
}

// meets tells whether some topic of a filter can be a command.
func (x commandIndex) meets(filter string) bool {
	for _, cs := range x {
		for _, c := range cs {
			if overlap(filter, c.filter) {
				return true
			}
		}
	}
	return false
}

// candidate is a command that a topic may be, and the device that it names.
type candidate struct {
	cmd    *command
	target string
}

// find appends the commands whose shape a topic has.
func (x commandIndex) find(dst []candidate, topic string) []candidate {
	k := commandKey{strings.Count(topic, "/"), topic[strings.LastIndexByte(topic, '/')+1:]}
	for range 2 {
		for _, c := range x[k] {
			if id, ok := c.fits(topic); ok {
				dst = append(dst, candidate{c, id})
			}
		}
		if k.last == "" {
			break
		}
		k.last = ""
	}
	return dst
}

// fits compares the levels without variables, and takes the device's id from its
// level. What other variables stand for is known when the device is.
func (c *command) fits(topic string) (id string, ok bool) {
	for _, parts := range c.levels {
		level, rest, _ := strings.Cut(topic, "/")
		topic = rest
		switch {
		case len(parts) == 0:
			ok = level == ""
		case len(parts) == 1 && parts[0].v == "":
			ok = level == parts[0].lit
		case len(parts) == 1 && parts[0].v == deviceID:
			id, ok = level, id == "" || id == level
		default:
			ok = strings.HasPrefix(level, parts[0].lit) && strings.HasSuffix(level, parts[len(parts)-1].lit)
		}
		if !ok {
			return "", false
		}
	}
	return id, true
}

const deviceID = "device.id"

// interlock checks a command against the device that it goes to; stop tells that
// the message must not pass.
func (c *check) interlock(k *candidate, target func(string) (Principal, bool)) (d Decision, stop bool) {
	cmd := k.cmd
	d = Decision{Rule: cmd.name, Code: Interlock}
	var t Principal
	known := false
	if target != nil {
		t, known = target(k.target)
	}
	if !known {
		d.Detail = "the device " + quote(k.target) + " that the command would go to is not known"
		d.Fix = "check the id in the topic against the inventory"
		return d, true
	}
	if t.ID = k.target; t.Kind == "" {
		t.Kind = Device
	}
	if t.Type != cmd.deviceType {
		return d, false
	}
	if detail, fix := cmd.elsewhere(&t, c.v.topic); detail != "" {
		d.Detail, d.Fix = detail, fix
		return d, true
	}
	if why := cmd.refuses(&t); why != "" {
		d.Detail, d.Fix = clip(t.ID)+" takes no commands while it is "+why, "wait until an operator has released it"
		return d, true
	}
	if cmd.payload != nil {
		if code, detail := cmd.payload.check(c.m.Payload); code != "" {
			d.Detail, d.Fix = "the command to "+clip(t.ID)+": "+detail, "stay within the limits of "+cmd.name
			return d, true
		}
	}
	if cmd.rate.any() {
		c.due = append(c.due, k)
	}
	if cmd.when != nil {
		ok, err := c.eval(cmd.when, &t)
		if err != nil {
			d.Detail = "the condition of " + cmd.name + " cannot be evaluated: " + clip(err.Error())
			d.Fix = "send what the condition needs"
			return d, true
		}
		if !ok {
			d.Detail = "the condition of " + cmd.name + " is not met: " + clip(cmd.when.text)
			return d, true
		}
	}
	return d, false
}

// elsewhere says how a topic differs from the one on which the device takes the command.
func (cmd *command) elsewhere(t *Principal, topic string) (detail, fix string) {
	want, why := cmd.topic.bind(t)
	if why != "" {
		return why, "complete the device's facts in the inventory"
	}
	if want != topic {
		return clip(t.ID) + " takes this command on another topic", "publish to " + clip(want)
	}
	return "", ""
}

// refuses names the condition of a device that forbids the command, or returns "".
func (cmd *command) refuses(t *Principal) string {
	if _, err := device.ParseState(t.State); err != nil {
		return "in a state that is not known"
	}
	if slices.Contains(cmd.refuseIn, t.State) {
		return t.State
	}
	if t.Maintenance && slices.Contains(cmd.refuseIn, maintenance) {
		return "in maintenance"
	}
	return ""
}

// charge takes a command from the rate of its actuator.
func (c *check) charge(k *candidate, st *State) (d Decision, stop bool) {
	if st == nil || st.actuators == nil {
		return d, false
	}
	key := actuator{device: k.target, command: k.cmd.name, delivery: c.v.receive}
	if c.v.receive {
		key.receiver = c.v.perms.who.ID
	}
	if why := st.actuators.take(key, &k.cmd.rate, len(c.m.Payload), c.now); why != "" {
		return Decision{Rule: k.cmd.name, Code: Interlock, Detail: clip(k.target) + " takes " + why, Fix: "send the command less often"}, true
	}
	return d, false
}
