package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var tokenCols = []col[enroll.Token]{
	{title: "ID", cell: func(t enroll.Token) string { return t.ID }},
	{title: "KIND", cell: func(t enroll.Token) string { return string(t.Kind) }},
	{title: "TYPE", cell: func(t enroll.Token) string { return string(t.Type) }},
	{title: "ZONE", cell: func(t enroll.Token) string { return string(t.Zone) }},
	{title: "FOR", cell: func(t enroll.Token) string { return bound(t) }},
	{title: "USED", cell: func(t enroll.Token) string { return fmt.Sprintf("%d/%d", t.Used, t.Quota) }},
	{title: "EXPIRES", cell: func(t enroll.Token) string { return when(t.ExpiresAt) }},
	{title: "REVOKED", cell: func(t enroll.Token) string { return when(t.RevokedAt) }},
	{title: "APPROVAL", cell: func(t enroll.Token) string { return string(t.Approval) }, detail: true},
	{title: "LABELS", cell: func(t enroll.Token) string { return device.FormatLabels(t.Labels) }, detail: true},
	{title: "CREATED BY", cell: func(t enroll.Token) string { return t.CreatedBy }, detail: true},
	{title: "NOTE", cell: func(t enroll.Token) string { return t.Note }},
}

func bound(t enroll.Token) string {
	switch {
	case t.DeviceID != "":
		return string(t.DeviceID)
	case t.IDPrefix != "":
		return t.IDPrefix + "*"
	}
	return "any"
}

func tokenCommand(a *app) *cobra.Command {
	return a.group("token", "Permissions to enrol: for one device, or for a group", tokenCreate(a), tokenList(a), tokenRevoke(a))
}

func tokenCreate(a *app) *cobra.Command {
	var in adminapi.TokenInput
	var secretFile, expires string
	cmd := &cobra.Command{Use: "create", Short: "Make an enrolment token; its secret is shown once", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if expires != "" {
				at, err := time.Parse(time.RFC3339, expires)
				if err != nil {
					return &usageError{"--expires is not a time", "write such as 2030-01-31T12:00:00Z, or use --valid-for"}
				}
				in.ExpiresAt = at
			}
			if _, err := os.Lstat(secretFile); secretFile != "" && err == nil {
				return fixing("choose another --secret-file", fmt.Errorf("%s exists already", secretFile))
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			t, secret, err := c.CreateToken(cmd.Context(), in)
			if err != nil {
				return err
			}
			return a.showToken(cmd, c, t, secret, secretFile)
		}}
	f := cmd.Flags()
	stringVar(f, &in.Type, "type", "device type")
	stringVar(f, &in.Zone, "zone", "zone that devices are put in")
	stringVar(f, &in.Kind, "kind", "one-time (default) or group")
	stringVar(f, &in.DeviceID, "id", "only for this device")
	f.StringVar(&in.IDPrefix, "id-prefix", "", "only for ids that start so")
	f.IntVar(&in.Quota, "quota", 0, "how many devices, 1 to 1000000 (default 1)")
	lengthVar(f, &in.ValidFor, "valid-for", "how long it may be used, such as 30d (default 24h)")
	f.StringVar(&expires, "expires", "", "until when it may be used, such as 2030-01-31T12:00:00Z")
	stringVar(f, &in.Approval, "approval", "manual: every enrolment waits for an operator")
	labelsVar(f, &in.Labels, "label that devices get, may be repeated")
	f.StringVar(&in.Note, "note", "", "what it is for")
	f.StringVar(&secretFile, "secret-file", "", "write the secret to a new file of mode 0600 instead of the screen")
	_ = cmd.MarkFlagRequired("type")
	_ = cmd.MarkFlagRequired("zone")
	cmd.MarkFlagsMutuallyExclusive("valid-for", "expires")
	return cmd
}

// showToken is the one time that the secret is seen.
func (a *app) showToken(cmd *cobra.Command, c *connection, t enroll.Token, secret enroll.Secret, secretFile string) error {
	if secretFile != "" {
		if err := durable.Create(secretFile, []byte(secret.Reveal()+"\n"), 0o600); err != nil {
			return fixing("revoke the token with `holdfast token revoke "+t.ID+"` and make another", err)
		}
		return printItem(a, t, tokenCols)
	}
	if a.output != "table" {
		return a.encode(struct {
			enroll.Token
			Secret string `json:"secret"`
		}{t, secret.Reveal()})
	}
	if err := printItem(a, t, tokenCols); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "\n%s\n\n  %s\n\n%s", a.paint(a.out, bold, "The secret, shown this once:"), secret.Reveal(), a.enrolExample(cmd, c, t, secret))
	return err
}

// enrolExample is what to type on the device, with nothing but openssl and curl.
func (a *app) enrolExample(cmd *cobra.Command, c *connection, t enroll.Token, secret enroll.Secret) string {
	base, ca, id := c.deviceAPI, c.caFile, string(t.DeviceID)
	if base == "" {
		if status, err := c.Status(cmd.Context()); err == nil {
			base = status.Endpoints["device_api"]
		}
	}
	if base == "" {
		base = "https://DEVICE-API:8444"
	}
	if ca == "" {
		ca = "ca.pem"
	}
	if id == "" {
		id = t.IDPrefix + "DEVICE-ID"
	}
	return fmt.Sprintf(`Enrol with it, on the device:

  openssl ecparam -name prime256v1 -genkey -noout -out key.pem
  openssl req -new -key key.pem -subj /CN=%s -outform DER | openssl base64 -out csr.b64
  curl --fail-with-body --cacert %s -H 'Authorization: Bearer %s' \
    -H 'Content-Type: application/pkcs10' -H 'Content-Transfer-Encoding: base64' --data-binary @csr.b64 \
    -o cert.b64 %s/.well-known/est/%s/simpleenroll
  openssl base64 -d -in cert.b64 | openssl pkcs7 -inform DER -print_certs -out cert.pem

or: holdfast enroll --url %s --ca %s --id %s --type %s --token-file FILE --out DIR
`, id, ca, secret.Reveal(), base, t.Type, base, ca, id, t.Type)
}

func tokenList(a *app) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List enrolment tokens, without their secrets", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			tokens, err := c.Tokens(cmd.Context())
			if err != nil {
				return err
			}
			return printList(a, tokens, tokenCols)
		}}
}

func tokenRevoke(a *app) *cobra.Command {
	return &cobra.Command{Use: "revoke ID...", Short: "End enrolment tokens; devices that enrolled with them stay", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			what := "token " + args[0]
			if len(args) > 1 {
				what = "each of " + strconv.Itoa(len(args)) + " tokens"
			}
			if err := a.confirm("%s ends for good: devices that still need it cannot enrol", what); err != nil {
				return err
			}
			for _, id := range args {
				if err := c.RevokeToken(cmd.Context(), id); err != nil {
					return err
				}
				if err := a.say("revoked", id, "token %s revoked", id); err != nil {
					return err
				}
			}
			return nil
		}}
}
