package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/config"
)

var entryCols = []col[adminapi.Entry]{
	{title: "INDEX", cell: func(e adminapi.Entry) string { return strconv.FormatInt(e.Index, 10) }},
	{title: "TIME", cell: func(e adminapi.Entry) string { return when(e.Event.Time) }},
	{title: "ACTOR", cell: func(e adminapi.Entry) string { return e.Event.Actor.Kind + ":" + e.Event.Actor.ID }},
	{title: "SOURCE", cell: func(e adminapi.Entry) string { return e.Event.Actor.Source }, detail: true},
	{title: "ACTION", cell: func(e adminapi.Entry) string { return e.Event.Action }},
	{title: "SUBJECT", cell: func(e adminapi.Entry) string {
		return strings.Trim(e.Event.Subject.Kind+":"+e.Event.Subject.ID, ":")
	}},
	{title: "OUTCOME", cell: func(e adminapi.Entry) string { return e.Event.Outcome }},
	{title: "REASON", cell: why},
	{title: "NODE", cell: func(e adminapi.Entry) string { return e.Event.Node }, detail: true},
	{title: "REQUEST", cell: func(e adminapi.Entry) string { return e.Event.Request }, detail: true},
	{title: "DETAILS", cell: func(e adminapi.Entry) string { return pairs(e.Event.Details) }, detail: true},
	{title: "ID", cell: func(e adminapi.Entry) string { return e.Event.ID }, detail: true},
}

// why is the server's reason for a refusal, or the operator's for an action.
func why(e adminapi.Entry) string {
	if e.Event.Reason != "" {
		return e.Event.Reason
	}
	return e.Event.Details["reason"]
}

func auditCommand(a *app) *cobra.Command {
	return a.group("audit", "The transparency log: every change, provable by an outsider",
		auditList(a), auditShow(a), auditProve(a), auditVerify(a), auditExport(a), auditCheckpoint(a), auditWitness(a))
}

func auditList(a *app) *cobra.Command {
	var filter adminapi.AuditFilter
	var since, until string
	cmd := &cobra.Command{Use: "list", Short: "List events, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if filter.Since, err = moment("since", since); err != nil {
				return err
			}
			if filter.Until, err = moment("until", until); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			l, err := c.AuditEntries(cmd.Context(), filter)
			if err != nil {
				return err
			}
			if err := printList(a, l.Items, entryCols); err != nil || l.Next == 0 {
				return err
			}
			_, err = fmt.Fprintf(a.err, "there are more: --before %d\n", l.Next)
			return err
		}}
	f := cmd.Flags()
	f.StringVar(&filter.Actor, "actor", "", "only by this actor")
	f.StringVar(&filter.Action, "action", "", "only this action, such as device.revoke, or device.*")
	f.StringVar(&filter.Subject, "subject", "", "only on this subject")
	f.StringVar(&since, "since", "", "from then: a time such as 2030-01-31T12:00:00Z, or how long ago, such as 24h or 7d")
	f.StringVar(&until, "until", "", "up to then")
	f.Int64Var(&filter.Before, "before", 0, "only entries below this index")
	f.IntVar(&filter.Limit, "limit", 50, "how many, 1 to 1000")
	return cmd
}

// moment reads a time, or a length of time before now.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if d, err := config.ParseDuration(text); err == nil {
		return time.Now().Add(-d), nil
	}
	return time.Time{}, &usageError{fmt.Sprintf("--%s %q is not a time", flag, text), "write such as 2030-01-31T12:00:00Z, or 24h for that long ago"}
}

func index(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, &usageError{fmt.Sprintf("%q is not an index", text), "see the first column of `holdfast audit list`"}
	}
	return n, nil
}

func auditShow(a *app) *cobra.Command {
	return &cobra.Command{Use: "show INDEX", Short: "Show an event with its details", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := index(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			e, err := c.AuditEntry(cmd.Context(), n)
			if err != nil {
				return err
			}
			return printItem(a, e, entryCols)
		}}
}

func auditProve(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{Use: "prove INDEX", Short: "Write a proof of one event that an outsider can verify", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := index(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			proof, err := c.AuditProof(cmd.Context(), n)
			if err != nil {
				return err
			}
			return a.toFile(out, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s\n", strings.TrimRight(string(proof), "\n"))
				return err
			})
		}}
	cmd.Flags().StringVar(&out, "out", "-", "file to write (- for standard output)")
	return cmd
}

func auditExport(a *app) *cobra.Command {
	var format, out string
	cmd := &cobra.Command{Use: "export", Short: "Write the whole log: for `audit verify`, or as OCSF JSON lines", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			return a.toFile(out, func(w io.Writer) error { return c.ExportAudit(cmd.Context(), format, w) })
		}}
	cmd.Flags().StringVar(&format, "format", "log", "log or ocsf")
	cmd.Flags().StringVar(&out, "out", "-", "file to write (- for standard output)")
	return cmd
}

func auditCheckpoint(a *app) *cobra.Command {
	var keyOnly bool
	cmd := &cobra.Command{Use: "checkpoint", Short: "Print the log's newest signed checkpoint, or its public key", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			cp, err := c.AuditCheckpoint(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case a.output != "table":
				return a.encode(cp)
			case keyOnly:
				_, err = fmt.Fprintln(a.out, cp.VerifierKey)
			default:
				_, err = fmt.Fprint(a.out, cp.Checkpoint)
			}
			return err
		}}
	cmd.Flags().BoolVar(&keyOnly, "key", false, "print the public key that `audit verify --key` takes; keep it where the server cannot change it")
	return cmd
}
