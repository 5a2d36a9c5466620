package devices

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// happened is how an event of a device's life is shown.
type happened struct {
	text string
	icon string
	tone ui.Tone
}

// ofLife names what happens to devices. What is not here is shown by its name.
var ofLife = map[string]happened{
	"device.created": {"Registered", "plus", ui.Neutral}, "device.updated": {"Description changed", "edit", ui.Neutral},
	"device.activated": {"Connected and became active", "check", ui.Good}, "device.quarantined": {"Quarantined", "pause", ui.Bad},
	"device.released": {"Released from quarantine", "play", ui.Good}, "device.revoked": {"All certificates revoked", "stop", ui.Bad},
	"device.retired": {"Retired", "trash", ui.Bad}, "device.maintenance_begun": {"Maintenance began", "clock", ui.Warn},
	"device.maintenance_ended": {"Maintenance ended", "check", ui.Neutral},
	"enrolment.waiting":        {"Asked for a certificate, waits for approval", "clock", ui.Warn}, "enrolment.approved": {"Enrolment approved", "check", ui.Good},
	"enrolment.rejected": {"Enrolment rejected", "x-circle", ui.Bad}, "enrolment.refused": {"Certificate refused", "x-circle", ui.Bad},
	"certificate.reserved": {"Certificate being issued", "certificate", ui.Neutral}, "certificate.issued": {"Certificate issued", "certificate", ui.Good},
	"certificate.revoked": {"Certificate revoked", "stop", ui.Bad}, "certificate.abandoned": {"Certificate given up", "x-circle", ui.Warn},
	"session.closed": {"Session closed", "plug", ui.Warn},
}

func lifeOf(e adminapi.Event) happened {
	if h, ok := ofLife[e.Action]; ok {
		return h
	}
	if kind, ok := strings.CutPrefix(e.Action, "message."); ok {
		return happened{refusalWord(strings.ReplaceAll(kind, "_", "-")), "stop", ui.Warn}
	}
	return happened{strings.NewReplacer(".", " ", "_", " ").Replace(e.Action), "", ui.Neutral}
}

// timeline is a list of events as a picture of a life. A reservation is half of an
// issue: where both are there, it is left out.
func timeline(r *ui.Request, entries []adminapi.Entry) (list []ui.Event) {
	who := parties(r)
	issued := map[string]bool{}
	for _, e := range entries {
		if e.Event.Action == "certificate.issued" {
			issued[e.Event.Details["serial"]] = true
		}
	}
	for _, entry := range entries {
		e := entry.Event
		if e.Action == "certificate.reserved" && issued[e.Details["serial"]] {
			continue
		}
		h := lifeOf(e)
		text := h.text
		if topic := e.Details["topic"]; topic != "" {
			text += ": " + topic
		}
		if n := e.Details["times"]; n != "" && n != "1" {
			text += " (" + n + " times)"
		}
		list = append(list, ui.Event{At: e.Time, Icon: h.icon, Tone: h.tone, What: ui.Text(text), Who: who(e.Actor), Note: cmp.Or(e.Details["reason"], e.Reason), Href: "/audit/" + strconv.FormatInt(entry.Index, 10)})
	}
	return list
}

// parties says who did something, for one request: people by their names, where
// those may be seen, and the beginning of their ids where not.
func parties(r *ui.Request) func(adminapi.EventActor) string {
	names := map[string]string{}
	return func(a adminapi.EventActor) string {
		switch a.Kind {
		case string(access.Device), "gateway":
			return "by itself"
		case string(access.System):
			return "by Holdfast"
		case string(access.Human):
			if a.ID == r.Identity.Actor.ID {
				return "by you"
			}
			if _, asked := names[a.ID]; !asked {
				names[a.ID] = personName(r, access.PersonID(a.ID))
			}
			return "by " + names[a.ID]
		case string(access.Client):
			return "by API client " + a.ID
		}
		return "by " + a.Kind + " " + a.ID
	}
}

func personName(r *ui.Request, id access.PersonID) string {
	if r.Can(access.PersonRead) && r.Can(access.PersonalRead) {
		if p, err := r.API.Person(r.Context(), id); err == nil && p.Shown() != "" {
			return p.Shown()
		}
	}
	return "person " + string(id[:min(6, len(id))]) + "…"
}

// lastReason is why something was done the last time.
func lastReason(entries []adminapi.Entry, action string) string {
	for _, e := range entries {
		if e.Event.Action == action {
			return e.Event.Details["reason"]
		}
	}
	return ""
}

