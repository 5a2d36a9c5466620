package main

import (
	"fmt"
	"os"
	"syscall"
)

// lockFile takes a lock that the system releases when this process ends, by
// whatever means. It fails at once when another process has it.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: another process has it", path)
	}
	return func() { f.Close() }, nil
}
