package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// matrixRow is a row of docs/protocol/authorization.md: what is expected.
type matrixRow struct {
	operation, allow, also string
	roles                  map[string]bool
	scope                  string // object, made, rows, shown, whole, no or own
	fresh                  bool
	second                 string
}

var matrixRoles = []string{"viewer", "operator", "security-officer", "update-manager", "auditor", "admin"}

func readMatrix(t *testing.T) map[string]matrixRow {
	t.Helper()
	text, err := os.ReadFile("../docs/protocol/authorization.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| operation | needs | "+strings.Join(matrixRoles, " | ")+" | with a scope | step-up | second person |\n")
	if !ok {
		t.Fatal("docs/protocol/authorization.md has no table with the columns that this test knows")
	}
	rows := map[string]matrixRow{}
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "|---") {
			continue
		}
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) != 5+len(matrixRoles) {
			t.Fatalf("%d cells in %s", len(cells), line)
		}
		row := matrixRow{operation: cells[0], roles: map[string]bool{}, scope: cells[8], fresh: cells[9] == "yes", second: cells[10]}
		row.allow, row.also, _ = strings.Cut(cells[1], " + ")
		for i, role := range matrixRoles {
			if row.roles[role] = cells[2+i] == "yes"; cells[2+i] != "" && cells[2+i] != "yes" {
				t.Errorf("%s: the cell of %s says %q", row.operation, role, cells[2+i])
			}
		}
		if _, twice := rows[row.operation]; twice || !slices.Contains([]string{"object", "made", "rows", "shown", "whole", "no", "own"}, row.scope) {
			t.Errorf("%s is there twice, or has the mark %q", row.operation, row.scope)
		}
		rows[row.operation] = row
	}
	return rows
}

// described is an operation of the OpenAPI document.
type described struct {
	method, path string
	OperationID  string                `json:"operationId"`
	Security     []map[string][]string `json:"security"`
	Permission   string                `json:"x-holdfast-permission"`
	Also         string                `json:"x-holdfast-also-permission"`
	Fresh        bool                  `json:"x-holdfast-step-up"`
	Second       string                `json:"x-holdfast-second-person"`
	Parameters   []struct {
		Name, In string
		Required bool
		Example  any
		Schema   struct {
			Enum     []any
			Examples []any
		}
	}
	RequestBody *struct {
		Content map[string]struct{ Example json.RawMessage }
	} `json:"requestBody"`
}

func (w *accessWorld) operations() (list []described) {
	w.t.Helper()
	res, err := w.web.Get(w.ready.API + "/openapi.json")
	w.ok(err)
	defer res.Body.Close()
	var doc struct {
		Paths map[string]map[string]described
	}
	w.ok(json.NewDecoder(res.Body).Decode(&doc))
	for path, item := range doc.Paths {
		for method, op := range item {
			op.method, op.path = strings.ToUpper(method), strings.TrimPrefix(path, "/api/v1")
			list = append(list, op)
		}
	}
	slices.SortFunc(list, func(a, b described) int { return strings.Compare(a.OperationID, b.OperationID) })
	return list
}

// public lists the operations that need no token, and so no rule.
var public = []string{"trust-anchors"}

// TestAuthorizationTable compares the table with what the server says of itself
// and with the roles that come with it.
func TestAuthorizationTable(t *testing.T) {
	w := enterAccess(t, nil, Options{})
	rows, used := readMatrix(t), map[string]bool{}
	for _, op := range w.operations() {
		if slices.Contains(public, op.OperationID) {
			if op.Permission != "" || len(op.Security) != 0 {
				t.Errorf("%s is public and names %q", op.OperationID, op.Permission)
			}
			continue
		}
		p := access.Permission(op.Permission)
		if p != access.Own && !p.Known() || len(op.Security) == 0 {
			t.Errorf("%s asks for the permission %q, with the security %v", op.OperationID, op.Permission, op.Security)
		}
		used[op.Permission], used[op.Also] = true, true
		row, ok := rows[op.OperationID]
		if !ok {
			t.Errorf("docs/protocol/authorization.md has no row for %s: review who may do it, and add one", op.OperationID)
			continue
		}
		delete(rows, op.OperationID)
		if row.allow != op.Permission || row.also != op.Also || row.fresh != op.Fresh || row.second != op.Second {
			t.Errorf("%s: the table says %s + %s, step-up %t, second person %q; the server %s + %s, %t, %q", op.OperationID, row.allow, row.also, row.fresh, row.second, op.Permission, op.Also, op.Fresh, op.Second)
		}
		for _, role := range access.BuiltinRoles() {
			if has := p == access.Own || role.Has(p) && (op.Also == "" || role.Has(access.Permission(op.Also))); has != row.roles[role.Name] {
				t.Errorf("%s: the role %s has it: %t, and the table says otherwise", op.OperationID, role.Name, has)
			}
		}
		switch scoped := p.Info().Scoped; row.scope {
		case "own":
			ok = p == access.Own
		case "whole":
			ok = !scoped && p.Info().Effect == access.Read
		case "no":
			ok = !scoped && p != access.Own && p.Info().Effect != access.Read
		default:
			ok = scoped
		}
		if !ok {
			t.Errorf("%s: the mark %s does not fit %s", op.OperationID, row.scope, p)
		}
	}
	for name := range rows {
		t.Errorf("the table has a row for %s, which there is not", name)
	}
	for _, i := range access.Permissions() {
		if !used[string(i.Permission)] {
			t.Errorf("no operation asks for the permission %s", i.Permission)
		}
	}
}

