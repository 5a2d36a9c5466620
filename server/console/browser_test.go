package console_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// authenticator gives the browser a passkey store that always says yes.
func authenticator(ctx context.Context, t *chromedp.Target) (v chromedp.Void, err error) {
	if _, err = cdp.Call(ctx, t, webauthn.Enable, webauthn.EnableParams{}); err != nil {
		return v, err
	}
	_, err = cdp.Call(ctx, t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true}})
	return v, err
}

// arrive waits for what is on a page alone, and sees that it is that page.
func arrive(b *uitest.Browser, path, mark string) {
	b.Do(chromedp.WaitVisible(chromedp.CSS(mark)))
	if at, err := chromedp.Run(b.Context(), chromedp.Location()); err != nil || !strings.Contains(at+"?", path+"?") {
		b.Faulty("the browser is at " + at + ", not at " + path)
	}
}

// page looks at where the browser is: pictures and accessibility.
func page(b *uitest.Browser, name string) {
	b.View(1280, 800, "light")
	b.Axe(name)
	b.Shot("signin-" + name)
}

func TestFirstAdministratorInBrowser(t *testing.T) {
	h := open(t)
	link, ok, err := h.people.FirstAdmin(t.Context())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	b := uitest.OpenURL(t, h.url)
	b.View(1280, 800, "light")
	b.Do(authenticator)
	begun := time.Now()
	b.Go("/join?token=" + link.Secret.Reveal())
	page(b, "join")
	b.Do(chromedp.Click(chromedp.CSS(`#join [type=submit]`)))
	arrive(b, "/sign-in/setup", `#setup-display`)
	page(b, "setup")
	b.Do(chromedp.SendKeys(chromedp.CSS("#setup-display"), "Ada Lovelace"), chromedp.Click(chromedp.CSS("#setup [type=submit]")))
	arrive(b, "/sign-in/setup/way", `[data-passkey="enrol"]`)
	page(b, "way")
	b.Do(chromedp.Click(chromedp.CSS(`[data-passkey="enrol"]`)))
	arrive(b, "/", `.sidebar`)
	t.Logf("signed in %v after the link was opened", time.Since(begun).Round(time.Millisecond))
	b.Go("/account")
	page(b, "account")
	b.Go("/account/sign-ins")
	page(b, "sign-ins")
	b.Go("/test/live")
	before := uitest.Eval[string](b, `document.querySelector("[data-live]").textContent`)
	uitest.Eval[bool](b, `new Promise((done, fail) => { const end = Date.now() + 6000; const look = () => document.querySelector("[data-live]").textContent !== "`+before+`" ? done(true) : Date.now() > end ? fail(new Error("nothing live came")) : setTimeout(look, 30); look(); })`)

	// A dangerous action after a while asks for the passkey and then goes on.
	h.pass(10 * time.Minute)
	b.Go("/account")
	b.Do(chromedp.Click(chromedp.CSS(`a[href="/account/recovery-codes"]`)))
	b.Do(chromedp.Click(chromedp.CSS(`#codes [type=submit]`)))
	b.Do(chromedp.Click(chromedp.CSS(`#step-up [data-passkey]`)))
	uitest.Eval[bool](b, `new Promise((done, fail) => { const end = Date.now() + 8000; const look = () => document.querySelectorAll("#recovery-codes li").length === 10 ? done(true) : Date.now() > end ? fail(new Error(document.body.innerText.slice(0, 600))) : setTimeout(look, 30); look(); })`)
	page(b, "codes")

	b.Go("/account")
	b.Do(chromedp.Click(chromedp.CSS(".avatar")), chromedp.Click(chromedp.CSS(`#account-menu form button`)))
	arrive(b, "/signed-out", `a[href="/sign-in"]`)
	page(b, "signed-out")
	b.Go("/sign-in?next=%2Faccount")
	arrive(b, "/account", ".tabs") // the browser offers the passkey by itself, and here it always says yes
	for _, f := range b.Faults() {
		if strings.Contains(f, h.url+"/)") { // the overview, which has no API to ask
			continue
		}
		// The status of the step-up, and of the passkey field's request that the next page cut off.
		if !strings.Contains(f, "403") && !strings.Contains(f, "401") && !strings.Contains(f, "AbortError") && !strings.Contains(f, "no API here") {
			t.Error(f)
		}
	}
}

func TestPasswordAndAppInBrowser(t *testing.T) {
	h := open(t)
	app := h.member("grace")
	b := uitest.OpenURL(t, h.url)
	b.Shots("signin-sign-in", "/sign-in")
	page(b, "sign-in")
	b.Go("/sign-in?next=%2Faccount")
	b.Do(chromedp.SendKeys(chromedp.CSS("#sign-in-name"), "grace"), chromedp.SendKeys(chromedp.CSS("#sign-in-password"), "wrong wrong wrong"), chromedp.Click(chromedp.CSS("#sign-in [type=submit]")))
	uitest.Eval[bool](b, `new Promise((done, fail) => { const end = Date.now() + 8000; const look = () => document.querySelector("#sign-in-problem .callout") ? done(true) : Date.now() > end ? fail(new Error("nothing was said")) : setTimeout(look, 30); look(); })`)
	page(b, "wrong-password")
	b.Go("/sign-in?next=%2Faccount")
	b.Do(chromedp.SendKeys(chromedp.CSS("#sign-in-name"), "grace"), chromedp.SendKeys(chromedp.CSS("#sign-in-password"), secret), chromedp.Click(chromedp.CSS("#sign-in [type=submit]")))
	arrive(b, "/sign-in/factor", `#factor-code`)
	page(b, "factor")
	b.Do(chromedp.SendKeys(chromedp.CSS("#factor-code"), h.code(app)), chromedp.Click(chromedp.CSS("#factor [type=submit]")))
	arrive(b, "/account", `.tabs`)
	b.Go("/account/app")
	page(b, "app")
	b.Go("/account/password")
	b.Do(chromedp.SendKeys(chromedp.CSS("#password-password"), "correct horse"))
	uitest.Eval[bool](b, `new Promise((done, fail) => { const end = Date.now() + 8000; const look = () => document.querySelector("#password-strength .meter") ? done(true) : Date.now() > end ? fail(new Error("no strength")) : setTimeout(look, 30); look(); })`)
	page(b, "password")
}
