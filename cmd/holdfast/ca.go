package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var caCols = []col[adminapi.CA]{
	{title: "ID", cell: func(c adminapi.CA) string { return c.ID }},
	{title: "ROLE", cell: func(c adminapi.CA) string { return c.Role }},
	{title: "STATUS", cell: func(c adminapi.CA) string { return c.Status }},
	{title: "SUBJECT", cell: func(c adminapi.CA) string { return c.Subject }},
	{title: "NOT BEFORE", cell: func(c adminapi.CA) string { return when(c.NotBefore) }, detail: true},
	{title: "NOT AFTER", cell: func(c adminapi.CA) string { return when(c.NotAfter) }},
	{title: "KEY", cell: func(c adminapi.CA) string { return c.Key }},
	{title: "CRL", cell: func(c adminapi.CA) string { return c.CRLURL }, detail: true},
}

func caCommand(a *app) *cobra.Command {
	return a.group("ca", "Authorities: an offline root, and issuing authorities below it",
		caInit(a), caList(a), caBundle(a), caRotate(a), caRequest(a), caSign(a), caInstall(a))
}

func caList(a *app) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the authorities", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			cas, err := c.CAs(cmd.Context())
			if err != nil {
				return err
			}
			return printList(a, cas, caCols)
		}}
}

func caBundle(a *app) *cobra.Command {
	var out string
	cmd := &cobra.Command{Use: "bundle", Short: "Write the root and issuing certificates as PEM", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			text, err := c.Bundle(cmd.Context())
			if err != nil {
				return err
			}
			return a.toFile(out, func(w io.Writer) error {
				if _, err := w.Write(text); err != nil {
					return fmt.Errorf("writing the bundle: %w", err)
				}
				return nil
			})
		}}
	cmd.Flags().StringVar(&out, "out", "-", "file to write (- for standard output)")
	return cmd
}
