package server

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/policy"
)

// BenchmarkRates takes the counts of 400 keys, as happens every 5 s.
func BenchmarkRates(b *testing.B) {
	var r rates
	at := watchStart
	for n := int64(0); b.Loop(); n++ {
		total := map[broker.TrafficKey]broker.Traffic{}
		for i := range maxSeries {
			total[broker.TrafficKey{Kind: policy.Device, Type: "pump", Zone: fmt.Sprint(i)}] = broker.Traffic{In: n * 5, Out: n}
		}
		r.take(at, total)
		at = at.Add(fineStep)
	}
}

// BenchmarkOverview asks for the overview of 100,000 devices as one who sees
// everything and as one who sees a zone.
func BenchmarkOverview(b *testing.B) {
	r := start(b, tempData(b), Options{})
	r.fleet(nil)
	if err := r.ImportDevices(context.Background(), operator, importRows(100_000), nil); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	if _, err := r.countFleet(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("counting the fleet took %s", time.Since(began))
	for name, scope := range map[string]access.Scope{"everything": {}, "zone": {Zones: []device.ZoneName{"plant"}}} {
		api := r.api(scopedViewer("viewer", scope))
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if o, err := api.Overview(b.Context()); err != nil || o.Devices.Total != 100_000 {
					b.Fatal(o, err)
				}
			}
		})
	}
}
