package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var (
	watchStart  = time.Unix(1_800_000_000, 0).UTC() // the begin of a minute and of five
	pumpsNorth  = broker.TrafficKey{Kind: policy.Device, Type: "pump", Zone: "north"}
	valvesSouth = broker.TrafficKey{Kind: policy.Device, Type: "valve", Zone: "south"}
	programs    = broker.TrafficKey{Kind: policy.App}
)

func TestRates(t *testing.T) {
	var r rates
	total := map[broker.TrafficKey]broker.Traffic{pumpsNorth: {Sessions: 2}}
	r.take(watchStart, total)
	for i := range int64(36) { // three minutes, 5 messages in each step
		total = map[broker.TrafficKey]broker.Traffic{pumpsNorth: {Sessions: 2, In: 5 * (i + 1), Out: i + 1}}
		r.take(watchStart.Add(time.Duration(i)*fineStep), total)
	}
	now := watchStart.Add(3 * time.Minute)
	for _, c := range []struct {
		window string
		each   int64
		steps  int
	}{{"15m", 5, 36}, {"1h", 60, 3}, {"6h", 60, 3}, {"24h", 0, 0}} {
		w := windows[c.window]
		f := joinFlows([]nodeFlow{*r.flow(now, w)}, w)
		if f.Length != w.length || f.Nodes != 1 || !f.Since.Equal(watchStart) || len(f.Now) != 1 || f.Now[0].Sessions != 2 {
			t.Fatalf("%s: %+v", c.window, f)
		}
		if c.steps == 0 { // the step of five minutes is not over
			if len(f.Keys) != 0 {
				t.Errorf("%s has %+v", c.window, f.Keys)
			}
			continue
		}
		if len(f.Keys) != 1 || f.Keys[0].Zone != "north" {
			t.Fatalf("%s has %+v", c.window, f.Keys)
		}
		for i, v := range f.Keys[0].In {
			want := int64(0)
			if i >= w.length-c.steps {
				want = c.each
			}
			if v != want {
				t.Errorf("%s: step %d of %d has %d, want %d", c.window, i, w.length, v, want)
			}
		}
	}
	if got := r.flow(watchStart.Add(10*time.Minute), windows["24h"]).Keys; len(got) != 1 || got[0].In[286] != 180 || got[0].In[287] != 0 {
		t.Errorf("in 24h there are %+v", got)
	}
	if got := r.flow(watchStart.Add(26*time.Hour), windows["24h"]).Keys; len(got) != 0 {
		t.Errorf("after 26 hours there are %+v", got)
	}
}

// Beyond maxSeries traffic is counted together; who is busy takes the place of who
// is not, and nothing is lost.
func TestRatesMany(t *testing.T) {
	var r rates
	total := map[broker.TrafficKey]broker.Traffic{}
	key := func(i int) broker.TrafficKey {
		return broker.TrafficKey{Kind: policy.Device, Type: "pump", Zone: fmt.Sprintf("zone-%04d", i)}
	}
	sent := int64(0)
	at := watchStart
	round := func(busy int) {
		next := map[broker.TrafficKey]broker.Traffic{}
		for i := range 3 * maxSeries {
			n := int64(1)
			if i == busy {
				n = 100_000
			}
			was := total[key(i)]
			was.In += n
			sent += n
			next[key(i)] = was
		}
		total = next
		r.take(at, total)
		at = at.Add(fineStep)
	}
	busy := -1
	for range 3 {
		round(-1)
	}
	for i := range 3 * maxSeries {
		if r.series[key(i)] == nil {
			busy = i
		}
	}
	for range 40 {
		round(busy)
	}
	if len(r.series) > maxSeries+1 || r.series[key(busy)] == nil {
		t.Errorf("of %d series none is that of the busiest", len(r.series))
	}
	at = at.Add(time.Minute)
	var got int64
	for _, k := range r.flow(at, windows["1h"]).Keys {
		for _, v := range k.In {
			got += v
		}
	}
	if got != sent {
		t.Errorf("the series have %d messages, want %d", got, sent)
	}
}

