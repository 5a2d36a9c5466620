package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// call is one request that a recorded server saw.
type call struct {
	method, path, query, reason string
	body                        map[string]any
}

// recorded gives answers by "METHOD /path" below /api/v1 and keeps the calls. What
// has no answer is a failure.
func recorded(t *testing.T, answers map[string]string) (env []string, calls *[]call) {
	t.Helper()
	calls = &[]call{}
	env = peer(t, func(w http.ResponseWriter, r *http.Request) {
		c := call{method: r.Method, path: strings.TrimPrefix(r.URL.Path, "/api/v1"), query: r.URL.RawQuery, reason: r.Header.Get("Holdfast-Reason")}
		_ = json.NewDecoder(r.Body).Decode(&c.body)
		*calls = append(*calls, c)
		answer, ok := answers[c.method+" "+c.path]
		if !ok {
			t.Errorf("unexpected: %s %s", c.method, c.path)
		}
		status, text, coded := strings.Cut(answer, " ")
		switch {
		case answer == "":
			w.WriteHeader(204)
		case coded && len(status) == 3:
			var code int
			_, _ = fmt.Sscan(status, &code)
			problem(w, code, text)
		default:
			_, _ = io.WriteString(w, answer)
		}
	})
	return env, calls
}

const (
	aPerson = `{"id":"palice0000000000x","name":"alice@example.com","display":"Alice","mail":"alice@example.com","state":"active","origin":"local","created_at":"2026-01-02T03:04:05Z","version":7,
		"factors":{"password":true,"totp":true,"passkeys":[{"id":"k","name":"laptop"}],"recovery_codes":9}}`
	aClient   = `{"id":"c4k2m9qd7xna3bfeh","name":"export","owner":"team data","networks":["192.0.2.0/24"],"rate":60,"has_secret":true,"version":3,"keys":[{"id":"k1","client":"c4k2m9qd7xna3bfeh","note":"nightly"}]}`
	aRole     = `{"name":"line-lead","description":"leads a line","permissions":["device.read"],"version":4}`
	aGrant    = `{"id":"g1","kind":"person","subject":"palice0000000000x","role":"operator","scope":{"zones":["north"]},"granted_by":"person:p1"}`
	aRequest  = `{"id":"a1","action":"role-grant","summary":"Give a role (grants)","method":"POST","path":"/api/v1/grants","body":"eyJyb2xlIjoiYWRtaW4iLCJ4IjoiXHUwMDFiWzJKIn0=","requested_by":"person:p2","reason":"night shift","expires_at":"2099-01-02T03:04:05Z","state":"waiting"}`
	isWaiting = `202 {"detail":"nothing has happened yet: a second person has to approve this","approval":` + aRequest + `}`
	aSignIn   = `{"items":[{"id":"s1","kind":"cli","methods":["passkey"],"own":true,"device":"holdfast"}]}`
)

