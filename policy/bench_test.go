package policy

import (
	"fmt"
	"strings"
	"testing"
)

// thirty is a set in which a device has thirty rules to publish and as many types
// have a command of the same shape.
func thirty(b *testing.B) *Permissions {
	var y strings.Builder
	y.WriteString("apiVersion: holdfast.dev/v1\nkind: DeviceType\nmetadata: {name: pump}\nspec:\n  publish:\n")
	for i := range 29 {
		fmt.Fprintf(&y, "    - {topics: [\"water/${device.zone}/${device.id}/part-%d/#\"]}\n", i)
	}
	y.WriteString("    - {name: last, topics: [\"water/${device.zone}/${device.id}/telemetry\"]}\n  subscribe:\n")
	for i := range 30 {
		fmt.Fprintf(&y, "    - {topics: [\"water/${device.zone}/${device.id}/in-%d/#\"]}\n", i)
	}
	for i := range 30 {
		fmt.Fprintf(&y, "---\napiVersion: holdfast.dev/v1\nkind: DeviceType\nmetadata: {name: t%d}\nspec: {commands: [{name: go, topic: \"water/${device.zone}/${device.id}/go-%d\"}]}\n", i, i)
	}
	return compile(b, y.String(), Config{}).For(pump)
}

var (
	verdict  *Verdict
	decision Decision
)

func BenchmarkPublishUncached(b *testing.B) {
	perms := thirty(b)
	for b.Loop() {
		verdict = perms.Publish("water/north/pump-1/telemetry")
	}
	if !verdict.Simple() {
		b.Fatal("not simple")
	}
}

func BenchmarkReceiveUncached(b *testing.B) {
	perms := thirty(b)
	for b.Loop() {
		verdict = perms.Receive("water/north/pump-1/in-29/x")
	}
	if !verdict.Simple() {
		b.Fatal("not simple")
	}
}

func BenchmarkPublishRefused(b *testing.B) {
	perms := thirty(b)
	for b.Loop() {
		verdict = perms.Publish("water/north/pump-2/telemetry")
	}
}

func BenchmarkPublishCached(b *testing.B) {
	perms := thirty(b)
	cache := map[string]*Verdict{}
	topic := []byte("water/north/pump-1/telemetry")
	b.ReportAllocs()
	for b.Loop() {
		v := cache[string(topic)]
		if v == nil {
			v = perms.Publish(string(topic))
			cache[string(topic)] = v
		}
		if !v.Fast(1, false, 100) {
			b.Fatal("refused")
		}
	}
}

func benchCheck(b *testing.B, topic, payload string) {
	v := compile(b, plant, Config{}).For(pump).Publish(topic)
	m := Message{Topic: topic, Payload: []byte(payload)}
	b.ReportAllocs()
	for b.Loop() {
		if decision = v.Check(m, noon, nil, nil); !decision.Allowed {
			b.Fatal(decision)
		}
	}
}

func BenchmarkCheckPayload(b *testing.B) {
	benchCheck(b, "water/north/pump-1/flow", `{"lpm": 12.5, "mode": "auto"}`)
}

func BenchmarkCheckCEL(b *testing.B) {
	benchCheck(b, "alarm/north/pump-1", "fire")
}

func BenchmarkCheckCELPayload(b *testing.B) {
	benchCheck(b, "water/north/pump-1/broken", `{"on": true}`)
}

func BenchmarkSubscribe(b *testing.B) {
	perms := thirty(b)
	for b.Loop() {
		if decision = perms.Subscribe("water/north/pump-1/in-29/#", 1); !decision.Allowed {
			b.Fatal(decision)
		}
	}
}

func BenchmarkFor(b *testing.B) {
	perms := thirty(b)
	for b.Loop() {
		perms.set.For(pump)
	}
}

func BenchmarkScan300(b *testing.B) {
	data := []byte(`{"lpm": 12.5, "list": [` + strings.Repeat("1.25, ", 40) + `3], "mode": "auto"}`)
	rule := described(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if code, detail := rule.check(data); code != "" {
			b.Fatal(detail)
		}
	}
}
