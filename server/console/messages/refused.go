package messages

import (
	"encoding/csv"
	"io"
	"maps"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

const (
	maxShown    = 1000 // refusals that a page looks at
	liveRefusal = 50   // that are shown while they are followed
)

var kinds = []ui.Option{{Value: "", Label: "All"}, {Value: "publish-refused", Label: "Publish refused"}, {Value: "command-refused", Label: "Command stopped"}, {Value: "payload-refused", Label: "Payload refused"},
	{Value: "rate-exceeded", Label: "Too fast"}, {Value: "subscribe-refused", Label: "Subscribe refused"}, {Value: "subscription-lost", Label: "Subscription lost"}, {Value: "connect-refused", Label: "Connect refused"},
	{Value: "delivery-refused", Label: "Delivery refused"}, {Value: "view-refused", Label: "Cannot be shown"}, {Value: "will-refused", Label: "Last will refused"}, {Value: "malformed", Label: "Not MQTT"},
	{Value: "protocol-error", Label: "Against MQTT"}, {Value: "flapping", Label: "Came and went too often"}, {Value: "source-blocked", Label: "Address blocked"},
	{Value: "certificate-expired", Label: "Certificate ended"}, {Value: "session-closed", Label: "Session closed"}}

// kindLabel names what was stopped.
func kindLabel(kind string) string {
	for _, o := range kinds {
		if o.Value == kind && kind != "" {
			return o.Label
		}
	}
	return strings.ReplaceAll(kind, "-", " ")
}

var ages = []ui.Option{{Value: "", Label: "All that is remembered"}, {Value: "5m", Label: "Last 5 minutes"}, {Value: "15m", Label: "Last 15 minutes"}, {Value: "1h", Label: "Last hour"}}

var refusedSpec = ui.TableSpec{Filters: []string{"principal", "kind", "rule", "since"}, Sorts: []string{"when", "times"}, Keep: []string{"live"}, Columns: []string{"when", "who", "what", "why", "times", "address", "node", "explain"}}

// filterOf is what a table's filters select. An age that is not offered is none.
func filterOf(s ui.TableState, now time.Time, limit int) adminapi.RefusalFilter {
	f := adminapi.RefusalFilter{Principal: s.Filter("principal"), Kind: s.Filter("kind"), Rule: s.Filter("rule"), Limit: limit}
	for _, o := range ages {
		if d, err := time.ParseDuration(o.Value); err == nil && o.Value == s.Filter("since") {
			f.Since = now.Add(-d)
		}
	}
	return f
}

func refused(r *ui.Request) error {
	s := r.Table(refusedSpec)
	p := page(r, "/messages/refused")
	if r.Query("live") == "1" {
		p.Actions = ui.LinkButton(ui.Plain, "pause", "Stop following", address("/messages/refused", flat(s)...))
		t := refusedTable(r, s, liveRefusal)
		return r.Page(p, followed(argsOf(s), t))
	}
	p.Actions = ui.LinkButton(ui.Plain, "play", "Follow live", address("/messages/refused", append(flat(s), "live", "1")...))
	t := refusedTable(r, s, maxShown)
	t.Rows, t.Next = ui.SortPage(s, t.Rows, map[string]func(a, b adminapi.Refusal) int{
		"when":  func(a, b adminapi.Refusal) int { return a.Last.Compare(b.Last) },
		"times": func(a, b adminapi.Refusal) int { return int(a.Count - b.Count) },
	})
	t.Filters = []ui.Filter{{Name: "principal", Label: "Who", Placeholder: "pump-1 or app:scada", Search: true}, {Name: "kind", Label: "What", Options: kinds}, {Name: "since", Label: "When", Options: ages},
		{Name: "rule", Label: "Rule", Placeholder: "DeviceType/pump/pressure"}}
	t.Exports = []ui.Export{{Label: "CSV", Href: address("/messages/refused/export", flat(s)...)}}
	return r.Page(p, t)
}

// flat are the filters of a table, as address takes them.
func flat(s ui.TableState) (pairs []string) {
	for _, name := range refusedSpec.Filters {
		pairs = append(pairs, name, s.Filter(name))
	}
	return pairs
}

func argsOf(s ui.TableState) ui.Args {
	args := ui.Args{}
	maps.Copy(args, s.Filters)
	return args
}

func liveRefused(r *ui.Request, args ui.Args) (templ.Component, error) {
	values := url.Values{}
	for k, v := range args {
		values.Set(k, v)
	}
	t := refusedTable(r, ui.ParseTable("/messages/refused", values, refusedSpec), liveRefusal)
	return t, t.Err
}

func refusedTable(r *ui.Request, s ui.TableState, limit int) ui.Table[adminapi.Refusal] {
	list, err := r.API.Refusals(r.Context(), filterOf(s, r.Now, limit))
	return ui.Table[adminapi.Refusal]{ID: "refused", Label: "What was stopped", State: s, Rows: list, Err: err, Total: ui.Count(int64(len(list)), "entry", "entries"),
		Columns: []ui.Column[adminapi.Refusal]{
			{Key: "when", Label: "When", Sort: true, Cell: func(v adminapi.Refusal) ui.Node { return ui.Time(v.Last) }},
			{Key: "who", Label: "Who", Cell: func(v adminapi.Refusal) ui.Node { return who(r, v) }},
			{Key: "what", Label: "What", Cell: func(v adminapi.Refusal) ui.Node { return ui.Badge(ui.Warn, kindLabel(v.Kind)) }},
			{Key: "why", Label: "Why", Wide: true, Cell: func(v adminapi.Refusal) ui.Node { return why(v) }},
			{Key: "times", Label: "Times", Sort: true, Number: true, Hint: "What is alike within ten seconds is one line.", Cell: func(v adminapi.Refusal) ui.Node { return ui.Text(ui.Number(v.Count)) }},
			{Key: "address", Label: "Address", Hidden: true, Cell: func(v adminapi.Refusal) ui.Node { return ui.Text(v.Address) }},
			{Key: "node", Label: "Server", Hidden: true, Cell: func(v adminapi.Refusal) ui.Node { return ui.Text(v.Node) }},
			{Key: "explain", Label: "Explain", Cell: func(v adminapi.Refusal) ui.Node {
				return explain(explainHref(r, v.Principal.Kind, v.Principal.ID, v.Action, v.Topic))
			}},
		},
		Empty: ui.EmptyProps{Icon: "message", Title: "Nothing was refused lately", Text: "When policy or a limit stops somebody, it is here with the rule that decided. Each server remembers the last 1,000; the audit log has all of them.",
			Action: ui.If(r.Can(access.AuditRead), ui.LinkButton(ui.Plain, "audit", "Refusals in the audit log", "/audit?action=message.%2A"))}}
}

// exportRefused writes what the filters select as a table for other programs. A cell
// that a spreadsheet would take for a formula begins with an apostrophe.
func exportRefused(r *ui.Request) error {
	list, err := r.API.Refusals(r.Context(), filterOf(r.Table(refusedSpec), r.Now, maxShown))
	if err != nil {
		return err
	}
	return table(r, "refused.csv", []string{"first", "last", "kind", "principal_kind", "principal", "type", "zone", "client", "address", "topic", "rule", "detail", "count", "node"}, func(row func(...string)) {
		for _, v := range list {
			row(v.Time.Format(time.RFC3339), v.Last.Format(time.RFC3339), v.Kind, v.Principal.Kind, v.Principal.ID, string(v.Principal.Type), string(v.Principal.Zone), v.Client, v.Address, v.Topic, v.Rule, v.Detail,
				strconv.FormatInt(v.Count, 10), v.Node)
		}
	})
}

// table is a download in CSV (RFC 4180).
func table(r *ui.Request, name string, head []string, fill func(row func(...string))) error {
	return r.Download(name, "text/csv; charset=utf-8", func(w io.Writer) error {
		out := csv.NewWriter(w)
		out.Write(head)
		fill(func(cells ...string) {
			for i, c := range cells {
				if c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
					cells[i] = "'" + c
				}
			}
			out.Write(cells)
		})
		out.Flush()
		return out.Error()
	})
}
