package server

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// identities remembers for a short time what people and programs may do, so that
// a request costs no query. Control events make it forget; the time bounds what a
// lost one could cost.
type identities struct {
	mu      sync.Mutex
	roles   map[string]access.Role   // custom ones; nil: not read; guarded by mu
	grants  map[string]knownGrants   // by kind/subject; guarded by mu
	clients map[string]knownClient   // by id; guarded by mu
	keys    map[string]knownKey      // by id; guarded by mu
	people  map[string]knownPerson   // by id; guarded by mu
	used    map[permissionUse]int64  // the day written or about to be; guarded by mu
	pending []sqlstore.PermissionUse // to be written; guarded by mu
	changes uint64                   // what was read before one is not kept; guarded by mu
}

type (
	knownGrants struct {
		list []access.Grant
		read time.Time
	}
	knownClient struct {
		sqlstore.APIClient
		read time.Time
	}
	knownKey struct {
		sqlstore.APIKey
		read time.Time
	}
	knownPerson struct {
		access.Person
		read time.Time
	}
	permissionUse struct {
		kind       access.SubjectKind
		subject    string
		permission access.Permission
	}
)

const (
	identityTime  = 15 * time.Second
	maxIdentities = 10_000
)

// forget drops what a control event is about.
func (c *identities) forget(subject string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	kind, id, _ := strings.Cut(subject, "/")
	switch kind {
	case "role":
		c.roles = nil
	case "client":
		delete(c.clients, id)
		delete(c.grants, subject)
	case "person":
		delete(c.people, id)
		delete(c.grants, subject)
	case "key":
		delete(c.keys, id)
	}
}

// remember keeps a value that was read when changes was current.
func remember[V any](c *identities, into *map[string]V, key string, v V, changes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if changes != c.changes {
		return
	}
	if *into == nil || len(*into) >= maxIdentities {
		*into = map[string]V{}
	}
	(*into)[key] = v
}

// cached finds a remembered value; changes is to be handed to remember.
func cached[V any](c *identities, from *map[string]V, key string, fresh func(V) bool) (v V, changes uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok = (*from)[key]
	return v, c.changes, ok && fresh(v)
}

func (s *Server) fresh(read time.Time) bool { return s.now().Sub(read) < identityTime }

// roleTable finds roles by name, as of now.
func (s *Server) roleTable(ctx context.Context) (func(string) (access.Role, bool), error) {
	c := &s.identities
	c.mu.Lock()
	custom, changes := c.roles, c.changes
	c.mu.Unlock()
	if custom == nil {
		list, err := s.store.Roles(ctx)
		if err != nil {
			return nil, err
		}
		custom = map[string]access.Role{}
		for _, r := range list {
			custom[r.Name] = r
		}
		c.mu.Lock()
		if changes == c.changes {
			c.roles = custom
		}
		c.mu.Unlock()
	}
	return func(name string) (access.Role, bool) {
		if r, ok := access.Builtin(name); ok {
			return r, true
		}
		r, ok := custom[name]
		return r, ok
	}, nil
}

func (s *Server) grantsOf(ctx context.Context, kind access.SubjectKind, subject string) ([]access.Grant, error) {
	key := string(kind) + "/" + subject
	known, changes, ok := cached(&s.identities, &s.identities.grants, key, func(k knownGrants) bool { return s.fresh(k.read) })
	if ok {
		return known.list, nil
	}
	list, err := s.store.Grants(ctx, kind, subject)
	if err == nil {
		remember(&s.identities, &s.identities.grants, key, knownGrants{list, s.now()}, changes)
	}
	return list, err
}

// rightsOf is what a person or client may do now; only narrows it to a token's
// permissions.
func (s *Server) rightsOf(ctx context.Context, kind access.SubjectKind, subject string, only []access.Permission) (access.Rights, []string, error) {
	roles, err := s.roleTable(ctx)
	if err != nil {
		return access.Rights{}, nil, err
	}
	grants, err := s.grantsOf(ctx, kind, subject)
	if err != nil {
		return access.Rights{}, nil, err
	}
	var names []string
	for _, g := range grants {
		if g.Live(s.now()) {
			names = append(names, g.Role)
		}
	}
	return access.Resolve(grants, roles, only, s.now()), names, nil
}

// personRights is what a person may do now.
func (s *Server) personRights(ctx context.Context, id access.PersonID) (access.Rights, error) {
	r, _, err := s.rightsOf(ctx, access.ToPerson, string(id), nil)
	return r, err
}

// used notes that a permission was used, once a day for each.
func (s *Server) used(id access.Identity, p access.Permission) {
	kind := access.ToPerson
	switch {
	case id.Rights.IsRoot():
		return
	case id.Actor.Kind == access.Client:
		kind = access.ToClient
	}
	today := s.now().Unix() / 86400
	c := &s.identities
	c.mu.Lock()
	defer c.mu.Unlock()
	key := permissionUse{kind, id.Actor.ID, p}
	if c.used[key] >= today {
		return
	}
	if c.used == nil || len(c.used) >= 10*maxIdentities {
		c.used = map[permissionUse]int64{}
	}
	c.used[key] = today
	c.pending = append(c.pending, sqlstore.PermissionUse{Kind: kind, Subject: id.Actor.ID, Permission: p, Day: today})
}

