package browser

import (
	"testing"

	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// TestOwnAccount has somebody who came with a passkey make their account safe: new
// recovery codes, an authenticator app, a password, a name for the passkey; then see
// where they are signed in and end the others.
func TestOwnAccount(t *testing.T) {
	s := up(t, false)
	p := s.person(t)
	p.begin(s.ready.SignIn, "Ada Lovelace")
	p.Go("/account")
	p.reads("There is only one way into your account")
	p.Ready()
	p.Axe("an account with one way in")
	p.press("Make new ones")
	p.press("Make ten codes")
	p.reads("They are never shown again")
	if n := uitest.Eval[int](p.Browser, `document.querySelectorAll("#recovery-codes li").length`); n != 10 {
		t.Errorf("%d recovery codes are shown", n)
	}
	p.Axe("recovery codes")
	p.press("I have kept them")
	p.reads("10 unused codes")
	if uitest.Eval[bool](p.Browser, `document.body.innerText.includes("only one way")`) {
		t.Error("with recovery codes the page still says that there is one way in")
	}
	p.reads("set one first")
	p.Go("/account/password")
	p.Axe("a password")
	p.fill("password-password", "too short")
	p.fill("password-again", "too short")
	p.press("Change password")
	p.wait("the refusal of a weak password", `document.querySelector("#password-problem")?.textContent.trim()`)
	p.Faults() // its answer is a 422, which the browser notes
	const secret = "four unrelated words: kettle, prism, lagoon, tariff"
	p.fill("password-password", secret)
	p.fill("password-again", secret)
	p.press("Change password")
	p.reads("Your password is changed.")
	p.press("Set up")
	p.at("/account/app")
	p.Ready()
	p.Axe("an authenticator app")
	phone := &app{secret: uitest.Eval[string](p.Browser, `document.querySelector("details .id, details code").textContent.replace(/[^A-Z2-7]/g, "")`)}
	p.fill("app-code", phone.code(t))
	p.press("Confirm")
	p.reads("Your authenticator app is set up.")
	p.press("Actions for the passkey " + uitest.Eval[string](p.Browser, `[...document.querySelectorAll("[popovertarget^=passkey-menu]")][0].getAttribute("aria-label").replace("Actions for the passkey ", "")`))
	p.press("Rename")
	p.fillNamed("name", "Work laptop")
	p.press("Save")
	p.reads("Work laptop")

	q := s.person(t) // another browser of the same person
	q.Go("/sign-in")
	q.fill("sign-in-name", "admin")
	q.fill("sign-in-password", secret)
	q.press("Sign in")
	q.at("/sign-in/factor")
	q.fill("factor-code", phone.code(t))
	q.press("Go on")
	q.wait("the console", `document.querySelector("nav.sidebar")`)
	p.Go("/account/sign-ins")
	p.reads("this one")
	p.Shot("account-sign-ins")
	p.press("End all others")
	p.press("End them")
	p.reads("All other sign-ins are ended.")
	q.Go("/")
	q.at("/sign-in")
	p.Go("/account")
	p.Shots("account", "/account")
	p.clean("an account")
}
