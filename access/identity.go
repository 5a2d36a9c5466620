package access

import (
	"time"

	"github.com/holdfast-iot/holdfast/refusal"
)

// Identity is a proven party: who acts, what it may do, and how it was proven.
// Only authentication makes one.
type Identity struct {
	Actor   Actor
	Name    string // how people see it; personal data, so not for logs
	Rights  Rights
	Proof   Proof
	Session string // id of the sign-in or token it came with; empty for Root
	Roles   []string
}

// Proof is how a party was proven.
type Proof struct {
	Method string // password, passkey, totp, recovery-code, oidc, saml, key, token, root
	// Fresh is when a person last proved a factor; zero for programs, which have
	// none.
	Fresh time.Time
	// Strong tells that a second factor, or one that resists phishing, was proven.
	Strong bool
	// Program tells that the party is a program: step-up does not apply to it.
	Program bool
}

// NeedStepUp tells whether a dangerous action needs a fresh factor first.
func (i Identity) NeedStepUp(within time.Duration, now time.Time) bool {
	return !i.Proof.Program && now.Sub(i.Proof.Fresh) > within
}

// StepUp is the refusal that asks for a fresh factor.
func StepUp() error {
	return refusal.New(refusal.Forbidden, "step-up-needed", "confirm with your passkey or authenticator app, then do it again", "this action needs a fresh proof that it is you")
}

// SessionRules bound sign-ins of people.
type SessionRules struct {
	Idle           time.Duration // without a request, for who holds no privileged permission
	IdlePrivileged time.Duration // for who holds one
	Absolute       time.Duration // from the first factor on
	StepUp         time.Duration // how long a factor counts as fresh
	Dormant        time.Duration // an account not used for so long is disabled; 0: never
	Warn           time.Duration // how long before it is reported
}

// DefaultSessionRules are OWASP ASVS 5.0 level 2 values, rounded.
func DefaultSessionRules() SessionRules {
	return SessionRules{Idle: time.Hour, IdlePrivileged: 15 * time.Minute, Absolute: 12 * time.Hour, StepUp: 5 * time.Minute,
		Dormant: 90 * 24 * time.Hour, Warn: 14 * 24 * time.Hour}
}

// SessionTimes are what the rules ask of a sign-in.
type SessionTimes struct {
	Created, Seen time.Time
	Privileged    bool
}

// Ends is when the sign-in ends if nothing more happens.
func (r SessionRules) Ends(s SessionTimes) time.Time {
	idle := r.Idle
	if s.Privileged {
		idle = min(idle, r.IdlePrivileged)
	}
	end, absolute := s.Seen.Add(idle), s.Created.Add(r.Absolute)
	if absolute.Before(end) {
		return absolute
	}
	return end
}

// Dormancy is how an account stands towards the rule of dormant accounts.
type Dormancy int

const (
	// Used lately, or the rule is off.
	Used Dormancy = iota
	// Dozing accounts will be disabled soon, and are reported.
	Dozing
	// Dormant accounts are to be disabled.
	Dormant
)

// Dormancy judges an account by its last sign-in, or by its making when there
// was none. A break-glass account is never dormant: it waits for the worst day.
func (r SessionRules) Dormancy(p Person, now time.Time) Dormancy {
	last := p.SignedInAt
	if last.IsZero() || p.EnabledAt.After(last) {
		last = p.EnabledAt
	}
	if last.IsZero() {
		last = p.CreatedAt
	}
	switch age := now.Sub(last); {
	case r.Dormant == 0 || p.BreakGlass || p.State != PersonActive:
		return Used
	case age >= r.Dormant:
		return Dormant
	case age >= r.Dormant-r.Warn:
		return Dozing
	}
	return Used
}
