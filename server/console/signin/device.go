package signin

import (
	"strings"

	"github.com/holdfast-iot/holdfast/refusal"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

// Pages mounts what is for people who are signed in: letting a command line in
// (RFC 8628 section 3.3).
func (k *Keeper) Pages(m *ui.Mux) {
	if k.cfg.Devices == nil {
		return
	}
	s := m.In("account")
	s.Page("GET /device", k.devicePage)
	s.Page("POST /device", k.deviceShow)
	s.Page("POST /device/decide", k.deviceDecide)
}

// devicePage asks for the code, even if it came in the address: who was sent here
// by somebody else must see what they let in (RFC 8628 section 5.4).
func (k *Keeper) devicePage(r *ui.Request) error {
	return r.Page(ui.Page{Title: "Let a command line in", Narrow: true, Lead: "The command “holdfast login” shows a code. Enter it only if it was you who ran it."}, deviceCodeView(userCode(r.Query("user_code"))))
}

func (k *Keeper) deviceShow(r *ui.Request) error {
	d, err := k.cfg.Devices.Pending(r.Context(), r.Identity, userCode(r.Form("code")))
	if err != nil {
		return err
	}
	return r.Result(ui.Page{Title: "Let this command line in?", Narrow: true}, deviceView(d, r.Session.Name))
}

func (k *Keeper) deviceDecide(r *ui.Request) error {
	code := userCode(r.Form("code"))
	switch r.Form("decision") {
	case "approve":
		if err := k.cfg.Devices.Approve(r.Context(), r.Identity, code); err != nil {
			return err
		}
		return r.Result(ui.Page{Title: "The command line is in", Narrow: true}, deviceDoneView(true))
	case "deny":
		if err := k.cfg.Devices.Deny(r.Context(), r.Identity, code); err != nil {
			return err
		}
		return r.Result(ui.Page{Title: "Turned away", Narrow: true}, deviceDoneView(false))
	}
	return refusal.New(refusal.Invalid, "no-decision", "use one of the two buttons", "the form says neither yes nor no")
}

// userCode bounds what was typed; the engine reads it.
func userCode(s string) string {
	s = strings.ToUpper(strings.TrimSpace(s))
	return s[:min(len(s), 32)]
}
