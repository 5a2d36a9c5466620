package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// start runs `holdfast up` in this process until the test ends.
func start(t *testing.T, args ...string) (screen string, env []string) {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	r, w := io.Pipe()
	var log strings.Builder
	done := make(chan int, 1)
	args = append([]string{"up", "--data", data, "--listen-api", "127.0.0.1:0", "--listen-device", "127.0.0.1:0", "--listen-pki", "127.0.0.1:0", "--listen-metrics", "127.0.0.1:0"}, args...)
	go func() {
		done <- run(args, strings.NewReader(""), w, &log, nil)
		w.Close()
	}()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		screen += lines.Text() + "\n"
		if lines.Text() == "Stop with ctrl-C." || lines.Text() == "}" {
			break
		}
	}
	if err := lines.Err(); err != nil || !strings.HasSuffix(screen, "ctrl-C.\n") && !strings.HasSuffix(screen, "}\n") {
		t.Fatalf("it did not start: exit code %d\n%s%s", <-done, screen, log.String())
	}
	t.Cleanup(func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if code := <-done; code != 0 {
			t.Errorf("after SIGTERM the exit code is %d\n%s", code, log.String())
		}
		if _, err := os.Stat(filepath.Join(data, "run", "ready.json")); !os.IsNotExist(err) {
			t.Errorf("ready.json is still there: %v", err)
		}
	})
	return screen, []string{"HOLDFAST_DATA=" + data}
}

func TestUpEnrolRenewRevoke(t *testing.T) {
	screen, env := start(t)
	for _, w := range []string{"Holdfast is up.", "https://127.0.0.1:", "admin-token", "holdfast status", "warning: the root key lies on this machine"} {
		if !strings.Contains(screen, w) {
			t.Errorf("%q is missing in\n%s", w, screen)
		}
	}
	dir := t.TempDir()
	token, out := filepath.Join(dir, "token"), filepath.Join(dir, "dev")
	ok := func(args ...string) result {
		t.Helper()
		r := runIn(t, "", env, args...)
		r.check(t, 0)
		return r
	}
	ok("zone", "create", "plant")
	ok("type", "create", "sensor", "--validity", "10d")
	ok("type", "update", "sensor", "--grace", "0").check(t, 0, "validity       10d")
	runIn(t, "", env, "type", "update", "sensor").check(t, 2, "nothing to change")
	ok("device", "create", "s1", "--type", "sensor", "--zone", "plant", "--label", "a=1")
	ok("device", "update", "s1", "--label", "b=2").check(t, 0, "a=1;b=2")
	ok("device", "update", "s1", "--no-labels", "--owner", "ops")
	if r := ok("device", "show", "s1"); strings.Contains(r.out, "a=1") || !strings.Contains(r.out, "ops") {
		t.Errorf("got\n%s", r.out)
	}
	ok("token", "create", "--type", "sensor", "--zone", "plant", "--id", "s1", "--secret-file", token)
	runIn(t, "", env, "enroll", "--type", "sensor", "--out", out).check(t, 2, "id is missing")
	ok("enroll", "--token-file", token, "--id", "s1", "--type", "sensor", "--out", out).check(t, 0, "for s1, valid until")
	runIn(t, "", env, "enroll", "--token-file", token, "--id", "s1", "--type", "sensor", "--out", out).check(t, 1, "exists already", "fix: use --renew")
	for name, mode := range map[string]os.FileMode{"key.pem": 0o600, "cert.pem": 0o644, "ca.pem": 0o644} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	before, _ := os.ReadFile(filepath.Join(out, "cert.pem"))
	ok("enroll", "--renew", "--out", out)
	if after, err := os.ReadFile(filepath.Join(out, "cert.pem")); err != nil || string(after) == string(before) {
		t.Errorf("the renewal left the old certificate, %v", err)
	}
	ok("device", "revoke", "s1", "--yes")
	runIn(t, "", env, "enroll", "--renew", "--out", out).check(t, 1, "fix: ")

	var certs []struct{ Status string }
	if err := json.Unmarshal([]byte(ok("cert", "list", "--principal", "s1", "-o", "json").out), &certs); err != nil || len(certs) != 2 {
		t.Fatalf("%v, %v", certs, err)
	}
	for _, c := range certs {
		if c.Status != "revoked" {
			t.Errorf("a certificate is %s", c.Status)
		}
	}
	data := strings.TrimPrefix(env[0], "HOLDFAST_DATA=")
	ok("ca", "rotate", "--yes", "--root-key", filepath.Join(data, "root-key.age"), "--identity", filepath.Join(data, "root-recovery-key.txt")).check(t, 0, "active")
	ok("audit", "list", "--action", "device.*", "--since", "1h").check(t, 0, "device.")
	log, key := filepath.Join(dir, "log"), filepath.Join(dir, "log.key")
	ok("audit", "export", "--out", log)
	if err := os.WriteFile(key, []byte(ok("audit", "checkpoint", "--key").out), 0o600); err != nil {
		t.Fatal(err)
	}
	ok("audit", "verify", log, "--key", key).check(t, 0, "verified:")
	ok("status").check(t, 0, "1 registered")
	runIn(t, "", nil, "up", "--data", data).check(t, 1, "error: starting")
}

func TestCAInitThenUp(t *testing.T) {
	dir := t.TempDir()
	pass, out, data := filepath.Join(dir, "pass"), filepath.Join(dir, "root.age"), filepath.Join(dir, "data")
	if err := os.WriteFile(pass, []byte("six random words easily written\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"ca", "init", "--data", data, "--out", out, "--passphrase-file", pass, "--name", "Acme", "--algorithm", "P-384"}
	runIn(t, "", nil, args...).check(t, 0, "root     SHA-256 ", "holdfast up --data "+data)
	args[5] = out + "2"
	runIn(t, "", nil, args...).check(t, 1, "fix: use `holdfast ca rotate`")
	if _, err := os.Stat(args[5]); !os.IsNotExist(err) {
		t.Errorf("a second root key was written: %v", err)
	}
	runIn(t, "", nil, "ca", "init", "--data", filepath.Join(dir, "x"), "--out", out+"3", "--passphrase-file", pass, "--algorithm", "RSA").check(t, 2, "ca.algorithm: expected P-256, P-384 or Ed25519")
}
