package audit

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

func BenchmarkEncode(b *testing.B) {
	e := testEvent(0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	leaf := testLeaf(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(leaf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppend appends batches of 1000 real leaves to a growing log and stores the tiles in memory.
func BenchmarkAppend(b *testing.B) {
	batch := make([][]byte, 1000)
	for i := range batch {
		batch[i] = testLeaf(b, i)
	}
	store, size := newStore(), int64(0)
	for b.Loop() {
		got, err := Append(store, size, batch)
		if err != nil {
			b.Fatal(err)
		}
		store.put(got.Tiles)
		size = got.Size
	}
	b.ReportMetric(float64(size)/b.Elapsed().Seconds(), "leaves/s")
}

// tenMillion is a log of ten million small leaves, built once.
var tenMillion = sync.OnceValue(func() *tileStore {
	store, size := newStore(), int64(0)
	batch := make([][]byte, 1<<16)
	for size < 10_000_000 {
		for i := range batch {
			batch[i] = fmt.Appendf(batch[i][:0], "%d", size+int64(i))
		}
		got, err := Append(store, size, batch[:min(int64(len(batch)), 10_000_000-size)])
		if err != nil {
			panic(err)
		}
		store.put(got.Tiles)
		size = got.Size
	}
	return store
})

func BenchmarkProveInclusion10M(b *testing.B) {
	store := tenMillion()
	random := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ProveInclusion(store, 10_000_000, random.Int64N(10_000_000)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkProveConsistency10M(b *testing.B) {
	store := tenMillion()
	random := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		if _, err := ProveConsistency(store, 1+random.Int64N(9_999_999), 10_000_000); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyExport(b *testing.B) {
	l := filledLog(b, 10_000)
	file := l.export(b)
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if _, err := Verify(strings.NewReader(file), VerifyOptions{Key: l.public}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*10_000/b.Elapsed().Seconds(), "entries/s")
}
