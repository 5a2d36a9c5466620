package devices

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

func mountTypes(s *ui.Section) {
	s.Page("GET /devices/types", types, access.TypeRead)
	s.Page("GET /device-types", newTypePage, access.TypeWrite)
	s.Page("POST /device-types", newType, access.TypeWrite)
	s.Page("GET /device-types/{name}", showType, access.TypeRead)
	s.Page("GET /device-types/{name}/edit", editTypePage, access.TypeWrite)
	s.Page("POST /device-types/{name}/edit", editType, access.TypeWrite)
	s.Page("GET /device-types/{name}/stage", askStage, access.TypeApprove)
	s.Page("POST /device-types/{name}/stage", moveStage, access.TypeApprove)
	s.Page("GET /device-types/{name}/sign-off", askSignOff, access.TypeApprove)
	s.Page("POST /device-types/{name}/sign-off", signOff, access.TypeApprove)
	s.Page("POST /device-types/{name}/anchors", addAnchors, access.EnrolmentTrust)
	s.Page("GET /device-types/{name}/anchors/{id}/remove", askRemoveAnchor, access.EnrolmentTrust)
	s.Page("POST /device-types/{name}/anchors/{id}/remove", removeAnchor, access.EnrolmentTrust)
}

func typePath(name device.TypeName, below ...string) string {
	path := "/device-types/" + url.PathEscape(string(name))
	for _, part := range below {
		path += "/" + url.PathEscape(part)
	}
	return path
}

// typeHref leads to a type, or to its devices where types may not be read.
func typeHref(r *ui.Request, name device.TypeName) string {
	if r.Can(access.TypeRead) {
		return typePath(name)
	}
	return "/devices?" + url.Values{"type": {string(name)}}.Encode()
}

// zoneHref leads to a zone, or to its devices where zones may not be read.
func zoneHref(r *ui.Request, name device.ZoneName) string {
	if r.Can(access.ZoneRead) {
		return "/zones/" + url.PathEscape(string(name))
	}
	return "/devices?" + url.Values{"zone": {string(name)}}.Encode()
}

var stageTones = map[device.Stage]ui.Tone{device.Prototype: ui.Neutral, device.Develop: ui.Info, device.Deploy: ui.Good, device.Operate: ui.Good, device.Decommission: ui.Warn}

var stageWords = map[device.Stage]string{
	device.Prototype: "Being tried out. Its devices stay out of production zones.", device.Develop: "Being developed. Its devices stay out of production zones.",
	device.Deploy: "Signed off for production, being rolled out.", device.Operate: "Signed off for production, in use.", device.Decommission: "At its end: no device of it enrols any more.",
}

var typeSpec = ui.TableSpec{Filters: []string{"q", "stage"}, Sorts: []string{"name", "stage"}, Columns: []string{"name", "stage", "profile", "approval", "validity", "key", "description"}}

func types(r *ui.Request) error {
	s := r.Table(typeSpec)
	all, err := r.API.Types(r.Context())
	all = slices.DeleteFunc(all, func(t adminapi.Type) bool {
		return s.Filter("stage") != "" && s.Filter("stage") != string(t.Stage) || !ui.Matches(s.Filter("q"), string(t.Name), t.Description)
	})
	rows, next := ui.SortPage(s, all, map[string]func(a, b adminapi.Type) int{"name": func(a, b adminapi.Type) int { return cmp.Compare(a.Name, b.Name) },
		"stage": func(a, b adminapi.Type) int {
			return cmp.Compare(slices.Index(device.Stages, a.Stage), slices.Index(device.Stages, b.Stage))
		}})
	stages := []ui.Option{{Label: "Every stage"}}
	for _, stage := range device.Stages {
		stages = append(stages, ui.Option{Value: string(stage), Label: string(stage)})
	}
	t := ui.Table[adminapi.Type]{ID: "types", Label: "Device types", State: s, Rows: rows, Next: next, Err: err, Total: ui.Count(int64(len(all)), "type", "types"),
		Filters: []ui.Filter{{Name: "q", Label: "Search", Placeholder: "Name or description", Search: true}, {Name: "stage", Label: "Stage", Options: stages}},
		Columns: []ui.Column[adminapi.Type]{
			{Key: "name", Label: "Type", Sort: true, Cell: func(t adminapi.Type) ui.Node { return ui.Text(string(t.Name)) }},
			{Key: "stage", Label: "Stage", Sort: true, Hint: "Where the product stands in its life. Deploy and operate need a security sign-off.", Cell: func(t adminapi.Type) ui.Node { return ui.Badge(stageTones[t.Stage], string(t.Stage)) }},
			{Key: "profile", Label: "Kind", Cell: func(t adminapi.Type) ui.Node { return ui.Text(t.Profile) }},
			{Key: "approval", Label: "Enrolment", Cell: func(t adminapi.Type) ui.Node { return ui.Text(admission(t)) }},
			{Key: "validity", Label: "Certificates last", Cell: func(t adminapi.Type) ui.Node { return ui.Text(span(t.Validity)) }},
			{Key: "key", Label: "Key", Hidden: true, Cell: func(t adminapi.Type) ui.Node { return ui.Text(t.KeyAlgorithm) }},
			{Key: "description", Label: "Description", Wide: true, Cell: func(t adminapi.Type) ui.Node { return plainCell(t.Description) }},
		},
		Href: func(t adminapi.Type) string { return typePath(t.Name) },
		Empty: ui.EmptyProps{Icon: "box", Title: "No device types yet", Text: "A type says how its devices enrol and what their certificates look like. Make one for each product that you run.",
			Action: ui.If(r.Can(access.TypeWrite), ui.LinkButton(ui.Primary, "plus", "New type", "/device-types"))}}
	return r.Page(ui.Page{Title: "Device types", Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}}, Tabs: views(r, "/devices/types"),
		Actions: ui.If(r.Can(access.TypeWrite), ui.LinkButton(ui.Primary, "plus", "New type", "/device-types"))}, t)
}

