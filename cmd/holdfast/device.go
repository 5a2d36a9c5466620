package main

import (
	"fmt"
	"math"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var deviceCols = []col[device.Device]{
	{title: "ID", cell: func(d device.Device) string { return string(d.ID) }},
	{title: "TYPE", cell: func(d device.Device) string { return string(d.Type) }},
	{title: "ZONE", cell: func(d device.Device) string { return string(d.Zone) }},
	{title: "STATE", cell: func(d device.Device) string { return string(d.State) + during(d) }},
	{title: "OWNER", cell: func(d device.Device) string { return d.Owner }},
	{title: "SERIAL", cell: func(d device.Device) string { return d.Serial }},
	{title: "MANUFACTURER", cell: func(d device.Device) string { return d.Manufacturer }, detail: true},
	{title: "LABELS", cell: func(d device.Device) string { return device.FormatLabels(d.Labels) }},
	{title: "NOTES", cell: func(d device.Device) string { return d.Notes }, detail: true},
	{title: "CREATED", cell: func(d device.Device) string { return when(d.CreatedAt) }, detail: true},
	{title: "UPDATED", cell: func(d device.Device) string { return when(d.UpdatedAt) }, detail: true},
	{title: "ENROLLED", cell: func(d device.Device) string { return when(d.EnrolledAt) }, detail: true},
	{title: "SEEN", cell: func(d device.Device) string { return when(d.SeenAt) }},
	{title: "VERSION", cell: func(d device.Device) string { return strconv.FormatInt(d.Version, 10) }, detail: true},
}

func deviceCommand(a *app) *cobra.Command {
	return a.group("device", "The inventory: which devices there are, and what becomes of them",
		deviceCreate(a), deviceList(a), deviceShow(a), deviceUpdate(a), deviceImport(a), deviceExport(a),
		deviceMove(a, device.Quarantine, "Cut devices off, reversibly: certificates on hold, enrolment refused", ""),
		deviceMove(a, device.Release, "Take devices back from quarantine, with their certificates", ""),
		deviceMove(a, device.Revoke, "Revoke all certificates of devices, for good; they may enrol again", "every certificate of %s is revoked for good and its sessions end"),
		deviceMove(a, device.Retire, "Take devices out of service for good", "%s goes out of service for good: its certificates are revoked and its id is never used again"),
		deviceMaintenance(a))
}

func deviceFlags(f *pflag.FlagSet, in *adminapi.DeviceInput) {
	stringVar(f, &in.Type, "type", "device type")
	stringVar(f, &in.Zone, "zone", "zone")
	f.StringVar(&in.Owner, "owner", in.Owner, "person or team answerable for it")
	f.StringVar(&in.Serial, "serial", in.Serial, "the manufacturer's serial number; binds an IDevID")
	f.StringVar(&in.Manufacturer, "manufacturer", in.Manufacturer, "the manufacturer's name")
	f.StringVar(&in.Notes, "notes", in.Notes, "anything else")
	labelsVar(f, &in.Labels, "label, may be repeated")
}

func deviceCreate(a *app) *cobra.Command {
	var in adminapi.DeviceInput
	cmd := &cobra.Command{Use: "create ID", Short: "Register a device", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			d, err := c.CreateDevice(cmd.Context(), device.ID(args[0]), in)
			if err != nil {
				return err
			}
			return printItem(a, d, deviceCols)
		}}
	deviceFlags(cmd.Flags(), &in)
	_ = cmd.MarkFlagRequired("type")
	_ = cmd.MarkFlagRequired("zone")
	return cmd
}

