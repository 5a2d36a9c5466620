package scim

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestStrangers checks that who is not let in gets the same answer everywhere,
// and that an error inside is not told.
func TestStrangers(t *testing.T) {
	b := newBench(t)
	id := b.ann()
	first := b.want(401, "GET", "/Users/"+id, "", "Authorization: ")
	if first.Header.Get("WWW-Authenticate") == "" {
		t.Error("the 401 has no WWW-Authenticate")
	}
	for _, path := range []string{"/Users/nobody", "/Users", "/ServiceProviderConfig", "/nowhere", "/Bulk", `/Users?filter=((`} {
		for _, method := range []string{"GET", "POST", "DELETE", "TRACE"} {
			if a := b.want(401, method, path, "", "Authorization: Bearer wrong"); a.Text != first.Text {
				t.Errorf("%s %s: %s differs from %s", method, path, a.Text, first.Text)
			}
		}
	}
	b.check(b.want(403, "GET", "/Users", "", "Authorization: Bearer weak"), map[string]any{"status": "403", "schemas.0": schemaError})
	a := b.want(500, "GET", "/Users", "", "Authorization: Bearer broken")
	if strings.Contains(a.Text, "database") || len(b.errs) != 1 {
		t.Errorf("an error inside was told as %s and to OnError %d times", a.Text, len(b.errs))
	}
}

