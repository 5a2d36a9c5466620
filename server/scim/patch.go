package scim

import (
	"slices"
	"strings"
)

const schemaPatch = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

// operation changes one attribute.
type operation struct {
	op    string // add, replace, remove
	attr  attr
	value any  // nil: none, or null
	whole bool // the attribute was found in an object and not named by a path
}

// target is what operations are applied to: a draft or a roster.
type target interface{ apply(o operation) error }

// setText puts a string into a plain attribute; null empties it.
func (o operation) setText(p *string, name string) error {
	text, ok := o.value.(string)
	switch {
	case o.op == "remove":
		*p = ""
		return nil
	case !ok && o.value != nil:
		return bad(invalidValue, "%s is not text", name)
	}
	*p = text
	return nil
}

// refuseReadOnly refuses a path to what only the service sets. In an object such
// an attribute is ignored: providers send back what they have read (RFC 7644
// section 3.5.1).
func (o operation) refuseReadOnly() error {
	if o.whole {
		return nil
	}
	return bad(mutability, "%s is read only", o.attr.name)
}

// refuseUnknown refuses a path to nowhere; in an object it is ignored.
func (o operation) refuseUnknown(of string) error {
	if o.whole {
		return nil
	}
	return bad(invalidPath, "%s has no attribute %s", of, clip(o.attr.name))
}

// fill applies a whole resource. names are read as paths in a PATCH without path,
// where Entra ID puts them; in POST and PUT what is no attribute's name is
// ignored.
func fill(t target, op string, o object, patch bool) error {
	for _, f := range o {
		a, err := parsePath(f.name)
		if err != nil && patch {
			return err
		}
		if err != nil || !patch && f.value == nil {
			continue
		}
		if err := t.apply(operation{op: op, attr: a, value: f.value, whole: true}); err != nil {
			return err
		}
	}
	return nil
}

// patch applies the body of a PATCH (RFC 7644 section 3.5.2).
func patch(t target, body object) error {
	if err := wantSchema(body, schemaPatch); err != nil {
		return err
	}
	v, _ := body.get("operations")
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return bad(invalidSyntax, "Operations is missing: it is a list of what to change")
	}
	if len(list) > MaxOperations {
		return tooLarge("the PATCH has more than %d operations", MaxOperations)
	}
	for _, v := range list {
		one, ok := v.(object)
		if !ok {
			return bad(invalidSyntax, "an operation is not an object")
		}
		if err := patchOne(t, one); err != nil {
			return err
		}
	}
	return nil
}

func patchOne(t target, one object) error {
	name, _ := one.get("op")
	text, _ := name.(string)
	o := operation{op: strings.ToLower(text)}
	o.value, _ = one.get("value")
	if o.op != "add" && o.op != "replace" && o.op != "remove" {
		return bad(invalidSyntax, "%s is no operation: use add, replace or remove", clip(text))
	}
	where, given := one.get("path")
	if path, ok := where.(string); ok && path != "" {
		a, err := parsePath(path)
		if err != nil {
			return err
		}
		if o.attr = a; o.op == "add" && o.value == nil {
			return bad(invalidValue, "an operation adds nothing: its value is missing")
		}
		return t.apply(o)
	} else if given && !ok {
		return bad(invalidPath, "path is not text")
	}
	if o.op == "remove" {
		return bad(noTarget, "an operation removes without saying what: its path is missing")
	}
	parts, ok := o.value.(object)
	if !ok {
		return bad(invalidValue, "an operation without path has no object as its value")
	}
	return fill(t, o.op, parts, true)
}

// wantSchema refuses a body that says it is something else. One that does not say
// is taken for what it was sent as.
func wantSchema(body object, urn string) error {
	v, said := body.get("schemas")
	if !said {
		return nil
	}
	list, ok := v.([]any)
	if ok && slices.ContainsFunc(list, func(x any) bool { s, _ := x.(string); return strings.EqualFold(s, urn) }) {
		return nil
	}
	return bad(invalidValue, "schemas does not name %s", urn)
}
