package adminapi

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
)

func (m *memory) SetMaintenance(_ context.Context, by access.Actor, id device.ID, on bool, reason string) (device.Device, error) {
	m.note(by, "maintenance of %s %v: %s", id, on, reason)
	return device.Device{ID: id, Maintenance: on}, nil
}

func (m *memory) PlanPolicy(_ context.Context, files []PolicyFile) (PolicyPlan, error) {
	if len(files) == 0 {
		return PolicyPlan{}, nil
	}
	return PolicyPlan{Version: 2, Problems: []PolicyProblem{{File: files[0].Name, Line: 3, Column: 7, Text: "wrong", Fix: "right"}},
		Changes: []PolicyChange{{Kind: "App", Name: "x", What: "added"}}, Effects: []PolicyEffect{{Kind: "device", ID: "d1", Gone: true}}}, nil
}

func (m *memory) ApplyPolicy(_ context.Context, by access.Actor, in PolicyApply) (PolicyVersion, error) {
	m.note(by, "apply %d files to %d: %s", len(in.Files), in.Version, in.Message)
	if in.Version != 2 {
		return PolicyVersion{}, &Rejected{refusal.New(refusal.Conflict, "policy-changed", "plan again", "version 2 is active"),
			[]RowError{{Field: "App/x", Error: "added"}}}
	}
	return PolicyVersion{Version: in.Version + 1, Message: in.Message}, nil
}

func (m *memory) Policy(_ context.Context, version int64) (PolicyDetails, error) {
	if version > 3 {
		return PolicyDetails{}, missing("policy")
	}
	return PolicyDetails{PolicyVersion: PolicyVersion{Version: version}, Active: version == 0}, nil
}

func (m *memory) PolicyVersions(_ context.Context, before int64, limit int) (list []PolicyVersion, err error) {
	for n := int64(5); n > 0 && len(list) < limit; n-- {
		if before == 0 || n < before {
			list = append(list, PolicyVersion{Version: n})
		}
	}
	return list, nil
}

func (m *memory) TestPolicy(_ context.Context, files []PolicyFile) (PolicyTestReport, error) {
	return PolicyTestReport{Results: []PolicyTestResult{{Test: "t", Case: "c", Passed: len(files) == 0}}}, nil
}

func (m *memory) ExplainPolicy(_ context.Context, q ExplainQuery) (Explanation, error) {
	e := Explanation{Version: 3}
	if q.Publish != nil {
		e.Detail = q.Publish.Topic + " " + string(q.Publish.Bytes())
	}
	return e, nil
}

func (m *memory) Apps(context.Context) ([]App, error) { return []App{exampleApp}, nil }

func (m *memory) AppTokens(_ context.Context, app string) ([]AppToken, error) {
	return []AppToken{{ID: "t1", App: app}}, nil
}

func (m *memory) CreateAppToken(_ context.Context, by access.Actor, app string, validFor time.Duration, note string) (AppToken, enroll.Secret, error) {
	m.note(by, "token of %s for %s: %s", app, validFor, note)
	return AppToken{ID: "t1", App: app}, enroll.NewSecret("hfm_t1_secret"), nil
}

func (m *memory) RevokeAppToken(_ context.Context, by access.Actor, app, id string) error {
	m.note(by, "revoke token %s of %s", id, app)
	return nil
}

func (m *memory) IssueAppCertificate(_ context.Context, by access.Actor, app string, csr []byte, validity time.Duration) (Certificate, []string, error) {
	m.note(by, "certificate of %s for %s", app, validity)
	return exampleAppCertificate, []string{examplePEM}, nil
}

func (m *memory) ListSessions(_ context.Context, f SessionFilter) ([]Session, string, error) {
	return []Session{{ClientID: "a", Kind: f.Kind, Zone: f.Zone}}, f.After, nil
}

func (m *memory) Session(_ context.Context, clientID string) (Session, error) {
	if clientID == "gone" {
		return Session{}, missing("session")
	}
	return Session{ClientID: clientID}, nil
}

func (m *memory) CloseSession(_ context.Context, by access.Actor, clientID, reason string) error {
	m.note(by, "close %s: %s", clientID, reason)
	return nil
}

