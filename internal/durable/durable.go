// Package durable writes whole files that survive a power cut.
//
// It promises that after a nil return the content is on the disk under its
// name, and that at every moment, crash included, a reader of the name sees the
// old content or the new one, whole, never a mix. An error after the rename
// (syncing the folder) leaves the new content in place without the promise that
// a power cut keeps it: an error therefore means "old or new", never "neither".
//
// It trusts the file system to honour fsync, rename and link inside one folder.
// Whoever can write in the folder can replace any file in it: what the content
// is worth is for the caller to check.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The name of a temporary file is prefix + the final name + random + suffix.
const prefix, suffix = ".durable-", ".tmp"

// WriteFile puts data at path, replacing what is there, with exactly the given
// permissions whatever the umask says. The folder must exist.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	return disk.put(path, data, mode, disk.rename)
}

// Create is WriteFile for a path that must not exist yet: of several callers,
// in any number of processes, one succeeds and the others get an error for
// which errors.Is(err, fs.ErrExist) holds. It needs hard links.
func Create(path string, data []byte, mode fs.FileMode) error {
	return disk.put(path, data, mode, disk.link)
}

// Remove deletes a file so that a power cut does not bring it back. Of a file
// that is not there the error satisfies errors.Is(err, fs.ErrNotExist).
func Remove(path string) error {
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing a file: %w", err)
	}
	return disk.syncFolder(filepath.Dir(path))
}

// MakeFolder makes path, and the folders above it that are missing, with the
// given permissions, and makes each of them durable. A folder that is there
// already keeps its permissions.
func MakeFolder(path string, mode fs.FileMode) error {
	info, err := os.Stat(path)
	if err == nil {
		if !info.IsDir() {
			return fmt.Errorf("making the folder %s: a file with that name is in the way", path)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("making a folder: %w", err)
	}
	above := filepath.Dir(path)
	if err := MakeFolder(above, mode); err != nil {
		return err
	}
	if err := os.Mkdir(path, mode); errors.Is(err, fs.ErrExist) {
		return MakeFolder(path, mode) // someone else made it since
	} else if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("setting the mode of a folder: %w", err)
	}
	return disk.syncFolder(above)
}

// Sweep removes the temporary files that crashed writers left in a folder, if
// they were last written before the given time. Choose a time that no running
// writer can be older than, such as an hour ago.
func Sweep(folder string, before time.Time) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("sweeping a folder: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) || !strings.HasSuffix(e.Name(), suffix) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil || !info.ModTime().Before(before) {
			continue // gone already, or perhaps still being written
		}
		if err := os.Remove(filepath.Join(folder, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("sweeping a folder: %w", err)
		}
	}
	return nil
}

// steps are the operations whose failure a test injects.
type steps struct {
	write      func(f *os.File, data []byte) error
	sync       func(f *os.File) error
	rename     func(from, to string) error
	link       func(from, to string) error
	syncFolder func(folder string) error
}

var disk = steps{
	write:      func(f *os.File, data []byte) error { _, err := f.Write(data); return err },
	sync:       (*os.File).Sync,
	rename:     os.Rename,
	link:       os.Link,
	syncFolder: syncFolder,
}

// put is the order of the durable writes. A crash before place leaves a
// temporary file, which Sweep removes, and the old content. A crash between
// place and syncFolder leaves the old or the new content, whole.
func (s steps) put(path string, data []byte, mode fs.FileMode, place func(from, to string) error) error {
	folder, name := filepath.Split(path)
	if folder == "" {
		folder = "."
	}
	f, err := os.CreateTemp(folder, prefix+name+"-*"+suffix)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // after a rename there is nothing left to remove
	err = errors.Join(f.Chmod(mode), s.write(f, data), s.sync(f))
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := place(f.Name(), path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return s.syncFolder(folder)
}

func syncFolder(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("syncing a folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing the folder %s: %w", folder, err)
	}
	return nil
}
