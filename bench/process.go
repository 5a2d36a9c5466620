package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-iot/holdfast/server"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// process is a server under measurement, with its output in a file.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it ended
}

func launch(log string, env []string, argv ...string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env = out, out, append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt of the measurement is not the server's
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop asks the process to end and makes sure after a while.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// await polls until ready says so, the process ends, or half a minute is over.
func (p *process) await(ctx context.Context, ready func() bool) error {
	deadline := time.Now().Add(30 * time.Second)
	for !ready() {
		select {
		case <-p.done:
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
			if time.Now().Before(deadline) {
				continue
			}
		}
		said, _ := os.ReadFile(p.log)
		return fmt.Errorf("waiting for %s: it is not ready; it said:\n%s", filepath.Base(p.cmd.Path), tail(said, 2000))
	}
	return nil
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// ticks is the unit of /proc/PID/stat: USER_HZ, which is 100 on every Linux that Go runs on.
const ticks = 10 * time.Millisecond

// cpu is the processor time, user and system, that processes used so far.
func cpu(pids ...int) (sum time.Duration) {
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		for _, i := range []int{11, 12} { // utime and stime, counted from the state
			n, _ := strconv.ParseInt(fields[i], 10, 64)
			sum += time.Duration(n) * ticks
		}
	}
	return sum
}

// busyTime is the processor time that everything on the machine used so far; what a hypervisor took away is part of it.
func busyTime() (sum time.Duration) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(data), "\n")
	fields := strings.Fields(first)
	for i, text := range fields[:min(9, len(fields))] { // cpu user nice system idle iowait irq softirq steal
		if i == 0 || i == 4 || i == 5 {
			continue
		}
		n, _ := strconv.ParseInt(text, 10, 64)
		sum += time.Duration(n) * ticks
	}
	return sum
}

// strangers are processes that are neither server nor load, and that a measurement should not have had beside it.
type strangers struct{ used, during, worst time.Duration } // worst: of a minute

func (s *strangers) add(used, during time.Duration) {
	used = max(0, used)
	s.used, s.during = s.used+used, s.during+during
	s.worst = max(s.worst, time.Duration(float64(used)/during.Minutes()))
}

// String says how far the measurement can be believed.
func (s *strangers) String() string {
	cores := float64(runtime.NumCPU()) / 100
	return fmt.Sprintf("Other processes took %.0f %% of the machine meanwhile, %.0f %% during the worst turn.",
		s.used.Seconds()/max(s.during.Seconds(), 1e-9)/cores, s.worst.Minutes()/cores)
}

// rss is the resident memory of a process in bytes.
func rss(pid int) int64 {
	kb, _, _ := strings.Cut(field(fmt.Sprintf("/proc/%d/status", pid), "VmRSS"), " ")
	n, _ := strconv.ParseInt(kb, 10, 64)
	return n << 10
}

// instance is a running holdfast.
type instance struct {
	*process
	ready server.Ready
	roots *x509.CertPool
	api   *adminapi.Client
	token []byte // of the administrator
	dir   string
	took  time.Duration // from exec to ready.json
}

// up starts holdfast on a data folder, with limits on enrolment that a single source of load does not reach, and waits
// until it is ready.
func (b *bench) up(ctx context.Context, dir, database string, env ...string) (*instance, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	argv := []string{b.holdfast, "up", "--data", dir, "--enrolment-rate", "100000", "--enrolment-burst", "100000"}
	for _, name := range []string{"api", "device", "mqtts", "wss", "pki", "metrics"} {
		argv = append(argv, "--listen-"+name, "127.0.0.1:0")
	}
	began := time.Now()
	p, err := launch(dir+".log", append(env, "HOLDFAST_DATABASE="+database), argv...)
	if err != nil {
		return nil, err
	}
	h := &instance{process: p, dir: dir}
	err = p.await(ctx, func() bool {
		text, err := os.ReadFile(filepath.Join(dir, "run", "ready.json"))
		return err == nil && json.Unmarshal(text, &h.ready) == nil && h.ready.PID == p.pid()
	})
	h.took = time.Since(began)
	if err == nil {
		err = h.connect()
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return h, nil
}

func (h *instance) connect() error {
	bundle, err := os.ReadFile(h.ready.CAFile)
	if err != nil {
		return err
	}
	h.roots = x509.NewCertPool()
	h.roots.AppendCertsFromPEM(bundle)
	token, err := os.ReadFile(h.ready.AdminTokenFile)
	if err != nil {
		return err
	}
	h.token = bytes.TrimSpace(token)
	h.api = &adminapi.Client{BaseURL: h.ready.API, Token: adminapi.NewBearer(string(h.token)),
		HTTP: apiHTTP(h.roots)}
	return nil
}

// logged is the size of the audit log by the server's metrics.
func (h *instance) logged() (int64, error) {
	res, err := http.Get(h.ready.Metrics + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, "holdfast_audit_log_size "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return int64(n), err
		}
	}
	return 0, fmt.Errorf("reading the metrics: holdfast_audit_log_size is not among them")
}

// settle waits until the audit log stopped growing, so that work put off by one row is not charged to the next.
func (h *instance) settle(ctx context.Context) error {
	last, since := int64(-1), time.Now()
	for time.Since(since) < 150*time.Millisecond {
		size, err := h.logged()
		if err != nil {
			return err
		}
		if size != last {
			last, since = size, time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
