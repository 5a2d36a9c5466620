package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/server"
	"github.com/holdfast-iot/holdfast/server/config"
)

func upCommand(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{Use: "up", Short: "Start the server: everything on one machine", Args: cobra.NoArgs,
		Long: `Start the server. The first start makes the data folder, the authorities and an
administrator's token. Every flag is also a key of the configuration file and a
variable of the environment: --listen-api is listen.api and HOLDFAST_LISTEN_API.
Stop it with ctrl-C or SIGTERM.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(file, a.environ, cmd.Flags())
			if err != nil {
				return err
			}
			return a.up(cmd.Context(), cfg)
		}}
	configFlags(cmd, &file, a)
	return cmd
}

// configFlags adds --config and a flag for each key. The global --data stays
// the one that other commands have: the same words, the same default.
func configFlags(cmd *cobra.Command, file *string, a *app) {
	cmd.Flags().StringVar(file, "config", a.env["HOLDFAST_CONFIG"], "configuration file in YAML (HOLDFAST_CONFIG)")
	config.AddFlags(cmd.Flags())
}

// gcPercent trades memory that is there for processor time that is not: the heap
// at rest is about 10 MB.
const gcPercent = 300

// up runs the server until the context ends.
func (a *app) up(ctx context.Context, cfg config.Config) error {
	if a.env["GOGC"] == "" {
		debug.SetGCPercent(gcPercent)
	}
	tidying, stop := context.WithCancel(ctx)
	defer stop()
	go tidyMemory(tidying)
	log := slog.New(a.logHandler(cfg))
	log.Debug("configuration", "config", cfg)
	s, err := server.NewWith(cfg, log, server.Options{Story: a.out})
	if err != nil {
		return cannotStart(err)
	}
	started := false
	err = s.Run(ctx, func(r server.Ready) {
		started = true
		a.welcome(cfg, r)
	})
	switch {
	case err == nil, errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return nil // stopped as asked
	case !started:
		return cannotStart(err)
	}
	return fmt.Errorf("running the server: %w", err)
}

func (a *app) logHandler(cfg config.Config) slog.Handler {
	opts := &slog.HandlerOptions{Level: cfg.Log.Level}
	if cfg.Log.Format == "json" {
		return slog.NewJSONHandler(a.err, opts)
	}
	return slog.NewTextHandler(a.err, opts)
}

// startFixes are what to do about the usual reasons not to start, by words of
// the error; the first that fits counts.
var startFixes = []struct{ words, fix string }{
	{"address already in use", "stop what listens there, or choose another address with the --listen flags (port 0 takes any)"},
	{"cannot assign requested address", "use an address of this machine in the --listen flags"},
	{"permission denied", "choose a folder that this user may write with --data, or run as the user that owns it"},
	{"another key-encryption key", "give the key that this data folder was made with, in HOLDFAST_KEY or key_encryption_file"},
	{"no such host", "correct the host name in the configuration"},
	{"connection refused", "check that the database and the NATS cluster run, and their addresses"},
}

func cannotStart(err error) error {
	if !strings.HasPrefix(err.Error(), "starting") {
		err = fmt.Errorf("starting the server: %w", err)
	}
	for _, s := range startFixes {
		if strings.Contains(err.Error(), s.words) {
			return fixing(s.fix, err)
		}
	}
	return err
}

// welcome is the one screen that says where everything is.
func (a *app) welcome(cfg config.Config, r server.Ready) {
	if a.output != "table" {
		_ = a.encode(r)
		return
	}
	var b strings.Builder
	line := func(title, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %s  %s\n", a.paint(a.out, bold, fmt.Sprintf("%-12s", title)), plain(value))
		}
	}
	fmt.Fprintf(&b, "%s\n\n", a.paint(a.out, bold, "Holdfast is up."))
	line("console", r.Console)
	line("API", r.API)
	line("enrolment", r.DeviceAPI+"/.well-known/est/")
	line("MQTT", "mqtts://"+r.MQTTS)
	line("WebSocket", r.WSS)
	line("OCSP, CRL", r.PKI)
	line("metrics", r.Metrics)
	line("trust domain", cfg.TrustDomain)
	line("authorities", r.CAFile)
	if r.SignIn != "" {
		line("sign in", r.SignIn)
		line("", "this link makes you the first administrator; it works once, until tomorrow")
	}
	if r.AdminTokenFile != "" {
		line("token", r.AdminTokenFile+" (for programs on this machine)")
	}
	fmt.Fprintf(&b, `
Next, in another terminal:

  export HOLDFAST_DATA=%s%s
  holdfast status
  holdfast zone create plant
  holdfast type create sensor
  holdfast token create --type sensor --zone plant --id sensor-1

`, quote(cfg.Data), onPath())
	for _, w := range r.Warnings {
		fmt.Fprintln(&b, a.paint(a.out, red, "warning:"), plain(w))
	}
	fmt.Fprintln(&b, "Stop with ctrl-C.")
	fmt.Fprint(a.out, b.String())
}

// onPath is what makes the command "holdfast" mean this program, if it does not.
func onPath() string {
	self, err := os.Executable()
	if err != nil {
		return ""
	}
	if found, err := exec.LookPath("holdfast"); err == nil {
		if abs, err := filepath.Abs(found); err == nil && abs == self {
			return ""
		}
	}
	return ` PATH="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(filepath.Dir(self)) + `:$PATH"`
}

// quote makes a path fit for a shell.
func quote(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
