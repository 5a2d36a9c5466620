package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var appCols = []col[adminapi.App]{
	{title: "NAME", cell: func(p adminapi.App) string { return p.Name }},
	{title: "IN POLICY", cell: func(p adminapi.App) string { return yesno(p.Declared) }},
	{title: "AUDIENCE", cell: func(p adminapi.App) string { return p.Audience }},
	{title: "TOKENS", cell: func(p adminapi.App) string { return strconv.Itoa(p.Tokens) }},
	{title: "DESCRIPTION", cell: func(p adminapi.App) string { return p.Description }},
}

var appTokenCols = []col[adminapi.AppToken]{
	{title: "ID", cell: func(t adminapi.AppToken) string { return t.ID }},
	{title: "APP", cell: func(t adminapi.AppToken) string { return t.App }},
	{title: "CREATED", cell: func(t adminapi.AppToken) string { return when(t.CreatedAt) }},
	{title: "BY", cell: func(t adminapi.AppToken) string { return t.CreatedBy }, detail: true},
	{title: "EXPIRES", cell: func(t adminapi.AppToken) string { return when(t.ExpiresAt) }},
	{title: "LAST USED", cell: func(t adminapi.AppToken) string { return t.LastUsed }},
	{title: "REVOKED", cell: func(t adminapi.AppToken) string { return when(t.RevokedAt) }},
	{title: "NOTE", cell: func(t adminapi.AppToken) string { return t.Note }},
}

func appCommand(a *app) *cobra.Command {
	return a.group("app", "Programs that use the data: their tokens and certificates",
		appList(a), a.group("token", "What apps without a certificate sign in with", appTokenAdd(a), appTokenList(a), appTokenRevoke(a)), appCert(a))
}

func appList(a *app) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the apps of the active policy, and tokens left over", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			apps, err := c.Apps(cmd.Context())
			if err != nil {
				return err
			}
			return printList(a, apps, appCols)
		}}
}

func appTokenAdd(a *app) *cobra.Command {
	var in adminapi.AppTokenInput
	var secretFile string
	cmd := &cobra.Command{Use: "add APP", Short: "Make a token for an app; its secret is shown once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Lstat(secretFile); secretFile != "" && err == nil {
				return fixing("choose another --secret-file", fmt.Errorf("%s exists already", secretFile))
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			t, secret, err := c.CreateAppToken(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return a.showAppToken(t, secret, secretFile)
		}}
	f := cmd.Flags()
	lengthVar(f, &in.ValidFor, "valid-for", "how long it may be used, such as 365d (default 90d)")
	f.StringVar(&in.Note, "note", "", "where it is used")
	f.StringVar(&secretFile, "secret-file", "", "write the secret to a new file of mode 0600 instead of the screen")
	return cmd
}

// showAppToken is the one time that the secret is seen.
func (a *app) showAppToken(t adminapi.AppToken, secret enroll.Secret, secretFile string) error {
	if secretFile != "" {
		if err := durable.Create(secretFile, []byte(secret.Reveal()+"\n"), 0o600); err != nil {
			return fixing("revoke the token with `holdfast app token revoke "+t.App+" "+t.ID+"` and make another", err)
		}
		return printItem(a, t, appTokenCols)
	}
	if a.output != "table" {
		return a.encode(struct {
			adminapi.AppToken
			Secret string `json:"secret"`
		}{t, secret.Reveal()})
	}
	if err := printItem(a, t, appTokenCols); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "\n%s\n\n  %s\n\nConnect over TLS with the user name %s and this as the password.\n",
		a.paint(a.out, bold, "The secret, shown this once:"), secret.Reveal(), plain(t.App))
	return err
}

func appTokenList(a *app) *cobra.Command {
	return &cobra.Command{Use: "list APP", Short: "List an app's tokens, without their secrets", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			tokens, err := c.AppTokens(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return printList(a, tokens, appTokenCols)
		}}
}

func appTokenRevoke(a *app) *cobra.Command {
	return &cobra.Command{Use: "revoke APP ID", Short: "End a token, and the sessions that it opened", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.confirm("token %s of app %s ends for good, and its sessions with it", args[1], args[0]); err != nil {
				return err
			}
			if err := c.RevokeAppToken(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			return a.say("revoked", args[1], "token %s revoked", args[1])
		}}
}

func appCert(a *app) *cobra.Command {
	var in adminapi.AppCertificateInput
	var csrFile, keyFile, algorithm, out string
	cmd := &cobra.Command{Use: "cert APP", Short: "Issue a certificate for an app of the active policy", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if _, err := os.Lstat(out); err == nil {
				return fixing("choose another --out", fmt.Errorf("%s exists already", out))
			}
			if in.CSR, err = a.request(csrFile, keyFile, algorithm, args[0]); err != nil {
				return err
			}
			issued, err := c.IssueAppCertificate(cmd.Context(), args[0], in)
			if _, refused := errors.AsType[*adminapi.Problem](err); refused && keyFile != "" {
				os.Remove(keyFile) // it was made for this request alone
			}
			if err != nil {
				return err
			}
			if err := durable.Create(out, []byte(strings.Join(issued.Chain, "")), 0o644); err != nil {
				return fixing("get it with `holdfast cert show "+issued.Certificate.Serial+" --pem`", err)
			}
			return printItem(a, issued.Certificate, certCols)
		}}
	f := cmd.Flags()
	f.StringVar(&csrFile, "csr", "", "request in PEM or DER (- for standard input)")
	f.StringVar(&keyFile, "new-key", "", "make a key, in a new file of mode 0600, instead of --csr")
	f.StringVar(&algorithm, "key-algorithm", "P-256", "of --new-key: P-256, P-384 or Ed25519")
	lengthVar(f, &in.Validity, "validity", "such as 30d (default 90d)")
	f.StringVar(&out, "out", "", "new file for the certificate and those above it")
	_ = cmd.MarkFlagRequired("out")
	cmd.MarkFlagsOneRequired("csr", "new-key")
	cmd.MarkFlagsMutuallyExclusive("csr", "new-key")
	return cmd
}

// seconds shows a number of seconds as a length of time, "" for none.
func seconds(n int64) string {
	if n == 0 {
		return ""
	}
	return length(adminapi.Duration(time.Duration(n) * time.Second))
}