func deviceUpdate(a *app) *cobra.Command {
	var given adminapi.DeviceInput
	var noLabels bool
	cmd := &cobra.Command{Use: "update ID", Short: "Change what the flags name of a device; labels are added", Args: cobra.ExactArgs(1)}
	deviceFlags(cmd.Flags(), &given)
	cmd.Flags().BoolVar(&noLabels, "no-labels", false, "take all labels off first")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		d, err := c.Device(cmd.Context(), device.ID(args[0]))
		if err != nil {
			return err
		}
		in := adminapi.DeviceInput{Type: d.Type, Zone: d.Zone, Owner: d.Owner, Serial: d.Serial, Manufacturer: d.Manufacturer, Notes: d.Notes, Labels: d.Labels}
		if noLabels {
			in.Labels = nil
		}
		bind := func(f *pflag.FlagSet) {
			deviceFlags(f, &in)
			f.Bool("no-labels", false, "") // so that it counts as a change
		}
		if err := overlay(cmd.Flags(), bind); err != nil {
			return err
		}
		d, err = c.UpdateDevice(cmd.Context(), d.ID, d.Version, in)
		if err != nil {
			return err
		}
		return printItem(a, d, deviceCols)
	}
	return cmd
}

func filterFlags(f *pflag.FlagSet, filter *device.Filter) {
	stringVar(f, &filter.Type, "type", "only this type")
	stringVar(f, &filter.Zone, "zone", "only this zone")
	stringVar(f, &filter.State, "state", "only this state: registered, pending, enrolled, active, quarantined or retired")
	f.StringVar(&filter.Owner, "owner", "", "only this owner")
	f.StringVar(&filter.Serial, "serial", "", "only this serial number")
	f.StringVar(&filter.IDPrefix, "id-prefix", "", "only ids that start so")
	labelsVar(f, &filter.Labels, "only with this label, may be repeated up to 4 times")
}

func deviceList(a *app) *cobra.Command {
	var filter device.Filter
	var page device.Page
	var all bool
	cmd := &cobra.Command{Use: "list", Short: "List devices by id", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			limit := page.Limit
			if all {
				limit, page.Limit = math.MaxInt, device.MaxPage
			}
			var devices []device.Device
			for { // a page may be short of its limit and have a next one
				l, err := c.Devices(cmd.Context(), filter, page)
				if err != nil {
					return err
				}
				devices = append(devices, l.Items...)
				page.After, page.Limit = l.Next, min(device.MaxPage, limit-len(devices))
				if page.Limit == 0 || l.Next == "" {
					break
				}
			}
			if err := printList(a, devices, deviceCols); err != nil || page.After == "" {
				return err
			}
			_, err = fmt.Fprintf(a.err, "there are more: --after %s, or --all\n", page.After)
			return err
		}}
	filterFlags(cmd.Flags(), &filter)
	stringVar(cmd.Flags(), &page.After, "after", "begin after this id")
	cmd.Flags().IntVar(&page.Limit, "limit", 100, "how many, 1 to 1000")
	cmd.Flags().BoolVar(&all, "all", false, "all pages")
	return cmd
}

func deviceShow(a *app) *cobra.Command {
	return &cobra.Command{Use: "show ID", Short: "Show a device", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			d, err := c.Device(cmd.Context(), device.ID(args[0]))
			if err != nil {
				return err
			}
			return printItem(a, d, deviceCols)
		}}
}

// during marks a device that somebody works on.
func during(d device.Device) string {
	if d.Maintenance {
		return ", in maintenance"
	}
	return ""
}

func deviceMaintenance(a *app) *cobra.Command {
	var on, off bool
	var reason string
	cmd := &cobra.Command{Use: "maintenance ID...", Short: "Say that somebody works on devices, or has ended: no command reaches them meanwhile", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if on == off { // --on=false counts as neither
				return &usageError{"it is not said whether maintenance begins or ends", "give --on or --off"}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			var moved []device.Device
			for _, id := range args {
				d, err := c.SetMaintenance(cmd.Context(), device.ID(id), on, reason)
				if err != nil {
					a.toldSoFar(moved)
					return err
				}
				moved = append(moved, d)
			}
			return printList(a, moved, deviceCols)
		}}
	cmd.Flags().BoolVar(&on, "on", false, "it begins")
	cmd.Flags().BoolVar(&off, "off", false, "it has ended")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}
