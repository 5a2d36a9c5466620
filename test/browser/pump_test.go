package browser

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// follow clicks the first link of the page's body that a script's condition on a is
// true for.
func (p *person) follow(what, condition string) {
	p.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll("main a[href]")].find((a) => a.checkVisibility() && (%s))`, condition)
	p.wait(what, loaded+find)
	uitest.Eval[bool](p.Browser, `(`+find+`.click(), true)`)
}

// waitsFor looks again until a page says what it has to: what a fleet does takes its
// time.
func (p *person) waitsFor(words string) {
	p.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; {
		p.Ready()
		if uitest.Eval[bool](p.Browser, fmt.Sprintf(`document.querySelector("main").innerText.includes(%q)`, words)) {
			return
		}
		if time.Now().After(end) {
			p.reads(words)
		}
		time.Sleep(500 * time.Millisecond)
		uitest.Eval[bool](p.Browser, `(setTimeout(() => location.reload(), 0), true)`)
		time.Sleep(200 * time.Millisecond)
	}
}

// misbehaving waits until the demo's pump began to.
func (s *site) misbehaving(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !s.story.has("misbehaves from now on"); {
		if time.Now().After(end) {
			t.Fatal("the demo did not tell its story")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestPump is what a newcomer does with the demo, from the printed link on and by
// links and buttons alone: finds the pump that misbehaves, sees why it was refused,
// quarantines it, and proves afterwards from the audit page that it was they who did
// it.
func TestPump(t *testing.T) {
	s := up(t, true)
	p := s.person(t)
	p.begin(s.ready.SignIn, "Ada Lovelace")
	s.misbehaving(t)
	const pump = "pump-intake-2"

	p.Go("/") // the first page: it says what is refused, and leads to whom
	p.waitsFor("no-device-commands")
	p.follow("what was refused, on the overview", `a.textContent.includes("no-device-commands") || a.textContent.includes("`+pump+`")`)
	p.wait("another page", `location.pathname !== "/"`)
	p.waitsFor(pump)
	if uitest.Eval[bool](p.Browser, `!location.pathname.startsWith("/devices/")`) {
		p.follow("the pump, among the refused", `a.textContent.includes("`+pump+`")`)
	}
	p.at("/devices/" + pump)
	p.waitsFor("is denied by MessagePolicy/no-device-commands/commands")
	p.Ready()
	p.Shot("pump-refused")

	p.press("Quarantine")
	p.wait("the dialog", `document.querySelector("dialog[open] [name=reason]")`)
	p.Axe("the quarantine dialog")
	p.Shot("pump-dialog")
	p.fillNamed("reason", "it commands the doser")
	p.press("Quarantine")
	p.reads("quarantined")
	p.at("/devices/" + pump)

	p.wait("the entry of the audit log, one click away", `document.querySelector("main a[href^='/audit/']")?.checkVisibility() && document.body.innerText.includes("Done, and written down")`)

	p.press("Audit") // in the navigation
	p.at("/audit")
	p.waitsFor("it commands the doser")
	p.reads("Ada Lovelace")
	uitest.Eval[bool](p.Browser, `([...document.querySelectorAll("tr")].find((r) => r.innerText.includes("it commands the doser")).querySelector("a[href^='/audit/']").click(), true)`)
	p.wait("the entry", `/\/audit\/[0-9]+$/.test(location.pathname)`)
	p.reads("it commands the doser")
	p.reads("Ada Lovelace")
	p.Ready()
	p.press("Verify in this browser")
	p.reads("is in the log, unchanged")
	p.Ready()
	p.Axe("a verified audit entry")
	p.Shot("pump-proof")
	p.clean("proving it")
}
