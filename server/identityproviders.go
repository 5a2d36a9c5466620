package server

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/internal/outbound"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/console/signin"
	"github.com/holdfast-iot/holdfast/server/oauth"
	"github.com/holdfast-iot/holdfast/server/people"
	"github.com/holdfast-iot/holdfast/server/sso"
	"github.com/holdfast-iot/holdfast/server/store/sqlstore"
)

// identityProviders are who else may say who somebody is.
type identityProviders struct {
	list    []signin.Provider
	roles   map[string][]config.GroupRole // what groups give, by the provider's origin
	issuers []oauth.TrustedIssuer
	client  *http.Client // what it fetches cannot be inside, unless a network is allowed
}

// origin is how accounts of a provider are marked.
func origin(kind, name string) string { return kind + ":" + name }

// openProviders makes the providers of access.providers. It speaks to none of them:
// one that is down keeps nobody else out.
func (s *Server) openProviders(ctx context.Context) error {
	s.providers.roles = map[string][]config.GroupRole{}
	file := config.Providers{}
	if s.cfg.Access.Providers != "" {
		var err error
		if file, err = config.LoadProviders(s.cfg.Access.Providers); err != nil {
			return err
		}
		s.providers.client, err = outbound.New(outbound.Policy{Allow: file.AllowNetworks, Roots: file.Roots, Proxy: file.ProxyURL(), MaxBody: 4 << 20})
		if err != nil {
			return err
		}
	}
	for _, o := range file.OIDC {
		if err := s.addOIDC(ctx, o); err != nil {
			return err
		}
	}
	for _, o := range file.SAML {
		if err := s.addSAML(ctx, o); err != nil {
			return err
		}
	}
	for _, i := range file.Issuers {
		s.providers.issuers = append(s.providers.issuers, oauth.TrustedIssuer{Issuer: i.Issuer, JWKSURL: i.JWKSURL, Audience: i.Audience, Algorithms: i.Algorithms,
			SubjectClaim: i.SubjectClaim, Clients: i.Clients, ReplayCheck: i.ReplayCheck, MaxAge: i.MaxAge})
	}
	if _, known := s.providers.roles[s.cfg.Access.SCIMProvider]; !known && s.cfg.Access.SCIMProvider != "" {
		s.log.Warn("reading the identity providers: people whom SCIM keeps cannot sign in, because access.providers does not name their provider", "provider", s.cfg.Access.SCIMProvider)
	}
	return s.checkGroupRoles(ctx)
}

// reproof is how lately who is signed in already must have shown credentials to the
// provider: it then asks, unless it has just done so.
const reproof = 30 * time.Second

func (s *Server) addOIDC(ctx context.Context, o config.OIDCProvider) error {
	key, err := clientKey(o.Key)
	if err != nil {
		return fmt.Errorf("reading client_key_file of the provider %s: %w", o.Name, err)
	}
	cfg := sso.OIDCConfig{Name: o.Name, Label: o.Label, Issuer: o.Issuer, ClientID: o.ClientID, ClientSecret: sso.NewSecret(o.Secret.Reveal()), SecretInBody: o.SecretInBody,
		ClientKey: key, ClientKeyID: o.KeyID, ClientKeyAudience: o.KeyAudience, RedirectURL: s.console() + "/sign-in/oidc/" + o.Name + "/callback", Scopes: o.Scopes,
		Algorithms: o.Algorithms, SubjectClaim: o.SubjectClaim, NameClaim: o.NameClaim, DisplayClaim: o.DisplayClaim, MailClaim: o.MailClaim, GroupsClaim: o.GroupsClaim,
		TrustMail: o.TrustMail, Require: o.Require, MultiFactor: o.MultiFactor, ACRValues: o.ACRValues, MaxAge: o.MaxAge, UserInfo: o.UserInfo,
		Client: s.providers.client, Seen: s.ssoSeen, Now: s.now}
	first, err := sso.NewOIDC(cfg)
	if err != nil {
		return err
	}
	cfg.MaxAge = reproof
	again, err := sso.NewOIDC(cfg)
	if err != nil {
		return err
	}
	p := provider{s: s, origin: origin("oidc", o.Name), first: first, again: again}
	return s.addProvider(ctx, p, o.Issuer, o.Formerly, o.Groups, signin.Provider{Kind: "oidc", Logout: p.logout(first, o.SubjectClaim == "" || o.SubjectClaim == "sub")})
}

func clientKey(text config.Secret) (crypto.Signer, error) {
	if text.Empty() {
		return nil, nil
	}
	block, _ := pem.Decode([]byte(text.Reveal()))
	if block == nil {
		return nil, errors.New("there is no PEM in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it holds no private key in the form of PKCS #8")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("its key cannot sign")
	}
	return signer, nil
}

