package password

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-iot/holdfast/refusal"
)

// The codes of refusals; all are of kind refusal.Invalid.
const (
	CodeTooShort   = "password-too-short"
	CodeTooLong    = "password-too-long"
	CodeCharacters = "password-characters"
	CodeComplexity = "password-complexity"
	CodeBreached   = "password-breached"
	CodeGuessable  = "password-guessable"
	CodeReused     = "password-reused"
)

const (
	maxCharacters = 256
	maxHistory    = 24
	maxAge        = 5 * 365 * 24 * time.Hour
)

// Rules say which passwords people may choose. The defaults follow NIST SP
// 800-63B section 3.1.1: length, and nothing that attackers try first; no rules
// about kinds of characters and no change without a reason. Those exist here for
// organizations whose auditors ask for them.
type Rules struct {
	MinLength   int           // characters (Unicode code points) after normalization: 8 to 64
	MaxLength   int           // characters: 64 to 256
	MinStrength int           // score of Strength: 0 to 4
	History     int           // latest passwords of a person that may not be used again: 0 to 24; each costs one hash to check
	MaxAge      time.Duration // after which a password must be changed: 0 for never, else 1 day to 5 years

	// Least numbers of characters of a kind, each 0 to 8 and together at most
	// MinLength. A symbol is anything that is neither letter nor digit.
	MinUpper, MinLower, MinDigits, MinSymbols int
}

// DefaultRules are the rules of a new installation.
func DefaultRules() Rules {
	return Rules{MinLength: 12, MaxLength: 128, MinStrength: 3, History: 10}
}

// Validate tells whether the rules are within the ranges that Rules gives.
func (r Rules) Validate() error {
	for _, f := range []struct {
		name         string
		is, min, max int
	}{
		{"the least length", r.MinLength, 8, 64},
		{"the greatest length", r.MaxLength, 64, maxCharacters},
		{"the least strength", r.MinStrength, 0, 4},
		{"the history", r.History, 0, maxHistory},
		{"the least number of capital letters", r.MinUpper, 0, 8},
		{"the least number of small letters", r.MinLower, 0, 8},
		{"the least number of digits", r.MinDigits, 0, 8},
		{"the least number of symbols", r.MinSymbols, 0, 8},
	} {
		if f.is < f.min || f.is > f.max {
			return fmt.Errorf("checking the password rules: %s is %d and must be %d to %d", f.name, f.is, f.min, f.max)
		}
	}
	if r.MinUpper+r.MinLower+r.MinDigits+r.MinSymbols > r.MinLength {
		return fmt.Errorf("checking the password rules: the least numbers of characters of each kind add up to more than the least length")
	}
	if r.MaxAge != 0 && (r.MaxAge < 24*time.Hour || r.MaxAge > maxAge) {
		return fmt.Errorf("checking the password rules: the greatest age is %v and must be 0 (never) or 1 day to 5 years", r.MaxAge)
	}
	return nil
}

// Expired tells whether a password that was set at one time must be changed at
// another.
func (r Rules) Expired(set, now time.Time) bool {
	return r.MaxAge > 0 && now.Sub(set) >= r.MaxAge
}

// Check tells whether a person may take s as their password: nil, or the first
// refusal, cheapest rule first. About is what others know of the person and the
// place: name, mail address, company. History is the stored forms of their
// passwords, newest first, the present one among them; forms beyond
// rules.History are not looked at. Each of those costs one hash, one after the
// other, so bound Check as Verify is bounded; the rest takes some milliseconds.
func Check(rules Rules, s Secret, about []string, breached Filter, history []string) error {
	if err := rules.Validate(); err != nil {
		return err
	}
	text, err := s.normal()
	if err != nil {
		return err
	}
	defer clear(text)
	length := utf8.RuneCount(text)
	if length < rules.MinLength {
		return refusal.New(refusal.Invalid, CodeTooShort, "four or more unrelated words are easy to remember and hard to guess",
			"the password needs at least %d characters", rules.MinLength)
	}
	if length > rules.MaxLength {
		return refusal.New(refusal.Invalid, CodeTooLong, "shorten it", "the password may have at most %d characters", rules.MaxLength)
	}
	if err := rules.complexity(text); err != nil {
		return err
	}
	if breached.holds(text) {
		return refusal.New(refusal.Invalid, CodeBreached, "choose one that is new and that you use nowhere else",
			"this password, or one very much like it, is on a list of passwords that were stolen elsewhere, and attackers try those first")
	}
	if e := estimate(text, about); e.score < rules.MinStrength {
		return refusal.New(refusal.Invalid, CodeGuessable, e.hint(),
			"this password is too easy to guess, in about %s by somebody with a stolen copy of the database", e.time())
	}
	for _, stored := range history[:min(len(history), rules.History)] {
		if stored == "" {
			continue
		}
		if same, _ := Verify(stored, s); same {
			return refusal.New(refusal.Invalid, CodeReused, "choose one that you have not used here",
				"this is one of your last %d passwords", rules.History)
		}
	}
	return nil
}

// complexity names every kind of character that is missing in one sentence.
func (r Rules) complexity(text []byte) error {
	var upper, lower, digits, symbols int
	for _, c := range string(text) {
		switch {
		case unicode.IsUpper(c):
			upper++
		case unicode.IsLower(c):
			lower++
		case unicode.IsDigit(c):
			digits++
		case !unicode.IsLetter(c) && !unicode.IsMark(c):
			symbols++
		}
	}
	var missing []string
	for _, k := range []struct {
		name       string
		has, needs int
	}{
		{"capital letter", upper, r.MinUpper},
		{"small letter", lower, r.MinLower},
		{"digit", digits, r.MinDigits},
		{"symbol", symbols, r.MinSymbols},
	} {
		switch {
		case k.has >= k.needs:
		case k.needs == 1:
			missing = append(missing, "1 "+k.name)
		default:
			missing = append(missing, fmt.Sprintf("%d %ss", k.needs, k.name))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return refusal.New(refusal.Invalid, CodeComplexity, "add what is missing",
		"your organization asks for at least %s in a password", strings.Join(missing, ", "))
}
