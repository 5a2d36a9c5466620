package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/device"
)

// Providers are the identity providers that people sign in through, and the
// issuers whose tokens prove programs: the file of access.providers. Whoever can
// write that file can be anybody whose account a provider keeps.
type Providers struct {
	// AllowNetworks [allow_networks] are private networks (CIDR) that providers and
	// issuers may be in. Default: they have to be on the public Internet.
	AllowNetworks []netip.Prefix
	// CAFile [ca_file] holds further authorities (PEM) that they may have their
	// certificates from.
	CAFile string
	// Proxy [proxy] is the http or https URL of the proxy to reach them through.
	// Default: none, whatever the environment says.
	Proxy string
	// OIDC [oidc], SAML [saml] and Issuers [issuers] are lists of at most 64.
	OIDC    []OIDCProvider
	SAML    []SAMLProvider
	Issuers []TrustedIssuer

	// Roots is what CAFile holds.
	Roots []byte
}

// OIDCProvider is a provider that speaks OpenID Connect.
type OIDCProvider struct {
	// Name [oidc.name] is 1 to 32 of a-z, 0-9 and hyphens within. It is part of the
	// redirect URL, https://HOST/sign-in/oidc/NAME/callback, and of each person's
	// identity: keep it.
	Name string
	// Label [oidc.label] is what the button on the sign-in page says. Default:
	// Continue with NAME.
	Label string
	// Issuer [oidc.issuer] is the https URL exactly as the provider's discovery
	// document writes it.
	Issuer string
	// ClientID [oidc.client_id] is the name that the provider gave to Holdfast.
	ClientID string
	// SecretFile [oidc.client_secret_file] is a file of mode 0600 with the secret
	// that goes with it.
	SecretFile string
	// KeyFile [oidc.client_key_file] is a file of mode 0600 with a private key (PEM,
	// PKCS #8) instead of a secret: private_key_jwt. KeyID [oidc.client_key_id] is its
	// name at the provider, KeyAudience [oidc.client_key_audience] whom its statements
	// are for. Default: the issuer.
	KeyFile, KeyID, KeyAudience string
	// SecretInBody [oidc.secret_in_body] sends the secret as client_secret_post.
	SecretInBody bool
	// Scopes [oidc.scopes] are asked for besides openid. Default profile, email.
	Scopes []string
	// Algorithms [oidc.algorithms] are the signatures taken: of RS256, PS256, ES256,
	// ES384, EdDSA. Default all of them.
	Algorithms []string
	// Claims that say who somebody is: oidc.subject_claim (default sub),
	// oidc.name_claim (preferred_username), oidc.display_claim (name), oidc.mail_claim
	// (email), oidc.groups_claim (groups). A dot leads into an object.
	SubjectClaim, NameClaim, DisplayClaim, MailClaim, GroupsClaim string
	// Require [oidc.require] names claims and the values that they must have.
	Require map[string]string
	// MultiFactor [oidc.multi_factor] are the values of amr or acr that mean that more
	// than one factor was used. Default mfa.
	MultiFactor []string
	// ACRValues [oidc.acr_values] are the authentication contexts to ask for; the
	// answer must name one of them.
	ACRValues []string
	// MaxAge [oidc.max_age] is how long ago somebody may have shown credentials at the
	// provider, to a year. Default: any time.
	MaxAge time.Duration
	// TrustMail [oidc.trust_mail] takes mail addresses although the provider does not
	// say that it verified them. Without it, such an address is left out.
	TrustMail bool
	// Formerly [oidc.formerly] is the issuer that this provider had before, if it has
	// another now. Accounts belong to name and issuer: who may name people under an
	// issuer that was swapped would be anybody of the old one.
	Formerly string
	// UserInfo [oidc.user_info] also asks the userinfo endpoint for claims.
	UserInfo bool
	// Groups [oidc.groups] are the roles that groups give.
	Groups []GroupRole

	Secret Secret // what SecretFile holds
	Key    Secret // what KeyFile holds
}