// matrix is the fleet that the matrix is tried on: what is inside of the scopes and
// what is outside, and what to send to each operation.
type matrix struct {
	*accessWorld
	ops     []described
	rows    map[string]matrixRow
	serials map[string]string // by in and out
	tokens  map[string]string
	waiting map[string]string
	talking map[string]string // client ids of sessions
	decider access.Person
	grant   string // of the decider
	other   access.Person
	program string // client without roles
}

var matrixScopes = map[string]access.Scope{
	"everything": {}, "zone": {Zones: []device.ZoneName{"zone-a"}}, "type": {Types: []device.TypeName{"pump"}}, "label": {Labels: map[string][]string{"site": {"a"}}},
}

const matrixPolicy = `
apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: pump}
spec: {publish: [{name: t, topic: "w/${device.id}"}]}
---
apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: valve}
spec: {publish: [{name: t, topic: "w/${device.id}"}]}
`

// place is what in and out differ in.
func place(where string) (kind, zone, site string) {
	if where == "in" {
		return "pump", "zone-a", "a"
	}
	return "valve", "zone-b", "b"
}

func enterMatrix(t *testing.T) *matrix {
	m := &matrix{accessWorld: enterAccess(t, nil, Options{}), serials: map[string]string{"non": strings.Repeat("0", 32)}, tokens: map[string]string{"non": "aaaaaaaaaaaaaaaa"},
		waiting: map[string]string{}, talking: map[string]string{"non": "talk-non-1"}, rows: readMatrix(t)}
	ctx := t.Context()
	m.ops = m.operations()
	for _, z := range []device.Zone{{Name: "zone-a"}, {Name: "zone-b"}, {Name: "prod", Production: true}} {
		_, err := m.CreateZone(ctx, operator, z)
		m.ok(err)
	}
	for _, name := range []device.TypeName{"pump", "valve"} {
		_, err := m.CreateType(ctx, operator, device.Type{Name: name})
		m.ok(err)
	}
	_, err := m.ApplyPolicy(ctx, operator, adminapi.PolicyApply{Files: []adminapi.PolicyFile{{Name: "all.yaml", Text: matrixPolicy}}, Message: "test"})
	m.ok(err)
	for _, where := range []string{"in", "out"} {
		kind, zone, site := place(where)
		labels := map[string]string{"site": site}
		for i := range 12 {
			_, err := m.CreateDevice(ctx, operator, device.Device{ID: device.ID(fmt.Sprint(where, "-", i+1)), Type: device.TypeName(kind), Zone: device.ZoneName(zone), Labels: labels})
			m.ok(err)
		}
		m.serials[where] = fmt.Sprintf("%032x", m.enrolled(where+"-cert", kind, zone, "", labels).cert.Leaf.SerialNumber)
		m.talk(where)
	}
	for _, tok := range m.list("/tokens") {
		if tok["zone"] == "zone-a" {
			m.tokens["in"] = tok["id"].(string)
		} else {
			m.tokens["out"] = tok["id"].(string)
		}
	}
	m.wait("in")
	m.wait("out")
	m.waiting["non"] = "w-" + strings.Repeat("0", len(m.waiting["in"])-2)
	m.decider, m.other = m.person("decider", everything("security-officer")), m.person("other")
	m.grant = m.list("/grants?kind=person&subject=" + string(m.decider.ID))[0]["id"].(string)
	m.program = m.client("program").id
	_, err = m.CreateRole(ctx, operator, access.Role{Name: "line-lead", Permissions: []access.Permission{access.DeviceRead}})
	m.ok(err)
	return m
}

