package scim

import (
	"maps"
	"slices"
	"strings"
)

// roster is a group while a request is being applied to it.
type roster struct {
	name, externalID string

	members map[string]bool
	named   int // members that the request has named
	limit   int // of named
}

func rosterOf(g Group) *roster {
	r := &roster{name: g.Name, externalID: g.ExternalID, members: map[string]bool{}, limit: MaxMembers}
	for _, id := range g.Members {
		r.members[id] = true
	}
	return r
}

// change is what makes the present group the one that the roster describes.
func (r *roster) change(now Group) (GroupChange, error) {
	c := GroupChange{ID: now.ID, Version: now.Version, Name: strings.TrimSpace(r.name), ExternalID: strings.TrimSpace(r.externalID)}
	switch {
	case c.Name == "":
		return c, bad(invalidValue, "displayName is missing: every group has one")
	case !printable(c.Name, 256) || !printable(c.ExternalID, 256):
		return c, bad(invalidValue, "displayName or externalId is not valid: use at most 256 printable characters")
	case len(r.members) > MaxMembers:
		return c, bad(invalidValue, "a group has at most %d members", MaxMembers)
	}
	had := map[string]bool{}
	for _, id := range now.Members {
		had[id] = true
		if !r.members[id] {
			c.Remove = append(c.Remove, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.members)) {
		if !had[id] {
			c.Add = append(c.Add, id)
		}
	}
	slices.Sort(c.Remove)
	return c, nil
}

// empty tells whether the change makes no difference to the group.
func (c GroupChange) empty(now Group) bool {
	return c.Name == now.Name && c.ExternalID == now.ExternalID && len(c.Add)+len(c.Remove) == 0
}

func (r *roster) apply(o operation) error {
	a := o.attr
	switch {
	case a.foreign:
		return nil
	case a.name == "members" && (a.sub == "" || a.sub == "value"):
		return r.applyMembers(o)
	case a.where != nil || a.sub != "":
		return bad(invalidPath, "there is nothing at %s of a group", clip(a.name+"."+a.sub))
	case a.name == "displayname":
		return o.setText(&r.name, "displayName")
	case a.name == "externalid":
		return o.setText(&r.externalID, "externalId")
	case slices.Contains(readOnly, a.name):
		return o.refuseReadOnly()
	}
	return o.refuseUnknown("a group")
}

// applyMembers does members, with members to remove named in the path (RFC 7644)
// or in the value (Entra ID). A member who is not one is removed without a fault,
// so that a request that is sent again does no harm.
func (r *roster) applyMembers(o operation) error {
	if o.attr.where != nil {
		if o.op != "remove" {
			return bad(invalidPath, "members are added and replaced by their list, not in brackets")
		}
		maps.DeleteFunc(r.members, func(id string, _ bool) bool { return o.attr.where.holds(memberAs(id)) })
		return nil
	}
	if o.op == "remove" && o.value == nil || o.op == "replace" {
		clear(r.members)
	}
	for _, v := range several(o.value) {
		if r.named++; r.named > r.limit {
			return tooLarge("the request names more than %d members", r.limit)
		}
		id, err := memberID(v)
		if err != nil {
			return err
		}
		if o.op == "remove" {
			delete(r.members, id)
		} else {
			r.members[id] = true
		}
	}
	return nil
}

// memberID reads {"value": ID}, or a bare id.
func memberID(v any) (string, error) {
	if parts, ok := v.(object); ok {
		if kind, said := parts.get("type"); said {
			if text, _ := kind.(string); !strings.EqualFold(text, "User") {
				return "", bad(invalidValue, "members are users: groups inside groups are not supported")
			}
		}
		v, _ = parts.get("value")
	}
	id, _ := v.(string)
	if !validID(id) {
		return "", bad(invalidValue, "a member's value is not the id of a user")
	}
	return id, nil
}

func memberAs(id string) reader {
	return func(a attr) (any, bool) {
		switch a.name {
		case "value":
			return id, false
		case "type":
			return "User", true
		}
		return nil, false
	}
}
