package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var sessionCols = []col[adminapi.Session]{
	{title: "CLIENT", cell: func(s adminapi.Session) string { return s.ClientID }},
	{title: "KIND", cell: func(s adminapi.Session) string { return s.Kind }},
	{title: "ID", cell: func(s adminapi.Session) string { return s.ID }, detail: true},
	{title: "TYPE", cell: func(s adminapi.Session) string { return s.Type }},
	{title: "ZONE", cell: func(s adminapi.Session) string { return s.Zone }},
	{title: "NODE", cell: func(s adminapi.Session) string { return s.Node }},
	{title: "ADDRESS", cell: func(s adminapi.Session) string { return s.Address }},
	{title: "CONNECTED", cell: func(s adminapi.Session) string { return yesno(s.Connected) }},
	{title: "SINCE", cell: func(s adminapi.Session) string { return when(s.Since) }},
	{title: "MQTT", cell: func(s adminapi.Session) string { return s.Version }, detail: true},
	{title: "TRANSPORT", cell: func(s adminapi.Session) string { return s.Transport }, detail: true},
	{title: "KEEP-ALIVE", cell: func(s adminapi.Session) string { return seconds(s.KeepAlive) }, detail: true},
	{title: "EXPIRY", cell: func(s adminapi.Session) string { return seconds(s.Expiry) }, detail: true},
	{title: "SUBSCRIPTIONS", cell: func(s adminapi.Session) string { return strconv.Itoa(len(s.Subscriptions)) }},
	{title: "IN", cell: func(s adminapi.Session) string { return strconv.FormatInt(s.In.Messages, 10) }},
	{title: "OUT", cell: func(s adminapi.Session) string { return strconv.FormatInt(s.Out.Messages, 10) }},
	{title: "BYTES IN", cell: func(s adminapi.Session) string { return strconv.FormatInt(s.In.Bytes, 10) }, detail: true},
	{title: "BYTES OUT", cell: func(s adminapi.Session) string { return strconv.FormatInt(s.Out.Bytes, 10) }, detail: true},
	{title: "QUEUED", cell: func(s adminapi.Session) string { return strconv.Itoa(s.Queued) }},
	{title: "IN FLIGHT", cell: func(s adminapi.Session) string { return strconv.Itoa(s.Inflight) }, detail: true},
	{title: "REFUSED", cell: func(s adminapi.Session) string { return strconv.FormatInt(s.Refused, 10) }},
	{title: "DROPPED", cell: func(s adminapi.Session) string { return strconv.FormatInt(s.Dropped, 10) }, detail: true},
}

var subscriptionCols = []col[adminapi.Subscription]{
	{title: "SUBSCRIBED TO", cell: func(s adminapi.Subscription) string { return s.Filter }},
	{title: "QOS", cell: func(s adminapi.Subscription) string { return strconv.Itoa(s.QoS) }},
	{title: "RULE", cell: func(s adminapi.Subscription) string { return s.Rule }},
}

var refusalCols = []col[adminapi.SessionRefusal]{
	{title: "REFUSED", cell: func(r adminapi.SessionRefusal) string { return when(r.Time) }},
	{title: "ACTION", cell: func(r adminapi.SessionRefusal) string { return r.Action }},
	{title: "TOPIC", cell: func(r adminapi.SessionRefusal) string { return r.Topic }},
	{title: "RULE", cell: func(r adminapi.SessionRefusal) string { return r.Rule }},
	{title: "WHY", cell: func(r adminapi.SessionRefusal) string { return r.Detail }},
}

func sessionCommand(a *app) *cobra.Command {
	return a.group("session", "MQTT sessions: who is connected and what it does", sessionList(a), sessionShow(a), sessionClose(a))
}

