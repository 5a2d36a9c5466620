// Command bench measures Holdfast on the machine it runs on: how many devices it enrols, beside a peer in the same run,
// and how fast it answers, records, lists and starts. Each measurement prints a table and, with -write, replaces its
// section of docs/performance.md.
//
// It promises to use the programs as an operator would: the holdfast binary with its default durability, real sockets
// and real disks. Where the load shares the machine with the server it says so and gives the server's own processor
// time beside the rate. It listens on loopback only, and stops by process id what it started. It trusts the machine to
// do nothing else meanwhile: the load average at the start stands in each section, so that a reader can tell.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one run: its options and its temporary folder.
type bench struct {
	holdfast string        // binary
	stepCA   string        // binary, or empty: found or built
	dir      string        // temporary folder of this run
	seconds  time.Duration // length of one measured row
	conns    int
	devices  int
	postgres bool
	sqlite   bool // of devices
	brief    bool // only the first rows of enrol, one round of mqtt, seconds of api

	mqttParts string // parts of mqtt, or empty for all
	idleConns int    // connections of the part idle
	others    strangers
	doc       string // file to write the section into, or empty
}

var measurements = []struct {
	name string
	run  func(*bench, context.Context) (string, error)
}{
	{"enrol", (*bench).enrol}, {"ocsp", (*bench).ocsp}, {"audit", (*bench).audit}, {"devices", (*bench).inventory}, {"start", (*bench).start},
	{"mqtt", (*bench).mqtt}, {"api", (*bench).reads},
}

func main() {
	work := run
	if len(os.Args) == 2 && os.Args[1] == loadCommand {
		work = runLoad
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := work(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	b := &bench{}
	f := flag.CommandLine
	f.StringVar(&b.holdfast, "holdfast", "", "holdfast binary to measure (default: built from this tree)")
	f.StringVar(&b.stepCA, "step-ca", "", "step-ca binary to measure beside it (default: from PATH, else built once into the user's cache folder)")
	parent := f.String("dir", "", "folder for databases, on the disk to measure (default: the system's temporary folder)")
	f.DurationVar(&b.seconds, "time", 6*time.Second, "length of each measured row")
	f.IntVar(&b.conns, "conns", 32, "connections of the load")
	f.IntVar(&b.devices, "devices", 1_000_000, "devices of the inventory that is listed")
	f.BoolVar(&b.postgres, "postgres", true, "measure on PostgreSQL too (needs Debian's package postgresql)")
	f.BoolVar(&b.sqlite, "sqlite", true, "devices: measure on SQLite")
	f.BoolVar(&b.brief, "brief", false, "enrol: only over standing connections, to compare two binaries quickly; mqtt: one round; api: a short open loop")
	f.StringVar(&b.mqttParts, "mqtt-parts", "", "mqtt: only these, separated by commas: qos0-fanin qos1-fanin fanout latency connects idle revoke; prints, writes nothing")
	f.IntVar(&b.idleConns, "idle", 10_000, "mqtt: idle connections; half as many when sessions are revoked")
	write := f.Bool("write", true, "replace the measurement's section of docs/performance.md")
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "usage: go run ./bench [flags] [enrol|ocsp|audit|devices|start|mqtt|api ...]   (default: all)")
		f.PrintDefaults()
	}
	flag.Parse()
	names, err := chosen(flag.Args())
	if err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(*parent, "holdfast-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if *write {
		b.doc = filepath.Join("docs", "performance.md")
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		if err := b.measure(ctx, name); err != nil {
			failed = append(failed, fmt.Errorf("measuring %s: %w", name, err))
		}
	}
	return errors.Join(failed...)
}

// chosen checks the names of measurements; none means all.
func chosen(args []string) (names []string, err error) {
	for _, m := range measurements {
		names = append(names, m.name)
	}
	for _, arg := range args {
		if !slices.Contains(names, arg) {
			return nil, fmt.Errorf("there is no measurement %q: choose from %s", arg, strings.Join(names, ", "))
		}
	}
	if len(args) > 0 {
		return args, nil
	}
	return names, nil
}

// build makes the holdfast binary unless one was given.
func (b *bench) build(ctx context.Context) error {
	if b.holdfast != "" {
		return nil
	}
	b.holdfast = filepath.Join(b.dir, "holdfast")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", b.holdfast, "./cmd/holdfast")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building holdfast (run this from the root of the source tree): %w\n%s", err, out)
	}
	return nil
}

// measure runs one measurement, prints its section and writes it down.
func (b *bench) measure(ctx context.Context, name string) error {
	for _, m := range measurements {
		if m.name != name {
			continue
		}
		facts, err := machine(b.dir)
		if err != nil {
			return err
		}
		began := time.Now()
		text, err := m.run(b, ctx)
		if err != nil {
			return err
		}
		text = fmt.Sprintf("%s\n%s; `go run ./bench %s` took %s.\n", strings.TrimRight(text, "\n")+"\n", facts, name, time.Since(began).Round(time.Second))
		fmt.Printf("\n## %s\n\n%s", name, text)
		if b.doc == "" {
			return nil
		}
		return replaceSection(b.doc, name, text)
	}
	return nil
}
