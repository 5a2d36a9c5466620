package server

import (
	_ "embed"
	"html/template"
	"net/http"
	"time"
)

//go:embed welcome.html
var welcomeHTML string

//go:embed welcome.css
var welcomeCSS []byte

var welcomePage = template.Must(template.New("welcome").Parse(welcomeHTML))

// welcome is what a browser sees until the console is there: no secret, no state
// that a stranger may not know.
func (s *Server) welcome(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		ends := s.endpoints.Load()
		err := welcomePage.Execute(w, map[string]string{"Version": Version, "Domain": s.cfg.TrustDomain, "API": ends.API, "Devices": ends.DeviceAPI,
			"PKI": ends.PKI, "Metrics": ends.Metrics, "Started": s.started.UTC().Format(time.RFC1123)})
		if err != nil {
			s.log.Warn("writing the welcome page", "err", err)
		}
	})
	mux.HandleFunc("GET /welcome.css", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "max-age=300")
		w.Write(welcomeCSS)
	})
}
