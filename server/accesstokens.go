package server

import (
	"context"
	"errors"
	"net/netip"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/keystore"
	"github.com/holdfast-iot/holdfast/server/oauth"
	"github.com/holdfast-iot/holdfast/server/people"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// openTokens makes the authorization server.
func (s *Server) openTokens(ctx context.Context, kek *keystore.KEK) error {
	seal, err := newSealer(kek, "token keys")
	if err != nil {
		return err
	}
	s.tokens, err = oauth.New(ctx, oauth.Config{
		Issuer: s.console(), Store: s.store, Clients: oauthClients{s}, SignIns: oauthSignIns{s},
		Rights: func(ctx context.Context, by access.Actor) (access.Rights, error) {
			kind := access.ToPerson
			if by.Kind == access.Client {
				kind = access.ToClient
			}
			r, _, err := s.rightsOf(ctx, kind, by.ID, nil)
			return r, err
		},
		Seal:    func(plain []byte, about string) ([]byte, error) { return seal.seal(plain, []byte(about)) },
		Open:    func(sealed []byte, about string) ([]byte, error) { return seal.open(sealed, []byte(about)) },
		Issuers: s.providers.issuers, Fetcher: s.providers.client,
		Allow: s.tokenRequests.allow, Source: s.sourceOf, Event: s.event, Refuse: s.recordRefusal, Announce: s.announce, Now: s.now, StepUp: s.cfg.Access.StepUp, Log: s.log.With("part", "oauth"),
	})
	return err
}

// oauthClients are the API clients as the authorization server sees them.
type oauthClients struct{ s *Server }

// ByID implements oauth.Clients.
func (c oauthClients) ByID(ctx context.Context, id string) (oauth.Client, error) {
	row, err := c.s.apiClient(ctx, id)
	if err == nil && row.ID != id { // found by its name, which is not the client_id
		err = sqlstore.ErrNotFound
	}
	return oauth.Client{APIClient: row.APIClient, SecretHash: row.Secret}, err
}

// ByName implements oauth.Clients.
func (c oauthClients) ByName(ctx context.Context, name string) (oauth.Client, error) {
	row, err := c.s.store.APIClient(ctx, name)
	if err == nil && row.Name != name {
		err = sqlstore.ErrNotFound
	}
	return oauth.Client{APIClient: row.APIClient, SecretHash: row.Secret}, err
}

// oauthSignIns are people's sign-ins on command lines.
type oauthSignIns struct{ s *Server }

func cliSignIn(in people.SignIn) oauth.CLISignIn {
	return oauth.CLISignIn{ID: in.ID, Person: in.Person.ID, Fresh: in.FreshAt, Methods: in.Methods, Strong: in.Strong}
}

// StartCLI implements oauth.SignIns.
func (c oauthSignIns) StartCLI(ctx context.Context, start oauth.CLIStart) (enroll.Secret, oauth.CLISignIn, error) {
	secret, in, err := c.s.people.StartCLI(ctx, start.Person, start.Proof, people.Where{Source: start.Source, Agent: start.Agent})
	return enroll.NewSecret(secret.Reveal()), cliSignIn(in), err
}

// RefreshCLI implements oauth.SignIns.
func (c oauthSignIns) RefreshCLI(ctx context.Context, refresh enroll.Secret, source netip.Addr) (enroll.Secret, oauth.CLISignIn, error) {
	secret, in, err := c.s.people.RefreshCLI(ctx, people.NewSecret(refresh.Reveal()), people.Where{Source: source})
	return enroll.NewSecret(secret.Reveal()), cliSignIn(in), err
}

// EndCLI implements oauth.SignIns.
func (c oauthSignIns) EndCLI(ctx context.Context, refresh enroll.Secret, source netip.Addr) (string, error) {
	return c.s.people.EndCLI(ctx, people.NewSecret(refresh.Reveal()), people.Where{Source: source})
}

// AliveCLI implements oauth.SignIns.
func (c oauthSignIns) AliveCLI(ctx context.Context, id string) (bool, error) {
	_, err := c.s.people.SignedIn(ctx, id)
	if refusal.As(err) != nil {
		return false, nil
	}
	return err == nil, err
}

// proveAccessToken checks a JWT: ours, or a trusted issuer's.
func (s *Server) proveAccessToken(ctx context.Context, token string, addr netip.Addr) (id access.Identity, why string, err error) {
	claims, err := s.tokens.Verify(ctx, token, addr)
	var rejected *oauth.Rejected
	if errors.As(err, &rejected) {
		return id, rejected.Error(), nil
	}
	if err != nil {
		return id, "", err
	}
	if claims.Kind == access.Human {
		p, err := s.person(ctx, claims.Person)
		if err != nil {
			return id, "", err
		}
		if p.State != access.PersonActive {
			return id, "the account " + string(p.ID) + " is not active", nil
		}
		id, err = s.personIdentity(ctx, p, claims.Scope, addrText(addr), claims.SignIn, access.Proof{Method: "token", Fresh: claims.AuthTime, Strong: claims.Strong})
		return id, "", err
	}
	c, err := s.apiClient(ctx, claims.Client)
	if err != nil {
		return id, "", err
	}
	if why := s.admitsClient(c, addr); why != "" {
		return id, why, nil
	}
	id, err = s.clientIdentity(ctx, c, claims.Scope, addrText(addr), claims.ID, "token")
	return id, "", err
}

// personIdentity is a person who was proven, with their rights. Who holds
// privileged permissions and proved one factor only has none of them.
func (s *Server) personIdentity(ctx context.Context, p access.Person, only []access.Permission, source, signIn string, proof access.Proof) (access.Identity, error) {
	rights, roles, err := s.rightsOf(ctx, access.ToPerson, string(p.ID), only)
	if err == nil && !proof.Strong && rights.Privileged(s.now()) {
		rights = access.Rights{}
	}
	return access.Identity{Actor: access.Actor{Kind: access.Human, ID: string(p.ID), Source: source}, Name: p.Shown(), Rights: rights, Roles: roles, Session: signIn, Proof: proof}, err
}

// consoleIdentity is a person in front of the console.
func (s *Server) consoleIdentity(ctx context.Context, in people.SignIn, source string) (access.Identity, error) {
	return s.personIdentity(ctx, in.Person, nil, source, in.ID, in.Proof())
}
