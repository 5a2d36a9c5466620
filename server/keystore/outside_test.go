package keystore

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// program finds a program that the tests need. A machine without it cannot say
// that the code works: that is a failure, not a skip.
func program(t testing.TB, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: apt-get install %s", name, debian)
	}
	return path
}

// softTPM is a running swtpm.
type softTPM struct {
	dir, socket string
	pid         int
}

func startTPM(t testing.TB) *softTPM {
	t.Helper()
	dir := shortFolder(t)
	tpm := &softTPM{dir: dir, socket: filepath.Join(dir, "tpm")}
	tpm.start(t)
	t.Cleanup(func() { tpm.kill(t) })
	return tpm
}

// start returns once the socket is there, because swtpm goes into the
// background only then.
func (s *softTPM) start(t testing.TB) {
	t.Helper()
	pidFile := filepath.Join(s.dir, "pid")
	os.Remove(s.socket)
	out, err := exec.Command(program(t, "swtpm", "swtpm"), "socket", "--tpm2", "--daemon", "--tpmstate", "dir="+s.dir,
		"--server", "type=unixio,path="+s.socket, "--ctrl", "type=unixio,path="+s.socket+".ctrl",
		"--pid", "file="+pidFile, "--flags", "startup-clear").CombinedOutput()
	if err != nil {
		t.Fatalf("starting swtpm: %v: %s", err, out)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	if s.pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		t.Fatal(err)
	}
}

func (s *softTPM) kill(t testing.TB) {
	t.Helper()
	if s.pid == 0 {
		return
	}
	if err := syscall.Kill(s.pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	s.pid = 0
}

var signerBinary = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "ks")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "holdfast-signer")
	cmd := exec.Command("go", "build", "-tags", "pkcs11", "-o", bin, "../../cmd/holdfast-signer")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return out, err
	}
	return os.ReadFile(bin)
})

// signerProcess is a running holdfast-signer on a fresh SoftHSM token.
type signerProcess struct {
	t                testing.TB
	dir, bin, socket string
	args, env        []string
	cmd              *exec.Cmd
	lines            chan string
	mu               sync.Mutex
	log              bytes.Buffer // guarded by mu
}

const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

func startSigner(t testing.TB, args ...string) *signerProcess {
	t.Helper()
	program(t, "gcc", "gcc")
	bin, err := signerBinary()
	if err != nil {
		t.Fatalf("building the signer: %v: %s", err, bin)
	}
	if _, err := os.Stat(softHSM); err != nil {
		t.Fatalf("%s is not installed: apt-get install softhsm2", softHSM)
	}
	dir := shortFolder(t)
	s := &signerProcess{t: t, dir: dir, bin: filepath.Join(dir, "signer"), socket: filepath.Join(dir, "run", "s")}
	put(t, s.bin, bin, 0o755)
	put(t, filepath.Join(dir, "softhsm.conf"), []byte("directories.tokendir = "+dir+"/tokens\nlog.level = ERROR\n"), 0o600)
	put(t, filepath.Join(dir, "pin"), []byte("correct-horse\n"), 0o600)
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.env = append(os.Environ(), "SOFTHSM2_CONF="+dir+"/softhsm.conf")
	init := exec.Command(program(t, "softhsm2-util", "softhsm2"), "--init-token", "--free", "--label", "test", "--so-pin", "so-pin-1", "--pin", "correct-horse")
	init.Env = s.env
	if out, err := init.CombinedOutput(); err != nil {
		t.Fatalf("making a token: %v: %s", err, out)
	}
	s.args = append([]string{"--module", softHSM, "--token-label", "test", "--pin-file", filepath.Join(dir, "pin"), "--listen", s.socket}, args...)
	s.start()
	t.Cleanup(func() { s.stop(syscall.SIGTERM) })
	return s
}

func put(t testing.TB, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
}

// start returns once the signer says that it is ready.
func (s *signerProcess) start() {
	s.t.Helper()
	s.cmd = exec.Command(s.bin, s.args...)
	s.cmd.Env = s.env
	out, err := s.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ready := make(chan bool)
	s.lines = make(chan string) // closed when the output ends
	go func() {
		defer close(s.lines)
		scan := bufio.NewScanner(out)
		for waiting := true; scan.Scan(); {
			s.mu.Lock()
			s.log.WriteString(scan.Text() + "\n")
			s.mu.Unlock()
			if waiting && strings.Contains(scan.Text(), "signer ready") {
				close(ready)
				waiting = false
			}
		}
	}()
	select {
	case <-ready:
	case <-s.lines:
		s.t.Fatalf("the signer did not start: %v: %s", s.cmd.Wait(), s.output())
	}
}

func (s *signerProcess) stop(how syscall.Signal) {
	s.t.Helper()
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Signal(how); err != nil {
		s.t.Error(err)
	}
	<-s.lines
	if err := s.cmd.Wait(); err != nil && how == syscall.SIGTERM {
		s.t.Errorf("the signer ended badly: %v: %s", err, s.output())
	}
	s.cmd = nil
}

func (s *signerProcess) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}