// TestRefusals is a table of what is refused, and with which keyword.
func TestRefusals(t *testing.T) {
	b := newBench(t)
	id := b.ann()
	g := b.want(201, "POST", "/Groups", `{"displayName":"ops"}`).id()
	last := b.person("last-admin")
	user, group := "/Users/"+id, "/Groups/"+g
	many := strings.Repeat(`{"value":"p1"},`, MaxPatched) + `{"value":"p1"}`
	for _, c := range []struct {
		status       int
		kind         string
		method, path string
		body         string
	}{
		{400, invalidValue, "POST", "/Users", `{"displayName":"x"}`},
		{400, invalidValue, "POST", "/Users", `{"userName":"jörg"}`},
		{400, invalidValue, "POST", "/Users", `{"userName":"a b"}`},
		{400, invalidValue, "POST", "/Users", `{"userName":7}`},
		{400, invalidValue, "POST", "/Users", `{"userName":"a","active":"perhaps"}`},
		{400, invalidValue, "POST", "/Users", `{"userName":"a","name":"Ann"}`},
		{400, invalidValue, "POST", "/Users", `{"userName":"a","name":{"givenName":"a\u0000"}}`},
		{400, invalidValue, "POST", "/Users", `{"userName":"a","displayName":"` + strings.Repeat("x", 129) + `"}`},
		{400, invalidValue, "POST", "/Users", `{"userName":"a","externalId":"` + strings.Repeat("x", 257) + `"}`},
		{400, invalidValue, "POST", "/Users", `{"userName":"a","emails":[{"value":"no address"}]}`},
		{400, invalidValue, "POST", "/Users", `{"userName":"a","emails":[` + strings.Repeat(`{"value":"a@b"},{"value":"b@b"},`, 9) + strings.TrimSuffix(emailList(17), ",") + `]}`},
		{400, invalidValue, "POST", "/Users", `{"schemas":["` + schemaGroup + `"],"userName":"a"}`},
		{400, invalidSyntax, "POST", "/Users", `{"userName":"a","username":"b"}`},
		{400, invalidSyntax, "POST", "/Users", `{"userName":"a"`},
		{400, invalidSyntax, "POST", "/Users", `{"userName":"a"} {}`},
		{400, invalidSyntax, "POST", "/Users", `["userName"]`},
		{400, invalidSyntax, "POST", "/Users", "{\"userName\":\"\xff\"}"},
		{400, invalidSyntax, "POST", "/Users", `{"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`},
		{409, uniqueness, "POST", "/Users", `{"userName":"ROOT"}`},
		{409, uniqueness, "POST", "/Users", `{"userName":"new","externalId":"x1"}`},
		{413, "", "POST", "/Users", `{"x":"` + strings.Repeat("x", MaxBody) + `"}`},
		{405, "", "PUT", "/Users", `{}`},
		{405, "", "DELETE", "/Schemas", ""},
		{405, "", "POST", user, `{}`},
		{404, "", "GET", "/Users/nobody", ""},
		{404, "", "GET", "/Users/a%2Fb", ""},
		{404, "", "GET", "/Users/" + strings.Repeat("a", 65), ""},
		{404, "", "GET", "/nowhere", ""},
		{404, "", "GET", "/Users/a/b", ""},
		{404, "", "PUT", "/Users/nobody", `{"userName":"x"}`},
		{404, "", "PATCH", "/Groups/nobody", ops(`{"op":"add","value":{"displayName":"x"}}`)},
		{501, "", "GET", "/Me", ""},
		{501, "", "POST", "/Bulk", `{}`},
		{409, uniqueness, "PATCH", user, ops(`{"op":"replace","path":"userName","value":"last-admin"}`)},
		{409, "", "PATCH", "/Users/" + last, ops(`{"op":"replace","path":"active","value":false}`)},
		{400, mutability, "PATCH", user, ops(`{"op":"replace","path":"id","value":"x"}`)},
		{400, mutability, "PATCH", user, ops(`{"op":"add","path":"groups","value":[{"value":"x"}]}`)},
		{400, noTarget, "PATCH", user, ops(`{"op":"remove"}`)},
		{400, invalidValue, "PATCH", user, ops(`{"op":"replace","path":"emails","value":[{"value":7}]}`)},
		{400, invalidValue, "PATCH", user, ops(`{"op":"replace","path":"emails","value":[{"value":"a@b","primary":"so so"}]}`)},
		{400, invalidPath, "PATCH", user, ops(`{"op":"replace","path":"emails[type eq \"work\"].","value":"x"}`)},
		{400, invalidPath, "PATCH", user, ops(`{"op":"replace","path":"` + strings.Repeat("é", maxFilter) + `","value":"x"}`)},
		{400, invalidPath, "PATCH", user, ops(`{"op":"replace","path":"emails` + strings.Repeat("[a", 20) + `","value":"x"}`)},
		{400, invalidPath, "PATCH", group, ops(`{"op":"replace","path":"favourite","value":"x"}`)},
		{400, mutability, "PATCH", group, ops(`{"op":"replace","path":"id","value":"x"}`)},
		{400, invalidValue, "PUT", group, `{"schemas":["x"],"displayName":"a"}`},
		{400, invalidValue, "GET", "/Groups?count=x", ""},
		{400, invalidFilter, "GET", "/Groups?filter=a", ""},
		{400, invalidFilter, "GET", `/Users?filter=userName eq "` + strings.Repeat("ü", 40) + `" ü`, ""},
		{400, invalidFilter, "GET", `/Users?filter=active eq 7`, ""},
		{400, noTarget, "PATCH", user, ops(`{"op":"replace","path":"emails[value eq \"z@example.com\"].value","value":"y@example.com"}`)},
		{400, invalidPath, "PATCH", user, ops(`{"op":"replace","path":"favourite","value":"x"}`)},
		{400, invalidPath, "PATCH", user, ops(`{"op":"replace","path":"active[value eq true]","value":"x"}`)},
		{400, invalidPath, "PATCH", user, ops(`{"op":"replace","path":"emails[type eq","value":"x"}`)},
		{400, invalidPath, "PATCH", user, ops(`{"op":"replace","path":7,"value":"x"}`)},
		{400, invalidPath, "PATCH", user, ops(`{"op":"replace","value":{"a b":"x"}}`)},
		{400, invalidSyntax, "PATCH", user, ops(`{"op":"move","path":"userName"}`)},
		{400, invalidSyntax, "PATCH", user, ops(`7`)},
		{400, invalidSyntax, "PATCH", user, ops()},
		{400, invalidSyntax, "PATCH", user, `{"schemas":["` + schemaPatch + `"]}`},
		{400, invalidValue, "PATCH", user, `{"schemas":["x"],"Operations":[]}`},
		{400, invalidValue, "PATCH", user, ops(`{"op":"add","path":"displayName"}`)},
		{400, invalidValue, "PATCH", user, ops(`{"op":"replace","path":"active"}`)},
		{400, invalidValue, "PATCH", user, ops(`{"op":"remove","path":"active"}`)},
		{400, invalidValue, "PATCH", user, ops(`{"op":"remove","path":"userName"}`)},
		{400, invalidValue, "PATCH", user, ops(`{"op":"replace","value":"x"}`)},
		{413, "", "PATCH", user, ops(strings.TrimSuffix(strings.Repeat(`{"op":"add","path":"title","value":"x"},`, MaxOperations+1), ","))},
		{400, invalidValue, "POST", "/Groups", `{"externalId":"x"}`},
		{400, invalidValue, "POST", "/Groups", `{"displayName":"a\tb"}`},
		{400, invalidValue, "POST", "/Groups", `{"displayName":"a","members":[{"value":"nobody"}]}`},
		{400, invalidValue, "POST", "/Groups", `{"displayName":"a","members":[{"value":"` + g + `","type":"Group"}]}`},
		{400, invalidValue, "POST", "/Groups", `{"displayName":"a","members":[{"value":"../x"}]}`},
		{409, uniqueness, "POST", "/Groups", `{"displayName":" OPS "}`},
		{413, "", "PATCH", group, ops(`{"op":"remove","path":"members","value":[` + many + `]}`)},
		{400, invalidPath, "PATCH", group, ops(`{"op":"add","path":"members[value eq \"p1\"]","value":"x"}`)},
		{400, invalidPath, "PATCH", group, ops(`{"op":"add","path":"members.display","value":"x"}`)},
		{400, invalidFilter, "GET", `/Users?filter=userName`, ""},
		{400, invalidFilter, "GET", `/Users?filter=userName is "x"`, ""},
		{400, invalidFilter, "GET", `/Users?filter=userName eq x`, ""},
		{400, invalidFilter, "GET", `/Users?filter=userName eq "x`, ""},
		{400, invalidFilter, "GET", `/Users?filter=userName eq 7`, ""},
		{400, invalidFilter, "GET", `/Users?filter=(userName eq "x"`, ""},
		{400, invalidFilter, "GET", `/Users?filter=userName eq "x")`, ""},
		{400, invalidFilter, "GET", `/Users?filter=password sw "x"`, ""},
		{400, invalidFilter, "GET", `/Users?filter=not (active eq true)`, ""},
		{400, invalidFilter, "GET", `/Users?filter=` + strings.Repeat("(", 99), ""},
		{400, invalidFilter, "GET", `/Users?filter=` + strings.Repeat(`id eq "a" or `, 16) + `id eq "a"`, ""},
		{400, invalidFilter, "GET", `/Users?filter=(id pr or id pr or id pr or id pr or id pr) and (active eq true or id pr or id pr or id pr)`, ""},
		{400, invalidFilter, "GET", `/Groups?filter=members co "x"`, ""},
		{400, invalidFilter, "GET", `/Groups?filter=meta.created gt "x"`, ""},
		{400, invalidValue, "GET", `/Users?startIndex=first`, ""},
		{400, invalidValue, "GET", `/Users?x=%zz`, ""},
		{400, invalidValue, "GET", `/Users?attributes=` + strings.Repeat("a,", 80), ""},
	} {
		name := fmt.Sprintf("%s %.60s %.80s", c.method, c.path, c.body)
		a := b.do(c.method, c.path, c.body)
		if a.Status != c.status || c.kind != "" && a.at("scimType") != c.kind || c.kind == "" && a.at("scimType") != nil {
			t.Errorf("%s: %d %.300s, want %d %s", name, a.Status, a.Text, c.status, c.kind)
		}
		if a.at("status") != fmt.Sprint(c.status) || a.at("schemas.0") != schemaError || a.at("detail") == "" || len(a.Text) > 600 {
			t.Errorf("%s: the error is %.700s", name, a.Text)
		}
	}
	if a := b.do("POST", "/Users", "userName=a", "Content-Type: application/x-www-form-urlencoded"); a.Status != 415 {
		t.Errorf("a form is answered with %d", a.Status)
	}
	if a := b.do("PUT", "/Users", `{}`); a.Header.Get("Allow") != "GET, POST" {
		t.Errorf("Allow is %q", a.Header.Get("Allow"))
	}
	if now := b.users[id]; now.Version != 1 || b.groups[g].Version != 1 || len(b.users) != 2 {
		t.Errorf("something that was refused changed %+v", now)
	}
	if len(b.errs) > 0 {
		t.Errorf("OnError was told %v", b.errs)
	}
	if a := b.do("POST", "/Users", `{"userName":"a b"}`); !strings.Contains(a.Text, "userName: ") || !strings.Contains(a.Text, "at most 128") {
		t.Errorf("the refusal of a name does not tell the rule: %s", a.Text)
	}
}

