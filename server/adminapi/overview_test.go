package adminapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/policy/reach"
)

// sight is a Watch whose answers a test sets.
type sight struct {
	fleet   Fleet
	flow    Flow
	refused []Refusal
	house   Household
}

func (s *sight) Fleet(context.Context) (*Fleet, error)         { return &s.fleet, nil }
func (s *sight) Flow(context.Context, string) (*Flow, error)   { return &s.flow, nil }
func (s *sight) Refused(context.Context) ([]Refusal, error)    { return s.refused, nil }
func (s *sight) Household(context.Context) (*Household, error) { return &s.house, nil }
func (s *sight) ZoneMap(ctx context.Context, _ string, fleet func(context.Context) (reach.Fleet, error)) (*ZoneMap, error) {
	_, err := fleet(ctx)
	return &ZoneMap{}, err
}

// watcher is a client of an API with what w sees, for a role in a part of the fleet.
func watcher(m *memory, w *sight, role string, scope access.Scope) *Client {
	cfg := m.config()
	cfg.Watch, cfg.Now = w, func() time.Time { return moment }
	return As(Handler(cfg), access.Identity{Actor: access.Actor{Kind: access.Client, ID: "w"}, Proof: access.Proof{Program: true},
		Rights: access.Resolve([]access.Grant{{Role: role, Scope: scope}}, access.Builtin, nil, moment)})
}

// Fifty zones are shown by themselves, and the rest together.
func TestRatesRest(t *testing.T) {
	w := &sight{flow: Flow{Step: time.Minute, Length: 3, Nodes: 1}}
	for i := range 70 {
		w.flow.Keys = append(w.flow.Keys, FlowSeries{FlowKey: FlowKey{Kind: "device", Zone: device.ZoneName(fmt.Sprintf("z%02d", i)), Type: "pump"}, In: []int64{0, int64(i), 1}})
	}
	w.flow.Keys = append(w.flow.Keys, FlowSeries{FlowKey: FlowKey{Kind: "device", Zone: "silent"}, In: []int64{0, 0, 0}}, FlowSeries{Refused: []int64{1, 0, 0, 7}})
	r, err := watcher(newMemory(), w, "viewer", access.Scope{}).Rates(t.Context(), "1h", "zone")
	if err != nil || len(r.Series) != shownSeries+1 || r.Series[0].Name != "z69" || r.Series[0].In[1] != 69 || r.Step != 60 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if rest := r.Series[shownSeries]; rest.What != "other" || rest.In[1] != 190 || rest.In[2] != 20 || rest.Refused[0] != 1 || len(rest.Refused) != 3 {
		t.Errorf("the rest is %+v", rest)
	}
	if r, err = watcher(newMemory(), &sight{}, "viewer", access.Scope{}).Rates(t.Context(), "", ""); err != nil || len(r.Series) != 1 || r.Series[0].What != "all" {
		t.Errorf("of nothing there is %+v, %v", r, err)
	}
}