// SAMLProvider is a provider that speaks SAML 2.0.
type SAMLProvider struct {
	// Name [saml.name] and Label [saml.label] are as those of OIDCProvider. Answers are
	// posted to https://HOST/sign-in/saml/NAME/acs; our entity ID is the address of our
	// metadata, https://HOST/sign-in/saml/NAME/metadata.
	Name, Label string
	// MetadataFile [saml.metadata_file] is the provider's metadata, or MetadataURL
	// [saml.metadata_url] where it is fetched from once an hour. Exactly one of both.
	MetadataFile, MetadataURL string
	// ProviderID [saml.provider_id] is the provider's entity ID. Formerly
	// [saml.formerly] is as that of OIDCProvider.
	ProviderID, Formerly string
	// Pins [saml.pins] are SHA-256 fingerprints of its signing certificates; where
	// there are any, no other is taken.
	Pins []string
	// Encrypted [saml.encrypted] asks the provider to encrypt what it says.
	Encrypted bool
	// NameIDFormat [saml.name_id_format] is the form of NameID to ask for. Default
	// persistent.
	NameIDFormat string
	// Attributes that say who somebody is: saml.subject_attribute (default the NameID),
	// saml.name_attribute (the NameID), saml.display_attribute, saml.mail_attribute,
	// saml.groups_attribute.
	SubjectAttribute, NameAttribute, DisplayAttribute, MailAttribute, GroupsAttribute string
	// Require [saml.require] names attributes and the values that they must have.
	Require map[string]string
	// MultiFactor [saml.multi_factor] are the authentication contexts that mean that
	// more than one factor was used. Default those of REFEDS and Microsoft.
	MultiFactor []string
	// Contexts [saml.contexts] are the contexts to ask for; the answer must name one.
	Contexts []string
	// Fresh [saml.fresh] asks people for credentials at each sign-in.
	Fresh bool
	// TrustMail [saml.trust_mail] takes mail addresses, which SAML cannot say to be
	// verified. Without it they are left out.
	TrustMail bool
	// Groups [saml.groups] are the roles that groups give.
	Groups []GroupRole

	Metadata []byte // what MetadataFile holds
}

// TrustedIssuer is somebody else whose JWTs prove API clients.
type TrustedIssuer struct {
	// Issuer [issuers.issuer] is the exact iss of its tokens, an https URL.
	Issuer string
	// JWKSURL [issuers.jwks_url] is where its keys are. Default: its discovery document
	// says it.
	JWKSURL string
	// Audience [issuers.audience] has to be in aud: one that is meant for Holdfast alone.
	Audience string
	// Algorithms [issuers.algorithms]: of ES256, ES384, RS256, PS256, EdDSA. Default
	// ES256, RS256.
	Algorithms []string
	// SubjectClaim [issuers.subject_claim] is the claim that says who it is. Default sub.
	SubjectClaim string
	// Clients [issuers.clients] gives subjects the names of API clients. In a subject,
	// * stands for any text without : and /.
	Clients map[string]string
	// ReplayCheck [issuers.replay_check] takes each token once; they need a jti then.
	ReplayCheck bool
	// MaxAge [issuers.max_age] is how old a token may be, 1m to 30d. Default 24h.
	MaxAge time.Duration
}

// ProxyURL is Proxy, or nil.
func (p Providers) ProxyURL() *url.URL {
	if p.Proxy == "" {
		return nil
	}
	u, err := url.Parse(p.Proxy)
	if err != nil { // the file was not accepted
		return nil
	}
	return u
}

// maxPrivate bounds files with secrets, maxMetadata those with metadata, in bytes.
const (
	maxPrivate  = 64 << 10
	maxMetadata = 4 << 20
)

