package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

const (
	appendTarget = 20_000 // events a second
	proofTarget  = time.Millisecond
)

// auditRows name what the benchmarks of package server measure, in the order of the table.
var auditRows = []struct{ benchmark, what string }{
	{"BenchmarkAudit/append-1", "64 writers, 1 event in each transaction, until all are in the signed log"},
	{"BenchmarkAudit/append-16", "64 writers, 16 events in each transaction, until all are in the signed log"},
	{"BenchmarkAudit/append-64", "64 writers, 64 events in each transaction, until all are in the signed log"},
	{"BenchmarkAudit/drain", "sequencer alone, from an outbox of 200,000 events"},
	{"BenchmarkAudit/proof-stored", "inclusion proof from stored tiles"},
	{"BenchmarkAudit/proof-whole", "whole answer of the API: checkpoint, entry and inclusion proof"},
}

// audit measures the log through the parts of the server that nothing else reaches, by its benchmarks.
func (b *bench) audit(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkAudit$", "-timeout", "10m", "./server")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "TMPDIR="+b.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("running the benchmarks: %w\n%s", err, tail(out, 4000))
	}
	rows := [][]string{{"work", "events per second", "time each", "target"}}
	for _, r := range auditRows {
		values, err := benchmarkLine(string(out), r.benchmark)
		if err != nil {
			return "", err
		}
		if rate, ok := values["events/s"]; ok {
			rows = append(rows, []string{r.what, thousands(rate), "", "at least " + thousands(appendTarget) + "/s: " + verdict(rate >= appendTarget)})
			continue
		}
		each := time.Duration(values["ns/op"])
		rows = append(rows, []string{r.what, "", round(each), "under " + proofTarget.String() + ": " + verdict(each < proofTarget)})
	}
	return table(rows) + "\nSQLite with an fsync at each commit; transactions that wait for the disk together share it. Appending ends when the last event is in\n" +
		"the tree, under a signed checkpoint, in the database. Proofs are of random entries of a log of 10 million; its tiles lie in SQLite.\n", nil
}

// benchmarkLine reads the values of one line of go test -bench.
func benchmarkLine(out, name string) (map[string]float64, error) {
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 4 {
			continue
		}
		if got, _, _ := cutLast(fields[0], "-"); got != name && fields[0] != name {
			continue
		}
		values := map[string]float64{}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("reading the line of %s: %w", name, err)
			}
			values[fields[i+1]] = v
		}
		return values, nil
	}
	return nil, fmt.Errorf("the benchmarks printed no line for %s:\n%s", name, tail([]byte(out), 2000))
}

// cutLast splits at the last separator: go test appends the number of cores to a name.
func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