// useFlush is how often noted uses are written.
const useFlush = 10 * time.Second

// recordUses writes what was used; what a crash loses is noted again at the next
// use.
func (s *Server) recordUses(ctx context.Context) error {
	tick := time.NewTicker(useFlush)
	defer tick.Stop()
	for {
		stop := false
		select {
		case <-ctx.Done():
			stop = true
		case <-tick.C:
		}
		s.flushUses(context.WithoutCancel(ctx))
		if stop {
			return nil
		}
	}
}

func (s *Server) flushUses(ctx context.Context) {
	c := &s.identities
	c.mu.Lock()
	pending := c.pending
	c.pending = nil
	c.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	if err := s.store.PutPermissionUses(ctx, pending); err != nil {
		s.log.Warn("recording which permissions were used", "err", err)
		c.mu.Lock()
		for _, u := range pending { // to be noted again
			delete(c.used, permissionUse{u.Kind, u.Subject, u.Permission})
		}
		c.mu.Unlock()
	}
}

// apiClient finds an API client by id.
func (s *Server) apiClient(ctx context.Context, id string) (sqlstore.APIClient, error) {
	known, changes, ok := cached(&s.identities, &s.identities.clients, id, func(k knownClient) bool { return s.fresh(k.read) })
	if ok {
		return known.APIClient, nil
	}
	c, err := s.store.APIClient(ctx, id)
	if err == nil {
		remember(&s.identities, &s.identities.clients, c.ID, knownClient{c, s.now()}, changes)
	}
	return c, err
}

func (s *Server) apiKey(ctx context.Context, id string) (sqlstore.APIKey, error) {
	known, changes, ok := cached(&s.identities, &s.identities.keys, id, func(k knownKey) bool { return s.fresh(k.read) })
	if ok {
		return known.APIKey, nil
	}
	k, err := s.store.APIKey(ctx, id)
	if err == nil {
		remember(&s.identities, &s.identities.keys, id, knownKey{k, s.now()}, changes)
	}
	return k, err
}

// clientIdentity is a program that was proven, with its rights.
func (s *Server) clientIdentity(ctx context.Context, c sqlstore.APIClient, only []access.Permission, source, session, method string) (access.Identity, error) {
	rights, roles, err := s.rightsOf(ctx, access.ToClient, c.ID, only)
	return access.Identity{Actor: access.Actor{Kind: access.Client, ID: c.ID, Source: source}, Name: c.Name, Rights: rights, Roles: roles,
		Session: session, Proof: access.Proof{Method: method, Program: true}}, err
}

// Requester implements adminapi.Approvals: who asked, with the rights that they
// have now. Who may not act any more gets none.
func (s *Server) Requester(ctx context.Context, a access.Approval) (access.Identity, error) {
	gone := refusal.New(refusal.Forbidden, "requester-gone", "ask again as somebody else", "who asked for this cannot act any more")
	kind, id, _ := strings.Cut(a.RequestedBy, ":")
	switch access.Kind(kind) {
	case access.Human:
		p, err := s.person(ctx, access.PersonID(id))
		if errors.Is(err, sqlstore.ErrNotFound) || err == nil && p.State != access.PersonActive {
			return access.Identity{}, gone
		}
		if err != nil {
			return access.Identity{}, err
		}
		return s.personIdentity(ctx, p, nil, "", "", access.Proof{Method: "approval", Strong: true})
	case access.Client:
		c, err := s.apiClient(ctx, id)
		if errors.Is(err, sqlstore.ErrNotFound) && id == adminToken {
			return access.Identity{Actor: access.Actor{Kind: access.Client, ID: id}, Rights: access.Root(), Proof: access.Proof{Method: "approval", Program: true}}, nil
		}
		if errors.Is(err, sqlstore.ErrNotFound) || err == nil && c.Disabled {
			return access.Identity{}, gone
		}
		if err != nil {
			return access.Identity{}, err
		}
		return s.clientIdentity(ctx, c, nil, "", "", "approval")
	}
	return access.Identity{}, gone
}

// adminToken is the name that the token of the data folder acts under.
const adminToken = "admin"

// limit takes one request from the allowance of who calls.
func (s *Server) limit(id access.Identity) adminapi.Allowance {
	if id.Rights.IsRoot() {
		return adminapi.Allowance{}
	}
	quota, policy := s.cfg.Access.Rate, "person"
	if id.Actor.Kind == access.Client {
		policy = "client"
		known, _, ok := cached(&s.identities, &s.identities.clients, id.Actor.ID, func(knownClient) bool { return true })
		if ok && known.Rate > 0 {
			quota = known.Rate
		}
	}
	return s.allowances.take(id.Actor.String(), policy, quota, s.now())
}

// person finds an account, as remembered for a short time.
func (s *Server) person(ctx context.Context, id access.PersonID) (access.Person, error) {
	known, changes, ok := cached(&s.identities, &s.identities.people, string(id), func(k knownPerson) bool { return s.fresh(k.read) })
	if ok {
		return known.Person, nil
	}
	p, _, err := s.store.Person(ctx, id)
	if err == nil {
		remember(&s.identities, &s.identities.people, string(id), knownPerson{p, s.now()}, changes)
	}
	return p, err
}
