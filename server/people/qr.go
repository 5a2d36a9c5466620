package people

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"strings"

	"github.com/boombuler/barcode"
	"github.com/boombuler/barcode/qr"
)

// qrCode draws a QR code as SVG and PNG, with the quiet zone that readers need.
func qrCode(content string) (svg string, picture []byte, err error) {
	c, err := qr.Encode(content, qr.M, qr.Auto)
	if err != nil {
		return "", nil, fmt.Errorf("drawing a QR code: %w", err)
	}
	const quiet, scale = 4, 8
	n := c.Bounds().Dx()
	var path strings.Builder
	for y := range n {
		for x := range n {
			if r, _, _, _ := c.At(x, y).RGBA(); r == 0 {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	svg = fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h%dv%dH0z"/><path fill="#000" d="%s"/></svg>`,
		n+2*quiet, n+2*quiet, n+2*quiet, n+2*quiet, path.String())
	big, err := barcode.Scale(c, n*scale, n*scale)
	if err != nil {
		return "", nil, fmt.Errorf("drawing a QR code: %w", err)
	}
	var out bytes.Buffer
	if err := png.Encode(&out, framed(big, quiet*scale)); err != nil {
		return "", nil, fmt.Errorf("drawing a QR code: %w", err)
	}
	return svg, out.Bytes(), nil
}

// framed puts a white frame around an image.
func framed(m image.Image, width int) image.Image {
	b := m.Bounds()
	out := image.NewGray(image.Rect(0, 0, b.Dx()+2*width, b.Dy()+2*width))
	draw.Draw(out, out.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.Draw(out, b.Sub(b.Min).Add(image.Pt(width, width)), m, b.Min, draw.Src)
	return out
}
