package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
	"github.com/holdfast-iot/holdfast/internal/durable"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

var personCols = []col[access.Person]{
	{title: "ID", cell: func(p access.Person) string { return string(p.ID) }},
	{title: "NAME", cell: func(p access.Person) string { return p.Name }},
	{title: "SHOWN AS", cell: func(p access.Person) string { return p.Display }},
	{title: "MAIL", cell: func(p access.Person) string { return p.Mail }},
	{title: "STATE", cell: func(p access.Person) string { return string(p.State) }},
	{title: "WHY", cell: func(p access.Person) string { return p.Why }, detail: true},
	{title: "ORIGIN", cell: func(p access.Person) string { return p.Origin }},
	{title: "EXTERNAL ID", cell: func(p access.Person) string { return p.External }, detail: true},
	{title: "BREAK-GLASS", cell: func(p access.Person) string { return ifTrue(p.BreakGlass, "yes") }, detail: true},
	{title: "CREATED", cell: func(p access.Person) string { return when(p.CreatedAt) }, detail: true},
	{title: "ENABLED", cell: func(p access.Person) string { return when(p.EnabledAt) }, detail: true},
	{title: "SIGNED IN", cell: func(p access.Person) string { return when(p.SignedInAt) }},
}

var factorCols = []col[adminapi.PersonFactors]{
	{title: "PASSWORD", cell: func(f adminapi.PersonFactors) string { return yesno(f.Password) + since(when(f.PasswordAt)) }},
	{title: "AUTHENTICATOR", cell: func(f adminapi.PersonFactors) string { return yesno(f.TOTP) }},
	{title: "PASSKEYS", cell: func(f adminapi.PersonFactors) string {
		var names []string
		for _, k := range f.Passkeys {
			names = append(names, k.Name)
		}
		return strings.TrimSuffix(fmt.Sprintf("%d: %s", len(names), strings.Join(names, ", ")), ": ")
	}},
	{title: "RECOVERY CODES", cell: func(f adminapi.PersonFactors) string { return strconv.Itoa(f.RecoveryCodes) }},
}

func since(text string) string {
	if text == "" {
		return ""
	}
	return ", since " + text
}

func ifTrue(b bool, text string) string {
	if b {
		return text
	}
	return ""
}

func personCommand(a *app) *cobra.Command {
	return a.group("person", "People who may sign in", personList(a), personShow(a), personInvite(a), personUpdate(a),
		personMove(a, "disable", "End all sign-ins of people and let none begin", "", (*adminapi.Client).DisablePerson),
		personMove(a, "enable", "Let disabled people sign in again", "", (*adminapi.Client).EnablePerson),
		personReset(a),
		personMove(a, "erase", "Replace all that is personal about people, for good; the audit log keeps their ids", "the name, mail and everything that %s signs in with are gone for good",
			(*adminapi.Client).ErasePerson),
		personSessions(a), personSignOut(a))
}

var personID = regexp.MustCompile(`^p[a-z0-9]{16}$`)

// person finds somebody by id or by the whole name.
func (c *connection) person(ctx context.Context, text string) (access.PersonID, error) {
	if personID.MatchString(text) {
		return access.PersonID(text), nil
	}
	name := access.PersonName(text)
	if name != "" && len(name) <= 128 {
		l, err := c.People(ctx, adminapi.PeopleFilter{Prefix: name, Limit: 10})
		if err != nil {
			return "", err
		}
		for _, p := range l.Items {
			if p.Name == name {
				return p.ID, nil
			}
		}
	}
	return "", fixing("see `holdfast person list`; without the permission "+string(access.PersonalRead)+", give the id", fmt.Errorf("there is no person %.128q", text))
}

