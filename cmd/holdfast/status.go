package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var statusCols = []col[adminapi.Status]{
	{title: "VERSION", cell: func(s adminapi.Status) string { return s.Version }},
	{title: "NODE", cell: func(s adminapi.Status) string { return s.Node }},
	{title: "STARTED", cell: func(s adminapi.Status) string { return when(s.Started) }},
	{title: "DATABASE", cell: func(s adminapi.Status) string { return s.Database }},
	{title: "MESSAGING", cell: func(s adminapi.Status) string { return s.Messaging }},
	{title: "TRUST DOMAIN", cell: func(s adminapi.Status) string { return s.TrustDomain }},
	{title: "DEVICES", cell: byState},
	{title: "POLICY", cell: func(s adminapi.Status) string {
		if s.Policy == 0 {
			return "none: nothing is allowed"
		}
		return fmt.Sprintf("version %d", s.Policy)
	}},
	{title: "AUDIT LOG", cell: func(s adminapi.Status) string { return fmt.Sprintf("%d entries", s.AuditSize) }},
	{title: "ENDPOINTS", cell: func(s adminapi.Status) string { return pairs(s.Endpoints) }},
}

// byState lists the numbers of devices in the order of a device's life.
func byState(s adminapi.Status) string {
	var parts []string
	total := int64(0)
	for _, state := range device.States {
		if n := s.Devices[string(state)]; n > 0 {
			total += n
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d: %s", total, strings.Join(parts, ", "))
}

func pairs(m map[string]string) string {
	var parts []string
	for k, v := range m {
		parts = append(parts, k+" "+v)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func statusCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "status", Short: "Show how the server is", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := printItem(a, s, statusCols); err != nil {
				return err
			}
			if a.output == "table" {
				for _, w := range s.Warnings {
					fmt.Fprintln(a.err, a.paint(a.err, red, "warning:"), plain(w))
				}
			}
			return nil
		}}
}

// buildVersion is what was set at link time, or what the Go toolchain recorded.
func buildVersion() string {
	if server.Version != "dev" {
		return server.Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return server.Version
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
			v = s.Value[:min(12, len(s.Value))]
		}
	}
	return v
}

func versionCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Show the version of this program", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			type build struct {
				Version string `json:"version"`
				Go      string `json:"go"`
				System  string `json:"system"`
			}
			return printItem(a, build{buildVersion(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}, []col[build]{
				{title: "VERSION", cell: func(b build) string { return b.Version }},
				{title: "GO", cell: func(b build) string { return b.Go }},
				{title: "SYSTEM", cell: func(b build) string { return b.System }},
			})
		}}
}
