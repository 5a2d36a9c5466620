package access

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// about is what a request would do, for somebody who decides on it.
type about struct {
	title   string // without a point at its end
	facts   []fact
	devices []device.ID
	gives   []access.Permission // what somebody would get
	takes   []access.Permission // and lose
	plan    *adminapi.PolicyPlan
	trouble error // what could not be found out
}

// fact is one thing to know of it.
type fact struct {
	term string
	node ui.Node
}

func (b *about) add(term string, node ui.Node) { b.facts = append(b.facts, fact{term, node}) }

func (b *about) text(term, value string) {
	if value != "" {
		b.add(term, ui.Text(value))
	}
}

// describer describes the requests of an operation. rest is the path behind the
// thing's collection: for /api/v1/devices/pump-1/retire it is "pump-1".
type describer func(d *description) error

// description is one in the making.
type description struct {
	*about
	r    *ui.Request
	who  *who
	a    access.Approval
	name string // what the path names, if it names something
}

var describers = map[string]describer{
	"create-grant": describeGrant, "delete-grant": describeTakeBack, "create-role": describeRole, "update-role": describeRole,
	"reinvite-person": describePerson, "erase-person": describePerson, "update-person": describePerson,
	"create-client": describeClient, "apply-policy": describePolicy, "update-zone": describeZone, "move-type": describeType, "add-anchors": describeType,
	"quarantine-devices": describeMany, "release-devices": describeMany, "revoke-devices": describeMany, "retire-device": describeDevice,
}

// describe says what a request would do, as far as whoever asks may see it. What
// it cannot read it leaves to the request as it was sent, which is always shown.
func describe(r *ui.Request, names *who, a access.Approval) about {
	b := about{title: strings.TrimSpace(a.Summary)}
	how, ok := describers[a.Operation]
	if !ok || len(a.Body) == 0 && a.Method != "DELETE" {
		return b
	}
	path, _, _ := strings.Cut(a.Path, "?")
	parts := strings.Split(strings.Trim(path, "/"), "/") // api, v1, collection, name
	d := &description{about: &b, r: r, who: names, a: a}
	if len(parts) > 3 {
		d.name, _ = url.PathUnescape(parts[3])
	}
	if err := how(d); err != nil {
		b.trouble = err
	}
	return b
}

// read decodes the body that was sent. The API reads it again, strictly, when the
// request is carried out.
func (d *description) read(into any) error {
	if err := json.Unmarshal(d.a.Body, into); err != nil {
		return fmt.Errorf("reading the request: %w", err)
	}
	return nil
}

func describeGrant(d *description) error {
	var in adminapi.GrantInput
	if err := d.read(&in); err != nil {
		return err
	}
	subject := string(in.Kind) + ":" + in.Subject
	d.title = "Give " + d.who.called(subject) + " the role " + in.Role
	d.add("Who", d.who.link(subject))
	d.grantFacts(in.Role, in.Scope, in.ExpiresAt)
	role, err := d.role(in.Role)
	d.gives = role.Permissions
	return err
}

// grantFacts are the role, for what, and until when.
func (d *description) grantFacts(role string, scope access.Scope, until time.Time) {
	d.add("Role", textLink(role, at("roles", role)))
	d.text("For", scope.String())
	if until.IsZero() {
		d.text("For how long", "until it is taken back")
	} else {
		d.add("Until", ui.Exact(until))
	}
}

func (d *description) role(name string) (access.Role, error) {
	if !d.r.Can(access.RoleRead) {
		return access.Role{}, nil
	}
	list, err := d.r.API.Roles(d.r.Context())
	role, _ := roleNamed(list, name)
	return role, err
}

func describeTakeBack(d *description) error {
	d.title = "Take a role back"
	if !d.r.Can(access.RoleRead) {
		return nil
	}
	grants, err := d.r.API.Grants(d.r.Context(), "", "")
	if err != nil {
		return err
	}
	i := slices.IndexFunc(grants, func(g access.Grant) bool { return g.ID == d.name })
	if i < 0 {
		d.text("The role", "was taken back already, or has ended")
		return nil
	}
	g := grants[i]
	subject := string(g.Kind) + ":" + g.Subject
	d.title = "Take the role " + g.Role + " back from " + d.who.called(subject)
	d.add("Who", d.who.link(subject))
	d.grantFacts(g.Role, g.Scope, g.ExpiresAt)
	role, err := d.role(g.Role)
	d.takes = role.Permissions
	return err
}

