package browser

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/holdfast-iot/holdfast/server/config"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// invite makes an account and returns the link that its person begins with, and the
// path of its page.
func (p *person) invite(name, display string) (link, page string) {
	p.t.Helper()
	p.Go("/access/people/invite")
	p.fill("invite-name", name)
	p.fill("invite-display", display)
	p.press("Make the invitation")
	p.reads("This link is shown once")
	p.Axe("an invitation")
	link = uitest.Eval[string](p.Browser, `document.querySelector("figure.code code").textContent`)
	page = uitest.Eval[string](p.Browser, `[...document.querySelectorAll("a.button")].find((e) => e.innerText.trim() === "Give them a role").getAttribute("href")`)
	return link, page
}

// TestTwoPeople has one person let a second one in, and then ask them for what
// needs two: a role for a third, and a client. Who asked cannot approve it; who did
// not can; both see what came of it, and so does the log.
func TestTwoPeople(t *testing.T) {
	s := up(t, false)
	ada := s.person(t)
	ada.begin(s.ready.SignIn, "Ada Lovelace")
	link, page := ada.invite("grace@example.com", "Grace Hopper")
	grace := s.person(t)
	grace.begin(link, "Grace Hopper")
	ada.Go(page)
	ada.fill("grant-role", "security-officer")
	ada.fill("grant-reason", "second pair of eyes")
	ada.press("Give the role")
	ada.reads("The role security-officer was given") // alone so far: nobody else decides
	_, third := ada.invite("joan@example.com", "Joan Clarke")
	ada.Go(third)
	ada.fill("grant-role", "operator")
	ada.fill("grant-reason", "new on the night shift")
	ada.press("Give the role")
	ada.reads("Your request waits for a second person")
	ada.press("Open the request")
	ada.at("/access/approvals/")
	ada.reads("This is your own request")
	ada.reads("Give Joan Clarke the role operator")
	ada.Ready()
	ada.Axe("an own request")
	if uitest.Eval[bool](ada.Browser, `document.body.innerText.includes("Approve")`) {
		t.Error("who asked is offered to approve")
	}
	request := uitest.Eval[string](ada.Browser, `location.pathname`)
	if status := ada.post(request+"/approve", ""); status != http.StatusForbidden {
		t.Errorf("approving one's own request is answered with %d", status)
	}

	grace.Go("/")
	grace.wait("the number that waits", `document.querySelector(".sidebar .nav-count")?.textContent.includes("1")`)
	grace.Go("/access/approvals?state=waiting")
	grace.reads("new on the night shift")
	grace.Go(request)
	grace.reads("It waits for you or another second person")
	grace.reads("quarantine devices and release them")
	grace.Ready()
	grace.Axe("a request to decide on")
	grace.Shot("approval")
	grace.press("Approve")
	grace.fillNamed("comment", "checked with the shift lead")
	grace.Axe("the dialog of an approval")
	grace.press("Approve and carry out")
	grace.reads("The request is carried out.")
	if n := uitest.Eval[int](grace.Browser, `document.querySelectorAll(".nav-count").length`); n != 0 {
		t.Error("the number stays after the decision")
	}
	ada.Go(request)
	ada.reads("It was approved and carried out")
	ada.reads("checked with the shift lead")
	ada.Go(third)
	ada.wait("the role in the list", `[...document.querySelectorAll(".rows a")].some((e) => e.innerText === "operator")`)
	ada.Ready()
	ada.Axe("a person with a role")
	ada.Go("/audit?action=approval.*")
	ada.reads("Grace Hopper")

	ada.Go("/access/sign-ins")
	ada.reads("Grace Hopper")
	ada.reads("you, here")
	ada.Ready()
	ada.Axe("who is signed in")
	ada.press("End")
	ada.reads("That sign-in is ended.")
	grace.Go("/")
	grace.at("/sign-in")

	ada.Go("/access/clients/new") // what is asked for can be taken back, too
	ada.fill("client-name", "exporter")
	ada.fill("client-owner", "platform team")
	ada.fill("client-reason", "nightly export")
	ada.press("Create it")
	ada.reads("Your request waits for a second person")
	ada.press("Open the request")
	ada.reads("Create the API client exporter")
	ada.press("Withdraw")
	ada.wait("the question", `document.querySelector("dialog#decide[open]")`)
	ada.press("Withdraw")
	ada.reads("It is withdrawn")
	for _, f := range ada.Faults() {
		if !strings.Contains(f, "403") { // approving one's own
			t.Errorf("asking for a second person: the browser complained: %s", f)
		}
	}
	grace.clean("being the second person")
}

