package server

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/oauth"
	"github.com/holdfast-iot/holdfast/server/people"
)

// provisioned is a running server with an identity provider that keeps accounts.
type provisioned struct {
	*running
	key    string
	client *http.Client
}

func openProvisioned(t *testing.T, separate ...string) *provisioned {
	t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.Node = tempData(t), "test"
	cfg.Listen = config.Listen{API: "127.0.0.1:0", Device: "127.0.0.1:0", PKI: "127.0.0.1:0", Metrics: "127.0.0.1:0", MQTTS: "127.0.0.1:0", WSS: "127.0.0.1:0"}
	cfg.Access.SCIMProvider, cfg.Access.Separate = "oidc:corp", separate
	cfg.Access.SCIMRoles = []string{"Fleet Admins=admin", "Operators=operator@plant", "Readers=viewer"}
	r := startWith(t, cfg, Options{})
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(tr.CloseIdleConnections)
	p := &provisioned{running: r, client: &http.Client{Transport: tr, Timeout: 20 * time.Second}}
	p.key = p.program("idp", access.Admin)
	return p
}

// program makes an API client with a role and returns its key.
func (p *provisioned) program(name, role string) string {
	p.t.Helper()
	ctx := context.Background()
	c, err := p.CreateClient(ctx, operator, access.APIClient{Name: name})
	if err == nil {
		_, err = p.Grant(ctx, operator, adminapi.GrantInput{Kind: access.ToClient, Subject: c.ID, Role: role})
	}
	if err != nil {
		p.t.Fatal(err)
	}
	_, secret, err := p.CreateKey(ctx, operator, c.ID, adminapi.KeyInput{ValidFor: adminapi.Duration(time.Hour)})
	if err != nil {
		p.t.Fatal(err)
	}
	return secret.Reveal()
}

func (p *provisioned) send(method, path, token, kind, body string) (int, map[string]any) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.ready.API+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	var out map[string]any
	json.Unmarshal(text, &out) // empty bodies and lists stay nil
	return resp.StatusCode, out
}

// scim sends a request as the identity provider and wants a status.
func (p *provisioned) scim(want int, method, path, body string) map[string]any {
	p.t.Helper()
	status, out := p.send(method, "/scim/v2"+path, p.key, "application/scim+json", body)
	if status != want {
		p.t.Fatalf("%s %s: %d, want %d: %v", method, path, status, want, out)
	}
	return out
}

func patchOps(ops string) string {
	return `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[` + ops + `]}`
}

