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

// Authenticate proves who calls the admin API. Failures cost the source from a
// small budget; when that is spent it is told to wait. A valid token always
// passes, so that nobody can lock out others who share an address.
func (s *Server) Authenticate(ctx context.Context, token, source string) (access.Actor, error) {
	addr, _ := netip.ParseAddr(source)
	wrong := func() (access.Actor, error) {
		s.metrics.refusals.WithLabelValues("bad-api-token").Inc()
		s.recordRefusal(ctx, s.event(access.Actor{Kind: access.Anonymous, ID: "anonymous", Source: addrText(addr)}, "api.authentication_refused", "", ""), "the API token is missing or not valid")
		if !s.logins.allow(addr) {
			return access.Actor{}, refusal.New(refusal.TooMany, "too-many-failures", "wait a few seconds", "too many requests with wrong tokens come from this address")
		}
		return access.Actor{}, refusal.New(refusal.Unauthenticated, "bad-api-token", "use the token of the admin_token_file that run/ready.json names", "the API token is missing or not valid")
	}
	parts := strings.Split(token, "_")
	if len(token) > 256 || len(parts) != 3 || parts[0] != apiTokenPrefix {
		return wrong()
	}
	t, err := s.store.APITokenByID(ctx, parts[1])
	if errors.Is(err, sqlstore.ErrNotFound) {
		return wrong()
	}
	if err != nil {
		return access.Actor{}, err
	}
	sum := sha256.Sum256([]byte(parts[2]))
	if subtle.ConstantTimeCompare(sum[:], t.Hash) != 1 {
		return wrong()
	}
	return access.Actor{Kind: access.Client, ID: t.Name, Source: addrText(addr)}, nil
}
