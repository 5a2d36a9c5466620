package adminapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/refusal"
)

// folk records what the edge asks of it and gives examples back. The rules are
// tested with the real store, in package people.
type folk struct{ calls []string }

func (f *folk) note(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *folk) People(_ context.Context, q PeopleFilter) ([]access.Person, access.PersonID, error) {
	f.note("list %+v", q)
	other := examplePerson
	other.ID, other.External = "pother", "s-1"
	return []access.Person{examplePerson, other}, other.ID, nil
}

func (f *folk) Person(_ context.Context, id access.PersonID) (access.Person, PersonFactors, error) {
	p := examplePerson
	if p.ID = id; id == "pnobody" {
		return p, PersonFactors{}, refusal.New(refusal.NotFound, "no-such-person", "list people to find the id", "there is no person %s", id)
	}
	return p, exampleFactors, nil
}

func (f *folk) InvitePerson(_ context.Context, by access.Actor, in PersonInput) (Invited, error) {
	f.note("invite %s by %s", in.Name, by)
	return exampleInvited, nil
}

func (f *folk) ReinvitePerson(_ context.Context, by access.Actor, id access.PersonID, reason string) (Invited, error) {
	f.note("reinvite %s by %s: %s", id, by, reason)
	return exampleInvited, nil
}

func (f *folk) UpdatePerson(_ context.Context, by access.Actor, p access.Person) (access.Person, error) {
	f.note("update %s to %s %d by %s", p.ID, p.Name, p.Version, by)
	return p, nil
}

func (f *folk) MovePerson(_ context.Context, by access.Actor, id access.PersonID, to access.PersonState, reason string) (access.Person, error) {
	f.note("%s is %s by %s: %s", id, to, by, reason)
	p := examplePerson
	p.State = to
	return p, nil
}

func (f *folk) SignIns(_ context.Context, id access.PersonID) ([]SignIn, error) {
	f.note("sign-ins of %s", id)
	return []SignIn{exampleSignIn}, nil
}

func (f *folk) AllSignIns(_ context.Context, before string, limit int) ([]PersonSignIn, error) {
	f.note("sign-ins behind %q, %d", before, limit)
	return []PersonSignIn{{exampleSignIn, "pother", "Other", true}, {exampleSignIn, examplePerson.ID, "Maria", false}}[:min(2, limit)], nil
}

func (f *folk) EndSignIn(_ context.Context, by access.Actor, id access.PersonID, signIn string) error {
	f.note("end %s of %s by %s", signIn, id, by)
	return nil
}

func (f *folk) EndSignIns(_ context.Context, by access.Actor, id access.PersonID, but, reason string) error {
	f.note("end all of %s but %q by %s: %s", id, but, by, reason)
	return nil
}

func (f *folk) StepUp(_ context.Context, by access.Actor, signIn, code string) error {
	f.note("%s steps up in %s with %s", by, signIn, code)
	return nil
}

func (f *folk) ChangePassword(_ context.Context, by access.Actor, signIn string, current, next password.Secret) error {
	f.note("%s changes the password in %s: %v %v %v", by, signIn, current.Empty(), next.Empty(), next)
	return nil
}

func (f *folk) BeginTOTP(_ context.Context, signIn string) (TOTPSetup, error) {
	return exampleTOTP, nil
}

func (f *folk) ConfirmTOTP(_ context.Context, by access.Actor, signIn, flow, code string) error {
	f.note("%s confirms %s with %s in %s", by, flow, code, signIn)
	return nil
}

func (f *folk) RemoveTOTP(_ context.Context, by access.Actor, signIn string) error {
	f.note("%s removes the app in %s", by, signIn)
	return nil
}

func (f *folk) BeginAddPasskey(_ context.Context, signIn string) (json.RawMessage, string, error) {
	return json.RawMessage(`{"publicKey":{"challenge":"3q2-7w"}}`), exampleChallenge.Flow, nil
}

