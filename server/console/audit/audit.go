// Package audit shows the audit log in words, and lets everybody check it for
// themselves: in the browser, and offline.
//
// It promises that nothing is shown as proven that this page did not check, that
// the log's bytes reach the browser unchanged, and that names stand beside the log
// and are never part of it. It trusts the API for what a person may see. Who could
// change what the server sends could change the page's own check as well: that is
// said on the page, and the command that checks elsewhere stands beside it.
package audit

import (
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// tailEvery is how often the live list is looked at.
const tailEvery = 2 * time.Second

// Mount adds the pages.
func Mount(m *ui.Mux) {
	s := m.In("audit")
	s.Page("GET /audit", list, access.AuditRead)
	s.Page("GET /audit/export", export, access.AuditExport)
	s.Page("GET /audit/log", logPage, access.AuditRead)
	s.Page("GET /audit/log/checkpoint", checkpointFile, access.AuditRead)
	s.Page("GET /audit/log/key", keyFile, access.AuditRead)
	s.Page("GET /audit/log/consistency", consistency, access.AuditRead)
	s.Page("GET /audit/{index}", show, access.AuditRead)
	s.Page("GET /audit/{index}/proof", proofFile, access.AuditRead)
	s.Page("GET /audit/{index}/bundle", bundleFile, access.AuditRead)
	s.Live("audit/tail", tailEvery, tail, access.AuditRead)
}

// tabs are the two views of the log.
func tabs(log bool) []ui.Tab {
	return []ui.Tab{{Text: "Events", Href: "/audit", Active: !log}, {Text: "The log", Href: "/audit/log", Active: log}}
}
