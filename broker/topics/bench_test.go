package topics

import (
	"fmt"
	"sync"
	"testing"
)

// hundredThousand is a fleet of 33,000 devices and a few readers of everything.
func hundredThousand() (*Tree[*session], []string) {
	tree := &Tree[*session]{}
	fleet(tree, 33_000)
	for _, f := range []string{"water/#", "water/+/+/telemetry", "+/north/#", "water/north/+/alarm", "$SYS/#"} {
		tree.Add(f, &session{})
	}
	topics := make([]string, 1024)
	for i := range topics {
		topics[i] = fmt.Sprintf("water/north/pump-%d/%s", i*31%33_000, []string{"cmd/dose", "telemetry", "config", "alarm"}[i%4])
	}
	return tree, topics
}

func BenchmarkMatch(b *testing.B) {
	tree, topics := hundredThousand()
	dst := make([]*session, 0, 16)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		dst = tree.Match(topics[i%len(topics)], dst[:0])
	}
}

func BenchmarkMatchParallel(b *testing.B) {
	tree, topics := hundredThousand()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		dst := make([]*session, 0, 16)
		for i := 0; pb.Next(); i++ {
			dst = tree.Match(topics[i%len(topics)], dst[:0])
		}
	})
}

// BenchmarkMatchWhileChanging matches while another goroutine adds and removes without pause.
func BenchmarkMatchWhileChanging(b *testing.B) {
	tree, topics := hundredThousand()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	changes := 0
	wg.Go(func() {
		s := &session{}
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			f := topics[i%len(topics)]
			tree.Add(f, s)
			tree.Remove(f, s)
			changes += 2
		}
	})
	dst := make([]*session, 0, 16)
	for i := 0; b.Loop(); i++ {
		dst = tree.Match(topics[i%len(topics)], dst[:0])
	}
	close(stop)
	wg.Wait()
	b.ReportMetric(float64(changes)/b.Elapsed().Seconds(), "changes/s")
}

func BenchmarkFanOut500(b *testing.B) {
	var tree Tree[*session]
	for range 500 {
		tree.Add("water/+/alarm", &session{})
	}
	dst := make([]*session, 0, 500)
	b.ReportAllocs()
	for b.Loop() {
		dst = tree.Match("water/north/alarm", dst[:0])
	}
}

func BenchmarkAddRemove(b *testing.B) {
	tree, _ := hundredThousand()
	s := &session{}
	b.ReportAllocs()
	for b.Loop() {
		tree.Add("water/north/pump-x/cmd/#", s)
		tree.Remove("water/north/pump-x/cmd/#", s)
	}
}

// BenchmarkRemoveOfMany removes one of 10,000 values of one filter, and puts it back.
func BenchmarkRemoveOfMany(b *testing.B) {
	var tree Tree[int]
	const n = 10_000
	for i := range n {
		tree.Add("alarm", i)
	}
	for i := 0; b.Loop(); i++ {
		tree.Remove("alarm", i%n)
		tree.Add("alarm", i%n)
	}
}
