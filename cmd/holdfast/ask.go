package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/charmbracelet/x/term"
)

// confirm says what will happen and returns nil when the operator agrees: with
// --yes, or by typing yes on a terminal.
func (a *app) confirm(what string, args ...any) error {
	what = plain(fmt.Sprintf(what, args...))
	if a.yes {
		return nil
	}
	if !isTerminal(a.in) {
		return &usageError{what + ": this needs a yes", "give --yes if that is what you want"}
	}
	fmt.Fprintf(a.err, "%s. Type yes to go on: ", what)
	line, err := bufio.NewReader(io.LimitReader(a.in, 100)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if strings.TrimSpace(line) != "yes" {
		return errors.New("not confirmed: nothing was done")
	}
	return nil
}

// askSecret reads a line from the terminal without showing it.
func (a *app) askSecret(prompt string) (string, error) {
	f, ok := a.in.(*os.File)
	if !ok || !isTerminal(a.in) {
		return "", errors.New("there is no terminal to ask on")
	}
	fmt.Fprint(a.err, prompt)
	text, err := term.ReadPassword(f.Fd())
	fmt.Fprintln(a.err)
	if err != nil {
		return "", fmt.Errorf("reading from the terminal: %w", err)
	}
	return string(text), nil
}
