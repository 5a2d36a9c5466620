package config

import (
	"errors"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
)

// Access bounds how people and programs use the console and the API.
type Access struct {
	// URL [access.url] is where people reach the console: https://HOST or
	// https://HOST:PORT. Passkeys are bound to its host: after a change of the host
	// they have to be made anew. Passkeys need a name, not an address. Default:
	// https://localhost and the port of listen.api.
	URL string
	// Idle [access.idle] ends a sign-in without a request for so long, of people who
	// hold no privileged permission, 1m to 24h. Default 1h.
	Idle time.Duration
	// IdlePrivileged [access.idle_privileged] is the same for all others, 1m to 24h.
	// Default 15m.
	IdlePrivileged time.Duration
	// Lifetime [access.lifetime] ends every sign-in, 5m to 30d. Default 12h.
	Lifetime time.Duration
	// StepUp [access.step_up] is how long a factor counts as fresh for dangerous
	// actions, 30s to 1h. Default 5m.
	StepUp time.Duration
	// Dormant [access.dormant] disables accounts that were not used for so long, 1d
	// to 10y, or never: 0h. Default 90d.
	Dormant time.Duration
	// PasswordLength [access.password_length] is the least length of a password in
	// characters, 8 to 128. Default 12.
	PasswordLength int
	// PasswordStrength [access.password_strength] is the least strength by zxcvbn, 0
	// to 4. Default 3.
	PasswordStrength int
	// PasswordUpper [access.password_upper], PasswordLower [access.password_lower],
	// PasswordDigits [access.password_digits] and PasswordSymbols
	// [access.password_symbols] are how many capital and small letters, digits and
	// other characters a password must hold, 0 to 8, for rules that ask for it: length
	// and strength protect better. Default 0.
	PasswordUpper, PasswordLower, PasswordDigits, PasswordSymbols int
	// PasswordAge [access.password_age] is after how long a password has to be
	// replaced, 1d to 10y, or never: 0h. Default 0h: forced changes make passwords worse.
	PasswordAge time.Duration
	// BreachedFile [access.breached_file] has further passwords that nobody may use:
	// one in a line, or SHA-1 in hex as Have I Been Pwned gives them.
	BreachedFile string
	// TwoPerson [access.two_person] says when named actions need a second person:
	// when-possible (as soon as two people may decide), always or never. Default
	// when-possible.
	TwoPerson string
	// TwoPersonActions [access.two_person_actions] are those actions: revoke-many,
	// retire, policy-apply, ca, role-grant, decommission, client-create. Default all.
	TwoPersonActions []string
	// ApprovalLife [access.approval_life] is how long a request waits for the second
	// person, 5m to 30d. Default 24h.
	ApprovalLife time.Duration
	// Separate [access.separate] are pairs of permissions that nobody but an admin may
	// hold together, as policy.apply+approval.decide. Default none.
	Separate []string
	// Providers [access.providers] is a YAML file with the identity providers that
	// people sign in through, and the issuers of programs' tokens; see type Providers.
	// Nobody but its owner may be able to write it. Default: none.
	Providers string
	// SCIMProvider [access.scim_provider] is the identity provider that keeps accounts
	// through SCIM at /scim/v2: oidc:NAME or saml:NAME, as people sign in through it.
	// Their externalId there must be their subject at sign-in. Default: nobody does.
	SCIMProvider string
	// SCIMRoles [access.scim_roles] are the roles that members of its groups have,
	// each GROUP=ROLE for the whole fleet, or GROUP=ROLE@ZONE+ZONE for zones. Groups
	// are compared by their whole name, without regard to case. Default none.
	SCIMRoles []string
	// Notify says who else hears of what happens with accounts and approvals.
	Notify Notify
	// Rate [access.rate] is how many requests a minute one person or program may send
	// to the API, 10 to 10000000. Default 6000.
	Rate int
}

