package browser

import (
	"os"
	"testing"
	"time"

	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// pages are all pages that have an address of their own, and words that are on
// them in the demo.
var pages = []struct{ name, path, words string }{
	{"overview", "/", "Needs attention"},
	{"policy", "/policy", "is in force"},
	{"policy-versions", "/policy/versions", "Applied by"},
	{"policy-tests", "/policy/tests", "passed"},
	{"policy-explain", "/policy/explain?as=app:scada&action=publish&topic=water/riverside-plant/doser-plant-1/cmd/dose&payload=%7B%22ml_per_min%22:900%7D", "refused"},
	{"policy-edit", "/policy/edit", "Look at what it would do"},
	{"zones", "/zones", "What may talk to what"},
	{"zone", "/zones/riverside-plant", "What may reach it"},
	{"zone-new", "/zones/new", "Create zone"},
	{"devices", "/devices", "pump-plant-1"},
	{"device", "/devices/pump-plant-1", "pump-plant-1"},
	{"audit", "/audit", "Audit"},
	{"messages", "/messages/refused", "cmd/dose"},
	{"rates", "/messages/rates", "riverside-plant"},
	{"tap", "/messages/tap", "Start watching"},
	{"session", "/messages/sessions/pump-plant-1", "cmd/start"},
	{"sessions", "/messages/sessions", "pump-plant-1"},
	{"people", "/access/people", "Ada Lovelace"},
	{"invite", "/access/people/invite", "Make the invitation"},
	{"roles", "/access/roles", "security-officer"},
	{"role", "/access/roles/operator", "Who has it"},
	{"role-new", "/access/new-role?from=operator", "Create the role"},
	{"unused", "/access/unused", "Given and not used"},
	{"sign-ins", "/access/sign-ins", "you, here"},
	{"clients", "/access/clients", "API client"},
	{"client-new", "/access/clients/new", "Step 1 of 3"},
	{"approvals", "/access/approvals", "Nothing waits"},
	{"account", "/account", "Ada Lovelace"},
	{"account-sign-ins", "/account/sign-ins", "Your sign-ins"},
	{"account-passkey", "/account/passkeys/new", "passkey"},
	{"account-app", "/account/app", "Authenticator app"},
	{"account-codes", "/account/recovery-codes", "recovery codes"},
	{"let-in", "/device", "Let a command line in"},
	{"device-topics", "/devices/pump-plant-1/topics", "telemetry"},
	{"device-history", "/devices/pump-plant-1/history", "Certificate issued"},
	{"device-explain", "/devices/level-plant-2/explain?action=publish&topic=water/riverside-plant/pump-plant-1/telemetry", "pump-plant-1"},
	{"device-types", "/devices/types", "pump-controller"},
	{"device-type", "/device-types/pump-controller", "pump-controller"},
	{"enrol", "/devices/enrol", "Enrol"},
	{"tokens", "/devices/tokens", "token"},
	{"waiting", "/devices/waiting", "wait"},
	{"audit-log", "/audit/log", "checkpoint"},
	{"audit-entry", "/audit/1", "verify"},
}

// TestPages opens every page of a fleet that lives, in a browser that complains,
// and checks each for accessibility.
func TestPages(t *testing.T) {
	s := up(t, true)
	for end := time.Now().Add(60 * time.Second); !s.story.has("applied policy"); {
		if time.Now().After(end) {
			t.Fatal("the demo did not begin")
		}
		time.Sleep(100 * time.Millisecond)
	}
	p := s.person(t)
	p.begin(s.ready.SignIn, "Ada Lovelace")
	p.Faults()
	for _, page := range pages {
		p.Go(page.path)
		p.reads(page.words)
		p.Ready()
		p.Axe(page.path)
		p.clean(page.path)
		for _, width := range []int64{390, 768, 1280} {
			p.View(width, 800, "light")
			if wide := uitest.Eval[float64](p.Browser, `document.documentElement.scrollWidth`); wide > float64(width) {
				t.Errorf("%s is %v px wide in a window of %d", page.path, wide, width)
			}
		}
		if os.Getenv("HOLDFAST_SHOTS") != "" { // for people to look at, in every size and theme
			p.Shots(page.name, page.path)
			p.View(1280, 800, "light")
		}
	}
}
