package broker_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/mqtt"
	"github.com/holdfast-iot/holdfast/policy"
)

const counting = `
apiVersion: holdfast.dev/v1
kind: DeviceType
metadata: {name: pump}
spec:
  publish: [{name: say, topics: ["w/${device.id}"], qos: 1}]
---
apiVersion: holdfast.dev/v1
kind: App
metadata: {name: scada}
spec: {audience: operator, subscribe: [{name: all, topics: ["w/#"]}]}
`

// Traffic counts by zone and type, keeps what ended sessions and former zones
// counted, and never goes back.
func TestTraffic(t *testing.T) {
	f := newFixture(t, counting, broker.Options{})
	pump := policy.Principal{Kind: policy.Device, ID: "pump-1", Type: "pump", Zone: "north", State: "active"}
	north, south, apps := broker.TrafficKey{Kind: policy.Device, Type: "pump", Zone: "north"}, broker.TrafficKey{Kind: policy.Device, Type: "pump", Zone: "south"}, broker.TrafficKey{Kind: policy.App}
	app := f.as(scada)
	app.subscribe("w/#", 0)
	p := f.as(pump)
	for i := range 3 {
		p.exchange("w/pump-1", "1234", 1, uint16(i+1))
	}
	p.refused("w/pump-2", "x", mqtt.NotAuthorized)
	app.take(3)
	f.until("the app's messages are counted", func() bool { return f.broker.Traffic()[apps].Out == 3 })
	all := f.broker.Traffic()
	if got, want := all[north], (broker.Traffic{Sessions: 1, In: 7, InBytes: 16, Refused: 4}); got != want {
		t.Errorf("north has %+v, want %+v", got, want)
	}
	if got, want := all[apps], (broker.Traffic{Sessions: 1, Out: 3, OutBytes: 12}); got != want {
		t.Errorf("apps have %+v, want %+v", got, want)
	}

	// In another zone it counts there; what it did before stays.
	moved := pump
	moved.Zone = "south"
	f.know("pump-1", moved)
	f.broker.FactsChanged(func(policy.Principal) bool { return true })
	p.exchange("w/pump-1", "1234", 1, 9)
	all = f.broker.Traffic()
	if got, want := all[north], (broker.Traffic{In: 7, InBytes: 16, Refused: 4}); got != want {
		t.Errorf("north has %+v, want %+v", got, want)
	}
	if got, want := all[south], (broker.Traffic{Sessions: 1, In: 1, InBytes: 4}); got != want {
		t.Errorf("south has %+v, want %+v", got, want)
	}

	p.bye()
	f.gone("pump-1")
	if got, want := f.broker.Traffic()[south], (broker.Traffic{In: 1, InBytes: 4}); got != want {
		t.Errorf("after the end south has %+v, want %+v", got, want)
	}

	// A connection that is refused belongs to nobody.
	before := f.broker.Traffic()[broker.TrafficKey{}].Refused
	f.try(policy.Principal{Kind: policy.Device, ID: "pump-3", Type: "pump", Zone: "north", State: "quarantined"}, mqtt.Connect{ClientID: "pump-3", CleanStart: true})
	f.until("the refused connection is counted", func() bool { return f.broker.Traffic()[broker.TrafficKey{}].Refused == before+1 })
}

// Sessions that come and go while others ask are counted once.
func TestTrafficRace(t *testing.T) {
	f := newFixture(t, counting, broker.Options{FlapConnects: 1000})
	pump := policy.Principal{Kind: policy.Device, ID: "pump-1", Type: "pump", Zone: "north", State: "active"}
	key := broker.TrafficKey{Kind: policy.Device, Type: "pump", Zone: "north"}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			var last broker.Traffic
			for {
				now := f.broker.Traffic()[key]
				if now.In < last.In || now.InBytes < last.InBytes {
					t.Errorf("%+v came after %+v", now, last)
				}
				last = now
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range 20 {
		p := f.as(pump)
		p.exchange("w/pump-1", fmt.Sprint(i%10), 1, 1)
		p.bye()
		f.gone("pump-1")
	}
	close(stop)
	wg.Wait()
	if got, want := f.broker.Traffic()[key], (broker.Traffic{In: 20, InBytes: 20}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}