func TestRatesClock(t *testing.T) {
	var r rates
	r.take(watchStart, nil)
	r.take(watchStart.Add(time.Hour), map[broker.TrafficKey]broker.Traffic{programs: {In: 1}})
	r.take(watchStart, map[broker.TrafficKey]broker.Traffic{programs: {In: 3}}) // set back by an hour
	r.take(watchStart.Add(2*time.Hour), map[broker.TrafficKey]broker.Traffic{programs: {In: 1}})
	got := r.flow(watchStart.Add(3*time.Hour), windows["6h"]).Keys
	if len(got) != 1 || got[0].In[360-120] != 1 || got[0].In[360-180] != 2 || got[0].In[360-60] != 0 {
		t.Errorf("got %+v", got)
	}
}

// Two nodes whose clocks differ by a step are added up in the steps of the first.
func TestJoinFlows(t *testing.T) {
	w := windows["15m"]
	one := adminapi.FlowSeries{FlowKey: flowKey(programs), In: make([]int64, w.length), Out: make([]int64, w.length), Refused: make([]int64, w.length)}
	one.In[10], one.Refused[179] = 3, 1
	two := adminapi.FlowSeries{FlowKey: flowKey(programs), In: make([]int64, w.length)} // a node may say anything
	two.In[9], two.In[179] = 4, 5
	f := joinFlows([]nodeFlow{
		{Since: watchStart, First: 1000, Keys: []adminapi.FlowSeries{one}, Now: []adminapi.FlowNow{{FlowKey: flowKey(programs), Sessions: 1}}},
		{Since: watchStart.Add(-time.Hour), First: 1001, Keys: []adminapi.FlowSeries{two}, Now: []adminapi.FlowNow{{FlowKey: flowKey(programs), Sessions: 2}}},
	}, w)
	if f.Nodes != 2 || !f.Since.Equal(watchStart.Add(-time.Hour)) || f.Keys[0].In[10] != 7 || f.Keys[0].Refused[179] != 1 || f.Now[0].Sessions != 3 {
		t.Errorf("got %+v", f)
	}
}

// What a node answers, another understands.
func TestAnswerWatch(t *testing.T) {
	s := &Server{now: func() time.Time { return watchStart.Add(time.Minute) }}
	s.watching.rates.take(watchStart, map[broker.TrafficKey]broker.Traffic{pumpsNorth: {Sessions: 2, In: 7, Out: 8, Refused: 9}})
	s.watching.refused.add(refusedEvent("pump-1", "north", "a", watchStart), "n")
	var a watchAnswer
	if err := json.Unmarshal(s.answerWatch([]byte(`{"window":"15m","refused":true}`)), &a); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a.Refused, s.watching.refused.all()) || !reflect.DeepEqual(a.Flow, s.watching.rates.flow(s.now(), windows["15m"])) || len(a.Flow.Keys) != 1 {
		t.Errorf("got %+v", a)
	}
}

func refusedEvent(id, zone, topic string, at time.Time) broker.Event {
	return broker.Event{Kind: broker.PublishRefused, Principal: policy.Principal{Kind: policy.Device, ID: id, Type: "pump", Zone: zone}, Client: id,
		Source: netip.MustParseAddrPort("192.0.2.1:4000"), Topic: topic, Detail: "no rule allows it", Count: 1, First: at, Last: at}
}

// One client cannot crowd out what others were refused, and what the broker tells
// in two parts is one.
func TestRefusedRing(t *testing.T) {
	var r refusedRing
	first := refusedEvent("pump-1", "north", "a", watchStart)
	r.add(first, "n")
	rest := first
	rest.Count, rest.Last = 41, watchStart.Add(9*time.Second)
	r.add(rest, "n")
	for i := range 3 * maxRefusedHere {
		r.add(refusedEvent("pump-2", "north", fmt.Sprint("b/", i), watchStart.Add(time.Duration(i)*time.Second)), "n")
	}
	got := r.all()
	if len(got) != 1+maxRefusedOf {
		t.Fatalf("there are %d", len(got))
	}
	if last := got[len(got)-1]; last.Principal.ID != "pump-1" || last.Count != 42 || !last.Last.Equal(rest.Last) || last.Action != "publish" || last.Address != "192.0.2.1:4000" {
		t.Errorf("the oldest is %+v", last)
	}
	if got[0].Topic != fmt.Sprint("b/", 3*maxRefusedHere-1) {
		t.Errorf("the newest is %+v", got[0])
	}
	long := refusedEvent("pump-3", "north", strings.Repeat("\xff", 100_000), watchStart)
	r.add(long, "n")
	if _, err := json.Marshal(r.all()[0]); err != nil || len(r.all()[0].Topic) > 4096 {
		t.Errorf("a long topic has %d bytes, %v", len(r.all()[0].Topic), err)
	}
	for i := range 2 * maxRefusedHere {
		r.add(refusedEvent(fmt.Sprint("many-", i), "north", "c", watchStart), "n")
	}
	if got := r.all(); len(got) != maxRefusedHere {
		t.Errorf("there are %d", len(got))
	}
}

