package access_test

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

const hostile = `<script>alert("x")</script>' onload=x`

// fill makes a person, a client and a role, with hostile texts where they are taken.
func (h *house) fill() (p access.Person, c access.APIClient) {
	h.Helper()
	ctx := h.Context()
	in, err := h.admin.InvitePerson(ctx, adminapi.PersonInput{Name: "grace@example.com", Display: hostile})
	h.must(err)
	c, err = h.admin.CreateAPIClient(ctx, "exporter", adminapi.ClientInput{Owner: hostile, Description: hostile})
	h.must(err)
	_, err = h.admin.CreateRole(ctx, "line-lead", adminapi.RoleInput{Description: hostile, Permissions: []access.Permission{access.DeviceRead, access.DeviceMaintain}})
	h.must(err)
	_, err = h.admin.Grant(ctx, adminapi.GrantInput{Kind: access.ToPerson, Subject: string(in.Person.ID), Role: "line-lead", Reason: hostile})
	h.must(err)
	_, err = h.admin.Grant(ctx, adminapi.GrantInput{Kind: access.ToClient, Subject: c.ID, Role: "line-lead", Reason: hostile, Scope: access.Scope{Zones: []device.ZoneName{"lab"}}})
	h.must(err)
	return in.Person, c
}

func TestPagesOfAnEmptyHouse(t *testing.T) {
	h := open(t, access.Never)
	pages := h.pages(access.Root())
	for path, want := range map[string]string{"/access/people": "Invite somebody", "/access/clients": "No API clients yet", "/access/clients/new": "Step 1 of 3", "/access/roles": "security-officer",
		"/access/roles/operator": "quarantine devices and release them", "/access/new-role": "Create the role", "/access/unused": "Everything given is used", "/access/approvals": "Nothing waits", "/access/sign-ins": "Nobody is signed in"} {
		if code, body := get(t, pages, path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s answers %d without %q", path, code, want)
		}
	}
	for _, path := range []string{"/access/people/none", "/access/clients/none", "/access/clients/none/credential", "/access/clients/none/keys/none/revoke", "/access/roles/none", "/access/roles/operator/edit",
		"/access/approvals/none", "/access/unused/none", "/access/clients/none/turn/none", "/access/people/none/none"} {
		if code, body := get(t, pages, path); code != 404 {
			t.Errorf("%s answers %d: %.200s", path, code, body)
		}
	}
}

// What people wrote is text, in every place that shows it.
func TestHostileTexts(t *testing.T) {
	h := open(t, access.Never)
	p, c := h.fill()
	k, _, err := h.admin.CreateKey(t.Context(), c.ID, adminapi.KeyInput{Note: hostile})
	h.must(err)
	pages := h.pages(access.Root())
	person, client := "/access/people/"+string(p.ID), "/access/clients/"+c.ID
	for _, path := range []string{"/access/people", "/access/people?q=" + url.QueryEscape(hostile), person, person + "/disable", person + "/erase", "/access/clients?cols=name,owner,description",
		"/access/clients?q=" + url.QueryEscape(hostile), client, client + "/edit", client + "/role", client + "/credential", client + "/keys/" + k.ID + "/rotate", client + "/turn/disable", "/access/roles", "/access/roles/line-lead",
		"/access/roles/line-lead/edit", "/access/roles/line-lead/delete", "/access/new-role?from=line-lead&without=" + url.QueryEscape(hostile)} {
		code, body := get(t, pages, path)
		if strings.Contains(body, `<script>alert`) || strings.Contains(body, `' onload=x`) || strings.Contains(body, `" onload`) {
			t.Errorf("%s shows what somebody wrote as markup", path)
		}
		if code != 200 {
			t.Errorf("%s answers %d: %.300s", path, code, body)
		}
	}
}

