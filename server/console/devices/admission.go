package devices

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// mountAdmission adds how devices come in. What is done to one token or request
// stands apart from /devices, where ids of devices are.
func mountAdmission(s *ui.Section) {
	s.Page("GET /devices/enrol", enrolPage, access.EnrolmentWrite)
	s.Page("POST /devices/enrol", enrol, access.EnrolmentWrite)
	s.Page("GET /devices/tokens", tokens, access.EnrolmentRead)
	s.Page("GET /enrolment/tokens/{id}/revoke", askRevokeToken, access.EnrolmentWrite)
	s.Page("POST /enrolment/tokens/{id}/revoke", revokeToken, access.EnrolmentWrite)
	s.Page("GET /devices/waiting", waiting, access.EnrolmentRead)
	for _, approve := range []bool{true, false} {
		path := "/enrolment/waiting/{id}/" + decisionVerb(approve)
		s.Page("GET "+path, func(r *ui.Request) error { return askDecide(r, approve) }, access.EnrolmentApprove)
		s.Page("POST "+path, func(r *ui.Request) error { return decide(r, approve) }, access.EnrolmentApprove)
	}
}

func decisionVerb(approve bool) string {
	if approve {
		return "approve"
	}
	return "reject"
}

// lifetimes are how long a token may be valid.
var lifetimes = []ui.Option{{Value: "1h", Label: "1 hour"}, {Value: "24h", Label: "1 day"}, {Value: "168h", Label: "7 days"}, {Value: "720h", Label: "30 days"}, {Value: "2160h", Label: "90 days"}}

// wish is what the form of a token is filled with at first.
type wish struct {
	kind, typ, zone, id string
}

func enrolPage(r *ui.Request) error {
	w := wish{cmp.Or(r.Query("kind"), string(enroll.OneTime)), r.Query("type"), r.Query("zone"), r.Query("device_id")}
	return r.Page(ui.Page{Title: "Enrol a device", Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}}, Narrow: true,
		Lead: "Make a token, and give it to the device. The device makes its own key, asks for a certificate with the token, and appears in the inventory."}, enrolForm(r, w))
}

func enrol(r *ui.Request) error {
	in := adminapi.TokenInput{Kind: enroll.TokenKind(r.Form("kind")), Type: device.TypeName(r.Form("type")), Zone: device.ZoneName(r.Form("zone")), Note: r.Form("note")}
	var err error
	if in.Labels, err = labelsOf(r.Form("labels")); err != nil {
		return err
	}
	if len(in.Labels) == 0 {
		in.Labels = nil
	}
	if in.Kind == enroll.Group {
		in.IDPrefix = r.Form("id_prefix")
		if in.Quota, err = strconv.Atoi(r.Form("quota")); err != nil {
			return badField("quota", "write how many devices it may enrol, 1 to 1,000,000", "the number of devices is not a number")
		}
	} else {
		in.DeviceID = device.ID(r.Form("device_id"))
	}
	if r.Form("manual") == "yes" {
		in.Approval = device.Manual
	}
	d, err := time.ParseDuration(r.Form("valid_for"))
	if err != nil {
		return badField("valid_for", "choose one of the list", "how long the token is valid could not be read")
	}
	in.ValidFor = adminapi.Duration(d)
	t, secret, err := r.API.CreateToken(r.Context(), in)
	if err != nil {
		return err
	}
	return r.Result(ui.Page{Title: "The token is made", Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}, {Text: "Enrolment tokens", Href: "/devices/tokens"}}, Narrow: true},
		tokenBody(r, t, secret.Reveal(), kitOf(r, t, secret)))
}

func badField(field, fix, detail string) error {
	return &adminapi.Problem{Status: 422, Code: "bad-" + field, Detail: detail, Fix: fix, Errors: []adminapi.RowError{{Field: field, Error: fix}}}
}

// kit is what somebody needs to enrol a device with a token.
type kit struct {
	id          string // of the device, or an example
	url         string // of the device listener
	ca          string // PEM
	fingerprint string // SHA-256 of the root certificate
	openssl     string
	holdfast    string
	qr          string
}

