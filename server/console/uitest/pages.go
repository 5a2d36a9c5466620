package uitest

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/adminapi"
	"github.com/holdfast-iot/holdfast/server/console/assets"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Pages serves what was mounted on m to one person with the given rights, without
// signing in: for looking at pages and for tests of handlers. api answers what the
// pages ask; nil where they ask nothing. The whole console is tested elsewhere.
func Pages(m *ui.Mux, rights access.Rights, api http.Handler) http.Handler {
	return PagesAs(m, ada(rights, time.Now()), api)
}

// PagesAs is Pages for somebody whom api knows: what they do is theirs in its log.
func PagesAs(m *ui.Mux, who access.Identity, api http.Handler) http.Handler {
	mux := http.NewServeMux()
	for _, route := range m.Routes() {
		pattern := route.Pattern
		if strings.HasSuffix(pattern, " /") {
			pattern += "{$}" // that page alone
		}
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'")
			w.Header().Set("Cache-Control", "no-store")
			req := request(w, r, who, api)
			req.Enter(route.Section)
			err := r.ParseMultipartForm(route.MaxBody)
			if err == http.ErrNotMultipart {
				err = r.ParseForm()
			}
			if r.PostForm == nil {
				r.PostForm = url.Values{}
			}
			if err == nil {
				err = route.Handle(req)
			}
			if err != nil {
				t := ui.TroubleOf(err)
				if t.Unknown {
					t.Detail = "Fault: " + err.Error()
				}
				if err := req.Fail(t); err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
				}
			}
		})
	}
	for _, s := range m.Streams() {
		mux.HandleFunc(s.Pattern, func(w http.ResponseWriter, r *http.Request) { stream(request(w, r, who, api), s) })
	}
	mux.Handle(assets.Prefix, assets.Handler())
	return mux
}

// stream serves a stream as the console does, without its bounds.
func stream(r *ui.Request, s ui.Stream) {
	r.W.Header().Set("Content-Type", "text/event-stream")
	emit := func(name string, body ui.Node) error {
		data, err := r.Event(name, body)
		if err == nil {
			_, err = r.W.Write(data)
		}
		if err == nil {
			err = http.NewResponseController(r.W).Flush()
		}
		return err
	}
	r.Enter(s.Section)
	if err := s.Run(r, emit); err != nil {
		emit("problem", ui.TroubleBox(ui.TroubleOf(err)))
		return
	}
	emit("ended", ui.Text(""))
}

// Request is a request of Ada Lovelace, who has signed in with a passkey and holds
// rights.
func Request(w http.ResponseWriter, r *http.Request, rights access.Rights, api http.Handler) *ui.Request {
	return request(w, r, ada(rights, time.Now()), api)
}

func ada(rights access.Rights, now time.Time) access.Identity {
	return access.Identity{Actor: access.Actor{Kind: access.Human, ID: "p0000000000000001"}, Name: "Ada Lovelace", Rights: rights, Proof: access.Proof{Method: "passkey", Fresh: now, Strong: true}}
}

func request(w http.ResponseWriter, r *http.Request, who access.Identity, api http.Handler) *ui.Request {
	now := time.Now()
	if api == nil {
		api = http.NotFoundHandler()
	}
	return &ui.Request{HTTP: r, W: w, Now: now, Theme: ui.ThemeOf(r), Version: "1.0.0", Place: "factory.example",
		Session:  ui.Session{ID: "s1", Person: "p0000000000000001", Name: "Ada Lovelace", Login: "ada@example.com", Ends: now.Add(15 * time.Minute), StepUps: func() []string { return []string{"passkey", "totp"} }},
		Identity: who, API: adminapi.As(api, who)}
}
