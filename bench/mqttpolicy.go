package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/holdfast-iot/holdfast/mqtt"
)

// policyPart is no row of the table: it shows that a broker that is said to enforce a policy does.
const policyPart = "policy"

// policy lets one sensor publish as another and then the other as itself. A collector that hears all of them must
// receive the second message first.
func (l *clients) policy(ctx context.Context) (m measure, err error) {
	hears, err := l.connect(ctx, l.collector(0), 0)
	if err == nil {
		err = hears.subscribe("fleet/+/data", 0)
	}
	if err != nil {
		return m, err
	}
	victim := l.sensor(1)
	topic := []byte("fleet/" + victim.ID + "/data")
	forged, genuine := []byte("forged"), []byte("genuine")
	for _, say := range []struct {
		as   *identity
		what []byte
	}{{l.sensor(0), forged}, {victim, genuine}} {
		s, err := l.connect(ctx, say.as, 0)
		if err == nil {
			err = s.send(&mqtt.Publish{Topic: topic, Payload: say.what})
		}
		if err != nil {
			return m, err
		}
		if err := l.wait(ctx, 200*time.Millisecond); err != nil { // the two come over different connections
			return m, err
		}
	}
	_ = hears.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	p, err := hears.r.ReadPacket()
	if err != nil {
		return m, fmt.Errorf("waiting for what %s published as itself: %w", victim.ID, err)
	}
	if got, ok := p.(*mqtt.Publish); !ok || !bytes.Equal(got.Payload, genuine) {
		return m, fmt.Errorf("the broker enforces no policy: %s could publish as %s", l.sensor(0).ID, victim.ID)
	}
	return m, nil
}
