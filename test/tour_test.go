package test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tourLimit bounds the tour, which waits for what it has asked for.
const tourLimit = 3 * time.Minute

// TestTour runs the guide's tour line by line, as a newcomer would paste it.
func TestTour(t *testing.T) {
	text, err := os.ReadFile("../docs/guide/tour.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 8 {
		t.Fatalf("the tour has only %d blocks of commands", len(blocks))
	}
	var script strings.Builder
	// Job control as in an interactive shell, so that %1 is the server; a server
	// that is still running when a line fails is ended.
	script.WriteString("set -eum\ntrap 'kill %1 2>/dev/null || true; wait' EXIT\n")
	for _, b := range blocks {
		script.WriteString(b[1])
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"Makefile", "go.mod"} {
		if err := os.Symlink(filepath.Join(root, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// The build itself is `make build` in the real tree; the tour's files go to dir.
	body := strings.Replace(script.String(), "make build\n", "make -C "+root+" build >/dev/null && ln -s "+root+"/bin bin\n", 1)
	ctx, cancel := context.WithTimeout(t.Context(), tourLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", body)
	cmd.Dir = dir
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // so that the script's trap ends the server
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("the tour stops: %v", err)
	}
	for _, want := range []string{"URI:spiffe://holdfast.local/device/pump-1", "cert.pem: OK", "certificateHold", "verified:", "device.revoked", "NOT verified",
		`plant/pump-1/pressure {"bar": 3.2}`, "no rule lets device pump-1 publish to plant/pump-2/pressure", "/bar is 99, more than 16", ": 135",
		"refused by DeviceType/pump/speed", "message.command_refused", `{"bar":3.4}`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the tour's output lacks %q", want)
		}
	}
	if n := strings.Count(string(out), "cert.pem: good"); n != 2 {
		t.Errorf("OCSP said good %d times, want 2", n)
	}
}
