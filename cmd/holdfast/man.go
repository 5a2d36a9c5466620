package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/server"
)

func manCommand(a *app) *cobra.Command {
	var dir string
	cmd := &cobra.Command{Use: "man [COMMAND...]", Short: "Write the manual page of a command, or all of them to a folder", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if dir != "" {
				return a.manPages(cmd.Root(), dir)
			}
			page, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return &usageError{fmt.Sprintf("there is no command %q", strings.Join(args, " ")), "see holdfast --help"}
			}
			_, err = fmt.Fprint(a.out, manPage(page))
			return err
		}}
	cmd.Flags().StringVar(&dir, "dir", "", "write a page for each command to this folder, such as ~/.local/share/man/man1")
	return cmd
}

func (a *app) manPages(root *cobra.Command, dir string) error {
	if err := durable.MakeFolder(dir, 0o755); err != nil {
		return fmt.Errorf("writing manual pages: %w", err)
	}
	n := 0
	var write func(*cobra.Command) error
	write = func(cmd *cobra.Command) error {
		if err := durable.WriteFile(filepath.Join(dir, manName(cmd)+".1"), []byte(manPage(cmd)), 0o644); err != nil {
			return fmt.Errorf("writing manual pages: %w", err)
		}
		n++
		for _, c := range shownCommands(cmd) {
			if err := write(c); err != nil {
				return err
			}
		}
		return nil
	}
	if err := write(root); err != nil {
		return err
	}
	return a.say("written", dir, "%d manual pages written to %s", n, dir)
}

func manName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func shownCommands(cmd *cobra.Command) []*cobra.Command {
	return slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return !c.IsAvailableCommand() || c.Name() == "help" })
}

// roff makes text safe for troff: nothing in it is a request or an escape, and
// what looks like a hyphen stays one that can be copied.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", "\\(ga", "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(ascii(l), " ")
		if strings.HasPrefix(lines[i], ".") {
			lines[i] = `\&` + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

// ascii names other characters by number, as troff takes them in any encoding.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}

// paragraphs writes text: indented lines stay as they are, the others flow.
func paragraphs(b *strings.Builder, text string) {
	verbatim := false
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		indented := strings.HasPrefix(line, "  ")
		if indented != verbatim && line != "" {
			b.WriteString(map[bool]string{true: ".PP\n.nf\n", false: ".fi\n"}[indented])
			verbatim = indented
		}
		if line == "" {
			if !verbatim {
				b.WriteString(".PP\n")
			}
			continue
		}
		b.WriteString(roff(line) + "\n")
	}
	if verbatim {
		b.WriteString(".fi\n")
	}
}

// manPage is the page of one command, for the macros of man(7).
func manPage(cmd *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH \"%s\" \"1\" \"\" \"holdfast %s\" \"User Commands\"\n", strings.ToUpper(roff(manName(cmd))), roff(server.Version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(manName(cmd)), roff(cmd.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n\\fB%s\\fP%s\n", roff(cmd.CommandPath()), roff(strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath())))
	if cmd.Long != "" {
		b.WriteString(".SH DESCRIPTION\n")
		paragraphs(&b, cmd.Long)
	}
	if subs := shownCommands(cmd); len(subs) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, c := range subs {
			fmt.Fprintf(&b, ".TP\n\\fB%s\\fP\n%s\n", roff(c.Name()), roff(c.Short))
		}
	}
	manFlags(&b, "OPTIONS", cmd.NonInheritedFlags())
	manFlags(&b, "GLOBAL OPTIONS", cmd.InheritedFlags())
	b.WriteString(".SH \"EXIT STATUS\"\n")
	for _, e := range exitCodes {
		fmt.Fprintf(&b, ".TP\n%d\n%s\n", e.code, roff(e.meaning))
	}
	var also []string
	if cmd.HasParent() {
		also = append(also, manName(cmd.Parent()))
	}
	for _, c := range shownCommands(cmd) {
		also = append(also, manName(c))
	}
	if len(also) > 0 {
		b.WriteString(".SH \"SEE ALSO\"\n")
		for i, name := range also {
			fmt.Fprintf(&b, ".BR %s (1)%s\n", roff(name), ifTrue(i < len(also)-1, ","))
		}
	}
	return b.String()
}

var exitCodes = []struct {
	code    int
	meaning string
}{
	{0, "What was asked is done."},
	{1, "It was refused or went wrong; standard error says what, and what to do about it."},
	{2, "The command itself was wrong: nothing was asked of the server."},
	{heldExit, "Nothing has happened yet: a second person has to approve the request."},
}

func manFlags(b *strings.Builder, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, ".SH \"%s\"\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name, usage := pflag.UnquoteUsage(f)
		b.WriteString(".TP\n")
		if f.Shorthand != "" {
			fmt.Fprintf(b, "\\fB\\-%s\\fP, ", f.Shorthand)
		}
		fmt.Fprintf(b, "\\fB\\-\\-%s\\fP", roff(f.Name))
		if name != "" {
			fmt.Fprintf(b, " \\fI%s\\fP", roff(name))
		}
		b.WriteString("\n" + roff(strings.ReplaceAll(usage, "\n", " ")) + "\n")
	})
}