// kitOf makes commands with this server's own address and authorities, so that
// they work as they are copied. Without the authorities' certificates a device
// could not tell this server from another: they are in the commands.
func kitOf(r *ui.Request, t enroll.Token, secret enroll.Secret) (k kit) {
	k.id, k.url = string(t.DeviceID), "https://DEVICE-LISTENER:8444"
	if k.id == "" {
		k.id = t.IDPrefix + "0001"
	}
	if status, err := r.API.Status(r.Context()); err == nil && status.Endpoints["device_api"] != "" {
		k.url = status.Endpoints["device_api"]
	}
	if bundle, err := r.API.Bundle(r.Context()); err == nil {
		k.ca = strings.TrimSpace(string(bundle))
		if block, _ := pem.Decode(bundle); block != nil {
			sum := sha256.Sum256(block.Bytes)
			k.fingerprint = hex.EncodeToString(sum[:])
		}
	}
	algorithm := "P-256"
	if typ, err := r.API.Type(r.Context(), t.Type); err == nil {
		algorithm = typ.KeyAlgorithm
	}
	k.openssl, k.holdfast = commands(k, t.Type, algorithm, secret.Reveal())
	k.qr = carried(k, t.Type, secret.Reveal())
	return k
}

// commands are shell scripts. The names in them have no character that a shell
// reads as anything but itself; the address is quoted.
func commands(k kit, typ device.TypeName, algorithm, secret string) (openssl, holdfast string) {
	key := "openssl ecparam -name prime256v1 -genkey -noout -out key.pem"
	switch algorithm {
	case "P-384":
		key = "openssl ecparam -name secp384r1 -genkey -noout -out key.pem"
	case "Ed25519":
		key = "openssl genpkey -algorithm ed25519 -out key.pem"
	}
	start := fmt.Sprintf("ID=%s\numask 077\ncat > ca.pem <<'END'\n%s\nEND\n", k.id, k.ca)
	openssl = start + fmt.Sprintf(`%s
openssl req -new -key key.pem -subj "/CN=$ID" -outform DER | openssl base64 -out csr.b64
curl --fail-with-body --cacert ca.pem -H 'Authorization: Bearer %s' \
  -H 'Content-Type: application/pkcs10' -H 'Content-Transfer-Encoding: base64' \
  --data-binary @csr.b64 -o cert.b64 %s
openssl base64 -d -in cert.b64 | openssl pkcs7 -inform DER -print_certs -out cert.pem
`, key, secret, quoted(k.url+"/.well-known/est/"+string(typ)+"/simpleenroll"))
	holdfast = start + fmt.Sprintf(`printf '%%s\n' '%s' > token
holdfast enroll --url %s --ca ca.pem --id "$ID" --type %s --token-file token --out "$ID"
`, secret, quoted(k.url), typ)
	return openssl, holdfast
}

// quoted is a word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// carried is what a QR code holds for an installer's app: where to ask, with what,
// and which root to trust.
func carried(k kit, typ device.TypeName, secret string) string {
	b, err := json.Marshal(map[string]string{"est": k.url + "/.well-known/est/" + string(typ), "token": secret, "root_sha256": k.fingerprint})
	if err != nil || len(b) > 1000 {
		return secret
	}
	return string(b)
}

var tokenSpec = ui.TableSpec{Filters: []string{"q", "state"}, Sorts: []string{"created", "expires", "used"}, Columns: []string{"id", "state", "for", "type", "zone", "used", "expires", "created", "by", "note"}}

// tokenState is whether a token still lets anybody in.
func tokenState(t enroll.Token, now time.Time) (ui.Tone, string) {
	switch {
	case !t.RevokedAt.IsZero():
		return ui.Bad, "revoked"
	case t.Used >= t.Quota:
		return ui.Neutral, "used up"
	case !t.ExpiresAt.After(now):
		return ui.Neutral, "expired"
	}
	return ui.Good, "usable"
}

