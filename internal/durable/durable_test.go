package durable

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestModesAreExactWhateverTheUmask(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for _, mode := range []fs.FileMode{0o600, 0o644, 0o400} {
		path := filepath.Join(t.TempDir(), "f")
		if err := WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode() != mode {
			t.Errorf("mode = %v, %v, want %v", info.Mode(), err, mode)
		}
	}
	deep := filepath.Join(t.TempDir(), "a", "b")
	if err := MakeFolder(deep, 0o711); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(deep); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("folder mode = %v, %v", info, err)
	}
}

func TestWriteFileReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, content := range []string{"one", "a longer two", ""} {
		if err := WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		want(t, path, content)
	}
	alone(t, dir)
}

func TestWriteFileInTheWorkingFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := WriteFile("f", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, "f", "x")
}

func TestCreateIsExclusive(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	var wg sync.WaitGroup
	won := make(chan []byte, 16)
	for i := range 16 {
		wg.Go(func() {
			content := bytes.Repeat([]byte{byte('a' + i)}, 1000)
			switch err := Create(path, content, 0o600); {
			case err == nil:
				won <- content
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d callers created the same file", len(won))
	}
	want(t, path, string(<-won))
	alone(t, dir)
}

func TestAFailureLeavesTheOldContent(t *testing.T) {
	broken := errors.New("input/output error")
	file := func(*os.File) error { return broken }
	move := func(string, string) error { return broken }
	for name, breakIt := range map[string]func(*steps){
		"write":         func(s *steps) { s.write = func(*os.File, []byte) error { return broken } },
		"partial write": func(s *steps) { s.write = func(f *os.File, d []byte) error { f.Write(d[:1]); return broken } },
		"sync":          func(s *steps) { s.sync = file },
		"sync, done":    func(s *steps) { s.sync = func(f *os.File) error { f.Sync(); return broken } },
		"rename":        func(s *steps) { s.rename = move },
		"link":          func(s *steps) { s.link = move },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			if err := WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			s := disk
			breakIt(&s)
			place := s.rename
			if name == "link" {
				place = s.link
			}
			if err := s.put(path, []byte("new"), 0o600, place); !errors.Is(err, broken) {
				t.Errorf("error = %v", err)
			}
			want(t, path, "old")
			alone(t, dir)
		})
	}
}

func TestPlacedButReportedFailedIsWhole(t *testing.T) {
	broken := errors.New("input/output error")
	for name, breakIt := range map[string]func(*steps){
		"rename": func(s *steps) { s.rename = func(a, b string) error { os.Rename(a, b); return broken } },
		"folder": func(s *steps) { s.syncFolder = func(string) error { return broken } },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		s := disk
		breakIt(&s)
		if err := s.put(path, []byte("new"), 0o600, s.rename); !errors.Is(err, broken) {
			t.Errorf("%s: error = %v", name, err)
		}
		want(t, path, "new")
		alone(t, dir)
	}
}

func TestRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Remove(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removing nothing: %v", err)
	}
	if err := WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after removing: %v", err)
	}
}

func TestMakeFolderRefusesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MakeFolder(path, 0o700); err == nil {
		t.Error("made a folder where a file is")
	}
}

func TestSweepRemovesOnlyOldLeftovers(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{
		prefix + "key-123" + suffix: 2 * time.Hour,
		prefix + "key-456" + suffix: 0,
		"key":                       2 * time.Hour,
		"other.tmp":                 2 * time.Hour,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sweep(dir, now.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 3 {
		t.Errorf("left = %v, %v, want three", left, err)
	}
	if _, err := os.Stat(filepath.Join(dir, prefix+"key-123"+suffix)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old leftover is still there: %v", err)
	}
}

func want(t *testing.T, path, content string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("content = %q, %v, want %q", got, err, content)
	}
}

// alone checks that no temporary file stayed behind.
func alone(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v, want one file", entries, err)
	}
}