// What somebody may not do is not offered, and what they may not see is not shown.
func TestPermissionsHide(t *testing.T) {
	h := open(t, access.Never)
	p, c := h.fill()
	reader := h.pages(only(access.PersonRead, access.ClientRead, access.RoleRead))
	for path, absent := range map[string][]string{
		"/access/people":                      {"Invite somebody", "begins with"},
		"/access/people/" + string(p.ID):      {"/disable", "/erase", "Give a role", "Take back", "/audit"},
		"/access/clients":                     {"Create an API client"},
		"/access/clients/" + c.ID:             {"/edit", "/turn/", "/credential", "Take back", "/role\""},
		"/access/roles":                       {"Create a role"},
		"/access/roles/line-lead":             {"/edit", "/delete", "Make a role like it"},
		"/access/people?cols=name,origin,foo": {"Invite somebody"},
	} {
		code, body := get(t, reader, path)
		if code != 200 {
			t.Errorf("%s answers %d: %.300s", path, code, body)
		}
		for _, words := range absent {
			if strings.Contains(body, words) {
				t.Errorf("%s shows %q to a reader", path, words)
			}
		}
	}
	if _, body := get(t, h.pages(only()), "/access/approvals"); strings.Contains(body, "/access/people") || !strings.Contains(body, "What you asked for") {
		t.Error("who may nothing sees more than their own requests")
	}
}

func TestFiltersAreInTheAddress(t *testing.T) {
	h := open(t, access.Never)
	h.fill()
	pages := h.pages(access.Root())
	for path, found := range map[string]bool{"/access/clients?q=EXPO": true, "/access/clients?q=nothing": false, "/access/clients?state=disabled": false, "/access/clients?state=enabled&sort=-name": true} {
		if _, body := get(t, pages, path); strings.Contains(body, `>exporter<`) != found {
			t.Errorf("with %s the client is found: %v", path, !found)
		}
	}
	for path, found := range map[string]bool{"/access/people?q=grace": true, "/access/people?q=Gra": true, "/access/people?q=ada": false, "/access/people?state=active": false, "/access/people?state=invited": true} {
		if _, body := get(t, pages, path); strings.Contains(body, `grace@example.com`) != found {
			t.Errorf("with %s the person is found: %v", path, !found)
		}
	}
}

var (
	clientAt = regexp.MustCompile(`^/access/clients/([a-z0-9]+)/role$`)
	secretIn = regexp.MustCompile(`hf[kc]_[a-z0-9_]+`)
	preIn    = regexp.MustCompile(`(?s)<pre[^>]*><code>(.*?)</code></pre>`)
)

// The wizard: a client, its role, its key; the command that is shown then answers.
func TestClientWizard(t *testing.T) {
	h := open(t, access.Never)
	pages := h.pages(access.Root())
	res, body := post(t, pages, "/access/clients", url.Values{"name": {"exporter"}, "owner": {"platform team"}, "networks": {"127.0.0.0/8\n::1"}, "rate": {"600"}, "reason": {"nightly export"}})
	at := clientAt.FindStringSubmatch(res.Header.Get("Location"))
	if res.StatusCode != http.StatusSeeOther || at == nil {
		t.Fatalf("creating it answers %d to %s: %.400s", res.StatusCode, res.Header.Get("Location"), body)
	}
	client := "/access/clients/" + at[1]
	if _, body := get(t, pages, client); !strings.Contains(body, "It may do nothing yet") || !strings.Contains(body, "It cannot call yet") {
		t.Error("its page does not say what is missing")
	}
	if _, body := get(t, pages, client+"/role"); !strings.Contains(body, "Step 2 of 3") {
		t.Error("the second step is not shown")
	}
	res, body = post(t, pages, client+"/grant", url.Values{"role": {"viewer"}, "life": {"720h"}, "reason": {"nightly export"}, "next": {"credential"}})
	if res.Header.Get("Location") != client+"/credential" {
		t.Fatalf("giving the role answers %d: %.400s", res.StatusCode, body)
	}
	if _, body := get(t, pages, client+"/credential"); !strings.Contains(body, "Step 3 of 3") || !strings.Contains(body, "see devices") {
		t.Error("the third step is not shown, or not what the key may be narrowed to")
	}
	res, body = post(t, pages, client+"/keys", url.Values{"life": {"720h"}, "note": {"night"}, "permission": {"device.read"}})
	secret := secretIn.FindString(body)
	if res.StatusCode != 200 || !strings.HasPrefix(secret, "hfk_") {
		t.Fatalf("making the key answers %d: %.400s", res.StatusCode, body)
	}
	h.answers(body, secret)
	_, body = get(t, pages, client)
	if strings.Contains(body, secret) || !strings.Contains(body, secret[:len("hfk_")+16]) || !strings.Contains(body, "1 permission") {
		t.Error("the page of the client does not list the key, or shows all of it")
	}
	d, err := h.admin.APIClient(t.Context(), at[1])
	if err != nil || len(d.Keys) != 1 || d.Rate != 600 || len(d.Networks) != 2 || d.Keys[0].ExpiresAt.Sub(d.Keys[0].CreatedAt).Round(time.Hour) != 720*time.Hour {
		t.Fatalf("it is %+v, %v", d, err)
	}
	for form, status := range map[string]int{"name=x&owner=y&networks=here&reason=z": 422, "name=x&owner=y&rate=fast&reason=z": 422, "name=-&owner=y&reason=z": 422} {
		v, _ := url.ParseQuery(form)
		if res, _ := post(t, pages, "/access/clients", v); res.StatusCode != status {
			t.Errorf("%s answers %d", form, res.StatusCode)
		}
	}
}