// list reads a list as the admin token.
func (m *matrix) list(path string) []map[string]any {
	m.t.Helper()
	var l struct{ Items []map[string]any }
	r := m.root.do(request{method: "GET", path: path})
	if err := json.Unmarshal([]byte(r.body), &l); err != nil || len(l.Items) == 0 {
		m.t.Fatalf("listing %s: %v, %v", path, r, err)
	}
	return l.Items
}

// talk connects another device.
func (m *matrix) talk(where string) {
	m.t.Helper()
	kind, zone, site := place(where)
	m.talking[where] = fmt.Sprintf("talk-%s-%d", where, m.next()) // behind all others in lists
	m.speak(m.enrolled(m.talking[where], kind, zone, "", map[string]string{"site": site}))
}

// wait puts a device into the waiting room.
func (m *matrix) wait(where string) {
	m.t.Helper()
	kind, zone, site := place(where)
	id := fmt.Sprintf("%s-wait-%d", where, m.next())
	m.enrolled(id, kind, zone, device.Manual, map[string]string{"site": site})
	for _, v := range m.list("/waiting") {
		if v["device_id"] == id {
			m.waiting[where] = v["id"].(string)
			return
		}
	}
	m.t.Fatalf("%s does not wait", id)
}

// made is what an operation is sent beside the examples of the document: values
// for parameters, and the body.
func (m *matrix) made(op described, where string) (params map[string]string, kind string, body any) {
	ids := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprint("in-", i+1))
		}
		return append(list, where+"-1")
	}
	devKind, zone, site := place(where)
	labels := map[string]string{"site": site}
	params = map[string]string{"serial": m.serials[where], "client": m.talking[where]}
	switch {
	case strings.HasPrefix(op.path, "/devices/{id}"):
		params["id"] = where + "-1"
	case strings.HasPrefix(op.path, "/tokens/{id}"):
		params["id"] = m.tokens[where]
	case strings.HasPrefix(op.path, "/waiting/{id}"):
		params["id"] = m.waiting[where]
	case strings.HasPrefix(op.path, "/clients/{id}"):
		params["id"] = m.program
	case strings.HasPrefix(op.path, "/people/{id}"):
		params["id"] = string(m.other.ID)
	case strings.HasPrefix(op.path, "/types/{name}"):
		params["name"] = "pump"
	case strings.HasPrefix(op.path, "/zones/{name}"):
		params["name"] = "prod"
	}
	type object = map[string]any
	switch op.OperationID {
	case "update-device":
		body = object{"version": 99, "type": "pump", "zone": "zone-a", "labels": object{"site": "a"}}
	case "create-device":
		body = object{"id": fmt.Sprint("new-", m.next()), "type": devKind, "zone": zone, "labels": labels}
	case "create-token":
		id := fmt.Sprint("new-", m.next())
		body = object{"kind": "one-time", "type": devKind, "zone": zone, "labels": labels, "device_id": id, "quota": 1}
	case "import-devices":
		kind, body = "text/csv", fmt.Sprintf("id,type,zone,labels\nrow-%d,%s,%s,site=%s\n", m.next(), devKind, zone, site)
	case "quarantine-devices", "release-devices", "revoke-devices":
		body = object{"ids": slices.Compact(ids(11)[1:]), "reason": "test"}
	case "revoke-certificate":
		body = object{"reason": "superseded"}
	case "update-zone":
		body = object{"version": 1, "production": false}
	case "move-type":
		body = object{"stage": "decommission", "reason": "test"}
	case "reinvite-person", "erase-person":
		params["id"] = string(m.decider.ID)
	case "update-person":
		params["id"], body = string(m.decider.ID), object{"version": 1, "name": "decider", "break_glass": true}
	case "create-grant":
		body = object{"kind": "person", "subject": string(m.other.ID), "role": "viewer", "reason": "test"}
	case "delete-grant":
		params["id"] = m.grant
	case "explain-policy":
		body = object{"as": "device:" + where + "-1", "connect": where + "-1"}
	}
	return params, kind, body
}

