package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	for i := range 59 * 32 {
		if top := bucketTop(i); bucket(top) != i || bucket(top+1) != i+1 {
			t.Fatalf("bucket %d ends at %d, which is in %d, and the next in %d", i, top, bucket(top), bucket(top+1))
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	var parts [2]histogram
	var list []time.Duration
	for i := range 20_000 {
		d := time.Duration(r.ExpFloat64() * float64(time.Millisecond))
		list = append(list, d)
		parts[i%2].add(d)
	}
	parts[0].merge(&parts[1])
	slices.Sort(list)
	for _, q := range []float64{0.01, 0.5, 0.99, 0.999, 1} {
		got, want := parts[0].quantile(q), list[int(q*float64(len(list)))-1]
		if got < want || float64(got) > float64(want)*1.04 {
			t.Errorf("quantile %g is %s, want %s and at most 4 %% more", q, got, want)
		}
	}
	var none histogram
	if none.add(-time.Second); none.quantile(1) != 0 || (&histogram{}).quantile(.5) != 0 {
		t.Error("less than nothing took some time")
	}
}

func TestPace(t *testing.T) {
	p := pace{start: 10 * time.Millisecond, each: 200 * time.Microsecond}
	if p.owed(9*time.Millisecond) != 0 || p.owed(p.start) != 1 {
		t.Error("the first message is not due at the start")
	}
	for i := range int64(20_000) {
		if due := p.due(i); p.owed(due) != i+1 || p.owed(due-1) != i {
			t.Fatalf("message %d is due at %s, when %d are owed, %d just before", i, due, p.owed(due), p.owed(due-1))
		}
	}
}

func TestStamp(t *testing.T) {
	payload := make([]byte, payloadSize)
	stamp(payload, 49, 1<<40, time.Hour)
	if i, n, due := readStamp(payload); i != 49 || n != 1<<40 || due != time.Hour {
		t.Errorf("read %d, %d, %s", i, n, due)
	}
}

// TestFlow checks what a publisher may have on its way.
func TestFlow(t *testing.T) {
	f := &flow{qos: 1, fan: 2, window: &atomic.Int64{}, wake: make(chan struct{}, 1)}
	f.window.Store(20)
	for _, c := range []struct{ sent, acked, progress, given, want int64 }{
		{0, 0, 0, 0, 20},
		{20, 20, 20, 0, 10}, // half of the receivers have them
		{20, 4, 40, 0, 0},   // less than a quarter of the window is open
		{20, 5, 40, 0, 5},
		{20, 20, 0, 20, 20}, // lost and given up on
		{30, 30, 0, 20, 10},
		{40, 40, 80, 20, 20}, // the broker goes on after all
	} {
		f.sent.Store(c.sent)
		f.acked.Store(c.acked)
		f.progress.Store(c.progress)
		f.given.Store(c.given)
		if got := f.room(); got != c.want {
			t.Errorf("%+v: room for %d", c, got)
		}
	}
}

// TestStrangers adds up what others used; the clock of the whole machine runs no slower than this process's.
func TestStrangers(t *testing.T) {
	var s strangers
	cores := time.Duration(runtime.NumCPU())
	s.add(cores*time.Second, 10*time.Second)
	s.add(-time.Second, 30*time.Second) // ticks are coarse
	if got := s.String(); !strings.Contains(got, " took 2 % of") && !strings.Contains(got, " took 3 % of") || !strings.Contains(got, "10 % during the worst") {
		t.Error(got)
	}
	if busyTime() < cpu(os.Getpid()) {
		t.Error("the machine was less busy than this process")
	}
}

// TestBetter shows that a broker does not win by dropping messages.
func TestBetter(t *testing.T) {
	slow, fast, lossy := &measure{Rate: 1, Sent: 10_000}, &measure{Rate: 2, Sent: 10_000, Lost: 10}, &measure{Rate: 3, Sent: 10_000, Lost: 100}
	if !better(fast, slow) || better(slow, fast) || better(lossy, fast) || better(lossy, slow) || !better(slow, lossy) {
		t.Error("the wrong trial is preferred")
	}
}

func TestChosenParts(t *testing.T) {
	if list, err := chosenParts(""); err != nil || len(list) != len(parts) {
		t.Errorf("no choice gave %d parts, %v", len(list), err)
	}
	if list, err := chosenParts("idle,fanout"); err != nil || len(list) != 2 || list[0].name != "idle" {
		t.Errorf("got %d parts, %v", len(list), err)
	}
	if _, err := chosenParts("qos3"); err == nil {
		t.Error("a part that is not there was chosen")
	}
}

func TestEach(t *testing.T) {
	var done atomic.Int64
	if err := each(4, upTo(100), func(int) error { done.Add(1); return nil }); err != nil || done.Load() != 100 {
		t.Errorf("%d of 100 done, %v", done.Load(), err)
	}
	stop := errors.New("enough")
	if err := each(4, func(int) bool { return true }, func(i int) error {
		if i == 50 {
			return stop
		}
		return nil
	}); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

// TestTraffic runs each kind of load for a moment against a relay that knows nothing but PUBLISH, and that loses every
// tenth message at QoS 0. A moment is several times as long as a publisher waits for what was lost.
func TestTraffic(t *testing.T) {
	dir := t.TempDir()
	a, err := newAuthority(dir, clientIDs(listeners))
	if err != nil {
		t.Fatal(err)
	}
	for part, run := range map[string]func(*clients, context.Context) (measure, error){
		"qos0-fanin": (*clients).fanIn, "qos1-fanin": (*clients).fanIn, "fanout": (*clients).fanOut, "latency": (*clients).latency, "connects": (*clients).connects, "idle": (*clients).idle,
	} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			address := relay(t, a)
			l, err := newClients(&job{Part: part, Address: address, Roots: a.roots(), Identities: a.identities(), PID: os.Getpid(), Length: 6 * patience, Count: 20})
			if err != nil {
				t.Fatal(err)
			}
			defer l.close()
			if part == "connects" || part == "idle" {
				l.ids = append(l.ids, make([]identity, identities)...)
				for i := range identities {
					l.ids[collectors+i] = l.ids[collectors+i%listeners]
				}
			}
			m, err := run(l, t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if m.Rate <= 0 && part != "idle" || m.Again != 0 {
				t.Errorf("got %+v", m)
			}
			if acked := m.Acked > 0; acked != (part == "qos1-fanin") {
				t.Errorf("%g acknowledged a second", m.Acked)
			}
			if lossy := part == "qos0-fanin" || part == "fanout" || part == "latency"; lossy != (m.Lost > 0) {
				t.Errorf("%d of %d lost", m.Lost, m.Sent)
			}
			if part == "latency" && (m.P50 <= 0 || m.P50 > m.P99 || m.P99 > m.P999) {
				t.Errorf("percentiles %s, %s, %s", m.P50, m.P99, m.P999)
			}
		})
	}
}

