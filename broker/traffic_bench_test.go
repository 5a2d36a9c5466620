package broker

import (
	"fmt"
	"testing"

	"github.com/holdfast-iot/holdfast/policy"
)

// BenchmarkTraffic reads the counters of 20,000 sessions of 100 zones.
func BenchmarkTraffic(b *testing.B) {
	br := &Broker{sessions: map[string]*session{}}
	for i := range 20_000 {
		s := &session{}
		s.permit.Store(&permit{who: policy.Principal{Kind: policy.Device, ID: fmt.Sprint(i), Type: "pump", Zone: fmt.Sprint("zone-", i%100)}})
		br.sessions[fmt.Sprint(i)] = s
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(br.Traffic()) < 100 {
			b.Fatal("too few keys")
		}
	}
}