func personList(a *app) *cobra.Command {
	var filter adminapi.PeopleFilter
	var all bool
	cmd := &cobra.Command{Use: "list", Short: "List people by name", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			limit := filter.Limit
			if all {
				limit, filter.Limit = math.MaxInt, device.MaxPage
			}
			var people []access.Person
			for {
				l, err := c.People(cmd.Context(), filter)
				if err != nil {
					return err
				}
				people = append(people, l.Items...)
				filter.After, filter.Limit = l.Next, min(device.MaxPage, limit-len(people))
				if filter.Limit <= 0 || l.Next == "" {
					break
				}
			}
			if err := printList(a, people, personCols); err != nil || filter.After == "" {
				return err
			}
			_, err = fmt.Fprintf(a.err, "there are more: --after %s, or --all\n", plain(string(filter.After)))
			return err
		}}
	f := cmd.Flags()
	stringVar(f, &filter.State, "state", "only invited, active, disabled or erased (default: all but erased)")
	f.StringVar(&filter.Origin, "origin", "", "only local, scim, oidc:NAME or saml:NAME")
	f.StringVar(&filter.Prefix, "prefix", "", "only names that start so")
	stringVar(f, &filter.After, "after", "begin after this id")
	f.IntVar(&filter.Limit, "limit", 100, "how many, 1 to 1000")
	f.BoolVar(&all, "all", false, "all pages")
	return cmd
}

func personShow(a *app) *cobra.Command {
	return &cobra.Command{Use: "show PERSON", Short: "Show a person, what they sign in with and their roles", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			id, err := c.person(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			p, err := c.Person(cmd.Context(), id)
			if err != nil {
				return err
			}
			if a.output != "table" {
				return a.encode(p)
			}
			if err := printItem(a, p.Person, personCols); err != nil {
				return err
			}
			fmt.Fprintln(a.out)
			return printItem(a, p.Factors, factorCols)
		}}
}

func personFlags(f *pflag.FlagSet, in *adminapi.PersonInput) {
	f.StringVar(&in.Display, "display", in.Display, "how they are shown")
	f.StringVar(&in.Mail, "mail", in.Mail, "mail address")
	f.BoolVar(&in.BreakGlass, "break-glass", in.BreakGlass, "an account for emergencies: each use raises an alarm")
}

func personInvite(a *app) *cobra.Command {
	var in adminapi.PersonInput
	var secretFile string
	cmd := &cobra.Command{Use: "invite NAME", Short: "Make an account and the link that its person begins with", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := notThere(secretFile); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			in.Name = args[0]
			invited, err := c.InvitePerson(cmd.Context(), in)
			if err != nil {
				return err
			}
			return a.showInvited(invited, secretFile)
		}}
	personFlags(cmd.Flags(), &in)
	secretFileFlag(cmd, &secretFile, "link")
	return cmd
}

func secretFileFlag(cmd *cobra.Command, file *string, what string) {
	cmd.Flags().StringVar(file, "secret-file", "", "write the "+what+" to a new file of mode 0600 instead of the screen")
}

// notThere refuses a file for a secret before the secret is made.
func notThere(secretFile string) error {
	if secretFile == "" {
		return nil
	}
	if _, err := os.Lstat(secretFile); err == nil {
		return fixing("choose another --secret-file", fmt.Errorf("%s exists already", secretFile))
	}
	return nil
}

// showInvited is the one time that the link is seen.
func (a *app) showInvited(in adminapi.Invited, secretFile string) error {
	if secretFile != "" {
		if err := durable.Create(secretFile, []byte(in.Link+"\n"), 0o600); err != nil {
			return fixing("make another link with `holdfast person reset "+string(in.Person.ID)+"`", err)
		}
		return printItem(a, in.Person, personCols)
	}
	if a.output != "table" {
		return a.encode(in)
	}
	if err := printItem(a, in.Person, personCols); err != nil {
		return err
	}
	_, err := fmt.Fprintf(a.out, "\n%s\n\n  %s\n\nGive it to them alone, by a way that you trust: who opens it first becomes them. It works once, until %s.\n",
		a.paint(a.out, bold, "The link, shown this once:"), plain(in.Link), when(in.ExpiresAt))
	return err
}

