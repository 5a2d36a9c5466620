package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/est"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
)

// report tells err to people and returns the exit code.
func (a *app) report(cmd *cobra.Command, err error) int {
	usage, isUsage := errors.AsType[*usageError](err)
	switch {
	case errors.Is(err, errTold):
		return 1
	case isUsage:
		a.complain(usage.detail, usage.fix)
		return 2
	case !a.started:
		a.complain(misuse(cmd, err))
		return 2
	}
	detail, fix := explain(err)
	a.complain(detail, a.fixOfProfile(err, fix))
	a.rows(err)
	if problems, ok := errors.AsType[config.Problems](err); ok && slices.ContainsFunc(problems, fromFlag) {
		return 2
	}
	return 1
}

func fromFlag(p *config.Problem) bool { return strings.HasPrefix(p.Where, "flag ") }

// misuse words what cobra found wrong: an unknown flag or command, a missing argument.
func misuse(cmd *cobra.Command, err error) (detail, fix string) {
	detail, _, _ = strings.Cut(err.Error(), "\n")
	fix = "see " + cmd.CommandPath() + " --help"
	if strings.Contains(detail, " arg(s)") {
		return "wrong number of arguments", "write " + cmd.UseLine()
	}
	if name, ok := strings.CutPrefix(detail, `unknown command "`); ok {
		name, _, _ = strings.Cut(name, `"`)
		if near := cmd.SuggestionsFor(name); len(near) > 0 {
			fix = "did you mean " + near[0] + "?"
		}
	}
	return detail, fix
}

// explain takes what is wrong and what to do about it out of err.
func explain(err error) (detail, fix string) {
	detail, fix = err.Error(), ""
	told := func(its string) { // by the other side, whose error text ends with its fix
		if fix = its; its != "" {
			detail = strings.TrimSuffix(detail, ": "+its)
		}
	}
	if p, ok := errors.AsType[*adminapi.Problem](err); ok {
		told(p.Fix)
		if p.Status == 500 && p.RequestID != "" {
			fix = "look for request " + p.RequestID + " in the server's log"
		}
	} else if p, ok := errors.AsType[*est.Problem](err); ok {
		detail, fix = p.Detail, p.Fix
	} else if r := refusal.As(err); r != nil {
		told(r.Fix)
	} else if _, ok := errors.AsType[config.Problems](err); ok {
		return "the configuration is wrong:\n" + detail, "correct what is named above; deploy/config/holdfast.yaml shows every key"
	} else if errors.Is(err, context.Canceled) {
		return "interrupted", ""
	} else {
		fix = fixOfCall(err)
	}
	if fixed, ok := errors.AsType[*fixedError](err); ok {
		fix = fixed.fix
	}
	return detail, fix
}

// fixOfProfile says what to do when it is the sign-in of a profile that the server
// does not take, or the server that the profile does not.
func (a *app) fixOfProfile(err error, fix string) string {
	if a.loggedIn == "" {
		return fix
	}
	p, isProblem := errors.AsType[*adminapi.Problem](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	switch {
	case isProblem && p.Code == "step-up-needed":
		return "prove that it is you with `holdfast login --again --profile " + a.loggedIn + "`, or with a code and `holdfast account confirm`, then do it again"
	case isProblem && p.Status == 401:
		return "log in with `holdfast login --again --profile " + a.loggedIn + "`"
	case unknown:
		return "if the server has a new root, compare it and log in with `holdfast login --again --profile " + a.loggedIn + " --ca FILE`"
	}
	return fix
}

// fixOfCall says what to do when a server could not be spoken to.
func fixOfCall(err error) string {
	_, isCall := errors.AsType[*url.Error](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	remote := strings.Contains(err.Error(), "remote error: tls:")
	switch {
	case !isCall:
		return ""
	case unknown:
		return "give the authorities of the server with --ca, as `holdfast ca bundle` writes them"
	case name:
		return "use a name that the server's certificate has, or add this one to hostnames in its configuration"
	case alert || remote:
		return "the server refused this certificate: it may be revoked, on hold or expired; ask its operator, or enrol again"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "check that the server runs, and its address"
	}
	return ""
}

// complain writes an error: a sentence, then what to do about it.
func (a *app) complain(detail, fix string) {
	fmt.Fprintln(a.err, a.paint(a.err, red, "error:"), plainLines(detail))
	if fix != "" {
		fmt.Fprintln(a.err, a.paint(a.err, bold, "fix:"), plain(fix))
	}
}

// maxRowsShown bounds the bad rows of an import on the screen.
const maxRowsShown = 100

// rows lists what an error says about single rows or fields.
func (a *app) rows(err error) {
	var rows []adminapi.RowError
	if p, ok := errors.AsType[*adminapi.Problem](err); ok {
		rows = p.Errors
	}
	if e, ok := errors.AsType[*adminapi.ImportError](err); ok {
		rows = e.Rows
	}
	for i, r := range rows {
		if i == maxRowsShown {
			fmt.Fprintf(a.err, "and %d more\n", len(rows)-i)
			return
		}
		var b strings.Builder
		if r.Line > 0 {
			fmt.Fprintf(&b, "line %d: ", r.Line)
		}
		if r.Field != "" {
			b.WriteString(r.Field + ": ")
		}
		fmt.Fprintln(a.err, plain(b.String()+r.Error))
	}
}
