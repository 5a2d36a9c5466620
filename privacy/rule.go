package privacy

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// rule is a Rule without its path. The zero value leaves things whole.
type rule struct {
	do   kind
	keep int
	step step
	unit unit
}

// kind is a transform; what protects more is greater.
type kind byte

const (
	whole kind = iota
	generalize
	maskSome
	hash
	maskAll
	drop
)

// unit is what a time is cut to; the coarser is greater.
type unit byte

const (
	noUnit unit = iota
	hour
	day
	month
	year
)

var units = []string{"", "hour", "day", "month", "year"}

// step is a decimal number: digits divided by ten to the power of places. Zero is none.
type step struct {
	digits int64
	places int
	value  float64
}

func (r Rule) compile() (rule, error) {
	switch r.Do {
	case Whole:
		return rule{}, nil
	case Drop:
		return rule{do: drop}, nil
	case Hash:
		return rule{do: hash}, nil
	case Mask:
		if r.Keep < 0 || r.Keep > MaxKeep {
			return rule{}, fmt.Errorf("a mask keeps 0 to %d characters, not %d", MaxKeep, r.Keep)
		}
		if r.Keep == 0 {
			return rule{do: maskAll}, nil
		}
		return rule{do: maskSome, keep: r.Keep}, nil
	case Generalize:
		return r.generalize()
	}
	return rule{}, fmt.Errorf("there is no transform %q: write whole, mask, hash, generalize or drop", r.Do)
}

func (r Rule) generalize() (rule, error) {
	u := slices.Index(units, r.Unit)
	if u < 0 {
		return rule{}, fmt.Errorf("there is no unit %q: write year, month, day or hour", r.Unit)
	}
	if r.Step == 0 {
		if u == 0 {
			return rule{}, errors.New("generalizing needs a step for numbers or a unit for times")
		}
		return rule{do: generalize, unit: unit(u)}, nil
	}
	if !(r.Step >= 1e-9 && r.Step <= 1e12) {
		return rule{}, fmt.Errorf("a step is between 1e-9 and 1e12, not %v", r.Step)
	}
	whole, fraction, _ := strings.Cut(strconv.FormatFloat(r.Step, 'f', -1, 64), ".")
	digits, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil {
		return rule{}, fmt.Errorf("a step has at most 17 digits, not %v", r.Step)
	}
	return rule{do: generalize, unit: unit(u), step: step{digits, len(fraction), r.Step}}, nil
}

// stronger returns the rule that protects more, or, of two that generalize, one that shows no more than either.
func stronger(a, b rule) rule {
	if a.do != b.do {
		if a.do < b.do {
			return b
		}
		return a
	}
	a.keep = min(a.keep, b.keep)
	if a.unit == noUnit || b.unit == noUnit {
		a.unit = noUnit
	} else {
		a.unit = max(a.unit, b.unit)
	}
	switch {
	case a.step.digits == 0 || b.step.digits == 0:
		a.step = step{}
	case a.step.value < b.step.value:
		a.step = b.step
	}
	return a
}

// appendRound appends number, a JSON number, rounded to the nearest multiple of
// the step, exactly; half way, to either. It reports false when a float64 cannot tell multiples of
// the step apart at that size.
func (s step) appendRound(dst, number []byte) ([]byte, bool) {
	if s.digits == 0 {
		return dst, false
	}
	x, err := strconv.ParseFloat(string(number), 64)
	n := math.RoundToEven(x / s.value)
	if err != nil || math.Abs(n) > 1<<53 || math.Abs(n)*float64(s.digits) >= 1<<62 {
		return dst, false
	}
	all := int64(n) * s.digits
	if all == 0 {
		return append(dst, '0'), true
	}
	if all < 0 {
		dst, all = append(dst, '-'), -all
	}
	var buf [64]byte
	text := strconv.AppendInt(buf[:0], all, 10)
	if s.places == 0 {
		return append(dst, text...), true
	}
	for len(text) <= s.places {
		text = slices.Insert(text, 0, '0')
	}
	point := len(text) - s.places
	dst = append(dst, text[:point]...)
	fraction := text[point:]
	for len(fraction) > 0 && fraction[len(fraction)-1] == '0' {
		fraction = fraction[:len(fraction)-1]
	}
	if len(fraction) > 0 {
		dst = append(append(dst, '.'), fraction...)
	}
	return dst, true
}
