// Package signin is how people get into the console and out of it: sign-in,
// second factor, the first account, invitations, step-up, and letting a command
// line in.
//
// It promises that the cookie is sent to this host alone and never to scripts,
// that it changes with every step, that a stranger learns nothing from any
// answer, and that nobody is led to a page of somebody else. It trusts package
// people for every decision, and the identity providers it is given for whom
// they name. Whoever could read a cookie on its way could act as its person,
// which is why there is none without TLS.
package signin

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/people"
)

// Config is what signing in needs; see console.Config, whose fields these are.
type Config struct {
	People    *people.People
	Providers []Provider
	Devices   Devices
	Seal      func(plain, about []byte) ([]byte, error)
	Open      func(sealed, about []byte) ([]byte, error)
	Source    func(*http.Request) netip.Addr
	Now       func() time.Time
	Log       *slog.Logger
	Version   string
	Place     string
}

// Provider is an identity provider that people can sign in with.
type Provider struct {
	Name  string // in addresses: lower-case letters, digits and hyphens
	Label string // on its button
	Kind  string // "oidc" or "saml"
	// Begin starts a round trip for the browser of r: where to send it, and what Finish
	// needs. With again, the provider shall ask for credentials although it knows who
	// it is.
	Begin func(r *http.Request, returnTo string, again bool) (redirect string, flow []byte, err error)
	// Finish reads the answer in r; flow is nil where this browser began nothing. It
	// takes each flow once. Its errors hold refusals.
	Finish func(flow []byte, r *http.Request) (ext people.External, returnTo string, err error)
	// Logout ends what the provider says is over, by the token that it posts; nil: it
	// has no way to say so.
	Logout func(r *http.Request, token string) error
	// Metadata serves what the provider has to know of us; nil: nothing.
	Metadata http.HandlerFunc
}

// Devices decides about command lines that ask to be let in (RFC 8628). Its
// errors hold refusals. Safe for concurrent use.
type Devices interface {
	Pending(ctx context.Context, by access.Identity, userCode string) (DeviceRequest, error)
	Approve(ctx context.Context, by access.Identity, userCode string) error
	Deny(ctx context.Context, by access.Identity, userCode string) error
}

// DeviceRequest is a command line that asks to be let in.
type DeviceRequest struct {
	Code   string
	Client string // its name
	Source string // address that it asked from
	Agent  string
	At     time.Time
	Until  time.Time
	Scope  []access.Permission // nil: everything that the person may do
}

// Keeper holds on to sign-ins: it reads and writes their cookies.
type Keeper struct {
	cfg Config
}

// NewKeeper wraps cfg.
func NewKeeper(cfg Config) *Keeper { return &Keeper{cfg} }

// Names of cookies. The prefix __Host- makes browsers take them from this host
// alone, over TLS, for all of it (RFC 6265bis section 4.1.3.2).
const (
	// sessionCookie is SameSite=Lax: with Strict, who follows a link to a device
	// from a chat or a ticket would look signed out, and so would who comes back
	// from an identity provider. Nothing changes by GET, and posts of other sites
	// are refused before they get here.
	sessionCookie = "__Host-holdfast"
	// watchCookie names the sign-in, sealed, for what looks without counting as
	// activity: live streams and the warning before a sign-in ends.
	watchCookie = "__Host-holdfast-watch"
	// flowCookie holds the state of a round trip to an identity provider, sealed. It
	// is SameSite=Lax, but None where SAML answers with a post of the provider's page:
	// another site can then make the browser send it, and gains nothing, because only
	// an answer that the provider signed for this very request is taken, once.
	flowCookie = "__Host-holdfast-flow"
)

const maxCookie = 4096

func cookie(name, value string, same http.SameSite, age int) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: same, MaxAge: age}
}

// Where is where a request came from.
func (k *Keeper) Where(r *http.Request) people.Where {
	return people.Where{Source: k.cfg.Source(r), Agent: r.UserAgent()}
}

// Keep gives the browser the cookie that the sign-in goes on with.
func (k *Keeper) Keep(w http.ResponseWriter, secret people.Secret) {
	if !secret.Empty() {
		http.SetCookie(w, cookie(sessionCookie, secret.Reveal(), http.SameSiteLaxMode, 0))
	}
}

