package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var approvalCols = []col[access.Approval]{
	{title: "ID", cell: func(q access.Approval) string { return q.ID }},
	{title: "STATE", cell: func(q access.Approval) string { return string(q.State) }},
	{title: "WHAT", cell: func(q access.Approval) string { return q.Summary }},
	{title: "ACTION", cell: func(q access.Approval) string { return string(q.Action) }, detail: true},
	{title: "BY", cell: func(q access.Approval) string { return q.RequestedBy }},
	{title: "REASON", cell: func(q access.Approval) string { return q.Reason }},
	{title: "ASKED", cell: func(q access.Approval) string { return when(q.RequestedAt) }, detail: true},
	{title: "EXPIRES", cell: func(q access.Approval) string { return when(q.ExpiresAt) }},
	{title: "DECIDED BY", cell: func(q access.Approval) string { return q.DecidedBy }, detail: true},
	{title: "DECIDED", cell: func(q access.Approval) string { return when(q.DecidedAt) }, detail: true},
	{title: "COMMENT", cell: func(q access.Approval) string { return q.Comment }, detail: true},
	{title: "OUTCOME", cell: func(q access.Approval) string { return q.Outcome }, detail: true},
	{title: "REQUEST", cell: func(q access.Approval) string { return q.Method + " " + q.Path }, detail: true},
}

func approvalCommand(a *app) *cobra.Command {
	return a.group("approval", "Requests that wait for a second person", approvalList(a), approvalShow(a),
		approvalDecide(a, "approve", "Let requests be carried out, in the name of who asked", true),
		approvalDecide(a, "reject", "Turn requests down: nothing is carried out", false), approvalWithdraw(a))
}

func approvalList(a *app) *cobra.Command {
	var filter adminapi.ApprovalFilter
	var all, own bool
	cmd := &cobra.Command{Use: "list", Short: "List requests, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if own {
				list, err := c.OwnApprovals(cmd.Context())
				if err != nil {
					return err
				}
				if filter.State != "" {
					kept := []access.Approval{}
					for _, q := range list {
						if q.State == filter.State {
							kept = append(kept, q)
						}
					}
					list = kept
				}
				return printList(a, list, approvalCols)
			}
			limit := filter.Limit
			if all {
				limit, filter.Limit = math.MaxInt, device.MaxPage
			}
			var list []access.Approval
			for {
				l, err := c.Approvals(cmd.Context(), filter)
				if err != nil {
					return err
				}
				list = append(list, l.Items...)
				filter.Before, filter.Limit = l.Next, min(device.MaxPage, limit-len(list))
				if filter.Limit <= 0 || l.Next == "" {
					break
				}
			}
			if err := printList(a, list, approvalCols); err != nil || filter.Before == "" {
				return err
			}
			_, err = fmt.Fprintf(a.err, "there are more: --before %s, or --all\n", plain(filter.Before))
			return err
		}}
	f := cmd.Flags()
	stringVar(f, &filter.State, "state", "only waiting, approved, done, failed, rejected, withdrawn or expired")
	f.StringVar(&filter.Before, "before", "", "begin after this id")
	f.IntVar(&filter.Limit, "limit", 100, "how many, 1 to 1000")
	f.BoolVar(&all, "all", false, "all pages")
	f.BoolVar(&own, "own", false, "only what you asked for, which needs no permission")
	cmd.MarkFlagsMutuallyExclusive("own", "before")
	cmd.MarkFlagsMutuallyExclusive("own", "all")
	return cmd
}

func approvalShow(a *app) *cobra.Command {
	return &cobra.Command{Use: "show APPROVAL", Short: "Show a request with what it would send", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			q, err := c.Approval(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := printItem(a, q, approvalCols); err != nil || a.output != "table" || len(q.Body) == 0 {
				return err
			}
			_, err = fmt.Fprintf(a.out, "\n%s\n", bodyText(q.Body))
			return err
		}}
}

// bodyText shows a request's body so that a second person can judge it.
func bodyText(body []byte) string {
	var v any
	if json.Unmarshal(body, &v) == nil {
		if text, err := json.MarshalIndent(v, "", "  "); err == nil {
			return plainLines(string(text))
		}
	}
	if !utf8.Valid(body) {
		return fmt.Sprintf("(%d bytes that are not text)", len(body))
	}
	return plainLines(strings.TrimRight(string(body), "\n"))
}

// approvalDecide shows what is approved before it asks: the second person is there
// to look at it.
func approvalDecide(a *app, verb, short string, approve bool) *cobra.Command {
	var comment string
	cmd := &cobra.Command{Use: verb + " APPROVAL...", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			for _, id := range args {
				if approve && !a.yes {
					q, err := c.Approval(cmd.Context(), id)
					if err != nil {
						return err
					}
					fmt.Fprintf(a.err, "%s asks: %s\nreason: %s\n", plain(q.RequestedBy), plain(q.Summary), plain(q.Reason))
					if len(q.Body) > 0 {
						fmt.Fprintln(a.err, bodyText(q.Body))
					}
					if err := a.confirm("it is carried out at once"); err != nil {
						return err
					}
				}
			}
			var decided []access.Approval
			failed := false
			for _, id := range args {
				q, err := c.DecideApproval(cmd.Context(), id, approve, comment)
				if err != nil {
					return errors.Join(err, a.soFar(len(decided), func() error { return printList(a, decided, approvalCols) }))
				}
				failed = failed || approve && q.State != access.ApprovalDone
				decided = append(decided, q)
			}
			if len(decided) == 1 {
				err = printItem(a, decided[0], approvalCols)
			} else {
				err = printList(a, decided, approvalCols)
			}
			if err == nil && failed {
				return errors.New("a request was approved, but could not be carried out: see its outcome")
			}
			return err
		}}
	cmd.Flags().StringVar(&comment, "comment", "", "why, for who asked and for the audit log")
	cmd.Flags().StringVar(&comment, "reason", "", "the same as --comment")
	cmd.MarkFlagsMutuallyExclusive("comment", "reason")
	return cmd
}

// soFar shows what was done before a failure in the middle.
func (a *app) soFar(n int, show func() error) error {
	if n == 0 {
		return nil
	}
	return show()
}

func approvalWithdraw(a *app) *cobra.Command {
	return &cobra.Command{Use: "withdraw APPROVAL...", Short: "Take back requests of your own that still wait", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			for _, id := range args {
				if _, err := c.WithdrawApproval(cmd.Context(), id); err != nil {
					return err
				}
				if err := a.say("withdrawn", id, "request %s withdrawn", plain(id)); err != nil {
					return err
				}
			}
			return nil
		}}
}
