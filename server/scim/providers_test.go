package scim

import (
	"strings"
	"testing"
)

// TestOkta follows the requests that Okta sends over the life of a user and a
// pushed group.
func TestOkta(t *testing.T) {
	b := newBench(t)
	b.want(200, "GET", "/Users?startIndex=1&count=2", "")
	none := b.want(200, "GET", `/Users?filter=userName eq "ann@example.com"&startIndex=1&count=100`, "")
	b.check(none, map[string]any{"totalResults": 0, "startIndex": 1, "itemsPerPage": 0, "Resources": []any{}, "schemas.0": schemaList})
	made := b.want(201, "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"Ann@Example.com",
		"name":{"givenName":"Ann","familyName":"Lee"},"emails":[{"primary":true,"value":"ann@example.com","type":"work"}],
		"displayName":"Ann Lee","locale":"en-US","externalId":"00ujl29u0le5T6Aj10h7","groups":[],"password":"1mz050nq","active":true}`)
	id := made.id()
	b.check(made, map[string]any{"userName": "ann@example.com", "active": true, "emails.0.value": "ann@example.com", "name.givenName": "Ann",
		"meta.resourceType": "User", "meta.location": "https://fleet.example:8443/scim/v2/Users/" + id, "externalId": "00ujl29u0le5T6Aj10h7"})
	if strings.Contains(made.Text, "1mz050nq") || made.Header.Get("Location") != made.at("meta.location") || made.Header.Get("ETag") != made.at("meta.version") {
		t.Errorf("the answer to POST is %s with %v", made.Text, made.Header)
	}
	b.check(b.want(409, "POST", "/Users", `{"userName":"ann@example.com"}`), map[string]any{"scimType": "uniqueness", "status": "409", "schemas.0": schemaError})

	// An update is a GET and a PUT of the whole.
	b.want(200, "GET", "/Users/"+id, "")
	put := b.want(200, "PUT", "/Users/"+id, `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"`+id+`","userName":"ann@example.com",
		"externalId":"00ujl29u0le5T6Aj10h7","name":{"givenName":"Ann","middleName":"","familyName":"Smith"},"emails":[{"primary":true,"value":"ann.smith@example.com","type":"work"}],
		"active":true,"groups":[],"meta":{"resourceType":"User"}}`)
	b.check(put, map[string]any{"name.familyName": "Smith", "displayName": "Ann Smith", "emails.0.value": "ann.smith@example.com"})

	// A group is pushed: made empty or with members, filled, renamed.
	g := b.want(201, "POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"Fleet Operators","members":[{"value":"`+id+`","display":"ann@example.com"}]}`)
	b.check(g, map[string]any{"members.0.value": id, "displayName": "Fleet Operators"})
	b.check(b.want(200, "GET", `/Groups?filter=displayName eq "fleet operators"`, ""), map[string]any{"totalResults": 1})
	b.want(204, "PATCH", "/Groups/"+g.id(), ops(`{"op":"replace","value":{"id":"`+g.id()+`","displayName":"Operators"}}`))
	bob := b.person("bob")
	b.want(204, "PATCH", "/Groups/"+g.id(), ops(`{"op":"remove","path":"members[value eq \"`+id+`\"]"}`, `{"op":"add","path":"members","value":[{"value":"`+bob+`","display":"bob"}]}`))
	b.check(b.want(200, "GET", "/Groups/"+g.id(), ""), map[string]any{"displayName": "Operators", "members.0.value": bob, "members.1": nil})
	b.check(b.want(200, "GET", "/Users/"+bob, ""), map[string]any{"groups.0.value": g.id(), "groups.0.display": "Operators"})
	b.want(204, "PATCH", "/Groups/"+g.id(), ops(`{"op":"replace","path":"members","value":[{"value":"`+id+`"},{"value":"`+bob+`"}]}`))
	b.want(204, "DELETE", "/Groups/"+g.id(), "")
	b.want(404, "GET", "/Groups/"+g.id(), "")

	// Switching off is a PATCH without path; switching on the same.
	off := b.want(200, "PATCH", "/Users/"+id, ops(`{"op":"replace","value":{"active":false}}`))
	if b.check(off, map[string]any{"active": false}); b.signIns[id] != 0 {
		t.Errorf("there are %d sign-ins of a user who was switched off", b.signIns[id])
	}
	b.check(b.want(200, "PATCH", "/Users/"+id, ops(`{"op":"replace","value":{"active":true}}`)), map[string]any{"active": true})
	for _, by := range b.by {
		if by.String() != "client:okta" {
			t.Errorf("a change was made by %v", by)
		}
	}
	if len(b.errs) > 0 {
		t.Errorf("OnError was told %v", b.errs)
	}
}

