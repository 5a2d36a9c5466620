package devices

import (
	"strconv"
	"strings"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

func editPage(r *ui.Request) error {
	d, err := r.API.Device(r.Context(), device.ID(r.Value("id")))
	if err != nil {
		return err
	}
	return r.Page(ui.Page{Title: "Edit " + string(d.ID), Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}, {Text: string(d.ID), Href: at(d.ID)}}, Narrow: true}, deviceForm(r, d, at(d.ID, "edit"), at(d.ID)))
}

func registerPage(r *ui.Request) error {
	return r.Page(ui.Page{Title: "Register a device", Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}}, Narrow: true,
		Lead: "It gets its place in the inventory now, and its certificate when it enrols."}, deviceForm(r, device.Device{}, "/devices/new", "/devices"))
}

// inputOf reads the form of a device.
func inputOf(r *ui.Request) (in adminapi.DeviceInput, err error) {
	in = adminapi.DeviceInput{Type: device.TypeName(r.Form("type")), Zone: device.ZoneName(r.Form("zone")), Owner: r.Form("owner"), Serial: r.Form("serial"),
		Manufacturer: r.Form("manufacturer"), Notes: strings.ReplaceAll(r.RawForm("notes"), "\r\n", "\n")}
	if in.Labels, err = labelsOf(r.Form("labels")); err != nil {
		return in, err
	}
	return in, nil
}

// labelsOf reads labels, one pair on a line or with commas between.
func labelsOf(text string) (map[string]string, error) {
	text = strings.NewReplacer("\r\n", ";", "\n", ";").Replace(text)
	var list []string
	for pair := range strings.SplitSeq(text, ";") {
		if pair = strings.TrimSpace(pair); pair != "" {
			list = append(list, pair)
		}
	}
	labels, err := device.ParseLabels(strings.Join(list, ";"))
	if ref := refusal.As(err); ref != nil {
		return nil, &adminapi.Problem{Status: 422, Code: ref.Code, Detail: ref.Detail, Fix: ref.Fix, Errors: []adminapi.RowError{{Field: "labels", Error: ref.Detail}}}
	}
	return labels, err
}

func edit(r *ui.Request) error {
	id := device.ID(r.Value("id"))
	in, err := inputOf(r)
	if err != nil {
		return err
	}
	version, err := strconv.ParseInt(r.Form("version"), 10, 64)
	if err != nil {
		return refusal.New(refusal.Invalid, "bad-version", "open the page again", "the form does not say which version it was made from")
	}
	if _, err := r.API.UpdateDevice(r.Context(), id, version, in); err != nil {
		return err
	}
	return r.Done("The description of "+string(id)+" is changed.", done(id, "device.updated"))
}

func register(r *ui.Request) error {
	in, err := inputOf(r)
	if err != nil {
		return err
	}
	d, err := r.API.CreateDevice(r.Context(), device.ID(r.Form("id")), in)
	if err != nil {
		return err
	}
	return r.Done(string(d.ID)+" is registered.", done(d.ID, "device.created"))
}
