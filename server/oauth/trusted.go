package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// DefaultMaxAge bounds the age of a trusted issuer's JWT where the configuration
// says nothing.
const DefaultMaxAge = 24 * time.Hour

// TrustedIssuer is somebody else whose JWTs prove API clients: a CI system, a
// cluster's service accounts, a company's identity provider.
type TrustedIssuer struct {
	// Issuer is the exact iss of its tokens, an https URL.
	Issuer string
	// JWKSURL is where its keys are; empty: its discovery document says it
	// (OpenID Connect Discovery 1.0 section 4, RFC 8414).
	JWKSURL string
	// Audience has to be in aud. Choose one that is meant for Holdfast alone.
	Audience string
	// Algorithms that its keys may sign with; empty: ES256 and RS256.
	Algorithms []string
	// SubjectClaim names the claim, text, that says who it is; empty: sub.
	SubjectClaim string
	// Clients gives subjects the names of API clients. In a subject pattern, *
	// stands for any text without : and /. A subject that two patterns give to
	// different clients is refused; one without a pattern character goes first.
	Clients map[string]string
	// ReplayCheck takes each token once; tokens need a jti then.
	ReplayCheck bool
	// MaxAge bounds the time since iat, which has to be there; 0: DefaultMaxAge.
	MaxAge time.Duration
}

func (i TrustedIssuer) check(own string) error {
	bad := func(what string) error { return fmt.Errorf("the trusted issuer %.200q: %s", i.Issuer, what) }
	web := func(text string) bool {
		u, err := url.Parse(text)
		return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && u.Fragment == ""
	}
	switch {
	case i.Issuer == own:
		return bad("it is this server")
	case !web(i.Issuer) || i.JWKSURL != "" && !web(i.JWKSURL):
		return bad("its name and the place of its keys have to be https URLs")
	case i.Audience == "":
		return bad("it needs an audience")
	case len(i.Clients) == 0:
		return bad("no subject has a client: it would prove nobody")
	case i.MaxAge < 0:
		return bad("the highest age is negative")
	}
	for _, a := range i.Algorithms {
		if !slices.Contains(asymmetric, jose.SignatureAlgorithm(a)) {
			return bad(fmt.Sprintf("the algorithm %.32q is not one of %v", a, asymmetric))
		}
	}
	for pattern := range i.Clients {
		if pattern == "" || strings.Trim(pattern, "*") == "" {
			return bad("a subject pattern would match everybody")
		}
	}
	return nil
}

// trusted is a TrustedIssuer at work.
type trusted struct {
	TrustedIssuer
	algorithms []jose.SignatureAlgorithm
	patterns   []pattern
	keys       *keySet
}

type pattern struct {
	matches *regexp.Regexp
	client  string
}

func newTrusted(i TrustedIssuer, fetcher *http.Client, now func() time.Time, log *slog.Logger) *trusted {
	t := &trusted{TrustedIssuer: i}
	for _, a := range i.Algorithms {
		t.algorithms = append(t.algorithms, jose.SignatureAlgorithm(a))
	}
	if len(t.algorithms) == 0 {
		t.algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.RS256}
	}
	if t.MaxAge == 0 {
		t.MaxAge = DefaultMaxAge
	}
	for text, client := range i.Clients {
		if strings.Contains(text, "*") {
			quoted := strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, `[^:/]*`)
			t.patterns = append(t.patterns, pattern{regexp.MustCompile(`^(?s:` + quoted + `)$`), client})
		}
	}
	t.keys = &keySet{issuer: i.Issuer, url: i.JWKSURL, algorithms: t.algorithms, client: fetcher, now: now, log: log}
	return t
}

// clientOf is the name of the API client that a subject stands for; empty: none.
func (t *trusted) clientOf(subject string) string {
	if strings.Contains(subject, "*") || subject == "" {
		return ""
	}
	if name, ok := t.Clients[subject]; ok {
		return name
	}
	found := ""
	for _, p := range t.patterns {
		if !p.matches.MatchString(subject) {
			continue
		}
		if found != "" && found != p.client {
			return ""
		}
		found = p.client
	}
	return found
}

// proveTrusted checks a token of a trusted issuer (RFC 7519 section 7.2, RFC
// 8725). It is a bearer token with an audience of its own, so the types of other
// JWTs (logout tokens, security events, proofs) are refused.
func (s *Server) proveTrusted(ctx context.Context, t *trusted, p parsed, now time.Time) (known, error) {
	no := func(why Why, detail error) (known, error) {
		return known{}, &Rejected{Why: why, Issuer: t.Issuer, detail: detail}
	}
	if !slices.Contains(t.algorithms, p.algorithm) {
		return no(BadAlgorithm, nil)
	}
	if p.typ != "" && p.typ != "jwt" && p.typ != "at+jwt" {
		return no(WrongType, nil)
	}
	key, err := t.keys.find(ctx, p.kid, p.algorithm)
	if err != nil {
		return no(NoKeys, err)
	}
	if key == nil {
		return no(UnknownKey, nil)
	}
	if !p.verify(key) {
		return no(BadSignature, nil)
	}
	c := p.claims
	if !c.meant(t.Audience) {
		return no(WrongAudience, nil)
	}
	if why := c.inTime(now, leeway); why != "" {
		return no(why, nil)
	}
	if c.IssuedAt == nil || now.Sub(c.IssuedAt.time()) > t.MaxAge+leeway {
		return no(TooOld, nil)
	}
	subject, err := t.subject(p)
	if err != nil {
		return no(Malformed, err)
	}
	name := t.clientOf(subject)
	if name == "" {
		return no(WrongSubject, fmt.Errorf("subject %.128q", subject))
	}
	if t.ReplayCheck {
		if c.ID == "" {
			return no(Malformed, errors.New("it has no jti"))
		}
		err := s.cfg.Store.UseJWT(ctx, "jwt", onceID(t.Issuer, c.ID), c.Expires.time().Add(2*leeway))
		if errors.Is(err, sqlstore.ErrChanged) {
			return no(Replayed, nil)
		}
		if err != nil {
			return known{}, fmt.Errorf("verifying an access token: %w", err)
		}
	}
	end := min(c.Expires.time().Unix(), c.IssuedAt.time().Add(t.MaxAge).Unix())
	return known{keep: !t.ReplayCheck, Claims: Claims{Issuer: t.Issuer, Subject: subject, Kind: access.Client, Name: name, ID: c.ID,
		IssuedAt: c.IssuedAt.time(), ExpiresAt: time.Unix(end, 0).UTC()}}, nil
}

// onceID names a JWT by who made it and its id, in a bounded length.
func onceID(issuer, id string) string {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%d %s %s", len(issuer), issuer, id)))
	return hex.EncodeToString(sum[:])
}

// subject reads the claim that says who it is.
func (t *trusted) subject(p parsed) (string, error) {
	if t.SubjectClaim == "" || t.SubjectClaim == "sub" {
		return p.claims.Subject, nil
	}
	var all map[string]json.RawMessage
	var text string
	if err := json.Unmarshal(p.jws.UnsafePayloadWithoutVerification(), &all); err != nil {
		return "", err
	}
	if err := json.Unmarshal(all[t.SubjectClaim], &text); err != nil || len(text) > 512 {
		return "", fmt.Errorf("its claim %.64q is not text", t.SubjectClaim)
	}
	return text, nil
}