// admission says how a device of a type gets in.
func admission(t adminapi.Type) string {
	switch {
	case t.Anonymous:
		return "by hand, may ask without a credential"
	case t.Approval == device.Manual:
		return "by hand"
	}
	return "with a valid credential"
}

func typeCrumbs(name string) []ui.Link {
	list := []ui.Link{{Text: "Devices", Href: "/devices"}, {Text: "Types", Href: "/devices/types"}}
	if name != "" {
		list = append(list, ui.Link{Text: name, Href: typePath(device.TypeName(name))})
	}
	return list
}

func newTypePage(r *ui.Request) error {
	return r.Page(ui.Page{Title: "New device type", Crumbs: typeCrumbs(""), Narrow: true},
		typeForm(adminapi.Type{Profile: "device", KeyAlgorithm: "P-256", Validity: adminapi.Duration(device.DefaultValidity), Approval: device.Auto}, "/device-types", "/devices/types"))
}

// typeInput reads the form of a type.
func typeInput(r *ui.Request) (in adminapi.TypeInput, err error) {
	in = adminapi.TypeInput{Description: r.Form("description"), Profile: r.Form("profile"), KeyAlgorithm: r.Form("key_algorithm"), Approval: device.Approval(r.Form("approval")),
		Anonymous: r.Form("anonymous") == "yes", ServerKeyGen: r.Form("server_keygen") == "yes"}
	for _, f := range []struct {
		name string
		to   *adminapi.Duration
	}{{"validity", &in.Validity}, {"grace", &in.Grace}} {
		d, ok := length(r.Form(f.name))
		if !ok {
			return in, badField(f.name, "write a number with d, h or m behind it, such as 90d", "a length of time could not be read")
		}
		*f.to = adminapi.Duration(d)
	}
	return in, nil
}

// length reads a length of time: what Go writes, and days.
func length(text string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err == nil && n >= 0 && n < 36600
	}
	if text == "" {
		return 0, true
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}

// lengthText is a length of time as length reads it.
func lengthText(d adminapi.Duration) string {
	switch t := time.Duration(d); {
	case t == 0:
		return "0"
	case t%(24*time.Hour) == 0:
		return strconv.Itoa(int(t/(24*time.Hour))) + "d"
	default:
		return t.String()
	}
}

func newType(r *ui.Request) error {
	in, err := typeInput(r)
	if err != nil {
		return err
	}
	t, err := r.API.CreateType(r.Context(), device.TypeName(r.Form("name")), device.Stage(r.Form("stage")), in)
	if err != nil {
		return err
	}
	return r.Done("The type "+string(t.Name)+" is made.", typePath(t.Name))
}

func showType(r *ui.Request) error {
	t, err := r.API.Type(r.Context(), device.TypeName(r.Value("name")))
	if err != nil {
		return err
	}
	anchors := get(r.Can(access.TypeRead), func() ([]adminapi.Anchor, error) { return r.API.Anchors(r.Context(), t.Name) })
	p := ui.Page{Title: string(t.Name), Crumbs: typeCrumbs(""), Badge: ui.Badge(stageTones[t.Stage], string(t.Stage)), Lead: t.Description}
	if r.Can(access.TypeWrite) {
		p.Actions = ui.LinkButton(ui.Plain, "edit", "Edit", typePath(t.Name, "edit"))
	}
	return r.Page(p, typeBody(r, t, anchors))
}

func editTypePage(r *ui.Request) error {
	t, err := r.API.Type(r.Context(), device.TypeName(r.Value("name")))
	if err != nil {
		return err
	}
	return r.Page(ui.Page{Title: "Edit " + string(t.Name), Crumbs: typeCrumbs(string(t.Name)), Narrow: true}, typeForm(t.Type, typePath(t.Name, "edit"), typePath(t.Name)))
}