// LoadProviders reads the file of access.providers and the files that it names.
// The error is of type Problems when what is written there is wrong.
func LoadProviders(file string) (Providers, error) {
	data, err := readOwned(file, MaxFile, 0o022)
	if err != nil {
		return Providers{}, fmt.Errorf("reading the identity providers (access.providers): %w", err)
	}
	p, err := ParseProviders(file, data)
	if err != nil {
		return p, err
	}
	var ps Problems
	read := func(key, path string, limit int64, mode os.FileMode) []byte {
		if path == "" {
			return nil
		}
		data, err := readOwned(path, limit, mode)
		if err != nil {
			ps.add(file, key, "", "%v", err)
		}
		return data
	}
	p.Roots = read("ca_file", p.CAFile, maxMetadata, 0o022)
	for i := range p.OIDC {
		o := &p.OIDC[i]
		o.Secret = NewSecret(strings.TrimSpace(string(read("oidc.client_secret_file", o.SecretFile, maxPrivate, 0o077))))
		o.Key = NewSecret(string(read("oidc.client_key_file", o.KeyFile, maxPrivate, 0o077)))
	}
	for i := range p.SAML {
		p.SAML[i].Metadata = read("saml.metadata_file", p.SAML[i].MetadataFile, maxMetadata, 0o022)
	}
	return p, ps.err()
}

