package ui

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/adminapi"
)

// Trouble is an error as it is shown.
type Trouble struct {
	Status    int
	Title     string // of the page
	Detail    string // what is wrong, a sentence
	Fix       string // what to do
	Code      string
	RequestID string
	Fields    []adminapi.RowError
	StepUp    bool             // a fresh factor is asked for
	Waits     *access.Approval // a second person is asked for
	Unknown   bool             // not written for people: to be logged
}

var statusOf = map[refusal.Kind]int{refusal.Invalid: 422, refusal.Unauthenticated: 401, refusal.Forbidden: 403, refusal.NotFound: 404,
	refusal.Conflict: 409, refusal.TooLarge: 413, refusal.TooMany: 429, refusal.Unavailable: 503}

// TroubleOf finds what to show of an error: problems of the API and refusals say
// it themselves, of others nothing is shown but the number under which the log
// has them.
func TroubleOf(err error) Trouble {
	var waits *adminapi.Pending
	var p *adminapi.Problem
	switch r := refusal.As(err); {
	case errors.As(err, &waits):
		return Trouble{Status: http.StatusAccepted, Title: "A second person has to agree", Detail: "Nothing has happened yet. Your request waits for a second person.", Code: "approval-needed", Waits: &waits.Approval}
	case errors.As(err, &p):
		return Trouble{Status: p.Status, Title: titleOf(p.Status), Detail: sentence(p.Detail), Fix: sentence(p.Fix), Code: p.Code, RequestID: p.RequestID, Fields: p.Errors, StepUp: p.Code == "step-up-needed"}
	case r != nil && statusOf[r.Kind] != 0:
		return Trouble{Status: statusOf[r.Kind], Title: titleOf(statusOf[r.Kind]), Detail: sentence(r.Detail), Fix: sentence(r.Fix), Code: r.Code, StepUp: r.Code == "step-up-needed"}
	case errors.Is(err, errNotFound):
		return Trouble{Status: 404, Title: titleOf(404), Detail: "There is no such page.", Fix: "Use the navigation or the search.", Code: "no-such-page"}
	case errors.Is(err, context.Canceled):
		return Trouble{Status: 499, Title: "Cancelled", Detail: "The request was cancelled.", Code: "cancelled"}
	case errors.Is(err, context.DeadlineExceeded):
		return Trouble{Status: 504, Title: "It took too long", Detail: "The answer took too long.", Fix: "Try again; if it stays so, ask for less at once.", Code: "too-slow", Unknown: true}
	}
	return Trouble{Status: 500, Title: "Something went wrong", Detail: "Something went wrong inside Holdfast.", Fix: "Try again; if it stays so, the server's log has more under the request number.", Code: "internal", Unknown: true}
}

func titleOf(status int) string {
	switch status {
	case 401:
		return "Sign in again"
	case 403:
		return "You may not do this"
	case 404:
		return "Not found"
	case 409:
		return "It has changed meanwhile"
	case 413:
		return "Too large"
	case 422, 400:
		return "Something is not right yet"
	case 429:
		return "Too many requests"
	case 503:
		return "Not available right now"
	}
	return "Something went wrong"
}

// sentence makes a sentence for people of one for programs.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	if c := s[0]; c >= 'a' && c <= 'z' {
		s = string(c-32) + s[1:]
	}
	if !strings.ContainsAny(s[len(s)-1:], ".!?") {
		s += "."
	}
	return s
}

// Fail answers with an error. It is called by what runs handlers; pages return
// errors instead.
func (r *Request) Fail(t Trouble) error {
	switch {
	case t.Status == http.StatusUnauthorized:
		r.W.Header().Set("Clear-Site-Data", `"cache"`)
		return r.Redirect("/sign-in")
	case r.Partial() && t.StepUp:
		// On top of the dialog that asks: its form is sent again afterwards.
		r.W.Header().Set("HX-Retarget", "#dialogs")
		r.W.Header().Set("HX-Reswap", "beforeend")
		r.W.Header().Set("Holdfast-Step-Up", "needed")
		return r.write(t.Status, stepUpDialog(r.stepUps()))
	case r.Partial() && r.HTTP.Method == http.MethodGet:
		r.W.Header().Set("HX-Retarget", "#toasts")
		r.W.Header().Set("HX-Reswap", "beforeend")
		return r.write(t.Status, Toast(Bad, strings.TrimSpace(t.Detail+" "+t.Fix)))
	case r.Partial():
		form, _ := strings.CutPrefix(r.HTTP.Header.Get("HX-Source"), "form#")
		if form == "" || strings.Trim(form, idLetters) != "" {
			r.W.Header().Set("HX-Retarget", "#toasts")
			r.W.Header().Set("HX-Reswap", "beforeend")
			tone := Bad
			if t.Waits != nil {
				tone = Warn
			}
			return r.write(t.Status, Toast(tone, strings.TrimSpace(t.Detail+" "+t.Fix)))
		}
		return r.write(t.Status, formTrouble(form, t))
	case t.StepUp:
		return r.Page(Page{Title: "Confirm that it is you", Narrow: true}, stepUpPage(r.stepUps(), t))
	}
	return r.PageStatus(t.Status, Page{Title: t.Title, Narrow: true}, TroubleBox(t))
}

// FormFail shows an error in the form that was sent, or on a page without
// navigation: for pages of strangers, where Fail would lead to the sign-in page.
func (r *Request) FormFail(t Trouble, back string) error {
	form, _ := strings.CutPrefix(r.HTTP.Header.Get("HX-Source"), "form#")
	if r.Partial() && form != "" && strings.Trim(form, idLetters) == "" {
		return r.write(t.Status, formTrouble(form, t))
	}
	return r.Plain(t.Status, t.Title, plainTrouble(t, back))
}

// ResultPlain answers a form with another page without navigation.
func (r *Request) ResultPlain(title string, body Node) error {
	if !r.Partial() {
		return r.Plain(http.StatusOK, title, body)
	}
	r.W.Header().Set("HX-Retarget", "#main")
	r.W.Header().Set("HX-Reswap", "innerHTML show:top")
	return r.write(http.StatusOK, body)
}

const idLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// ErrorBox shows an error inside a page: where a part of it could not be had.
func ErrorBox(err error) Node { return TroubleBox(TroubleOf(err)) }

func fieldsOf(t Trouble) (named, rest []adminapi.RowError) {
	for _, e := range t.Fields {
		if e.Line == 0 && e.Field != "" && strings.Trim(e.Field, idLetters) == "" {
			named = append(named, e)
		} else {
			rest = append(rest, e)
		}
	}
	return named, rest[:min(len(rest), 50)]
}

func sorted(m map[string]string) [][2]string {
	list := make([][2]string, 0, len(m))
	for k, v := range m {
		list = append(list, [2]string{k, v})
	}
	slices.SortFunc(list, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
	return list
}

// stepUps are the ways to a fresh proof.
func (r *Request) stepUps() []string {
	if r.Session.StepUps == nil {
		return nil
	}
	return r.Session.StepUps()
}
