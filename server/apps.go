package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
	"github.com/holdfast-iot/holdfast/enroll"
	"github.com/holdfast-iot/holdfast/policy/manifest"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// appTokenPrefix lets scanners find a token that leaked into a repository.
const appTokenPrefix = "hfm"

var appTokenCode = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// declaredApp is the manifest of an app in the newest policy; without one an app
// gets no credentials.
func (s *Server) declaredApp(ctx context.Context, name string) (manifest.App, error) {
	p, err := s.currentPolicy(ctx)
	if err != nil {
		return manifest.App{}, err
	}
	for _, a := range p.Manifests.Apps {
		if a.Name == name {
			return a, nil
		}
	}
	return manifest.App{}, refusal.New(refusal.NotFound, "no-such-app", "declare it with a manifest of kind App, and apply that", "the active policy has no app %.64q", name)
}

// Apps lists the apps of the newest policy, and those that have tokens.
func (s *Server) Apps(ctx context.Context) ([]adminapi.App, error) {
	p, err := s.currentPolicy(ctx)
	if err != nil {
		return nil, err
	}
	tokens, err := s.store.AppTokens(ctx, "")
	if err != nil {
		return nil, err
	}
	apps := map[string]*adminapi.App{}
	for _, a := range p.Manifests.Apps {
		apps[a.Name] = &adminapi.App{Name: a.Name, Description: a.Description, Audience: a.Audience, Declared: true}
	}
	for _, t := range tokens {
		if !t.RevokedAt.IsZero() || !s.now().Before(t.ExpiresAt) {
			continue
		}
		if apps[t.App] == nil {
			apps[t.App] = &adminapi.App{Name: t.App}
		}
		apps[t.App].Tokens++
	}
	var list []adminapi.App
	for _, a := range apps {
		list = append(list, *a)
	}
	slices.SortFunc(list, func(a, b adminapi.App) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// AppTokens lists an app's tokens, newest first.
func (s *Server) AppTokens(ctx context.Context, app string) ([]adminapi.AppToken, error) {
	rows, err := s.store.AppTokens(ctx, app)
	list := make([]adminapi.AppToken, len(rows))
	for i, t := range rows {
		list[i] = appTokenView(t)
	}
	return list, err
}

func appTokenView(t sqlstore.AppToken) adminapi.AppToken {
	v := adminapi.AppToken{ID: t.ID, App: t.App, CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy, ExpiresAt: t.ExpiresAt, Note: t.Note, RevokedAt: t.RevokedAt}
	if t.UsedDay > 0 {
		v.LastUsed = time.Unix(t.UsedDay*86400, 0).UTC().Format(time.DateOnly)
	}
	return v
}

// CreateAppToken makes a token of 200 random bits; its secret is returned once and
// never stored.
func (s *Server) CreateAppToken(ctx context.Context, by access.Actor, app string, validFor time.Duration, note string) (adminapi.AppToken, enroll.Secret, error) {
	var none adminapi.AppToken
	if _, err := s.declaredApp(ctx, app); err != nil {
		return none, enroll.Secret{}, err
	}
	var raw [35]byte
	rand.Read(raw[:]) // never fails (Go 1.24)
	secret := appTokenCode.EncodeToString(raw[10:])
	t := sqlstore.AppToken{ID: appTokenCode.EncodeToString(raw[:10]), App: app, Hash: sha256.Sum256([]byte(secret)),
		CreatedAt: s.now(), CreatedBy: by.String(), ExpiresAt: s.now().Add(validFor).Truncate(time.Second), Note: audit.Text(note, 1024)}
	err := s.store.InsertAppToken(ctx, t, s.event(by, "app.token_created", "app", app, "token", t.ID,
		"expires_at", t.ExpiresAt.UTC().Format(time.RFC3339), "note", note))
	if err != nil {
		return none, enroll.Secret{}, err
	}
	return appTokenView(t), enroll.NewSecret(appTokenPrefix + "_" + t.ID + "_" + secret), nil
}

// RevokeAppToken ends a token; every node ends the sessions that it opened.
func (s *Server) RevokeAppToken(ctx context.Context, by access.Actor, app, id string) error {
	t, err := s.store.AppToken(ctx, id)
	if err == nil && t.App != app {
		err = sqlstore.ErrNotFound
	}
	if err != nil {
		return missing(err, "token", id)
	}
	if !t.RevokedAt.IsZero() {
		return refusal.New(refusal.Conflict, "token-revoked", "nothing to do", "token %s is revoked already", id)
	}
	err = s.store.RevokeAppToken(ctx, app, id, s.now(), s.event(by, "app.token_revoked", "app", app, "token", id))
	if err != nil {
		return stale(err, "token", id)
	}
	s.announce()
	return nil
}

// IssueAppCertificate issues the certificate of an app that the policy declares.
func (s *Server) IssueAppCertificate(ctx context.Context, by access.Actor, app string, csr []byte, validity time.Duration) (adminapi.Certificate, []string, error) {
	if _, err := s.declaredApp(ctx, app); err != nil {
		return adminapi.Certificate{}, nil, err
	}
	return s.IssueCertificate(ctx, by, adminapi.IssueRequest{Profile: "app", ID: app, CSR: csr, Validity: validity})
}

// appSignIn is an app that proved a token.
type appSignIn struct {
	App     string
	Token   string    // its id
	Expires time.Time // when sessions that it opened end
}

// appTokens remembers tokens that were used, so that a reconnecting app costs no
// query, and those that were revoked while this process runs.
type appTokens struct {
	mu      sync.Mutex
	known   map[string]knownToken // by id; guarded by mu
	revoked map[string]bool       // guarded by mu
	changes uint64                // revocations seen: what was read before one is not kept; guarded by mu
}

type knownToken struct {
	sqlstore.AppToken
	read time.Time
}

const (
	maxKnownTokens = 1000
	knownTokenTime = time.Minute // in which a revocation would be noticed even if its event were lost
)

// get is a token that was read lately.
func (c *appTokens) get(id string, now time.Time) (t sqlstore.AppToken, changes uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[id]
	if ok && now.Sub(k.read) >= knownTokenTime {
		ok = false
	}
	return k.AppToken, c.changes, ok
}

// put keeps a token that was read when changes was current.
func (c *appTokens) put(t sqlstore.AppToken, now time.Time, changes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if changes != c.changes || !t.RevokedAt.IsZero() {
		return
	}
	if c.known == nil {
		c.known = map[string]knownToken{}
	}
	for id := range c.known {
		if len(c.known) < maxKnownTokens {
			break
		}
		delete(c.known, id)
	}
	c.known[t.ID] = knownToken{t, now}
}

// revoke learns of a revocation.
func (c *appTokens) revoke(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.revoked == nil {
		c.revoked = map[string]bool{}
	}
	c.revoked[id] = true
	c.changes++
	delete(c.known, id)
}

// isRevoked tells whether a token was revoked while this process runs. Whoever
// registers a session asks it again afterwards: the revocation may have come
// between the check of the token and the registration.
func (c *appTokens) isRevoked(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revoked[id]
}

// signInApp checks a user name and password over TLS: the app's name and a token
// of it. A refusal says the same for all that is wrong with a token.
func (s *Server) signInApp(ctx context.Context, name, password string) (appSignIn, error) {
	wrong := refusal.New(refusal.Unauthenticated, "bad-app-token", "use the app's name as user name and a token of it as password", "the user name and the token do not belong together, or the token is not valid")
	parts := strings.Split(password, "_")
	if len(password) > 128 || len(parts) != 3 || parts[0] != appTokenPrefix || len(parts[1]) != 16 || len(parts[2]) != 40 {
		return appSignIn{}, wrong
	}
	t, err := s.appToken(ctx, parts[1])
	if errors.Is(err, sqlstore.ErrNotFound) {
		return appSignIn{}, wrong
	}
	if err != nil {
		return appSignIn{}, fmt.Errorf("signing in an app: %w", err)
	}
	sum := sha256.Sum256([]byte(parts[2]))
	if subtle.ConstantTimeCompare(sum[:], t.Hash[:]) != 1 || t.App != name || !t.RevokedAt.IsZero() || !s.now().Before(t.ExpiresAt) || s.messaging.tokens.isRevoked(t.ID) {
		return appSignIn{}, wrong
	}
	if today := s.now().Unix() / 86400; t.UsedDay < today {
		if err := s.store.UsedAppToken(ctx, t.ID, today); err != nil {
			s.log.Warn("recording the use of an app's token", "token", t.ID, "err", err)
		}
		_, changes, _ := s.messaging.tokens.get(t.ID, s.now())
		t.UsedDay = today
		s.messaging.tokens.put(t, s.now(), changes)
	}
	return appSignIn{App: t.App, Token: t.ID, Expires: t.ExpiresAt}, nil
}

func (s *Server) appToken(ctx context.Context, id string) (sqlstore.AppToken, error) {
	t, changes, ok := s.messaging.tokens.get(id, s.now())
	if ok {
		return t, nil
	}
	t, err := s.store.AppToken(ctx, id)
	if err == nil {
		s.messaging.tokens.put(t, s.now(), changes)
	}
	return t, err
}
