package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var typeCols = []col[adminapi.Type]{
	{title: "NAME", cell: func(t adminapi.Type) string { return string(t.Name) }},
	{title: "STAGE", cell: func(t adminapi.Type) string { return string(t.Stage) }},
	{title: "PROFILE", cell: func(t adminapi.Type) string { return t.Profile }},
	{title: "KEY", cell: func(t adminapi.Type) string { return t.KeyAlgorithm }},
	{title: "VALIDITY", cell: func(t adminapi.Type) string { return length(t.Validity) }},
	{title: "GRACE", cell: func(t adminapi.Type) string { return length(t.Grace) }},
	{title: "APPROVAL", cell: func(t adminapi.Type) string { return string(t.Approval) }},
	{title: "ANONYMOUS", cell: func(t adminapi.Type) string { return yesno(t.Anonymous) }, detail: true},
	{title: "SERVER KEYGEN", cell: func(t adminapi.Type) string { return yesno(t.ServerKeyGen) }, detail: true},
	{title: "CREATED", cell: func(t adminapi.Type) string { return when(t.CreatedAt) }, detail: true},
	{title: "UPDATED", cell: func(t adminapi.Type) string { return when(t.UpdatedAt) }, detail: true},
	{title: "DESCRIPTION", cell: func(t adminapi.Type) string { return t.Description }},
}

var signOffCols = []col[device.SignOff]{
	{title: "STAGE", cell: func(s device.SignOff) string { return string(s.Stage) }},
	{title: "BY", cell: func(s device.SignOff) string { return s.By }},
	{title: "AT", cell: func(s device.SignOff) string { return when(s.At) }},
	{title: "STATEMENT", cell: func(s device.SignOff) string { return s.Statement }},
	{title: "EVIDENCE", cell: func(s device.SignOff) string { return s.Evidence }},
}

func length(d adminapi.Duration) string {
	if h := time.Duration(d) / time.Hour; h >= 48 && time.Duration(d)%(24*time.Hour) == 0 {
		return (time.Duration(d) / 24).String()[:strings.IndexByte((time.Duration(d)/24).String(), 'h')] + "d"
	}
	return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
}

func typeCommand(a *app) *cobra.Command {
	return a.group("type", "Kinds of devices: their certificates, how they enrol, where the product stands",
		typeCreate(a), typeList(a), typeShow(a), typeUpdate(a), typeStage(a), typeSignOff(a), anchorCommand(a))
}

// typeFlags binds the fields that may be said of a type.
func typeFlags(f *pflag.FlagSet, in *adminapi.TypeInput) {
	f.StringVar(&in.Description, "description", in.Description, "what it is")
	f.StringVar(&in.Profile, "profile", in.Profile, "certificate profile: device (default) or gateway")
	f.StringVar(&in.KeyAlgorithm, "key-algorithm", in.KeyAlgorithm, "key of its devices: P-256 (default), P-384 or Ed25519")
	lengthVar(f, &in.Validity, "validity", "of a device certificate (default 90d)")
	lengthVar(f, &in.Grace, "grace", "how long after expiry renewal is still accepted (default none)")
	stringVar(f, &in.Approval, "approval", "of a first enrolment: auto (default) or manual")
	f.BoolVar(&in.Anonymous, "anonymous", in.Anonymous, "a device may ask for approval without a credential (needs --approval manual)")
	f.BoolVar(&in.ServerKeyGen, "server-keygen", in.ServerKeyGen, "a device may have its key made by the server")
}

func typeCreate(a *app) *cobra.Command {
	var in adminapi.TypeInput
	var stage device.Stage
	cmd := &cobra.Command{Use: "create NAME", Short: "Create a device type", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			t, err := c.CreateType(cmd.Context(), device.TypeName(args[0]), stage, in)
			if err != nil {
				return err
			}
			return printItem(a, t, typeCols)
		}}
	typeFlags(cmd.Flags(), &in)
	stringVar(cmd.Flags(), &stage, "stage", "product stage: prototype (default) or develop")
	return cmd
}

func typeList(a *app) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List device types", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			types, err := c.Types(cmd.Context())
			if err != nil {
				return err
			}
			return printList(a, types, typeCols)
		}}
}

func typeShow(a *app) *cobra.Command {
	return &cobra.Command{Use: "show NAME", Short: "Show a device type and its security sign-offs", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			t, err := c.Type(cmd.Context(), device.TypeName(args[0]))
			if err != nil {
				return err
			}
			if a.output != "table" {
				return a.encode(t)
			}
			if err := printItem(a, t.Type, typeCols); err != nil || len(t.SignOffs) == 0 {
				return err
			}
			if _, err := a.out.Write([]byte("\n")); err != nil {
				return err
			}
			return printList(a, t.SignOffs, signOffCols)
		}}
}

func typeUpdate(a *app) *cobra.Command {
	var given adminapi.TypeInput
	cmd := &cobra.Command{Use: "update NAME", Short: "Change what the flags name of a device type", Args: cobra.ExactArgs(1)}
	typeFlags(cmd.Flags(), &given)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		t, err := c.Type(cmd.Context(), device.TypeName(args[0]))
		if err != nil {
			return err
		}
		in := adminapi.TypeInput{Description: t.Description, Profile: t.Profile, KeyAlgorithm: t.KeyAlgorithm, Validity: t.Validity,
			Grace: t.Grace, Approval: t.Approval, Anonymous: t.Anonymous, ServerKeyGen: t.ServerKeyGen}
		if err := overlay(cmd.Flags(), func(f *pflag.FlagSet) { typeFlags(f, &in) }); err != nil {
			return err
		}
		updated, err := c.UpdateType(cmd.Context(), t.Name, t.Version, in)
		if err != nil {
			return err
		}
		return printItem(a, updated, typeCols)
	}
	return cmd
}

// overlay writes the flags that were set over the fields that bind binds.
func overlay(given *pflag.FlagSet, bind func(*pflag.FlagSet)) error {
	target := pflag.NewFlagSet("", pflag.ContinueOnError)
	bind(target)
	changed := 0
	var err error
	target.VisitAll(func(f *pflag.Flag) {
		if g := given.Lookup(f.Name); g != nil && g.Changed && err == nil {
			changed++
			err = f.Value.Set(g.Value.String())
		}
	})
	if err == nil && changed == 0 {
		return &usageError{"nothing to change", "name what to change with flags, see --help"}
	}
	return err
}

func typeStage(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: "stage NAME STAGE", Short: "Move a type to prototype, develop, deploy, operate or decommission", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if args[1] == string(device.Decommission) {
				if err := a.confirm("the type %s goes out of service for good: it takes no devices any more", args[0]); err != nil {
					return err
				}
			}
			t, err := c.MoveType(cmd.Context(), device.TypeName(args[0]), device.Stage(args[1]), reason)
			if err != nil {
				return err
			}
			return printItem(a, t, typeCols)
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

func typeSignOff(a *app) *cobra.Command {
	var statement, evidence string
	cmd := &cobra.Command{Use: "sign-off NAME STAGE", Short: "Record the security sign-off that deploy and operate need", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			s, err := c.SignOff(cmd.Context(), device.TypeName(args[0]), device.Stage(args[1]), statement, evidence)
			if err != nil {
				return err
			}
			return printItem(a, s, signOffCols)
		}}
	cmd.Flags().StringVar(&statement, "statement", "", "what was reviewed and accepted, at least 10 characters")
	cmd.Flags().StringVar(&evidence, "evidence", "", "where the report is")
	_ = cmd.MarkFlagRequired("statement")
	return cmd
}
