package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

func put(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestReadPolicy(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b.yaml", "a/c.YML", "a/testdata/x.yaml", ".git/x.yaml", "a/.x.yaml", "notes.txt"} {
		put(t, filepath.Join(dir, name), "# "+name)
	}
	if err := os.Symlink("b.yaml", filepath.Join(dir, "inside.yaml")); err != nil {
		t.Fatal(err)
	}
	files, err := readPolicy(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "a/c.YML b.yaml inside.yaml" || files[0].Text != "# a/c.YML" {
		t.Errorf("read %s", got)
	}
	one, err := readPolicy(filepath.Join(dir, "b.yaml"))
	if err != nil || len(one) != 1 || one[0].Name != "b.yaml" {
		t.Errorf("read %+v, %v", one, err)
	}
	if got := inFolder(dir, "a/c.YML:3:4"); got != filepath.Join(dir, "a/c.YML:3:4") {
		t.Error(got)
	}
	if got := inFolder(filepath.Join(dir, "b.yaml"), "b.yaml:3"); got != filepath.Join(dir, "b.yaml:3") {
		t.Error(got)
	}

	for what, make := range map[string]func(dir string) error{
		"leads out":         func(dir string) error { return os.Symlink("/etc/hostname", filepath.Join(dir, "x.yaml")) },
		"or nowhere":        func(dir string) error { return os.Symlink("gone", filepath.Join(dir, "x.yaml")) },
		"is not a file":     func(dir string) error { return os.Symlink(".", filepath.Join(dir, "x.yaml")) },
		"is not UTF-8":      func(dir string) error { put(t, filepath.Join(dir, "x.yaml"), "\xff"); return nil },
		"there is no *.yam": func(dir string) error { return nil },
		"has more than": func(dir string) error {
			put(t, filepath.Join(dir, "x.yaml"), strings.Repeat("#", manifest.MaxFile+1))
			return nil
		},
		"together": func(dir string) error {
			for i := range manifest.MaxTotal/manifest.MaxFile + 1 {
				put(t, filepath.Join(dir, string(rune('a'+i))+".yaml"), strings.Repeat("#", manifest.MaxFile))
			}
			return nil
		},
	} {
		dir := t.TempDir()
		if err := make(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := readPolicy(dir); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if _, err := readPolicy(filepath.Join(dir, "gone")); err == nil {
		t.Error("a folder that is not there was read")
	}
}

func TestWritePolicy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	files := []adminapi.PolicyFile{{Name: "a/b.yaml", Text: "# b"}, {Name: "c.yaml", Text: "# c"}}
	if err := writePolicy(dir, files); err != nil {
		t.Fatal(err)
	}
	back, err := readPolicy(dir)
	if err != nil || len(back) != 2 || back[0] != files[0] || back[1] != files[1] {
		t.Errorf("read back %+v, %v", back, err)
	}
	if err := writePolicy(dir, files); err == nil {
		t.Error("files were overwritten")
	}
	for _, name := range []string{"../x.yaml", "/tmp/x.yaml", "a/../../x.yaml", ""} {
		if err := writePolicy(t.TempDir(), []adminapi.PolicyFile{{Name: name}}); err == nil {
			t.Errorf("%q was written", name)
		}
	}
	linked := t.TempDir()
	if err := os.Symlink(t.TempDir(), filepath.Join(linked, "a")); err != nil {
		t.Fatal(err)
	}
	if err := writePolicy(linked, files); err == nil {
		t.Error("a link was followed out of the folder")
	}
}
