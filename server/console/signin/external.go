package signin

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/people"
)

func (k *Keeper) provider(r *http.Request) (Provider, bool) {
	kind := strings.Split(r.URL.Path, "/")[2]
	for _, p := range k.cfg.Providers {
		if p.Name == r.PathValue("name") && p.Kind == kind {
			return p, true
		}
	}
	return Provider{}, false
}

// aboutFlow binds the state of a round trip to its provider.
func aboutFlow(p Provider) []byte { return []byte("console flow " + p.Kind + ":" + p.Name) }

// sameSite is the rule of the flow's cookie: OpenID Connect comes back by a link,
// SAML by a post.
func sameSite(p Provider) http.SameSite {
	if p.Kind == "saml" {
		return http.SameSiteNoneMode
	}
	return http.SameSiteLaxMode
}

// externalBegin sends the browser to an identity provider. What comes back is
// compared with what the browser keeps, so that nobody can be signed in to the
// account of somebody else. Who is signed in already is to prove themselves again:
// the flow remembers the sign-in, because a post of the provider's page comes
// without its cookie.
func (k *Keeper) externalBegin(s *step) error {
	p, ok := k.provider(s.HTTP)
	if !ok {
		return noProvider
	}
	in, err := k.Resume(s.W, s.HTTP)
	again := err == nil && in.Stage == people.StageFull
	if !again {
		in.ID = ""
	}
	to, flow, err := p.Begin(s.HTTP, s.next, again)
	if err != nil {
		k.cfg.Log.Warn("beginning to sign in at an identity provider", "provider", p.Name, "err", err)
		return err
	}
	sealed, err := k.cfg.Seal(append([]byte(in.ID+"\n"), flow...), aboutFlow(p))
	if err != nil {
		return err
	}
	value := base64.RawURLEncoding.EncodeToString(sealed)
	if len(value) > maxCookie-100 {
		return refusal.New(refusal.Unavailable, "sso-flow", "use another way to sign in, and tell your administrator", "signing in there needs more than a browser can keep")
	}
	http.SetCookie(s.W, cookie(flowCookie, value, sameSite(p), 15*60))
	http.Redirect(s.W, s.HTTP, to, http.StatusSeeOther)
	return nil
}

// flow is the state of a round trip that this browser began with p, and the sign-in
// that it is to renew; nil where there is none.
func (k *Keeper) flow(s *step, p Provider) (signIn string, flow []byte) {
	c, err := s.HTTP.Cookie(flowCookie)
	if err != nil || len(c.Value) > maxCookie {
		return "", nil
	}
	http.SetCookie(s.W, cookie(flowCookie, "", sameSite(p), -1))
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return "", nil
	}
	plain, err := k.cfg.Open(sealed, aboutFlow(p))
	if err != nil {
		return "", nil
	}
	id, flow, _ := bytes.Cut(plain, []byte("\n"))
	return string(id), flow
}

func (k *Keeper) externalFinish(s *step) error {
	p, ok := k.provider(s.HTTP)
	if !ok {
		return noProvider
	}
	signIn, flow := k.flow(s, p)
	ext, to, err := p.Finish(flow, s.HTTP)
	if err != nil {
		k.cfg.Log.Warn("signing in at an identity provider", "provider", p.Name, "err", err)
		return err
	}
	s.next = ui.LocalPath(to, "/")
	// Somebody who is signed in proves themselves again; anybody else signs in.
	if signIn != "" {
		if in, err := k.cfg.People.SignedIn(s.HTTP.Context(), signIn); err == nil {
			if secret, in, err := k.cfg.People.ProveExternal(s.HTTP.Context(), in, ext, s.where); err == nil {
				return s.proven(secret, in, nil)
			}
		}
	}
	return s.proven(k.cfg.People.External(s.HTTP.Context(), ext, s.where))
}

// externalMetadata serves what a provider has to know of us. It is public.
func (k *Keeper) externalMetadata(s *step) error {
	p, ok := k.provider(s.HTTP)
	if !ok || p.Metadata == nil {
		return noProvider
	}
	p.Metadata(s.W, s.HTTP)
	return nil
}

// externalLogout ends sign-ins because the provider says so: its server posts, and no
// browser (OpenID Connect Back-Channel Logout 1.0, section 2.8).
func (k *Keeper) externalLogout(s *step) error {
	p, ok := k.provider(s.HTTP)
	if !ok || p.Logout == nil {
		return noProvider
	}
	s.W.Header().Set("Content-Type", "application/json")
	if err := p.Logout(s.HTTP, s.HTTP.PostForm.Get("logout_token")); err != nil {
		k.cfg.Log.Warn("signing out because an identity provider says so", "provider", p.Name, "err", err)
		s.W.WriteHeader(http.StatusBadRequest)
		_, err = s.W.Write([]byte(`{"error":"invalid_request"}` + "\n"))
		return err
	}
	return nil
}