// Tap sends what its filter says.
func (m *memory) Tap(ctx context.Context, by access.Actor, filter, audience string, yield func(Tapped) error) error {
	if filter == "bad/#/x" {
		return refusal.New(refusal.Invalid, "bad-filter", "correct it", "that is not a topic filter")
	}
	m.note(by, "tap %s as %s", filter, audience)
	if err := yield(Tapped{Begun: true}); err != nil {
		return err
	}
	for n := range 3 {
		if err := yield(Tapped{Message: &TapMessage{Topic: "t", QoS: n, Payload: []byte{0, byte(n)}}, Dropped: int64(n)}); err != nil {
			return err
		}
	}
	switch filter {
	case "broken":
		return errors.New("the disk is on fire")
	case "ended":
		return refusal.New(refusal.Unavailable, "stopping", "connect to another", "this server stops")
	}
	<-ctx.Done()
	m.note(by, "tap ended")
	return nil
}

func TestClientPolicy(t *testing.T) {
	m, c := serve(t)
	ctx := t.Context()
	files := []PolicyFile{{Name: "a.yaml", Text: strings.Repeat("# a long text\n", 300_000)}}
	p := must[PolicyPlan](t)(c.PlanPolicy(ctx, files))
	if p.OK() || p.Problems[0].Place() != "a.yaml:3:7" || p.Changes[0].Details == nil || p.Effects[0].Lost == nil || p.Tests == nil {
		t.Errorf("the plan is %+v", p)
	}
	if p := must[PolicyPlan](t)(c.PlanPolicy(ctx, []PolicyFile{})); !p.OK() || p.Problems == nil {
		t.Errorf("the plan is %+v", p)
	}
	v := must[PolicyVersion](t)(c.ApplyPolicy(ctx, PolicyApply{Files: files, Message: "why", Version: 2}))
	if v.Version != 3 || v.Message != "why" {
		t.Errorf("applied %+v", v)
	}
	_, err := c.ApplyPolicy(ctx, PolicyApply{Files: files, Version: 1})
	want(t, err, "409 policy-changed")
	var problem *Problem
	if !errors.As(err, &problem) || !reflect.DeepEqual(problem.Errors, []RowError{{Field: "App/x", Error: "added"}}) {
		t.Errorf("got %+v", problem)
	}
	if d := must[PolicyDetails](t)(c.Policy(ctx, 0)); !d.Active || d.Files == nil {
		t.Errorf("the active policy is %+v", d)
	}
	if d := must[PolicyDetails](t)(c.Policy(ctx, 3)); d.Active || d.Version != 3 {
		t.Errorf("version 3 is %+v", d)
	}
	_, err = c.Policy(ctx, 4)
	want(t, err, "404 no-such-policy")
	l := must[PolicyVersionList](t)(c.PolicyVersions(ctx, 0, 3))
	if len(l.Items) != 3 || l.Next != 3 {
		t.Errorf("listed %+v", l)
	}
	l = must[PolicyVersionList](t)(c.PolicyVersions(ctx, l.Next, 3))
	if len(l.Items) != 2 || l.Next != 0 {
		t.Errorf("listed %+v", l)
	}
	if r := must[PolicyTestReport](t)(c.TestPolicy(ctx, nil)); !r.OK() {
		t.Errorf("tested %+v", r)
	}
	if r := must[PolicyTestReport](t)(c.TestPolicy(ctx, files)); r.OK() {
		t.Errorf("tested %+v", r)
	}
	d := must[device.Device](t)(c.SetMaintenance(ctx, "d1", true, "seal"))
	if !d.Maintenance || m.calls[len(m.calls)-1] != "maintenance of d1 true: seal" {
		t.Errorf("got %+v, %q", d, m.calls)
	}
}

func TestClientExplain(t *testing.T) {
	_, c := serve(t)
	ctx := t.Context()
	for _, q := range []ExplainQuery{
		{As: "device:d1", Publish: &PolicyMessage{Topic: "a/b", Payload: "xyz"}},
		{Facts: &PolicyFacts{Kind: "app", ID: "x"}, Publish: &PolicyMessage{Topic: "a/b", PayloadBase64: []byte("xyz")}},
	} {
		if e := must[Explanation](t)(c.ExplainPolicy(ctx, q)); e.Detail != "a/b xyz" || e.Steps == nil {
			t.Errorf("got %+v", e)
		}
	}
	for _, q := range []ExplainQuery{
		{Connect: "x"},
		{As: "device:d1", Facts: &PolicyFacts{Kind: "device", ID: "d1"}, Connect: "x"},
		{As: "device:d1"},
		{As: "device:d1", Connect: "x", Subscribe: "y"},
		{As: "device:d1", Receive: &PolicyMessage{Topic: "a", Payload: "x", PayloadBase64: []byte("x")}},
	} {
		_, err := c.ExplainPolicy(ctx, q)
		want(t, err, "422 bad-question")
	}
	_, err := c.ExplainPolicy(ctx, ExplainQuery{As: "device:d1", Subscribe: "a", QoS: 3})
	want(t, err, "422 invalid-request")
}

