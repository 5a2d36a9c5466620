package signin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/people"
)

// maxBody bounds what is posted while signing in, in bytes; maxAnswer the answer
// of an identity provider.
const (
	maxBody   = 64 << 10
	maxAnswer = 1 << 20
)

// Mount adds the pages of signing in, which are for strangers and for sign-ins
// that are not complete.
func (k *Keeper) Mount(mux interface{ Handle(string, http.Handler) }) {
	page := func(pattern string, handle func(*step) error) { mux.Handle(pattern, k.step(handle, maxBody)) }
	page("GET /sign-in", k.signInPage)
	page("POST /sign-in", k.password)
	page("POST /sign-in/passkey/begin", k.passkeyBegin)
	page("POST /sign-in/passkey/finish", k.passkeyFinish)
	page("GET /sign-in/factor", k.factorPage)
	page("POST /sign-in/factor/code", k.factorCode)
	page("POST /sign-in/factor/recovery", k.factorRecovery)
	page("POST /sign-in/factor/passkey/begin", k.provePasskeyBegin)
	page("POST /sign-in/factor/passkey/finish", k.provePasskeyFinish)
	page("GET /sign-in/password", k.replacePage)
	page("POST /sign-in/password", k.replace)
	page("POST /sign-in/strength", k.strength)
	page("GET /join", k.joinPage)
	page("POST /join", k.join)
	page("GET /sign-in/setup", k.setupPage)
	page("POST /sign-in/setup", k.introduce)
	page("GET /sign-in/setup/way", k.wayPage)
	page("GET /sign-in/setup/password", k.setupPasswordPage)
	page("POST /sign-in/setup/password", k.setupPassword)
	page("GET /sign-in/setup/app", k.appPage)
	page("POST /sign-in/setup/app", k.app)
	page("POST /account/passkeys/begin", k.addPasskeyBegin)
	page("POST /account/passkeys/finish", k.addPasskeyFinish)
	page("POST /step-up/code", k.stepUpCode)
	page("POST /step-up/password", k.stepUpPassword)
	page("POST /step-up/passkey/begin", k.provePasskeyBegin)
	page("POST /step-up/passkey/finish", k.stepUpPasskey)
	page("POST /sign-out", k.signOut)
	page("GET /signed-out", k.signedOutPage)
	page("GET /sign-in/oidc/{name}", k.externalBegin)
	page("GET /sign-in/saml/{name}", k.externalBegin)
	page("GET /sign-in/oidc/{name}/callback", k.externalFinish)
	page("POST /sign-in/oidc/{name}/logout", k.externalLogout)
	page("GET /sign-in/saml/{name}/metadata", k.externalMetadata)
	mux.Handle("POST /sign-in/saml/{name}/acs", k.step(k.externalFinish, maxAnswer))
}

// step is one request while signing in.
type step struct {
	*ui.Request
	k     *Keeper
	next  string // where to go in the end
	where people.Where
}

func (k *Keeper) step(handle func(*step) error, limit int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		s := &step{Request: k.request(w, r), k: k, where: k.Where(r)}
		var err error
		if r.Method == http.MethodPost && !isJSON(r) {
			if r.ParseForm() != nil {
				err = refusal.New(refusal.Invalid, "bad-form", "send it again", "the form could not be read")
			}
		}
		s.next = ui.LocalPath(r.URL.Query().Get("next"), "/")
		if v := r.PostForm.Get("next"); v != "" {
			s.next = ui.LocalPath(v, "/")
		}
		if err == nil {
			err = handle(s)
		}
		if err != nil && r.Context().Err() == nil { // else nobody waits for the answer any more
			s.failed(err)
		}
	})
}

func isJSON(r *http.Request) bool { return r.Header.Get("Content-Type") == "application/json" }

// failed shows an error to somebody who is not signed in.
func (s *step) failed(err error) {
	t := ui.TroubleOf(err)
	if t.Unknown {
		s.k.cfg.Log.Error("signing in", "path", s.HTTP.URL.Path, "err", err)
	}
	if isJSON(s.HTTP) {
		s.W.Header().Set("Content-Type", "application/json")
		s.W.WriteHeader(t.Status)
		json.NewEncoder(s.W).Encode(map[string]string{"code": t.Code, "detail": t.Detail + " " + t.Fix})
		return
	}
	if err := s.FormFail(t, "/sign-in"); err != nil {
		s.k.cfg.Log.Error("showing an error", "err", err)
	}
}

// at finds the sign-in and sees that it is at one of stages; otherwise it leads to
// where it is and returns ok false.
func (s *step) at(stages ...people.Stage) (in people.SignIn, ok bool, err error) {
	in, err = s.k.Resume(s.W, s.HTTP)
	if ref := refusal.As(err); ref != nil && ref.Kind == refusal.Unauthenticated {
		if isJSON(s.HTTP) {
			return in, false, err
		}
		return in, false, s.Redirect(s.with("/sign-in"))
	}
	if err != nil {
		return in, false, err
	}
	for _, stage := range stages {
		if in.Stage == stage {
			return in, true, nil
		}
	}
	if isJSON(s.HTTP) {
		return in, false, refusal.New(refusal.Conflict, "wrong-step", "load the page again", "the sign-in is at another step")
	}
	return in, false, s.goOn(in)
}

func (s *step) query() string {
	if s.next == "/" {
		return ""
	}
	return url.Values{"next": {s.next}}.Encode()
}

// with adds where to go in the end to a path.
func (s *step) with(path string) string {
	if q := s.query(); q != "" {
		return path + "?" + q
	}
	return path
}

// goOn leads to the next step of a sign-in.
func (s *step) goOn(in people.SignIn) error { return s.Redirect(s.onward(in)) }

func (s *step) onward(in people.SignIn) string {
	if in.Stage == people.StageFull {
		return s.next
	}
	return s.with(PathOf(in.Stage))
}

// proven keeps the cookie of a step that succeeded, and leads on.
func (s *step) proven(secret people.Secret, in people.SignIn, err error) error {
	if err != nil {
		return s.ended(err)
	}
	s.k.Keep(s.W, secret)
	return s.goOn(in)
}

// ended leads back to the beginning when a step ended the sign-in: too many wrong
// codes.
func (s *step) ended(err error) error {
	if refusal.Is(err, "not-signed-in") {
		s.k.clear(s.W)
	}
	return err
}

// answer writes JSON for the script that speaks with authenticators.
func (s *step) answer(v any) error {
	s.W.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(s.W).Encode(v)
}

// passkeyAnswer is what the script sends after an authenticator answered.
type passkeyAnswer struct {
	Flow       string          `json:"flow"`
	Name       string          `json:"name"`
	Next       string          `json:"next"`
	Credential json.RawMessage `json:"credential"`
}

func (s *step) readAnswer() (a passkeyAnswer, err error) {
	bad := refusal.New(refusal.Invalid, "bad-answer", "try again", "the browser's answer could not be read")
	if !isJSON(s.HTTP) {
		return a, bad
	}
	data, err := io.ReadAll(s.HTTP.Body)
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return a, refusal.New(refusal.TooLarge, "answer-too-large", "try again", "the browser's answer is too large")
	}
	if err != nil || json.Unmarshal(data, &a) != nil {
		return a, bad
	}
	s.next = ui.LocalPath(a.Next, "/")
	return a, nil
}