func tokens(r *ui.Request) error {
	s := r.Table(tokenSpec)
	all, err := r.API.Tokens(r.Context())
	all = slices.DeleteFunc(all, func(t enroll.Token) bool {
		_, state := tokenState(t, r.Now)
		return s.Filter("state") != "" && s.Filter("state") != state || !ui.Matches(s.Filter("q"), t.ID, string(t.Type), string(t.Zone), string(t.DeviceID), t.IDPrefix, t.Note, t.CreatedBy)
	})
	rows, next := ui.SortPage(s, all, map[string]func(a, b enroll.Token) int{
		"created": func(a, b enroll.Token) int { return a.CreatedAt.Compare(b.CreatedAt) },
		"expires": func(a, b enroll.Token) int { return a.ExpiresAt.Compare(b.ExpiresAt) },
		"used":    func(a, b enroll.Token) int { return cmp.Compare(a.Used, b.Used) }})
	t := ui.Table[enroll.Token]{ID: "tokens", Label: "Enrolment tokens", State: s, Rows: rows, Next: next, Err: err, Total: ui.Count(int64(len(all)), "token", "tokens"),
		Filters: []ui.Filter{{Name: "q", Label: "Search", Placeholder: "Type, zone, device or note", Search: true},
			{Name: "state", Label: "State", Options: []ui.Option{{Label: "Every state"}, {Value: "usable", Label: "usable"}, {Value: "used up", Label: "used up"}, {Value: "expired", Label: "expired"}, {Value: "revoked", Label: "revoked"}}}},
		Columns: []ui.Column[enroll.Token]{
			{Key: "id", Label: "Token", Hint: "Its name. The secret was shown once, when it was made.", Cell: func(t enroll.Token) ui.Node { return mono(t.ID) }},
			{Key: "state", Label: "State", Cell: func(t enroll.Token) ui.Node { return ui.Badge(tokenState(t, r.Now)) }},
			{Key: "for", Label: "Lets in", Cell: func(t enroll.Token) ui.Node { return plainCell(letsIn(t)) }},
			{Key: "type", Label: "Type", Cell: func(t enroll.Token) ui.Node { return ui.Text(string(t.Type)) }},
			{Key: "zone", Label: "Zone", Cell: func(t enroll.Token) ui.Node { return ui.Text(string(t.Zone)) }},
			{Key: "used", Label: "Used", Sort: true, Number: true, Cell: func(t enroll.Token) ui.Node {
				return ui.Text(ui.Number(int64(t.Used)) + " of " + ui.Number(int64(t.Quota)))
			}},
			{Key: "expires", Label: "Ends", Sort: true, Cell: func(t enroll.Token) ui.Node { return ui.Time(t.ExpiresAt) }},
			{Key: "created", Label: "Made", Sort: true, Hidden: true, Cell: func(t enroll.Token) ui.Node { return ui.Time(t.CreatedAt) }},
			{Key: "by", Label: "Made by", Hidden: true, Cell: func(t enroll.Token) ui.Node { return plainCell(t.CreatedBy) }},
			{Key: "note", Label: "Note", Wide: true, Cell: func(t enroll.Token) ui.Node { return plainCell(t.Note) }},
		},
		Actions: func(t enroll.Token) ui.Node {
			_, state := tokenState(t, r.Now)
			return ui.If(state == "usable" && r.CanOn(access.EnrolmentWrite, access.Object{Zone: t.Zone, Type: t.Type, Labels: t.Labels}), ui.DialogButton(ui.Quiet, "stop", "Revoke", "/enrolment/tokens/"+url.PathEscape(t.ID)+"/revoke"))
		},
		Empty: ui.EmptyProps{Icon: "key", Title: "No enrolment tokens", Text: "A token is how a device that has no certificate yet proves that you sent it. Make one for a single device, or one for a box of them.",
			Action: ui.If(r.Can(access.EnrolmentWrite), ui.LinkButton(ui.Primary, "plus", "Make a token", "/devices/enrol"))}}
	return r.Page(ui.Page{Title: "Enrolment tokens", Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}}, Tabs: views(r, "/devices/tokens"),
		Actions: ui.If(r.Can(access.EnrolmentWrite), ui.LinkButton(ui.Primary, "plus", "Make a token", "/devices/enrol"))}, t)
}