// answers runs the first command of a page as far as it is HTTP, and reads its Go
// program.
func (h *house) answers(body, secret string) {
	h.Helper()
	var command, program string
	for _, m := range preIn.FindAllStringSubmatch(body, -1) {
		switch text := html.UnescapeString(m[1]); {
		case strings.HasPrefix(text, "curl"):
			command = text
		case strings.HasPrefix(text, "package main"):
			program = text
		}
	}
	if _, err := parser.ParseFile(token.NewFileSet(), "main.go", program, 0); err != nil || strings.Contains(program, secret) {
		h.Errorf("the program cannot be read, or holds the secret: %v", err)
	}
	words := strings.Fields(strings.ReplaceAll(command, "\\\n", " "))
	req, err := http.NewRequestWithContext(h.Context(), "GET", words[len(words)-1], nil)
	if err != nil {
		h.Fatalf("%v: %s", err, command)
	}
	if strings.Contains(command, "client_credentials") {
		req, _ = http.NewRequestWithContext(h.Context(), "POST", words[len(words)-1], strings.NewReader("grant_type=client_credentials"))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		_, after, _ := strings.Cut(command, `-u "`)
		id, rest, _ := strings.Cut(after, ":")
		password, _, _ := strings.Cut(rest, `"`)
		req.SetBasicAuth(id, password)
	} else {
		_, after, _ := strings.Cut(command, `-H "Authorization: `)
		value, _, _ := strings.Cut(after, `"`)
		req.Header.Set("Authorization", value)
	}
	res, err := h.admin.HTTP.Do(req)
	if err != nil {
		h.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		h.Errorf("the command %s is answered with %d", command, res.StatusCode)
	}
}

