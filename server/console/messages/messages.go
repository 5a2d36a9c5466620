// Package messages shows what passes and what was stopped: refusals with their
// reasons, and who is connected.
//
// It promises that nothing is shown that the API does not show its reader. It
// trusts the API for scopes and for what is personal.
package messages

import (
	"net/url"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Mount adds the pages.
func Mount(m *ui.Mux) {
	s := m.In("messages")
	s.Page("GET /messages", func(r *ui.Request) error { return r.Redirect("/messages/refused") }, access.SessionRead)
	s.Page("GET /messages/refused", refused, access.SessionRead)
	s.Page("GET /messages/sessions", sessions, access.SessionRead)
	s.Page("GET /messages/sessions/{client}/close", askClose, access.SessionClose)
	s.Page("POST /messages/sessions/{client}/close", closeSession, access.SessionClose)
}

func page(at string) ui.Page {
	p := ui.Page{Title: "Messages", Lead: "What was stopped, and who is connected.",
		Tabs: []ui.Tab{{Text: "Refused", Href: "/messages/refused"}, {Text: "Sessions", Href: "/messages/sessions"}}}
	for i := range p.Tabs {
		p.Tabs[i].Active = p.Tabs[i].Href == at
	}
	return p
}

var kinds = []ui.Option{{Value: "", Label: "All"}, {Value: "publish-refused", Label: "Publish refused"}, {Value: "command-refused", Label: "Command stopped"}, {Value: "payload-refused", Label: "Payload refused"},
	{Value: "rate-exceeded", Label: "Too fast"}, {Value: "subscribe-refused", Label: "Subscribe refused"}, {Value: "connect-refused", Label: "Connect refused"}, {Value: "delivery-refused", Label: "Delivery refused"}, {Value: "session-closed", Label: "Session closed"}}

func refused(r *ui.Request) error {
	s := r.Table(ui.TableSpec{Filters: []string{"principal", "kind", "rule"}})
	list, err := r.API.Refusals(r.Context(), adminapi.RefusalFilter{Principal: s.Filter("principal"), Kind: s.Filter("kind"), Rule: s.Filter("rule"), Limit: 200})
	t := ui.Table[adminapi.Refusal]{ID: "refused", Label: "What was stopped", State: s, Rows: list, Err: err,
		Filters: []ui.Filter{{Name: "principal", Label: "Who", Placeholder: "device:pump-1", Search: true}, {Name: "kind", Label: "What", Options: kinds}, {Name: "rule", Label: "Rule", Placeholder: "DeviceType/pump/pressure"}},
		Columns: []ui.Column[adminapi.Refusal]{
			{Key: "when", Label: "When", Cell: func(v adminapi.Refusal) ui.Node { return ui.Time(v.Last) }},
			{Key: "who", Label: "Who", Cell: func(v adminapi.Refusal) ui.Node { return who(v) }},
			{Key: "what", Label: "What", Cell: func(v adminapi.Refusal) ui.Node { return ui.Badge(ui.Warn, strings.ReplaceAll(v.Kind, "-", " ")) }},
			{Key: "why", Label: "Why", Wide: true, Cell: func(v adminapi.Refusal) ui.Node { return why(v) }},
			{Key: "times", Label: "Times", Number: true, Cell: func(v adminapi.Refusal) ui.Node { return ui.Text(ui.Number(v.Count)) }},
			{Key: "explain", Label: "Explain", Cell: func(v adminapi.Refusal) ui.Node { return explain(v) }},
		},
		Empty: ui.EmptyProps{Icon: "message", Title: "Nothing was refused lately", Text: "When policy or a limit stops somebody, it is here with the rule that decided."}}
	return r.Page(page("/messages/refused"), t)
}

// explainHref asks about the same thing again; empty when policy did not decide.
func explainHref(v adminapi.Refusal) string {
	if v.Action == "" || v.Principal.ID == "" || v.Topic == "" {
		return ""
	}
	return "/policy/explain?" + url.Values{"as": {v.Principal.Kind + ":" + v.Principal.ID}, "action": {v.Action}, "topic": {v.Topic}}.Encode()
}

func devicePath(kind, id string) string {
	if kind == "app" || id == "" {
		return ""
	}
	return "/devices/" + url.PathEscape(id)
}

func sessions(r *ui.Request) error {
	s := r.Table(ui.TableSpec{Filters: []string{"q", "kind", "type", "zone"}})
	list, err := r.API.Sessions(r.Context(), adminapi.SessionFilter{Prefix: s.Filter("q"), Kind: s.Filter("kind"), Type: s.Filter("type"), Zone: s.Filter("zone"), After: s.After, Limit: s.Limit})
	t := ui.Table[adminapi.Session]{ID: "sessions", Label: "MQTT sessions", State: s, Rows: list.Items, Next: list.Next, Err: err,
		Filters: []ui.Filter{{Name: "q", Label: "Client id", Placeholder: "begins with", Search: true}, {Name: "kind", Label: "Kind", Options: []ui.Option{{Value: "", Label: "All"}, {Value: "device", Label: "Devices"}, {Value: "gateway", Label: "Gateways"}, {Value: "app", Label: "Apps"}}},
			{Name: "type", Label: "Type"}, {Name: "zone", Label: "Zone"}},
		Columns: []ui.Column[adminapi.Session]{
			{Key: "client", Label: "Client", Cell: func(v adminapi.Session) ui.Node { return client(v) }},
			{Key: "kind", Label: "Kind", Cell: func(v adminapi.Session) ui.Node { return ui.Text(v.Kind) }},
			{Key: "type", Label: "Type", Cell: func(v adminapi.Session) ui.Node { return ui.Text(v.Type) }},
			{Key: "zone", Label: "Zone", Cell: func(v adminapi.Session) ui.Node { return ui.Text(v.Zone) }},
			{Key: "since", Label: "Since", Cell: func(v adminapi.Session) ui.Node { return ui.Time(v.Since) }},
			{Key: "in", Label: "Received", Number: true, Cell: func(v adminapi.Session) ui.Node { return ui.Text(ui.Number(v.In.Messages)) }},
			{Key: "out", Label: "Sent", Number: true, Cell: func(v adminapi.Session) ui.Node { return ui.Text(ui.Number(v.Out.Messages)) }},
			{Key: "refused", Label: "Refused", Number: true, Cell: func(v adminapi.Session) ui.Node { return ui.Text(ui.Number(v.Refused)) }},
		},
		Actions: func(v adminapi.Session) ui.Node {
			return ui.If(r.Can(access.SessionClose), ui.DialogButton(ui.Quiet, "plug", "Close", "/messages/sessions/"+url.PathEscape(v.ClientID)+"/close"))
		},
		Empty: ui.EmptyProps{Icon: "plug", Title: "Nobody is connected", Text: "Devices and apps that connect over MQTT are here."}}
	return r.Page(page("/messages/sessions"), t)
}

func askClose(r *ui.Request) error {
	id := r.Value("client")
	return r.Dialog(ui.Confirm{ID: "close-session", Title: "Close the session " + id + "?", Action: "/messages/sessions/" + url.PathEscape(id) + "/close", Verb: "Close session", Kind: ui.Danger, Reason: true,
		Consequences: []string{"The client is disconnected at once.", "What waits for it is forgotten."}, Undo: "It may connect again by itself: quarantine the device to keep it out."})
}

func closeSession(r *ui.Request) error {
	if err := r.API.CloseSession(r.Context(), r.Value("client"), r.Form("reason")); err != nil {
		return err
	}
	return r.Done("The session was closed.", "/messages/sessions")
}
