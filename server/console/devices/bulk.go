package devices

import (
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

const (
	maxMany    = 1000 // devices in one request, as the API has it
	alone      = 10   // that one may change without a second person
	namesShown = 12
)

// many is what is said of a move of many devices.
type many struct {
	title, verb, past string
	kind              ui.Kind
	says              []string
	undo              string
}

func manyOf(m device.Move) many {
	switch m {
	case device.Quarantine:
		return many{"Quarantine %s?", "Quarantine", "in quarantine", ui.Danger, []string{"Their sessions end within a second, on every server.", "Their certificates are put on hold, and they get no new ones.", "No command reaches them."},
			"You can release them again; then they connect with the same certificates as before."}
	case device.Release:
		return many{"Release %s?", "Release", "released", ui.Primary, []string{"Their certificates are accepted again, within a second on every server.", "They may say and hear what the policy allows them."},
			"You can quarantine them again at any time."}
	}
	return many{"Revoke the certificates of %s?", "Revoke", "revoked", ui.Danger, []string{"Their sessions end within a second, on every server.", "All their certificates are revoked for good.", "They stay in the inventory. Each has to enrol anew, with a new key, to come back."}, ""}
}

// chosen reads the ids that were ticked, each once.
func chosen(list []string) (ids []device.ID, err error) {
	if len(list) > maxMany {
		return nil, refusal.New(refusal.TooLarge, "too-many-devices", "choose at most 1,000 at a time", "%d devices were chosen", len(list))
	}
	for _, text := range list {
		id, err := device.ParseID(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, refusal.New(refusal.Invalid, "no-devices", "tick some in the list", "no device was chosen")
	}
	return ids, nil
}

// askMany shows the dialog for the ticked devices; those that the move cannot be
// made with are named before.
func askMany(r *ui.Request, m device.Move) error {
	ids, err := chosen(r.HTTP.URL.Query()["id"])
	if err != nil {
		return err
	}
	w := manyOf(m)
	what := ui.Count(int64(len(ids)), "device", "devices")
	cannot := 0
	for _, id := range ids[:min(len(ids), 200)] {
		d, err := r.API.Device(r.Context(), id)
		if err != nil {
			return err
		}
		if !moves(m)(d) {
			cannot++
		}
	}
	c := ui.Confirm{ID: "many", Title: strings.Replace(w.title, "%s", what, 1), Action: "/devices/" + string(m), Verb: w.verb + " " + what, Kind: w.kind, Reason: true,
		Consequences: w.says, Undo: w.undo, Body: chosenNames(ids), SecondPerson: len(ids) > alone}
	if cannot > 0 {
		c.Consequences = append(slices.Clone(w.says), ui.Count(int64(cannot), "of them is", "of them are")+" in a state in which this cannot be done, and will be left as it is.")
	}
	if m == device.Revoke {
		c.Type = string(m)
	}
	return r.Dialog(c)
}

func moveMany(r *ui.Request, m device.Move) error {
	ids, err := chosen(r.FormAll("id"))
	if err != nil {
		return err
	}
	if m == device.Revoke && !r.Typed(string(m)) {
		return notTyped(string(m))
	}
	result, err := r.API.ChangeDevices(r.Context(), ids, m, r.Form("reason"))
	if err != nil {
		return err
	}
	wrong := 0
	for _, one := range result.Items {
		if one.Error != "" {
			wrong++
		}
	}
	w := manyOf(m)
	if wrong == 0 && !r.Can(access.AuditRead) {
		return r.Done(ui.Count(int64(len(ids)), "device is ", "devices are ")+w.past+".", "/devices")
	}
	title := ui.Count(int64(len(ids)-wrong), "device is ", "devices are ") + w.past
	return r.Result(ui.Page{Title: title, Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}}, Narrow: true}, manyResult(r, result.Items, wrong, eventOf(m)))
}

func eventOf(m device.Move) string {
	for _, a := range actions {
		if a.name == m {
			return a.event
		}
	}
	return ""
}

// failedFirst lists what went wrong before what did not.
func failedFirst(items []adminapi.BulkOutcome) []adminapi.BulkOutcome {
	items = slices.Clone(items)
	slices.SortStableFunc(items, func(a, b adminapi.BulkOutcome) int {
		switch {
		case (a.Error != "") == (b.Error != ""):
			return 0
		case a.Error != "":
			return -1
		}
		return 1
	})
	return items
}

// importPage and importFile

func importPage(r *ui.Request) error { return r.Page(importFrame, importForm()) }

var importFrame = ui.Page{Title: "Import devices", Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}}, Narrow: true,
	Lead: "All rows are registered, or none: a file with a mistake changes nothing."}

var fileKinds = map[string]string{".csv": "text/csv", ".json": "application/json", ".ndjson": "application/x-ndjson", ".jsonl": "application/x-ndjson"}

// importFile hands the file to the API as it came. Rows that it refuses are shown
// with their lines.
func importFile(r *ui.Request) error {
	file, header, err := r.HTTP.FormFile("file")
	if err != nil {
		return refusal.New(refusal.Invalid, "no-file", "choose a CSV or JSON file", "no file was sent")
	}
	defer file.Close()
	name := strings.ToLower(header.Filename)
	kind := fileKinds[name[max(0, strings.LastIndexByte(name, '.')):]]
	if kind == "" {
		return refusal.New(refusal.Invalid, "bad-file", "save it as .csv, .json or .ndjson", "the file is neither CSV nor JSON by its name")
	}
	n, err := r.API.ImportDevices(r.Context(), file, kind, nil)
	if e, ok := err.(*adminapi.ImportError); ok {
		err = &adminapi.Problem{Status: http.StatusUnprocessableEntity, Code: "bad-rows", Detail: "the file has rows that cannot be registered, so nothing was imported", Fix: "correct them and import the whole file again", Errors: e.Rows}
	}
	if err != nil {
		return err
	}
	return r.Done(ui.Count(int64(n), "device is", "devices are")+" registered.", "/devices?state=registered")
}
