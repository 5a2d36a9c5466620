package server

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/est"
)

// BenchmarkEnrol measures enrolling without TLS and HTTP: parse, decide, reserve,
// sign, commit, with the sequencer running beside it.
func BenchmarkEnrol(b *testing.B) {
	r := start(b, tempData(b), Options{})
	r.sources = newLimiter(1e9, 1e9, r.now)
	r.fleet(nil)
	_, secret := r.token(enroll.Group, 1_000_000)
	devs := make([]*dev, b.N)
	for i := range devs {
		devs[i] = newDev(b, fmt.Sprintf("d%d", i))
	}
	var next atomic.Int64
	b.SetParallelism(16)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			d := devs[next.Add(1)-1]
			_, err := enrolling{r.Server}.Enroll(context.Background(), est.Request{Op: est.OpEnroll, Label: "sensor", CSR: d.csr,
				Credential: est.BasicCredential("est", secret), Source: netip.MustParseAddr("127.0.0.1")})
			if err != nil {
				b.Error(err)
				return
			}
		}
	})
}
