package scim

import (
	"slices"
	"strings"
)

// emailAs lets a filter in brackets look at an address.
func emailAs(e email) reader {
	return func(a attr) (any, bool) {
		switch a.name {
		case "value":
			return e.value, true
		case "type":
			return e.kind, true
		case "primary":
			return e.primary, false
		}
		return nil, false
	}
}

// applyEmails does emails, emails[…], emails.x and emails[…].x.
func (d *draft) applyEmails(o operation) error {
	if o.attr.where == nil && o.attr.sub == "" {
		return d.replaceEmails(o)
	}
	chosen := func(e email) bool { return o.attr.where == nil || o.attr.where.holds(emailAs(e)) }
	if o.op == "remove" && o.attr.sub == "" {
		d.emails = slices.DeleteFunc(d.emails, chosen)
		return nil
	}
	if !slices.ContainsFunc(d.emails, chosen) {
		if o.op == "remove" {
			return nil // it may be an address that was not kept: the rest of the PATCH must not fail for it
		}
		// Entra ID replaces emails[type eq "work"].value where there is none yet.
		e, ok := described(o.attr.where)
		if !ok {
			return bad(noTarget, "no address fits the path")
		}
		if len(d.emails) == maxEmails {
			return tooManyEmails()
		}
		d.emails = append(d.emails, e)
	}
	for i := range d.emails {
		if !chosen(d.emails[i]) {
			continue
		}
		if err := d.setEmail(i, o); err != nil {
			return err
		}
		if o.attr.where == nil || o.attr.sub == "" {
			break // a part without brackets is about the first
		}
	}
	return nil
}

func tooManyEmails() error { return bad(invalidValue, "a user has at most %d emails", maxEmails) }

// described makes the address that a filter of eq and and describes.
func described(where *expr) (e email, ok bool) {
	switch {
	case where == nil:
		return email{}, true
	case where.op == "and":
		a, okA := described(where.left)
		b, okB := described(where.right)
		if a.kind == "" {
			a.kind = b.kind
		}
		a.primary = a.primary || b.primary
		return a, okA && okB && where.holds(emailAs(a))
	case where.op == "eq" && where.attr.name == "type":
		kind, isText := where.value.(string)
		return email{kind: strings.ToLower(kind)}, isText
	case where.op == "eq" && where.attr.name == "primary":
		primary, err := boolean(where.value)
		return email{primary: primary}, err == nil
	}
	return email{}, false
}

// setEmail applies a value to the i-th address, or to a part of it.
func (d *draft) setEmail(i int, o operation) error {
	parts := object{{o.attr.sub, o.value}}
	if o.attr.sub == "" {
		var ok bool
		if parts, ok = o.value.(object); !ok {
			parts = object{{"value", o.value}}
		}
	} else if o.op == "remove" {
		parts[0].value = nil
	}
	e, err := d.emails[i].with(parts)
	if err != nil {
		return err
	}
	d.emails[i] = e
	d.onlyPrimary(i)
	return nil
}

// onlyPrimary makes the i-th address the only primary one, if it is one.
func (d *draft) onlyPrimary(i int) {
	if !d.emails[i].primary {
		return
	}
	for k := range d.emails {
		d.emails[k].primary = k == i
	}
}

// with sets parts of an address.
func (e email) with(parts object) (email, error) {
	for _, f := range parts {
		switch name := strings.ToLower(f.name); name {
		case "value", "type":
			text, ok := f.value.(string)
			if !ok && f.value != nil {
				return e, bad(invalidValue, "emails.%s is not text", name)
			}
			if name == "value" {
				e.value = text
			} else {
				e.kind = strings.ToLower(text)
			}
		case "primary":
			primary, err := boolean(f.value)
			if err != nil && f.value != nil {
				return e, bad(invalidValue, "emails.primary is true or false")
			}
			e.primary = primary
		}
	}
	return e, nil
}

// replaceEmails does what is said of all addresses.
func (d *draft) replaceEmails(o operation) error {
	var given []email
	for _, v := range several(o.value) {
		parts, ok := v.(object)
		if !ok {
			parts = object{{"value", v}} // a bare address
		}
		e, err := email{}.with(parts)
		if err != nil {
			return err
		}
		given = append(given, e)
	}
	switch o.op {
	case "remove":
		if o.value == nil {
			d.emails = nil
		}
		for _, e := range given {
			d.emails = slices.DeleteFunc(d.emails, func(x email) bool { return strings.EqualFold(x.value, e.value) })
		}
		return nil
	case "replace":
		d.emails = nil
	}
	for _, e := range given {
		i := slices.IndexFunc(d.emails, func(x email) bool { return strings.EqualFold(x.value, e.value) })
		if i < 0 {
			i = len(d.emails)
			d.emails = append(d.emails, e)
		} else {
			d.emails[i] = e
		}
		if len(d.emails) > maxEmails {
			return tooManyEmails()
		}
		d.onlyPrimary(i)
	}
	return nil
}

// several is the list of values that a multi-valued attribute is given: one value
// counts as a list of one, null as none.
func several(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}
