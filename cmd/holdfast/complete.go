package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

func completionCommand(a *app) *cobra.Command {
	scripts := map[string]func(*cobra.Command) error{
		"bash": func(c *cobra.Command) error { return c.GenBashCompletionV2(a.out, true) },
		"zsh":  func(c *cobra.Command) error { return c.GenZshCompletion(a.out) },
		"fish": func(c *cobra.Command) error { return c.GenFishCompletion(a.out, true) },
	}
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{Use: "completion bash|zsh|fish", Short: "Write a script that lets the shell complete commands, ids and names", Args: cobra.ExactArgs(1), ValidArgs: shells,
		Long: `Write a script that lets the shell complete commands, flags, and the names of
devices, zones, types, roles and more, which it asks the server for.

  bash  holdfast completion bash > ~/.local/share/bash-completion/completions/holdfast
  zsh   holdfast completion zsh > "${fpath[1]}/_holdfast"
  fish  holdfast completion fish > ~/.config/fish/completions/holdfast.fish

The next shell that you start completes.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			script, ok := scripts[args[0]]
			if !ok {
				return &usageError{fmt.Sprintf("there is no completion for %q", args[0]), "use " + strings.Join(shells, ", ")}
			}
			return script(cmd.Root())
		}}
}

const (
	completionTime = time.Second // a key press must not hang
	completionMost = 200         // a screen holds no more
)

// candidates asks the server for what may stand where the cursor is.
type candidates func(ctx context.Context, c *connection, begun string) []string

// completing lets the shell complete arguments and flags of all commands.
func (a *app) completing(root *cobra.Command) {
	arguments := map[string]candidates{ // by the placeholder in Use
		"ID": devicesNamed, "ID...": devicesNamed, "ROLE": rolesNamed, "ROLE...": rolesNamed, "TYPE": typesNamed, "CLIENT": clientsNamed, "CLIENT...": clientsNamed,
		"PERSON": peopleNamed, "PERSON...": peopleNamed, "APPROVAL": approvalsWaiting, "APPROVAL...": approvalsWaiting, "APP": appsNamed, "ZONE": zonesNamed,
	}
	byCommand := map[string]candidates{"type": typesNamed, "zone": zonesNamed} // whose NAME is of what there is
	flags := map[string]candidates{"zone": zonesNamed, "type": typesNamed, "person": peopleNamed, "client": clientsNamed,
		"permission": permissionsNamed, "only": permissionsNamed}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			walk(c)
		}
		places := strings.Fields(cmd.Use)[1:]
		parent := ""
		if cmd.Parent() != nil {
			parent = cmd.Parent().Name()
		}
		for name, of := range flags {
			if f := cmd.LocalNonPersistentFlags().Lookup(name); f != nil {
				_ = cmd.RegisterFlagCompletionFunc(name, a.complete(func(int) candidates { return of }))
			}
		}
		if len(places) == 0 || cmd.ValidArgs != nil || cmd.ValidArgsFunction != nil {
			return
		}
		cmd.ValidArgsFunction = a.complete(func(n int) candidates {
			place := places[min(n, len(places)-1)]
			if n >= len(places) && !strings.HasSuffix(place, "...") {
				return nil
			}
			switch {
			case strings.HasPrefix(place, "ID") && parent != "device":
				return nil // of something else
			case place == "NAME" && cmd.Name() != "create":
				return byCommand[parent]
			}
			return arguments[place]
		})
	}
	walk(root)
	_ = root.RegisterFlagCompletionFunc("profile", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		all, err := a.readProfiles()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return all.names(), cobra.ShellCompDirectiveNoFileComp
	})
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	for _, c := range root.Commands() {
		if c.Name() == "profile" {
			for _, sub := range c.Commands() {
				sub.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
					all, err := a.readProfiles()
					if err != nil || len(args) > 0 {
						return nil, cobra.ShellCompDirectiveNoFileComp
					}
					return all.names(), cobra.ShellCompDirectiveNoFileComp
				}
			}
		}
	}
}

// complete asks the server within a second, says nothing when it does not answer,
// and never renews a sign-in: to be cut off then would end it.
func (a *app) complete(of func(position int) candidates) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		find := of(len(args))
		if find == nil {
			return nil, cobra.ShellCompDirectiveDefault // perhaps a file
		}
		a.flags, a.hurried = cmd.Flags(), true
		c, err := a.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completionTime)
		defer cancel()
		list := find(ctx, c, begun)
		list = slices.DeleteFunc(list, func(s string) bool {
			return s == "" || !strings.HasPrefix(s, begun) || plain(s) != s || slices.Contains(args, s)
		})
		return list[:min(len(list), completionMost)], cobra.ShellCompDirectiveNoFileComp
	}
}

func devicesNamed(ctx context.Context, c *connection, begun string) (names []string) {
	l, err := c.Devices(ctx, device.Filter{IDPrefix: begun}, device.Page{Limit: completionMost})
	if err != nil {
		return nil
	}
	for _, d := range l.Items {
		names = append(names, string(d.ID))
	}
	return names
}

func zonesNamed(ctx context.Context, c *connection, _ string) (names []string) {
	list, _ := c.Zones(ctx)
	for _, z := range list {
		names = append(names, string(z.Name))
	}
	return names
}

func typesNamed(ctx context.Context, c *connection, _ string) (names []string) {
	list, _ := c.Types(ctx)
	for _, t := range list {
		names = append(names, string(t.Name))
	}
	return names
}

func rolesNamed(ctx context.Context, c *connection, _ string) (names []string) {
	list, _ := c.Roles(ctx)
	for _, r := range list {
		names = append(names, r.Name)
	}
	return names
}

func clientsNamed(ctx context.Context, c *connection, _ string) (names []string) {
	list, _ := c.APIClients(ctx)
	for _, l := range list {
		names = append(names, l.Name)
	}
	return names
}

func appsNamed(ctx context.Context, c *connection, _ string) (names []string) {
	list, _ := c.Apps(ctx)
	for _, p := range list {
		names = append(names, p.Name)
	}
	return names
}

func peopleNamed(ctx context.Context, c *connection, begun string) (names []string) {
	l, err := c.People(ctx, adminapi.PeopleFilter{Prefix: access.PersonName(begun), Limit: completionMost})
	if err != nil { // without the permission to see names there are ids
		l, _ = c.People(ctx, adminapi.PeopleFilter{Limit: completionMost})
	}
	for _, p := range l.Items {
		names = append(names, p.Name)
		if p.Name == "" || strings.HasPrefix(string(p.ID), begun) && begun != "" {
			names = append(names, string(p.ID))
		}
	}
	return names
}

func approvalsWaiting(ctx context.Context, c *connection, _ string) (names []string) {
	l, err := c.Approvals(ctx, adminapi.ApprovalFilter{State: access.ApprovalWaiting, Limit: completionMost})
	if err != nil {
		return nil
	}
	for _, q := range l.Items {
		names = append(names, q.ID)
	}
	return names
}

// permissionsNamed needs no server. It completes the last of a list.
func permissionsNamed(_ context.Context, _ *connection, begun string) (names []string) {
	before, _, _ := cutLast(begun, ",")
	for _, i := range access.Permissions() {
		names = append(names, before+string(i.Permission))
	}
	return names
}

// cutLast cuts behind the last sep; before keeps it.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i+len(sep)], s[i+len(sep):], true
}
