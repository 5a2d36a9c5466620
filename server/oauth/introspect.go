package oauth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// introspection is RFC 7662 section 2.2. Whatever is wrong, also that the caller
// may not see the token, is the one answer that it is not active.
type introspection struct {
	Active   bool     `json:"active"`
	Scope    string   `json:"scope,omitempty"`
	Client   string   `json:"client_id,omitempty"`
	Type     string   `json:"token_type,omitempty"`
	Expires  int64    `json:"exp,omitempty"`
	IssuedAt int64    `json:"iat,omitempty"`
	Subject  string   `json:"sub,omitempty"`
	Audience string   `json:"aud,omitempty"`
	Issuer   string   `json:"iss,omitempty"`
	ID       string   `json:"jti,omitempty"`
	AuthTime int64    `json:"auth_time,omitempty"`
	Methods  []string `json:"amr,omitempty"`
}

// own proves an access token of this server, with all that can change about it.
func (s *Server) own(ctx context.Context, token string) (Claims, error) {
	p, err := parseToken(token, asymmetric)
	if err != nil || p.claims.Issuer != s.cfg.Issuer {
		return Claims{}, rejected(Malformed)
	}
	c, err := s.proveOwn(ctx, p, s.cfg.Now())
	if err != nil {
		return Claims{}, err
	}
	if s.revoked.has(c.ID) {
		return Claims{}, rejected(Revoked)
	}
	k := known{Claims: c, own: true}
	err = s.recheck(ctx, &k)
	return k.Claims, err
}

// introspect is the introspection endpoint. A client sees its own tokens; with
// the permission client.read it sees all.
func (s *Server) introspect(r *request) (any, error) {
	c, err := s.authenticate(r)
	if err != nil {
		return nil, err
	}
	if c.cli() {
		return nil, no("unauthorized_client", "this client may not ask about tokens")
	}
	if r.form["token"] == "" {
		return nil, no("invalid_request", "there is no token")
	}
	t, err := s.own(r.Context(), r.form["token"])
	var wrong *Rejected
	if errors.As(err, &wrong) {
		return introspection{}, nil
	}
	if err != nil {
		return nil, err
	}
	if t.Client != c.ID {
		rights, err := s.held(r.Context(), c, r.source)
		if err != nil {
			return nil, err
		}
		if !rights.Has(access.ClientRead, s.cfg.Now()) {
			return introspection{}, nil
		}
	}
	out := introspection{Active: true, Client: t.Client, Type: "Bearer", Expires: t.ExpiresAt.Unix(), IssuedAt: t.IssuedAt.Unix(),
		Subject: t.Subject, Audience: s.audience(), Issuer: t.Issuer, ID: t.ID, Methods: t.Methods}
	if !t.AuthTime.IsZero() {
		out.AuthTime = t.AuthTime.Unix()
	}
	var names []string
	for _, p := range t.Scope {
		names = append(names, string(p))
	}
	out.Scope = strings.Join(names, " ")
	return out, nil
}

// revoke is the revocation endpoint (RFC 7009). A token that is not good any
// more, or never was, is revoked as far as its holder is concerned.
func (s *Server) revoke(r *request) (any, error) {
	c, err := s.authenticate(r)
	if err != nil {
		return nil, err
	}
	if r.form["token"] == "" {
		return nil, no("invalid_request", "there is no token")
	}
	if secret, _, ok := s.readRefresh(r.form.secret("token")); ok && c.cli() {
		id, err := s.cfg.SignIns.EndCLI(r.Context(), secret, r.source)
		if err != nil {
			return nil, fmt.Errorf("ending a sign-in: %w", err)
		}
		if id != "" {
			s.Forget(id)
		}
		return nil, nil
	}
	t, err := s.own(r.Context(), r.form["token"])
	var wrong *Rejected
	if errors.As(err, &wrong) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if t.Client != c.ID {
		return nil, no("invalid_grant", "the token is not of this client")
	}
	by := c.actor(r.source)
	if t.Kind == access.Human {
		by = access.Actor{Kind: access.Human, ID: string(t.Person), Source: sourceText(r.source)}
	}
	return nil, s.takeBack(r.Context(), by, t)
}

// takeBack revokes an access token. From the commit on it stays revoked on all
// nodes, after a crash too; the others hear of it within seconds.
func (s *Server) takeBack(ctx context.Context, by access.Actor, t Claims) error {
	now := s.cfg.Now()
	until := t.ExpiresAt.Add(leeway)
	err := s.cfg.Store.RevokeAccessToken(ctx, t.ID, until, now, s.cfg.Event(by, "access_token.revoked", "access_token", t.ID))
	if err != nil && !errors.Is(err, sqlstore.ErrChanged) {
		return err
	}
	s.Revoked(t.ID)
	s.cfg.Announce()
	return nil
}
