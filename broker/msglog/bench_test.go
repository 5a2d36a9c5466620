package msglog

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkAppend appends 100 bytes on 50 topics: stored, acknowledged and
// delivered live.
func BenchmarkAppend(b *testing.B) {
	l := open(b)
	topics := make([]string, 50)
	for i := range topics {
		topics[i] = fmt.Sprintf("devices/d%02d/telemetry", i)
	}
	payload := make([]byte, 100)
	live := 0
	l.Live(func(*Message) { live++ }, nil)
	finished := make(chan bool)
	left := b.N
	done := func(_ uint64, _ bool, err error) {
		if err != nil {
			b.Error(err)
		}
		if left--; left == 0 {
			close(finished)
		}
	}
	from := Origin{Kind: "device", ID: "d17", Type: "pump", Client: "d17"}
	now := time.Now().UnixMilli()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		l.Append(&Message{Topic: topics[i%50], QoS: 1, From: from, Time: now, Payload: payload}, "", done)
	}
	<-finished
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	if live != b.N {
		b.Errorf("%d of %d were live", live, b.N)
	}
}

// BenchmarkCatchUp reads 1000 messages that a session missed.
func BenchmarkCatchUp(b *testing.B) {
	l := open(b)
	for i := range 100_000 {
		mustAppendLater(b, l, text(fmt.Sprintf("devices/d%02d/telemetry", i%100), "21.5"))
	}
	mustAppend(b, l, text("x", ""), "")
	b.ResetTimer()
	for range b.N {
		if n := len(rest(b, l.Cursor([]From{{"devices/d17/+", 0}}))); n != 1000 {
			b.Fatalf("read %d messages", n)
		}
	}
}
