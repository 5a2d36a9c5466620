package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/oauth"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// apiKeyPrefix lets scanners find a key that leaked.
const apiKeyPrefix = "hfk"

// randomCode is n random bytes as lower-case letters and digits.
func randomCode(n int) string {
	raw := make([]byte, n)
	rand.Read(raw) // never fails (Go 1.24)
	return appTokenCode.EncodeToString(raw)
}

// Clients lists API clients by name.
func (s *Server) Clients(ctx context.Context) ([]access.APIClient, error) {
	rows, err := s.store.APIClients(ctx)
	list := make([]access.APIClient, len(rows))
	for i, r := range rows {
		list[i] = r.APIClient
	}
	return list, err
}

// Client shows one with its keys.
func (s *Server) Client(ctx context.Context, id string) (access.APIClient, []access.Key, error) {
	c, err := s.store.APIClient(ctx, id)
	if err != nil {
		return access.APIClient{}, nil, missing(err, "client", id)
	}
	rows, err := s.store.APIKeys(ctx, c.ID)
	keys := make([]access.Key, len(rows))
	for i, r := range rows {
		keys[i] = r.Key
	}
	return c.APIClient, keys, err
}

// CreateClient makes a client that may do nothing yet.
func (s *Server) CreateClient(ctx context.Context, by access.Actor, c access.APIClient) (access.APIClient, error) {
	if c.Name == adminToken {
		return c, refusal.New(refusal.Conflict, "client-exists", "choose another name", "the name admin belongs to the token of the data folder")
	}
	if err := checkKeys(c.JWKS); err != nil {
		return c, err
	}
	c.ID, c.CreatedAt, c.CreatedBy, c.Version = newSubjectID("c"), s.now(), by.String(), 1
	err := s.store.InsertAPIClient(ctx, c, s.event(by, "client.created", "client", c.ID, "name", c.Name, "networks", networkList(c)))
	return c, exists(err, "client", c.Name)
}

func networkList(c access.APIClient) string {
	var texts []string
	for _, n := range c.Networks {
		texts = append(texts, n.String())
	}
	return strings.Join(texts, " ")
}

// checkKeys accepts no key set, or one of public signing keys.
func checkKeys(jwks string) error {
	if jwks == "" {
		return nil
	}
	return oauth.CheckClientKeys(jwks)
}

// UpdateClient replaces what may change.
func (s *Server) UpdateClient(ctx context.Context, by access.Actor, c access.APIClient) (access.APIClient, error) {
	if err := checkKeys(c.JWKS); err != nil {
		return c, err
	}
	old, err := s.store.APIClient(ctx, c.ID)
	if err != nil {
		return c, missing(err, "client", c.ID)
	}
	c.ID, c.Name, c.Disabled, c.CreatedAt, c.CreatedBy, c.HasSecret, c.UsedDay = old.ID, old.Name, old.Disabled, old.CreatedAt, old.CreatedBy, old.HasSecret, old.UsedDay
	c.Version++
	return c, s.putClient(ctx, c, s.event(by, "client.updated", "client", c.ID, "networks", networkList(c)))
}

func (s *Server) putClient(ctx context.Context, c access.APIClient, e audit.Event) error {
	if err := s.store.UpdateAPIClient(ctx, c, s.now(), e); err != nil {
		return stale(err, "client", c.Name)
	}
	s.announceAccess("client/" + c.ID)
	return nil
}

// SetClientDisabled disables a client or enables it; keys and tokens of a disabled
// one are refused.
func (s *Server) SetClientDisabled(ctx context.Context, by access.Actor, id string, disabled bool, reason string) (access.APIClient, error) {
	row, err := s.store.APIClient(ctx, id)
	if err != nil {
		return access.APIClient{}, missing(err, "client", id)
	}
	c, action := row.APIClient, "client.enabled"
	if disabled {
		action = "client.disabled"
	}
	if c.Disabled == disabled {
		return c, refusal.New(refusal.Conflict, "nothing-to-do", "nothing to do", "the client %s is so already", c.Name)
	}
	c.Disabled = disabled
	c.Version++
	return c, s.putClient(ctx, c, s.event(by, action, "client", c.ID, "reason", reason))
}

// CreateKey makes a key of 200 random bits; its secret is returned once and never
// stored.
func (s *Server) CreateKey(ctx context.Context, by access.Actor, client string, in adminapi.KeyInput) (access.Key, enroll.Secret, error) {
	c, err := s.store.APIClient(ctx, client)
	if err != nil {
		return access.Key{}, enroll.Secret{}, missing(err, "client", client)
	}
	for _, p := range in.Permissions {
		if !p.Known() {
			return access.Key{}, enroll.Secret{}, invalid("bad-permission", "list them with `holdfast role permissions`", "%.64q is no permission", string(p))
		}
	}
	secret := randomCode(25)
	k := sqlstore.APIKey{Key: access.Key{ID: randomCode(10), Client: c.ID, Note: audit.Text(in.Note, 256), Permissions: in.Permissions,
		CreatedAt: s.now(), CreatedBy: by.String(), ExpiresAt: s.now().Add(time.Duration(in.ValidFor)).Truncate(time.Second)}, Hash: sha256.Sum256([]byte(secret))}
	err = s.store.InsertAPIKey(ctx, k, s.event(by, "client.key_created", "client", c.ID, "key", k.ID, "permissions", permissionList(k.Permissions),
		"expires_at", k.ExpiresAt.UTC().Format(time.RFC3339), "note", k.Note))
	if err != nil {
		return access.Key{}, enroll.Secret{}, err
	}
	return k.Key, enroll.NewSecret(apiKeyPrefix + "_" + k.ID + "_" + secret), nil
}

// RevokeKey ends a key on every node.
func (s *Server) RevokeKey(ctx context.Context, by access.Actor, client, key string) error {
	c, err := s.store.APIClient(ctx, client)
	if err != nil {
		return missing(err, "client", client)
	}
	if k, err := s.store.APIKey(ctx, key); err != nil || k.Client != c.ID {
		if err == nil {
			err = sqlstore.ErrNotFound
		}
		return missing(err, "key", key)
	}
	err = s.store.RevokeAPIKey(ctx, c.ID, key, s.now(), s.event(by, "client.key_revoked", "client", c.ID, "key", key))
	if isChanged(err) {
		return refusal.New(refusal.Conflict, "key-revoked", "nothing to do", "the key %s is revoked already", key)
	}
	if err == nil {
		s.announceAccess("key/" + key)
	}
	return err
}

// NewSecret makes a client secret of 200 random bits in place of the one before.
func (s *Server) NewSecret(ctx context.Context, by access.Actor, client string) (enroll.Secret, error) {
	c, err := s.store.APIClient(ctx, client)
	if err != nil {
		return enroll.Secret{}, missing(err, "client", client)
	}
	secret, hash := oauth.NewClientSecret()
	if err := s.store.SetClientSecret(ctx, c.ID, hash[:], s.now(), s.event(by, "client.secret_created", "client", c.ID)); err != nil {
		return enroll.Secret{}, stale(err, "client", client)
	}
	s.announceAccess("client/" + c.ID)
	return secret, nil
}

// RemoveSecret ends a client's secret.
func (s *Server) RemoveSecret(ctx context.Context, by access.Actor, client string) error {
	c, err := s.store.APIClient(ctx, client)
	if err != nil {
		return missing(err, "client", client)
	}
	if err := s.store.SetClientSecret(ctx, c.ID, nil, s.now(), s.event(by, "client.secret_removed", "client", c.ID)); err != nil {
		return stale(err, "client", client)
	}
	s.announceAccess("client/" + c.ID)
	return nil
}
