package overview

import (
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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

// unruled says what is refused without a rule.
func unruled(kind string) string {
	switch kind {
	case "publish-refused", "subscribe-refused", "delivery-refused":
		return "no rule allowed it"
	}
	return words(kind)
}

// refusedOf is what was refused, unless that is said already, and of how many.
func refusedOf(r adminapi.RuleRefusals) string {
	s := ui.Count(int64(r.Clients), "client", "clients")
	if r.Rule != "" || unruled(r.Kind) != words(r.Kind) {
		s = words(r.Kind) + ", " + s
	}
	return s
}

// sentence makes a sentence of what the API writes for programs and people.
func sentence(s string) string {
	c, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return strings.TrimSuffix(string(unicode.ToUpper(c))+s[n:], ".") + "."
}

// atLeast is a number that may be more.
func atLeast(n int64, complete bool) string {
	if complete {
		return ui.Number(n)
	}
	return ui.Number(n) + " or more"
}

func policyNote(f *facts) string {
	if f.now.Policy.Version == 0 {
		return "nothing is allowed until one is applied"
	}
	return "since " + ui.Ago(f.now.Policy.Since, f.r.Now)
}

func sessionsNote(s *adminapi.SessionNumbers) string {
	return ui.Count(int64(s.ByKind["device"]), "device", "devices") + ", " + ui.Count(int64(s.ByKind["gateway"]), "gateway", "gateways") + ", " + ui.Count(int64(s.ByKind["app"]), "app", "apps")
}
