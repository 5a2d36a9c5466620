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

	"github.com/spf13/cobra"
)

// app is one run of the program: where it reads and writes, and what the global
// flags said. It is used by one goroutine.
type app struct {
	in       io.Reader
	out, err io.Writer
	environ  []string
	env      map[string]string

	data, server, tokenFile, caFile string
	output                          string
	yes                             bool

	started bool // a command's own code has begun: what fails now is no usage error
}

func newApp(stdin io.Reader, stdout, stderr io.Writer, environ []string) *app {
	a := &app{in: stdin, out: stdout, err: stderr, environ: environ, env: map[string]string{}}
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
	f.StringVar(&a.data, "data", a.or("HOLDFAST_DATA", "/var/lib/holdfast"), "data folder of a server on this machine (HOLDFAST_DATA)")
	f.StringVar(&a.server, "server", a.env["HOLDFAST_SERVER"], "URL of a server elsewhere, instead of --data (HOLDFAST_SERVER)")
	f.StringVar(&a.tokenFile, "token-file", a.env["HOLDFAST_TOKEN_FILE"], "file with the API token for --server (HOLDFAST_TOKEN_FILE)")
	f.StringVar(&a.caFile, "ca", a.env["HOLDFAST_CA"], "PEM file with the authorities of --server (HOLDFAST_CA; default: the system's)")
	f.StringVarP(&a.output, "output", "o", a.or("HOLDFAST_OUTPUT", "table"), "table, json or yaml (HOLDFAST_OUTPUT)")
	f.BoolVar(&a.yes, "yes", false, "do not ask before what cannot be undone")
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
	return a.report(cmd, err)
}

// begin wraps every command's own code, so that what fails before it is known to
// be wrong usage.
func (a *app) begin(cmd *cobra.Command) {
	if own := cmd.RunE; own != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.started = true
			if cmd.Flags().Changed("data") && !cmd.Flags().Changed("server") {
				a.server = "" // what is typed wins over the environment
			}
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