func emailList(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, `{"value":"a%d@b"},`, i)
	}
	return s.String()
}

// TestPatch is a table of what operations make of a user.
func TestPatch(t *testing.T) {
	for _, c := range []struct {
		op   string
		want map[string]any
	}{
		{`{"op":"add","value":{"displayName":"A"}}`, map[string]any{"displayName": "A", "name.formatted": "A"}},
		{`{"op":"ADD","path":"DISPLAYNAME","value":"A"}`, map[string]any{"displayName": "A"}},
		{`{"op":"replace","path":"urn:ietf:params:scim:schemas:core:2.0:User:displayName","value":"A"}`, map[string]any{"displayName": "A"}},
		{`{"op":"replace","path":"urn:ietf:params:scim:schemas:core:2.0:User:name.givenName","value":"Zoe"}`, map[string]any{"displayName": "Zoe Lee"}},
		{`{"op":"replace","path":"name","value":{"familyName":"Kay"}}`, map[string]any{"name.givenName": "Ann", "name.familyName": "Kay", "displayName": "Ann Kay"}},
		{`{"op":"replace","path":"name.formatted","value":"Dr Lee"}`, map[string]any{"displayName": "Dr Lee", "name.givenName": "Ann"}},
		{`{"op":"remove","path":"name"}`, map[string]any{"name": nil, "displayName": nil}},
		{`{"op":"remove","path":"externalId"}`, map[string]any{"externalId": nil}},
		{`{"op":"replace","path":"externalId","value":null}`, map[string]any{"externalId": nil}},
		{`{"op":"replace","path":"emails","value":[{"value":"1@x"},{"value":"2@x","type":"work"},{"value":"3@x","type":"home","primary":true}]}`, map[string]any{"emails.0.value": "3@x", "emails.1": nil}},
		{`{"op":"replace","path":"emails","value":[{"value":"1@x"},{"value":"2@x","type":"Work"}]}`, map[string]any{"emails.0.value": "2@x"}},
		{`{"op":"replace","path":"emails","value":{"value":"1@x"}}`, map[string]any{"emails.0.value": "1@x"}},
		{`{"op":"replace","path":"emails.value","value":"1@x"}`, map[string]any{"emails.0.value": "1@x"}},
		{`{"op":"replace","path":"emails[primary eq true].value","value":"1@x"}`, map[string]any{"emails.0.value": "1@x"}},
		{`{"op":"replace","path":"emails[primary eq \"True\"]","value":{"value":"1@x"}}`, map[string]any{"emails.0.value": "1@x"}},
		{`{"op":"add","path":"emails","value":[{"value":"2@x","type":"home"}]}`, map[string]any{"emails.0.value": "ann@example.com"}},
		{`{"op":"add","path":"emails","value":[{"value":"2@x","type":"home","primary":"true"}]}`, map[string]any{"emails.0.value": "2@x"}},
		{`{"op":"add","path":"emails[type eq \"home\" and primary eq true].value","value":"2@x"}`, map[string]any{"emails.0.value": "2@x"}},
		{`{"op":"remove","path":"emails"}`, map[string]any{"emails": nil}},
		{`{"op":"remove","path":"emails[type eq \"work\"]"}`, map[string]any{"emails": nil}},
		{`{"op":"remove","path":"emails[not (type eq \"home\") and value ew \"example.com\"]"}`, map[string]any{"emails": nil}},
		{`{"op":"remove","path":"emails[type eq \"other\"].value"}`, map[string]any{"emails.0.value": "ann@example.com"}},
		{`{"op":"remove","path":"emails[type eq \"home\"]"}`, map[string]any{"emails.0.value": "ann@example.com"}},
		{`{"op":"remove","path":"emails","value":[{"value":"ANN@example.com"}]}`, map[string]any{"emails": nil}},
		{`{"op":"replace","value":{"id":"other","meta":{},"schemas":[],"groups":[{"value":"g"}],"favourite":1,"active":"fAlSe"}}`, map[string]any{"active": false}},
		{`{"op":"replace","path":"password","value":"secret"}`, map[string]any{"displayName": "Ann Lee", "password": nil}},
		{`{"op":"replace","path":"userName","value":" Ann.B@Example.COM "}`, map[string]any{"userName": "ann.b@example.com"}},
	} {
		b := newBench(t)
		id := b.ann()
		want := map[string]any{"id": id, "groups": nil}
		for k, v := range c.want {
			want[k] = v
		}
		a := b.want(200, "PATCH", "/Users/"+id, ops(c.op))
		b.check(a, want)
		if t.Failed() {
			t.Fatalf("after %s", c.op)
		}
	}
}

