// Package messages shows what passes and what was stopped: messages as they pass,
// how many, refusals with their reasons, and who is connected.
//
// It promises that nothing is shown that the API does not show its reader, that a
// payload is text whatever it contains, and that what a view took from a message is
// marked as taken. It trusts the API for scopes, for what is personal, and for
// recording who watches.
package messages

import (
	"net/url"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Mount adds the pages.
func Mount(m *ui.Mux) {
	s := m.In("messages")
	s.Page("GET /messages", first, access.SessionRead, access.MessageTap)
	s.Page("GET /messages/rates", rates, access.SessionRead)
	s.Page("GET /messages/rates/export", exportRates, access.SessionRead)
	s.Live("messages/rates", 5*time.Second, liveRates, access.SessionRead)
	s.Page("GET /messages/tap", tap, access.MessageTap)
	s.Stream("GET /messages/tap/stream", watch, access.MessageTap)
	s.Page("GET /messages/refused", refused, access.SessionRead)
	s.Page("GET /messages/refused/export", exportRefused, access.SessionRead)
	s.Live("messages/refused", 3*time.Second, liveRefused, access.SessionRead)
	s.Page("GET /messages/sessions", sessions, access.SessionRead)
	s.Page("GET /messages/sessions/{client}", session, access.SessionRead)
	s.Live("messages/session", 5*time.Second, liveSession, access.SessionRead)
	s.Page("GET /messages/sessions/{client}/close", askClose, access.SessionClose)
	s.Page("POST /messages/sessions/{client}/close", closeSession, access.SessionClose)
}

// views are the pages side by side, each with who may see it.
var views = []struct {
	text, path, lead string
	needs            access.Permission
}{
	{"Rates", "/messages/rates", "How many messages pass, and where.", access.SessionRead},
	{"Watch live", "/messages/tap", "Messages as they pass, as you may see them.", access.MessageTap},
	{"Refused", "/messages/refused", "What policy, limits and checks stopped, with the rule that decided.", access.SessionRead},
	{"Sessions", "/messages/sessions", "Who is connected, and who is expected back.", access.SessionRead},
}

// first leads to the first view that the person may see.
func first(r *ui.Request) error {
	for _, v := range views {
		if r.Can(v.needs) {
			return r.Redirect(v.path)
		}
	}
	return ui.NotFound()
}

func page(r *ui.Request, at string) ui.Page {
	p := ui.Page{Title: "Messages"}
	for _, v := range views {
		if r.Can(v.needs) {
			p.Tabs = append(p.Tabs, ui.Tab{Text: v.text, Href: v.path, Active: v.path == at})
		}
		if v.path == at {
			p.Lead = v.lead
		}
	}
	return p
}

// address is a path with the parameters that have a value.
func address(path string, pairs ...string) string {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// devicePath leads to who is not an app.
func devicePath(r *ui.Request, kind, id string) string {
	if kind == "app" || id == "" || !r.Can(access.DeviceRead) {
		return ""
	}
	return "/devices/" + url.PathEscape(id)
}

func sessionPath(client string) string { return "/messages/sessions/" + url.PathEscape(client) }

// explainHref asks policy about the same thing again; empty when policy did not
// decide, or who looks may not ask.
func explainHref(r *ui.Request, kind, id, action, topic string) string {
	if action == "" || id == "" || topic == "" || !r.Can(access.PolicyRead) {
		return ""
	}
	return address("/policy/explain", "as", kind+":"+id, "action", action, "topic", topic)
}
