package devices

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

const (
	shownRefusals = 8
	shownEvents   = 8
	// doneTime is how long a page goes on saying what was just done.
	doneTime = 10 * time.Minute
)

// sheet is everything the page of a device shows. An error stands in the place of
// what could not be had; a part that the person may not see is not there.
type sheet struct {
	device       device.Device
	sessions     part[[]adminapi.Session]
	certificates part[[]adminapi.Certificate]
	refused      part[[]adminapi.Refusal]
	events       part[[]adminapi.Entry]
}

// part is one thing that a page shows.
type part[T any] struct {
	may   bool
	value T
	err   error
}

func get[T any](may bool, read func() (T, error)) part[T] {
	if !may {
		return part[T]{}
	}
	v, err := read()
	return part[T]{true, v, err}
}

// frame is what is around all pages of a device.
func frame(r *ui.Request, d device.Device, active string) ui.Page {
	o := objectOf(d)
	p := ui.Page{Title: string(d.ID), Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}}, Badge: stateCell(d)}
	tabs := []ui.Tab{{Text: "Overview", Href: at(d.ID)}}
	if r.CanOn(access.PolicyRead, o) {
		tabs = append(tabs, ui.Tab{Text: "Allowed topics", Href: at(d.ID, "topics")})
	}
	if r.Can(access.AuditRead) {
		tabs = append(tabs, ui.Tab{Text: "History", Href: at(d.ID, "history")})
	}
	for i := range tabs {
		tabs[i].Active = tabs[i].Text == active
	}
	if p.Tabs = tabs; len(tabs) == 1 {
		p.Tabs = nil
	}
	var buttons, rest []ui.Node
	if d.State != device.Retired && r.CanOn(access.DeviceWrite, o) {
		buttons = append(buttons, ui.LinkButton(ui.Plain, "edit", "Edit", at(d.ID, "edit")))
	}
	for _, a := range offered(r, d) {
		switch a.name {
		case device.Revoke, device.Retire:
			rest = append(rest, ui.DialogButton(ui.Quiet, a.icon, a.label, at(d.ID, string(a.name))))
		case device.Quarantine:
			buttons = append(buttons, ui.DialogButton(ui.Danger, a.icon, a.label, at(d.ID, string(a.name))))
		case device.Release:
			buttons = append(buttons, ui.DialogButton(ui.Primary, a.icon, a.label, at(d.ID, string(a.name))))
		default:
			buttons = append(buttons, ui.DialogButton(ui.Plain, a.icon, a.label, at(d.ID, string(a.name))))
		}
	}
	if r.CanOn(access.EnrolmentWrite, o) && (d.State == device.Registered || d.State == device.Enrolled || d.State == device.Active) {
		rest = append([]ui.Node{ui.LinkButton(ui.Quiet, "key", "New enrolment token", "/devices/enrol?"+url.Values{"type": {string(d.Type)}, "zone": {string(d.Zone)}, "device_id": {string(d.ID)}}.Encode())}, rest...)
	}
	if len(rest) > 0 {
		buttons = append(buttons, menuOf("device-more", "More actions for "+string(d.ID), rest))
	}
	p.Actions = ui.Nodes(buttons...)
	return p
}

func show(r *ui.Request) error {
	d, err := r.API.Device(r.Context(), device.ID(r.Value("id")))
	if err != nil {
		return err
	}
	o := objectOf(d)
	s := sheet{device: d,
		sessions:     get(r.CanOn(access.SessionRead, o), func() ([]adminapi.Session, error) { return sessionsOf(r, d) }),
		certificates: get(r.CanOn(access.CertificateRead, o), func() ([]adminapi.Certificate, error) { return certificatesOf(r, d) }),
		refused:      get(r.CanOn(access.SessionRead, o), func() ([]adminapi.Refusal, error) { return refusalsOf(r, d) }),
		events:       get(r.Can(access.AuditRead), func() ([]adminapi.Entry, error) { return eventsOf(r, d, shownEvents) })}
	event := r.Query("done")
	if !slices.Contains(doneEvents, event) || !r.Can(access.AuditRead) {
		event = ""
	}
	return r.Page(frame(r, d, "Overview"), showBody(r, s, event, doneEntry(r, d.ID, event)))
}

