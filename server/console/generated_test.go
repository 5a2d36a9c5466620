package console_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What templ makes of each .templ file is what is committed.
func TestGeneratedInStep(t *testing.T) {
	dir := t.TempDir()
	want := map[string][]byte{}
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".templ") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		made := strings.TrimSuffix(path, ".templ") + "_templ.go"
		if want[made], err = os.ReadFile(made); err != nil {
			t.Errorf("%s is not there: generate it as README.md says", made)
			return nil
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, path), source, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "run", "github.com/a-h/templ/cmd/templ@v0.3.1020", "generate", "-include-version=false", "-path", dir).CombinedOutput(); err != nil {
		t.Fatalf("generating: %v\n%s", err, out)
	}
	for name, committed := range want {
		made, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(body(made), body(committed)) {
			t.Errorf("%s is out of step with its .templ file: %v", name, err)
		}
	}
}

// body leaves out the version, which the test names, and the file's own name in
// errors, which depends on where it was made.
func body(b []byte) []byte {
	var out []byte
	for line := range bytes.Lines(b) {
		if !bytes.Contains(line, []byte("FileName: `")) && !bytes.HasPrefix(line, []byte("// templ: version:")) {
			out = append(out, line...)
		}
	}
	return out
}
