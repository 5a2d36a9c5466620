package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var roleCols = []col[access.Role]{
	{title: "NAME", cell: func(r access.Role) string { return r.Name }},
	{title: "BUILT IN", cell: func(r access.Role) string { return yesno(r.Builtin) }},
	{title: "PERMISSIONS", cell: func(r access.Role) string { return strconv.Itoa(len(r.Permissions)) }},
	{title: "MAY", cell: func(r access.Role) string { return strings.Join(texts(r.Permissions), " ") }, detail: true},
	{title: "UPDATED", cell: func(r access.Role) string { return when(r.UpdatedAt) }, detail: true},
	{title: "DESCRIPTION", cell: func(r access.Role) string { return r.Description }},
}

var permissionCols = []col[adminapi.PermissionInfo]{
	{title: "PERMISSION", cell: func(p adminapi.PermissionInfo) string { return string(p.Permission) }},
	{title: "SCOPED", cell: func(p adminapi.PermissionInfo) string { return yesno(p.Scoped) }},
	{title: "SECOND FACTOR", cell: func(p adminapi.PermissionInfo) string { return yesno(p.Privileged) }},
	{title: "MAY", cell: func(p adminapi.PermissionInfo) string { return p.Meaning }},
}

var unusedCols = []col[adminapi.Unused]{
	{title: "KIND", cell: func(u adminapi.Unused) string { return string(u.Kind) }},
	{title: "SUBJECT", cell: func(u adminapi.Unused) string { return u.Subject }},
	{title: "PERMISSION", cell: func(u adminapi.Unused) string { return string(u.Permission) }},
	{title: "ROLES", cell: func(u adminapi.Unused) string { return strings.Join(u.Roles, ", ") }},
	{title: "SINCE", cell: func(u adminapi.Unused) string { return when(u.Since) }},
	{title: "LAST USED", cell: func(u adminapi.Unused) string {
		if u.LastUsed == "" {
			return "never"
		}
		return u.LastUsed
	}},
}

func roleCommand(a *app) *cobra.Command {
	return a.group("role", "Named sets of permissions, and who has them", roleList(a), roleShow(a), roleCreate(a), roleUpdate(a), roleDelete(a),
		rolePermissions(a), roleGrant(a), roleRevoke(a), roleGrants(a), roleUnused(a))
}

func roleList(a *app) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List roles: those that come with Holdfast, then custom ones", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			roles, err := c.Roles(cmd.Context())
			if err != nil {
				return err
			}
			return printList(a, roles, roleCols)
		}}
}

func (c *connection) role(ctx context.Context, name string) (access.Role, error) {
	roles, err := c.Roles(ctx)
	if err != nil {
		return access.Role{}, err
	}
	for _, r := range roles {
		if r.Name == name {
			return r, nil
		}
	}
	return access.Role{}, fixing("see `holdfast role list`", errors.New("there is no role "+strconv.Quote(name)))
}

func roleShow(a *app) *cobra.Command {
	return &cobra.Command{Use: "show ROLE", Short: "Show a role", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			r, err := c.role(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return printItem(a, r, roleCols)
		}}
}

// permissionsFlag is a list of permissions: separated by commas, or repeated.
type permissionsFlag struct{ list *[]access.Permission }

func (f permissionsFlag) String() string {
	if f.list == nil {
		return ""
	}
	return strings.Join(texts(*f.list), ",")
}
func (permissionsFlag) Type() string { return "permissions" }
func (f permissionsFlag) Set(s string) error {
	for name := range strings.SplitSeq(s, ",") {
		p := access.Permission(strings.TrimSpace(name))
		if !p.Known() {
			return errors.New("there is no permission " + strconv.Quote(string(p)) + ": see `holdfast role permissions`")
		}
		*f.list = append(*f.list, p)
	}
	return nil
}

func roleFlags(f *pflag.FlagSet, in *adminapi.RoleInput) {
	f.StringVar(&in.Description, "description", in.Description, "what it is for")
	f.Var(permissionsFlag{&in.Permissions}, "permission", "such as device.read,device.quarantine; may be repeated")
}

const reasonForSecond = "why, for the audit log and for a second person"

func roleCreate(a *app) *cobra.Command {
	var in adminapi.RoleInput
	var reason string
	cmd := &cobra.Command{Use: "create NAME", Short: "Create a role; it does nothing until it is given to somebody", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			r, err := c.Because(reason).CreateRole(cmd.Context(), args[0], in)
			if err != nil {
				return err
			}
			return printItem(a, r, roleCols)
		}}
	roleFlags(cmd.Flags(), &in)
	cmd.Flags().StringVar(&reason, "reason", "", reasonForSecond)
	_ = cmd.MarkFlagRequired("permission")
	return cmd
}

func roleUpdate(a *app) *cobra.Command {
	var given adminapi.RoleInput
	var reason string
	cmd := &cobra.Command{Use: "update ROLE", Short: "Change a custom role: it holds at once for everybody who has it", Args: cobra.ExactArgs(1)}
	roleFlags(cmd.Flags(), &given)
	cmd.Flags().Lookup("permission").Usage = "all that it shall give, such as device.read,device.quarantine; may be repeated"
	cmd.Flags().StringVar(&reason, "reason", "", reasonForSecond)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		r, err := c.role(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		in := adminapi.RoleInput{Description: r.Description, Permissions: r.Permissions}
		if cmd.Flags().Changed("permission") {
			in.Permissions = nil // the flag names all of them
		}
		if err := overlay(cmd.Flags(), func(f *pflag.FlagSet) { roleFlags(f, &in) }); err != nil {
			return err
		}
		r, err = c.Because(reason).UpdateRole(cmd.Context(), r.Name, r.Version, in)
		if err != nil {
			return err
		}
		return printItem(a, r, roleCols)
	}
	return cmd
}

func roleDelete(a *app) *cobra.Command {
	return &cobra.Command{Use: "delete ROLE...", Short: "Delete custom roles that nobody has", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if err := a.confirm("deleting %s", strings.Join(args, ", ")); err != nil {
				return err
			}
			for _, name := range args {
				if err := c.DeleteRole(cmd.Context(), name); err != nil {
					return err
				}
				if err := a.say("deleted", name, "role %s deleted", plain(name)); err != nil {
					return err
				}
			}
			return nil
		}}
}

func rolePermissions(a *app) *cobra.Command {
	return &cobra.Command{Use: "permissions", Short: "List what can be permitted", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.PermissionInfos(cmd.Context())
			if err != nil {
				return err
			}
			return printList(a, list, permissionCols)
		}}
}

func roleUnused(a *app) *cobra.Command {
	var days int
	cmd := &cobra.Command{Use: "unused", Short: "List permissions that were given and not used: candidates for a smaller role", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			list, err := c.Unused(cmd.Context(), days)
			if err != nil {
				return err
			}
			return printList(a, list, unusedCols)
		}}
	cmd.Flags().IntVar(&days, "days", 90, "not used for so many days, 1 to 3650")
	return cmd
}