func TestMemory(t *testing.T) {
	var m memory[int]
	now, made := watchStart, 0
	get := func(key string, fail error) (int, error) {
		return m.get(t.Context(), key, func() time.Time { return now }, time.Second, func(context.Context) (int, error) { made++; return made, fail })
	}
	for _, want := range []int{1, 1} {
		if v, err := get("a", nil); v != want || err != nil {
			t.Errorf("got %d, %v", v, err)
		}
	}
	now = now.Add(time.Minute)
	if _, err := get("a", errors.New("no")); err == nil {
		t.Error("an error was remembered as an answer")
	}
	if v, err := get("a", nil); v != 3 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
	for i := range 10 * maxRemembered {
		get(fmt.Sprint(i), nil)
	}
	if len(m.known) > maxRemembered {
		t.Errorf("%d answers are remembered", len(m.known))
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	m.of("a", now).turn <- struct{}{}
	if _, err := m.get(ended, "a", func() time.Time { return now }, 0, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that gave up got %v", err)
	}
}

// FuzzWatchQuestion: another node may ask anything.
func FuzzWatchQuestion(f *testing.F) {
	f.Add([]byte(`{"window":"15m"}`))
	f.Add([]byte(`{"refused":true}`))
	f.Add([]byte(`{"window":"1y"}`))
	f.Add([]byte(`[`))
	s := &Server{now: func() time.Time { return watchStart }}
	s.watching.rates.take(watchStart, map[broker.TrafficKey]broker.Traffic{pumpsNorth: {Sessions: 1}})
	f.Fuzz(func(t *testing.T, body []byte) {
		if out := s.answerWatch(body); out != nil && !json.Valid(out) {
			t.Errorf("%q was answered with %q", body, out)
		}
	})
}

// scopedViewer may see what a role shows in a part of the fleet.
func scopedViewer(role string, scope access.Scope) access.Identity {
	return access.Identity{Actor: access.Actor{Kind: access.Client, ID: "viewer", Source: "127.0.0.1"}, Proof: access.Proof{Program: true},
		Rights: access.Resolve([]access.Grant{{Role: role, Scope: scope}}, access.Builtin, nil, watchStart)}
}

// watched is a server with two zones whose devices sent and were refused things.
func watched(t *testing.T, c *clock) *running {
	r := start(t, tempData(t), Options{Now: c.now})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, zone := range []device.ZoneName{"north", "south"} {
		_, err := r.CreateZone(ctx, operator, device.Zone{Name: zone})
		must(err)
	}
	for _, kind := range []device.TypeName{"pump", "valve"} {
		_, err := r.CreateType(ctx, operator, device.Type{Name: kind})
		must(err)
	}
	for _, d := range []device.Device{
		{ID: "pump-1", Type: "pump", Zone: "north", Labels: map[string]string{"hall": "a"}}, {ID: "pump-2", Type: "pump", Zone: "north", Labels: map[string]string{"hall": "b"}},
		{ID: "pump-9", Type: "pump", Zone: "south", Labels: map[string]string{"hall": "b"}}, {ID: "valve-1", Type: "valve", Zone: "south"},
	} {
		_, err := r.CreateDevice(ctx, operator, d)
		must(err)
	}
	for _, id := range []device.ID{"pump-2", "pump-9"} {
		_, err := r.ChangeDevice(ctx, operator, id, device.Quarantine, "looks odd")
		must(err)
	}
	r.apply([]adminapi.PolicyFile{{Name: "all.yaml", Text: `apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: pump}
spec:
  publish: [{name: telemetry, topics: ["water/${device.zone}/${device.id}"]}]
---
apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: valve}
spec:
  subscribe: [{name: all, topics: ["water/#"]}]
---
apiVersion: holdfast.dev/v1
kind: App
metadata: {name: scada}
spec: {audience: operator, subscribe: [{name: north, topics: ["water/north/+"]}]}
`}}, 0)
	for i, id := range []string{"pump-1", "pump-2", "pump-9", "pump-gone"} {
		zone := map[bool]string{true: "north", false: "south"}[i < 2]
		for j := range 5 {
			r.observe(refusedEvent(id, zone, fmt.Sprint("secret/", zone, "/", j), r.now()))
		}
	}
	r.observe(refusedEvent("pump-1", "south", "when it stood in the south", r.now()))
	r.observe(broker.Event{Kind: broker.ConnectRefused, Source: netip.MustParseAddrPort("192.0.2.99:1"), Detail: "it has no certificate", Count: 50, First: r.now(), Last: r.now()})
	var p rates // the broker's own are silent
	at := r.now().Add(-30 * time.Second)
	p.take(at, nil)
	p.take(at, map[broker.TrafficKey]broker.Traffic{pumpsNorth: {Sessions: 2, In: 30, Refused: 2}, valvesSouth: {Sessions: 3, Out: 700}, programs: {Sessions: 4, Out: 5}, {}: {Refused: 9}})
	for name, w := range windows {
		m := r.watching.flows.of(name, r.now())
		m.value, m.until = joinFlows([]nodeFlow{*p.flow(r.now(), w)}, w), r.now().Add(24*time.Hour)
	}
	c.add(30 * time.Second) // what was remembered while this was made is old
	return r
}

// api is the admin API as an identity sees it.
func (r *running) api(id access.Identity) *adminapi.Client {
	r.t.Helper()
	h, err := r.apiHandler()
	if err != nil {
		r.t.Fatal(err)
	}
	return adminapi.As(h, id)
}

// TestWatchScopes: whose role is bound to the north sees nothing of the south.
func TestWatchScopes(t *testing.T) {
	var c clock
	r := watched(t, &c)
	ctx := t.Context()
	everything := r.api(scopedViewer("auditor", access.Scope{}))
	texts := func(client *adminapi.Client) (all []string) {
		t.Helper()
		o, err := client.Overview(ctx)
		if err != nil {
			t.Fatal(err)
		}
		zones, err := client.Rates(ctx, "", "zone")
		if err != nil {
			t.Fatal(err)
		}
		types, err := client.Rates(ctx, "1h", "type")
		if err != nil {
			t.Fatal(err)
		}
		refused, err := client.Refusals(ctx, adminapi.RefusalFilter{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		m, err := client.ZoneMap(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range []any{o, zones, types, refused, m} {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(b))
		}
		return all
	}
	foreign := []string{"south", "pump-9", "pump-gone", "valve", "192.0.2.99"}
	for i, text := range texts(everything) {
		if !strings.Contains(text, "south") && i != 0 && i != 2 { // the overview and types name no zone
			t.Errorf("who sees everything does not see the south in %s", text)
		}
	}
	for name, scope := range map[string]access.Scope{
		"zone": {Zones: []device.ZoneName{"north"}}, "zone and type": {Zones: []device.ZoneName{"north"}, Types: []device.TypeName{"pump"}},
		"label": {Labels: map[string][]string{"hall": {"a"}}}, "zone and labels": {Zones: []device.ZoneName{"north"}, Labels: map[string][]string{"hall": {"a", "b"}}},
	} {
		for _, role := range []string{"viewer", "auditor"} {
			for i, text := range texts(r.api(scopedViewer(role, scope))) {
				for _, word := range foreign {
					if name == "label" && word == "south" {
						continue // what is theirs may have stood there
					}
					if strings.Contains(text, word) {
						t.Errorf("bound by %s a %s sees %s in answer %d: %s", name, role, word, i, text)
					}
				}
			}
		}
	}

	north := r.api(scopedViewer("viewer", access.Scope{Zones: []device.ZoneName{"north"}}))
	o, err := north.Overview(ctx)
	if err != nil || o.Devices.Total != 2 || o.Devices.ByState["quarantined"] != 1 || !o.Devices.Complete || o.Sessions.Total != 2 || o.Approvals != nil {
		t.Errorf("the north is %+v, %+v, %+v, %v", o, o.Devices, o.Sessions, err)
	}
	hall, err := r.api(scopedViewer("viewer", access.Scope{Labels: map[string][]string{"hall": {"b"}}})).Overview(ctx)
	if err != nil || hall.Devices.Total != 2 || !hall.Devices.Complete || hall.Sessions.Total != 0 {
		t.Errorf("hall b is %+v, %+v, %v", hall.Devices, hall.Sessions, err)
	}
	if _, err := r.api(access.Identity{Actor: operator, Proof: access.Proof{Program: true}}).Refusals(ctx, adminapi.RefusalFilter{}); err == nil {
		t.Error("who may do nothing lists refusals")
	}
}

func TestOverview(t *testing.T) {
	var c clock
	r := watched(t, &c)
	ctx := t.Context()
	o, err := r.api(scopedViewer("auditor", access.Scope{})).Overview(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if o.Devices.Total != 4 || o.Devices.ByState["quarantined"] != 2 || o.Sessions.Total != 9 || o.Sessions.ByKind["device"] != 5 || *o.Waiting != 0 || *o.Approvals != 0 ||
		o.Policy.Version != 1 || o.Authority == nil || o.Certificates.Month != 0 || !o.Certificates.Complete {
		t.Errorf("got %+v", o)
	}
	if len(o.Refused) != 2 || o.Refused[0].Kind != "connect-refused" || o.Refused[0].Count != 50 || o.Refused[1].Count != 21 || o.Refused[1].Clients != 4 {
		t.Errorf("refused: %+v", o.Refused)
	}
	var titles []string
	for _, a := range o.Attention {
		titles = append(titles, a.Severity+" "+a.Title+" "+a.Kind+":"+a.ID)
	}
	for _, want := range []string{
		"high The root key lies on this server installation:root-key", "medium The first administrator's token lies on this server installation:admin-token",
		"medium Connections from 192.0.2.99 were refused 50 times in 15 minutes address:192.0.2.99", "low Device pump-1 was refused 6 times in 15 minutes device:pump-1",
		"medium Device pump-2 is in quarantine device:pump-2",
	} {
		if !slices.Contains(titles, want) {
			t.Errorf("%q is not among %q", want, titles)
		}
	}
	c.add(16 * time.Minute)
	if o, err = r.api(scopedViewer("auditor", access.Scope{})).Overview(ctx); err != nil || len(o.Refused) != 0 {
		t.Errorf("16 minutes later %+v, %v", o.Refused, err)
	}
}

// A certificate that was not renewed in time is shown, until it is.
func TestOverviewEndings(t *testing.T) {
	var c clock
	r := start(t, tempData(t), Options{Now: c.now})
	r.fleet(func(t *device.Type) { t.Validity = 20 * 24 * time.Hour })
	_, secret := r.token(enroll.Group, 10)
	one, two := newDev(t, "d1"), newDev(t, "d2")
	for _, d := range []*dev{one, two} {
		if err := d.enrol(r, secret); err != nil {
			t.Fatal(err)
		}
	}
	look := func(scope access.Scope, week, month int64, overdue string) {
		t.Helper()
		o, err := r.api(scopedViewer("viewer", scope)).Overview(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, a := range o.Attention {
			if strings.HasPrefix(a.Title, "The certificate of") {
				names = append(names, a.ID)
			}
		}
		slices.Sort(names)
		if n := o.Certificates; n.Week != week || n.Month != month || n.Due != int64(len(names)) || len(n.First) != int(month) || strings.Join(names, " ") != overdue {
			t.Errorf("%+v, and overdue are %q", n, names)
		}
	}
	plant := access.Scope{Zones: []device.ZoneName{"plant"}}
	look(access.Scope{}, 0, 2, "")
	c.add(14 * 24 * time.Hour)
	look(plant, 2, 2, "")
	look(access.Scope{Zones: []device.ZoneName{"other"}}, 0, 0, "")
	look(access.Scope{Labels: map[string][]string{"hall": {"a"}}}, 0, 0, "")
	c.add(3 * 24 * time.Hour)
	look(plant, 2, 2, "d1 d2")
	if err := one.renew(r); err != nil {
		t.Fatal(err)
	}
	c.add(time.Hour)
	look(plant, 1, 2, "d2")
}

func TestRefusalFilters(t *testing.T) {
	var c clock
	r := watched(t, &c)
	api := r.api(scopedViewer("viewer", access.Scope{}))
	for _, f := range []struct {
		filter adminapi.RefusalFilter
		want   int
	}{
		{adminapi.RefusalFilter{}, 22}, {adminapi.RefusalFilter{Limit: 3}, 3}, {adminapi.RefusalFilter{Principal: "pump-1"}, 6}, {adminapi.RefusalFilter{Principal: "device:pump-1"}, 6},
		{adminapi.RefusalFilter{Principal: "app:pump-1"}, 0}, {adminapi.RefusalFilter{Kind: "connect-refused"}, 1}, {adminapi.RefusalFilter{Rule: "x"}, 0},
		{adminapi.RefusalFilter{Since: r.now()}, 0}, {adminapi.RefusalFilter{Since: r.now().Add(-time.Hour)}, 22},
	} {
		got, err := api.Refusals(t.Context(), f.filter)
		if err != nil || len(got) != f.want {
			t.Errorf("%+v selects %d, want %d, %v", f.filter, len(got), f.want, err)
		}
	}
}

func TestRatesAnswer(t *testing.T) {
	var c clock
	r := watched(t, &c)
	api := r.api(scopedViewer("viewer", access.Scope{}))
	got := func(by string) (text string) {
		t.Helper()
		v, err := api.Rates(t.Context(), "15m", by)
		if err != nil || v.Step != 5 || v.Nodes != 1 {
			t.Fatalf("%+v, %v", v, err)
		}
		for _, s := range v.Series {
			var in, out, refused int64
			for i := range s.In {
				in, out, refused = in+s.In[i], out+s.Out[i], refused+s.Refused[i]
			}
			text += fmt.Sprintf("%s %s %d/%d/%d; ", s.What, s.Name, in, out, refused)
		}
		return text
	}
	for by, want := range map[string]string{
		"none": "all  30/705/11; ", "zone": "zone south 0/700/0; zone north 30/0/2; apps  0/5/0; other  0/0/9; ", "type": "type valve 0/700/0; type pump 30/0/2; apps  0/5/0; other  0/0/9; ",
	} {
		if text := got(by); text != want {
			t.Errorf("by %s: %s, want %s", by, text, want)
		}
	}
	var p *adminapi.Problem
	if _, err := api.Rates(t.Context(), "2h", ""); !errors.As(err, &p) || p.Status != 422 {
		t.Errorf("2h gave %v", err)
	}
	if _, err := r.Flow(t.Context(), "2h"); !refusal.Is(err, "bad-window") {
		t.Errorf("2h gave %v", err)
	}
}

func TestZoneMap(t *testing.T) {
	var c clock
	r := watched(t, &c)
	ctx := t.Context()
	whole, err := r.api(scopedViewer("viewer", access.Scope{})).ZoneMap(ctx)
	if err != nil || whole.Partial || whole.Policy != 1 || whole.Graph.Node("device:south/valve") == nil || whole.Graph.Node("zone:north").Count != 2 || len(whole.Graph.Between("zone:north", "zone:south")) != 1 {
		t.Fatalf("the map is %+v, %v", whole, err)
	}
	north, err := r.api(scopedViewer("viewer", access.Scope{Zones: []device.ZoneName{"north"}})).ZoneMap(ctx)
	if err != nil || !north.Partial || len(north.Graph.Between("zone:north", "app:scada")) != 1 || north.Graph.Node("zone:north").Count != 2 {
		t.Errorf("the north's map is %+v, %v", north, err)
	}
	// It is drawn again for a new policy at once, and for new devices soon.
	r.apply([]adminapi.PolicyFile{{Name: "app.yaml", Text: "apiVersion: holdfast.dev/v1\nkind: App\nmetadata: {name: scada}\nspec: {audience: operator, subscribe: [{name: all, topics: [\"#\"]}]}\n"}}, 1)
	if _, err := r.CreateDevice(ctx, operator, device.Device{ID: "pump-3", Type: "pump", Zone: "north"}); err != nil {
		t.Fatal(err)
	}
	again, err := r.api(scopedViewer("viewer", access.Scope{})).ZoneMap(ctx)
	if err != nil || again.Policy != 2 || len(again.Graph.Between("zone:north", "zone:south")) != 0 || again.Graph.Node("zone:north").Count != 2 {
		t.Errorf("with another policy it is %+v, %v", again, err)
	}
	c.add(time.Hour)
	if again, err = r.api(scopedViewer("viewer", access.Scope{})).ZoneMap(ctx); err != nil || again.Graph.Node("zone:north").Count != 3 {
		t.Errorf("later it is %+v, %v", again, err)
	}
}
