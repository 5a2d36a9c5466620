package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// shortFolder is a temporary folder whose path leaves room for a socket's name.
func shortFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestBuiltWithoutPKCS11 builds the program as the static ones are built.
func TestBuiltWithoutPKCS11(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "holdfast-signer")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command(bin, "--help").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !bytes.Contains(out, []byte("CGO_ENABLED=1 go build -tags pkcs11")) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestParse(t *testing.T) {
	c, err := parse([]string{"--module", "m", "--token-label", "l", "--pin-file", "p", "--allow-uid", "7", "--allow-uid", "8", "--allow-uid", "7"}, io.Discard)
	if err != nil || c.listen != "/run/holdfast/signer.sock" || fmt.Sprint(c.allowUIDs) != "[7 8]" || c.allowDelete || c.logEvery != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	for _, args := range [][]string{{}, {"--module", "m"}, {"--pin", "1"}, {"--module", "m", "--token-label", "l", "--pin-file", "p", "x"}} {
		var usage *usageError
		if _, err := parse(args, io.Discard); !errors.As(err, &usage) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

func TestReadPIN(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pin")
	for content, ok := range map[string]bool{"1234": true, "1234\n": true, "12 34\r\n": true, "": false, "\n": false, "12\n34": false, "1\x00": false, strings.Repeat("1", 1025): false} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		pin, err := readPIN(path)
		if (err == nil) != ok || ok && pin.text != strings.TrimRight(content, "\r\n") {
			t.Errorf("%.10q: %v", content, err)
		}
		if strings.Contains(fmt.Sprintf("%v %+v %#v %s", pin, pin, pin, pin), "12") {
			t.Error("a PIN prints")
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := readPIN(path); err == nil || !strings.Contains(err.Error(), "chmod 0600 "+path) {
		t.Errorf("a PIN that others can read: %v", err)
	}
}

func TestSocketModes(t *testing.T) {
	for _, c := range []struct {
		allow          uids
		folder, socket os.FileMode
	}{{nil, 0o700, 0o600}, {uids{12345}, 0o711, 0o666}} {
		path := filepath.Join(shortFolder(t), "run", "s")
		l, err := listen(path, c.allow, quiet)
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]os.FileMode{path: c.socket, filepath.Dir(path): c.folder} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestPeers lets this user in, and not when only another one is allowed.
func TestPeers(t *testing.T) {
	me := uint32(os.Geteuid())
	for _, allowed := range []uint32{me, me + 1} {
		path := filepath.Join(shortFolder(t), "s")
		var log lockedBuffer
		l, err := listen(path, nil, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		l.(*peers).allow = uids{allowed}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })}
		done := make(chan error, 1)
		go func() { done <- server.Serve(l) }()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
		for range maxClients + 5 { // room is given back
			r, err := client.Get("http://x/")
			if err == nil {
				r.Body.Close()
			}
			if (err == nil) != (allowed == me) {
				t.Fatalf("user %d where %d is allowed: %v", me, allowed, err)
			}
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-done
		if refused := strings.Contains(log.String(), fmt.Sprintf(`msg="connection refused" uid=%d`, me)); refused == (allowed == me) {
			t.Errorf("log = %s", log.String())
		}
	}
}

// lockedBuffer is a log that the server's goroutine writes and the test reads.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestSocketInTheWay(t *testing.T) {
	path := filepath.Join(shortFolder(t), "s")
	l, err := listen(path, nil, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listen(path, nil, quiet); err == nil || !strings.Contains(err.Error(), "another signer") {
		t.Errorf("took the socket of a running signer: %v", err)
	}
	l.(*peers).SetUnlinkOnClose(false) // as if killed
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l, err = listen(path, nil, quiet); err != nil {
		t.Fatalf("a killed signer's socket is in the way: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(path, nil, quiet); err == nil {
		t.Error("took the place of a file")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Errorf("the file is %q, %v", data, err)
	}
}

func TestServeDrains(t *testing.T) {
	c := config{listen: filepath.Join(shortFolder(t), "s")}
	entered, release := make(chan bool), make(chan bool)
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		io.WriteString(w, "signature")
	})
	ctx, stop := context.WithCancel(t.Context())
	ready := &readyLog{ready: make(chan bool)}
	served := make(chan error, 1)
	go func() { served <- serve(ctx, c, handler, slog.New(slog.NewTextHandler(ready, nil))) }()
	<-ready.ready
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.listen)
	}}
	defer transport.CloseIdleConnections()
	answer := make(chan string, 1)
	go func() {
		r, err := (&http.Client{Transport: transport}).Get("http://x/")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer r.Body.Close()
		data, _ := io.ReadAll(r.Body)
		answer <- string(data)
	}()
	<-entered
	stop()
	close(release)
	if s := <-answer; s != "signature" {
		t.Errorf("a request in progress got %q", s)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("unix", c.listen); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("the socket after stopping: %v", err)
	}
}

type readyLog struct {
	ready chan bool
	once  sync.Once
}

func (r *readyLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("signer ready")) {
		r.once.Do(func() { close(r.ready) })
	}
	return len(p), nil
}
