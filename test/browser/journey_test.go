package browser

import (
	"testing"

	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// begin is the first minute: from the printed link to the overview, with a passkey.
func (p *person) begin(link, name string) {
	p.t.Helper()
	p.passkeys()
	p.open(link)
	p.press("Set up my account")
	p.at("/sign-in/setup")
	p.fill("setup-display", name)
	p.press("Go on")
	p.at("/sign-in/setup/way")
	p.press("Create a passkey")
	p.wait("the console", `location.pathname === "/" && document.querySelector("nav")`)
}

// TestFirstMinute follows the printed link and ends signed in; then out, and in
// again with the passkey.
func TestFirstMinute(t *testing.T) {
	s := up(t, false)
	p := s.person(t)
	p.begin(s.ready.SignIn, "Ada Lovelace")
	p.clean("the first minute")
	p.Axe("the overview of an empty fleet")
	p.open(s.ready.SignIn)
	p.reads("not valid") // the link worked once
	p.Faults()           // its answer is a 401, which the browser notes
	p.Go("/")
	uitest.Eval[bool](p.Browser, `(document.querySelector("form[action='/sign-out']").requestSubmit(), true)`)
	p.at("/signed-out")
	p.reads("signed out")
	q := s.person(t) // somebody without a passkey
	q.Go("/")
	q.at("/sign-in")
	q.Ready()
	q.Axe("the sign-in page")
	q.clean("the sign-in page")
	p.Go("/") // the authenticator answers the page's offer by itself
	p.wait("the console", `location.pathname === "/" && document.querySelector("nav")`)
	p.clean("signing in again")
}
