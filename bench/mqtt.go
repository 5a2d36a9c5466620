package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/gob"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// part is one kind of load that the brokers get in turn.
type part struct {
	name, what string
	rounds     int
	only       string // the broker that alone can do it
	count      func(b *bench) int
	figure     func(m *measure) float64 // whose median stands for all rounds
	result     func(m *measure) string
	target     func(ours, mosquitto *measure) string // of Holdfast; mosquitto may be nil
}

func messages(m *measure) string {
	text := thousands(m.Rate) + " delivered/s"
	if m.Acked > 0 {
		text += ", " + thousands(m.Acked) + " acknowledged/s"
	}
	return text
}

func rate(m *measure) float64 { return m.Rate }

// times is a target of so many times mosquitto.
func times(factor float64) func(ours, peer *measure) string {
	return func(ours, peer *measure) string {
		if peer == nil {
			return ""
		}
		return fmt.Sprintf("at least %g times mosquitto: %s", factor, verdict(ours.Rate >= factor*peer.Rate))
	}
}

const (
	idleSize     = 24 << 10 // bytes of a connection
	revokeTarget = time.Second
)

var parts = []part{
	{name: "qos0-fanin", what: "50 publishers to 1 subscriber, QoS 0", rounds: rounds, figure: rate, result: messages, target: times(1.5)},
	{name: "qos1-fanin", what: "50 publishers to 1 subscriber, QoS 1", rounds: rounds, figure: rate, result: messages, target: times(1.2)},
	{name: "fanout", what: "1 publisher to 500 subscribers, QoS 0", rounds: rounds, figure: rate, result: messages},
	{name: "latency", what: "5,000/s from 50 publishers, all of it to each of 5 subscribers, QoS 0", rounds: rounds, figure: func(m *measure) float64 { return float64(m.P99) },
		result: func(m *measure) string {
			return fmt.Sprintf("p50 %s, p99 %s, p99.9 %s ms at %s delivered/s; the load itself was late by %s ms (p99)", fine(m.P50), fine(m.P99), fine(m.P999),
				thousands(m.Rate), fine(m.Lag))
		},
		target: func(ours, peer *measure) string {
			if peer == nil {
				return ""
			}
			return "p50 and p99 not above mosquitto's: " + verdict(ours.P50 <= peer.P50 && ours.P99 <= peer.P99)
		}},
	{name: "connects", what: "new connections: mutual TLS and CONNECT", rounds: rounds, figure: rate,
		result: func(m *measure) string { return thousands(m.Rate) + " connections/s" }, target: times(2)},
	{name: "idle", what: "idle connections with a subscription each, QoS 1", rounds: 1, figure: rate, count: func(b *bench) int { return b.idleConns },
		result: func(m *measure) string {
			return fmt.Sprintf("%.1f KiB a connection (%s of them), opened at %s/s; %.1f %% of a core when idle", m.Rate/1024, thousands(float64(m.Connections)),
				thousands(float64(m.Connections)/m.Connecting.Seconds()), 100*m.Broker.Seconds())
		},
		target: func(ours, _ *measure) string {
			return fmt.Sprintf("at most %d KiB: %s", idleSize>>10, verdict(ours.Rate <= idleSize))
		}},
	{name: "revoke", what: "from the API's answer to the closed socket", rounds: 1, only: "Holdfast", figure: rate, count: func(b *bench) int { return b.idleConns / 2 },
		result: func(m *measure) string {
			return fmt.Sprintf("p50 %s, p99 %s, longest %s ms (%d of %s sessions)", fine(m.P50), fine(m.P99), fine(m.P999), m.Ask, thousands(float64(m.Connections)))
		},
		target: func(ours, _ *measure) string { return "p99 under 1 s: " + verdict(ours.P99 < revokeTarget) }},
}

// fine is milliseconds with enough digits for a tenth of one.
func fine(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }

// mqtt measures the brokers side by side.
func (b *bench) mqtt(ctx context.Context) (string, error) {
	todo, err := chosenParts(b.mqttParts)
	if err != nil {
		return "", err
	}
	if err := openFiles(uint64(b.idleConns) + 500); err != nil {
		return "", err
	}
	brokers, missing, err := b.brokers(ctx)
	if err != nil {
		return "", err
	}
	b.others = strangers{}
	rows := [][]string{{"load", "broker", "result", "times mosquitto", "lost %", "broker CPU µs each", "load CPU µs each", "target"}}
	for _, f := range brokers {
		if !f.enforces() {
			continue
		}
		if _, err := b.turn(ctx, part{name: policyPart}, f); err != nil {
			return "", fmt.Errorf("checking that %s enforces its policy: %w", f.name(), err)
		}
	}
	for _, p := range todo {
		got, err := b.turns(ctx, p, brokers)
		if err != nil {
			return "", err
		}
		rows = append(rows, partRows(p, brokers, got)...)
	}
	if len(todo) < len(parts) {
		b.doc = "" // a part is no section
	}
	var versions []string
	for _, f := range brokers {
		versions = append(versions, f.version())
	}
	text := table(rows) + "\n" + strings.Join(versions, ", ") + fmt.Sprintf("; rounds in turn: %d, of which the median is shown; idle connections and revocation are measured once. "+
		"Of latencies the ratio is that of p99. %s", b.mqttRounds(rounds), &b.others)
	if len(missing) > 0 {
		text += " Not measured: " + strings.Join(missing, ", ") + "."
	}
	return text + "\n", nil
}

