package ui_test

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/server/console/ui"
	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

const friendly = "line 3, packing hall"

func TestGalleryInBrowser(t *testing.T) {
	m := ui.NewMux()
	uitest.Gallery(m, friendly)
	b := uitest.Open(t, uitest.Pages(m, access.Root(), nil))
	b.Shots("gallery", "/gallery")
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int64{390, 1280} {
			b.View(width, 900, theme)
			b.Go("/gallery")
			b.Ready()
			b.Axe("gallery in " + theme)
		}
	}
	b.View(1280, 800, "light")
	b.Do(chromedp.Click(chromedp.CSS(`[data-opens="quarantine"]`)))
	b.Shot("dialog-1280-light")
	b.Axe("dialog")
	// /live is not served here: that it is asked for is the only fault.
	for _, f := range b.Faults() {
		if !strings.Contains(f, "/live") && !strings.Contains(f, "htmx:sse") {
			t.Error(f)
		}
	}
}