// ask is a whole request for an operation.
func (m *matrix) ask(op described, where string) request {
	m.t.Helper()
	params, kind, body := m.made(op, where)
	path, query := op.path, url.Values{}
	for _, p := range op.Parameters {
		v, ok := params[p.Name]
		switch {
		case ok && p.In == "path":
		case p.Example != nil:
			v = fmt.Sprint(p.Example)
		case len(p.Schema.Examples) > 0:
			v = fmt.Sprint(p.Schema.Examples[0])
		case len(p.Schema.Enum) > 0:
			v = fmt.Sprint(p.Schema.Enum[0])
		default:
			v = "x"
		}
		if p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", strings.ReplaceAll(url.PathEscape(v), "%2F", "/"))
		} else if p.In == "query" && p.Required {
			query.Set(p.Name, v)
		}
	}
	q := request{method: op.method, path: path, kind: kind, body: body, reason: "because"}
	if len(query) > 0 {
		q.path += "?" + query.Encode()
	}
	if op.RequestBody != nil && body == nil {
		for kind, content := range op.RequestBody.Content {
			q.kind, q.body = kind, string(content.Example)
			if text := ""; kind != "application/json" && json.Unmarshal(content.Example, &text) == nil {
				q.body = text
			}
		}
	}
	return q
}

// readyFor makes what an operation ends when it succeeds.
func (m *matrix) readyFor(op described) {
	m.t.Helper()
	switch op.OperationID {
	case "approve-waiting", "reject-waiting":
		m.wait("in")
	case "close-session":
		m.talk("in")
	}
}

// TestAuthorizationMatrix calls every operation as a program and as a person, with
// every role that comes with Holdfast, for everything and for a part of the fleet,
// and holds what happens against the table.
func TestAuthorizationMatrix(t *testing.T) {
	m := enterMatrix(t)
	type party struct {
		role, scope string
		fresh       bool // or a program
		*caller
	}
	var parties []party
	for _, role := range matrixRoles {
		for scope, part := range matrixScopes {
			name := role + "-" + scope
			parties = append(parties, party{role, scope, true, m.client(name, given{role: role, scope: part})})
			p := m.person(name, given{role: role, scope: part})
			parties = append(parties, party{role, scope, true, m.as(p, 0)}, party{role, scope, false, m.as(p, time.Hour)})
		}
	}
	slices.SortFunc(parties, func(a, b party) int { return strings.Compare(a.name, b.name) })
	calls := 0
	for _, op := range m.ops {
		row, ok := m.rows[op.OperationID]
		if !ok {
			continue // TestAuthorizationTable tells
		}
		if op.OperationID == "show-session" {
			m.talk("in") // the last one was closed
		}
		for _, p := range parties {
			at := fmt.Sprintf("%s as %s (%s, fresh %t)", op.OperationID, p.name, p.base[:14], p.fresh)
			whole := p.scope == "everything"
			where := []string{"in"}
			allowed := row.roles[p.role] && (whole || row.scope != "no")
			if allowed && !whole && (row.scope == "object" || row.scope == "made" || row.scope == "rows") {
				where = append(where, "out")
			}
			for _, where := range where {
				if allowed && (p.fresh || !row.fresh) && where == "in" {
					m.readyFor(op)
				}
				got := p.do(m.ask(op, where))
				calls++
				m.judge(at+" "+where, op, row, p.scope, where, allowed, allowed && row.fresh && !p.fresh, got)
				if where == "out" && row.scope == "object" && got.status == http.StatusNotFound {
					m.alike(at, op, where, got, p.do(m.ask(op, "non")))
				}
				if row.scope == "shown" && allowed && got.status == http.StatusOK {
					m.shown(at, op, whole, got)
				}
			}
		}
	}
	t.Logf("%d calls of %d operations as %d parties", calls, len(m.ops), len(parties))
}

// manyInARow need a second person after some, which TestManyInARow shows.
var manyInARow = []string{"quarantine-device", "release-device", "revoke-device", "revoke-certificate"}

// judge holds one answer against what is expected.
func (m *matrix) judge(at string, op described, row matrixRow, scope, where string, allowed, stale bool, got response) {
	m.t.Helper()
	outside := where == "out" || scope == "label" && strings.HasPrefix(op.path, "/waiting/{id}")
	want := "to be let through"
	ok := false
	switch {
	case row.scope == "own" && stale:
		want, ok = "403 step-up-needed", got.status == http.StatusForbidden && got.code() == "step-up-needed"
	case row.scope == "own": // a program or a made-up sign-in has no account to look after
		ok = got.code() != "not-permitted" && got.code() != "out-of-scope" && got.status < 500
	case !allowed:
		want, ok = "403 not-permitted", got.status == http.StatusForbidden && got.code() == "not-permitted"
	case stale:
		want, ok = "403 step-up-needed", got.status == http.StatusForbidden && got.code() == "step-up-needed"
	case outside && row.scope == "object":
		want, ok = "404", got.status == http.StatusNotFound
	case outside && row.scope == "made":
		want, ok = "403 out-of-scope", got.status == http.StatusForbidden && got.code() == "out-of-scope"
	case outside && row.scope == "rows":
		want, ok = "422 bad-rows", got.status == http.StatusUnprocessableEntity && got.code() == "bad-rows"
	case row.second != "" && !slices.Contains(manyInARow, op.OperationID):
		want, ok = "202", got.status == http.StatusAccepted
	case op.OperationID == "explain-policy" && scope != "everything", row.scope == "object":
		ok = got.status != http.StatusUnauthorized && got.status != http.StatusForbidden && got.status != http.StatusNotFound && got.status < 500
	case row.scope == "made" || row.scope == "rows" || row.scope == "shown":
		want, ok = "success", got.status/100 == 2
	default:
		ok = got.status != http.StatusUnauthorized && got.status != http.StatusForbidden && got.status < 500
	}
	if !ok {
		m.t.Errorf("%s: want %s, got %v", at, want, got)
	}
}