func (f *folk) AddPasskey(_ context.Context, by access.Actor, signIn, name, flow string, answer []byte) error {
	f.note("%s adds %s %s in %s: %s", by, name, flow, signIn, answer)
	return nil
}

func (f *folk) RenamePasskey(_ context.Context, by access.Actor, signIn, id, name string) error {
	f.note("%s calls %s %s in %s", by, id, name, signIn)
	return nil
}

func (f *folk) RemovePasskey(_ context.Context, by access.Actor, signIn, id string) error {
	f.note("%s removes %s in %s", by, id, signIn)
	return nil
}

func (f *folk) MakeRecoveryCodes(_ context.Context, by access.Actor, signIn string) ([]string, error) {
	f.note("%s makes codes in %s", by, signIn)
	return []string{"k7mz-q3a2-bfxe"}, nil
}

// noRoles is an installation in which nobody has one.
type noRoles struct{ anyRoles }

type anyRoles = interface{ Roles }

func (noRoles) Roles(context.Context) ([]access.Role, error) { return nil, nil }

func (noRoles) Grants(context.Context, access.SubjectKind, string) ([]access.Grant, error) {
	return nil, nil
}

// peopleAPI serves the operations on people.
func peopleAPI(t *testing.T) (*folk, *api, http.Handler) {
	t.Helper()
	f := &folk{}
	cfg := newMemory().config()
	cfg.Now, cfg.StepUp = func() time.Time { return moment }, 5*time.Minute
	cfg.People, cfg.Account, cfg.Roles = f, f, noRoles{}
	cfg.OnError = func(_ string, err error) { t.Error(err) }
	a := newAPI(cfg)
	return f, a, a.begin(http.HandlerFunc(a.route))
}

// somebody holds the permissions given, with a factor proven so long ago.
func somebody(id string, ago time.Duration, permissions ...access.Permission) access.Identity {
	roles := func(string) (access.Role, bool) { return access.Role{Name: "r", Permissions: permissions}, true }
	return access.Identity{Actor: access.Actor{Kind: access.Human, ID: id, Source: "192.0.2.1"}, Name: "Somebody", Session: exampleSignIn.ID, Roles: []string{"r"},
		Rights: access.Resolve([]access.Grant{{Role: "r"}}, roles, nil, moment), Proof: access.Proof{Method: "passkey", Fresh: moment.Add(-ago), Strong: true}}
}