func TestClientApps(t *testing.T) {
	m, c := serve(t)
	ctx := t.Context()
	must[[]App](t)(c.Apps(ctx))
	_, secret, err := c.CreateAppToken(ctx, "scada", AppTokenInput{Note: "room 2"})
	if err != nil || secret.Reveal() != "hfm_t1_secret" || m.calls[0] != "token of scada for 2160h0m0s: room 2" {
		t.Errorf("got %v, %v, %q", secret, err, m.calls)
	}
	_, _, err = c.CreateAppToken(ctx, "scada", AppTokenInput{ValidFor: Duration(9000 * time.Hour)})
	want(t, err, "422 bad-expiry")
	must[[]AppToken](t)(c.AppTokens(ctx, "scada"))
	if err := c.RevokeAppToken(ctx, "scada", "t1"); err != nil || m.calls[1] != "revoke token t1 of scada" {
		t.Errorf("got %v, %q", err, m.calls)
	}
	got := must[IssuedCertificate](t)(c.IssueAppCertificate(ctx, "scada", AppCertificateInput{CSR: exampleCSR, Validity: Duration(time.Hour)}))
	if got.Certificate.Principal != "historian" || len(got.Chain) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestClientSessions(t *testing.T) {
	m, c := serve(t)
	ctx := t.Context()
	l := must[SessionList](t)(c.Sessions(ctx, SessionFilter{Kind: "app", Zone: "north", After: "z", Limit: 5}))
	if len(l.Items) != 1 || l.Items[0].Kind != "app" || l.Items[0].Subscriptions == nil || l.Next != "z" {
		t.Errorf("listed %+v", l)
	}
	_, err := c.Sessions(ctx, SessionFilter{Kind: "human"})
	want(t, err, "422 invalid-request")
	for _, id := range []string{"pump-1", "scada/2", "a b?c#d%2F", "ü+"} {
		if s := must[Session](t)(c.Session(ctx, id)); s.ClientID != id {
			t.Errorf("asked for %q and got %q", id, s.ClientID)
		}
	}
	_, err = c.Session(ctx, "gone")
	want(t, err, "404 no-such-session")
	if err := c.CloseSession(ctx, "scada/2", "loop"); err != nil || m.calls[0] != "close scada/2: loop" {
		t.Errorf("got %v, %q", err, m.calls)
	}
}

func TestClientTap(t *testing.T) {
	m, c := serve(t)
	enough := errors.New("enough")
	begun, messages, dropped := 0, 0, int64(0)
	err := c.Tap(t.Context(), TapQuery{Filter: "water/#", Audience: "public"}, func(s Tapped) error {
		if s.Begun {
			begun++
		}
		dropped += s.Dropped
		if s.Message != nil {
			if s.Message.Topic != "t" || string(s.Message.Payload) != string([]byte{0, byte(messages)}) {
				t.Errorf("got %+v", s.Message)
			}
			if messages++; messages == 3 {
				return enough
			}
		}
		return nil
	})
	if err != enough || begun != 1 || messages != 3 || dropped != 3 {
		t.Errorf("got %v, %d, %d messages, %d dropped", err, begun, messages, dropped)
	}
	ignore := func(Tapped) error { return nil }
	want(t, c.Tap(t.Context(), TapQuery{Filter: "bad/#/x", Audience: ""}, ignore), "422 bad-filter")
	want(t, c.Tap(t.Context(), TapQuery{Filter: "broken", Audience: ""}, ignore), "500 internal")
	want(t, c.Tap(t.Context(), TapQuery{Filter: "ended", Audience: ""}, ignore), "503 stopping")
	want(t, c.Tap(t.Context(), TapQuery{Filter: "", Audience: ""}, ignore), "422 invalid-request")
	m.mu.Lock() // the last tap may still be ending
	defer m.mu.Unlock()
	if !strings.Contains(strings.Join(m.calls, "\n"), "tap water/# as public") {
		t.Errorf("calls: %q", m.calls)
	}
}
