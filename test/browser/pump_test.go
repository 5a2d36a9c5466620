package browser

import (
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// TestPump is what a newcomer does with the demo: finds the pump that misbehaves,
// sees why it was refused, quarantines it, and proves from the audit page that it
// was they who did it.
func TestPump(t *testing.T) {
	s := up(t, true)
	p := s.person(t)
	p.begin(s.ready.SignIn, "Ada Lovelace")
	for end := time.Now().Add(60 * time.Second); !s.story.has("misbehaves from now on"); {
		if time.Now().After(end) {
			t.Fatal("the demo did not tell its story")
		}
		time.Sleep(100 * time.Millisecond)
	}
	const pump = "pump-intake-2"

	p.Go("/devices/" + pump)
	p.wait("a refused attempt", `document.body.innerText.includes("cmd/dose") || (setTimeout(() => location.reload(), 1500), false)`)
	p.reads("is denied by MessagePolicy/no-device-commands/commands")
	p.Shot("pump-refused")

	p.press("Quarantine")
	p.wait("the dialog", `document.querySelector("dialog[open] [name=reason]")`)
	p.Axe("the quarantine dialog")
	p.Shot("pump-dialog")
	p.fillNamed("reason", "it commands the doser")
	p.press("Quarantine")
	p.reads("quarantined")

	p.Go("/audit?subject=device:" + pump + "&action=device.quarantined")
	p.reads("it commands the doser")
	p.reads("Ada Lovelace")
	uitest.Eval[bool](p.Browser, `([...document.querySelectorAll("a[href^='/audit/']")].find((a) => /\/audit\/[0-9]+$/.test(a.pathname)).click(), true)`)
	p.wait("the entry", `/\/audit\/[0-9]+$/.test(location.pathname)`)
	p.reads("it commands the doser")
	p.Ready()
	p.press("Verify in this browser")
	p.reads("is in the log, unchanged")
	p.Ready()
	p.Axe("a verified audit entry")
	p.Shot("pump-proof")
	p.clean("proving it")

}
