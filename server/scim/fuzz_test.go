package scim

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/access"
)

// FuzzFilter: a filter is read or refused with a fault, within its bounds; what
// is read multiplies out within them, and can be decided for any resource.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{`userName eq "a"`, `USERNAME Eq "a\"b" AND (active eq True or not (id pr))`, `emails[type eq "work" and primary eq true].value co "@x"`,
		`urn:ietf:params:scim:schemas:core:2.0:User:userName sw "x"`, `urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "d"`,
		`members[value eq "p1"]`, `a eq 1.5e3 or b ne null`, `(((`, `a[b[c[d eq 1]]]`, `a eq "\u00e9\`, `not(a pr)and b pr`, strings.Repeat("a pr or ", 20) + "a pr"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := parseFilter(s)
		if err != nil {
			wantFault(t, err, invalidFilter)
			return
		}
		if n := count(e); n > maxTerms {
			t.Fatalf("%q has %d comparisons", s, n)
		}
		e.holds(func(a attr) (any, bool) { return a.name, true })
		e.holds(func(attr) (any, bool) { return true, false })
		e.holds(func(attr) (any, bool) { return nil, false })
		list, err := matches(e)
		if err != nil {
			wantFault(t, err, invalidFilter)
		}
		if len(list) > maxTerms {
			t.Fatalf("%q has %d alternatives", s, len(list))
		}
		for _, m := range list {
			if m.ID != "" && !validID(m.ID) || !printable(m.UserName+m.ExternalID+m.Mail, 700) {
				t.Fatalf("%q asks the directory for %+v", s, m)
			}
		}
		trim(e)
		// The multiplied out form says the same as the filter for a user.
		for _, u := range []User{{ID: "p1", UserName: "a", ExternalID: "x", Mail: "a@x", Active: true}, {ID: "p2", UserName: "b", ExternalID: "y", Mail: "b@x"}} {
			any := false
			for _, m := range list {
				any = any || fits(u, m)
			}
			if err == nil && any != e.holds(userAs(u)) {
				t.Fatalf("%q fits %+v: %v, as %+v: %v", s, u, !any, list, any)
			}
		}
	})
}

// trim brings the userNames that a filter asks for into the form that is kept.
func trim(e *expr) {
	if text, ok := e.value.(string); ok && e.attr.name == "username" {
		e.value = access.PersonName(text)
	}
	if e.left != nil {
		trim(e.left)
	}
	if e.right != nil {
		trim(e.right)
	}
}

func userAs(u User) reader {
	return func(a attr) (any, bool) {
		switch a.name {
		case "id":
			return u.ID, false
		case "username":
			return u.UserName, true
		case "externalid":
			return u.ExternalID, false
		case "emails":
			return u.Mail, true
		case "active":
			return u.Active, false
		}
		return nil, false
	}
}

func count(e *expr) int {
	n := 0
	if e.left == nil {
		n = 1
	}
	for _, sub := range []*expr{e.left, e.right, e.attr.where} {
		if sub != nil {
			n += count(sub)
		}
	}
	return n
}

func wantFault(t *testing.T, err error, kinds ...string) {
	t.Helper()
	f, ok := err.(*fault)
	if !ok || f.status/100 != 4 || f.detail == "" || len(f.detail) > 400 {
		t.Fatalf("the refusal is %#v", err)
	}
	for _, k := range kinds {
		if f.kind == k {
			return
		}
	}
	if len(kinds) > 0 {
		t.Fatalf("the refusal is %#v, want %v", f, kinds)
	}
}

// FuzzPath: a path is read or refused with invalidPath.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"userName", "name.givenName", `emails[type eq "work"].value`, `members[value eq "p1"]`, "urn:ietf:params:scim:schemas:core:2.0:Group:members",
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value", "urn:a:b[c pr].d", "a.b.c", ".", "a[", "$ref", " x "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parsePath(s)
		if err != nil {
			wantFault(t, err, invalidPath)
			return
		}
		if a.name == "" || a.name != strings.ToLower(a.name) || strings.ContainsAny(a.name+a.sub, ".[] \"") {
			t.Fatalf("%q is read as %+v", s, a)
		}
	})
}

// FuzzPatch: a body changes a user or a group into a valid one, or is refused.
func FuzzPatch(f *testing.F) {
	for _, s := range []string{ops(`{"op":"Replace","path":"active","value":"False"}`), ops(`{"op":"add","value":{"name.givenName":"x","emails":[{"value":"a@b","primary":true}]}}`),
		ops(`{"op":"remove","path":"members[value eq \"p1\"]"}`, `{"op":"add","path":"members","value":[{"$ref":null,"value":"p2"}]}`),
		ops(`{"op":"replace","path":"emails[type eq \"work\" and primary eq true].value","value":"x@y"}`), ops(`{"op":"remove","path":"name"}`),
		`{"userName":"a","displayName":"b","members":["p1"],"active":true}`, `{"Operations":[{"op":"remove","path":"emails","value":["a@b"]}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := parseObject(body)
		if err != nil {
			wantFault(t, err, invalidSyntax)
			return
		}
		if !json.Valid(body) {
			t.Fatalf("%q is read and is no JSON", body)
		}
		now := User{ID: "p1", UserName: "a", Display: "A B", Given: "A", Family: "B", Mail: "a@b", Active: false, Version: 3}
		d := draftOf(now)
		if err = patch(d, o); err == nil {
			var u User
			if u, err = d.onto(now); err == nil {
				again, err := draftOf(u).onto(u)
				if err != nil || again.tag() != u.tag() || again.Display != u.Display || again.Mail != u.Mail || u.ID != "p1" || u.Version != 3 {
					t.Fatalf("%q makes %+v, then %+v, %v", body, u, again, err)
				}
			}
		}
		if err != nil {
			wantFault(t, err)
		}
		if u, err := (&draft{}).whole(o, now); err != nil {
			wantFault(t, err)
		} else if v, said := o.get("active"); u.Active && (!said || v != true && !strings.EqualFold(v.(string), "true")) {
			t.Fatalf("%q switches a user on", body)
		}
		group := Group{ID: "g1", Name: "g", Members: []string{"p1", "p3"}}
		r := rosterOf(group)
		if err = patch(r, o); err == nil {
			_, err = r.change(group)
		}
		if err != nil {
			wantFault(t, err)
		}
	})
}