// Resume finds the sign-in of a request, at whatever stage. Its error is a
// refusal of kind Unauthenticated when there is none.
func (k *Keeper) Resume(w http.ResponseWriter, r *http.Request) (people.SignIn, error) {
	c, err := r.Cookie(sessionCookie)
	if err != nil || c.Value == "" || len(c.Value) > maxCookie {
		return people.SignIn{}, refusal.New(refusal.Unauthenticated, "not-signed-in", "sign in", "nobody is signed in")
	}
	in, next, err := k.cfg.People.Resume(r.Context(), people.NewSecret(c.Value), k.Where(r))
	if ref := refusal.As(err); ref != nil && ref.Kind == refusal.Unauthenticated {
		k.clear(w)
	}
	if err == nil {
		k.Keep(w, next)
	}
	return in, err
}

func (k *Keeper) clear(w http.ResponseWriter) {
	http.SetCookie(w, cookie(sessionCookie, "", http.SameSiteLaxMode, -1))
	http.SetCookie(w, cookie(watchCookie, "", http.SameSiteStrictMode, -1))
}

var aboutWatch = []byte("console watch")

// Watch makes sure that the browser has the cookie for Watched.
func (k *Keeper) Watch(w http.ResponseWriter, r *http.Request, in people.SignIn) {
	if id, ok := k.watching(r); ok && id == in.ID {
		return
	}
	sealed, err := k.cfg.Seal([]byte(in.ID), aboutWatch)
	if err != nil {
		k.cfg.Log.Error("sealing a cookie", "err", err)
		return
	}
	http.SetCookie(w, cookie(watchCookie, base64.RawURLEncoding.EncodeToString(sealed), http.SameSiteStrictMode, 0))
}

func (k *Keeper) watching(r *http.Request) (id string, ok bool) {
	c, err := r.Cookie(watchCookie)
	if err != nil || len(c.Value) > maxCookie {
		return "", false
	}
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return "", false
	}
	plain, err := k.cfg.Open(sealed, aboutWatch)
	return string(plain), err == nil && len(plain) > 0
}

// Watched finds the sign-in of a request without counting it as activity.
func (k *Keeper) Watched(r *http.Request) (people.SignIn, error) {
	none := refusal.New(refusal.Unauthenticated, "not-signed-in", "sign in", "nobody is signed in")
	id, ok := k.watching(r)
	if _, err := r.Cookie(sessionCookie); !ok || err != nil {
		return people.SignIn{}, none
	}
	in, err := k.cfg.People.SignedIn(r.Context(), id)
	if err == nil && in.Kind != people.Console {
		return people.SignIn{}, none
	}
	return in, err
}

// StepUps are the ways in which the person of a sign-in can prove themselves
// again: "passkey", "totp", "password".
func (k *Keeper) StepUps(ctx context.Context, in people.SignIn) []string {
	f, err := k.cfg.People.Factors(ctx, in.Person.ID)
	if err != nil {
		k.cfg.Log.Error("reading factors", "err", err)
		return nil
	}
	var ways []string
	if len(f.Passkeys) > 0 && k.cfg.People.PasskeysWork() {
		ways = append(ways, "passkey")
	}
	if f.TOTP {
		ways = append(ways, "totp")
	}
	if len(ways) == 0 && f.Password {
		ways = append(ways, "password")
	}
	return ways
}

type signInKey struct{}

// With puts the sign-in of a request where Of finds it.
func With(ctx context.Context, in people.SignIn) context.Context {
	return context.WithValue(ctx, signInKey{}, in)
}

// Of is the sign-in that a request of a page came with.
func Of(r *http.Request) people.SignIn {
	in, _ := r.Context().Value(signInKey{}).(people.SignIn)
	return in
}

// People is the engine, for pages about one's own account.
func (k *Keeper) People() *people.People { return k.cfg.People }

// PathOf is the page that a sign-in at a stage goes on with.
func PathOf(s people.Stage) string {
	switch s {
	case people.StageFactor:
		return "/sign-in/factor"
	case people.StageEnrol:
		return "/sign-in/setup"
	case people.StagePassword:
		return "/sign-in/password"
	}
	return "/"
}

// FromProvider tells whether a request is the answer of an identity provider,
// which is the one thing that another site may post here.
func (k *Keeper) FromProvider(r *http.Request) bool {
	name, ok := strings.CutPrefix(r.URL.Path, "/sign-in/saml/")
	name, acs := strings.CutSuffix(name, "/acs")
	return ok && acs && r.Method == http.MethodPost && slices.ContainsFunc(k.cfg.Providers, func(p Provider) bool { return p.Kind == "saml" && p.Name == name })
}

// request is what a page for strangers knows.
func (k *Keeper) request(w http.ResponseWriter, r *http.Request) *ui.Request {
	return &ui.Request{HTTP: r, W: w, Now: k.cfg.Now(), Theme: ui.ThemeOf(r), Version: k.cfg.Version, Place: k.cfg.Place}
}