// TestPatchIsWhole checks that nothing is done of a PATCH that fails in its last
// operation.
func TestPatchIsWhole(t *testing.T) {
	b := newBench(t)
	id := b.ann()
	g := b.want(201, "POST", "/Groups", `{"displayName":"ops","members":[{"value":"`+id+`"}]}`).id()
	b.want(400, "PATCH", "/Users/"+id, ops(`{"op":"replace","path":"displayName","value":"A"}`, `{"op":"replace","path":"nothing","value":"A"}`))
	b.want(400, "PATCH", "/Groups/"+g, ops(`{"op":"remove","path":"members"}`, `{"op":"replace","path":"displayName","value":""}`))
	b.check(b.want(200, "GET", "/Users/"+id, ""), map[string]any{"displayName": "Ann Lee", "groups.0.value": g})
}

// TestSilenceKeepsOut checks that a PUT without active does not let a user back
// in who was switched off.
func TestSilenceKeepsOut(t *testing.T) {
	b := newBench(t)
	id := b.ann()
	b.want(200, "PATCH", "/Users/"+id, ops(`{"op":"replace","path":"active","value":false}`))
	for _, body := range []string{`{"userName":"ann"}`, `{"userName":"ann","active":null}`} {
		b.check(b.want(200, "PUT", "/Users/"+id, body), map[string]any{"active": false, "emails": nil, "externalId": nil})
	}
}

