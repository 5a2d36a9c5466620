package ui

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/a-h/templ"
	"github.com/boombuler/barcode/qr"
)

// Chart is lines over time. It is drawn by a script from a data island; its table
// is there for who cannot see it. It is a component: @chart.
type Chart struct {
	ID     string
	Label  string // what it shows, read aloud
	Unit   string // of the values: "msg/s"
	Times  []time.Time
	Series []Series
	Height int  // px, 180 when 0; one of 120, 180, 240, 320
	Stack  bool // areas on top of each other
}

// Series is one line of a Chart, with as many values as there are times.
type Series struct {
	Label  string
	Tone   Tone // Neutral takes the next colour of the palette
	Values []float64
}

type island struct {
	Unit   string      `json:"unit"`
	Height int         `json:"height"`
	Stack  bool        `json:"stack"`
	Times  []int64     `json:"times"`
	Labels []string    `json:"labels"`
	Tones  []Tone      `json:"tones"`
	Values [][]float64 `json:"values"`
}

// Render writes the chart.
func (c Chart) Render(ctx context.Context, w io.Writer) error { return chartView(c).Render(ctx, w) }

// data is the island's JSON. Go's encoder writes <, > and & escaped, so that no
// label can end the element that holds it.
func (c Chart) data() (string, error) {
	d := island{Unit: c.Unit, Height: c.height(), Stack: c.Stack, Times: []int64{}, Labels: []string{}, Tones: []Tone{}, Values: [][]float64{}}
	for _, t := range c.Times {
		d.Times = append(d.Times, t.Unix())
	}
	for _, s := range c.Series {
		if len(s.Values) != len(c.Times) {
			return "", fmt.Errorf("drawing the chart %q: the series %q has %d values for %d times", c.ID, s.Label, len(s.Values), len(c.Times))
		}
		d.Labels = append(d.Labels, s.Label)
		d.Tones = append(d.Tones, Tone(s.Tone.class()))
		d.Values = append(d.Values, s.Values)
	}
	b, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("drawing the chart %q: %w", c.ID, err)
	}
	return string(b), nil
}

func (c Chart) height() int {
	if c.Height == 0 {
		return 180
	}
	return c.Height
}

// failed makes rendering fail.
func failed(err error) Node {
	return templ.ComponentFunc(func(context.Context, io.Writer) error { return err })
}

// last is the newest value of a series, for its legend.
func (s Series) last() string {
	if len(s.Values) == 0 {
		return "–"
	}
	return Rate(s.Values[len(s.Values)-1])
}

// Event is one line of a timeline.
type Event struct {
	At   time.Time
	Icon string
	Tone Tone
	What Node   // a sentence
	Who  string // who did it
	Note string // a reason
	Href string
}

// qrPath is a QR code (ISO/IEC 18004, level M) as an SVG path of unit squares,
// with the number of modules at a side.
func qrPath(text string) (path string, size int, err error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return "", 0, fmt.Errorf("drawing a QR code: %w", err)
	}
	size = code.Bounds().Dx()
	var b strings.Builder
	for y := range size {
		for x := 0; x < size; x++ {
			run := 0
			for x+run < size {
				if r, _, _, _ := code.At(x+run, y).RGBA(); r != 0 {
					break
				}
				run++
			}
			if run > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", x+4, y+4, run, run)
				x += run
			}
		}
	}
	return b.String(), size + 8, nil
}

// JSON is a data island for a script: <script type="application/json">. It is
// never run.
func JSON(id string, v any) Node { return jsonIsland{id, v} }

type jsonIsland struct {
	id string
	v  any
}

// Render writes the island; the encoder escapes what could end it.
func (j jsonIsland) Render(_ context.Context, w io.Writer) error {
	b, err := json.Marshal(j.v)
	if err != nil {
		return fmt.Errorf("writing data for a script: %w", err)
	}
	if strings.Trim(j.id, idLetters) != "" {
		return fmt.Errorf("writing data for a script: %q is no id", j.id)
	}
	id := ""
	if j.id != "" {
		id = ` id="` + j.id + `"`
	}
	_, err = io.WriteString(w, `<script type="application/json"`+id+`>`+string(b)+`</script>`)
	return err
}
