package signin

import (
	"net/url"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/console/ui"
)

func providerPath(p Provider, next string) string {
	path := "/sign-in/" + url.PathEscape(p.Kind) + "/" + url.PathEscape(p.Name)
	return setupPath(path, next)
}

// setupPath adds where to go in the end.
func setupPath(path, next string) string {
	if next == "" || next == "/" {
		return path
	}
	return path + "?" + url.Values{"next": {next}}.Encode()
}

func strengthTone(score int) ui.Tone {
	switch {
	case score >= 3:
		return ui.Good
	case score == 2:
		return ui.Warn
	}
	return ui.Bad
}

func strengthWord(score int) string {
	return []string{"Very weak", "Weak", "Fair", "Good", "Strong"}[min(max(score, 0), 4)]
}

func wayLead(p access.Person) string {
	if p.State == access.PersonInvited {
		return "Step 2 of 2"
	}
	return "Your role needs a second factor."
}
