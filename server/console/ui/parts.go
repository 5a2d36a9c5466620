package ui

import (
	"context"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/a-h/templ"

	"github.com/holdfast-iot/holdfast/device"
)

// CardProps are the frame of a card.
type CardProps struct {
	Title   string
	ID      string // of the section, for links
	Note    string // small, beside the title
	Hint    string // what the title means, for who does not know
	Actions Node   // at the right of the title
	Flush   bool   // the content reaches the edges: tables
	Tone    Tone   // Warn and Bad draw the edge
}

// StatProps are a number that matters.
type StatProps struct {
	Label, Value, Unit string
	Note               string // below: what it is compared with
	Tone               Tone
	Href               string
	Hint               string
	Trend              []float64 // a line behind it
}

// EmptyProps are what is shown where nothing is.
type EmptyProps struct {
	Icon, Title, Text string
	Action            Node
}

// Text is plain text as a component.
func Text(s string) Node {
	return templ.ComponentFunc(func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, templ.EscapeString(s))
		return err
	})
}

// Nodes shows components one after the other.
func Nodes(list ...Node) Node {
	return templ.ComponentFunc(func(ctx context.Context, w io.Writer) error {
		for _, n := range list {
			if n == nil {
				continue
			}
			if err := n.Render(ctx, w); err != nil {
				return err
			}
		}
		return nil
	})
}

// If is n when ok, else nothing.
func If(ok bool, n Node) Node {
	if !ok || n == nil {
		return templ.NopComponent
	}
	return n
}

// StateTone is how a state of a device's life is coloured.
func StateTone(s device.State) Tone {
	switch s {
	case device.Active:
		return Good
	case device.Enrolled:
		return Info
	case device.Pending:
		return Warn
	case device.Quarantined:
		return Bad
	}
	return Neutral
}

var stateHints = map[device.State]string{
	device.Registered:  "In the inventory, without a valid certificate.",
	device.Pending:     "Asked for a certificate and waits for somebody to approve it.",
	device.Enrolled:    "Has a certificate and was not yet seen using it.",
	device.Active:      "Has used its certificate.",
	device.Quarantined: "Its certificates are on hold and it cannot connect.",
	device.Retired:     "At the end of its life. Its name is never used again.",
}

// Ago says how long before now t was, in a word or two; after now, how long
// until then.
func Ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	future := d < 0
	text := Span(d.Abs())
	switch {
	case d.Abs() < 5*time.Second:
		return "now"
	case future:
		return "in " + text
	}
	return text + " ago"
}

// Span is a length of time in its largest unit: "3 min", "5 days".
func Span(d time.Duration) string {
	n := func(x float64, one, many string) string {
		if v := int(math.Floor(x)); v != 1 {
			return strconv.Itoa(v) + " " + many
		}
		return "1 " + one
	}
	switch days := d.Hours() / 24; {
	case d < time.Minute:
		return n(d.Seconds(), "s", "s")
	case d < time.Hour:
		return n(d.Minutes(), "min", "min")
	case d < 48*time.Hour:
		return n(d.Hours(), "h", "h")
	case days < 60:
		return n(days, "day", "days")
	case days < 730:
		return n(days/30.44, "month", "months")
	default:
		return n(days/365.25, "year", "years")
	}
}

// Number writes n with thin groups of three digits: "1 234 567" with no-break
// spaces that no reader takes for a comma or a point.
func Number(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "−", s[1:]
	}
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 && len(s) > 4 {
			b.WriteRune('\u202f')
		}
		b.WriteRune(c)
	}
	return sign + b.String()
}

// Rate writes a number of a second: two digits that count.
func Rate(perSecond float64) string {
	switch {
	case perSecond == 0:
		return "0"
	case perSecond < 1:
		return strconv.FormatFloat(perSecond, 'f', 2, 64)
	case perSecond < 100:
		return strconv.FormatFloat(perSecond, 'f', 1, 64)
	}
	return Number(int64(math.Round(perSecond)))
}

// Bytes writes a size in binary units.
func Bytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	x, i := float64(n), 0
	for ; x >= 1024 && i < len(units)-1; i++ {
		x /= 1024
	}
	if i == 0 || x >= 100 {
		return fmt.Sprintf("%.0f %s", x, units[i])
	}
	return fmt.Sprintf("%.1f %s", x, units[i])
}

// Count is a number with its noun: Count(1, "device", "devices").
func Count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Number(n) + " " + many
}

// sparkPoints are the line of a sparkline in a box of 100 by 28.
func sparkPoints(values []float64) string {
	if len(values) < 2 {
		return ""
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	low = min(low, 0)
	var b strings.Builder
	for i, v := range values {
		x := 100 * float64(i) / float64(len(values)-1)
		y := 26.0
		if high > low && !math.IsNaN(v) {
			y = 26 - 24*(v-low)/(high-low)
		}
		fmt.Fprintf(&b, "%.1f,%.1f ", x, y)
	}
	return strings.TrimSpace(b.String())
}

func sparkArea(values []float64) string {
	if p := sparkPoints(values); p != "" {
		return "0,28 " + p + " 100,28"
	}
	return ""
}

// share is a part of a whole in percent, 0 to 100.
func share(value, whole float64) string {
	if whole <= 0 || value <= 0 || math.IsNaN(value) {
		return "0"
	}
	return strconv.FormatFloat(min(100, 100*value/whole), 'f', 1, 64)
}

// Part is a coloured piece of a Bar.
type Part struct {
	Label string
	Value int64
	Tone  Tone
	Href  string
}

type barPart struct {
	Part
	x, width string
}

func barParts(parts []Part) []barPart {
	var whole, at float64
	for _, p := range parts {
		whole += float64(max(0, p.Value))
	}
	var out []barPart
	for _, p := range parts {
		if p.Value <= 0 {
			continue
		}
		w := 100 * float64(p.Value) / whole
		out = append(out, barPart{p, strconv.FormatFloat(at, 'f', 2, 64), strconv.FormatFloat(max(0.6, w-0.4), 'f', 2, 64)})
		at += w
	}
	return out
}