// brokers prepares those that are there.
func (b *bench) brokers(ctx context.Context) (list []broker, missing []string, err error) {
	ids := clientIDs(max(b.idleConns, listeners, identities))
	ca, err := newAuthority(filepath.Join(b.dir, "mqtt"), ids)
	if err != nil {
		return nil, nil, err
	}
	for _, prepare := range []func() (broker, error){
		func() (broker, error) { return b.newHoldfast(ctx, ids) },
		func() (broker, error) { return newMosquitto(b.dir, ca) },
		func() (broker, error) { return b.newNATS(ctx, ca) },
	} {
		f, err := prepare()
		if errors.Is(err, errNoBroker) {
			fmt.Fprintln(os.Stderr, "bench: measuring without a broker:", err)
			name, _, _ := strings.Cut(err.Error(), ":")
			missing = append(missing, name)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		list = append(list, f)
	}
	return list, missing, nil
}

func chosenParts(names string) (list []part, err error) {
	if names == "" {
		return parts, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(parts, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no part %q of mqtt", name)
		}
		list = append(list, parts[i])
	}
	return list, nil
}

// openFiles lets this process and those it starts hold so many connections.
func openFiles(n uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if limit.Max < n {
		return fmt.Errorf("a process may open %d files here, %d are needed: raise the limit (ulimit -n) or measure fewer idle connections (-idle)", limit.Max, n)
	}
	limit.Cur = limit.Max // set here, it is what processes started from here begin with
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// mqttRounds is how often a part that has n rounds is measured.
func (b *bench) mqttRounds(n int) int {
	if b.brief {
		return 1
	}
	return n
}

// turns measures a part with all brokers, whose order changes from round to round, and returns the median of each.
func (b *bench) turns(ctx context.Context, p part, brokers []broker) ([]*measure, error) {
	all := make([][]*measure, len(brokers))
	n := b.mqttRounds(p.rounds)
	for r := range n {
		for k := range brokers {
			i := (k + r) % len(brokers)
			if p.only != "" && p.only != brokers[i].name() {
				continue
			}
			m, err := b.turn(ctx, p, brokers[i])
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", p.name, brokers[i].name(), err)
			}
			note := ""
			if m.Window > 0 {
				note = fmt.Sprintf(", window %d, %d of %d lost, %d again", m.Window, m.Lost, m.Sent, m.Again)
			}
			if m.Lag > 0 {
				note = fmt.Sprintf(", %d of %d lost", m.Lost, m.Sent)
			}
			fmt.Fprintf(os.Stderr, "bench: %s, round %d of %d, %s: %s%s; CPU each: broker %.1f, load %.1f µs\n", p.name, r+1, n, brokers[i].name(), p.result(m), note, micros(m.Broker), micros(m.Own))
			all[i] = append(all[i], m)
		}
	}
	got := make([]*measure, len(brokers))
	for i, list := range all {
		if len(list) > 0 {
			slices.SortFunc(list, func(x, y *measure) int { return cmp.Compare(p.figure(x), p.figure(y)) })
			got[i] = list[len(list)/2]
		}
	}
	return got, nil
}

// turn starts a broker and a load for one measurement.
func (b *bench) turn(ctx context.Context, p part, f broker) (*measure, error) {
	l, err := f.start(ctx, p.name)
	if err != nil {
		return nil, err
	}
	defer l.stop()
	j := job{Part: p.name, Address: l.address, Roots: l.roots, Identities: l.identities, PID: l.pid(), Length: b.seconds, API: l.api, TokenFile: l.token}
	if p.count != nil {
		j.Count = p.count(b)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var in, out, said bytes.Buffer
	if err := gob.NewEncoder(&in).Encode(j); err != nil {
		return nil, err
	}
	began, busy, broker := time.Now(), busyTime(), cpu(l.pid())
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute+4*b.seconds)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, loadCommand)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &said
	if err := cmd.Run(); err != nil {
		log, _ := os.ReadFile(l.log)
		return nil, fmt.Errorf("the load: %w\n%s\nthe broker said:\n%s", err, tail(said.Bytes(), 2000), tail(log, 1000))
	}
	ours := cpu(l.pid()) - broker + cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if p.name != policyPart {
		b.others.add(busyTime()-busy-ours, time.Since(began))
	}
	m := &measure{}
	return m, gob.NewDecoder(&out).Decode(m)
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// partRows are the lines of the table for one part.
func partRows(p part, brokers []broker, got []*measure) (rows [][]string) {
	var mosquitto *measure
	for i, f := range brokers {
		if f.name() == "mosquitto" {
			mosquitto = got[i]
		}
	}
	for i, f := range brokers {
		m := got[i]
		if m == nil {
			continue
		}
		var ratio, lost, busy, own, target string
		if mosquitto != nil {
			if base := p.figure(mosquitto); base > 0 {
				ratio = fmt.Sprintf("%.2f", p.figure(m)/base)
			}
		}
		if m.Sent > 0 {
			lost = fmt.Sprintf("%.2f", 100*float64(m.Lost)/float64(m.Sent))
		}
		if m.Own > 0 {
			busy, own = fmt.Sprintf("%.1f", micros(m.Broker)), fmt.Sprintf("%.1f", micros(m.Own))
		}
		if f.name() == "Holdfast" && p.target != nil {
			target = p.target(m, mosquitto)
		}
		rows = append(rows, []string{p.what, f.name(), p.result(m), ratio, lost, busy, own, target})
	}
	return rows
}

// apiHTTP calls Holdfast's API.
func apiHTTP(roots *x509.CertPool) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
}
