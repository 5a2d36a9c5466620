package natsd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// startTimeout bounds the start of the embedded server, which reads the
// streams in its store folder.
const startTimeout = 30 * time.Second

func (b *Bus) startEmbedded() error {
	if b.config.StoreDir == "" {
		return errors.New("starting the embedded message bus: StoreDir is needed")
	}
	ns, err := server.NewServer(&server.Options{
		ServerName:             b.config.Name,
		DontListen:             true,
		NoSigs:                 true,
		JetStream:              true,
		StoreDir:               b.config.StoreDir,
		JetStreamMaxMemory:     b.config.MaxMemory,
		JetStreamMaxStore:      b.config.MaxStore,
		SyncAlways:             b.config.SyncAlways,
		SyncInterval:           b.config.SyncInterval,
		DisableJetStreamBanner: true,
		MaxPayload:             int32(min(b.config.MaxPayload, 1<<30)),
		MaxPending:             max(64<<20, 2*int64(b.config.MaxPayload)),
	})
	if err != nil {
		return fmt.Errorf("configuring the embedded message bus: %w", err)
	}
	l := serverLog{b.log, make(chan string, 1)}
	ns.SetLoggerV2(l, false, false, false)
	ns.Start()
	select {
	case reason := <-l.fatal:
		ns.Shutdown()
		ns.WaitForShutdown()
		return fmt.Errorf("starting the embedded message bus in %s: %s", b.config.StoreDir, reason)
	default:
	}
	if !ns.ReadyForConnections(startTimeout) {
		ns.Shutdown()
		ns.WaitForShutdown()
		return fmt.Errorf("starting the embedded message bus in %s: it was not ready after %s; its log says why", b.config.StoreDir, startTimeout)
	}
	b.server = ns
	b.conn, err = nats.Connect("", append(b.options(), nats.InProcessServer(ns))...)
	if err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return fmt.Errorf("connecting to the embedded message bus: %w", err)
	}
	return nil
}

// serverLog hands the embedded server's own log on. Its notices (a version, a
// folder, a limit per line) are debugging to us.
type serverLog struct {
	log   *slog.Logger
	fatal chan string // capacity 1: why the server could not start
}

func (l serverLog) put(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, "message bus server", "text", fmt.Sprintf(format, v...))
}

func (l serverLog) Noticef(format string, v ...any) { l.put(slog.LevelDebug, format, v) }
func (l serverLog) Warnf(format string, v ...any)   { l.put(slog.LevelWarn, format, v) }
func (l serverLog) Fatalf(format string, v ...any) {
	l.put(slog.LevelError, format, v)
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default: // the first reason is the one
	}
}
func (l serverLog) Errorf(format string, v ...any) { l.put(slog.LevelError, format, v) }
func (l serverLog) Debugf(format string, v ...any) {}
func (l serverLog) Tracef(format string, v ...any) {}
