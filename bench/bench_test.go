package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestReplaceSection(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(path, []byte("# P\n\n<!-- bench:ocsp -->\nold\n<!-- end:ocsp -->\n\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time finds what the first wrote
		for name, text := range map[string]string{"ocsp": "new\n", "start": "quick\n"} {
			if err := replaceSection(path, name, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const want = "# P\n\n<!-- bench:ocsp -->\nnew\n<!-- end:ocsp -->\n\nafter\n\n## start\n\n<!-- bench:start -->\nquick\n<!-- end:start -->\n"
	if string(data) != want {
		t.Errorf("got:\n%s\nwant:\n%s", data, want)
	}
}

func TestTable(t *testing.T) {
	got := table([][]string{{"a", "µs"}, {"long", "1"}})
	if want := "| a    | µs |\n| ---- | -- |\n| long | 1  |\n"; got != want {
		t.Errorf("got:\n%s", got)
	}
}

func TestFigures(t *testing.T) {
	for got, want := range map[string]string{
		thousands(1234567): "1,234,567", thousands(999): "999", thousands(0): "0",
		round(1234567 * time.Nanosecond): "1.23ms", round(290400 * time.Nanosecond): "290 µs",
		percentile([]time.Duration{3, 1, 2}, 50).String(): "2ns", percentile(nil, 99).String(): "0s",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestBenchmarkLine(t *testing.T) {
	values, err := benchmarkLine("goos: linux\nBenchmarkAudit/append-16-2  1  3000 ns/op  26723 events/s\n", "BenchmarkAudit/append-16")
	if err != nil || values["events/s"] != 26723 {
		t.Errorf("got %v, %v", values, err)
	}
	if _, err := benchmarkLine("PASS\n", "BenchmarkAudit/drain"); err == nil {
		t.Error("a missing line is no error")
	}
}

// TestLoad sends each request once, keeps the answers, and refuses to report a rate of refusals.
func TestLoad(t *testing.T) {
	var asked, status atomic.Int64
	status.Store(http.StatusOK)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write([]byte(r.URL.Path))
	}))
	defer srv.Close()
	cfg := srv.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	cfg.ServerName = "example.com"
	for _, fresh := range []bool{false, true} {
		l := &load{address: strings.TrimPrefix(srv.URL, "https://"), tls: cfg, fresh: fresh, conns: 3, want: 200, bodies: make([][]byte, 20)}
		for range l.bodies {
			l.requests = append(l.requests, post("/x", "", []byte("body")))
		}
		asked.Store(0)
		o, err := l.run(t.Context(), time.Minute)
		if err != nil || o.done != 20 || asked.Load() != 20 || string(l.bodies[19]) != "/x" {
			t.Errorf("fresh %v: %d done, %d asked, %v", fresh, o.done, asked.Load(), err)
		}
	}
	status.Store(http.StatusTooManyRequests)
	l := &load{address: strings.TrimPrefix(srv.URL, "https://"), tls: cfg, conns: 1, want: 200, requests: [][]byte{post("/x", "", nil)}}
	if _, err := l.run(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("refusals gave %v", err)
	}
}

// TestCPU reads this process's own processor time, which only grows.
func TestCPU(t *testing.T) {
	before := cpu(os.Getpid())
	for began := time.Now(); time.Since(began) < 30*time.Millisecond; {
	}
	if after := cpu(os.Getpid()); after < before || after == 0 {
		t.Errorf("processor time went from %s to %s", before, after)
	}
	if rss(os.Getpid()) < 1<<20 {
		t.Error("this process is smaller than it can be")
	}
}
