package audit

import (
	"cmp"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/sentences"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

var spec = ui.TableSpec{Filters: []string{"q", "who", "action", "outcome", "subject", "range", "from", "to"}, Keep: []string{"live", "dense"},
	Columns: []string{"time", "says", "outcome", "index", "actor", "action", "subject", "reason", "source", "node", "request"}}

func list(r *ui.Request) error {
	s := r.Table(spec)
	live := r.Query("live") == "1"
	n := sentences.For(r)
	who := n.Choices()
	q := parse(s, r.Session.Person, r.Now)
	chunks := maxChunks
	if live {
		chunks = 1
		q.filter.Before = 0
	}
	f, err := q.run(r, n, chunks)
	v := listView{state: s, query: q, found: f, err: err, names: n, live: live, dense: r.Query("dense") == "1", filters: filters(s, n, who), exports: exports(r)}
	return r.Page(ui.Page{Title: "Audit", Tabs: tabs(false), Actions: listActions(v),
		Lead: "Everything that was decided in this fleet, in an order that nobody can change without being found out."}, listBody(v))
}

// listView is what the page shows.
type listView struct {
	state       ui.TableState
	query       query
	found       found
	err         error
	names       *sentences.Names
	live, dense bool
	filters     []ui.Filter
	exports     []ui.Export
}

// tail is the list that is sent again; args are the filters of the page.
func tail(r *ui.Request, args ui.Args) (templ.Component, error) {
	values := url.Values{}
	for k, v := range args {
		values.Set(k, v)
	}
	s := ui.ParseTable("/audit", values, spec)
	n := sentences.For(r)
	q := parse(s, r.Session.Person, r.Now)
	q.filter.Before = 0
	f, err := q.run(r, n, 1)
	return tailTable(listView{state: s, query: q, found: f, err: err, names: n, live: true}), nil
}

// args are the state as a live fragment takes it. Pages have none: the tail is the
// newest.
func (v listView) args() ui.Args {
	args := ui.Args{}
	for k, list := range v.state.Clear().Values() {
		args[k] = list[0]
	}
	maps.Copy(args, v.state.Filters)
	delete(args, "live")
	delete(args, "dense")
	return args
}

// fits tells whether the filters are short enough for a live fragment.
func (v listView) fits() bool {
	return len(ui.LiveRef{Name: "audit/tail", Args: v.args()}.String()) < 1000
}

// with is the page's address with a parameter set, or without it.
func (v listView) with(name, value string) string {
	q := v.state.With("", "").Values()
	if q.Del(name); value != "" {
		q.Set(name, value)
	}
	if len(q) == 0 {
		return "/audit"
	}
	return "/audit?" + q.Encode()
}

// further is where a search goes on that found nothing in what it read.
func (v listView) further() string { return v.state.Next(v.found.next).URL() }

func (v listView) table() ui.Table[row] {
	return ui.Table[row]{ID: "events", Label: "Events of the audit log", State: v.state, Filters: v.filters, Rows: v.found.rows, Next: v.found.next, Err: v.err,
		Columns: columns(v.names), Exports: v.exports, Href: func(e row) string { return entryPath(e.Index) }, RowTone: toneOf, RowLabel: func(e row) string { return e.says.Text() },
		Actions: func(e row) ui.Node { return rowMenu(e, v.names) }, Total: v.total(),
		Empty: ui.EmptyProps{Icon: "audit", Title: "Nothing has happened yet", Text: "Every change and every refusal will be here, from the first on."}}
}

// total says how much of the log was looked at, where that is not what is shown.
func (v listView) total() string {
	text := ui.Count(int64(len(v.found.rows)), "event", "events")
	if v.query.local() && v.err == nil {
		text += " in " + ui.Number(int64(v.found.looked)) + " that were searched"
	}
	return text
}

func toneOf(e row) ui.Tone {
	switch e.Event.Outcome {
	case "failed":
		return ui.Bad
	case "refused":
		return ui.Warn
	}
	if strings.HasPrefix(e.Event.Action, "alarm.") {
		return ui.Warn
	}
	return ui.Neutral
}

func outcomeTone(outcome string) ui.Tone {
	switch outcome {
	case "success":
		return ui.Good
	case "refused":
		return ui.Warn
	case "failed":
		return ui.Bad
	}
	return ui.Neutral
}

func columns(n *sentences.Names) []ui.Column[row] {
	text := func(of func(adminapi.Event) string) func(row) ui.Node {
		return func(e row) ui.Node { return ui.Text(of(e.Event)) }
	}
	return []ui.Column[row]{
		{Key: "time", Label: "When", Cell: func(e row) ui.Node { return ui.Time(e.Event.Time) }},
		{Key: "says", Label: "What happened", Wide: true, Cell: func(e row) ui.Node { return sentenceLine(e) }},
		{Key: "outcome", Label: "Outcome", Cell: func(e row) ui.Node { return ui.Badge(outcomeTone(e.Event.Outcome), e.Event.Outcome) }},
		{Key: "index", Label: "Entry", Number: true, Hidden: true, Hint: "The number of the event in the log. It never changes.", Cell: func(e row) ui.Node { return ui.Text(strconv.FormatInt(e.Index, 10)) }},
		{Key: "actor", Label: "Who", Hidden: true, Cell: func(e row) ui.Node { return n.Party(e.Event.Actor.Kind, e.Event.Actor.ID) }},
		{Key: "action", Label: "Action", Hidden: true, Cell: func(e row) ui.Node { return code(e.Event.Action) }},
		{Key: "subject", Label: "On what", Hidden: true, Cell: text(func(e adminapi.Event) string { return strings.Trim(e.Subject.Kind+":"+e.Subject.ID, ":") })},
		{Key: "reason", Label: "Reason", Hidden: true, Cell: text(func(e adminapi.Event) string { return cmp.Or(e.Reason, e.Details["reason"]) })},
		{Key: "source", Label: "From", Hidden: true, Hint: "The network address that the request came from. It is shown to who may see personal data.", Cell: text(func(e adminapi.Event) string { return e.Actor.Source })},
		{Key: "node", Label: "Server", Hidden: true, Cell: text(func(e adminapi.Event) string { return e.Node })},
		{Key: "request", Label: "Request", Hidden: true, Cell: func(e row) ui.Node { return code(e.Event.Request) }},
	}
}

func entryPath(index int64) string { return "/audit/" + strconv.FormatInt(index, 10) }

// filters are the controls above the list.
func filters(s ui.TableState, n *sentences.Names, who []ui.Option) []ui.Filter {
	people := append([]ui.Option{{Label: "Anybody"}, {Value: "me", Label: "Me"}, {Value: "any:person", Label: "Any person"}, {Value: "any:client", Label: "Any API client"},
		{Value: "any:device", Label: "Any device"}, {Value: "any:app", Label: "Any app"}, {Value: "any:system", Label: "Holdfast itself"}, {Value: "any:anonymous", Label: "Somebody unknown"}}, who...)
	if w := s.Filter("who"); w != "" && !offered(people, w) {
		people = append(people, ui.Option{Value: w, Label: n.Label(w)})
	}
	actions := []ui.Option{{Label: "All actions"}}
	for _, group := range sentences.Groups {
		actions = append(actions, ui.Option{Value: group.Noun + ".*", Label: group.Label + ": all"})
		for _, a := range sentences.Verbs(group.Noun) {
			_, verb, _ := strings.Cut(a, ".")
			actions = append(actions, ui.Option{Value: a, Label: group.Label + ": " + sentences.Words(verb)})
		}
	}
	if a := s.Filter("action"); a != "" && !offered(actions, a) {
		actions = append(actions, ui.Option{Value: a, Label: a})
	}
	times := []ui.Option{{Label: "Any time"}}
	for _, r := range ranges {
		times = append(times, ui.Option{Value: r.key, Label: r.label})
	}
	times = append(times, ui.Option{Value: "custom", Label: "From … to …"})
	list := []ui.Filter{
		{Name: "q", Label: "Search in the text", Placeholder: "Search in the text", Search: true},
		{Name: "who", Label: "Who", Options: people},
		{Name: "action", Label: "Did what", Options: actions},
		{Name: "subject", Label: "To what", Placeholder: "pump-3 or kind:id"},
		{Name: "outcome", Label: "Outcome", Options: []ui.Option{{Label: "All"}, {Value: "success", Label: "success"}, {Value: "refused", Label: "refused"}, {Value: "failed", Label: "failed"}}},
		{Name: "range", Label: "When", Options: times},
	}
	if s.Filter("range") == "custom" || s.Filter("from") != "" || s.Filter("to") != "" {
		list = append(list, ui.Filter{Name: "from", Label: "From (UTC)", Type: kindOf(s.Filter("from"))}, ui.Filter{Name: "to", Label: "To (UTC)", Type: kindOf(s.Filter("to"))})
	}
	return list
}

// kindOf is the control for a time: a day, unless the address has more than one.
func kindOf(value string) string {
	if _, day, ok := instant(value); value == "" || ok && day {
		return "date"
	}
	return "text"
}

func offered(list []ui.Option, value string) bool {
	return slices.ContainsFunc(list, func(o ui.Option) bool { return o.Value == value })
}

// exports are downloads of the whole log: a part of it could not be verified.
func exports(r *ui.Request) []ui.Export {
	if !r.Can(access.AuditExport) || !r.Can(access.PersonalRead) {
		return nil
	}
	return []ui.Export{{Label: "Whole log, to verify offline", Href: "/audit/export?format=log"}, {Label: "Whole log as OCSF, for a SIEM", Href: "/audit/export?format=ocsf"}}
}

func export(r *ui.Request) error {
	name, kind := "holdfast.audit", "application/x-ndjson"
	switch r.Query("format") {
	case "log":
	case "ocsf":
		name = "holdfast-ocsf.jsonl"
	default:
		return refusal.New(refusal.Invalid, "bad-format", "choose log or ocsf", "this is not a format of an export")
	}
	return r.Download(name, kind, func(w io.Writer) error { return r.API.ExportAudit(r.Context(), r.Query("format"), w) })
}