// Keys and secrets through the pages: replaced, revoked, switched off.
func TestKeysAndSecrets(t *testing.T) {
	h := open(t, access.Never)
	_, c := h.fill()
	pages := h.pages(access.Root())
	client := "/access/clients/" + c.ID
	keys := func() (live []access.Key) {
		d, err := h.admin.APIClient(t.Context(), c.ID)
		h.must(err)
		for _, k := range d.Keys {
			if k.RevokedAt.IsZero() {
				live = append(live, k)
			}
		}
		return live
	}
	first, _, err := h.admin.CreateKey(t.Context(), c.ID, adminapi.KeyInput{Permissions: []access.Permission{access.DeviceRead}, ValidFor: adminapi.Duration(48 * time.Hour), Note: "line 1"})
	h.must(err)
	if _, body := post(t, pages, client+"/keys/"+first.ID+"/rotate", url.Values{"old": {"keep"}}); !strings.Contains(body, "still counts") || len(keys()) != 2 {
		t.Errorf("with the old one kept there are %d keys: %.300s", len(keys()), body)
	}
	_, body := post(t, pages, client+"/keys/"+first.ID+"/rotate", url.Values{"old": {"revoke"}})
	live := keys()
	if !strings.Contains(body, "is revoked") || len(live) != 2 || live[0].Note != "line 1" || live[1].Permissions[0] != access.DeviceRead || live[0].ExpiresAt.Sub(live[0].CreatedAt).Round(time.Minute) != 48*time.Hour {
		t.Errorf("after it was replaced the keys are %+v: %.300s", live, body)
	}
	for _, k := range live {
		if _, body := get(t, pages, client+"/keys/"+k.ID+"/revoke"); !strings.Contains(body, "never used") {
			t.Error("the question does not say whether the key is used")
		}
		if res, _ := post(t, pages, client+"/keys/"+k.ID+"/revoke", nil); res.StatusCode != http.StatusSeeOther {
			t.Errorf("revoking answers %d", res.StatusCode)
		}
	}
	if len(keys()) != 0 {
		t.Error("there are keys left")
	}
	_, body = post(t, pages, client+"/secret", nil)
	h.answers(body, secretIn.FindString(body))
	if _, body := get(t, pages, client); strings.Contains(body, "hfc_") || !strings.Contains(body, "has one") {
		t.Error("the page shows the secret, or not that there is one")
	}
	if res, _ := post(t, pages, client+"/jwks", url.Values{"jwks": {"{}"}}); res.StatusCode != 422 {
		t.Errorf("a wrong key set answers %d", res.StatusCode)
	}
	for _, step := range []struct {
		path string
		form url.Values
	}{{"/secret/remove", nil}, {"/turn/disable", url.Values{"reason": {"leaked"}}}, {"/turn/enable", url.Values{"reason": {"found"}}}, {"/edit", url.Values{"owner": {"line team"}, "version": {"0"}}}} {
		if step.path == "/edit" {
			_, body := get(t, pages, client+"/edit")
			step.form.Set("version", regexp.MustCompile(`name="version" value="(\d+)"`).FindStringSubmatch(body)[1])
		}
		if res, body := post(t, pages, client+step.path, step.form); res.StatusCode != http.StatusSeeOther {
			t.Errorf("%s answers %d: %.300s", step.path, res.StatusCode, body)
		}
	}
	if d, err := h.admin.APIClient(t.Context(), c.ID); err != nil || d.HasSecret || d.Disabled || d.Owner != "line team" {
		t.Errorf("it is %+v, %v", d, err)
	}
}

// Roles through the pages: made from a copy, changed, given, taken back, deleted.
func TestRoles(t *testing.T) {
	h := open(t, access.Never)
	p, _ := h.fill()
	pages := h.pages(access.Root())
	_, body := get(t, pages, "/access/new-role?from=operator&without=message.tap,session.close")
	if !strings.Contains(body, `value="operator-less"`) || !regexp.MustCompile(`value="device.quarantine"\s+checked`).MatchString(body) || regexp.MustCompile(`value="message.tap"\s+checked`).MatchString(body) {
		t.Error("the copy is not the role less what was named")
	}
	steps := []struct {
		path string
		form url.Values
		code int
	}{
		{"/access/roles", url.Values{"name": {"night"}, "permission": {"device.read"}, "reason": {"x"}}, 303},
		{"/access/roles", url.Values{"name": {"night"}, "permission": {"device.read"}, "reason": {"x"}}, 409},
		{"/access/roles", url.Values{"name": {"none"}, "reason": {"x"}}, 422},
		{"/access/roles/night/edit", url.Values{"version": {"1"}, "permission": {"device.read", "zone.read"}, "reason": {"x"}}, 303},
		{"/access/roles/night/edit", url.Values{"version": {"1"}, "permission": {"device.read"}, "reason": {"x"}}, 409},
		{"/access/people/" + string(p.ID) + "/grant", url.Values{"role": {"night"}, "zone": {"lab"}, "labels": {"site=a, site=b"}, "life": {"24h"}, "reason": {"x"}}, 303},
		{"/access/people/" + string(p.ID) + "/grant", url.Values{"role": {"night"}, "labels": {"site"}, "reason": {"x"}}, 422},
		{"/access/roles/night/delete", nil, 409},
	}
	for _, s := range steps {
		if res, body := post(t, pages, s.path, s.form); res.StatusCode != s.code {
			t.Errorf("%s with %v answers %d: %.400s", s.path, s.form, res.StatusCode, body)
		}
	}
	grants, err := h.admin.Grants(t.Context(), access.ToPerson, string(p.ID))
	h.must(err)
	for _, g := range grants {
		if g.Role != "night" {
			continue
		}
		if g.Scope.String() != "zone lab; label site=a|b" || g.ExpiresAt.Sub(g.GrantedAt).Round(time.Hour) != 24*time.Hour {
			t.Errorf("the grant is %+v", g)
		}
		path := "/access/people/" + string(p.ID) + "/grants/" + g.ID
		if _, body := get(t, pages, path); !strings.Contains(body, "Take the role night back") {
			t.Error("nothing is asked before it is taken back")
		}
		if res, _ := post(t, pages, path, url.Values{"reason": {"x"}}); res.StatusCode != 303 {
			t.Errorf("taking it back answers %d", res.StatusCode)
		}
	}
	if res, _ := post(t, pages, "/access/roles/night/delete", nil); res.StatusCode != 303 {
		t.Errorf("deleting it answers %d", res.StatusCode)
	}
}