// ownTimeline is what a device and its certificates tell by themselves, for who
// may not read the log.
func ownTimeline(s sheet) []ui.Event {
	d := s.device
	list := []ui.Event{{At: d.CreatedAt, Icon: "plus", What: ui.Text("Registered")}}
	if !d.SeenAt.IsZero() {
		list = append(list, ui.Event{At: d.SeenAt, Icon: "check", Tone: ui.Good, What: ui.Text("First used its present certificate")})
	}
	for _, c := range s.certificates.value {
		list = append(list, ui.Event{At: c.NotBefore, Icon: "certificate", Tone: ui.Good, What: ui.Text("Certificate " + c.Serial[:min(8, len(c.Serial))] + "… valid from then on")})
		if !c.RevokedAt.IsZero() {
			list = append(list, ui.Event{At: c.RevokedAt, Icon: "stop", Tone: ui.Bad, What: ui.Text("Certificate " + c.Serial[:min(8, len(c.Serial))] + "… revoked")})
		}
	}
	if len(s.certificates.value) == 0 && !d.EnrolledAt.IsZero() {
		list = append(list, ui.Event{At: d.EnrolledAt, Icon: "certificate", Tone: ui.Good, What: ui.Text("Enrolled")})
	}
	slices.SortStableFunc(list, func(a, b ui.Event) int { return b.At.Compare(a.At) })
	return list[:min(len(list), 2*shownEvents)]
}

// eventsOf are the newest events about a device, and those of its session. limit
// is how many.
func eventsOf(r *ui.Request, d device.Device, limit int) ([]adminapi.Entry, error) {
	var all []adminapi.Entry
	for _, subject := range []string{"device:" + string(d.ID), "session:" + string(d.ID)} {
		list, err := r.API.AuditEntries(r.Context(), adminapi.AuditFilter{Subject: subject, Limit: 2 * limit})
		if err != nil {
			return nil, err
		}
		all = append(all, list.Items...)
	}
	slices.SortFunc(all, func(a, b adminapi.Entry) int { return cmp.Compare(b.Index, a.Index) })
	return all[:min(limit, len(all))], nil
}

var historySpec = ui.TableSpec{Filters: []string{"about"}, Columns: []string{"what", "who", "why", "when", "entry"}}

// history lists everything that the log has about a device.
func history(r *ui.Request) error {
	d, err := r.API.Device(r.Context(), device.ID(r.Value("id")))
	if err != nil {
		return err
	}
	s := r.Table(historySpec)
	subject := "device:" + string(d.ID)
	if s.Filter("about") == "session" {
		subject = "session:" + string(d.ID)
	}
	before, _ := strconv.ParseInt(s.After, 10, 64)
	page, err := r.API.AuditEntries(r.Context(), adminapi.AuditFilter{Subject: subject, Before: max(0, before), Limit: s.Limit})
	next := ""
	if page.Next > 0 {
		next = fmt.Sprint(page.Next)
	}
	who := parties(r)
	t := ui.Table[adminapi.Entry]{ID: "history", Label: "History of " + string(d.ID), State: s, Rows: page.Items, Next: next, Err: err,
		Filters: []ui.Filter{{Name: "about", Label: "About", Options: []ui.Option{{Label: "The device"}, {Value: "session", Label: "Its session"}}}},
		Columns: []ui.Column[adminapi.Entry]{
			{Key: "what", Label: "What happened", Cell: func(e adminapi.Entry) ui.Node { return eventCell(lifeOf(e.Event), e.Event) }},
			{Key: "when", Label: "When", Cell: func(e adminapi.Entry) ui.Node { return ui.Time(e.Event.Time) }},
			{Key: "who", Label: "Who", Cell: func(e adminapi.Entry) ui.Node { return ui.Text(who(e.Event.Actor)) }},
			{Key: "why", Label: "Reason", Wide: true, Cell: func(e adminapi.Entry) ui.Node { return plainCell(cmp.Or(e.Event.Details["reason"], e.Event.Reason)) }},
			{Key: "entry", Label: "Entry", Number: true, Hint: "Its place in the audit log, where its proof is.", Cell: func(e adminapi.Entry) ui.Node { return ui.Text(ui.Number(e.Index)) }},
		},
		Href:  func(e adminapi.Entry) string { return "/audit/" + strconv.FormatInt(e.Index, 10) },
		Empty: ui.EmptyProps{Icon: "audit", Title: "Nothing here", Text: "The audit log has no entry about it."}}
	p := frame(r, d, "History")
	return r.Page(p, ui.Nodes(t, auditLink(subject)))
}

func auditHref(subject string) string {
	return "/audit?" + url.Values{"subject": {subject}}.Encode()
}