// TestAccessCommands runs each command once: what it asks and what it shows.
func TestAccessCommands(t *testing.T) {
	answers := map[string]string{
		"GET /people": `{"items":[` + aPerson + `]}`, "GET /people/palice0000000000x": aPerson, "PUT /people/palice0000000000x": aPerson,
		"POST /people": `{"person":` + aPerson + `,"link":"https://h/join?token=hfi_1","expires_at":"2026-01-02T03:04:05Z"}`, "POST /people/palice0000000000x/reinvite": `{"person":` + aPerson + `,"link":"https://h/join?token=hfi_2"}`,
		"POST /people/palice0000000000x/disable": aPerson, "POST /people/palice0000000000x/enable": aPerson, "POST /people/palice0000000000x/erase": aPerson,
		"GET /people/palice0000000000x/sign-ins": aSignIn, "DELETE /people/palice0000000000x/sign-ins": "", "DELETE /people/palice0000000000x/sign-ins/s1": "",
		"GET /account": `{"kind":"person","id":"p1","name":"Bob","roles":["viewer"],"permissions":["device.read"],"factors":{"passkeys":[]}}`, "GET /account/sign-ins": aSignIn, "DELETE /account/sign-ins": "", "DELETE /account/sign-ins/s2": "",
		"GET /roles": `{"items":[` + aRole + `]}`, "POST /roles": aRole, "PUT /roles/line-lead": aRole, "DELETE /roles/line-lead": "",
		"GET /permissions": `{"items":[{"permission":"device.read","meaning":"see devices","scoped":true}]}`, "GET /permissions/unused": `{"items":[{"kind":"person","subject":"p1","permission":"ca.rotate","roles":["admin"]}]}`,
		"GET /grants": `{"items":[` + aGrant + `]}`, "POST /grants": aGrant, "DELETE /grants/g1": "",
		"GET /clients": `{"items":[` + aClient + `]}`, "GET /clients/export": aClient, "POST /clients": aClient, "PUT /clients/c4k2m9qd7xna3bfeh": aClient,
		"POST /clients/c4k2m9qd7xna3bfeh/disable": aClient, "POST /clients/c4k2m9qd7xna3bfeh/enable": aClient,
		"POST /clients/c4k2m9qd7xna3bfeh/keys": `{"key":{"id":"k2"},"secret":"hfk_k2_x"}`, "DELETE /clients/c4k2m9qd7xna3bfeh/keys/k1": "",
		"POST /clients/c4k2m9qd7xna3bfeh/secret": `{"client_id":"c4k2m9qd7xna3bfeh","secret":"hfc_y"}`, "DELETE /clients/c4k2m9qd7xna3bfeh/secret": "",
		"GET /approvals": `{"items":[` + aRequest + `]}`, "GET /account/approvals": `{"items":[` + aRequest + `]}`, "GET /approvals/a1": aRequest, "POST /approvals/a1/withdraw": aRequest,
		"POST /approvals/a1/approve": strings.Replace(aRequest, `"waiting"`, `"done","outcome":"Created"`, 1), "POST /approvals/a1/reject": strings.Replace(aRequest, `"waiting"`, `"rejected"`, 1),
		"GET /overview": `{"devices":{"total":5,"by_state":{"active":5},"complete":false},"sessions":{"total":2,"by_kind":{"app":1,"device":1}},"rates":{"in":1.5,"out":3,"refused":4},"certificates":{"week":1,"month":2,"complete":true},"waiting":3,"approvals":0,"authority":{"role":"issuing","not_after":"2030-01-02T03:04:05Z"},"policy":{"version":9},"attention":[{"severity":"high","title":"Pump 7 is cut off","kind":"device","id":"pump-7"}]}`,
		"GET /refusals": `{"items":[{"last":"2026-01-02T03:04:05Z","kind":"publish-refused","principal":{"kind":"device","id":"d1","zone":"north"},"topic":"a/b","count":12,"detail":"no rule allows it"}]}`,
	}
	env, calls := recorded(t, answers)
	for _, c := range []struct{ command, words, asked string }{
		{"person list --state active --prefix al", "alice@example.com", "GET /people limit=100&prefix=al&state=active"},
		{"person show ALICE@example.com", "laptop", "GET /people/palice0000000000x "},
		{"person show palice0000000000x", "recovery codes", "GET /people/palice0000000000x "},
		{"person invite bob --display Bob", "https://h/join?token=hfi_1", "POST /people "},
		{"person update alice@example.com --mail a@example.com", "Alice", "PUT /people/palice0000000000x "},
		{"person disable alice@example.com --reason left", "Alice", "POST /people/palice0000000000x/disable "},
		{"person enable alice@example.com", "Alice", "POST /people/palice0000000000x/enable "},
		{"person reset alice@example.com --yes", "hfi_2", "POST /people/palice0000000000x/reinvite "},
		{"person erase alice@example.com --yes", "Alice", "POST /people/palice0000000000x/erase "},
		{"person sessions alice@example.com", "cli, this one", "GET /people/palice0000000000x/sign-ins "},
		{"person sign-out alice@example.com --reason lost", "is signed out", "DELETE /people/palice0000000000x/sign-ins reason=lost"},
		{"person sign-out alice@example.com --session s1", "is signed out", "DELETE /people/palice0000000000x/sign-ins/s1 "},
		{"account show", "viewer", "GET /account "},
		{"account sessions", "passkey", "GET /account/sign-ins "},
		{"account sign-out --others", "ended", "DELETE /account/sign-ins "},
		{"account sign-out s2", "ended", "DELETE /account/sign-ins/s2 "},
		{"role list", "leads a line", "GET /roles "},
		{"role show line-lead", "device.read", "GET /roles "},
		{"role create line-lead --permission device.read,device.write", "leads", "POST /roles "},
		{"role update line-lead --permission zone.read", "leads", "PUT /roles/line-lead "},
		{"role delete line-lead --yes", "deleted", "DELETE /roles/line-lead "},
		{"role permissions", "see devices", "GET /permissions "},
		{"role unused --days 30", "never", "GET /permissions/unused days=30"},
		{"role grant operator --person alice@example.com --zone north --label site=a --reason new --valid-for 30d", "zone north", "POST /grants "},
		{"role grant operator --client export", "operator", "POST /grants "},
		{"role revoke g1 --reason moved", "taken back", "DELETE /grants/g1 reason=moved"},
		{"role grants --client export", "operator", "GET /grants kind=client&subject=c4k2m9qd7xna3bfeh"},
		{"client list", "team data", "GET /clients "},
		{"client show export", "nightly", "GET /clients/export "},
		{"client create export --network 192.0.2.0/24,2001:db8::1 --reason needed", "export", "POST /clients "},
		{"client update export --rate 5", "export", "PUT /clients/c4k2m9qd7xna3bfeh "},
		{"client disable export --reason leaked", "export", "POST /clients/c4k2m9qd7xna3bfeh/disable "},
		{"client enable export", "export", "POST /clients/c4k2m9qd7xna3bfeh/enable "},
		{"client key create export --permission device.read --valid-for 1d", "hfk_k2_x", "POST /clients/c4k2m9qd7xna3bfeh/keys "},
		{"client key revoke export k1 --yes", "revoked", "DELETE /clients/c4k2m9qd7xna3bfeh/keys/k1 "},
		{"client secret create export --yes", "hfc_y", "POST /clients/c4k2m9qd7xna3bfeh/secret "},
		{"client secret remove export --yes", "removed", "DELETE /clients/c4k2m9qd7xna3bfeh/secret "},
		{"approval list --state waiting", "Give a role", "GET /approvals limit=100&state=waiting"},
		{"approval list --own", "night shift", "GET /account/approvals "},
		{"approval show a1", `"role": "admin"`, "GET /approvals/a1 "},
		{"approval approve a1 --yes --comment fine", "Created", "POST /approvals/a1/approve "},
		{"approval reject a1 --reason no", "rejected", "POST /approvals/a1/reject "},
		{"approval withdraw a1", "withdrawn", "POST /approvals/a1/withdraw "},
		{"overview", "Pump 7 is cut off", "GET /overview "},
		{"refusal list --principal d1", "no rule allows it", "GET /refusals limit=100&principal=d1"},
	} {
		*calls = nil
		r := runIn(t, "", env, strings.Fields(c.command)...)
		r.check(t, 0, c.words)
		if len(*calls) == 0 {
			t.Errorf("%s asked nothing", c.command)
			continue
		}
		last := (*calls)[len(*calls)-1]
		if asked := last.method + " " + last.path + " " + last.query; asked != c.asked {
			t.Errorf("%s asked %q, want %q", c.command, asked, c.asked)
		}
		if strings.Contains(r.out+r.err, "\x1b") {
			t.Errorf("%s let an escape through: %q", c.command, r.out+r.err)
		}
		if out := runIn(t, "", env, append(strings.Fields(c.command), "-o", "json")...); out.code != 0 || !json.Valid([]byte(out.out)) {
			t.Errorf("%s -o json gives %d %s%s", c.command, out.code, out.out, out.err)
		}
	}
	runIn(t, "", env, "approval", "approve", "a1").check(t, 2, "person:p2 asks: Give a role", "night shift", `"role": "admin"`, "give --yes")
	runIn(t, "", env, "overview").check(t, 0, "at least 5: 5 active", "2: 1 app, 1 device", "version 9")
	runIn(t, "", env, "role", "show", "none").check(t, 1, `there is no role "none"`)
	runIn(t, "", env, "person", "show", "nobody").check(t, 1, `there is no person "nobody"`)
	runIn(t, "", env, "role", "create", "x", "--permission", "device.fly").check(t, 2, `there is no permission "device.fly"`)
	runIn(t, "", env, "client", "create", "x", "--network", "192.0.2.1/24").check(t, 2, "write networks as")
	runIn(t, "", env, "role", "grant", "operator").check(t, 2, "person", "client")
	runIn(t, "", env, "account", "sign-out").check(t, 2, "not said which")
	runIn(t, "", env, "account", "confirm").check(t, 1, "only a person who logged in")
}

