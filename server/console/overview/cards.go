package overview

import (
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// shownEntries is how many audit entries the page shows.
const shownEntries = 8

// shownAttention is how much of what needs attention is shown at first.
const shownAttention = 6

// states in the order of a device's life, with how they are drawn.
var states = []device.State{device.Active, device.Enrolled, device.Pending, device.Registered, device.Quarantined, device.Retired}

func stateParts(d *adminapi.DeviceNumbers) []ui.Part {
	var parts []ui.Part
	for _, s := range states {
		if n := d.ByState[string(s)]; n > 0 {
			parts = append(parts, ui.Part{Label: string(s), Value: n, Tone: ui.StateTone(s), Href: "/devices?state=" + url.QueryEscape(string(s))})
		}
	}
	return parts
}

func windowTabs(c choice) []ui.Tab {
	var list []ui.Tab
	for _, w := range windows {
		list = append(list, ui.Tab{Text: w, Href: c.in(w).url(), Active: c.window == w})
	}
	return list
}

// chart draws rates in messages a second.
func chart(r *adminapi.Rates) ui.Chart {
	c := ui.Chart{ID: "rates", Label: "Messages a second, received, sent and refused", Unit: "msg/s", Height: 180}
	if len(r.Series) == 0 || r.Step == 0 {
		return c
	}
	s := r.Series[0]
	scale := func(list []int64) []float64 {
		out := make([]float64, len(list))
		for i, v := range list {
			out[i] = float64(v) / float64(r.Step)
		}
		return out
	}
	for i := range s.In {
		c.Times = append(c.Times, r.From.Add(time.Duration(i*r.Step)*time.Second))
	}
	c.Series = []ui.Series{{Label: "received", Values: scale(s.In)}, {Label: "sent", Values: scale(s.Out)}, {Label: "refused", Tone: ui.Bad, Values: scale(s.Refused)}}
	return c
}

var severityTone = map[string]ui.Tone{adminapi.SeverityHigh: ui.Bad, adminapi.SeverityMedium: ui.Warn, adminapi.SeverityLow: ui.Info}

// attentionHref is where to look.
func attentionHref(a adminapi.Attention) string {
	switch a.Kind {
	case "device":
		return "/devices/" + url.PathEscape(a.ID)
	case "devices":
		return "/devices?state=" + url.QueryEscape(a.ID)
	case "waiting":
		return "/devices/waiting"
	case "approvals":
		return "/access/approvals"
	case "policy":
		return "/policy"
	case "people":
		return "/access/people"
	case "unused":
		return "/access/roles"
	case "app", "address":
		return "/messages/refused?principal=" + url.QueryEscape(a.ID)
	}
	return ""
}

func (f *facts) attention() []adminapi.Attention {
	if list := f.now.Attention; !f.choice.all && len(list) > shownAttention {
		return list[:shownAttention]
	}
	return f.now.Attention
}

// words of a kind of refusal.
func words(kind string) string { return strings.ReplaceAll(kind, "-", " ") }

func ruleHref(r adminapi.RuleRefusals) string {
	q := url.Values{"kind": {r.Kind}}
	if r.Rule != "" {
		q.Set("rule", r.Rule)
	}
	return "/messages/refused?" + q.Encode()
}

// who acted, as their reader may know them.
func (f *facts) who(e adminapi.Entry) string {
	if n := f.names[e.Event.Actor.ID]; n != "" {
		return n
	}
	return e.Event.Actor.ID
}

// whom it was done to, and by whom, if it was not somebody to themselves.
func (f *facts) whom(e adminapi.Entry) string {
	if e.Event.Subject.ID == e.Event.Actor.ID {
		return "by " + f.who(e)
	}
	subject := e.Event.Subject.ID
	if n := f.names[subject]; n != "" {
		subject = n
	}
	return subject + " by " + f.who(e)
}

func action(e adminapi.Entry) string {
	return strings.ReplaceAll(strings.ReplaceAll(e.Event.Action, ".", " "), "_", " ")
}

func sessionsNote(s *adminapi.SessionNumbers) string {
	return ui.Count(int64(s.ByKind["device"]), "device", "devices") + ", " + ui.Count(int64(s.ByKind["gateway"]), "gateway", "gateways") + ", " + ui.Count(int64(s.ByKind["app"]), "app", "apps")
}
