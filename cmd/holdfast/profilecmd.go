package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// shownProfile is a profile without its secrets.
type shownProfile struct {
	Name       string    `json:"name"`
	Current    bool      `json:"current"`
	Server     string    `json:"server"`
	Account    string    `json:"account,omitempty"`
	AccountID  string    `json:"account_id,omitempty"`
	SignedIn   bool      `json:"signed_in"`
	SignedInAt time.Time `json:"signed_in_at,omitzero"`
	Roots      []string  `json:"ca_sha256,omitempty"`
}

func (p profiles) shown(name string) shownProfile {
	one := p.ByName[name]
	s := shownProfile{Name: name, Current: name == p.Current, Server: one.Server, Account: one.Account, AccountID: one.AccountID,
		SignedIn: !one.Tokens.empty(), SignedInAt: one.SignedInAt}
	for _, c := range rootsOf(one.CA) {
		sum := sha256.Sum256(c.Raw)
		s.Roots = append(s.Roots, hex.EncodeToString(sum[:]))
	}
	return s
}

var profileCols = []col[shownProfile]{
	{title: "NAME", cell: func(p shownProfile) string { return p.Name }},
	{title: "CURRENT", cell: func(p shownProfile) string { return yesno(p.Current) }},
	{title: "SERVER", cell: func(p shownProfile) string { return p.Server }},
	{title: "ACCOUNT", cell: func(p shownProfile) string { return p.Account }},
	{title: "ACCOUNT ID", cell: func(p shownProfile) string { return p.AccountID }, detail: true},
	{title: "LOGGED IN", cell: func(p shownProfile) string { return yesno(p.SignedIn) }},
	{title: "SINCE", cell: func(p shownProfile) string { return when(p.SignedInAt) }},
	{title: "CA SHA-256", cell: func(p shownProfile) string { return strings.Join(p.Roots, " ") }, detail: true},
}

func profileCommand(a *app) *cobra.Command {
	return a.group("profile", "Servers that you logged in to from this machine", profileList(a), profileUse(a), profileShow(a), profileRemove(a))
}

func profileList(a *app) *cobra.Command {
	return &cobra.Command{Use: "list", Short: "List the profiles", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			p, err := a.readProfiles()
			if err != nil {
				return err
			}
			var list []shownProfile
			for _, name := range p.names() {
				list = append(list, p.shown(name))
			}
			return printList(a, list, profileCols)
		}}
}

func profileUse(a *app) *cobra.Command {
	return &cobra.Command{Use: "use PROFILE", Short: "Make a profile the current one: commands go to its server", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := a.changeProfiles(cmd.Context(), func(p *profiles) error {
				if _, ok := p.ByName[args[0]]; !ok {
					return noProfile(args[0], *p)
				}
				p.Current = args[0]
				return nil
			})
			if err != nil {
				return err
			}
			return a.say("current", args[0], "commands go to profile %s from now on", args[0])
		}}
}

func profileShow(a *app) *cobra.Command {
	return &cobra.Command{Use: "show [PROFILE]", Short: "Show a profile without its secrets, the current one if none is named", Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.readProfiles()
			if err != nil {
				return err
			}
			name := p.Current
			if a.profile != "" {
				name = a.profile
			}
			if len(args) > 0 {
				name = args[0]
			}
			if name == "" {
				return fixing("name one, or make one with `holdfast login --server URL`", errors.New("there is no current profile"))
			}
			if _, ok := p.ByName[name]; !ok {
				return noProfile(name, p)
			}
			return printItem(a, p.shown(name), profileCols)
		}}
}

func profileRemove(a *app) *cobra.Command {
	return &cobra.Command{Use: "remove PROFILE", Short: "Log out, and forget a server and what it is trusted by", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.readProfiles()
			if err != nil {
				return err
			}
			one, ok := p.ByName[args[0]]
			if !ok {
				return noProfile(args[0], p)
			}
			if err := a.confirm("profile %s and its sign-in to %s are forgotten", args[0], one.Server); err != nil {
				return err
			}
			told := a.endSignIn(cmd.Context(), one)
			err = a.changeProfiles(cmd.Context(), func(p *profiles) error {
				delete(p.ByName, args[0])
				if p.Current == args[0] {
					p.Current = ""
				}
				return nil
			})
			if err != nil {
				return err
			}
			if told != nil {
				return fixing("end it in the console, under your account", fmt.Errorf("profile %s is removed, but the server could not be told to end the sign-in: %w", args[0], told))
			}
			return a.say("removed", args[0], "profile %s removed", args[0])
		}}
}
