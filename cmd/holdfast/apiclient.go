package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var clientCols = []col[access.APIClient]{
	{title: "ID", cell: func(c access.APIClient) string { return c.ID }},
	{title: "NAME", cell: func(c access.APIClient) string { return c.Name }},
	{title: "STATE", cell: func(c access.APIClient) string {
		if c.Disabled {
			return "disabled"
		}
		return "enabled"
	}},
	{title: "OWNER", cell: func(c access.APIClient) string { return c.Owner }},
	{title: "NETWORKS", cell: func(c access.APIClient) string { return networksFlag{&c.Networks}.String() }},
	{title: "RATE", cell: func(c access.APIClient) string {
		if c.Rate == 0 {
			return ""
		}
		return strconv.Itoa(c.Rate) + " a minute"
	}, detail: true},
	{title: "SECRET", cell: func(c access.APIClient) string { return yesno(c.HasSecret) }, detail: true},
	{title: "PUBLIC KEYS", cell: func(c access.APIClient) string { return yesno(c.JWKS != "") }, detail: true},
	{title: "CREATED", cell: func(c access.APIClient) string { return when(c.CreatedAt) }, detail: true},
	{title: "BY", cell: func(c access.APIClient) string { return c.CreatedBy }, detail: true},
	{title: "LAST USED", cell: func(c access.APIClient) string { return c.UsedDay }},
	{title: "DESCRIPTION", cell: func(c access.APIClient) string { return c.Description }},
}

var clientKeyCols = []col[access.Key]{
	{title: "KEY", cell: func(k access.Key) string { return k.ID }},
	{title: "PERMISSIONS", cell: func(k access.Key) string {
		if len(k.Permissions) == 0 {
			return "all of the client's"
		}
		return strings.Join(texts(k.Permissions), " ")
	}},
	{title: "CREATED", cell: func(k access.Key) string { return when(k.CreatedAt) }},
	{title: "BY", cell: func(k access.Key) string { return k.CreatedBy }, detail: true},
	{title: "EXPIRES", cell: func(k access.Key) string { return when(k.ExpiresAt) }},
	{title: "LAST USED", cell: func(k access.Key) string { return k.UsedDay }},
	{title: "REVOKED", cell: func(k access.Key) string { return when(k.RevokedAt) }},
	{title: "NOTE", cell: func(k access.Key) string { return k.Note }},
}

func clientCommand(a *app) *cobra.Command {
	return a.group("client", "Programs that use the API", clientList(a), clientShow(a), clientCreate(a), clientUpdate(a),
		clientSwitch(a, "disable", "Refuse clients' keys and tokens from now on", true), clientSwitch(a, "enable", "Let disabled clients call again", false),
		a.group("key", "Bearer tokens that programs send with each request", clientKeyCreate(a), clientKeyRevoke(a)),
		a.group("secret", "What programs get short-lived tokens with, from /oauth/token", clientSecretCreate(a), clientSecretRemove(a)))
}

func clientList(a *app) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List API clients by name", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.APIClients(cmd.Context())
			if err != nil {
				return err
			}
			return printList(a, list, clientCols)
		}}
}

func clientShow(a *app) *cobra.Command {
	return &cobra.Command{Use: "show CLIENT", Short: "Show an API client and its keys", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			d, err := c.APIClient(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.output != "table" {
				return a.encode(d)
			}
			if err := printItem(a, d.APIClient, clientCols); err != nil || len(d.Keys) == 0 {
				return err
			}
			fmt.Fprintln(a.out)
			return printList(a, d.Keys, clientKeyCols)
		}}
}

// networksFlag is a list of networks: separated by commas, or repeated.
type networksFlag struct{ list *[]netip.Prefix }

func (f networksFlag) String() string {
	if f.list == nil {
		return ""
	}
	out := make([]string, len(*f.list))
	for i, p := range *f.list {
		out[i] = p.String()
	}
	return strings.Join(out, ",")
}
func (networksFlag) Type() string { return "networks" }
func (f networksFlag) Set(s string) error {
	for text := range strings.SplitSeq(s, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue // an empty flag takes the bound off
		}
		p, err := netip.ParsePrefix(text)
		if addr, e := netip.ParseAddr(text); err != nil && e == nil {
			p, err = addr.Prefix(addr.BitLen())
		}
		if err != nil || p != p.Masked() {
			return errors.New("write networks as 192.0.2.0/24 or 2001:db8::/32")
		}
		*f.list = append(*f.list, p)
	}
	return nil
}