// TestPolicyCheck shows that a broker without a policy is found out.
func TestPolicyCheck(t *testing.T) {
	a, err := newAuthority(t.TempDir(), clientIDs(2))
	if err != nil {
		t.Fatal(err)
	}
	l, err := newClients(&job{Address: relay(t, a), Roots: a.roots(), Identities: a.identities()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if _, err := l.policy(t.Context()); err == nil || !strings.Contains(err.Error(), "enforces no policy") {
		t.Errorf("got %v", err)
	}
}

// TestLoadRefusals shows that a broker that refuses gives an error, not a figure.
func TestLoadRefusals(t *testing.T) {
	a, err := newAuthority(t.TempDir(), clientIDs(0))
	if err != nil {
		t.Fatal(err)
	}
	l, err := newClients(&job{Address: relay(t, a), Roots: a.roots(), Identities: a.identities()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	s, err := l.connect(t.Context(), l.collector(0), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.subscribe("refused", 0); err == nil || !strings.Contains(err.Error(), "subscribing to refused") {
		t.Errorf("a refused subscription gave %v", err)
	}
	stranger, err := newAuthority(filepath.Join(t.TempDir(), "other"), clientIDs(0))
	if err != nil {
		t.Fatal(err)
	}
	if l.ids, err = readIdentities(stranger.identities()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.connect(t.Context(), l.collector(0), 0); err == nil {
		t.Error("a certificate of another authority connected")
	}
}
