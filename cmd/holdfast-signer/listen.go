package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// maxClients bounds connections; more of them wait in the kernel's queue.
const maxClients = 64

// listen opens the socket, which only this user can connect to, unless others
// are allowed: then anyone who can reach it can connect, and peers decides.
func listen(path string, allow uids, log *slog.Logger) (net.Listener, error) {
	folderMode, socketMode := fs.FileMode(0o700), fs.FileMode(0o600)
	if len(allow) > 0 {
		folderMode, socketMode = 0o711, 0o666
	}
	folder := filepath.Dir(path)
	if err := os.Mkdir(folder, folderMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the socket's folder: %w", err)
	}
	info, err := os.Stat(folder)
	if err != nil {
		return nil, fmt.Errorf("checking the socket's folder: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("other users can replace the socket: the mode of %s is %04o; run: chmod go-w %s", folder, info.Mode().Perm(), folder)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// The socket is born closed to others; nothing else runs yet that makes files.
	old := syscall.Umask(0o177)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	syscall.Umask(old)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &peers{UnixListener: l, log: log, allow: append(uids{uint32(os.Geteuid())}, allow...), room: make(chan struct{}, maxClients), closed: make(chan struct{})}, nil
}

// removeStale removes the socket of a signer that was killed, and refuses to
// touch one that answers or a file that is no socket.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking at the socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is not a socket is in the way")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return errors.New("another signer answers there")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("looking whether another signer answers: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing the socket of a signer that ended: %w", err)
	}
	return nil
}

// peers accepts connections from allowed users, by SO_PEERCRED (unix(7)), up to
// maxClients at a time.
type peers struct {
	*net.UnixListener
	log    *slog.Logger
	allow  uids
	room   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (p *peers) Accept() (net.Conn, error) {
	for {
		select {
		case p.room <- struct{}{}:
		case <-p.closed:
			return nil, net.ErrClosed
		}
		c, err := p.AcceptUnix()
		if err != nil {
			<-p.room
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && slices.Contains(p.allow, uid) {
			return &client{Conn: c, leave: func() { <-p.room }}, nil
		}
		p.log.Warn("connection refused", "uid", uid, "error", err)
		c.Close()
		<-p.room
	}
}

func (p *peers) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.UnixListener.Close()
}

// client gives its room back once when it is closed.
type client struct {
	net.Conn
	once  sync.Once
	leave func()
}

func (c *client) Close() error {
	c.once.Do(c.leave)
	return c.Conn.Close()
}

func peerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("asking who connects: %w", err)
	}
	var cred *syscall.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("asking who connects: %w", err)
	}
	return cred.Uid, nil
}
