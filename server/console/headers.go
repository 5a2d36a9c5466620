package console

import (
	"net/http"
	"strings"

	"github.com/holdfast-iot/holdfast/server/console/assets"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// contentPolicy is what pages may load and run: files of this server, and images that
// are written into the page.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// features are what pages may ask a browser for.
const features = "publickey-credentials-get=(self), publickey-credentials-create=(self), clipboard-write=(self), accelerometer=(), camera=(), " +
	"display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=(), serial=(), bluetooth=(), hid=()"

// guard sets the headers of every answer and turns away what another site sent.
func (c *console) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		// Not no-referrer: with it, browsers send "Origin: null" with our own forms.
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Permissions-Policy", features)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if !strings.HasPrefix(r.URL.Path, assets.Prefix) {
			h.Set("Cache-Control", "no-store")
		}
		if !c.keeper.FromProvider(r) {
			if err := c.csrf.Check(r); err != nil {
				c.cfg.Log.Warn("refusing a request of another site", "path", r.URL.Path, "source", c.cfg.Source(r).String())
				http.Error(w, "This request came from another site. Open Holdfast and do it there.", http.StatusForbidden)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// theme keeps a choice of colours and leads back.
func (c *console) theme(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	theme := ui.Theme(r.PostFormValue("theme"))
	if theme != ui.Light && theme != ui.Dark {
		http.Error(w, "There is no such theme.", http.StatusUnprocessableEntity)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: ui.ThemeCookie, Value: string(theme), Path: "/", Secure: true, SameSite: http.SameSiteLaxMode, MaxAge: 365 * 24 * 3600})
	back := "/"
	if u := r.Header.Get("Referer"); u != "" {
		if _, rest, ok := strings.Cut(u, "://"+r.Host); ok {
			back = ui.LocalPath(rest, "/")
		}
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}
