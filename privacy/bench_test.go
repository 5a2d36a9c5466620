package privacy

import "testing"

const benchPayload = `{"at":"2026-11-23T20:21:22Z","seq":48213,"ml_per_min":12.75,"pressure_bar":4.02,"temperature_c":11.4,"running":true,` +
	`"position":{"lat":51.50735,"lon":-0.12776},"operator":{"name":"Ada Lovelace","badge":"A-20931","shift":"night"},` +
	`"alarms":["low-level","door"],"firmware":"2.11.4","serial":"HF-2026-000193"}`

var benchRules = []Rule{
	{Path: "/operator/name", Do: Mask, Keep: 2},
	{Path: "/operator/badge", Do: Drop},
	{Path: "/position/*", Do: Generalize, Step: 0.01},
	{Path: "/at", Do: Generalize, Unit: "hour"},
}

func benchmark(b *testing.B, rules ...Rule) {
	v := compile(b, rules...)
	payload := []byte(benchPayload)
	dst := make([]byte, 0, 1024)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if dst, err = v.Apply(dst[:0], payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkApplyNothing(b *testing.B) { benchmark(b) }
func BenchmarkApplyFour(b *testing.B)    { benchmark(b, benchRules...) }
func BenchmarkApplyHash(b *testing.B)    { benchmark(b, Rule{Path: "/operator/name", Do: Hash}) }
func BenchmarkApplyHashObject(b *testing.B) {
	benchmark(b, Rule{Path: "/operator", Do: Hash})
}