var requestID = regexp.MustCompile(`"request_id":"[0-9a-f]{16}"`)

// alike checks that an answer about what is outside cannot be told from one about
// what does not exist.
func (m *matrix) alike(at string, op described, where string, outside, missing response) {
	m.t.Helper()
	same := func(where string, r response) string {
		params, _, _ := m.made(op, where)
		text := requestID.ReplaceAllString(r.body, "")
		for _, id := range []string{params["id"], params["serial"], params["client"], where + "-1"} {
			if id != "" {
				text = strings.ReplaceAll(text, id, "NAME")
			}
		}
		for name := range r.header {
			if !slices.Contains([]string{"X-Request-Id", "Date", "Ratelimit", "Content-Length"}, name) {
				text += fmt.Sprintf("\n%s: %v", name, r.header[name])
			}
		}
		lines := strings.Split(text, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	if a, b := same(where, outside), same("non", missing); outside.status != missing.status || a != b {
		m.t.Errorf("%s: the answer about what is outside is\n%s\nand about what does not exist\n%s", at, a, b)
	}
}

// shown checks that a list shows what is outside to those alone who have
// everything.
func (m *matrix) shown(at string, op described, whole bool, got response) {
	m.t.Helper()
	found := false
	for _, trace := range []string{"out-", "zone-b", "valve"} {
		found = found || strings.Contains(got.body, trace)
	}
	switch op.OperationID {
	case "tap", "list-rates", "list-refusals": // nothing passed
		whole = found && whole
	}
	if found != whole {
		m.t.Errorf("%s: it shows what is outside: %t\n%.600s", at, found, got.body)
	}
}

// TestReadableOutside checks that who may see everything, and change a part, is
// told the truth about the rest.
func TestReadableOutside(t *testing.T) {
	m := enterMatrix(t)
	for scope, part := range matrixScopes {
		if scope == "everything" {
			continue
		}
		c := m.client("mixed-"+scope, everything("viewer"), given{role: "admin", scope: part})
		for _, op := range m.ops {
			row := m.rows[op.OperationID]
			if row.scope != "object" || row.roles["viewer"] {
				continue
			}
			want := "out-of-scope"
			if got := c.do(m.ask(op, "out")); got.code() != want {
				t.Errorf("%s of what is outside of a %s: %v", op.OperationID, scope, got)
			}
			if got := c.do(m.ask(op, "non")); got.status != http.StatusNotFound {
				t.Errorf("%s of what does not exist: %v", op.OperationID, got)
			}
		}
	}
}

// TestUnproven checks that nobody learns anything without a proof: not even which
// paths there are.
func TestUnproven(t *testing.T) {
	m := enterMatrix(t)
	for name, token := range map[string]string{"none": "", "nonsense": "x", "unknown key": "hfk_aaaaaaaaaaaaaaaa_" + strings.Repeat("a", 40), "unknown admin token": "hfa_x_y", "no JWT": "a.b.c"} {
		c := m.bearer(name, token)
		first := ""
		for i, op := range append(m.ops, described{OperationID: "nothing", method: "GET", path: "/nothing"}) {
			if slices.Contains(public, op.OperationID) || i%7 != 0 && name != "none" && op.OperationID != "nothing" {
				continue
			}
			got := c.do(m.ask(op, "in"))
			if got.status == http.StatusTooManyRequests && name != "none" {
				continue // the budget of this address for wrong tokens
			}
			text := requestID.ReplaceAllString(got.body, "")
			if first == "" {
				first = text
			}
			if got.status != http.StatusUnauthorized || text != first || got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %s: %v", op.OperationID, name, got)
			}
		}
	}
}
