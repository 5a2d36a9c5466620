package scim

import (
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
)

// draft is a user while a request is being applied to it. POST and PUT apply
// their body to an empty one, PATCH its operations to the present one; what comes
// of it is one rule, so the two cannot differ.
type draft struct {
	userName, externalID, display, formatted, given, family string

	emails []email
	active bool
}

// email is one of several addresses; one of them is kept.
type email struct {
	value, kind string
	primary     bool
}

// draftOf opens a user for changes. A display name that is just the two others
// follows when they change.
func draftOf(u User) *draft {
	d := &draft{userName: u.UserName, externalID: u.ExternalID, display: u.Display, given: u.Given, family: u.Family, active: u.Active}
	if d.display == fullName(u.Given, u.Family) {
		d.display = ""
	}
	if u.Mail != "" {
		d.emails = []email{{value: u.Mail, kind: "work", primary: true}}
	}
	return d
}

func fullName(given, family string) string { return strings.TrimSpace(given + " " + family) }

// onto makes the user that the draft describes; what is read only stays as in u.
func (d *draft) onto(u User) (User, error) {
	u.UserName, u.ExternalID, u.Active = access.PersonName(d.userName), strings.TrimSpace(d.externalID), d.active
	u.Given, u.Family = strings.TrimSpace(d.given), strings.TrimSpace(d.family)
	u.Display = fullName(u.Given, u.Family)
	for _, s := range []string{d.formatted, d.display} {
		if s = strings.TrimSpace(s); s != "" {
			u.Display = s
		}
	}
	u.Mail = d.mail()
	switch {
	case u.UserName == "":
		return u, bad(invalidValue, "userName is missing: every user has one")
	case !printable(u.ExternalID, 256):
		return u, bad(invalidValue, "externalId is not valid: use at most 256 printable characters")
	case !printable(u.Given, 128) || !printable(u.Family, 128):
		return u, bad(invalidValue, "name is not valid: use at most 128 printable characters for givenName and for familyName")
	}
	if err := (access.Person{Name: u.UserName, Display: u.Display, Mail: u.Mail}).Validate(); err != nil {
		if r := refusal.As(err); r != nil {
			return u, bad(invalidValue, "%s", fieldOf[r.Code]+r.Error())
		}
		return u, err
	}
	return u, nil
}

// fieldOf names the SCIM attribute that a refusal of access.Person is about.
var fieldOf = map[string]string{"bad-name": "userName: ", "bad-display": "displayName: ", "bad-mail": "emails: "}

// mail is the address to keep: the primary one, else the one for work, else the
// first.
func (d *draft) mail() string {
	best, rank := "", 0
	for _, e := range d.emails {
		r := 1
		if e.primary {
			r = 3
		} else if e.kind == "work" {
			r = 2
		}
		if v := strings.TrimSpace(e.value); v != "" && r > rank {
			best, rank = v, r
		}
	}
	return best
}

// readOnly are attributes of every resource that only the service sets.
var readOnly = []string{"id", "meta", "schemas", "groups"}

// unkept are attributes of RFC 7643 section 4.1 that Holdfast has no use for.
var unkept = []string{"nickname", "profileurl", "title", "usertype", "preferredlanguage", "locale", "timezone", "password",
	"phonenumbers", "ims", "photos", "addresses", "entitlements", "roles", "x509certificates"}

// text finds the field that a plain attribute is kept in.
func (d *draft) text(name string) *string {
	switch name {
	case "username":
		return &d.userName
	case "externalid":
		return &d.externalID
	case "displayname":
		return &d.display
	case "name.formatted":
		return &d.formatted
	case "name.givenname":
		return &d.given
	case "name.familyname":
		return &d.family
	}
	return nil
}

func (d *draft) apply(o operation) error {
	a := o.attr
	name := a.name
	if a.sub != "" {
		name += "." + a.sub
	}
	switch {
	case a.foreign || slices.Contains(unkept, a.name):
		return nil
	case a.name == "emails":
		return d.applyEmails(o)
	case a.where != nil:
		return bad(invalidPath, "%s has one value: there is nothing to choose from in brackets", clip(a.name))
	case slices.Contains(readOnly, a.name):
		return o.refuseReadOnly()
	case name == "active":
		return d.applyActive(o)
	case name == "name":
		return d.applyName(o)
	case name == "name.middlename" || name == "name.honorificprefix" || name == "name.honorificsuffix":
		return nil
	}
	p := d.text(name)
	if p == nil {
		return o.refuseUnknown("a user")
	}
	return o.setText(p, name)
}

func (d *draft) applyActive(o operation) error {
	if o.op == "remove" || o.value == nil {
		return bad(invalidValue, "active cannot be removed: say true or false")
	}
	active, err := boolean(o.value)
	if err != nil {
		return bad(invalidValue, "active is true or false")
	}
	d.active = active
	return nil
}

// applyName sets the parts that the value names and leaves the others (RFC 7644
// section 3.5.2.3).
func (d *draft) applyName(o operation) error {
	if o.op == "remove" || o.value == nil && o.op == "replace" {
		d.formatted, d.given, d.family = "", "", ""
		return nil
	}
	parts, ok := o.value.(object)
	if !ok {
		return bad(invalidValue, "name is an object with givenName and familyName")
	}
	for _, f := range parts {
		low := strings.ToLower(f.name)
		if p := d.text("name." + low); p != nil {
			if err := (operation{op: o.op, value: f.value}).setText(p, "name."+low); err != nil {
				return err
			}
		}
	}
	return nil
}