// doneEvents are the events that a page can say were just done.
var doneEvents = []string{"device.quarantined", "device.released", "device.revoked", "device.retired", "device.maintenance_begun", "device.maintenance_ended",
	"device.updated", "device.created", "certificate.revoked", "session.closed", "enrolment.approved", "enrolment.rejected"}

// doneEntry is the log's entry of what the person has just done; nil until the
// log has it, and some minutes after.
func doneEntry(r *ui.Request, id device.ID, event string) *adminapi.Entry {
	if event == "" {
		return nil
	}
	f := adminapi.AuditFilter{Actor: r.Identity.Actor.String(), Action: event, Since: r.Now.Add(-doneTime), Limit: 5}
	if event != "session.closed" { // its subject is the session
		f.Subject = "device:" + string(id)
	}
	list, err := r.API.AuditEntries(r.Context(), f)
	if err != nil || len(list.Items) == 0 {
		return nil
	}
	return &list.Items[0]
}

func liveDone(r *ui.Request, args ui.Args) (templ.Component, error) {
	if !slices.Contains(doneEvents, args["event"]) {
		return nil, ui.NotFound()
	}
	id, err := device.ParseID(args["id"])
	if err != nil {
		return nil, err
	}
	return doneNote(doneEntry(r, id, args["event"])), nil
}

// liveDevice reads the device of a live fragment.
func liveDevice(r *ui.Request, args ui.Args) (device.Device, error) {
	id, err := device.ParseID(args["id"])
	if err != nil {
		return device.Device{}, err
	}
	return r.API.Device(r.Context(), id)
}

func liveSession(r *ui.Request, args ui.Args) (templ.Component, error) {
	d, err := liveDevice(r, args)
	if err != nil {
		return nil, err
	}
	return sessionParts(r, d, get(true, func() ([]adminapi.Session, error) { return sessionsOf(r, d) })), nil
}

func liveRefused(r *ui.Request, args ui.Args) (templ.Component, error) {
	d, err := liveDevice(r, args)
	if err != nil {
		return nil, err
	}
	return refusedParts(r, d, get(true, func() ([]adminapi.Refusal, error) { return refusalsOf(r, d) })), nil
}

// liveEvents is what a fragment needs that tells what happened to a device.
func liveEvents(r *ui.Request, args ui.Args) (sheet, error) {
	d, err := liveDevice(r, args)
	if err != nil {
		return sheet{}, err
	}
	return sheet{device: d, events: get(r.Can(access.AuditRead), func() ([]adminapi.Entry, error) { return eventsOf(r, d, shownEvents) })}, nil
}

func liveStanding(r *ui.Request, args ui.Args) (templ.Component, error) {
	s, err := liveEvents(r, args)
	return standing(r, s), err
}

func liveTimeline(r *ui.Request, args ui.Args) (templ.Component, error) {
	s, err := liveEvents(r, args)
	return timelineCard(r, s), err
}

// sessionsOf are the sessions of a device: the one with its own id as client id,
// connected or not, and those with other ids that begin like it. Where there are
// none, its type and zone are looked through.
func sessionsOf(r *ui.Request, d device.Device) ([]adminapi.Session, error) {
	if !r.CanOn(access.SessionRead, objectOf(d)) {
		return nil, nil
	}
	found := []adminapi.Session{}
	add := func(list []adminapi.Session) {
		for _, s := range list {
			if s.ID == string(d.ID) && s.Kind != "app" && !slices.ContainsFunc(found, func(have adminapi.Session) bool { return have.ClientID == s.ClientID }) {
				found = append(found, s)
			}
		}
	}
	if s, err := r.API.Session(r.Context(), string(d.ID)); err == nil {
		add([]adminapi.Session{s})
	} else if ui.TroubleOf(err).Status != 404 {
		return nil, err
	}
	for _, f := range []adminapi.SessionFilter{{Prefix: string(d.ID), Limit: 100}, {Type: string(d.Type), Zone: string(d.Zone), Limit: maxLinks}} {
		if f.Prefix == "" && len(found) > 0 {
			break
		}
		list, err := r.API.Sessions(r.Context(), f)
		if err != nil {
			return nil, err
		}
		add(list.Items)
	}
	return found, nil
}