func TestWhatIsSent(t *testing.T) {
	env, calls := recorded(t, map[string]string{
		"GET /roles": `{"items":[` + aRole + `]}`, "PUT /roles/line-lead": aRole, "GET /clients/export": aClient, "PUT /clients/c4k2m9qd7xna3bfeh": aClient,
		"POST /grants": aGrant, "POST /roles": aRole, "GET /people/palice0000000000x": aPerson, "PUT /people/palice0000000000x": aPerson, "GET /people/pnameless00000000": `{"id":"pnameless00000000","state":"active","version":1}`,
	})
	sent := func(args ...string) call {
		t.Helper()
		runIn(t, "", env, args...).check(t, 0)
		return (*calls)[len(*calls)-1]
	}
	if c := sent("role", "update", "line-lead", "--permission", "zone.read", "--reason", "smaller now"); fmt.Sprintf("%v %v %v", c.body["permissions"], c.body["version"], c.body["description"]) != "[zone.read] 4 leads a line" || c.reason != "smaller%20now" {
		t.Errorf("role update sent %v, %q", c.body, c.reason)
	}
	if c := sent("role", "update", "line-lead", "--description", "x"); fmt.Sprint(c.body["permissions"]) != "[device.read]" {
		t.Errorf("role update sent %v", c.body)
	}
	if c := sent("client", "update", "export", "--network", ""); c.body["networks"] != nil || c.body["owner"] != "team data" || c.body["version"] != 3.0 {
		t.Errorf("client update sent %v", c.body)
	}
	if c := sent("client", "update", "export", "--network", "198.51.100.7"); fmt.Sprint(c.body["networks"], c.body["rate"]) != "[198.51.100.7/32] 60" {
		t.Errorf("client update sent %v", c.body)
	}
	if c := sent("role", "grant", "operator", "--person", "palice0000000000x", "--zone", "north,south", "--type", "pump", "--label", "site=a", "--reason", "r", "--expires", "2030-01-31T12:00:00Z"); fmt.Sprint(c.body) !=
		"map[expires_at:2030-01-31T12:00:00Z kind:person reason:r role:operator scope:map[labels:map[site:[a]] types:[pump] zones:[north south]] subject:palice0000000000x]" {
		t.Errorf("role grant sent %v", c.body)
	}
	if c := sent("person", "update", "palice0000000000x", "--break-glass"); fmt.Sprint(c.body) != "map[break_glass:true display:Alice mail:alice@example.com name:alice@example.com version:7]" {
		t.Errorf("person update sent %v", c.body)
	}
	runIn(t, "", env, "person", "update", "pnameless00000000", "--display", "x").check(t, 1, "needs the permission personal.read")
	runIn(t, "", env, "person", "update", "palice0000000000x").check(t, 2, "nothing to change")
}