func personUpdate(a *app) *cobra.Command {
	var given adminapi.PersonInput
	bind := func(f *pflag.FlagSet, in *adminapi.PersonInput) {
		f.StringVar(&in.Name, "name", in.Name, "what they sign in with")
		personFlags(f, in)
	}
	cmd := &cobra.Command{Use: "update PERSON", Short: "Change what the flags name of an account", Args: cobra.ExactArgs(1)}
	bind(cmd.Flags(), &given)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		id, err := c.person(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		p, err := c.Person(cmd.Context(), id)
		if err != nil {
			return err
		}
		if p.Name == "" && p.State != access.PersonErased { // every field is written: what cannot be seen would be emptied
			return fixing("ask somebody who holds it", fmt.Errorf("changing an account needs the permission %s", access.PersonalRead))
		}
		in := adminapi.PersonInput{Name: p.Name, Display: p.Display, Mail: p.Mail, BreakGlass: p.BreakGlass}
		if err := overlay(cmd.Flags(), func(f *pflag.FlagSet) { bind(f, &in) }); err != nil {
			return err
		}
		changed, err := c.UpdatePerson(cmd.Context(), id, p.Version, in)
		if err != nil {
			return err
		}
		return printItem(a, changed, personCols)
	}
	return cmd
}

// personMove is a command for a change that an administrator orders; warning says
// what cannot be undone, with %s for the person, or is empty.
func personMove(a *app, verb, short, warning string, move func(*adminapi.Client, context.Context, access.PersonID, string) (access.Person, error)) *cobra.Command {
	var reason string
	cmd := &cobra.Command{Use: verb + " PERSON...", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			ids := make([]access.PersonID, len(args))
			for i, text := range args { // all have to be there before the first is changed
				if ids[i], err = c.person(cmd.Context(), text); err != nil {
					return err
				}
			}
			if warning != "" {
				if err := a.confirm(warning, strings.Join(args, ", ")); err != nil {
					return err
				}
			}
			var moved []access.Person
			for _, id := range ids {
				p, err := move(c.Client, cmd.Context(), id, reason)
				if err != nil {
					return errors.Join(err, a.soFar(len(moved), func() error { return printList(a, moved, personCols) }))
				}
				moved = append(moved, p)
			}
			return printList(a, moved, personCols)
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

func personReset(a *app) *cobra.Command {
	var reason, secretFile string
	cmd := &cobra.Command{Use: "reset PERSON", Short: "Remove all that a person signs in with, and make a new link to begin with", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := notThere(secretFile); err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			id, err := c.person(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := a.confirm("the password, passkeys and codes of %s are removed, and every sign-in ends", args[0]); err != nil {
				return err
			}
			invited, err := c.ReinvitePerson(cmd.Context(), id, reason)
			if err != nil {
				return err
			}
			return a.showInvited(invited, secretFile)
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	secretFileFlag(cmd, &secretFile, "link")
	return cmd
}

func personSessions(a *app) *cobra.Command {
	return &cobra.Command{Use: "sessions PERSON", Short: "List the sign-ins of a person", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			id, err := c.person(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			list, err := c.PersonSignIns(cmd.Context(), id)
			if err != nil {
				return err
			}
			return printList(a, list, signInCols)
		}}
}

func personSignOut(a *app) *cobra.Command {
	var reason, signIn string
	cmd := &cobra.Command{Use: "sign-out PERSON", Short: "End the sign-ins of a person, or one of them; they may sign in again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			id, err := c.person(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if signIn != "" {
				err = c.EndPersonSignIn(cmd.Context(), id, signIn)
			} else {
				err = c.EndPersonSignIns(cmd.Context(), id, reason)
			}
			if err != nil {
				return err
			}
			return a.say("signed_out", string(id), "%s is signed out", plain(args[0]))
		}}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	cmd.Flags().StringVar(&signIn, "session", "", "only this one, by the id that `holdfast person sessions` shows")
	cmd.MarkFlagsMutuallyExclusive("session", "reason")
	return cmd
}
