package account

import (
	"net/url"
	"strconv"

	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/people"
)

func codesTone(n int) ui.Tone {
	switch {
	case n == 0:
		return ui.Neutral
	case n <= 2:
		return ui.Warn
	}
	return ui.Good
}

func passwordVerb(f people.Factors) string {
	if f.Password {
		return "Change"
	}
	return "Set a password"
}

func passkeyPlain(id string) string { return "/account/passkeys/" + url.PathEscape(id) }

func menuID(i int) string { return "passkey-menu-" + strconv.Itoa(i) }