func (s *Server) addSAML(ctx context.Context, o config.SAMLProvider) error {
	key, cert, err := s.samlKey(ctx)
	if err != nil {
		return err
	}
	base := s.console() + "/sign-in/saml/" + o.Name
	cfg := sso.SAMLConfig{Name: o.Name, Label: o.Label, Metadata: o.Metadata, MetadataURL: o.MetadataURL, ProviderID: o.ProviderID, Pins: o.Pins, EntityID: base + "/metadata",
		ACSURL: base + "/acs", Key: key, Certificate: cert, Encrypted: o.Encrypted, NameIDFormat: o.NameIDFormat, SubjectAttribute: o.SubjectAttribute,
		NameAttribute: o.NameAttribute, DisplayAttribute: o.DisplayAttribute, MailAttribute: o.MailAttribute, GroupsAttribute: o.GroupsAttribute, TrustMail: o.TrustMail,
		Require: o.Require, MultiFactor: o.MultiFactor, Contexts: o.Contexts, Fresh: o.Fresh, Client: s.providers.client, Seen: s.ssoSeen, Now: s.now}
	first, err := sso.NewSAML(cfg)
	if err != nil {
		return err
	}
	cfg.Fresh = true
	again, err := sso.NewSAML(cfg)
	if err != nil {
		return err
	}
	p := provider{s: s, origin: origin("saml", o.Name), first: first, again: again}
	return s.addProvider(ctx, p, o.ProviderID, o.Formerly, o.Groups, signin.Provider{Kind: "saml", Metadata: first.ServeMetadata})
}

// addProvider adds a provider whose accounts belong to issuer. The name must not
// pass to another one: who names people there would be anybody of this one.
func (s *Server) addProvider(ctx context.Context, p provider, issuer, formerly string, roles []config.GroupRole, shown signin.Provider) error {
	name := "identity provider " + p.origin
	was, err := s.store.SetMetaOnce(ctx, name, issuer)
	if err == nil && was != issuer {
		if was != formerly {
			return fmt.Errorf("opening the identity provider %s: accounts of this name belong to %q, and the configuration names %q: give it another name, or, if it is the same directory under another address, formerly: %q",
				p.origin, was, issuer, was)
		}
		err = s.store.SetMeta(ctx, name, issuer, s.event(access.Component("server"), "provider.moved", "provider", p.origin, "from", was, "to", issuer))
	}
	if err != nil {
		return err
	}
	s.providers.roles[p.origin] = roles
	shown.Name, shown.Label, shown.Begin, shown.Finish = p.first.Name(), p.first.Label(), p.begin, p.finish
	s.providers.list = append(s.providers.list, shown)
	return nil
}

// ssoSeen is sso.SeenFunc.
func (s *Server) ssoSeen(ctx context.Context, id string, until time.Time) (bool, error) {
	return s.store.Once(ctx, "sso", id, until)
}

// samlKeyBits suit what all SAML providers take; they encrypt to this key, too.
const samlKeyBits = 3072

// samlKey is the key that all servers of an installation sign SAML requests with,
// made when it is first needed.
func (s *Server) samlKey(ctx context.Context) (crypto.Signer, *x509.Certificate, error) {
	seal, err := newSealer(s.kek, "identity providers")
	if err != nil {
		return nil, nil, err
	}
	const name = "saml key"
	stored, err := s.store.Meta(ctx, name)
	if errors.Is(err, sqlstore.ErrNotFound) {
		stored, err = s.makeSAMLKey(ctx, name, seal)
	}
	if err != nil {
		return nil, nil, err
	}
	sealed, err := base64.StdEncoding.DecodeString(stored)
	if err == nil {
		sealed, err = seal.open(sealed, []byte(name))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the key for SAML: %w", err)
	}
	first, rest := pem.Decode(sealed)
	second, _ := pem.Decode(rest)
	if first == nil || second == nil {
		return nil, nil, errors.New("reading the key for SAML: it is cut short")
	}
	key, err := x509.ParsePKCS8PrivateKey(first.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the key for SAML: %w", err)
	}
	cert, err := x509.ParseCertificate(second.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the certificate for SAML: %w", err)
	}
	return key.(*rsa.PrivateKey), cert, nil
}

func (s *Server) makeSAMLKey(ctx context.Context, name string, seal sealer) (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, samlKeyBits)
	if err != nil {
		return "", fmt.Errorf("making a key for SAML: %w", err)
	}
	cert, err := sso.SelfSign(rand.Reader, key, "Holdfast "+s.cfg.TrustDomain, s.now())
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", fmt.Errorf("making a key for SAML: %w", err)
	}
	plain := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	sealed, err := seal.seal(plain, []byte(name))
	if err != nil {
		return "", err
	}
	return s.store.SetMetaOnce(ctx, name, base64.StdEncoding.EncodeToString(sealed))
}

// provider is one identity provider: as people first sign in, and as they prove
// themselves again.
type provider struct {
	s            *Server
	origin       string
	first, again sso.Provider
}

// flows begin with which of both they are of.
const (
	flowFirst = 'f'
	flowAgain = 'a'
	// flowTime is for how long a flow that was used is remembered: longer than it holds.
	flowTime = 20 * time.Minute
)