// TestVersions checks entity tags: what is read, what is not changed, and what is
// refused because it was made from something else.
func TestVersions(t *testing.T) {
	b := newBench(t)
	id := b.ann()
	g := b.want(201, "POST", "/Groups", `{"displayName":"ops"}`).id()
	for _, path := range []string{"/Users/" + id, "/Groups/" + g} {
		first := b.want(200, "GET", path, "")
		tag := first.Header.Get("ETag")
		if !strings.HasPrefix(tag, `W/"`) || first.at("meta.version") != tag {
			t.Fatalf("%s has the tag %s and the version %v", path, tag, first.at("meta.version"))
		}
		for _, h := range []string{tag, `"x", ` + tag, "*", strings.TrimPrefix(tag, "W/")} {
			if a := b.want(304, "GET", path, "", "If-None-Match: "+h); a.Text != "" {
				t.Errorf("a 304 has a body")
			}
		}
		change := ops(`{"op":"replace","path":"displayName","value":"new"}`)
		for _, method := range []string{"PUT", "PATCH", "DELETE"} {
			b.want(412, method, path, change, `If-Match: W/"99"`)
		}
		if a := b.do("PATCH", path, change, "If-Match: "+tag); a.Status/100 != 2 || a.Header.Get("ETag") == tag {
			t.Errorf("a change from the present version is answered with %d and the tag %s", a.Status, a.Header.Get("ETag"))
		}
		b.want(412, "PATCH", path, change, "If-Match: "+tag)
		b.want(200, "GET", path, "", "If-None-Match: "+tag)
		if a := b.do("PATCH", path, change, "If-Match: *"); a.Status/100 != 2 {
			t.Errorf("If-Match: * is answered with %d", a.Status)
		}
	}
	// A user who joins a group is shown otherwise than before.
	before := b.want(200, "GET", "/Users/"+id, "").Header.Get("ETag")
	joined := b.want(200, "PATCH", "/Groups/"+g+"?attributes=members", ops(`{"op":"add","path":"members","value":"`+id+`"}`))
	b.check(joined, map[string]any{"members.0.value": id, "displayName": nil, "id": g})
	if after := b.want(200, "GET", "/Users/"+id, "", "If-None-Match: "+before); after.at("groups.0.value") != g {
		t.Errorf("the user is in no group: %s", after.Text)
	}
	for _, path := range []string{"/Users/" + id, "/Groups/" + g} {
		b.want(204, "DELETE", path, "", "If-Match: "+b.want(200, "GET", path, "").Header.Get("ETag"))
	}
}

