package main

import (
	"image"
	"image/color"
	"strings"

	"github.com/boombuler/barcode/qr"
)

// qrOnTerminal draws text as a QR code for a phone's camera, or nothing when the
// terminal is no terminal, too narrow, or without the colours that a camera needs.
func (a *app) qrOnTerminal(text string) string {
	if !a.colourful(a.err) {
		return ""
	}
	art, width := qrArt(text)
	if have := widthOf(a.err); width > have {
		return ""
	}
	return art
}

// qrArt draws two rows of modules in each line of text, black on white whatever
// the terminal's colours are, with the quiet zone of ISO/IEC 18004. width is in
// cells; 0 if the text is too long.
func qrArt(text string) (art string, width int) {
	code, err := qr.Encode(text, qr.L, qr.Auto)
	if err != nil {
		return "", 0
	}
	const quiet = 4
	n := code.Bounds().Dx()
	dark := func(x, y int) bool {
		if !image.Pt(x-quiet, y-quiet).In(code.Bounds()) {
			return false
		}
		grey, _ := color.GrayModel.Convert(code.At(x-quiet, y-quiet)).(color.Gray)
		return grey.Y < 128
	}
	var b strings.Builder
	for y := 0; y < n+2*quiet; y += 2 {
		b.WriteString("\x1b[38;5;16;48;5;231m")
		for x := range n + 2*quiet {
			switch up, down := dark(x, y), dark(x, y+1); {
			case up && down:
				b.WriteString("█")
			case up:
				b.WriteString("▀")
			case down:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		b.WriteString(reset + "\n")
	}
	return b.String(), n + 2*quiet
}