func defaultAccess() Access {
	return Access{Idle: time.Hour, IdlePrivileged: 15 * time.Minute, Lifetime: 12 * time.Hour, StepUp: 5 * time.Minute, Dormant: 90 * day,
		PasswordLength: 12, PasswordStrength: 3, TwoPerson: string(access.WhenPossible), TwoPersonActions: actionNames(), ApprovalLife: day, Rate: 6000, Notify: Notify{MailTLS: "starttls"}}
}

func actionNames() []string {
	return []string{string(access.RevokeMany), string(access.RetireDevice), string(access.ApplyPolicy), string(access.ChangeCA),
		string(access.GiveRole), string(access.Decommission), string(access.CreateClients)}
}

func accessFields(a *Access) []field {
	return []field{
		textField("access.url", "where people reach the console: https://HOST[:PORT] (default: https://localhost and the port of listen.api)", &a.URL, optional(validOrigin)),
		durationField("access.idle", "without a request, until a sign-in ends", &a.Idle, time.Minute, day),
		durationField("access.idle_privileged", "the same for people with privileged permissions", &a.IdlePrivileged, time.Minute, day),
		durationField("access.lifetime", "until every sign-in ends", &a.Lifetime, 5*time.Minute, 30*day),
		durationField("access.step_up", "how long a factor counts as fresh for dangerous actions", &a.StepUp, 30*time.Second, time.Hour),
		zeroOr(durationField("access.dormant", "after how long an unused account is disabled; 0h: never", &a.Dormant, day, 10*year)),
		numberField("access.password_length", "least length of a password in characters", integer, &a.PasswordLength, 8, 128, strconv.Atoi),
		numberField("access.password_strength", "least strength of a password by zxcvbn, 0 to 4", integer, &a.PasswordStrength, 0, 4, strconv.Atoi),
		numberField("access.password_upper", "capital letters a password must hold", integer, &a.PasswordUpper, 0, 8, strconv.Atoi),
		numberField("access.password_lower", "small letters a password must hold", integer, &a.PasswordLower, 0, 8, strconv.Atoi),
		numberField("access.password_digits", "digits a password must hold", integer, &a.PasswordDigits, 0, 8, strconv.Atoi),
		numberField("access.password_symbols", "other characters a password must hold", integer, &a.PasswordSymbols, 0, 8, strconv.Atoi),
		zeroOr(durationField("access.password_age", "after how long a password must be replaced; 0h: never", &a.PasswordAge, day, 10*year)),
		textField("access.breached_file", "file with further passwords that nobody may use", &a.BreachedFile, optional(validPath)),
		textField("access.two_person", "when named actions need a second person: when-possible, always or never", &a.TwoPerson, oneOf(string(access.WhenPossible), string(access.Always), string(access.Never))),
		listField("access.two_person_actions", "actions that may need a second person", &a.TwoPersonActions, oneOf(actionNames()...)),
		durationField("access.approval_life", "how long a request waits for a second person", &a.ApprovalLife, 5*time.Minute, 30*day),
		listField("access.separate", "pairs of permissions that nobody holds together, as policy.apply+approval.decide", &a.Separate, validPair),
		textField("access.providers", "file with the identity providers that people sign in through", &a.Providers, optional(validPath)),
		textField("access.scim_provider", "the identity provider that keeps accounts through SCIM: oidc:NAME or saml:NAME", &a.SCIMProvider, optional(validProvider)),
		listField("access.scim_roles", "roles of its groups' members: GROUP=ROLE, or GROUP=ROLE@ZONE+ZONE", &a.SCIMRoles, validGroupRole),
		numberField("access.rate", "requests a minute of one person or program", integer, &a.Rate, 10, 10_000_000, strconv.Atoi),
		textField("access.notify.webhook", "https URL that hears of what happens with accounts and approvals", &a.Notify.Webhook, optional(validHook)),
		textField("access.notify.webhook_key_file", "file of mode 0600 with the key that signs what is sent there", &a.Notify.WebhookKeyFile, optional(validPath)),
		prefixesField("access.notify.networks", "private networks (CIDR) that the webhook may be in", &a.Notify.Networks),
		textField("access.notify.ca_file", "further authorities (PEM) that webhook and mail server may have their certificates from", &a.Notify.CAFile, optional(validPath)),
		textField("access.notify.mail_server", "HOST:PORT of the server that takes mail to people", &a.Notify.MailServer, optional(validMailServer)),
		textField("access.notify.mail_tls", "how mail is protected on its way there: starttls or implicit", &a.Notify.MailTLS, oneOf("starttls", "implicit")),
		textField("access.notify.mail_from", "address that mail comes from", &a.Notify.MailFrom, optional(validMail)),
		textField("access.notify.mail_user", "name to sign in with at the mail server", &a.Notify.MailUser, optional(validPath)),
		textField("access.notify.mail_password_file", "file of mode 0600 with its password", &a.Notify.MailPasswordFile, optional(validPath)),
		boolField("access.notify.mail_links", "whether an invitation's mail holds its one-time link", &a.Notify.MailLinks),
	}
}