// TestOthersChange checks that a change is made again when another came between,
// loses nothing of it, and is refused when it said what it was made from.
func TestOthersChange(t *testing.T) {
	b := newBench(t)
	id := b.ann()
	g := b.want(201, "POST", "/Groups", `{"displayName":"ops"}`).id()
	path := "/Users/" + id
	tag := b.want(200, "GET", path, "").Header.Get("ETag")
	times := 0
	other := func(n int) func() {
		times = 0
		return func() {
			if times++; times <= n {
				u := b.users[id]
				u.Version, u.Mail = u.Version+1, fmt.Sprintf("m%d@example.com", times)
				b.users[id] = u
				x := b.groups[g]
				x.Version++
				b.groups[g] = x
			}
		}
	}
	rename := ops(`{"op":"replace","path":"displayName","value":"new"}`)
	b.between = other(3)
	b.check(b.want(200, "PATCH", path, rename), map[string]any{"displayName": "new", "emails.0.value": "m3@example.com"})
	b.between = other(3)
	b.want(204, "PATCH", "/Groups/"+g, rename)
	b.between = other(1)
	b.want(412, "PUT", path, `{"userName":"ann"}`, "If-Match: "+tag)
	b.between = other(1)
	b.want(412, "PUT", path, `{"userName":"ann"}`, "If-Match: "+b.want(200, "GET", path, "").Header.Get("ETag"))
	b.between = other(99)
	if a := b.want(409, "PATCH", path, ops(`{"op":"replace","path":"displayName","value":"newer"}`)); a.at("scimType") != nil || times != retries {
		t.Errorf("a change that never wins is answered with %s after %d times", a.Text, times)
	}
}