// readOwned reads a file that has something in it and none of the permissions in
// not, at most limit bytes.
func readOwned(path string, limit int64, not os.FileMode) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&not != 0 && not == 0o077:
		return nil, fmt.Errorf("%s may be read by others: chmod 0600 %s", path, path)
	case info.Mode().Perm()&not != 0:
		return nil, fmt.Errorf("%s may be written by others: chmod 0600 %s", path, path)
	case info.Size() == 0 || info.Size() > limit:
		return nil, fmt.Errorf("%s is empty or larger than %d bytes", path, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// ParseProviders reads the content of such a file, and none of those that it names.
// The error is of type Problems.
func ParseProviders(file string, data []byte) (Providers, error) {
	var p Providers
	var doc yaml.Node
	var ps Problems
	if err := unmarshalOne(data, &doc); err != nil {
		ps.add(file, "", "correct the YAML there", "reading YAML: %s", clip(err.Error()))
		return Providers{}, ps
	}
	if doc.Kind != 0 && doc.Tag != "!!null" {
		w := walker{file: file, problems: &ps}
		w.read("", &doc, providersFields(&p))
	}
	if len(ps) > 0 {
		return Providers{}, ps
	}
	return p, nil
}

func providersFields(p *Providers) []field {
	return []field{
		prefixesField("allow_networks", "", &p.AllowNetworks),
		textField("ca_file", "", &p.CAFile, optional(validPath)),
		textField("proxy", "", &p.Proxy, optional(validProxy)),
		entriesField("oidc", &p.OIDC, oidcFields, (*OIDCProvider).check, func(o OIDCProvider) string { return o.Name }),
		entriesField("saml", &p.SAML, samlFields, (*SAMLProvider).check, func(s SAMLProvider) string { return s.Name }),
		entriesField("issuers", &p.Issuers, issuerFields, (*TrustedIssuer).check, func(i TrustedIssuer) string { return i.Issuer }),
	}
}

func oidcFields(o *OIDCProvider) []field {
	return []field{
		textField("oidc.name", "", &o.Name, validSlug), textField("oidc.label", "", &o.Label, optional(validLabel)),
		textField("oidc.issuer", "", &o.Issuer, validHTTPS), textField("oidc.client_id", "", &o.ClientID, validPlain),
		textField("oidc.client_secret_file", "", &o.SecretFile, optional(validPath)), textField("oidc.client_key_file", "", &o.KeyFile, optional(validPath)),
		textField("oidc.client_key_id", "", &o.KeyID, optional(validPlain)), textField("oidc.client_key_audience", "", &o.KeyAudience, optional(validPlain)),
		boolField("oidc.secret_in_body", "", &o.SecretInBody), listField("oidc.scopes", "", &o.Scopes, validWord),
		listField("oidc.algorithms", "", &o.Algorithms, oneOf("RS256", "PS256", "ES256", "ES384", "EdDSA")),
		textField("oidc.subject_claim", "", &o.SubjectClaim, optional(validPlain)), textField("oidc.name_claim", "", &o.NameClaim, optional(validPlain)),
		textField("oidc.display_claim", "", &o.DisplayClaim, optional(validPlain)), textField("oidc.mail_claim", "", &o.MailClaim, optional(validPlain)),
		textField("oidc.groups_claim", "", &o.GroupsClaim, optional(validPlain)), tableField("oidc.require", &o.Require),
		listField("oidc.multi_factor", "", &o.MultiFactor, validPlain), listField("oidc.acr_values", "", &o.ACRValues, validWord),
		zeroOr(durationField("oidc.max_age", "", &o.MaxAge, time.Second, year)), boolField("oidc.user_info", "", &o.UserInfo),
		boolField("oidc.trust_mail", "", &o.TrustMail), textField("oidc.formerly", "", &o.Formerly, optional(validHTTPS)),
		entriesField("oidc.groups", &o.Groups, groupFields, nil, nil),
	}
}

func (o *OIDCProvider) check() error {
	switch {
	case o.SecretFile != "" && o.KeyFile != "":
		return errors.New("expected one of client_secret_file and client_key_file")
	case o.KeyFile == "" && o.KeyID+o.KeyAudience != "":
		return errors.New("client_key_id and client_key_audience belong to client_key_file")
	}
	o.Label = labelOf(o.Label, o.Name)
	return nil
}

func labelOf(label, name string) string {
	if label == "" {
		return "Continue with " + name
	}
	return label
}

func samlFields(s *SAMLProvider) []field {
	return []field{
		textField("saml.name", "", &s.Name, validSlug), textField("saml.label", "", &s.Label, optional(validLabel)),
		textField("saml.metadata_file", "", &s.MetadataFile, optional(validPath)), textField("saml.metadata_url", "", &s.MetadataURL, optional(validHTTPS)),
		textField("saml.provider_id", "", &s.ProviderID, validPlain), textField("saml.formerly", "", &s.Formerly, optional(validPlain)), listField("saml.pins", "", &s.Pins, validPin),
		boolField("saml.encrypted", "", &s.Encrypted), textField("saml.name_id_format", "", &s.NameIDFormat, optional(validPlain)),
		textField("saml.subject_attribute", "", &s.SubjectAttribute, optional(validPlain)), textField("saml.name_attribute", "", &s.NameAttribute, optional(validPlain)),
		textField("saml.display_attribute", "", &s.DisplayAttribute, optional(validPlain)), textField("saml.mail_attribute", "", &s.MailAttribute, optional(validPlain)),
		textField("saml.groups_attribute", "", &s.GroupsAttribute, optional(validPlain)), tableField("saml.require", &s.Require),
		listField("saml.multi_factor", "", &s.MultiFactor, validPlain), listField("saml.contexts", "", &s.Contexts, validPlain),
		boolField("saml.fresh", "", &s.Fresh), boolField("saml.trust_mail", "", &s.TrustMail), entriesField("saml.groups", &s.Groups, groupFields, nil, nil),
	}
}

func (s *SAMLProvider) check() error {
	switch {
	case (s.MetadataFile == "") == (s.MetadataURL == ""):
		return errors.New("expected one of metadata_file and metadata_url")
	case len(s.Groups) > 0 && s.GroupsAttribute == "":
		return errors.New("expected groups_attribute, the attribute that holds the groups")
	}
	s.Label = labelOf(s.Label, s.Name)
	return nil
}

func issuerFields(i *TrustedIssuer) []field {
	return []field{
		textField("issuers.issuer", "", &i.Issuer, validHTTPS), textField("issuers.jwks_url", "", &i.JWKSURL, optional(validHTTPS)),
		textField("issuers.audience", "", &i.Audience, validPlain), listField("issuers.algorithms", "", &i.Algorithms, oneOf("ES256", "ES384", "RS256", "PS256", "EdDSA")),
		textField("issuers.subject_claim", "", &i.SubjectClaim, optional(validPlain)), tableField("issuers.clients", &i.Clients),
		boolField("issuers.replay_check", "", &i.ReplayCheck), zeroOr(durationField("issuers.max_age", "", &i.MaxAge, time.Minute, 30*day)),
	}
}

func (i *TrustedIssuer) check() error {
	if len(i.Clients) == 0 {
		return errors.New("expected clients, such as {\"repo:example/firmware:*\": release-pipeline}")
	}
	return nil
}

func groupFields(g *GroupRole) []field {
	return []field{
		textField("groups.group", "", &g.Group, validGroup), textField("groups.role", "", &g.Role, validRole),
		namesField("groups.zones", &g.Scope.Zones), namesField("groups.types", &g.Scope.Types), labelsField("groups.labels", &g.Scope.Labels),
	}
}

var (
	slug     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	roleName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)
)

