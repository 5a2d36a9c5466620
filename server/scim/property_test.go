package scim

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-iot/holdfast/access"
)

// anyOperation draws an operation on a user, most of them valid.
func anyOperation(t *rapid.T) string {
	path := rapid.SampledFrom([]string{"", "", "userName", "externalId", "displayName", "name", "name.givenName", "name.familyName", "name.formatted",
		"emails", `emails[type eq "work"].value`, `emails[type eq "home"].value`, `emails[primary eq true]`, `emails[type eq "home"].primary`, "emails.value", "active", "title",
		"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department"}).Draw(t, "path")
	text := rapid.SampledFrom([]any{"a", "B c", "ann@example.com", "x@example.com", "", " y ", nil})
	address := func() any {
		return map[string]any{"value": rapid.SampledFrom([]string{"a@x", "b@x", "C@x", ""}).Draw(t, "mail"), "type": rapid.SampledFrom([]string{"work", "home", "Work"}).Draw(t, "type"), "primary": rapid.Bool().Draw(t, "primary")}
	}
	name := func() any {
		return map[string]any{"givenName": text.Draw(t, "given"), "FamilyName": text.Draw(t, "family")}
	}
	value := text.Draw(t, "text")
	switch path {
	case "":
		value = map[string]any{"displayName": text.Draw(t, "display"), "userName": rapid.SampledFrom([]string{"a", "b@x"}).Draw(t, "user"), "name": name(),
			"emails": []any{address(), address()}, "active": rapid.SampledFrom([]any{true, "False"}).Draw(t, "active"), "id": "other"}
	case "name":
		value = name()
	case "emails":
		value = []any{address(), address()}
	case "emails[primary eq true]":
		value = address()
	case "active", `emails[type eq "home"].primary`:
		value = rapid.SampledFrom([]any{true, false, "True", "fALSE"}).Draw(t, "active")
	}
	o := map[string]any{"op": rapid.SampledFrom([]string{"add", "Replace", "remove", "REPLACE"}).Draw(t, "op"), "value": value}
	if path != "" {
		o["path"] = path
	}
	if o["op"] == "remove" && rapid.Bool().Draw(t, "bare") {
		delete(o, "value")
	}
	out, _ := json.Marshal(o)
	return string(out)
}

// TestPatchEqualsPut: what a PATCH gives is what a PUT of that gives, whatever
// was there before the PUT; and a PUT of it again changes nothing.
func TestPatchEqualsPut(t *testing.T) {
	patched := 0
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t)
		id, other := b.ann(), b.person("other")
		for range rapid.IntRange(1, 6).Draw(rt, "requests") {
			if b.do("PATCH", "/Users/"+id, ops(rapid.SliceOfN(rapid.Custom(anyOperation), 1, 3).Draw(rt, "operations")...)).Status == 200 {
				patched++
			}
		}
		result := b.want(200, "GET", "/Users/"+id, "")
		version := b.users[id].Version
		if a := b.want(200, "PUT", "/Users/"+id, result.Text); b.users[id].Version != version {
			rt.Fatalf("a PUT of what is there changed it: %s, then %s", result.Text, a.Text)
		}
		b.want(204, "DELETE", "/Users/"+id, "")
		put := b.want(200, "PUT", "/Users/"+other, result.Text)
		for _, a := range []reply{result, put} {
			delete(a.Body, "id")
			delete(a.Body, "meta")
		}
		if !reflect.DeepEqual(result.Body, put.Body) {
			rt.Fatalf("PATCH gave %v, PUT of it %v", result.Body, put.Body)
		}
	})
	if patched < 20 {
		t.Errorf("only %d requests did something", patched)
	}
}