// letsIn says who a token is for.
func letsIn(t enroll.Token) string {
	switch {
	case t.DeviceID != "":
		return string(t.DeviceID)
	case t.Kind == enroll.OneTime:
		return "one device"
	case t.IDPrefix != "":
		return "devices whose id starts with " + t.IDPrefix
	}
	return "devices of any id"
}

func askRevokeToken(r *ui.Request) error {
	t, err := tokenOf(r)
	if err != nil {
		return err
	}
	c := ui.Confirm{ID: "token", Title: "Revoke the token " + t.ID + "?", Action: "/enrolment/tokens/" + url.PathEscape(t.ID) + "/revoke", Verb: "Revoke token", Kind: ui.Danger,
		Consequences: []string{"Nothing enrols with it any more, from now on.", "You can make another one at any time."}}
	if t.Used > 0 {
		c.Consequences = append(c.Consequences, ui.Count(int64(t.Used), "device that enrolled with it keeps its certificate.", "devices that enrolled with it keep their certificates."))
	}
	return r.Dialog(c)
}

func revokeToken(r *ui.Request) error {
	if err := r.API.RevokeToken(r.Context(), r.Value("id")); err != nil {
		return err
	}
	return r.Done("The token is revoked.", "/devices/tokens")
}

func tokenOf(r *ui.Request) (enroll.Token, error) {
	all, err := r.API.Tokens(r.Context())
	i := slices.IndexFunc(all, func(t enroll.Token) bool { return t.ID == r.Value("id") })
	if err == nil && i < 0 {
		err = refusal.New(refusal.NotFound, "no-such-token", "look through the list of tokens", "there is no token of this name")
	}
	if err != nil {
		return enroll.Token{}, err
	}
	return all[i], nil
}

// undecided are the requests that somebody has to decide about.
func undecided(all []enroll.Waiting) (open []enroll.Waiting) {
	for _, w := range all {
		if w.Decision == enroll.Undecided {
			open = append(open, w)
		}
	}
	return open
}

var waitingSpec = ui.TableSpec{Filters: []string{"q"}, Sorts: []string{"asked"}, Columns: []string{"device", "key", "type", "zone", "credential", "source", "asked"}}

