package manifest

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bounds on values.
const (
	maxBytes    = 268_435_455 // the longest MQTT packet (MQTT 5 section 1.5.5)
	maxRate     = 1e9         // messages, and 1024 times that many bytes, per second
	maxDuration = 10 * 365 * day
	day         = 24 * time.Hour
)

var (
	jsonNumber   = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)
	sizeText     = regexp.MustCompile(`^([0-9]{1,18})(B|KiB|MiB|GiB|TiB)?$`)
	rateText     = regexp.MustCompile(`^([0-9]{1,15}(?:\.[0-9]{1,30})?)/(s|min|h|d)$`)
	byteRateText = regexp.MustCompile(`^([0-9]{1,15}(?:\.[0-9]{1,30})?)(B|KiB|MiB|GiB)?/(s|min|h|d)$`)
	durationText = regexp.MustCompile(`^(?:([0-9]{1,5})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,8})m)?(?:([0-9]{1,10})s)?$`)
)

var sizeUnits = []struct {
	name string
	n    int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

var rateUnits = []struct {
	name    string
	seconds float64
}{{"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}}

func unitSize(name string) int64 {
	for _, u := range sizeUnits {
		if u.name == name {
			return u.n
		}
	}
	return 1
}

func unitSeconds(name string) float64 {
	for _, u := range rateUnits {
		if u.name == name {
			return u.seconds
		}
	}
	return 1
}

// integer reads a whole number from least to most; ok is false when there is none.
func (r *reader) integer(n *yaml.Node, least, most int64) (v int64, ok bool) {
	s, ok := r.scalar(n, "a whole number", "", "!!int")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || !jsonNumber.MatchString(s) {
		r.add(r.pos(n), "write it with the digits 0 to 9 alone, without a zero before them", "expected a whole number, found `%s`", clip(s))
		return 0, false
	}
	return v, r.between(n, v, least, most, strconv.FormatInt(least, 10), strconv.FormatInt(most, 10))
}

func (r *reader) between(n *yaml.Node, v, least, most int64, leastText, mostText string) bool {
	if v < least || v > most {
		r.add(r.pos(n), "write "+leastText+" to "+mostText, "`%s` is out of range", clip(n.Value))
		return false
	}
	return true
}

// number reads a number as JSON writes it.
func (r *reader) number(n *yaml.Node) *float64 {
	s, ok := r.scalar(n, "a number", "", "!!int", "!!float")
	if !ok {
		return nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !jsonNumber.MatchString(s) {
		r.add(r.pos(n), "write it as JSON does, such as 0.5 or -12", "expected a number, found `%s`", clip(s))
		return nil
	}
	return &v
}

// size reads a number of bytes: 512, 64KiB.
func (r *reader) size(n *yaml.Node, least, most int64) int64 {
	s, ok := r.scalar(n, "a size", "write bytes such as 512, or 64KiB, 10MiB, 1GiB", "!!str", "!!int")
	if !ok {
		return 0
	}
	m := sizeText.FindStringSubmatch(s)
	if m == nil {
		fix := "write bytes such as 512, or 64KiB, 10MiB, 1GiB"
		if near := sizeText.FindString(sizeLike(s)); near != "" {
			fix = "did you mean `" + near + "`?"
		}
		r.add(r.pos(n), fix, "`%s` is no size", clip(s))
		return 0
	}
	v, err := strconv.ParseInt(m[1], 10, 64)
	unit := unitSize(m[2])
	if err != nil || v > math.MaxInt64/unit {
		v, unit = math.MaxInt64, 1
	}
	if !r.between(n, v*unit, least, most, FormatSize(least), FormatSize(most)) {
		return 0
	}
	return v * unit
}

// sizeLike turns other ways to write a unit of 1024 into ours.
func sizeLike(s string) string {
	s = strings.ToLower(strings.ReplaceAll(s, " ", ""))
	digits := strings.TrimRight(s, "bytekmgi")
	for _, u := range sizeUnits {
		rest := s[len(digits):]
		if u.name != "" && rest != "" && (rest == "bytes" && u.n == 1 || rest != "bytes" && rest[0] == strings.ToLower(u.name)[0]) {
			return digits + u.name
		}
	}
	return ""
}

// FormatSize writes bytes as manifests do: 512, 64KiB.
func FormatSize(v int64) string {
	for _, u := range sizeUnits {
		if u.n > 1 && v >= u.n && v%u.n == 0 {
			return strconv.FormatInt(v/u.n, 10) + u.name
		}
	}
	return strconv.FormatInt(v, 10)
}

// duration reads 90s, 15m, 24h, 30d, 1h30m.
func (r *reader) duration(n *yaml.Node, least, most time.Duration) time.Duration {
	const fix = "write days, hours, minutes or seconds such as 30d, 24h, 15m, 90s"
	s, ok := r.scalar(n, "a duration", fix, "!!str")
	if !ok {
		return 0
	}
	m := durationText.FindStringSubmatch(s)
	if m == nil || s == "" {
		r.add(r.pos(n), fix, "`%s` is no duration", clip(s))
		return 0
	}
	var d time.Duration
	for i, unit := range []time.Duration{day, time.Hour, time.Minute, time.Second} {
		v, _ := strconv.Atoi(m[i+1])
		if time.Duration(v) > maxDuration/unit {
			d = math.MaxInt64 / 8 // too long, and far from overflowing with what follows
			continue
		}
		d += time.Duration(v) * unit
	}
	if !r.between(n, int64(d), int64(least), int64(most), FormatDuration(least), FormatDuration(most)) {
		return 0
	}
	return d
}

// FormatDuration writes whole seconds as manifests do: 90s, 15m, 24h is 1d.
func FormatDuration(d time.Duration) string {
	for _, u := range []struct {
		name string
		d    time.Duration
	}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}} {
		if d >= u.d && d%u.d == 0 {
			return strconv.FormatInt(int64(d/u.d), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// perSecond reads 10/s, 6/min, 100/h, 1/d, and with sized 64KiB/s.
func (r *reader) perSecond(n *yaml.Node, sized bool) float64 {
	fix, form, most := "write how many per s, min, h or d, such as 10/s or 6/min", rateText, float64(maxRate)
	if sized {
		fix, form, most = "write how much per s, min, h or d, such as 64KiB/s or 10MiB/h", byteRateText, 1024*maxRate
	}
	s, ok := r.scalar(n, "a rate", fix, "!!str")
	if !ok {
		return 0
	}
	m := form.FindStringSubmatch(strings.ReplaceAll(s, " ", ""))
	if m == nil {
		r.add(r.pos(n), fix, "`%s` is no rate", clip(s))
		return 0
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if sized {
		v *= float64(unitSize(m[2]))
	}
	v /= unitSeconds(m[len(m)-1])
	if err != nil || v < 1/unitSeconds("d") || v > most {
		r.add(r.pos(n), fmt.Sprintf("write 1/d to %.0f/s", most), "the rate `%s` is out of range", clip(s))
		return 0
	}
	return v
}

// FormatRate writes a number, or with sized of bytes, per second as manifests
// do: 10/s, 6/min, 64KiB/s. It is read as exactly the same.
func FormatRate(v float64, sized bool) string {
	for _, u := range rateUnits {
		whole := math.Round(v * u.seconds)
		if whole < 1 || whole > 1e14 || whole/u.seconds != v {
			continue
		}
		if sized {
			return FormatSize(int64(whole)) + "/" + u.name
		}
		return strconv.FormatInt(int64(whole), 10) + "/" + u.name
	}
	return strconv.FormatFloat(v, 'f', -1, 64) + "/s"
}