func TestPeople(t *testing.T) {
	f, _, h := peopleAPI(t)
	ctx := t.Context()
	boss := As(h, somebody("pboss", time.Minute, access.PersonRead, access.PersonWrite, access.PersonalRead))
	const id = access.PersonID("p1")
	list, err := boss.People(ctx, PeopleFilter{State: access.PersonActive, Origin: "local", Prefix: "ma", After: "p0", Limit: 7})
	if err != nil || len(list.Items) != 2 || list.Next != "pother" || list.Items[0].Name != examplePerson.Name {
		t.Fatalf("got %+v, %v", list, err)
	}
	person, err := boss.Person(ctx, id)
	if err != nil || person.Mail != examplePerson.Mail || !reflect.DeepEqual(person.Factors, exampleFactors) {
		t.Fatalf("got %+v, %v", person, err)
	}
	if _, err = boss.Person(ctx, "pnobody"); code(err) != "404 no-such-person" {
		t.Fatal(err)
	}
	invited, err := boss.InvitePerson(ctx, examplePersonInput)
	if err != nil || invited != exampleInvited {
		t.Fatalf("got %+v, %v", invited, err)
	}
	ins, err := boss.PersonSignIns(ctx, id)
	if err != nil || len(ins) != 1 || ins[0].Source == "" {
		t.Fatalf("got %+v, %v", ins, err)
	}
	for _, err := range []error{
		second(boss.ReinvitePerson(ctx, id, "lost phone")), second(boss.UpdatePerson(ctx, id, 4, PersonInput{Name: "new"})),
		second(boss.DisablePerson(ctx, id, "left")), second(boss.EnablePerson(ctx, id, "back")), second(boss.ErasePerson(ctx, id, "asked")),
		boss.EndPersonSignIn(ctx, id, "s1"), boss.EndPersonSignIns(ctx, id, "stolen laptop"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := boss.ErasePerson(ctx, id, ""); code(err) != "422 no-reason" {
		t.Errorf("erased without a reason: %v", err)
	}
	want := []string{"list {State:active Origin:local Prefix:ma After:p0 Limit:7}", "invite maria@example.com by person:pboss", "sign-ins of p1", "reinvite p1 by person:pboss: lost phone",
		"update p1 to new 4 by person:pboss", "p1 is disabled by person:pboss: left", "p1 is active by person:pboss: back", "p1 is erased by person:pboss: asked",
		"end s1 of p1 by person:pboss", `end all of p1 but "" by person:pboss: stolen laptop`}
	if !reflect.DeepEqual(f.calls, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(f.calls, "\n"), strings.Join(want, "\n"))
	}
}

func second[T any](_ T, err error) error { return err }

// TestPersonalData shows the same to a caller who may not see what is personal:
// only their own.
func TestPersonalData(t *testing.T) {
	f, _, h := peopleAPI(t)
	ctx := t.Context()
	c := As(h, somebody(string(examplePerson.ID), 0, access.PersonRead, access.PersonWrite))
	list, err := c.People(ctx, PeopleFilter{})
	if err != nil || list.Items[0].Name == "" {
		t.Fatalf("one's own name is left out: %+v, %v", list, err)
	}
	if p := list.Items[1]; p.Name+p.Display+p.Mail+p.External != "" || p.ID != "pother" {
		t.Errorf("got %+v", p)
	}
	if _, err := c.People(ctx, PeopleFilter{Prefix: "ma"}); code(err) != "403 not-permitted" {
		t.Errorf("names can be guessed by their beginnings: %v", err)
	}
	d, err := c.Person(ctx, "pother")
	if err != nil || d.Name+d.Mail+d.Factors.Passkeys[0].Name != "" {
		t.Errorf("got %+v, %v", d, err)
	}
	ins, err := c.PersonSignIns(ctx, "pother")
	if err != nil || ins[0].Source+ins[0].Device != "" || ins[0].ID == "" {
		t.Errorf("got %+v, %v", ins, err)
	}
	all, err := c.SignIns(ctx, "s0", 1)
	if err != nil || len(all.Items) != 1 || all.Next != exampleSignIn.ID || all.Items[0].Name+all.Items[0].Source+all.Items[0].Device != "" || !all.Items[0].NewPlace {
		t.Errorf("got %+v, %v", all, err)
	}
	all, err = c.SignIns(ctx, "", 2)
	if err != nil || len(all.Items) != 2 || all.Next != "" || all.Items[1].Name == "" || all.Items[1].Source == "" {
		t.Errorf("one's own is left out: %+v, %v", all, err)
	}
	if _, err := c.UpdatePerson(ctx, "pother", 1, examplePersonInput); code(err) != "403 not-permitted" {
		t.Errorf("names that nobody saw were overwritten: %v", err)
	}
	if exampleFactors.Passkeys[0].Name == "" {
		t.Error("the answer changed what it was made from")
	}
	_ = f
}

// TestPeopleRules asks for every operation with too few permissions, and for those
// that need a fresh factor with an old one.
func TestPeopleRules(t *testing.T) {
	_, a, h := peopleAPI(t)
	ctx := t.Context()
	nobody, reader := As(h, somebody("p9", 0)), As(h, somebody("p9", 0, access.PersonRead, access.PersonalRead))
	stale := As(h, somebody("p9", 6*time.Minute, access.PersonRead, access.PersonWrite, access.PersonalRead))
	for name, call := range map[string]func(c *Client) error{
		"list": func(c *Client) error { return second(c.People(ctx, PeopleFilter{})) },
		"show": func(c *Client) error { return second(c.Person(ctx, "p1")) },
		"ins":  func(c *Client) error { return second(c.PersonSignIns(ctx, "p1")) },
		"all":  func(c *Client) error { return second(c.SignIns(ctx, "", 0)) },
	} {
		if err := call(nobody); code(err) != "403 not-permitted" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		call  func(c *Client) error
		fresh bool
	}{
		"invite":   {func(c *Client) error { return second(c.InvitePerson(ctx, examplePersonInput)) }, true},
		"reinvite": {func(c *Client) error { return second(c.ReinvitePerson(ctx, "p1", "x")) }, true},
		"erase":    {func(c *Client) error { return second(c.ErasePerson(ctx, "p1", "x")) }, true},
		"update":   {func(c *Client) error { return second(c.UpdatePerson(ctx, "p1", 1, examplePersonInput)) }, true},
		"disable":  {func(c *Client) error { return second(c.DisablePerson(ctx, "p1", "x")) }, false},
		"enable":   {func(c *Client) error { return second(c.EnablePerson(ctx, "p1", "x")) }, true},
		"end":      {func(c *Client) error { return c.EndPersonSignIn(ctx, "p1", "x") }, false},
		"end all":  {func(c *Client) error { return c.EndPersonSignIns(ctx, "p1", "x") }, false},
	} {
		if err := c.call(reader); code(err) != "403 not-permitted" {
			t.Errorf("%s with permission to read: %v", name, err)
		}
		if err := c.call(stale); (code(err) == "403 step-up-needed") != c.fresh {
			t.Errorf("%s with an old proof: %v", name, err)
		}
	}
	for name, call := range map[string]func() error{
		"totp":     func() error { return second(stale.BeginOwnTOTP(ctx)) },
		"passkey":  func() error { return second(stale.BeginOwnPasskey(ctx)) },
		"remove":   func() error { return stale.RemoveOwnPasskey(ctx, "x") },
		"remove 2": func() error { return stale.RemoveOwnTOTP(ctx) },
		"codes":    func() error { return second(stale.MakeOwnRecoveryCodes(ctx)) },
	} {
		if err := call(); code(err) != "403 step-up-needed" {
			t.Errorf("%s with an old proof: %v", name, err)
		}
	}
	for path, item := range a.huma.OpenAPI().Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op != nil && strings.HasPrefix(path, "/api/v1/account") && op.Extensions["x-holdfast-permission"] != access.Own {
				t.Errorf("%s %s needs %v", op.Method, path, op.Extensions["x-holdfast-permission"])
			}
		}
	}
}