// user makes a user of the provider.
func (p *provisioned) user(name string) string {
	p.t.Helper()
	return p.scim(201, "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"`+name+`","externalId":"ext-`+name+`","active":true}`)["id"].(string)
}

func (p *provisioned) group(name string) string {
	p.t.Helper()
	return p.scim(201, "POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"`+name+`"}`)["id"].(string)
}

var here = people.Where{Source: netip.MustParseAddr("127.0.0.1"), Agent: "test"}

// signIn signs the user in at the console through the provider.
func (p *provisioned) signIn(name string) (people.Secret, people.SignIn, error) {
	return p.people.External(context.Background(), people.External{Provider: "oidc:corp", Subject: "ext-" + name, Name: name, Strong: true, AuthTime: p.now()}, here)
}

// accessToken is what `holdfast login` gets by the device code.
func (p *provisioned) accessToken(in people.SignIn) (token, refresh string) {
	p.t.Helper()
	ctx := context.Background()
	form := "application/x-www-form-urlencoded"
	_, d := p.send("POST", "/oauth/device_authorization", "", form, url.Values{"client_id": {oauth.CLIClient}}.Encode())
	id, err := p.consoleIdentity(ctx, in, "127.0.0.1")
	if err == nil {
		err = p.tokens.Approve(ctx, id, d["user_code"].(string))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	status, got := p.send("POST", "/oauth/token", "", form, url.Values{"client_id": {oauth.CLIClient}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {d["device_code"].(string)}}.Encode())
	if status != 200 {
		p.t.Fatalf("getting a token: %d %v", status, got)
	}
	return got["access_token"].(string), got["refresh_token"].(string)
}

func (p *provisioned) roles(id string) (roles []string) {
	p.t.Helper()
	list, err := p.Server.Grants(context.Background(), access.ToPerson, id)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, g := range list {
		roles = append(roles, g.Role+" for "+g.Scope.String())
	}
	slices.Sort(roles)
	return roles
}

// TestProvisioning follows somebody from being made to being gone: their console,
// their command line and their roles.
func TestProvisioning(t *testing.T) {
	p := openProvisioned(t)
	id := p.user("ann@example.com")
	readers := p.group("readers") // not as the configuration writes it
	p.scim(204, "PATCH", "/Groups/"+readers, patchOps(`{"op":"Add","path":"members","value":[{"value":"`+id+`"}]}`))
	if got := p.roles(id); !slices.Equal(got, []string{"viewer for everything"}) {
		t.Fatalf("roles of a reader: %v", got)
	}
	cookie, in, err := p.signIn("ann@example.com")
	if err != nil || string(in.Person.ID) != id {
		t.Fatalf("signing in: %v as %v", err, in.Person.ID)
	}
	token, refresh := p.accessToken(in)
	if status, body := p.send("GET", "/api/v1/devices", token, "application/json", ""); status != 200 {
		t.Fatalf("calling the API: %d %v", status, body)
	}

	// Switched off, in the words of Entra ID: at the answer everything has ended.
	p.scim(200, "PATCH", "/Users/"+id, patchOps(`{"op":"Replace","path":"active","value":"False"}`))
	if status, _ := p.send("GET", "/api/v1/devices", token, "application/json", ""); status != 401 {
		t.Errorf("the command line's token after the account was switched off: %d", status)
	}
	if _, _, err := p.people.Resume(context.Background(), cookie, here); refusal.As(err) == nil {
		t.Errorf("the console after the account was switched off: %v", err)
	}
	if status, _ := p.send("POST", "/oauth/token", "", "application/x-www-form-urlencoded", url.Values{"client_id": {oauth.CLIClient}, "grant_type": {"refresh_token"}, "refresh_token": {refresh}}.Encode()); status != 400 {
		t.Errorf("the refresh token after the account was switched off: %d", status)
	}
	if _, _, err := p.signIn("ann@example.com"); !refusal.Is(err, "account-disabled") {
		t.Errorf("signing in after the account was switched off: %v", err)
	}

	// On again, and out of the group: the role is gone.
	p.scim(200, "PATCH", "/Users/"+id, patchOps(`{"op":"Replace","path":"active","value":"True"}`))
	if _, _, err := p.signIn("ann@example.com"); err != nil {
		t.Errorf("signing in after the account was switched on: %v", err)
	}
	p.scim(204, "PATCH", "/Groups/"+readers, patchOps(`{"op":"Remove","path":"members[value eq \"`+id+`\"]"}`))
	if got := p.roles(id); len(got) != 0 {
		t.Errorf("roles after leaving the group: %v", got)
	}

	// Deleted and made again: the same account, without the roles it had.
	if _, err := p.Grant(context.Background(), operator, adminapi.GrantInput{Kind: access.ToPerson, Subject: id, Role: "viewer"}); err != nil {
		t.Fatal(err)
	}
	p.scim(204, "DELETE", "/Users/"+id, "")
	p.scim(404, "GET", "/Users/"+id, "")
	if _, _, err := p.signIn("ann@example.com"); !refusal.Is(err, "account-disabled") {
		t.Errorf("signing in after the account was deleted: %v", err)
	}
	if again := p.user("ann@example.com"); again != id || len(p.roles(id)) != 0 {
		t.Errorf("made again as %s with %v, want %s without roles", again, p.roles(id), id)
	}
}

// TestProvisioningGroups: renaming and deleting a group change roles at once.
func TestProvisioningGroups(t *testing.T) {
	p := openProvisioned(t, "policy.apply+approval.decide")
	id := p.user("bob@example.com")
	g := p.group("Operators")
	p.scim(204, "PATCH", "/Groups/"+g, patchOps(`{"op":"add","path":"members","value":[{"value":"`+id+`"}]}`))
	if got := p.roles(id); !slices.Equal(got, []string{"operator for zone plant"}) {
		t.Errorf("roles of an operator: %v", got)
	}
	p.scim(409, "POST", "/Groups", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:Group"],"displayName":"OPERATORS"}`)
	p.scim(400, "PATCH", "/Groups/"+g, patchOps(`{"op":"add","path":"members","value":[{"value":"pnobody"}]}`))
	p.scim(204, "PATCH", "/Groups/"+g, patchOps(`{"op":"replace","path":"displayName","value":"Others"}`))
	if got := p.roles(id); len(got) != 0 {
		t.Errorf("roles after the group was renamed: %v", got)
	}
	p.scim(204, "PATCH", "/Groups/"+g, patchOps(`{"op":"replace","path":"displayName","value":"Readers"}`))
	p.scim(204, "DELETE", "/Groups/"+g, "")
	if got := p.roles(id); len(got) != 0 {
		t.Errorf("roles after the group was deleted: %v", got)
	}
}

// TestProvisioningStaysInside: what the provider does not keep, it neither sees nor
// changes; and who may not change accounts is not let in.
func TestProvisioningStaysInside(t *testing.T) {
	p := openProvisioned(t)
	ctx := context.Background()
	local, _, err := p.people.Invite(ctx, operator, people.Invitation{Name: "local@example.com"})
	if err != nil {
		t.Fatal(err)
	}
	p.scim(404, "GET", "/Users/"+string(local.ID), "")
	p.scim(404, "PATCH", "/Users/"+string(local.ID), patchOps(`{"op":"replace","path":"active","value":false}`))
	p.scim(409, "POST", "/Users", `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"userName":"local@example.com"}`)
	if n := p.scim(200, "GET", "/Users", "")["totalResults"]; n != 0.0 {
		t.Errorf("the provider sees %v users", n)
	}

	id := p.user("eve@example.com")
	if _, err := p.people.Disable(ctx, operator, access.PersonID(id), "she is under suspicion"); err != nil {
		t.Fatal(err)
	}
	p.scim(409, "PATCH", "/Users/"+id, patchOps(`{"op":"replace","path":"active","value":true}`))

	reader := p.program("reader", "viewer")
	_, in, err := p.signIn("dan@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Grant(ctx, operator, adminapi.GrantInput{Kind: access.ToPerson, Subject: string(in.Person.ID), Role: access.Admin}); err != nil {
		t.Fatal(err)
	}
	person, _ := p.accessToken(in)
	for what, c := range map[string]struct {
		token string
		want  int
	}{"no token": {"", 401}, "a wrong token": {"hfk_x_y", 401}, "a program that reads": {reader, 403}, "a person": {person, 403}} {
		if status, _ := p.send("GET", "/scim/v2/ServiceProviderConfig", c.token, "application/json", ""); status != c.want {
			t.Errorf("%s: %d, want %d", what, status, c.want)
		}
	}
}

// TestNoProvisioning: without a provider it is an address like any other.
func TestNoProvisioning(t *testing.T) {
	w := openWeb(t)
	resp, err := w.client.Get(w.ready.API + "/scim/v2/Users")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 303 || !strings.HasPrefix(resp.Header.Get("Location"), "/sign-in") {
		t.Errorf("SCIM without a provider: %d %s", resp.StatusCode, resp.Header.Get("Location"))
	}
}