func describeRole(d *description) error {
	var in struct {
		Name        string              `json:"name"`
		Description string              `json:"description"`
		Permissions []access.Permission `json:"permissions"`
	}
	if err := d.read(&in); err != nil {
		return err
	}
	d.text("What for", in.Description)
	if d.a.Operation == "create-role" {
		d.title, d.gives = "Create the role "+in.Name, in.Permissions
		return nil
	}
	was, err := d.role(d.name)
	d.title = "Change the role " + d.name
	d.add("Role", textLink(d.name, at("roles", d.name)))
	for _, p := range in.Permissions {
		if !was.Has(p) {
			d.gives = append(d.gives, p)
		}
	}
	for _, p := range was.Permissions {
		if !slices.Contains(in.Permissions, p) {
			d.takes = append(d.takes, p)
		}
	}
	return err
}

func describePerson(d *description) error {
	subject := "person:" + d.name
	name := d.who.called(subject)
	d.add("Who", d.who.link(subject))
	switch d.a.Operation {
	case "reinvite-person":
		d.title = "Reset what " + name + " signs in with"
		d.text("What happens", "Password, passkeys, authenticator app and recovery codes are removed, all sign-ins end, and who asked gets a link into the account.")
	case "erase-person":
		d.title = "Erase " + name
		d.text("What happens", "Everything personal is removed for good, and all sign-ins end.")
	default:
		var in adminapi.PersonInput
		if err := d.read(&in); err != nil {
			return err
		}
		d.title = "Change the account of " + name
		d.text("Signs in as", in.Name)
		d.text("Name", in.Display)
		d.text("Mail", in.Mail)
		if in.BreakGlass {
			d.text("For emergencies", "It becomes an account for emergencies: it needs no second person, and each use raises an alarm.")
		}
	}
	return nil
}

func describeClient(d *description) error {
	var in struct {
		Name string `json:"name"`
		adminapi.ClientInput
	}
	if err := d.read(&in); err != nil {
		return err
	}
	c := access.APIClient{Networks: in.Networks, Rate: in.Rate}
	d.title = "Create the API client " + in.Name
	d.text("Answerable", in.Owner)
	d.text("What it does", in.Description)
	d.text("May call from", networksText(c))
	d.text("Rate", rateText(c))
	if in.JWKS != "" {
		d.text("Proves itself", "with public keys, which are in the request below")
	}
	d.text("What it may do", "nothing until it has a role")
	return nil
}

// describePolicy plans the manifests again: what they do may have changed since
// they were asked for.
func describePolicy(d *description) error {
	var in adminapi.PolicyApply
	if err := d.read(&in); err != nil {
		return err
	}
	d.title = "Put a policy into force"
	d.text("Manifests", ui.Count(int64(len(in.Files)), "file", "files"))
	d.text("Made from", fmt.Sprintf("version %d", in.Version))
	if !d.r.Can(access.PolicyRead) || d.a.State != access.ApprovalWaiting {
		return nil
	}
	plan, err := d.r.API.PlanPolicy(d.r.Context(), in.Files)
	if err != nil {
		return err
	}
	if plan.Version != in.Version {
		d.text("Meanwhile", fmt.Sprintf("version %d came into force. This will be refused; it has to be made again from there.", plan.Version))
	}
	d.plan = &plan
	return nil
}

func describeZone(d *description) error {
	d.title = "Take the zone " + d.name + " out of production"
	d.add("Zone", textLink(d.name, "/zones/"+url.PathEscape(d.name)))
	d.text("What it means", "Policies for it can be put into force by one person alone, until it is in production again.")
	return nil
}

func describeType(d *description) error {
	d.add("Device type", textLink(d.name, "/device-types/"+url.PathEscape(d.name)))
	if d.a.Operation == "add-anchors" {
		d.title = "Trust a manufacturer's authority for " + d.name
		d.text("What it means", "Devices of this type that have a certificate of that authority can enrol by themselves.")
		return nil
	}
	var in struct {
		To string `json:"to"`
	}
	if err := d.read(&in); err != nil {
		return err
	}
	d.title = "Move the device type " + d.name + " to " + in.To
	return nil
}

// manyVerbs are what is done to many devices.
var manyVerbs = map[string]string{"quarantine-devices": "Quarantine ", "release-devices": "Release ", "revoke-devices": "Revoke all certificates of "}

func describeMany(d *description) error {
	var in adminapi.BulkInput
	if err := d.read(&in); err != nil {
		return err
	}
	d.devices = in.IDs
	d.title = manyVerbs[d.a.Operation] + ui.Count(int64(len(in.IDs)), "device", "devices")
	return nil
}

func describeDevice(d *description) error {
	d.title, d.devices = "Retire "+d.name, []device.ID{device.ID(d.name)}
	d.text("What happens", "All its certificates are revoked for good, and no device can ever have its id again.")
	return nil
}

// pretty indents JSON; other text stays as it is.
func pretty(b []byte) string {
	var out bytes.Buffer
	if json.Indent(&out, b, "", "  ") != nil {
		return string(b)
	}
	return out.String()
}