// TestLists checks filters, pages and what of a resource is shown.
func TestLists(t *testing.T) {
	b := newBench(t)
	var ids []string
	for i := range 7 {
		ids = append(ids, b.want(201, "POST", "/Users", fmt.Sprintf(`{"userName":"u%d","externalId":"e\"%d","emails":["U%d@Example.com"],"active":%v}`, i, i, i, i%2 == 0)).id())
	}
	for filter, n := range map[string]int{
		`userName eq "u1"`: 1, `USERNAME EQ "U1"`: 1, ` userName eq "u1" `: 1, `urn:ietf:params:scim:schemas:core:2.0:User:userName eq "u1"`: 1,
		`externalId eq "e\"2"`: 1, `externalId eq "E\"2"`: 0, `externalId eq "\u0065\"2"`: 1, `externalId eq ""`: 0, `externalId eq null`: 0,
		`id eq "` + ids[3] + `"`: 1, `id eq "a\u0000"`: 0, `active eq true`: 4, `active eq "False"`: 3, `active ne true`: 3, `active eq True and userName eq "u1"`: 0,
		`userName eq "u1" or userName eq "u2" and active eq true`: 2, `(userName eq "u1" or userName eq "u2") and active eq true`: 1,
		`userName eq "u1" and userName eq "u2"`: 0, `userName pr`: 7, `id pr and active eq false`: 3, `active eq true or id pr`: 7,
		`emails.value eq "u4@example.com"`: 1, `emails eq "u4@example.com"`: 1, `emails[type eq "work"].value eq "u4@EXAMPLE.com"`: 1,
		`active eq true and active eq false`: 0, `emails eq "a@b" and emails eq "c@d"`: 0, `userName eq "u1"and(active eq false)`: 1,
	} {
		b.check(b.want(200, "GET", "/Users?filter="+filter, ""), map[string]any{"totalResults": n, "itemsPerPage": n})
		if t.Failed() {
			t.Fatalf("with the filter %s", filter)
		}
	}
	for query, want := range map[string][]int{ // total, items, start
		"": {7, 7, 1}, "startIndex=3&count=2": {7, 2, 3}, "startIndex=-5": {7, 7, 1}, "count=0": {7, 0, 1}, "count=-1": {7, 0, 1},
		"startIndex=8": {7, 0, 8}, "count=99999": {7, 7, 1}, "startIndex=2&count=1&filter=active eq true": {4, 1, 2}, "sortBy=userName": {7, 7, 1},
	} {
		for _, kind := range []string{"/Users"} {
			b.check(b.want(200, "GET", kind+"?"+query, ""), map[string]any{"totalResults": want[0], "itemsPerPage": want[1], "startIndex": want[2]})
		}
	}
	b.check(b.want(200, "GET", "/Users?startIndex=3&count=1", ""), map[string]any{"Resources.0.id": ids[2]})

	one := "/Users/" + ids[0]
	b.check(b.want(200, "GET", one+"?attributes=userName,emails.value", ""), map[string]any{"id": ids[0], "userName": "u0", "emails.0.value": "U0@Example.com", "emails.0.type": nil, "active": nil, "meta": nil, "schemas.0": schemaUser})
	b.check(b.want(200, "GET", one+"?excludedAttributes=id,USERNAME,emails.type,urn:ietf:params:scim:schemas:core:2.0:User:active", ""),
		map[string]any{"id": ids[0], "userName": nil, "active": nil, "emails.0.value": "U0@Example.com", "emails.0.type": nil, "emails.0.primary": true})
	b.check(b.want(201, "POST", "/Users?attributes=active", `{"userName":"shy"}`), map[string]any{"active": true, "userName": nil})

	search := b.want(200, "POST", "/Users/.search", `{"schemas":["`+schemaSearch+`"],"filter":"active eq false","startIndex":2,"count":1,"attributes":["userName"]}`)
	b.check(search, map[string]any{"totalResults": 3, "itemsPerPage": 1, "startIndex": 2, "Resources.0.userName": "u3", "Resources.0.active": nil})
	b.want(400, "POST", "/Users/.search", `{"filter":"("}`)
	b.check(b.want(200, "POST", "/Groups/.search", `{}`), map[string]any{"totalResults": 0})
}

