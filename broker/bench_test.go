package broker_test

import (
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/holdfast-iot/holdfast/broker"
	"github.com/holdfast-iot/holdfast/mqtt"
)

// BenchmarkQoS0 passes messages from one client to another, over TCP without TLS:
// reading, policy, limits, counters, queue, writing. Allocations are those of the
// whole process.
func BenchmarkQoS0(b *testing.B) {
	f := newFixture(b, open, broker.Options{})
	sub, pub := f.connect("sub", true), f.connect("pub", true)
	sub.subscribe("plant/+/telemetry", 0)
	message := &mqtt.Publish{Topic: []byte("plant/pump-1/telemetry"), Payload: make([]byte, 100)}
	one, err := message.AppendTo(nil, mqtt.V5)
	if err != nil {
		b.Fatal(err)
	}
	const batch, window = 32, 512 // below the client's queue, so that nothing is dropped
	var many []byte
	for range batch {
		many = append(many, one...)
	}
	var seen atomic.Int64
	room := make(chan struct{}, 1)
	go count(sub.nc, int64(len(one)), &seen, room)
	send := func(n int) {
		first := seen.Load()
		for sent := 0; sent < n; sent += batch {
			for int64(sent)-(seen.Load()-first) > window {
				<-room
			}
			if _, err := pub.nc.Write(many); err != nil {
				b.Fatal(err)
			}
		}
		for seen.Load()-first < int64((n+batch-1)/batch*batch) {
			<-room
		}
	}
	send(10 * window) // buffers grow
	b.ReportAllocs()
	b.SetBytes(100)
	b.ResetTimer()
	send(b.N)
}

// count counts messages of one size.
func count(nc net.Conn, size int64, seen *atomic.Int64, room chan struct{}) {
	buf := make([]byte, 64<<10)
	bytes := int64(0)
	for {
		n, err := nc.Read(buf)
		bytes += int64(n)
		seen.Store(bytes / size)
		select {
		case room <- struct{}{}:
		default:
		}
		if err == io.EOF || err != nil {
			return
		}
	}
}