func validSlug(s string) error {
	if !slug.MatchString(s) {
		return errors.New("expected 1 to 32 of a-z, 0-9 and hyphens within")
	}
	return nil
}

func validLabel(s string) error {
	if s == "" || len(s) > 64 || strings.TrimSpace(s) != s {
		return errors.New("expected 1 to 64 bytes of text")
	}
	return nil
}

func validPlain(s string) error {
	if s == "" || len(s) > 1024 || strings.TrimSpace(s) != s {
		return errors.New("expected 1 to 1024 bytes of text")
	}
	return nil
}

func validWord(s string) error {
	if s == "" || len(s) > 256 || strings.ContainsAny(s, " \"\\") {
		return errors.New("expected words without spaces and quotes")
	}
	return nil
}

func validHTTPS(s string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > 2048 || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return errors.New("expected a URL such as https://login.example.com/realms/corp")
	}
	return nil
}

func validProxy(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return errors.New("expected a URL such as http://proxy.example.com:3128")
	}
	return nil
}

func validPin(s string) error {
	raw, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
	if err != nil || len(raw) != sha256.Size {
		return errors.New("expected SHA-256 fingerprints, 64 hex digits each")
	}
	return nil
}

func validGroup(s string) error {
	switch {
	case s == "" || len(s) > 256 || strings.TrimSpace(s) != s:
		return errors.New("expected the group's whole name, at most 256 bytes")
	case strings.Contains(s, "*"):
		return errors.New("expected a whole name: groups are compared as they are, and * stands for nothing else")
	}
	return nil
}

func validRole(s string) error {
	if !roleName.MatchString(s) {
		return errors.New("expected the name of a role, such as operator")
	}
	return nil
}

// read reads a mapping into fields, and checks them.
func (w walker) read(prefix string, n *yaml.Node, fields []field) {
	w.fields, w.origins = fields, map[string]string{}
	before := len(*w.problems)
	values := w.mapping(prefix, n)
	for _, f := range fields {
		at, given := w.origins[f.key]
		if !given {
			at = w.at(n)
		}
		err := error(nil)
		if v, ok := values[strings.TrimPrefix(f.key, prefix)]; ok {
			if err = f.set(v); err != nil {
				w.problems.add(at, f.key, "", "%s", f.explain(v, err))
			}
		}
		if err == nil && len(*w.problems) == before { // else it may be what is wrong already
			if err := f.check(); err != nil {
				w.problems.add(at, f.key, "", "%s", f.explain(f.show(), err))
			}
		}
	}
}

// nodeField is a field that reads its YAML by itself.
func nodeField(key string, read func(w walker, n *yaml.Node)) field {
	return field{key: key, kind: list, node: read, show: func() string { return "" }, check: func() error { return nil }}
}