// begin is signin.Provider's Begin.
func (p provider) begin(r *http.Request, returnTo string, again bool) (string, []byte, error) {
	which, mark := p.first, byte(flowFirst)
	if again {
		which, mark = p.again, flowAgain
	}
	to, flow, err := which.Begin(r.Context(), returnTo)
	if err != nil {
		p.refused(r, err)
		return "", nil, err
	}
	return to, append([]byte{mark}, flow...), nil
}

// finish is signin.Provider's Finish.
func (p provider) finish(flow []byte, r *http.Request) (people.External, string, error) {
	e, err := p.read(flow, r)
	if err != nil {
		p.refused(r, err)
		return people.External{}, "", err
	}
	ext := people.External{Provider: p.origin, Subject: e.Subject, Name: e.Name, Display: e.Display, Groups: e.Groups, Strong: e.Factors, AuthTime: e.AuthTime, Session: e.SessionRef}
	if e.MailVerified {
		ext.Mail = e.Mail
	}
	return ext, e.ReturnTo, nil
}

// read reads the provider's answer. The flow is used up before it is looked at.
func (p provider) read(flow []byte, r *http.Request) (sso.External, error) {
	if len(flow) == 0 {
		return p.first.Finish(r.Context(), nil, r) // says what is wrong
	}
	if !p.s.roundTrips.allow(p.s.sourceOf(r)) {
		return sso.External{}, refusal.New(refusal.TooMany, "too-many-sign-ins", "wait a few seconds, then start again from the sign-in page", "too many people sign in from this address at once")
	}
	sum := sha256.Sum256(flow)
	switch first, err := p.s.store.Once(r.Context(), "sso-flow", hex.EncodeToString(sum[:]), p.s.now().Add(flowTime)); {
	case err != nil:
		return sso.External{}, err
	case !first:
		return sso.External{}, refusal.New(refusal.Unauthenticated, sso.CodeReplay, "start again from the sign-in page", "this sign-in was already used")
	}
	if flow[0] == flowAgain {
		return p.again.Finish(r.Context(), flow[1:], r)
	}
	return p.first.Finish(r.Context(), flow[1:], r)
}

// logout is signin.Provider's Logout. A token that names a session ends the sign-ins
// that came from it; one that names a person alone ends all of theirs, if the
// provider's sub is what accounts are known by.
func (p provider) logout(by *sso.OIDC, bySub bool) func(*http.Request, string) error {
	return func(r *http.Request, token string) error {
		ended, err := by.Logout(r.Context(), token)
		if ref := refusal.As(err); ref != nil {
			p.s.recordRefusal(r.Context(), p.s.event(p.stranger(r), "provider.sign_out_refused", "provider", p.origin, "code", ref.Code), ref.Detail)
		}
		switch {
		case err != nil:
			return err
		case ended.SessionRef != "":
			return p.endSession(r.Context(), ended.SessionRef)
		case !bySub:
			return errors.New("the token names no session, and accounts are known by another claim than sub")
		}
		person, _, err := p.s.store.PersonByExternal(r.Context(), p.origin, ended.Subject)
		if errors.Is(err, sqlstore.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return p.s.people.EndAll(r.Context(), access.Component(p.origin), person.ID, "", "signed out at the identity provider")
	}
}

// endSession ends the sign-ins that came from a session at the provider.
func (p provider) endSession(ctx context.Context, session string) error {
	list, err := p.s.store.SignInsThrough(ctx, p.origin, session)
	if err != nil {
		return err
	}
	for _, in := range list {
		err := p.s.people.End(ctx, access.Component(p.origin), in.Person, in.ID)
		if err != nil && !refusal.Is(err, "no-such-sign-in") { // else it ended meanwhile
			return err
		}
	}
	return nil
}

func (p provider) stranger(r *http.Request) access.Actor {
	return access.Actor{Kind: access.Anonymous, ID: "anonymous", Source: addrText(p.s.sourceOf(r))}
}

// refused records that nobody was signed in. What the provider sent stays in the
// server's log: it may name people.
func (p provider) refused(r *http.Request, err error) {
	ref := refusal.As(err)
	if ref == nil {
		return // of the server, not of the sign-in
	}
	p.s.recordRefusal(r.Context(), p.s.event(p.stranger(r), "provider.sign_in_refused", "provider", p.origin, "code", ref.Code), ref.Detail)
}

// endOrphans ends the sign-ins of people whose provider is configured no more. Their
// accounts and roles stay, and nobody can use them until it is there again.
func (s *Server) endOrphans(ctx context.Context) error {
	list, err := s.store.SignedInElsewhere(ctx)
	if err != nil {
		return err
	}
	for _, p := range list {
		if _, known := s.providers.roles[p.Origin]; known || p.Origin == s.cfg.Access.SCIMProvider {
			continue
		}
		s.log.Warn("ending sign-ins: the identity provider is configured no more", "person", string(p.ID), "provider", p.Origin)
		if err := s.people.EndAll(ctx, access.Component("server"), p.ID, "", "the identity provider "+p.Origin+" is configured no more"); err != nil {
			return err
		}
	}
	return nil
}
