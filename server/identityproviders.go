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
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/audit"
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
	return s.addProvider(ctx, "oidc", provider{first: first, again: again}, o.Issuer, o.Formerly, o.Groups, nil)
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
	return s.addProvider(ctx, "saml", provider{first: first, again: again}, o.ProviderID, o.Formerly, o.Groups, first.ServeMetadata)
}

// addProvider adds a provider whose accounts belong to issuer. The name must not
// pass to another one: who names people there would be anybody of this one.
func (s *Server) addProvider(ctx context.Context, kind string, p provider, issuer, formerly string, roles []config.GroupRole, metadata http.HandlerFunc) error {
	p.s, p.origin = s, origin(kind, p.first.Name())
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
	s.providers.list = append(s.providers.list, signin.Provider{Name: p.first.Name(), Label: p.first.Label(), Kind: kind, Begin: p.begin, Finish: p.finish, Metadata: metadata})
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

// refused records that nobody was signed in. What the provider sent stays in the
// server's log: it may name people.
func (p provider) refused(r *http.Request, err error) {
	ref := refusal.As(err)
	if ref == nil {
		return // of the server, not of the sign-in
	}
	by := access.Actor{Kind: access.Anonymous, ID: "anonymous", Source: addrText(p.s.sourceOf(r))}
	p.s.recordRefusal(r.Context(), p.s.event(by, "provider.sign_in_refused", "provider", p.origin, "code", ref.Code), ref.Detail)
}

// groupGrants are the grants that roles of groups make for a person. It is the
// refusal "separation-of-duties" where they would, with what the person has
// otherwise, hold what is to be kept apart.
func (s *Server) groupGrants(ctx context.Context, by access.Actor, id access.PersonID, origin string, mine []config.GroupRole) ([]access.Grant, error) {
	roles, err := s.roleTable(ctx)
	if err != nil {
		return nil, err
	}
	var given []access.Grant
	seen := map[string]bool{}
	for _, m := range mine {
		key := m.Role + " " + m.Scope.String()
		if seen[key] {
			continue
		}
		if _, ok := roles(m.Role); !ok {
			s.log.Error("giving a role to members of a group: there is no such role", "role", m.Role, "provider", origin)
			continue
		}
		seen[key] = true
		given = append(given, access.Grant{ID: newSubjectID("g"), Kind: access.ToPerson, Subject: string(id), Role: m.Role, Scope: m.Scope, Origin: origin,
			Reason: audit.Text("member of the group "+m.Group, audit.MaxReason), GrantedBy: by.String(), GrantedAt: s.storedNow()})
	}
	have, err := s.store.Grants(ctx, access.ToPerson, string(id))
	if err != nil {
		return nil, err
	}
	all := slices.Clone(given)
	for _, g := range have {
		if g.Origin != origin {
			all = append(all, g)
		}
	}
	if duty, ok := access.Conflict(s.cfg.Access.Duties(), all, roles, s.now()); !ok {
		return nil, refusal.New(refusal.Conflict, separationOfDuties, "take them out of another group first", "the user %s would hold both %s and %s", id, duty.A, duty.B)
	}
	return given, nil
}

const separationOfDuties = "separation-of-duties"

// rolesText names the roles of grants, for an event.
func rolesText(grants []access.Grant) string {
	var roles []string
	for _, g := range grants {
		roles = append(roles, g.Role+" for "+g.Scope.String())
	}
	slices.Sort(roles)
	return strings.Join(roles, ", ")
}

// groupsOf gives a person the roles that their groups at an identity provider map
// to, in place of those it gave before: what they are in no more is gone before
// they are signed in, on all servers. Who would hold what is to be kept apart holds
// nothing of it and is not signed in. That somebody was the last administrator
// keeps nothing: the token of the data folder can give the role.
func (s *Server) groupsOf(ctx context.Context, id access.PersonID, origin string, groups []string) error {
	mapped, known := s.providers.roles[origin]
	if !known {
		return nil
	}
	var mine []config.GroupRole
	for _, m := range mapped {
		if slices.Contains(groups, m.Group) {
			mine = append(mine, m)
		}
	}
	by := access.Component(origin)
	given, conflict := s.groupGrants(ctx, by, id, origin, mine)
	if conflict != nil && !refusal.Is(conflict, separationOfDuties) {
		return conflict
	}
	have, err := s.store.Grants(ctx, access.ToPerson, string(id))
	if err != nil {
		return err
	}
	have = slices.DeleteFunc(have, func(g access.Grant) bool { return g.Origin != origin })
	if roles := rolesText(given); roles != rolesText(have) {
		event := s.event(by, "person.roles_from_groups", "person", string(id), "origin", origin, "roles", roles)
		if err := s.store.ReplaceGrants(ctx, id, origin, given, s.storedNow(), event); err != nil {
			return err
		}
		s.identities.forget("person/" + string(id))
		s.tokens.Forget(string(id))
		s.announce()
	}
	if conflict != nil {
		s.recordRefusal(ctx, s.event(by, "person.sign_in_refused", "person", string(id), "method", origin), refusal.As(conflict).Detail)
		return refusal.New(refusal.Forbidden, separationOfDuties, "ask an administrator to take you out of one of your groups", "your groups together would give you permissions that nobody may hold together")
	}
	return nil
}

// checkGroupRoles warns of roles that there are not: they may be made later.
func (s *Server) checkGroupRoles(ctx context.Context) error {
	roles, err := s.roleTable(ctx)
	if err != nil {
		return err
	}
	for origin, list := range s.providers.roles {
		for _, m := range list {
			if _, ok := roles(m.Role); !ok {
				s.log.Warn("reading the identity providers: there is no such role", "provider", origin, "group", m.Group, "role", m.Role)
			}
		}
	}
	return nil
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
