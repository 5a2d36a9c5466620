package adminapi

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
)

// What could be used to get more rights than one has: a role, a key, a client's
// secret, a link into somebody's account. Nobody hands on, or takes over, what
// they do not hold themselves, for the whole fleet and for as long.

// guarded is an input of an operation that could give its sender, or who they
// give it to, more than the sender holds. It is asked before a second person is,
// and again when an approved request is carried out.
type guarded interface {
	guard(ctx context.Context, a *api, id access.Identity, rule rule) error
}

// forGood is later than any right ends.
var forGood = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)

// holds tells whether a party holds a permission for the whole fleet, now and
// until a time; the zero time is for good.
func (a *api) holds(id access.Identity, p access.Permission, until time.Time) bool {
	if until.IsZero() {
		until = forGood
	}
	return id.Rights.Everywhere(p, a.now()) && id.Rights.Everywhere(p, until.Add(-1))
}

func moreThanOwn(what string, p access.Permission) error {
	return refusal.New(refusal.Forbidden, "more-than-own", "ask an administrator who has it", "%s has the permission %s, which you do not hold yourself for the whole fleet and for as long", what, p)
}

// role finds a role by name.
func (a *api) role(ctx context.Context, name string) (access.Role, bool, error) {
	roles, err := a.cfg.Roles.Roles(ctx)
	i := slices.IndexFunc(roles, func(r access.Role) bool { return r.Name == name })
	if err != nil || i < 0 {
		return access.Role{}, false, err
	}
	return roles[i], true, nil
}

// rightsOf is what a person or client may do now.
func (a *api) rightsOf(ctx context.Context, kind access.SubjectKind, subject string) (access.Rights, error) {
	if subject == "" {
		return access.Rights{}, nil
	}
	grants, err := a.cfg.Roles.Grants(ctx, kind, subject)
	if err != nil {
		return access.Rights{}, err
	}
	roles, err := a.cfg.Roles.Roles(ctx)
	if err != nil {
		return access.Rights{}, err
	}
	return access.Resolve(grants, func(name string) (access.Role, bool) {
		i := slices.IndexFunc(roles, func(r access.Role) bool { return r.Name == name })
		if i < 0 {
			return access.Role{}, false
		}
		return roles[i], true
	}, nil, a.now()), nil
}

// noMoreThan refuses when a subject may do something that the caller may not; of
// a key that has only some permissions, these count.
func (a *api) noMoreThan(ctx context.Context, id access.Identity, kind access.SubjectKind, subject, what string, only []access.Permission, until time.Time) error {
	theirs, err := a.rightsOf(ctx, kind, subject)
	if err != nil {
		return err
	}
	for _, p := range theirs.Held(a.now()) {
		if (only == nil || slices.Contains(only, p)) && !a.holds(id, p, until) {
			return moreThanOwn(what, p)
		}
	}
	return nil
}

// guard of a grant: nobody gives a role to themselves, or one with more than they
// have.
func (in *grantPost) guard(ctx context.Context, a *api, id access.Identity, _ rule) error {
	g := in.Body
	own := g.Kind == access.ToPerson && id.Actor.Kind == access.Human || g.Kind == access.ToClient && id.Actor.Kind == access.Client
	if own && (g.Subject == id.Actor.ID || g.Kind == access.ToClient && g.Subject == id.Name) {
		return refusal.New(refusal.Forbidden, "own-grant", "ask another administrator", "nobody gives a role to themselves")
	}
	r, ok, err := a.role(ctx, g.Role)
	if err != nil || !ok { // an unknown one is told later
		return err
	}
	for _, p := range r.Permissions {
		if !a.holds(id, p, g.ExpiresAt) {
			return moreThanOwn("the role "+g.Role, p)
		}
	}
	return nil
}

// guard of an update: who widens a role could have it.
func (in *rolePut) guard(ctx context.Context, a *api, id access.Identity, _ rule) error {
	r, ok, err := a.role(ctx, in.Name)
	if err != nil || !ok {
		return err
	}
	for _, p := range in.Body.Permissions {
		if p.Known() && !r.Has(p) && !a.holds(id, p, time.Time{}) {
			return moreThanOwn("the role as it would be", p)
		}
	}
	return nil
}

func (in *grantDelete) reason() string { return in.Reason }

