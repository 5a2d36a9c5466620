package keystore

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

func remote(t testing.TB, socket string) *RemoteStore {
	t.Helper()
	s, err := Remote(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestNoSigner(t *testing.T) {
	socket := filepath.Join(shortFolder(t), "nobody")
	_, err := remote(t, socket).Open(t.Context(), "a")
	if err == nil || !strings.Contains(err.Error(), "does holdfast-signer run") || !strings.Contains(err.Error(), socket) {
		t.Errorf("error = %v", err)
	}
}

func TestDeletingMayBeOff(t *testing.T) {
	files, _ := fileStore(t)
	s := remote(t, serveSigner(t, SignerHandler(SignerConfig{Store: files, Log: slog.New(slog.DiscardHandler)})))
	if _, err := s.Create(t.Context(), "a", P256); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "a"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "--allow-delete") {
		t.Errorf("error = %v", err)
	}
	if _, err := s.Open(t.Context(), "a"); err != nil {
		t.Error(err)
	}
}

// TestALyingSigner has a signer answer nonsense.
func TestALyingSigner(t *testing.T) {
	files, _ := fileStore(t)
	honest := SignerHandler(SignerConfig{Store: files, Log: slog.New(slog.DiscardHandler)})
	var lie atomic.Pointer[http.HandlerFunc]
	s := remote(t, serveSigner(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := lie.Load(); h != nil {
			(*h)(w, r)
		} else {
			honest.ServeHTTP(w, r)
		}
	})))
	key, err := s.Create(t.Context(), "a", P256)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Create(t.Context(), "b", P256)
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := other.Sign(rand.Reader, sha("x"), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	for want, answer := range map[string]http.HandlerFunc{
		"does not verify": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"signature":"%s"}`, b64(wrong)) },
		"is longer than":  func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, maxBody+1)) },
		"decoding JSON":   func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}{}")) },
		"no explanation":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"status 302":      func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://signer/", http.StatusFound) },
		"its log says why": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			fmt.Fprint(w, `{"code":"internal","detail":"its log says why"}`)
		},
		"talking to the sig": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		lie.Store(&answer)
		if sig, err := key.Sign(rand.Reader, sha("x"), crypto.SHA256); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %x, %v", want, sig, err)
		}
		if _, err := s.Open(t.Context(), "a"); err == nil {
			t.Errorf("%s: opened", want)
		}
	}
	// A key of another name, and one of another algorithm.
	otherName := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = strings.Replace(r.URL.Path, "/a", "/b", 1)
		honest.ServeHTTP(w, r)
	})
	lie.Store(&otherName)
	if _, err := s.Open(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("took the key of another name: %v", err)
	}
	otherAlg := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Method = http.MethodGet
		honest.ServeHTTP(statusWriter{w}, r)
	})
	lie.Store(&otherAlg)
	if _, err := s.Create(t.Context(), "a", P384); err == nil || !strings.Contains(err.Error(), "made a P-256 key") {
		t.Errorf("took a key of another algorithm: %v", err)
	}
}

type statusWriter struct{ http.ResponseWriter }

func (w statusWriter) WriteHeader(int) { w.ResponseWriter.WriteHeader(http.StatusCreated) }

// TestSignerRestarts kills the signer and starts it again on the same token.
func TestSignerRestarts(t *testing.T) {
	p := startSigner(t)
	s := remote(t, p.socket)
	key, err := s.Create(t.Context(), "a", P256)
	if err != nil {
		t.Fatal(err)
	}
	sign(t, key, P256, crypto.SHA256)
	for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		p.stop(how)
		if _, err := os.Stat(p.socket); (err == nil) != (how == syscall.SIGKILL) {
			t.Errorf("the socket after %v: %v", how, err)
		}
		p.start()
		sign(t, key, P256, crypto.SHA256)
		found, err := s.Open(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		sign(t, found, P256, crypto.SHA256)
	}
	if _, err := s.Create(t.Context(), "a", P256); !errors.Is(err, ErrExists) {
		t.Errorf("error = %v", err)
	}
	out := p.output()
	for _, want := range []string{"msg=signed name=a hash=SHA-256 count=1", "count=2", `msg="key created" name=a alg=P-256`, "signer stopping"} {
		if !strings.Contains(out, want) {
			t.Errorf("the log has no %q: %s", want, out)
		}
	}
	if strings.Contains(out, "correct-horse") {
		t.Error("the log holds the PIN")
	}
}

// TestKeysStayOnTheToken asks another program what the token says of its keys.
func TestKeysStayOnTheToken(t *testing.T) {
	p := startSigner(t)
	if _, err := remote(t, p.socket).Create(t.Context(), "a", P256); err != nil {
		t.Fatal(err)
	}
	p.stop(syscall.SIGTERM)
	cmd := exec.Command(program(t, "pkcs11-tool", "opensc"), "--module", softHSM, "--token-label", "test", "--login", "--pin", "correct-horse", "--list-objects", "--type", "privkey")
	cmd.Env = p.env
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("never extractable")) || !bytes.Contains(out, []byte("always sensitive")) {
		t.Errorf("%v: %s", err, out)
	}
}

// TestSignerThatCannotStart checks what a wrong start says, and its exit code.
func TestSignerThatCannotStart(t *testing.T) {
	p := startSigner(t)
	pin := filepath.Join(p.dir, "pin2")
	put(t, pin, []byte("wrong-horse"), 0o600)
	open := filepath.Join(p.dir, "pin3")
	put(t, open, []byte("correct-horse"), 0o600)
	chmod(t, open, 0o644)
	wide := filepath.Join(p.dir, "wide")
	if err := os.Mkdir(wide, 0o700); err != nil {
		t.Fatal(err)
	}
	chmod(t, wide, 0o777)
	file := filepath.Join(p.dir, "file")
	put(t, file, nil, 0o600)
	for _, c := range []struct {
		flag, value, want string
		code              int
	}{
		{"--pin-file", pin, "signing in", 1},
		{"--pin-file", open, "chmod 0600", 1},
		{"--pin-file", "/nonexistent", "reading the PIN", 1},
		{"--module", "/nonexistent.so", "/nonexistent.so", 1},
		{"--token-label", "other", "opening the token", 1},
		{"--listen", p.socket, "another signer answers there", 1},
		{"--listen", file, "not a socket", 1},
		{"--listen", filepath.Join(wide, "s"), "chmod go-w", 1},
		{"--listen", "", "--listen is needed", 2},
		{"--allow-uid", "root", "want a number", 2},
		{"--pin", "1234", "flag provided but not defined", 2},
	} {
		cmd := exec.Command(p.bin, append(p.args, c.flag, c.value)...)
		cmd.Env = p.env
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != c.code || !bytes.Contains(out, []byte(c.want)) {
			t.Errorf("%s %s: %v: %s, want %q", c.flag, c.value, err, out, c.want)
		}
		if bytes.Contains(out, []byte("-horse")) {
			t.Errorf("the output holds a PIN: %s", out)
		}
	}
	if _, err := remote(t, p.socket).Open(t.Context(), "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the first signer: %v", err)
	}
}