// The life of an account through the pages.
func TestPeople(t *testing.T) {
	h := open(t, access.Never)
	pages := h.pages(access.Root())
	res, body := post(t, pages, "/access/people/invite", url.Values{"name": {"grace@example.com"}, "display": {"Grace Hopper"}})
	if res.StatusCode != 200 || !strings.Contains(body, "shown once") || !strings.Contains(body, "hfi_") {
		t.Fatalf("inviting answers %d: %.300s", res.StatusCode, body)
	}
	list, err := h.admin.People(t.Context(), adminapi.PeopleFilter{})
	h.must(err)
	base := "/access/people/" + string(list.Items[0].ID)
	for _, step := range []struct {
		verb string
		form url.Values
		code int
	}{{"disable", url.Values{"reason": {"left"}}, 303}, {"enable", url.Values{"reason": {"back"}}, 303}, {"sign-out", url.Values{"reason": {"lost"}}, 303}, {"reinvite", url.Values{"reason": {"lost"}}, 200},
		{"erase", url.Values{"reason": {"left"}}, 422}, {"erase", url.Values{"reason": {"left"}, "confirm": {"erase"}}, 303}} {
		if code, body := get(t, pages, base+"/"+step.verb); code != 200 || !strings.Contains(body, "What will happen") {
			t.Errorf("%s asks nothing: %d", step.verb, code)
		}
		if res, body := post(t, pages, base+"/"+step.verb, step.form); res.StatusCode != step.code {
			t.Errorf("%s answers %d: %.400s", step.verb, res.StatusCode, body)
		}
	}
	if code, body := get(t, pages, base); code != 200 || strings.Contains(body, "Grace") {
		t.Errorf("after the erasure the page answers %d, or has the name", code)
	}
}

