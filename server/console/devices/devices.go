// Package devices shows the inventory and changes it: the devices, how they are
// admitted, and the kinds they are of.
//
// It promises that nothing is changed by looking, that every action says before
// what it will do and to how many, and that a secret is written into one answer
// and nowhere else. It trusts the API for what the person may see and do: it asks
// it for everything, as that person. Whoever could write into its answers could
// act as whoever looks at them, so every value passes a component that escapes it.
package devices

import (
	"net/url"
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// maxUpload bounds a file that is imported through a browser, in bytes. Larger
// ones go through the API.
const maxUpload = 32 << 20

// Mount adds the pages.
func Mount(m *ui.Mux) {
	s := m.In("devices")
	s.Page("GET /devices", list, access.DeviceRead)
	s.Page("GET /devices/export", export, access.DeviceRead)
	s.Page("GET /devices/import", importPage, access.DeviceWrite)
	s.Large("POST /devices/import", maxUpload, importFile, access.DeviceWrite)
	s.Page("GET /devices/new", registerPage, access.DeviceWrite)
	s.Page("POST /devices/new", register, access.DeviceWrite)
	for _, move := range []struct {
		move device.Move
		need access.Permission
	}{{device.Quarantine, access.DeviceQuarantine}, {device.Release, access.DeviceQuarantine}, {device.Revoke, access.DeviceRevoke}} {
		s.Page("GET /devices/"+string(move.move), func(r *ui.Request) error { return askMany(r, move.move) }, move.need)
		s.Page("POST /devices/"+string(move.move), func(r *ui.Request) error { return moveMany(r, move.move) }, move.need)
	}
	mountOne(s)
	mountAdmission(s)
	mountTypes(s)
}

func mountOne(s *ui.Section) {
	s.Page("GET /devices/{id}", show, access.DeviceRead)
	s.Page("GET /device/{id}", show, access.DeviceRead) // for ids that are words of paths
	s.Page("GET /devices/{id}/topics", topics, access.DeviceRead)
	s.Page("GET /devices/{id}/history", history, access.AuditRead)
	s.Page("GET /devices/{id}/explain", explain, access.PolicyRead)
	s.Page("GET /devices/{id}/edit", editPage, access.DeviceWrite)
	s.Page("POST /devices/{id}/edit", edit, access.DeviceWrite)
	for _, a := range actions {
		s.Page("GET /devices/{id}/"+string(a.name), func(r *ui.Request) error { return ask(r, a) }, a.need)
		s.Page("POST /devices/{id}/"+string(a.name), func(r *ui.Request) error { return act(r, a) }, a.need)
	}
	s.Page("GET /devices/{id}/sessions/{client}/close", askClose, access.SessionClose)
	s.Page("POST /devices/{id}/sessions/{client}/close", closeSession, access.SessionClose)
	s.Page("GET /devices/{id}/certificates/{serial}", certificatePage, access.CertificateRead)
	s.Page("GET /devices/{id}/certificates/{serial}/revoke", askRevokeCertificate, access.CertificateRevoke)
	s.Page("POST /devices/{id}/certificates/{serial}/revoke", revokeCertificate, access.CertificateRevoke)
	s.Live("devices/fleet", 5*time.Second, liveFleet, access.DeviceRead)
	s.Live("devices/session", 3*time.Second, liveSession, access.SessionRead)
	s.Live("devices/refused", 4*time.Second, liveRefused, access.SessionRead)
	s.Live("devices/standing", 3*time.Second, liveStanding, access.DeviceRead)
	s.Live("devices/timeline", 3*time.Second, liveTimeline, access.AuditRead)
	s.Live("devices/done", 2*time.Second, liveDone, access.AuditRead)
}

// taken are the words that stand where ids stand in paths: a device of such a
// name has its page elsewhere.
var taken = []string{"export", "import", "new", "quarantine", "release", "revoke", "enrol", "waiting", "tokens", "types"}

// at is the path of a device's page, or of something below it.
func at(id device.ID, below ...string) string {
	root := "/devices/"
	if len(below) == 0 && slices.Contains(taken, string(id)) {
		root = "/device/"
	}
	path := root + url.PathEscape(string(id))
	for _, part := range below {
		path += "/" + url.PathEscape(part)
	}
	return path
}

// objectOf is a device as scopes see it.
func objectOf(d device.Device) access.Object {
	return access.Object{Zone: d.Zone, Type: d.Type, Labels: d.Labels}
}

// views are the tabs of the section.
func views(r *ui.Request, active string) []ui.Tab {
	list := []ui.Tab{{Text: "Inventory", Href: "/devices"}}
	if r.Can(access.EnrolmentRead) {
		n := ""
		if waiting, err := r.API.Waiting(r.Context()); err == nil {
			if open := undecided(waiting); len(open) > 0 {
				n = ui.Number(int64(len(open)))
			}
		}
		list = append(list, ui.Tab{Text: "Waiting room", Href: "/devices/waiting", Count: n}, ui.Tab{Text: "Enrolment tokens", Href: "/devices/tokens"})
	}
	if r.Can(access.TypeRead) {
		list = append(list, ui.Tab{Text: "Types", Href: "/devices/types"})
	}
	for i := range list {
		list[i].Active = list[i].Href == active
	}
	return list
}

// typeOptions are the device types to choose from; none where they may not be
// read: then a name is typed.
func typeOptions(r *ui.Request, first string) []ui.Option {
	if !r.Can(access.TypeRead) {
		return nil
	}
	types, err := r.API.Types(r.Context())
	if err != nil || len(types) > 500 {
		return nil
	}
	list := []ui.Option{{Label: first}}
	for _, t := range types {
		list = append(list, ui.Option{Value: string(t.Name), Label: string(t.Name)})
	}
	return list
}

// zoneOptions are the zones to choose from.
func zoneOptions(r *ui.Request, first string) []ui.Option {
	if !r.Can(access.ZoneRead) {
		return nil
	}
	zones, err := r.API.Zones(r.Context())
	if err != nil || len(zones) > 500 {
		return nil
	}
	list := []ui.Option{{Label: first}}
	for _, z := range zones {
		list = append(list, ui.Option{Value: string(z.Name), Label: string(z.Name)})
	}
	return list
}