func editType(r *ui.Request) error {
	name := device.TypeName(r.Value("name"))
	in, err := typeInput(r)
	if err != nil {
		return err
	}
	version, err := strconv.ParseInt(r.Form("version"), 10, 64)
	if err != nil {
		return badField("version", "open the page again", "the form does not say which version it was made from")
	}
	if _, err := r.API.UpdateType(r.Context(), name, version, in); err != nil {
		return err
	}
	return r.Done("The type "+string(name)+" is changed.", typePath(name))
}

// signedFor are the sign-offs of a stage, newest first.
func signedFor(t adminapi.TypeDetails, stage device.Stage) (list []device.SignOff) {
	for _, s := range t.SignOffs {
		if s.Stage == stage {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b device.SignOff) int { return b.At.Compare(a.At) })
	return list
}

// stagesTo are the stages that a type can be asked to move to.
func stagesTo(from device.Stage) (list []device.Stage) {
	i := slices.Index(device.Stages, from)
	if from == device.Decommission {
		return nil
	}
	for j, stage := range device.Stages {
		if j == i+1 || j < i || stage == device.Decommission {
			list = append(list, stage)
		}
	}
	return list
}

func askStage(r *ui.Request) error {
	t, err := r.API.Type(r.Context(), device.TypeName(r.Value("name")))
	if err != nil {
		return err
	}
	to := device.Stage(r.Query("to"))
	if !slices.Contains(stagesTo(t.Stage), to) {
		return ui.NotFound()
	}
	c := ui.Confirm{ID: "stage", Title: "Move " + string(t.Name) + " to " + string(to) + "?", Action: typePath(t.Name, "stage"), Verb: "Move to " + string(to), Kind: ui.Primary, Reason: true,
		Hidden: map[string]string{"to": string(to)}, Consequences: []string{stageWords[to]}, Undo: "You can move it back while none of its devices stand in a production zone."}
	switch {
	case to == device.Decommission:
		c.Kind, c.Undo, c.Type, c.SecondPerson = ui.Danger, "", string(t.Name), true
		c.Consequences = append(c.Consequences, "Devices that are enrolled keep their certificates until these end; retire them one by one or in bulk.")
	case to.Before(t.Stage):
		c.Consequences = append(c.Consequences, "Sign-offs from before now do not count any more: to go forward again it needs new ones.")
		c.Undo = "You can move it forward again, with a new sign-off."
	case len(signedFor(t, to)) == 0 && (to == device.Deploy || to == device.Operate):
		c.Consequences = append(c.Consequences, "Nobody has signed it off for this stage yet, so the move will be refused.")
	}
	return r.Dialog(c)
}

func moveStage(r *ui.Request) error {
	name, to := device.TypeName(r.Value("name")), device.Stage(r.Form("to"))
	if to == device.Decommission && !r.Typed(string(name)) {
		return notTyped(string(name))
	}
	if _, err := r.API.MoveType(r.Context(), name, to, r.Form("reason")); err != nil {
		return err
	}
	return r.Done(string(name)+" is at the stage "+string(to)+".", typePath(name))
}

func askSignOff(r *ui.Request) error {
	name := device.TypeName(r.Value("name"))
	return r.Dialog(ui.Confirm{ID: "sign-off", Title: "Sign off " + string(name), Action: typePath(name, "sign-off"), Verb: "Sign off", Kind: ui.Primary, Body: signOffFields(r.Query("stage")),
		Text:         "You state, in your name, that the security of this type was reviewed and accepted.",
		Consequences: []string{"The type can then be moved to the stage; it does not move by itself.", "Your statement is kept in the audit log for ever."}})
}

func signOff(r *ui.Request) error {
	name := device.TypeName(r.Value("name"))
	if _, err := r.API.SignOff(r.Context(), name, device.Stage(r.Form("stage")), r.Form("statement"), r.Form("evidence")); err != nil {
		return err
	}
	return r.Done("You signed off "+string(name)+".", typePath(name))
}

func addAnchors(r *ui.Request) error {
	name := device.TypeName(r.Value("name"))
	added, err := r.API.AddAnchors(r.Context(), name, []byte(r.RawForm("pem")))
	if err != nil {
		return err
	}
	return r.Done(ui.Count(int64(len(added)), "certificate is", "certificates are")+" trusted for "+string(name)+".", typePath(name))
}

func askRemoveAnchor(r *ui.Request) error {
	name, id := device.TypeName(r.Value("name")), r.Value("id")
	return r.Dialog(ui.Confirm{ID: "anchor", Title: "Stop trusting this manufacturer certificate?", Text: grouped(id), Action: typePath(name, "anchors", id, "remove"), Verb: "Stop trusting", Kind: ui.Danger,
		Consequences: []string{"Devices whose manufacturer certificate chains to it can no longer enrol with it as " + string(name) + ".", "Devices that are enrolled keep their certificates, and go on renewing."},
		Undo:         "You can add it again."})
}

func removeAnchor(r *ui.Request) error {
	name := device.TypeName(r.Value("name"))
	if err := r.API.RemoveAnchor(r.Context(), name, r.Value("id")); err != nil {
		return err
	}
	return r.Done("The certificate is not trusted any more.", typePath(name))
}
