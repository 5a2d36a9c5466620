package main

import (
	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/enroll"
)

var waitingCols = []col[enroll.Waiting]{
	{title: "ID", cell: func(w enroll.Waiting) string { return w.ID }},
	{title: "DEVICE", cell: func(w enroll.Waiting) string { return string(w.DeviceID) }},
	{title: "TYPE", cell: func(w enroll.Waiting) string { return string(w.Type) }},
	{title: "ZONE", cell: func(w enroll.Waiting) string { return string(w.Zone) }},
	{title: "KEY", cell: func(w enroll.Waiting) string { return w.KeyID }},
	{title: "CREDENTIAL", cell: func(w enroll.Waiting) string { return w.Credential }},
	{title: "SOURCE", cell: func(w enroll.Waiting) string { return w.Source }},
	{title: "SINCE", cell: func(w enroll.Waiting) string { return when(w.RequestedAt) }},
	{title: "DECISION", cell: func(w enroll.Waiting) string { return string(w.Decision) }},
	{title: "BY", cell: func(w enroll.Waiting) string { return w.DecidedBy }, detail: true},
	{title: "REASON", cell: func(w enroll.Waiting) string { return w.Reason }, detail: true},
}

func waitingCommand(a *app) *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List the enrolment requests that wait for an operator", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			waiting, err := c.Waiting(cmd.Context())
			if err != nil {
				return err
			}
			return printList(a, waiting, waitingCols)
		}}
	return a.group("waiting", "Enrolment requests that wait for an operator", list,
		waitingDecide(a, "approve", "Let devices enrol with the key that they asked with", true),
		waitingDecide(a, "reject", "Refuse enrolment requests", false))
}

func waitingDecide(a *app, verb, short string, approve bool) *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: verb + " ID...", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var decided []enroll.Waiting
			for _, id := range args {
				w, err := c.DecideWaiting(cmd.Context(), id, approve, reason)
				if err != nil {
					if len(decided) > 0 {
						_ = printList(a, decided, waitingCols)
					}
					return err
				}
				decided = append(decided, w)
			}
			return printList(a, decided, waitingCols)
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}
