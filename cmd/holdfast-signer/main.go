// Command holdfast-signer keeps private keys on a PKCS#11 token (an HSM or a
// smart card) and signs for a Holdfast server over a unix socket, so that the
// vendor's native library runs in a process of its own and the server stays a
// static binary.
//
// It promises that keys are made on the token, never leave it, and sign only for
// processes of its own user, or of the users named with --allow-uid, as the
// kernel reports them. It trusts the PKCS#11 module, which is loaded into this
// process, and the file that holds the PIN. Whoever can write the module's file
// owns the keys; an allowed user can have anything signed, and the log says what.
//
// It needs cgo: build it with
//
//	CGO_ENABLED=1 go build -tags pkcs11 ./cmd/holdfast-signer
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-iot/holdfast/server/keystore"
)

// drainTimeout bounds how long requests in progress hold up the end.
const drainTimeout = 8 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	var usage *usageError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "holdfast-signer:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "holdfast-signer:", err)
		os.Exit(1)
	}
}

// usageError is a mistake on the command line: exit code 2.
type usageError struct{ error }

func run(ctx context.Context, args []string, out io.Writer) error {
	if err := built(); err != nil {
		return err
	}
	c, err := parse(args, out)
	if err != nil {
		return err
	}
	pin, err := readPIN(c.pinFile)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(out, nil))
	store, closeToken, err := openToken(c.module, c.tokenLabel, pin)
	if err != nil {
		return fmt.Errorf("opening the token %q: %w", c.tokenLabel, err)
	}
	handler := keystore.SignerHandler(keystore.SignerConfig{Store: store, Log: log, LogEvery: c.logEvery, AllowDelete: c.allowDelete})
	return errors.Join(serve(ctx, c, handler, log), closeToken())
}

type config struct {
	module, tokenLabel, pinFile, listen string
	allowUIDs                           uids
	allowDelete                         bool
	logEvery                            int
}

func parse(args []string, out io.Writer) (config, error) {
	var c config
	f := flag.NewFlagSet("holdfast-signer", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&c.module, "module", "", "the PKCS#11 `library`, such as /usr/lib/softhsm/libsofthsm2.so")
	f.StringVar(&c.tokenLabel, "token-label", "", "the `label` of the token that holds the keys")
	f.StringVar(&c.pinFile, "pin-file", "", "the `file`, mode 0600, that holds the token's user PIN")
	f.StringVar(&c.listen, "listen", "/run/holdfast/signer.sock", "the unix `socket` to serve, in a folder that only this user can write")
	f.Var(&c.allowUIDs, "allow-uid", "a user `id` that may use the keys beside this program's own; may be repeated")
	f.BoolVar(&c.allowDelete, "allow-delete", false, "let clients destroy keys")
	f.IntVar(&c.logEvery, "log-every", 1, "log each `n`-th signature of a key")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return config{}, err
	} else if err != nil {
		return config{}, &usageError{err}
	}
	for name, value := range map[string]string{"module": c.module, "token-label": c.tokenLabel, "pin-file": c.pinFile, "listen": c.listen} {
		if value == "" {
			return config{}, &usageError{fmt.Errorf("--%s is needed (see --help)", name)}
		}
	}
	if f.NArg() > 0 {
		return config{}, &usageError{fmt.Errorf("the argument %q was not expected", f.Arg(0))}
	}
	return c, nil
}

// uids is a flag that may be repeated.
type uids []uint32

func (u *uids) String() string { return fmt.Sprint([]uint32(*u)) }

func (u *uids) Set(text string) error {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return errors.New("want a number, such as `id -u holdfast` prints")
	}
	if !slices.Contains(*u, uint32(id)) {
		*u = append(*u, uint32(id))
	}
	return nil
}

// secret is a PIN that prints as nothing.
type secret struct{ text string }

func (secret) Format(f fmt.State, _ rune) { io.WriteString(f, "[PIN]") }

// readPIN reads the first line of a file that only its owner may touch.
func readPIN(path string) (secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return secret{}, fmt.Errorf("reading the PIN: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return secret{}, fmt.Errorf("reading the PIN: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return secret{}, fmt.Errorf("reading the PIN: other users can reach %s, mode %04o; run: chmod 0600 %s", path, info.Mode().Perm(), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, 1025))
	if err != nil {
		return secret{}, fmt.Errorf("reading the PIN: %w", err)
	}
	pin := strings.TrimRight(string(data), "\r\n")
	if pin == "" || len(data) > 1024 || strings.ContainsAny(pin, "\r\n\x00") {
		return secret{}, fmt.Errorf("reading the PIN: %s must hold one line of 1 to 1024 characters", path)
	}
	return secret{pin}, nil
}

// serve answers until ctx ends, then lets requests in progress finish.
func serve(ctx context.Context, c config, handler http.Handler, log *slog.Logger) error {
	l, err := listen(c.listen, c.allowUIDs, log)
	if err != nil {
		return fmt.Errorf("listening on %s: %w", c.listen, err)
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      40 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	log.Info("signer ready", "socket", c.listen, "token", c.tokenLabel, "pid", os.Getpid())
	select {
	case err := <-failed:
		return fmt.Errorf("serving %s: %w", c.listen, err)
	case <-ctx.Done():
	}
	log.Info("signer stopping")
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	err = server.Shutdown(drain) // also removes the socket
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.Join(errors.New("stopping: requests were still running and were cut off"), server.Close())
	}
	if serveErr := <-failed; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}
