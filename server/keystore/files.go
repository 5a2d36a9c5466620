package keystore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-iot/holdfast/internal/durable"
)

// maxFile bounds every file that this package reads, in bytes.
const maxFile = 64 << 10

const suffix = ".key"

// folder holds one file per key, named by the key.
type folder string

// openFolder makes the folder (0700) if needed, refuses one that others can
// reach, and sweeps what crashed writers left.
func openFolder(dir string) (folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("opening a key folder: %w", err)
	}
	if err := durable.MakeFolder(dir, 0o700); err != nil {
		return "", fmt.Errorf("opening the key folder %s: %w", dir, err)
	}
	if err := checkPrivate(dir, 0o700); err != nil {
		return "", err
	}
	if err := durable.Sweep(dir, time.Now().Add(-time.Hour)); err != nil {
		return "", fmt.Errorf("opening the key folder %s: %w", dir, err)
	}
	return folder(dir), nil
}

func (f folder) path(name string) string { return filepath.Join(string(f), name+suffix) }

// taken answers early what write will answer for certain.
func (f folder) taken(name string) error {
	if _, err := os.Lstat(f.path(name)); err == nil {
		return ErrExists
	}
	return nil
}

func (f folder) write(name string, data []byte) error {
	err := durable.Create(f.path(name), data, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return ErrExists
	}
	return err
}

func (f folder) read(name string) ([]byte, error) {
	err := checkPrivate(f.path(name), 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return readSmall(f.path(name))
}

func (f folder) remove(name string) error {
	err := durable.Remove(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

// checkPrivate refuses a file or folder that group or others may touch.
func checkPrivate(path string, want fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("checking permissions: %w", err)
	}
	if info.IsDir() != (want&0o100 != 0) {
		return fmt.Errorf("checking permissions of %s: it is a %v, and should be a %v", path, info.Mode().Type(), want)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: the mode of %s is %04o; run: chmod %04o %s", ErrPermissions, path, info.Mode().Perm(), want, path)
	}
	return nil
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("reading %s: it is longer than %d bytes", path, maxFile)
	}
	return data, nil
}
