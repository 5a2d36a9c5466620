package browser

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/holdfast-iot/holdfast/server/console/uitest"
)

// pictures are those of the documents: name, page, theme.
var pictures = []struct{ name, path, theme string }{
	{"overview", "/", "light"}, {"overview-dark", "/", "dark"}, {"device", "/devices/pump-intake-2", "light"}, {"zones", "/zones", "light"},
}

const (
	pictureFolder = "../../docs/pictures"
	maxPicture    = 300_000 // bytes
)

// TestPictures sees that the pictures of the documents are there and small. With
// HOLDFAST_PICTURES=1 (`make pictures`) it takes them anew, of a demo that has run for
// two minutes.
func TestPictures(t *testing.T) {
	if os.Getenv("HOLDFAST_PICTURES") != "" {
		takePictures(t)
	}
	for _, picture := range pictures {
		data, err := os.ReadFile(filepath.Join(pictureFolder, picture.name+".png"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := png.DecodeConfig(bytes.NewReader(data))
		if err != nil || c.Width != 1280 || c.Height != 800 || len(data) > maxPicture {
			t.Errorf("%s: %d by %d px in %d bytes, %v", picture.name, c.Width, c.Height, len(data), err)
		}
	}
}

func takePictures(t *testing.T) {
	s := up(t, true)
	p := s.person(t)
	p.begin(s.ready.SignIn, "Ada Lovelace")
	s.misbehaving(t)
	p.Do(chromedp.Sleep(2 * time.Minute)) // so that charts have something to show
	if err := os.MkdirAll(pictureFolder, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, picture := range pictures {
		p.View(1280, 800, picture.theme)
		p.Go(picture.path)
		p.Ready()
		uitest.Eval[bool](p.Browser, `new Promise((done) => setTimeout(() => done(true), 800))`) // the map comes to rest
		data, err := chromedp.Run(p.Context(), chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(pictureFolder, picture.name+".png"), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