// zeroOr lets a field be 0, which means never.
func zeroOr(f field) field {
	check := f.check
	f.check = func() error {
		if f.show() == "0s" || f.show() == "0" {
			return nil
		}
		return check()
	}
	return f
}

func validPair(s string) error {
	a, b, ok := strings.Cut(s, "+")
	if !ok || !access.Permission(a).Known() || !access.Permission(b).Known() || a == b {
		return errors.New("expected two permissions with + between them, such as policy.apply+approval.decide")
	}
	return nil
}

var providerName = regexp.MustCompile(`^(oidc|saml):[a-z0-9][a-z0-9-]{0,31}$`)

func validProvider(s string) error {
	if !providerName.MatchString(s) {
		return errors.New("expected oidc:NAME or saml:NAME, the name in lower-case letters, digits and -")
	}
	return nil
}

// GroupRole is a role that the members of a group have.
type GroupRole struct {
	// Group [groups.group] is the group's whole name. There are no patterns: what a new
	// group would give must not depend on its name.
	Group string
	// Role [groups.role] is a role of Holdfast.
	Role string
	// Scope is groups.zones, groups.types and groups.labels. Default the whole fleet.
	Scope access.Scope
}

func groupRole(s string) (g GroupRole, err error) {
	i := strings.LastIndex(s, "=")
	if i < 1 {
		return g, errors.New("expected GROUP=ROLE or GROUP=ROLE@ZONE+ZONE")
	}
	role, zones, scoped := strings.Cut(s[i+1:], "@")
	g.Group, g.Role = strings.TrimSpace(s[:i]), role
	if scoped {
		for _, zone := range strings.Split(zones, "+") {
			g.Scope.Zones = append(g.Scope.Zones, device.ZoneName(zone))
		}
	}
	if g.Group == "" || g.Role == "" || g.Scope.Validate() != nil {
		err = errors.New("expected GROUP=ROLE or GROUP=ROLE@ZONE+ZONE")
	}
	return g, err
}

func validGroupRole(s string) error { _, err := groupRole(s); return err }

// GroupRoles are the roles of SCIMRoles.
func (a Access) GroupRoles() (list []GroupRole) {
	for _, s := range a.SCIMRoles {
		if g, err := groupRole(s); err == nil { // else the configuration was not accepted
			list = append(list, g)
		}
	}
	return list
}

// Duties are the pairs of Separate.
func (a Access) Duties() []access.Duty {
	var duties []access.Duty
	for _, s := range a.Separate {
		one, other, _ := strings.Cut(s, "+")
		duties = append(duties, access.Duty{A: access.Permission(one), B: access.Permission(other)})
	}
	return duties
}

// Host is the host of URL without a port: what passkeys are bound to.
func (a Access) Host() string {
	u, err := url.Parse(a.URL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
