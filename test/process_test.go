package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	startLimit = 60 * time.Second // generous: the machine may be busy
	stopLimit  = 10 * time.Second // what the contract for operators promises
	pollEvery  = 20 * time.Millisecond
)

// ready is what run/ready.json says.
type ready struct {
	API            string `json:"api"`
	DeviceAPI      string `json:"device_api"`
	PKI            string `json:"pki"`
	MQTTS          string `json:"mqtts"`
	WSS            string `json:"wss"`
	Metrics        string `json:"metrics"`
	CAFile         string `json:"ca_file"`
	AdminTokenFile string `json:"admin_token_file"`
	PID            int    `json:"pid"`
}

// process is one run of `holdfast up`.
type process struct {
	ready
	data string
	cmd  *exec.Cmd
	log  *buffer
	done chan struct{} // closed when it has ended
	err  error         // of Wait; read after done
}

// buffer is a bytes.Buffer for one writer and one reader at a time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// loopback has every listener on a port of the system's choosing, and limits
// that tests do not reach by accident.
var loopback = []string{"--listen-api", "127.0.0.1:0", "--listen-device", "127.0.0.1:0", "--listen-pki", "127.0.0.1:0",
	"--listen-metrics", "127.0.0.1:0", "--listen-mqtts", "127.0.0.1:0", "--listen-wss", "127.0.0.1:0", "--listen-mqtts", "127.0.0.1:0", "--listen-wss", "127.0.0.1:0", "--enrolment-rate", "100000", "--enrolment-burst", "100000"}

// up starts a server and waits until it is ready.
func up(data string, env []string, flags ...string) (*process, error) {
	path, err := exec.LookPath("holdfast")
	if err != nil {
		return nil, err
	}
	p := &process{data: data, log: &buffer{}, done: make(chan struct{})}
	p.cmd = exec.Command(path, append(append([]string{"up", "--data", data}, loopback...), flags...)...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = env, p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	old, _ := os.ReadFile(p.readyFile()) // left behind by kill -9
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	err = poll(startLimit, func() error {
		select {
		case <-p.done:
			return final{fmt.Errorf("the server ended: %v", p.err)}
		default:
		}
		text, err := os.ReadFile(p.readyFile())
		if err != nil {
			return err
		}
		if bytes.Equal(text, old) {
			return errors.New("ready.json is the one of the server before")
		}
		return json.Unmarshal(text, &p.ready)
	})
	if err != nil {
		p.kill()
		return nil, fmt.Errorf("waiting for the server: %w\n%s", err, p.log)
	}
	return p, nil
}

func (p *process) readyFile() string { return filepath.Join(p.data, "run", "ready.json") }

// kill ends the server as a power cut would, without its knowledge.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

// stop ends the server as an operator does and checks what is promised of that.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stopping: %w\n%s", err, p.log)
	}
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		p.kill()
		return fmt.Errorf("the server did not stop within %v\n%s", stopLimit, p.log)
	}
	if p.err != nil {
		return fmt.Errorf("the server stopped with: %w\n%s", p.err, p.log)
	}
	if _, err := os.Stat(p.readyFile()); err == nil {
		return errors.New("ready.json is still there")
	}
	return nil
}

// final is an error that waiting does not cure.
type final struct{ error }

// poll calls try until it succeeds, gives a final error, or the limit is over.
func poll(limit time.Duration, try func() error) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := try()
		if end, ok := errors.AsType[final](err); ok {
			return end.error
		}
		if err == nil || time.Now().After(deadline) {
			return err
		}
		<-tick.C
	}
}