func sessionList(a *app) *cobra.Command {
	var filter adminapi.SessionFilter
	var all bool
	cmd := &cobra.Command{Use: "list", Short: "List sessions by client id, of all servers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			limit := filter.Limit
			if all {
				limit, filter.Limit = math.MaxInt, device.MaxPage
			}
			var sessions []adminapi.Session
			for {
				l, err := c.Sessions(cmd.Context(), filter)
				if err != nil {
					return err
				}
				sessions = append(sessions, l.Items...)
				filter.After, filter.Limit = l.Next, min(device.MaxPage, limit-len(sessions))
				if filter.Limit <= 0 || l.Next == "" {
					break
				}
			}
			if err := printList(a, sessions, sessionCols); err != nil || filter.After == "" {
				return err
			}
			_, err = fmt.Fprintf(a.err, "there are more: --after %s, or --all\n", plain(filter.After))
			return err
		}}
	f := cmd.Flags()
	f.StringVar(&filter.Kind, "kind", "", "only device, gateway or app")
	f.StringVar(&filter.Type, "type", "", "only devices of this type")
	f.StringVar(&filter.Zone, "zone", "", "only devices in this zone")
	f.StringVar(&filter.Prefix, "prefix", "", "only client ids that start so")
	f.StringVar(&filter.Node, "node", "", "only on this server")
	f.StringVar(&filter.After, "after", "", "begin after this client id")
	f.IntVar(&filter.Limit, "limit", 100, "how many, 1 to 1000")
	f.BoolVar(&all, "all", false, "all pages")
	return cmd
}

func sessionShow(a *app) *cobra.Command {
	return &cobra.Command{Use: "show CLIENT", Short: "Show a session, its subscriptions and what it was refused", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			s, err := c.Session(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := printItem(a, s, sessionCols); err != nil || a.output != "table" {
				return err
			}
			if len(s.Subscriptions) > 0 {
				fmt.Fprintln(a.out)
				if err := printList(a, s.Subscriptions, subscriptionCols); err != nil {
					return err
				}
			}
			if len(s.Refusals) == 0 {
				return nil
			}
			fmt.Fprintln(a.out)
			return printList(a, s.Refusals, refusalCols)
		}}
}

func sessionClose(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "close CLIENT", Short: "Disconnect a client and forget its session; it may come back", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.confirm("the session of %s ends, and messages that wait for it are lost", args[0]); err != nil {
				return err
			}
			if err := c.CloseSession(cmd.Context(), args[0], reason); err != nil {
				return err
			}
			return a.say("closed", args[0], "session of %s closed", plain(args[0]))
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

// errEnough ends a tap that has shown what it was asked for.
var errEnough = errors.New("enough")

func tapCommand(a *app) *cobra.Command {
	var what adminapi.TapQuery
	var most int
	cmd := &cobra.Command{Use: "tap FILTER", Short: "Watch messages as they pass; who watches what is audited", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			seen := 0
			what.Filter = args[0]
			err = c.Tap(cmd.Context(), what, func(t adminapi.Tapped) error {
				switch {
				case t.Dropped > 0:
					_, err := fmt.Fprintf(a.err, "%d messages came too fast and are not shown\n", t.Dropped)
					return err
				case t.Begun:
					_, err := fmt.Fprintf(a.err, "tapping %s: ctrl-C ends it\n", plain(args[0]))
					return err
				case t.Message == nil:
					return nil
				}
				if err := a.showTapped(t.Message); err != nil {
					return err
				}
				if seen++; seen == most {
					return errEnough
				}
				return nil
			})
			if errors.Is(err, errEnough) || cmd.Context().Err() != nil {
				return nil
			}
			return err
		}}
	cmd.Flags().StringVar(&what.Audience, "audience", "", "see marked fields as this audience does (default operator: everything)")
	cmd.Flags().StringVar(&what.From, "from", "", "only what device:ID, gateway:ID or app:NAME sends")
	cmd.Flags().StringVar(&what.Type, "type", "", "only what devices of this type send")
	cmd.Flags().StringVar(&what.Zone, "zone", "", "only what devices in this zone send")
	cmd.Flags().IntVar(&most, "count", 0, "end after so many messages")
	return cmd
}

// showTapped writes one message on one line.
func (a *app) showTapped(m *adminapi.TapMessage) error {
	if a.output == "json" {
		return json.NewEncoder(a.out).Encode(m)
	}
	if a.output == "yaml" {
		fmt.Fprintln(a.out, "---")
		return a.encode(m)
	}
	payload := fmt.Sprintf("(%d bytes)", len(m.Payload))
	var compact bytes.Buffer
	if json.Compact(&compact, m.Payload) == nil {
		payload = compact.String()
	} else if utf8.Valid(m.Payload) {
		payload = string(m.Payload)
	}
	marks := fmt.Sprintf("q%d", m.QoS)
	if m.Retain {
		marks += " retained"
	}
	_, err := fmt.Fprintf(a.out, "%s  %s  %s  %s  %s\n", m.Time.UTC().Format("15:04:05.000Z"), plain(m.From.Kind+":"+m.From.ID), plain(m.Topic), marks, plain(payload))
	return err
}