func TestSecretsGoWhereTheyAreMeantTo(t *testing.T) {
	env, _ := recorded(t, map[string]string{
		"POST /people": `{"person":` + aPerson + `,"link":"https://h/join?token=hfi_1"}`, "GET /clients/export": aClient,
		"POST /clients/c4k2m9qd7xna3bfeh/keys": `{"key":{"id":"k2"},"secret":"hfk_k2_x"}`, "POST /clients/c4k2m9qd7xna3bfeh/secret": `{"client_id":"c4k2m9qd7xna3bfeh","secret":"hfc_y"}`,
	})
	for command, secret := range map[string]string{"person invite bob": "https://h/join?token=hfi_1", "client key create export": "hfk_k2_x", "client secret create export --yes": "hfc_y"} {
		file := filepath.Join(t.TempDir(), "secret")
		args := append(strings.Fields(command), "--secret-file", file)
		if r := runIn(t, "", env, args...); r.code != 0 || strings.Contains(r.out+r.err, secret) {
			t.Errorf("%s: %+v", command, r)
		}
		if text, err := os.ReadFile(file); err != nil || string(text) != secret+"\n" {
			t.Errorf("%s: the file holds %q, %v", command, text, err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", command, info, err)
		}
		runIn(t, "", env, args...).check(t, 1, "exists already")
	}
}

func TestWaitingForASecondPerson(t *testing.T) {
	env, calls := recorded(t, map[string]string{"POST /grants": isWaiting, "GET /clients/export": aClient})
	args := []string{"role", "grant", "operator", "--client", "export", "--reason", "x"}
	r := runIn(t, "", env, args...)
	r.check(t, 3, "nothing has happened yet", "holdfast approval approve a1", "approval.decide")
	if r.out != "" || strings.Contains(r.err, "error:") {
		t.Errorf("got %+v", r)
	}
	r = runIn(t, "", env, append(args, "-o", "json")...)
	r.check(t, 3)
	var q struct{ ID, State string }
	if err := json.Unmarshal([]byte(r.out), &q); err != nil || q.ID != "a1" || q.State != "waiting" {
		t.Errorf("got %s, %v", r.out, err)
	}
	*calls = nil

	for end, code := range map[string]int{"done": 0, "failed": 1, "rejected": 1, "expired": 1, "withdrawn": 1} {
		for _, forbidden := range []bool{false, true} {
			w := newWorld(t)
			w.logIn()
			asked := 0
			w.api = func(rw http.ResponseWriter, r *http.Request) {
				state := "waiting"
				if asked > 2 {
					state = end
				}
				now := strings.Replace(aRequest, `"waiting"`, `"`+state+`","outcome":"what came of it"`, 1)
				switch path := strings.TrimPrefix(r.URL.Path, "/api/v1"); {
				case path == "/clients/export":
					_, _ = io.WriteString(rw, aClient)
				case path == "/grants":
					problem(rw, 202, strings.TrimPrefix(isWaiting, "202 "))
				case path == "/approvals/a1" && forbidden:
					problem(rw, 403, `{"status":403,"code":"forbidden","detail":"no"}`)
				case path == "/approvals/a1":
					if asked++; asked == 2 {
						http.Error(rw, "?", http.StatusBadGateway) // a moment's trouble
						return
					}
					_, _ = io.WriteString(rw, now)
				case path == "/account/approvals":
					asked++
					_, _ = io.WriteString(rw, `{"items":[`+now+`]}`)
				}
			}
			w.run(nil, append(args, "--wait")...).check(t, code, "what came of it", end)
		}
	}
}

func TestManyDevices(t *testing.T) {
	var bodies [][]any
	var paths []string
	pending := false
	env := peer(t, func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			IDs    []any
			Reason string
		}
		_ = json.NewDecoder(r.Body).Decode(&in)
		bodies, paths = append(bodies, in.IDs), append(paths, r.URL.Path)
		if pending {
			problem(w, 202, strings.TrimPrefix(isWaiting, "202 "))
			return
		}
		var items []string
		for _, id := range in.IDs {
			if id == "bad" {
				items = append(items, `{"id":"bad","error":"there is no device bad"}`)
			} else {
				items = append(items, fmt.Sprintf(`{"id":%q,"state":"quarantined"}`, id))
			}
		}
		_, _ = io.WriteString(w, `{"items":[`+strings.Join(items, ",")+`]}`)
	})
	runIn(t, "", env, "device", "quarantine", "d1", "d2", "d1", "--reason", "worm").check(t, 0, "d1", "d2", "quarantined")
	if fmt.Sprint(bodies, paths) != "[[d1 d2]] [/api/v1/devices/quarantine]" {
		t.Errorf("asked %v %v", bodies, paths)
	}
	bodies = nil
	var file strings.Builder
	file.WriteString("# of the export\n\n")
	for i := range 2500 {
		fmt.Fprintf(&file, "d%d\r\n", i)
	}
	r := runIn(t, file.String(), env, "device", "quarantine", "--file", "-", "-o", "json")
	r.check(t, 0)
	if len(bodies) != 3 || len(bodies[0]) != 1000 || len(bodies[2]) != 500 || strings.Count(r.out, "quarantined") != 2500 {
		t.Errorf("%d requests", len(bodies))
	}
	runIn(t, "", env, "device", "release", "d1", "bad").check(t, 1, "there is no device bad", "1 of 2 devices were not changed")
	runIn(t, "d1,d2\n", env, "device", "quarantine", "--file", "-").check(t, 2, "line 1 of - is not one id")
	runIn(t, "", env, "device", "quarantine", "--file", "-").check(t, 2, "no device is named")
	runIn(t, "", env, "device", "revoke", "d1", "d2").check(t, 2, "each of 2 devices", "give --yes")
	pending = true
	runIn(t, file.String(), env, "device", "revoke", "--file", "-", "--yes", "--reason", "x").check(t, heldExit, "holdfast approval approve a1")
	runIn(t, "", env, "device", "retire", "d1", "d2", "--yes", "--reason", "x").check(t, heldExit, "holdfast approval approve a1")
	if !slices.Contains(paths, "/api/v1/devices/d2/retire") {
		t.Errorf("asked %v", paths[len(paths)-3:])
	}
}