// What needs attention is sorted and bounded, however much there is.
func TestAttentionBounds(t *testing.T) {
	m, w := newMemory(), &sight{house: Household{RootKey: true, AdminToken: true, Dozing: 2, Idle: 1}}
	for i := range 40 {
		id := device.ID(fmt.Sprintf("d%02d", i))
		m.devices[id] = device.Device{ID: id, Type: "pump", Zone: "north", State: device.Quarantined}
		w.refused = append(w.refused, Refusal{Time: moment, Last: moment, Kind: "publish-refused", Principal: RefusedPrincipal{Kind: "device", ID: string(id)}, Count: int64(3 + 10*i)})
		w.fleet.Ending = append(w.fleet.Ending, CertificateEnd{Principal: string(id), Profile: "device", NotAfter: moment.Add(time.Hour), Overdue: true})
	}
	w.refused = append(w.refused, Refusal{Time: moment, Last: moment, Kind: "malformed", Count: 1000}) // gathered: nobody's
	w.fleet.Groups = []Group{{Zone: "north", Type: "pump", State: device.Quarantined, Count: 40}}
	o, err := watcher(m, w, "auditor", access.Scope{}).Overview(t.Context())
	if err != nil || len(o.Attention) > maxAttention || len(o.Refused) != 2 || len(o.Certificates.First) != shownEndings {
		t.Fatalf("got %+v, %v", o, err)
	}
	if !slices.IsSortedFunc(o.Attention, func(x, y Attention) int {
		return slices.Index(severities, x.Severity) - slices.Index(severities, y.Severity)
	}) {
		t.Errorf("not in order: %+v", o.Attention)
	}
	kinds := map[string]int{}
	for _, a := range o.Attention {
		kinds[a.Kind+" "+a.ID]++
		if a.Title == "" || a.Detail == "" {
			t.Errorf("no words: %+v", a)
		}
	}
	for _, want := range []string{"installation root-key", "installation admin-token", "certificates ", "devices quarantined", "people ", "unused ", "waiting "} {
		if kinds[want] != 1 {
			t.Errorf("%q is not there: %v", want, kinds)
		}
	}
	// A viewer is not told about people and roles.
	o, err = watcher(m, w, "viewer", access.Scope{}).Overview(t.Context())
	if err != nil || slices.ContainsFunc(o.Attention, func(a Attention) bool { return a.Kind == "people" || a.Kind == "unused" }) || o.Approvals != nil {
		t.Errorf("a viewer sees %+v, %v", o, err)
	}
}

// An overview has no part that the caller has no permission for, and an API
// without rights has none at all.
func TestOverviewParts(t *testing.T) {
	cfg := newMemory().config()
	cfg.Watch, cfg.Now = &sight{}, func() time.Time { return moment }
	h := Handler(cfg)
	only := func(p ...access.Permission) (Overview, error) {
		return As(h, access.Identity{Actor: access.Actor{Kind: access.Client, ID: "w"}, Proof: access.Proof{Program: true},
			Rights: access.Resolve([]access.Grant{{Role: "admin"}}, access.Builtin, p, moment)}).Overview(t.Context())
	}
	o, err := only(access.StatusRead)
	if err != nil || o.Devices != nil || o.Sessions != nil || o.Rates != nil || o.Certificates != nil || o.Waiting != nil || o.Approvals != nil || o.Authority != nil || o.Policy != nil || len(o.Refused) != 0 {
		t.Errorf("who may see the status sees %+v, %v", o, err)
	}
	if o, err = only(access.StatusRead, access.DeviceRead); err != nil || o.Devices == nil || o.Sessions != nil {
		t.Errorf("who may see devices sees %+v, %v", o, err)
	}
	if _, err = only(access.DeviceRead); err == nil {
		t.Error("who may not see the status sees the overview")
	}
	if _, err := As(h, access.Identity{Rights: access.Resolve([]access.Grant{{Role: "admin"}}, access.Builtin, []access.Permission{access.ZoneRead}, moment)}).ZoneMap(t.Context()); err == nil {
		t.Error("who may not see policy sees the map")
	}
}

// FuzzOverviewQueries: whatever stands in the query of a list, the answer is a list
// or names what is wrong.
func FuzzOverviewQueries(f *testing.F) {
	f.Add("rates", "window", "1h")
	f.Add("rates", "by", "zone")
	f.Add("refusals", "since", "2026-03-01T09:30:00Z")
	f.Add("refusals", "limit", "-1")
	f.Add("refusals", "principal", "device:pump-1")
	w := &sight{refused: []Refusal{exampleRefusal}}
	client := watcher(newMemory(), w, "viewer", access.Scope{})
	f.Fuzz(func(t *testing.T, path, name, value string) {
		if path != "rates" && path != "refusals" {
			return
		}
		_, err := call[map[string]any](t.Context(), client, http.MethodGet, path, map[string][]string{name: {value}}, nil)
		if p, ok := err.(*Problem); err != nil && (!ok || p.Status != http.StatusUnprocessableEntity) {
			t.Errorf("%s?%s=%s: %v", path, name, value, err)
		}
	})
}