// TestEntra follows the requests that Entra ID documents for its provisioning,
// with the forms that are its own.
func TestEntra(t *testing.T) {
	b := newBench(t)
	b.check(b.want(200, "GET", `/Users?filter=externalId eq "jyoung"`, ""), map[string]any{"totalResults": 0})
	made := b.want(201, "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User","urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],
		"externalId":"0a21f0f2-8d2a-4f8e-bf98-7363c4aed4ef","userName":"Test_User_ab6490ee@testuser.com","active":true,"displayName":"lennay",
		"emails":[{"primary":true,"type":"work","value":"test_user@testuser.com"}],"meta":{"resourceType":"User"},
		"name":{"formatted":"given family","familyName":"family","givenName":"given"},"roles":[],
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"department":"bob"}}`)
	id := made.id()
	b.check(made, map[string]any{"userName": "test_user_ab6490ee@testuser.com", "displayName": "lennay"})
	b.check(b.want(200, "GET", `/Users?filter=userName eq "TEST_USER_AB6490EE@testuser.com"`, ""), map[string]any{"totalResults": 1, "Resources.0.id": id})
	b.check(b.want(200, "GET", `/Users?filter=userName eq "non-existent user"`, ""), map[string]any{"totalResults": 0})

	// Several attributes at once.
	b.check(b.want(200, "PATCH", "/Users/"+id, ops(
		`{"op":"Replace","path":"emails[type eq \"work\"].value","value":"updatedEmail@microsoft.com"}`,
		`{"op":"Replace","path":"name.familyName","value":"updatedFamilyName"}`,
		`{"op":"Add","path":"phoneNumbers[type eq \"mobile\"].value","value":"+1 555"}`,
		`{"op":"Add","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department","value":"Security"}`,
		`{"op":"Replace","path":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager","value":{"value":"p1"}}`,
		`{"op":"Add","path":"roles[primary eq \"True\"].value","value":"x"}`)),
		map[string]any{"emails.0.value": "updatedEmail@microsoft.com", "name.familyName": "updatedFamilyName", "emails.1": nil})
	b.check(b.want(200, "PATCH", "/Users/"+id, ops(`{"op":"Replace","path":"userName","value":"5b50642d@testuser.com"}`)), map[string]any{"userName": "5b50642d@testuser.com"})
	// Paths in the value of an operation without path.
	b.check(b.want(200, "PATCH", "/Users/"+id, ops(`{"op":"replace","value":{"displayName":"Bjfe","name.givenName":"Kamo","emails[type eq \"work\"].value":"k@example.com","active":"False",
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department":"x"}}`)),
		map[string]any{"displayName": "Bjfe", "name.givenName": "Kamo", "emails.0.value": "k@example.com", "active": false})
	b.check(b.want(200, "PATCH", "/Users/"+id, ops(`{"op":"Add","path":"active","value":"True"}`)), map[string]any{"active": true})
	// The address is gone; Entra ID replaces what is not there.
	b.check(b.want(200, "PATCH", "/Users/"+id, ops(`{"op":"Remove","path":"emails[type eq \"work\"].value"}`)), map[string]any{"emails": nil})
	b.check(b.want(200, "PATCH", "/Users/"+id, ops(`{"op":"Replace","path":"emails[type eq \"work\"].value","value":"n@example.com"}`)), map[string]any{"emails.0.value": "n@example.com"})
	b.signIns[id] = 3
	b.check(b.want(200, "PATCH", "/Users/"+id, ops(`{"op":"Replace","path":"active","value":"False"}`)), map[string]any{"active": false})
	if b.signIns[id] != 0 {
		t.Errorf("there are %d sign-ins after active was set to \"False\"", b.signIns[id])
	}

	// Groups.
	g := b.want(201, "POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group","http://schemas.microsoft.com/2006/11/ResourceManagement/ADSCIM/2.0/Group"],
		"externalId":"8aa1a0c0-c4c3-4bc0-b4a5-2ef676900159","displayName":"displayName","meta":{"resourceType":"Group"}}`).id()
	b.check(b.want(200, "GET", "/Groups/"+g+"?excludedAttributes=members", ""), map[string]any{"members": nil, "id": g})
	b.check(b.want(200, "GET", `/Groups?excludedAttributes=members&filter=displayName eq "displayName"`, ""), map[string]any{"totalResults": 1, "Resources.0.id": g})
	b.want(204, "PATCH", "/Groups/"+g, ops(`{"op":"Replace","path":"displayName","value":"1879db59"}`))
	b.want(204, "PATCH", "/Groups/"+g, ops(`{"op":"Add","path":"members","value":[{"$ref":null,"value":"`+id+`"}]}`))
	for filter, n := range map[string]int{`id eq "` + g + `" and members eq "` + id + `"`: 1, `members[value eq "` + id + `"]`: 1, `members[value eq "` + id + `"] and id eq "` + g + `"`: 1, `(members[value eq "` + id + `"]) and externalId eq "x"`: 0, `members.value eq "nobody"`: 0, `members eq "x" or id eq "` + g + `"`: 1} {
		b.check(b.want(200, "GET", "/Groups?filter="+filter, ""), map[string]any{"totalResults": n})
	}
	b.want(204, "PATCH", "/Groups/"+g, ops(`{"op":"Remove","path":"members","value":[{"$ref":null,"value":"`+id+`"}]}`))
	b.check(b.want(200, "GET", "/Groups/"+g, ""), map[string]any{"members": nil})

	// Thirty days later.
	b.want(204, "DELETE", "/Users/"+id, "")
	for _, again := range []string{"GET", "DELETE"} {
		b.want(404, again, "/Users/"+id, "")
	}
	b.check(b.want(200, "GET", `/Users?filter=userName eq "5b50642d@testuser.com"`, ""), map[string]any{"totalResults": 0})
	back := b.want(201, "POST", "/Users", `{"userName":"5b50642d@testuser.com"}`)
	b.check(back, map[string]any{"id": id, "active": true})
}

// TestDiscovery checks what providers read before they begin, and that every
// attribute in an answer is in the schema.
func TestDiscovery(t *testing.T) {
	b := newBench(t)
	b.check(b.want(200, "GET", "/ServiceProviderConfig", ""), map[string]any{"patch.supported": true, "bulk.supported": false, "filter.maxResults": 200,
		"changePassword.supported": false, "sort.supported": false, "etag.supported": true, "authenticationSchemes.0.type": "oauthbearertoken"})
	b.check(b.want(200, "GET", "/ResourceTypes", ""), map[string]any{"totalResults": 2, "Resources.0.endpoint": "/Users", "Resources.1.schema": schemaGroup})
	b.check(b.want(200, "GET", "/ResourceTypes/User", ""), map[string]any{"name": "User", "meta.location": "https://fleet.example:8443/scim/v2/ResourceTypes/User"})
	b.check(b.want(200, "GET", "/Schemas", ""), map[string]any{"totalResults": 2, "Resources.0.id": schemaUser})
	b.want(404, "GET", "/Schemas/urn:x", "")
	b.want(404, "GET", "/ServiceProviderConfig/x", "")
	b.want(403, "GET", `/Schemas?filter=id eq "x"`, "")

	id := b.ann()
	b.want(201, "POST", "/Groups", `{"displayName":"ops","externalId":"e","members":["`+id+`"]}`)
	for urn, path := range map[string]string{schemaUser: "/Users/" + id, schemaGroup: "/Groups?count=1"} {
		known := map[string]bool{"id": true, "externalId": true, "meta": true, "schemas": true}
		list, _ := b.want(200, "GET", "/Schemas/"+urn, "").at("attributes").([]any)
		for _, a := range list {
			known[a.(map[string]any)["name"].(string)] = true
		}
		r := b.want(200, "GET", path, "")
		if in, ok := r.at("Resources.0").(map[string]any); ok {
			r.Body = in
		}
		for name := range r.Body {
			if !known[name] {
				t.Errorf("%s has %s, which %s does not know", path, name, urn)
			}
		}
		if len(r.Body) < len(known) && urn == schemaGroup {
			t.Errorf("%s shows %d of %d attributes", path, len(r.Body), len(known))
		}
	}
}
