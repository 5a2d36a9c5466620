package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// pumps is a policy in which pumps report and, if commands is true, listen.
func pumps(commands bool, bar int) []adminapi.PolicyFile {
	text := fmt.Sprintf(`apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: pump}
spec:
  publish: [{name: telemetry, topics: ["water/${device.id}/telemetry"], payload: {format: json, fields: [{path: /bar, type: number, max: %d}]}}]
`, bar)
	if commands {
		text += "  subscribe: [{name: commands, topics: [\"water/${device.id}/cmd/#\"]}]\n"
	}
	return []adminapi.PolicyFile{{Name: "pump.yaml", Text: text}, {Name: "apps/scada.yaml", Text: `apiVersion: holdfast.dev/v1
kind: App
metadata: {name: scada, description: Control room}
spec: {audience: operator, subscribe: [{name: all, topics: ["water/#"]}]}
`}}
}

// apply applies files on top of a version and waits until the node runs them.
func (r *running) apply(files []adminapi.PolicyFile, version int64) adminapi.PolicyVersion {
	r.t.Helper()
	v, err := r.ApplyPolicy(r.t.Context(), operator, adminapi.PolicyApply{Files: files, Version: version, Message: "because"})
	if err != nil {
		r.t.Fatal(err)
	}
	eventually(r.t, "the policy is active", func() bool { return r.activePolicy().Version == v.Version })
	return v
}

func TestPolicyLife(t *testing.T) {
	r := start(t, tempData(t), Options{})
	ctx := t.Context()
	if p := r.activePolicy(); p.Version != 0 || p.Policy.For(policy.Principal{Kind: policy.App, ID: "scada"}).Connect("scada").Allowed {
		t.Errorf("without a policy version %d allows something", p.Version)
	}
	if v, warnings := r.policyStatus(); v != 0 || len(warnings) != 1 || !strings.Contains(warnings[0], "holdfast policy apply") {
		t.Errorf("the status says %d, %q", v, warnings)
	}
	r.apply(pumps(true, 10), 0)
	if !r.activePolicy().Policy.For(policy.Principal{Kind: policy.App, ID: "scada"}).Subscribe("water/#", 1).Allowed {
		t.Error("the app may not subscribe")
	}

	// The same files, on top of whatever: the answer may have been lost.
	again, err := r.ApplyPolicy(ctx, operator, adminapi.PolicyApply{Files: pumps(true, 10)})
	if err != nil || again.Version != 1 {
		t.Errorf("applied again: %+v, %v", again, err)
	}
	_, err = r.ApplyPolicy(ctx, operator, adminapi.PolicyApply{Files: pumps(true, 9)})
	if !refusal.Is(err, "policy-changed") {
		t.Errorf("applied over a version that was not seen: %v", err)
	}
	var rejected *adminapi.Rejected
	if !errors.As(err, &rejected) || len(rejected.Rows) != 2 || rejected.Rows[0].Field != "DeviceType/pump" || !strings.HasPrefix(rejected.Rows[0].Error, "added meanwhile") {
		t.Errorf("the rows are %+v", rejected)
	}
	for _, c := range []struct {
		name, text, code string
	}{
		{"../a.yaml", "", "bad-file-name"}, {"/a.yaml", "", "bad-file-name"}, {"", "", "bad-file-name"},
		{"a.yaml", "kind: Nothing", "policy-problems"},
		{"a.yaml", "apiVersion: holdfast.dev/v1\nkind: PolicyTest\nmetadata: {name: t}\nspec: {cases: [{name: c, as: {app: scada}, subscribe: x, expect: allow}]}\n", "policy-tests-failed"},
	} {
		_, err := r.ApplyPolicy(ctx, operator, adminapi.PolicyApply{Files: append(pumps(true, 9), adminapi.PolicyFile{Name: c.name, Text: c.text}), Version: 1})
		if !refusal.Is(err, c.code) {
			t.Errorf("%q: %v, want %s", c.name, err, c.code)
		}
	}

	// Back to the first, as a third.
	r.apply(pumps(false, 10), 1)
	old, err := r.Policy(ctx, 1)
	if err != nil || old.Active || len(old.Files) != 2 {
		t.Fatalf("version 1 is %+v, %v", old, err)
	}
	r.apply(old.Files, 2)
	now, err := r.Policy(ctx, 0)
	if err != nil || now.Version != 3 || !now.Active || now.SHA256 != old.SHA256 || now.CreatedBy != "client:test" {
		t.Errorf("active is %+v, %v", now, err)
	}
	if got := r.events("policy:3"); len(got) != 1 {
		t.Errorf("events of version 3: %q", got)
	}
}

