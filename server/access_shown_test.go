package server

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// say publishes at QoS 0 what the matrix's policy lets a device say.
func say(t *testing.T, conn net.Conn, id string) {
	t.Helper()
	topic := "w/" + id
	if _, err := conn.Write(append([]byte{0x30, byte(3 + len(topic)), 0, byte(len(topic))}, topic+"x"...)); err != nil {
		t.Fatal(err)
	}
}

// TestTapShowsTheScope taps with every scope while devices inside and outside of it
// speak: what is outside is seen by who sees everything, and by nobody else.
func TestTapShowsTheScope(t *testing.T) {
	m := enterMatrix(t)
	conns := map[string]net.Conn{}
	for _, where := range []string{"in", "out"} {
		kind, zone, site := place(where)
		conns[where] = m.speak(m.enrolled("said-"+where, kind, zone, "", map[string]string{"site": site}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	enough := errors.New("enough")
	outside := make(chan struct{})
	var begun, ended sync.WaitGroup
	for scope, part := range matrixScopes {
		c := m.client("tap-"+scope, given{role: "admin", scope: part})
		api := &adminapi.Client{BaseURL: c.base, Token: adminapi.NewBearer(c.token), HTTP: c.web}
		begun.Add(1)
		ended.Go(func() {
			var seen []string
			err := api.Tap(ctx, adminapi.TapQuery{Filter: "w/#"}, func(s adminapi.Tapped) error {
				if s.Begun {
					begun.Done()
				}
				if s.Message == nil {
					return nil
				}
				seen = append(seen, s.Message.From.ID)
				if s.Message.From.ID == "said-out" && scope == "everything" {
					close(outside)
				}
				if s.Message.From.ID == "said-in" {
					return enough
				}
				return nil
			})
			want := "said-in"
			if scope == "everything" {
				want = "said-out said-in"
			}
			if got := strings.Join(seen, " "); !errors.Is(err, enough) || got != want {
				t.Errorf("with the scope %s: saw %q, want %q (%v)", scope, got, want, err)
			}
		})
	}
	begun.Wait()
	say(t, conns["out"], "said-out")
	select {
	case <-outside:
	case <-ctx.Done():
		t.Error("who sees everything did not see it")
	}
	say(t, conns["in"], "said-in")
	ended.Wait()
}

// TestPlanShowsTheScope plans a policy that ends every session.
func TestPlanShowsTheScope(t *testing.T) {
	m := enterMatrix(t)
	plan := request{method: "POST", path: "/policy/plan", body: map[string]any{"files": []adminapi.PolicyFile{{Name: "all.yaml", Text: "apiVersion: holdfast.dev/v1\nkind: DeviceType\nmetadata: {name: other}\nspec: {}\n"}}}}
	for scope, part := range matrixScopes {
		got := m.client("plan-"+scope, given{role: "admin", scope: part}).do(plan)
		if whole := scope == "everything"; got.status != 200 || !strings.Contains(got.body, `"id":"`+m.talking["in"]) || strings.Contains(got.body, `"id":"`+m.talking["out"]) != whole {
			t.Errorf("with the scope %s: %v", scope, got)
		}
	}
}

// TestNothingGiven calls every operation as a program and as a person with no role
// at all, and with a role that has nothing to do with it.
func TestNothingGiven(t *testing.T) {
	m := enterMatrix(t)
	role, err := m.CreateRole(t.Context(), operator, access.Role{Name: "auditor-of-nothing", Permissions: []access.Permission{access.ApprovalDecide}})
	m.ok(err)
	parties := []*caller{m.client("bare"), m.as(m.person("bare"), 0), m.client("little", everything(string(role.Name))), m.as(m.person("little", everything(string(role.Name))), 0)}
	for _, op := range m.ops {
		row, ok := m.rows[op.OperationID]
		if !ok || row.scope == "own" || row.allow == string(access.ApprovalDecide) {
			continue
		}
		for _, p := range parties {
			m.want(op.OperationID+" as "+p.name, p.do(m.ask(op, "in")), 403, "not-permitted")
		}
	}
}