// TestGroupPages checks that a list of large groups ends before it is too long,
// and can be read to its end from where it stopped.
func TestGroupPages(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		g := Group{ID: fmt.Sprintf("g%d", i), Name: fmt.Sprintf("group %d", i), Version: 1, CreatedAt: b.tick()}
		for k := range 8000 {
			g.Members = append(g.Members, fmt.Sprintf("p%05d", k))
		}
		b.groups[g.ID] = g
	}
	seen := 0
	for start := 1; start <= 5; {
		a := b.want(200, "GET", fmt.Sprintf("/Groups?startIndex=%d", start), "")
		n := int(a.at("itemsPerPage").(float64))
		if n == 0 || n > 2 {
			t.Fatalf("a page has %d groups", n)
		}
		seen, start = seen+n, start+n
	}
	if seen != 5 {
		t.Errorf("%d groups were seen of 5", seen)
	}
	b.check(b.want(200, "GET", "/Groups?excludedAttributes=members", ""), map[string]any{"itemsPerPage": 5})
	b.check(b.want(200, "GET", "/Groups?count=2&startIndex=2&attributes=displayName&filter=displayName sw \"GROUP\" and not (displayName eq \"group 1\")", ""),
		map[string]any{"totalResults": 4, "itemsPerPage": 2, "Resources.0.displayName": "group 2", "Resources.0.members": nil})
	full := b.groups["g0"]
	full.Members = nil
	for k := range MaxMembers {
		full.Members = append(full.Members, fmt.Sprintf("p%05d", k))
	}
	b.groups["g0"] = full
	id := b.ann()
	b.check(b.want(400, "PATCH", "/Groups/g0", ops(`{"op":"add","path":"members","value":"`+id+`"}`)), map[string]any{"scimType": invalidValue})
	b.want(204, "PATCH", "/Groups/g0", ops(`{"op":"remove","path":"members[value eq \"p00001\" or value eq \"p00002\"]"}`, `{"op":"add","path":"members","value":"`+id+`"}`))
	b.want(204, "PATCH", "/Groups/g0", ops(`{"op":"remove","path":"members"}`))
	if n := len(b.groups["g0"].Members); n != 0 {
		t.Errorf("the group has %d members", n)
	}
	b.check(b.want(200, "PUT", "/Groups/g1", `{"displayName":"one","members":[{"value":"`+id+`","type":"User"}]}`), map[string]any{"displayName": "one", "members.0.value": id, "members.1": nil})
}

// TestConfig checks that a service that would let anybody in is not made.
func TestConfig(t *testing.T) {
	b := newBench(t)
	good := b.h.(*service).cfg
	for name, spoil := range map[string]func(*Config){
		"no directory": func(c *Config) { c.Directory = nil }, "no groups": func(c *Config) { c.Groups = nil }, "nobody authenticates": func(c *Config) { c.Authenticate = nil },
		"no OnError": func(c *Config) { c.OnError = nil }, "no base": func(c *Config) { c.BaseURL = "" }, "relative": func(c *Config) { c.BaseURL = "/scim" },
		"path": func(c *Config) { c.BaseURL = "https://x/y" }, "other scheme": func(c *Config) { c.BaseURL = "ftp://x" },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := Handler(cfg); err == nil {
			t.Errorf("%s: a service was made", name)
		}
	}
	r := httptest.NewRequest("GET", "https://evil.example"+Prefix+"/ResourceTypes/User", nil)
	r.Header.Set("Authorization", token)
	w := httptest.NewRecorder()
	if b.h.ServeHTTP(w, r); strings.Contains(w.Body.String(), "evil") {
		t.Errorf("the Host header is in the answer: %s", w.Body)
	}
	if _, known := faultOf(errors.New("x")); known {
		t.Error("any error is known")
	}
}
