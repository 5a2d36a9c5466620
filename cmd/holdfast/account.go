package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var signInCols = []col[adminapi.SignIn]{
	{title: "ID", cell: func(s adminapi.SignIn) string { return s.ID }},
	{title: "KIND", cell: func(s adminapi.SignIn) string { return s.Kind + ifTrue(s.Own, ", this one") }},
	{title: "DEVICE", cell: func(s adminapi.SignIn) string { return s.Device }},
	{title: "ADDRESS", cell: func(s adminapi.SignIn) string { return s.Source }},
	{title: "WITH", cell: func(s adminapi.SignIn) string { return strings.Join(s.Methods, ", ") }},
	{title: "SINCE", cell: func(s adminapi.SignIn) string { return when(s.CreatedAt) }},
	{title: "SEEN", cell: func(s adminapi.SignIn) string { return when(s.SeenAt) }},
	{title: "ENDS", cell: func(s adminapi.SignIn) string { return when(s.ExpiresAt) }},
}

var accountCols = []col[adminapi.OwnAccount]{
	{title: "NAME", cell: func(o adminapi.OwnAccount) string { return o.Name }},
	{title: "KIND", cell: func(o adminapi.OwnAccount) string { return string(o.Kind) }},
	{title: "ID", cell: func(o adminapi.OwnAccount) string { return o.ID }},
	{title: "ROLES", cell: func(o adminapi.OwnAccount) string { return strings.Join(o.Roles, ", ") }},
	{title: "PERMISSIONS", cell: func(o adminapi.OwnAccount) string { return strings.Join(texts(o.Permissions), " ") }},
	{title: "PROVEN WITH", cell: func(o adminapi.OwnAccount) string { return o.Method + ifTrue(o.Strong, ", strongly") }},
	{title: "FRESH UNTIL", cell: func(o adminapi.OwnAccount) string { return when(o.FreshUntil) }},
	{title: "SIGN-IN", cell: func(o adminapi.OwnAccount) string { return o.SignIn }},
}

func texts[S ~string](list []S) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}

func accountCommand(a *app) *cobra.Command {
	return a.group("account", "Who you are to the server, and your sign-ins", accountShow(a), accountSessions(a), accountSignOut(a), accountConfirm(a))
}

func accountShow(a *app) *cobra.Command {
	return &cobra.Command{Use: "show", Short: "Show who you are and what you may do", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			who, err := c.Account(cmd.Context())
			if err != nil {
				return err
			}
			if err := printItem(a, who, accountCols); err != nil || a.output != "table" || who.Factors == nil {
				return err
			}
			fmt.Fprintln(a.out)
			return printItem(a, *who.Factors, factorCols)
		}}
}

func accountSessions(a *app) *cobra.Command {
	return &cobra.Command{Use: "sessions", Short: "List your sign-ins", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.OwnSignIns(cmd.Context())
			if err != nil {
				return err
			}
			return printList(a, list, signInCols)
		}}
}

func accountSignOut(a *app) *cobra.Command {
	var others bool
	cmd := &cobra.Command{Use: "sign-out [SESSION...]", Short: "End sign-ins of yours elsewhere", Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if others == (len(args) > 0) {
				return &usageError{"it is not said which sign-ins shall end", "name them as `holdfast account sessions` does, or give --others"}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if others {
				if err := c.EndOwnOtherSignIns(cmd.Context()); err != nil {
					return err
				}
				return a.say("signed_out", "others", "all your other sign-ins are ended")
			}
			for _, id := range args {
				if err := c.EndOwnSignIn(cmd.Context(), id); err != nil {
					return err
				}
				if err := a.say("signed_out", id, "sign-in %s ended", plain(id)); err != nil {
					return err
				}
			}
			return nil
		}}
	cmd.Flags().BoolVar(&others, "others", false, "all but the one that this command uses")
	return cmd
}

func accountConfirm(a *app) *cobra.Command {
	var codeFile string
	cmd := &cobra.Command{Use: "confirm", Short: "Prove again that it is you, with a code of your authenticator app", Args: cobra.NoArgs,
		Long: `Prove again that it is you, with a code of your authenticator app, for actions that
ask for a fresh proof. Who has only a passkey runs "holdfast login --again" instead.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if a.loggedIn == "" {
				return fixing("log in with `holdfast login`", errors.New("only a person who logged in can prove that it is them"))
			}
			var code string
			if codeFile != "" {
				text, err := a.input(codeFile, 64)
				if err != nil {
					return fmt.Errorf("reading the code: %w", err)
				}
				code = string(text)
			} else if code, err = a.askSecret("Code of your authenticator app: "); err != nil {
				return err
			}
			if err := c.StepUp(cmd.Context(), strings.Join(strings.Fields(code), "")); err != nil {
				return err
			}
			// The proof is in the tokens: the next ones carry it.
			never := func(tokens) bool { return false }
			if _, err := a.renewProfile(cmd.Context(), a.loggedIn, never); err != nil {
				return err
			}
			return a.say("confirmed", a.loggedIn, "confirmed: what asks for a fresh proof will go through for some minutes")
		}}
	cmd.Flags().StringVar(&codeFile, "code-file", "", "file with the code (- for standard input) instead of asking")
	return cmd
}
