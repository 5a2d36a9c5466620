package scim

import (
	"net/http"
	"strings"
)

// attribute describes one attribute in /Schemas (RFC 7643 section 7).
type attribute struct {
	Name          string      `json:"name"`
	Type          string      `json:"type"`
	MultiValued   bool        `json:"multiValued"`
	Description   string      `json:"description"`
	Required      bool        `json:"required"`
	CaseExact     bool        `json:"caseExact"`
	Mutability    string      `json:"mutability"`
	Returned      string      `json:"returned"`
	Uniqueness    string      `json:"uniqueness"`
	ReferenceType []string    `json:"referenceTypes,omitempty"`
	Sub           []attribute `json:"subAttributes,omitempty"`
}

// an makes an attribute; marks are words: required, exact, many, unique, readOnly,
// immutable.
func an(name, kind, marks, description string, sub ...attribute) attribute {
	a := attribute{Name: name, Type: kind, Description: description, Mutability: "readWrite", Returned: "default", Uniqueness: "none", Sub: sub}
	for mark := range strings.FieldsSeq(marks) {
		switch mark {
		case "required":
			a.Required = true
		case "exact":
			a.CaseExact = true
		case "many":
			a.MultiValued = true
		case "unique":
			a.Uniqueness = "server"
		default:
			a.Mutability = mark
		}
	}
	if kind == "reference" {
		a.CaseExact = true
		a.ReferenceType = []string{"User"}
		if name == "$ref" && strings.Contains(description, "group") {
			a.ReferenceType = []string{"Group"}
		}
	}
	return a
}

var userAttributes = []attribute{
	an("userName", "string", "required unique", "What the person signs in with: a mail address, or letters, digits and . _ @ + -, at most 128. It is kept in lower case."),
	an("displayName", "string", "", "How the person is shown, at most 128 printable characters. Where it is missing it is made from name."),
	an("name", "complex", "", "The parts of the person's name.",
		an("formatted", "string", "", "The same as displayName, which is taken where both are there."),
		an("givenName", "string", "", "The given name."),
		an("familyName", "string", "", "The family name.")),
	an("emails", "complex", "many", "Mail addresses. One is kept: the primary one, else the one for work, else the first.",
		an("value", "string", "", "The address."),
		an("type", "string", "", "Always work."),
		an("primary", "boolean", "", "Always true.")),
	an("active", "boolean", "", "Whether the person may sign in. When it becomes false every sign-in of theirs ends before the request is answered."),
	an("groups", "complex", "many readOnly", "The groups that the person is in.",
		an("value", "string", "exact readOnly", "The id of the group."),
		an("$ref", "reference", "readOnly", "The address of the group."),
		an("display", "string", "readOnly", "The name of the group."),
		an("type", "string", "readOnly", "Always direct.")),
}

var groupAttributes = []attribute{
	an("displayName", "string", "required unique", "The name, at most 256 printable characters. Roles are mapped to it."),
	an("members", "complex", "many", "The users in the group.",
		an("value", "string", "exact immutable", "The id of a user."),
		an("$ref", "reference", "immutable", "The address of the user."),
		an("type", "string", "immutable", "Always User.")),
}

// discover serves what the service is able to do (RFC 7644 section 4).
func (s *service) discover(c *call, kind string) error {
	if c.r.URL.Query().Has("filter") {
		return &fault{status: http.StatusForbidden, detail: "what the service can do is not searched: leave the filter out"}
	}
	var list []any
	switch kind {
	case "ServiceProviderConfig":
		if c.id != "" {
			return ErrNotFound
		}
		s.answer(c.w, c.r, http.StatusOK, s.abilities())
		return nil
	case "ResourceTypes":
		list = []any{s.resourceType("User", "Accounts of people.", schemaUser), s.resourceType("Group", "Sets of users, whose names are mapped to roles.", schemaGroup)}
	default:
		list = []any{s.schema(schemaUser, "User", "Account of a person", userAttributes), s.schema(schemaGroup, "Group", "Set of users", groupAttributes)}
	}
	if c.id == "" {
		s.answer(c.w, c.r, http.StatusOK, listOf(list, len(list), 1))
		return nil
	}
	for _, v := range list {
		if m, _ := v.(map[string]any); m["id"] == c.id {
			s.answer(c.w, c.r, http.StatusOK, m)
			return nil
		}
	}
	return ErrNotFound
}

func (s *service) schema(urn, name, description string, attributes []attribute) map[string]any {
	return map[string]any{"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:Schema"}, "id": urn, "name": name, "description": description,
		"attributes": attributes, "meta": map[string]any{"resourceType": "Schema", "location": s.base + "/Schemas/" + urn}}
}

func (s *service) resourceType(name, description, urn string) map[string]any {
	return map[string]any{"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:ResourceType"}, "id": name, "name": name, "description": description,
		"endpoint": "/" + name + "s", "schema": urn, "schemaExtensions": []any{},
		"meta": map[string]any{"resourceType": "ResourceType", "location": s.base + "/ResourceTypes/" + name}}
}

func (s *service) abilities() map[string]any {
	able := func(b bool) map[string]any { return map[string]any{"supported": b} }
	return map[string]any{"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"},
		"patch": able(true), "changePassword": able(false), "sort": able(false), "etag": able(true),
		"bulk":   map[string]any{"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
		"filter": map[string]any{"supported": true, "maxResults": MaxPage},
		"authenticationSchemes": []any{map[string]any{"type": "oauthbearertoken", "name": "Bearer token", "primary": true,
			"description": "A key or access token of an API client that may change people, in the Authorization header (RFC 6750)."}},
		"meta": map[string]any{"resourceType": "ServiceProviderConfig", "location": s.base + "/ServiceProviderConfig"}}
}