// certificatesOf are the newest certificates of a device, usable ones first.
func certificatesOf(r *ui.Request, d device.Device) ([]adminapi.Certificate, error) {
	list, err := r.API.Certificates(r.Context(), adminapi.CertificateFilter{Principal: string(d.ID), Limit: 50})
	if err != nil {
		return nil, err
	}
	mine := slices.DeleteFunc(list.Items, func(c adminapi.Certificate) bool { return c.Profile != "device" && c.Profile != "gateway" })
	slices.SortStableFunc(mine, func(a, b adminapi.Certificate) int {
		return cmp.Or(cmp.Compare(rank(a, r.Now), rank(b, r.Now)), b.NotBefore.Compare(a.NotBefore))
	})
	return mine, nil
}

func rank(c adminapi.Certificate, now time.Time) int {
	if usable(c, now) {
		return 0
	}
	return 1
}

func usable(c adminapi.Certificate, now time.Time) bool {
	return (c.Status == "issued" || c.Status == "held") && c.NotAfter.After(now)
}

func refusalsOf(r *ui.Request, d device.Device) ([]adminapi.Refusal, error) {
	list, err := r.API.Refusals(r.Context(), adminapi.RefusalFilter{Principal: string(d.ID), Limit: 50})
	return slices.DeleteFunc(list, func(f adminapi.Refusal) bool { return f.Principal.Kind == "app" }), err
}

// certificateState is the badge of a certificate.
func certificateState(c adminapi.Certificate, now time.Time) (ui.Tone, string) {
	switch {
	case c.Status == "revoked":
		return ui.Bad, "revoked"
	case c.Status == "held":
		return ui.Bad, "on hold"
	case c.Status != "issued":
		return ui.Neutral, c.Status
	case !c.NotAfter.After(now):
		return ui.Neutral, "expired"
	case left(c, now) < 0.1:
		return ui.Warn, "expires soon"
	}
	return ui.Good, "valid"
}

// left is the part of a certificate's life that is left, 0 to 1.
func left(c adminapi.Certificate, now time.Time) float64 {
	whole := c.NotAfter.Sub(c.NotBefore)
	if whole <= 0 || !c.NotAfter.After(now) {
		return 0
	}
	return min(1, float64(c.NotAfter.Sub(now))/float64(whole))
}

func certificatePage(r *ui.Request) error {
	id := device.ID(r.Value("id"))
	c, err := certificateOf(r, id)
	if err != nil {
		return err
	}
	tone, word := certificateState(c, r.Now)
	p := ui.Page{Title: "Certificate of " + string(id), Badge: ui.Badge(tone, word), Narrow: true,
		Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}, {Text: string(id), Href: at(id)}}}
	if usable(c, r.Now) && r.Can(access.CertificateRevoke) {
		p.Actions = ui.DialogButton(ui.Danger, "stop", "Revoke", at(id, "certificates", c.Serial, "revoke"))
	}
	return r.Page(p, certificateBody(r, c))
}

// credential says in words what a certificate was asked for with.
func credential(c string) string {
	kind, rest, _ := strings.Cut(c, ":")
	switch kind {
	case "token":
		return "enrolment token " + rest
	case "idevid":
		return "manufacturer certificate " + rest
	case "certificate", "cert":
		return "renewal with certificate " + rest
	case "anonymous", "none":
		return "no credential: approved by hand"
	}
	return c
}
