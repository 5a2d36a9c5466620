// Package policy shows what may be said to whom, and changes it: manifests, their
// versions and tests, plans, and single decisions explained.
//
// It promises that nothing comes into force that was not planned against the
// version that is active, and that what a plan found is shown before it is
// applied. It trusts the API for every check.
package policy

import (
	"errors"
	"strconv"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// maxForm bounds the manifests that are edited in a browser, in bytes of a form.
const maxForm = 8 << 20

// Mount adds the pages.
func Mount(m *ui.Mux) {
	s := m.In("policy")
	s.Page("GET /policy", active, access.PolicyRead)
	s.Page("GET /policy/versions", versions, access.PolicyRead)
	s.Page("GET /policy/versions/{version}", version, access.PolicyRead)
	s.Page("GET /policy/tests", tests, access.PolicyRead)
	s.Page("GET /policy/explain", explain, access.PolicyRead)
	s.Page("GET /policy/versions/{version}/export", export, access.PolicyRead)
	s.Page("GET /policy/edit", edit, access.PolicyRead)
	s.Large("POST /policy/edit", maxForm, further, access.PolicyRead)
	s.Large("POST /policy/plan", maxForm, plan, access.PolicyRead)
	s.Large("POST /policy/apply", maxForm, apply, access.PolicyApply)
}

// tabs are the views of the policy.
func tabs(at string) []ui.Tab {
	list := []ui.Tab{{Text: "Manifests", Href: "/policy"}, {Text: "Versions", Href: "/policy/versions"}, {Text: "Tests", Href: "/policy/tests"}, {Text: "Explain a decision", Href: "/policy/explain"}}
	for i := range list {
		list[i].Active = list[i].Href == at
	}
	return list
}

func page(r *ui.Request, title, at string) ui.Page {
	return ui.Page{Title: title, Tabs: tabs(at), Actions: ui.If(r.Can(access.PolicyApply), ui.LinkButton(ui.Primary, "edit", "Change the policy", "/policy/edit"))}
}

func active(r *ui.Request) error {
	p, err := r.API.Policy(r.Context(), 0)
	if err != nil {
		return err
	}
	at := page(r, "Policy", "/policy")
	at.Lead = "What devices, gateways and apps may say and hear. What no rule allows is refused."
	if p.Version > 0 {
		at.Actions = ui.Nodes(ui.LinkButton(ui.Plain, "download", "Export", exportPath(p.Version)), at.Actions)
	}
	return r.Page(at, activeView(p, r.Query("applied") == strconv.FormatInt(p.Version, 10) && r.Can(access.AuditRead)))
}

func versions(r *ui.Request) error {
	s := r.Table(ui.TableSpec{})
	before, _ := strconv.ParseInt(s.After, 10, 64)
	list, err := r.API.PolicyVersions(r.Context(), before, s.Limit)
	next := ""
	if list.Next > 0 {
		next = strconv.FormatInt(list.Next, 10)
	}
	t := ui.Table[adminapi.PolicyVersion]{ID: "versions", Label: "Versions of the policy", State: s, Rows: list.Items, Next: next, Err: err,
		Columns: []ui.Column[adminapi.PolicyVersion]{
			{Key: "version", Label: "Version", Cell: func(v adminapi.PolicyVersion) ui.Node { return ui.Text(strconv.FormatInt(v.Version, 10)) }},
			{Key: "message", Label: "Why", Wide: true, Cell: func(v adminapi.PolicyVersion) ui.Node { return ui.Text(orDash(v.Message)) }},
			{Key: "by", Label: "Applied by", Cell: func(v adminapi.PolicyVersion) ui.Node { return ui.Text(v.CreatedBy) }},
			{Key: "at", Label: "When", Cell: func(v adminapi.PolicyVersion) ui.Node { return ui.Time(v.CreatedAt) }},
			{Key: "size", Label: "Size", Number: true, Cell: func(v adminapi.PolicyVersion) ui.Node { return ui.Text(ui.Bytes(v.Size)) }},
		},
		Href: func(v adminapi.PolicyVersion) string {
			return "/policy/versions/" + strconv.FormatInt(v.Version, 10)
		},
		Empty: ui.EmptyProps{Icon: "policy", Title: "No policy was applied yet", Text: "Until there is one, nothing may be said by anybody."}}
	return r.Page(page(r, "Policy", "/policy/versions"), t)
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

func tests(r *ui.Request) error {
	report, err := r.API.TestPolicy(r.Context(), nil)
	if err != nil {
		return err
	}
	return r.Page(page(r, "Policy", "/policy/tests"), testsView(report.Problems, report.Results))
}

// question is a decision that somebody asks about, as it stands in the address.
type question struct {
	As, Action, Topic, Payload string
}

var actions = []ui.Option{{Value: "publish", Label: "publish a message"}, {Value: "receive", Label: "receive a message"}, {Value: "subscribe", Label: "subscribe to a filter"}, {Value: "connect", Label: "connect with a client id"}}

func explain(r *ui.Request) error {
	q := question{r.Query("as"), r.Query("action"), r.Query("topic"), r.Query("payload")}
	if q.Action == "" {
		q.Action = "publish"
	}
	var answer *adminapi.Explanation
	var trouble error
	if q.As != "" && q.Topic != "" {
		query := adminapi.ExplainQuery{As: q.As}
		switch q.Action {
		case "subscribe":
			query.Subscribe = q.Topic
		case "connect":
			query.Connect = q.Topic
		case "receive":
			query.Receive = &adminapi.PolicyMessage{Topic: q.Topic, Payload: q.Payload}
		default:
			query.Publish = &adminapi.PolicyMessage{Topic: q.Topic, Payload: q.Payload}
		}
		e, err := r.API.ExplainPolicy(r.Context(), query)
		var p *adminapi.Problem
		switch {
		case err == nil:
			answer = &e
		case errors.As(err, &p) && p.Status/100 == 4 && p.Status != 401:
			trouble = err
		default:
			return err
		}
	}
	return r.Page(page(r, "Policy", "/policy/explain"), explainView(q, answer, trouble))
}

// line is one line of a manifest, for anchors.
type line struct {
	Number int
	Text   string
	Kind   string // comment, key, or empty
}

func lines(text string) []line {
	var list []line
	for i, s := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		kind, trimmed := "", strings.TrimSpace(s)
		switch {
		case strings.HasPrefix(trimmed, "#"):
			kind = "comment"
		case trimmed == "---":
			kind = "break"
		case strings.HasPrefix(trimmed, "kind:"):
			kind = "kind"
		}
		list = append(list, line{i + 1, s, kind})
	}
	return list
}

// anchor is the id of a line of a file in a page.
func anchor(file string, number int) string {
	return "f-" + strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, file) + "-" + strconv.Itoa(number)
}

func place(file string, line int) string {
	if file == "" || line < 1 {
		return ""
	}
	return "/policy#" + anchor(file, line)
}

// counts of tests that passed and failed.
func counts(results []adminapi.PolicyTestResult) (passed, failed int) {
	for _, t := range results {
		if t.Passed {
			passed++
		} else {
			failed++
		}
	}
	return passed, failed
}

func effectTone(effect string) ui.Tone {
	switch effect {
	case "allow":
		return ui.Good
	case "deny":
		return ui.Bad
	}
	return ui.Info
}

// outcomes in words.
var outcomes = map[string]string{"no-match": "does not fit the topic", "no-value": "needs a fact that is missing", "allows": "allows it", "denies": "forbids it", "refuses": "stops the command",
	"not-met": "its condition is not met", "passes": "within its limits", "not-reached": "not looked at"}

func outcome(s string) string {
	if w, ok := outcomes[s]; ok {
		return w
	}
	return s
}
