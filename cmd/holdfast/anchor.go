package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var anchorCols = []col[adminapi.Anchor]{
	{title: "ID", cell: func(n adminapi.Anchor) string { return n.ID }},
	{title: "SUBJECT", cell: func(n adminapi.Anchor) string { return n.Subject }},
	{title: "NOT AFTER", cell: func(n adminapi.Anchor) string { return when(n.NotAfter) }},
	{title: "ADDED", cell: func(n adminapi.Anchor) string { return when(n.AddedAt) }},
}

func anchorCommand(a *app) *cobra.Command {
	return a.group("anchor", "Manufacturers' CA certificates that a type's IDevIDs chain to",
		anchorAdd(a), anchorList(a), anchorRemove(a))
}

func anchorAdd(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "add TYPE FILE.pem", Short: "Trust the CA certificates in a PEM file (- for standard input)", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			text, err := a.input(args[1], 256<<10)
			if err != nil {
				return fmt.Errorf("reading the certificates: %w", err)
			}
			anchors, err := c.Because(reason).AddAnchors(cmd.Context(), device.TypeName(args[0]), text)
			if err != nil {
				return err
			}
			return printList(a, anchors, anchorCols)
		}}
	cmd.Flags().StringVar(&reason, "reason", "", reasonForSecond)
	return cmd
}

func anchorList(a *app) *cobra.Command {
	return &cobra.Command{Use: "list TYPE", Short: "List the CA certificates of a type", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			anchors, err := c.Anchors(cmd.Context(), device.TypeName(args[0]))
			if err != nil {
				return err
			}
			return printList(a, anchors, anchorCols)
		}}
}

func anchorRemove(a *app) *cobra.Command {
	return &cobra.Command{Use: "remove TYPE ID", Short: "No longer trust a CA certificate for first enrolments", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := c.RemoveAnchor(cmd.Context(), device.TypeName(args[0]), args[1]); err != nil {
				return err
			}
			return a.say("removed", args[1], "type %s no longer trusts %s; devices that enrolled with it keep their certificates", args[0], args[1])
		}}
}
