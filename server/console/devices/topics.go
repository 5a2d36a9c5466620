package devices

import (
	"net/url"
	"strings"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// topics shows what the policy lets a device say and hear, rule by rule.
func topics(r *ui.Request) error {
	d, err := r.API.Device(r.Context(), device.ID(r.Value("id")))
	if err != nil {
		return err
	}
	p, err := r.API.DevicePermissions(r.Context(), d.ID)
	if err != nil {
		return err
	}
	return r.Page(frame(r, d, "Allowed topics"), topicsBody(d, p))
}

// pick are the rules of one action and effect.
func pick(p adminapi.DevicePermissions, action, effect string) (list []adminapi.PermittedRule) {
	for _, rule := range p.Rules {
		if rule.Action == action && (effect == "" || rule.Effect == effect) {
			list = append(list, rule)
		}
	}
	return list
}

func ruleName(rule string) (document, name string) {
	i := strings.LastIndexByte(rule, '/')
	return rule[:max(i, 0)], rule[i+1:]
}

// asked is a question about one thing that a device does.
type asked struct {
	Action, Topic, Payload string
}

func explainHref(id device.ID, f adminapi.Refusal) string {
	return at(id, "explain") + "?" + url.Values{"action": {f.Action}, "topic": {f.Topic}, "said": {f.Detail}}.Encode()
}

// explain shows how the policy decides about one thing that a device does: which
// rule decides, and every rule that was looked at. What is asked is in the address.
func explain(r *ui.Request) error {
	d, err := r.API.Device(r.Context(), device.ID(r.Value("id")))
	if err != nil {
		return err
	}
	q := asked{Action: r.Query("action"), Topic: r.Query("topic"), Payload: r.Query("payload")}
	ask := adminapi.ExplainQuery{As: "device:" + string(d.ID)}
	message := &adminapi.PolicyMessage{Topic: q.Topic, Payload: q.Payload}
	switch q.Action {
	case "publish":
		ask.Publish = message
	case "receive":
		ask.Receive = message
	case "subscribe":
		ask.Subscribe = q.Topic
	case "connect":
		if q.Topic == "" {
			q.Topic = string(d.ID)
		}
		ask.Connect = q.Topic
	}
	p := ui.Page{Title: "May " + string(d.ID) + " do this?", Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}, {Text: string(d.ID), Href: at(d.ID)}}, Narrow: true}
	if q.Topic == "" || q.Action == "" {
		return r.Page(p, explainBody(r, d, q, nil, nil))
	}
	e, err := r.API.ExplainPolicy(r.Context(), ask)
	if err != nil {
		return r.Page(p, explainBody(r, d, q, nil, err))
	}
	return r.Page(p, explainBody(r, d, q, &e, nil))
}

var outcomes = map[string]string{"no-match": "does not match", "no-value": "cannot apply", "allows": "allows it", "denies": "denies it", "refuses": "refuses it", "not-met": "condition not met",
	"passes": "lets it pass", "not-reached": "was not needed"}

func outcomeWord(s string) string {
	if w := outcomes[s]; w != "" {
		return w
	}
	return s
}

func outcomeTone(s adminapi.ExplainStep) ui.Tone {
	switch s.Outcome {
	case "allows", "passes":
		return ui.Good
	case "denies", "refuses":
		return ui.Bad
	case "not-met", "no-value":
		return ui.Warn
	}
	return ui.Neutral
}

// meaningful puts apart the steps that did not match at all.
func meaningful(steps []adminapi.ExplainStep, matched bool) (list []adminapi.ExplainStep) {
	for _, s := range steps {
		if (s.Outcome != "no-match") == matched {
			list = append(list, s)
		}
	}
	return list
}
