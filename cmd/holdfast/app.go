package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// app is one run of the program: where it reads and writes, and what the global
// flags said. It is used by one goroutine.
type app struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
	env      map[string]string

	data, server, tokenFile, caFile, profile string
	output                                   string
	yes, wait                                bool
	flags                                    *pflag.FlagSet // of the command that runs
	global                                   *pflag.FlagSet // of all commands

	started  bool   // a command's own code has begun: what fails now is no usage error
	loggedIn string // the profile whose sign-in the command uses, or empty
	hurried  bool   // no time to renew a sign-in
	// connected is what connect made last.
	connected *connection

	now   func() time.Time
	sleep func(context.Context, time.Duration) error // nil when the time is over
}

func newApp(stdin io.Reader, stdout, stderr io.Writer, environ []string) *app {
	a := &app{in: stdin, out: stdout, err: stderr, environ: environ, env: map[string]string{}, now: time.Now, sleep: sleep}
	for _, e := range environ {
		if k, v, ok := strings.Cut(e, "="); ok {
			a.env[k] = v
		}
	}
	return a
}

// globalFlags are what every command understands.
func (a *app) globalFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	a.global = f
	f.StringVar(&a.data, "data", a.or("HOLDFAST_DATA", "/var/lib/holdfast"), "data folder of a server on this machine (HOLDFAST_DATA)")
	f.StringVar(&a.server, "server", a.env["HOLDFAST_SERVER"], "URL of a server elsewhere, instead of --data (HOLDFAST_SERVER)")
	f.StringVar(&a.profile, "profile", a.env["HOLDFAST_PROFILE"], "server that you logged in to, see holdfast login (HOLDFAST_PROFILE)")
	f.StringVar(&a.tokenFile, "token-file", a.env["HOLDFAST_TOKEN_FILE"], "file with the API token for --server (HOLDFAST_TOKEN_FILE, or the token in HOLDFAST_TOKEN)")
	f.StringVar(&a.caFile, "ca", a.env["HOLDFAST_CA"], "PEM file with the authorities of --server (HOLDFAST_CA; default: the system's)")
	f.StringVarP(&a.output, "output", "o", a.or("HOLDFAST_OUTPUT", "table"), "table, json or yaml (HOLDFAST_OUTPUT)")
	f.BoolVar(&a.yes, "yes", false, "do not ask before what cannot be undone")
	f.BoolVar(&a.wait, "wait", false, "if a second person has to approve this, wait for the decision (else: exit code 3)")
}

// typed tells whether a flag stands on the command line: what is typed wins over
// the environment.
func (a *app) typed(flag string) bool {
	if a.flags == nil {
		return false
	}
	// A command may have a flag of its own of that name: type create --profile.
	f := a.flags.Lookup(flag)
	return f != nil && f.Changed && f == a.global.Lookup(flag)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (a *app) or(variable, value string) string {
	if v := a.env[variable]; v != "" {
		return v
	}
	return value
}

// execute runs the command that args name and returns the exit code.
func (a *app) execute(root *cobra.Command, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SuggestionsMinimumDistance = 2
	a.begin(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if held, ok := heldBack(err); ok {
		return a.reportHeld(ctx, held)
	}
	return a.report(cmd, err)
}

// begin wraps every command's own code, so that what fails before it is known to
// be wrong usage.
func (a *app) begin(cmd *cobra.Command) {
	if own := cmd.RunE; own != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.started, a.flags = true, cmd.Flags()
			switch a.output {
			case "table", "json", "yaml":
				return own(cmd, args)
			}
			return &usageError{fmt.Sprintf("--output %q is not known", a.output), "use table, json or yaml"}
		}
	}
	for _, c := range cmd.Commands() {
		a.begin(c)
	}
}

// group is a command that only holds others.
func (a *app) group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		names := make([]string, 0, len(commands))
		for _, c := range commands {
			names = append(names, c.Name())
		}
		fix := "say which: " + strings.Join(names, ", ")
		if len(args) == 0 {
			return &usageError{fmt.Sprintf("%s needs a subcommand", cmd.CommandPath()), fix}
		}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			fix = "did you mean " + near[0] + "?"
		}
		return &usageError{fmt.Sprintf("%s has no subcommand %q", cmd.CommandPath(), args[0]), fix}
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.AddCommand(commands...)
	return cmd
}

// usageError is a command that cannot be right whatever the server says.
type usageError struct{ detail, fix string }

func (e *usageError) Error() string { return e.detail }

// fixedError is an error with what to do about it.
type fixedError struct {
	err error
	fix string
}

func (e *fixedError) Error() string { return e.err.Error() }
func (e *fixedError) Unwrap() error { return e.err }

// fixing adds what to do about err.
func fixing(fix string, err error) error { return &fixedError{err, fix} }

// errTold is a failure whose words are on the screen already.
var errTold = errors.New("told already")