// waiting lists the requests that somebody has to decide about; what was decided
// stands in the audit log.
func waiting(r *ui.Request) error {
	s := r.Table(waitingSpec)
	all, err := r.API.Waiting(r.Context())
	all = slices.DeleteFunc(undecided(all), func(w enroll.Waiting) bool {
		return !ui.Matches(s.Filter("q"), string(w.DeviceID), string(w.Type), string(w.Zone), w.KeyID, w.Source)
	})
	rows, next := ui.SortPage(s, all, map[string]func(a, b enroll.Waiting) int{"asked": func(a, b enroll.Waiting) int { return a.RequestedAt.Compare(b.RequestedAt) }})
	t := ui.Table[enroll.Waiting]{ID: "waiting", Label: "Waiting room", State: s, Rows: rows, Next: next, Err: err, Total: ui.Count(int64(len(all)), "request", "requests"),
		Filters: []ui.Filter{{Name: "q", Label: "Search", Placeholder: "Device, type, zone or key", Search: true}},
		Columns: []ui.Column[enroll.Waiting]{
			{Key: "device", Label: "Device", Cell: func(w enroll.Waiting) ui.Node { return ui.Text(string(w.DeviceID)) }},
			{Key: "key", Label: "Key fingerprint", Hint: "SHA-256 of the public key that would be certified. Compare it with what the device shows.", Wide: true, Cell: func(w enroll.Waiting) ui.Node { return fingerprintCell(w.KeyID) }},
			{Key: "type", Label: "Type", Cell: func(w enroll.Waiting) ui.Node { return ui.Text(string(w.Type)) }},
			{Key: "zone", Label: "Zone", Cell: func(w enroll.Waiting) ui.Node { return plainCell(string(w.Zone)) }},
			{Key: "credential", Label: "Proved by", Hint: "What it showed when it asked.", Cell: func(w enroll.Waiting) ui.Node { return plainCell(credential(w.Credential)) }},
			{Key: "source", Label: "Came from", Cell: func(w enroll.Waiting) ui.Node { return plainCell(w.Source) }},
			{Key: "asked", Label: "Asked", Sort: true, Cell: func(w enroll.Waiting) ui.Node { return ui.Time(w.RequestedAt) }},
		},
		Actions: func(w enroll.Waiting) ui.Node {
			base := "/enrolment/waiting/" + url.PathEscape(w.ID) + "/"
			return ui.If(r.CanOn(access.EnrolmentApprove, access.Object{Zone: w.Zone, Type: w.Type}),
				ui.Nodes(ui.DialogButton(ui.Plain, "check", "Approve", base+"approve"), ui.DialogButton(ui.Quiet, "x", "Reject", base+"reject")))
		},
		Href:  func(w enroll.Waiting) string { return at(w.DeviceID) },
		Empty: ui.EmptyProps{Icon: "check-circle", Title: "Nobody waits", Text: "Devices come here when their type or their token asks for approval by hand, or when they have nothing to prove themselves with and their type lets them ask."}}
	p := ui.Page{Title: "Waiting room", Crumbs: []ui.Link{{Text: "Devices", Href: "/devices"}}, Tabs: views(r, "/devices/waiting"),
		Lead: "You approve a key, not a name: compare the fingerprint with the one on the device before you let it in."}
	if r.Can(access.AuditRead) {
		p.Actions = ui.LinkButton(ui.Plain, "audit", "What was decided", "/audit?"+url.Values{"action": {"enrolment.*"}}.Encode())
	}
	return r.Page(p, t)
}

func waitingOf(r *ui.Request) (enroll.Waiting, error) {
	all, err := r.API.Waiting(r.Context())
	i := slices.IndexFunc(all, func(w enroll.Waiting) bool { return w.ID == r.Value("id") })
	if err == nil && i < 0 {
		err = refusal.New(refusal.NotFound, "no-such-request", "look through the waiting room", "there is no such request; it may have been decided meanwhile")
	}
	if err != nil {
		return enroll.Waiting{}, err
	}
	return all[i], nil
}

func askDecide(r *ui.Request, approve bool) error {
	w, err := waitingOf(r)
	if err != nil {
		return err
	}
	c := ui.Confirm{ID: "decide", Title: "Let " + string(w.DeviceID) + " in?", Action: "/enrolment/waiting/" + url.PathEscape(w.ID) + "/approve", Verb: "Approve", Kind: ui.Primary, Reason: true, Body: waitingFacts(r, w),
		Consequences: []string{"The device gets its certificate, for this key and no other, when it asks the next time.", "It can then connect, and say and hear what the policy allows it."},
		Undo:         "You can quarantine the device or revoke its certificate at any time."}
	if !approve {
		c.Title, c.Action, c.Verb, c.Kind = "Turn "+string(w.DeviceID)+" away?", "/enrolment/waiting/"+url.PathEscape(w.ID)+"/reject", "Reject", ui.Danger
		c.Consequences = []string{"The device is refused when it asks the next time.", "It gets no certificate for this key."}
		c.Undo = "It may ask again with a new token or another key; then you decide again."
	}
	return r.Dialog(c)
}

func decide(r *ui.Request, approve bool) error {
	w, err := r.API.DecideWaiting(r.Context(), r.Value("id"), approve, r.Form("reason"))
	if err != nil {
		return err
	}
	event, text := "enrolment.approved", "%s may come in: it gets its certificate when it asks again."
	if !approve {
		event, text = "enrolment.rejected", "%s was turned away."
	}
	if _, err := r.API.Device(r.Context(), w.DeviceID); err != nil {
		return r.Done(fmt.Sprintf(text, w.DeviceID), "/devices/waiting")
	}
	return r.Done(fmt.Sprintf(text, w.DeviceID), done(w.DeviceID, event))
}