func TestPolicyPlan(t *testing.T) {
	r := start(t, tempData(t), Options{})
	r.apply(pumps(true, 10), 0)
	pump := func(id string) policy.Principal {
		return policy.Principal{Kind: policy.Device, ID: id, Type: "pump", Zone: "north", State: string(device.Active)}
	}
	r.messaging.connected = func(yield func(policy.Principal, string, []string)) {
		yield(pump("pump-1"), "pump-1", nil)
		yield(pump("pump-2"), "pump-2", []string{"water/pump-2/cmd/#"})
		yield(policy.Principal{Kind: policy.App, ID: "scada"}, "scada", []string{"water/#"})
	}
	p, err := r.PlanPolicy(t.Context(), pumps(false, 10))
	if err != nil || !p.OK() || p.Version != 1 || p.Connected != 3 || p.Affected != 2 {
		t.Fatalf("the plan is %+v, %v", p, err)
	}
	first := p.Effects[0] // who loses something comes first
	if first.ID != "pump-2" || len(first.Lost) != 1 || first.Lost[0] != "water/pump-2/cmd/#" || first.Gone {
		t.Errorf("the effects are %+v", p.Effects)
	}
	if len(p.Changes) != 1 || p.Changes[0].What != "changed" || !p.Changes[0].Narrows {
		t.Errorf("the changes are %+v", p.Changes)
	}
	if p, err = r.PlanPolicy(t.Context(), []adminapi.PolicyFile{{Name: "x.yaml", Text: "a: ["}}); err != nil || len(p.Problems) == 0 || p.OK() {
		t.Errorf("the plan of a broken file is %+v, %v", p, err)
	}
}

// TestPolicyFaults fails the write of a version before and after its commit.
func TestPolicyFaults(t *testing.T) {
	b := &breaker{}
	r := start(t, tempData(t), Options{Faults: b.faults()})
	in := adminapi.PolicyApply{Files: pumps(true, 10)}
	b.arm("policy.apply", "")
	if _, err := r.ApplyPolicy(t.Context(), operator, in); err == nil {
		t.Fatal("a write that failed was reported as done")
	}
	if p, err := r.currentPolicy(t.Context()); err != nil || p.Version != 0 {
		t.Fatalf("version %d is active, %v", p.Version, err)
	}
	b.arm("", "policy.apply")
	if _, err := r.ApplyPolicy(t.Context(), operator, in); err == nil {
		t.Fatal("the fault did not happen")
	}
	b.arm("", "")
	v, err := r.ApplyPolicy(t.Context(), operator, in)
	if err != nil || v.Version != 1 {
		t.Fatalf("tried again: %+v, %v", v, err)
	}
	eventually(t, "the policy is active", func() bool { return r.activePolicy().Version == 1 })
	if got := r.events("policy:1"); len(got) != 1 {
		t.Errorf("events: %q", got)
	}
}

func TestPolicyRace(t *testing.T) {
	r := start(t, tempData(t), Options{})
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = r.ApplyPolicy(context.WithoutCancel(t.Context()), operator, adminapi.PolicyApply{Files: pumps(true, 10+i)})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !refusal.Is(err, "policy-changed") {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d won", won, len(errs))
	}
}

// TestPolicyUnreadable has a version that this program cannot read, as one that a
// newer program applied: it allows nothing, and can be replaced.
func TestPolicyUnreadable(t *testing.T) {
	r := start(t, tempData(t), Options{})
	r.apply(pumps(true, 10), 0)
	files, err := encodeFiles([]adminapi.PolicyFile{{Name: "a.yaml", Text: "apiVersion: holdfast.dev/v9\nkind: Future\n"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.store.ApplyPolicy(t.Context(), sqlstore.PolicyVersion{Version: 2, CreatedAt: r.now(), SHA256: "x", Files: files}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the version is active", func() bool { return r.activePolicy().Version == 2 })
	if r.activePolicy().Policy.For(policy.Principal{Kind: policy.App, ID: "scada"}).Subscribe("water/#", 0).Allowed {
		t.Error("a version that cannot be read allows something")
	}
	if _, warnings := r.policyStatus(); len(warnings) != 1 || !strings.Contains(warnings[0], "version 2 cannot be run") {
		t.Errorf("the warnings are %q", warnings)
	}
	r.apply(pumps(true, 10), 2)
}