// clientFlags binds what may be said of a client; jwks is a file.
func clientFlags(f *pflag.FlagSet, in *adminapi.ClientInput, jwks *string) {
	f.StringVar(&in.Description, "description", in.Description, "what it does")
	f.StringVar(&in.Owner, "owner", in.Owner, "person or team answerable for it")
	f.Var(networksFlag{&in.Networks}, "network", "it may call from these networks only, such as 192.0.2.0/24; may be repeated")
	f.IntVar(&in.Rate, "rate", in.Rate, "requests a minute (0: the server's)")
	f.StringVar(jwks, "jwks-file", "", "JSON Web Key Set with public keys, for private_key_jwt (- for standard input)")
}

func (a *app) readJWKS(file string, in *adminapi.ClientInput) error {
	if file == "" {
		return nil
	}
	text, err := a.input(file, 16<<10)
	if err != nil {
		return fmt.Errorf("reading the public keys: %w", err)
	}
	in.JWKS = string(text)
	return nil
}

func clientCreate(a *app) *cobra.Command {
	var in adminapi.ClientInput
	var jwks, reason string
	cmd := &cobra.Command{Use: "create NAME", Short: "Create an API client; it may do nothing until it has a role", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.readJWKS(jwks, &in); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			made, err := c.Because(reason).CreateAPIClient(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return printItem(a, made, clientCols)
		}}
	clientFlags(cmd.Flags(), &in, &jwks)
	cmd.Flags().StringVar(&reason, "reason", "", reasonForSecond)
	return cmd
}

func clientUpdate(a *app) *cobra.Command {
	var given adminapi.ClientInput
	var jwks string
	cmd := &cobra.Command{Use: "update CLIENT", Short: "Change what the flags name of a client", Args: cobra.ExactArgs(1)}
	clientFlags(cmd.Flags(), &given, &jwks)
	cmd.Flags().Lookup("network").Usage = `all networks that it may call from, such as 192.0.2.0/24 ("": any); may be repeated`
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		d, err := c.APIClient(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		in := adminapi.ClientInput{Description: d.Description, Owner: d.Owner, Networks: d.Networks, Rate: d.Rate, JWKS: d.JWKS}
		if cmd.Flags().Changed("network") {
			in.Networks = nil // the flag names all of them
		}
		var file string
		if err := overlay(cmd.Flags(), func(f *pflag.FlagSet) { clientFlags(f, &in, &file) }); err != nil {
			return err
		}
		if err := a.readJWKS(file, &in); err != nil {
			return err
		}
		changed, err := c.UpdateAPIClient(cmd.Context(), d.ID, d.Version, in)
		if err != nil {
			return err
		}
		return printItem(a, changed, clientCols)
	}
	return cmd
}

func clientSwitch(a *app, verb, short string, disabled bool) *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: verb + " CLIENT...", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var changed []access.APIClient
			for _, id := range args {
				d, err := c.APIClient(cmd.Context(), id)
				if err == nil {
					d.APIClient, err = c.SetAPIClientDisabled(cmd.Context(), d.ID, disabled, reason)
				}
				if err != nil {
					return errors.Join(err, a.soFar(len(changed), func() error { return printList(a, changed, clientCols) }))
				}
				changed = append(changed, d.APIClient)
			}
			return printList(a, changed, clientCols)
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

func clientKeyCreate(a *app) *cobra.Command {
	var in adminapi.KeyInput
	var secretFile string
	cmd := &cobra.Command{Use: "create CLIENT", Short: "Make a key for a client; its secret is shown once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := notThere(secretFile); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			d, err := c.APIClient(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			key, secret, err := c.CreateKey(cmd.Context(), d.ID, in)
			if err != nil {
				return err
			}
			return a.showKey(d.Name, key, secret, secretFile)
		}}
	f := cmd.Flags()
	f.Var(permissionsFlag{&in.Permissions}, "permission", "of the client's permissions, these only (default: all of them); may be repeated")
	lengthVar(f, &in.ValidFor, "valid-for", "how long it may be used, 1m to 366d (default 90d)")
	f.StringVar(&in.Note, "note", "", "where it is used")
	secretFileFlag(cmd, &secretFile, "key")
	return cmd
}