// TestMembersEqualModel: operations on members give what a set gives.
func TestMembersEqualModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := newBench(t)
		var ids []string
		for i := range 5 {
			ids = append(ids, b.person(fmt.Sprint("u", i)))
		}
		g := b.want(201, "POST", "/Groups", `{"displayName":"ops"}`).id()
		model := map[string]bool{}
		for range rapid.IntRange(1, 8).Draw(rt, "operations") {
			some := rapid.SliceOfN(rapid.SampledFrom(ids), 0, 4).Draw(rt, "members")
			list := make([]string, len(some))
			for i, id := range some {
				list[i] = `{"value":"` + id + `"}`
			}
			op := rapid.SampledFrom([]string{"add", "remove", "replace", "remove one", "remove all"}).Draw(rt, "op")
			text := `{"op":"` + op + `","path":"members","value":[` + strings.Join(list, ",") + `]}`
			switch op {
			case "replace":
				clear(model)
				fallthrough
			case "add":
				for _, id := range some {
					model[id] = true
				}
			case "remove":
				for _, id := range some {
					delete(model, id)
				}
			case "remove one":
				text = `{"op":"Remove","path":"members[value eq \"` + ids[0] + `\"]"}`
				delete(model, ids[0])
			case "remove all":
				text = `{"op":"remove","path":"members"}`
				clear(model)
			}
			b.want(204, "PATCH", "/Groups/"+g, ops(text))
		}
		if got, want := b.groups[g].Members, slices.Sorted(maps.Keys(model)); !slices.Equal(got, want) {
			rt.Fatalf("the group has %v, want %v", got, want)
		}
	})
}

// TestManyAtOnce: members that are added to one group at the same time are all
// there in the end, when who lost too often asks again.
func TestManyAtOnce(t *testing.T) {
	b := newBench(t)
	g := b.want(201, "POST", "/Groups", `{"displayName":"ops"}`).id()
	var ids []string
	for i := range 16 {
		ids = append(ids, b.person(fmt.Sprint("u", i)))
	}
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			for range 100 {
				switch a := b.do("PATCH", "/Groups/"+g, ops(`{"op":"add","path":"members","value":[{"value":"`+id+`"}]}`)); a.Status {
				case 204:
					return
				case 409:
				default:
					t.Errorf("adding a member: %d %s", a.Status, a.Text)
				}
			}
			t.Errorf("%s never got in", id)
		})
	}
	wg.Wait()
	if got := b.groups[g].Members; !slices.Equal(got, ids) {
		t.Errorf("the group has %v", got)
	}
}

// TestGoneProvider: a provider that hangs up while a user is being switched off
// does not stop it.
func TestGoneProvider(t *testing.T) {
	b := newBench(t)
	id := b.ann()
	for _, c := range [][2]string{{"PATCH", ops(`{"op":"replace","path":"active","value":false}`)}, {"DELETE", ""}} {
		b.signIns[id] = 2
		ctx, cancel := context.WithCancel(t.Context())
		b.between = cancel
		r := httptest.NewRequestWithContext(ctx, c[0], Prefix+"/Users/"+id, strings.NewReader(c[1]))
		r.Header.Set("Authorization", token)
		r.Header.Set("Content-Type", media)
		w := httptest.NewRecorder()
		cfg := b.h.(*service).cfg
		cfg.Directory = heeding{cfg.Directory}
		h, err := Handler(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if h.ServeHTTP(w, r); w.Code/100 != 2 || ctx.Err() == nil || b.signIns[id] != 0 {
			t.Errorf("%s: %d %s, and %d sign-ins are left", c[0], w.Code, w.Body, b.signIns[id])
		}
	}
}

// heeding gives up where its context has ended, as a database does.
type heeding struct{ Directory }

func (h heeding) UpdateUser(ctx context.Context, by access.Actor, u User) (User, error) {
	u, err := h.Directory.UpdateUser(ctx, by, u)
	return u, firstErr(ctx.Err(), err)
}

func (h heeding) DisableUser(ctx context.Context, by access.Actor, id string, version int64) error {
	return firstErr(h.Directory.DisableUser(ctx, by, id, version), ctx.Err())
}

func firstErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