func TestOwnAccount(t *testing.T) {
	f, _, h := peopleAPI(t)
	ctx := t.Context()
	me := As(h, somebody("p1", time.Minute, access.DeviceRead))
	own, err := me.Account(ctx)
	if err != nil || own.Person == nil || own.Person.Name == "" || own.Factors == nil || own.Privileged || own.SignIn != exampleSignIn.ID || !own.FreshUntil.Equal(moment.Add(4*time.Minute)) ||
		!reflect.DeepEqual(own.Permissions, []access.Permission{access.DeviceRead}) {
		t.Fatalf("got %+v, %v", own, err)
	}
	program := As(h, access.Identity{Actor: access.Actor{Kind: access.Client, ID: "c1"}, Name: "export", Rights: access.Root(), Proof: access.Proof{Method: "key", Program: true}, Session: "k1"})
	own, err = program.Account(ctx)
	if err != nil || own.Person != nil || own.Factors != nil || !own.Privileged || own.Name != "export" || !own.FreshUntil.IsZero() {
		t.Fatalf("got %+v, %v", own, err)
	}
	if err := program.ChangeOwnPassword(ctx, "a", "b"); code(err) != "403 not-a-person" {
		t.Errorf("a program has a password: %v", err)
	}
	ins, err := me.OwnSignIns(ctx)
	if err != nil || !ins[0].Own || ins[0].Source == "" {
		t.Fatalf("got %+v, %v", ins, err)
	}
	setup, err := me.BeginOwnTOTP(ctx)
	if err != nil || setup != exampleTOTP {
		t.Fatalf("got %+v, %v", setup, err)
	}
	challenge, err := me.BeginOwnPasskey(ctx)
	if err != nil || !reflect.DeepEqual(challenge, exampleChallenge) {
		t.Fatalf("got %+v, %v", challenge, err)
	}
	codes, err := me.MakeOwnRecoveryCodes(ctx)
	if err != nil || len(codes) != 1 {
		t.Fatalf("got %v, %v", codes, err)
	}
	f.calls = nil
	for _, err := range []error{me.EndOwnSignIn(ctx, "s2"), me.EndOwnOtherSignIns(ctx), me.StepUp(ctx, "123456"), me.ChangeOwnPassword(ctx, "", "hunter2hunter2"), me.ConfirmOwnTOTP(ctx, "flow", "123456"),
		me.RemoveOwnTOTP(ctx), me.AddOwnPasskey(ctx, "laptop", "flow", []byte(`{"id":"AQ"}`)), me.RenameOwnPasskey(ctx, "AQ", "old"), me.RemoveOwnPasskey(ctx, "AQ")} {
		if err != nil {
			t.Error(err)
		}
	}
	in := exampleSignIn.ID
	want := []string{"end s2 of p1 by person:p1", `end all of p1 but "` + in + `" by person:p1: `, "person:p1 steps up in " + in + " with 123456",
		"person:p1 changes the password in " + in + ": true false [password]", "person:p1 confirms flow with 123456 in " + in, "person:p1 removes the app in " + in,
		`person:p1 adds laptop flow in ` + in + `: {"id":"AQ"}`, "person:p1 calls AQ old in " + in, "person:p1 removes AQ in " + in}
	if !reflect.DeepEqual(f.calls, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(f.calls, "\n"), strings.Join(want, "\n"))
	}
	if err := me.AddOwnPasskey(ctx, "x", "y", []byte("no JSON")); err == nil {
		t.Error("what is no JSON was sent")
	}
}