// Each request for a second person is shown as what it would do, can be rejected by
// somebody else, and withdrawn by who asked. The admin token approves nothing.
func TestApprovals(t *testing.T) {
	h := open(t, access.Always)
	pages := h.pages(access.Root())
	ctx := t.Context()
	in, err := h.admin.InvitePerson(ctx, adminapi.PersonInput{Name: "grace@example.com", Display: "Grace Hopper"})
	h.must(err)
	_, err = h.admin.CreateZone(ctx, "plant", adminapi.ZoneInput{Production: true})
	h.must(err)
	_, err = h.admin.CreateZone(ctx, "lab", adminapi.ZoneInput{})
	h.must(err)
	_, err = h.admin.CreateType(ctx, "sensor", "", adminapi.TypeInput{})
	h.must(err)
	var ids []device.ID
	for i := range 11 {
		d, err := h.admin.CreateDevice(ctx, device.ID(fmt.Sprintf("sensor-%d", i)), adminapi.DeviceInput{Type: "sensor", Zone: "lab"})
		h.must(err)
		ids = append(ids, d.ID)
	}
	why := h.admin.Because(hostile)
	policy := adminapi.PolicyFile{Name: "policy.yaml", Text: "apiVersion: holdfast/v1\nkind: Zone\nmetadata: {name: lab}\nspec: {}\n"}
	waits := map[string]struct {
		ask   func() error
		words []string
	}{
		"give a role": {func() error {
			_, err := h.admin.Grant(ctx, adminapi.GrantInput{Kind: access.ToPerson, Subject: string(in.Person.ID), Role: "operator", Scope: access.Scope{Zones: []device.ZoneName{"lab"}}, Reason: hostile})
			return err
		}, []string{"Give Grace Hopper the role operator", "zone lab", "What they would get", "quarantine devices"}},
		"a role": {func() error {
			_, err := why.CreateRole(ctx, "night", adminapi.RoleInput{Permissions: []access.Permission{access.DeviceRead}})
			return err
		}, []string{"Create the role night", "see devices"}},
		"a client": {func() error {
			_, err := why.CreateAPIClient(ctx, "exporter", adminapi.ClientInput{Owner: hostile})
			return err
		}, []string{"Create the API client exporter", "nothing until it has a role"}},
		"many devices": {func() error {
			_, err := h.admin.ChangeDevices(ctx, ids, device.Revoke, hostile)
			return err
		}, []string{"Revoke all certificates of 11 devices", "/devices/sensor-10"}},
		"a device": {func() error {
			_, err := h.admin.ChangeDevice(ctx, ids[0], device.Retire, hostile)
			return err
		}, []string{"Retire sensor-0"}},
		"a zone": {func() error {
			_, err := why.UpdateZone(ctx, "plant", 1, adminapi.ZoneInput{})
			return err
		}, []string{"Take the zone plant out of production"}},
		"policy": {func() error {
			_, err := h.admin.ApplyPolicy(ctx, adminapi.PolicyApply{Files: []adminapi.PolicyFile{policy}, Message: hostile})
			return err
		}, []string{"Put a policy into force", "1 file"}},
	}
	for what, w := range waits {
		var pending *adminapi.Pending
		if err := w.ask(); !errors.As(err, &pending) {
			t.Errorf("%s does not wait: %v", what, err)
			continue
		}
		path := "/access/approvals/" + pending.Approval.ID
		code, body := get(t, pages, path)
		for _, words := range append(w.words, "The request as it was sent", "/approve", "/reject", "&lt;script&gt;") {
			if !strings.Contains(body, words) {
				t.Errorf("%s is shown with %d without %q", what, code, words)
			}
		}
		if strings.Contains(body, "<script>alert") {
			t.Errorf("%s shows what somebody wrote as markup", what)
		}
		if _, body := get(t, pages, path+"/approve"); !strings.Contains(body, w.words[0]) {
			t.Errorf("%s is asked about without what it is", what)
		}
		if res, body := post(t, pages, path+"/approve", nil); res.StatusCode != 403 {
			t.Errorf("%s: the admin token approves: %d %.300s", what, res.StatusCode, body)
		}
		verb, said := "reject", "It was rejected"
		if what == "a role" {
			verb, said = "withdraw", "It is withdrawn"
		}
		if res, body := post(t, pages, path+"/"+verb, url.Values{"comment": {hostile}}); res.StatusCode != 303 {
			t.Errorf("%s: %s answers %d: %.300s", what, verb, res.StatusCode, body)
		}
		if _, body := get(t, pages, path); !strings.Contains(body, said) || strings.Contains(body, path+"/approve") {
			t.Errorf("%s is not shown as ended by %s", what, verb)
		}
	}
	if _, body := get(t, pages, "/access/approvals?state=withdrawn"); !strings.Contains(body, "Create a role") || strings.Contains(body, "Retire") {
		t.Error("the filter of states selects something else")
	}
	if code, _ := get(t, h.pages(only()), "/access/approvals/none"); code != 404 {
		t.Errorf("a request that is not one's own answers %d", code)
	}
}
