package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/access/password"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/server/keystore"
	"github.com/holdfast-iot/holdfast/server/people"
)

// openAccess makes the parts that know people and programs. They need to know
// what the console is called, and so which port it got.
func (s *Server) openAccess(ctx context.Context) error {
	if err := s.openProviders(ctx); err != nil {
		return err
	}
	if err := errors.Join(s.openPeople(s.kek), s.openTokens(ctx, s.kek)); err != nil {
		return err
	}
	return s.endOrphans(ctx)
}

// openPeople makes the part that keeps accounts and sign-ins.
func (s *Server) openPeople(kek *keystore.KEK) error {
	seal, err := newSealer(kek, "people")
	if err != nil {
		return err
	}
	breached, err := s.breached()
	if err != nil {
		return err
	}
	a := s.cfg.Access
	rules := password.DefaultRules()
	rules.MinLength, rules.MinStrength, rules.MaxAge = a.PasswordLength, a.PasswordStrength, a.PasswordAge
	rules.MinUpper, rules.MinLower, rules.MinDigits, rules.MinSymbols = a.PasswordUpper, a.PasswordLower, a.PasswordDigits, a.PasswordSymbols
	s.people, err = people.New(people.Config{
		Store: s.store, Random: rand.Reader, Now: s.now, Seal: seal.seal, Open: seal.open, Passwords: rules, Breached: breached, Sessions: s.sessionRules(),
		RPName: "Holdfast " + s.cfg.TrustDomain, Event: s.event, Refuse: s.recordRefusal, Rights: s.personRights, IsLastAdmin: s.isLastAdmin, GrantAdmin: s.grantFirstAdmin,
		Alarm: s.alarm, Announce: s.announce, Log: s.log.With("part", "people"), Groups: s.groupsOf,
		RPID: s.relyingParty(), Origins: []string{s.console()},
	})
	return err
}

func (s *Server) sessionRules() access.SessionRules {
	a, rules := s.cfg.Access, access.DefaultSessionRules()
	rules.Idle, rules.IdlePrivileged, rules.Absolute, rules.StepUp, rules.Dormant = a.Idle, a.IdlePrivileged, a.Lifetime, a.StepUp, a.Dormant
	return rules
}

// breached is what nobody may use as a password: the list that comes with
// Holdfast, and the operator's.
func (s *Server) breached() (password.Filter, error) {
	path := s.cfg.Access.BreachedFile
	if path == "" {
		return password.Embedded(), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return password.Filter{}, fmt.Errorf("reading the list of breached passwords (access.breached_file): %w", err)
	}
	defer f.Close()
	own, err := password.ReadList(f)
	if err != nil {
		return own, fmt.Errorf("reading the list of breached passwords (access.breached_file): %w", err)
	}
	return password.Filters(password.Embedded(), own), nil
}

// isLastAdmin tells whether nobody could give roles without a person.
func (s *Server) isLastAdmin(ctx context.Context, id access.PersonID) (bool, error) {
	grants, err := s.store.Grants(ctx, access.ToPerson, string(id))
	if err != nil {
		return false, err
	}
	p, _, err := s.store.Person(ctx, id)
	if err != nil || p.State != access.PersonActive {
		return false, err
	}
	for _, g := range grants {
		if g.Role == access.Admin && g.Scope.All() && g.ExpiresAt.IsZero() {
			n, err := s.store.OtherAdmins(ctx, id)
			return n == 0, err
		}
	}
	return false, nil
}

// grantFirstAdmin gives the role admin to the first person; once more is no error.
func (s *Server) grantFirstAdmin(ctx context.Context, id access.PersonID) error {
	grants, err := s.store.Grants(ctx, access.ToPerson, string(id))
	if err != nil {
		return err
	}
	for _, g := range grants {
		if g.Role == access.Admin {
			return nil
		}
	}
	by := access.Component("first-start")
	g := access.Grant{ID: newSubjectID("g"), Kind: access.ToPerson, Subject: string(id), Role: access.Admin, Origin: "manual", Reason: "the first person",
		GrantedBy: by.String(), GrantedAt: s.now()}
	if err := s.store.InsertGrant(ctx, g, false, s.grantEvent(by, "role.granted", g)); err != nil {
		return err
	}
	s.identities.forget("person/" + string(id))
	return nil
}

// alarm tells those who watch over people what they should hear of. The audit log
// has it without the names.
func (s *Server) alarm(ctx context.Context, n people.Notice) {
	s.log.Warn("about an account", "what", string(n.Kind), "person", string(n.Person.ID), "detail", n.Detail)
	by := access.Component("people")
	e := s.event(by, "alarm."+strings.ReplaceAll(string(n.Kind), "-", "_"), "person", string(n.Person.ID), "detail", audit.Text(n.Detail, 256))
	if err := s.store.AppendOutbox(ctx, e); err != nil {
		s.log.Error("recording an alarm", "what", string(n.Kind), "person", string(n.Person.ID), "err", err)
	}
	s.notifyPerson(n)
}

// consoleURL is where people reach the console. Passkeys need a name, so that it
// is localhost where nothing else is configured.
func (s *Server) consoleURL(l net.Listener) string {
	if s.cfg.Access.URL != "" {
		return s.cfg.Access.URL
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil || port == "443" {
		return "https://localhost"
	}
	return "https://localhost:" + port
}

// console is the console's URL of a server that listens.
func (s *Server) console() string { return s.endpoints.Load().Console }

// relyingParty is the host that passkeys are bound to.
func (s *Server) relyingParty() string {
	if s.cfg.Access.URL != "" {
		return s.cfg.Access.Host()
	}
	return "localhost"
}