// exempt tells that taking a role back needs a second person only where it takes
// a second person away: else one of two could send the other away first and then
// decide alone. Who gives up a role of their own needs nobody.
func (in *grantDelete) exempt(ctx context.Context, a *api) (bool, error) {
	id, err := identity(ctx)
	if err != nil {
		return false, err
	}
	grants, err := a.cfg.Roles.Grants(ctx, access.ToPerson, "")
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(grants, func(g access.Grant) bool { return g.ID == in.ID })
	if i < 0 || id.Actor.Kind == access.Human && grants[i].Subject == id.Actor.ID {
		return true, nil
	}
	r, _, err := a.role(ctx, grants[i].Role)
	return !r.Has(access.ApprovalDecide), err
}

// client finds the id of a client by id or name; one that does not exist has none.
func (a *api) client(ctx context.Context, idOrName string) (string, error) {
	c, _, err := a.cfg.Clients.Client(ctx, idOrName)
	if refusal.As(err) != nil && refusal.As(err).Kind == refusal.NotFound {
		return "", nil
	}
	return c.ID, err
}

// guard of a new key: it acts as the client.
func (in *keyPost) guard(ctx context.Context, a *api, id access.Identity, _ rule) error {
	life := time.Duration(in.Body.ValidFor)
	if life == 0 {
		life = defaultKeyLife
	}
	c, err := a.client(ctx, in.ID)
	if err != nil {
		return err
	}
	return a.noMoreThan(ctx, id, access.ToClient, c, "the client", in.Body.Permissions, a.now().Add(life))
}

// guard of a client secret: it acts as the client. Removing one needs no more
// than the operation's permission.
func (in *clientName) guard(ctx context.Context, a *api, id access.Identity, rule rule) error {
	if rule.id != "create-client-secret" {
		return nil
	}
	return a.guardClient(ctx, id, in.ID)
}

// guard of an update: other public keys act as the client, and other networks let
// a stolen key in.
func (in *clientPut) guard(ctx context.Context, a *api, id access.Identity, _ rule) error {
	return a.guardClient(ctx, id, in.ID)
}

// guard of enabling a client. Disabling is the safe side.
func (in *clientMove) guard(ctx context.Context, a *api, id access.Identity, rule rule) error {
	if rule.id != "enable-client" {
		return nil
	}
	return a.guardClient(ctx, id, in.ID)
}

func (a *api) guardClient(ctx context.Context, id access.Identity, client string) error {
	c, err := a.client(ctx, client)
	if err != nil {
		return err
	}
	return a.noMoreThan(ctx, id, access.ToClient, c, "the client", nil, time.Time{})
}

// guard of what is done with an account: a new link is a way into it, and enabling
// lets somebody in again. Disabling, erasing and signing out are the safe side.
func (in *personMove) guard(ctx context.Context, a *api, id access.Identity, rule rule) error {
	if rule.id != "reinvite-person" && rule.id != "enable-person" {
		return nil
	}
	return a.noMoreThan(ctx, id, access.ToPerson, string(in.ID), "this person", nil, time.Time{})
}

func (in *personMove) reason() string { return in.Body.Reason }

// exempt tells that what ends or opens an account needs a second person only where
// it is one's who decides on requests: see grantDelete.
func (in *personMove) exempt(ctx context.Context, a *api) (bool, error) {
	theirs, err := a.rightsOf(ctx, access.ToPerson, string(in.ID))
	return err == nil && !theirs.Has(access.ApprovalDecide, a.now()), err
}

// exempt tells that only making somebody's account one for emergencies needs a
// second person: it does not count among those who decide on requests.
func (in *personPut) exempt(ctx context.Context, a *api) (bool, error) {
	if !in.Body.BreakGlass {
		return true, nil
	}
	theirs, err := a.rightsOf(ctx, access.ToPerson, string(in.ID))
	return err == nil && !theirs.Has(access.ApprovalDecide, a.now()), err
}

// guard of an update: an account for emergencies needs no second person, so that
// nobody makes their own one, and a name may be what an account is found by.
func (in *personPut) guard(ctx context.Context, a *api, id access.Identity, _ rule) error {
	if id.Actor.Kind == access.Human && id.Actor.ID == string(in.ID) {
		if in.Body.BreakGlass {
			return refusal.New(refusal.Forbidden, "own-grant", "ask another administrator", "nobody makes their own account one for emergencies")
		}
		return nil
	}
	return a.noMoreThan(ctx, id, access.ToPerson, string(in.ID), "this person", nil, time.Time{})
}

// exempt tells that a change of a zone needs a second person only where it takes
// the zone out of production: what is asked of policies in production would not be
// asked any more.
func (in *zonePut) exempt(ctx context.Context, a *api) (bool, error) {
	if in.Body.Production {
		return true, nil
	}
	z, err := a.cfg.Zones.Zone(ctx, in.Name)
	if r := refusal.As(err); r != nil && r.Kind == refusal.NotFound {
		return true, nil
	}
	return !z.Production, err
}
