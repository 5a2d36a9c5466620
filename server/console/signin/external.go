package signin

import (
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

// externalBegin sends the browser to an identity provider. What comes back is
// compared with what the browser keeps, so that nobody can be signed in to the
// account of somebody else.
func (k *Keeper) externalBegin(s *step) error {
	p, ok := k.provider(s.HTTP)
	if !ok {
		return noProvider
	}
	to, flow, err := p.Begin(s.HTTP.Context(), s.next)
	if err != nil {
		k.cfg.Log.Warn("beginning to sign in at an identity provider", "provider", p.Name, "err", err)
		return err
	}
	sealed, err := k.cfg.Seal(flow, aboutFlow(p))
	if err != nil {
		return err
	}
	value := base64.RawURLEncoding.EncodeToString(sealed)
	if len(value) > maxCookie-100 {
		return refusal.New(refusal.Unavailable, "sso-flow", "use another way to sign in, and tell your administrator", "signing in there needs more than a browser can keep")
	}
	http.SetCookie(s.W, cookie(flowCookie, value, http.SameSiteNoneMode, 15*60))
	http.Redirect(s.W, s.HTTP, to, http.StatusSeeOther)
	return nil
}

func (k *Keeper) externalFinish(s *step) error {
	p, ok := k.provider(s.HTTP)
	if !ok {
		return noProvider
	}
	lost := refusal.New(refusal.Invalid, "sso-flow", "begin again at the sign-in page", "this answer belongs to no sign-in that this browser began, or it came too late")
	c, err := s.HTTP.Cookie(flowCookie)
	if err != nil || len(c.Value) > maxCookie {
		return lost
	}
	http.SetCookie(s.W, cookie(flowCookie, "", http.SameSiteNoneMode, -1))
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		return lost
	}
	flow, err := k.cfg.Open(sealed, aboutFlow(p))
	if err != nil {
		return lost
	}
	ext, to, err := p.Finish(s.HTTP.Context(), flow, s.HTTP)
	if err != nil {
		k.cfg.Log.Warn("signing in at an identity provider", "provider", p.Name, "err", err)
		return err
	}
	s.next = ui.LocalPath(to, "/")
	// Somebody who is signed in proves themselves again; anybody else signs in.
	if in, err := k.Resume(s.W, s.HTTP); err == nil && in.Stage == people.StageFull {
		if secret, in, err := k.cfg.People.ProveExternal(s.HTTP.Context(), in, ext, s.where); err == nil {
			return s.proven(secret, in, nil)
		}
	}
	return s.proven(k.cfg.People.External(s.HTTP.Context(), ext, s.where))
}