// post sends a form from the page, with the browser's cookies, and returns the status.
func (p *person) post(path, form string) int {
	p.t.Helper()
	return uitest.Eval[int](p.Browser, `fetch(`+strconv.Quote(path)+`, {method: "POST", redirect: "manual", headers: {"Content-Type": "application/x-www-form-urlencoded"}, body: `+strconv.Quote(form)+`}).then((r) => r.status)`)
}

// app is the authenticator app of a test. Each code works once, and those of the
// half minute before and after the present one work too: three in a row need no
// waiting.
type app struct {
	secret string
	given  int
}

func (a *app) code(t *testing.T) string {
	t.Helper()
	code, err := totp.GenerateCode(a.secret, time.Now().Add(time.Duration(a.given-1)*30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	a.given++
	return code
}

// TestAuthenticatorApp has somebody sign in with a password and an authenticator
// app, use a recovery code once and not twice, and prove themselves again where an
// action asks for a fresh factor: then the action goes on as it was asked for.
func TestAuthenticatorApp(t *testing.T) {
	const fresh = 2 * time.Second
	s := upWith(t, false, func(c *config.Config) { c.Access.StepUp = fresh })
	ada := s.person(t)
	ada.begin(s.ready.SignIn, "Ada Lovelace")
	link, _ := ada.invite("grace@example.com", "Grace Hopper")
	const secret = "correct horse battery staple of the night shift"
	p := s.person(t)
	p.open(link)
	p.press("Set up my account")
	p.fill("setup-display", "Grace Hopper")
	p.press("Go on")
	p.at("/sign-in/setup/way")
	p.press("Password and authenticator app")
	p.fill("setup-password-password", secret)
	p.fill("setup-password-again", secret)
	p.press("Go on")
	p.at("/sign-in/setup/app")
	phone := &app{secret: uitest.Eval[string](p.Browser, `document.querySelector("details .id, details code").textContent.replace(/[^A-Z2-7]/g, "")`)}
	p.fill("app-code", phone.code(t))
	p.press("Confirm")
	p.reads("Keep these recovery codes")
	recovery := uitest.Eval[string](p.Browser, `document.querySelector("#recovery-codes li").innerText`)
	p.press("I have kept them")
	p.wait("the console", `document.querySelector("nav")`)
	p.clean("setting up an authenticator app")
	leave := func() {
		p.Go("/")
		uitest.Eval[bool](p.Browser, `(document.querySelector("form[action='/sign-out']").requestSubmit(), true)`)
		p.at("/signed-out")
	}
	enter := func() {
		leave()
		p.Go("/sign-in")
		p.fill("sign-in-name", "grace@example.com")
		p.fill("sign-in-password", secret)
		p.press("Sign in")
		p.at("/sign-in/factor")
	}
	enter()
	p.fill("factor-code", phone.code(t))
	p.press("Go on")
	p.wait("the console", `document.querySelector("nav.sidebar")`)
	p.clean("signing in with a code")
	for i, works := range []bool{true, false} {
		enter()
		p.press("Use a recovery code")
		p.fill("recovery-code", recovery)
		uitest.Eval[bool](p.Browser, `(document.querySelector("#recovery").requestSubmit(), true)`)
		if works {
			p.wait("the console", `document.querySelector("nav.sidebar")`)
			p.clean("signing in with a recovery code")
			continue
		}
		p.wait("the refusal of a code that was used", `document.querySelector("#recovery-problem")?.textContent.trim()`)
		if at := uitest.Eval[string](p.Browser, `location.pathname`); at != "/sign-in/factor" {
			t.Errorf("try %d with the same recovery code leads to %s", i, at)
		}
	}
	p.Faults() // the refusal, which the browser notes

	ada.Go("/access/people/invite")
	old := time.Now().Add(fresh).UnixMilli()
	ada.wait("the factor to be old", fmt.Sprintf(`Date.now() > %d`, old+500))
	ada.fill("invite-name", "joan@example.com")
	ada.fill("invite-display", "Joan Clarke")
	ada.press("Make the invitation")
	ada.reads("Confirm that it is you")
	ada.Axe("the question for a fresh factor")
	ada.press("Use your passkey")
	ada.reads("This link is shown once")
	ada.reads("Joan Clarke")
	ada.Go("/access/people")
	ada.reads("joan@example.com")
}
