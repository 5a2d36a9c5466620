package reach_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/policy"
	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/policy/reach"
)

// large is 200 groups and 300 rules: 20 zones with 10 types each, 30 apps, and
// policies of which four deny something to all devices.
func large() (*manifest.Set, reach.Fleet) {
	m := &manifest.Set{}
	rules := func(name string, topics ...string) (out []manifest.Rule) {
		for i, t := range topics {
			out = append(out, manifest.Rule{Name: fmt.Sprintf("%s-%d", name, i), Topics: []manifest.Pattern{{Text: t}}})
		}
		return out
	}
	fleet := reach.Fleet{}
	for i := range 10 {
		typ := fmt.Sprintf("type-%d", i)
		m.DeviceTypes = append(m.DeviceTypes, manifest.DeviceType{Meta: manifest.Meta{Name: typ}, Grants: manifest.Grants{
			Publish: rules("p", "site/${device.zone}/${device.id}/telemetry", "site/${device.zone}/${device.id}/alarm",
				"site/${device.zone}/${device.id}/"+typ, "status/${device.type}/${device.id}"),
			Subscribe: rules("s", "site/${device.zone}/${device.id}/cmd/+", "site/${device.zone}/notices")},
			Commands: []manifest.Command{{Name: "go", Topic: manifest.Pattern{Text: "site/${device.zone}/${device.id}/cmd/go"}}}})
	}
	for i := range 20 {
		zone := fmt.Sprintf("zone-%d", i)
		fleet.Zones = append(fleet.Zones, reach.Zone{Name: zone, Production: i%2 == 0, SecurityLevel: i % 4})
		for k := range 10 {
			fleet.Groups = append(fleet.Groups, reach.Group{Zone: zone, Type: fmt.Sprintf("type-%d", k), Count: 50})
		}
		m.Zones = append(m.Zones, manifest.Zone{Meta: manifest.Meta{Name: zone}, Grants: manifest.Grants{
			Publish: rules("p", "shared/${device.zone}/${device.id}"), Subscribe: rules("s", "shared/${device.zone}/+", fmt.Sprintf("shared/zone-%d/+", (i+1)%20))}})
	}
	for i := range 30 {
		m.Apps = append(m.Apps, manifest.App{Meta: manifest.Meta{Name: fmt.Sprintf("app-%d", i)}, Grants: manifest.Grants{
			Publish:   rules("p", fmt.Sprintf("site/zone-%d/+/cmd/#", i%20), "site/+/notices"),
			Subscribe: rules("s", "site/+/+/telemetry", fmt.Sprintf("site/zone-%d/#", i%20))}})
	}
	for i := range 15 {
		p := manifest.MessagePolicy{Meta: manifest.Meta{Name: fmt.Sprintf("policy-%d", i)}, Grants: manifest.Grants{
			Publish: rules("p", fmt.Sprintf("extra/%d/${device.id}", i)), Subscribe: rules("s", fmt.Sprintf("extra/%d/#", i))},
			DenyPublish: rules("dp", fmt.Sprintf("site/+/+/cmd/%d", i)), DenySubscribe: rules("ds", fmt.Sprintf("extra/%d/private/#", i))}
		p.Select.Kinds = []string{"device", "gateway"}
		if i >= 4 {
			p.Select.Types = []string{fmt.Sprintf("type-%d", i%10)}
		}
		m.Policies = append(m.Policies, p)
	}
	return m, fleet
}

func countRules(m *manifest.Set) (n int) {
	for i := range m.DeviceTypes {
		n += len(m.DeviceTypes[i].Publish) + len(m.DeviceTypes[i].Subscribe)
	}
	for i := range m.Zones {
		n += len(m.Zones[i].Publish) + len(m.Zones[i].Subscribe)
	}
	for i := range m.Apps {
		n += len(m.Apps[i].Publish) + len(m.Apps[i].Subscribe)
	}
	for i := range m.Policies {
		p := &m.Policies[i]
		n += len(p.Publish) + len(p.Subscribe) + len(p.DenyPublish) + len(p.DenySubscribe)
	}
	return n
}

// worst is 300 rules that everybody has: all may send all to all.
func worst() (*manifest.Set, reach.Fleet) {
	_, fleet := large()
	m := &manifest.Set{}
	for i := range 150 {
		topic := []manifest.Pattern{{Text: fmt.Sprintf("all/${device.zone}/%d/#", i)}, {Text: "+/+/+/#"}}
		m.Policies = append(m.Policies, manifest.MessagePolicy{Meta: manifest.Meta{Name: fmt.Sprintf("p-%d", i)}, Grants: manifest.Grants{
			Publish: []manifest.Rule{{Name: "p", Topics: topic}}, Subscribe: []manifest.Rule{{Name: "s", Topics: topic}}}})
	}
	return m, fleet
}

func BenchmarkBuild(b *testing.B) {
	for name, of := range map[string]func() (*manifest.Set, reach.Fleet){"large": large, "worst": worst} {
		b.Run(name, func(b *testing.B) {
			m, fleet := of()
			b.ReportAllocs()
			var g *reach.Graph
			for b.Loop() {
				g = reach.Build(m, fleet, reach.Limits{})
			}
			b.ReportMetric(float64(len(g.Edges)), "edges")
			b.ReportMetric(float64(countRules(m)), "rules")
			b.Logf("cut %t %t %s", g.Cut, g.FlowsCut, g.CutWhy)
		})
	}
}

// The benchmark's policy is one that compiles, and its graph is whole; the worst
// one is cut in time, and says so. The bound in time is far from what it takes, so
// that a slow machine passes.
func TestWorkIsBounded(t *testing.T) {
	m, fleet := large()
	if _, problems := policy.Compile(m, policy.Config{}); len(problems) > 0 {
		t.Fatal(problems)
	}
	if n := countRules(m); n != 300 || len(fleet.Groups) != 200 {
		t.Errorf("%d rules and %d groups", n, len(fleet.Groups))
	}
	if g := reach.Build(m, fleet, reach.Limits{}); g.Cut || g.FlowsCut || g.CutWhy != "" {
		t.Error("it is cut:", g.CutWhy)
	}
	m, fleet = worst()
	began := time.Now()
	g := reach.Build(m, fleet, reach.Limits{})
	if took := time.Since(began); took > 20*time.Second {
		t.Error("it took", took)
	}
	if !g.Cut || !g.FlowsCut || g.CutWhy == "" {
		t.Error("it is not cut")
	}
}
