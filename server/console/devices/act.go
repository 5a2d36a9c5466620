package devices

import (
	"net/url"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// maintenance is no move of a device's life, but is asked for like one.
const maintenance device.Move = "maintenance"

// action is something that is done to a device after a dialog.
type action struct {
	name  device.Move
	label string // in menus
	icon  string
	need  access.Permission
	kind  ui.Kind
	event string // of the audit log; for maintenance the one that begins it
	past  string // "pump-1 is in quarantine."
	legal func(device.Device) bool
}

var actions = []action{
	{maintenance, "Maintenance", "clock", access.DeviceMaintain, ui.Primary, "device.maintenance_begun", "", func(d device.Device) bool { return d.State != device.Retired }},
	{device.Quarantine, "Quarantine", "pause", access.DeviceQuarantine, ui.Danger, "device.quarantined", "%s is in quarantine.", moves(device.Quarantine)},
	{device.Release, "Release", "play", access.DeviceQuarantine, ui.Primary, "device.released", "%s is released.", moves(device.Release)},
	{device.Revoke, "Revoke certificates", "stop", access.DeviceRevoke, ui.Danger, "device.revoked", "The certificates of %s are revoked.", moves(device.Revoke)},
	{device.Retire, "Retire", "trash", access.DeviceRetire, ui.Danger, "device.retired", "%s is retired.", moves(device.Retire)},
}

// moves asks the noun whether a move is legal; whether there are certificates is
// of no matter to that.
func moves(m device.Move) func(device.Device) bool {
	return func(d device.Device) bool {
		_, err := device.Next(d.State, m, true)
		return err == nil
	}
}

// offered are the actions that make sense for a device and that the person may do.
func offered(r *ui.Request, d device.Device) (list []action) {
	for _, a := range actions {
		if a.legal(d) && r.CanOn(a.need, objectOf(d)) {
			if a.name == maintenance && d.Maintenance {
				a.label, a.icon = "End maintenance", "check"
			}
			list = append(list, a)
		}
	}
	return list
}

// facts are what an action will meet.
type facts struct {
	device   device.Device
	sessions []adminapi.Session // nil where they may not be seen
	live     int                // certificates that are valid or on hold
	certain  bool               // live counts all of them
}

func factsOf(r *ui.Request, id device.ID) (f facts, err error) {
	if f.device, err = r.API.Device(r.Context(), id); err != nil {
		return f, err
	}
	f.sessions, _ = sessionsOf(r, f.device)
	if list, err := certificatesOf(r, f.device); err == nil {
		f.certain = true
		for _, c := range list {
			if (c.Status == "issued" || c.Status == "held") && c.NotAfter.After(r.Now) {
				f.live++
			}
		}
	}
	return f, nil
}

// certificates says how many there are, with a verb's ending.
func (f facts) certificates() string {
	switch {
	case !f.certain:
		return "Its certificates"
	case f.live == 0:
		return ""
	case f.live == 1:
		return "Its certificate"
	}
	return "Its " + ui.Count(int64(f.live), "certificate", "certificates")
}

func (f facts) verb(one, many string) string {
	if f.certain && f.live == 1 {
		return one
	}
	return many
}

// connection says what becomes of its sessions.
func (f facts) connection() string {
	open := 0
	for _, s := range f.sessions {
		if s.Connected {
			open++
		}
	}
	switch {
	case f.sessions == nil:
		return "If it is connected, its sessions end within a second, on every server."
	case open == 0:
		return "It is not connected right now, and it will not be able to connect."
	case open == 1:
		return "Its session ends within a second, and it cannot connect again."
	}
	return "Its " + ui.Number(int64(open)) + " sessions end within a second, and it cannot connect again."
}

func ask(r *ui.Request, a action) error {
	f, err := factsOf(r, device.ID(r.Value("id")))
	if err != nil {
		return err
	}
	return r.Dialog(question(f, a))
}

// question is the dialog for an action, with what it will do to this device.
func question(f facts, a action) ui.Confirm {
	id := string(f.device.ID)
	c := ui.Confirm{ID: "act-" + string(a.name), Action: at(f.device.ID, string(a.name)), Kind: a.kind, Reason: true}
	certificates := func(text string) {
		if name := f.certificates(); name != "" {
			c.Consequences = append(c.Consequences, name+" "+text)
		}
	}
	switch a.name {
	case maintenance:
		maintenanceQuestion(f, &c)
	case device.Quarantine:
		c.Title, c.Verb = "Quarantine "+id+"?", "Quarantine"
		c.Consequences = []string{f.connection()}
		certificates(f.verb("is", "are") + " put on hold: no server accepts " + f.verb("it", "them") + ", and OCSP and the revocation list say so.")
		c.Consequences = append(c.Consequences, "It gets no new certificate, and no command reaches it.")
		c.Undo = "You can release it again; then it connects with the same certificates as before."
	case device.Release:
		c.Title, c.Verb = "Release "+id+" from quarantine?", "Release"
		certificates(f.verb("is", "are") + " accepted again, within a second on every server.")
		if f.certain && f.live == 0 {
			c.Consequences = append(c.Consequences, "It has no valid certificate left: it has to enrol anew before it can connect.")
		} else {
			c.Consequences = append(c.Consequences, "It may connect, and say and hear what the policy allows it.")
		}
		c.Undo = "You can quarantine it again at any time."
	case device.Revoke:
		c.Title, c.Verb, c.SecondPerson = "Revoke the certificates of "+id+"?", "Revoke", false
		c.Consequences = []string{f.connection()}
		certificates(f.verb("is", "are") + " revoked for good.")
		c.Consequences = append(c.Consequences, "It stays in the inventory. To come back it has to enrol anew, with a new key.")
		c.Type = id
	case device.Retire:
		c.Title, c.Verb, c.SecondPerson = "Retire "+id+"?", "Retire", true
		c.Consequences = []string{f.connection()}
		certificates(f.verb("is", "are") + " revoked for good.")
		c.Consequences = append(c.Consequences, "Its life ends here: it can never enrol again, and no other device can ever get its id.", "Its history stays in the audit log.")
		c.Type = id
	}
	return c
}

func maintenanceQuestion(f facts, c *ui.Confirm) {
	id := string(f.device.ID)
	if f.device.Maintenance {
		c.Title, c.Verb, c.Hidden = "End the maintenance of "+id+"?", "End maintenance", map[string]string{"on": "no"}
		c.Consequences = []string{"Commands reach it again, within a second.", "Make sure that nobody works on it any more."}
		c.Undo = "You can begin maintenance again at any time."
		return
	}
	c.Title, c.Verb, c.Hidden = "Begin the maintenance of "+id+"?", "Begin maintenance", map[string]string{"on": "yes"}
	c.Consequences = []string{"Commands that stop for maintenance do not reach it, whoever sends them.", "It stays connected, keeps its certificates and goes on reporting."}
	c.Undo = "You can end it again at any time; it does not end by itself."
}

func act(r *ui.Request, a action) error {
	id, reason := device.ID(r.Value("id")), r.Form("reason")
	text, event := strings.ReplaceAll(a.past, "%s", string(id)), a.event
	var err error
	switch {
	case a.name == maintenance:
		on := r.Form("on") == "yes"
		text = string(id) + " is in maintenance: no command that stops for it reaches it."
		if !on {
			text, event = string(id)+" is out of maintenance: commands reach it again.", "device.maintenance_ended"
		}
		_, err = r.API.SetMaintenance(r.Context(), id, on, reason)
	case (a.name == device.Revoke || a.name == device.Retire) && !r.Typed(string(id)):
		err = notTyped(string(id))
	default:
		_, err = r.API.ChangeDevice(r.Context(), id, a.name, reason)
	}
	if err != nil {
		return err
	}
	return r.Done(text, done(id, event))
}

func notTyped(want string) error {
	return refusal.New(refusal.Invalid, "not-confirmed", "type "+want+" into the field", "the name was not typed as asked, so nothing has happened")
}

// done is the path of a device's page that shows what was just done, with the
// entry that proves it.
func done(id device.ID, event string) string {
	return at(id) + "?" + url.Values{"done": {event}}.Encode()
}

func askClose(r *ui.Request) error {
	id, client := device.ID(r.Value("id")), r.Value("client")
	s, err := r.API.Session(r.Context(), client)
	if err != nil {
		return err
	}
	if s.ID != string(id) || s.Kind == "app" {
		return ui.NotFound()
	}
	c := ui.Confirm{ID: "act-close", Title: "Close the session of " + string(id) + "?", Action: at(id, "sessions", client, "close"), Verb: "Close session", Kind: ui.Danger, Reason: true,
		Consequences: []string{"Its connection ends now."}, Undo: "The device may connect again at once. To keep it out, quarantine it instead."}
	if n := int64(s.Queued + s.Inflight); n > 0 {
		c.Consequences = append(c.Consequences, ui.Count(n, "message that waits for it is", "messages that wait for it are")+" forgotten for good.")
	}
	c.Consequences = append(c.Consequences, ui.Count(int64(len(s.Subscriptions)), "subscription is", "subscriptions are")+" forgotten; the device has to subscribe again.")
	return r.Dialog(c)
}

func closeSession(r *ui.Request) error {
	id, client := device.ID(r.Value("id")), r.Value("client")
	s, err := r.API.Session(r.Context(), client)
	if err == nil && (s.ID != string(id) || s.Kind == "app") {
		return ui.NotFound()
	}
	if err == nil {
		err = r.API.CloseSession(r.Context(), client, r.Form("reason"))
	}
	if err != nil {
		return err
	}
	return r.Done("The session is closed.", done(id, "session.closed"))
}

// revocationReasons are those of RFC 5280 section 5.3.1 that an operator may give.
var revocationReasons = []ui.Option{
	{Value: "keyCompromise", Label: "The key may be known to somebody else"}, {Value: "superseded", Label: "Another certificate took its place"},
	{Value: "affiliationChanged", Label: "The device has another owner or use"}, {Value: "cessationOfOperation", Label: "It is not used any more"},
	{Value: "privilegeWithdrawn", Label: "The device may no longer have it"}, {Value: "unspecified", Label: "Another reason"},
}

func askRevokeCertificate(r *ui.Request) error {
	id := device.ID(r.Value("id"))
	c, err := certificateOf(r, id)
	if err != nil {
		return err
	}
	form := "act-certificate"
	return r.Dialog(ui.Confirm{ID: form, Title: "Revoke this certificate of " + string(id) + "?", Text: "Serial number " + c.Serial, Verb: "Revoke certificate", Kind: ui.Danger,
		Action: at(id, "certificates", c.Serial, "revoke"), Type: string(id),
		Consequences: []string{"No server accepts it any more, within a second. A session that uses it ends.", "The other certificates of the device stay valid.",
			"If it was its only one, the device has to enrol anew before it can connect."},
		Body: ui.Select(ui.FieldProps{Form: form + "-form", Name: "reason", Label: "Reason", Hint: "It stands in the revocation list, where everybody can read it.", Value: "keyCompromise"}, revocationReasons)})
}

func revokeCertificate(r *ui.Request) error {
	id := device.ID(r.Value("id"))
	c, err := certificateOf(r, id)
	if err != nil {
		return err
	}
	if !r.Typed(string(id)) {
		return notTyped(string(id))
	}
	if _, err := r.API.RevokeCertificate(r.Context(), c.Serial, r.Form("reason")); err != nil {
		return err
	}
	return r.Done("The certificate is revoked.", done(id, "certificate.revoked"))
}

// certificateOf is the certificate that the path names, if it is the device's.
func certificateOf(r *ui.Request, id device.ID) (adminapi.Certificate, error) {
	c, err := r.API.Certificate(r.Context(), r.Value("serial"))
	if err == nil && (c.Principal != string(id) || !slices.Contains([]string{"device", "gateway"}, c.Profile)) {
		err = ui.NotFound()
	}
	return c, err
}
