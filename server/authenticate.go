package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/netip"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// apiTokenPrefix lets scanners find a token that leaked into a repository.
const apiTokenPrefix = "hfa"

// addrText is an address, or nothing when there is none.
func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// recordRefusal writes an event about a refused request, within a budget that
// outsiders together cannot exceed; metrics count the rest.
func (s *Server) recordRefusal(ctx context.Context, e audit.Event, why string) {
	if !s.refusals.allow(allSources) {
		return
	}
	e.Outcome, e.Reason = audit.Refused, audit.Text(why, 1024)
	if err := s.store.AppendOutbox(ctx, e); err != nil {
		s.log.Warn("recording a refused request", "action", e.Action, "err", err)
	}
}

// Authenticate proves who calls the admin API: with the admin token, a key of an
// API client, or an access token. Failures cost the source from a
// small budget; when that is spent it is told to wait. A valid token always
// passes, so that nobody can lock out others who share an address.
func (s *Server) Authenticate(ctx context.Context, token, source string) (access.Identity, error) {
	addr, _ := netip.ParseAddr(source)
	id, why, err := s.proveToken(ctx, token, addr)
	if err != nil || why == "" {
		return id, err
	}
	s.metrics.refusals.WithLabelValues("bad-api-token").Inc()
	s.recordRefusal(ctx, s.event(access.Actor{Kind: access.Anonymous, ID: "anonymous", Source: addrText(addr)}, "api.authentication_refused", "", ""), why)
	if !s.logins.allow(addr) {
		return access.Identity{}, refusal.New(refusal.TooMany, "too-many-failures", "wait a few seconds", "too many requests with wrong tokens come from this address")
	}
	return access.Identity{}, refusal.New(refusal.Unauthenticated, "bad-api-token", "sign in with `holdfast login`, or use a key of an API client", "the API token is missing or not valid")
}

// proveToken finds whose token it is. why says, for the audit log, why it is not
// accepted; callers are told the same for every reason.
func (s *Server) proveToken(ctx context.Context, token string, addr netip.Addr) (id access.Identity, why string, err error) {
	switch prefix, _, _ := strings.Cut(token, "_"); prefix {
	case apiTokenPrefix:
		return s.proveAdmin(ctx, token, addr)
	case apiKeyPrefix:
		return s.proveKey(ctx, token, addr)
	}
	if strings.Count(token, ".") == 2 {
		return s.proveAccessToken(ctx, token, addr)
	}
	return id, "the API token is missing or not valid", nil
}

const noSuchToken = "the API token is missing or not valid"

func (s *Server) proveAdmin(ctx context.Context, token string, addr netip.Addr) (id access.Identity, why string, err error) {
	parts := strings.Split(token, "_")
	if len(token) > 256 || len(parts) != 3 {
		return id, noSuchToken, nil
	}
	t, err := s.store.APITokenByID(ctx, parts[1])
	if errors.Is(err, sqlstore.ErrNotFound) {
		return id, noSuchToken, nil
	}
	if err != nil {
		return id, "", err
	}
	sum := sha256.Sum256([]byte(parts[2]))
	if subtle.ConstantTimeCompare(sum[:], t.Hash) != 1 {
		return id, noSuchToken, nil
	}
	return access.Identity{Actor: access.Actor{Kind: access.Client, ID: t.Name, Source: addrText(addr)}, Name: t.Name, Rights: access.Root(),
		Proof: access.Proof{Method: "root", Strong: true, Program: true}}, "", nil
}

func (s *Server) proveKey(ctx context.Context, token string, addr netip.Addr) (id access.Identity, why string, err error) {
	parts := strings.Split(token, "_")
	if len(token) > 128 || len(parts) != 3 || len(parts[1]) != 16 || len(parts[2]) != 40 {
		return id, noSuchToken, nil
	}
	k, err := s.apiKey(ctx, parts[1])
	if errors.Is(err, sqlstore.ErrNotFound) {
		return id, noSuchToken, nil
	}
	if err != nil {
		return id, "", err
	}
	sum := sha256.Sum256([]byte(parts[2]))
	if subtle.ConstantTimeCompare(sum[:], k.Hash[:]) != 1 {
		return id, noSuchToken, nil
	}
	c, err := s.apiClient(ctx, k.Client)
	if err != nil {
		return id, "", err
	}
	switch {
	case !k.RevokedAt.IsZero():
		return id, "the API key " + k.ID + " is revoked", nil
	case !s.now().Before(k.ExpiresAt):
		return id, "the API key " + k.ID + " has expired", nil
	}
	if why := s.admitsClient(c, addr); why != "" {
		return id, why, nil
	}
	if today := s.now().Unix() / 86400; k.UsedOn < today {
		if err := s.store.UsedAPIKey(ctx, c.ID, k.ID, today); err != nil {
			s.log.Warn("recording the use of an API key", "key", k.ID, "err", err)
		}
		s.identities.forget("key/" + k.ID)
	}
	id, err = s.clientIdentity(ctx, c, k.Permissions, addrText(addr), k.ID, "key")
	return id, "", err
}

// admitsClient says why a client may not call now from an address.
func (s *Server) admitsClient(c sqlstore.APIClient, addr netip.Addr) string {
	switch {
	case c.Disabled:
		return "the API client " + c.ID + " is disabled"
	case !c.Admits(addr):
		return "the API client " + c.ID + " may not call from this address"
	}
	return ""
}