// showKey is the one time that a key is seen.
func (a *app) showKey(client string, key access.Key, secret enroll.Secret, secretFile string) error {
	if secretFile != "" {
		if err := durable.Create(secretFile, []byte(secret.Reveal()+"\n"), 0o600); err != nil {
			return fixing("revoke the key with `holdfast client key revoke "+client+" "+key.ID+"` and make another", err)
		}
		return printItem(a, key, clientKeyCols)
	}
	if a.output != "table" {
		return a.encode(adminapi.CreatedKey{Key: key, Secret: secret.Reveal()})
	}
	if err := printItem(a, key, clientKeyCols); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "\n%s\n\n  %s\n\nSend it as \"Authorization: Bearer KEY\", or give it to holdfast in HOLDFAST_TOKEN.\n",
		a.paint(a.out, bold, "The key, shown this once:"), plain(secret.Reveal()))
	return err
}

func clientKeyRevoke(a *app) *cobra.Command {
	return &cobra.Command{Use: "revoke CLIENT KEY...", Short: "End keys of a client; they are refused at once", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			d, err := c.APIClient(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.confirm("what uses %s of client %s is refused from now on", strings.Join(args[1:], ", "), d.Name); err != nil {
				return err
			}
			for _, id := range args[1:] {
				if err := c.RevokeKey(cmd.Context(), d.ID, id); err != nil {
					return err
				}
				if err := a.say("revoked", id, "key %s revoked", plain(id)); err != nil {
					return err
				}
			}
			return nil
		}}
}

func clientSecretCreate(a *app) *cobra.Command {
	var secretFile string
	cmd := &cobra.Command{Use: "create CLIENT", Short: "Make a client secret, shown once; the one before ends", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := notThere(secretFile); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			d, err := c.APIClient(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if d.HasSecret {
				if err := a.confirm("the secret that client %s has now ends", d.Name); err != nil {
					return err
				}
			}
			secret, err := c.CreateClientSecret(cmd.Context(), d.ID)
			if err != nil {
				return err
			}
			return a.showClientSecret(d.APIClient, c.BaseURL, secret, secretFile)
		}}
	secretFileFlag(cmd, &secretFile, "secret")
	return cmd
}

// showClientSecret is the one time that a client secret is seen.
func (a *app) showClientSecret(c access.APIClient, server string, secret enroll.Secret, secretFile string) error {
	if secretFile != "" {
		if err := durable.Create(secretFile, []byte(secret.Reveal()+"\n"), 0o600); err != nil {
			return fixing("make another secret: this one is lost", err)
		}
		return a.say("client_id", c.ID, "the secret of client %s is in %s; its client_id is %s", plain(c.Name), secretFile, plain(c.ID))
	}
	if a.output != "table" {
		return a.encode(adminapi.ClientSecret{ClientID: c.ID, Secret: secret.Reveal()})
	}
	_, err := fmt.Fprintf(a.out, `client_id      %s
client_secret  %s

The secret is shown this once. Get a token for some minutes with it:

  curl -u 'CLIENT_ID:CLIENT_SECRET' -d grant_type=client_credentials %s/oauth/token
`, plain(c.ID), plain(secret.Reveal()), plain(server))
	return err
}

func clientSecretRemove(a *app) *cobra.Command {
	return &cobra.Command{Use: "remove CLIENT", Short: "End a client's secret; its keys stay", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			d, err := c.APIClient(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.confirm("client %s gets no more tokens with its secret", d.Name); err != nil {
				return err
			}
			if err := c.RemoveClientSecret(cmd.Context(), d.ID); err != nil {
				return err
			}
			return a.say("removed", d.ID, "the secret of client %s is removed", plain(d.Name))
		}}
}
