package demo

import (
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
)

func compiled(t *testing.T) *policy.Set {
	t.Helper()
	files, err := policyFiles()
	if err != nil {
		t.Fatal(err)
	}
	var in []manifest.File
	for _, f := range files {
		in = append(in, manifest.File{Name: f.Name, Data: []byte(f.Text)})
	}
	m, problems := manifest.Load(in)
	set, more := policy.Compile(m, policy.Config{PayloadMax: 256 << 10})
	for _, p := range append(problems, more...) {
		t.Error(p)
	}
	if t.Failed() {
		t.FailNow()
	}
	return set
}

// What the fleet measures at any time is what the example's policy allows,
// whatever its actuators were told.
func TestReadingsPassPolicy(t *testing.T) {
	f, err := loadFleet()
	if err != nil {
		t.Fatal(err)
	}
	set := compiled(t)
	now := time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC)
	w := openWorks(f.devices, now)
	moves := []struct{ id, command, payload string }{
		{doserID, "dose", `{"ml_per_min":50}`}, {"pump-plant-1", "stop", ""}, {"pump-plant-2", "speed", `{"percent":95}`},
		{"pump-intake-1", "speed", `{"percent":30}`}, {"pump-plant-1", "start", ""}, {valveID, "position", `{"open_pct":100}`},
		{doserID, "stop", ""}, {valveID, "position", `{"open_pct":0}`}, {doserID, "dose", `nonsense`}, {"level-plant-1", "stop", ""},
	}
	for i := range 500 {
		at := now.Add(time.Duration(i) * 37 * time.Second)
		m := moves[i%len(moves)]
		w.obey(m.id, m.command, []byte(m.payload), at)
		for _, d := range f.devices {
			kind := policy.Device
			if d.Type == gatewayType {
				kind = policy.Gateway
			}
			topic := topicOf(&thing{row: d}, "telemetry")
			perms := set.For(policy.Principal{Kind: kind, ID: string(d.ID), Type: string(d.Type), Zone: string(d.Zone), State: string(device.Active)})
			got := perms.Publish(topic).Check(policy.Message{Topic: topic, Payload: w.reading(&d, at), QoS: 1}, at, nil, nil)
			if !got.Allowed {
				t.Fatalf("%s at %s: %s: %s", d.ID, at, w.reading(&d, at), got.Error())
			}
		}
	}
}

// The water follows its actuators, and not at once.
func TestWorks(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	w := openWorks([]device.Device{{ID: "pump-plant-1", Type: pumpType}}, now)
	w.obey(doserID, "dose", []byte(`{"ml_per_min":25}`), now)
	w.obey("pump-plant-1", "stop", nil, now)
	w.advance(now.Add(time.Second))
	if w.chlor > 0.6 || w.pumps["pump-plant-1"].is < 50 {
		t.Error("it jumped:", w.chlor, w.pumps["pump-plant-1"].is)
	}
	w.advance(now.Add(5 * time.Minute))
	w.advance(now) // time does not run backwards
	if round(w.chlor) != 1 || round(w.pumps["pump-plant-1"].is) != 0 {
		t.Error("it did not settle:", w.chlor, w.pumps["pump-plant-1"].is)
	}
	w.obey("pump-plant-1", "start", nil, now)
	if w.pumps["pump-plant-1"].want != 70 || w.dose != 25 {
		t.Error(w.pumps["pump-plant-1"].want, w.dose)
	}
}
