package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// login is what the flags of login say.
type login struct {
	fingerprint string
	only        []string
	again       bool
	browser     bool
}

func loginCommand(a *app) *cobra.Command {
	var l login
	cmd := &cobra.Command{Use: "login", Short: "Log in to a server as yourself, with a browser on any device", Args: cobra.NoArgs,
		Long: `Log in to a server as yourself. The command shows a code and a page; you open the
page on any device, sign in there as always, and approve the code. The command line
then acts as you, with your roles, until you log out or the sign-in ends.
The first time, a server whose authority this machine does not know shows that
authority's fingerprint for you to compare; from then on it is trusted for this
server alone.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.login(cmd.Context(), l) }}
	f := cmd.Flags()
	f.StringVar(&l.fingerprint, "fingerprint", "", "SHA-256 of the server's root, to trust it without being asked")
	f.StringSliceVar(&l.only, "only", nil, "let this sign-in do no more than these permissions, such as device.read,audit.read")
	f.BoolVar(&l.again, "again", false, "log in anew although you are logged in, for what asks for a fresh proof")
	f.BoolVar(&l.browser, "browser", false, "open the page in this machine's browser")
	return cmd
}

// target is the profile that login makes or renews, and its server.
func (a *app) target(all profiles) (name string, p profile, err error) {
	server := a.server
	if a.profile != "" && !a.typed("server") && (a.typed("profile") || server == "") {
		if p, ok := all.ByName[a.profile]; ok {
			return a.profile, p, nil
		}
	}
	if server == "" && a.profile == "" && (a.typed("data") || a.env["HOLDFAST_DATA"] != "") {
		ready, err := a.ready()
		if err != nil {
			return "", p, err
		}
		server = ready.API
		if a.caFile == "" {
			a.caFile = ready.CAFile
		}
	}
	if server == "" && a.profile == "" && all.Current != "" {
		return all.Current, all.ByName[all.Current], nil
	}
	if server == "" {
		return "", p, &usageError{"it is not said which server to log in to", "give its address with --server https://HOST:PORT"}
	}
	if server, err = serverURL(server); err != nil {
		return "", p, err
	}
	if name = a.profile; name == "" {
		var ok bool
		if name, ok = all.forServer(server); !ok {
			name = newName(server, all)
		}
	}
	if !profileName.MatchString(name) {
		return "", p, &usageError{fmt.Sprintf("%q cannot be the name of a profile", name), "use letters, digits, dots, hyphens and underscores, at most 63"}
	}
	if old, ok := all.ByName[name]; ok && old.Server == server {
		return name, old, nil
	} else if ok {
		return "", p, fixing("choose another --profile, or remove that one with `holdfast profile remove "+name+"`", fmt.Errorf("profile %s is for %s", name, old.Server))
	}
	if len(all.ByName) >= maxProfiles {
		return "", p, fixing("remove some with `holdfast profile remove`", errors.New("there are too many profiles"))
	}
	return name, profile{Server: server}, nil
}

// newName names a profile after its server: host, then host-port, then a number.
func newName(server string, all profiles) string {
	host := strings.TrimPrefix(server, "https://")
	clean := func(s string) string {
		s = strings.Trim(strings.Map(func(r rune) rune {
			if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789.-", r) {
				return r
			}
			return '-'
		}, s), ".-")
		return s[:min(len(s), 55)]
	}
	names := []string{clean(hostOf(server)), clean(host)}
	for i := 2; i <= maxProfiles+2; i++ {
		names = append(names, fmt.Sprintf("%s-%d", clean(host), i))
	}
	for _, n := range names {
		if _, taken := all.ByName[n]; !taken {
			return n
		}
	}
	return ""
}

func (a *app) login(ctx context.Context, l login) error {
	for _, p := range l.only {
		if !access.Permission(p).Known() {
			return &usageError{fmt.Sprintf("--only: there is no permission %q", p), "see `holdfast role permissions`"}
		}
	}
	if a.profilesPath() == "" {
		return fixing("set HOME or XDG_CONFIG_HOME", errors.New("keeping profiles: the environment names no home folder"))
	}
	all, err := a.readProfiles()
	if err != nil {
		return err
	}
	name, p, err := a.target(all)
	if err != nil {
		return err
	}
	if !p.Tokens.empty() && p.Renewing.IsZero() && !l.again && !a.typed("ca") && l.fingerprint == "" && len(l.only) == 0 {
		if who, err := a.whoIs(ctx, name); err == nil {
			return a.say("profile", name, "you are logged in to %s as %s (profile %s); log in anew with --again", p.Server, plain(who.Name), name)
		}
	}
	_, known := all.ByName[name]
	if !known || a.typed("ca") || l.fingerprint != "" {
		if p.CA, err = a.trustOf(ctx, p.Server, l.fingerprint); err != nil {
			return err
		}
	}
	return a.signIn(ctx, name, p, l)
}

// signIn runs the device flow and keeps what comes of it. The sign-in before it
// is ended only when the new one is on the disk.
func (a *app) signIn(ctx context.Context, name string, p profile, l login) error {
	z, err := a.authorizer(p)
	if err != nil {
		return err
	}
	g, err := z.begin(ctx, strings.Join(l.only, " "))
	if err != nil {
		return fmt.Errorf("logging in to %s: %w", p.Server, err)
	}
	a.showGrant(g)
	if l.browser {
		if err := a.openBrowser(g); err != nil {
			fmt.Fprintf(a.err, "The browser could not be opened: %s\n", plain(err.Error()))
		}
	}
	got, err := z.await(ctx, g, a.sleep)
	if err != nil {
		return fmt.Errorf("logging in to %s: %w", p.Server, err)
	}
	var old profile
	p.Tokens, p.SignedInAt, p.Renewing = got, a.now().UTC().Truncate(time.Second), time.Time{}
	keep := func(all *profiles) error {
		if old = all.ByName[name]; old.Server != p.Server {
			old = profile{}
		}
		all.ByName[name] = p
		if all.Current == "" || !a.typed("profile") {
			all.Current = name
		}
		return nil
	}
	if err := a.changeProfiles(context.WithoutCancel(ctx), keep); err != nil {
		return errors.Join(err, a.endSignIn(ctx, p))
	}
	if err := a.endSignIn(ctx, old); err != nil {
		fmt.Fprintln(a.err, "the sign-in before this one could not be ended: end it in the console, under your account")
	}
	return a.greet(ctx, name, p)
}

// greet notes who logged in and says so.
func (a *app) greet(ctx context.Context, name string, p profile) error {
	who, err := a.whoIs(ctx, name)
	if err != nil {
		fmt.Fprintf(a.err, "the server did not say who you are: %s\n", plain(err.Error()))
		return a.say("profile", name, "logged in to %s (profile %s)", p.Server, name)
	}
	err = a.changeProfiles(ctx, func(all *profiles) error {
		if one, ok := all.ByName[name]; ok {
			one.Account, one.AccountID = plain(who.Name), plain(who.ID)
			all.ByName[name] = one
		}
		return nil
	})
	if err != nil {
		return err
	}
	return a.say("profile", name, "logged in to %s as %s (profile %s)", p.Server, plain(who.Name), name)
}

func (a *app) whoIs(ctx context.Context, name string) (adminapi.OwnAccount, error) {
	all, err := a.readProfiles()
	if err != nil {
		return adminapi.OwnAccount{}, err
	}
	c, err := a.withProfile(name, all.ByName[name])
	if err != nil {
		return adminapi.OwnAccount{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, oauthTimeout)
	defer cancel()
	who, err := c.Account(ctx)
	if err == nil && (len(who.Name) > 512 || len(who.ID) > 128) {
		err = errors.New("its answer is not valid")
	}
	return who, err
}

// showGrant tells where to approve which code. It goes to standard error, so that
// -o json leaves one document on standard output.
func (a *app) showGrant(g deviceGrant) {
	fmt.Fprintf(a.err, "To log in, open\n\n  %s\n\non any device and enter the code\n\n  %s\n\nApprove it only if the page shows the same code.\n", plain(g.page), a.paint(a.err, bold, plain(g.shown)))
	if g.direct != "" {
		if art := a.qrOnTerminal(g.direct); art != "" {
			fmt.Fprintf(a.err, "\nOr scan this:\n\n%s\n", art)
		}
	}
	fmt.Fprintln(a.err, "Waiting; ctrl-C ends it.")
}

// openBrowser hands the page to the system. The URL was checked: it is https, and
// has nothing that a shell or an option parser would take for its own.
func (a *app) openBrowser(g deviceGrant) error {
	page := g.direct
	if page == "" {
		page = g.page
	}
	if u, err := url.Parse(page); err != nil || u.Scheme != "https" {
		return errors.New("the page is not an https URL")
	}
	program := "xdg-open"
	if runtime.GOOS == "darwin" {
		program = "open"
	}
	if own := a.env["BROWSER"]; own != "" && !strings.ContainsAny(own, " %:") {
		program = own
	}
	cmd := exec.Command(program, page)
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait()
	return nil
}

func logoutCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "logout", Short: "End the sign-in of a profile; its server stays known", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.logout(cmd.Context()) }}
}

// logout takes the tokens off the disk first: what is not there cannot be stolen,
// even if the server cannot be told.
func (a *app) logout(ctx context.Context) error {
	all, err := a.readProfiles()
	if err != nil {
		return err
	}
	name := all.Current
	if a.profile != "" {
		name = a.profile
	}
	if name == "" {
		return fixing("name one with --profile", errors.New("there is no current profile to log out of"))
	}
	var old profile
	err = a.changeProfiles(ctx, func(p *profiles) error {
		one, ok := p.ByName[name]
		if !ok {
			return noProfile(name, *p)
		}
		old = one
		one.Tokens, one.Renewing, one.SignedInAt = tokens{}, time.Time{}, time.Time{}
		p.ByName[name] = one
		return nil
	})
	if err != nil {
		return err
	}
	if old.Tokens.empty() {
		return a.say("logged_out", name, "profile %s was not logged in", name)
	}
	if err := a.endSignIn(ctx, old); err != nil {
		return fixing("end it in the console, under your account", fmt.Errorf("the tokens are gone from this machine, but the server could not be told to end the sign-in: %w", err))
	}
	return a.say("logged_out", name, "logged out of %s (profile %s)", old.Server, name)
}
