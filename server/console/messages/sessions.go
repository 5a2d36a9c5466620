package messages

import (
	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

var sessionSpec = ui.TableSpec{Filters: []string{"q", "kind", "type", "zone"}, Columns: []string{"client", "state", "kind", "type", "zone", "since", "in", "out", "refused", "queued", "address", "node"}}

var principals = []ui.Option{{Value: "", Label: "All"}, {Value: "device", Label: "Devices"}, {Value: "gateway", Label: "Gateways"}, {Value: "app", Label: "Apps"}}

func sessions(r *ui.Request) error {
	s := r.Table(sessionSpec)
	list, err := r.API.Sessions(r.Context(), adminapi.SessionFilter{Prefix: s.Filter("q"), Kind: s.Filter("kind"), Type: s.Filter("type"), Zone: s.Filter("zone"), After: s.After, Limit: s.Limit})
	number := func(key, label, hint string, hidden bool, of func(adminapi.Session) int64) ui.Column[adminapi.Session] {
		return ui.Column[adminapi.Session]{Key: key, Label: label, Hint: hint, Number: true, Hidden: hidden, Cell: func(v adminapi.Session) ui.Node { return ui.Text(ui.Number(of(v))) }}
	}
	text := func(key, label string, hidden bool, of func(adminapi.Session) string) ui.Column[adminapi.Session] {
		return ui.Column[adminapi.Session]{Key: key, Label: label, Hidden: hidden, Cell: func(v adminapi.Session) ui.Node { return ui.Text(of(v)) }}
	}
	t := ui.Table[adminapi.Session]{ID: "sessions", Label: "MQTT sessions", State: s, Rows: list.Items, Next: list.Next, Err: err,
		Filters: []ui.Filter{{Name: "q", Label: "Client id", Placeholder: "begins with", Search: true}, {Name: "kind", Label: "Kind", Options: principals}, {Name: "type", Label: "Type"}, {Name: "zone", Label: "Zone"}},
		Columns: []ui.Column[adminapi.Session]{
			text("client", "Client", false, func(v adminapi.Session) string { return v.ClientID }),
			{Key: "state", Label: "State", Hint: "A session that lasts keeps its subscriptions and what waits for it while its client is away.", Cell: func(v adminapi.Session) ui.Node { return stateOf(v) }},
			text("kind", "Kind", false, func(v adminapi.Session) string { return v.Kind }),
			text("type", "Type", false, func(v adminapi.Session) string { return v.Type }),
			text("zone", "Zone", false, func(v adminapi.Session) string { return v.Zone }),
			{Key: "since", Label: "Since", Cell: func(v adminapi.Session) ui.Node { return ui.Time(v.Since) }},
			number("in", "Received", "Messages from the client.", false, func(v adminapi.Session) int64 { return v.In.Messages }),
			number("out", "Sent", "Messages to the client.", false, func(v adminapi.Session) int64 { return v.Out.Messages }),
			number("refused", "Refused", "", false, func(v adminapi.Session) int64 { return v.Refused }),
			number("queued", "Waiting", "Messages that wait for the client.", true, func(v adminapi.Session) int64 { return int64(v.Queued) }),
			text("address", "Address", true, func(v adminapi.Session) string { return v.Address }),
			text("node", "Server", true, func(v adminapi.Session) string { return v.Node }),
		},
		Href:    func(v adminapi.Session) string { return sessionPath(v.ClientID) },
		RowTone: func(v adminapi.Session) ui.Tone { return toneIf(v.Refused > 0 || v.Dropped > 0) },
		Actions: func(v adminapi.Session) ui.Node {
			return ui.If(r.Can(access.SessionClose), ui.DialogButton(ui.Quiet, "plug", "Close", sessionPath(v.ClientID)+"/close"))
		},
		Empty: ui.EmptyProps{Icon: "plug", Title: "Nobody is connected", Text: "Devices, gateways and apps that connect over MQTT are here, with what they sent and heard."}}
	return r.Page(page(r, "/messages/sessions"), sessionsPage(r, r.Query("closed"), t))
}

func toneIf(warn bool) ui.Tone {
	if warn {
		return ui.Warn
	}
	return ui.Neutral
}

func stateOf(v adminapi.Session) ui.Node {
	if v.Connected {
		return ui.Badge(ui.Good, "connected")
	}
	return ui.Badge(ui.Neutral, "away")
}

func session(r *ui.Request) error {
	v, err := r.API.Session(r.Context(), r.Value("client"))
	if err != nil {
		return err
	}
	return r.Page(ui.Page{Title: v.ClientID, Crumbs: []ui.Link{{Text: "Messages", Href: "/messages"}, {Text: "Sessions", Href: "/messages/sessions"}}, Badge: stateOf(v),
		Actions: ui.Nodes(ui.If(r.Can(access.MessageTap) && v.ID != "", ui.LinkButton(ui.Plain, "eye", "Watch what it sends", address("/messages/tap", "filter", "#", "from", v.Kind+":"+v.ID))),
			ui.If(r.Can(access.SessionClose), ui.DialogButton(ui.Danger, "plug", "Close", sessionPath(v.ClientID)+"/close")))}, sessionPage(r, v))
}

func liveSession(r *ui.Request, args ui.Args) (templ.Component, error) {
	v, err := r.API.Session(r.Context(), args["client"])
	if err != nil {
		return nil, err
	}
	return sessionView(r, v), nil
}

func askClose(r *ui.Request) error {
	v, err := r.API.Session(r.Context(), r.Value("client"))
	if err != nil {
		return err
	}
	waits := "Nothing waits for it."
	if v.Queued > 0 {
		waits = ui.Count(int64(v.Queued), "message that waits for it is", "messages that wait for it are") + " forgotten."
	}
	return r.Dialog(ui.Confirm{ID: "close-session", Title: "Close the session " + v.ClientID + "?", Action: sessionPath(v.ClientID) + "/close", Verb: "Close session", Kind: ui.Danger, Reason: true,
		Consequences: []string{"The client is disconnected at once.", ui.Count(int64(len(v.Subscriptions)), "subscription ends.", "subscriptions end."), waits},
		Undo:         "It may connect again by itself, within seconds: quarantine the device to keep it out."})
}

func closeSession(r *ui.Request) error {
	if err := r.API.CloseSession(r.Context(), r.Value("client"), r.Form("reason")); err != nil {
		return err
	}
	return r.Done("The session "+r.Value("client")+" was closed.", address("/messages/sessions", "closed", r.Value("client")))
}
