package api

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestGenerated makes client_gen.go again, with the command in doc.go, and compares.
func TestGenerated(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, command, ok := strings.Cut(string(doc), "//go:generate ")
	args := strings.Fields(command)
	if !ok || len(args) < 6 || args[0] != "go" {
		t.Fatalf("doc.go does not say how the client is made: %q", command)
	}
	dir := t.TempDir()
	for _, name := range []string{"openapi.json", "generate.yaml", "overlay.yaml"} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	made, err := os.ReadFile(filepath.Join(dir, "client_gen.go"))
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile("client_gen.go"); err != nil || !bytes.Equal(kept, made) {
		t.Errorf("client_gen.go is not made of openapi.json as it is now (%v): run go generate ./api", err)
	}
}
