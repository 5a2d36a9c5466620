package main

import (
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var zoneCols = []col[device.Zone]{
	{title: "NAME", cell: func(z device.Zone) string { return string(z.Name) }},
	{title: "PRODUCTION", cell: func(z device.Zone) string { return yesno(z.Production) }},
	{title: "SL-T", cell: func(z device.Zone) string { return strconv.Itoa(z.SecurityLevel) }},
	{title: "CREATED", cell: func(z device.Zone) string { return when(z.CreatedAt) }, detail: true},
	{title: "UPDATED", cell: func(z device.Zone) string { return when(z.UpdatedAt) }, detail: true},
	{title: "DESCRIPTION", cell: func(z device.Zone) string { return z.Description }},
}

func zoneCommand(a *app) *cobra.Command {
	return a.group("zone", "Groups of devices with common security requirements (IEC 62443)",
		zoneCreate(a), zoneList(a), zoneShow(a), zoneUpdate(a))
}

func zoneFlags(f *pflag.FlagSet, in *adminapi.ZoneInput) {
	f.StringVar(&in.Description, "description", in.Description, "what it is")
	f.BoolVar(&in.Production, "production", in.Production, "refuse devices of types before the stage deploy")
	f.IntVar(&in.SecurityLevel, "security-level", in.SecurityLevel, "target security level SL-T, 0 to 4")
}

func zoneCreate(a *app) *cobra.Command {
	var in adminapi.ZoneInput
	cmd := &cobra.Command{Use: "create NAME", Short: "Create a zone", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			z, err := c.CreateZone(cmd.Context(), device.ZoneName(args[0]), in)
			if err != nil {
				return err
			}
			return printItem(a, z, zoneCols)
		}}
	zoneFlags(cmd.Flags(), &in)
	return cmd
}

func zoneList(a *app) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List zones", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			zones, err := c.Zones(cmd.Context())
			if err != nil {
				return err
			}
			return printList(a, zones, zoneCols)
		}}
}

func zoneShow(a *app) *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Show a zone", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			z, err := c.Zone(cmd.Context(), device.ZoneName(args[0]))
			if err != nil {
				return err
			}
			return printItem(a, z, zoneCols)
		}}
}

func zoneUpdate(a *app) *cobra.Command {
	var given adminapi.ZoneInput
	cmd := &cobra.Command{Use: "update NAME", Short: "Change what the flags name of a zone", Args: cobra.ExactArgs(1)}
	zoneFlags(cmd.Flags(), &given)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		z, err := c.Zone(cmd.Context(), device.ZoneName(args[0]))
		if err != nil {
			return err
		}
		in := adminapi.ZoneInput{Description: z.Description, Production: z.Production, SecurityLevel: z.SecurityLevel}
		if err := overlay(cmd.Flags(), func(f *pflag.FlagSet) { zoneFlags(f, &in) }); err != nil {
			return err
		}
		z, err = c.UpdateZone(cmd.Context(), z.Name, z.Version, in)
		if err != nil {
			return err
		}
		return printItem(a, z, zoneCols)
	}
	return cmd
}
