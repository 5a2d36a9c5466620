package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var grantCols = []col[access.Grant]{
	{title: "ID", cell: func(g access.Grant) string { return g.ID }},
	{title: "KIND", cell: func(g access.Grant) string { return string(g.Kind) }},
	{title: "SUBJECT", cell: func(g access.Grant) string { return g.Subject }},
	{title: "ROLE", cell: func(g access.Grant) string { return g.Role }},
	{title: "SCOPE", cell: func(g access.Grant) string { return g.Scope.String() }},
	{title: "ORIGIN", cell: func(g access.Grant) string { return g.Origin }, detail: true},
	{title: "BY", cell: func(g access.Grant) string { return g.GrantedBy }, detail: true},
	{title: "SINCE", cell: func(g access.Grant) string { return when(g.GrantedAt) }},
	{title: "UNTIL", cell: func(g access.Grant) string { return when(g.ExpiresAt) }},
	{title: "REASON", cell: func(g access.Grant) string { return g.Reason }},
}

// subject is a person or a client, as flags name it.
type subject struct{ person, client string }

func (s *subject) flags(f *pflag.FlagSet) {
	f.StringVar(&s.person, "person", "", "name or id of a person")
	f.StringVar(&s.client, "client", "", "name or id of an API client")
}

// find turns what was typed into the id that grants are for; empty for neither.
func (s subject) find(ctx context.Context, c *connection) (access.SubjectKind, string, error) {
	switch {
	case s.person != "":
		id, err := c.person(ctx, s.person)
		return access.ToPerson, string(id), err
	case s.client != "":
		found, err := c.APIClient(ctx, s.client)
		return access.ToClient, found.ID, err
	}
	return "", "", nil
}

// scopeFlags bound a grant to a part of the fleet.
func scopeFlags(f *pflag.FlagSet, zones, types *[]string, labels *map[string]string) {
	f.StringSliceVar(zones, "zone", nil, "only in these zones, may be repeated (default: the whole fleet)")
	f.StringSliceVar(types, "type", nil, "only for these device types, may be repeated")
	labelsVar(f, labels, "only for devices with all of these labels, may be repeated")
}

func scopeOf(zones, types []string, labels map[string]string) (s access.Scope) {
	for _, z := range zones {
		s.Zones = append(s.Zones, device.ZoneName(z))
	}
	for _, t := range types {
		s.Types = append(s.Types, device.TypeName(t))
	}
	for name, value := range labels {
		if s.Labels == nil {
			s.Labels = map[string][]string{}
		}
		s.Labels[name] = []string{value}
	}
	return s
}

func roleGrant(a *app) *cobra.Command {
	var to subject
	var in adminapi.GrantInput
	var zones, types []string
	var labels map[string]string
	var expires string
	var validFor adminapi.Duration
	cmd := &cobra.Command{Use: "grant ROLE", Short: "Give a role to a person or an API client", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if expires != "" {
				at, err := time.Parse(time.RFC3339, expires)
				if err != nil {
					return &usageError{"--expires is not a time", "write such as 2030-01-31T12:00:00Z, or use --valid-for"}
				}
				in.ExpiresAt = at
			}
			if validFor > 0 {
				in.ExpiresAt = a.now().UTC().Add(time.Duration(validFor)).Truncate(time.Second)
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if in.Kind, in.Subject, err = to.find(cmd.Context(), c); err != nil {
				return err
			}
			in.Role, in.Scope = args[0], scopeOf(zones, types, labels)
			g, err := c.Grant(cmd.Context(), in)
			if err != nil {
				return err
			}
			return printItem(a, g, grantCols)
		}}
	f := cmd.Flags()
	to.flags(f)
	scopeFlags(f, &zones, &types, &labels)
	f.StringVar(&in.Reason, "reason", "", reasonForSecond)
	f.StringVar(&expires, "expires", "", "until when, such as 2030-01-31T12:00:00Z (default: until it is taken back)")
	lengthVar(f, &validFor, "valid-for", "for how long, such as 30d")
	cmd.MarkFlagsOneRequired("person", "client")
	cmd.MarkFlagsMutuallyExclusive("person", "client")
	cmd.MarkFlagsMutuallyExclusive("expires", "valid-for")
	return cmd
}

func roleRevoke(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "revoke GRANT...", Short: "Take roles back, by the ids that `holdfast role grants` shows; it holds at once", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			for _, id := range args {
				if err := c.RevokeGrant(cmd.Context(), id, reason); err != nil {
					return err
				}
				if err := a.say("revoked", id, "grant %s is taken back", plain(id)); err != nil {
					return err
				}
			}
			return nil
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

func roleGrants(a *app) *cobra.Command {
	var of subject
	cmd := &cobra.Command{Use: "grants", Short: "List who has which role, where and until when", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			kind, id, err := of.find(cmd.Context(), c)
			if err != nil {
				return err
			}
			list, err := c.Grants(cmd.Context(), kind, id)
			if err != nil {
				return err
			}
			return printList(a, list, grantCols)
		}}
	of.flags(cmd.Flags())
	cmd.MarkFlagsMutuallyExclusive("person", "client")
	return cmd
}
