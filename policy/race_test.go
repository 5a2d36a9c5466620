package policy

import (
	"sync"
	"testing"
)

// TestConcurrent shares everything that says it may be shared; the race detector looks.
func TestConcurrent(t *testing.T) {
	set := compile(t, plant, Config{})
	acts := NewActuators(4)
	st := NewState(acts)
	const dose = "water/north/doser-1/cmd/dose"
	perms := set.For(scada)
	command, night := perms.Publish(dose), set.For(pump).Publish("water/north/pump-1/night")
	var wg sync.WaitGroup
	var mu sync.Mutex
	passed := 0
	for range 8 {
		wg.Go(func() {
			for range 100 {
				night.Check(Message{}, noon, st, nil)
				perms.Subscribe("water/#", 1)
				if command.Check(Message{Payload: []byte(`{"ml_per_min":4}`)}, noon, st, inventory(doser)).Allowed {
					mu.Lock()
					passed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if passed != 1 {
		t.Errorf("%d commands passed a rate that allows one", passed)
	}
}
