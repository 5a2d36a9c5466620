package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var attentionCols = []col[adminapi.Attention]{
	{title: "SEVERITY", cell: func(t adminapi.Attention) string { return t.Severity }},
	{title: "WHAT", cell: func(t adminapi.Attention) string { return t.Title }},
	{title: "WHERE", cell: func(t adminapi.Attention) string { return strings.TrimSpace(t.Kind + " " + t.ID) }},
	{title: "SINCE", cell: func(t adminapi.Attention) string { return when(t.Since) }},
	{title: "DETAIL", cell: func(t adminapi.Attention) string { return t.Detail }},
}

var stoppedCols = []col[adminapi.Refusal]{
	{title: "TIME", cell: func(r adminapi.Refusal) string { return when(r.Last) }},
	{title: "KIND", cell: func(r adminapi.Refusal) string { return r.Kind }},
	{title: "WHO", cell: func(r adminapi.Refusal) string {
		if r.Principal.ID == "" {
			return r.Client
		}
		return r.Principal.Kind + ":" + r.Principal.ID
	}},
	{title: "ZONE", cell: func(r adminapi.Refusal) string { return string(r.Principal.Zone) }},
	{title: "ADDRESS", cell: func(r adminapi.Refusal) string { return r.Address }},
	{title: "TOPIC", cell: func(r adminapi.Refusal) string { return r.Topic }},
	{title: "RULE", cell: func(r adminapi.Refusal) string { return r.Rule }},
	{title: "COUNT", cell: func(r adminapi.Refusal) string { return strconv.FormatInt(r.Count, 10) }},
	{title: "WHY", cell: func(r adminapi.Refusal) string { return r.Detail }},
}

// overviewCols leave a line out where the caller may not see what it counts.
var overviewCols = []col[adminapi.Overview]{
	{title: "DEVICES", cell: func(o adminapi.Overview) string {
		if o.Devices == nil {
			return ""
		}
		return atLeast(o.Devices.Total, o.Devices.Complete) + counts(o.Devices.ByState)
	}},
	{title: "CONNECTED", cell: func(o adminapi.Overview) string {
		if o.Sessions == nil {
			return ""
		}
		return strconv.Itoa(o.Sessions.Total) + counts(o.Sessions.ByKind)
	}},
	{title: "MESSAGES", cell: func(o adminapi.Overview) string {
		if o.Rates == nil {
			return ""
		}
		return fmt.Sprintf("%.1f in and %.1f out a second, %d refused in the last minute", o.Rates.In, o.Rates.Out, o.Rates.Refused)
	}},
	{title: "CERTIFICATES", cell: func(o adminapi.Overview) string {
		if o.Certificates == nil {
			return ""
		}
		return fmt.Sprintf("%s should have been renewed; %s end within 30 days", atLeast(o.Certificates.Due, o.Certificates.Complete), atLeast(o.Certificates.Month, o.Certificates.Complete))
	}},
	{title: "WAITING", cell: func(o adminapi.Overview) string { return number(o.Waiting, "devices that ask to be admitted") }},
	{title: "APPROVALS", cell: func(o adminapi.Overview) string { return number(o.Approvals, "requests for a second person") }},
	{title: "AUTHORITY", cell: func(o adminapi.Overview) string {
		if o.Authority == nil {
			return ""
		}
		return "the " + o.Authority.Role + " authority ends first, " + when(o.Authority.NotAfter)
	}},
	{title: "POLICY", cell: func(o adminapi.Overview) string {
		switch {
		case o.Policy == nil:
			return ""
		case o.Policy.Version == 0:
			return "none: nothing is allowed"
		}
		return fmt.Sprintf("version %d", o.Policy.Version) + since(when(o.Policy.Since))
	}},
	{title: "WARNINGS", cell: func(o adminapi.Overview) string { return strings.Join(o.Warnings, "; ") }},
}

func atLeast(n int64, complete bool) string {
	return ifTrue(!complete, "at least ") + strconv.FormatInt(n, 10)
}

func number(n *int, what string) string {
	if n == nil {
		return ""
	}
	return strconv.Itoa(*n) + " " + what
}

func counts[N int | int64](by map[string]N) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%d %s", by[name], name))
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

func overviewCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "overview", Short: "Show how everything is, and what needs attention", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			o, err := c.Overview(cmd.Context())
			if err != nil {
				return err
			}
			if err := printItem(a, o, overviewCols); err != nil || a.output != "table" || len(o.Attention) == 0 {
				return err
			}
			fmt.Fprintln(a.out)
			return printList(a, o.Attention, attentionCols)
		}}
}

func refusalCommand(a *app) *cobra.Command {
	return a.group("refusal", "What the brokers stopped: messages, subscriptions, connections", refusalList(a))
}

func refusalList(a *app) *cobra.Command {
	var filter adminapi.RefusalFilter
	var since string
	cmd := &cobra.Command{Use: "list", Short: "List what was stopped lately, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if filter.Since, err = moment("since", since); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Refusals(cmd.Context(), filter)
			if err != nil {
				return err
			}
			return printList(a, list, stoppedCols)
		}}
	f := cmd.Flags()
	f.StringVar(&filter.Principal, "principal", "", "only of device:ID, gateway:ID, app:NAME, or an id alone")
	f.StringVar(&filter.Kind, "kind", "", "only this kind, such as publish-refused or rate-exceeded")
	f.StringVar(&filter.Rule, "rule", "", "only by this rule of the policy")
	f.StringVar(&since, "since", "", "only from this time on, such as 15m or 2030-01-31T12:00:00Z")
	f.IntVar(&filter.Limit, "limit", 100, "how many, 1 to 1000")
	return cmd
}