// TestPeopleDescribed checks the examples against their schemas, as TestExamples
// does for the other operations.
func TestPeopleDescribed(t *testing.T) {
	_, a, _ := peopleAPI(t)
	oapi := a.huma.OpenAPI()
	n := 0
	for path, item := range oapi.Paths {
		if !strings.HasPrefix(path, "/api/v1/people") && !strings.HasPrefix(path, "/api/v1/account") {
			continue
		}
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil {
				continue
			}
			n++
			media := map[string]*huma.MediaType{}
			if op.RequestBody != nil {
				media["request"] = op.RequestBody.Content["application/json"]
			}
			for status, r := range op.Responses {
				if c := r.Content["application/json"]; c != nil && status[0] == '2' {
					media[status] = c
				}
			}
			for what, c := range media {
				b, err := json.Marshal(c.Example)
				if err != nil || c.Example == nil {
					t.Fatalf("%s %s: the example of the %s: %v", op.Method, path, what, err)
				}
				var v any
				if err := json.Unmarshal(b, &v); err != nil {
					t.Fatal(err)
				}
				c.Schema.PrecomputeMessages()
				var res huma.ValidateResult
				huma.Validate(oapi.Components.Schemas, c.Schema, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, v, &res)
				for _, err := range res.Errors {
					t.Errorf("%s %s: the example of the %s: %v", op.Method, path, what, err)
				}
			}
		}
	}
	if n < 25 {
		t.Errorf("there are only %d operations", n)
	}
}