// entriesField reads a list of mappings. check looks at each as a whole, name is what
// may stand once; both are optional.
func entriesField[T any](key string, into *[]T, fields func(*T) []field, check func(*T) error, name func(T) string) field {
	prefix := key[strings.LastIndex(key, ".")+1:] + "."
	return nodeField(key, func(w walker, n *yaml.Node) {
		if n.Kind != yaml.SequenceNode || len(n.Content) > maxList {
			w.problems.add(w.at(n), key, "", "expected a list of at most %d entries, found %s", maxList, found(n))
			return
		}
		seen := map[string]bool{}
		for _, item := range n.Content {
			var v T
			before := len(*w.problems)
			w.read(prefix, item, fields(&v))
			if len(*w.problems) > before {
				continue
			}
			if check != nil {
				if err := check(&v); err != nil {
					w.problems.add(w.at(item), key, "", "%v", err)
				}
			}
			if name != nil && seen[name(v)] {
				w.problems.add(w.at(item), key, "keep one of them", "%s stands there twice", clip(name(v)))
			} else if name != nil {
				seen[name(v)] = true
			}
			*into = append(*into, v)
		}
	})
}

// table reads a mapping whose values value reads, at most maxList of them.
func (w walker) table(key string, n *yaml.Node, value func(name string, n *yaml.Node)) {
	if n.Kind != yaml.MappingNode || len(n.Content) > 2*maxList {
		w.problems.add(w.at(n), key, "", "expected at most %d keys with values, found %s", maxList, found(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		if name.Kind != yaml.ScalarNode || name.Tag != "!!str" || validPlain(name.Value) != nil || seen[name.Value] {
			w.problems.add(w.at(name), key, "", "expected each key once, as text; found %s", found(name))
			continue
		}
		seen[name.Value] = true
		value(name.Value, n.Content[i+1])
	}
}

func tableField(key string, into *map[string]string) field {
	return nodeField(key, func(w walker, n *yaml.Node) {
		*into = map[string]string{}
		w.table(key, n, func(name string, v *yaml.Node) {
			if v.Kind != yaml.ScalarNode || v.Tag != "!!str" || validPlain(v.Value) != nil {
				w.problems.add(w.at(v), key, "", "expected text for %s; put it in quotes", clip(name))
				return
			}
			(*into)[name] = v.Value
		})
	})
}

func labelsField(key string, into *map[string][]string) field {
	return nodeField(key, func(w walker, n *yaml.Node) {
		*into = map[string][]string{}
		w.table(key, n, func(name string, v *yaml.Node) {
			var values []string
			if v.Kind == yaml.SequenceNode && len(v.Content) <= maxList {
				for _, item := range w.texts(key, v) {
					values = append(values, item.(string))
				}
			}
			(*into)[name] = values
			if (access.Scope{Labels: map[string][]string{name: values}}).Validate() != nil || slices.Contains(values, "") {
				w.problems.add(w.at(v), key, "", "expected a list of values for %s, such as [north]", clip(name))
			}
		})
		if len(*into) == 0 {
			w.problems.add(w.at(n), key, "", "expected labels; leave it out where the whole fleet is meant")
		}
	})
}

// namesField is a list of zones or types.
func namesField[T device.ZoneName | device.TypeName](key string, into *[]T) field {
	var names []string
	f := listField(key, "", &names, func(s string) error {
		if s == "" || len(s) > 64 {
			return errors.New("expected names of 1 to 64 bytes")
		}
		return nil
	})
	set := f.set
	f.set = func(v any) error {
		err := set(v)
		if err == nil && len(names) == 0 { // else what looks like nothing would be everything
			err = errors.New("expected names; leave it out where the whole fleet is meant")
		}
		*into = nil
		for _, name := range names {
			*into = append(*into, T(name))
		}
		return err
	}
	return f
}
